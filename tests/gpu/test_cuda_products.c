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
#include "compute/cuda/element.h"
#include "tests/gpu/gpu.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define FEW      16u /* tokens up to which results are the same bytes */

struct shape {
    uint32_t form, rows, cols, block_rows, block_cols, scale_form;
};

/* A matrix on the host; its rows are put on the device 256-byte aligned, as a tile brings them. */
struct stored {
    struct plan_matrix m;
    uint8_t *data, *scale;
    uint64_t data_bytes, scale_bytes;
};

static const struct shape shapes[] = {
    {FORM_F32, 37, 75, 0, 0, 0},          {FORM_F32, 5, 1, 0, 0, 0},           {FORM_F32, 9, 260, 0, 0, 0},
    {FORM_F16, 33, 130, 0, 0, 0},         {FORM_F16, 1, 16, 0, 0, 0},          {FORM_BF16, 70, 519, 0, 0, 0},
    {FORM_BF16, 131, 1040, 0, 0, 0},      {FORM_BF16, 64, 64, 0, 0, 0},        {FORM_BF16, 3, 15, 0, 0, 0},
    {FORM_F8_E4M3, 70, 300, 32, 128, FORM_F32}, {FORM_F8_E4M3, 33, 256, 128, 128, FORM_BF16}, {FORM_F8_E4M3, 29, 90, 5, 7, FORM_F32},
    {FORM_F8_E4M3, 18, 1104, 1, 1104, FORM_F32}, {FORM_MXFP4, 45, 96, 0, 0, FORM_F8_E8M0}, {FORM_MXFP4, 7, 1088, 1, 32, FORM_F8_E8M0},
};
static const uint32_t token_counts[] = {1, 3, 4, 5, 8, 9, 16, 17, 40};

static uint64_t bytes_of(uint32_t form, uint64_t n)
{
    return form == FORM_F32 ? 4 * n : form == FORM_F8_E4M3 ? n : form == FORM_MXFP4 ? n / 2 : 2 * n;
}

static void fill(struct stored *s, uint64_t *seed)
{
    for (uint64_t i = 0; i < s->m.rows * s->m.cols && s->m.form < FORM_F8_E4M3; i++) {
        float x = gpu_uniform(seed);

        if (s->m.form == FORM_F32) ((float *)(void *)s->data)[i] = x;
        else ((uint16_t *)(void *)s->data)[i] = s->m.form == FORM_F16 ? element_to_f16(i % 7 ? x : x * 1e-5f) : element_to_bf16(x);
    }
    for (uint64_t i = 0; i < s->data_bytes && s->m.form >= FORM_F8_E4M3; i++) {
        s->data[i] = (uint8_t)gpu_random(seed);
        if (s->m.form == FORM_F8_E4M3 && (s->data[i] & 0x7f) == 0x7f) s->data[i] = 0x3a;
    }
}

static void make(struct stored *s, const struct shape *h, uint64_t seed)
{
    bool mx = h->form == FORM_MXFP4;
    uint64_t block_rows = mx || !h->block_rows ? 1 : h->block_rows, block_cols = mx ? 32 : h->block_cols ? h->block_cols : 1;
    uint64_t scale_rows = (h->rows + block_rows - 1) / block_rows, each = (h->cols + block_cols - 1) / block_cols;

    *s = (struct stored){.m = {.rows = h->rows, .cols = h->cols, .form = (uint16_t)h->form, .block_rows = h->block_rows,
                               .block_cols = h->block_cols, .scale_form = (uint16_t)h->scale_form, .row_bytes = bytes_of(h->form, h->cols)}};
    s->data_bytes = h->rows * s->m.row_bytes;
    s->data = malloc(s->data_bytes);
    assert_non_null(s->data);
    fill(s, &seed);
    if (h->form < FORM_F8_E4M3) return;
    s->m.scale_row_bytes = each * (h->scale_form == FORM_F32 ? 4 : h->scale_form == FORM_BF16 ? 2 : 1);
    s->scale_bytes = scale_rows * s->m.scale_row_bytes;
    s->scale = malloc(s->scale_bytes);
    assert_non_null(s->scale);
    for (uint64_t i = 0; i < scale_rows * each; i++) {
        float x = 0.01f + fabsf(gpu_uniform(&seed));

        if (h->scale_form == FORM_F32) ((float *)(void *)s->scale)[i] = x;
        else if (h->scale_form == FORM_BF16) ((uint16_t *)(void *)s->scale)[i] = element_to_bf16(x);
        else s->scale[i] = (uint8_t)(118 + gpu_random(&seed) % 12);
    }
}

