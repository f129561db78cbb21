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
#include "tests/support_forms.h"
#include "tests/support_kernels.h"

/* Calls each() for every shape of every form of weights. */
static void every_shape(void (*each)(const struct form_shape *))
{
    struct form_shape shapes[FORM_SHAPES_MOST];
    for (uint32_t form = 0; form < FORMS; form++) {
        const size_t n = form_can_be(form, FORM_WEIGHT) ? form_shapes(form, shapes) : 0;
        assert_true(n < FORM_SHAPES_MOST);
        for (size_t i = 0; i < n; i++) each(&shapes[i]);
    }
}

static const uint32_t token_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 33, 64, 100};

#define MOST_TOKENS 100u
#define COUNT(a)    (sizeof(a) / sizeof *(a))

static const char *label(const struct form_shape *h, uint32_t n, const char *more)
{
    static char text[240];
    snprintf(text, sizeof text, "%s, %u tokens, %s", form_shape_name(h), n, more);
    return text;
}

/* Each token alone, with the first way: what all others are compared with. */
static void one_by_one(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct stored *s,
                       const float *bias, uint32_t flags, bool transposed)
{
    for (uint32_t i = 0; i < MOST_TOKENS; i++) {
        if (transposed)
            ops_matmul_t(o, y + i * ldy, ldy, x + i * ldx, ldx, &s->w, bias, true, 1);
        else
            ops_matmul(o, y + i * ldy, ldy, x + i * ldx, ldx, &s->w, bias, flags, 1);
    }
}

static void check_products(const struct form_shape *h, uint32_t flags)
{
    uint64_t seed = h->rows * 1000 + h->cols;
    struct stored s;
    stored_make(&s, h, seed);
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
            const struct ops_weight a = stored_rows(&s, 0, cut), b = stored_rows(&s, cut, h->rows);
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
    stored_free(&s);
}

static void check_plain_products(const struct form_shape *h)
{
    check_products(h, 0);
}

static void test_products(void **state)
{
    (void)state;
    every_shape(check_plain_products);
}

static void test_row_norm(void **state)
{
    struct form_shape shapes[FORM_SHAPES_MOST];
    (void)state;
    for (uint32_t form = 0; form < FORMS; form++)
        if (form_can_be(form, FORM_WEIGHT)) {
            const size_t n = form_shapes(form, shapes);
            check_products(&shapes[n / 2], MATMUL_ROW_NORM);
            if (n > 1) check_products(&shapes[n / 2 - 1], MATMUL_ROW_NORM);
        }
}

/* Rows whose squares exceed float32: scaled by a power of two they give what they give unscaled, and no zeros. */
static void test_large_row_norm(void **state)
{
    (void)state;
    enum { ROWS = 40, COLS = 100 };
    uint64_t seed = 5;
    float *w = kernels_floats(&seed, ROWS * COLS), *x = kernels_floats(&seed, COLS), *large = calloc(ROWS * COLS, 4);
    float want[ROWS], y[ROWS];
    struct plan_matrix m = {.rows = ROWS, .cols = COLS, .row_bytes = COLS * 4, .form = FORM_F32};
    struct ops_weight v = {.matrix = &m, .data = w, .rows = ROWS};
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        v.data = w;
        ops_matmul(o, want, ROWS, x, COLS, &v, NULL, MATMUL_ROW_NORM, 1);
        v.data = large;
        for (int e = 20; e <= 120; e += 25) {
            for (size_t i = 0; i < ROWS * COLS; i++) large[i] = ldexpf(w[i], e);
            ops_matmul(o, y, ROWS, x, COLS, &v, NULL, MATMUL_ROW_NORM, 1);
            kernels_assert_near(y, want, ROWS, 1e-6, NULL, 1e-6, "large rows");
        }
        ops_close(o);
    }
    free(w), free(x), free(large);
}

