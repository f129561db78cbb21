/* A pool of threads, each in one pread: works everywhere. Two queues under one lock: reads to do, reads done. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/page.h"
#include "reader/engine.h"

#define THREADS_MAX 64u
#define STACK_BYTES (128u << 10)
#define CLOSE_NS    1000000000u

struct threads {
    struct io_engine engine;
    pthread_mutex_t lock;
    pthread_cond_t todo_cond, done_cond;
    struct io_read *todo; /* [depth], circular */
    struct io_done *done; /* [depth] */
    uint32_t depth, todo_head, todo_count, done_count, busy;
    uint32_t wanted; /* done_count for which the reaper sleeps */
    uint32_t idle;   /* threads that sleep */
    uint32_t started;
    bool stop;
    char text[64];
    pthread_t thread[THREADS_MAX];
};

static struct timespec deadline(uint64_t timeout_ns)
{
    uint64_t t = clock_ns() + timeout_ns;

    return (struct timespec){.tv_sec = (time_t)(t / 1000000000u), .tv_nsec = (long)(t % 1000000000u)};
}

static int32_t read_once(const struct io_read *r)
{
    ssize_t n;

    do n = pread(r->fd, r->dest, r->bytes, (off_t)r->offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int32_t)n;
}

static void *thread_main(void *arg)
{
    struct threads *t = arg;
    struct io_read r;
    int32_t result;

    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (!t->todo_count && !t->stop) {
            t->idle++;
            pthread_cond_wait(&t->todo_cond, &t->lock);
            t->idle--;
        }
        if (t->stop) break;
        r = t->todo[t->todo_head];
        t->todo_head = (t->todo_head + 1) % t->depth;
        t->todo_count--;
        t->busy++;
        pthread_mutex_unlock(&t->lock);
        result = read_once(&r);
        pthread_mutex_lock(&t->lock);
        t->busy--;
        t->done[t->done_count++] = (struct io_done){.tag = r.tag, .result = result};
        if ((t->wanted && t->done_count >= t->wanted) || (t->stop && !t->busy)) pthread_cond_signal(&t->done_cond);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static int start_threads(struct threads *t, uint32_t n, struct error *e)
{
    pthread_attr_t attr;
    sigset_t all, old;
    int rc = 0;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, page_stack_bytes(STACK_BYTES));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (t->started < n && !(rc = pthread_create(&t->thread[t->started], &attr, thread_main, t))) t->started++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (!t->started)
        return error_set(e, rc, "cannot start a thread for reading: %s; raise the limit on processes (ulimit -u)",
                         error_name(rc));
    return 0;
}

static void threads_free(struct threads *t)
{
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->todo_cond);
    pthread_cond_destroy(&t->done_cond);
    free(t->todo);
    free(t->done);
    free(t);
}

static void threads_close(struct io_engine *g)
{
    struct threads *t = (struct threads *)g;
    struct timespec until = deadline(CLOSE_NS);
    bool stuck;

    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_broadcast(&t->todo_cond);
    while (t->busy && pthread_cond_timedwait(&t->done_cond, &t->lock, &until) != ETIMEDOUT) {
    }
    stuck = t->busy != 0;
    pthread_mutex_unlock(&t->lock);
    /* A read that the kernel never ends must not hold up the end of the process: its thread is left behind with all
     * that it may still touch. */
    for (uint32_t i = 0; i < t->started; i++) stuck ? pthread_detach(t->thread[i]) : pthread_join(t->thread[i], NULL);
    if (!stuck) threads_free(t);
}

static int threads_open(struct io_engine **out, const struct io_options *o, struct error *e)
{
    struct threads *t = calloc(1, sizeof *t);
    pthread_condattr_t attr;
    int rc;

    if (!t) return error_set(e, ENOMEM, "no memory for reads");
    t->engine.ops = &io_engine_threads;
    t->depth = o->depth;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->todo_cond, &attr);
    pthread_cond_init(&t->done_cond, &attr);
    pthread_condattr_destroy(&attr);
    t->todo = calloc(o->depth, sizeof *t->todo);
    t->done = calloc(o->depth, sizeof *t->done);
    if (!t->todo || !t->done)
        rc = error_set(e, ENOMEM, "no memory for %u reads", o->depth);
    else
        rc = start_threads(t, o->depth < THREADS_MAX ? o->depth : THREADS_MAX, e);
    if (rc) {
        threads_free(t);
        return rc;
    }
    snprintf(t->text, sizeof t->text, "%u threads", t->started);
    *out = &t->engine;
    return 0;
}

static void threads_add_file(struct io_engine *g, uint32_t file, int fd)
{
    (void)g;
    (void)file;
    (void)fd;
}

static void threads_submit(struct io_engine *g, const struct io_read *r)
{
    struct threads *t = (struct threads *)g;

    pthread_mutex_lock(&t->lock);
    t->todo[(t->todo_head + t->todo_count++) % t->depth] = *r;
    if (t->idle) pthread_cond_signal(&t->todo_cond);
    pthread_mutex_unlock(&t->lock);
}

static int threads_reap(struct io_engine *g, struct io_done *done, uint32_t max, uint32_t min, uint64_t timeout_ns)
{
    struct threads *t = (struct threads *)g;
    struct timespec until;
    uint32_t n = 0;

    pthread_mutex_lock(&t->lock);
    if (t->done_count < min) {
        until = deadline(timeout_ns);
        t->wanted = min;
        while (t->done_count < min && pthread_cond_timedwait(&t->done_cond, &t->lock, &until) != ETIMEDOUT) {
        }
        t->wanted = 0;
    }
    while (n < max && t->done_count) done[n++] = t->done[--t->done_count];
    pthread_mutex_unlock(&t->lock);
    return (int)n;
}

static const char *threads_describe(const struct io_engine *g)
{
    return ((const struct threads *)g)->text;
}

const struct io_ops io_engine_threads = {
    .name = "threads",
    .open = threads_open,
    .add_file = threads_add_file,
    .submit = threads_submit,
    .reap = threads_reap,
    .describe = threads_describe,
    .close = threads_close,
};
