#include "proto/stage/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/sandbox.h"
#include "proto/base/log.h"

#define TRACES          16384u /* a power of two */
#define LISTEN_MS       50
#define LISTEN_TRACE_MS 5 /* records come faster than a thousand a millisecond from no model */

struct stage_trace {
    _Atomic uint64_t head, tail, dropped;
    uint64_t told[2][LANES]; /* [host, device] entries that were traced; in order, as they are freed */
    struct trace_record at[TRACES];
};

enum { SHM_PLAN, SHM_RUN, SHM_ARENA, SHM_LOGITS, SHM_CACHE };

struct arguments {
    const char *address, *fault;
    long parent;
    int log;
};

static int parse(int argc, char **argv, struct arguments *a, struct error *e)
{
    *a = (struct arguments){.log = LOG_WARN};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--control")) a->address = argv[i + 1];
        else if (!strcmp(argv[i], "--parent")) a->parent = atol(argv[i + 1]);
        else if (!strcmp(argv[i], "--log")) a->log = atoi(argv[i + 1]);
#ifdef SLUICE_FAULTS
        else if (!strcmp(argv[i], "--fault")) a->fault = argv[i + 1];
#endif
    }
    log_setup(program_invocation_short_name, (enum log_level)a->log);
    return a->address ? 0 : error_set(e, EINVAL, "this is a part of sluice and is started by it; run: sluice MODEL");
}

static int hello(struct stage *s, pid_t parent, struct control_message *setup, struct error *e)
{
    struct control_message m = {.type = CONTROL_HELLO,
                                .hello = {.version = CONTROL_VERSION, .stage = s->me, .pid = (uint64_t)getpid(), .build = SLUICE_VERSION}};
    int rc = control_send(s->control, 0, &m, e);

    if (rc) return rc;
    /* However long it takes: the coordinator may be stopped (Ctrl-Z, a debugger), and its end is ours too. */
    while ((rc = control_receive(s->control, NULL, setup, 1000, e)) == -EAGAIN)
        if (getppid() != parent) return error_set(e, ESRCH, "the coordinator is gone");
    if (rc) return rc;
    if (setup->type == CONTROL_ERROR) return error_set(e, EPROTO, "%.900s", setup->error.text);
    if (setup->type == CONTROL_STOP) return -ECANCELED;
    if (setup->type != CONTROL_SETUP) return error_set(e, EPROTO, "control: expected a setup, got type %d", (int)setup->type);
    return 0;
}

static int map_segments(struct stage *s, const struct control_message *m, struct error *e)
{
    const struct plan_run *run;
    uint64_t slots;
    int rc;

    if ((rc = shm_attach(&s->shm[SHM_PLAN], m->setup.plan, 0, false, e))) return rc;
    s->plan = s->shm[SHM_PLAN].base;
    if ((rc = plan_check(s->plan, s->shm[SHM_PLAN].bytes, e))) return rc;
    if ((rc = shm_attach(&s->shm[SHM_RUN], m->setup.run, 0, true, e))) return rc;
    s->run = s->shm[SHM_RUN].base;
    if ((rc = epoch_check(s->run, s->shm[SHM_RUN].bytes, e))) return rc;
    shm_populate(&s->shm[SHM_RUN]); /* a queue that is walked page by page for the first time looks like a leak */

    run = &s->plan->run;
    if ((rc = shm_attach(&s->shm[SHM_ARENA], m->setup.arena, 0, true, e))) return rc;
    s->arena = s->shm[SHM_ARENA].base;
    s->arena_bytes = s->shm[SHM_ARENA].bytes;
    slots = (uint64_t)run->reader_slots[0] + run->reader_slots[1];
    if (s->arena_bytes < slots * run->slot_bytes) return error_set(e, EPROTO, "the arena is smaller than its slots");
    if (s->me == STAGE_COMPUTE) {
        if ((rc = shm_attach(&s->shm[SHM_LOGITS], m->setup.logits, 0, true, e))) return rc;
        s->logits = s->shm[SHM_LOGITS].base;
        if (s->shm[SHM_LOGITS].bytes < (uint64_t)run->max_logits * s->plan->spec.vocab * sizeof(float))
            return error_set(e, EPROTO, "the logits' segment is too small");
    }
    if (run->host_cache_bytes) {
        rc = shm_attach(&s->shm[SHM_CACHE], m->setup.cache, run->host_cache_bytes, true, e);
        if (rc) return rc;
        s->cache = s->shm[SHM_CACHE].base;
        s->cache_bytes = run->host_cache_bytes;
    }
    return 0;
}