static void check_transposed(const struct form_shape *h)
{
    uint64_t seed = h->rows * 1000 + h->cols;
    struct stored s;
    stored_make(&s, h, seed);
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
            const struct ops_weight a = stored_rows(&s, 0, cut), b = stored_rows(&s, cut, h->rows);
            memset(y, 0, (size_t)MOST_TOKENS * ldy * 4);
            ops_matmul_t(o, y, ldy, x, ldx, &a, bias, true, n);
            ops_matmul_t(o, y, ldy, x + cut, ldx, &b, NULL, false, n);
            kernels_assert_same(y, base, (size_t)n * ldy, label(h, n, kernels_way_name(way)));
        }
        ops_close(o);
    }
    free(x), free(bias), free(base), free(y), free(want), free(size);
    stored_free(&s);
}

static void test_transposed_products(void **state)
{
    (void)state;
    every_shape(check_transposed);
}

/* Weights of a row as the kernels of products dequantize them: one token looks at one column. */
static void look_at_columns(struct ops *o, const struct stored *s, float *got)
{
    const uint32_t cols = (uint32_t)s->m.cols, rows = (uint32_t)s->m.rows;
    float *x = calloc(cols, sizeof *x), *y = malloc(rows * sizeof *y);
    assert_true(x && y);
    for (uint32_t c = 0; c < cols; c++) {
        x[c] = 1;
        ops_matmul(o, y, rows, x, cols, &s->w, NULL, 0, 1);
        for (uint32_t r = 0; r < rows; r++) got[(size_t)r * cols + c] = y[r];
        x[c] = 0;
    }
    free(x), free(y);
}

/* n positions that look for n rows, one after the other. */
static void embed_in_order(struct ops *o, float *dst, const void *rows, uint32_t form, uint32_t n, uint32_t width,
                           float scale)
{
    uint32_t *index = malloc(n * sizeof *index);
    assert_non_null(index);
    for (uint32_t i = 0; i < n; i++) index[i] = i;
    ops_embed(o, dst, width, &(struct ops_gather){rows, form, 0, n, index, 0}, n, width, scale);
    free(index);
}

/* Every code of 16 bits or less at some place of a block, dequantized to exactly its value, by products and, where rows can
 * stand alone, by themselves. */
static void check_dequantizing(uint32_t form)
{
    const struct form_info *f = form_info(form);
    const uint32_t cols = 5 * (f->elements > 16 ? f->elements : 64),
                   rows = f->scales == FORM_SCALES_INSIDE ? 5 : 65536 / cols + 1; /* of those, test_blocks.c has more */
    const struct form_shape h = form_shape_of(form, rows, cols, rows, 80);
    float *got = malloc((size_t)rows * cols * sizeof *got), *alone = malloc((size_t)rows * cols * sizeof *alone);
    struct stored s;
    assert_true(got && alone);
    stored_make(&s, &h, form);
    for (uint32_t i = 0; i < 65536 && f->bytes == 2 && f->elements == 1; i++) {
        const uint16_t code = form_kind(f, i) == FORM_FINITE ? (uint16_t)i : 0;
        memcpy(s.data + 2 * i, &code, 2);
    }
    for (size_t way = 0; way < kernels_ways(); way += 3) {
        struct ops *o = kernels_open(way);
        look_at_columns(o, &s, got);
        if (form_can_be_table(form)) embed_in_order(o, alone, s.w.data, form, rows, cols, 0.5f);
        assert_int_equal(ops_sync(o, NULL), 0);
        for (uint32_t i = 0; i < rows * cols; i++) {
            const float want = reference_weight(&s.w, i / cols, i % cols);
            if (got[i] != want || (form_can_be_table(form) && alone[i] != 0.5f * want))
                fail_msg("%s, %s: row %u, column %u is %.9g, not %.9g", f->name, kernels_way_name(way), i / cols,
                         i % cols, (double)got[i], (double)want);
        }
        ops_close(o);
    }
    free(got), free(alone);
    stored_free(&s);
}

