/* Operations on one position's columns, the recurrences and the threads of the cpu backend: against the scalar references, and
 * the same bytes from every variant and thread count. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "compute/cpu/scalar.h"
#include "tests/support_kernels.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static float *copy_of(const float *p, size_t n)
{
    float *c = malloc(n * sizeof *c);
    assert_non_null(c);
    memcpy(c, p, n * sizeof *c);
    return c;
}

static void check_norm(uint32_t kind, uint32_t groups, uint32_t width, bool affine)
{
    enum { N = 40 };
    const bool alone = kind == NORM_SIZE || kind == NORM_CUT; /* without weights */
    uint64_t seed = kind + width;
    const struct op_norm p = {.groups = groups,
                              .width = width,
                              .src_stride = width + 1,
                              .dst_stride = width + 2,
                              .kind = kind,
                              .weight_stride = groups > 1 && affine ? width : 0,
                              .eps = alone                          ? 0.0f
                                     : kind == NORM_LEAST && affine ? 2.0f
                                                                    : 1e-5f,
                              .deviations = affine ? 1.25f : -0.5f,
                              .weight_add = affine ? 1.0f : 0.0f};
    const uint32_t ldx = groups * (width + 1), ldy = groups * (width + 2);
    float *x = kernels_floats(&seed, (size_t)N * ldx), *weight = kernels_floats(&seed, groups * width);
    float *bias = kernels_floats(&seed, groups * width), *want = calloc((size_t)N * ldy, 4),
          *base = calloc((size_t)N * ldy, 4);
    for (size_t i = 0; i < (size_t)N * ldx; i++) x[i] += kind == NORM_LAYER || kind == NORM_CUT ? 3.0f : 0.0f;
    reference_norm(&p, want, ldy, x, ldx, alone ? NULL : weight, affine && !alone ? bias : NULL, N);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        float *y = calloc((size_t)N * ldy, 4);
        for (uint32_t n = way == 0 ? 1 : N, i = 0; i < N; i += n) /* the first way: one at a time */
            ops_norm(o, &p, y + i * ldy, ldy, x + i * ldx, ldx, alone ? NULL : weight, affine && !alone ? bias : NULL,
                     n);
        if (way == 0) {
            memcpy(base, y, (size_t)N * ldy * 4);
            kernels_assert_near(y, want, (size_t)N * ldy, 2e-6, NULL, 1, "norm");
        }
        kernels_assert_same(y, base, (size_t)N * ldy, kernels_way_name(way));
        free(y);
        ops_close(o);
    }
    free(x), free(weight), free(bias), free(want), free(base);
}

static void test_norm(void **state)
{
    (void)state;
    static const uint32_t widths[] = {1, 15, 16, 64, 100, 1031};
    for (uint32_t kind = NORM_RMS; kind <= NORM_CUT; kind++)
        for (size_t w = 0; w < COUNT(widths); w++) {
            if (kind == NORM_LAYER && widths[w] == 1) continue; /* nothing is left of one column */
            check_norm(kind, 1, widths[w], false);
            check_norm(kind, 3, widths[w], true);
        }
}

/* Values whose squares exceed float32, up to the largest, beside small ones; in place too. Every variant gives the same bits. */
static void check_large_norm(uint32_t kind, uint32_t width, float most, bool affine)
{
    const struct op_norm p = {.groups = 2,
                              .width = width,
                              .src_stride = width,
                              .dst_stride = width,
                              .kind = kind,
                              .weight_stride = affine ? width : 0,
                              .eps = 1e-5f,
                              .weight_add = affine ? 1.0f : 0.0f};
    const uint32_t ld = 2 * width;
    uint64_t seed = width;
    float *x = kernels_floats(&seed, ld), *weight = kernels_floats(&seed, ld), *bias = kernels_floats(&seed, ld);
    float *want = calloc(ld, 4), *base = NULL;
    for (uint32_t i = 0; i < ld; i++) {
        x[i] = i < width ? (i % 7 == 3 ? x[i] : x[i] / 1.01f * most) : x[i]; /* the second group is an ordinary one */
        if (kind == NORM_LAYER && i < width) x[i] = x[i] / 2 + most / 4;
    }
    reference_norm(&p, want, ld, x, ld, affine ? weight : NULL, affine ? bias : NULL, 1);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        float *y = copy_of(x, ld);
        ops_norm(o, &p, y, ld, y, ld, affine ? weight : NULL, affine ? bias : NULL, 1);
        kernels_assert_near(y, want, ld, 2e-6, NULL, 1, "large norm");
        base = base ? base : copy_of(y, ld);
        kernels_assert_same(y, base, ld, kernels_way_name(way));
        free(y);
        ops_close(o);
    }
    free(x), free(weight), free(bias), free(want), free(base);
}

