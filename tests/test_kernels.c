/* Matrix products of the cpu backend: every stored form, odd sizes, weights at odd bytes, held against the scalar reference;
 * and the same bytes from every variant, thread count, number of tokens and cut of the rows. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "compute/cpu/scalar.h"
#include "tests/support_kernels.h"

/* A matrix in memory of its own: data and scales begin at odd bytes, and end where the allocation ends. */
struct stored {
    struct plan_matrix m;
    unsigned char *data_alloc, *scale_alloc;
    struct ops_weight w;
};

struct shape {
    uint32_t form, rows, cols, block_rows, block_cols, scale_form;
};

static void put_half(unsigned char *p, uint16_t h)
{
    memcpy(p, &h, sizeof h);
}

static void fill(struct stored *s, uint64_t *seed)
{
    unsigned char *p = s->data_alloc + 1;
    const size_t count = s->m.rows * s->m.cols;
    for (size_t i = 0; i < count && s->m.form < FORM_F8_E4M3; i++) {
        float x = kernels_uniform(seed);
        if (s->m.form == FORM_F32)
            memcpy(p + 4 * i, &x, 4);
        else
            put_half(p + 2 * i, s->m.form == FORM_F16 ? half_of_float(i % 7 ? x : x * 1e-5f) : bf16_of_float(x));
    }
    for (size_t i = 0; i < s->m.rows * s->m.row_bytes && s->m.form >= FORM_F8_E4M3; i++) {
        p[i] = (unsigned char)kernels_random(seed);
        if (s->m.form == FORM_F8_E4M3 && (p[i] & 0x7f) == 0x7f)
            p[i] = 0x3a;
    }
}

static void fill_scales(struct stored *s, size_t scale_rows, size_t each, uint64_t *seed)
{
    for (size_t i = 0; i < scale_rows * each; i++) {
        unsigned char *p = s->scale_alloc + 1;
        float x = 0.01f + fabsf(kernels_uniform(seed));
        if (s->m.scale_form == FORM_F32)
            memcpy(p + 4 * i, &x, 4);
        else if (s->m.scale_form == FORM_BF16)
            put_half(p + 2 * i, bf16_of_float(x));
        else
            p[i] = (unsigned char)(118 + kernels_random(seed) % 12);
    }
}

static void make(struct stored *s, const struct shape *h, uint64_t seed)
{
    *s = (struct stored){.m = {.rows = h->rows, .cols = h->cols, .form = (uint16_t)h->form, .block_rows = h->block_rows,
                               .block_cols = h->block_cols, .scale_form = (uint16_t)h->scale_form,
                               .row_bytes = cpu_stored_bytes(h->form, h->cols)}};
    s->data_alloc = malloc(1 + h->rows * s->m.row_bytes);
    assert_non_null(s->data_alloc);
    fill(s, &seed);
    s->w = (struct ops_weight){.matrix = &s->m, .data = s->data_alloc + 1, .rows = h->rows};
    if (h->form >= FORM_F8_E4M3) {
        const size_t block_rows = h->form == FORM_MXFP4 ? 1 : h->block_rows, block_cols = h->form == FORM_MXFP4 ? 32 : h->block_cols;
        const size_t scale_rows = (h->rows + block_rows - 1) / block_rows, each = (h->cols + block_cols - 1) / block_cols;
        s->m.scale_row_bytes = each * (h->scale_form == FORM_F32 ? 4 : h->scale_form == FORM_BF16 ? 2 : 1);
        s->scale_alloc = malloc(1 + scale_rows * s->m.scale_row_bytes);
        assert_non_null(s->scale_alloc);
        fill_scales(s, scale_rows, each, &seed);
        s->w.scale = s->scale_alloc + 1;
    }
}

static void drop(struct stored *s)
{
    free(s->data_alloc);
    free(s->scale_alloc);
}

