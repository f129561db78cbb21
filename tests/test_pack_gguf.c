/* sluice pack --to: reference models as GGUF files give the numbers of their folders, whatever moved on the way; blocks lose no
 * more than their bits make them; the same bytes come of a run that was killed and went on. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/arch/model.h"
#include "coordinator/pack/gguf.h"
#include "coordinator/source/gguf.h"
#include "proto/base/file.h"
#include "tests/mkmodel.h"
#include "tests/support_gguf_references.h"
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_temporary.h"

#define DEMO "tests/data/demo-model"

/* ---- helpers ---- */

static int pack_with(const char *model, const char *out, enum pack_form form, uint32_t threads, uint64_t shard,
                     struct gguf_pack *p, struct error *e)
{
    struct gguf_pack_options o = {
        .pack = {.out = out, .threads = threads, .memory = UINT64_MAX}, .form = form, .shard_bytes = shard};
    struct pack_result r;
    struct source *s;
    int rc = source_open(&s, model, e);

    *p = (struct gguf_pack){0};
    if (rc) return rc;
    rc = gguf_pack(p, s, &o, &r, e);
    source_close(s);
    return rc;
}

/* FOLDER/m.gguf of the model; the error of its worst tensor. */
static double pack(const char *model, const char *folder, enum pack_form form)
{
    struct gguf_pack p;
    struct error e = {0};
    char out[512];
    double worst = 0;

    snprintf(out, sizeof out, "%s/m.gguf", folder);
    if (pack_with(model, out, form, 2, 0, &p, &e)) fail_msg("%s: %s", model, e.text);
    for (size_t i = 0; i < p.made.count; i++) worst = p.report[i].error > worst ? p.report[i].error : worst;
    gguf_pack_free(&p);
    return worst;
}

static double *logits_of(const struct golden *g, const char *folder, const char *name)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return golden_logits(g, path);
}

/* ---- the numbers of the folder ---- */

static const struct gguf_reference more[] = {
    {"mixtral-silent", NULL, 0},
    {"cohere2-moe", NULL, 0},
    {"gpt-oss-mxfp4", NULL, 1e-12},
    {"glm4-moe-lite", NULL, 1e-12},
    {"mamba2", NULL, 1e-5}, /* -exp(A_log) is rounded, here and below */
    {"granite-hybrid", NULL, 1e-5},
    {"nemotron-h", NULL, 1e-5},
    {"nemotron-h-latent", NULL, 1e-5},
    {"gemma4", NULL, 0},
    {"gemma4-moe", NULL, 0},
    {"gemma4-e2b", NULL, 0},
    {"falcon-h1",
     "{\"ssm_in_multiplier\":1,\"ssm_out_multiplier\":1,\"ssm_multipliers\":[1,1,1,1,1],\"mlp_multipliers\":[1,1],"
     "\"attention_in_multiplier\":1,\"attention_out_multiplier\":1,\"lm_head_multiplier\":1,"
     "\"embedding_multiplier\":1,\"key_multiplier\":1}",
     1e-5},
};

#define MODELS (gguf_reference_count + sizeof more / sizeof *more)

static const struct gguf_reference *model(size_t i)
{
    return i < gguf_reference_count ? &gguf_references[i] : &more[i - gguf_reference_count];
}

static double difference(const char *name, const char *patch, enum pack_form form)
{
    struct golden g = golden_load(name);
    char *folder = reference_make(name), *out = scratch_make();
    json_t *config = reference_config(name), *change = patch ? json_of(patch) : NULL;
    double *want, *got, worst = 0;

    if (change) json_object_update(config, change);
    scratch_write_json(folder, "config.json", config);
    pack(folder, out, form);
    want = golden_logits(&g, folder);
    got = logits_of(&g, out, "m.gguf");
    for (size_t i = 0; i < (size_t)g.wanted * g.vocab; i++) {
        double d = fabs(got[i] - want[i]);

        if (!(d <= worst)) worst = d;
    }
    free(want);
    free(got);
    json_decref(change);
    golden_free(&g);
    scratch_remove(out);
    scratch_remove(folder);
    return worst;
}

static void numbers_stay(void **state)
{
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        double d = difference(model(i)->name, model(i)->patch, PACK_AS_F32);

        if (!(d <= model(i)->most)) fail_msg("%s in F32 is off by %g", model(i)->name, d);
    }
}

