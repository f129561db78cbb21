/* What the stages say, and whether they live. */
#include "coordinator/engine/private.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

#define HELLO_NS UINT64_C(60000000000) /* from its start to a stage's first word, on a machine that is very busy */
#define HANG_NS  UINT64_C(2000000000)  /* forty signs of life missed */
#define WORDS_MS 300                   /* how long a dead stage's last message may take to arrive */

/* ---- messages ---- */

static int greet(struct engine *g, enum stage_id from, const struct control_message *m, struct error *e)
{
    struct control_message r = {.type = CONTROL_SETUP,
                                .setup = {.plan = g->fd0 + SEG_PLAN,
                                          .run = g->fd0 + SEG_RUN,
                                          .arena = g->fd0 + SEG_ARENA,
                                          .logits = g->fd0 + SEG_LOGITS,
                                          .cache = g->shm[SEG_CACHE].fd >= 0 ? g->fd0 + SEG_CACHE : -1,
                                          .link = g->shm[SEG_LINK].fd >= 0 ? g->fd0 + SEG_LINK : -1}};

    if (m->hello.version == CONTROL_VERSION && !strcmp(m->hello.build, SLUICE_VERSION))
        return control_send(g->control, from, &r, e);
    r = (struct control_message){.type = CONTROL_ERROR, .error.code = EPROTO};
    snprintf(r.error.text, sizeof r.error.text,
             "sluice %s and sluice-%s %.32s are of different builds (control protocol %u and %u); "
             "install them together",
             SLUICE_VERSION, stage_name(from), m->hello.build, CONTROL_VERSION, m->hello.version);
    return control_send(g->control, from, &r, e);
}

/* Compute's exports go to transfer, which cannot take them before its own SETUP (and a message to one that has not yet
 * connected would be lost): so compute is answered second. */
static void welcome(struct engine *g, enum stage_id from, const struct control_message *m)
{
    struct error ignored;

    if (from == STAGE_COMPUTE && g->started[STAGE_TRANSFER] && !g->greeted[STAGE_TRANSFER]) {
        g->compute_hello = *m;
        g->compute_waits = true;
        return;
    }
    greet(g, from, m, &ignored);
    g->greeted[from] = true;
    if (from == STAGE_TRANSFER && g->compute_waits) {
        g->compute_waits = false;
        greet(g, STAGE_COMPUTE, &g->compute_hello, &ignored);
        g->greeted[STAGE_COMPUTE] = true;
    }
}

static void handle(struct engine *g, enum stage_id from, const struct control_message *m)
{
    struct error ignored;

    switch (m->type) {
    case CONTROL_HELLO: welcome(g, from, m); return;
    case CONTROL_EXPORT: control_send(g->control, (enum stage_id)m->export.to, m, &ignored); return;
    case CONTROL_ATTACHED:
        g->attached[from] = true;
        snprintf(g->about[from], sizeof g->about[from], "%.127s", m->attached.text);
        return;
    case CONTROL_DONE:
        if (m->done.sweep == g->waiting_for) {
            g->done = true;
            g->done_rows = m->done.logits;
        }
        return;
    case CONTROL_MEASURED:
    case CONTROL_COMPARED:
        g->answer = *m;
        g->answered = true;
        return;
    case CONTROL_TRACE:
        if (g->config.trace) g->config.trace(g->config.trace_arg, from, m->trace.record, m->trace.count);
        return;
    case CONTROL_ERROR:
        memcpy(g->last_words[from], m->error.text, sizeof g->last_words[from]);
        g->words_code[from] = m->error.code;
        if (g->failed < 0) g->failed = (int)from;
        return;
    default: return;
    }
}

/* The epoch is lost with this stage, and another one may do better. */
static void give_up(struct engine *g, enum stage_id who)
{
    g->failed = (int)who;
    g->recoverable = g->hung = true;
    child_kill(&g->child[who], SIGKILL);
}

/* Another process of this user has come with a stage's name before it, and the stage itself is not heard. */
static void meet_impostor(struct engine *g, enum stage_id who, pid_t peer)
{
    if (g->failed >= 0) return;
    snprintf(g->last_words[who], sizeof g->last_words[who],
             "was ended: process %ld, which does not belong to this run, speaks under its name", (long)peer);
    give_up(g, who);
}

void engine_drain(struct engine *g)
{
    struct control_message m;
    enum stage_id from;
    struct error e;
    pid_t peer;
    int rc;

    while ((rc = control_receive(g->control, &from, &m, 0, &e)) != -EAGAIN) {
        peer = control_peer(g->control);
        if (!rc && peer && !child_is(&g->child[from], peer))
            meet_impostor(g, from, peer);
        else if (!rc)
            handle(g, from, &m);
        else
            log_warn("%s", e.text);
        if (rc && rc != -EPROTO) return; /* not a message that was malformed, but a socket that fails */
    }
}

/* ---- watching ---- */

