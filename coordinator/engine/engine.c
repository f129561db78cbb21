#include "coordinator/engine/private.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>

#include "coordinator/engine/interrupt.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define START_LIMIT_NS UINT64_C(120000000000) /* a CUDA context on a busy machine takes its time */
#define TICK_NS        UINT64_C(100000000)

bool engine_recoverable(const struct engine *g)
{
    return g->recoverable;
}

enum stage_id engine_failed_stage(const struct engine *g)
{
    return g->failed >= 0 ? (enum stage_id)g->failed : STAGES;
}

struct epoch_shm *engine_epoch(struct engine *g)
{
    return g->run;
}

uint8_t *engine_arena(struct engine *g)
{
    return g->shm[SEG_ARENA].base;
}

uint8_t *engine_cache(struct engine *g)
{
    return g->shm[SEG_CACHE].base;
}

void engine_rest(struct engine *g)
{
    if (!g->run) return;
    epoch_rest(g->run);
    if (g->config.peers) g->config.peers->rest(g->config.peers->arg, true);
    g->resting = true;
}

/* From here on the stages must give signs of life again, and get as much time for the first one as for any other. */
static void wake(struct engine *g)
{
    if (!g->resting) return;
    g->resting = false;
    g->epoch_ns = g->loop_ns = clock_ns();
    if (g->run) epoch_wake(g->run);
    if (g->config.peers) g->config.peers->rest(g->config.peers->arg, false);
}

/* What has become of the other machines. A stage of this one that failed says more than those who miss it. */
static int look_at_peers(struct engine *g, struct error *e)
{
    const struct engine_peers *p = g->config.peers;
    int rc = p ? p->look(p->arg, &g->peers_ready, e) : 0;

    if (rc == -EPIPE) g->recoverable = p->recoverable(p->arg);
    return rc;
}

int engine_poll(struct engine *g, int timeout_ms, struct error *e)
{
    struct pollfd p[STAGES + 4] = {
        {.events = POLLIN}, {.fd = interrupt_fd(), .events = POLLIN}, {.fd = g->words.read, .events = POLLIN}};
    uint64_t now;

    if (!g->control) return error_set(e, EPIPE, "the stages do not run");
    wake(g);
    p[0].fd = control_fd(g->control);
    for (int i = 0; i < STAGES; i++) p[3 + i] = (struct pollfd){.fd = g->child[i].pidfd, .events = POLLIN};
    p[STAGES + 3] = (struct pollfd){.fd = -1, .events = POLLIN};
    if (g->config.peers) p[STAGES + 3].fd = g->config.peers->fd(g->config.peers->arg);
    engine_drain(g);
    if (timeout_ms && !g->done && !g->answered) poll(p, STAGES + 4, timeout_ms < 50 ? timeout_ms : 50);
    engine_drain(g);
    words_look(&g->words);
    now = clock_ns();
    engine_watch(g, now);
    if (now - g->tick_ns > TICK_NS) {
        g->tick_ns = now;
        engine_sample_memory(g);
        if (g->config.tick) g->config.tick(g->config.tick_arg);
    }
    if (g->failed >= 0 || atomic_load(&g->run->failed)) return engine_failure(g, e);
    if (interrupted()) return error_set(e, ECANCELED, "interrupted");
    return look_at_peers(g, e);
}

int engine_ready(struct engine *g, struct error *e)
{
    int rc;

    /* A restart that failed left no epoch at all. */
    if (!g->control && (rc = engine_restart(g, e))) return rc;
    wake(g);
    while (!engine_all_attached(g)) {
        if ((rc = engine_poll(g, 50, e))) return rc;
        if (clock_ns() - g->epoch_ns > START_LIMIT_NS)
            return error_set(e, ETIMEDOUT, "the stages did not start within %d s", (int)(START_LIMIT_NS / 1000000000u));
    }
    return 0;
}

bool engine_attached(const struct engine *g)
{
    return g->control && engine_all_attached(g);
}

