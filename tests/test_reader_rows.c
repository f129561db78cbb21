/* Rows of the gather table through the reader's stream: every byte of them, in batches, ahead, and from the host cache. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/ring.h"
#include "proto/rows.h"
#include "reader/stream.h"
#include "tests/support_stub.h"

#define SLOT     (128u << 10)
#define ROW_SLOT (64u << 10)
#define EACH     (ROW_SLOT / ROW) /* rows of a slot */
#define ROW      4100u            /* bytes of a row */
#define ROWS     97u
#define TABLE    777u /* where it begins */

static const uint64_t SIZES[] = {800000};

static int setup_folder(void **state)
{
    static struct folder d;

    folder_make(&d, "/var/tmp", 1, SIZES);
    *state = &d;
    return 0;
}

static int teardown_folder(void **state)
{
    folder_remove(*state);
    return 0;
}

/* Four tiles of which nothing is looked at here, two of them on demand. */
static struct builder *make_plan(const struct folder *d, uint32_t slots)
{
    struct builder *b = calloc(1, sizeof *b);

    builder_init(b, d, SLOT);
    for (uint32_t i = 0; i < 4; i++) {
        builder_tile(b, TIER_DISK, 0);
        builder_part(b, 0, 500000 + 1000 * i, 5000);
    }
    builder_embedding(b, 0, TABLE, ROWS, ROW);
    b->head.spec.sweep_tiles = 2;
    b->head.spec.demand_tiles = 2;
    b->head.run.row_slot_bytes = ROW_SLOT;
    b->head.run.reader_slots[LANE_ROWS] = slots;
    return b;
}

static struct plan_shm *finish(struct builder *b)
{
    struct plan_shm *p = builder_finish(b);

    free(b);
    return p;
}

static struct ring *ring_of(struct stub *p)
{
    return &p->ring[LANE_ROWS];
}

static void expect_row(const struct stub *p, const struct ring_entry *x, uint32_t i, uint32_t row)
{
    const uint8_t *data = stub_payload(p, x) + i * ROW;
    uint64_t wrong = 0;

    for (uint32_t k = 0; k < ROW; k++) wrong += data[k] != content_byte(0, TABLE + row * ROW + k);
    assert_int_equal(wrong, 0);
}

/* Takes one batch, whose first row has this number. */
static void take_batch(struct stub *p, uint64_t number, const uint32_t *rows, uint32_t count)
{
    for (uint32_t done = 0; done < count;) {
        struct ring_entry *x = stub_next(p, LANE_ROWS);

        if (!x) fail_msg("%s", p->error.text);
        assert_int_equal(x->tile, RING_GATHER);
        assert_int_equal(x->sweep, number + done);
        assert_int_equal(x->rows, count - done < EACH ? count - done : EACH);
        assert_int_equal(x->bytes, x->rows * ROW);
        assert_int_equal(x->segment, SEGMENT_ARENA);
        assert_true(x->offset >= plan_slots_before(&p->plan->run, p->plan->run.reader_slots, LANE_ROWS));
        for (uint32_t i = 0; i < x->rows; i++) expect_row(p, x, i, rows[done + i]);
        done += x->rows;
        ring_release(ring_of(p));
    }
}

/* ---- a second table beside it ---- */

#define BESIDE      410001u
#define BESIDE_ROW  333u
#define BESIDE_ROWS 50u

static void expect_both(const struct stub *p, const struct ring_entry *x, uint32_t i, uint32_t row)
{
    const uint8_t *data = stub_payload(p, x) + i * plan_row_stride(p->plan),
                  *second = data + plan_beside_offset(p->plan);
    uint64_t wrong = 0;

    for (uint32_t k = 0; k < ROW; k++) wrong += data[k] != content_byte(0, TABLE + row * ROW + k);
    if (row >= BESIDE_ROWS) row = 0;
    for (uint32_t k = 0; k < BESIDE_ROW; k++) wrong += second[k] != content_byte(0, BESIDE + row * BESIDE_ROW + k);
    assert_int_equal(wrong, 0);
}

