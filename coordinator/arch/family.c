#include "coordinator/arch/family.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct family families[] = {
    {"LlamaForCausalLM", "llama", family_llama},
    {"YiForCausalLM", "Yi", family_llama},
    {"MistralForCausalLM", "mistral", family_mistral},
    {"Qwen2ForCausalLM", "qwen2", family_qwen2},
    {"Qwen3ForCausalLM", "qwen3", family_qwen3},
    {"GemmaForCausalLM", "gemma", family_gemma},
    {"Gemma2ForCausalLM", "gemma2", family_gemma2},
    {"Gemma3ForCausalLM", "gemma3_text", family_gemma3},
    {"Phi3ForCausalLM", "phi3", family_phi3},
    {"GlmForCausalLM", "glm", family_glm},
    {"Glm4ForCausalLM", "glm4", family_glm4},
    {"Olmo2ForCausalLM", "olmo2", family_olmo2},
    {"GraniteForCausalLM", "granite", family_granite},
    {"GraniteMoeForCausalLM", "granitemoe", family_granite_moe},
    {"CohereForCausalLM", "cohere", family_cohere},
    {"Cohere2ForCausalLM", "cohere2", family_cohere2},
    {"Starcoder2ForCausalLM", "starcoder2", family_starcoder2},
    {"StableLmForCausalLM", "stablelm", family_stablelm},
    {"SmolLM3ForCausalLM", "smollm3", family_smollm3},
    {"Ernie4_5ForCausalLM", "ernie4_5", family_ernie45},
    {"SeedOssForCausalLM", "seed_oss", family_seed_oss},
    {"Exaone4ForCausalLM", "exaone4", family_exaone4},
    {"MixtralForCausalLM", "mixtral", family_mixtral},
    {"MiniMaxM2ForCausalLM", "minimax_m2", family_minimax_m2},
    {"Qwen2MoeForCausalLM", "qwen2_moe", family_qwen2_moe},
    {"Qwen3MoeForCausalLM", "qwen3_moe", family_qwen3_moe},
    {"Qwen3NextForCausalLM", "qwen3_next", family_qwen3_next},
    {"Qwen3_5ForCausalLM", "qwen3_5_text", family_qwen35},
    {"Qwen3_5MoeForCausalLM", "qwen3_5_moe_text", family_qwen35_moe},
    {"OlmoeForCausalLM", "olmoe", family_olmoe},
    {"Glm4MoeForCausalLM", "glm4_moe", family_glm4_moe},
    {"DeepseekV2ForCausalLM", "deepseek_v2", family_deepseek_v2},
    {"DeepseekV3ForCausalLM", "deepseek_v3", family_deepseek_v3},
    {"GptOssForCausalLM", "gpt_oss", family_gpt_oss},
    {"Llama4ForCausalLM", "llama4_text", family_llama4},
    {"InternLM2ForCausalLM", "internlm2", family_internlm2},
    {"BaichuanForCausalLM", "baichuan", family_baichuan},
    {"BaiChuanForCausalLM", NULL, family_baichuan},
    {"QWenLMHeadModel", "qwen", family_qwen1},
    {"ChatGLMModel", "chatglm", family_chatglm},
    {"ChatGLMForConditionalGeneration", NULL, family_chatglm},
};
#define FAMILIES (sizeof families / sizeof *families)

/* Folders of which the text part runs: its text_config's model_type says as what, else the family given here does. */
static const struct family multimodal[] = {
    {"Gemma3ForConditionalGeneration", NULL, family_gemma3},
    {"Qwen2VLForConditionalGeneration", "qwen2_vl_text", family_qwen2},
    {"Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl_text", family_qwen2},
    {"Qwen3VLForConditionalGeneration", "qwen3_vl_text", family_qwen3},
    {"Qwen3VLMoeForConditionalGeneration", "qwen3_vl_moe_text", family_qwen3_vl_moe},
    {"Qwen3_5ForConditionalGeneration", NULL, family_qwen35},
    {"Qwen3_5MoeForConditionalGeneration", NULL, family_qwen35_moe},
    {"Llama4ForConditionalGeneration", NULL, family_llama4},
    {"Mistral3ForConditionalGeneration", NULL, NULL},
    {"LlavaForConditionalGeneration", NULL, NULL},
    {"LlavaNextForConditionalGeneration", NULL, NULL},
    {"LlavaOnevisionForConditionalGeneration", NULL, NULL},
    {"InternVLChatModel", NULL, NULL},
    {"InternVLForConditionalGeneration", NULL, NULL},
    {"Idefics3ForConditionalGeneration", NULL, NULL},
    {"SmolVLMForConditionalGeneration", NULL, NULL},
};
#define MULTIMODAL (sizeof multimodal / sizeof *multimodal)