static void test_dequantize(void **state)
{
    (void)state;
    for (uint32_t form = 0; form < FORMS; form++)
        if (form_can_be(form, FORM_WEIGHT)) check_dequantizing(form);
}

/* Every half, not-a-numbers too, as a vector and as rows of an embedding. */
static void test_halves(void **state)
{
    (void)state;
    unsigned char *codes = malloc(1 + 131072), *p = codes + 1;
    float *got = malloc(65536 * sizeof *got), *base = malloc(65536 * sizeof *base);
    struct plan_matrix m = {.rows = 1};
    const struct ops_weight w = {.matrix = &m, .data = p, .rows = 1};
    for (uint32_t i = 0; i < 65536; i++) memcpy(p + 2 * i, &(uint16_t){(uint16_t)i}, 2);
    for (uint32_t form = 0; form < FORMS; form++) {
        if (!form_can_be_vector(form) || form_bytes(form) != 2) continue;
        m.form = (uint16_t)form;
        for (size_t way = 0; way < kernels_ways(); way += 3) {
            struct ops *o = kernels_open(way);
            ops_dequantize(o, got, p, form, 65535);
            for (uint32_t i = 0; i < 65535; i++) {
                const float want = reference_weight(&w, 0, i);
                if (isnan(want) ? !isnan(got[i]) : memcmp(&got[i], &want, 4))
                    fail_msg("%s, %s: element %u is %.9g, not %.9g", form_name(form), kernels_way_name(way), i,
                             (double)got[i], (double)want);
            }
            if (way == 0) memcpy(base, got, 65535 * sizeof *got);
            kernels_assert_same(got, base, 65535, "dequantized, not-a-numbers too");
            /* rows 5, 6 and 7 of what the positions look for; what is not among them stays */
            static const uint32_t index[] = {6, 5, 8, 7, 6, 4};
            const struct ops_gather g = {p, form, 5, 3, index, 0};
            for (uint32_t i = 0; i < 6006; i++) got[i] = -3;
            ops_embed(o, got, 1001, &g, 6, 1001, 0.5f);
            for (uint32_t i = 0; i < 6006; i++) {
                const uint32_t k = index[i / 1001] - 5;
                const float want = k < 3 ? 0.5f * reference_weight(&w, 0, k * 1001 + i % 1001) : -3;
                assert_true(isnan(want) ? isnan(got[i]) : got[i] == want);
            }
            ops_close(o);
        }
    }
    free(codes), free(got), free(base);
}

static void expect_unknown(struct ops *o, const char *text)
{
    struct error e = {0};
    assert_int_equal(ops_sync(o, &e), -ENOTSUP);
    if (!strstr(e.text, text)) fail_msg("\"%s\" does not say \"%s\"", e.text, text);
}

