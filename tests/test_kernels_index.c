/* Indexes of the cpu backend, and attention over what they list: against the scalar reference; the same bytes from every
 * variant, thread count and company; and no row of the cache is read that was not chosen. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "tests/support_kernels.h"
#include "tests/support_layout.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void store(struct ops *o, uint32_t kv_form, void *cache, uint32_t width, const float *src, uint32_t rows)
{
    uint32_t *row = calloc(rows, sizeof *row);
    const struct ops_rows all = {.row = row, .n = rows};
    for (uint32_t i = 0; i < rows; i++) row[i] = i;
    ops_kv_store(o, kv_form, cache, width, src, width, &all);
    free(row);
}

/* A prompt, later positions of a longer sequence, and one in pieces. */
static struct layout usual_layout(void)
{
    struct layout l = layout_new();
    layout_add(&l, 0, 150, 1000, 0);
    layout_add(&l, 299, 303, 1000, 1000);
    layout_add(&l, 60, 135, 9, 2000);
    return l;
}

/* ---- lists ---- */

struct index_case {
    const char *name;
    struct op_index p;
    uint32_t kv_form;
    bool weighted;
};

static void run_index(struct ops *o, const struct index_case *t, const struct layout *l, const float *q, const float *w,
                      const void *cache, uint32_t i, uint32_t n, uint32_t *dst)
{
    const uint32_t ldd = t->p.groups * (1 + t->p.top) + 1, ldq = t->p.heads * t->p.dim;
    const struct ops_rows r = layout_rows(l, i, n);
    ops_index(o, &t->p, dst + (size_t)i * ldd, ldd, q + (size_t)i * ldq, ldq, w ? w + (size_t)i * t->p.heads : NULL,
              t->p.heads, cache, t->kv_form, &r);
}

static void check_index(const struct index_case *t, const struct layout *l)
{
    const uint32_t ldd = t->p.groups * (1 + t->p.top) + 1, ldq = t->p.heads * t->p.dim;
    uint64_t seed = t->p.dim + t->p.top;
    float *q = kernels_floats(&seed, (size_t)l->n * ldq), *k = kernels_floats(&seed, (size_t)l->rows * t->p.dim),
          *w = kernels_floats(&seed, (size_t)l->n * t->p.heads);
    void *cache = calloc((size_t)l->rows * t->p.dim, 4);
    uint32_t *want = calloc((size_t)l->n * ldd, 4), *y = calloc((size_t)l->n * ldd, 4);
    const struct ops_rows all = layout_rows(l, 0, l->n);
    struct ops *o = kernels_open(0);

    store(o, t->kv_form, cache, t->p.dim, k, l->rows);
    ops_close(o);
    reference_index(&t->p, want, ldd, q, ldq, t->weighted ? w : NULL, t->p.heads, cache, t->kv_form, &all);
    for (size_t way = 0; way < kernels_ways(); way++) {
        static const uint32_t chunks[] = {1000, 64, 7, 1};
        o = kernels_open(way);
        for (size_t c = 0; c < COUNT(chunks); c++) {
            memset(y, 0, (size_t)l->n * ldd * 4);
            for (uint32_t i = 0; i < l->n; i += chunks[c])
                run_index(o, t, l, q, t->weighted ? w : NULL, cache, i, l->n - i < chunks[c] ? l->n - i : chunks[c], y);
            for (uint32_t i = 0; i < l->n; i++)
                if (memcmp(y + (size_t)i * ldd, want + (size_t)i * ldd, (ldd - 1) * 4ull))
                    fail_msg("%s: the list of position %u in chunks of %u, %s", t->name, i, chunks[c],
                             kernels_way_name(way));
        }
        assert_int_equal(ops_sync(o, NULL), 0);
        ops_close(o);
    }
    free(q), free(k), free(w), free(cache), free(want), free(y);
}

static void lists_are_those_of_the_formula(void **state)
{
    static const struct index_case cases[] = {
        {"weighted",
         {.heads = 8, .groups = 1, .dim = 32, .block = 1, .top = 12, .flags = INDEX_RELU, .scale = 0.1f},
         FORM_F32,
         true},
        {"more heads than queries of a task",
         {.heads = 64, .groups = 1, .dim = 24, .block = 1, .top = 40, .flags = INDEX_RELU, .scale = 0.2f},
         FORM_BF16,
         true},
        {"whole blocks, by their last position",
         {.heads = 8, .groups = 1, .dim = 32, .block = 4, .top = 8, .flags = INDEX_RELU | INDEX_POOLED, .scale = 0.1f},
         FORM_F32,
         true},
        {"blocks by group",
         {.heads = 4, .groups = 4, .dim = 20, .block = 8, .top = 5, .local = 1, .scale = 1},
         FORM_F32,
         false},
        {"blocks that no power divides, two heads a group",
         {.heads = 4, .groups = 2, .dim = 16, .block = 7, .top = 3, .local = 2, .scale = 0.5f},
         FORM_F16,
         true},
        {"all of them", {.heads = 2, .groups = 1, .dim = 16, .block = 1, .top = 2048, .scale = 1}, FORM_F32, true},
        {"the own block alone",
         {.heads = 2, .groups = 2, .dim = 16, .block = 4, .top = 1, .local = 1, .scale = 1},
         FORM_F32,
         false},
    };
    struct layout l = usual_layout();

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) check_index(&cases[i], &l);
    layout_free(&l);
}

