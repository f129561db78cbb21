#include "coordinator/serve/serve.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "coordinator/engine/interrupt.h"
#include "coordinator/serve/keys.h"
#include "coordinator/serve/room.h"
#include "coordinator/serve/routes.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define SETTLE_MS 2000 /* for the last words to be sent */

struct server {
    const struct options *options;
    struct instance *instance;
    struct facts facts;
    struct metrics metrics;
    struct work *work;
    struct http *http;
    struct routes routes;
    struct pulse pulse;
    struct streams *streams;
    struct room *room;
    struct keys keys;
    uint32_t connections; /* at once */
    pthread_t watcher;
    bool watched;
    atomic_bool serving; /* requests are answered: a signal lets those end that run */
    atomic_bool over;    /* all is done: the watcher ends */
};

/* ---- signals: the first one drains, the next one interrupts ---- */

static int wake = -1;

static void on_signal(int signal)
{
    uint64_t one = 1;
    int saved = errno;

    (void)signal;
    if (write(wake, &one, sizeof one) < 0) { /* it is full: somebody will look anyway */
    }
    errno = saved;
}

static int signals(struct error *e)
{
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, hangup;

    wake = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    if (wake < 0) return error_set(e, errno, "cannot make an event: %s", error_name(errno));
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    if (!sigaction(SIGHUP, NULL, &hangup) && hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &a, NULL); /* nohup */
    signal(SIGPIPE, SIG_IGN);
    return 0;
}

/* One signal; false: none came in that time. */
static bool heard(int ms)
{
    struct pollfd p = {.fd = wake, .events = POLLIN};
    uint64_t n;

    return poll(&p, 1, ms) > 0 && read(wake, &n, sizeof n) == sizeof n;
}

/* Whoever computes looks for interrupts (engine/interrupt.h). */
static void interrupt(void)
{
    interrupt_setup();
    kill(getpid(), SIGTERM);
}

static void *watch(void *arg)
{
    struct server *s = arg;
    double drain = s->options->drain;

    while (!heard(-1)) {
    }
    if (atomic_load(&s->over)) return NULL;
    if (!atomic_load(&s->serving)) {
        interrupt();
        return NULL;
    }
    if (!s->options->quiet)
        fprintf(stderr, "sluice: ending: what runs has %g s; a second signal ends it at once\n", drain);
    work_drain(s->work, drain);
    heard((int)(drain * 1000));
    if (!atomic_load(&s->over)) interrupt();
    return NULL;
}

/* ---- what the batch tells ---- */

static void on_sweep(void *arg, const struct batch_progress *p)
{
    struct server *s = arg;
    struct metrics *m = &s->metrics;

    pulse_take(&s->pulse, s->instance, p, atomic_load(&m->sweeps));
    metrics_guessing(m, p);
    atomic_store(&m->rows, p->positions);
    atomic_store(&m->layer, 0);
    atomic_store(&m->layers, (unsigned)p->layers);
}

static void on_tick(void *arg, const struct batch_progress *p)
{
    struct server *s = arg;
    struct metrics *m = &s->metrics;

    pulse_take(&s->pulse, s->instance, p, atomic_load(&m->sweeps));
    metrics_guessing(m, p);
    atomic_store(&m->layer, (unsigned)p->layer);
    atomic_store(&m->bytes_read, p->bytes_read);
}

static void on_swept(void *arg, uint64_t start_ns, uint64_t end_ns, uint32_t positions)
{
    struct metrics *m = &((struct server *)arg)->metrics;

    (void)start_ns;
    (void)end_ns;
    atomic_fetch_add(&m->sweeps, 1);
    atomic_fetch_add(&m->positions, positions);
}

static void on_guessed(void *arg, uint64_t start_ns, uint64_t end_ns, uint32_t guesses)
{
    struct metrics *m = &((struct server *)arg)->metrics;

    atomic_fetch_add(&m->guesses, guesses);
    atomic_fetch_add(&m->draft_ns, end_ns - start_ns);
}

static void on_note(void *arg, const char *text)
{
    (void)arg;
    log_info("%s", text);
}

static void on_connections(void *arg, int change)
{
    struct routes *r = arg;

    atomic_fetch_add(&r->metrics->connections, (unsigned)change);
}

/* ---- its life ---- */

