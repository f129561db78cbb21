#include "coordinator/tokenizer/ggml_split.h"
#include "coordinator/tokenizer/ggml_out.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ENDINGS           "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES            "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define OTHERS            "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define UPPER             "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER             "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define BEFORE            "[^\\r\\n\\p{L}\\p{N}]?"
#define ASCII_PUNCTUATION "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"

#define LLAMA3      ENDINGS "|" BEFORE "\\p{L}+|\\p{N}{1,3}" OTHERS SPACES
#define QWEN2       ENDINGS "|" BEFORE "\\p{L}+|\\p{N}" OTHERS SPACES
#define QWEN35      ENDINGS "|" BEFORE "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" SPACES
#define CASED(tail) BEFORE UPPER "*" LOWER "+" tail "|" BEFORE UPPER "+" LOWER "*" tail
#define GPT4O       CASED(ENDINGS "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES
#define TEKKEN      CASED("") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES
#define EAST_ASIAN  "[一-龥\u3040-ゟ゠-ヿ]+"
#define DEEPSEEK3                                                                                                      \
    ASCII_PUNCTUATION "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" SPACES
#define KIMI_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI                                                                                                           \
    "[\\p{Han}]+|" BEFORE KIMI_UPPER "*" KIMI_LOWER "+" ENDINGS "?|" BEFORE KIMI_UPPER "+" KIMI_LOWER "*" ENDINGS      \
    "?|\\p{N}{1,3}" OTHERS SPACES
#define THREES "(?=(\\d{3})+(?!\\d))"

/* DeepSeek LLM's letters and marks, as its tokenizer.json lists them. */
#define DEEPSEEK_LETTERS                                                                                               \
    "\\s?[A-Za-z"                                                                                                      \
    "\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}"         \
    "\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}"                      \
    "\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}"         \
    "\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}"                  \
    "\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}"                  \
    "\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}"          \
    "\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}"         \
    "\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}"          \
    "\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}"                    \
    "\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}"          \
    "\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"                   \
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}"                  \
    "\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}"            \
    "\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"                             \
    "]+"
#define DEEPSEEK_MARKS "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+"
#define DEEPSEEK_ASIAN "[一-龥\u0800-一가-\uD7FF]+"

/* Scripts that are written without spaces, as AFMoE's tokenizer lists them. */
#define AFMOE_SCRIPTS                                                                                                  \
    "["                                                                                                                \
    "\\x{4E00}-\\x{9FFF}\\x{3400}-\\x{4DBF}\\x{F900}-\\x{FAFF}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}"                  \
    "\\x{FF65}-\\x{FF9F}\\x{2F00}-\\x{2FDF}\\x{E40}-\\x{E7F}\\x{E80}-\\x{EFF}\\x{1780}-\\x{17FF}"                      \
    "\\x{1000}-\\x{109F}\\x{AA60}-\\x{AA7F}\\x{A9E0}-\\x{A9FF}\\x{AC00}-\\x{D7AF}\\x{1100}-\\x{11FF}"                  \
    "]+"
#define BLOOM " ?[^(\\s|.,!?…。，、।۔،)]+"