/* Rows [r0, r1) of it, as a tile would bring them. */
static struct ops_weight rows_of(const struct stored *s, uint64_t r0, uint64_t r1)
{
    const uint64_t block_rows = s->m.form == FORM_MXFP4 ? 1 : s->m.block_rows ? s->m.block_rows : 1;
    struct ops_weight w = {.matrix = &s->m, .data = s->data_alloc + 1 + r0 * s->m.row_bytes, .row0 = r0, .rows = r1 - r0};
    if (s->scale_alloc) {
        w.scale_row0 = r0 / block_rows;
        w.scale = s->scale_alloc + 1 + w.scale_row0 * s->m.scale_row_bytes;
    }
    return w;
}

static const struct shape shapes[] = {
    {FORM_F32, 37, 75, 0, 0, 0},        {FORM_F32, 5, 1, 0, 0, 0},          {FORM_F16, 33, 130, 0, 0, 0},
    {FORM_F16, 1, 16, 0, 0, 0},         {FORM_BF16, 70, 519, 0, 0, 0},      {FORM_BF16, 131, 1040, 0, 0, 0},
    {FORM_BF16, 64, 64, 0, 0, 0},       {FORM_BF16, 3, 15, 0, 0, 0},        {FORM_F8_E4M3, 70, 300, 32, 128, FORM_F32},
    {FORM_F8_E4M3, 33, 256, 128, 128, FORM_BF16}, {FORM_F8_E4M3, 29, 90, 5, 7, FORM_F32}, {FORM_F8_E4M3, 17, 77, 4, 48, FORM_BF16},
    {FORM_F8_E4M3, 18, 1100, 1, 1100, FORM_F32}, {FORM_MXFP4, 45, 96, 0, 0, FORM_F8_E8M0}, {FORM_MXFP4, 7, 1088, 1, 32, FORM_F8_E8M0},
};
static const uint32_t token_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 33, 64, 100};

#define MOST_TOKENS 100u
#define COUNT(a)    (sizeof(a) / sizeof *(a))

static const char *label(const struct shape *h, uint32_t n, const char *more)
{
    static char text[160];
    snprintf(text, sizeof text, "form %u, %u x %u, blocks %u x %u, %u tokens, %s", h->form, h->rows, h->cols, h->block_rows,
             h->block_cols, n, more);
    return text;
}

/* Each token alone, with the first way: what all others are compared with. */
static void one_by_one(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct stored *s, const float *bias,
                       uint32_t flags, bool transposed)
{
    for (uint32_t i = 0; i < MOST_TOKENS; i++) {
        if (transposed)
            ops_matmul_t(o, y + i * ldy, ldy, x + i * ldx, ldx, &s->w, bias, true, 1);
        else
            ops_matmul(o, y + i * ldy, ldy, x + i * ldx, ldx, &s->w, bias, flags, 1);
    }
}

static void check_products(const struct shape *h, uint32_t flags)
{
    uint64_t seed = h->rows * 1000 + h->cols;
    struct stored s;
    make(&s, h, seed);
    const uint32_t ldx = h->cols + 3, ldy = h->rows + 5;
    float *x = kernels_floats(&seed, (size_t)MOST_TOKENS * ldx), *bias = kernels_floats(&seed, h->rows);
    float *base = calloc((size_t)MOST_TOKENS * ldy, 4), *y = calloc((size_t)MOST_TOKENS * ldy, 4);
    float *want = calloc((size_t)MOST_TOKENS * ldy, 4), *size = calloc((size_t)MOST_TOKENS * ldy, 4);
    struct ops *o = kernels_open(0);
    one_by_one(o, base, ldy, x, ldx, &s, bias, flags, false);
    ops_close(o);
    reference_matmul(want, ldy, x, ldx, &s.w, bias, flags, 20, size);
    kernels_assert_near(base, want, (size_t)20 * ldy, 3e-6, size, 0, label(h, 1, "reference"));
    for (size_t way = 0; way < kernels_ways(); way++) {
        o = kernels_open(way);
        for (size_t c = 0; c < COUNT(token_counts); c++) {
            const uint32_t n = token_counts[c];
            memset(y, 0, (size_t)MOST_TOKENS * ldy * 4);
            ops_matmul(o, y, ldy, x, ldx, &s.w, bias, flags, n);
            kernels_assert_same(y, base, (size_t)n * ldy, label(h, n, kernels_way_name(way)));
        }
        for (uint32_t cut = 1; cut < h->rows; cut += 1 + h->rows / 3) { /* rows in two calls, wherever cut */
            const struct ops_weight a = rows_of(&s, 0, cut), b = rows_of(&s, cut, h->rows);
            memset(y, 0, (size_t)MOST_TOKENS * ldy * 4);
            ops_matmul(o, y, ldy, x, ldx, &a, bias, flags, 9);
            ops_matmul(o, y + cut, ldy, x, ldx, &b, bias + cut, flags, 9);
            kernels_assert_same(y, base, (size_t)9 * ldy, label(h, 9, "cut"));
            ops_matmul(o, y, ldy, x, ldx, &a, bias, flags, 1);
            ops_matmul(o, y + cut, ldy, x, ldx, &b, bias + cut, flags, 1);
            kernels_assert_same(y, base, ldy, label(h, 1, "cut"));
        }
        assert_int_equal(ops_sync(o, NULL), 0);
        ops_close(o);
    }
    free(x), free(bias), free(base), free(y), free(want), free(size);
    drop(&s);
}