/* Folders in BF16 stay what they are in files of BF16. */
static void numbers_stay_in_their_own_form(void **state)
{
    static const char *const names[] = {"llama", "qwen2-moe", "gemma2", "phi3", "granite-moe", "deepseek-v3"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        double d =
            difference(names[i], strcmp(names[i], "gemma2") ? NULL : "{\"query_pre_attn_scalar\":24}", PACK_AS_BF16);

        if (!(d <= (strcmp(names[i], "deepseek-v3") ? 0 : 1e-12))) fail_msg("%s in BF16 is off by %g", names[i], d);
    }
}

/* ---- blocks ---- */

/* Of numbers as trained weights are: what the published quantizers reach, and a little. */
static void blocks_lose_little(void **state)
{
    static const struct {
        enum block_type type;
        uint32_t bytes, elements;
        double most;
    } types[] = {{BLOCK_Q8_0, 34, 32, 0.0056},  {BLOCK_Q6_K, 210, 256, 0.0175}, {BLOCK_Q5_K, 176, 256, 0.037},
                 {BLOCK_Q4_K, 144, 256, 0.073}, {BLOCK_Q5_0, 22, 32, 0.043},    {BLOCK_Q5_1, 24, 32, 0.037}};
    enum { N = 1 << 15 };
    float *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    uint8_t *b = malloc(N * 4);
    uint64_t seed = 88172645463325252u;

    (void)state;
    assert_true(x && y && b);
    for (size_t i = 0; i < N; i++) {
        double sum = 0;

        for (int k = 0; k < 12; k++) { /* nearly Gaussian */
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            sum += (double)(seed >> 11) / 9007199254740992.0;
        }
        x[i] = (float)((sum - 6) * 0.022);
    }
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        double lost = 0, all = 0;

        assert_true(blocks_make(types[t].type, b, x, N));
        blocks_read(types[t].type, y, b, N);
        for (size_t i = 0; i < N; i++) {
            lost += (double)(x[i] - y[i]) * (double)(x[i] - y[i]);
            all += (double)x[i] * (double)x[i];
        }
        if (!(sqrt(lost / all) <= types[t].most))
            fail_msg("type %d loses %.3f%%", (int)types[t].type, 100 * sqrt(lost / all));
        x[5] = NAN;
        assert_false(blocks_make(types[t].type, b, x, N));
        x[5] = 0;
    }
    free(x);
    free(y);
    free(b);
}

/* Zeros, one number alone, all alike, very small and very large ones. */
static void blocks_of_odd_numbers(void **state)
{
    static const enum block_type types[] = {BLOCK_Q8_0, BLOCK_Q6_K, BLOCK_Q5_K, BLOCK_Q4_K, BLOCK_Q5_0, BLOCK_Q5_1};
    static const float values[] = {0, 1, -1, 3e4f, -3e4f, 1e-6f, 1e-20f, -1e-30f};
    float x[256], y[256];
    uint8_t b[256];

    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++)
            for (int alone = 0; alone < 2; alone++) {
                for (int i = 0; i < 256; i++) x[i] = !alone || i == 77 ? values[v] : 0;
                for (int k = 0;
                     k < (types[t] == BLOCK_Q8_0 || types[t] == BLOCK_Q5_0 || types[t] == BLOCK_Q5_1 ? 8 : 1); k++) {
                    int n = types[t] == BLOCK_Q8_0 || types[t] == BLOCK_Q5_0 || types[t] == BLOCK_Q5_1 ? 32 : 256;

                    assert_true(blocks_make(types[t], b, x + k * n, (uint64_t)n));
                    blocks_read(types[t], y + k * n, b, (uint64_t)n);
                }
                for (int i = 0; i < 256; i++)
                    if (!(fabsf(y[i] - x[i]) <= fabsf(values[v]) * 0.04f + 1.3e-4f))
                        fail_msg("type %d: %g became %g", (int)types[t], (double)x[i], (double)y[i]);
            }
    assert_false(blocks_make(BLOCK_F16, b, (const float[]){1e30f}, 1));
}

/* ---- fewer bits ---- */

#define VOCAB 320u

