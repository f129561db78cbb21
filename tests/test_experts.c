/* Experts through all processes, on a model made for it: what is read follows what is chosen, to the byte; the cache's
 * hits grow with its budget; logits do not change with any of it. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "coordinator/cli/options.h"
#include "coordinator/plan/plan.h"
#include "coordinator/plan/calibrate.h"
#include "coordinator/engine/engine.h"
#include "tests/mkmodel.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define LAYERS  3
#define HIDDEN  128
#define EXPERTS 16
#define INTER   96
#define VOCAB   768 /* of the demo model's tokenizer */
#define PROMPT  24
#define DECODED 40

static char *folder;

static void list_layer(FILE *f, int i)
{
    static const char *const square[] = {"q_proj", "k_proj", "v_proj", "o_proj"};

    for (int k = 0; k < 4; k++)
        fprintf(f, "model.safetensors\tmodel.layers.%d.self_attn.%s.weight\tBF16\t%dx%d\tlin 0 0.125\n", i, square[k],
                HIDDEN, HIDDEN);
    fprintf(f, "model.safetensors\tmodel.layers.%d.self_attn.q_norm.weight\tBF16\t32\tlin 1 0.25\n", i);
    fprintf(f, "model.safetensors\tmodel.layers.%d.self_attn.k_norm.weight\tBF16\t32\tlin 1 0.25\n", i);
    fprintf(f, "model.safetensors\tmodel.layers.%d.input_layernorm.weight\tBF16\t%d\tlin 1 0.25\n", i, HIDDEN);
    fprintf(f, "model.safetensors\tmodel.layers.%d.post_attention_layernorm.weight\tBF16\t%d\tlin 1 0.25\n", i, HIDDEN);
    fprintf(f, "model.safetensors\tmodel.layers.%d.mlp.gate.weight\tBF16\t%dx%d\tlin 0 0.125\n", i, EXPERTS, HIDDEN);
    for (int e = 0; e < EXPERTS; e++) {
        fprintf(f, "model.safetensors\tmodel.layers.%d.mlp.experts.%d.gate_proj.weight\tBF16\t%dx%d\tlin 0 0.125\n", i,
                e, INTER, HIDDEN);
        fprintf(f, "model.safetensors\tmodel.layers.%d.mlp.experts.%d.up_proj.weight\tBF16\t%dx%d\tlin 0 0.125\n", i, e,
                INTER, HIDDEN);
        fprintf(f, "model.safetensors\tmodel.layers.%d.mlp.experts.%d.down_proj.weight\tBF16\t%dx%d\tlin 0 0.25\n", i,
                e, HIDDEN, INTER);
    }
}

static void write_config(int top)
{
    char text[2048];

    snprintf(text, sizeof text,
             "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"model_type\":\"qwen3_moe\",\"hidden_size\":%d,\"num_"
             "hidden_layers\":%d,"
             "\"num_attention_heads\":4,\"num_key_value_heads\":4,\"head_dim\":32,\"intermediate_size\":256,\"moe_"
             "intermediate_size\":%d,"
             "\"num_experts\":%d,\"num_experts_per_tok\":%d,\"norm_topk_prob\":true,\"decoder_sparse_step\":1,\"mlp_"
             "only_layers\":[],"
             "\"vocab_size\":%d,\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-6,\"rope_theta\":10000.0,\"max_position_"
             "embeddings\":512,"
             "\"tie_word_embeddings\":false,\"bos_token_id\":1,\"eos_token_id\":2,\"torch_dtype\":\"bfloat16\"}",
             HIDDEN, LAYERS, INTER, EXPERTS, top, VOCAB);
    scratch_write(folder, "config.json", text);
}

