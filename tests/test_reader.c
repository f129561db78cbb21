/* The reader's stream over plans made by hand; the test plays transfer and compute and looks at every byte. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/base/clock.h"
#include "proto/base/page.h"
#include "proto/base/shm.h"
#include "proto/ring.h"
#include "reader/stream.h"
#include "tests/support_stub.h"

#define SLOT      (128u << 10)
#define RESIDENTS 3u
#define EXPERTS   12u
#define COLLAPSE  25 /* MADV_COLLAPSE */

/* Walks sweeps on lane 0, holding entries for a while before they are released; bytes are looked at when an entry is
 * taken and, again, right before it is released. */
static void walk_sweeps(struct stub *p, uint64_t sweeps, uint64_t hold)
{
    uint64_t released = 0, taken = 0;

    for (uint64_t s = 0; s < sweeps; s++) {
        for (uint32_t t = 0; t < p->plan->spec.sweep_tiles; t++) {
            const struct plan_tile *tile = &plan_tiles(p->plan)[t];
            struct ring_entry *x;

            if (s && (tile->flags & TILE_STAYS)) continue;
            while (taken - released >= hold) {
                x = ring_at(&p->ring[0], released++);
                stub_check_tile(p, x, x->tile);
                ring_release(&p->ring[0]);
            }
            x = stub_next(p, LANE_SWEEP);
            if (!x) fail_msg("%s", p->error.text);
            assert_int_equal(x->sweep, s);
            assert_int_equal(x->segment, tile->tier == TIER_HOST ? SEGMENT_CACHE : SEGMENT_ARENA);
            stub_check_tile(p, x, t);
            taken++;
        }
    }
    for (; released < taken; released++) ring_release(&p->ring[0]);
}

/* ---- the plan that most tests use ---- */

static const uint64_t SIZES[] = {1500001, 800000, 4096 * 30, 70001};

static void add_tile(struct builder *b, uint32_t i, uint16_t tier, uint16_t flags)
{
    builder_tile(b, tier, flags);
    for (uint32_t k = 0; k <= i % 3; k++) {
        uint32_t file = (i + k) % 4;
        uint64_t bytes = i % 5 ? 1 + (i * 7919 + k * 104729) % 30000 : 1 + i, last = SIZES[file] - bytes;

        builder_part(b, file, i % 7 ? (i * 611953 + k * 15486) % last : last, bytes); /* some end where the file ends */
    }
}

/* 20 sweep tiles, residents and experts. */
static struct builder *make_plan(const struct folder *d, uint32_t slots, uint32_t entries, bool homes)
{
    struct builder *b = calloc(1, sizeof *b);

    builder_init(b, d, SLOT);
    for (uint32_t i = 0; i < 20; i++) {
        uint16_t tier = !homes ? TIER_DISK : i % 5 == 1 || i == 12 ? TIER_HOST : i % 5 == 2 ? TIER_DEVICE : TIER_DISK;

        add_tile(b, i, tier, tier == TIER_DEVICE || i == 12 ? TILE_STAYS * homes : 0);
    }
    for (uint32_t i = 20; i < 20 + RESIDENTS + EXPERTS; i++) add_tile(b, i, TIER_DISK, 0);
    b->head.spec.sweep_tiles = 20;
    b->head.spec.resident_tiles = RESIDENTS;
    b->head.spec.demand_tiles = EXPERTS;
    b->head.run.reader_slots[0] = b->head.run.reader_slots[1] = slots;
    b->head.run.entries[0] = b->head.run.entries[1] = entries;
    return b;
}

static struct plan_shm *finish(struct builder *b)
{
    struct plan_shm *p = builder_finish(b);

    free(b);
    return p;
}

static int setup_folder(void **state)
{
    static struct folder d;

    folder_make(&d, "/var/tmp", 4, SIZES);
    *state = &d;
    return 0;
}

static int teardown_folder(void **state)
{
    folder_remove(*state);
    return 0;
}

/* ---- lane 0 ---- */

static void sweeps_at_every_depth(void **state)
{
    struct stub p;

    for (uint32_t slots = 1; slots <= 8; slots++) {
        for (uint32_t engine = ENGINE_AUTO; engine <= ENGINE_THREADS; engine++) {
            struct builder *b = make_plan(*state, slots, slots > 4 ? 8 : 4, slots & 1);

            b->head.run.engine = engine;
            b->head.run.io = slots % 3;
            b->head.run.io_depth = slots == 3 ? 1 : 8;
            b->head.run.io_block_bytes = slots == 2 ? 4096 : slots == 4 ? 5000 : 0;
            stub_start(&p, finish(b), NULL);
            walk_sweeps(&p, 3, (slots + 1) / 2);
            stub_stop(&p);
        }
    }
}

static void runs_ahead_over_the_end_of_a_sweep(void **state)
{
    struct builder *b = make_plan(*state, 8, 16, false);
    struct stub p;
    uint64_t t0 = clock_ns();

    b->head.spec.sweep_tiles = 3;
    b->head.spec.resident_tiles = b->head.spec.demand_tiles = 0;
    stub_start(&p, finish(b), NULL);
    while (ring_published(&p.ring[0]) < 8 && clock_ns() - t0 < 5000000000u) {
    }
    assert_int_equal(ring_published(&p.ring[0]), 8); /* as many as there are slots: three sweeps begun */
    assert_int_equal(ring_at(&p.ring[0], 7)->sweep, 2);
    stub_stop(&p);
}

