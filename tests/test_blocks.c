/* Forms whose scales lie inside of their blocks, against the `gguf` Python package: tests/data/gguf-blocks.bin holds what
 * that dequantizes blocks of every type to (tests/make_blocks.py says how it lies there). The same floats from the scalar
 * reference, from every variant of the kernels, and through products of any number of tokens. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/reference.h"
#include "coordinator/source/gguf_types.h"
#include "proto/base/error.h"
#include "proto/base/file.h"
#include "tests/support_forms.h"
#include "tests/support_kernels.h"

#define DATA "tests/data/gguf-blocks.bin"

/* What has a row in the table is held against a type. */
#define ONE(name, ...) +1
#define TYPES          (0 FORM_BLOCKS(ONE))

struct record {
    char name[16];
    uint32_t type, elements, bytes, shown, drawn, crc;
};

static char *text;
static uint64_t text_bytes;

/* Calls each() with every record and what follows it. Returns how many these are. */
static uint32_t every_type(void (*each)(const struct record *r, uint32_t form, const unsigned char *shown))
{
    uint32_t n = 0;

    for (uint64_t at = 0; at < text_bytes;) {
        struct record r;
        int form;

        assert_true(text_bytes - at >= sizeof r);
        memcpy(&r, text + at, sizeof r);
        at += sizeof r;
        assert_true(text_bytes - at >= (uint64_t)r.shown * (r.bytes + 4 * r.elements));
        assert_string_equal(r.name, gguf_type_name(r.type));
        form = form_of_ggml_type(r.type);
        assert_true(form >= 0 && form_scales((uint32_t)form) == FORM_SCALES_INSIDE);
        assert_int_equal(form_elements((uint32_t)form), r.elements);
        assert_int_equal(form_bytes((uint32_t)form), r.bytes);
        each(&r, (uint32_t)form, (const unsigned char *)text + at);
        n++;
        at += (uint64_t)r.shown * (r.bytes + 4 * r.elements);
    }
    return n;
}

static uint32_t crc32_of(const void *data, size_t bytes)
{
    const unsigned char *p = data;
    uint32_t table[256], crc = ~0u;

    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
    }
    for (size_t i = 0; i < bytes; i++) crc = crc >> 8 ^ table[(crc ^ p[i]) & 255];
    return ~crc;
}

/* As make_blocks.py draws them. */
static unsigned char *draw_blocks(const struct record *r, uint32_t form)
{
    const struct form_info *f = form_info(form);
    const size_t bytes = (size_t)r->drawn * r->bytes;
    unsigned char *blocks = malloc(bytes + 8);
    uint64_t seed = r->type;

    assert_non_null(blocks);
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        memcpy(blocks + i, &z, 8);
    }
    for (uint32_t b = 0; b < r->drawn; b++)
        for (uint32_t i = 0; i < f->codes; i++) {
            unsigned char *block = blocks + (size_t)b * r->bytes;
            const unsigned top = 63 - (unsigned)__builtin_clzll(f->special);

            if (form_kind(f, form_code(f, block, i)) != FORM_FINITE)
                block[f->code_off + i * f->code_bytes + top / 8] &= (unsigned char)~(1u << top % 8);
        }
    return blocks;
}

static void expect_floats(const float *got, const float *want, size_t n, const char *form, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(got + i, want + i, sizeof *got))
            fail_msg("%s, %s: element %zu of %zu is %.9g (%a), not %.9g (%a)", form, what, i, n, (double)got[i],
                     (double)got[i], (double)want[i], (double)want[i]);
}

static float reference_element(uint32_t form, const unsigned char *blocks, uint64_t k)
{
    return (float)reference_stored(form, blocks, k);
}

static void check_shown(const struct record *r, uint32_t form, const unsigned char *shown)
{
    float want[256], got[256];

    for (uint32_t b = 0; b < r->shown; b++, shown += r->bytes + 4 * r->elements) {
        memcpy(want, shown + r->bytes, 4 * r->elements);
        for (uint32_t k = 0; k < r->elements; k++) got[k] = reference_element(form, shown, k);
        expect_floats(got, want, r->elements, r->name, "reference");
        for (size_t way = 0; way < kernels_ways(); way += 3) {
            struct ops *o = kernels_open(way);

            ops_dequantize(o, got, shown, form, r->elements);
            assert_int_equal(ops_sync(o, NULL), 0);
            expect_floats(got, want, r->elements, r->name, kernels_way_name(way));
            ops_close(o);
        }
    }
}

static void shown_blocks(void **state)
{
    (void)state;
    assert_true(every_type(check_shown) == TYPES);
}

static void check_drawn(const struct record *r, uint32_t form, const unsigned char *shown)
{
    const size_t n = (size_t)r->drawn * r->elements;
    unsigned char *blocks = draw_blocks(r, form);
    float *want = malloc(n * sizeof *want), *got = malloc(n * sizeof *got);

    assert_true(want && got);
    assert_memory_equal(blocks, shown, r->bytes);
    for (size_t k = 0; k < n; k++) want[k] = reference_element(form, blocks, k);
    if (crc32_of(want, n * sizeof *want) != r->crc) fail_msg("%s: the reference's floats are not those", r->name);
    for (size_t way = 0; way < kernels_ways(); way += 3) {
        struct ops *o = kernels_open(way);

        memset(got, 0xff, n * sizeof *got);
        ops_dequantize(o, got, blocks, form, n);
        assert_int_equal(ops_sync(o, NULL), 0);
        expect_floats(got, want, n, r->name, kernels_way_name(way));
        ops_close(o);
    }
    free(blocks), free(want), free(got);
}