/* Signs of life of the process as a whole: a thread of its own, so that neither a long kernel nor a slow disk looks like
 * a process that was stopped. */
static void *pulse_main(void *p)
{
    struct stage *s = p;

    while (!atomic_load(&s->ending)) {
        atomic_store_explicit(&s->run->stats[s->me].heartbeat_ns, clock_ns(), memory_order_relaxed);
        usleep(50000);
    }
    return NULL;
}

static int start_pulse(struct stage *s, struct error *e)
{
    int rc = pthread_create(&s->pulse, NULL, pulse_main, s);

    if (rc) return error_set(e, rc, "cannot start a thread: %s; raise the limit on processes (ulimit -u)", error_name(rc));
    s->has_pulse = true;
    return 0;
}

/* When memory runs out, a stage is the better one to lose: the coordinator starts it again, or says what happened. */
static void offer_to_oom_killer(void)
{
    FILE *f = fopen("/proc/self/oom_score_adj", "we");

    if (!f) return;
    fputs("200", f);
    fclose(f);
}

int stage_open(struct stage *s, enum stage_id me, int argc, char **argv, struct error *e)
{
    struct control_message m;
    struct arguments a;
    int rc;

    memset(s, 0, sizeof *s);
    s->me = me;
    s->status = -1;
    for (size_t i = 0; i < sizeof s->shm / sizeof *s->shm; i++) s->shm[i].fd = -1;
    if ((rc = parse(argc, argv, &a, e))) return rc;
    s->fault = a.fault;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (a.parent && getppid() != a.parent) return error_set(e, ESRCH, "the coordinator is gone");
    offer_to_oom_killer();
    signal(SIGINT, SIG_IGN); /* Ctrl-C reaches the whole group; the coordinator decides */
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if ((rc = control_connect(&s->control, a.address, me, e))) return rc;
    if ((rc = hello(s, getppid(), &m, e))) return rc;
    if ((rc = map_segments(s, &m, e))) return rc;
    if ((rc = start_pulse(s, e))) return rc;
    if (s->plan->run.trace && !(s->traces = calloc(1, sizeof *s->traces))) return error_set(e, ENOMEM, "out of memory");
    return 0;
}

int stage_receive(struct stage *s, struct control_message *m, int timeout_ms, struct error *e)
{
    int rc = control_receive(s->control, NULL, m, timeout_ms, e);

    if (!rc && m->type == CONTROL_STOP) return -ECANCELED;
    if (rc == -EAGAIN && s->run) {
        int state = epoch_state(s->run);
        if (state) return state;
    }
    return rc;
}

int stage_send(struct stage *s, const struct control_message *m, struct error *e)
{
    return control_send(s->control, 0, m, e);
}

/* What cannot be had is no reason to end: the run goes on, less guarded. */
static void give_up_privileges(const struct stage *s)
{
    enum sandbox what = s->me == STAGE_READER                      ? CONFINE_READ
                        : s->plan->run.backend == BACKEND_CUDA ? CONFINE_DEVICE
                                                                   : CONFINE_WORK;
    struct error e = {0};

    if (sandbox(what, &e)) log_debug("%s", e.text);
}

static void tell_unlocked(const struct stage *s, const char *what, uint64_t bytes, int rc)
{
    enum log_level level = shm_swap_exists() ? LOG_WARN : LOG_INFO;

    if (!rc || s->run->epoch > 1) return; /* told once */
    log_at(level, "%.1f MB of %s cannot be locked in memory (%s)%s: raise ulimit -l (docker run --ulimit memlock=-1)",
           (double)bytes / 1e6, what, error_name(-rc),
           level == LOG_WARN ? ", so the system may move it to swap, where it is slow" : "; there is no swap here");
}