static void test_large_norm(void **state)
{
    (void)state;
    static const uint32_t widths[] = {15, 64, 100, 1031, 8192};
    static const float most[] = {1e16f, 1e18f, 2e19f, 1e30f, 3.4e38f};
    for (uint32_t kind = NORM_RMS; kind <= NORM_LEAST; kind++)
        for (size_t w = 0; w < COUNT(widths); w++)
            for (size_t m = 0; m < COUNT(most); m++) check_large_norm(kind, widths[w], most[m], m % 2);
}

/* By powers of two larger, and nothing changes but that eps counts for less: so from where it counts for nothing not one bit. */
static void test_norm_scales(void **state)
{
    (void)state;
    enum { WIDTH = 517 };
    const struct op_norm p = {.groups = 1, .width = WIDTH, .src_stride = WIDTH, .dst_stride = WIDTH, .eps = 1e-6f};
    uint64_t seed = 3;
    float *x = kernels_floats(&seed, WIDTH), *weight = kernels_floats(&seed, WIDTH), *scaled = calloc(WIDTH, 4);
    float *base = calloc(WIDTH, 4), *y = calloc(WIDTH, 4);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        for (int e = 53; e < 127; e += 2) {
            for (int i = 0; i < WIDTH; i++) scaled[i] = ldexpf(x[i], e);
            ops_norm(o, &p, y, WIDTH, scaled, WIDTH, weight, NULL, 1);
            if (way == 0 && e == 53) memcpy(base, y, WIDTH * sizeof *y);
            kernels_assert_same(y, base, WIDTH, kernels_way_name(way));
        }
        ops_close(o);
    }
    free(x), free(weight), free(scaled), free(base), free(y);
}

/* What is not finite stays visible. */
static void test_norm_of_no_number(void **state)
{
    (void)state;
    const struct op_norm p = {.groups = 1, .width = 40, .src_stride = 40, .dst_stride = 40, .eps = 1e-6f};
    static const float bad[] = {INFINITY, -INFINITY, NAN};
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        for (size_t b = 0; b < COUNT(bad); b++) {
            float x[40], y[40];
            bool seen = false;
            for (int i = 0; i < 40; i++) x[i] = i == 17 ? bad[b] : 1e20f;
            ops_norm(o, &p, y, 40, x, 40, NULL, NULL, 1);
            for (int i = 0; i < 40; i++) seen |= isnan(y[i]);
            assert_true(seen);
        }
        ops_close(o);
    }
}

static void test_rope(void **state)
{
    (void)state;
    enum { N = 9, LD = 5 * 70 };
    static const uint32_t dims[] = {2, 32, 48, 64, 70};
    for (size_t d = 0; d < COUNT(dims); d++)
        for (uint32_t style = ROPE_HALVES; style <= ROPE_PAIRS; style++) {
            uint64_t seed = d;
            const struct op_rope p = {.heads = 5, .head_stride = 70, .dim = dims[d], .style = style};
            float *x = kernels_floats(&seed, N * LD), *cs = kernels_floats(&seed, N * dims[d]),
                  *want = copy_of(x, N * LD), *base = NULL;
            reference_rope(&p, want, LD, cs, dims[d], N);
            for (size_t way = 0; way < kernels_ways(); way++) {
                struct ops *o = kernels_open(way);
                float *y = copy_of(x, N * LD);
                ops_rope(o, &p, y, LD, cs, dims[d], N);
                kernels_assert_near(y, want, N * LD, 1e-6, NULL, 1, "rope");
                base = base ? base : copy_of(y, N * LD);
                kernels_assert_same(y, base, N * LD, kernels_way_name(way));
                free(y);
                ops_close(o);
            }
            free(x), free(cs), free(want), free(base);
        }
}

