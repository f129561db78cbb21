/* From a request to its answer: handed in, waited for, and sent as it comes.
 *
 * A token may take minutes. Clients and whatever lies between give up on silence, so that silent answers give signs of life:
 * events a comment that tells where they are, whole answers a newline, which JSON does not mind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/serve/out.h"
#include "coordinator/serve/routes.h"
#include "proto/base/clock.h"

#define LOOK_MS    500    /* how often it is looked whether the client is still there */
#define DROP_BYTES 65536u /* sent, and of no use any more where nobody reads it again */

struct reading {
    const struct routes *routes;
    struct exchange *exchange;
    struct job *job;
    size_t at;        /* bytes of out that were sent */
    uint64_t said_ns; /* when something was sent last */
    bool stays;       /* it goes on without a client */
};

static int sign_of_life(const struct reading *r, char *out, size_t room)
{
    const struct job *j = r->job;
    const struct metrics *m = r->routes->metrics;
    uint32_t done = atomic_load(&j->prompt_done), all = atomic_load(&j->prompt_total);

    if (!j->ask->stream) return snprintf(out, room, "\n");
    if (!atomic_load(&j->runs)) return snprintf(out, room, ": queued %u\n\n", atomic_load(&j->ahead));
    if (done < all) return snprintf(out, room, ": prefill %u/%u\n\n", done, all);
    return snprintf(out, room, ": sweep %u/%u\n\n", atomic_load(&m->layer), atomic_load(&m->layers));
}

static bool silent_long(const struct reading *r)
{
    double limit = r->routes->heartbeat;

    return limit > 0 && (double)(clock_ns() - r->said_ns) / 1e9 >= limit;
}

static size_t copy(struct reading *r, char *out, size_t room, bool *end)
{
    struct job *j = r->job;
    size_t n, at;

    pthread_mutex_lock(&j->lock);
    at = r->at - j->dropped;
    n = j->out.bytes - at < room ? j->out.bytes - at : room;
    if (n) memcpy(out, j->out.data + at, n);
    r->at += n;
    *end = j->done && at + n == j->out.bytes;
    if (!j->kept && at + n > DROP_BYTES && at + n >= j->out.bytes / 2) {
        buffer_drop(&j->out, at + n);
        j->dropped += at + n;
    }
    pthread_mutex_unlock(&j->lock);
    return n;
}

/* A whole answer that failed after its status was sent. */
static size_t late_fault(struct reading *r, char *out, size_t room)
{
    struct buffer b = {0};
    size_t n;

    if (r->job->ask->stream || !r->job->fault.status || r->at == SIZE_MAX) return 0;
    fault_write(&b, &r->job->fault);
    n = b.bytes < room ? b.bytes : room;
    memcpy(out, b.data ? b.data : "", n);
    buffer_free(&b);
    r->job->fault.status = 0;
    return n;
}

static long on_read(void *arg, char *out, size_t room)
{
    struct reading *r = arg;
    bool end;
    size_t n;

    job_wait(r->job, r->at, LOOK_MS);
    n = copy(r, out, room, &end);
    if (!n && end) n = late_fault(r, out, room);
    if (n) {
        r->said_ns = clock_ns();
        return (long)n;
    }
    if (end) return -1;
    if (exchange_gone(r->exchange)) return -2;
    if (!silent_long(r)) return 0;
    r->said_ns = clock_ns();
    return sign_of_life(r, out, room);
}

static void on_finish(void *arg)
{
    struct reading *r = arg;

    pthread_mutex_lock(&r->job->lock);
    if (!r->job->done && !r->stays) job_leave(r->job);
    pthread_mutex_unlock(&r->job->lock);
    job_release(r->job);
    free(r);
}

static bool is_done(struct job *j)
{
    bool done;

    pthread_mutex_lock(&j->lock);
    done = j->done;
    pthread_mutex_unlock(&j->lock);
    return done;
}

