/* Experts in words of GPTQ and AWQ: the numbers that their makers' formulas give, the logits of the same model in float32, the
 * same bytes in every cut, and only the chosen ones are read. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "coordinator/cli/options.h"
#include "coordinator/engine/engine.h"
#include "coordinator/plan/plan.h"
#include "tests/support_instance.h"
#include "tests/support_model.h"
#include "tests/support_words.h"

struct rows {
    float *at;
    size_t vocab;
};

static int keep_row(void *arg, const float *logits, struct error *e)
{
    struct rows *r = arg;

    (void)e;
    memcpy(r->at, logits, r->vocab * sizeof(float));
    r->at += r->vocab;
    return 0;
}

static float *logits_of(const struct golden *g, char *folder, int chunk, uint64_t slot, int threads)
{
    struct instance_load load = {.prompt_tokens = g->n, .max_logits = g->wanted};
    struct options o = option_defaults;
    struct instance *i = NULL;
    float *out = malloc((size_t)g->wanted * g->vocab * sizeof *out);
    struct rows r = {out, g->vocab};
    struct error e = {0};
    int rc;

    o.model = folder;
    o.quiet = true;
    o.threads = threads;
    o.batch_tokens = chunk;
    o.slot_bytes = slot;
    rc = support_start(&i, &o, &load, &e);
    if (!rc) rc = logits_at(i, g->tokens, g->n, g->positions, g->wanted, keep_row, &r, &e);
    if (rc) fail_msg("%s: %s", folder, e.text);
    instance_close(i);
    return out;
}

static double largest(const double *a, const double *b, const float *c, size_t n)
{
    double most = 0;

    for (size_t i = 0; i < n; i++) {
        double d = fabs(a[i] - (b ? b[i] : (double)c[i]));

        if (!(d <= most)) most = d;
    }
    return most;
}

static void the_numbers_of_the_words(void **state)
{
    (void)state;
    for (size_t k = 0; k < WORDS_KINDS; k++) {
        char *words = words_make(&words_kinds[k], false), *plain = words_make(&words_kinds[k], true);
        struct golden g = golden_load("qwen3-moe");
        size_t n = (size_t)g.wanted * g.vocab;
        double *a = golden_logits(&g, words), *b = golden_logits(&g, plain), moves = 0;
        float *all = logits_of(&g, words, 0, 0, 2), *one = logits_of(&g, words, 1, 24576, 1),
              *seven = logits_of(&g, words, 7, 32768, 2);

        if (!(largest(a, b, NULL, n) < 1e-9)) fail_msg("%s: off by %g", words_kinds[k].name, largest(a, b, NULL, n));
        if (!(largest(a, NULL, all, n) < 2e-4))
            fail_msg("%s: computed, off by %g", words_kinds[k].name, largest(a, NULL, all, n));
        if (memcmp(all, one, n * sizeof *all) || memcmp(all, seven, n * sizeof *all))
            fail_msg("%s: another cut, other bytes", words_kinds[k].name);
        for (size_t i = 0; i < n; i++) moves = fmax(moves, fabs(a[i] - (double)g.logits[i]));
        assert_true(moves > 1e-2); /* it is another model than the reference */
        free(a), free(b), free(all), free(one), free(seven);
        golden_free(&g);
        scratch_remove(words);
        scratch_remove(plain);
    }
}

/* ---- what is read ---- */

static uint64_t expert_bytes(const struct plan_shm *p, uint32_t table)
{
    const struct plan_expert_tiles *x = &plan_expert_tiles(p)[table];
    uint64_t bytes = 0;

    for (uint32_t k = 0; k < x->each; k++) bytes += plan_tiles(p)[x->tile0 + k].bytes;
    return bytes;
}

static void sweep(struct engine *g, const struct golden *t, uint32_t from, uint32_t n)
{
    struct sweep_position s[16];
    const float *logits;
    struct error e = {0};
    uint32_t rows;

    for (uint32_t i = 0; i < n; i++)
        s[i] = (struct sweep_position){.token = t->tokens[(from + i) % t->n],
                                       .position = from + i,
                                       .row = from + i,
                                       .parent = from + i ? from + i - 1 : ROW_NONE};
    s[n - 1].flags = POSITION_LOGITS;
    if (engine_sweep(g, s, n, &logits, &rows, &e)) fail_msg("%s", e.text);
}

static void only_the_chosen_ones_are_read(void **state)
{
    (void)state;
    for (size_t k = 0; k < WORDS_KINDS; k++) {
        char *folder = words_make(&words_kinds[k], false);
        struct golden t = golden_load("qwen3-moe");
        struct options o = option_defaults;
        struct plan_settings s;
        struct engine_config c = {0};
        struct engine_stats before, after;
        struct model *m = NULL;
        struct plan_shm *p = NULL;
        struct engine *g = NULL;
        struct error e = {0};
        uint64_t each = 0, asked;
        int rc = model_open(&m, folder, NULL, &e);

        o.threads = 2;
        o.host_memory = UINT64_C(1) << 30;
        if (!rc) rc = plan_settings_from_options(&s, &o, &e);
        s.context = 64;
        s.chunk = 12;
        if (!rc) rc = plan_build(&p, &c.plan_bytes, model_program(m), &s, &e);
        if (rc) fail_msg("%s", e.text);
        p->run.host_cache_bytes -= p->run.expert_cache_bytes;
        p->run.expert_cache_bytes = 0;
        for (uint64_t i = 0; i < p->ops.count; i++)
            if (plan_ops(p)[i].kind == OP_ROUTER)
                each += plan_ops(p)[i].router.top * expert_bytes(p, plan_ops(p)[i].router.table);
        c.plan = p;
        if (engine_open(&g, &c, &e)) fail_msg("%s", e.text);
        sweep(g, &t, 0, 12);
        engine_stats(g, &before);
        for (uint32_t i = 0; i < 10; i++) sweep(g, &t, 12 + i, 1);
        engine_stats(g, &after);
        asked = after.hit_bytes + after.miss_bytes - before.hit_bytes - before.miss_bytes;
        if (asked != 10 * each)
            fail_msg("%s: %llu bytes of experts, not %llu", words_kinds[k].name, (unsigned long long)asked,
                     (unsigned long long)(10 * each));
        engine_close(g);
        free(p);
        model_close(m);
        golden_free(&t);
        scratch_remove(folder);
    }
}

/* ---- what cannot be ---- */

static void some_in_words_and_some_not(void **state)
{
    struct words_kind k = words_kinds[0];
    struct model *m = NULL;
    struct error e = {0};
    char *folder;

    (void)state;
    k.left = "layers.1.mlp.experts.2.up_proj.";
    folder = words_make(&k, false);
    assert_int_not_equal(model_open(&m, folder, NULL, &e), 0);
    if (!strstr(e.text, "under model.layers.1. some are quantized by AWQ or GPTQ and some are not"))
        fail_msg("\"%s\"", e.text);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_numbers_of_the_words),
                                       cmocka_unit_test(only_the_chosen_ones_are_read),
                                       cmocka_unit_test(some_in_words_and_some_not)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