/* Values that matter: dense near zero, up to where everything has saturated. */
static float *wide_floats(uint64_t *seed, size_t n, float most)
{
    float *p = kernels_floats(seed, n);
    for (size_t i = 0; i < n; i++) p[i] *= i % 3 == 0 ? most : i % 3 == 1 ? 4.0f : 0.1f;
    return p;
}

/* each: columns for a gate of ACT_BROADCAST, 0: all */
static void check_act(uint32_t kind, uint32_t flags, uint32_t each, bool up, double tolerance)
{
    enum { N = 7, WIDTH = 1003 /* 17 x 59 */, LD = 2 * WIDTH + 1 };
    uint64_t seed = kind * 8 + flags;
    const struct op_act p = {
        .width = WIDTH, .kind = kind, .flags = flags, .alpha = 1.702f, .limit = 7.0f, .each = each};
    float *gate = wide_floats(&seed, N * LD, 100.0f), *ups = wide_floats(&seed, N * LD, 8.0f),
          *want = calloc(N * LD, 4), *base = NULL;
    reference_act(&p, want, LD, gate, LD, up ? ups : NULL, LD, N);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        float *y = calloc(N * LD, 4);
        ops_act(o, &p, y, LD, gate, LD, up ? ups : NULL, LD, N);
        kernels_assert_near(y, want, N * LD, tolerance, NULL, 1e-3, "act");
        base = base ? base : copy_of(y, N * LD);
        kernels_assert_same(y, base, N * LD, kernels_way_name(way));
        if (!(flags & ACT_BROADCAST)) { /* in place */
            memcpy(y, gate, N * LD * 4);
            ops_act(o, &p, y, LD, y, LD, up ? ups : NULL, LD, N);
            for (uint32_t i = 0; i < N; i++) kernels_assert_same(y + i * LD, base + i * LD, WIDTH, "in place");
        }
        free(y);
        ops_close(o);
    }
    free(gate), free(ups), free(want), free(base);
}

static void test_act(void **state)
{
    (void)state;
    for (uint32_t kind = ACT_NONE; kind <= ACT_SOFTPLUS; kind++) {
        check_act(kind, 0, 0, false, 1e-6);
        check_act(kind, 0, 0, true, 1e-6);
        check_act(kind, ACT_INTERLEAVED, 0, false, 1e-6);
        check_act(kind, ACT_BROADCAST, 0, true, 1e-6);
        check_act(kind, ACT_BROADCAST, 17, true, 1e-6);
        check_act(kind, ACT_BROADCAST, 59, false, 1e-6);
        check_act(kind, ACT_CLAMP_AFTER, 0, true, 1e-6);
        check_act(kind, ACT_CLAMP_BEFORE, 0, true, 1e-6);
        check_act(kind, ACT_CLAMP_BEFORE, 0, false, 1e-6);
        check_act(kind, ACT_CLAMP_AFTER, 0, false, 1e-6);
        check_act(kind, ACT_CLAMP_AFTER | ACT_INTERLEAVED, 0, false, 1e-6);
    }
    check_act(ACT_SWIGLU_OAI, 0, 0, true, 1e-6);
    check_act(ACT_SWIGLU_OAI, ACT_INTERLEAVED, 0, false, 1e-6);
}

