#include "coordinator/cli/hosts_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/cli/values.h"
#include "coordinator/plan/calibrate.h"

/* What is not said of a machine is as on this one; what a run takes beside the weights it takes on each. */
static void describe(struct deal_node *to, const struct host *x, const struct plan_summary *z,
                     const struct calibration *v, uint64_t host_memory)
{
    uint64_t beside = z->host_total_bytes - z->cache_bytes, memory = x->memory ? x->memory : host_memory;

    *to = (struct deal_node){.disk = x->disk > 0 ? x->disk : v->disk,
                             .compute = x->compute > 0 ? x->compute : v->memory,
                             .memory = memory > beside ? (double)(memory - beside) : 0,
                             .share = x->share};
}

int hosts_plan_make(struct hosts_plan *h, const char *given, const struct plan_shm *p, const struct plan_summary *z,
                    const struct calibration *v, uint64_t host_memory, struct error *e)
{
    struct deal_work w = {0};
    int rc = hosts_open(&h->hosts, given, e);

    if (!rc && p->run.backend != BACKEND_CPU)
        rc = error_set(e, EINVAL, "--hosts: only what processors compute can be dealt over machines: --backend cpu");
    if (!rc) rc = deal_work_open(&w, p, e);
    if (!rc) {
        h->experts = z->expert_bytes > 0;
        h->hop = deal_hop(&w);
        h->node = calloc(h->hosts.count, sizeof *h->node);
        if (!h->node) rc = error_set(e, ENOMEM, "out of memory");
    }
    for (uint32_t k = 0; !rc && k < h->hosts.count; k++) describe(&h->node[k], &h->hosts.host[k], z, v, host_memory);
    if (!rc) rc = deal_make(&h->deal, &w, h->node, h->hosts.count, h->hop, e);
    deal_work_close(&w);
    return rc;
}

void hosts_plan_free(struct hosts_plan *h)
{
    free(h->node);
    deal_close(&h->deal);
    hosts_close(&h->hosts);
}

static bool left_out(const struct hosts_plan *h, uint32_t k)
{
    return k && !h->deal.share[k].layers;
}

json_t *hosts_plan_json(const struct hosts_plan *h)
{
    json_t *nodes = json_array();

    for (uint32_t k = 0; k < h->deal.nodes; k++)
        json_array_append_new(nodes, json_pack("{s:s,s:I,s:I,s:I,s:f,s:f,s:f,s:b}", "name", h->hosts.host[k].name,
                                               "layers", (json_int_t)h->deal.share[k].layers, "bytes",
                                               (json_int_t)h->deal.share[k].bytes, "sweep_bytes",
                                               (json_int_t)h->deal.share[k].read, "disk_bytes_per_second",
                                               h->node[k].disk, "compute_bytes_per_second", h->node[k].compute,
                                               "memory_for_weights", h->node[k].memory, "left_out", left_out(h, k)));
    return json_pack("{s:f,s:f,s:f,s:f,s:o}", "one_machine_seconds_per_token", h->deal.one,
                     "contiguous_seconds_per_token", h->deal.contiguous, "cyclic_seconds_per_token", h->deal.cyclic,
                     "hop_seconds", h->hop, "nodes", nodes);
}

void hosts_plan_print(const struct hosts_plan *h)
{
    char a[32], b[32], c[32], d[32];

    if (!h->hosts.count) return;
    printf("\nOver %u machines, each layer whole on one (%.3g ms from one to the next):\n", h->hosts.count,
           1e3 * h->hop);
    printf("  on %.40s alone %.3g s a token, in ranges %.3g s, in turn %.3g s\n", h->hosts.host[0].name, h->deal.one,
           h->deal.contiguous, h->deal.cyclic);
    for (uint32_t k = 0; k < h->deal.nodes; k++) {
        const struct deal_share *s = &h->deal.share[k];

        printf("  %-16s ", h->hosts.host[k].name);
        if (left_out(h, k))
            printf("left out: it would make no token faster\n");
        else
            printf("%4u layers, %s, of which each token reads %s at %s/s; %s for weights\n", s->layers,
                   value_size_text(s->bytes, a, sizeof a), value_size_text(s->read, b, sizeof b),
                   value_size_text((uint64_t)h->node[k].disk, c, sizeof c),
                   value_size_text((uint64_t)h->node[k].memory, d, sizeof d));
    }
    if (h->experts)
        printf("  Experts lie with their layers, so that one disk at a time reads those that are chosen.\n");
}