/* Each row is both tables' rows, also where there is room for one read at a time. */
static void rows_of_two_tables(void **state)
{
    enum { COUNT = 200 };
    uint32_t rows[COUNT];

    for (uint32_t i = 0; i < COUNT; i++) rows[i] = i * 37 % ROWS;
    for (uint32_t depth = 1; depth <= 9; depth += 4) {
        struct builder *b = make_plan(*state, 2);
        struct stub p;
        uint32_t each;

        b->head.run.io_depth = depth;
        b->head.beside = (struct plan_gather){.file_off = BESIDE, .rows = BESIDE_ROWS, .row_bytes = BESIDE_ROW};
        stub_start(&p, finish(b), NULL);
        each = (uint32_t)(ROW_SLOT / plan_row_stride(p.plan));
        assert_int_equal(rows_list(p.run, 0, rows, COUNT), 0);
        for (uint32_t done = 0; done < COUNT;) {
            struct ring_entry *x = stub_next(&p, LANE_ROWS);

            if (!x) fail_msg("%s", p.error.text);
            assert_int_equal(x->rows, COUNT - done < each ? COUNT - done : each);
            assert_int_equal(x->bytes, x->rows * plan_row_stride(p.plan));
            for (uint32_t i = 0; i < x->rows; i++) expect_both(&p, x, i, rows[done + i]);
            done += x->rows;
            ring_release(ring_of(&p));
        }
        stub_stop(&p);
    }
}

static void every_byte_of_every_batch(void **state)
{
    static const uint32_t counts[] = {1, EACH - 1, EACH, EACH + 1, 2 * EACH, 500, 3, 1};
    uint32_t rows[500];

    for (uint32_t slots = 1; slots <= 4; slots++) {
        struct builder *b = make_plan(*state, slots);
        uint64_t number = 0;
        struct stub p;

        b->head.run.engine = slots & 1 ? ENGINE_THREADS : ENGINE_AUTO;
        b->head.run.io_depth = slots == 3 ? 1 : 8;
        stub_start(&p, finish(b), NULL);
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            for (uint32_t i = 0; i < counts[c]; i++) rows[i] = (i * 37 + (uint32_t)c) % ROWS;
            assert_int_equal(rows_list(p.run, number, rows, counts[c]), 0);
            take_batch(&p, number, rows, counts[c]);
            number += counts[c];
        }
        stub_stop(&p);
    }
}

/* Batches share no entry, and each is read as soon as there is a slot, whether anybody takes the ones before or not. */
static void batches_are_read_ahead(void **state)
{
    uint32_t rows[6] = {90, 1, 2, 3, 96, 3};
    struct stub p;

    stub_start(&p, finish(make_plan(*state, 2)), NULL);
    for (uint32_t i = 0; i < 6; i += 2) assert_int_equal(rows_list(p.run, 0, rows + i, 2), 0);
    while (ring_published(ring_of(&p)) < 2) {
    }
    eventcount_wait(&p.run->eventcount[STAGE_TRANSFER], eventcount_read(&p.run->eventcount[STAGE_TRANSFER]), 20000000u);
    assert_int_equal(ring_published(ring_of(&p)), 2); /* as many as there are slots */
    for (uint32_t i = 0; i < 6; i += 2) take_batch(&p, i, rows + i, 2);
    stub_stop(&p);
}