static void test_scale(void **state)
{
    (void)state;
    enum { N = 5, WIDTH = 205 };
    const struct op_scale ps[] = {
        {.width = WIDTH, .mul = 0.3f},
        {.width = WIDTH, .mul = 1.0f, .cap = 30.0f},
        {.width = WIDTH, .mul = 2.5f, .cap = 5.0f},
        {.width = WIDTH, .mul = 0.1f, .flags = SCALE_BY_POSITION, .floor = 8192.0f},
        {.width = WIDTH, .mul = 0.1f, .flags = SCALE_BY_POSITION | SCALE_FROM_ZERO, .floor = 8190.0f},
        {.width = WIDTH, .mul = 0.7f, .flags = SCALE_CLAMP, .cap = 40.0f},
        {.width = WIDTH, .mul = 1.0f, .flags = SCALE_BY_VECTOR},
        {.width = WIDTH, .mul = 1.0f, .flags = SCALE_BY_VECTOR}};
    const uint32_t positions[N] = {0, 8190, 8191, 100000, 4000000};
    for (size_t i = 0; i < COUNT(ps); i++) {
        uint64_t seed = i;
        float *x = wide_floats(&seed, N * WIDTH, 300.0f), *want = copy_of(x, N * WIDTH), *base = NULL;
        float *vector = wide_floats(&seed, WIDTH, 3.0f);
        const struct ops_factors f = {positions, vector, i + 1 == COUNT(ps) ? 1 : WIDTH};
        reference_scale(&ps[i], want, WIDTH, &f, N);
        for (size_t way = 0; way < kernels_ways(); way++) {
            struct ops *o = kernels_open(way);
            float *y = copy_of(x, N * WIDTH);
            ops_scale(o, &ps[i], y, WIDTH, &f, N);
            kernels_assert_near(y, want, N * WIDTH, 1e-6, NULL, 0, "scale");
            base = base ? base : copy_of(y, N * WIDTH);
            kernels_assert_same(y, base, N * WIDTH, kernels_way_name(way));
            free(y);
            ops_close(o);
        }
        free(x), free(want), free(base), free(vector);
    }
}

static void test_xielu(void **state)
{
    (void)state;
    enum { N = 4, WIDTH = 131 };
    const struct op_xielu p = {.width = WIDTH};
    const float ap = 0.3f, an = -0.7f, beta = 0.5f, eps = -1e-6f;
    const struct ops_xielu_args x = {&ap, &an, &beta, &eps};
    uint64_t seed = 11;
    float *a = wide_floats(&seed, N * WIDTH, 20.0f), *want = copy_of(a, N * WIDTH), *base = NULL;
    a[0] = 0, a[1] = -1e-7f, a[2] = 1e-7f, a[3] = -90;
    reference_xielu(&p, want, WIDTH, a, WIDTH, &x, N);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        float *y = copy_of(a, N * WIDTH);
        y[4] = __builtin_nanf("");
        ops_xielu(o, &p, y, WIDTH, y, WIDTH, &x, N);
        assert_true(y[4] != y[4]);
        y[4] = want[4];
        kernels_assert_near(y, want, N * WIDTH, 1e-6, NULL, 1, "xielu");
        base = base ? base : copy_of(y, N * WIDTH);
        kernels_assert_same(y, base, N * WIDTH, kernels_way_name(way));
        free(y);
        ops_close(o);
    }
    free(a), free(want), free(base);
}

static void test_position(void **state)
{
    (void)state;
    enum { N = 3, WIDTH = 37, ROWS = 9 };
    const struct op_position p = {.width = WIDTH, .rows = ROWS, .offset = 2};
    const uint32_t positions[N] = {6, 0, 3};
    uint64_t seed = 12;
    float *a = wide_floats(&seed, N * WIDTH, 2.0f), *table = wide_floats(&seed, ROWS * WIDTH, 2.0f);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        float *y = copy_of(a, N * WIDTH);
        ops_position(o, &p, y, WIDTH, table, positions, N);
        for (uint32_t i = 0; i < N * WIDTH; i++)
            assert_true(y[i] == a[i] + table[(positions[i / WIDTH] + 2) * WIDTH + i % WIDTH]);
        free(y);
        ops_close(o);
    }
    free(a), free(table);
}

