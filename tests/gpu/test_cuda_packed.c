/* Packed weights on the device: products of few tokens give the bits of the unpacked matrix, others are near to it; what is
 * damaged is told, and nothing behind the result is written. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/unit/unit.h"
#include "tests/gpu/gpu.h"
#include "tests/support_units.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define SCRATCH  (80u << 20)

/* A matrix twice: as it is, and packed. */
struct twin {
    struct plan_matrix raw, packed;
    uint8_t *weights, *units;
    uint64_t *at; /* of each unit, and the end */
    uint64_t count;
};

static void twin_make(struct twin *t, uint32_t rows, uint32_t cols, uint32_t unit_rows, enum weights_kind kind)
{
    const uint64_t bytes = 2ull * rows * cols;

    *t = (struct twin){.raw = {.rows = rows, .cols = cols, .row_bytes = 2ull * cols, .form = FORM_BF16}};
    t->raw.scale_file = PLAN_NONE;
    t->packed = t->raw;
    t->packed.unit_rows = unit_rows;
    t->count = plan_matrix_units(&t->packed);
    t->weights = malloc(bytes);
    t->units = malloc(t->count * unit_stored_most(unit_rows, cols));
    t->at = calloc(t->count + 1, sizeof *t->at);
    weights_fill(t->weights, (size_t)rows * cols, cols, kind, rows + cols);
    for (uint64_t i = 0; i < t->count; i++) {
        const uint64_t row = i * unit_rows;
        const uint32_t n = rows - row < unit_rows ? (uint32_t)(rows - row) : unit_rows;

        t->at[i + 1] =
            t->at[i] + unit_encode(unit_code(), t->units + t->at[i], t->weights + row * t->raw.row_bytes, n, cols);
    }
}

static void twin_free(struct twin *t)
{
    free(t->weights);
    free(t->units);
    free(t->at);
}

static struct ops_weight raw_on_device(struct ops *o, const struct twin *t)
{
    return (struct ops_weight){
        .matrix = &t->raw, .data = gpu_put(o, t->weights, t->raw.rows * t->raw.row_bytes), .rows = t->raw.rows};
}

/* Units [first, first + count). */
static struct ops_weight packed_on_device(struct ops *o, const struct twin *t, uint64_t first, uint64_t count)
{
    const uint64_t row = first * t->packed.unit_rows, left = t->packed.rows - row, rows = count * t->packed.unit_rows;

    return (struct ops_weight){.matrix = &t->packed,
                               .data = gpu_put(o, t->units + t->at[first], t->at[first + count] - t->at[first]),
                               .row0 = row,
                               .rows = rows < left ? rows : left,
                               .unit = t->at + first};
}

static void check_twin(struct ops *o, const struct twin *t, uint32_t n, uint32_t flags)
{
    const uint32_t rows = (uint32_t)t->raw.rows, cols = (uint32_t)t->raw.cols, ldy = rows + 3,
                   half = (uint32_t)(t->count / 2);
    uint64_t seed = n + cols;
    float *x = gpu_floats(&seed, (size_t)n * (rows + cols)), *y = gpu_floats(&seed, (size_t)n * ldy),
          *bias = gpu_floats(&seed, rows), *a, *b;
    float *dx = gpu_put(o, x, 4ull * n * (rows + cols)), *dy = gpu_put(o, y, 4ull * n * ldy),
          *dz = gpu_put(o, y, 4ull * n * ldy), *d_bias = gpu_put(o, bias, 4ull * rows);
    struct ops_weight raw = raw_on_device(o, t), all = packed_on_device(o, t, 0, t->count);

    ops_matmul(o, dy, ldy, dx, cols, &raw, d_bias, flags, n);
    ops_matmul(o, dz, ldy, dx, cols, &all, d_bias, flags, n);
    a = gpu_get(o, dy, (size_t)n * ldy);
    b = gpu_get(o, dz, (size_t)n * ldy);
    if (n <= 16)
        gpu_assert_same(b, a, (size_t)n * ldy, "packed");
    else
        gpu_assert_near(b, a, (size_t)n * ldy, 4e-6, NULL, 1, "packed, many tokens");
    free(a), free(b);
    gpu_forget(o);

    /* the other way round, in two calls */
    raw = raw_on_device(o, t);
    dx = gpu_put(o, x, 4ull * n * (rows + cols));
    dy = gpu_new(o, 4ull * n * cols);
    dz = gpu_new(o, 4ull * n * cols);
    ops_matmul_t(o, dy, cols, dx, rows, &raw, NULL, true, n);
    if (half) {
        struct ops_weight first = packed_on_device(o, t, 0, half),
                          second = packed_on_device(o, t, half, t->count - half);

        ops_matmul_t(o, dz, cols, dx, rows, &first, NULL, true, n);
        ops_matmul_t(o, dz, cols, dx + second.row0, rows, &second, NULL, false, n);
    } else {
        all = packed_on_device(o, t, 0, t->count);
        ops_matmul_t(o, dz, cols, dx, rows, &all, NULL, true, n);
    }
    a = gpu_get(o, dy, (size_t)n * cols);
    b = gpu_get(o, dz, (size_t)n * cols);
    if (n <= 16)
        gpu_assert_same(b, a, (size_t)n * cols, "packed, transposed");
    else
        gpu_assert_near(b, a, (size_t)n * cols, 4e-6, NULL, 1, "packed, transposed, many tokens");
    free(a), free(b), free(x), free(y), free(bias);
    gpu_forget(o);
}

