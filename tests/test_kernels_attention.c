/* Attention of the cpu backend: against the scalar reference over every switch; and the same bytes from every variant, thread
 * count and company: alone, in a chunk of the prompt, beside other sequences, with the cache scattered in runs. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "tests/support_kernels.h"
#include "tests/support_layout.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct inputs {
    struct op_attention p;
    uint32_t kv_form;
    bool with_sinks, with_alibi;
    float *q, *k_new, *v_new, *sinks, *alibi; /* k_new, v_new: of every cached row */
    unsigned char *k_cache, *v_cache;
};

static void make_inputs(struct inputs *in, const struct layout *l, struct ops *o)
{
    uint64_t seed = in->p.dk * 7 + in->p.heads;
    const struct op_attention *p = &in->p;
    const uint32_t kw = p->kv_heads * p->dk, vw = p->kv_heads * p->dv;
    in->q = kernels_floats(&seed, (size_t)l->n * p->heads * p->dk);
    in->k_new = kernels_floats(&seed, (size_t)l->rows * kw);
    in->v_new = kernels_floats(&seed, (size_t)l->rows * vw);
    in->sinks = kernels_floats(&seed, p->heads);
    in->alibi = kernels_floats(&seed, p->heads);
    for (uint32_t h = 0; h < p->heads; h++) in->alibi[h] = fabsf(in->alibi[h]) * 0.1f;
    in->k_cache = calloc((size_t)l->rows * kw, 4);
    in->v_cache = calloc((size_t)l->rows * vw, 4);
    uint32_t *rows = calloc(l->rows, 4);
    for (uint32_t i = 0; i < l->rows; i++) rows[i] = i;
    const struct ops_rows all = {.row = rows, .n = l->rows};
    ops_kv_store(o, in->kv_form, in->k_cache, kw, in->k_new, kw, &all);
    ops_kv_store(o, in->kv_form, in->v_cache, vw, in->v_new, vw, &all);
    free(rows);
}

static void drop_inputs(struct inputs *in)
{
    free(in->q), free(in->k_new), free(in->v_new), free(in->sinks), free(in->alibi), free(in->k_cache),
        free(in->v_cache);
}

static void run(struct ops *o, const struct inputs *in, const struct layout *l, uint32_t i, uint32_t n, float *dst)
{
    const struct op_attention *p = &in->p;
    const struct ops_rows r = layout_rows(l, i, n);
    const uint32_t ldq = p->heads * p->dk, ldd = p->heads * p->dv;
    ops_attention(o, p, dst + (size_t)i * ldd, ldd, in->q + (size_t)i * ldq, ldq, in->k_cache, in->v_cache, in->kv_form,
                  in->with_sinks ? in->sinks : NULL, in->with_alibi ? in->alibi : NULL, &r);
}

static void check(struct inputs in, struct layout *l, const char *what)
{
    const struct op_attention *p = &in.p;
    const uint32_t ldq = p->heads * p->dk, ldd = p->heads * p->dv;
    const size_t size = (size_t)l->n * ldd;
    float *want = calloc(size, 4), *base = calloc(size, 4), *y = calloc(size, 4);
    char text[160];
    struct ops *o = kernels_open(0);
    make_inputs(&in, l, o);
    for (uint32_t i = 0; i < l->n; i++) /* each position alone */
        run(o, &in, l, i, 1, base);
    ops_close(o);
    const struct ops_rows all = layout_rows(l, 0, l->n);
    reference_attention(p, want, ldd, in.q, ldq, in.k_cache, in.v_cache, in.kv_form, in.with_sinks ? in.sinks : NULL,
                        in.with_alibi ? in.alibi : NULL, &all);
    kernels_assert_near(base, want, size, 3e-6 * (1 + (double)p->scale), NULL, 1,
                        what); /* errors of a score grow with it */
    for (size_t way = 0; way < kernels_ways(); way++) {
        static const uint32_t chunks[] = {1000, 64, 7, 2};
        o = kernels_open(way);
        for (size_t c = 0; c < COUNT(chunks); c++) {
            snprintf(text, sizeof text, "%s, chunks of %u, %s", what, chunks[c], kernels_way_name(way));
            memset(y, 0, size * 4);
            for (uint32_t i = 0; i < l->n; i += chunks[c])
                run(o, &in, l, i, l->n - i < chunks[c] ? l->n - i : chunks[c], y);
            kernels_assert_same(y, base, size, text);
        }
        assert_int_equal(ops_sync(o, NULL), 0);
        ops_close(o);
    }
    drop_inputs(&in);
    free(want), free(base), free(y);
}

