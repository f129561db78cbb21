/* Budgets: how many slots of what size, how long a cache, how large a sweep, and where each tile lives.
 *
 * What the user fixed stays; what is automatic starts at what is best and gives way, least harm first, until host memory,
 * device memory and /dev/shm suffice. What then remains pins tiles, spread evenly over the sweep by bytes, so that the
 * disk never pauses: a sweep visits every tile once, in order, so which ones are pinned does not matter, only where. */
#pragma once
#include <stdint.h>
#include "coordinator/plan/cost.h"
#include "coordinator/plan/tiling.h"
#include "coordinator/plan/plan.h"

/* Everything of r but the pins (cache and pin bytes 0). -EINVAL: a value that cannot work, and the nearest that does;
 * -ENOMEM: a budget that is too small, and the smallest that would do. */
int placement_settle(struct plan_run *r, const struct plan_shm *p, const struct plan_settings *s, struct error *e);

/* Gives tiles their tiers, and r its cache and pin bytes, from what cost_count() leaves of the budgets.
 * plan_bytes: of the final image. -ENOMEM as above. */
int placement_pin(struct tiling *c, struct plan_run *r, const struct plan_shm *p, const struct plan_settings *s,
                  uint64_t plan_bytes, struct error *e);

/* Pins tiles of TIER_DISK among n of them, at most bytes, evenly; tier_off from 0 on. Returns the bytes used. */
uint64_t placement_spread(struct plan_tile *tiles, uint64_t n, uint64_t bytes, uint16_t tier, uint16_t flags);