/* Of what scores the same the lowest is taken; what is not a number is not passed over. */
static void ties_go_to_the_lowest(void **state)
{
    static const struct op_index p = {
        .heads = 1, .groups = 1, .dim = 1, .block = 1, .top = 4, .flags = INDEX_RELU, .scale = 1};
    float k[300], q = 1, w = 1;
    uint32_t list[5];
    struct layout l = layout_new();

    (void)state;
    layout_add(&l, 299, 300, 1000, 0);
    for (size_t way = 0; way < kernels_ways(); way++) {
        struct ops *o = kernels_open(way);
        const struct ops_rows r = layout_rows(&l, 0, 1);

        for (int i = 0; i < 300; i++) k[i] = -(float)i; /* they all score zero */
        k[0] = -0.0f;
        k[280] = 2;
        ops_index(o, &p, list, 5, &q, 1, &w, 1, k, FORM_F32, &r);
        assert_memory_equal(list, ((uint32_t[]){4, 0, 1, 2, 280}), sizeof list);
        k[290] = -NAN;
        ops_index(o, &p, list, 5, &q, 1, &w, 1, k, FORM_F32, &r);
        assert_memory_equal(list, ((uint32_t[]){4, 0, 1, 280, 290}), sizeof list);
        w = -1; /* the best are those that score least */
        ops_index(o, &p, list, 5, &q, 1, &w, 1, k, FORM_F32, &r);
        assert_memory_equal(list, ((uint32_t[]){4, 0, 1, 2, 290}), sizeof list);
        w = 1;
        ops_close(o);
    }
    layout_free(&l);
}

/* ---- attention over them ---- */

struct attention_case {
    const char *name;
    struct op_attention p;
    uint32_t kv_form;
    bool with_sinks;
};

/* Lists of random blocks, of each position and group. */
static uint32_t *some_lists(const struct op_attention *p, const struct layout *l, uint64_t *seed)
{
    const uint32_t ld = p->chosen_groups * (1 + p->chosen_top);
    uint32_t *lists = calloc((size_t)l->n * ld, 4);

    for (uint32_t i = 0; i < l->n; i++)
        for (uint32_t g = 0; g < p->chosen_groups; g++) {
            uint32_t *list = lists + (size_t)i * ld + g * (1 + p->chosen_top),
                     blocks = l->position[i] / p->chosen_block + 1;
            for (uint32_t b = 0; b < blocks; b++) {
                uint32_t left = blocks - b, wanted = p->chosen_top - *list;
                if (kernels_random(seed) % left < wanted) list[1 + (*list)++] = b;
            }
        }
    return lists;
}

static void run_attention(struct ops *o, const struct attention_case *t, const struct layout *l, const float *q,
                          const void *k, const void *v, const float *sinks, const uint32_t *lists, uint32_t i,
                          uint32_t n, float *dst)
{
    const uint32_t ldq = t->p.heads * t->p.dk, ldd = t->p.heads * t->p.dv;
    struct ops_rows r = layout_rows(l, i, n);
    r.ld_chosen = t->p.chosen_groups * (1 + t->p.chosen_top);
    r.chosen = lists + (size_t)i * r.ld_chosen;
    ops_attention(o, &t->p, dst + (size_t)i * ldd, ldd, q + (size_t)i * ldq, ldq, k, v, t->kv_form,
                  t->with_sinks ? sinks : NULL, NULL, &r);
}