static void test_products(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(shapes); i++)
        check_products(&shapes[i], 0);
}

static void test_row_norm(void **state)
{
    (void)state;
    check_products(&shapes[4], MATMUL_ROW_NORM);
    check_products(&shapes[0], MATMUL_ROW_NORM);
}

static void check_transposed(const struct shape *h)
{
    uint64_t seed = h->rows * 1000 + h->cols;
    struct stored s;
    make(&s, h, seed);
    const uint32_t ldx = h->rows + 3, ldy = h->cols + 5;
    float *x = kernels_floats(&seed, (size_t)MOST_TOKENS * ldx), *bias = kernels_floats(&seed, h->cols);
    float *base = calloc((size_t)MOST_TOKENS * ldy, 4), *y = calloc((size_t)MOST_TOKENS * ldy, 4);
    float *want = calloc((size_t)MOST_TOKENS * ldy, 4), *size = calloc((size_t)MOST_TOKENS * ldy, 4);
    struct ops *o = kernels_open(0);
    one_by_one(o, base, ldy, x, ldx, &s, bias, 0, true);
    ops_close(o);
    reference_matmul_t(want, ldy, x, ldx, &s.w, bias, true, 20, size);
    kernels_assert_near(base, want, (size_t)20 * ldy, 3e-6, size, 0, label(h, 1, "transposed reference"));
    for (size_t way = 0; way < kernels_ways(); way++) {
        o = kernels_open(way);
        for (size_t c = 0; c < COUNT(token_counts); c++) {
            const uint32_t n = token_counts[c], cut = (uint32_t)(c * 7 % h->rows);
            const struct ops_weight a = rows_of(&s, 0, cut), b = rows_of(&s, cut, h->rows);
            memset(y, 0, (size_t)MOST_TOKENS * ldy * 4);
            ops_matmul_t(o, y, ldy, x, ldx, &a, bias, true, n);
            ops_matmul_t(o, y, ldy, x + cut, ldx, &b, NULL, false, n);
            kernels_assert_same(y, base, (size_t)n * ldy, label(h, n, kernels_way_name(way)));
        }
        ops_close(o);
    }
    free(x), free(bias), free(base), free(y), free(want), free(size);
    drop(&s);
}

static void test_transposed_products(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(shapes); i++)
        check_transposed(&shapes[i]);
}

