/* Rings, eventcounts, requests and lists of rows: each step alone, then two threads with as much as they can carry. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/clock.h"
#include "proto/ring.h"
#include "proto/rows.h"
#include "tests/support_files.h"

/* Entries of the two-thread tests; a long run sets it by -DRING_TEST_ENTRIES=... */
#ifndef RING_TEST_ENTRIES
#define RING_TEST_ENTRIES 200000u
#endif

#define POSITIONS 100u

static struct epoch_shm *make_run(uint32_t entries)
{
    struct plan_shm p = {.run = {.entries = {entries, entries, entries}, .max_positions = POSITIONS}};

    return run_make(&p);
}

static struct rows_shm *rows_of(struct epoch_shm *r)
{
    return (struct rows_shm *)(void *)((char *)r + r->rows_off);
}

static void steps_of_one_entry(void **state)
{
    struct epoch_shm *r = make_run(2);
    struct ring a, b;
    struct ring_entry *x, *y;
    struct error e;

    (void)state;
    ring_attach(&a, r, 0, LANE_SWEEP, STAGE_TRANSFER);
    ring_attach(&b, r, 0, LANE_SWEEP, STAGE_READER);
    assert_null(ring_take(&b));
    x = ring_reserve(&a);
    y = ring_reserve(&a);
    assert_true(x && y && x != y);
    assert_null(ring_reserve(&a)); /* full */
    assert_null(ring_peek(&b));    /* nothing is published */
    x->tile = 7;
    ring_publish(&a);
    assert_ptr_equal(ring_peek(&b), x);
    assert_ptr_equal(ring_take(&b), x);
    assert_int_equal(x->tile, 7);
    assert_null(ring_take(&b));
    ring_publish(&a);
    assert_ptr_equal(ring_take(&b), y);
    assert_int_equal(y->seq, 1);
    assert_null(ring_reserve(&a)); /* both are in use */
    ring_release(&b);
    assert_int_equal(ring_released(&a), 1);
    assert_true(x->fill_ns <= x->ready_ns && x->ready_ns <= x->take_ns && x->take_ns <= x->free_ns);
    assert_ptr_equal(ring_reserve(&a), x);
    assert_int_equal(x->seq, 2);
    assert_ptr_equal(ring_at(&a, 2), x);
    assert_int_equal(ring_check(a.shm, &e), 0);
    free(r);
}

static void the_rings_are_apart(void **state)
{
    struct epoch_shm *r = make_run(4);
    struct error e;

    (void)state;
    assert_int_equal(epoch_check(r, r->bytes, &e), 0);
    for (int device = 0; device < 2; device++) {
        for (int lane = 0; lane < LANES; lane++) {
            struct ring a;

            ring_attach(&a, r, device, (enum lane_id)lane, STAGE_TRANSFER);
            for (uint32_t i = 0; i < 4; i++) {
                struct ring_entry *x = ring_reserve(&a);

                assert_int_equal(x->offset, 0);
                x->offset = 1 + (uint64_t)device;
                ring_publish(&a);
            }
            assert_int_equal(ring_check(a.shm, &e), 0);
        }
    }
    assert_int_equal(epoch_check(r, r->bytes, &e), 0);
    free(r);
}

static void broken_rings_are_noticed(void **state)
{
    struct epoch_shm *r = make_run(4);
    struct error e;
    struct ring a;

    (void)state;
    ring_attach(&a, r, 0, LANE_SWEEP, STAGE_TRANSFER);
    ring_reserve(&a);
    ring_publish(&a);
    a.shm->entry[0].seq = 5;
    assert_int_equal(ring_check(a.shm, &e), -EPROTO);
    a.shm->entry[0].seq = 0;
    assert_int_equal(ring_check(a.shm, &e), 0);
    atomic_store(&a.shm->taken, 2);
    assert_int_equal(ring_check(a.shm, &e), -EPROTO);
    atomic_store(&a.shm->taken, 0);
    atomic_store(&a.shm->reserved, 9);
    assert_int_equal(ring_check(a.shm, &e), -EPROTO);
    free(r);
}

