#include "coordinator/hosts/dealt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t named(const struct hosts *h, const char *name)
{
    uint32_t n = 0;

    for (uint32_t k = 0; k < h->count; k++) n += !strcmp(h->host[k].name, name);
    return n;
}

/* What a run takes beside the weights it takes on each. */
static void describe(struct deal_node *to, const struct host *x, const struct plan_summary *z,
                     const struct calibration *v, uint64_t host_memory)
{
    uint64_t beside = z->host_total_bytes - z->cache_bytes, memory = x->memory ? x->memory : host_memory;

    *to = (struct deal_node){.disk = x->disk > 0 ? x->disk : v->disk,
                             .compute = x->compute > 0 ? x->compute : v->memory,
                             .memory = memory > beside ? (double)(memory - beside) : 0,
                             .share = x->share};
}

int dealt_make(struct dealt *d, const char *given, const struct plan_shm *p, const struct plan_summary *z,
               const struct calibration *v, uint64_t host_memory, struct error *e)
{
    struct deal_work w = {0};
    bool trial;
    int rc = hosts_open(&d->hosts, given, e);

    if (!rc && p->run.backend != BACKEND_CPU)
        rc = error_set(e, EINVAL, "--hosts: only what processors compute can be dealt over machines: --backend cpu");
    if (!rc) rc = deal_work_open(&w, p, e);
    if (!rc) {
        d->experts = z->expert_bytes > 0;
        d->hop = deal_hop(&w);
        d->node = calloc(d->hosts.count, sizeof *d->node);
        if (!d->node) rc = error_set(e, ENOMEM, "out of memory");
    }
    trial = !rc && !d->hosts.shares && named(&d->hosts, "localhost") > 1;
    for (uint32_t k = 0; !rc && k < d->hosts.count; k++) {
        const struct host *x = &d->hosts.host[k];

        describe(&d->node[k], x, z, v, host_memory / named(&d->hosts, x->name));
        if (trial) d->node[k].share = 1;
    }
    if (!rc) rc = deal_make(&d->deal, &w, d->node, d->hosts.count, d->hop, e);
    deal_work_close(&w);
    return rc;
}

void dealt_free(struct dealt *d)
{
    free(d->node);
    deal_close(&d->deal);
    hosts_close(&d->hosts);
    *d = (struct dealt){0};
}

uint32_t dealt_beside(const struct dealt *d, uint32_t k)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < d->hosts.count; i++)
        n += !dealt_left_out(d, i) && !strcmp(d->hosts.host[i].name, d->hosts.host[k].name);
    return n;
}
