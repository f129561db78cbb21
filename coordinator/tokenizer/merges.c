/* vocab.json and merges.txt, the files of byte-level tokenizers before tokenizer.json. What stands around them is in the
 * program that reads them, so it is known here for each class, as transformers 5 has it (models/gpt2, models/qwen2). */
#include "coordinator/tokenizer/parts.h"
#include "coordinator/text/mistaken.h"
#include "proto/base/file.h"

#include <errno.h>
#include <stdio.h>

#define QWEN(letter, other)                                                                                            \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?" letter "+|\\\\p{N}| ?[^\\\\s" other                  \
    "\\\\p{N}]+[\\\\r\\\\n]*|"                                                                                         \
    "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define AROUND_QWEN(letter, other)                                                                                     \
    "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"        \
    "\"Split\",\"pattern\":"                                                                                           \
    "{\"Regex\":\"" QWEN(letter, other) "\"},\"behavior\":\"Isolated\",\"invert\":false},"                             \
                                        "{\"type\":\"ByteLevel\",\"add_prefix_space\":%s,\"use_regex\":false}]},"      \
                                        "\"decoder\":{\"type\":\"ByteLevel\"}}"

struct class
{
    const char *name, *around; /* around: as in tokenizer.json, with add_prefix_space to be filled in */
    bool begins; /* bos_token is <|endoftext|> where no file says otherwise; eos_token and unk_token always are */
    bool pads;   /* pad_token too */
    const char *model_types[18]; /* of config.json, where no file names a class that is known */
};

static const struct class classes[] = {
    {"Qwen2Tokenizer",
     AROUND_QWEN("\\\\p{L}", "\\\\p{L}"),
     false,
     true,
     {"qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl", "qwen2_audio", "qwen2_5_omni", "qwen3", "qwen3_moe", "qwen3_next",
      "qwen3_vl", "qwen3_vl_moe", "qwen3_omni_moe"}},
    {"Qwen3_5Tokenizer",
     AROUND_QWEN("[\\\\p{L}\\\\p{M}]", "\\\\p{L}\\\\p{M}"),
     false,
     true,
     {"qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"}},
    {"GPT2Tokenizer",
     "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":%s,\"use_regex\":true},"
     "\"decoder\":{\"type\":\"ByteLevel\"}}",
     true,
     false,
     {"gpt2", "gpt_neo", "gptj", "opt", "phi", "codegen", "starcoder2", "gpt_bigcode", "dbrx"}},
};
#define CLASSES (sizeof classes / sizeof *classes)

static bool same_class(const char *name, const char *class)
{
    size_t n = strlen(class);
    return name && !strncmp(name, class, n) && (!name[n] || !strcmp(name + n, "Fast"));
}

static const struct class *by_name(const char *name)
{
    for (size_t i = 0; i < CLASSES; i++) {
        if (same_class(name, classes[i].name)) return &classes[i];
    }
    return NULL;
}

static const struct class *by_model_type(const char *type)
{
    for (size_t i = 0; i < CLASSES; i++) {
        for (size_t k = 0; type && k < 18 && classes[i].model_types[k]; k++) {
            if (!strcmp(type, classes[i].model_types[k])) return &classes[i];
        }
    }
    return NULL;
}

/* tokenizer_config.json names it, else config.json does, else the kind of model tells. */
static int find_class(const struct class **out, const char *folder, const struct special_tokens *s, struct error *e)
{
    char path[4096];
    struct stat st;
    json_t *config = NULL;
    const char *name = json_string_value(json_object_get(s->config, "tokenizer_class")), *type;
    int rc = 0;
    if (snprintf(path, sizeof path, "%s/config.json", folder) < (int)sizeof path && lstat(path, &st) == 0)
        rc = json_read_file(&config, path, UINT64_C(64) << 20, e);
    if (rc != 0) return rc;
    if (!name) name = json_string_value(json_object_get(config, "tokenizer_class"));
    type = json_string_value(json_object_get(config, "model_type"));
    *out = by_name(name);
    if (!*out) *out = by_model_type(type);
    if (!*out)
        rc = error_set(
            e, ENOTSUP,
            "%s: how vocab.json and merges.txt are used is in the program of the tokenizer's class, and the class "
            "\"%.60s\" of the model type \"%.60s\" is not known (Qwen2Tokenizer, Qwen3_5Tokenizer and GPT2Tokenizer "
            "are); "
            "fetch the model's tokenizer.json",
            folder, name ? name : "", type ? type : "");
    json_decref(config);
    return rc;
}

/* ---- the files ---- */

static int read_vocab(struct tokenizer *t, const char *path, struct error *e)
{
    struct json_document d = {0};
    int rc = mistaken_file(path, e);
    rc = rc != 0 ? rc : json_load_whole(&d.file, path, e);
    if (rc == 0) {
        d.vocab = (struct json_span){d.file.data, d.file.bytes};
        if ((rc = model_read_vocab(&t->model, &d, e)) != 0) error_prefix(e, "%s", path);
    }
    json_document_free(&d);
    return rc;
}