/* Every code of the small formats, and every half, widened to exactly its value. */
static void test_dequantize(void **state)
{
    (void)state;
    unsigned char *codes = malloc(1 + 131072), *p = codes + 1;
    float *got = malloc(65536 * sizeof *got), *base = malloc(65536 * sizeof *base);
    struct plan_matrix m = {.rows = 1};
    const struct ops_weight w = {.matrix = &m, .data = p, .rows = 1};
    for (uint32_t i = 0; i < 65536; i++)
        put_half(p + 2 * i, (uint16_t)i);
    for (uint32_t form = FORM_F16; form <= FORM_MXFP4; form++) {
        m.form = (uint16_t)form;
        for (size_t way = 0; way < kernels_ways(); way += 3) {
            struct ops *o = kernels_open(way);
            ops_dequantize(o, got, p, form, 65535);
            for (uint32_t i = 0; i < 65535; i++) {
                const float want = reference_weight(&w, 0, i);
                if (isnan(want) ? !isnan(got[i]) : memcmp(&got[i], &want, 4))
                    fail_msg("form %u, %s: element %u is %.9g, not %.9g", form, kernels_way_name(way), i, (double)got[i], (double)want);
            }
            if (way == 0)
                memcpy(base, got, 65535 * sizeof *got);
            kernels_assert_same(got, base, 65535, "widened, not-a-numbers too");
            ops_embed(o, got, 1001, p, form, 3, 1001, 0.5f);
            for (uint32_t i = 0; i < 3003; i++) {
                const struct ops_weight row = {.matrix = &m, .data = p + i / 1001 * cpu_stored_bytes(form, 1001), .rows = 1};
                const float want = 0.5f * reference_weight(&row, 0, i % 1001);
                assert_true(isnan(want) ? isnan(got[i]) : got[i] == want);
            }
            ops_close(o);
        }
    }
    free(codes), free(got), free(base);
}

/* A code that is not a number, or a scale that is none, makes its row's outputs that, and no other. */
static void test_not_a_number(void **state)
{
    (void)state;
    const struct shape h[] = {{FORM_F8_E4M3, 9, 70, 4, 32, FORM_F32}, {FORM_MXFP4, 9, 64, 1, 32, FORM_F8_E8M0}};
    for (size_t i = 0; i < COUNT(h); i++) {
        struct stored s;
        uint64_t seed = 5;
        make(&s, &h[i], seed);
        if (h[i].form == FORM_F8_E4M3)
            s.data_alloc[1 + 3 * s.m.row_bytes + 68] = 0xff;
        else
            s.scale_alloc[1 + 3 * s.m.scale_row_bytes + 1] = 255;
        float *x = kernels_floats(&seed, 20 * 70), y[20 * 9];
        for (size_t way = 0; way < kernels_ways(); way++) {
            struct ops *o = kernels_open(way);
            for (uint32_t n = 1; n <= 20; n += 9) {
                ops_matmul(o, y, 9, x, 70, &s.w, NULL, 0, n);
                for (uint32_t j = 0; j < n * 9; j++)
                    assert_int_equal(isnan(y[j]) != 0, j % 9 == 3);
            }
            ops_close(o);
        }
        free(x);
        drop(&s);
    }
}

/* Rounding of the caches' forms: all halves survive the way to float and back, and ties go to even. */
static void test_narrow(void **state)
{
    (void)state;
    const float halves[] = {1.0f + 0x1p-11f, 1.0f + 0x3p-11f, 65519.996f, 65520.0f, 0x1p-25f, 0x1.8p-25f, 0x1p-24f, -0.0f, 6.1035e-5f};
    const uint16_t expected[] = {0x3c00, 0x3c02, 0x7bff, 0x7c00, 0, 1, 1, 0x8000, 0x0400};
    for (size_t i = 0; i < COUNT(halves); i++)
        assert_int_equal(half_of_float(halves[i]), expected[i]);
    uint64_t seed = 77;
    float *src = malloc(65536 * 4);
    uint16_t *got = malloc(65536 * 2);
    for (size_t way = 0; way < kernels_ways(); way += 3) {
        struct ops *o = kernels_open(way);
        for (uint32_t i = 0; i < 65536; i++)
            src[i] = float_of_half((uint16_t)i);
        o->kernels->narrow(got, src, KV_F16, 65535);
        for (uint32_t i = 0; i < 65535; i++)
            assert_true(got[i] == i || (isnan(src[i]) && (got[i] | 0x200) == (i | 0x200)));
        for (uint32_t i = 0; i < 65536; i++) {
            src[i] = float_of_bits(kernels_random(&seed));
            src[i] = isnan(src[i]) ? NAN : src[i];
        }
        o->kernels->narrow(got, src, KV_F16, 65536);
        for (uint32_t i = 0; i < 65536; i++)
            assert_int_equal(got[i], half_of_float(src[i]));
        o->kernels->narrow(got, src, KV_BF16, 65533);
        for (uint32_t i = 0; i < 65533; i++)
            assert_int_equal(got[i], bf16_of_float(src[i]));
        ops_close(o);
    }
    free(src), free(got);
}

