#include "coordinator/arch/family.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "coordinator/text/suggest.h"

static const struct family families[] = {
    {"LlamaForCausalLM", "llama", family_llama},
    {"YiForCausalLM", "Yi", family_llama},
    {"MistralForCausalLM", "mistral", family_mistral},
    {"Qwen2ForCausalLM", "qwen2", family_qwen2},
    {"Qwen3ForCausalLM", "qwen3", family_qwen3},
    {"GemmaForCausalLM", "gemma", family_gemma},
    {"Gemma2ForCausalLM", "gemma2", family_gemma2},
    {"Gemma3ForCausalLM", "gemma3_text", family_gemma3},
    {"Gemma3nForCausalLM", "gemma3n_text", family_gemma3n},
    {"Gemma4ForCausalLM", "gemma4_text", family_gemma4},
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
    {"Lfm2ForCausalLM", "lfm2", family_lfm2},
    {"Lfm2MoeForCausalLM", "lfm2_moe", family_lfm2_moe},
    {"Mamba2ForCausalLM", "mamba2", family_mamba2},
    {"NemotronHForCausalLM", "nemotron_h", family_nemotron_h},
    {"GraniteMoeHybridForCausalLM", "granitemoehybrid", family_granite_hybrid},
    {"BambaForCausalLM", "bamba", family_bamba},
    {"FalconH1ForCausalLM", "falcon_h1", family_falcon_h1},
    {"JambaForCausalLM", "jamba", family_jamba},
    {"KimiLinearForCausalLM", "kimi_linear", family_kimi_linear},
    {"BailingHybridForCausalLM", "bailing_hybrid", family_bailing_hybrid},
    {"OlmoeForCausalLM", "olmoe", family_olmoe},
    {"Glm4MoeForCausalLM", "glm4_moe", family_glm4_moe},
    {"DeepseekV2ForCausalLM", "deepseek_v2", family_deepseek_v2},
    {"DeepseekV3ForCausalLM", "deepseek_v3", family_deepseek_v3},
    {"DeepseekV32ForCausalLM", "deepseek_v32", family_deepseek_v32},
    {"DeepseekV4ForCausalLM", "deepseek_v4", family_deepseek_v4},
    {"GlmMoeDsaForCausalLM", "glm_moe_dsa", family_glm_moe_dsa},
    {"GptOssForCausalLM", "gpt_oss", family_gpt_oss},
    {"Llama4ForCausalLM", "llama4_text", family_llama4},
    {"InternLM2ForCausalLM", "internlm2", family_internlm2},
    {"BaichuanForCausalLM", "baichuan", family_baichuan},
    {"BaiChuanForCausalLM", NULL, family_baichuan},
    {"QWenLMHeadModel", "qwen", family_qwen1},
    {"ChatGLMModel", "chatglm", family_chatglm},
    {"ChatGLMForConditionalGeneration", NULL, family_chatglm},
    {"Dots1ForCausalLM", "dots1", family_dots1},
    {"SolarOpenForCausalLM", "solar_open", family_solar_open},
    {"HYV3ForCausalLM", "hy_v3", family_hy_v3},
    {"Ernie4_5_MoeForCausalLM", "ernie4_5_moe", family_ernie45_moe},
    {"Glm4MoeLiteForCausalLM", "glm4_moe_lite", family_glm4_moe_lite},
    {"ExaoneMoeForCausalLM", "exaone_moe", family_exaone_moe},
    {"ExaoneMoEForCausalLM", NULL, family_exaone_moe},
    {"AfmoeForCausalLM", "afmoe", family_afmoe},
    {"Cohere2MoeForCausalLM", "cohere2_moe", family_cohere2_moe},
    {"Ministral3ForCausalLM", "ministral3", family_ministral3},
    {"HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", family_hunyuan_dense},
    {"ArceeForCausalLM", "arcee", family_arcee},
    {"NemotronForCausalLM", "nemotron", family_nemotron},
    {"OlmoForCausalLM", "olmo", family_olmo},
    {"Olmo3ForCausalLM", "olmo3", family_olmo3},
    {"InternLM3ForCausalLM", "internlm3", family_internlm3},
    {"PhimoeForCausalLM", "phimoe", family_phimoe},
    {"PhiMoEForCausalLM", NULL, family_phimoe},
    {"LongcatFlashForCausalLM", "longcat_flash", family_longcat_flash},
    {"LongcatCausalLM", NULL, family_longcat_flash},
    {"MiMoV2FlashForCausalLM", "mimo_v2_flash", family_mimo_v2_flash},
    {"Step3p5ForCausalLM", "step3p5", family_step3p5},
    {"Mistral4ForCausalLM", "mistral4", family_mistral4},
    {"HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe", family_hunyuan_moe},
    {"ApertusForCausalLM", "apertus", family_apertus},
    {"MiniCPMForCausalLM", "minicpm", family_minicpm},
    {"MiniCPM3ForCausalLM", "minicpm3", family_minicpm3},
    {"GPT2LMHeadModel", "gpt2", family_gpt2},
    {"GPTBigCodeForCausalLM", "gpt_bigcode", family_gpt_bigcode},
    {"OPTForCausalLM", "opt", family_opt},
    {"GPTNeoXForCausalLM", "gpt_neox", family_gpt_neox},
    {"FalconForCausalLM", "falcon", family_falcon},
    {"BloomForCausalLM", "bloom", family_bloom},
    {"MptForCausalLM", "mpt", family_mpt},
    {"MPTForCausalLM", NULL, family_mpt},
    {"PhiForCausalLM", "phi", family_phi},
};
#define FAMILIES (sizeof families / sizeof *families)

