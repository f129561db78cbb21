/* The kernels' pool: every task once, and what tasks have written is seen by the caller and by the tasks of the next job,
 * whoever of the threads does them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "compute/cpu/pool.h"

#define TASKS   257u
#define THREADS 4u

static struct pool *open_pool(uint32_t threads)
{
    struct error e = {0};
    struct pool *p;

    if (pool_open(&p, threads, &e)) fail_msg("%s", e.text);
    assert_int_equal(pool_threads(p), threads);
    return p;
}

struct sums {
    _Atomic uint32_t calls[TASKS];
    _Atomic uint32_t workers;
};

static void count_task(void *arg, uint32_t worker, uint32_t task)
{
    struct sums *s = arg;

    atomic_fetch_add(&s->calls[task], 1);
    atomic_fetch_or(&s->workers, 1u << worker);
}

/* Before pool_run() returns, with pauses in which the threads fall asleep. */
static void every_task_once(void **state)
{
    static struct sums s;

    (void)state;
    for (uint32_t threads = 1; threads <= THREADS; threads++) {
        struct pool *p = open_pool(threads);

        for (uint32_t job = 0; job < 3000; job++) {
            uint32_t tasks = job % TASKS;

            memset(&s, 0, sizeof s);
            pool_run(p, count_task, &s, tasks);
            for (uint32_t i = 0; i < TASKS; i++) assert_int_equal(s.calls[i], i < tasks);
            assert_true(s.workers < 1u << threads);
            if (job % 300 == 0) usleep(200);
        }
        pool_close(p);
    }
}

/* Plain memory, as the kernels use it: of the last job's values each task takes one that another thread may have made, and
 * counts in a scratch that is its thread's alone. */
struct steps {
    uint64_t from[TASKS], to[TASKS];
    uint32_t n;
    struct {
        _Alignas(64) uint64_t tasks;
    } scratch[THREADS];
};

static void step_task(void *arg, uint32_t worker, uint32_t task)
{
    struct steps *s = arg;

    s->to[task] = 3 * s->from[(task + s->n / 2 + 1) % s->n] + task;
    s->scratch[worker].tasks++;
}

static void copy_task(void *arg, uint32_t worker, uint32_t task)
{
    struct steps *s = arg;

    s->from[task] = s->to[task];
    s->scratch[worker].tasks++;
}

static void what_was_written_is_seen(void **state)
{
    static struct steps s, plain;

    (void)state;
    for (uint32_t threads = 2; threads <= THREADS; threads++) {
        struct pool *p = open_pool(threads);
        uint64_t jobs = 2000, sum = 0;

        memset(&s, 0, sizeof s);
        memset(&plain, 0, sizeof plain);
        for (uint32_t job = 0; job < jobs; job++) {
            s.n = plain.n = 2 + job % (TASKS - 2);
            pool_run(p, step_task, &s, s.n);
            pool_run(p, copy_task, &s, s.n);
            for (uint32_t i = 0; i < plain.n; i++) step_task(&plain, 0, i);
            for (uint32_t i = 0; i < plain.n; i++) copy_task(&plain, 0, i);
            assert_memory_equal(s.from, plain.from, sizeof s.from); /* by the caller, at once */
            if (job % 300 == 0) usleep(200);
        }
        for (uint32_t i = 0; i < threads; i++) sum += s.scratch[i].tasks;
        assert_int_equal(sum, plain.scratch[0].tasks);
        pool_close(p);
    }
}

/* Closed right after it was opened, and right after a job, when threads are anywhere between spinning and sleeping. */
static void closes_at_any_moment(void **state)
{
    static struct sums s;

    (void)state;
    for (uint32_t i = 0; i < 200; i++) {
        struct pool *p = open_pool(1 + i % THREADS);

        for (uint32_t job = 0; job < i % 3; job++) pool_run(p, count_task, &s, TASKS);
        if (i % 5 == 0) usleep(20 * (i % 7));
        pool_close(p);
    }
}

static void too_many_threads_are_refused(void **state)
{
    struct error e = {0};
    struct pool *p;

    (void)state;
    assert_int_equal(pool_open(&p, 0, &e), -EINVAL);
    assert_int_equal(pool_open(&p, 4097, &e), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_once),
        cmocka_unit_test(what_was_written_is_seen),
        cmocka_unit_test(closes_at_any_moment),
        cmocka_unit_test(too_many_threads_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