static int setup(void **state)
{
    char *text = NULL, command[4096];
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    struct error e = {0};

    (void)state;
    folder = scratch_make();
    fprintf(f, "model.safetensors\tmodel.embed_tokens.weight\tBF16\t%dx%d\tlin 0 1\n", VOCAB, HIDDEN);
    for (int i = 0; i < LAYERS; i++) list_layer(f, i);
    fprintf(f, "model.safetensors\tmodel.norm.weight\tBF16\t%d\tlin 1 0.25\n", HIDDEN);
    fprintf(f, "model.safetensors\tlm_head.weight\tBF16\t%dx%d\tlin 0 0.125\n", VOCAB, HIDDEN);
    fclose(f);
    if (mkmodel_from_text(text, folder, &e)) fail_msg("%s", e.text);
    free(text);
    snprintf(command, sizeof command, "cp tests/data/demo-model/tokenizer.json '%s/'", folder);
    return system(command);
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* How one run is made: everything but the expert cache has room enough to stay in memory. */
struct way {
    uint64_t slot_bytes, share; /* share: of all experts' bytes that the cache holds, in sixteenths */
    uint32_t reader_depth, chunk;
};

struct seen {
    uint64_t hit, miss, read; /* bytes of DECODED single tokens, after the prompt */
    uint64_t prompt_asked;
    uint64_t each, all, parts; /* the plan's: payload of one expert of a layer, of all; parts of one expert's tiles */
    float logits[VOCAB];
};

static uint32_t token_at(uint32_t i)
{
    return 6 + (i * 37 + i * i * 11 + 11) % (VOCAB - 6);
}

static void sweep(struct engine *g, uint32_t from, uint32_t n, struct seen *out)
{
    struct sweep_position s[PROMPT];
    const float *logits;
    uint32_t rows;
    struct error e = {0};

    for (uint32_t i = 0; i < n; i++)
        s[i] = (struct sweep_position){.token = token_at(from + i),
                                       .position = from + i,
                                       .row = from + i,
                                       .parent = from + i ? from + i - 1 : ROW_NONE};
    s[n - 1].flags = POSITION_LOGITS;
    if (engine_sweep(g, s, n, &logits, &rows, &e)) fail_msg("%s", e.text);
    memcpy(out->logits, logits, sizeof out->logits);
}

static void measure_plan(const struct plan_shm *p, struct seen *out)
{
    const struct plan_expert_tiles *x = plan_expert_tiles(p);

    for (uint32_t k = 0; k < x->each; k++) {
        out->each += plan_tiles(p)[x->tile0 + k].bytes;
        out->parts += plan_tiles(p)[x->tile0 + k].parts;
    }
    for (uint32_t i = 0; i < p->spec.demand_tiles; i++)
        out->all += plan_tiles(p)[p->spec.sweep_tiles + p->spec.resident_tiles + i].bytes;
}

static void limit_cache(struct plan_shm *p, uint64_t share)
{
    uint64_t pinned = p->run.host_cache_bytes - p->run.expert_cache_bytes, span = 0;

    for (uint32_t i = 0; i < p->spec.demand_tiles; i++) {
        const struct plan_tile *t = &plan_tiles(p)[p->spec.sweep_tiles + p->spec.resident_tiles + i];

        if (t->span > span) span = t->span;
    }
    p->run.expert_cache_bytes = span * p->spec.demand_tiles * share / 16 / PLAN_PAGE * PLAN_PAGE;
    p->run.host_cache_bytes = pinned + p->run.expert_cache_bytes;
}

static struct seen run(const struct way *w)
{
    struct options o = option_defaults;
    struct plan_settings s;
    struct engine_config c = {0};
    struct engine_stats before, after;
    struct seen out = {0};
    struct model *model = NULL;
    struct plan_shm *plan = NULL;
    struct engine *g = NULL;
    struct error e = {0};
    int rc = model_open(&model, folder, NULL, &e);

    o.threads = 2;
    o.host_memory = UINT64_C(1) << 30;
    if (!rc) rc = plan_settings_from_options(&s, &o, &e);
    s.context = 128;
    s.slot_bytes = w->slot_bytes;
    s.reader_depth = w->reader_depth;
    s.chunk = w->chunk;
    if (!rc) rc = plan_build(&plan, &c.plan_bytes, model_program(model), &s, &e);
    if (rc) fail_msg("%s", e.text);
    limit_cache(plan, w->share);
    measure_plan(plan, &out);
    c.plan = plan;
    if (engine_open(&g, &c, &e)) fail_msg("%s", e.text);
    for (uint32_t at = 0; at < PROMPT; at += w->chunk) sweep(g, at, w->chunk, &out);
    engine_stats(g, &before);
    out.prompt_asked = before.hit_bytes + before.miss_bytes;
    for (uint32_t i = 0; i < DECODED; i++) sweep(g, PROMPT + i, 1, &out);
    engine_stats(g, &after);
    out.hit = after.hit_bytes - before.hit_bytes;
    out.miss = after.miss_bytes - before.miss_bytes;
    out.read = after.stage[STAGE_READER].bytes - before.stage[STAGE_READER].bytes;
    engine_close(g);
    free(plan);
    model_close(model);
    return out;
}

static const struct way plain = {.chunk = PROMPT};

/* Without a cache each token reads its experts and nothing else: exactly top of them in each layer. */
static void bytes_follow_the_experts_used(void **state)
{
    (void)state;
    for (uint32_t top = 1; top <= EXPERTS; top *= 2) {
        uint64_t experts = (uint64_t)DECODED * LAYERS * top, rows = DECODED * HIDDEN * 2;
        struct seen x;

        write_config((int)top);
        x = run(&plain);
        assert_int_equal(x.hit, 0);
        assert_int_equal(x.miss, experts * x.each);
        /* from disk come whole pages of them, and a row of the embedding for each token */
        assert_true(x.read >= x.miss + rows);
        assert_true(x.read <= x.miss + rows + experts * x.parts * 2 * PLAN_PAGE);
    }
}

/* A prompt's chunk asks for every expert that any of its positions chose, once. */
static void a_chunk_asks_for_the_union(void **state)
{
    struct way single = {.chunk = 1};
    struct seen one, chunk;

    (void)state;
    write_config(4);
    chunk = run(&plain);
    one = run(&single);
    assert_int_equal(one.prompt_asked, (uint64_t)PROMPT * LAYERS * 4 * one.each);
    assert_true(chunk.prompt_asked <= chunk.all && chunk.prompt_asked >= (uint64_t)LAYERS * 4 * chunk.each);
    assert_int_equal(chunk.prompt_asked % chunk.each, 0);
    assert_memory_equal(chunk.logits, one.logits, sizeof one.logits);
}

static void hits_grow_with_the_budget(void **state)
{
    static const uint64_t shares[] = {0, 2, 4, 8, 12, 16};
    double before = -1;

    (void)state;
    write_config(4);
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        struct way w = {.chunk = PROMPT, .share = shares[i]};
        struct seen x = run(&w);
        double rate = (double)x.hit / (double)(x.hit + x.miss);

        print_message("a cache of %2llu/16 of all experts: %5.1f%% hits, %llu bytes read\n",
                      (unsigned long long)shares[i], 100 * rate, (unsigned long long)x.read);
        assert_int_equal(x.hit + x.miss, (uint64_t)DECODED * LAYERS * 4 * x.each);
        assert_true(rate > before);
        assert_true(x.read >= x.miss && x.read <= x.miss + x.miss / 4 + DECODED * HIDDEN * 2);
        before = rate;
    }
    assert_true(before > 0.9); /* all of them fit, and the prompt has touched most */
}

