/* Indexes of the cuda backend, and attention over what they list: against the reference, and against themselves alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "tests/gpu/gpu.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct ops *o; /* of the test that runs */

/* Positions [from, n) of a sequence whose cached rows lie in pieces, the last piece first. */
struct layout {
    uint32_t n, rows, row[400], position[400], first[401];
    struct ops_run runs[20000];
};

static struct layout *lay(uint32_t from, uint32_t to, uint32_t piece)
{
    struct layout *l = calloc(1, sizeof *l);
    uint32_t pieces = (to + piece - 1) / piece;

    l->rows = pieces * piece;
    for (uint32_t i = from; i < to; i++, l->n++) {
        uint32_t at = l->first[l->n];

        for (uint32_t p = 0; p <= i; p += piece)
            l->runs[at++] = (struct ops_run){(pieces - 1 - p / piece) * piece, i + 1 - p < piece ? i + 1 - p : piece};
        l->position[l->n] = i;
        l->row[l->n] = l->runs[at - 1].row + l->runs[at - 1].length - 1;
        l->first[l->n + 1] = at;
    }
    return l;
}

static struct ops_rows host_rows(const struct layout *l)
{
    return (struct ops_rows){.row = l->row,
                             .position = l->position,
                             .first = l->first,
                             .runs = l->runs,
                             .n = l->n,
                             .max_position = l->position[l->n - 1]};
}

static struct ops_rows device_rows(const struct layout *l)
{
    struct ops_rows r = host_rows(l);

    r.row = gpu_put(o, l->row, l->n * 4ull);
    r.position = gpu_put(o, l->position, l->n * 4ull);
    r.first = gpu_put(o, l->first, (l->n + 1) * 4ull);
    r.runs = gpu_put(o, l->runs, l->first[l->n] * sizeof *l->runs);
    return r;
}

/* Rows of a cache, stored and as they lie there. */
static void *store(uint32_t kv_form, uint32_t rows, uint32_t width, uint64_t *seed, uint8_t **host)
{
    const uint32_t each = form_bytes(kv_form);
    float *k = gpu_floats(seed, (size_t)rows * width);
    uint32_t *row = calloc(rows, 4);
    struct ops_rows all = {.n = rows};
    void *cache = gpu_new(o, (uint64_t)rows * width * each);

    for (uint32_t i = 0; i < rows; i++) row[i] = i;
    all.row = gpu_put(o, row, rows * 4ull);
    ops_kv_store(o, kv_form, cache, width, gpu_put(o, k, (uint64_t)rows * width * 4), width, &all);
    *host = calloc((size_t)rows * width, each);
    ops_download(o, *host, cache, (uint64_t)rows * width * each);
    free(k), free(row);
    return cache;
}

struct index_case {
    struct op_index p;
    uint32_t kv_form, from, to, piece;
    bool weighted;
};

static void check_index(const struct index_case *t)
{
    const struct op_index *p = &t->p;
    const uint32_t ldd = p->groups * (1 + p->top) + 2, ldq = p->heads * p->dim + 1, ldw = p->heads + 3;
    struct layout *l = lay(t->from, t->to, t->piece);
    struct ops_rows host = host_rows(l), r = device_rows(l);
    const size_t size = (size_t)l->n * ldd;
    uint64_t seed = p->dim + p->top;
    float *q = gpu_floats(&seed, (size_t)l->n * ldq), *w = gpu_floats(&seed, (size_t)l->n * ldw);
    uint32_t *want = calloc(size, 4), *got = calloc(size, 4);
    uint32_t *dst = gpu_put(o, want, size * 4);
    uint8_t *k;
    void *cache = store(t->kv_form, l->rows, p->dim, &seed, &k);
    float *dq = gpu_put(o, q, (uint64_t)l->n * ldq * 4),
          *dw = t->weighted ? gpu_put(o, w, (uint64_t)l->n * ldw * 4) : NULL;

    ops_index(o, p, dst, ldd, dq, ldq, dw, ldw, cache, t->kv_form, &r);
    reference_index(p, want, ldd, q, ldq, t->weighted ? w : NULL, ldw, k, t->kv_form, &host);
    ops_download(o, got, dst, size * 4);
    for (uint32_t i = 0; i < l->n; i++)
        if (memcmp(got + (size_t)i * ldd, want + (size_t)i * ldd, (ldd - 2) * 4ull))
            fail_msg("%u of %u of %u columns: the list of position %u", p->top, p->heads, p->dim, l->position[i]);
    assert_int_equal(ops_sync(o, NULL), 0);
    free(q), free(w), free(want), free(got), free(k), free(l);
    gpu_forget(o);
}

