/* Everything of the cuda backend but the products: norms, rotary, activations, rows, attention, recurrences, memory. Held
 * against the reference in double precision; attention also against itself in other company. */
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
#include "tests/support_forms.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct ops *o; /* of the test that runs */

/* ---- rows ---- */

static void test_elements(void **state)
{
    static const float six[] = {0, .5f, 1, 1.5f, 2, 3, 4, 6};

    (void)state;
    for (uint32_t i = 0; i < 65536; i++) { /* what can be narrowed back is the same; the rest are not numbers */
        float x = element_f16(i);

        if ((i & 0x7fff) <= 0x7c00)
            assert_int_equal(element_to_f16(x), i);
        else
            assert_true(isnan(x));
        x = element_bf16(i);
        if ((i & 0x7fff) <= 0x7f80)
            assert_int_equal(element_to_bf16(x), i);
        else
            assert_true(isnan(x) && isnan(element_bf16(element_to_bf16(x))));
    }
    assert_true(element_f16(1) == 0x1p-24f && element_f16(0x7bff) == 65504.0f && element_f16(0x7c00) == INFINITY);
    assert_int_equal(element_to_f16(65519.0f), 0x7bff);
    assert_int_equal(element_to_f16(65520.0f), 0x7c00);
    assert_int_equal(element_to_f16(0x1p-25f), 0); /* ties to even */
    assert_int_equal(element_to_bf16(1.00390625f), 0x3f80);
    assert_int_equal(element_to_bf16(1.01171875f), 0x3f82);
    for (uint32_t i = 0; i < 127; i++) {
        double want = i >> 3 ? ldexp(8 + (i & 7), (int)(i >> 3) - 10) : ldexp(i, -9);

        assert_true((double)element_e4m3(i) == want && (double)element_e4m3(i | 0x80) == -want);
    }
    assert_true(isnan(element_e4m3(0x7f)) && isnan(element_e4m3(0xff)));
    for (uint32_t i = 0; i < 8; i++) assert_true(element_e2m1(i) == six[i] && element_e2m1(i | 8) == -six[i]);
    for (uint32_t i = 0; i < 255; i++) assert_true((double)element_e8m0(i) == ldexp(1, (int)i - 127));
    assert_true(isnan(element_e8m0(255)));
}

static void check_norm(struct op_norm p, bool weight, bool bias, uint32_t n)
{
    uint64_t seed = p.width;
    uint32_t ldx = p.groups * p.src_stride + 1, ldy = p.groups * p.dst_stride + 2,
             each = p.weight_stride ? p.weight_stride * p.groups : p.width;
    float *x = gpu_floats(&seed, (size_t)n * ldx), *y = gpu_floats(&seed, (size_t)n * ldy),
          *w = gpu_floats(&seed, each), *b = gpu_floats(&seed, each);
    float *dy = gpu_put(o, y, (uint64_t)n * ldy * 4), *dx = gpu_put(o, x, (uint64_t)n * ldx * 4), *got;

    ops_norm(o, &p, dy, ldy, dx, ldx, weight ? gpu_put(o, w, each * 4ull) : NULL,
             bias ? gpu_put(o, b, each * 4ull) : NULL, n);
    reference_norm(&p, y, ldy, x, ldx, weight ? w : NULL, bias ? b : NULL, n);
    got = gpu_get(o, dy, (size_t)n * ldy);
    gpu_assert_near(got, y, (size_t)n * ldy, 3e-6, NULL, 1, "norm");
    free(x), free(y), free(w), free(b), free(got);
    gpu_forget(o);
}