/* A Llama whose rows are whole super-blocks. */
static char *blocky_make(void)
{
    static const struct {
        const char *name, *shape, *rule;
    } tensors[] = {{"input_layernorm", "256", "lin 1 0.1"},      {"post_attention_layernorm", "256", "lin 1 0.1"},
                   {"self_attn.q_proj", "256x256", "lin 0 0.1"}, {"self_attn.k_proj", "128x256", "lin 0 0.1"},
                   {"self_attn.v_proj", "128x256", "lin 0 0.1"}, {"self_attn.o_proj", "256x256", "lin 0 0.1"},
                   {"mlp.gate_proj", "512x256", "lin 0 0.1"},    {"mlp.up_proj", "512x256", "lin 0 0.1"},
                   {"mlp.down_proj", "256x512", "lin 0 0.1"}};
    char *folder = scratch_make(), text[8192];
    struct error e = {0};
    int n = snprintf(text, sizeof text,
                     "model.safetensors\tmodel.embed_tokens.weight\tBF16\t320x256\tlin 0 1\n"
                     "model.safetensors\tmodel.norm.weight\tBF16\t256\tlin 1 0.1\n"
                     "model.safetensors\tlm_head.weight\tBF16\t320x256\tlin 0 0.1\n");

    for (int layer = 0; layer < 3; layer++)
        for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
            n += snprintf(text + n, sizeof text - (size_t)n,
                          "model.safetensors\tmodel.layers.%d.%s.weight\tBF16\t%s\t%s\n", layer, tensors[i].name,
                          tensors[i].shape, tensors[i].rule);
    if (mkmodel_from_text(text, folder, &e)) fail_msg("%s", e.text);
    scratch_write(folder, "config.json",
                  "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":256,"
                  "\"intermediate_size\":512,\"num_hidden_layers\":3,\"num_attention_heads\":8,"
                  "\"num_key_value_heads\":4,\"vocab_size\":320,\"max_position_embeddings\":512,\"rms_norm_eps\":1e-5,"
                  "\"tie_word_embeddings\":false}");
    return folder;
}

static struct golden blocky_text(void)
{
    static uint32_t tokens[] = {3, 14, 159, 26, 5, 35, 89, 79}, positions[] = {0, 3, 7};

    return (struct golden){.tokens = tokens, .n = 8, .positions = positions, .wanted = 3, .vocab = VOCAB};
}

/* Logits move by about what the weights do, and more the fewer the bits. */
static void logits_stay_near(void **state)
{
    static const struct {
        enum pack_form form;
        double worst, most; /* of a tensor; of the logits' root mean square */
    } forms[] = {{PACK_AS_BF16, 0, 0},
                 {PACK_AS_Q8, 0.006, 0.02},
                 {PACK_AS_Q6, 0.02, 0.06},
                 {PACK_AS_Q5, 0.035, 0.1},
                 {PACK_AS_Q4, 0.07, 0.2}};
    struct golden g = blocky_text();
    char *folder = blocky_make();
    double *want = golden_logits(&g, folder), before = -1;

    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char *out = scratch_make();
        double worst = pack(folder, out, forms[i].form), lost = 0, all = 0, *got = logits_of(&g, out, "m.gguf");

        for (size_t k = 0; k < (size_t)g.wanted * VOCAB; k++) {
            lost += (got[k] - want[k]) * (got[k] - want[k]);
            all += want[k] * want[k];
        }
        lost = sqrt(lost / all);
        if (!(worst <= forms[i].worst && lost <= forms[i].most && lost > before))
            fail_msg("%s: a tensor is off by %g, logits by %g", pack_form_info(forms[i].form)->name, worst, lost);
        before = lost;
        free(got);
        scratch_remove(out);
    }
    free(want);
    scratch_remove(folder);
}

/* ---- what no file of an architecture can say ---- */