static int start(struct server *s, struct error *e)
{
    const struct options *o = s->options;
    struct batch_observer observer = {
        .arg = s, .sweep = on_sweep, .tick = on_tick, .swept = on_swept, .guessed = on_guessed, .note = on_note};
    struct instance_config c = {.options = o, .text = true, .template = PARTS_TEMPLATE_IF_ANY, .observer = &observer};
    struct instance_load load = {.sequences = o->parallel ? (uint32_t)o->parallel : SERVE_PARALLEL_MOST,
                                 .max_logits = SERVE_PARALLEL_MOST,
                                 .fewer = !o->parallel,
                                 .beside = {ROOM_SHARE, ROOM_LEAST, ROOM_MOST}};
    struct room_share share;
    int rc = instance_load(&s->instance, &c, e);

    if (!rc) rc = instance_start(s->instance, &load, e);
    if (rc) return rc;
    if ((rc = facts_open(&s->facts, s->instance, e))) return rc;
    share = room_share(instance_beside(s->instance));
    if (!(s->room = room_open(share.account, streams_reclaim, s->streams)))
        return error_set(e, ENOMEM, "out of memory");
    s->facts.room = s->room;
    s->connections = share.connections;
    if (o->match_answers == OPTION_ON && (rc = facts_match_answers(&s->facts, share.answers, e))) return rc;
    atomic_store(&s->metrics.kv_rows, instance_plan(s->instance)->run.kv_rows);
    s->metrics.predicted_seconds = instance_summary(s->instance)->predicted_seconds_per_token;
    return work_open(&s->work,
                     &(struct work_config){.facts = &s->facts, .metrics = &s->metrics, .queue = (uint32_t)o->queue}, e);
}

/* Whether the address is free is known before anything is loaded. */
static int take_address(struct server *s, struct error *e)
{
    const struct options *o = s->options;
    struct http_config c = {.host = o->host,
                            .port = o->port,
                            .key = s->keys.key,
                            .keys = s->keys.count,
                            .methods = routes_methods,
                            .handle = routes_handle,
                            .connections = on_connections,
                            .arg = &s->routes};
    int rc = http_open(&s->http, &c, e);

    if (!rc && pthread_create(&s->watcher, NULL, watch, s)) rc = error_set(e, EAGAIN, "cannot start a thread");
    s->watched = !rc;
    return rc;
}

static int listen_for_requests(struct server *s, struct error *e)
{
    const struct options *o = s->options;
    bool six = strchr(o->host, ':') != NULL;
    int rc = engine_ready(instance_engine(s->instance), e);

    s->routes = (struct routes){.facts = &s->facts,
                                .metrics = &s->metrics,
                                .work = s->work,
                                .pulse = &s->pulse,
                                .streams = s->streams,
                                .connections = s->connections,
                                .heartbeat = o->heartbeat};
    if (!rc) rc = http_start(s->http, &(struct http_bounds){.room = s->room, .connections = s->connections}, e);
    if (rc) return rc;
    atomic_store(&s->serving, true);
    if (!o->quiet)
        fprintf(stderr, "sluice: %s, %u answers at once, %u tokens of context\n", s->facts.name, s->facts.parallel,
                s->facts.context);
    fprintf(stderr, "listening on http://%s%s%s:%d\n", six ? "[" : "", o->host, six ? "]" : "", http_port(s->http));
    return 0;
}

/* Those who listen hear the end before the connections are closed. */
static void end(struct server *s)
{
    uint64_t one = 1;

    atomic_store(&s->over, true);
    if (s->watched && write(wake, &one, sizeof one) == sizeof one) pthread_join(s->watcher, NULL);
    atomic_store(&s->pulse.ending, true);
    if (s->work) work_end(s->work);
    if (s->http) http_settle(s->http, SETTLE_MS);
    http_close(s->http);
    streams_close(s->streams);
    work_close(s->work);
    pulse_close(&s->pulse);
    facts_close(&s->facts);
    instance_close(s->instance);
    room_close(s->room);
    keys_free(&s->keys);
    if (wake >= 0) close(wake);
    wake = -1;
}

int serve(const struct options *o, struct error *e)
{
    struct server s = {.options = o};
    int rc;

    mallopt(M_ARENA_MAX, 2);              /* threads come and go with connections */
    mallopt(M_MMAP_THRESHOLD, 256 << 10); /* what is large goes back to the system when it is freed */
    pulse_open(&s.pulse);
    if (!(s.streams = streams_open())) return error_set(e, ENOMEM, "out of memory");
    rc = signals(e);
    if (!rc) rc = keys_read(&s.keys, o, e);
    if (!rc) rc = take_address(&s, e);
    if (!rc) rc = start(&s, e);
    if (!rc) rc = listen_for_requests(&s, e);
    if (!rc) rc = work_run(s.work, e);
    end(&s);
    return rc;
}