static void test_norm(void **state)
{
    (void)state;
    check_norm(
        (struct op_norm){
            .groups = 1, .width = 1000, .src_stride = 1000, .dst_stride = 1000, .kind = NORM_RMS, .eps = 1e-5f},
        true, false, 3);
    check_norm((struct op_norm){.groups = 5,
                                .width = 33,
                                .src_stride = 40,
                                .dst_stride = 33,
                                .kind = NORM_RMS,
                                .eps = 1e-6f,
                                .weight_add = 1},
               true, false, 4);
    check_norm((struct op_norm){.groups = 3,
                                .width = 16,
                                .src_stride = 16,
                                .dst_stride = 16,
                                .kind = NORM_LAYER,
                                .eps = 1e-5f,
                                .weight_stride = 16},
               true, true, 7);
    check_norm(
        (struct op_norm){
            .groups = 1, .width = 257, .src_stride = 257, .dst_stride = 257, .kind = NORM_LAYER, .eps = 1e-5f},
        false, false, 2);
    check_norm(
        (struct op_norm){.groups = 2, .width = 1, .src_stride = 1, .dst_stride = 1, .kind = NORM_L2, .eps = 1e-6f},
        false, false, 1);
    for (uint32_t least = 0; least < 2; least++)
        check_norm((struct op_norm){.groups = 2,
                                    .width = 300,
                                    .src_stride = 300,
                                    .dst_stride = 300,
                                    .kind = NORM_LEAST,
                                    .eps = least ? 2.0f : 1e-5f},
                   false, false, 3);
    check_norm((struct op_norm){.groups = 3, .width = 290, .src_stride = 290, .dst_stride = 1, .kind = NORM_SIZE},
               false, false, 3);
    check_norm(
        (struct op_norm){
            .groups = 1, .width = 600, .src_stride = 600, .dst_stride = 600, .kind = NORM_CUT, .deviations = 0.75f},
        false, false, 5);
}

/* Values whose squares exceed float32 give what they give when a power of two smaller; what is not finite stays visible. */
static void test_large_norm(void **state)
{
    enum { WIDTH = 517 };
    struct op_norm p = {.groups = 1, .width = WIDTH, .src_stride = WIDTH, .dst_stride = WIDTH, .eps = 1e-6f};
    uint64_t seed = 9;
    float *x = gpu_floats(&seed, WIDTH), *scaled = gpu_floats(&seed, WIDTH), *want = NULL, *got;

    (void)state;
    for (uint32_t kind = NORM_RMS; kind <= NORM_L2; kind++) {
        p.kind = (uint16_t)kind;
        for (int e = 53; e < 127; e += 9) {
            float *d;

            for (int i = 0; i < WIDTH; i++) scaled[i] = ldexpf(x[i], e);
            d = gpu_put(o, scaled, WIDTH * 4);
            ops_norm(o, &p, d, WIDTH, d, WIDTH, NULL, NULL, 1);
            got = gpu_get(o, d, WIDTH);
            if (e == 53)
                want = got;
            else
                gpu_assert_near(got, want, WIDTH, 1e-6, NULL, 1e-3, "large norm");
            if (e != 53) free(got);
            gpu_forget(o);
        }
        free(want);
        scaled[100] = INFINITY;
        got = gpu_put(o, scaled, WIDTH * 4);
        ops_norm(o, &p, got, WIDTH, got, WIDTH, NULL, NULL, 1);
        got = gpu_get(o, got, WIDTH);
        assert_true(isnan(got[100]));
        free(got);
        gpu_forget(o);
    }
    free(x), free(scaled);
}

static void test_rope(void **state)
{
    uint64_t seed = 4;
    const uint32_t n = 3, heads = 5, stride = 24, ld = heads * stride + 1, dim = 16;

    (void)state;
    for (uint32_t style = ROPE_HALVES; style <= ROPE_PAIRS; style++) {
        struct op_rope p = {.heads = heads, .head_stride = stride, .dim = dim, .style = style};
        float *x = gpu_floats(&seed, n * ld), *cs = gpu_floats(&seed, n * dim), *dx = gpu_put(o, x, n * ld * 4), *got;

        ops_rope(o, &p, dx, ld, gpu_put(o, cs, n * dim * 4), dim, n);
        reference_rope(&p, x, ld, cs, dim, n);
        got = gpu_get(o, dx, n * ld);
        gpu_assert_near(got, x, n * ld, 1e-6, NULL, 1, "rope");
        free(x), free(cs), free(got);
        gpu_forget(o);
    }
}