/* Until it is done, or a sign of life is due. */
static void send_answer(struct reading *r)
{
    struct exchange *x = r->exchange;
    struct job *j = r->job;
    struct http_source s = {.read = on_read, .finish = on_finish, .arg = r, .id = j->id};

    while (!j->ask->stream && !is_done(j) && !silent_long(r) && !exchange_gone(x)) job_wait(j, SIZE_MAX, LOOK_MS);
    if (!j->ask->stream && is_done(j)) s.bytes = j->out.bytes;
    if (!j->ask->stream && is_done(j) && j->fault.status) {
        j->fault.typed = j->ask->api == ASK_MESSAGES;
        http_fault(x, &j->fault);
        on_finish(r);
    } else {
        http_stream(x, j->ask->stream ? "text/event-stream" : "application/json", &s);
    }
}

/* The job, handed in, or one that is the same and waits. NULL: refused. */
static struct job *hand_in(struct routes *r, struct exchange *x, struct ask *a, bool kept, struct fault *f)
{
    const char *key = routes_caller(x);
    struct job *j = work_attach(r->work, exchange_path(x), exchange_body(x), key, kept);
    struct buffer body;
    size_t held;

    if (j) {
        ask_free(a);
        return j;
    }
    body = exchange_take_body(x, &held);
    j = job_new(r->facts, a, exchange_path(x), body, held, key);
    if (!j) {
        fault_set(f, 500, NULL, NULL, "out of memory");
        return NULL;
    }
    j->kept = kept;
    if (!job_weigh(j)) {
        job_too_much(j, f);
        job_release(j);
        return NULL;
    }
    if (!work_submit(r->work, j, f)) return j;
    job_release(j);
    return NULL;
}

void routes_answer(struct routes *r, struct exchange *x, struct ask *a)
{
    struct reading *reading = calloc(1, sizeof *reading);
    bool typed = a->api == ASK_MESSAGES;
    struct fault f = {0};
    const char *name = exchange_header(x, "X-Conversation-Id");
    struct job *j = NULL;

    if (name && !streams_name_good(name))
        fault_set(&f, 400, NULL, NULL, "X-Conversation-Id must be 1 to 64 letters, digits, - and _");
    if (reading && f.status) {
        ask_free(a);
        free(reading);
        http_fault(x, &f);
        return;
    }
    if (reading) j = hand_in(r, x, a, name != NULL, &f);

    if (!reading) {
        ask_free(a);
        fault_set(&f, 500, NULL, NULL, "out of memory");
    }
    f.typed = typed;
    if (!j) {
        free(reading);
        http_fault(x, &f);
        return;
    }
    *reading = (struct reading){.routes = r, .exchange = x, .job = j, .said_ns = clock_ns()};
    if (name && !(reading->stays = streams_add(r->streams, name, routes_caller(x), j))) {
        on_finish(reading);
        fault_set(&f, 503, NULL, NULL, "too many answers with an X-Conversation-Id are under way");
        f.retry_after = work_eta(r->work);
        http_fault(x, &f);
        return;
    }
    send_answer(reading);
}

/* Where the n-th event of a stream ends, as far as there are so many. */
static size_t behind_events(struct job *j, unsigned long n)
{
    size_t at = 0;

    pthread_mutex_lock(&j->lock);
    while (n-- > 0) {
        const char *end = j->out.bytes > at ? memmem(j->out.data + at, j->out.bytes - at, "\n\n", 2) : NULL;

        if (!end) break;
        at = (size_t)(end - j->out.data) + 2;
    }
    pthread_mutex_unlock(&j->lock);
    return at;
}

void routes_read(struct routes *r, struct exchange *x, struct job *j, unsigned long events)
{
    struct reading *reading = calloc(1, sizeof *reading);
    struct fault f;

    if (!reading) {
        job_release(j);
        fault_set(&f, 500, NULL, NULL, "out of memory");
        http_fault(x, &f);
        return;
    }
    *reading = (struct reading){
        .routes = r, .exchange = x, .job = j, .said_ns = clock_ns(), .stays = true, .at = behind_events(j, events)};
    send_answer(reading);
}
