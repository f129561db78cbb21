#include "coordinator/remote/node.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/engine/engine.h"
#include "coordinator/remote/node_files.h"
#include "coordinator/plan/machine.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/frames.h"

#define LAST_WORDS_NS UINT64_C(1000000000)
#define ORDERS        2u /* one that is computed, one that has come since */

struct order {
    uint64_t sweep;
    uint32_t count;
    struct sweep_position *position;
};

struct node {
    struct frames frames;
    struct engine *engine;
    struct engine_peers peers;
    struct plan_shm *plan;
    struct order order[ORDERS];
    uint32_t orders;
    bool stop, resting, compare, busy;
    uint64_t pulse_ns, next_sweep;
};

/* ---- what the coordinator says ---- */

static int take_order(struct node *n, const struct frame *h, struct error *e)
{
    struct frame_sweep s;
    struct order *o = &n->order[n->orders];
    uint64_t bytes;

    if (n->orders == ORDERS || h->bytes < sizeof s) return error_set(e, EPROTO, "a sweep is ordered that cannot be");
    memcpy(&s, frame_data(h), sizeof s);
    bytes = s.count * sizeof *o->position;
    if (!s.count || s.count > n->plan->run.max_positions || h->bytes != sizeof s + bytes)
        return error_set(e, EPROTO, "a sweep of %u positions is ordered in %llu bytes", s.count,
                         (unsigned long long)h->bytes);
    *o = (struct order){.sweep = s.sweep, .count = s.count, .position = malloc(bytes)};
    if (!o->position) return error_set(e, ENOMEM, "out of memory");
    memcpy(o->position, (const char *)frame_data(h) + sizeof s, bytes);
    n->orders++;
    return 0;
}

static int listen_to(struct node *n, struct error *e)
{
    const struct frame *h;
    int rc = 0;

    while (!rc && (h = frames_next(&n->frames, &rc))) {
        switch (h->type) {
        case FRAME_SWEEP: rc = take_order(n, h, e); break;
        case FRAME_REST: n->resting = true; break;
        case FRAME_WAKE: n->resting = false; break;
        case FRAME_COMPARE: n->compare = true; break;
        case FRAME_STOP: n->stop = true; break;
        default: break;
        }
    }
    if (rc && !e->text[0]) error_set(e, -rc, "sluice-link sends what is no frame");
    if (n->frames.closed) n->stop = true;
    return rc ? rc : n->stop ? -ECANCELED : 0;
}

/* ---- the engine's peers: all that a machine but the first knows of others is its link ---- */

static int begin(void *arg, uint64_t epoch, int run_fd, int link_fd, struct error *e)
{
    struct node *n = arg;
    int pass[2] = {run_fd, link_fd};

    (void)epoch;
    if (frames_send(&n->frames, FRAME_SEGMENTS, 0, NULL, 0, pass)) return error_set(e, ENOMEM, "out of memory");
    return 0;
}

static int order(void *arg, uint64_t sweep, const struct sweep_position *s, uint32_t count, struct error *e)
{
    (void)arg, (void)sweep, (void)s, (void)count, (void)e;
    return 0;
}

static void pulse(struct node *n)
{
    struct frame_pulse p;
    struct engine_stats t;

    n->pulse_ns = clock_ns();
    if (n->frames.waiting) return;
    engine_stats(n->engine, &t);
    p = (struct frame_pulse){.read_bytes = t.stage[STAGE_READER].bytes,
                             .compute_busy_ns = t.stage[STAGE_COMPUTE].busy_ns,
                             .peak_bytes = t.peak_host_bytes};
    frames_send(&n->frames, FRAME_PULSE, 0, &p, sizeof p, NULL);
}

static int look(void *arg, bool *ready, struct error *e)
{
    struct node *n = arg;

    *ready = true;
    if (n->engine && clock_ns() - n->pulse_ns > FRAME_PULSE_NS) pulse(n);
    return listen_to(n, e);
}

static int link_fd(void *arg)
{
    return ((const struct node *)arg)->frames.fd;
}

static void rest(void *arg, bool rests)
{
    (void)arg, (void)rests;
}

static bool recoverable(void *arg)
{
    (void)arg;
    return false;
}

static void end(void *arg)
{
    (void)arg;
}

/* ---- the plan ---- */

static int wait_frame(struct node *n, const struct frame **h, struct error *e)
{
    struct pollfd p = {.fd = n->frames.fd, .events = POLLIN};
    int rc = 0;

    for (;;) {
        *h = frames_next(&n->frames, &rc);
        if (rc) return error_set(e, -rc, "sluice-link sends what is no frame");
        if (*h && ((*h)->type == FRAME_PLAN || (*h)->type == FRAME_STOP)) return 0;
        if (*h) continue;
        if (n->frames.closed) return -ECANCELED;
        poll(&p, 1, -1);
    }
}

static int say_hello(struct node *n, struct error *e)
{
    struct frame_hello x = {.version = FRAMES_VERSION, .build = SLUICE_VERSION};
    struct machine m;

    machine_look(&m);
    x.cpus = m.cpus_big;
    x.memory = m.free_bytes;
    x.shm = m.shm_free;
    if (frames_send(&n->frames, FRAME_HELLO, 0, &x, sizeof x, NULL)) return error_set(e, ENOMEM, "out of memory");
    return 0;
}

