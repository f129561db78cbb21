/* Pooled windows, attention over two keys a row, and weights and mixtures of streams: against their formulas in double
 * precision; the same bytes from every variant, thread count and cut of the positions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "tests/support_kernels.h"
#include "tests/support_layout.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define N        70u

/* ---- pooled windows ---- */

/* Positions [i, i + n) of one sequence, all in slot 1, or each in a slot of its own. */
static void run_pool(struct ops *o, const struct op_pool *p, float *y, const float *x, const float *gate,
                     const float *bias, float *states, uint32_t i, uint32_t n, bool own)
{
    const uint32_t columns = p->parts * p->width;
    uint32_t from[N], to[N], position[N];
    const struct ops_chain c = {from, to, n};
    const struct ops_pool_args args = {.x = x + i * columns,
                                       .gate = gate + i * columns,
                                       .ldx = columns,
                                       .ldg = columns,
                                       .bias = bias,
                                       .positions = position};
    for (uint32_t k = 0; k < n; k++) {
        position[k] = i + k;
        to[k] = own ? i + k : 1;
        from[k] = i + k == 0 ? UINT32_MAX : own ? i + k - 1 : 1;
    }
    ops_pool(o, p, y + i * p->width, p->width, &args, states, plan_pool_sets(p) * 3 * p->width, &c);
}

static void check_pool(const struct op_pool *p)
{
    static const uint32_t chunks[] = {N, 16, 7, 1};
    const uint32_t columns = p->parts * p->width;
    uint64_t seed = 3 + p->width;
    float *x = kernels_floats(&seed, (size_t)N * columns), *gate = kernels_floats(&seed, (size_t)N * columns),
          *bias = kernels_floats(&seed, (size_t)p->every * columns), *want = calloc((size_t)N * p->width, 4),
          *base = calloc((size_t)N * p->width, 4), *y = calloc((size_t)N * p->width, 4),
          *states = calloc((size_t)(N + 2) * 9 * p->width, 4);
    for (size_t i = 0; i < (size_t)N * columns; i++) gate[i] *= 20;
    reference_pool(p, want, p->width,
                   &(struct ops_pool_args){.x = x, .gate = gate, .ldx = columns, .ldg = columns, .bias = bias}, N);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        for (size_t k = 0; k < 2 * COUNT(chunks); k++) {
            const uint32_t chunk = chunks[k / 2];
            memset(y, 0xff, (size_t)N * p->width * 4);
            for (size_t s = 0; s < (size_t)(N + 2) * 9 * p->width; s++) states[s] = 7; /* nobody's */
            for (uint32_t i = 0; i < N; i += chunk)
                run_pool(o, p, y, x, gate, bias, states, i, N - i < chunk ? N - i : chunk, k % 2);
            kernels_assert_near(y, want, (size_t)N * p->width, 2e-6, NULL, 1, "pool");
            if (!way && !k) memcpy(base, y, (size_t)N * p->width * 4);
            kernels_assert_same(y, base, (size_t)N * p->width, kernels_way_name(way));
        }
        ops_close(o);
    }
    free(x), free(gate), free(bias), free(want), free(base), free(y), free(states);
}

static void windows_are_pooled(void **state)
{
    static const struct op_pool cases[] = {{.width = 32, .parts = 1, .every = 9},
                                           {.width = 131, .parts = 2, .every = 4},
                                           {.width = 20, .parts = 2, .every = 1},
                                           {.width = 16, .parts = 1, .every = 128}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) check_pool(&cases[i]);
}

/* ---- streams ---- */

static void streams_are_weighed(void **state)
{
    static const struct op_sinkhorn cases[] = {{.streams = 4, .rounds = 20, .eps = 1e-6f},
                                               {.streams = SINKHORN_STREAMS, .rounds = 1, .eps = 1e-3f},
                                               {.streams = 1, .rounds = 2, .eps = 1e-6f},
                                               {.streams = 4, .eps = 1e-6f}};
    (void)state;
    for (size_t t = 0; t < COUNT(cases); t++) {
        const struct op_sinkhorn *p = &cases[t];
        const uint32_t columns = (uint32_t)plan_sinkhorn_columns(p), ld = columns + 3;
        uint64_t seed = 5 + t;
        float *x = kernels_floats(&seed, (size_t)N * ld), *base = kernels_floats(&seed, columns),
              *want = malloc((size_t)N * ld * 4), *y = malloc((size_t)N * ld * 4);
        const float scale[3] = {1.5f, 0.7f, 4};
        memcpy(want, x, (size_t)N * ld * 4);
        reference_sinkhorn(p, want, ld, scale, base, N);
        for (size_t way = 0; way < kernels_ways(); way++) {
            struct ops *o = kernels_open(way);
            memcpy(y, x, (size_t)N * ld * 4);
            ops_sinkhorn(o, p, y, ld, scale, base, N);
            kernels_assert_near(y, want, (size_t)N * ld, 1e-6, NULL, 0, "weights of streams");
            ops_close(o);
        }
        free(x), free(base), free(want), free(y);
    }
}

