/* One image of everything: header, tables, tiles. */
#pragma once
#include <stdint.h>
#include "coordinator/plan/tiling.h"
#include "coordinator/plan/program.h"
#include "proto/base/error.h"
#include "proto/plan.h"

uint64_t assemble_bytes(const struct program *p, const struct tiling *c);
/* malloc'ed; not yet checked. NULL: no memory, e filled. */
struct plan_shm *assemble(const struct program *p, const struct tiling *c, const struct plan_run *r, struct error *e);
