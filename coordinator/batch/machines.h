/* A run over several machines (--hosts): the layers dealt, this machine's share, and the other machines at work.
 *
 *   machines_deal()    which machine has which layers, before this one's share is planned
 *   machines_start()   before the engine is opened, once it was
 *   machines_close()   after the engine was closed */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/cli/options.h"
#include "coordinator/engine/engine.h"
#include "coordinator/plan/plan.h"

struct machines;

/* settings: of a run on this machine alone; becomes what its share may take. -EINVAL, -ENOENT and the like say what is missing. */
int machines_deal(struct machines **out, const struct options *o, const struct plan_shm *whole,
                  struct plan_settings *settings, struct error *e);
void machines_close(struct machines *m);
/* This machine's program: its share, or the whole where no other machine would make a token faster. */
const struct plan_shm *machines_program(const struct machines *m);
bool machines_alone(const struct machines *m);
/* The plan of the share of the machine that was named as number k, the caller's. -EINVAL: there is none of that number, or it has
 * nothing, or shares were not given, so that speeds, which change, would deal them. */
int machines_plan(const struct machines *m, uint32_t k, struct plan_shm **out, const struct plan_settings *settings,
                  struct error *e);
double machines_seconds_per_token(const struct machines *m);
/* *peers: for the engine; NULL where this machine is alone. plan: of this machine's share, which must stay; settings: that it was
 * planned with. */
int machines_start(struct machines *m, const struct engine_peers **peers, const struct plan_shm *plan,
                   const struct plan_settings *settings, struct error *e);