static const struct ggml_split splits[] = {
    {.names = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
     .pattern = {LLAMA3},
     .whole_words = true,
     .begins = true},
    {.names = "dbrx smaug-bpe chatglm-bpe", .pattern = {LLAMA3}},
    {.names = "glm4 glm5", .pattern = {LLAMA3}, .whole_words = true},
    {.names = "qwen2 stablelm2", .pattern = {QWEN2}, .nfc = true},
    {.names = "deepseek-r1-qwen hunyuan kormo megrez solar-open grok-2 f2llmv2", .pattern = {QWEN2}},
    {.names = "qwen35", .pattern = {QWEN35}},
    {.names = "gpt-2 phi-2 exaone4 jais trillion granite-docling gigachat a.x-4.0 mellum", .gpt2 = true},
    {.names = "olmo mpt", .gpt2 = true, .nfc = true},
    {.names = "starcoder refact smollm exaone codeshell minerva-7b mellum2", .pattern = {"\\p{N}"}, .gpt2 = true},
    {.names = "command-r", .pattern = {"\\p{N}"}, .gpt2 = true, .nfc = true},
    {.names = "falcon", .punctuation = true, .gpt2 = true, .pattern = {"[0-9][0-9][0-9]"}, .behind = {true}},
    {.names = "gpt-4o llama4 minimax-m2 kanana2 talkie", .pattern = {GPT4O}},
    {.names = "tekken", .pattern = {TEKKEN}, .whole_words = true, .begins = true},
    {.names = "deepseek-llm",
     .pattern = {"[\\r\\n]", DEEPSEEK_LETTERS, DEEPSEEK_MARKS, "\\s+$", DEEPSEEK_ASIAN, "\\p{N}"}},
    {.names = "deepseek-coder", .pattern = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", DEEPSEEK_ASIAN, "\\p{N}"}},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm hy_v4", .pattern = {"\\p{N}{1,3}", EAST_ASIAN, DEEPSEEK3}},
    {.names = "kimi-k2", .pattern = {KIMI}},
    {.names = "seed-coder", .pattern = {ENDINGS "|" BEFORE "\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" SPACES}},
    {.names = "exaone-moe",
     .pattern = {ENDINGS "|" BEFORE "(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?"
                         "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {.names = "bailingmoe bailingmoe2 llada-moe",
     .pattern = {"'(?i:[sdmt]|ll|ve|re)|" BEFORE "\\p{L}+|\\p{N}" OTHERS "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {.names = "superbpe", .pattern = {"\\p{N}+", THREES}},
    {.names = "youtu",
     .pattern = {"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" EAST_ASIAN,
                 CASED(ENDINGS "?") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES},
     .whole_words = true},
    {.names = "tiny_aya cohere2moe",
     .pattern = {"\\d{1,3}(?=(?:\\d{3})*\\b)",
                 CASED(ENDINGS "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES},
     .nfc = true},
    {.names = "minicpm5",
     .pattern = {"\\p{N}{1,3}", ENDINGS "|" BEFORE "\\p{L}+|\\p{N}+" OTHERS SPACES},
     .whole_words = true},
    {.names = "afmoe", .pattern = {"\\p{N}+", "(?=(\\p{N}{3})+(?!\\p{N}))", AFMOE_SCRIPTS, DEEPSEEK3}},
    {.names = "bloom poro-chat gpt3-finnish", .pattern = {BLOOM}},
    {.names = "viking", .pattern = {BLOOM, "\\p{N}"}},
    {.names = "jais-2",
     .pattern = {ENDINGS "|" BEFORE "\\p{L}+|\\p{N}{1,3}" OTHERS
                         "|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)"
                         "|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"}},
    {.names = "ufakzeka", .pattern = {BEFORE "\\p{L}+|\\p{N}" OTHERS SPACES}},
    {.names = "laguna", .pattern = {"[^\\n]+|[\\n]+", QWEN2}},
};
#define SPLITS (sizeof splits / sizeof *splits)

static bool lists(const char *names, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = names; n && (at = strstr(at, name)); at += n)
        if ((at == names || at[-1] == ' ') && (!at[n] || at[n] == ' ')) return true;
    return false;
}

const struct ggml_split *ggml_split_find(const char *name)
{
    for (size_t i = 0; i < SPLITS && !strchr(name, ' '); i++)
        if (lists(splits[i].names, name)) return &splits[i];
    return NULL;
}

bool ggml_split_name(size_t i, char *name, size_t room)
{
    if (i >= SPLITS) return false;
    snprintf(name, room, "%.*s", (int)strcspn(splits[i].names, " "), splits[i].names);
    return true;
}

void ggml_split_names(char *out, size_t room)
{
    size_t n = 0;

    *out = 0;
    for (size_t i = 0; i < SPLITS; i++)
        for (const char *at = splits[i].names; n < room; at++) {
            size_t bytes = strcspn(at, " ");

            n += (size_t)snprintf(out + n, room - n, "%s%.*s", n ? ", " : "", (int)bytes, at);
            at += bytes;
            if (!*at) break;
        }
}