/* Scratch that does not do is told by ops_sync(), once. */
static void test_little_scratch(void **state)
{
    (void)state;
    struct error e = {0};
    struct ops *o;
    const struct ops_options options = {.threads = 2};
    assert_int_equal(ops_open(&o, &options, &e), 0);
    const struct plan_matrix m = {.rows = 1, .cols = 100u << 20, .form = FORM_F32, .row_bytes = 400u << 20};
    const struct ops_weight w = {.matrix = &m, .rows = 1};
    ops_matmul(o, NULL, 1, NULL, 1, &w, NULL, 0, 50);
    assert_int_equal(ops_sync(o, &e), -ENOMEM);
    assert_non_null(strstr(e.text, "scratch"));
    assert_int_equal(ops_sync(o, &e), 0);
    assert_int_equal(ops_export_memory(o, NULL, NULL, &e), -ENOTSUP);
    ops_close(o);
    const struct ops_options many = {.threads = 100000};
    assert_int_equal(ops_open(&o, &many, &e), -EINVAL);
    assert_null(o);
}

/* Every code of e4m3 at every place of a long row: one token looks at one column, so each output is one weight. A code that
 * is no number makes its row one that is not, wherever it stands. */
static void test_codes_of_e4m3(void **state)
{
    enum { ROWS = 9, COLS = 256 + 80 };
    static unsigned char data[ROWS * COLS];
    const float scale[3] = {0.5f, 0.5f, 0.5f}; /* blocks of 128 columns, one row of blocks */
    const struct plan_matrix m = {.rows = ROWS, .cols = COLS, .form = FORM_F8_E4M3, .row_bytes = COLS, .block_rows = ROWS,
                                  .block_cols = 128, .scale_form = FORM_F32, .scale_row_bytes = sizeof scale};
    const struct ops_weight w = {.matrix = &m, .data = data, .scale = (const unsigned char *)scale, .rows = ROWS};
    float x[2 * COLS], y[2 * ROWS];
    (void)state;
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        for (uint32_t n = 1; n <= 2; n++) {
            for (uint32_t i = 0; i < ROWS * COLS; i++) {
                const uint8_t code = (uint8_t)(i / COLS * 29 + i % COLS);
                data[i] = (code & 0x7f) == 0x7f ? 0x30 : code;
            }
            for (uint32_t c = 0; c < COLS; c++) {
                memset(x, 0, sizeof x);
                for (uint32_t t = 0; t < n; t++)
                    x[t * COLS + c] = 1.0f;
                ops_matmul(o, y, ROWS, x, COLS, &w, NULL, 0, n);
                for (uint32_t i = 0; i < n * ROWS; i++)
                    assert_true(y[i] == e4m3_256th(data[i % ROWS * COLS + c]) * 128.0f);
            }
            for (uint32_t c = 0; c < COLS; c++) {
                const unsigned char was = data[COLS + c];
                data[COLS + c] = c & 1 ? 0xff : 0x7f;
                ops_matmul(o, y, ROWS, x, COLS, &w, NULL, 0, n);
                for (uint32_t i = 0; i < n * ROWS; i++)
                    assert_true(i % ROWS == 1 ? isnan(y[i]) : !isnan(y[i]));
                data[COLS + c] = was;
            }
        }
        ops_close(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dequantize),         cmocka_unit_test(test_products),
        cmocka_unit_test(test_row_norm),      cmocka_unit_test(test_transposed_products),
        cmocka_unit_test(test_not_a_number),  cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_little_scratch), cmocka_unit_test(test_codes_of_e4m3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