static void test_act(void **state)
{
    uint64_t seed = 5;
    const uint32_t n = 3, width = 301;

    (void)state;
    for (uint32_t kind = ACT_NONE; kind <= ACT_SWIGLU_OAI; kind++) {
        for (uint32_t way = 0; way < 7; way++) { /* with up, without, interleaved, a gate for all, for 7, clamped */
            struct op_act p = {.width = width,
                               .kind = kind,
                               .alpha = 1.702f,
                               .limit = 2,
                               .flags = way == 2   ? ACT_INTERLEAVED
                                        : way == 5 ? ACT_CLAMP_AFTER
                                        : way == 6 ? ACT_CLAMP_BEFORE
                                        : way >= 3 ? ACT_BROADCAST
                                                   : 0,
                               .each = way == 4 ? 7 : 0};
            uint32_t ldg = 2 * width;
            bool has_up = way == 0 || way >= 3 || kind == ACT_SWIGLU_OAI; /* which is nothing without one */
            float *gate = gpu_floats(&seed, n * ldg), *up = gpu_floats(&seed, n * width), *y = calloc(n * width, 4),
                  *dy, *got;

            for (uint32_t i = 0; i < n * ldg; i++) gate[i] *= 12;
            dy = gpu_put(o, y, n * width * 4);
            ops_act(o, &p, dy, width, gpu_put(o, gate, n * ldg * 4), ldg,
                    has_up && way != 2 ? gpu_put(o, up, n * width * 4) : NULL, width, n);
            reference_act(&p, y, width, gate, ldg, has_up && way != 2 ? up : NULL, width, n);
            got = gpu_get(o, dy, n * width);
            gpu_assert_near(got, y, n * width, 2e-6, NULL, 1, "activation");
            free(gate), free(up), free(y), free(got);
            gpu_forget(o);
        }
    }
}

static void test_scale(void **state)
{
    static const struct op_scale ways[] = {
        {.width = 70, .mul = 3},
        {.width = 70, .mul = 1, .cap = 0.5f},
        {.width = 70, .mul = 0.1f, .floor = 4, .flags = SCALE_BY_POSITION},
        {.width = 70, .mul = 0.1f, .floor = 7, .flags = SCALE_BY_POSITION | SCALE_FROM_ZERO},
        {.width = 70, .mul = 2, .cap = 0.25f, .flags = SCALE_CLAMP},
        {.width = 70, .mul = 1, .flags = SCALE_BY_VECTOR},
        {.width = 70, .mul = 1, .flags = SCALE_BY_VECTOR}};
    static const uint32_t places[3] = {2, 7, 4000};
    uint64_t seed = 6;

    (void)state;
    for (size_t i = 0; i < COUNT(ways); i++) {
        float *x = gpu_floats(&seed, 3 * 75), *dx = gpu_put(o, x, 3 * 75 * 4), *by = gpu_floats(&seed, 70), *got;
        struct ops_factors f = {places, by, i + 1 == COUNT(ways) ? 1 : 70}, df = f;

        df.positions = gpu_put(o, places, sizeof places);
        df.vector = gpu_put(o, by, 70 * 4);
        ops_scale(o, &ways[i], dx, 75, &df, 3);
        reference_scale(&ways[i], x, 75, &f, 3);
        got = gpu_get(o, dx, 3 * 75);
        gpu_assert_near(got, x, 3 * 75, 1e-6, NULL, 1, "scale");
        free(x), free(by), free(got);
        gpu_forget(o);
    }
}

static void test_xielu(void **state)
{
    enum { N = 3, W = 300 };
    static const float numbers[4] = {0.3f, -0.7f, 0.5f, -1e-6f};
    const struct op_xielu p = {.width = W};
    uint64_t seed = 8;
    float *x = gpu_floats(&seed, N * W), *d = gpu_put(o, numbers, sizeof numbers), *dx, *got;
    struct ops_xielu_args on_device = {d, d + 1, d + 2, d + 3}, here = {numbers, numbers + 1, numbers + 2, numbers + 3};

    (void)state;
    for (uint32_t i = 0; i < N * W; i++) x[i] *= 12;
    dx = gpu_put(o, x, N * W * 4);
    ops_xielu(o, &p, dx, W, dx, W, &on_device, N);
    reference_xielu(&p, x, W, x, W, &here, N);
    got = gpu_get(o, dx, N * W);
    gpu_assert_near(got, x, N * W, 2e-6, NULL, 1, "xielu");
    free(x), free(got);
    gpu_forget(o);
}

