/* Products with matrices of which the file's rows are inputs (AWQ, GPTQ): against the scalar reference, and the same bytes from
 * every variant, thread count, number of tokens and cut of the rows. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "tests/support_forms.h"
#include "tests/support_kernels.h"

#define TOKENS 33u
static const uint32_t counts[] = {1, 2, 3, 4, 5, 6, 7, 12, 33};

struct floats {
    uint32_t ldx, ldy, deep;
    float *x, *bias, *base, *y, *want, *size;
};

static struct floats floats_of(const struct form_shape *h)
{
    uint64_t seed = h->rows * 1000 + h->cols;
    struct floats f = {.deep = form_deep(h->form), .ldy = h->cols + 5};
    f.ldx = h->rows * f.deep + 3;
    f.x = kernels_floats(&seed, (size_t)TOKENS * f.ldx);
    f.bias = kernels_floats(&seed, h->cols);
    f.base = calloc((size_t)TOKENS * f.ldy, 4), f.y = calloc((size_t)TOKENS * f.ldy, 4);
    f.want = calloc((size_t)TOKENS * f.ldy, 4), f.size = calloc((size_t)TOKENS * f.ldy, 4);
    assert_true(f.base && f.y && f.want && f.size);
    return f;
}

static void floats_free(struct floats *f)
{
    free(f->x), free(f->bias), free(f->base), free(f->y), free(f->want), free(f->size);
}

static const char *label(const struct form_shape *h, uint32_t n, const char *more)
{
    static char text[240];
    snprintf(text, sizeof text, "%s, flags %u, %u tokens, %s", form_shape_name(h), h->flags, n, more);
    return text;
}

static void check_products(const struct form_shape *h)
{
    struct floats f = floats_of(h);
    struct stored s;
    stored_make(&s, h, h->rows);
    struct ops *o = kernels_open(0);
    for (uint32_t i = 0; i < TOKENS; i++)
        ops_matmul_t(o, f.base + i * f.ldy, f.ldy, f.x + i * f.ldx, f.ldx, &s.w, f.bias, true, 1);
    assert_int_equal(ops_sync(o, NULL), 0);
    ops_close(o);
    reference_matmul_t(f.want, f.ldy, f.x, f.ldx, &s.w, f.bias, true, 3, f.size);
    kernels_assert_near(f.base, f.want, (size_t)3 * f.ldy, 1e-5, f.size, 0, label(h, 1, "reference"));
    for (size_t way = 0; way < kernels_ways(); way++) {
        o = kernels_open(way);
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            const uint32_t n = counts[c], cut = (uint32_t)(c * 7 % h->rows);
            const struct ops_weight a = stored_rows(&s, 0, cut), b = stored_rows(&s, cut, h->rows);
            memset(f.y, 0, (size_t)TOKENS * f.ldy * 4);
            ops_matmul_t(o, f.y, f.ldy, f.x, f.ldx, &a, f.bias, true, n);
            ops_matmul_t(o, f.y, f.ldy, f.x + cut * f.deep, f.ldx, &b, NULL, false, n);
            kernels_assert_same(f.y, f.base, (size_t)n * f.ldy, label(h, n, kernels_way_name(way)));
        }
        assert_int_equal(ops_sync(o, NULL), 0);
        ops_close(o);
    }
    stored_free(&s);
    floats_free(&f);
}

static void test_products(void **state)
{
    struct form_shape shapes[FORM_SHAPES_MOST];
    (void)state;
    for (uint32_t form = 0; form < FORMS; form++) {
        const size_t n = form_can_be(form, FORM_TURNED) ? form_turned_shapes(form, shapes) : 0;
        for (size_t i = 0; i < n; i++) check_products(&shapes[i]);
    }
}

/* Each weight by itself is exactly what the reference has: one input is 1, the others are 0. */
static void check_weights(const struct form_shape *h)
{
    const uint32_t inputs = h->rows * form_deep(h->form);
    float *x = calloc(inputs, sizeof *x), *y = malloc(h->cols * sizeof *y);
    struct stored s;
    assert_true(x && y);
    stored_make(&s, h, 3);
    for (size_t way = 0; way < kernels_ways(); way += 3) {
        struct ops *o = kernels_open(way);
        for (uint32_t k = 0; k < inputs; k++) {
            x[k] = 1;
            ops_matmul_t(o, y, h->cols, x, inputs, &s.w, NULL, true, 1);
            x[k] = 0;
            for (uint32_t c = 0; c < h->cols; c++) {
                const float want = reference_weight(&s.w, k, c);
                if (y[c] != want)
                    fail_msg("%s: input %u, output %u is %.9g, not %.9g", form_shape_name(h), k, c, (double)y[c],
                             (double)want);
            }
        }
        ops_close(o);
    }
    stored_free(&s);
    free(x), free(y);
}