static void what_has_no_place_in_a_file(void **state)
{
    static const struct {
        const char *name, *patch, *field;
    } refusals[] = {
        {"hunyuan-moe", "{}", "moe_topk"},
        {"hunyuan-moe", "{\"moe_topk\":2,\"rope_scaling\":{\"type\":\"dynamic\",\"alpha\":1000.0}}", "rope_scaling"},
        {"dots1", "{\"sliding_window\":4,\"max_window_layers\":1,\"layer_types\":null}", "layer_types"},
        {"afmoe", "{\"mup_enabled\":false}", "mup_enabled"},
        {"afmoe", "{\"global_attn_every_n_layers\":2,\"layer_types\":null}", "layer_types"},
        {"cohere2-moe", "{\"shared_expert_combination_strategy\":\"sum\"}", "shared_expert_combination_strategy"},
        {"cohere2-moe", "{\"expert_selection_fn\":\"softmax\"}", "expert_selection_fn"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        char *folder = reference_make(refusals[i].name), *out = scratch_make(), path[512];
        json_t *config = reference_config(refusals[i].name), *change = json_of(refusals[i].patch);
        struct gguf_pack p;
        struct error e = {0};

        json_object_update(config, change);
        json_decref(change);
        scratch_write_json(folder, "config.json", config);
        snprintf(path, sizeof path, "%s/m.gguf", out);
        if (!pack_with(folder, path, PACK_AS_Q8, 2, 0, &p, &e)) fail_msg("%s is packed", refusals[i].field);
        gguf_pack_free(&p);
        if (!strstr(e.text, refusals[i].field) || !strstr(e.text, "have no place in a GGUF file"))
            fail_msg("%s: \"%s\"", refusals[i].field, e.text);
        scratch_remove(out);
        scratch_remove(folder);
    }
}

/* ---- as other programs read it ---- */

/* Python's gguf, which knows nothing of this program, finds names, values and numbers in it. */
static void as_python_reads_it(void **state)
{
    static const char *const find[] = {"python3", "-c", "import gguf", NULL};
    static const enum pack_form forms[] = {PACK_AS_BF16, PACK_AS_Q8, PACK_AS_Q6, PACK_AS_Q5, PACK_AS_Q4};
    struct process_result r = process_run("/usr/bin/env", find, NULL, 0, 30);
    char *folder, *out, path[512];
    int missing = r.status;

    (void)state;
    process_result_free(&r);
    if (missing) {
        print_message("skipped: python3 has no gguf\n");
        skip();
    }
    folder = blocky_make();
    for (size_t i = 0; i < sizeof forms / sizeof *forms + 1; i++) {
        const char *model = i < sizeof forms / sizeof *forms ? folder : DEMO;

        out = scratch_make();
        snprintf(path, sizeof path, "%s/m.gguf", out);
        pack(model, out, model == folder ? forms[i] : PACK_AS_Q8);
        r = process_run("/usr/bin/env", (const char *const[]){"python3", "tests/read_gguf.py", model, path, NULL}, NULL,
                        0, 30);
        if (r.status || atoi(r.out) < 30) fail_msg("%s: %s%s", pack_form_info(forms[i])->name, r.out, r.err);
        process_result_free(&r);
        scratch_remove(out);
    }
    scratch_remove(folder);
}

/* Tokenizer, template, the ends of an answer and how tokens are drawn: the same texts come of the same seeds. */
static void texts_stay(void **state)
{
    static const char *const ways[][8] = {
        {"-p", "Once upon a time", "--seed", "7"},
        {"-p", "Please tell me about Karl and the bell.", "--chat", "--temperature", "0"},
        {"-p", "It's 12 o'clock,  they'd said: \xC3\xA9t\xC3\xA9!", "--temperature", "0"}};
    char *out = scratch_make(), path[512];

    (void)state;
    pack(DEMO, out, PACK_AS_F32);
    snprintf(path, sizeof path, "%s/m.gguf", out);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct process_result want, got;
        const char *arg[16] = {"run", DEMO, "-n", "40", "-q"};

        for (size_t k = 0; k < 8 && ways[i][k]; k++) arg[5 + k] = ways[i][k];
        want = process_run("sluice", arg, NULL, 0, 30);
        arg[1] = path;
        got = process_run("sluice", arg, NULL, 0, 30);
        if (want.status || got.status || strcmp(want.out, got.out) || !*got.out)
            fail_msg("%s%s\n%s%s", want.out, want.err, got.out, got.err);
        process_result_free(&want);
        process_result_free(&got);
    }
    scratch_remove(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_stay),       cmocka_unit_test(numbers_stay_in_their_own_form),
        cmocka_unit_test(blocks_lose_little), cmocka_unit_test(blocks_of_odd_numbers),
        cmocka_unit_test(logits_stay_near),   cmocka_unit_test(what_has_no_place_in_a_file),
        cmocka_unit_test(as_python_reads_it), cmocka_unit_test(texts_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
