/* Cutting, budgets, pins and the image, over odd shapes, smallest slots and the shapes of the largest models. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "coordinator/plan/cost.h"
#include "coordinator/plan/tiling.h"
#include "coordinator/plan/placement.h"
#include "coordinator/plan/plan.h"
#include "proto/plan.h"
#include "tests/support_program.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static struct plan_shm *build_settings(const struct plan_shm *p, const struct plan_settings *s)
{
    struct error e = {0};
    struct plan_shm *plan;
    uint64_t bytes;

    if (plan_build(&plan, &bytes, p, s, &e)) fail_msg("%s", e.text);
    assert_int_equal(bytes, plan->bytes);
    return plan;
}

static struct plan_shm *build(const struct test_shape *shape, const struct plan_settings *s)
{
    struct plan_shm *p = test_image(shape), *plan = build_settings(p, s);

    free(p);
    return plan;
}

static uint64_t host_cost(const struct plan_shm *p, uint64_t text, struct cost *c)
{
    cost_count(c, p, &p->run, p->bytes, text);
    return c->host;
}

/* ---- names ---- */

static void test_names(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < OP_KINDS; k++) assert_string_not_equal(plan_op_name(k), "unknown");
    assert_string_equal(plan_op_name(OP_KINDS), "unknown");
}

/* ---- cutting ---- */

static void expect_whole_sweep(const struct plan_shm *p, const struct plan_shm *prog)
{
    uint64_t bytes = 0, short_tiles = 0;

    for (uint64_t i = 0; i < p->spec.sweep_tiles; i++) {
        bytes += plan_tiles(p)[i].bytes;
        assert_true(plan_tiles(p)[i].span <= p->run.slot_bytes);
        assert_true(plan_tiles(p)[i].layer < p->spec.layers + 1);
        if (plan_tiles(p)[i].span < p->run.slot_bytes / 8) short_tiles++;
    }
    assert_true(bytes >= tiling_sweep_bytes(prog)); /* a block of scales may be read for two pieces */
    assert_true(bytes <= tiling_sweep_bytes(prog) + p->parts.count * 4096);
    if (p->run.slot_bytes > 16 * tiling_slot_least(prog)) assert_true(short_tiles <= 1 + p->spec.sweep_tiles / 16);
}

static void cut_at_all_sizes(const struct test_shape *shape)
{
    struct plan_settings s = test_settings(GIB);
    struct plan_shm *p = test_image(shape);
    uint64_t least = tiling_slot_least(p);

    assert_int_equal(least % PLAN_PAGE, 0);
    for (uint64_t i = 0; i < 24; i++) {
        struct plan_shm *plan;

        s.slot_bytes = i < 12 ? least + i * PLAN_PAGE : least << (i - 12);
        if (s.slot_bytes > 16 * MIB) break;
        plan = build_settings(p, &s);
        assert_int_equal(plan->run.slot_bytes, s.slot_bytes);
        expect_whole_sweep(plan, p);
        free(plan);
    }
    free(p);
}

static void test_cut_dense(void **state)
{
    struct test_shape s = test_shape_small;

    (void)state;
    cut_at_all_sizes(&s);
    s.gap = 13, s.hidden = 50, s.vocab = 1;
    cut_at_all_sizes(&s);
    s = test_shape_small;
    s.layers = 1, s.hidden = 1500, s.inter = 4099, s.vocab = 10007, s.heads = 12, s.kv_heads = 1, s.head_dim = 126;
    cut_at_all_sizes(&s);
    s.form = FORM_F32;
    cut_at_all_sizes(&s);
}

static void test_cut_scaled(void **state)
{
    struct test_shape s = test_shape_small;

    (void)state;
    s.form = FORM_F8_E4M3;
    for (uint32_t block = 1; block <= 128; block *= 2) {
        s.block = block;
        cut_at_all_sizes(&s);
    }
    s.form = FORM_MXFP4, s.hidden = 64, s.inter = 96, s.head_dim = 16;
    cut_at_all_sizes(&s);
    s.hidden = 1024, s.inter = 2880 / 32 * 32, s.heads = 8, s.kv_heads = 8, s.head_dim = 64, s.latent = true;
    cut_at_all_sizes(&s);
}