static void test_position(void **state)
{
    enum { N = 3, W = 300, ROWS = 9 };
    static const uint32_t places[N] = {6, 0, 3};
    const struct op_position p = {.width = W, .rows = ROWS, .offset = 2};
    uint64_t seed = 9;
    float *x = gpu_floats(&seed, N * W), *table = gpu_floats(&seed, ROWS * W), *dx = gpu_put(o, x, N * W * 4), *got;

    (void)state;
    ops_position(o, &p, dx, W, gpu_put(o, table, ROWS * W * 4), gpu_put(o, places, sizeof places), N);
    got = gpu_get(o, dx, N * W);
    for (uint32_t i = 0; i < N * W; i++) assert_true(got[i] == x[i] + table[(places[i / W] + 2) * W + i % W]);
    free(x), free(table), free(got);
    gpu_forget(o);
}

static void test_rows(void **state)
{
    static const uint32_t index[3] = {4, 0, 2};
    enum { N = 5, W = 300, LD = 303 };
    uint64_t seed = 7;
    float *a = gpu_floats(&seed, N * LD), *b = gpu_floats(&seed, N * LD), weight[3] = {2, -1, 0.5f}, *got;
    float *da = gpu_put(o, a, N * LD * 4), *db = gpu_put(o, b, N * LD * 4), *dc = gpu_new(o, N * LD * 4),
          *dw = gpu_put(o, weight, sizeof weight);
    uint32_t *di = gpu_put(o, index, sizeof index);

    (void)state;
    ops_add(o, dc, LD, da, LD, db, LD, W, 2, -3, N);
    ops_gather_rows(o, dc, LD, da, LD, di, 10, 3);              /* columns 0..9 of rows 0..2 */
    ops_scatter_add_rows(o, dc + 20, LD, db, LD, di, dw, 5, 3); /* columns 20..24 of rows 4, 0, 2 */
    ops_scale_rows(o, dc + 30, LD, dw, 7, 3);
    ops_copy(o, dc + 100, LD, da + 50, LD, 3, 10, 20, 15, N);
    ops_zero(o, dc + 200, LD, 9, N);
    got = gpu_get(o, dc, N * LD);
    for (uint32_t i = 0; i < N; i++) {
        for (uint32_t c = 0; c < LD; c++) {
            float want = c < W ? 2 * a[i * LD + c] - 3 * b[i * LD + c] : 0;

            if (c < 10 && i < 3) want = a[index[i] * LD + c];
            for (uint32_t k = 0; k < 3; k++)
                if (c >= 20 && c < 25 && index[k] == i) want += weight[k] * b[k * LD + c - 20];
            if (c >= 30 && c < 37 && i < 3) want *= weight[i];
            if (c >= 100 && c < 160 && (c - 100) % 20 < 10)
                want = a[i * LD + 50 + (c - 100) / 20 * 15 + (c - 100) % 20];
            if (c >= 200 && c < 209) want = 0;
            if (fabsf(got[i * LD + c] - want) > 1e-6f)
                fail_msg("row %u, column %u: %g, not %g", i, c, (double)got[i * LD + c], (double)want);
        }
    }
    free(a), free(b), free(got);
    gpu_forget(o);
}

/* Rows that can stand alone, in every form of them, of which positions look for some that are there; and vectors. */
static void check_alone(uint32_t form)
{
    static const uint32_t index[] = {6, 5, 8, 7, 6, 4}; /* 5, 6 and 7 are there */
    const struct form_shape h = form_shape_of(form, 3, 70, 0, 0);
    const uint32_t n = h.rows, m = COUNT(index), width = h.cols;
    struct ops_gather g = {.form = form, .first = 5, .count = n, .index = gpu_put(o, index, sizeof index)};
    float *got, *dst = gpu_new(o, m * width * 4), *flat = gpu_new(o, n * width * 4), *before = calloc(m * width, 4);
    struct stored s;

    stored_make(&s, &h, 8);
    g.rows = gpu_put(o, s.data, s.data_bytes);
    ops_upload(o, dst, before, m * width * 4);
    ops_embed(o, dst, width, &g, m, width, 2.5f);
    ops_dequantize(o, flat, gpu_put(o, s.data, s.data_bytes), form, n * width);
    got = gpu_get(o, dst, m * width);
    for (uint32_t k = 0; k < m * width; k++) {
        uint32_t row = index[k / width] - 5;

        assert_true(got[k] == (row < n ? 2.5f * reference_weight(&s.w, row, k % width) : 0));
    }
    free(got), free(before);
    got = gpu_get(o, flat, n * width);
    for (uint32_t k = 0; k < n * width; k++) assert_true(got[k] == reference_weight(&s.w, k / width, k % width));
    free(got);
    gpu_forget(o);
    stored_free(&s);
}