/* The system's own, but where large pages are hard to come by: then each takes a while. */
static _Atomic bool scarce;
static _Atomic uint32_t collapsed;

int madvise(void *base, size_t bytes, int advice)
{
    if (advice == COLLAPSE) {
        collapsed++;
        if (scarce) nanosleep(&(struct timespec){.tv_nsec = 80000000}, NULL);
        return 0;
    }
    return (int)syscall(SYS_madvise, base, bytes, advice);
}

/* How often large pages are asked for under 20 pins, each so far from the one before it. */
static uint32_t large_pages_of_pins(void *folder, uint64_t distance, bool hard)
{
    struct builder *b = make_plan(folder, 2, 8, false);
    struct stub p;

    for (uint32_t i = 0; i < 20; i++) {
        b->tile[i].tier = TIER_HOST;
        b->tile[i].tier_off = b->home_end;
        b->home_end += distance;
    }
    stub_start(&p, finish(b), NULL);
    scarce = hard;
    collapsed = 0;
    walk_sweeps(&p, 1, 2);
    scarce = false;
    stub_stop(&p);
    return collapsed;
}

static void need_large_pages(void)
{
    if (page_large_bytes()) return;
    print_message("skipped: the large pages of this system are too large to ask for\n");
    skip();
}

/* Each call waits for every processor. */
static void large_pages_are_asked_for_many_at_a_time(void **state)
{
    need_large_pages();
    assert_in_range(large_pages_of_pins(*state, page_large_bytes(), false), 1, 6);
    assert_in_range(large_pages_of_pins(*state, STREAM_LARGE_AHEAD, false), 20, 23);
}

/* 320 MiB: at their beginning and after 32, 64, 128 and 256 MiB. */
static void scarce_large_pages_are_asked_for_seldom(void **state)
{
    need_large_pages();
    assert_in_range(large_pages_of_pins(*state, STREAM_LARGE_AHEAD, true), 1, 5);
}

/* From the second sweep on, tiles at the host are not read, and those that stay are not sent. */
static void pinned_tiles_are_read_once(void **state)
{
    struct builder *b = make_plan(*state, 2, 8, false);
    struct stub p;
    uint64_t calls;

    for (uint32_t i = 0; i < 20; i++) {
        b->tile[i].tier = TIER_HOST;
        b->tile[i].tier_off = b->home_end;
        b->home_end += b->tile[i].span;
    }
    stub_start(&p, finish(b), NULL);
    walk_sweeps(&p, 1, 2);
    calls = atomic_load(&p.run->stats[STAGE_READER].calls);
    for (uint32_t i = 0; i < 40; i++) {
        struct ring_entry *x = stub_next(&p, LANE_SWEEP);

        stub_check_tile(&p, x, i % 20);
        ring_release(&p.ring[0]);
    }
    assert_int_equal(atomic_load(&p.run->stats[STAGE_READER].calls), calls);
    stub_stop(&p);
}

static void nothing_moves_after_the_first_sweep(void **state)
{
    struct builder *b = make_plan(*state, 3, 4, false);
    struct stub p;

    for (uint32_t i = 0; i < 20; i++) b->tile[i].flags = TILE_STAYS;
    stub_start(&p, finish(b), NULL);
    walk_sweeps(&p, 1, 1);
    eventcount_wait(&p.run->eventcount[STAGE_TRANSFER], eventcount_read(&p.run->eventcount[STAGE_TRANSFER]), 20000000u);
    assert_null(ring_peek(&p.ring[0]));
    stub_stop(&p);
}

/* Parts that touch in the file and in the slot are one read. */
static void touching_parts_are_one_read(void **state)
{
    struct builder *b = calloc(1, sizeof *b);
    struct stub p;

    builder_init(b, *state, SLOT);
    builder_tile(b, TIER_DISK, TILE_STAYS);
    builder_part(b, 0, 4000, 96 + 4096);
    builder_touching_part(b, 8192);
    builder_touching_part(b, 100);
    builder_part(b, 1, 50, 60);
    b->head.spec.sweep_tiles = 1;
    stub_start(&p, finish(b), NULL);
    walk_sweeps(&p, 1, 1);
    assert_int_equal(atomic_load(&p.run->stats[STAGE_READER].calls), 2);
    stub_stop(&p);
}

/* ---- lane 1 ---- */

static void ask(struct stub *p, uint32_t tile)
{
    assert_int_equal(request_push(p->run, tile), 0);
}

static void take_residents(struct stub *p)
{
    for (uint32_t i = 0; i < RESIDENTS; i++) {
        struct ring_entry *x = stub_next(p, LANE_REQUEST);

        if (!x) fail_msg("%s", p->error.text);
        stub_check_tile(p, x, 20 + i);
        ring_release(&p->ring[1]);
    }
}

