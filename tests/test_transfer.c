/* The transfer stage over the cpu backend; the test plays the reader before it and compute behind it. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/clock.h"
#include "proto/ring.h"
#include "tests/support_files.h"
#include "transfer/backend.h"
#include "transfer/lane.h"

#define SLOT        16384u
#define ROW_SLOT    4096u
#define CACHE_BYTES (10 * SLOT)
#define TILES       5u

struct stub {
    struct plan_shm *plan;
    struct epoch_shm *run;
    struct lanes *lanes;
    struct backend *backend;
    struct ring host[LANES], device[LANES]; /* as the reader and as compute see them */
    pthread_t thread;
    struct error error;
    int rc;
    uint64_t freed[LANES];
};

static void on_freed(void *arg, enum lane_id lane, const struct ring_entry *x)
{
    struct stub *p = arg;

    assert_int_equal(x->seq, p->freed[lane]);
    assert_true(x->fill_ns <= x->ready_ns && x->ready_ns <= x->take_ns && x->take_ns <= x->free_ns);
    p->freed[lane]++;
}

static void *stub_main(void *arg)
{
    struct stub *p = arg;

    p->rc = lanes_run(p->lanes, &p->error);
    return NULL;
}

static struct plan_shm *make_plan(uint32_t entries)
{
    uint64_t at = 4096;
    struct plan_shm *p = calloc(1, 2 * at);

    *p = (struct plan_shm){.run = {.slot_bytes = SLOT,
                                   .row_slot_bytes = ROW_SLOT,
                                   .reader_slots = {4, 4, 2},
                                   .entries = {entries, entries, entries}}};
    p->tiles = (struct plan_table){.offset = at, .count = TILES};
    for (uint32_t i = 0; i < TILES; i++)
        ((struct plan_tile *)(void *)((char *)p + at))[i] = (struct plan_tile){.span = SLOT, .bytes = SLOT - i};
    return p;
}

static void stub_start(struct stub *p, uint32_t entries)
{
    struct lanes_options o;
    struct stage stage = {0};

    memset(p, 0, sizeof *p);
    p->plan = make_plan(entries);
    p->run = run_make(p->plan);
    stage.plan = p->plan;
    assert_int_equal(backend_open(&p->backend, &stage, &p->error), 0);
    o = (struct lanes_options){.plan = p->plan,
                               .run = p->run,
                               .arena_bytes = 8 * SLOT,
                               .cache_bytes = CACHE_BYTES,
                               .backend = p->backend,
                               .freed = on_freed,
                               .freed_arg = p};
    for (int i = 0; i < LANES; i++) {
        ring_attach(&p->host[i], p->run, 0, (enum lane_id)i, STAGE_TRANSFER);
        ring_attach(&p->device[i], p->run, 1, (enum lane_id)i, STAGE_TRANSFER);
    }
    assert_int_equal(lanes_open(&p->lanes, &o, &p->error), 0);
    assert_int_equal(pthread_create(&p->thread, NULL, stub_main, p), 0);
}

static void stub_end(struct stub *p, int rc)
{
    pthread_join(p->thread, NULL);
    if (p->rc != rc) fail_msg("%d: %s", p->rc, p->error.text);
    backend_close(p->backend);
    lanes_close(p->lanes);
    free(p->plan);
    free(p->run);
}

static void stub_stop(struct stub *p)
{
    epoch_stop(p->run);
    stub_end(p, -ECANCELED);
}

static bool publish_bytes(struct stub *p, int lane, uint32_t tile, uint32_t segment, uint64_t offset, uint64_t bytes)
{
    struct ring_entry *x = ring_reserve(&p->host[lane]);

    if (!x) return false;
    x->sweep = x->seq / 3;
    x->tile = tile;
    x->rows = tile == RING_GATHER ? 9 : 0;
    x->bytes = bytes;
    x->segment = segment;
    x->offset = offset;
    ring_publish(&p->host[lane]);
    return true;
}

static bool publish(struct stub *p, int lane, uint32_t tile, uint32_t segment, uint64_t offset)
{
    return publish_bytes(p, lane, tile, segment, offset, tile == RING_GATHER ? 900 : SLOT - tile);
}

static struct ring_entry *take(struct stub *p, int lane)
{
    struct ring_entry *x;
    uint64_t t0 = clock_ns();

    for (;;) {
        uint32_t seen = eventcount_read(&p->run->eventcount[STAGE_COMPUTE]);

        if ((x = ring_take(&p->device[lane]))) return x;
        assert_true(clock_ns() - t0 < UINT64_C(10000000000));
        eventcount_wait(&p->run->eventcount[STAGE_COMPUTE], seen, 10000000u);
    }
}

