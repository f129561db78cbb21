#include "coordinator/model/family.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct family families[] = {
    {"LlamaForCausalLM", "llama", family_llama, false},
    {"YiForCausalLM", "Yi", family_llama, false},
    {"MistralForCausalLM", "mistral", family_mistral, false},
    {"Qwen2ForCausalLM", "qwen2", family_qwen2, false},
    {"Qwen3ForCausalLM", "qwen3", family_qwen3, false},
    {"GemmaForCausalLM", "gemma", family_gemma, false},
    {"Gemma2ForCausalLM", "gemma2", family_gemma2, false},
    {"Gemma3ForCausalLM", "gemma3_text", family_gemma3, false},
    {"Phi3ForCausalLM", "phi3", family_phi3, false},
    {"GlmForCausalLM", "glm", family_glm, false},
    {"Glm4ForCausalLM", "glm4", family_glm4, false},
    {"Olmo2ForCausalLM", "olmo2", family_olmo2, false},
    {"GraniteForCausalLM", "granite", family_granite, false},
    {"GraniteMoeForCausalLM", "granitemoe", family_granite_moe, false},
    {"CohereForCausalLM", "cohere", family_cohere, false},
    {"Cohere2ForCausalLM", "cohere2", family_cohere2, false},
    {"Starcoder2ForCausalLM", "starcoder2", family_starcoder2, false},
    {"StableLmForCausalLM", "stablelm", family_stablelm, false},
    {"SmolLM3ForCausalLM", "smollm3", family_smollm3, false},
    {"Ernie4_5ForCausalLM", "ernie4_5", family_ernie45, false},
    {"SeedOssForCausalLM", "seed_oss", family_seed_oss, false},
    {"Exaone4ForCausalLM", "exaone4", family_exaone4, false},
    {"MixtralForCausalLM", "mixtral", family_mixtral, false},
    {"MiniMaxM2ForCausalLM", "minimax_m2", family_minimax_m2, false},
    {"Qwen2MoeForCausalLM", "qwen2_moe", family_qwen2_moe, false},
    {"Qwen3MoeForCausalLM", "qwen3_moe", family_qwen3_moe, false},
    {"Qwen3NextForCausalLM", "qwen3_next", family_qwen3_next, false},
    {"Qwen3_5ForCausalLM", "qwen3_5_text", family_qwen35, false},
    {"Qwen3_5MoeForCausalLM", "qwen3_5_moe_text", family_qwen35_moe, false},
    {"OlmoeForCausalLM", "olmoe", family_olmoe, false},
    {"Glm4MoeForCausalLM", "glm4_moe", family_glm4_moe, false},
    {"DeepseekV2ForCausalLM", "deepseek_v2", family_deepseek_v2, false},
    {"DeepseekV3ForCausalLM", "deepseek_v3", family_deepseek_v3, false},
    {"GptOssForCausalLM", "gpt_oss", family_gpt_oss, false},
    {"Llama4ForCausalLM", "llama4_text", family_llama4, false},
};
#define FAMILIES (sizeof families / sizeof *families)

static const struct family *by_architecture(const json_t *list)
{
    size_t n = json_array_size(list);

    for (size_t k = 0; k < n; k++) {
        const char *name = json_string_value(json_array_get(list, k));
        for (size_t i = 0; i < FAMILIES && name; i++)
            if (!strcmp(families[i].architecture, name)) return &families[i];
    }
    return NULL;
}

static const struct family *by_type(const json_t *type)
{
    const char *name = json_string_value(type);

    for (size_t i = 0; i < FAMILIES && name; i++)
        if (families[i].model_type && !strcmp(families[i].model_type, name)) return &families[i];
    return NULL;
}

static void unknown(const struct config *c, struct error *e)
{
    const char *name = json_string_value(json_array_get(json_object_get(c->root, "architectures"), 0));
    char list[800];
    size_t n = 0;

    if (!name) name = json_string_value(json_object_get(c->root, "model_type"));
    for (size_t i = 0; i < FAMILIES && n < sizeof list - 64; i++) {
        size_t bare = strcspn(families[i].architecture, "F"); /* ...ForCausalLM says nothing */
        const char *cut = strstr(families[i].architecture, "For");
        if (cut) bare = (size_t)(cut - families[i].architecture);
        if (families[i].multimodal) continue;
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%.*s", n ? ", " : "", (int)bare, families[i].architecture);
    }
    error_set(e, ENOTSUP, "%s: the architecture \"%.60s\" is not known; known are %s", c->path, name ? name : "(not given)", list);
}

const struct family *family_find(const struct config *c, struct error *e)
{
    const struct family *f = by_architecture(json_object_get(c->root, "architectures"));

    if (!f) f = by_type(json_object_get(c->root, "model_type"));
    if (!f) f = by_architecture(json_object_get(c->text, "architectures"));
    if (!f) f = by_type(json_object_get(c->text, "model_type"));
    if (!f) unknown(c, e);
    return f;
}
