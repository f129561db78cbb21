#include "coordinator/serve/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "coordinator/serve/choice.h"
#include "coordinator/serve/reply.h"
#include "coordinator/serve/room.h"
#include "proto/base/clock.h"

struct job *job_new(const struct facts *x, struct ask *a, const char *path, struct buffer body, size_t held,
                    const char *key)
{
    struct job *j = calloc(1, sizeof *j);
    static const char *const names[] = {"chatcmpl-", "cmpl-", "resp_", "msg_"};
    pthread_condattr_t attr;
    uint64_t random[2];

    if (!j) {
        ask_free(a);
        buffer_free(&body);
        room_give(x->room, held);
        return NULL;
    }
    if (getrandom(random, sizeof random, GRND_NONBLOCK) != sizeof random) random[0] = random[1] = clock_ns();
    atomic_init(&j->holders, 1);
    j->facts = x;
    j->ask = a;
    j->created = (int64_t)time(NULL);
    j->arrived_ns = clock_ns();
    snprintf(j->id, sizeof j->id, "%s%016llx%08llx", names[a->api], (unsigned long long)random[0],
             (unsigned long long)(random[1] & 0xffffffff));
    pthread_mutex_init(&j->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&j->changed, &attr);
    pthread_condattr_destroy(&attr);
    buffer_append_text(&j->key, path);
    buffer_append_text(&j->key, key);
    j->body = body;
    j->held = held;
    j->choices = a->prompts * a->n;
    j->choice = calloc(j->choices, sizeof *j->choice);
    if (j->choice && !j->key.failed) {
        for (uint32_t i = 0; i < j->choices; i++) choice_init(&j->choice[i], j, i);
        return j;
    }
    job_release(j);
    return NULL;
}

struct job *job_hold(struct job *j)
{
    atomic_fetch_add(&j->holders, 1);
    return j;
}

void job_release(struct job *j)
{
    if (!j || atomic_fetch_sub(&j->holders, 1) != 1) return;
    for (uint32_t i = 0; i < j->choices && j->choice; i++) choice_free(&j->choice[i]);
    free(j->choice);
    ask_free(j->ask);
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->changed);
    buffer_free(&j->out);
    buffer_free(&j->body);
    buffer_free(&j->key);
    room_give(j->facts->room, j->held);
    free(j);
}

/* Of a tree of values: what text it spells, many times over. */
static size_t tree_bytes(const json_t *v)
{
    size_t n = 64 + 2 * json_string_length(v), i;
    const char *key;
    json_t *o;

    json_array_foreach(v, i, o) n += tree_bytes(o) + 16;
    json_object_foreach((json_t *)v, key, o) n += tree_bytes(o) + strlen(key) + 128;
    return v ? n : 0;
}

static size_t ask_bytes(const struct ask *a)
{
    size_t n = sizeof *a + a->text_bytes + a->biases * sizeof *a->bias + tree_bytes(a->tools) + tree_bytes(a->frame);

    for (uint32_t i = 0; i < a->prompts; i++) n += sizeof *a->prompt + a->prompt[i].count * 2 * sizeof *a->prompt[i].id;
    return n;
}

bool job_weigh(struct job *j)
{
    size_t n = sizeof *j + j->body.capacity + j->choices * sizeof *j->choice;

    if (!j->facts->room) return true;
    n += ask_bytes(j->ask);
    for (uint32_t i = 0; i < j->choices; i++) n += choice_bytes(&j->choice[i]);
    pthread_mutex_lock(&j->lock);
    n += j->out.capacity;
    pthread_mutex_unlock(&j->lock);
    return room_hold(j->facts->room, &j->held, n);
}

void job_too_much(const struct job *j, struct fault *f)
{
    fault_set(f, 503, NULL, "busy", "requests and answers together take the %zu MiB that --host-memory leaves them",
              room_most(j->facts->room) >> 20);
    f->retry_after = 5;
}

void job_forget_body(struct job *j)
{
    buffer_free(&j->body);
}

void job_say(struct job *j, const char *text, size_t bytes)
{
    pthread_mutex_lock(&j->lock);
    buffer_append(&j->out, text, bytes);
    pthread_cond_broadcast(&j->changed);
    pthread_mutex_unlock(&j->lock);
}

static void end(struct job *j, const struct fault *f)
{
    static const struct fault memory = {.status = 500, .type = "server_error", .text = "out of memory"};

    pthread_mutex_lock(&j->lock);
    if (j->out.failed && !f) f = &memory;
    if (f && !j->done) {
        j->fault = *f;
        if (j->ask->stream) {
            reply_fault(j, &j->out, f);
        }
    }
    j->done = true;
    pthread_cond_broadcast(&j->changed);
    pthread_mutex_unlock(&j->lock);
}

void job_fail(struct job *j, const struct fault *f)
{
    end(j, f);
}

void job_done(struct job *j)
{
    end(j, NULL);
}

void job_leave(struct job *j)
{
    atomic_store(&j->gone_ns, clock_ns());
    atomic_store(&j->gone, true);
}

void job_wait(struct job *j, size_t had, unsigned ms)
{
    const struct timespec until = clock_time(clock_ns() + (uint64_t)ms * 1000000u);

    pthread_mutex_lock(&j->lock);
    while (!j->done && j->dropped + j->out.bytes <= had)
        if (pthread_cond_timedwait(&j->changed, &j->lock, &until)) break;
    pthread_mutex_unlock(&j->lock);
}
