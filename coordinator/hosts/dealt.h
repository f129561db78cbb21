/* A model's layers dealt over the machines that somebody named: what of the machines is not said is as on this one. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/hosts/deal.h"
#include "coordinator/hosts/hosts.h"
#include "coordinator/plan/calibrate.h"
#include "coordinator/plan/plan.h"

struct dealt {
    struct hosts hosts; /* count 0: nobody asked */
    struct deal_node *node;
    struct deal deal;
    double hop;
    bool experts; /* their rows would lie with their layers */
};

/* given: of --hosts; host_memory: the budget on this machine, which others have too unless it was said. One that is named
 * several times is divided among its names; where that is localhost, somebody tries this out, and all get an equal part.
 * dealt_free(d) in every case. */
int dealt_make(struct dealt *d, const char *given, const struct plan_shm *p, const struct plan_summary *z,
               const struct calibration *v, uint64_t host_memory, struct error *e);
void dealt_free(struct dealt *d);

static inline bool dealt_left_out(const struct dealt *d, uint32_t k)
{
    return k && !d->deal.share[k].layers;
}
/* How many of those that take part stand for the same machine as k, itself among them. */
uint32_t dealt_beside(const struct dealt *d, uint32_t k);
