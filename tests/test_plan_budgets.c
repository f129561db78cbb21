/* Budgets, what gives way to them, and pins, up to the shapes of the largest models. */
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
#include "proto/control.h"
#include "proto/plan.h"
#include "tests/support_plan.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

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
            p = plan_of(&shape, &s);
        }
        assert_true(plan_host_bytes(p, s.text_bytes, &c) <= s.host_memory);
        if (s.host_memory > 2 * GIB) assert_int_equal(plan_tiles(p)[0].tier, TIER_HOST);
        free(p);
    }
}

/* What measuring takes is within the budget too, and where one is refused the one that is named does. */
static void test_memory_for_measuring(void **state)
{
    struct test_shape shape = test_shape_small;
    struct cost c;

    (void)state;
    shape.layers = 8, shape.hidden = 1024, shape.inter = 2816, shape.heads = 16, shape.kv_heads = 4,
    shape.head_dim = 64, shape.vocab = 8000;
    for (int what = 0; what < 4; what++)
        for (uint64_t budget = MIB; budget < 4 * GIB; budget += budget / 2) {
            struct plan_settings s = test_settings(budget);
            struct plan_shm *p, *prog = test_image(&shape);
            struct error e = {0};
            uint64_t bytes;

            s.measures = what > 0;
            s.no_pins = what < 3;
            s.cache_slots = what == 2 ? 6 : 0;
            s.io_find = what == 0 || what == 3 ? IO_FIND_ON_WISH : IO_FIND_NOTHING;
            if (plan_build(&p, &bytes, prog, &s, &e)) {
                const char *named = strstr(e.text, "would do is ");

                assert_non_null(named);
                s.host_memory = strtoull(named + strlen("would do is "), NULL, 10) * 1000000;
                assert_true(s.host_memory > budget);
                p = plan_with(prog, &s);
            }
            free(prog);
            assert_true(plan_host_bytes(p, s.text_bytes, &c) <= s.host_memory);
            assert_true(p->run.peak_bytes >= (s.measures ? 4 * MIB : 0));
            assert_true(p->run.probe_bytes >= (s.io_find ? 8 * MIB : 0));
            assert_true(p->run.host_cache_bytes >= s.cache_slots * p->run.slot_bytes);
            if (s.no_pins && !s.cache_slots) assert_int_equal(p->run.host_cache_bytes, 0);
            if (s.no_pins) assert_int_equal(plan_tiles(p)[0].tier, TIER_DISK);
            if (budget > 2 * GIB && s.measures) assert_true(p->run.peak_bytes == PLAN_PEAK_MOST);
            if (budget > 2 * GIB && s.io_find) assert_true(p->run.probe_bytes == PLAN_PROBE_MOST);
            if (budget > 2 * GIB && !s.no_pins) assert_int_equal(plan_tiles(p)[0].tier, TIER_HOST);
            free(p);
        }
}

/* A sweep's positions travel: what their message takes grows with them, in two processes. */
static void test_messages_are_counted(void **state)
{
    struct plan_settings s = test_settings(16 * GIB);
    struct test_shape shape = test_shape_small;
    struct plan_shm *p;
    struct cost few, many;

    (void)state;
    shape.context = 1 << 20;
    s.context = 1 << 20;
    s.chunk = 1;
    p = plan_of(&shape, &s);
    plan_host_bytes(p, s.text_bytes, &few);
    p->run.max_positions = 100001;
    plan_host_bytes(p, s.text_bytes, &many);
    /* the coordinator's list and order, the message at both ends */
    assert_true(many.process - few.process >= UINT64_C(100000) * 6 * sizeof(struct sweep_position));
    free(p);
}

/* Reads that are tried before the first sweep take no pin away, and are left out where there is no memory for them. */
static void test_memory_for_first_reads(void **state)
{
    struct test_shape shape = test_shape_small;
    bool tried = false, left_out = false;
    struct cost c;

    (void)state;
    shape.layers = 8, shape.hidden = 1024, shape.inter = 2816, shape.heads = 16, shape.kv_heads = 4,
    shape.head_dim = 64, shape.vocab = 8000;
    for (uint64_t budget = 56 * MIB; budget < 512 * MIB; budget += 8 * MIB) {
        struct plan_settings s = test_settings(budget);
        struct plan_shm *plain, *p;

        plain = plan_of(&shape, &s);
        s.io_find = IO_FIND_FIRST;
        p = plan_of(&shape, &s);
        assert_int_equal(p->run.host_cache_bytes, plain->run.host_cache_bytes);
        assert_true(plan_host_bytes(p, s.text_bytes, &c) <= budget);
        if (p->run.io_find == IO_FIND_FIRST) {
            tried = true;
            assert_true(p->run.probe_bytes >= 16 * MIB && p->run.probe_bytes <= PLAN_PROBE_MOST);
        } else {
            left_out = true;
            assert_int_equal(p->run.probe_bytes, 0);
        }
        free(plain);
        free(p);
    }
    assert_true(tried && left_out);
}