static void test_cut_heads_and_states(void **state)
{
    struct test_shape s = test_shape_small;

    (void)state;
    s.latent = s.recurrent = true;
    cut_at_all_sizes(&s);
    s.form = FORM_F8_E4M3, s.block = 7;
    cut_at_all_sizes(&s);
    s.heads = 128, s.kv_heads = 128, s.hidden = 512;
    cut_at_all_sizes(&s);
}

static void test_cut_experts(void **state)
{
    struct test_shape s = test_shape_small;

    (void)state;
    s.experts = 7, s.top = 2;
    for (int form = 0; form < 8; form++) {
        s.fused = form & 1, s.transposed = form & 2, s.biased = form & 4;
        s.gap = (uint64_t)form * 1001;
        cut_at_all_sizes(&s);
    }
    s.hidden = 128, s.inter = 96, s.form = FORM_MXFP4, s.head_dim = 16, s.heads = 8;
    s.transposed = false;
    cut_at_all_sizes(&s);
    s.form = FORM_F8_E4M3, s.block = 32;
    cut_at_all_sizes(&s);
}

static void test_experts_are_alike(void **state)
{
    struct test_shape s = test_shape_small;
    struct plan_settings set = test_settings(GIB);
    struct plan_shm *p;

    (void)state;
    s.experts = 9, s.top = 3, s.biased = true, s.inter = 1000, s.gap = 333;
    set.slot_bytes = 32 << 10;
    p = build(&s, &set);
    for (uint64_t t = 0; t < p->experts.count; t++) {
        const struct plan_expert_tiles *x = plan_expert_tiles(p) + t;

        for (uint32_t e = 1; e < plan_experts(p)[t].experts; e++)
            for (uint32_t i = 0; i < x->each; i++) {
                const struct plan_tile *a = plan_tiles(p) + x->tile0 + i, *b = a + (uint64_t)e * x->each;

                assert_int_equal(a->parts, b->parts);
                assert_int_equal(a->bytes, b->bytes);
                for (uint32_t k = 0; k < a->parts; k++)
                    assert_int_equal(plan_parts(p)[a->part0 + k].rows, plan_parts(p)[b->part0 + k].rows);
            }
    }
    free(p);
}

/* Planning reads its input: with one set of settings after the other, and again, it gives what it gives alone. */
static void test_tied_and_replanned(void **state)
{
    struct plan_settings s = test_settings(GIB);
    struct plan_shm *p, *before;
    struct test_shape shape = test_shape_small;

    (void)state;
    shape.experts = 3, shape.top = 2, shape.biased = true;
    p = test_image(&shape);
    for (uint64_t i = 0; i < p->ops.count; i++) { /* the head is the embedding table */
        struct plan_op *o = (struct plan_op *)(uintptr_t)&plan_ops(p)[i];

        if (o->kind == OP_MATMUL && i + 2 == p->ops.count) o->matmul.matrix = p->spec.embed_matrix;
    }
    before = malloc(p->bytes);
    assert_non_null(before);
    memcpy(before, p, p->bytes);
    for (s.slot_bytes = tiling_slot_least(p); s.slot_bytes < MIB; s.slot_bytes *= 2) {
        struct plan_settings other = test_settings(GIB / 2);
        struct plan_shm *a = build_settings(p, &s), *between = build_settings(p, &other), *b = build_settings(p, &s);

        assert_int_equal(a->bytes, b->bytes);
        assert_memory_equal(a, b, a->bytes);
        assert_memory_equal(p, before, p->bytes);
        free(a);
        free(between);
        free(b);
    }
    free(before);
    free(p);
}

static void expect_refused(const struct test_shape *shape, const struct plan_settings *s, int code, const char *text)
{
    struct error e = {0};
    struct plan_shm *plan, *p = test_image(shape);
    uint64_t bytes;

    assert_int_equal(plan_build(&plan, &bytes, p, s, &e), -code);
    assert_null(plan);
    if (!strstr(e.text, text)) fail_msg("\"%s\" does not say \"%s\"", e.text, text);
    free(p);
}