/* Until the sweep that was sent last is done. */
static int finish_sweep(struct engine *g, struct error *e)
{
    int rc;

    while (!g->done)
        if ((rc = engine_poll(g, 50, e))) return rc;
    g->in_flight = g->done = false;
    g->next_sweep++;
    embedding_swept(&g->embedding);
    return 0;
}

bool engine_are_numbers(const float *x, uint64_t n)
{
    uint32_t most = 0, bits;

    for (uint64_t i = 0; i < n; i++) {
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return most < 0x7f800000u;
}

int engine_sweep_start(struct engine *g, const struct sweep_position *s, uint32_t n, struct error *e)
{
    struct control_message m = {.type = CONTROL_SWEEP};
    int rc = engine_ready(g, e);

    /* An interrupted one is still on its way through compute. */
    if (!rc && g->in_flight) rc = finish_sweep(g, e);
    if (rc) return rc;
    m.sweep.sweep = g->waiting_for = g->next_sweep;
    g->done = false;
    /* First the reader, then compute: the rows are on their way before anybody waits for them. */
    if ((rc = embedding_order(&g->embedding, s, n, &m, e))) return rc;
    if ((rc = control_send(g->control, STAGE_COMPUTE, &m, e))) return rc;
    if (g->config.peers && (rc = g->config.peers->order(g->config.peers->arg, g->waiting_for, s, n, e))) return rc;
    embedding_started(&g->embedding);
    g->in_flight = true;
    return 0;
}

void engine_announce_rows(struct engine *g, const uint32_t *token, uint32_t n)
{
    embedding_announce(&g->embedding, token, n);
}

bool engine_sweep_done(struct engine *g)
{
    struct error ignored;

    return !g->in_flight || (g->done && !finish_sweep(g, &ignored));
}

int engine_sweep(struct engine *g, const struct sweep_position *s, uint32_t n, const float **logits, uint32_t *rows,
                 struct error *e)
{
    int rc = engine_sweep_start(g, s, n, e);

    if (rc || (rc = finish_sweep(g, e))) return rc;
    engine_logits(g, logits, rows);
    return 0;
}

void engine_logits(const struct engine *g, const float **logits, uint32_t *rows)
{
    *logits = g->shm[SEG_LOGITS].base;
    *rows = g->done_rows;
}

int engine_measure(struct engine *g, enum stage_id stage, const struct control_message *ask,
                   struct control_message *answer, struct error *e)
{
    int rc = engine_ready(g, e);

    if (rc) return rc;
    g->answered = false;
    if ((rc = control_send(g->control, stage, ask, e))) return rc;
    while (!g->answered)
        if ((rc = engine_poll(g, 50, e))) return rc;
    g->answered = false;
    *answer = g->answer;
    return 0;
}

static int compare_file(struct engine *g, uint32_t file, struct error *e)
{
    struct control_message ask = {.type = CONTROL_COMPARE, .compare = {.file = file}}, m;
    int rc;

    log_info("%s: its inode was changed, so its bytes are compared with what was read",
             weights_path(&g->weights, file));
    rc = engine_measure(g, STAGE_READER, &ask, &m, e);
    if (rc) return rc;
    if (m.type != CONTROL_COMPARED || m.compared.file != file)
        return error_set(e, EPROTO, "the reader was asked to compare a file, and answered something else");
    if (m.compared.code) return error_set(e, (int)m.compared.code, "%.990s", m.compared.text);
    weights_accept(&g->weights, file);
    return 0;
}

static int compare_at_peers(struct engine *g, struct error *e)
{
    const struct engine_peers *p = g->config.peers;
    int rc = 0;

    if (!p || !p->ask_compare) return 0;
    p->ask_compare(p->arg);
    while (!rc && !p->compared(p->arg)) rc = engine_poll(g, 50, e);
    return rc;
}

int engine_weights_unchanged(struct engine *g, struct error *e)
{
    int rc = g->control ? weights_look(&g->weights, e) : 0;

    for (uint32_t i = 0; g->control && i < g->config.plan->files.count && !rc; i++)
        if (weights_touched(&g->weights, i)) rc = compare_file(g, i, e);
    return rc || !g->control ? rc : compare_at_peers(g, e);
}
