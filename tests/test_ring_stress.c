/* Rings and eventcounts where everything depends on the order in which others see what was written: shapes known from the
 * tests of memory models, over and over, between threads and between processes.
 *
 *   message passing   a payload of several cache lines, then the entry; its memory is used again as soon as it is released
 *   passed on         reader -> transfer -> compute: compute reads what the reader wrote, having heard of it from transfer
 *                     alone, and the reader writes again when transfer has heard from compute (as the cpu backend works)
 *   store buffering   a notice and a sleeper that cross each other: sleeps without a limit, so that a lost notice hangs
 *   onlookers         a third process checks the invariants of a ring meanwhile
 *
 * Which processor this runs on decides how much it can show: an x86 machine lets loads pass stores and nothing else, also
 * where it stands in for another one (qemu). */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/ring.h"

/* A long run sets it by -DROUNDS=... */
#ifndef ROUNDS
#define ROUNDS 3000u
#endif
#define LINES        4u
#define WORDS        (LINES * 8)
#define SLOTS        8u
#define HANG_SECONDS 120

struct slot {
    _Alignas(64) uint64_t word[WORDS];
};

/* What all of them share. */
struct stage_set {
    struct slot slot[SLOTS];
    _Alignas(64) _Atomic uint64_t wrong, done;
    struct eventcount ping, pong, crowd;
    _Alignas(64) _Atomic uint64_t asked, answered;
    uint32_t depth;
    _Alignas(64) struct epoch_shm epoch;
};

static struct stage_set *set_make(uint32_t depth, uint64_t *bytes)
{
    const struct plan_run run = {.entries = {depth, depth, depth}, .max_positions = 1};
    struct stage_set *s;

    *bytes = sizeof *s + epoch_bytes(&run);
    s = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(s != MAP_FAILED);
    s->depth = depth;
    epoch_init(&s->epoch, &run, 1);
    return s;
}