static void test_values_refused(void **state)
{
    struct plan_settings s = test_settings(GIB), base = s;
    struct test_shape shape = test_shape_small;

    (void)state;
    shape.hidden = 1 << 15;
    s.slot_bytes = 4096;
    expect_refused(&shape, &s, EINVAL, "--slot-mib 0.067");
    s = base, s.slot_bytes = 4 * GIB;
    expect_refused(&shape, &s, EINVAL, "--slot-mib 1024");
    s = base, s.context = 257;
    expect_refused(&shape, &s, EINVAL, "--context 256");
    s = base, s.reader_depth = 1 << 20;
    expect_refused(&shape, &s, EINVAL, "--reader-depth");
    s = base, s.io_depth = 5000;
    expect_refused(&shape, &s, EINVAL, "4096");
    s = base, s.sequences = 1 << 30;
    expect_refused(&shape, &s, EINVAL, "sequences");
    s = base, s.sequences = (1 << 20) + 1; /* a block for each is too much */
    expect_refused(&shape, &s, EINVAL, "sequences");
}

static void test_broken_programs(void **state)
{
    struct plan_settings s = test_settings(GIB);
    struct test_shape shape = test_shape_small;
    struct error e;
    struct plan_shm *plan;
    uint64_t bytes;

    (void)state;
    shape.experts = 4, shape.top = 2, shape.biased = true;
    for (size_t broken = 0; broken < 5; broken++) {
        struct plan_shm *p = test_image(&shape);
        struct plan_experts *x = (struct plan_experts *)(uintptr_t)&plan_experts(p)[1];

        if (broken == 0) x->matrix0 = UINT32_MAX - 2;
        if (broken == 1) x->bias0 = UINT32_MAX - 2;
        if (broken == 2) x->experts = 1 << 30;
        if (broken == 3) ((struct plan_matrix *)(uintptr_t)plan_matrices(p))[x->matrix0 + 4].rows--;
        if (broken == 4) ((struct plan_file *)(uintptr_t)plan_files(p))->bytes = 100;
        memset(&e, 0, sizeof e);
        assert_int_equal(plan_build(&plan, &bytes, p, &s, &e), -EPROTO);
        assert_true(strlen(e.text) > 15);
        free(p);
    }
}

/* ---- operations ---- */

static double weights_of_tiles(const struct plan_shm *p, uint64_t tile, uint64_t end, bool head)
{
    uint32_t last = plan_ops(p)[p->ops.count - 2].matmul.matrix;
    double n = 0;

    for (; tile < end; tile++)
        for (uint32_t k = 0; k < plan_tiles(p)[tile].parts; k++) {
            const struct plan_part *x = &plan_parts(p)[plan_tiles(p)[tile].part0 + k];

            if (x->role == PART_WEIGHT && (x->index == last) == head)
                n += (double)x->rows * (double)plan_matrices(p)[x->index].cols;
        }
    return n;
}

/* A position meets every row that travels in a sweep once, rows of the head if it wants logits, and of the experts those that
 * it chooses. */
static void test_flops(void **state)
{
    struct plan_settings set = test_settings(GIB);
    struct test_shape shapes[] = {test_shape_small, test_shape_small, test_shape_small, test_shape_small,
                                  test_shape_small};

    (void)state;
    shapes[1].latent = true;
    shapes[2].recurrent = true;
    shapes[3].experts = 6, shapes[3].top = 2, shapes[3].fused = true;
    shapes[4].experts = 5, shapes[4].top = 5, shapes[4].transposed = true, shapes[4].biased = true;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct plan_shm *p = build(&shapes[i], &set);
        uint64_t first = p->spec.sweep_tiles + p->spec.resident_tiles;
        double dense = weights_of_tiles(p, 0, p->spec.sweep_tiles, false),
               head = weights_of_tiles(p, 0, p->spec.sweep_tiles, true);
        double experts = weights_of_tiles(p, first, p->tiles.count, false);

        if (experts > 0) experts = experts * shapes[i].top / shapes[i].experts;
        assert_true(dense > 0 && head > 0 && (experts > 0) == (shapes[i].experts > 0));
        assert_true(plan_flops(p, 1, 0) == 2 * (dense + experts));
        assert_true(plan_flops(p, 7, 3) == 2 * (7 * (dense + experts) + 3 * head));
        free(p);
    }
}