/* Copies, sums, gathered and scattered rows. */
static void test_moves(void **state)
{
    (void)state;
    enum { N = 6, LD = 103 };
    uint64_t seed = 3;
    const uint32_t index[N] = {4, 0, 5, 2, 1, 3};
    float *a = kernels_floats(&seed, N * LD), *b = kernels_floats(&seed, N * LD), weight[N] = {1, 2, 0.5f, -1, 0, 3};
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        float *y = copy_of(a, N * LD);
        ops_copy(o, y, LD, b, LD, 3, 7, 20, 30, N);
        for (uint32_t i = 0; i < N; i++)
            for (uint32_t c = 0; c < LD; c++)
                assert_true(y[i * LD + c] == (c < 60 && c % 20 < 7 ? b[i * LD + c / 20 * 30 + c % 20] : a[i * LD + c]));
        ops_add(o, y, LD, a, LD, b, LD, LD, 0.5f, 3.0f, N);
        for (uint32_t i = 0; i < N * LD; i++) assert_true(y[i] == a[i] * 0.5f + b[i] * 3.0f);
        ops_gather_rows(o, y, LD, a, LD, index, LD, N);
        for (uint32_t i = 0; i < N; i++) assert_memory_equal(y + i * LD, a + index[i] * LD, LD * 4);
        memcpy(y, a, N * LD * 4);
        ops_scatter_add_rows(o, y, LD, b, LD, index, weight, LD, N);
        for (uint32_t i = 0; i < N * LD; i++)
            assert_true(y[index[i / LD] * LD + i % LD] == a[index[i / LD] * LD + i % LD] + weight[i / LD] * b[i]);
        memcpy(y, a, N * LD * 4);
        ops_scale_rows(o, y, LD, weight, LD, N);
        for (uint32_t i = 0; i < N * LD; i++) assert_true(y[i] == a[i] * weight[i / LD]);
        ops_zero(o, y, LD, 50, N);
        for (uint32_t i = 0; i < N * LD; i++) assert_true(y[i] == (i % LD < 50 ? 0.0f : a[i] * weight[i / LD]));
        free(y);
        ops_close(o);
    }
    free(a), free(b);
}

/* Two sequences, one of which forks; slot 3 is a copy that goes on differently. */
enum { CHAIN = 9, SLOTS = 5 };
static const uint32_t chain_from[CHAIN] = {UINT32_MAX, 0, UINT32_MAX, 0, 1, 3, 0, 3, 2};
static const uint32_t chain_to[CHAIN] = {0, 0, 1, 3, 1, 3, 0, 2, 4};

static void check_conv(uint32_t width, uint32_t taps, uint32_t act, bool biased)
{
    uint64_t seed = width + taps;
    const struct op_conv p = {.width = width, .taps = taps, .act = act};
    const struct ops_chain chain = {chain_from, chain_to, CHAIN};
    const size_t floats = (size_t)(taps - 1) * width + 5;
    float *x = kernels_floats(&seed, (size_t)CHAIN * width), *weight = kernels_floats(&seed, (size_t)width * taps);
    float *bias = kernels_floats(&seed, width), *start = kernels_floats(&seed, SLOTS * floats),
          *states = copy_of(start, SLOTS * floats);
    float *want = calloc((size_t)CHAIN * width, 4), *base = NULL, *base_states = NULL;
    reference_conv(&p, want, width, x, width, weight, biased ? bias : NULL, states, floats, &chain);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        float *y = calloc((size_t)CHAIN * width, 4), *got = copy_of(start, SLOTS * floats);
        ops_conv(o, &p, y, width, x, width, weight, biased ? bias : NULL, got, floats, &chain);
        kernels_assert_near(y, want, (size_t)CHAIN * width, 1e-6, NULL, 1, "conv");
        kernels_assert_same(got, states, SLOTS * floats, "conv states");
        base = base ? base : copy_of(y, (size_t)CHAIN * width);
        kernels_assert_same(y, base, (size_t)CHAIN * width, kernels_way_name(way));
        memcpy(got, start, SLOTS * floats * 4);
        for (uint32_t i = 0; i < CHAIN; i++) { /* one position a call */
            const struct ops_chain one = {chain_from + i, chain_to + i, 1};
            ops_conv(o, &p, y + i * width, width, x + i * width, width, weight, biased ? bias : NULL, got, floats,
                     &one);
        }
        kernels_assert_same(y, base, (size_t)CHAIN * width, "conv, one by one");
        free(y), free(got);
        ops_close(o);
    }
    free(x), free(weight), free(bias), free(start), free(states), free(want), free(base), free(base_states);
}

static void test_conv(void **state)
{
    (void)state;
    check_conv(300, 4, ACT_SILU, false);
    check_conv(17, 4, ACT_NONE, true);
    check_conv(64, 2, ACT_SILU, true);
    check_conv(3, 1, ACT_NONE, false);
    check_conv(70, 3, ACT_NONE, true);
    check_conv(33, 6, ACT_SILU, true);
}