/* Experts asked for in a random order, several held at once; cache_places of them fit into the cache. */
static void ask_experts(void **state, uint32_t places, uint32_t rounds)
{
    struct builder *b = make_plan(*state, 2, 4, false);
    struct stub p;
    uint64_t largest = 0, hits, misses, asked = 0;
    uint32_t order[64];

    for (uint32_t i = 0; i < EXPERTS; i++) {
        if (b->tile[20 + RESIDENTS + i].span > largest) largest = b->tile[20 + RESIDENTS + i].span;
    }
    b->head.run.expert_cache_bytes = places * largest + places % 2 * 100;
    b->tile[4].tier = TIER_HOST; /* the cache has another tenant */
    b->home_end = b->tile[4].span;
    stub_start(&p, finish(b), NULL);
    take_residents(&p);
    srandom(places);
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t n = 1 + (uint32_t)random() % 8, held = 0;

        for (uint32_t i = 0; i < n; i++) {
            uint32_t skewed = (uint32_t)(random() % EXPERTS * (random() % EXPERTS) / EXPERTS);

            order[i] = 20 + RESIDENTS + skewed;
            ask(&p, order[i]);
        }
        for (uint32_t i = 0; i < n; i++) {
            struct ring_entry *x = stub_next(&p, LANE_REQUEST);

            if (!x) fail_msg("%s", p.error.text);
            stub_check_tile(&p, x, order[i]);
            asked += x->bytes;
            if (++held == 2) {
                x = ring_at(&p.ring[1], x->seq - 1);
                stub_check_tile(&p, x, order[i - 1]); /* nobody wrote over it while it was held */
                ring_release(&p.ring[1]);
                held--;
            }
        }
        ring_release(&p.ring[1]);
    }
    hits = atomic_load(&p.run->stats[STAGE_READER].hit_bytes);
    misses = atomic_load(&p.run->stats[STAGE_READER].miss_bytes);
    assert_int_equal(hits + misses, asked);
    if (!places) assert_int_equal(hits, 0);
    if (places == EXPERTS) {
        uint64_t all = 0;

        for (uint32_t i = 0; i < EXPERTS; i++) all += plan_tiles(p.plan)[20 + RESIDENTS + i].bytes;
        assert_true(misses <= all); /* each was read once */
    }
    stub_stop(&p);
}

static void experts_without_a_cache(void **state)
{
    ask_experts(state, 0, 40);
}
static void experts_with_a_tiny_cache(void **state)
{
    ask_experts(state, 1, 100);
}
static void experts_with_a_small_cache(void **state)
{
    ask_experts(state, 5, 200);
}
static void experts_all_in_the_cache(void **state)
{
    ask_experts(state, EXPERTS, 100);
}

/* Both lanes at once: nobody takes from lane 0 for a while, and lane 1 still answers. */
static void lanes_do_not_wait_for_each_other(void **state)
{
    struct stub p;

    stub_start(&p, finish(make_plan(*state, 2, 2, true)), NULL);
    take_residents(&p);
    for (uint32_t i = 0; i < 11; i++) {
        if (i == 10) walk_sweeps(&p, 2, 1);
        ask(&p, 20 + RESIDENTS + i);
        stub_check_tile(&p, stub_next(&p, LANE_REQUEST), 20 + RESIDENTS + i);
        ring_release(&p.ring[1]);
    }
    stub_stop(&p);
}

static void bad_requests_are_refused(void **state)
{
    static const uint32_t bad[] = {3, 20 + RESIDENTS - 1, 20 + RESIDENTS + EXPERTS, UINT32_MAX};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct stub p;

        stub_start(&p, finish(make_plan(*state, 2, 2, false)), NULL);
        take_residents(&p);
        ask(&p, bad[i]);
        stub_expect_failure(&p, EPROTO, "not sent on demand");
    }
}

static void null_engine_fills_nothing_but_goes_on(void **state)
{
    struct builder *b = make_plan(*state, 2, 2, false);
    struct stub p;

    b->head.run.engine = ENGINE_NULL;
    stub_start(&p, finish(b), NULL);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(stub_next(&p, LANE_SWEEP)->tile, i % 20);
        ring_release(&p.ring[0]);
    }
    stub_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sweeps_at_every_depth),
        cmocka_unit_test(runs_ahead_over_the_end_of_a_sweep),
        cmocka_unit_test(pinned_tiles_are_read_once),
        cmocka_unit_test(nothing_moves_after_the_first_sweep),
        cmocka_unit_test(touching_parts_are_one_read),
        cmocka_unit_test(experts_without_a_cache),
        cmocka_unit_test(experts_with_a_tiny_cache),
        cmocka_unit_test(experts_with_a_small_cache),
        cmocka_unit_test(experts_all_in_the_cache),
        cmocka_unit_test(lanes_do_not_wait_for_each_other),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(null_engine_fills_nothing_but_goes_on),
        cmocka_unit_test(large_pages_are_asked_for_many_at_a_time),
        cmocka_unit_test(scarce_large_pages_are_asked_for_seldom),
    };

    return cmocka_run_group_tests(tests, setup_folder, teardown_folder);
}