/* Nobody takes from the other lanes, and rows come; nobody takes rows, and the others go on. */
static void lanes_do_not_wait_for_each_other(void **state)
{
    uint32_t rows[] = {5, 6};
    struct stub p;

    stub_start(&p, finish(make_plan(*state, 2)), NULL);
    for (uint32_t i = 0; i < 2 * EPOCH_REQUESTS && !request_push(p.run, 2 + i % 2); i++) {
    }
    for (uint32_t i = 0; i < 20; i += 2) {
        assert_int_equal(rows_list(p.run, i, rows, 2), 0);
        take_batch(&p, i, rows, 2);
    }
    for (uint32_t i = 20; i < 30; i++) assert_int_equal(rows_list(p.run, 20, rows, 1), 0);
    for (uint32_t i = 0; i < 20; i++) {
        stub_check_tile(&p, stub_next(&p, LANE_SWEEP), i % 2);
        stub_check_tile(&p, stub_next(&p, LANE_REQUEST), 2 + i % 2);
        ring_release(&p.ring[LANE_SWEEP]);
        ring_release(&p.ring[LANE_REQUEST]);
    }
    stub_stop(&p);
}

static void a_row_beyond_the_table_is_refused(void **state)
{
    uint32_t rows[] = {0, ROWS};
    struct stub p;

    stub_start(&p, finish(make_plan(*state, 2)), NULL);
    assert_int_equal(rows_list(p.run, 0, rows, 2), 0);
    stub_expect_failure(&p, EPROTO, "row 97");
}

/* Rows 10 .. 39 lie in two tiles that stay in the cache, row 20 in both in part. Once the tiles are there, whole rows are
 * copied from them; all others are read. */
static void rows_in_the_cache_are_not_read_again(void **state)
{
    struct builder *b = calloc(1, sizeof *b);
    uint64_t calls;
    struct stub p;

    builder_init(b, *state, SLOT);
    builder_embedding(b, 0, TABLE, ROWS, ROW);
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t begin = TABLE + (i ? 20 * ROW + 100 : 10 * ROW), end = TABLE + (i ? 40 * ROW : 20 * ROW + 100);

        builder_tile(b, TIER_HOST, TILE_STAYS);
        builder_part(b, 0, 700000, 10); /* something else comes first */
        builder_part(b, 0, begin, end - begin);
    }
    b->head.spec.sweep_tiles = 2;
    b->head.run.reader_slots[0] = 1;
    stub_start(&p, finish(b), NULL);
    for (uint32_t i = 0; i < 2; i++) {
        stub_check_tile(&p, stub_next(&p, LANE_SWEEP), i);
        ring_release(&p.ring[LANE_SWEEP]);
    }
    calls = atomic_load(&p.run->stats[STAGE_READER].calls);
    for (uint32_t row = 0; row < ROWS; row++) {
        assert_int_equal(rows_list(p.run, row, &row, 1), 0);
        take_batch(&p, row, &row, 1);
        if (row < 10 || row == 20 || row >= 40) calls++;
        assert_int_equal(atomic_load(&p.run->stats[STAGE_READER].calls), calls);
    }
    stub_stop(&p);
}

/* The same rows while the tiles are still on their way. */
static void rows_of_tiles_to_come_are_read(void **state)
{
    struct builder *b = calloc(1, sizeof *b);
    uint32_t row = 12;
    struct stub p;

    builder_init(b, *state, SLOT);
    builder_embedding(b, 0, TABLE, ROWS, ROW);
    for (uint32_t i = 0; i < 8; i++) { /* the ring is full before the last one */
        builder_tile(b, i < 7 ? TIER_DISK : TIER_HOST, 0);
        builder_part(b, 0, TABLE, 20 * ROW);
    }
    b->head.spec.sweep_tiles = 8;
    stub_start(&p, finish(b), NULL);
    assert_int_equal(rows_list(p.run, 0, &row, 1), 0);
    take_batch(&p, 0, &row, 1);
    stub_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_of_every_batch),
        cmocka_unit_test(rows_of_two_tables),
        cmocka_unit_test(batches_are_read_ahead),
        cmocka_unit_test(lanes_do_not_wait_for_each_other),
        cmocka_unit_test(a_row_beyond_the_table_is_refused),
        cmocka_unit_test(rows_in_the_cache_are_not_read_again),
        cmocka_unit_test(rows_of_tiles_to_come_are_read),
    };

    return cmocka_run_group_tests(tests, setup_folder, teardown_folder);
}