/* Folders of which the text part runs: its text_config's model_type says as what, else the family given here does. */
static const struct family multimodal[] = {
    {"Gemma3ForConditionalGeneration", "gemma3_text", family_gemma3},
    {"Gemma3nForConditionalGeneration", "gemma3n_text", family_gemma3n},
    {"Gemma4ForConditionalGeneration", "gemma4_text", family_gemma4},
    {"Qwen2VLForConditionalGeneration", "qwen2_vl_text", family_qwen2},
    {"Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl_text", family_qwen2},
    {"Qwen3VLForConditionalGeneration", "qwen3_vl_text", family_qwen3_vl},
    {"Qwen3VLMoeForConditionalGeneration", "qwen3_vl_moe_text", family_qwen3_vl_moe},
    {"Qwen3_5ForConditionalGeneration", "qwen3_5_text", family_qwen35},
    {"Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe_text", family_qwen35_moe},
    {"Llama4ForConditionalGeneration", "llama4_text", family_llama4},
    {"Step3p7ForConditionalGeneration", "step3p5", family_step3p5},
    {"Mistral3ForConditionalGeneration", "mistral", family_mistral},
    {"MiniMaxM3SparseForConditionalGeneration", "minimax_m3_vl_text", family_minimax_m3},
    {"MiniMaxM3VLForConditionalGeneration", NULL, family_minimax_m3},
    {"LlavaForConditionalGeneration", "llama", family_llama},
    {"LlavaNextForConditionalGeneration", "llama", family_llama},
    {"LlavaOnevisionForConditionalGeneration", "qwen2", family_qwen2},
    {"InternVLChatModel", NULL, NULL},
    {"InternVLForConditionalGeneration", "qwen2", family_qwen2},
    {"Idefics3ForConditionalGeneration", "llama", family_llama},
    {"SmolVLMForConditionalGeneration", "llama", family_llama},
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

const char *family_class(const struct family *f, const struct config *c)
{
    const struct family *own = by_type(families, FAMILIES, json_object_get(c->text, "model_type"));

    if (!own) own = by_type(multimodal, MULTIMODAL, json_object_get(c->text, "model_type"));
    if (own && own->write == f->write) return own->model_type;
    for (size_t i = 0; i < FAMILIES && !f->model_type; i++)
        if (families[i].write == f->write) return families[i].model_type;
    return f->model_type;
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

bool family_writes_as(const struct family *f, const char *architecture)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (!strcmp(families[i].architecture, architecture) && families[i].write == f->write) return true;
    for (size_t i = 0; i < MULTIMODAL; i++)
        if (!strcmp(multimodal[i].architecture, architecture) && multimodal[i].write == f->write) return true;
    return false;
}

/* ---- what is not known ---- */

#define NEAREST 3
#define STEM    4 /* letters that names of one line of models share */

/* "Qwen3" of "Qwen3ForCausalLM": the rest says nothing. */
static void short_name(char *out, size_t room, const char *architecture)
{
    const char *cut = strstr(architecture, "For");

    if (!cut || cut == architecture) cut = strstr(architecture, "LMHead");
    snprintf(out, room, "%.*s", (int)(cut && cut > architecture ? (size_t)(cut - architecture) : strlen(architecture)),
             architecture);
}

/* How far a known name is from the one that was asked for; SIZE_MAX: too far to be meant. */
static size_t name_cost(const char *word, const char *name)
{
    size_t n = 0, cost = suggest_distance(word, name), limit = strlen(word) / 3;

    while (word[n] && tolower((unsigned char)word[n]) == tolower((unsigned char)name[n])) n++;
    return n >= STEM || cost <= limit ? cost : SIZE_MAX;
}

/* The nearest of the known names as "Qwen3, Qwen2 and Qwen2Moe"; "" where none is near. */
static const char *nearest(char *out, size_t room, const char *word)
{
    size_t best[NEAREST] = {0}, cost[NEAREST], count = 0, n = 0;
    char name[64];

    for (size_t i = 0; i < FAMILIES; i++) {
        size_t c, at;

        short_name(name, sizeof name, families[i].architecture);
        if ((c = name_cost(word, name)) == SIZE_MAX) continue;
        for (at = count < NEAREST ? count++ : NEAREST; at > 0 && cost[at - 1] > c; at--) {
            if (at == NEAREST) continue;
            best[at] = best[at - 1];
            cost[at] = cost[at - 1];
        }
        if (at == NEAREST) continue;
        best[at] = i;
        cost[at] = c;
    }
    out[0] = 0;
    for (size_t i = 0; i < count; i++) {
        short_name(name, sizeof name, families[best[i]].architecture);
        n += (size_t)snprintf(out + n, room - n, "%s%s", !i ? "" : i + 1 == count ? " and " : ", ", name);
    }
    return out;
}

static void unknown(const struct config *c, struct error *e)
{
    const char *name = first_architecture(c);
    char word[64], near[NEAREST * 70];

    if (!name) name = json_string_value(json_object_get(c->root, "model_type"));
    if (!name) {
        error_set(
            e, ENOTSUP,
            "%s: it names neither an architecture nor a model_type: it is not the config.json of a language model, "
            "or of one whose makers have not said what it is",
            c->path);
        return;
    }
    short_name(word, sizeof word, name);
    nearest(near, sizeof near, word);
    error_set(e, ENOTSUP, "%s: the architecture \"%.60s\" is not known%s%s: take another model, or a newer sluice",
              c->path, name, *near ? "; of those that are, the nearest are " : ", nor one of a like name", near);
}

/* The text part of a multimodal folder that says what it is, and is none of those known: the usual one of such folders would
 * answer, and wrongly. */
static bool unknown_text_part(const struct config *c, struct error *e)
{
    const char *type = json_string_value(json_object_get(c->text, "model_type"));
    char word[64], near[NEAREST * 70];

    if (!type) type = json_string_value(json_array_get(json_object_get(c->text, "architectures"), 0));
    if (!type) return false;
    short_name(word, sizeof word, type);
    nearest(near, sizeof near, word);
    error_set(e, ENOTSUP,
              "%s: its language model is a \"%.60s\", which is not known%s%s: take another model, or a newer sluice",
              c->path, type, *near ? "; of those that are, the nearest are " : ", nor one of a like name", near);
    return true;
}

/* ---- what does not write ---- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    return n >= k && !strcmp(s + n - k, end);
}

static bool begins_with(const char *s, const char *begin)
{
    return !strncmp(s, begin, strlen(begin));
}

/* A class that is a model's body alone. Some of these write text all the same. */
static bool is_body(const char *architecture)
{
    static const char *const writers[] = {"LMHeadModel",  "LanguageModel",    "ChatModel",
                                          "ChatGLMModel", "DoubleHeadsModel", "GenerationModel"};

    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++)
        if (ends_with(architecture, writers[i])) return false;
    return ends_with(architecture, "Model");
}