/* ---- budgets ---- */

static void test_budget_holds(void **state)
{
    struct test_shape shape = test_shape_small;
    struct cost c;

    (void)state;
    shape.layers = 8, shape.hidden = 2048, shape.inter = 5632, shape.heads = 16, shape.kv_heads = 4,
    shape.head_dim = 128, shape.vocab = 32000;
    shape.context = 8192;
    for (uint64_t budget = 48 * MIB; budget < 4 * GIB; budget += budget / 3) {
        struct plan_settings s = test_settings(budget);
        struct plan_shm *p, *prog = test_image(&shape);
        struct error e = {0};
        uint64_t bytes;
        int rc = plan_build(&p, &bytes, prog, &s, &e);

        free(prog);
        if (rc) { /* the one that it names does, and is more than this */
            const char *named = strstr(e.text, "would do is ");

            assert_non_null(named);
            s.host_memory = strtoull(named + strlen("would do is "), NULL, 10) * 1000000;
            assert_true(s.host_memory > budget);
            p = build(&shape, &s);
        }
        assert_true(host_cost(p, s.text_bytes, &c) <= s.host_memory);
        if (s.host_memory > 2 * GIB) assert_int_equal(plan_tiles(p)[0].tier, TIER_HOST);
        free(p);
    }
}

static void test_automatic_settings(void **state)
{
    struct plan_settings s = test_settings(16 * GIB);
    struct test_shape shape = test_shape_small;
    struct plan_shm *p;

    (void)state;
    shape.context = 131072;
    p = build(&shape, &s);
    assert_int_equal(p->run.kv_rows, 4096);
    assert_int_equal(p->run.max_positions, 1024);
    assert_int_equal(p->run.max_logits, 1);
    assert_true(p->run.slot_bytes <= 256 << 10);
    free(p);
    s.want_tokens = 9000, s.prompt_tokens = 100, s.max_logits = 100;
    p = build(&shape, &s);
    assert_int_equal(p->run.kv_rows, 9000);
    assert_int_equal(p->run.max_positions, 128); /* a replay after a stage's death is longer than the prompt */
    assert_int_equal(p->run.max_logits, 100);
    free(p);
    s.chunk = 7, s.sequences = 3, s.branches = 64, s.context = 50;
    p = build(&shape, &s);
    assert_int_equal(p->run.max_positions, 7);
    assert_int_equal(p->run.max_logits, 7);
    assert_int_equal(p->run.kv_rows, 3 * KV_BLOCK + 64); /* whole blocks for each */
    free(p);
    /* a context of its own choice for very many: what the cache can number, not what 32 bits are left with */
    s = test_settings(UINT64_C(1) << 50), s.sequences = (1 << 16) + 1;
    shape.layers = 1;
    p = build(&shape, &s);
    assert_int_equal(p->run.kv_rows, ((1 << 16) + 1) * (960 / KV_BLOCK * KV_BLOCK));
    free(p);
    s = test_settings(16 * GIB);
    s.reader_depth = 1, s.slot_bytes = 1000001;
    p = build(&shape, &s);
    assert_int_equal(p->run.reader_slots[0], 1);
    assert_int_equal(p->run.slot_bytes, 1003520);
    free(p);
}

static void test_small_dev_shm(void **state)
{
    struct test_shape shape = test_shape_small;
    struct plan_settings s = test_settings(64 * GIB);
    struct plan_shm *p;
    struct cost c;

    (void)state;
    shape.layers = 32, shape.hidden = 4096, shape.inter = 14336, shape.heads = 32, shape.kv_heads = 8,
    shape.head_dim = 128;
    shape.vocab = 128256, shape.context = 8192;
    for (uint64_t shm = 16 * MIB; shm < 256 * MIB; shm *= 2) {
        s.shm_free = shm;
        p = build(&shape, &s);
        host_cost(p, s.text_bytes, &c);
        assert_true(c.shm <= shm);
        free(p);
    }
    s.shm_free = 64 * MIB;
    s.reader_depth = 100, s.slot_bytes = MIB;
    expect_refused(&shape, &s, ENOMEM, "--shm-size");
    s = test_settings(64 * GIB);
    s.shm_free = 64 << 10;
    expect_refused(&shape, &s, ENOMEM, "/dev/shm");
}

