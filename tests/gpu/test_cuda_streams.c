/* Pooled windows, attention over two keys a row, and weights and mixtures of streams of the cuda backend: against the reference,
 * and against themselves in other cuts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "tests/gpu/gpu.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct ops *o; /* of the test that runs */

/* ---- pooled windows ---- */

#define N 26u

/* Positions 0 .. N - 1 in sweeps of chunk; each in a slot of its own, or all in one. Malloced. */
static float *run_pool(const struct op_pool *p, const struct ops_pool_args *host, uint32_t chunk, bool own)
{
    const uint32_t columns = p->parts * p->width, floats = (uint32_t)plan_pool_sets(p) * 3 * p->width;
    float *states = calloc((size_t)N * floats, 4), *x = gpu_put(o, host->x, (uint64_t)N * columns * 4),
          *gate = gpu_put(o, host->gate, (uint64_t)N * columns * 4),
          *bias = gpu_put(o, host->bias, (uint64_t)p->every * columns * 4), *on_device,
          *y = gpu_new(o, (uint64_t)N * p->width * 4), *got;

    for (size_t i = 0; i < (size_t)N * floats; i++) states[i] = 7; /* nobody's */
    on_device = gpu_put(o, states, (uint64_t)N * floats * 4);
    for (uint32_t i = 0; i < N; i += chunk) {
        uint32_t from[N], to[N], position[N];
        struct ops_chain c = {from, to, N - i < chunk ? N - i : chunk};
        struct ops_pool_args args = {.x = x + (size_t)i * columns,
                                     .gate = gate + (size_t)i * columns,
                                     .ldx = columns,
                                     .ldg = columns,
                                     .bias = bias};

        for (uint32_t k = 0; k < c.n; k++) {
            position[k] = i + k;
            to[k] = own ? i + k : 1;
            from[k] = i + k == 0 ? UINT32_MAX : own ? i + k - 1 : 1;
        }
        args.positions = gpu_put(o, position, c.n * 4ull);
        ops_pool(o, p, y + (size_t)i * p->width, p->width, &args, on_device, floats, &c);
    }
    got = gpu_get(o, y, (size_t)N * p->width);
    gpu_forget(o);
    free(states);
    return got;
}

static void test_pool(void **state)
{
    static const struct op_pool cases[] = {{.width = 32, .parts = 1, .every = 9},
                                           {.width = 71, .parts = 2, .every = 4},
                                           {.width = 20, .parts = 2, .every = 1},
                                           {.width = 16, .parts = 1, .every = 128}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct op_pool *p = &cases[i];
        const uint32_t columns = p->parts * p->width;
        uint64_t seed = 3 + p->width;
        float *x = gpu_floats(&seed, (size_t)N * columns), *gate = gpu_floats(&seed, (size_t)N * columns),
              *bias = gpu_floats(&seed, (size_t)p->every * columns), *want = calloc((size_t)N * p->width, 4), *got,
              *other;
        const struct ops_pool_args host = {.x = x, .gate = gate, .ldx = columns, .ldg = columns, .bias = bias};

        for (size_t k = 0; k < (size_t)N * columns; k++) gate[k] *= 20;
        reference_pool(p, want, p->width, &host, N);
        got = run_pool(p, &host, N, false);
        gpu_assert_near(got, want, (size_t)N * p->width, 3e-6, NULL, 1, "pool");
        other = run_pool(p, &host, 7, true);
        gpu_assert_same(other, got, (size_t)N * p->width, "pool in pieces");
        free(x), free(gate), free(bias), free(want), free(got), free(other);
    }
}

/* ---- streams ---- */