static void check_attention(const struct attention_case *t, const struct layout *l)
{
    const uint32_t ldq = t->p.heads * t->p.dk, ldd = t->p.heads * t->p.dv, kw = t->p.kv_heads * t->p.dk,
                   vw = t->p.kv_heads * t->p.dv;
    const size_t size = (size_t)l->n * ldd;
    uint64_t seed = t->p.dk + t->p.chosen_top;
    float *q = kernels_floats(&seed, (size_t)l->n * ldq), *k = kernels_floats(&seed, (size_t)l->rows * kw),
          *v = kernels_floats(&seed, (size_t)l->rows * vw), *sinks = kernels_floats(&seed, t->p.heads);
    float *want = calloc(size, 4), *base = calloc(size, 4), *y = calloc(size, 4);
    void *kc = calloc((size_t)l->rows * kw, 4), *vc = calloc((size_t)l->rows * vw, 4);
    uint32_t *lists = some_lists(&t->p, l, &seed);
    struct ops_rows all = layout_rows(l, 0, l->n);
    struct ops *o = kernels_open(0);
    char text[160];

    store(o, t->kv_form, kc, kw, k, l->rows);
    store(o, t->kv_form, vc, vw, v, l->rows);
    for (uint32_t i = 0; i < l->n; i++) run_attention(o, t, l, q, kc, vc, sinks, lists, i, 1, base);
    ops_close(o);
    all.chosen = lists;
    all.ld_chosen = t->p.chosen_groups * (1 + t->p.chosen_top);
    reference_attention(&t->p, want, ldd, q, ldq, kc, vc, t->kv_form, t->with_sinks ? sinks : NULL, NULL, &all);
    kernels_assert_near(base, want, size, 3e-6, NULL, 1, t->name);
    for (size_t way = 0; way < kernels_ways(); way++) {
        static const uint32_t chunks[] = {1000, 64, 7};
        o = kernels_open(way);
        for (size_t c = 0; c < COUNT(chunks); c++) {
            snprintf(text, sizeof text, "%s, chunks of %u, %s", t->name, chunks[c], kernels_way_name(way));
            memset(y, 0, size * 4);
            for (uint32_t i = 0; i < l->n; i += chunks[c])
                run_attention(o, t, l, q, kc, vc, sinks, lists, i, l->n - i < chunks[c] ? l->n - i : chunks[c], y);
            kernels_assert_same(y, base, size, text);
        }
        assert_int_equal(ops_sync(o, NULL), 0);
        ops_close(o);
    }
    free(q), free(k), free(v), free(sinks), free(want), free(base), free(y), free(kc), free(vc), free(lists);
}

static void attention_looks_at_what_was_chosen(void **state)
{
    static const struct attention_case cases[] = {
        {"one list for all heads",
         {.heads = 20,
          .kv_heads = 1,
          .dk = 72,
          .dv = 64,
          .scale = 0.2f,
          .flags = ATTN_V_IN_K,
          .chosen_groups = 1,
          .chosen_top = 12,
          .chosen_block = 1},
         FORM_BF16,
         false},
        {"many heads, more than 64 chosen",
         {.heads = 70,
          .kv_heads = 1,
          .dk = 24,
          .dv = 16,
          .scale = 0.2f,
          .flags = ATTN_V_IN_K,
          .chosen_groups = 1,
          .chosen_top = 90,
          .chosen_block = 1},
         FORM_F32,
         false},
        {"a list for each kv head, in blocks",
         {.heads = 8,
          .kv_heads = 4,
          .dk = 32,
          .dv = 32,
          .scale = 0.2f,
          .chosen_groups = 4,
          .chosen_top = 3,
          .chosen_block = 8},
         FORM_F32,
         true},
        {"one for two kv heads, in blocks of nine",
         {.heads = 8,
          .kv_heads = 4,
          .dk = 17,
          .dv = 33,
          .scale = 0.2f,
          .cap = 3,
          .chosen_groups = 2,
          .chosen_top = 9,
          .chosen_block = 9},
         FORM_F16,
         false},
    };
    struct layout l = usual_layout();

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) check_attention(&cases[i], &l);
    layout_free(&l);
}

/* With all of them chosen it is attention without a list, to the bit. */
static void all_chosen_is_no_choice(void **state)
{
    struct attention_case t = {"",
                               {.heads = 6,
                                .kv_heads = 2,
                                .dk = 40,
                                .dv = 24,
                                .scale = 0.2f,
                                .chosen_groups = 1,
                                .chosen_top = 400,
                                .chosen_block = 1},
                               FORM_F32,
                               false};
    struct layout l = usual_layout();
    uint64_t seed = 5;
    float *q = kernels_floats(&seed, (size_t)l.n * 240), *k = kernels_floats(&seed, (size_t)l.rows * 80),
          *v = kernels_floats(&seed, (size_t)l.rows * 48), *a = calloc((size_t)l.n * 144, 4),
          *b = calloc((size_t)l.n * 144, 4);
    uint32_t *lists = some_lists(&t.p, &l, &seed);
    struct ops *o = kernels_open(0);

    (void)state;
    run_attention(o, &t, &l, q, k, v, NULL, lists, 0, l.n, a);
    t.p.chosen_top = 0;
    run_attention(o, &t, &l, q, k, v, NULL, lists, 0, l.n, b);
    kernels_assert_same(a, b, (size_t)l.n * 144, "all chosen");
    ops_close(o);
    free(q), free(k), free(v), free(a), free(b), free(lists);
    layout_free(&l);
}

