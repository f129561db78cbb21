#include "compute/cpu/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/cores.h"
#include "proto/base/pause.h"

#define SPIN_NS  15000
#define STOP_JOB 0u /* jobs are numbered from 1 */

struct worker {
    struct pool *pool;
    pthread_t thread;
    uint32_t index;
    bool started;
};

/* The tasks that are a thread's own, on a cache line of its own. */
struct share {
    _Alignas(64) _Atomic uint64_t ticket;
};

struct pool {
    _Alignas(64) _Atomic(pool_fn *) fn;
    _Atomic(void *) arg;
    _Atomic uint32_t tasks;
    _Alignas(64) _Atomic uint32_t done;
    _Atomic uint32_t caller_sleeps;
    _Alignas(64) _Atomic uint32_t job; /* the futex of the workers; STOP_JOB: end */
    _Atomic uint32_t sleepers;
    uint32_t threads, last_job;
    bool pinned;
    cpu_set_t callers_cpus;
    struct worker *workers;
    struct share shares[]; /* one for each thread */
};

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Until *word differs from seen, or the time for spinning is over: what was read last. */
static uint32_t spin_while(_Atomic uint32_t *word, uint32_t seen)
{
    uint64_t end = now_ns() + SPIN_NS;
    for (;;) {
        for (int i = 0; i < 32; i++) {
            uint32_t now = atomic_load_explicit(word, memory_order_acquire);
            if (now != seen) return now;
            pause_cpu();
        }
        if (now_ns() >= end) return seen;
    }
}

static uint32_t wait_for_job(struct pool *p, uint32_t seen)
{
    uint32_t job = spin_while(&p->job, seen);
    while (job == seen) {
        /* Sequentially consistent with the caller's store of job and load of sleepers: one of the two sees the other. */
        atomic_fetch_add(&p->sleepers, 1);
        if (atomic_load(&p->job) == seen) futex_wait(&p->job, seen);
        atomic_fetch_sub(&p->sleepers, 1);
        job = atomic_load_explicit(&p->job, memory_order_acquire);
    }
    return job;
}

/* First task of a thread's share. */
static uint32_t share_begin(const struct pool *p, uint32_t tasks, uint32_t i)
{
    return (uint32_t)((uint64_t)tasks * i / p->threads);
}

/* Takes and does tasks of one share until there are none left; true: this thread finished the last one of the job. */
static bool work_on(struct pool *p, uint32_t job, uint32_t worker, uint32_t share)
{
    /* relaxed: job was acquired, so they are this job's or a later one's; a ticket that is still this job's says that the job
     * has not ended, hence that no later one was there yet */
    pool_fn *fn = atomic_load_explicit(&p->fn, memory_order_relaxed);
    void *arg = atomic_load_explicit(&p->arg, memory_order_relaxed);
    uint32_t tasks = atomic_load_explicit(&p->tasks, memory_order_relaxed), end = share_begin(p, tasks, share + 1);
    _Atomic uint64_t *ticket = &p->shares[share].ticket;
    uint64_t t = atomic_load_explicit(ticket, memory_order_acquire);
    bool last = false;
    while ((uint32_t)(t >> 32) == job && (uint32_t)t > 0) {
        if (!atomic_compare_exchange_weak_explicit(ticket, &t, t - 1, memory_order_acq_rel, memory_order_acquire))
            continue;
        fn(arg, worker, end - (uint32_t)t);
        last = atomic_fetch_add(&p->done, 1) + 1 == tasks; /* releases what fn wrote; seq_cst beside caller_sleeps */
        t = atomic_load_explicit(ticket, memory_order_acquire);
    }
    return last;
}

/* The thread's own share, then what is left of the others'. */
static bool work(struct pool *p, uint32_t job, uint32_t worker)
{
    bool last = false;
    for (uint32_t i = 0; i < p->threads; i++) last |= work_on(p, job, worker, (worker + i) % p->threads);
    return last;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    uint32_t seen = 1; /* pool_open() publishes nothing before all are started */
    for (;;) {
        seen = wait_for_job(p, seen);
        if (seen == STOP_JOB) return NULL;
        if (work(p, seen, w->index) && atomic_load(&p->caller_sleeps)) futex_wake(&p->done);
    }
}