static void test_sinkhorn(void **state)
{
    static const struct op_sinkhorn cases[] = {{.streams = 4, .rounds = 20, .eps = 1e-6f},
                                               {.streams = SINKHORN_STREAMS, .rounds = 1, .eps = 1e-3f},
                                               {.streams = 1, .rounds = 2, .eps = 1e-6f},
                                               {.streams = 4, .eps = 1e-6f}};
    static const float scale[3] = {1.5f, 0.7f, 4};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct op_sinkhorn *p = &cases[i];
        const uint32_t columns = (uint32_t)plan_sinkhorn_columns(p), ld = columns + 3;
        uint64_t seed = 5 + i;
        float *x = gpu_floats(&seed, (size_t)N * ld), *base = gpu_floats(&seed, columns), *got;
        float *y = gpu_put(o, x, (uint64_t)N * ld * 4);

        ops_sinkhorn(o, p, y, ld, gpu_put(o, scale, sizeof scale), gpu_put(o, base, columns * 4ull), N);
        reference_sinkhorn(p, x, ld, scale, base, N);
        got = gpu_get(o, y, (size_t)N * ld);
        gpu_assert_near(got, x, (size_t)N * ld, 1e-6, NULL, 0, "weights of streams");
        free(x), free(base), free(got);
        gpu_forget(o);
    }
}

static void test_mix(void **state)
{
    static const struct op_mix cases[] = {{.in = 4, .out = 1, .width = 80, .in_stride = 1},
                                          {.in = 4, .out = 4, .width = 37, .in_stride = 4, .out_stride = 1},
                                          {.in = 1, .out = 4, .width = 16, .out_stride = 1, .flags = MIX_ADDS}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct op_mix *p = &cases[i];
        const uint32_t lds = p->in * p->width + 1, ldd = p->out * p->width + 2;
        uint64_t seed = 9 + i;
        float *src = gpu_floats(&seed, (size_t)N * lds), *dst = gpu_floats(&seed, (size_t)N * ldd),
              *weight = gpu_floats(&seed, N * 16), *y = gpu_put(o, dst, (uint64_t)N * ldd * 4), *got;

        ops_mix(o, p, y, ldd, gpu_put(o, src, (uint64_t)N * lds * 4), lds, gpu_put(o, weight, N * 64ull), 16, N);
        reference_mix(p, dst, ldd, src, lds, weight, 16, N);
        got = gpu_get(o, y, (size_t)N * ldd);
        gpu_assert_near(got, dst, (size_t)N * ldd, 1e-6, NULL, 1, "mix");
        free(src), free(dst), free(weight), free(got);
        gpu_forget(o);
    }
}

/* ---- attention over two keys a row ---- */

/* Cached rows of a sequence of n positions lie in pieces of piece rows, the last piece first. */
struct rows {
    uint32_t rows, row[400], position[400], first[401];
    struct ops_run runs[20000];
};

static void lay(struct rows *l, uint32_t n, uint32_t piece)
{
    uint32_t pieces = (n + piece - 1) / piece, at = 0;

    l->rows = pieces * piece;
    for (uint32_t i = 0; i < n; i++) {
        l->first[i] = at;
        for (uint32_t p = 0; p <= i; p += piece)
            l->runs[at++] = (struct ops_run){(pieces - 1 - p / piece) * piece, i + 1 - p < piece ? i + 1 - p : piece};
        l->position[i] = i;
        l->row[i] = l->runs[at - 1].row + l->runs[at - 1].length - 1;
        l->first[i + 1] = at;
    }
}

static void *store(uint32_t form, const float *k, uint32_t rows, uint32_t width, uint8_t **host)
{
    const uint32_t each = form_bytes(form);
    uint32_t *row = calloc(rows, 4);
    struct ops_rows all = {.n = rows};
    void *cache = gpu_new(o, (uint64_t)rows * width * each);

    for (uint32_t i = 0; i < rows; i++) row[i] = i;
    all.row = gpu_put(o, row, rows * 4ull);
    ops_kv_store(o, form, cache, width, gpu_put(o, k, (uint64_t)rows * width * 4), width, &all);
    *host = calloc((size_t)rows * width, each);
    ops_download(o, *host, cache, (uint64_t)rows * width * each);
    free(row);
    return cache;
}