void stage_lock_slots(struct stage *s)
{
    int rc = shm_lock(s->shm[SHM_ARENA].base, s->shm[SHM_ARENA].bytes);

    if (!rc) rc = shm_lock(s->shm[SHM_CACHE].base, s->shm[SHM_CACHE].bytes);
    tell_unlocked(s, "slots and cached weights", s->arena_bytes + s->cache_bytes, rc);
}

void stage_lock(struct stage *s, const char *what, void *base, uint64_t bytes)
{
    tell_unlocked(s, what, bytes, shm_lock(base, bytes));
}

int stage_attached(struct stage *s, const char *description, struct error *e)
{
    struct control_message m = {.type = CONTROL_ATTACHED};

    s->status = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    give_up_privileges(s);
    strncpy(m.attached.text, description, sizeof m.attached.text - 1);
    return control_send(s->control, 0, &m, e);
}

/* ---- traces ---- */

void stage_trace(struct stage *s, const struct trace_record *r)
{
    struct stage_trace *t = s->traces;
    uint64_t head;

    if (!t) return;
    head = atomic_load_explicit(&t->head, memory_order_relaxed);
    if (head - atomic_load_explicit(&t->tail, memory_order_acquire) >= TRACES) {
        atomic_fetch_add_explicit(&t->dropped, 1, memory_order_relaxed);
        return;
    }
    t->at[head % TRACES] = *r;
    atomic_store_explicit(&t->head, head + 1, memory_order_release);
}

void stage_trace_entry(struct stage *s, int ring, enum lane_id lane, const struct ring_entry *x)
{
    struct trace_record r = {.sweep = x->sweep, .bytes = x->bytes, .fill_ns = x->fill_ns, .ready_ns = x->ready_ns,
                             .take_ns = x->take_ns, .free_ns = x->free_ns, .tile = x->tile, .rows = x->rows,
                             .entry = (uint32_t)(x->seq & (s->plan->run.entries[lane] - 1)),
                             .ring = (uint8_t)ring, .lane = (uint8_t)lane};

    if (!s->traces) return;
    s->traces->told[ring][lane] = x->seq + 1;
    stage_trace(s, &r);
}

/* Entries that were under way at the end: each as far as it came. Times of its earlier rounds do not count. */
static void trace_rest(struct stage *s, int ring, enum lane_id lane)
{
    const struct ring_shm *x = (const void *)((const uint8_t *)s->run + s->run->ring_off[ring][lane]);
    uint64_t released = atomic_load(&x->released), taken = atomic_load(&x->taken), published = atomic_load(&x->published);
    uint64_t reserved = atomic_load(&x->reserved);

    for (uint64_t i = s->traces->told[ring][lane]; i < reserved && reserved - i <= x->depth; i++) {
        struct ring_entry y = x->entry[i & (x->depth - 1)];

        y.seq = i;
        if (i >= published) y.ready_ns = 0;
        if (i >= taken) y.take_ns = 0;
        if (i >= released) y.free_ns = 0;
        stage_trace_entry(s, ring, lane, &y);
    }
}

static void send_traces(struct stage *s);

/* The producer of a ring tells of its entries. */
static void end_traces(struct stage *s)
{
    uint64_t dropped;

    if (!s->traces) return;
    for (int lane = 0; lane < LANES && s->me != STAGE_COMPUTE && s->run; lane++)
        trace_rest(s, s->me == STAGE_TRANSFER, (enum lane_id)lane);
    send_traces(s);
    dropped = atomic_load(&s->traces->dropped);
    if (dropped) log_warn("the trace lacks %llu records that came faster than they could be sent", (unsigned long long)dropped);
}

static void send_traces(struct stage *s)
{
    struct stage_trace *t = s->traces;
    struct control_message m = {.type = CONTROL_TRACE};
    struct error ignored;
    uint64_t tail, head;

    if (!t) return;
    tail = atomic_load_explicit(&t->tail, memory_order_relaxed);
    head = atomic_load_explicit(&t->head, memory_order_acquire);
    while (tail < head) {
        uint64_t n = TRACES - tail % TRACES; /* up to the end of the buffer */

        if (n > head - tail) n = head - tail;
        if (n > CONTROL_TRACE_MAX) n = CONTROL_TRACE_MAX;
        m.trace.count = (uint32_t)n;
        m.trace.record = &t->at[tail % TRACES];
        control_send(s->control, 0, &m, &ignored);
        tail += n;
        atomic_store_explicit(&t->tail, tail, memory_order_release);
    }
}