static void broken_run_segments_are_refused(void **state)
{
    struct epoch_shm *r = make_run(4);
    uint64_t bytes = r->bytes;
    struct error e;

    (void)state;
    assert_int_equal(epoch_check(r, 100, &e), -EPROTO);
    assert_int_equal(epoch_check(r, bytes - 1, &e), -EPROTO);
    r->version++;
    assert_int_equal(epoch_check(r, bytes, &e), -EPROTO);
    r->version--;
    r->ring_off[1][1] = bytes;
    assert_int_equal(epoch_check(r, bytes, &e), -EPROTO);
    r->ring_off[1][1] = UINT64_MAX & ~UINT64_C(63);
    assert_int_equal(epoch_check(r, bytes, &e), -EPROTO);
    free(r);
    r = make_run(4);
    r->rows_off = bytes - 64;
    assert_int_equal(epoch_check(r, bytes, &e), -EPROTO);
    r->rows_off = UINT64_MAX & ~UINT64_C(63);
    assert_int_equal(epoch_check(r, bytes, &e), -EPROTO);
    free(r);
    r = make_run(4);
    rows_of(r)->capacity *= 2;
    assert_int_equal(epoch_check(r, bytes, &e), -EPROTO);
    rows_of(r)->capacity = 100;
    assert_int_equal(epoch_check(r, bytes, &e), -EPROTO);
    free(r);
    r = make_run(4);
    ((struct ring_shm *)(void *)((char *)r + r->ring_off[0][0]))->depth = 1u << 30;
    assert_int_equal(epoch_check(r, bytes, &e), -EPROTO);
    free(r);
}

/* ---- two threads ---- */

struct pair {
    struct epoch_shm *run;
    uint64_t *memory; /* one word for each entry: stands for the payload */
    uint64_t mask;
    uint32_t ahead;
    _Atomic bool done;
    uint64_t wrong;
};

static void *produce(void *arg)
{
    struct pair *p = arg;
    struct ring a;
    uint64_t reserved = 0, published = 0;

    ring_attach(&a, p->run, 0, LANE_SWEEP, STAGE_TRANSFER);
    while (published < RING_TEST_ENTRIES) {
        uint32_t seen = eventcount_read(&p->run->eventcount[STAGE_READER]);
        struct ring_entry *x =
            reserved - published < p->ahead && reserved < RING_TEST_ENTRIES ? ring_reserve(&a) : NULL;

        if (x) {
            x->bytes = x->seq * 3;
            p->memory[x->seq & p->mask] = x->seq;
            reserved++;
        } else if (published < reserved) {
            ring_publish(&a);
            published++;
        } else {
            eventcount_wait(&p->run->eventcount[STAGE_READER], seen, 1000000000u);
        }
    }
    return NULL;
}

static void *consume(void *arg)
{
    struct pair *p = arg;
    struct ring b;
    uint64_t taken = 0, released = 0;

    ring_attach(&b, p->run, 0, LANE_SWEEP, STAGE_READER);
    while (released < RING_TEST_ENTRIES) {
        uint32_t seen = eventcount_read(&p->run->eventcount[STAGE_TRANSFER]);
        struct ring_entry *x = taken - released < p->ahead ? ring_take(&b) : NULL;

        if (x) {
            p->wrong += x->seq != taken || x->bytes != taken * 3;
            taken++;
        } else if (released < taken) {
            p->wrong += p->memory[released & p->mask] != released; /* still there until it is released */
            ring_release(&b);
            released++;
        } else {
            eventcount_wait(&p->run->eventcount[STAGE_TRANSFER], seen, 1000000000u);
        }
    }
    atomic_store(&p->done, true);
    return NULL;
}