/* 126 layers, hidden 16384, vocabulary 128256: all processes together within 2 GiB, and no less than it says. */
static void test_largest_dense_shape(void **state)
{
    const struct test_shape shape = {.layers = 126,
                                     .hidden = 16384,
                                     .inter = 53248,
                                     .heads = 128,
                                     .kv_heads = 8,
                                     .head_dim = 128,
                                     .vocab = 128256,
                                     .context = 131072,
                                     .form = FORM_BF16};
    struct plan_settings s = test_settings(2 * GIB);
    struct plan_shm *p;
    struct cost c;

    (void)state;
    s.text_bytes = 0;
    p = build(&shape, &s);
    assert_true(host_cost(p, 0, &c) <= 2 * GIB);
    assert_true(p->run.kv_rows >= 512 && p->run.max_positions >= 32);
    assert_true(c.arena >= 16 * MIB);
    free(p);
    s.host_memory = 64 * MIB;
    expect_refused(&shape, &s, ENOMEM, "smallest that would do");
}

static void test_largest_sparse_shape(void **state)
{
    struct test_shape shape = {.layers = 61,
                               .hidden = 7168,
                               .inter = 2048,
                               .heads = 128,
                               .kv_heads = 1,
                               .head_dim = 128,
                               .vocab = 129280,
                               .context = 163840,
                               .form = FORM_F8_E4M3,
                               .block = 128,
                               .experts = 256,
                               .top = 8};
    struct plan_settings s = test_settings(3 * GIB);
    struct plan_shm *p;
    struct cost c;

    (void)state;
    p = build(&shape, &s);
    assert_true(host_cost(p, s.text_bytes, &c) <= 3 * GIB);
    assert_int_equal(p->spec.demand_tiles % (61 * 256), 0);
    free(p);
    shape.experts = 384;
    s.host_memory = 4 * GIB;
    p = build(&shape, &s);
    assert_true(host_cost(p, s.text_bytes, &c) <= 4 * GIB);
    free(p);
}

/* ---- pins ---- */

static void test_spread_is_even(void **state)
{
    enum { N = 1000 };
    static struct plan_tile tiles[N];

    (void)state;
    for (uint32_t step = 1; step <= 40; step++) {
        uint64_t total = 0, used, pinned = 0, passed = 0, widest = 0;

        memset(tiles, 0, sizeof tiles);
        for (uint32_t i = 0; i < N; i++) {
            tiles[i].span = PLAN_PAGE * (1 + (i * 7919 * step) % 97);
            total += tiles[i].span;
            if (tiles[i].span > widest) widest = tiles[i].span;
        }
        used = placement_spread(tiles, N, total * step / 40, TIER_HOST, TILE_STAYS);
        assert_true(used <= total * step / 40 && used + widest >= total * step / 40);
        for (uint32_t i = 0; i < N; i++) { /* at no point is the pinned share further off than one tile */
            passed += tiles[i].span;
            if (tiles[i].tier == TIER_HOST) {
                assert_int_equal(tiles[i].tier_off, pinned);
                pinned += tiles[i].span;
            }
            assert_true(pinned * 40 <= passed * step);
            assert_true((pinned + widest) * 40 >= passed * step);
        }
        if (step == 40) assert_int_equal(used, total);
    }
    assert_int_equal(placement_spread(tiles, 0, 100, TIER_HOST, 0), 0);
}

static void test_pins_host(void **state)
{
    struct plan_settings s = test_settings(UINT64_MAX);
    struct test_shape shape = test_shape_small;
    struct plan_shm *p = build(&shape, &s);
    uint64_t least;
    struct cost c;

    (void)state;
    for (uint64_t i = 0; i < p->spec.sweep_tiles; i++) {
        assert_int_equal(plan_tiles(p)[i].tier, TIER_HOST);
        assert_int_equal(plan_tiles(p)[i].flags, TILE_STAYS);
    }
    least = host_cost(p, s.text_bytes, &c) - p->run.host_cache_bytes;
    free(p);
    s.host_memory = least - (64 << 10);
    s.context = 256, s.chunk = 256, s.reader_depth = 32, s.slot_bytes = 128 << 10;
    expect_refused(&shape, &s, ENOMEM, "would do is");
}