/* ---- what is read: a row to a page, which opens when it is touched ---- */

static struct {
    unsigned char *at;
    size_t page, rows;
    uint32_t touched[400];
} watched;

static void open_page(int sig, siginfo_t *info, void *context)
{
    const size_t row = (size_t)((unsigned char *)info->si_addr - watched.at) / watched.page;

    (void)context;
    if ((unsigned char *)info->si_addr < watched.at || row >= watched.rows) {
        signal(sig, SIG_DFL);
        return;
    }
    watched.touched[row]++;
    mprotect(watched.at + row * watched.page, watched.page, PROT_READ | PROT_WRITE);
}

static void only_chosen_rows_are_read(void **state)
{
    struct attention_case t = {"",
                               {.heads = 16,
                                .kv_heads = 1,
                                .dk = 1024,
                                .dv = 512,
                                .scale = 0.05f,
                                .flags = ATTN_V_IN_K,
                                .chosen_groups = 1,
                                .chosen_top = 20,
                                .chosen_block = 1},
                               FORM_F32,
                               false};
    struct layout l = layout_new();
    struct sigaction mine = {.sa_sigaction = open_page, .sa_flags = SA_SIGINFO}, before;
    uint64_t seed = 6;
    float *q, *y;
    uint32_t *lists, chosen = 0, touched = 0;
    struct ops *o;

    (void)state;
    watched.page = (size_t)sysconf(_SC_PAGESIZE);
    if (watched.page != 1024 * sizeof(float)) skip();
    layout_add(&l, 349, 350, 30, 0);
    watched.rows = l.rows;
    watched.at = mmap(NULL, watched.rows * watched.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(watched.at != MAP_FAILED);
    for (size_t i = 0; i < watched.rows * 1024; i++) ((float *)(void *)watched.at)[i] = kernels_uniform(&seed);
    q = kernels_floats(&seed, 16 * 1024);
    y = calloc(16 * 512, 4);
    lists = some_lists(&t.p, &l, &seed);
    assert_int_equal(lists[0], 20);
    o = kernels_open(0);
    sigaction(SIGSEGV, &mine, &before);
    mprotect(watched.at, watched.rows * watched.page, PROT_NONE);
    run_attention(o, &t, &l, q, watched.at, watched.at, NULL, lists, 0, 1, y);
    sigaction(SIGSEGV, &before, NULL);
    for (uint32_t j = 0; j < 350; j++) {
        const uint32_t row = (11 - j / 30) * 30 + j % 30;
        bool listed = false;

        for (uint32_t k = 0; k < lists[0]; k++) listed |= lists[1 + k] == j;
        assert_int_equal(watched.touched[row] > 0, listed);
        chosen += listed;
        touched += watched.touched[row] > 0;
    }
    for (size_t row = 0; row < watched.rows; row++) touched -= watched.touched[row] > 0;
    assert_int_equal(chosen, 20);
    assert_int_equal(touched, 0); /* and of rows that hold no position, none */
    ops_close(o);
    munmap(watched.at, watched.rows * watched.page);
    free(q), free(y), free(lists);
    layout_free(&l);
}

static void little_scratch_is_told(void **state)
{
    static const struct op_index p = {.heads = 1, .groups = 60000, .dim = 1, .block = 1, .top = 1, .scale = 1};
    const struct ops_options options = {.threads = 1};
    const struct ops_rows r = {.n = 1, .max_position = 100000};
    struct error e = {0};
    struct ops *o;

    (void)state;
    assert_int_equal(ops_open(&o, &options, &e), 0);
    ops_index(o, &p, NULL, 0, NULL, 0, NULL, 0, NULL, FORM_F32, &r);
    assert_int_equal(ops_sync(o, &e), -ENOMEM);
    assert_non_null(strstr(e.text, "100001"));
    ops_index(o, &p, NULL, 0, NULL, 0, NULL, 0, NULL, FORM_F8_E4M3, &r);
    assert_int_equal(ops_sync(o, &e), -ENOTSUP);
    ops_close(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_those_of_the_formula),     cmocka_unit_test(ties_go_to_the_lowest),
        cmocka_unit_test(attention_looks_at_what_was_chosen), cmocka_unit_test(all_chosen_is_no_choice),
        cmocka_unit_test(only_chosen_rows_are_read),          cmocka_unit_test(little_scratch_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