static void test_embed_and_dequantize(void **state)
{
    (void)state;
    for (uint32_t form = 0; form < FORMS; form++)
        if (form_can_be_table(form)) check_alone(form);
}

/* ---- attention ---- */

/* One sequence of n places whose cached rows lie in pieces, the last piece first. */
struct layout {
    uint32_t n, rows, *row, *position, *first;
    struct ops_run *runs;
};

static struct layout lay(uint32_t n, uint32_t piece)
{
    uint32_t pieces = (n + piece - 1) / piece;
    struct layout l = {.n = n,
                       .rows = pieces * piece,
                       .row = calloc(n, 4),
                       .position = calloc(n, 4),
                       .first = calloc(n + 1, 4),
                       .runs = calloc((size_t)n * pieces, sizeof *l.runs)};

    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = l.first[i];

        for (uint32_t position = 0; position <= i; position += piece)
            l.runs[at++] = (struct ops_run){(pieces - 1 - position / piece) * piece,
                                            i + 1 - position < piece ? i + 1 - position : piece};
        l.position[i] = i;
        l.row[i] = l.runs[at - 1].row + l.runs[at - 1].length - 1;
        l.first[i + 1] = at;
    }
    return l;
}

static void unlay(struct layout *l)
{
    free(l->row), free(l->position), free(l->first), free(l->runs);
}

struct attention {
    struct op_attention p;
    uint32_t kv_form, n, piece, from; /* positions from.. are asked for */
    bool sinks, alibi;
};

static void check_attention(const struct attention *t)
{
    const struct op_attention *p = &t->p;
    struct layout l = lay(t->n, t->piece);
    uint64_t seed = p->dk * 7 + p->heads;
    uint32_t kw = p->kv_heads * p->dk, vw = p->kv_heads * p->dv, ldq = p->heads * p->dk + 1, ldd = p->heads * p->dv + 3,
             each = form_bytes(t->kv_form);
    float *q = gpu_floats(&seed, (size_t)t->n * ldq), *k = gpu_floats(&seed, (size_t)l.rows * kw),
          *v = gpu_floats(&seed, (size_t)l.rows * vw);
    float *sinks = gpu_floats(&seed, p->heads), *alibi = gpu_floats(&seed, p->heads),
          *dst = calloc((size_t)t->n * ldd, 4), *got, *one;
    uint8_t *k_host = calloc((size_t)l.rows * kw, each), *v_host = calloc((size_t)l.rows * vw, each);
    uint32_t *all_rows = calloc(l.rows, 4), count = t->n - t->from;
    float *dq = gpu_put(o, q, (uint64_t)t->n * ldq * 4), *dd = gpu_put(o, dst, (uint64_t)t->n * ldd * 4), *ds, *da;
    void *dk = gpu_new(o, (uint64_t)l.rows * kw * each), *dv = gpu_new(o, (uint64_t)l.rows * vw * each);
    struct ops_rows host = {.row = l.row + t->from,
                            .position = l.position + t->from,
                            .first = l.first + t->from,
                            .runs = l.runs,
                            .n = count,
                            .max_position = t->n - 1},
                    r = host, store = {.n = l.rows};

    for (uint32_t h = 0; h < p->heads; h++) alibi[h] = fabsf(alibi[h]) * 0.1f;
    for (uint32_t i = 0; i < l.rows; i++) all_rows[i] = i;
    store.row = gpu_put(o, all_rows, l.rows * 4ull);
    ops_kv_store(o, t->kv_form, dk, kw, gpu_put(o, k, (uint64_t)l.rows * kw * 4), kw, &store);
    ops_kv_store(o, t->kv_form, dv, vw, gpu_put(o, v, (uint64_t)l.rows * vw * 4), vw, &store);
    ops_download(o, k_host, dk, (uint64_t)l.rows * kw * each);
    ops_download(o, v_host, dv, (uint64_t)l.rows * vw * each);
    for (uint64_t i = 0; i < (uint64_t)l.rows * kw; i++) { /* stored to the nearest */
        float x = k[i], y = (float)reference_stored(t->kv_form, k_host, i);

        assert_true(fabsf(x - y) <= (t->kv_form == FORM_F32   ? 0
                                     : t->kv_form == FORM_F16 ? 0x1p-11f
                                                              : 0x1p-8f) *
                                            fabsf(x) +
                                        0x1p-25f);
    }
    r.row = gpu_put(o, l.row + t->from, count * 4ull);
    r.position = gpu_put(o, l.position + t->from, count * 4ull);
    r.first = gpu_put(o, l.first + t->from, (count + 1) * 4ull);
    r.runs = gpu_put(o, l.runs, l.first[t->n] * sizeof *l.runs);
    ds = t->sinks ? gpu_put(o, sinks, p->heads * 4ull) : NULL;
    da = t->alibi ? gpu_put(o, alibi, p->heads * 4ull) : NULL;
    ops_attention(o, p, dd, ldd, dq, ldq, dk, dv, t->kv_form, ds, da, &r);
    reference_attention(p, dst, ldd, q, ldq, k_host, v_host, t->kv_form, t->sinks ? sinks : NULL,
                        t->alibi ? alibi : NULL, &host);
    got = gpu_get(o, dd, (size_t)count * ldd);
    gpu_assert_near(got, dst, (size_t)count * ldd, 3e-6, NULL, 1, "attention");
    /* the last position alone: the same bytes */
    r.row += count - 1, r.position += count - 1, r.first += count - 1, r.n = 1;
    ops_attention(o, p, dd, ldd, dq + (uint64_t)(count - 1) * ldq, ldq, dk, dv, t->kv_form, ds, da, &r);
    one = gpu_get(o, dd, ldd);
    gpu_assert_same(one, got + (size_t)(count - 1) * ldd, p->heads * p->dv, "attention, alone");
    free(q), free(k), free(v), free(sinks), free(alibi), free(dst), free(got), free(one), free(k_host), free(v_host),
        free(all_rows);
    unlay(&l);
    gpu_forget(o);
}

