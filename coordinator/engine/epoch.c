/* An epoch's beginning and end. */
#include "coordinator/engine/private.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/engine/tasks.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/link.h"

/* After SIGKILL: a new epoch needs the memory that the old one held, and much of it takes a while to be freed. */
#define KILLED_MS_RESTART 10000
#define KILLED_MS_CLOSE   500
/* A process that has a CUDA context takes up to half a second to end, and seconds to unpin a large cache; a client of MPS
 * that is killed amid its work leaves the others undefined. */
#define CUDA_MS 10000

static bool wanted(const struct engine *g, int stage)
{
    return !g->config.only || (g->config.only >> stage & 1);
}

/* ---- an epoch's beginning ---- */

static int make_segments(struct engine *g, struct error *e)
{
    const struct plan_shm *p = g->config.plan;
    const struct plan_run *r = &p->run;
    int rc;

    if ((rc = shm_create(&g->shm[SEG_PLAN], "the plan", g->config.plan_bytes, e))) return rc;
    memcpy(g->shm[SEG_PLAN].base, p, g->config.plan_bytes);
    if ((rc = shm_create(&g->shm[SEG_RUN], "rings", epoch_bytes(r), e))) return rc;
    g->run = g->shm[SEG_RUN].base;
    epoch_init(g->run, r, g->epoch);
    embedding_begin(&g->embedding, g->run);
    if ((rc = shm_create(&g->shm[SEG_ARENA], "host slots", plan_arena_bytes(r), e))) return rc;
    rc = shm_create_anonymous(&g->shm[SEG_LOGITS], "sluice-logits",
                              (uint64_t)r->max_logits * p->spec.vocab * sizeof(float), e);
    if (rc) return rc;
    if (r->host_cache_bytes) rc = shm_create_anonymous(&g->shm[SEG_CACHE], "sluice-cache", r->host_cache_bytes, e);
    if (rc || !g->config.peers) return rc;
    rc = shm_create_anonymous(&g->shm[SEG_LINK], "sluice-link", link_segment_bytes(p, r), e);
    if (!rc) link_init(g->shm[SEG_LINK].base, p, g->epoch, g->config.peers->rank, g->config.peers->ranks);
    return rc;
}

static int start_stages(struct engine *g, struct error *e)
{
    char address[96];
    struct child_config c = {.cuda = g->config.plan->run.backend == BACKEND_CUDA,
                             .address = address,
                             .log_level = (int)g->config.plan->run.log_level,
                             .fault = g->config.fault,
                             .err = -1};
    int rc;

    snprintf(address, sizeof address, "ipc://@sluice-%ld-%llu-%llx", (long)getpid(), (unsigned long long)g->epoch,
             (unsigned long long)clock_ns());
    if ((rc = control_bind(&g->control, address, e))) return rc;
    for (int i = 0; i < STAGE_FDS; i++) {
        c.fd[i] = g->shm[i].fd;
        if (c.fd0 <= c.fd[i]) c.fd0 = c.fd[i] + 1;
    }
    g->fd0 = c.fd0;
    words_open(&g->words, g->config.log, g->config.log_arg);
    c.err = g->words.write;
    for (int i = 0; i < STAGES; i++) {
        if (!wanted(g, i)) continue;
        c.stage = (enum stage_id)i;
        if ((rc = child_start(&g->child[i], &c, e))) return rc;
        g->started[i] = true;
    }
    words_started(&g->words);
    return 0;
}

/* Before the stages, which inherit its address. */
static int start_mps(struct engine *g, struct error *e)
{
    int rc;

    if (g->config.plan->run.backend != BACKEND_CUDA || g->config.mps == ENGINE_MPS_OFF) return 0;
    rc = mps_start(&g->mps, e);
    if (!rc) return 0;
    mps_stop(&g->mps);
    if (g->config.mps == ENGINE_MPS_MUST) return error_prefix(e, "--mps on");
    log_info("%s", e->text);
    return 0;
}

static int begin_epoch(struct engine *g, struct error *e)
{
    int rc;

    g->epoch++;
    g->epoch_ns = g->loop_ns = clock_ns();
    g->failed = -1;
    g->next_sweep = 0;
    g->peers_ready = !g->config.peers;
    g->resting = g->in_flight = g->done = g->recoverable = g->hung = false;
    memset(g->attached, 0, sizeof g->attached);
    memset(g->greeted, 0, sizeof g->greeted);
    g->compute_waits = false;
    memset(g->started, 0, sizeof g->started);
    memset(g->last_words, 0, sizeof g->last_words);
    memset(g->words_code, 0, sizeof g->words_code);
    for (int i = 0; i < STAGES; i++) g->child[i] = (struct child){.pidfd = -1, .ended = true};
    if ((rc = start_mps(g, e))) return rc;
    if ((rc = make_segments(g, e)) || (rc = start_stages(g, e)) || !g->config.peers) return rc;
    return g->config.peers->begin(g->config.peers->arg, g->epoch, g->shm[SEG_RUN].fd, g->shm[SEG_LINK].fd, e);
}

