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
#include "tests/support_gguf_references.h"
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
    json_t *config = reference_config(name), *change = patch ? json_of(patch) : NULL,
           *text = json_object_get(config, "text_config");
    double *want, *got, worst = 0;

    if (change) json_object_update(text ? text : config, change);
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

static const struct gguf_reference more[] = {
    {"gemma4", "{\"rope_theta\":1000000.0,\"rope_local_base_freq\":10000.0}", 0},
    {"nemotron-h", NULL, 1e-5}, /* -exp(A_log) is rounded */
    {"nemotron-h-latent", NULL, 1e-5},
    {"qwen2", "{\"model_type\":\"qwen2_5_vl_text\",\"architectures\":[\"Qwen2_5_VLForConditionalGeneration\"]}", 0},
    {"qwen3", "{\"model_type\":\"qwen3_vl_text\",\"architectures\":[\"Qwen3VLForConditionalGeneration\"]}", 0},
    {"mistral", "{\"model_type\":\"mistral3\"}", 0},
    {"deepseek-v4", NULL, 0},
    {"kimi-linear", NULL, 1e-5}, /* -exp(A_log) is rounded, here and below */
    {"jamba", NULL, 1e-5},
    {"apertus", NULL, 1e-5}, /* factors of frequencies are rounded */
    {"minimax-m3", "{\"swiglu_limit\":7.0}", 0},
    {"step3.7", NULL, 0},
    {"mimo-v2-flash", NULL, 0},
    {"gemma3n", NULL, 1e-12},
    {"phimoe",
     "{\"rope_scaling\":{\"long_factor\":[1.0,1.4,1.8,2.2,2.6,3.0,3.4,3.8,4.2,4.6],\"long_mscale\":1.243163121016122,"
     "\"original_max_position_embeddings\":128,\"rope_type\":\"longrope\",\"short_factor\":[1.0,1.05,1.1,1.15,1.2,1.25,"
     "1.3,1.35,1.4,1.45],\"short_mscale\":1.243163121016122}}",
     1e-5},
    {"minicpm3", "{\"dim_model_base\":256}", 1e-5},
    {"deepseek-v2-bias", "{\"rms_norm_eps\":1e-6,\"n_shared_experts\":2,\"first_k_dense_replace\":0}", 1e-12},
};

#define MODELS (gguf_reference_count + sizeof more / sizeof *more)

static const struct gguf_reference *model(size_t i)
{
    return i < gguf_reference_count ? &gguf_references[i] : &more[i - gguf_reference_count];
}

/* BF16 holds their numbers. */
static bool is_narrow(const char *name)
{
    return !strstr(name, "f32") && !strstr(name, "f16");
}

/* Nothing is told by the type but how wide a number is: some of each kind will do. */
static void matrices_in_f32(void **state)
{
    (void)state;
    for (size_t i = 0; i < MODELS; i++)
        if (i % 4 == 0 || !is_narrow(model(i)->name)) check(model(i)->name, model(i)->patch, false, 0, model(i)->most);
}

static void matrices_in_bf16(void **state)
{
    (void)state;
    for (size_t i = 0; i < MODELS; i++)
        if (is_narrow(model(i)->name)) check(model(i)->name, model(i)->patch, true, 0, model(i)->most);
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