/* Forms that no kernel knows are errors that name them, and nothing is written. */
static void test_unknown_forms(void **state)
{
    const uint32_t forms[] = {FORM_F8_E8M0, FORM_F64, FORM_BYTES, FORMS, 99};
    unsigned char weights[1024] = {0}, scale[64] = {0};
    struct plan_matrix m = {.rows = 2, .cols = 16, .row_bytes = 64};
    const struct ops_weight w = {.matrix = &m, .data = weights, .rows = 2};
    const struct op_attention attention = {.heads = 1, .kv_heads = 1, .dk = 16, .dv = 16};
    const struct ops_rows rows = {.n = 1};
    float x[64] = {0}, y[64];
    (void)state;
    for (int i = 0; i < 64; i++) y[i] = 7;
    for (size_t way = 0; way < kernels_ways(); way += 3) {
        struct ops *o = kernels_open(way);
        char name[32];
        for (size_t i = 0; i < COUNT(forms); i++) {
            m.form = (uint16_t)forms[i];
            snprintf(name, sizeof name, "form %u (%s)", forms[i], form_name(forms[i]));
            ops_matmul(o, y, 2, x, 16, &w, NULL, 0, 1);
            expect_unknown(o, name);
            ops_matmul(o, y, 2, x, 16, &w, NULL, 0, 30);
            expect_unknown(o, name);
            ops_matmul_t(o, y, 16, x, 2, &w, NULL, true, 1);
            expect_unknown(o, name);
            embed_in_order(o, y, weights, forms[i], 2, 16, 1.0f);
            expect_unknown(o, name);
            ops_dequantize(o, y, weights, forms[i], 16);
            expect_unknown(o, name);
        }
        /* scales that are missing, or of a form that they cannot have; rows that cannot do without */
        m.form = FORM_F8_E4M3, m.block_rows = m.block_cols = 16;
        ops_matmul(o, y, 2, x, 16, &w, NULL, 0, 1);
        expect_unknown(o, "F8_E4M3 without scales");
        const struct ops_weight scaled = {.matrix = &m, .data = weights, .scale = scale, .rows = 2};
        m.scale_form = FORM_F64;
        ops_matmul_t(o, y, 16, x, 2, &scaled, NULL, true, 3);
        expect_unknown(o, "(F64)");
        embed_in_order(o, y, weights, FORM_F8_E4M3, 2, 16, 1.0f);
        expect_unknown(o, "F8_E4M3");
        ops_dequantize(o, y, weights, FORM_MXFP4, 32);
        expect_unknown(o, "MXFP4");
        ops_kv_store(o, FORM_F8_E4M3, y, 16, x, 16, &rows);
        expect_unknown(o, "(F8_E4M3)");
        ops_attention(o, &attention, y, 16, x, 16, weights, weights, 99, NULL, NULL, &rows);
        expect_unknown(o, "form 99 (unknown)");
        assert_int_equal(ops_sync(o, NULL), 0);
        ops_close(o);
    }
    for (int i = 0; i < 64; i++) assert_true(y[i] == 7);
}

/* Row 3 holds a code that is no number: its outputs are none, and no others. */
static void check_not_a_number(const struct stored *s, const char *what)
{
    uint64_t seed = 5;
    const uint32_t cols = (uint32_t)s->m.cols;
    float *x = kernels_floats(&seed, 20 * cols), y[20 * 9];
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        for (uint32_t n = 1; n <= 20; n += 9) {
            ops_matmul(o, y, 9, x, cols, &s->w, NULL, 0, n);
            for (uint32_t j = 0; j < n * 9; j++)
                if ((isfinite(y[j]) == 0) != (j % 9 == 3))
                    fail_msg("%s: %u tokens, row %u is %.9g", what, n, j % 9, (double)y[j]);
        }
        ops_close(o);
    }
    free(x);
}

/* Every code of every form that can be none, and every form of scales. */
static void test_not_a_number(void **state)
{
    (void)state;
    for (uint32_t form = 0; form < FORMS; form++) {
        const struct form_info *f = form_info(form);
        const uint32_t cols = f->elements > 16 ? 3 * f->elements : f->elements > 1 ? 80 : 70;
        struct stored s;
        for (uint32_t code = 0; code < f->codes && form_can_be(form, FORM_WEIGHT); code++) {
            const struct form_shape h = form_shape_of(form, 9, cols, 4, 32);
            stored_make(&s, &h, 5);
            unsigned char *at = s.data + 3 * s.m.row_bytes + (cols / f->elements - 2) * f->bytes + f->code_off;
            memset(at + code * f->code_bytes, 0xff, f->code_bytes);
            check_not_a_number(&s, f->name);
            stored_free(&s);
        }
        for (uint32_t scale_form = 0; scale_form < FORMS; scale_form++) {
            struct form_shape h = form_shape_of(form, 9, cols, 1, 32);
            if (!form_can_be(form, FORM_WEIGHT) || !form_scaled_by(form, scale_form)) continue;
            if (scale_form == FORM_BYTES) continue; /* any byte is a number */
            h.scale_form = scale_form;
            stored_make(&s, &h, 5);
            memset(s.scale + 3 * s.m.scale_row_bytes + form_bytes(scale_form), 0xff, form_bytes(scale_form));
            check_not_a_number(&s, form_name(scale_form));
            stored_free(&s);
        }
    }
}