static void drop(struct stored *s)
{
    free(s->data);
    free(s->scale);
}

static struct ops_weight on_host(const struct stored *s)
{
    return (struct ops_weight){.matrix = &s->m, .data = s->data, .scale = s->scale, .rows = s->m.rows};
}

/* Rows [r0, r1) as a tile of their own on the device. */
static struct ops_weight on_device(struct ops *o, const struct stored *s, uint64_t r0, uint64_t r1)
{
    uint64_t block_rows = s->m.form == FORM_MXFP4 ? 1 : s->m.block_rows ? s->m.block_rows : 1;
    uint64_t s0 = r0 / block_rows, s1 = (r1 + block_rows - 1) / block_rows;

    return (struct ops_weight){.matrix = &s->m, .row0 = r0, .rows = r1 - r0, .scale_row0 = s->scale ? s0 : 0,
                               .data = gpu_put(o, s->data + r0 * s->m.row_bytes, (r1 - r0) * s->m.row_bytes),
                               .scale = s->scale ? gpu_put(o, s->scale + s0 * s->m.scale_row_bytes, (s1 - s0) * s->m.scale_row_bytes) : NULL};
}

/* One shape with n tokens, x at column shift of rows of ldx. */
static void check_product(struct ops *o, const struct stored *s, uint32_t n, uint32_t shift, uint32_t flags, bool biased)
{
    uint64_t seed = s->m.cols + n;
    uint32_t rows = (uint32_t)s->m.rows, ldx = (uint32_t)s->m.cols + shift + 3, ldy = rows + 2;
    float *x = gpu_floats(&seed, (size_t)n * ldx), *bias = gpu_floats(&seed, rows), *y = gpu_floats(&seed, (size_t)n * ldy), *got;
    float *size = calloc((size_t)n * ldy, sizeof *size), *dx = gpu_put(o, x, (uint64_t)n * ldx * 4), *dy = gpu_put(o, y, (uint64_t)n * ldy * 4);
    float *d_bias = biased ? gpu_put(o, bias, rows * 4ull) : NULL;
    struct ops_weight host = on_host(s), device = on_device(o, s, 0, rows);
    char what[128];

    snprintf(what, sizeof what, "form %u, %u x %u, %u tokens, shift %u, flags %u", s->m.form, rows, (unsigned)s->m.cols, n, shift, flags);
    ops_matmul(o, dy, ldy, dx + shift, ldx, &device, d_bias, flags, n);
    got = gpu_get(o, dy, (size_t)n * ldy);
    reference_matmul(y, ldy, x + shift, ldx, &host, biased ? bias : NULL, flags, n, size);
    gpu_assert_near(got, y, (size_t)n * ldy, 4e-6, size, 1e-6, what); /* what lies between the rows stays as it was */
    free(x), free(bias), free(y), free(got), free(size);
    gpu_forget(o);
}

static void test_products(void **state)
{
    struct ops *o = gpu_open(80u << 20);

    (void)state;
    for (size_t i = 0; i < COUNT(shapes); i++) {
        struct stored s;

        make(&s, &shapes[i], i + 1);
        for (size_t k = 0; k < COUNT(token_counts); k++) check_product(o, &s, token_counts[k], (uint32_t)k % 3, 0, k % 2);
        check_product(o, &s, 2, 0, MATMUL_ROW_NORM, true);
        check_product(o, &s, 20, 1, MATMUL_ROW_NORM, false);
        drop(&s);
    }
    gpu_close(o);
}

