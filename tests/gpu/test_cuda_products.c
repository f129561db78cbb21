/* Matrix products of the cuda backend: every stored form over odd sizes against the reference in double precision; and for
 * few tokens the same bytes in any company and any cut of the rows. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "compute/heads.h"
#include "tests/gpu/gpu.h"
#include "tests/support_forms.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define FEW      16u /* tokens up to which results are the same bytes */

static const uint32_t token_counts[] = {1, 3, 4, 5, 8, 9, 16, 17, 40};

/* Rows [r0, r1) as a tile of their own on the device, 256-byte aligned. */
static struct ops_weight on_device(struct ops *o, const struct stored *s, uint64_t r0, uint64_t r1)
{
    struct ops_weight w = stored_rows(s, r0, r1);
    uint64_t scale_rows = s->scale ? plan_scale_rows(&s->m, r0, r1 - r0).count : 0;

    w.data = gpu_put(o, w.data, w.rows * s->m.row_bytes);
    if (s->scale) w.scale = gpu_put(o, w.scale, scale_rows * s->m.scale_row_bytes);
    if (s->zero) w.zero = gpu_put(o, w.zero, plan_zero_rows(&s->m, r0, r1 - r0).count * s->m.zero_row_bytes);
    for (int i = 0; i < 2; i++)
        if (s->vector[i]) w.vector[i] = (const float *)gpu_put(o, s->vector[i], s->vector_count[i] * 4);
    return w;
}

/* Calls each() for every shape of every form of weights. */
static void every_shape(struct ops *o, void (*each)(struct ops *o, const struct stored *s))
{
    struct form_shape shapes[FORM_SHAPES_MOST];

    for (uint32_t form = 0; form < FORMS; form++) {
        size_t n = form_can_be(form, FORM_WEIGHT) ? form_shapes(form, shapes) : 0;

        for (size_t i = 0; i < n; i++) {
            struct stored s;

            stored_make(&s, &shapes[i], i + 1);
            each(o, &s);
            stored_free(&s);
        }
    }
}

static const char *label(const struct stored *s)
{
    return form_shape_name(&(struct form_shape){s->m.form, (uint32_t)s->m.rows, (uint32_t)s->m.cols, s->m.block_rows,
                                                s->m.block_cols, s->m.scale_form, 0, false});
}

/* One shape with n tokens, x at column shift of rows of ldx. */
static void check_product(struct ops *o, const struct stored *s, uint32_t n, uint32_t shift, uint32_t flags,
                          bool biased)
{
    uint64_t seed = s->m.cols + n;
    uint32_t rows = (uint32_t)s->m.rows, ldx = (uint32_t)s->m.cols + shift + 3, ldy = rows + 2;
    float *x = gpu_floats(&seed, (size_t)n * ldx), *bias = gpu_floats(&seed, rows),
          *y = gpu_floats(&seed, (size_t)n * ldy), *got;
    float *size = calloc((size_t)n * ldy, sizeof *size), *dx = gpu_put(o, x, (uint64_t)n * ldx * 4),
          *dy = gpu_put(o, y, (uint64_t)n * ldy * 4);
    float *d_bias = biased ? gpu_put(o, bias, rows * 4ull) : NULL;
    struct ops_weight device = on_device(o, s, 0, rows);
    char what[240];

    snprintf(what, sizeof what, "%s, %u tokens, shift %u, flags %u", label(s), n, shift, flags);
    ops_matmul(o, dy, ldy, dx + shift, ldx, &device, d_bias, flags, n);
    got = gpu_get(o, dy, (size_t)n * ldy);
    reference_matmul(y, ldy, x + shift, ldx, &s->w, biased ? bias : NULL, flags, n, size);
    gpu_assert_near(got, y, (size_t)n * ldy, 4e-6, size, 1e-6, what); /* what lies between the rows stays as it was */
    free(x), free(bias), free(y), free(got), free(size);
    gpu_forget(o);
}

static void check_products(struct ops *o, const struct stored *s)
{
    for (size_t k = 0; k < COUNT(token_counts); k++) check_product(o, s, token_counts[k], (uint32_t)k % 3, 0, k % 2);
    check_product(o, s, 2, 0, MATMUL_ROW_NORM, true);
    check_product(o, s, 20, 1, MATMUL_ROW_NORM, false);
}

static void test_products(void **state)
{
    struct ops *o = gpu_open(80u << 20);

    (void)state;
    every_shape(o, check_products);
    gpu_close(o);
}