static void test_index(void **state)
{
    static const struct index_case cases[] = {
        {{.heads = 8, .groups = 1, .dim = 33, .block = 1, .top = 12, .flags = INDEX_RELU, .scale = 0.1f},
         FORM_F32,
         0,
         90,
         11,
         true},
        {{.heads = 40, .groups = 1, .dim = 64, .block = 1, .top = 200, .flags = INDEX_RELU, .scale = 0.2f},
         FORM_BF16,
         295,
         300,
         300,
         true},
        {{.heads = 8, .groups = 1, .dim = 32, .block = 4, .top = 8, .flags = INDEX_RELU | INDEX_POOLED, .scale = 0.1f},
         FORM_F32,
         0,
         150,
         13,
         true},
        {{.heads = 4, .groups = 4, .dim = 20, .block = 8, .top = 5, .local = 1, .scale = 1},
         FORM_F16,
         30,
         130,
         64,
         false},
        {{.heads = 4, .groups = 2, .dim = 16, .block = 7, .top = 3, .local = 2, .scale = 1},
         FORM_F32,
         10,
         100,
         1,
         true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) check_index(&cases[i]);
}

/* All score the same, or nothing: the lowest; what is not a number is not passed over. */
static void test_ties(void **state)
{
    static const struct op_index p = {
        .heads = 1, .groups = 1, .dim = 1, .block = 1, .top = 4, .flags = INDEX_RELU, .scale = 1};
    struct layout *l = lay(299, 300, 300);
    struct ops_rows r = device_rows(l);
    float k[300], one = 1;
    uint32_t list[5];

    (void)state;
    for (int i = 0; i < 300; i++) k[i] = -(float)i;
    k[280] = 2;
    for (int nan = 0; nan < 2; nan++) {
        uint32_t *dst = gpu_new(o, sizeof list);

        if (nan) k[290] = NAN;
        ops_index(o, &p, dst, 5, gpu_put(o, &one, 4), 1, gpu_put(o, &one, 4), 1, gpu_put(o, k, sizeof k), FORM_F32, &r);
        ops_download(o, list, dst, sizeof list);
        assert_memory_equal(list, nan ? ((uint32_t[]){4, 0, 1, 280, 290}) : ((uint32_t[]){4, 0, 1, 2, 280}),
                            sizeof list);
    }
    free(l);
    gpu_forget(o);
}

struct attention_case {
    struct op_attention p;
    uint32_t kv_form, from, to, piece;
};

static void check_attention(const struct attention_case *t)
{
    const struct op_attention *p = &t->p;
    const uint32_t kw = p->kv_heads * p->dk, vw = p->kv_heads * p->dv, ldq = p->heads * p->dk, ldd = p->heads * p->dv,
                   ldc = p->chosen_groups * (1 + p->chosen_top);
    struct layout *l = lay(t->from, t->to, t->piece);
    struct ops_rows host = host_rows(l), r = device_rows(l);
    uint64_t seed = p->dk;
    float *q = gpu_floats(&seed, (size_t)l->n * ldq), *want = calloc((size_t)l->n * ldd, 4), *got, *one;
    uint32_t *lists = calloc((size_t)l->n * ldc, 4);
    uint8_t *k, *v;
    void *dk = store(t->kv_form, l->rows, kw, &seed, &k), *dv = store(t->kv_form, l->rows, vw, &seed, &v);
    float *dq = gpu_put(o, q, (uint64_t)l->n * ldq * 4), *dd = gpu_new(o, (uint64_t)l->n * ldd * 4);

    for (uint32_t i = 0; i < l->n; i++)
        for (uint32_t g = 0; g < p->chosen_groups; g++) {
            uint32_t *list = lists + (size_t)i * ldc + g * (1 + p->chosen_top),
                     blocks = l->position[i] / p->chosen_block + 1;

            for (uint32_t b = 0; b < blocks; b++)
                if (gpu_random(&seed) % (blocks - b) < p->chosen_top - *list) list[1 + (*list)++] = b;
        }
    host.chosen = lists;
    r.chosen = gpu_put(o, lists, (uint64_t)l->n * ldc * 4);
    host.ld_chosen = r.ld_chosen = ldc;
    ops_attention(o, p, dd, ldd, dq, ldq, dk, dv, t->kv_form, NULL, NULL, &r);
    reference_attention(p, want, ldd, q, ldq, k, v, t->kv_form, NULL, NULL, &host);
    got = gpu_get(o, dd, (size_t)l->n * ldd);
    gpu_assert_near(got, want, (size_t)l->n * ldd, 3e-6, NULL, 1, "attention to what was chosen");
    r.row += l->n - 1, r.position += l->n - 1, r.first += l->n - 1, r.chosen += (size_t)(l->n - 1) * ldc, r.n = 1;
    ops_attention(o, p, dd, ldd, dq + (size_t)(l->n - 1) * ldq, ldq, dk, dv, t->kv_form, NULL, NULL, &r);
    one = gpu_get(o, dd, ldd);
    gpu_assert_same(one, got + (size_t)(l->n - 1) * ldd, ldd, "attention to what was chosen, alone");
    free(q), free(want), free(got), free(one), free(lists), free(k), free(v), free(l);
    gpu_forget(o);
}

static void test_attention(void **state)
{
    static const struct attention_case cases[] = {
        {{.heads = 16,
          .kv_heads = 1,
          .dk = 72,
          .dv = 64,
          .scale = 0.1f,
          .flags = ATTN_V_IN_K,
          .chosen_groups = 1,
          .chosen_top = 12,
          .chosen_block = 1},
         FORM_BF16,
         5,
         50,
         9},
        {{.heads = 8,
          .kv_heads = 2,
          .dk = 24,
          .dv = 20,
          .scale = 0.2f,
          .chosen_groups = 2,
          .chosen_top = 5,
          .chosen_block = 8},
         FORM_F32,
         20,
         120,
         50},
        {{.heads = 4,
          .kv_heads = 4,
          .dk = 16,
          .dv = 16,
          .scale = 0.3f,
          .chosen_groups = 2,
          .chosen_top = 20,
          .chosen_block = 7},
         FORM_F16,
         170,
         200,
         1},
        {{.heads = 2,
          .kv_heads = 1,
          .dk = 8,
          .dv = 8,
          .scale = 0.3f,
          .chosen_groups = 1,
          .chosen_top = 100,
          .chosen_block = 9},
         FORM_F32,
         398,
         399,
         40},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) check_attention(&cases[i]);
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
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_attention),
    };

    return gpu_present() ? cmocka_run_group_tests_name("cuda indexes", tests, setup, teardown) : 0;
}
