#include "coordinator/engine/engine.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coordinator/engine/embedding.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/engine/mps.h"
#include "coordinator/engine/stages.h"
#include "coordinator/engine/tasks.h"
#include "coordinator/engine/weights.h"
#include "coordinator/engine/words.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/shm.h"

#define START_LIMIT_NS UINT64_C(120000000000) /* a CUDA context on a busy machine takes its time */
#define HELLO_NS       UINT64_C(60000000000) /* from its start to a stage's first word, on a machine that is very busy */
#define HANG_NS        UINT64_C(2000000000)  /* forty signs of life missed */
#define TICK_NS        UINT64_C(100000000)
#define WORDS_MS       300 /* how long a dead stage's last message may take to arrive */
/* After SIGKILL: a new epoch needs the memory that the old one held, and much of it takes a while to be freed. */
#define KILLED_MS_RESTART 10000
#define KILLED_MS_CLOSE   500

enum { SEG_PLAN, SEG_RUN, SEG_ARENA, SEG_LOGITS, SEG_CACHE, SEGS };

struct engine {
    struct engine_config config;
    struct control *control;
    struct shm shm[SEGS];
    struct epoch_shm *run;
    struct child child[STAGES];
    struct mps mps;
    struct words words;
    int fd0; /* of the segments, in the stages */
    bool started[STAGES], greeted[STAGES], attached[STAGES];
    bool compute_waits; /* its HELLO is answered after transfer's */
    struct control_message compute_hello;
    uint64_t epoch, epoch_ns, tick_ns, loop_ns, next_sweep;
    struct engine_stats total; /* of epochs that ended, and peaks */
    char about[STAGES][128];   /* what ATTACHED said */
    /* the failure of this epoch */
    int failed; /* stage, or -1 */
    bool recoverable, hung;
    char last_words[STAGES][ERROR_TEXT_BYTES];
    uint32_t words_code[STAGES];
    /* the sweep under way */
    struct embedding embedding;
    uint64_t waiting_for;
    bool in_flight, done;
    uint32_t done_rows;
    bool resting;
    bool answered;
    struct control_message answer; /* MEASURED or COMPARED */
    struct weights weights;
};

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
    g->resting = g->in_flight = g->done = g->recoverable = g->hung = false;
    memset(g->attached, 0, sizeof g->attached);
    memset(g->greeted, 0, sizeof g->greeted);
    g->compute_waits = false;
    memset(g->started, 0, sizeof g->started);
    memset(g->last_words, 0, sizeof g->last_words);
    memset(g->words_code, 0, sizeof g->words_code);
    for (int i = 0; i < STAGES; i++) g->child[i] = (struct child){.pidfd = -1, .ended = true};
    if ((rc = start_mps(g, e))) return rc;
    if ((rc = make_segments(g, e))) return rc;
    return start_stages(g, e);
}

/* ---- statistics ---- */

static uint64_t own_memory(pid_t pid)
{
    char path[64], line[128];
    unsigned long kb, sum = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    f = fopen(path, "re");
    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %lu kB", &kb) == 1 || sscanf(line, "RssFile: %lu kB", &kb) == 1) sum += kb;
    fclose(f);
    return (uint64_t)sum * 1024;
}

static void sample_memory(struct engine *g)
{
    uint64_t sum = own_memory(getpid());
    struct stat st;

    for (int i = 0; i < STAGES; i++)
        if (!g->child[i].ended) sum += own_memory(g->child[i].pid);
    for (int i = 0; i < SEGS; i++)
        if (g->shm[i].fd >= 0 && !fstat(g->shm[i].fd, &st)) sum += (uint64_t)st.st_blocks * 512;
    if (sum > g->total.peak_host_bytes) g->total.peak_host_bytes = sum;
}

static void add_stats(struct engine_stats *to, const struct engine *g)
{
    for (int i = 0; g->run && i < STAGES; i++) {
        const struct epoch_stats *s = &g->run->stats[i];
        struct engine_stage_stats *t = &to->stage[i];
        uint64_t first = atomic_load(&s->first_ns);

        t->bytes += atomic_load(&s->bytes);
        t->tiles += atomic_load(&s->tiles);
        t->calls += atomic_load(&s->calls);
        t->busy_ns += atomic_load(&s->busy_ns);
        t->wait_ns += atomic_load(&s->wait_ns);
        t->retries += atomic_load(&s->retries);
        if (!t->first_ns) t->first_ns = first;
        t->cpu_ns += child_cpu_ns(&g->child[i]);
    }
    if (!g->run) return;
    to->hit_bytes += atomic_load(&g->run->stats[STAGE_READER].hit_bytes);
    to->miss_bytes += atomic_load(&g->run->stats[STAGE_READER].miss_bytes);
    to->sweep = atomic_load(&g->run->stats[STAGE_COMPUTE].sweep);
    to->layer = atomic_load(&g->run->stats[STAGE_COMPUTE].layer);
    if (atomic_load(&g->run->stats[STAGE_READER].io_block)) {
        to->io_block = atomic_load(&g->run->stats[STAGE_READER].io_block);
        to->io_depth = atomic_load(&g->run->stats[STAGE_READER].io_depth);
        to->io_rate = atomic_load(&g->run->stats[STAGE_READER].io_rate);
    }
    if (atomic_load(&g->run->stats[STAGE_READER].io_ways))
        to->io_ways = atomic_load(&g->run->stats[STAGE_READER].io_ways);
    if (!to->first_byte_ns) to->first_byte_ns = to->stage[STAGE_READER].first_ns;
}