static void test_attention(void **state)
{
    static const struct attention ways[] = {
        {{.heads = 4, .kv_heads = 4, .dk = 16, .dv = 16, .scale = 0.25f}, FORM_F32, 70, 200, 0, false, false},
        {{.heads = 8, .kv_heads = 2, .dk = 33, .dv = 20, .scale = 0.2f}, FORM_BF16, 130, 17, 100, true, false},
        {{.heads = 16, .kv_heads = 2, .dk = 64, .dv = 64, .scale = 0.12f, .cap = 1.5f},
         FORM_F16,
         65,
         65,
         60,
         false,
         true},
        {{.heads = 6, .kv_heads = 2, .dk = 24, .dv = 130, .scale = 0.2f, .window = 30},
         FORM_BF16,
         100,
         1,
         90,
         true,
         true},
        {{.heads = 10, .kv_heads = 2, .dk = 8, .dv = 8, .scale = 0.4f, .chunk = 40},
         FORM_F32,
         121,
         50,
         35,
         false,
         false},
        {{.heads = 16, .kv_heads = 1, .dk = 72, .dv = 64, .scale = 0.1f, .flags = ATTN_V_IN_K},
         FORM_BF16,
         40,
         9,
         30,
         false,
         false},
        {{.heads = 12, .kv_heads = 1, .dk = 576, .dv = 512, .scale = 0.04f, .flags = ATTN_V_IN_K},
         FORM_BF16,
         20,
         9,
         18,
         false,
         false},
        {{.heads = 2, .kv_heads = 1, .dk = 16, .dv = 16, .scale = 0.3f}, FORM_BF16, 1300, 700, 1297, true, false},
        {{.heads = 2, .kv_heads = 2, .dk = 16, .dv = 16, .scale = 0.3f, .window = 600},
         FORM_F16,
         1200,
         100,
         1197,
         false,
         true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(ways); i++) check_attention(&ways[i]);
}

/* Scratch for one position at a time: in groups, the same bytes. */
static void test_attention_in_groups(void **state)
{
    static const struct attention way = {
        {.heads = 8, .kv_heads = 2, .dk = 16, .dv = 1000, .scale = 0.2f}, FORM_BF16, 30, 30, 0, true, false};
    struct ops *much = o;

    (void)state;
    o = gpu_open(65536); /* a position takes 8 x 1002 floats, so two fit */
    check_attention(&way);
    gpu_close(o);
    o = much;
}

/* ---- recurrences ---- */

/* Two sequences that begin, one that goes on, and a branch: slots 0..4. */
static const uint32_t chain_from[] = {UINT32_MAX, 0, 0, UINT32_MAX, 2, 1, 3}, chain_to[] = {0, 0, 2, 1, 2, 3, 3};
#define CHAIN COUNT(chain_from)
#define SLOTS 4

static void test_conv(void **state)
{
    uint64_t seed = 9;

    (void)state;
    for (uint32_t taps = 1; taps <= 4; taps++) {
        struct op_conv p = {.width = 70, .taps = taps, .act = taps % 2 ? ACT_SILU : ACT_NONE};
        struct ops_chain c = {chain_from, chain_to, CHAIN};
        uint64_t floats = (taps - 1) * 70 + 2;
        float *src = gpu_floats(&seed, CHAIN * 72), *w = gpu_floats(&seed, 70 * taps), *b = gpu_floats(&seed, 70),
              *s = gpu_floats(&seed, SLOTS * floats);
        float *dst = calloc(CHAIN * 71, 4), *ds = gpu_put(o, s, SLOTS * floats * 4),
              *dd = gpu_put(o, dst, CHAIN * 71 * 4), *got;

        ops_conv(o, &p, dd, 71, gpu_put(o, src, CHAIN * 72 * 4), 72, gpu_put(o, w, 70 * taps * 4),
                 taps > 2 ? gpu_put(o, b, 280) : NULL, ds, floats, &c);
        reference_conv(&p, dst, 71, src, 72, w, taps > 2 ? b : NULL, s, floats, &c);
        got = gpu_get(o, dd, CHAIN * 71);
        gpu_assert_near(got, dst, CHAIN * 71, 2e-6, NULL, 1, "convolution");
        free(got);
        got = gpu_get(o, ds, SLOTS * floats);
        gpu_assert_near(got, s, SLOTS * floats, 1e-6, NULL, 1, "convolution's state");
        free(got), free(src), free(w), free(b), free(s), free(dst);
        gpu_forget(o);
    }
}

static void test_delta(void **state)
{
    uint64_t seed = 10;
    static const struct op_delta ways[] = {
        {.heads = 4, .key_heads = 2, .dk = 16, .dv = 40, .scale = 0.25f},
        {.heads = 2, .key_heads = 2, .dk = 33, .dv = 16, .scale = 1},
        {.heads = 2, .key_heads = 1, .dk = 20, .dv = 16, .flags = DELTA_CHANNELS, .scale = 1},
        {.heads = 2,
         .key_heads = 2,
         .dk = 16,
         .dv = 33,
         .flags = DELTA_CHANNELS | DELTA_BOUNDED,
         .scale = 1,
         .bound = -5}};

    (void)state;
    for (size_t i = 0; i < COUNT(ways); i++) {
        const struct op_delta *p = &ways[i];
        struct ops_chain c = {chain_from, chain_to, CHAIN};
        uint32_t kw = p->key_heads * p->dk, vw = p->heads * p->dv,
                 decays = p->flags & DELTA_CHANNELS ? p->heads * p->dk : 8;
        uint64_t floats = (uint64_t)p->heads * p->dk * p->dv + 1;
        float *q = gpu_floats(&seed, CHAIN * kw), *k = gpu_floats(&seed, CHAIN * kw),
              *v = gpu_floats(&seed, CHAIN * vw), *a = gpu_floats(&seed, CHAIN * decays);
        float *b = gpu_floats(&seed, CHAIN * 8), *log = gpu_floats(&seed, 8), *dt = gpu_floats(&seed, decays),
              *s = gpu_floats(&seed, SLOTS * floats);
        float *dst = calloc(CHAIN * (vw + 1), 4), *ds = gpu_put(o, s, SLOTS * floats * 4),
              *dd = gpu_put(o, dst, CHAIN * (vw + 1) * 4ull), *got;
        struct ops_delta_args x = {q, k, v, a, b, kw, kw, vw, decays, 8, log, dt},
                              d = {gpu_put(o, q, CHAIN * kw * 4ull),
                                   gpu_put(o, k, CHAIN * kw * 4ull),
                                   gpu_put(o, v, CHAIN * vw * 4ull),
                                   gpu_put(o, a, CHAIN * decays * 4ull),
                                   gpu_put(o, b, CHAIN * 32),
                                   kw,
                                   kw,
                                   vw,
                                   decays,
                                   8,
                                   gpu_put(o, log, 32),
                                   gpu_put(o, dt, decays * 4ull)};

        ops_delta(o, p, dd, vw + 1, &d, ds, floats, &c);
        reference_delta(p, dst, vw + 1, &x, s, floats, &c);
        got = gpu_get(o, dd, CHAIN * (vw + 1));
        gpu_assert_near(got, dst, CHAIN * (vw + 1), 3e-6, NULL, 1, "delta rule");
        free(got);
        got = gpu_get(o, ds, SLOTS * floats);
        gpu_assert_near(got, s, SLOTS * floats, 3e-6, NULL, 1, "delta rule's state");
        free(got), free(q), free(k), free(v), free(a), free(b), free(log), free(dt), free(s), free(dst);
        gpu_forget(o);
    }
}

/* ---- memory ---- */

static void test_uploads(void **state)
{
    enum { EACH = 100000 };
    uint8_t *device = gpu_new(o, 100ull * EACH), *host = malloc(EACH), *back = malloc(100ull * EACH);

    (void)state;
    for (uint32_t i = 0; i < 100; i++) { /* more than the staging area holds; the source changes at once */
        memset(host, (int)i + 1, EACH);
        ops_upload(o, device + (uint64_t)i * EACH, host, EACH - i);
    }
    ops_download(o, back, device, 100ull * EACH);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(back[(uint64_t)i * EACH], i + 1);
        assert_int_equal(back[(uint64_t)i * EACH + EACH - i - 1], i + 1);
        if (i) assert_int_equal(back[(uint64_t)i * EACH + EACH - 1], 0); /* and new memory is zero */
    }
    free(host), free(back);
    gpu_forget(o);
}