static void entries_are_handed_on(void **state)
{
    struct stub p;
    struct ring_entry *x;

    (void)state;
    stub_start(&p, 4);
    assert_true(publish(&p, 0, 3, SEGMENT_ARENA, 2 * SLOT));
    assert_true(publish(&p, LANE_ROWS, RING_GATHER, SEGMENT_ARENA, 5 * SLOT));
    assert_true(publish(&p, 0, 1, SEGMENT_CACHE, 9 * SLOT));
    x = take(&p, 0);
    assert_true(x->tile == 3 && x->segment == SEGMENT_ARENA && x->offset == 2 * SLOT && x->bytes == SLOT - 3 &&
                !x->rows);
    x = take(&p, 0);
    assert_true(x->tile == 1 && x->segment == SEGMENT_CACHE && x->offset == 9 * SLOT && x->seq == 1);
    x = take(&p, LANE_ROWS);
    assert_true(x->tile == RING_GATHER && x->rows == 9 && x->bytes == 900);
    assert_int_equal(ring_released(&p.host[0]), 0); /* compute still has them */
    ring_release(&p.device[0]);
    while (ring_released(&p.host[0]) < 1) {
    }
    assert_int_equal(ring_released(&p.host[0]), 1);
    assert_int_equal(ring_released(&p.host[LANE_ROWS]), 0);
    stub_stop(&p);
}

/* Compute takes nothing from one lane, whose entries are all in use, and the other goes on. */
static void lanes_do_not_wait_for_each_other(void **state)
{
    struct stub p;

    (void)state;
    for (int idle = 0; idle < 2; idle++) { /* of those for tiles */
        int busy = !idle;

        stub_start(&p, 2);
        while (publish(&p, idle, 0, SEGMENT_ARENA, 0)) {
        }
        for (uint32_t i = 0; i < 100; i++) {
            while (!publish(&p, busy, i % TILES, SEGMENT_ARENA, 0)) {
            }
            assert_int_equal(take(&p, busy)->tile, i % TILES);
            ring_release(&p.device[busy]);
        }
        assert_int_equal(take(&p, idle)->seq, 0);
        stub_stop(&p);
    }
}

static void many_entries_through_all_lanes(void **state)
{
    static const uint32_t depths[] = {1, 2, 8};

    (void)state;
    for (size_t d = 0; d < 3; d++) {
        uint64_t sent[LANES] = {0}, got[LANES] = {0}, n = 20000;
        struct stub p;

        stub_start(&p, depths[d]);
        while (got[0] < n || got[1] < n || got[LANE_ROWS] < n) {
            for (int lane = 0; lane < LANES; lane++) {
                uint32_t tile = lane == LANE_ROWS ? RING_GATHER : (uint32_t)(sent[lane] % TILES);
                uint32_t expected = lane == LANE_ROWS ? RING_GATHER : (uint32_t)(got[lane] % TILES);
                struct ring_entry *x;

                if (sent[lane] < n && publish(&p, lane, tile, SEGMENT_ARENA, sent[lane] % 8 * SLOT)) sent[lane]++;
                if (!(x = ring_take(&p.device[lane]))) continue;
                if (x->seq != got[lane] || x->tile != expected || x->offset != got[lane] % 8 * SLOT ||
                    x->sweep != got[lane] / 3)
                    fail_msg("entry %llu of lane %d is another one", (unsigned long long)got[lane], lane);
                got[lane]++;
                ring_release(&p.device[lane]);
            }
        }
        for (int lane = 0; lane < LANES; lane++)
            while (ring_released(&p.host[lane]) < n) {
            }
        assert_int_equal(atomic_load(&p.run->stats[STAGE_TRANSFER].tiles), LANES * n);
        stub_stop(&p);
    }
}

static void bad_entries_are_refused(void **state)
{
    static const struct {
        uint32_t tile, segment;
        uint64_t offset, bytes;
        int lane;
    } bad[] = {
        {TILES, SEGMENT_ARENA, 0, SLOT, LANE_SWEEP},
        {0, SEGMENT_DEVICE, 0, SLOT, LANE_SWEEP},
        {0, 77, 0, SLOT, LANE_SWEEP},
        {0, SEGMENT_ARENA, 7 * SLOT + 4096, SLOT, LANE_SWEEP},
        {0, SEGMENT_CACHE, CACHE_BYTES, SLOT, LANE_SWEEP},
        {0, SEGMENT_ARENA, UINT64_MAX - 4095, SLOT, LANE_SWEEP},
        {RING_GATHER, SEGMENT_ARENA, 8 * SLOT - 899, 900, LANE_ROWS},
        {RING_GATHER, SEGMENT_ARENA, 0, ROW_SLOT + 1, LANE_ROWS}, /* more than a slot of the device takes */
        {RING_GATHER, SEGMENT_ARENA, 0, 900, LANE_REQUEST},
        {0, SEGMENT_ARENA, 0, SLOT, LANE_ROWS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct stub p;

        stub_start(&p, 2);
        publish_bytes(&p, bad[i].lane, bad[i].tile, bad[i].segment, bad[i].offset, bad[i].bytes);
        stub_end(&p, -EPROTO);
    }
}

static void a_failed_peer_ends_it(void **state)
{
    struct stub p;

    (void)state;
    stub_start(&p, 2);
    epoch_fail(p.run, STAGE_COMPUTE);
    stub_end(&p, -EPIPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_handed_on),          cmocka_unit_test(lanes_do_not_wait_for_each_other),
        cmocka_unit_test(many_entries_through_all_lanes), cmocka_unit_test(bad_entries_are_refused),
        cmocka_unit_test(a_failed_peer_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