/* The other key of a row where no block ends is not a number, and must not matter. */
static void check_attention(const struct op_attention *p, uint32_t form, uint32_t n, uint32_t piece)
{
    const uint32_t ldq = p->heads * p->dk, width = 2 * p->dk, ldc = 1 + p->chosen_top;
    struct rows *l = calloc(1, sizeof *l);
    uint64_t seed = 17;
    float *q, *k, *sinks, *want = calloc((size_t)n * ldq, 4), *dq, *dd, *ds, *got, *one;
    uint32_t *lists = calloc((size_t)n * ldc, 4);
    struct ops_rows host, r;
    uint8_t *kept;
    void *cache;

    lay(l, n, piece);
    q = gpu_floats(&seed, (size_t)n * ldq);
    k = gpu_floats(&seed, (size_t)l->rows * width);
    sinks = gpu_floats(&seed, p->heads);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t *list = lists + (size_t)i * ldc, blocks = (i + 1) / p->pooled;

        for (uint32_t c = p->dk; c < width && (i + 1) % p->pooled; c++) k[(size_t)l->row[i] * width + c] = NAN;
        for (uint32_t b = 0; b < blocks && p->chosen_top; b++)
            if (gpu_random(&seed) % (blocks - b) < p->chosen_top - *list) list[1 + (*list)++] = b;
    }
    cache = store(form, k, l->rows, width, &kept);
    host = (struct ops_rows){.row = l->row,
                             .position = l->position,
                             .first = l->first,
                             .runs = l->runs,
                             .n = n,
                             .max_position = n - 1,
                             .chosen = lists,
                             .ld_chosen = ldc};
    r = host;
    r.row = gpu_put(o, l->row, n * 4ull);
    r.position = gpu_put(o, l->position, n * 4ull);
    r.first = gpu_put(o, l->first, (n + 1) * 4ull);
    r.runs = gpu_put(o, l->runs, l->first[n] * sizeof *l->runs);
    r.chosen = gpu_put(o, lists, (uint64_t)n * ldc * 4);
    dq = gpu_put(o, q, (uint64_t)n * ldq * 4);
    dd = gpu_new(o, (uint64_t)n * ldq * 4);
    ds = gpu_put(o, sinks, p->heads * 4ull);
    ops_attention(o, p, dd, ldq, dq, ldq, cache, cache, form, ds, NULL, &r);
    reference_attention(p, want, ldq, q, ldq, kept, kept, form, sinks, NULL, &host);
    got = gpu_get(o, dd, (size_t)n * ldq);
    gpu_assert_near(got, want, (size_t)n * ldq, 3e-6, NULL, 1, "attention over pooled keys");
    r.row += n - 1, r.position += n - 1, r.first += n - 1, r.chosen += (size_t)(n - 1) * ldc, r.n = 1;
    ops_attention(o, p, dd, ldq, dq + (size_t)(n - 1) * ldq, ldq, cache, cache, form, ds, NULL, &r);
    one = gpu_get(o, dd, ldq);
    gpu_assert_same(one, got + (size_t)(n - 1) * ldq, ldq, "attention over pooled keys, alone");
    free(q), free(k), free(sinks), free(want), free(got), free(one), free(lists), free(kept), free(l);
    gpu_forget(o);
}

static void test_attention(void **state)
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
    check_attention(&p, FORM_F32, 150, 13);
    p.chosen_groups = 1, p.chosen_top = 5, p.chosen_block = 4;
    check_attention(&p, FORM_BF16, 90, 90);
    p = all;
    p.heads = 18, p.window = 60, p.pooled = 1;
    check_attention(&p, FORM_F16, 80, 1);
}

static int setup(void **state)
{
    (void)state;
    o = gpu_open(4u << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    gpu_close(o);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pool), cmocka_unit_test(test_sinkhorn),
                                       cmocka_unit_test(test_mix), cmocka_unit_test(test_attention)};

    return gpu_present() ? cmocka_run_group_tests_name("cuda streams", tests, setup, teardown) : 0;
}
