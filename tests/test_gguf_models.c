/* Reference models as GGUF files, written as llama.cpp's converter does (support_gguf_model.c): their numbers are those of the
 * folder, in float64 to the last bit where the conversion only moves rows. */
#include <setjmp.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include "coordinator/arch/model.h"
#include "tests/interpret.h"
#include "tests/support_gguf_model.h"
#include "tests/support_model.h"

static double *logits_of(const struct golden *g, const char *path)
{
    return golden_logits(g, path);
}

/* patch: fields that the converter leaves out and the reader knows of the architecture, which the small model has not. */
static void check(const char *name, const char *patch, bool bf16, unsigned forms, double most)
{
    struct golden g = golden_load(name);
    char *folder = reference_make(name), *out = scratch_make(), path[512];
    json_t *config = reference_config(name), *change = patch ? json_of(patch) : NULL;
    double *want, *got, worst = 0;

    if (change) json_object_update(config, change);
    scratch_write_json(folder, "config.json", config);
    if (!(forms ? gguf_model_write_as(folder, out, "m.gguf", forms) : gguf_model_write(folder, out, "m.gguf", bf16)))
        fail_msg("%s: no conversion", name);
    snprintf(path, sizeof path, "%s/m.gguf", out);
    want = logits_of(&g, folder);
    got = logits_of(&g, path);
    for (size_t i = 0; i < (size_t)g.wanted * g.vocab; i++) {
        double d = fabs(got[i] - want[i]);

        if (!(d <= worst)) worst = d;
    }
    if (!(worst <= most)) fail_msg("%s in %s is off by %g", name, bf16 ? "BF16" : "F32", worst);
    free(want);
    free(got);
    json_decref(change);
    golden_free(&g);
    scratch_remove(out);
    scratch_remove(folder);
}

static const struct {
    const char *name, *patch;
    double most;
} cases[] = {
    {"llama", NULL, 0},
    {"llama-newconfig", NULL, 0},
    {"llama-tied-f32", NULL, 0},
    {"llama-bias-f16-sharded", NULL, 0},
    {"llama-rope-linear", NULL, 0},
    {"llama-rope-yarn", NULL, 0},
    {"llama3-rope", NULL, 1e-5}, /* factors of frequencies are rounded once more */
    {"mistral", NULL, 0},
    {"mixtral", NULL, 0},
    {"qwen2", NULL, 0},
    {"qwen2-tied", NULL, 0},
    {"qwen2", "{\"model_type\":\"qwen2_5_vl_text\",\"architectures\":[\"Qwen2_5_VLForConditionalGeneration\"]}", 0},
    {"qwen3", "{\"model_type\":\"qwen3_vl_text\",\"architectures\":[\"Qwen3VLForConditionalGeneration\"]}", 0},
    {"mistral", "{\"model_type\":\"mistral3\"}", 0},
    {"qwen2-moe", NULL, 0},
    {"qwen3", NULL, 0},
    {"qwen3-moe", NULL, 0},
    {"gemma", NULL, 0},
    {"gemma2", "{\"query_pre_attn_scalar\":24}", 0},
    {"gemma3", "{\"query_pre_attn_scalar\":24}", 0},
    {"phi3", NULL, 0},
    {"phi3-longrope", NULL, 0},
    {"phi3-longrope-short", NULL, 0},
    {"phi4-partial", NULL, 0},
    {"glm", NULL, 0},
    {"glm4", NULL, 0},
    {"glm4-moe", NULL, 0},
    {"olmo2", NULL, 0},
    {"olmoe", NULL, 0},
    {"granite", NULL, 0},
    {"granite-moe", NULL, 0},
    {"dots1", NULL, 0},
    {"ernie4.5-moe", NULL, 0},
    {"afmoe", NULL, 0},
    {"exaone-moe", NULL, 0},
    {"hy-v3", NULL, 0},
    {"hunyuan-moe", "{\"moe_topk\":2,\"num_shared_expert\":1,\"moe_intermediate_size\":176}", 0},
    {"cohere", NULL, 0},
    {"cohere2", NULL, 0},
    {"starcoder2", NULL, 0},
    {"stablelm", NULL, 0},
    {"stablelm-12b", NULL, 0},
    {"smollm3", NULL, 0},
    {"ernie4.5", NULL, 0},
    {"seed-oss", NULL, 0},
    {"exaone4", NULL, 0},
    {"minimax-m2", NULL, 0},
    {"gpt-oss", NULL, 1e-12}, /* products with matrices turned round sum in another order, here and below */
    {"llama4", "{\"attention_chunk_size\":8192,\"floor_scale\":8192,\"attn_scale\":0.1}", 1e-5},
    {"deepseek-v2", NULL, 1e-12},
    {"deepseek-v2-bias", "{\"rms_norm_eps\":1e-6,\"n_shared_experts\":2,\"first_k_dense_replace\":0}", 1e-12},
    {"deepseek-v3", NULL, 1e-12},
    {"deepseek-v3-yarn", NULL, 1e-12},
    {"qwen3-next", NULL, 1e-5}, /* -exp(A_log) is rounded */
    {"qwen3.5", NULL, 1e-5},
};

static void matrices_in_f32(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(cases[i].name, cases[i].patch, false, 0, cases[i].most);
}

static void matrices_in_bf16(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool wider = strstr(cases[i].name, "f32") || strstr(cases[i].name, "f16");

        if (!wider) check(cases[i].name, cases[i].patch, true, 0, cases[i].most);
    }
}

static void forms_of_other_converters(void **state)
{
    (void)state;
    check("qwen3-moe", NULL, false, GGUF_FUSED_EXPERTS, 0);
    check("mixtral", NULL, false, GGUF_FUSED_EXPERTS, 0);
    check("mixtral", NULL, false, GGUF_EXPERTS_APART, 0);
    check("deepseek-v3", NULL, false, GGUF_KV_B_TOO, 0); /* as in the folder: no product is turned round */
    check("deepseek-v2", NULL, false, GGUF_KV_B_TOO | GGUF_FUSED_EXPERTS, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices_in_f32),
        cmocka_unit_test(matrices_in_bf16),
        cmocka_unit_test(forms_of_other_converters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