/* A prompt of 150 positions, one later position of a longer sequence, and a second sequence in pieces. */
static struct layout usual_layout(void)
{
    struct layout l = layout_new();
    layout_add(&l, 0, 150, 1000, 0);
    layout_add(&l, 199, 203, 1000, 1000);
    layout_add(&l, 60, 135, 9, 2000);
    return l;
}

static void test_switches(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        struct inputs in;
    } cases[] = {
        {"plain", {.p = {.heads = 4, .kv_heads = 4, .dk = 32, .dv = 32, .scale = 0.3f}}},
        {"grouped, bf16",
         {.p = {.heads = 8, .kv_heads = 2, .dk = 64, .dv = 64, .scale = 0.125f}, .kv_form = FORM_BF16}},
        {"odd sizes, f16", {.p = {.heads = 6, .kv_heads = 2, .dk = 40, .dv = 24, .scale = 0.2f}, .kv_form = FORM_F16}},
        {"window", {.p = {.heads = 2, .kv_heads = 1, .dk = 16, .dv = 16, .scale = 0.3f, .window = 17}}},
        {"window of 64", {.p = {.heads = 2, .kv_heads = 2, .dk = 20, .dv = 16, .scale = 0.3f, .window = 64}}},
        {"chunks",
         {.p = {.heads = 3, .kv_heads = 1, .dk = 16, .dv = 32, .scale = 0.3f, .chunk = 48}, .kv_form = FORM_BF16}},
        {"sinks",
         {.p = {.heads = 8, .kv_heads = 2, .dk = 64, .dv = 64, .scale = 0.125f, .window = 100}, .with_sinks = true}},
        {"cap", {.p = {.heads = 2, .kv_heads = 2, .dk = 32, .dv = 32, .scale = 2.0f, .cap = 5.0f}}},
        {"alibi", {.p = {.heads = 5, .kv_heads = 5, .dk = 17, .dv = 15, .scale = 0.25f}, .with_alibi = true}},
        {"v in k", {.p = {.heads = 20, .kv_heads = 1, .dk = 72, .dv = 64, .scale = 0.2f, .flags = ATTN_V_IN_K}}},
        {"many heads on one",
         {.p = {.heads = 70, .kv_heads = 1, .dk = 24, .dv = 16, .scale = 0.2f, .flags = ATTN_V_IN_K},
          .kv_form = FORM_BF16}},
        {"large scores", {.p = {.heads = 2, .kv_heads = 1, .dk = 64, .dv = 16, .scale = 60.0f}}},
    };
    struct layout l = usual_layout();
    for (size_t i = 0; i < COUNT(cases); i++) check(cases[i].in, &l, cases[i].name);
    layout_free(&l);
}

/* Rows that a position does not see may hold anything: a neighbour's not-a-numbers do not reach it. */
static void test_strangers(void **state)
{
    (void)state;
    struct inputs in = {.p = {.heads = 4, .kv_heads = 2, .dk = 32, .dv = 32, .scale = 0.2f}};
    struct layout l = layout_new();
    layout_add(&l, 0, 70, 1000, 0);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        float *base = calloc(70 * 128, 4), *y = calloc(70 * 128, 4);
        make_inputs(&in, &l, o);
        run(o, &in, &l, 0, 69, base);
        for (uint32_t c = 0; c < 64; c++)
            ((float *)(void *)in.k_cache)[69 * 64 + c] = ((float *)(void *)in.v_cache)[69 * 64 + c] = NAN;
        run(o, &in, &l, 0, 70, y);
        kernels_assert_same(y, base, 69 * 128, "beside one that is not a number");
        assert_true(isnan(y[69 * 128]));
        drop_inputs(&in);
        free(base), free(y);
        ops_close(o);
    }
    layout_free(&l);
}

static void test_little_scratch(void **state)
{
    (void)state;
    struct ops *o;
    struct error e = {0};
    const struct ops_options options = {.threads = 1};
    const struct op_attention p = {.heads = 1, .kv_heads = 1, .dk = 50000, .dv = 50000};
    const struct ops_rows r = {.n = 1};
    assert_int_equal(ops_open(&o, &options, &e), 0);
    ops_attention(o, &p, NULL, 0, NULL, 0, NULL, NULL, FORM_F32, NULL, NULL, &r);
    assert_int_equal(ops_sync(o, &e), -ENOMEM);
    assert_non_null(strstr(e.text, "50000"));
    ops_close(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_switches),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_little_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