static void check_bits(struct ops *o, const struct stored *s)
{
    uint64_t seed = 11, rows = s->m.rows, cut = rows / 3;
    uint32_t ld = (uint32_t)rows, ldx = (uint32_t)s->m.cols;
    float *x = gpu_floats(&seed, (size_t)FEW * ldx), *dx = gpu_put(o, x, (uint64_t)FEW * ldx * 4), *dy = gpu_new(o, FEW * rows * 4), *all, *part;
    struct ops_weight whole = on_device(o, s, 0, rows), first = on_device(o, s, 0, cut), second = on_device(o, s, cut, rows);

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
    for (size_t i = 0; i < COUNT(shapes); i++) {
        struct stored s;

        make(&s, &shapes[i], i + 1);
        check_bits(o, &s);
        drop(&s);
    }
    gpu_close(o);
}

/* Inputs along the rows, in two calls that go on from one another. */
static void check_transposed(struct ops *o, const struct stored *s, uint32_t n, bool biased)
{
    uint64_t seed = s->m.rows + n, rows = s->m.rows, cut = rows / 2;
    uint32_t cols = (uint32_t)s->m.cols, ldy = cols + 1, ldx = (uint32_t)rows + 2;
    float *x = gpu_floats(&seed, (size_t)n * ldx), *bias = gpu_floats(&seed, cols), *y = gpu_floats(&seed, (size_t)n * ldy), *got;
    float *size = calloc((size_t)n * ldy, sizeof *size), *dx = gpu_put(o, x, (uint64_t)n * ldx * 4), *dy = gpu_put(o, y, (uint64_t)n * ldy * 4);
    float *d_bias = biased ? gpu_put(o, bias, cols * 4ull) : NULL;
    struct ops_weight host = on_host(s), first = on_device(o, s, 0, cut), second = on_device(o, s, cut, rows);
    char what[128];

    snprintf(what, sizeof what, "transposed, form %u, %u x %u, %u tokens", s->m.form, (unsigned)rows, cols, n);
    if (cut) ops_matmul_t(o, dy, ldy, dx, ldx, &first, d_bias, true, n);
    ops_matmul_t(o, dy, ldy, dx + cut, ldx, &second, cut ? NULL : d_bias, !cut, n);
    got = gpu_get(o, dy, (size_t)n * ldy);
    reference_matmul_t(y, ldy, x, ldx, &host, biased ? bias : NULL, true, n, size);
    gpu_assert_near(got, y, (size_t)n * ldy, 4e-6, size, 1e-6, what);
    free(x), free(bias), free(y), free(got), free(size);
    gpu_forget(o);
}

static void test_transposed(void **state)
{
    struct ops *o = gpu_open(80u << 20);

    (void)state;
    for (size_t i = 0; i < COUNT(shapes); i++) {
        struct stored s;

        make(&s, &shapes[i], i + 1);
        for (size_t k = 0; k < COUNT(token_counts); k += 2) check_transposed(o, &s, token_counts[k], k % 4);
        drop(&s);
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
    make(&s, &shapes[6], 1);
    x = gpu_new(o, 40 * 1040 * 4);
    {
        struct ops_weight w = on_device(o, &s, 0, 131);

        ops_matmul(o, x, 1040, x, 1040, &w, NULL, 0, 40);
    }
    assert_int_equal(ops_sync(o, &e), -ENOMEM);
    assert_non_null(strstr(e.text, "scratch"));
    assert_int_equal(ops_sync(o, &e), -ENOMEM); /* and it stays said */
    ops_close(o); /* the device's memory goes with the process */
    drop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_transposed),
        cmocka_unit_test(test_little_scratch),
    };

    return gpu_present() ? cmocka_run_group_tests_name("cuda products", tests, NULL, NULL) : 0;
}