static void test_pins_device(void **state)
{
    struct plan_settings s = test_settings(4 * GIB);
    struct test_shape shape = test_shape_small;
    uint64_t tiers[3] = {0};
    struct plan_shm *p;

    (void)state;
    shape.layers = 8, shape.hidden = 2048, shape.inter = 5632, shape.heads = 16, shape.kv_heads = 4,
    shape.head_dim = 128, shape.vocab = 32000;
    s.backend = BACKEND_CUDA, s.device_memory = 900 * MIB, s.host_memory = 950 * MIB, s.context = 256, s.chunk = 32;
    p = build(&shape, &s);
    assert_true(p->run.transfer_slots[0] >= 1 && p->run.transfer_slots[1] >= 1);
    for (uint64_t i = 0; i < p->spec.sweep_tiles; i++) {
        const struct plan_tile *t = plan_tiles(p) + i;

        tiers[t->tier] += t->span;
        assert_int_equal(t->flags, t->tier == TIER_DEVICE ? TILE_STAYS : 0);
    }
    assert_true(tiers[TIER_DEVICE] > 50 * MIB && tiers[TIER_HOST] > 50 * MIB && tiers[TIER_DISK] > 50 * MIB);
    assert_int_equal(tiers[TIER_DEVICE], p->run.device_pin_bytes);
    assert_int_equal(tiers[TIER_HOST], p->run.host_cache_bytes);
    free(p);
    s.device_memory = 100 * MIB, s.device_memory_given = true;
    expect_refused(&shape, &s, ENOMEM, "--device-memory");
}

static void test_expert_cache(void **state)
{
    struct test_shape shape = test_shape_small;
    struct plan_settings s = test_settings(UINT64_MAX);
    struct plan_shm *p;
    uint64_t experts = 0, dense, fixed;
    struct cost c;

    (void)state;
    shape.hidden = 256, shape.inter = 512, shape.experts = 16, shape.top = 2;
    p = build(&shape, &s);
    for (uint64_t i = p->tiles.count - p->spec.demand_tiles; i < p->tiles.count; i++) experts += plan_tiles(p)[i].span;
    assert_int_equal(p->run.expert_cache_bytes, experts);
    dense = p->run.host_cache_bytes - experts;
    fixed = host_cost(p, s.text_bytes, &c) - c.cache - c.tables;
    assert_true(p->run.reader_slots[1] >= 4);
    s.slot_bytes = p->run.slot_bytes, s.reader_depth = p->run.reader_slots[0], s.chunk = p->run.max_positions,
    s.context = p->run.kv_rows;
    free(p);
    s.host_memory = fixed + (dense + experts / 2) / 1000 * 1010; /* all of the sweep, half of the experts */
    p = build(&shape, &s);
    assert_int_equal(p->run.host_cache_bytes - p->run.expert_cache_bytes, dense);
    assert_true(p->run.expert_cache_bytes > experts / 4 && p->run.expert_cache_bytes < experts);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_cut_dense),
        cmocka_unit_test(test_cut_scaled),
        cmocka_unit_test(test_cut_heads_and_states),
        cmocka_unit_test(test_cut_experts),
        cmocka_unit_test(test_experts_are_alike),
        cmocka_unit_test(test_tied_and_replanned),
        cmocka_unit_test(test_values_refused),
        cmocka_unit_test(test_broken_programs),
        cmocka_unit_test(test_flops),
        cmocka_unit_test(test_budget_holds),
        cmocka_unit_test(test_automatic_settings),
        cmocka_unit_test(test_small_dev_shm),
        cmocka_unit_test(test_largest_dense_shape),
        cmocka_unit_test(test_largest_sparse_shape),
        cmocka_unit_test(test_spread_is_even),
        cmocka_unit_test(test_pins_host),
        cmocka_unit_test(test_pins_device),
        cmocka_unit_test(test_expert_cache),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
