/* Only the experts that a router chose are read, in every family that has them: bytes asked for, to the last one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "coordinator/cli/options.h"
#include "coordinator/engine/engine.h"
#include "coordinator/plan/plan.h"
#include "tests/support_model.h"

#define PROMPT  12
#define DECODED 10

static void sweep(struct engine *g, const struct golden *t, uint32_t from, uint32_t n)
{
    struct sweep_position s[PROMPT];
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

/* Bytes of one expert of a table. */
static uint64_t expert_bytes(const struct plan_shm *p, uint32_t table)
{
    const struct plan_expert_tiles *x = &plan_expert_tiles(p)[table];
    uint64_t bytes = 0;

    for (uint32_t k = 0; k < x->each; k++) bytes += plan_tiles(p)[x->tile0 + k].bytes;
    return bytes;
}

/* What a token asks for where every one that it chose has matrices. */
static uint64_t token_bytes(const struct plan_shm *p, bool *gives_back)
{
    uint64_t bytes = 0;

    *gives_back = false;
    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *op = &plan_ops(p)[i];

        if (op->kind != OP_ROUTER) continue;
        bytes += op->router.top * expert_bytes(p, op->router.table);
        *gives_back |= plan_experts(p)[op->router.table].identity > 0;
    }
    return bytes;
}

static void check(const char *name)
{
    char *folder = reference_make(name);
    struct golden t = golden_load(name);
    struct options o = option_defaults;
    struct plan_settings s;
    struct engine_config c = {0};
    struct engine_stats before, after;
    struct model *model = NULL;
    struct plan_shm *plan = NULL;
    struct engine *g = NULL;
    struct error e = {0};
    uint64_t asked, each, all = 0;
    bool gives_back;
    int rc = model_open(&model, folder, NULL, &e);

    o.threads = 2;
    o.host_memory = UINT64_C(1) << 30;
    if (!rc) rc = plan_settings_from_options(&s, &o, &e);
    s.context = 64;
    s.chunk = PROMPT;
    if (!rc) rc = plan_build(&plan, &c.plan_bytes, model_program(model), &s, &e);
    if (rc) fail_msg("%s: %s", name, e.text);
    plan->run.host_cache_bytes -= plan->run.expert_cache_bytes;
    plan->run.expert_cache_bytes = 0;
    each = token_bytes(plan, &gives_back);
    for (uint32_t i = 0; i < plan->experts.count; i++) all += expert_bytes(plan, i) * plan_experts(plan)[i].experts;
    assert_true(each && each < all);
    c.plan = plan;
    if (engine_open(&g, &c, &e)) fail_msg("%s: %s", name, e.text);
    sweep(g, &t, 0, PROMPT);
    engine_stats(g, &before);
    for (uint32_t i = 0; i < DECODED; i++) sweep(g, &t, PROMPT + i, 1);
    engine_stats(g, &after);
    asked = after.hit_bytes + after.miss_bytes - before.hit_bytes - before.miss_bytes;
    if (!gives_back && asked != DECODED * each)
        fail_msg("%s: %llu bytes of experts for %d tokens, not %llu", name, (unsigned long long)asked, DECODED,
                 (unsigned long long)(DECODED * each));
    /* experts without matrices are chosen too, and nothing is read for them */
    if (gives_back && (!asked || asked >= DECODED * each || asked % expert_bytes(plan, 0)))
        fail_msg("%s: %llu bytes of experts, at most %llu", name, (unsigned long long)asked,
                 (unsigned long long)(DECODED * each));
    assert_true(before.hit_bytes + before.miss_bytes <= all); /* a chunk asks for their union */
    engine_close(g);
    free(plan);
    model_close(model);
    golden_free(&t);
    scratch_remove(folder);
}

static void bytes_of_those_chosen(void **state)
{
    static const char *const names[] = {"dots1",         "ernie4.5-moe",  "solar-open",    "hy-v3",
                                        "glm4-moe-lite", "exaone-moe",    "afmoe",         "cohere2-moe",
                                        "phimoe",        "longcat-flash", "mimo-v2-flash", "step3.7",
                                        "mistral4",      "hunyuan-moe",   "deepseek-v4",   "deepseek-v4-fp4"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) check(names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_of_those_chosen)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