/* Classes that answer with something other than text, or see their whole prompt at once: they may have a family's layers. */
static const char *cannot_write(const struct config *c, const char *architecture)
{
    static const struct {
        const char *part, *why; /* anywhere in the name */
    } heads[] = {
        {"ForSequenceClassification", "judges texts: it has no head that writes"},
        {"ForTokenClassification", "labels words: it has no head that writes"},
        {"ForQuestionAnswering", "marks answers in a text: it has no head that writes"},
        {"RewardModel", "judges answers: it has no head that writes"},
        {"ForMaskedLM", "fills gaps in a text: it does not write one"},
        {"ForPreTraining", "is the state of a training: it does not write"},
        {"ForMultipleChoice", "chooses answers: it has no head that writes"},
        {"ForSentenceEmbedding", "makes embeddings: it has no head that writes"},
        {"ForTextEncoding", "makes embeddings: it has no head that writes"},
        {"ForImageClassification", "looks at pictures: it does not write"},
        {"ForObjectDetection", "looks at pictures: it does not write"},
        {"ForSemanticSegmentation", "looks at pictures: it does not write"},
        {"ForDepthEstimation", "looks at pictures: it does not write"},
        {"ForMaskGeneration", "looks at pictures: it does not write"},
        {"ForCTC", "writes down speech, which is not supported"},
        {"ForSpeechSeq2Seq", "writes down speech, which is not supported"},
        {"ForAudioClassification", "listens: it does not write"},
        {"ForTextToSpectrogram", "speaks: it does not write"},
        {"VisionModel", "looks at pictures: it does not write"},
        {"AudioModel", "listens: it does not write"},
    };
    static const struct {
        const char *begin, *why;
    } lines[] = {
        {"PaliGemma", "lets the tokens of a prompt see those that follow, which is not supported"},
        {"ColPali", "lets the tokens of a prompt see those that follow, which is not supported"},
        {"CLIP", "compares pictures with texts: it does not write"},
        {"Siglip", "compares pictures with texts: it does not write"},
        {"ViT", "looks at pictures: it does not write"},
        {"Dinov", "looks at pictures: it does not write"},
        {"Whisper", "writes down speech, which is not supported"},
    };

    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        if (strstr(architecture, heads[i].part)) return heads[i].why;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (begins_with(architecture, lines[i].begin)) return lines[i].why;
    if (json_is_true(json_object_get(c->root, "is_encoder_decoder")))
        return "has an encoder and a decoder (as T5 and BART), which is not supported";
    return NULL;
}

const struct family *family_find(const struct config *c, struct family_notice *says, struct error *e)
{
    const json_t *list = json_object_get(c->root, "architectures");
    const struct family *whole = by_architecture(multimodal, MULTIMODAL, list), *f = NULL;
    const char *name = first_architecture(c), *why = name ? cannot_write(c, name) : NULL;

    says->text[0] = 0;
    if (name && !why && !whole && is_body(name) && !by_architecture(families, FAMILIES, list))
        why = "is a model's body alone, without a head that writes: it makes embeddings";
    if (why) {
        error_set(e, ENOTSUP, "%s: the architecture \"%.60s\" %s; take a model that writes text", c->path, name, why);
        return NULL;
    }
    if (c->text != c->root) f = named_by(c->text);
    if (!f && c->text != c->root && unknown_text_part(c, e)) return NULL;
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