void engine_stats(struct engine *g, struct engine_stats *out)
{
    *out = g->total;
    add_stats(out, g);
    out->epochs = g->epoch;
    out->mps = g->mps.control > 0;
    memcpy(out->about, g->about, sizeof out->about);
    snprintf(out->compute, sizeof out->compute, "%s", g->about[STAGE_COMPUTE]);
    snprintf(out->reader, sizeof out->reader, "%s", g->about[STAGE_READER]);
}

/* ---- an epoch's end ---- */

static void drain(struct engine *g);

static void end_epoch(struct engine *g, int patience_ms, int killed_ms)
{
    struct control_message stop = {.type = CONTROL_STOP};
    struct error ignored;

    sample_memory(g);
    if (g->run) epoch_stop(g->run);
    for (int i = 0; i < STAGES; i++)
        if (!g->child[i].ended) {
            control_send(g->control, (enum stage_id)i, &stop, &ignored);
            if (g->failed >= 0) child_kill(&g->child[i], SIGCONT); /* one that was stopped cannot end */
        }
    for (int i = 0; i < STAGES; i++) {
        if (!g->started[i]) continue;
        child_wait(&g->child[i], patience_ms, killed_ms);
        if (patience_ms > 50) patience_ms = 50;
    }
    if (g->config.trace && g->control) drain(g); /* the last records of a trace */
    words_close(&g->words);
    add_stats(&g->total, g);
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

    end_epoch(g, 100, KILLED_MS_RESTART);
    if ((rc = weights_for_restart(g, e))) return rc;
    if ((rc = begin_epoch(g, e))) end_epoch(g, 0, KILLED_MS_CLOSE);
    return rc;
}

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

/* ---- messages ---- */

static int greet(struct engine *g, enum stage_id from, const struct control_message *m, struct error *e)
{
    struct control_message r = {.type = CONTROL_SETUP,
                                .setup = {.plan = g->fd0 + SEG_PLAN,
                                          .run = g->fd0 + SEG_RUN,
                                          .arena = g->fd0 + SEG_ARENA,
                                          .logits = g->fd0 + SEG_LOGITS,
                                          .cache = g->shm[SEG_CACHE].fd >= 0 ? g->fd0 + SEG_CACHE : -1}};

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

static void drain(struct engine *g)
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

static bool all_attached(const struct engine *g)
{
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
static int failure(struct engine *g, struct error *e)
{
    struct pollfd p = {.fd = control_fd(g->control), .events = POLLIN};
    uint64_t end = clock_ns() + (uint64_t)WORDS_MS * 1000000u;
    const char *words, *name;
    char how[192];
    bool certain;
    int who;

    while (who = failed_stage(g, &certain), !certain && clock_ns() < end) {
        poll(&p, 1, 20);
        drain(g);
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

void engine_rest(struct engine *g)
{
    if (!g->run) return;
    epoch_rest(g->run);
    g->resting = true;
}

/* From here on the stages must give signs of life again, and get as much time for the first one as for any other. */
static void wake(struct engine *g)
{
    if (!g->resting) return;
    g->resting = false;
    g->epoch_ns = g->loop_ns = clock_ns();
    if (g->run) epoch_wake(g->run);
}

int engine_poll(struct engine *g, int timeout_ms, struct error *e)
{
    struct pollfd p[STAGES + 3] = {
        {.events = POLLIN}, {.fd = interrupt_fd(), .events = POLLIN}, {.fd = g->words.read, .events = POLLIN}};
    uint64_t now;

    if (!g->control) return error_set(e, EPIPE, "the stages do not run");
    wake(g);
    p[0].fd = control_fd(g->control);
    for (int i = 0; i < STAGES; i++) p[3 + i] = (struct pollfd){.fd = g->child[i].pidfd, .events = POLLIN};
    drain(g);
    if (timeout_ms && !g->done && !g->answered) poll(p, STAGES + 3, timeout_ms < 50 ? timeout_ms : 50);
    drain(g);
    words_look(&g->words);
    now = clock_ns();
    watch_children(g);
    watch_pulse(g, now);
    watch_hello(g, now);
    if (now - g->tick_ns > TICK_NS) {
        g->tick_ns = now;
        sample_memory(g);
        if (g->config.tick) g->config.tick(g->config.tick_arg);
    }
    if (g->failed >= 0 || atomic_load(&g->run->failed)) return failure(g, e);
    if (interrupted()) return error_set(e, ECANCELED, "interrupted");
    return 0;
}

int engine_ready(struct engine *g, struct error *e)
{
    int rc;

    /* A restart that failed left no epoch at all. */
    if (!g->control && (rc = engine_restart(g, e))) return rc;
    wake(g);
    while (!all_attached(g)) {
        if ((rc = engine_poll(g, 50, e))) return rc;
        if (clock_ns() - g->epoch_ns > START_LIMIT_NS)
            return error_set(e, ETIMEDOUT, "the stages did not start within %d s", (int)(START_LIMIT_NS / 1000000000u));
    }
    return 0;
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

int engine_weights_unchanged(struct engine *g, struct error *e)
{
    int rc = g->control ? weights_look(&g->weights, e) : 0;

    for (uint32_t i = 0; g->control && i < g->config.plan->files.count && !rc; i++)
        if (weights_touched(&g->weights, i)) rc = compare_file(g, i, e);
    return rc;
}
