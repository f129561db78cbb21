/* Products with packed weights: for every variant, thread count, number of tokens, size of units and cut of the rows, the
 * bytes of the product with the same weights unpacked; a damaged unit is an error of the backend and nothing worse. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/unit/unit.h"
#include "tests/support_kernels.h"
#include "tests/support_units.h"

#define TOKENS     20u
#define UNITS_MOST 512u

struct packed_matrix {
    struct plan_matrix raw, packed;
    uint8_t *weights, *units;
    uint64_t at[UNITS_MOST + 1];
};

static void make(struct packed_matrix *p, uint32_t rows, uint32_t cols, uint32_t unit_rows, enum weights_kind kind)
{
    const uint32_t units = (rows + unit_rows - 1) / unit_rows;

    assert_true(units <= UNITS_MOST);
    *p = (struct packed_matrix){
        .raw = {.rows = rows, .cols = cols, .row_bytes = 2ull * cols, .scale_file = PLAN_NONE, .form = FORM_BF16}};
    p->packed = p->raw;
    p->packed.unit_rows = unit_rows;
    p->weights = malloc(2 * (size_t)rows * cols);
    p->units = malloc(units * unit_stored_most(unit_rows, cols));
    assert_non_null(p->weights);
    assert_non_null(p->units);
    weights_fill(p->weights, (size_t)rows * cols, cols, kind, rows + cols);
    p->at[0] = 128; /* as anywhere in a file */
    for (uint32_t i = 0; i < units; i++) {
        const uint32_t n = rows - i * unit_rows < unit_rows ? rows - i * unit_rows : unit_rows;

        p->at[i + 1] = p->at[i] + unit_encode(unit_code(), p->units + p->at[i] - p->at[0],
                                              p->weights + 2 * (size_t)i * unit_rows * cols, n, cols);
    }
}

static void release(struct packed_matrix *p)
{
    free(p->weights);
    free(p->units);
}

static struct ops_weight raw_rows(const struct packed_matrix *p, uint32_t row0, uint32_t end)
{
    return (struct ops_weight){
        .matrix = &p->raw, .data = p->weights + row0 * p->raw.row_bytes, .row0 = row0, .rows = end - row0};
}

/* row0 begins a unit. */
static struct ops_weight packed_rows(const struct packed_matrix *p, uint32_t row0, uint32_t end)
{
    const uint64_t *at = p->at + row0 / p->packed.unit_rows;

    return (struct ops_weight){
        .matrix = &p->packed, .data = p->units + (at[0] - p->at[0]), .row0 = row0, .rows = end - row0, .unit = at};
}

static void compare(uint32_t rows, uint32_t cols, uint32_t unit_rows, enum weights_kind kind)
{
    static const uint32_t tokens[] = {1, 2, 3, 7, TOKENS};
    struct packed_matrix p;
    uint64_t seed = 17;
    char label[120];

    make(&p, rows, cols, unit_rows, kind);
    const uint32_t ldx = (rows > cols ? rows : cols) + 3, ldy = ldx + 2, cut = rows > unit_rows ? unit_rows : 0;
    const size_t floats = (size_t)TOKENS * ldy;
    float *x = kernels_floats(&seed, (size_t)TOKENS * ldx), *bias = kernels_floats(&seed, ldy),
          *want = calloc(floats, 4), *y = calloc(floats, 4);
    const struct ops_weight raw = raw_rows(&p, 0, rows), packed = packed_rows(&p, 0, rows),
                            first = packed_rows(&p, 0, cut), rest = packed_rows(&p, cut, rows);

    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        struct error e = {0};

        snprintf(label, sizeof label, "%u x %u in units of %u, %s", rows, cols, unit_rows, kernels_way_name(way));
        for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
            for (uint32_t flags = 0; flags <= MATMUL_ROW_NORM; flags += MATMUL_ROW_NORM) {
                memset(y, 0, floats * 4), memset(want, 0, floats * 4);
                ops_matmul(o, want, ldy, x, ldx, &raw, bias, flags, tokens[i]);
                ops_matmul(o, y, ldy, x, ldx, &packed, bias, flags, tokens[i]);
                kernels_assert_same(y, want, floats, label);
                if (cut) {
                    memset(y, 0, floats * 4);
                    ops_matmul(o, y, ldy, x, ldx, &first, bias, flags, tokens[i]);
                    ops_matmul(o, y + cut, ldy, x, ldx, &rest, bias + cut, flags, tokens[i]);
                    kernels_assert_same(y, want, floats, label);
                }
            }
            memset(y, 0, floats * 4), memset(want, 0, floats * 4);
            ops_matmul_t(o, want, ldy, x, ldx, &raw, bias, true, tokens[i]);
            ops_matmul_t(o, y, ldy, x, ldx, &packed, bias, true, tokens[i]);
            kernels_assert_same(y, want, floats, label);
        }
        assert_int_equal(ops_sync(o, &e), 0);
        ops_close(o);
    }
    free(x), free(bias), free(want), free(y);
    release(&p);
}

static void like_unpacked(void **state)
{
    (void)state;
    compare(100, 192, 16, WEIGHTS_GAUSSIAN);
    compare(37, 333, 5, WEIGHTS_SCALED);
    compare(64, 96, 64, WEIGHTS_GAUSSIAN);
    compare(9, 4099, 3, WEIGHTS_GAUSSIAN);
    compare(33, 64, 1, WEIGHTS_GAUSSIAN);
    compare(50, 513, 8, WEIGHTS_RANDOM);      /* raw units */
    compare(3, 70001, 2, WEIGHTS_GAUSSIAN);   /* a row is longer than a panel */
    compare(300, 640, 200, WEIGHTS_GAUSSIAN); /* a unit is longer than a panel */
}

static void damage_is_told(void **state)
{
    (void)state;
    for (uint32_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        struct packed_matrix p;
        struct error e = {0};
        float x[256] = {1}, y[64];

        make(&p, 64, 256, 16, WEIGHTS_GAUSSIAN);
        const struct ops_weight w = packed_rows(&p, 0, 64);
        p.units[p.at[2] - p.at[0] + 9] ^= 1; /* a header: its own checksum is wrong */
        ops_matmul(o, y, 64, x, 256, &w, NULL, 0, 1);
        assert_int_equal(ops_sync(o, &e), -EBADMSG);
        assert_non_null(strstr(e.text, "units of packed weights"));
        p.units[p.at[2] - p.at[0] + 9] ^= 1;
        ops_matmul(o, y, 64, x, 256, &w, NULL, 0, 1);
        assert_int_equal(ops_sync(o, &e), 0);
        /* the directory of the third unit, 64 groups: behind signs and planes */
        memset(p.units + p.at[2] - p.at[0] + 64 + 64 * 64 + 64 * 16, 0xff, 8);
        ops_matmul_t(o, y, 64, x, 256, &w, NULL, true, 0); /* of no token: nothing is unpacked */
        assert_int_equal(ops_sync(o, &e), 0);
        ops_matmul(o, y, 64, x, 256, &w, NULL, 0, 1);
        assert_int_equal(ops_sync(o, &e), -EBADMSG);
        release(&p);
        ops_close(o);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(like_unpacked), cmocka_unit_test(damage_is_told)};

    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("kernels_packed", tests, NULL, NULL);
}