void pool_run(struct pool *p, pool_fn *fn, void *arg, uint32_t tasks)
{
    if (p->threads == 1 || tasks <= 1) {
        for (uint32_t i = 0; i < tasks; i++) fn(arg, 0, i);
        return;
    }
    if (++p->last_job == STOP_JOB) p->last_job = 1;
    uint32_t job = p->last_job;
    atomic_store_explicit(&p->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->arg, arg, memory_order_relaxed);
    atomic_store_explicit(&p->tasks, tasks, memory_order_relaxed);
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < p->threads; i++)
        atomic_store_explicit(&p->shares[i].ticket,
                              (uint64_t)job << 32 | (share_begin(p, tasks, i + 1) - share_begin(p, tasks, i)),
                              memory_order_release);
    atomic_store(&p->job, job);
    if (atomic_load(&p->sleepers)) futex_wake(&p->job);
    work(p, job, 0);
    /* Others may still be at their last task; their stores are seen once done was read with all of them in it. */
    uint32_t done = atomic_load(&p->done);
    while (done != tasks) {
        done = spin_while(&p->done, done);
        if (done == tasks) break;
        atomic_store(&p->caller_sleeps, 1); /* seq_cst with done, as the worker's: one of the two sees the other */
        done = atomic_load(&p->done);
        if (done != tasks) futex_wait(&p->done, done);
        atomic_store(&p->caller_sleeps, 0);
        done = atomic_load(&p->done);
    }
}

/* The processor of the i-th thread, or -1. */
static int nth_cpu(const cpu_set_t *set, uint32_t i)
{
    for (int c = 0; c < CPU_SETSIZE; c++)
        if (CPU_ISSET(c, set) && i-- == 0) return c;
    return -1;
}

static void pin(pthread_t thread, const cpu_set_t *allowed, uint32_t i)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)nth_cpu(allowed, i), &one);
    pthread_setaffinity_np(thread, sizeof one, &one); /* a refusal costs speed only */
}

static void pin_all(struct pool *p)
{
    cpu_set_t cpus;

    if (p->threads == 1 || pthread_getaffinity_np(pthread_self(), sizeof p->callers_cpus, &p->callers_cpus) != 0)
        return;
    cpus = p->callers_cpus;
    if ((uint32_t)CPU_COUNT(&cpus) != p->threads) cores_keep_big(&cpus, "");
    if ((uint32_t)CPU_COUNT(&cpus) != p->threads) return;
    p->pinned = true;
    pin(pthread_self(), &cpus, 0);
    for (uint32_t i = 1; i < p->threads; i++) pin(p->workers[i].thread, &cpus, i);
}

int pool_open(struct pool **out, uint32_t threads, struct error *e)
{
    *out = NULL;
    if (threads == 0 || threads > 4096) return error_set(e, EINVAL, "%u compute threads: give 1 to 4096", threads);
    struct pool *p = aligned_alloc(64, sizeof *p + threads * sizeof *p->shares);
    struct worker *workers = calloc(threads, sizeof *workers);
    if (!p || !workers) {
        free(p);
        free(workers);
        return error_set(e, ENOMEM, "no memory for %u compute threads", threads);
    }
    memset(p, 0, sizeof *p + threads * sizeof *p->shares);
    p->threads = threads;
    p->last_job = 1;
    atomic_init(&p->job, 1);
    p->workers = workers;
    for (uint32_t i = 1; i < threads; i++) {
        workers[i] = (struct worker){.pool = p, .index = i};
        int err = pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
        if (err) {
            pool_close(p);
            return error_set(e, err, "cannot start compute thread %u of %u: %s; give fewer with --threads", i + 1,
                             threads, error_name(err));
        }
        workers[i].started = true;
    }
    pin_all(p);
    *out = p;
    return 0;
}

void pool_close(struct pool *p)
{
    if (!p) return;
    atomic_store(&p->job, STOP_JOB);
    futex_wake(&p->job);
    for (uint32_t i = 1; i < p->threads; i++)
        if (p->workers[i].started) pthread_join(p->workers[i].thread, NULL);
    if (p->pinned) pthread_setaffinity_np(pthread_self(), sizeof p->callers_cpus, &p->callers_cpus);
    free(p->workers);
    free(p);
}

uint32_t pool_threads(const struct pool *p)
{
    return p->threads;
}