static void check_delta(uint32_t heads, uint32_t key_heads, uint32_t dk, uint32_t dv, uint32_t flags)
{
    uint64_t seed = heads + dk;
    const struct op_delta p = {
        .heads = heads, .key_heads = key_heads, .dk = dk, .dv = dv, .flags = flags, .scale = 0.125f, .bound = -5.0f};
    const uint32_t decays = flags & DELTA_CHANNELS ? heads * dk : heads;
    const struct ops_chain chain = {chain_from, chain_to, CHAIN};
    const size_t floats = (size_t)heads * dk * dv, out = (size_t)heads * dv;
    float *q = kernels_floats(&seed, (size_t)CHAIN * key_heads * dk),
          *k = kernels_floats(&seed, (size_t)CHAIN * key_heads * dk);
    float *v = kernels_floats(&seed, CHAIN * out), *a = kernels_floats(&seed, (size_t)CHAIN * decays),
          *b = kernels_floats(&seed, CHAIN * heads);
    float *a_log = kernels_floats(&seed, heads), *dt_bias = kernels_floats(&seed, decays);
    for (uint32_t h = 0; h < heads && flags & DELTA_RATES; h++) a_log[h] = -fabsf(a_log[h]);
    a[0] = 25.0f;
    a[CHAIN * decays - 1] = -30.0f;
    const struct ops_delta_args x = {q,          k,      v,     a,     b,      key_heads * dk, key_heads * dk,
                                     heads * dv, decays, heads, a_log, dt_bias};
    float *start = kernels_floats(&seed, SLOTS * floats), *states = copy_of(start, SLOTS * floats),
          *want = calloc(CHAIN * out, 4);
    float *base = NULL, *base_states = NULL;
    reference_delta(&p, want, heads * dv, &x, states, floats, &chain);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        float *y = calloc(CHAIN * out, 4), *got = copy_of(start, SLOTS * floats);
        ops_delta(o, &p, y, heads * dv, &x, got, floats, &chain);
        kernels_assert_near(y, want, CHAIN * out, 5e-6, NULL, 1, "delta");
        kernels_assert_near(got, states, SLOTS * floats, 5e-6, NULL, 1, "delta states");
        base = base ? base : copy_of(y, CHAIN * out);
        base_states = base_states ? base_states : copy_of(got, SLOTS * floats);
        kernels_assert_same(y, base, CHAIN * out, kernels_way_name(way));
        kernels_assert_same(got, base_states, SLOTS * floats, kernels_way_name(way));
        free(y), free(got);
        ops_close(o);
    }
    free(q), free(k), free(v), free(a), free(b), free(a_log), free(dt_bias);
    free(start), free(states), free(want), free(base), free(base_states);
}

static void test_delta(void **state)
{
    (void)state;
    check_delta(4, 2, 32, 64, 0);
    check_delta(3, 3, 17, 21, 0);
    check_delta(3, 3, 17, 21, DELTA_RATES);
    check_delta(2, 1, 128, 128, 0);
    check_delta(2, 2, 64, 64, DELTA_CHANNELS);
    check_delta(3, 3, 17, 21, DELTA_CHANNELS | DELTA_RATES);
    check_delta(4, 2, 24, 33, DELTA_CHANNELS | DELTA_BOUNDED);
    check_delta(2, 1, 16, 16, DELTA_BOUNDED);
}

/* The arithmetic that takes no library function's word for it. */
static void test_exact(void **state)
{
    (void)state;
    for (double x = -700; x <= 700; x += 0.37) assert_true(fabs(exp_exact(x) / exp(x) - 1) < 2e-15);
    for (double x = 1e-30; x < 1e30; x *= 1.37) assert_true(fabs(log_exact(x) - log(x)) <= 1e-15 * (1 + fabs(log(x))));
    assert_true(isnan(exp_exact(NAN)));
    for (float x = -40; x < 40; x += 0.13f)
        assert_true(fabs((double)softplus(x) - (x > 20 ? (double)x : log1p(exp(x)))) <= 1e-7 * log1p(exp(x)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm),        cmocka_unit_test(test_large_norm),
        cmocka_unit_test(test_norm_scales), cmocka_unit_test(test_norm_of_no_number),
        cmocka_unit_test(test_rope),        cmocka_unit_test(test_act),
        cmocka_unit_test(test_scale),       cmocka_unit_test(test_xielu),
        cmocka_unit_test(test_position),    cmocka_unit_test(test_moves),
        cmocka_unit_test(test_conv),        cmocka_unit_test(test_delta),
        cmocka_unit_test(test_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