static void logits_are_the_same_bytes(void **state)
{
    static const struct way ways[] = {
        {.chunk = PROMPT, .share = 16},
        {.chunk = PROMPT, .share = 1, .reader_depth = 2},
        {.chunk = 8, .share = 5, .slot_bytes = 8192},
        {.chunk = 1, .share = 9, .slot_bytes = 20480, .reader_depth = 3},
        {.chunk = 12, .share = 3, .slot_bytes = 1 << 20, .reader_depth = 17},
    };
    struct seen first;

    (void)state;
    write_config(4);
    first = run(&plain);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct seen x = run(&ways[i]);

        if (memcmp(first.logits, x.logits, sizeof x.logits)) fail_msg("way %zu gives other logits", i);
        assert_int_equal(first.hit + first.miss, x.hit + x.miss);
    }
}

/* Between the router and the experts stands work that needs none of them: it goes on while they are read. */
static void shared_expert_runs_meanwhile(void **state)
{
    static const char *const names[] = {"qwen2-moe", "deepseek-v2", "deepseek-v3",       "llama4",
                                        "glm4-moe",  "qwen3-next",  "nemotron-h-latent", "deepseek-v4"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = reference_make(names[i]);
        struct model *m = NULL;
        struct error e = {0};
        const struct plan_shm *p;
        uint32_t routers = 0, between = 0;
        bool routed = false;

        if (model_open(&m, path, NULL, &e)) fail_msg("%s", e.text);
        p = model_program(m);
        for (size_t k = 0; k < p->ops.count; k++) {
            const struct plan_op *op = &plan_ops(p)[k];

            if (op->kind == OP_ROUTER) {
                routers++;
                routed = true;
            }
            if (op->kind == OP_EXPERTS) routed = false;
            if (routed && op->kind == OP_MATMUL) between++;
        }
        assert_true(routers && between >= 3 * routers); /* gate, up, down of the shared expert */
        model_close(m);
        scratch_remove(path);
    }
}