static void check_bits(struct ops *o, const struct stored *s)
{
    uint64_t seed = 11, rows = s->m.rows, cut = rows / 3;
    uint32_t ld = (uint32_t)rows, ldx = (uint32_t)s->m.cols;
    float *x = gpu_floats(&seed, (size_t)FEW * ldx), *dx = gpu_put(o, x, (uint64_t)FEW * ldx * 4),
          *dy = gpu_new(o, FEW * rows * 4), *all, *part;
    struct ops_weight whole = on_device(o, s, 0, rows), first = on_device(o, s, 0, cut),
                      second = on_device(o, s, cut, rows);

    ops_matmul(o, dy, ld, dx, ldx, &whole, NULL, 0, FEW);
    all = gpu_get(o, dy, FEW * rows);
    for (uint32_t n = 1; n <= FEW; n += n < 4 ? 1 : 3) {
        for (uint32_t i = 0; i + n <= FEW; i += n) {
            ops_matmul(o, dy, ld, dx + (size_t)i * ldx, ldx, &whole, NULL, 0, n);
            part = gpu_get(o, dy, n * rows);
            gpu_assert_same(part, all + i * rows, n * rows, "other company");
            free(part);
        }
    }
    if (cut) ops_matmul(o, dy, ld, dx, ldx, &first, NULL, 0, FEW);
    ops_matmul(o, dy + cut, ld, dx, ldx, &second, NULL, 0, FEW);
    part = gpu_get(o, dy, FEW * rows);
    gpu_assert_same(part, all, FEW * rows, "rows cut in two");
    free(part), free(all), free(x);
    gpu_forget(o);
}

static void test_same_bytes(void **state)
{
    struct ops *o = gpu_open(80u << 20);

    (void)state;
    every_shape(o, check_bits);
    gpu_close(o);
}

/* Rows of several spans, which warps share: whole vectors and not, the last span short. */
static void test_long_rows(void **state)
{
    static const struct form_shape shapes[] = {{.form = FORM_BF16, .rows = 7, .cols = 2 * 4096 + 264},
                                               {.form = FORM_BF16, .rows = 3, .cols = 4096 + 1},
                                               {.form = FORM_F32, .rows = 2, .cols = 4096},
                                               {.form = FORM_F16, .rows = 5, .cols = 9 * 4096 + 8},
                                               {.form = FORM_Q8_0, .rows = 3, .cols = 2 * 4096 + 256},
                                               {.form = FORM_Q4_K, .rows = 3, .cols = 2 * 4096 + 256}};
    struct ops *o = gpu_open(80u << 20);

    (void)state;
    for (size_t i = 0; i < COUNT(shapes); i++) {
        struct stored s;

        stored_make(&s, &shapes[i], i + 1);
        check_product(o, &s, 1, 0, 0, true);
        check_product(o, &s, 9, 1, 0, false);
        check_bits(o, &s);
        stored_free(&s);
    }
    gpu_close(o);
}

/* Heads in one call are heads one by one. n: few go together, more are computed one after the other. */
static void check_heads(struct ops *o, const struct stored *s, uint32_t heads, uint32_t n, bool transposed)
{
    const uint32_t rows = (uint32_t)s->m.rows / heads, cols = (uint32_t)s->m.cols, in = transposed ? rows : cols,
                   out = transposed ? cols : rows, ldx = heads * in, ldy = heads * out;
    const struct ops_heads h = {.heads = heads,
                                .y = out,
                                .x = in,
                                .data = rows * s->m.row_bytes,
                                .scale = s->scale ? rows / s->m.block_rows * s->m.scale_row_bytes : 0,
                                .row = rows,
                                .scale_row = s->scale ? rows / s->m.block_rows : 0};
    const struct ops_weight all = on_device(o, s, 0, s->m.rows);
    struct ops_weight first = all;
    uint64_t seed = n;
    float *x = gpu_floats(&seed, (size_t)n * ldx), *dx = gpu_put(o, x, (uint64_t)n * ldx * 4),
          *dy = gpu_new(o, (uint64_t)n * ldy * 4), *dz = gpu_new(o, (uint64_t)n * ldy * 4), *y, *z;

    first.rows = rows;
    if (transposed)
        ops_matmul_t_heads(o, dy, ldy, dx, ldx, &first, &h, n);
    else
        ops_matmul_heads(o, dy, ldy, dx, ldx, &first, &h, n);
    for (uint32_t i = 0; i < heads; i++) {
        const struct ops_weight w = ops_head(&first, &h, i);

        if (transposed)
            ops_matmul_t(o, dz + i * out, ldy, dx + i * in, ldx, &w, NULL, true, n);
        else
            ops_matmul(o, dz + i * out, ldy, dx + i * in, ldx, &w, NULL, 0, n);
    }
    y = gpu_get(o, dy, (size_t)n * ldy);
    z = gpu_get(o, dz, (size_t)n * ldy);
    gpu_assert_same(y, z, (size_t)n * ldy, transposed ? "transposed heads" : "heads");
    free(x), free(y), free(z);
    gpu_forget(o);
}