static void test_errors(void **state)
{
    struct ops *mine = gpu_open(65536);
    struct ops_options absent = {.device = 4711, .scratch_bytes = 1};
    struct ops *none;
    struct error e = {0};
    float *x = ops_alloc(mine, 4096, &e);

    (void)state;
    assert_int_equal(ops_sync(mine, &e), 0);
    ops_dequantize(mine, x, x, 99, 4);
    assert_int_equal(ops_sync(mine, &e), -ENOTSUP);
    ops_slot_wait(mine, 3);
    assert_int_equal(ops_sync(mine, &e), -ENOTSUP); /* the first one stays */
    ops_free(mine, x, 4096);
    ops_close(mine);
    assert_int_equal(ops_open(&none, &absent, &e), -ENODEV);
    assert_non_null(strstr(e.text, "4711"));
    assert_null(ops_alloc(o, UINT64_C(1) << 60, &e));
    assert_int_equal(e.code, ENOMEM);
    assert_non_null(strstr(e.text, "--device-memory"));
    assert_int_equal(ops_sync(o, &e), 0); /* a refused allocation spoils nothing */
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elements),   cmocka_unit_test(test_norm),
        cmocka_unit_test(test_large_norm), cmocka_unit_test(test_rope),
        cmocka_unit_test(test_act),        cmocka_unit_test(test_scale),
        cmocka_unit_test(test_xielu),      cmocka_unit_test(test_position),
        cmocka_unit_test(test_rows),       cmocka_unit_test(test_embed_and_dequantize),
        cmocka_unit_test(test_attention),  cmocka_unit_test(test_attention_in_groups),
        cmocka_unit_test(test_conv),       cmocka_unit_test(test_delta),
        cmocka_unit_test(test_uploads),    cmocka_unit_test(test_errors),
    };

    return gpu_present() ? cmocka_run_group_tests_name("cuda operations", tests, setup, teardown) : 0;
}