/* Rounding of the caches' forms: all halves survive the way to float and back, and ties go to even. */
static void test_narrow(void **state)
{
    (void)state;
    const float halves[] = {1.0f + 0x1p-11f, 1.0f + 0x3p-11f, 65519.996f, 65520.0f,  0x1p-25f,
                            0x1.8p-25f,      0x1p-24f,        -0.0f,      6.1035e-5f};
    const uint16_t expected[] = {0x3c00, 0x3c02, 0x7bff, 0x7c00, 0, 1, 1, 0x8000, 0x0400};
    for (size_t i = 0; i < COUNT(halves); i++) assert_int_equal(half_of_float(halves[i]), expected[i]);
    uint64_t seed = 77;
    float *src = malloc(65536 * 4);
    uint16_t *got = malloc(65536 * 2);
    for (size_t way = 0; way < kernels_ways(); way += 3) {
        struct ops *o = kernels_open(way);
        for (uint32_t i = 0; i < 65536; i++) src[i] = float_of_half((uint16_t)i);
        o->kernels->narrow(got, src, FORM_F16, 65535);
        for (uint32_t i = 0; i < 65535; i++)
            assert_true(got[i] == i ||
                        (!isfinite(src[i]) && isnan(float_of_half(got[i])))); /* infinity is none either */
        for (uint32_t i = 0; i < 65536; i++) {
            src[i] = float_of_bits(kernels_random(&seed));
            src[i] = isnan(src[i]) ? NAN : src[i];
        }
        o->kernels->narrow(got, src, FORM_F16, 65536);
        for (uint32_t i = 0; i < 65536; i++)
            assert_true(fabsf(src[i]) < 65520.0f ? got[i] == half_of_float(src[i]) : isnan(float_of_half(got[i])));
        o->kernels->narrow(got, src, FORM_BF16, 65533);
        for (uint32_t i = 0; i < 65533; i++)
            assert_true(fabsf(src[i]) < 0x1.ffp127f ? got[i] == bf16_of_float(src[i]) : (got[i] & 0x7fff) > 0x7f80);
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
    const struct plan_matrix m = {.rows = ROWS,
                                  .cols = COLS,
                                  .form = FORM_F8_E4M3,
                                  .row_bytes = COLS,
                                  .block_rows = ROWS,
                                  .block_cols = 128,
                                  .scale_form = FORM_F32,
                                  .scale_row_bytes = sizeof scale};
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
                for (uint32_t t = 0; t < n; t++) x[t * COLS + c] = 1.0f;
                ops_matmul(o, y, ROWS, x, COLS, &w, NULL, 0, n);
                for (uint32_t i = 0; i < n * ROWS; i++)
                    assert_true(y[i] == e4m3_256th(data[i % ROWS * COLS + c]) * 128.0f);
            }
            for (uint32_t c = 0; c < COLS; c++) {
                const unsigned char was = data[COLS + c];
                data[COLS + c] = c & 1 ? 0xff : 0x7f;
                ops_matmul(o, y, ROWS, x, COLS, &w, NULL, 0, n);
                for (uint32_t i = 0; i < n * ROWS; i++) assert_true(i % ROWS == 1 ? isnan(y[i]) : !isnan(y[i]));
                data[COLS + c] = was;
            }
        }
        ops_close(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dequantize),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_halves),
        cmocka_unit_test(test_unknown_forms),
        cmocka_unit_test(test_row_norm),
        cmocka_unit_test(test_large_row_norm),
        cmocka_unit_test(test_transposed_products),
        cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_little_scratch),
        cmocka_unit_test(test_codes_of_e4m3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