/* The expected hits are what is read less, and what a token takes less. */
static void prediction_follows_the_hits(void **state)
{
    struct calibration v = {.disk = 1e6, .memory = 1e9, .link = 1e9, .device_memory = 1e9, .flops = 1e12};
    struct plan_settings s;
    struct plan_summary z;
    struct options o = option_defaults;
    struct model *m = NULL;
    struct error e = {0};
    double before = INFINITY, used = LAYERS * 4.0 * 3 * INTER * HIDDEN * 2, all = used * EXPERTS / 4;

    (void)state;
    write_config(4);
    o.host_memory = UINT64_C(1) << 30;
    if (model_open(&m, folder, NULL, &e) || plan_settings_from_options(&s, &o, &e)) fail_msg("%s", e.text);
    s.chunk = PROMPT;
    for (uint64_t share = 0; share <= 16; share += 4) {
        struct plan_shm *plan;
        uint64_t bytes;

        if (plan_build(&plan, &bytes, model_program(m), &s, &e)) fail_msg("%s", e.text);
        limit_cache(plan, share);
        plan_summarize(&z, plan, &v);
        assert_true(fabs(z.expert_hits - (double)share / 16) < 0.02 || (share == 16 && z.expert_hits == 1));
        assert_true(fabs((double)z.sweep_bytes - used * (1 - z.expert_hits)) < 2);
        assert_true(fabs((double)z.expert_chunk_bytes - all * (1 - pow(0.75, PROMPT))) < LAYERS);
        /* reading at 1 MB/s is all that matters, until nothing is read any more */
        assert_true(fabs(z.predicted_seconds_per_token - used * (1 - z.expert_hits) / v.disk - z.memory_seconds) <
                    1e-3);
        assert_true(z.predicted_seconds_per_token < before);
        assert_true(share < 16 ? z.host_gain > 0 && !strcmp(z.bottleneck, "disk") : z.host_gain < 1e-9);
        before = z.predicted_seconds_per_token;
        free(plan);
    }
    model_close(m);
}

static double number(const char *text, const char *key)
{
    json_t *o = json_loads(text, 0, NULL);
    double x;

    if (!o || !json_is_number(json_object_get(o, key))) fail_msg("no \"%s\" in %s", key, text);
    x = json_number_value(json_object_get(o, key));
    json_decref(o);
    return x;
}

/* What people see: the plan's counts, and the hit rate in both summaries. */
static void plan_and_summary_tell(void **state)
{
    const char *ask[] = {"run",           folder, "-p",           "Once upon a time", "-n", "24",
                         "--temperature", "0",    "--ignore-eos", "--json",           NULL};
    const char *told[] = {"run",           folder, "-p",           "Once upon a time", "-n", "24",
                          "--temperature", "0",    "--ignore-eos", "--verbose",        NULL};
    const char *plan[] = {"plan", folder, "--json", NULL};
    struct process_result r;
    double all = (double)LAYERS * EXPERTS * 3 * INTER * HIDDEN * 2,
           matrices = LAYERS * 4.0 * HIDDEN * HIDDEN + LAYERS * EXPERTS * HIDDEN + VOCAB * HIDDEN;
    double vectors = HIDDEN + LAYERS * (2.0 * HIDDEN + 64), dense = 2 * (matrices + vectors);

    (void)state;
    write_config(4);
    r = process_run("sluice", plan, NULL, 0, 30);
    assert_int_equal(r.status, 0);
    assert_true(number(r.out, "expert_bytes") == all);
    assert_true(number(r.out, "expert_used_bytes") == all / 4);
    assert_true(number(r.out, "weight_bytes") == all + dense + 2.0 * VOCAB * HIDDEN);
    assert_true(number(r.out, "active_bytes") == all / 4 + dense + 2.0 * HIDDEN);
    assert_true(number(r.out, "expert_hit_rate") == 1); /* it fits whole */
    process_result_free(&r);
    r = process_run("sluice", ask, NULL, 0, 30);
    assert_int_equal(r.status, 0);
    assert_true(number(r.out, "expert_hit_rate") > 0.3 && number(r.out, "expert_hit_rate") < 1);
    process_result_free(&r);
    r = process_run("sluice", told, NULL, 0, 30);
    assert_int_equal(r.status, 0);
    if (!strstr(r.err, "% of experts' bytes found in the cache")) fail_msg("%s", r.err);
    process_result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_follow_the_experts_used), cmocka_unit_test(a_chunk_asks_for_the_union),
        cmocka_unit_test(hits_grow_with_the_budget),     cmocka_unit_test(logits_are_the_same_bytes),
        cmocka_unit_test(shared_expert_runs_meanwhile),  cmocka_unit_test(prediction_follows_the_hits),
        cmocka_unit_test(plan_and_summary_tell)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