/* A line is two parts with a space between; the first one may be a version. */
static int read_merges(struct tokenizer *t, const char *path, struct error *e)
{
    struct buffer joined = {0};
    uint64_t bytes = 0;
    char *text = NULL;
    uint32_t rank = 0;
    int rc = mistaken_file(path, e);
    rc = rc != 0 ? rc : file_load(&text, &bytes, path, UINT64_C(1) << 30, e);
    char *end = text ? text + bytes : NULL, *next;
    for (char *line = text; line && line < end && rc == 0; line = next) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((stop ? stop : end) - line);
        next = stop ? stop + 1 : end;
        if (n && line[n - 1] == '\r') n--;
        const char *gap = memchr(line, ' ', n);
        if (!n || (n >= 8 && !memcmp(line, "#version", 8))) continue;
        size_t left = gap ? (size_t)(gap - line) : 0, right = gap ? n - left - 1 : 0;
        if (!left || !right || memchr(gap + 1, ' ', right))
            rc = error_set(e, EINVAL, "merge %u is not two parts with a space between them", rank);
        else
            rc = bpe_add_merge(&t->model, line, left, gap + 1, right, rank, &joined, e);
        if (rc != 0) error_prefix(e, "%s", path);
        rank++;
    }
    buffer_free(&joined);
    free(text);
    return rc;
}

static int read_around(struct tokenizer *t, const struct class *class, const struct special_tokens *s, struct error *e)
{
    char text[1024];
    bool prefix;
    json_t *o = NULL;
    int rc = json_get_bool(s->config, "add_prefix_space", false, &prefix, e);
    if (rc != 0) return error_prefix(e, "tokenizer_config.json");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, class->around, prefix ? "true" : "false");
#pragma GCC diagnostic pop
    rc = json_read_text(&o, text, strlen(text), class->name, 0, e);
    rc = rc != 0 ? rc : normalizer_read(&t->normalizer, json_object_get(o, "normalizer"), e);
    rc = rc != 0 ? rc : pretokenizer_read(&t->pretokenizer, json_object_get(o, "pre_tokenizer"), e);
    rc = rc != 0 ? rc : decoder_read(&t->decoder, json_object_get(o, "decoder"), e);
    json_decref(o);
    return rc;
}

/* ---- special tokens ---- */

/* What the class says where no file does. */
static int add_defaults(struct special_tokens *s, const struct class *class, bool *own_end)
{
    static const char *const keys[] = {"unk_token", "eos_token", "bos_token", "pad_token"};
    bool wanted[] = {true, true, class->begins, class->pads};
    int rc = 0;
    if (!s->config && !(s->config = json_object())) return -ENOMEM;
    for (size_t i = 0; i < 4; i++) {
        bool given = json_object_get(s->config, keys[i]) || json_object_get(s->map, keys[i]);
        if (wanted[i] && !given) rc |= json_object_set_new(s->config, keys[i], json_string("<|endoftext|>"));
        if (i == 1) *own_end = !given;
    }
    return rc ? -ENOMEM : 0;
}

static int push_around(struct tokenizer *t, const struct special_tokens *s, const char *flag, const char *name,
                       struct token_ids *to, struct error *e)
{
    const char *content = json_string_value(special_tokens_content(s, name, NULL));
    bool add;
    int rc = json_get_bool(s->config, flag, false, &add, e);
    if (rc != 0) return error_prefix(e, "tokenizer_config.json");
    int64_t id = add && content ? tokenizer_token_id(t, content) : -1;
    return id < 0 ? 0 : token_ids_push(to, (uint32_t)id) != 0 ? error_set(e, ENOMEM, "no memory for the tokenizer") : 0;
}

int tokenizer_read_merges(struct tokenizer *t, const char *folder, struct special_tokens *s, struct error *e)
{
    char vocab[4096], merges[4096];
    const struct class *class;
    bool own_end = false;
    snprintf(vocab, sizeof vocab, "%s/vocab.json", folder);
    snprintf(merges, sizeof merges, "%s/merges.txt", folder);
    t->model.kind = MODEL_BPE;
    t->model.unk = -1;
    int rc = find_class(&class, folder, s, e);
    if (rc != 0) return rc;
    if (add_defaults(s, class, &own_end) != 0) return error_set(e, ENOMEM, "no memory for the tokenizer");
    rc = read_vocab(t, vocab, e);
    rc = rc != 0 ? rc : read_merges(t, merges, e);
    rc = rc != 0 ? rc : bpe_finish(&t->model, e);
    rc = rc != 0 ? rc : read_around(t, class, s, e);
    if (rc != 0) return rc;
    t->pretokenizer.keep_bytes = true;
    model_take_bytes(&t->model);
    rc = special_tokens_add(t, s, NULL, SPECIAL_NEXT_IDS, e);
    if (own_end && t->eos_file) t->eos_file = class->name;
    rc = rc != 0 ? rc : push_around(t, s, "add_bos_token", "bos_token", &t->post.prefix, e);
    rc = rc != 0 ? rc : push_around(t, s, "add_eos_token", "eos_token", &t->post.suffix, e);
    return rc != 0 ? rc : added_tokens_index(&t->added, &t->normalizer, e);
}