static int take_plan(struct node *n, struct frame_plan *f, const struct frame *h, struct error *e)
{
    const char *path = (const char *)frame_data(h) + sizeof *f;
    int rc;

    if (h->bytes < sizeof *f) return error_set(e, EPROTO, "a plan of %llu bytes", (unsigned long long)h->bytes);
    memcpy(f, frame_data(h), sizeof *f);
    if (f->path_bytes > h->bytes - sizeof *f || f->plan_bytes != h->bytes - sizeof *f - f->path_bytes ||
        f->plan_bytes < sizeof *n->plan || !memchr(path, 0, f->path_bytes))
        return error_set(e, EPROTO, "a plan whose parts are not as long as it says");
    n->plan = aligned_alloc(64, (f->plan_bytes + 63) / 64 * 64);
    if (!n->plan) return error_set(e, ENOMEM, "no memory for a plan of %llu bytes", (unsigned long long)f->plan_bytes);
    memcpy(n->plan, path + f->path_bytes, f->plan_bytes);
    if ((rc = plan_check(n->plan, f->plan_bytes, e))) return rc;
    return node_files_take(n->plan, path, e);
}

static int start(struct node *n, struct error *e)
{
    const struct frame *h;
    struct frame_plan f;
    struct engine_config c = {.peers = &n->peers};
    int rc = say_hello(n, e);

    if (rc || (rc = wait_frame(n, &h, e))) return rc;
    if (h->type == FRAME_STOP) return -ECANCELED;
    if ((rc = take_plan(n, &f, h, e))) return rc;
    n->peers = (struct engine_peers){.arg = n,
                                     .rank = f.rank,
                                     .ranks = f.ranks,
                                     .epoch = f.epoch,
                                     .begin = begin,
                                     .order = order,
                                     .look = look,
                                     .fd = link_fd,
                                     .rest = rest,
                                     .recoverable = recoverable,
                                     .end = end};
    c.plan = n->plan;
    c.plan_bytes = f.plan_bytes;
    if ((rc = engine_open(&n->engine, &c, e)) || (rc = engine_ready(n->engine, e))) return rc;
    frames_send(&n->frames, FRAME_READY, 0, NULL, 0, NULL);
    return 0;
}

/* ---- at work ---- */

static int sweep(struct node *n, struct error *e)
{
    struct order o = n->order[0];
    int rc;

    n->order[0] = n->order[1];
    n->orders--;
    if (o.sweep != n->next_sweep++)
        rc = error_set(e, EPROTO, "sweep %llu is ordered, and %llu comes next", (unsigned long long)o.sweep,
                       (unsigned long long)n->next_sweep - 1);
    else
        rc = engine_sweep_start(n->engine, o.position, o.count, e);
    free(o.position);
    n->busy = !rc;
    return rc;
}

static void answer_compare(struct node *n)
{
    struct frame_error x = {.code = 0};
    struct error e = {0};
    int rc = engine_weights_unchanged(n->engine, &e);

    n->compare = false;
    if (rc) {
        x.code = (uint32_t)-rc;
        memcpy(x.text, e.text, sizeof x.text);
    }
    frames_send(&n->frames, FRAME_COMPARED, 0, &x, sizeof x, NULL);
}

/* Nobody asks for anything: the stages sleep, and so does this. */
static int sleep_long(struct node *n, struct error *e)
{
    struct pollfd p = {.fd = n->frames.fd, .events = POLLIN};
    int rc = 0;

    engine_rest(n->engine);
    while (!rc && n->resting && !n->orders) {
        poll(&p, 1, -1);
        rc = listen_to(n, e);
    }
    n->resting = false;
    return rc;
}

static int work(struct node *n, struct error *e)
{
    int rc = 0;

    while (!rc) {
        if (n->orders)
            rc = sweep(n, e);
        else
            rc = engine_poll(n->engine, 50, e);
        if (!rc && n->busy && engine_sweep_done(n->engine)) {
            n->busy = false;
            pulse(n);
        }
        if (!rc && n->compare && !n->busy) answer_compare(n);
        if (!rc && n->resting && !n->busy) rc = sleep_long(n, e);
    }
    return rc;
}

static void last_words(struct node *n, int rc, const struct error *e)
{
    struct frame_error x = {.code = (uint32_t)-rc, .recoverable = n->engine && engine_recoverable(n->engine)};
    uint64_t limit = clock_ns() + LAST_WORDS_NS;

    memcpy(x.text, e->text, sizeof x.text);
    frames_send(&n->frames, FRAME_ERROR, 0, &x, sizeof x, NULL);
    while (n->frames.first && !n->frames.closed && clock_ns() < limit) {
        frames_flush(&n->frames);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* What it says has to get there: the coordinator ends the job then, and this with it. */
static void wait_for_end(struct node *n)
{
    struct pollfd p = {.fd = n->frames.fd, .events = POLLIN};
    uint64_t limit = clock_ns() + 5 * LAST_WORDS_NS;
    struct error ignored;

    while (!n->stop && clock_ns() < limit) {
        poll(&p, 1, 100);
        listen_to(n, &ignored);
    }
}

int node_run(int beside, struct error *e)
{
    struct node n = {.stop = false};
    int rc = frames_open(&n.frames, beside, e);

    if (!rc) rc = start(&n, e);
    if (!rc) rc = work(&n, e);
    if (n.stop || rc == -ECANCELED) rc = 0;
    if (rc) last_words(&n, rc, e);
    engine_close(n.engine);
    if (rc) wait_for_end(&n);
    frames_close(&n.frames);
    for (uint32_t i = 0; i < n.orders; i++) free(n.order[i].position);
    free(n.plan);
    return rc;
}
