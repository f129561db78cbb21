/* What a model would be if it were packed, for plan: before anybody packs it. */
#pragma once
#include "proto/base/error.h"
#include "proto/plan.h"

/* malloc'ed program like this one, its matrices packed as `sluice pack` would, each to PACK_RATIO of its bytes. *out NULL: none of
 * them would be packed, or the model is. */
int pack_guess(struct plan_shm **out, const struct plan_shm *program, struct error *e);