/* ---- peaks ---- */

uint64_t stage_cpu_ns(void)
{
    struct timespec t;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t)) return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int stage_measure(struct stage *s, const struct control_message *ask, struct error *e)
{
    struct control_message answer = {.type = CONTROL_MEASURED};
    struct error why = {0};

    if (s->measure && s->measure(s->measure_arg, ask, &answer, &why)) {
        log_warn("%s", why.text);
        answer.measured.ns = 0;
    }
    return control_send(s->control, 0, &answer, e);
}

/* ---- the working thread ---- */

struct worker {
    int (*work)(void *arg, struct error *e);
    void *arg;
    struct error *error;
    int rc;
    struct stage *stage;
    _Atomic bool ended;
};

static void *worker_main(void *p)
{
    struct worker *w = p;

    w->rc = w->work(w->arg, w->error);
    /* The others learn of a failure at once; its text follows by message. */
    if (w->rc && w->rc != -ECANCELED && w->rc != -EPIPE) epoch_fail(w->stage->run, w->stage->me);
    atomic_store(&w->ended, true);
    return NULL;
}

int stage_serve(struct stage *s, int (*work)(void *arg, struct error *e), void *arg, struct error *e)
{
    struct worker w = {.work = work, .arg = arg, .error = e, .stage = s};
    struct control_message m;
    struct error local = {0};
    pthread_t thread;
    int rc;

    rc = pthread_create(&thread, NULL, worker_main, &w);
    if (rc) return error_set(e, rc, "cannot start a thread: %s", error_name(rc));
    while (!atomic_load(&w.ended)) {
        rc = stage_receive(s, &m, s->traces ? LISTEN_TRACE_MS : LISTEN_MS, &local);
        if (rc == -ECANCELED) epoch_stop(s->run);
        if (!rc && m.type == CONTROL_MEASURE) stage_measure(s, &m, &local);
        send_traces(s);
    }
    pthread_join(thread, NULL);
    send_traces(s);
    return w.rc;
}

/* ---- the end ---- */

static uint64_t kib_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* What is this process's alone: VmHWM would count shared segments once for every process. */
static uint64_t own_peak_bytes(const struct stage *s)
{
    char text[4096];
    ssize_t n = s->status < 0 ? -1 : pread(s->status, text, sizeof text - 1, 0);

    if (n < 0) return 0;
    text[n] = 0;
    return (kib_of(text, "RssAnon:") + kib_of(text, "RssFile:")) * 1024;
}

static void last_words(struct stage *s, int rc, const struct error *e)
{
    struct control_message m = {.type = CONTROL_BYE};
    struct error ignored;
    struct rusage u;

    if (rc && rc != -ECANCELED && rc != -EPIPE) {
        m.type = CONTROL_ERROR;
        m.error.code = (uint32_t)-rc;
        memcpy(m.error.text, e->text, sizeof m.error.text);
        m.error.text[sizeof m.error.text - 1] = 0;
        if (s->run) epoch_fail(s->run, s->me);
    } else {
        getrusage(RUSAGE_SELF, &u);
        m.bye.cpu_ns = (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u +
                       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
        m.bye.peak_bytes = own_peak_bytes(s);
    }
    control_send(s->control, 0, &m, &ignored);
}

int stage_close(struct stage *s, int rc, const struct error *e)
{
    atomic_store(&s->ending, true);
    if (s->control) end_traces(s);
    if (s->control) last_words(s, rc, e);
    else if (rc) log_warn("%s", e->text);
    control_close(s->control);
    if (s->has_pulse) pthread_join(s->pulse, NULL);
    for (size_t i = 0; i < sizeof s->shm / sizeof *s->shm; i++) shm_close(&s->shm[i]);
    if (s->status >= 0) close(s->status);
    free(s->traces);
    return rc && rc != -ECANCELED ? 1 : 0;
}