static void test_automatic_settings(void **state)
{
    struct plan_settings s = test_settings(16 * GIB);
    struct test_shape shape = test_shape_small;
    struct plan_shm *p;

    (void)state;
    shape.context = 131072;
    p = plan_of(&shape, &s);
    assert_int_equal(p->run.kv_rows, 4096);
    assert_int_equal(p->run.max_positions, 1024);
    assert_int_equal(p->run.max_logits, 1);
    assert_true(p->run.slot_bytes <= 256 << 10);
    free(p);
    s.want_tokens = 9000, s.prompt_tokens = 100, s.max_logits = 100;
    p = plan_of(&shape, &s);
    assert_int_equal(p->run.kv_rows, 9000);
    assert_int_equal(p->run.max_positions, 128); /* a replay after a stage's death is longer than the prompt */
    assert_int_equal(p->run.max_logits, 100);
    free(p);
    s.chunk = 7, s.sequences = 3, s.branches = 64, s.context = 50;
    p = plan_of(&shape, &s);
    assert_int_equal(p->run.max_positions, 7);
    assert_int_equal(p->run.max_logits, 7);
    assert_int_equal(p->run.kv_rows, 3 * KV_BLOCK + 64); /* whole blocks for each */
    free(p);
    /* a context of its own choice for very many: what the cache can number, not what 32 bits are left with */
    s = test_settings(UINT64_C(1) << 50), s.sequences = (1 << 16) + 1;
    shape.layers = 1;
    p = plan_of(&shape, &s);
    assert_int_equal(p->run.kv_rows, ((1 << 16) + 1) * (960 / KV_BLOCK * KV_BLOCK));
    free(p);
    s = test_settings(16 * GIB);
    s.reader_depth = 1, s.slot_bytes = 1000001;
    p = plan_of(&shape, &s);
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
        p = plan_of(&shape, &s);
        plan_host_bytes(p, s.text_bytes, &c);
        assert_true(c.shm <= shm);
        free(p);
    }
    s.shm_free = 64 * MIB;
    s.reader_depth = 100, s.slot_bytes = MIB;
    expect_no_plan(&shape, &s, ENOMEM, "--shm-size");
    s = test_settings(64 * GIB);
    s.shm_free = 64 << 10;
    expect_no_plan(&shape, &s, ENOMEM, "/dev/shm");
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
    p = plan_of(&shape, &s);
    assert_true(plan_host_bytes(p, 0, &c) <= 2 * GIB);
    assert_true(p->run.kv_rows >= 512 && p->run.max_positions >= 32);
    assert_true(c.arena >= 16 * MIB);
    free(p);
    s.host_memory = 64 * MIB;
    expect_no_plan(&shape, &s, ENOMEM, "smallest that would do");
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
    p = plan_of(&shape, &s);
    assert_true(plan_host_bytes(p, s.text_bytes, &c) <= 3 * GIB);
    assert_int_equal(p->spec.demand_tiles % (61 * 256), 0);
    free(p);
    shape.experts = 384;
    s.host_memory = 4 * GIB;
    p = plan_of(&shape, &s);
    assert_true(plan_host_bytes(p, s.text_bytes, &c) <= 4 * GIB);
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
    struct plan_shm *p = plan_of(&shape, &s);
    uint64_t least;
    struct cost c;

    (void)state;
    for (uint64_t i = 0; i < p->spec.sweep_tiles; i++) {
        assert_int_equal(plan_tiles(p)[i].tier, TIER_HOST);
        assert_int_equal(plan_tiles(p)[i].flags, TILE_STAYS);
    }
    least = plan_host_bytes(p, s.text_bytes, &c) - p->run.host_cache_bytes;
    free(p);
    s.host_memory = least - (64 << 10);
    s.context = 256, s.chunk = 256, s.reader_depth = 32, s.slot_bytes = 128 << 10;
    expect_no_plan(&shape, &s, ENOMEM, "would do is");
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
    p = plan_of(&shape, &s);
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
    expect_no_plan(&shape, &s, ENOMEM, "--device-memory");
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
    p = plan_of(&shape, &s);
    for (uint64_t i = p->tiles.count - p->spec.demand_tiles; i < p->tiles.count; i++) experts += plan_tiles(p)[i].span;
    assert_int_equal(p->run.expert_cache_bytes, experts);
    dense = p->run.host_cache_bytes - experts;
    fixed = plan_host_bytes(p, s.text_bytes, &c) - c.cache - c.tables;
    assert_true(p->run.reader_slots[1] >= 4);
    s.slot_bytes = p->run.slot_bytes, s.reader_depth = p->run.reader_slots[0], s.chunk = p->run.max_positions,
    s.context = p->run.kv_rows;
    free(p);
    s.host_memory = fixed + (dense + experts / 2) / 1000 * 1010; /* all of the sweep, half of the experts */
    p = plan_of(&shape, &s);
    assert_int_equal(p->run.host_cache_bytes - p->run.expert_cache_bytes, dense);
    assert_true(p->run.expert_cache_bytes > experts / 4 && p->run.expert_cache_bytes < experts);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget_holds),
        cmocka_unit_test(test_memory_for_measuring),
        cmocka_unit_test(test_memory_for_first_reads),
        cmocka_unit_test(test_messages_are_counted),
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