static void test_heads(void **state)
{
    static const struct form_shape shapes[] = {
        {.form = FORM_BF16, .rows = 5 * 12, .cols = 64},
        {.form = FORM_F32, .rows = 3 * 7, .cols = 33},
        {.form = FORM_F8_E4M3, .rows = 4 * 32, .cols = 64, .block_rows = 16, .block_cols = 32, .scale_form = FORM_F32}};
    static const uint32_t heads[] = {5, 3, 4}, tokens[] = {1, 3, 16, 20};
    struct ops *o = gpu_open(80u << 20);

    (void)state;
    for (size_t i = 0; i < COUNT(shapes); i++) {
        struct stored s;

        stored_make(&s, &shapes[i], i + 1);
        for (size_t k = 0; k < COUNT(tokens); k++)
            for (int transposed = 0; transposed < 2; transposed++) check_heads(o, &s, heads[i], tokens[k], transposed);
        stored_free(&s);
    }
    gpu_close(o);
}

/* Inputs along the rows, in two calls that go on from one another. */
static void check_transposed(struct ops *o, const struct stored *s, uint32_t n, bool biased)
{
    uint64_t seed = s->m.rows + n, rows = s->m.rows, cut = rows / 2;
    uint32_t deep = form_deep(s->m.form), cols = (uint32_t)s->m.cols, ldy = cols + 1, ldx = (uint32_t)rows * deep + 2;
    float *x = gpu_floats(&seed, (size_t)n * ldx), *bias = gpu_floats(&seed, cols),
          *y = gpu_floats(&seed, (size_t)n * ldy), *got;
    float *size = calloc((size_t)n * ldy, sizeof *size), *dx = gpu_put(o, x, (uint64_t)n * ldx * 4),
          *dy = gpu_put(o, y, (uint64_t)n * ldy * 4);
    float *d_bias = biased ? gpu_put(o, bias, cols * 4ull) : NULL;
    struct ops_weight first = on_device(o, s, 0, cut), second = on_device(o, s, cut, rows);
    char what[240];

    snprintf(what, sizeof what, "transposed, %s, %u tokens", label(s), n);
    if (cut) ops_matmul_t(o, dy, ldy, dx, ldx, &first, d_bias, true, n);
    ops_matmul_t(o, dy, ldy, dx + cut * deep, ldx, &second, cut ? NULL : d_bias, !cut, n);
    got = gpu_get(o, dy, (size_t)n * ldy);
    reference_matmul_t(y, ldy, x, ldx, &s->w, biased ? bias : NULL, true, n, size);
    gpu_assert_near(got, y, (size_t)n * ldy, 4e-6, size, 1e-6, what);
    free(x), free(bias), free(y), free(got), free(size);
    gpu_forget(o);
}

static void check_transposed_products(struct ops *o, const struct stored *s)
{
    for (size_t k = 0; k < COUNT(token_counts); k += 2) check_transposed(o, s, token_counts[k], k % 4);
}

static void test_transposed(void **state)
{
    struct ops *o = gpu_open(80u << 20);

    (void)state;
    every_shape(o, check_transposed_products);
    gpu_close(o);
}

/* Forms whose rows are inputs: the same, and the same bytes in any company and any cut. */
static void check_turned_bits(struct ops *o, const struct stored *s)
{
    uint64_t seed = 11, rows = s->m.rows, cut = rows / 3;
    uint32_t cols = (uint32_t)s->m.cols, deep = form_deep(s->m.form), ldx = (uint32_t)rows * deep;
    float *x = gpu_floats(&seed, (size_t)FEW * ldx), *dx = gpu_put(o, x, (uint64_t)FEW * ldx * 4),
          *dy = gpu_new(o, FEW * cols * 4ull), *all, *part;
    struct ops_weight whole = on_device(o, s, 0, rows), first = on_device(o, s, 0, cut),
                      second = on_device(o, s, cut, rows);

    ops_matmul_t(o, dy, cols, dx, ldx, &whole, NULL, true, FEW);
    all = gpu_get(o, dy, (size_t)FEW * cols);
    for (uint32_t i = 0; i < FEW; i += 5) {
        ops_matmul_t(o, dy, cols, dx + (size_t)i * ldx, ldx, &whole, NULL, true, 1);
        part = gpu_get(o, dy, cols);
        gpu_assert_same(part, all + (size_t)i * cols, cols, "alone");
        free(part);
    }
    ops_matmul_t(o, dy, cols, dx, ldx, &first, NULL, true, FEW);
    ops_matmul_t(o, dy, cols, dx + cut * deep, ldx, &second, NULL, false, FEW);
    part = gpu_get(o, dy, (size_t)FEW * cols);
    gpu_assert_same(part, all, (size_t)FEW * cols, "rows cut in two");
    free(part), free(all), free(x);
    gpu_forget(o);
}

