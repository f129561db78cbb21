/* Tiles as compute sees them: what an entry of the device ring says is believed only where it leads inside its segment. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/stream.h"
#include "tests/support_files.h"

#define SLOT     16384u
#define ROW      100u
#define SLOTS    4u /* of each lane, at both ends */
#define PINS     (2 * SLOT)
#define ROW_SLOT 4096u
#define ARENA    (2 * SLOTS * SLOT + SLOTS * ROW_SLOT)

static const uint64_t SIZES[] = {8 * SLOT};

struct bench {
    struct folder folder;
    struct plan_shm *plan;
    struct stage stage;
    struct tiles tiles;
    struct ring ring; /* as transfer sees it */
    uint8_t *device;
};

/* One tile of two pages, sweep after sweep; a table of rows. */
static void bench_open(struct bench *b, enum lane_id lane, bool device)
{
    struct builder *x = calloc(1, sizeof *x);

    memset(b, 0, sizeof *b);
    folder_make(&b->folder, NULL, 1, SIZES);
    builder_init(x, &b->folder, SLOT);
    builder_tile(x, TIER_DISK, 0);
    builder_part(x, 0, 0, 8192);
    builder_embedding(x, 0, 0, 97, ROW);
    x->head.spec.sweep_tiles = 1;
    for (int i = 0; i < LANES; i++) {
        x->head.run.reader_slots[i] = SLOTS;
        x->head.run.transfer_slots[i] = device ? SLOTS : 0;
    }
    x->head.run.row_slot_bytes = ROW_SLOT;
    x->head.run.device_pin_bytes = device ? PINS : 0;
    x->home_end = 3 * SLOT; /* a cache */
    b->plan = builder_finish(x);
    free(x);
    b->stage = (struct stage){.me = STAGE_COMPUTE,
                              .plan = b->plan,
                              .run = run_make(b->plan),
                              .arena = pages_make(ARENA),
                              .cache = pages_make(3 * SLOT),
                              .arena_bytes = ARENA,
                              .cache_bytes = 3 * SLOT};
    b->device = device ? pages_make(plan_device_bytes(&b->plan->run)) : NULL;
    tiles_open(&b->tiles, &b->stage, NULL, lane, b->device);
    ring_attach(&b->ring, b->stage.run, 1, lane, STAGE_COMPUTE);
}

static void bench_close(struct bench *b)
{
    free(b->stage.run);
    free(b->stage.arena);
    free(b->stage.cache);
    free(b->device);
    free(b->plan);
    folder_remove(&b->folder);
}

static void publish(struct bench *b, uint32_t tile, uint32_t rows, uint32_t segment, uint64_t offset)
{
    struct ring_entry *x = ring_reserve(&b->ring);

    x->sweep = 0;
    x->tile = tile;
    x->rows = rows;
    x->segment = segment;
    x->offset = offset;
    ring_publish(&b->ring);
}

struct place {
    uint32_t rows, segment; /* rows 0: a tile */
    uint64_t offset;
};

/* Takes one entry that says this: 0 or -errno. */
static int take(bool device, struct place p)
{
    enum lane_id lane = p.rows ? LANE_ROWS : LANE_SWEEP;
    struct tile_part part;
    struct tiles_rows rows;
    struct error e = {0};
    struct bench b;
    int rc;

    bench_open(&b, lane, device);
    publish(&b, p.rows ? RING_GATHER : 0, p.rows, p.segment, p.offset);
    tiles_range(&b.tiles, 0, 0, 1);
    rc = p.rows ? tiles_gather(&b.tiles, &rows, &e) : tiles_next(&b.tiles, &part, &e);
    bench_close(&b);
    return rc;
}

static void entries_on_the_host(void **state)
{
    static const struct place good[] = {
        {0, SEGMENT_ARENA, 0},
        {0, SEGMENT_ARENA, ARENA - 8192},
        {0, SEGMENT_CACHE, 3 * SLOT - 8192},
        {9, SEGMENT_ARENA, ARENA - 9 * ROW},
    };
    static const struct place bad[] = {
        {0, SEGMENT_ARENA, ARENA - 4096},
        {0, SEGMENT_CACHE, 3 * SLOT - 4096},
        {0, SEGMENT_ARENA, UINT64_MAX - 4095},
        {0, SEGMENT_DEVICE, 0},
        {0, SEGMENTS, 0},
        {10, SEGMENT_ARENA, ARENA - 9 * ROW},
        {UINT32_MAX, SEGMENT_ARENA, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_int_equal(take(false, good[i]), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(take(false, bad[i]), -EPROTO);
}

static void entries_on_a_device(void **state)
{
    static const uint64_t end = ARENA + PINS;
    const struct place good[] = {
        {0, SEGMENT_DEVICE, 0},
        {0, SEGMENT_DEVICE, end - 8192},
        {9, SEGMENT_DEVICE, end - 9 * ROW},
    };
    const struct place bad[] = {
        {0, SEGMENT_DEVICE, end - 4096},
        {0, SEGMENT_DEVICE, end},
        {0, SEGMENT_DEVICE, UINT64_MAX - 4095},
        {10, SEGMENT_DEVICE, end - 9 * ROW},
        {UINT32_MAX, SEGMENT_DEVICE, 0},
        {0, SEGMENT_ARENA, 0}, /* memory that no kernel on the device can read */
        {9, SEGMENT_CACHE, 0},
        {0, SEGMENTS, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_int_equal(take(true, good[i]), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(take(true, bad[i]), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_on_the_host),
        cmocka_unit_test(entries_on_a_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