bool engine_all_attached(const struct engine *g)
{
    if (!g->peers_ready) return false;
    for (int i = 0; i < STAGES; i++)
        if (g->started[i] && !g->attached[i]) return false;
    return true;
}

/* Is this stage's life to be doubted, and since when? Before its first sign of life a stage may take its time (a CUDA
 * context does), unless it was seen to be stopped. */
static bool silent_since(const struct engine *g, int i, uint64_t *since)
{
    uint64_t last = atomic_load(&g->run->stats[i].heartbeat_ns);

    if (!last && !(last = g->child[i].stopped_ns)) return false;
    *since = last > g->epoch_ns ? last : g->epoch_ns;
    return true;
}

static void watch_pulse(struct engine *g, uint64_t now)
{
    /* Were we stopped ourselves, everybody's last sign of life is old: count from now on. */
    bool own_gap = now - g->loop_ns > HANG_NS / 4;

    g->loop_ns = now;
    if (own_gap) g->epoch_ns = now;
    for (int i = 0; i < STAGES; i++) {
        uint64_t since;

        if (g->child[i].ended || g->failed >= 0 || !silent_since(g, i, &since)) continue;
        if (now <= since || now - since <= HANG_NS) continue;
        snprintf(g->last_words[i], sizeof g->last_words[i], "%s for %.1f s and was ended",
                 g->child[i].stopped_ns ? "was stopped (by SIGSTOP or a debugger)" : "gave no sign of life",
                 (double)(now - since) / 1e9);
        give_up(g, (enum stage_id)i);
    }
}

/* One that never says hello: somebody else may have taken its name, and be silent. */
static void watch_hello(struct engine *g, uint64_t now)
{
    for (int i = 0; i < STAGES; i++) {
        bool said = g->greeted[i] || (i == STAGE_COMPUTE && g->compute_waits);

        if (!g->started[i] || said || g->child[i].ended || g->failed >= 0 || now - g->epoch_ns <= HELLO_NS) continue;
        snprintf(g->last_words[i], sizeof g->last_words[i], "was not heard for %.0f s and was ended",
                 (double)(now - g->epoch_ns) / 1e9);
        give_up(g, (enum stage_id)i);
    }
}

static void watch_children(struct engine *g)
{
    for (int i = 0; i < STAGES; i++)
        if (g->started[i] && !g->child[i].ended && child_poll(&g->child[i]) && g->failed < 0) g->failed = i;
}

void engine_watch(struct engine *g, uint64_t now_ns)
{
    watch_children(g);
    watch_pulse(g, now_ns);
    watch_hello(g, now_ns);
}

/* Whose fault is it? One that crashed comes first, whatever others have said since; then one that said why; then one that
 * marked the run as failed, of which the words are still on their way; else the first that was seen to end. Stages that
 * end because another one did say nothing. */
static int failed_stage(const struct engine *g, bool *certain)
{
    uint32_t marked = atomic_load(&g->run->failed);

    *certain = true;
    if (g->hung) return g->failed;
    for (int i = 0; i < STAGES; i++)
        if (g->started[i] && child_crashed(&g->child[i])) return i;
    if (g->failed >= 0 && g->last_words[g->failed][0]) return g->failed;
    for (int i = 0; i < STAGES; i++)
        if (g->last_words[i][0]) return i;
    *certain = false;
    if (marked && marked <= STAGES) return (int)marked - 1;
    return g->failed < 0 ? 0 : g->failed;
}

/* What the user is told of a failed epoch; collects last words first. */
int engine_failure(struct engine *g, struct error *e)
{
    struct pollfd p = {.fd = control_fd(g->control), .events = POLLIN};
    uint64_t end = clock_ns() + (uint64_t)WORDS_MS * 1000000u;
    const char *words, *name;
    char how[192];
    bool certain;
    int who;

    while (who = failed_stage(g, &certain), !certain && clock_ns() < end) {
        poll(&p, 1, 20);
        engine_drain(g);
        watch_children(g);
    }
    g->failed = who;
    words = g->last_words[who];
    name = stage_name((enum stage_id)who);
    if (g->hung) return error_set(e, EPIPE, "the %s stage (pid %ld) %s", name, (long)g->child[who].pid, words);
    /* The reader's own "remote I/O error" comes from a file system and not from a device that was lost. */
    if (child_crashed(&g->child[who]) || (words[0] && g->words_code[who] == CONTROL_DEVICE_LOST && who != STAGE_READER))
        g->recoverable = true;
    if (words[0] && !child_crashed(&g->child[who])) return error_set(e, EPIPE, "%.990s", words);
    child_poll(&g->child[who]);
    child_describe(&g->child[who], how, sizeof how);
    return error_set(e, EPIPE, "the %s stage (pid %ld) ended: %s%s%.700s", name, (long)g->child[who].pid, how,
                     words[0] ? "; its last words: " : "", words);
}