static void test_turned(void **state)
{
    struct ops *o = gpu_open(80u << 20);
    struct form_shape shapes[FORM_SHAPES_MOST];

    (void)state;
    for (uint32_t form = 0; form < FORMS; form++) {
        size_t n = form_can_be(form, FORM_TURNED) ? form_turned_shapes(form, shapes) : 0;

        for (size_t i = 0; i + 1 < n; i++) { /* the last is long */
            struct stored s;

            stored_make(&s, &shapes[i], i + 1);
            check_transposed_products(o, &s);
            check_turned_bits(o, &s);
            stored_free(&s);
        }
    }
    gpu_close(o);
}

static void test_little_scratch(void **state)
{
    struct ops *o = gpu_open(65536);
    struct stored s;
    struct error e = {0};
    float *x;

    (void)state;
    stored_make(&s, &(struct form_shape){.form = FORM_BF16, .rows = 131, .cols = 1040}, 1);
    x = gpu_new(o, 40 * 1040 * 4);
    {
        struct ops_weight w = on_device(o, &s, 0, 131);

        ops_matmul(o, x, 1040, x, 1040, &w, NULL, 0, 40);
    }
    assert_int_equal(ops_sync(o, &e), -ENOMEM);
    assert_non_null(strstr(e.text, "scratch"));
    assert_int_equal(ops_sync(o, &e), -ENOMEM); /* and it stays said */
    ops_close(o);                               /* the device's memory goes with the process */
    stored_free(&s);
}

/* Each is the first failure of a device of its own, and names the form. */
static void expect_failure(const struct ops_weight *w, bool transposed, uint32_t n, const char *text)
{
    struct ops *o = gpu_open(1u << 20);
    struct error e = {0};

    /* before anything is read or written */
    if (transposed)
        ops_matmul_t(o, NULL, 16, NULL, 2, w, NULL, false, n);
    else
        ops_matmul(o, NULL, 2, NULL, 16, w, NULL, 0, n);
    assert_int_equal(ops_sync(o, &e), -ENOTSUP);
    if (!strstr(e.text, text)) fail_msg("\"%s\" does not say \"%s\"", e.text, text);
    ops_close(o);
}

static void test_unknown_forms(void **state)
{
    static const uint32_t forms[] = {FORM_F8_E8M0, FORM_F64, FORM_BYTES, FORMS, 99};
    struct plan_matrix m = {.rows = 2, .cols = 16, .row_bytes = 64};
    struct ops_weight w = {.matrix = &m, .rows = 2};
    char name[48];

    (void)state;
    for (size_t i = 0; i < COUNT(forms); i++) {
        m.form = (uint16_t)forms[i];
        snprintf(name, sizeof name, "form %u (%s)", forms[i], form_name(forms[i]));
        expect_failure(&w, false, 1, name);
        expect_failure(&w, false, 30, name);
        expect_failure(&w, true, 3, name);
    }
    m.form = FORM_F8_E4M3, m.block_rows = m.block_cols = 16, m.scale_form = FORM_F32;
    expect_failure(&w, false, 1, "F8_E4M3 without scales");
    w.scale = (void *)4096; /* some */
    m.scale_form = FORM_F64;
    expect_failure(&w, true, 1, "(F64)");
    m.form = FORM_F32, w.scale = NULL, w.data = (void *)4097;
    expect_failure(&w, false, 1, "F32 that begin in the middle of a word");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),       cmocka_unit_test(test_same_bytes),    cmocka_unit_test(test_transposed),
        cmocka_unit_test(test_little_scratch), cmocka_unit_test(test_unknown_forms), cmocka_unit_test(test_turned),
        cmocka_unit_test(test_long_rows),      cmocka_unit_test(test_heads),
    };

    if (argc == 2) cmocka_set_test_filter(argv[1]);
    return gpu_present() ? cmocka_run_group_tests_name("cuda products", tests, NULL, NULL) : 0;
}
