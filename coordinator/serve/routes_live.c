/* What a page needs beside answers: its own files, the pipeline as events, and streams that are read again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator/serve/out.h"
#include "coordinator/serve/page.h"
#include "coordinator/serve/routes.h"
#include "proto/base/clock.h"

#define EVENTS_MS    100 /* between two events at least */
#define EVENTS_IDLE  10  /* of these, where nothing is under way */
#define WATCHERS_MAX 32

void routes_page(struct routes *r, struct exchange *x)
{
    (void)r;
    page_reply(x);
}

/* ---- /events ---- */

struct watching {
    struct routes *routes;
    struct exchange *exchange;
    unsigned idle;
    size_t at; /* of what is being sent */
    struct buffer event;
};

static void make_event(struct watching *w)
{
    const struct routes *r = w->routes;

    w->event.bytes = w->at = 0;
    buffer_append_text(&w->event, "data: ");
    pulse_write(r->pulse, &w->event, r->metrics, r->facts->instance);
    buffer_append_text(&w->event, ",\"slots\":");
    work_slots(r->work, &w->event);
    buffer_append_text(&w->event, "}\n\n");
}

static long on_read(void *arg, char *out, size_t room)
{
    struct watching *w = arg;
    const struct timespec pause = {.tv_nsec = EVENTS_MS * 1000000L};
    size_t n;

    if (w->at == w->event.bytes) {
        if (w->event.bytes) nanosleep(&pause, NULL);
        if (atomic_load(&w->routes->pulse->ending)) return -1;
        if (exchange_gone(w->exchange)) return -2;
        if (w->event.bytes && !atomic_load(&w->routes->metrics->running) && ++w->idle % EVENTS_IDLE) return 0;
        make_event(w);
        if (w->event.failed) return -2;
    }
    n = w->event.bytes - w->at < room ? w->event.bytes - w->at : room;
    memcpy(out, w->event.data + w->at, n);
    w->at += n;
    return (long)n;
}

static void on_finish(void *arg)
{
    struct watching *w = arg;

    atomic_fetch_sub(&w->routes->pulse->watched, 1);
    buffer_free(&w->event);
    free(w);
}

void routes_events(struct routes *r, struct exchange *x)
{
    struct watching *w = calloc(1, sizeof *w);
    struct http_source s = {.read = on_read, .finish = on_finish, .arg = w};
    struct fault f;

    if (atomic_fetch_add(&r->pulse->watched, 1) >= WATCHERS_MAX || !w) {
        atomic_fetch_sub(&r->pulse->watched, 1);
        free(w);
        fault_set(&f, 503, NULL, NULL, "%d clients look at /events already", WATCHERS_MAX);
        f.retry_after = 60;
        http_fault(x, &f);
        return;
    }
    *w = (struct watching){.routes = r, .exchange = x};
    http_stream(x, "text/event-stream", &s);
}

/* ---- /v1/stream ---- */

void routes_stream(struct routes *r, struct exchange *x)
{
    const char *name = exchange_query(x, "conv_id"), *from = exchange_query(x, "from");
    struct job *j = NULL;
    struct fault f;
    char *end = NULL;
    unsigned long events = from ? strtoul(from, &end, 10) : 0;

    if (!name || !streams_name_good(name) || (from && (*end || !*from || *from == '-'))) {
        fault_set(&f, 400, name && streams_name_good(name) ? "from" : "conv_id", NULL,
                  "conv_id must be 1 to 64 letters, digits, - and _, and from a number of events");
        http_fault(x, &f);
        return;
    }
    if (!(j = streams_find(r->streams, name, routes_caller(x)))) {
        fault_set(&f, 404, "conv_id", "not_found", "there is no stream of this conversation (any more)");
        http_fault(x, &f);
        return;
    }
    if (!strcmp(exchange_method(x), "DELETE")) { /* nobody wants it any more */
        struct buffer b = {0};

        pthread_mutex_lock(&j->lock);
        if (!j->done) job_leave(j);
        out_format(&b, "{\"stopped\":%s}", j->done ? "false" : "true");
        pthread_mutex_unlock(&j->lock);
        job_release(j);
        routes_json(x, &b);
        return;
    }
    routes_read(r, x, j, events);
}
