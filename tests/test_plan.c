/* Cutting, the image and what is refused, over odd shapes and smallest slots. */
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
#include "tests/support_plan.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

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
        plan = plan_with(p, &s);
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
    p = plan_of(&s, &set);
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
        struct plan_shm *a = plan_with(p, &s), *between = plan_with(p, &other), *b = plan_with(p, &s);

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

static void test_values_refused(void **state)
{
    struct plan_settings s = test_settings(GIB), base = s;
    struct test_shape shape = test_shape_small;

    (void)state;
    shape.hidden = 1 << 15;
    s.slot_bytes = 4096;
    expect_no_plan(&shape, &s, EINVAL, "--slot-mib 0.067");
    s = base, s.slot_bytes = 4 * GIB;
    expect_no_plan(&shape, &s, EINVAL, "--slot-mib 1024");
    s = base, s.context = 257;
    expect_no_plan(&shape, &s, EINVAL, "--context 256");
    s = base, s.reader_depth = 1 << 20;
    expect_no_plan(&shape, &s, EINVAL, "--reader-depth");
    s = base, s.io_depth = 5000;
    expect_no_plan(&shape, &s, EINVAL, "4096");
    s = base, s.sequences = 1 << 30;
    expect_no_plan(&shape, &s, EINVAL, "sequences");
    s = base, s.sequences = (1 << 20) + 1; /* a block for each is too much */
    expect_no_plan(&shape, &s, EINVAL, "sequences");
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
        struct plan_shm *p = plan_of(&shapes[i], &set);
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