/* ---- an epoch's end ---- */

static void end_epoch(struct engine *g, int patience_ms, int killed_ms)
{
    struct control_message stop = {.type = CONTROL_STOP};
    struct error ignored;

    engine_sample_memory(g);
    if (g->run) epoch_stop(g->run);
    if (g->config.peers) g->config.peers->end(g->config.peers->arg);
    for (int i = 0; i < STAGES; i++)
        if (!g->child[i].ended) {
            control_send(g->control, (enum stage_id)i, &stop, &ignored);
            if (g->failed >= 0) child_kill(&g->child[i], SIGCONT); /* one that was stopped cannot end */
        }
    for (int i = 0; i < STAGES; i++) {
        if (!g->started[i]) continue;
        if (i == STAGE_READER || g->config.plan->run.backend != BACKEND_CUDA)
            child_wait(&g->child[i], patience_ms, killed_ms);
        else
            child_wait(&g->child[i], CUDA_MS, CUDA_MS);
        if (patience_ms > 50) patience_ms = 50;
    }
    if (g->config.trace && g->control) engine_drain(g); /* the last records of a trace */
    words_close(&g->words);
    engine_add_stats(&g->total, g);
    control_close(g->control);
    g->control = NULL;
    g->run = NULL;
    embedding_begin(&g->embedding, NULL);
    for (int i = 0; i < SEGS; i++) shm_close(&g->shm[i]);
    mps_stop(&g->mps);
}

/* Of a stage: itself, two of ZeroMQ, the heartbeat, one that works. Of the coordinator: two of ZeroMQ. */
static uint32_t tasks_needed(const struct engine *g)
{
    uint32_t n = 2;

    for (int i = 0; i < STAGES; i++)
        if (wanted(g, i)) n += 5;
    return wanted(g, STAGE_COMPUTE) ? n + g->config.plan->run.threads - 1 : n;
}

int engine_open(struct engine **out, const struct engine_config *c, struct error *e)
{
    struct engine *g = calloc(1, sizeof *g);
    int rc;

    if (!g) return error_set(e, ENOMEM, "out of memory");
    g->config = *c;
    g->total.start_ns = clock_ns();
    if (c->peers && c->peers->epoch) g->epoch = c->peers->epoch - 1;
    for (int i = 0; i < SEGS; i++) g->shm[i].fd = -1;
    g->words = (struct words)WORDS_NONE;
    rc = tasks_check(tasks_needed(g), e);
    if (!rc) rc = weights_open(&g->weights, c->plan, e);
    if (rc) {
        free(g);
        return rc;
    }
    rc = embedding_open(&g->embedding, c->plan, e);
    if (!rc) rc = begin_epoch(g, e);
    if (rc) {
        engine_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

void engine_close(struct engine *g)
{
    if (!g) return;
    end_epoch(g, 400, KILLED_MS_CLOSE);
    weights_close(&g->weights);
    embedding_close(&g->embedding);
    free(g);
}

/* What a new epoch reads must be what the one before it read, of which nothing is left to compare with. */
static int weights_for_restart(struct engine *g, struct error *e)
{
    int rc = weights_look(&g->weights, e);

    for (uint32_t i = 0; i < g->config.plan->files.count && !rc; i++)
        if (weights_touched(&g->weights, i))
            rc = error_set(
                e, ESTALE,
                "%s: its inode was changed, and the stage that could tell whether its bytes were, too, has ended; "
                "start again",
                weights_path(&g->weights, i));
    return rc;
}

int engine_restart(struct engine *g, struct error *e)
{
    int rc;

    /* One daemon serves both stages and is one thing more that may have failed: where it was only tried, the next epoch goes
     * without. */
    if (g->mps.control && g->failed >= 0 && g->failed != STAGE_READER && g->config.mps == ENGINE_MPS_TRY) {
        g->config.mps = ENGINE_MPS_OFF;
        log_warn("going on without MPS");
    }
    end_epoch(g, 100, KILLED_MS_RESTART);
    if ((rc = weights_for_restart(g, e))) return rc;
    if ((rc = begin_epoch(g, e))) end_epoch(g, 0, KILLED_MS_CLOSE);
    return rc;
}