static uint64_t word_of(uint64_t seq, uint32_t i)
{
    return (seq + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ i;
}

static uint64_t wrong_words(const struct slot *x, uint64_t seq)
{
    uint64_t wrong = 0;

    for (uint32_t i = 0; i < WORDS; i++) wrong += x->word[i] != word_of(seq, i);
    return wrong;
}

/* ---- the parts that are played ---- */

static struct eventcount *sleep_on(struct stage_set *s, enum stage_id me)
{
    return &s->epoch.eventcount[me];
}

/* All of them look at their ring first, and read their eventcount only when there is nothing: reading it orders as much as the
 * ring does, and would stand in for it. */

/* Fills slots, from the last word to the first. */
static void *reader(void *arg)
{
    struct stage_set *s = arg;
    struct ring a;

    ring_attach(&a, &s->epoch, 0, LANE_SWEEP, STAGE_TRANSFER);
    for (uint64_t n = 0; n < ROUNDS;) {
        struct ring_entry *x = ring_reserve(&a);

        if (!x) {
            uint32_t seen = eventcount_read(sleep_on(s, STAGE_READER));

            if (!(x = ring_reserve(&a))) {
                eventcount_wait(sleep_on(s, STAGE_READER), seen, EVENTCOUNT_FOREVER);
                continue;
            }
        }
        x->tile = (uint32_t)n;
        x->bytes = n * 3;
        for (uint32_t i = WORDS; i-- > 0;) s->slot[n % s->depth].word[i] = word_of(n, i);
        ring_publish(&a);
        n++;
    }
    return NULL;
}

struct passing {
    struct ring host, device;
    uint64_t passed, freed, wrong;
};

/* Takes an entry as soon as there is one, and passes it on without a look at its payload; gives it back when the one made of it
 * is free. False: there was nothing to do. */
static bool pass_on(struct passing *p)
{
    struct ring_entry *x = ring_peek(&p->host), *y = x ? ring_reserve(&p->device) : NULL;

    if (y) {
        ring_take(&p->host);
        p->wrong += x->seq != p->passed || x->bytes != p->passed * 3;
        y->bytes = x->bytes;
        y->tile = x->tile;
        ring_publish(&p->device);
        p->passed++;
    } else if (p->freed < ring_released(&p->device)) {
        ring_release(&p->host);
        p->freed++;
    } else {
        return false;
    }
    return true;
}

static void *transfer(void *arg)
{
    struct stage_set *s = arg;
    struct passing p = {.passed = 0};

    ring_attach(&p.host, &s->epoch, 0, LANE_SWEEP, STAGE_READER);
    ring_attach(&p.device, &s->epoch, 1, LANE_SWEEP, STAGE_COMPUTE);
    while (p.freed < ROUNDS) {
        if (!pass_on(&p)) {
            uint32_t seen = eventcount_read(sleep_on(s, STAGE_TRANSFER));

            if (!pass_on(&p)) eventcount_wait(sleep_on(s, STAGE_TRANSFER), seen, EVENTCOUNT_FOREVER);
        }
    }
    atomic_fetch_add(&s->wrong, p.wrong);
    return NULL;
}

/* Looks at every word, at once and again before it lets go. device: whose ring it takes from. */
static void look_at_payloads(struct stage_set *s, int device, enum stage_id me, enum stage_id peer)
{
    uint64_t taken = 0, wrong = 0;
    struct ring a;

    ring_attach(&a, &s->epoch, device, LANE_SWEEP, peer);
    while (taken < ROUNDS) {
        struct ring_entry *x = ring_take(&a);

        if (!x) {
            uint32_t seen = eventcount_read(sleep_on(s, me));

            if (!(x = ring_take(&a))) {
                eventcount_wait(sleep_on(s, me), seen, EVENTCOUNT_FOREVER);
                continue;
            }
        }
        wrong += x->seq != taken || x->bytes != taken * 3 || x->tile != (uint32_t)taken;
        wrong += wrong_words(&s->slot[taken % s->depth], taken);
        wrong += s->slot[taken % s->depth].word[taken % WORDS] != word_of(taken, taken % WORDS);
        ring_release(&a);
        taken++;
    }
    atomic_fetch_add(&s->wrong, wrong);
    atomic_fetch_add(&s->done, 1);
}

static void *compute(void *arg)
{
    look_at_payloads(arg, 1, STAGE_COMPUTE, STAGE_TRANSFER);
    return NULL;
}

static void *consumer(void *arg)
{
    look_at_payloads(arg, 0, STAGE_TRANSFER, STAGE_READER);
    return NULL;
}

/* The invariants of the host ring, as long as it is at work. */
static void *onlooker(void *arg)
{
    struct stage_set *s = arg;
    const struct ring_shm *r = (const struct ring_shm *)(const void *)((char *)&s->epoch + s->epoch.ring_off[0][0]);

    while (!atomic_load(&s->done)) {
        struct error e;

        if (ring_check(r, &e)) atomic_fetch_add(&s->wrong, 1);
    }
    return NULL;
}

/* ping and pong: each tells the other and sleeps until it is told, and nothing else would wake it. */
static void *ask(void *arg)
{
    struct stage_set *s = arg;

    for (uint64_t i = 1; i <= ROUNDS; i++) {
        atomic_store_explicit(&s->asked, i, memory_order_relaxed);
        eventcount_notify(&s->ping);
        for (;;) {
            uint32_t seen = eventcount_read(&s->pong);

            if (atomic_load_explicit(&s->answered, memory_order_relaxed) == i) break;
            eventcount_wait(&s->pong, seen, EVENTCOUNT_FOREVER);
        }
    }
    return NULL;
}

static void *reply(void *arg)
{
    struct stage_set *s = arg;

    for (uint64_t i = 1; i <= ROUNDS; i++) {
        for (;;) {
            uint32_t seen = eventcount_read(&s->ping);

            if (atomic_load_explicit(&s->asked, memory_order_relaxed) == i) break;
            eventcount_wait(&s->ping, seen, EVENTCOUNT_FOREVER);
        }
        atomic_store_explicit(&s->answered, i, memory_order_relaxed);
        eventcount_notify(&s->pong);
    }
    return NULL;
}

/* Many that notify one eventcount, and many that sleep on it. */
#define EACH (ROUNDS / 8)

static void *tell_all(void *arg)
{
    struct stage_set *s = arg;

    for (uint64_t i = 0; i < EACH; i++) {
        atomic_fetch_add_explicit(&s->asked, 1, memory_order_relaxed);
        eventcount_notify(&s->crowd);
    }
    return NULL;
}

static void *wait_for_all(void *arg)
{
    struct stage_set *s = arg;

    for (;;) {
        uint32_t seen = eventcount_read(&s->crowd);

        if (atomic_load_explicit(&s->asked, memory_order_relaxed) == 2 * EACH) return NULL;
        eventcount_wait(&s->crowd, seen, EVENTCOUNT_FOREVER);
    }
}

/* ---- the cast: threads, then processes ---- */

#define CAST_MOST 4

typedef void *part_fn(void *set);

static void by_threads(struct stage_set *s, part_fn *const *part, int n)
{
    pthread_t thread[CAST_MOST];

    for (int i = 0; i < n; i++) assert_int_equal(pthread_create(&thread[i], NULL, part[i], s), 0);
    for (int i = 0; i < n; i++) pthread_join(thread[i], NULL);
}

#ifndef __SANITIZE_THREAD__ /* which follows one process only */
/* False: it did not end, and was killed. */
static bool ended(pid_t pid)
{
    const struct timespec nap = {.tv_nsec = 2000000};
    int status;

    for (int i = 0; i < HANG_SECONDS * 500; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid) return WIFEXITED(status) && !WEXITSTATUS(status);
        nanosleep(&nap, NULL);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return false;
}

static void by_processes(struct stage_set *s, part_fn *const *part, int n)
{
    pid_t pid[CAST_MOST];
    bool all = true;

    for (int i = 0; i < n; i++) {
        pid[i] = fork();
        assert_true(pid[i] >= 0);
        if (!pid[i]) {
            alarm(HANG_SECONDS);
            part[i](s);
            _exit(0);
        }
    }
    for (int i = 0; i < n; i++) all &= ended(pid[i]);
    if (!all) fail_msg("a process did not come to its end: a notice was lost");
}
#else
#define by_processes by_threads
#endif

static void play(uint32_t depth, part_fn *const *part, int n)
{
    static void (*const ways[])(struct stage_set *, part_fn *const *, int) = {by_threads, by_processes};

    for (int way = 0; way < 2; way++) {
        uint64_t bytes;
        struct stage_set *s = set_make(depth, &bytes);
        const struct ring_shm *r = (const struct ring_shm *)(const void *)((char *)&s->epoch + s->epoch.ring_off[0][0]);
        struct error e;

        ways[way](s, part, n);
        if (atomic_load(&s->wrong)) fail_msg("%llu wrong", (unsigned long long)atomic_load(&s->wrong));
        if (ring_check(r, &e)) fail_msg("%s", e.text);
        for (int i = 0; i < STAGES; i++) assert_int_equal(atomic_load(&s->epoch.eventcount[i].sleepers), 0);
        assert_int_equal(atomic_load(&s->crowd.sleepers), 0);
        munmap(s, bytes);
    }
}

static void a_payload_is_there_before_its_entry(void **state)
{
    part_fn *const cast[] = {reader, consumer};

    (void)state;
    for (uint32_t depth = 1; depth <= SLOTS; depth *= 2) play(depth, cast, 2);
}

static void a_payload_that_was_passed_on_is_there(void **state)
{
    part_fn *const cast[] = {reader, transfer, compute};

    (void)state;
    for (uint32_t depth = 1; depth <= SLOTS; depth *= 2) play(depth, cast, 3);
}

static void onlookers_see_whole_states(void **state)
{
    part_fn *const cast[] = {reader, consumer, onlooker};

    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message("skipped: an onlooker reads what is being written, and checks that afterwards\n");
    skip();
#endif
    play(2, cast, 3);
    play(SLOTS, cast, 3);
}

static void no_notice_is_lost(void **state)
{
    part_fn *const pair[] = {ask, reply}, *const crowd[] = {tell_all, tell_all, wait_for_all, wait_for_all};

    (void)state;
    play(1, pair, 2);
    play(1, crowd, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_payload_is_there_before_its_entry),
        cmocka_unit_test(a_payload_that_was_passed_on_is_there),
        cmocka_unit_test(onlookers_see_whole_states),
        cmocka_unit_test(no_notice_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