static void streams_are_mixed(void **state)
{
    static const struct op_mix cases[] = {
        {.in = 4, .out = 1, .width = 80, .in_stride = 1},
        {.in = 4, .out = 4, .width = 37, .in_stride = 4, .out_stride = 1},
        {.in = 1, .out = 4, .width = 16, .out_stride = 1, .flags = MIX_ADDS},
    };
    (void)state;
    for (size_t t = 0; t < COUNT(cases); t++) {
        const struct op_mix *p = &cases[t];
        const uint32_t lds = p->in * p->width, ldd = p->out * p->width;
        uint64_t seed = 9 + t;
        float *src = kernels_floats(&seed, (size_t)N * lds), *dst = kernels_floats(&seed, (size_t)N * ldd),
              *weight = kernels_floats(&seed, N * 16), *want = malloc((size_t)N * ldd * 4),
              *base = malloc((size_t)N * ldd * 4), *y = malloc((size_t)N * ldd * 4);
        memcpy(want, dst, (size_t)N * ldd * 4);
        reference_mix(p, want, ldd, src, lds, weight, 16, N);
        for (size_t way = 0; way < kernels_ways(); way++) {
            struct ops *o = kernels_open(way);
            memcpy(y, dst, (size_t)N * ldd * 4);
            ops_mix(o, p, y, ldd, src, lds, weight, 16, N);
            kernels_assert_near(y, want, (size_t)N * ldd, 1e-6, NULL, 1, "mix");
            if (!way) memcpy(base, y, (size_t)N * ldd * 4);
            kernels_assert_same(y, base, (size_t)N * ldd, kernels_way_name(way));
            ops_close(o);
        }
        free(src), free(dst), free(weight), free(want), free(base), free(y);
    }
}

/* ---- attention over two keys a row ---- */

/* The other key of a row where no block ends is not a number, and must not matter. */
static void check_attention(const struct op_attention *p, uint32_t n)
{
    static const uint32_t chunks[] = {1000, 64, 7, 1};
    const uint32_t ldq = p->heads * p->dk, each = 2 * p->dk;
    struct layout l = layout_new();
    layout_add(&l, 0, n, 13, 0);
    uint64_t seed = 17;
    float *q = kernels_floats(&seed, (size_t)n * ldq), *k = kernels_floats(&seed, (size_t)l.rows * each),
          *sinks = kernels_floats(&seed, p->heads), *want = calloc((size_t)n * ldq, 4),
          *base = calloc((size_t)n * ldq, 4), *y = calloc((size_t)n * ldq, 4);
    uint32_t *lists = calloc((size_t)n * 3, 4);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t blocks = (i + 1) / p->pooled;
        uint32_t *list = lists + i * 3;
        if ((i + 1) % p->pooled)
            for (uint32_t c = p->dk; c < each; c++) k[(size_t)l.row[i] * each + c] = NAN;
        list[0] = blocks < 2 ? blocks : 2;
        list[1] = blocks > 2 ? blocks / 3 : 0;
        list[2] = blocks > 2 ? blocks - 1 : 1;
    }
    struct ops_rows all = layout_rows(&l, 0, n);
    all.chosen = lists;
    all.ld_chosen = 3;
    reference_attention(p, want, ldq, q, ldq, k, k, FORM_F32, sinks, NULL, &all);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        for (size_t c = 0; c < COUNT(chunks); c++) {
            for (uint32_t i = 0; i < n; i += chunks[c]) {
                struct ops_rows r = layout_rows(&l, i, n - i < chunks[c] ? n - i : chunks[c]);
                r.chosen = lists + i * 3;
                r.ld_chosen = 3;
                ops_attention(o, p, y + (size_t)i * ldq, ldq, q + (size_t)i * ldq, ldq, k, k, FORM_F32, sinks, NULL,
                              &r);
            }
            kernels_assert_near(y, want, (size_t)n * ldq, 2e-6, NULL, 1, "attention over pooled keys");
            if (!way && !c) memcpy(base, y, (size_t)n * ldq * 4);
            kernels_assert_same(y, base, (size_t)n * ldq, kernels_way_name(way));
        }
        ops_close(o);
    }
    free(q), free(k), free(sinks), free(want), free(base), free(y), free(lists);
    layout_free(&l);
}

static void two_keys_a_row(void **state)
{
    static const struct op_attention all = {.heads = 4,
                                            .kv_heads = 1,
                                            .dk = 32,
                                            .dv = 32,
                                            .window = 9,
                                            .alibi = PLAN_NONE,
                                            .flags = ATTN_V_IN_K,
                                            .scale = 0.3f,
                                            .pooled = 4};
    struct op_attention p = all;
    (void)state;
    check_attention(&p, 330);
    p.chosen_groups = 1, p.chosen_top = 2, p.chosen_block = 4;
    check_attention(&p, 90);
    p = all;
    p.heads = 70, p.window = 100, p.pooled = 1;
    check_attention(&p, 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(windows_are_pooled), cmocka_unit_test(streams_are_weighed),
                                       cmocka_unit_test(streams_are_mixed), cmocka_unit_test(two_keys_a_row)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