static void drawn_blocks(void **state)
{
    (void)state;
    assert_true(every_type(check_drawn) == TYPES);
}

/* The sum that compute/ops.h defines: a vector of 16 over the columns in steps of 16, then 8 + 8, 4 + 4, 2 + 2, 1 + 1. */
static float sum_in_order(const struct ops_weight *w, uint64_t r, const float *x)
{
    float acc[16] = {0};

    for (uint64_t k = 0; k < w->matrix->cols; k++) acc[k % 16] = fmaf(reference_weight(w, r, k), x[k], acc[k % 16]);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) acc[i] += acc[i + half];
    return acc[0];
}

#define TOKENS 20u

/* Rows at odd bytes, more of them than are walked together, and rows that are left over. */
static void check_sums(const struct record *r, uint32_t form, const unsigned char *shown)
{
    const struct form_shape h = form_shape_of(form, 11, r->elements == 256 ? 768 : 544, 0, 0);
    uint64_t seed = r->type + 1;
    struct stored s;
    float *x, *bias, want[TOKENS * 11], got[TOKENS * 11];

    (void)shown;
    stored_make(&s, &h, seed);
    x = kernels_floats(&seed, (size_t)TOKENS * h.cols);
    bias = kernels_floats(&seed, h.rows);
    for (uint32_t t = 0; t < TOKENS; t++)
        for (uint32_t i = 0; i < h.rows; i++) want[t * h.rows + i] = sum_in_order(&s.w, i, x + t * h.cols) + bias[i];
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);

        for (uint32_t n = 1; n <= TOKENS; n++) {
            for (uint32_t first = 0; first < (n < 8 ? h.rows : 1);
                 first += 3) { /* rows from first on, as a tile has them */
                const struct ops_weight w = stored_rows(&s, first, h.rows);

                memset(got, 0, sizeof got);
                ops_matmul(o, got + first, h.rows, x, h.cols, &w, bias + first, 0, n);
                assert_int_equal(ops_sync(o, NULL), 0);
                for (uint32_t t = 0; t < n; t++)
                    expect_floats(got + t * h.rows + first, want + t * h.rows + first, h.rows - first, r->name,
                                  kernels_way_name(way));
            }
        }
        ops_close(o);
    }
    free(x), free(bias);
    stored_free(&s);
}

static void sums_in_the_defined_order(void **state)
{
    (void)state;
    assert_true(every_type(check_sums) == TYPES);
}

/* Sums over rows: each column is one chain over them in order. */
static void check_transposed(const struct record *r, uint32_t form, const unsigned char *shown)
{
    const struct form_shape h = form_shape_of(form, 35, 1056, 0, 0);
    uint64_t seed = r->type + 2;
    float *x, *bias, *want, *got;
    struct stored s;

    (void)shown;
    stored_make(&s, &h, seed);
    x = kernels_floats(&seed, (size_t)7 * h.rows);
    bias = kernels_floats(&seed, h.cols);
    want = kernels_floats(&seed, (size_t)7 * h.cols);
    got = kernels_floats(&seed, (size_t)7 * h.cols);
    for (uint32_t t = 0; t < 7; t++)
        for (uint32_t c = 0; c < h.cols; c++) {
            float sum = bias[c];

            for (uint32_t i = 0; i < h.rows; i++) sum = fmaf(x[t * h.rows + i], reference_weight(&s.w, i, c), sum);
            want[t * h.cols + c] = sum;
        }
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);

        for (uint32_t n = 1; n <= 7; n += 3) {
            memset(got, 0, (size_t)7 * h.cols * sizeof *got);
            ops_matmul_t(o, got, h.cols, x, h.rows, &s.w, bias, true, n);
            assert_int_equal(ops_sync(o, NULL), 0);
            expect_floats(got, want, (size_t)n * h.cols, r->name, kernels_way_name(way));
        }
        ops_close(o);
    }
    free(x), free(bias), free(want), free(got);
    stored_free(&s);
}

static void sums_over_rows(void **state)
{
    (void)state;
    assert_true(every_type(check_transposed) == TYPES);
}

/* Rows of an embedding, found by their numbers and scaled. */
static void check_rows(const struct record *r, uint32_t form, const unsigned char *shown)
{
    static const uint32_t index[] = {6, 5, 8, 7, 5};
    const struct form_shape h = form_shape_of(form, 3, 1056, 0, 0);
    float *got = malloc(5 * h.cols * sizeof *got);
    struct stored s;

    (void)shown;
    assert_non_null(got);
    stored_make(&s, &h, r->type);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        const struct ops_gather g = {s.data, form, 5, 3, index, 0};

        for (uint32_t i = 0; i < 5 * h.cols; i++) got[i] = -3;
        ops_embed(o, got, h.cols, &g, 5, h.cols, 0.5f);
        assert_int_equal(ops_sync(o, NULL), 0);
        for (uint32_t i = 0; i < 5 * h.cols; i++) {
            const uint32_t k = index[i / h.cols] - 5;
            const float want = k < 3 ? 0.5f * reference_weight(&s.w, k, i % h.cols) : -3;

            expect_floats(got + i, &want, 1, r->name, kernels_way_name(way));
        }
        ops_close(o);
    }
    free(got);
    stored_free(&s);
}

static void rows_by_number(void **state)
{
    (void)state;
    assert_true(every_type(check_rows) == TYPES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shown_blocks),   cmocka_unit_test(drawn_blocks),   cmocka_unit_test(sums_in_the_defined_order),
        cmocka_unit_test(sums_over_rows), cmocka_unit_test(rows_by_number),
    };
    struct error e;

    if (file_load(&text, &text_bytes, DATA, UINT64_C(1) << 24, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
