#include "coordinator/serve/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "coordinator/serve/choice.h"
#include "coordinator/serve/reply.h"
#include "proto/base/clock.h"

struct job *job_new(const struct facts *x, struct ask *a, const char *path, const struct buffer *body, const char *key)
{
    struct job *j = calloc(1, sizeof *j);
    static const char *const names[] = {"chatcmpl-", "cmpl-", "resp_", "msg_"};
    pthread_condattr_t attr;
    uint64_t random[2];

    if (!j) {
        ask_free(a);
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
    buffer_append(&j->body, body->data ? body->data : "", body->bytes);
    j->choices = a->prompts * a->n;
    j->choice = calloc(j->choices, sizeof *j->choice);
    if (j->choice && !j->key.failed && !j->body.failed) {
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
    free(j);
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
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&j->lock);
    while (!j->done && j->out.bytes <= had)
        if (pthread_cond_timedwait(&j->changed, &j->lock, &until)) break;
    pthread_mutex_unlock(&j->lock);
}
