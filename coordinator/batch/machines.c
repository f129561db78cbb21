#include "coordinator/batch/machines.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/hosts/dealt.h"
#include "coordinator/hosts/share.h"
#include "coordinator/hosts/held.h"
#include "coordinator/remote/remote.h"
#include "coordinator/plan/calibrate.h"
#include "proto/base/log.h"

struct machines {
    const struct options *options;
    const struct plan_shm *whole;
    struct plan_shm *share; /* NULL: alone */
    struct dealt dealt;
    uint32_t *owner; /* [layers] rank */
    uint32_t *of;    /* [ranks] number among those that were named */
    uint32_t ranks;
    struct remote *peers;
};

/* Machines that take part get their ranks in the order in which they were named. */
static void rank_them(struct machines *m)
{
    const struct deal *d = &m->dealt.deal;

    for (uint32_t k = 0; k < d->nodes; k++) {
        if (dealt_left_out(&m->dealt, k)) {
            log_warn("--hosts: %s is left out: it would make no token faster", m->dealt.hosts.host[k].name);
            continue;
        }
        for (uint32_t l = 0; l < m->whole->spec.layers; l++)
            if (d->owner[l] == k) m->owner[l] = m->ranks;
        m->of[m->ranks++] = k;
    }
}

static int deal(struct machines *m, const struct plan_settings *s, struct error *e)
{
    struct plan_shm *plan = NULL;
    struct plan_summary summary;
    struct calibration speeds;
    uint64_t bytes;
    int rc = plan_build(&plan, &bytes, m->whole, s, e);

    if (!rc) {
        calibration_load(&speeds, m->options->model, plan);
        plan_summarize(&summary, plan, &speeds);
        rc = dealt_make(&m->dealt, m->options->hosts, plan, &summary, &speeds, s->host_memory, e);
    }
    free(plan);
    if (rc) return rc;
    m->owner = calloc(m->whole->spec.layers + UINT64_C(1), sizeof *m->owner);
    m->of = calloc(m->dealt.hosts.count, sizeof *m->of);
    if (!m->owner || !m->of) return error_set(e, ENOMEM, "out of memory");
    rank_them(m);
    return m->ranks > 1 ? share_make(&m->share, m->whole, m->owner, 0, e) : 0;
}

int machines_deal(struct machines **out, const struct options *o, const struct plan_shm *whole,
                  struct plan_settings *settings, struct error *e)
{
    struct machines *m = calloc(1, sizeof *m);
    int rc;

    if (!m) return error_set(e, ENOMEM, "out of memory");
    m->options = o;
    m->whole = whole;
    if (settings->backend_auto) settings->backend = BACKEND_CPU;
    if ((rc = deal(m, settings, e))) {
        machines_close(m);
        return rc;
    }
    if (m->dealt.hosts.host[0].memory) {
        settings->host_memory = m->dealt.hosts.host[0].memory;
        settings->host_memory_given = true;
    } else {
        settings->host_memory /= dealt_beside(&m->dealt, 0);
    }
    *out = m;
    return 0;
}

void machines_close(struct machines *m)
{
    if (!m) return;
    remote_close(m->peers);
    dealt_free(&m->dealt);
    free(m->share);
    free(m->owner);
    free(m->of);
    free(m);
}

const struct plan_shm *machines_program(const struct machines *m)
{
    return m->share ? m->share : m->whole;
}

bool machines_alone(const struct machines *m)
{
    return !m->share;
}

int machines_plan(const struct machines *m, uint32_t k, struct plan_shm **out, const struct plan_settings *settings,
                  struct error *e)
{
    struct plan_shm *program = NULL;
    uint64_t bytes;
    uint32_t rank = 0;
    int rc;

    if (!(m->dealt.node[0].share > 0))
        return error_set(e, EINVAL,
                         "--hosts: who has which layers must not change with measured speeds once files are cut by it: "
                         "--hosts @FILE with share=X on each line (`sluice plan --hosts` tells what would be good)");
    if (k >= m->dealt.hosts.count)
        return error_set(e, EINVAL, "--node %u: --hosts names %u machines, the first is 0", k, m->dealt.hosts.count);
    while (rank < m->ranks && m->of[rank] != k) rank++;
    if (rank == m->ranks) return error_set(e, EINVAL, "--node %u: %s has no layer", k, m->dealt.hosts.host[k].name);
    rc = share_make(&program, m->whole, m->owner, rank, e);
    if (!rc) rc = plan_build(out, &bytes, program, settings, e);
    free(program);
    return rc;
}

double machines_seconds_per_token(const struct machines *m)
{
    return m->dealt.deal.cyclic;
}

static int check_here(const struct machines *m, const struct plan_shm *plan, struct error *e)
{
    char folder[PATH_MAX];
    int rc = remote_folder(folder, sizeof folder, m->options->model, e);

    return rc ? rc : held_check(plan, folder, e);
}

int machines_start(struct machines *m, const struct engine_peers **peers, const struct plan_shm *plan,
                   const struct plan_settings *settings, struct error *e)
{
    struct remote_host host[HOSTS_MOST];
    struct remote_config c = {.whole = m->whole,
                              .owner = m->owner,
                              .host = host,
                              .ranks = m->ranks,
                              .first = plan,
                              .settings = settings,
                              .reading_given = m->options->io_block || m->options->io_depth,
                              .threads_given = m->options->threads > 0,
                              .model = m->options->model};
    int rc;

    *peers = NULL;
    if ((rc = remote_possible(e)) || (rc = check_here(m, plan, e)) || machines_alone(m)) return rc;
    for (uint32_t k = 0; k < m->ranks; k++) {
        const struct host *x = &m->dealt.hosts.host[m->of[k]];

        host[k] = (struct remote_host){.name = x->name,
                                       .folder = x->model,
                                       .memory = x->memory,
                                       .beside = dealt_beside(&m->dealt, m->of[k]),
                                       .here = !strcmp(x->name, m->dealt.hosts.host[0].name)};
    }
    if ((rc = remote_open(&m->peers, &c, e))) return rc;
    *peers = remote_engine(m->peers);
    return 0;
}