static void two_threads(void **state)
{
    static const uint32_t depths[] = {1, 2, 8};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct pair p = {.run = make_run(depths[i]), .mask = depths[i] - 1, .ahead = 1 + depths[i] / 2};
        struct ring_shm *s = (struct ring_shm *)(void *)((char *)p.run + p.run->ring_off[0][0]);
        pthread_t a, b;
        struct error e;

        p.memory = calloc(depths[i], sizeof *p.memory);
        pthread_create(&a, NULL, produce, &p);
        pthread_create(&b, NULL, consume, &p);
        /* The plain fields that ring_check() looks at are being written meanwhile: not under the thread sanitizer. */
#ifndef __SANITIZE_THREAD__
        while (!atomic_load(&p.done)) {
            if (ring_check(s, &e)) fail_msg("%s", e.text);
        }
#endif
        pthread_join(a, NULL);
        pthread_join(b, NULL);
        assert_int_equal(p.wrong, 0);
        assert_int_equal(ring_check(s, &e), 0);
        assert_int_equal(atomic_load(&s->released), RING_TEST_ENTRIES);
        free(p.memory);
        free(p.run);
    }
}

/* ---- eventcounts, requests, states ---- */

static void *ring_later(void *arg)
{
    struct timespec t = {.tv_nsec = 20000000};

    nanosleep(&t, NULL);
    eventcount_notify(arg);
    return NULL;
}

static void eventcounts_wake_and_time_out(void **state)
{
    struct epoch_shm *r = make_run(1);
    struct eventcount *b = &r->eventcount[0];
    uint32_t seen = eventcount_read(b);
    uint64_t t0 = clock_ns();
    pthread_t t;

    (void)state;
    eventcount_wait(b, seen, 30000000u); /* nobody rings */
    assert_true(clock_ns() - t0 >= 25000000u);
    pthread_create(&t, NULL, ring_later, b);
    t0 = clock_ns();
    eventcount_wait(b, seen, UINT64_C(10000000000));
    assert_true(clock_ns() - t0 < UINT64_C(5000000000));
    pthread_join(t, NULL);
    t0 = clock_ns();
    eventcount_wait(b, seen, UINT64_C(10000000000)); /* it was rung since */
    assert_true(clock_ns() - t0 < UINT64_C(5000000000));
    free(r);
}

#define REQUESTS_MADE (EPOCH_REQUESTS * 5u)

static void *push_requests(void *arg)
{
    struct epoch_shm *r = arg;

    for (uint32_t i = 0; i < REQUESTS_MADE;) {
        uint32_t seen = eventcount_read(&r->eventcount[STAGE_COMPUTE]);

        if (!request_push(r, i))
            i++;
        else
            eventcount_wait(&r->eventcount[STAGE_COMPUTE], seen, 1000000000u);
    }
    return NULL;
}

static void requests_arrive_in_order(void **state)
{
    struct epoch_shm *r = make_run(1);
    uint32_t q;
    uint64_t wrong = 0;
    pthread_t t;

    (void)state;
    assert_false(request_pop(r, &q));
    for (uint32_t i = 0; i < EPOCH_REQUESTS; i++) assert_int_equal(request_push(r, i), 0);
    assert_int_equal(request_push(r, 0), -EAGAIN);
    while (request_pop(r, &q)) {
    }
    pthread_create(&t, NULL, push_requests, r);
    for (uint32_t i = 0; i < REQUESTS_MADE;) {
        uint32_t seen = eventcount_read(&r->eventcount[STAGE_READER]);

        if (request_pop(r, &q))
            wrong += q != i, i++;
        else
            eventcount_wait(&r->eventcount[STAGE_READER], seen, 1000000000u);
    }
    pthread_join(t, NULL);
    assert_int_equal(wrong, 0);
    free(r);
}

/* ---- the list of rows ---- */

static void rows_are_listed_in_batches(void **state)
{
    struct epoch_shm *r = make_run(1);
    uint32_t row[] = {7, 8, 9}, x, seen = eventcount_read(&r->eventcount[STAGE_READER]);
    bool last;

    (void)state;
    assert_false(rows_next(r, &x, &last));
    assert_false(rows_at(r, 0, &x));
    assert_int_equal(rows_list(r, 0, row, 3), 0);
    assert_int_not_equal(eventcount_read(&r->eventcount[STAGE_READER]), seen);
    assert_int_equal(rows_list(r, 0, row, 1), 0);
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(rows_next(r, &x, &last));
        assert_int_equal(x, 7 + i % 3);
        assert_int_equal(last, i >= 2);
        assert_true(rows_at(r, i, &x)); /* also of the last one of a batch */
        assert_int_equal(x, 7 + i % 3);
    }
    assert_false(rows_next(r, &x, &last));
    assert_false(rows_at(r, 4, &x));
    free(r);
}