static void test_weights(void **state)
{
    struct form_shape shapes[FORM_SHAPES_MOST];
    (void)state;
    for (uint32_t form = 0; form < FORMS; form++)
        if (form_can_be(form, FORM_TURNED)) {
            form_turned_shapes(form, shapes);
            check_weights(&shapes[1]);
            check_weights(&shapes[6]);
        }
}

/* Numbers as AutoAWQ and AutoGPTQ pack them, by hand. */
static void test_layouts(void **state)
{
    const uint32_t word = 0x76543210u;
    const uint16_t ones[8] = {0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00};
    const uint32_t zeros[2] = {0x11111111u, 0}, words[8] = {word, word, word, word, word, word, word, word};
    static const float awq[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    struct plan_matrix m = {.rows = 1,
                            .cols = 8,
                            .form = FORM_AWQ_4,
                            .row_bytes = 4,
                            .block_rows = 1,
                            .block_cols = 1,
                            .scale_form = FORM_F16,
                            .scale_row_bytes = 16,
                            .zero_rows = 1,
                            .zero_row_bytes = 4};
    struct ops_weight w = {.matrix = &m, .data = words, .scale = ones, .rows = 1, .zero = zeros};
    float x[8] = {0}, y[8];
    struct ops *o = kernels_open(0);
    (void)state;
    x[0] = 1;
    ops_matmul_t(o, y, 8, x, 8, &w, NULL, true, 1);
    for (int i = 0; i < 8; i++) assert_true(y[i] == awq[i] - 1);
    m.form = FORM_GPTQ_4, m.row_bytes = 32, m.flags = MATRIX_ZEROS_LESS;
    for (int k = 0; k < 8; k++) {
        memset(x, 0, sizeof x);
        x[k] = 1;
        ops_matmul_t(o, y, 8, x, 8, &w, NULL, true, 1);
        for (int i = 0; i < 8; i++) assert_true(y[i] == (float)k - 2);
    }
    m.form = FORM_GPTQ_8, m.zero_row_bytes = 8, m.flags = 0;
    memset(x, 0, sizeof x);
    x[2] = 1;
    ops_matmul_t(o, y, 8, x, 8, &w, NULL, true, 1);
    for (int i = 0; i < 8; i++) assert_true(y[i] == (float)0x54 - (i < 4 ? 17 : 0));
    assert_int_equal(ops_sync(o, NULL), 0);
    ops_close(o);
}

/* An input that names a group which is not there gives what is not a number, whatever it names; other products refuse the form. */
static void test_refusals(void **state)
{
    struct form_shape shapes[FORM_SHAPES_MOST];
    static const uint32_t bad[] = {40, 0x7fffffff, UINT32_MAX};
    struct stored s;
    (void)state;
    form_turned_shapes(FORM_GPTQ_4, shapes);
    stored_make(&s, &shapes[6], 1);
    const uint32_t inputs = (uint32_t)s.vector_count[0], cols = shapes[6].cols;
    float *x = calloc((size_t)9 * inputs, 4), *y = calloc((size_t)9 * cols, 4);
    for (size_t way = 0; way < kernels_ways(); way += 3) {
        struct ops *o = kernels_open(way);
        struct error e = {0};
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
            for (uint32_t n = 1; n < 10; n += 8) {
                memcpy(&s.vector[0][17], &bad[i], sizeof bad[i]);
                ops_matmul_t(o, y, cols, x, inputs, &s.w, NULL, true, n);
                for (uint32_t c = 0; c < n * cols; c++) assert_true(isnan(y[c]));
            }
        ops_matmul(o, y, 40, x, cols, &s.w, NULL, 0, 1);
        assert_int_equal(ops_sync(o, &e), -ENOTSUP);
        assert_non_null(strstr(e.text, "GPTQ_4"));
        ops_close(o);
    }
    free(x), free(y);
    stored_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_weights),
                                       cmocka_unit_test(test_layouts), cmocka_unit_test(test_refusals)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
