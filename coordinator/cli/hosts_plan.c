#include "coordinator/cli/hosts_plan.h"

#include <stdio.h>

#include "coordinator/cli/values.h"

json_t *hosts_plan_json(const struct dealt *h)
{
    json_t *nodes = json_array();

    for (uint32_t k = 0; k < h->deal.nodes; k++)
        json_array_append_new(
            nodes, json_pack("{s:s,s:I,s:I,s:I,s:f,s:f,s:f,s:b}", "name", h->hosts.host[k].name, "layers",
                             (json_int_t)h->deal.share[k].layers, "bytes", (json_int_t)h->deal.share[k].bytes,
                             "sweep_bytes", (json_int_t)h->deal.share[k].read, "disk_bytes_per_second", h->node[k].disk,
                             "compute_bytes_per_second", h->node[k].compute, "memory_for_weights", h->node[k].memory,
                             "left_out", dealt_left_out(h, k)));
    return json_pack("{s:f,s:f,s:f,s:f,s:o}", "one_machine_seconds_per_token", h->deal.one,
                     "contiguous_seconds_per_token", h->deal.contiguous, "cyclic_seconds_per_token", h->deal.cyclic,
                     "hop_seconds", h->hop, "nodes", nodes);
}

void hosts_plan_print(const struct dealt *h)
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
        if (dealt_left_out(h, k))
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