/* A place is given away when its row was read and nobody looks at it any more, and not before. */
static void rows_in_use_are_kept(void **state)
{
    struct epoch_shm *r = make_run(1);
    uint32_t capacity = rows_capacity(POSITIONS), row = 3, x;
    bool last;

    (void)state;
    assert_true(capacity >= 3 * POSITIONS);
    for (uint32_t i = 0; i < capacity; i++) assert_int_equal(rows_list(r, 0, &row, 1), 0);
    assert_int_equal(rows_list(r, 5, &row, 1), -EAGAIN); /* none was read */
    for (uint32_t i = 0; i < 10; i++) assert_true(rows_next(r, &x, &last));
    assert_int_equal(rows_list(r, 0, &row, 1), -EAGAIN); /* the first one is in use */
    row = 4;
    for (uint32_t i = 0; i < 5; i++) assert_int_equal(rows_list(r, 5, &row, 1), 0);
    assert_int_equal(rows_list(r, 5, &row, 1), -EAGAIN);
    assert_false(rows_at(r, 4, &x));
    assert_true(rows_at(r, 5, &x) && x == 3);
    assert_true(rows_at(r, capacity, &x) && x == 4);
    free(r);
}

#define ROWS_LISTED 20000u

static void *list_rows(void *arg)
{
    struct epoch_shm *r = arg;
    uint32_t row[7], n = 1;

    for (uint32_t i = 0; i < ROWS_LISTED;) {
        n = 1 + i % 7;
        for (uint32_t k = 0; k < n; k++) row[k] = i + k;
        while (rows_list(r, i, row, n)) sched_yield();
        i += n;
    }
    return NULL;
}

static void rows_arrive_in_order(void **state)
{
    struct epoch_shm *r = make_run(1);
    uint64_t wrong = 0;
    uint32_t x, n = 1, left = 1;
    bool last;
    pthread_t t;

    (void)state;
    pthread_create(&t, NULL, list_rows, r);
    for (uint32_t i = 0; i < ROWS_LISTED;) {
        uint32_t seen = eventcount_read(&r->eventcount[STAGE_READER]);

        if (!rows_next(r, &x, &last)) {
            eventcount_wait(&r->eventcount[STAGE_READER], seen, 1000000000u);
            continue;
        }
        wrong += x != i++ || last != !--left;
        if (last) left = n = 1 + i % 7;
    }
    pthread_join(t, NULL);
    assert_int_equal(wrong, 0);
    free(r);
}

static void stop_and_failure_end_waits(void **state)
{
    struct epoch_shm *r = make_run(1);
    uint32_t seen = eventcount_read(&r->eventcount[STAGE_COMPUTE]);

    (void)state;
    assert_int_equal(epoch_state(r), 0);
    epoch_stop(r);
    assert_int_equal(epoch_state(r), -ECANCELED);
    assert_int_not_equal(eventcount_read(&r->eventcount[STAGE_COMPUTE]), seen);
    epoch_fail(r, STAGE_TRANSFER);
    epoch_fail(r, STAGE_READER); /* the first one stays */
    assert_int_equal(epoch_wait(r, STAGE_COMPUTE, seen), -EPIPE);
    assert_int_equal(atomic_load(&r->failed), 1 + STAGE_TRANSFER);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_of_one_entry),
        cmocka_unit_test(the_rings_are_apart),
        cmocka_unit_test(broken_rings_are_noticed),
        cmocka_unit_test(broken_run_segments_are_refused),
        cmocka_unit_test(two_threads),
        cmocka_unit_test(eventcounts_wake_and_time_out),
        cmocka_unit_test(requests_arrive_in_order),
        cmocka_unit_test(rows_are_listed_in_batches),
        cmocka_unit_test(rows_in_use_are_kept),
        cmocka_unit_test(rows_arrive_in_order),
        cmocka_unit_test(stop_and_failure_end_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