static void products_are_those_of_the_unpacked_matrix(void **state)
{
    static const struct {
        uint32_t rows, cols, unit_rows;
        enum weights_kind kind;
    } shapes[] = {{48, 256, 16, WEIGHTS_GAUSSIAN}, {40, 200, 7, WEIGHTS_SCALED}, {9, 4100, 2, WEIGHTS_GAUSSIAN},
                  {5, 33, 5, WEIGHTS_GAUSSIAN},    {64, 64, 64, WEIGHTS_SCALED}, {300, 96, 2, WEIGHTS_GAUSSIAN},
                  {33, 100, 10, WEIGHTS_EQUAL},    {3, 1, 2, WEIGHTS_EQUAL}};
    struct ops *o = gpu_open(SCRATCH);

    (void)state;
    for (size_t i = 0; i < COUNT(shapes); i++) {
        struct twin t;

        twin_make(&t, shapes[i].rows, shapes[i].cols, shapes[i].unit_rows, shapes[i].kind);
        check_twin(o, &t, 1, 0);
        check_twin(o, &t, 5, 0);
        check_twin(o, &t, 20, 0);
        check_twin(o, &t, 2, MATMUL_ROW_NORM);
        twin_free(&t);
    }
    gpu_close(o);
}

/* A product with the unit vectors shows the weights themselves: all bits of every kind, raw units too. */
static void every_bit_is_back(void **state)
{
    struct ops *o = gpu_open(SCRATCH);

    (void)state;
    for (int kind = 0; kind < WEIGHTS_KINDS; kind++) {
        const uint32_t rows = 24, cols = 256;
        struct twin t;
        struct ops_weight w;

        twin_make(&t, rows, cols, 10, (enum weights_kind)kind);
        w = packed_on_device(o, &t, 0, t.count);
        for (uint32_t c = 0; c < cols; c += 51) {
            float *x = calloc(cols, sizeof *x), *dx, *dy = gpu_new(o, 4ull * rows), *y;

            x[c] = 1;
            dx = gpu_put(o, x, 4ull * cols);
            ops_matmul(o, dy, rows, dx, cols, &w, NULL, 0, 1);
            y = gpu_get(o, dy, rows);
            for (uint32_t r = 0; r < rows; r++) {
                bool odd = false; /* a row with what is no finite number gives none */
                uint16_t bits;
                uint32_t wide;
                float want;

                for (uint32_t k = 0; k < cols; k++) {
                    memcpy(&bits, t.weights + 2 * ((size_t)r * cols + k), 2);
                    odd = odd || (bits & 0x7f80) == 0x7f80;
                }
                memcpy(&bits, t.weights + 2 * ((size_t)r * cols + c), 2);
                wide = (uint32_t)bits << 16;
                memcpy(&want, &wide, 4);
                if (!odd && y[r] != want) fail_msg("kind %d, row %u, column %u: %g, not %g", kind, r, c, y[r], want);
            }
            free(x), free(y);
        }
        gpu_forget(o);
        twin_free(&t);
    }
    gpu_close(o);
}

/* Of a damaged unit an error, at the latest when it is waited for; never more than that. */
static void damage_is_told(void **state)
{
    struct twin t;

    (void)state;
    twin_make(&t, 16, 512, 16, WEIGHTS_GAUSSIAN);
    for (int k = 0; k < 60; k++) {
        struct ops *o = gpu_open(SCRATCH);
        uint64_t seed = (uint64_t)k + 1, at, end = t.at[t.count];
        const uint64_t directory = UNIT_HEADER + 16 * 512 + 16 * 512 / 4; /* of the one unit */
        uint8_t *was = malloc(end);
        struct error e = {0};
        bool must;
        float *dx, *dy;

        memcpy(was, t.units, end);
        at = k < 12 ? (uint64_t)k : k < 30 ? directory + 3 + gpu_random(&seed) % 13 : gpu_random(&seed) % end;
        t.units[at] ^= (uint8_t)(1u << (k < 30 ? 7 : gpu_random(&seed) % 8));
        must = k < 6 || (k >= 8 && k < 12); /* magic, version, mode, sizes */
        dx = gpu_new(o, 4 * 512);
        dy = gpu_new(o, 4 * 16);
        {
            struct ops_weight w = packed_on_device(o, &t, 0, 1);

            ops_matmul(o, dy, 16, dx, 512, &w, NULL, 0, 1);
        }
        if (ops_sync(o, &e)) {
            assert_int_equal(e.code, EBADMSG);
            assert_non_null(strstr(e.text, "unpack"));
        } else if (must) {
            fail_msg("byte %llu of a unit was changed, and nobody said so", (unsigned long long)at);
        }
        gpu_abandon(o);
        memcpy(t.units, was, end);
        free(was);
    }
    twin_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(products_are_those_of_the_unpacked_matrix),
                                       cmocka_unit_test(every_bit_is_back), cmocka_unit_test(damage_is_told)};

    return gpu_present() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