static const struct family *by_architecture(const struct family *table, size_t rows, const json_t *list)
{
    for (size_t k = 0; k < json_array_size(list); k++) {
        const char *name = json_string_value(json_array_get(list, k));
        for (size_t i = 0; i < rows && name; i++)
            if (!strcmp(table[i].architecture, name)) return &table[i];
    }
    return NULL;
}

static const struct family *by_type(const struct family *table, size_t rows, const json_t *type)
{
    const char *name = json_string_value(type);

    for (size_t i = 0; i < rows && name; i++)
        if (table[i].model_type && !strcmp(table[i].model_type, name)) return &table[i];
    return NULL;
}

/* What an object of the config (the root, or the text part) calls itself. */
static const struct family *named_by(const json_t *o)
{
    const struct family *f = by_architecture(families, FAMILIES, json_object_get(o, "architectures"));

    if (!f) f = by_type(families, FAMILIES, json_object_get(o, "model_type"));
    return f ? f : by_type(multimodal, MULTIMODAL, json_object_get(o, "model_type"));
}

/* What config.json calls itself first. NULL: nothing. */
static const char *first_architecture(const struct config *c)
{
    return json_string_value(json_array_get(json_object_get(c->root, "architectures"), 0));
}

static void unknown(const struct config *c, struct error *e)
{
    const char *name = first_architecture(c);
    char list[800];
    size_t n = 0;

    if (!name) name = json_string_value(json_object_get(c->root, "model_type"));
    for (size_t i = 0; i < FAMILIES && n < sizeof list - 64; i++) { /* ...ForCausalLM says nothing */
        const char *a = families[i].architecture, *cut = strstr(a, "For");
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%.*s", n ? ", " : "",
                              (int)(cut ? (size_t)(cut - a) : strlen(a)), a);
    }
    error_set(e, ENOTSUP, "%s: the architecture \"%.60s\" is not known; known are %s", c->path,
              name ? name : "(not given)", list);
}

/* Classes that answer with something other than text, or see their whole prompt at once: they have a family's layers. */
static const char *cannot_write(const char *architecture)
{
    static const char *const heads[] = {"ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering",
                                        "RewardModel"};
    static const char *const both_ways[] = {"PaliGemma", "ColPali"};

    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (strstr(architecture, heads[i])) return "has no head that writes text";
    for (size_t i = 0; i < sizeof both_ways / sizeof *both_ways; i++)
        if (!strncmp(architecture, both_ways[i], strlen(both_ways[i])))
            return "lets the tokens of a prompt see those that follow, which is not supported";
    return NULL;
}

const struct family *family_find(const struct config *c, struct family_notice *says, struct error *e)
{
    const json_t *list = json_object_get(c->root, "architectures");
    const struct family *whole = by_architecture(multimodal, MULTIMODAL, list), *f = NULL;
    const char *name = first_architecture(c), *why = name ? cannot_write(name) : NULL;

    says->text[0] = 0;
    if (why) {
        error_set(e, ENOTSUP, "%s: the architecture \"%.60s\" %s", c->path, name, why);
        return NULL;
    }
    if (c->text != c->root) f = named_by(c->text);
    if (!f && whole && whole->write) f = whole;
    if (!f && !whole) f = named_by(c->root);
    if (!f) {
        unknown(c, e);
        return NULL;
    }
    if (whole || c->text != c->root)
        snprintf(says->text, sizeof says->text, "%s is multimodal: only its language model runs, with text alone",
                 whole ? whole->architecture : "this folder");
    else if (name && !by_architecture(families, FAMILIES, list))
        snprintf(says->text, sizeof says->text,
                 "the architecture \"%.60s\" is not known: it runs as %s, its model_type", name, f->architecture);
    return f;
}
