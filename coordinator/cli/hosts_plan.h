/* What `sluice plan --hosts` tells: a token's time over several machines, and each one's share. */
#pragma once
#include <jansson.h>
#include "coordinator/hosts/deal.h"
#include "coordinator/hosts/hosts.h"

struct hosts_plan {
    struct hosts hosts; /* count 0: nobody asked */
    struct deal_node *node;
    struct deal deal;
    double hop;
    bool experts; /* their rows would lie with their layers */
};

/* given: of --hosts; host_memory: the budget on this machine, which others have too unless it was said. */
int hosts_plan_make(struct hosts_plan *h, const char *given, const struct plan_shm *p, const struct plan_summary *z,
                    const struct calibration *v, uint64_t host_memory, struct error *e);
void hosts_plan_free(struct hosts_plan *h);
json_t *hosts_plan_json(const struct hosts_plan *h);
void hosts_plan_print(const struct hosts_plan *h);
