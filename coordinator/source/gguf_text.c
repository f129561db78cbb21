#include "coordinator/source/gguf_text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/tokenizer/ggml.h"
#include "proto/base/log.h"

#define TOKENS "tokenizer.ggml.tokens"
#define TYPES  "tokenizer.ggml.token_type"

static const char *file_of(const struct gguf *g)
{
    return g->files[0].path;
}

static int no_memory(const struct gguf *g, struct error *e)
{
    return error_set(e, ENOMEM, "%s: no memory for its tokenizer", file_of(g));
}

/* What is not there is no error. */
static int optional(int rc)
{
    return rc == -ENOENT ? 0 : rc;
}

/* ---- tokenizer ---- */

static const char *text_at(const void *of, uint64_t i, size_t *bytes)
{
    return gguf_text(of, i, bytes);
}

static int read_texts(struct ggml_texts *out, const struct gguf *g, const char *key, struct error *e)
{
    const struct gguf_value *v;
    int rc = gguf_array(g, key, GGUF_STRINGS, &v, e);

    if (!rc) *out = (struct ggml_texts){.of = v, .count = v->count, .at = text_at};
    return optional(rc);
}

static int check_count(const struct gguf *g, const struct gguf_value *v, uint64_t tokens, struct error *e)
{
    if (v->count == tokens) return 0;
    return gguf_fault(g, e, v->key, "%llu elements, and %llu tokens: download the file again",
                      (unsigned long long)v->count, (unsigned long long)tokens);
}

static int read_scores(float **out, const struct gguf *g, uint64_t tokens, struct error *e)
{
    const struct gguf_value *v;
    int rc = gguf_array(g, "tokenizer.ggml.scores", GGUF_FLOATS, &v, e);

    if (rc || (rc = check_count(g, v, tokens, e))) return optional(rc);
    if (!(*out = malloc((size_t)tokens * sizeof **out + 1))) return no_memory(g, e);
    for (uint64_t i = 0; i < tokens; i++) (*out)[i] = (float)gguf_float(v, i);
    return 0;
}

static int read_types(uint8_t **out, const struct gguf *g, uint64_t tokens, struct error *e)
{
    const struct gguf_value *v;
    int rc = gguf_array(g, TYPES, GGUF_INTS, &v, e);

    if (rc || (rc = check_count(g, v, tokens, e))) return optional(rc);
    if (!(*out = malloc((size_t)tokens + 1))) return no_memory(g, e);
    for (uint64_t i = 0; i < tokens; i++) {
        int64_t type = gguf_int(v, i);

        (*out)[i] = type < 0 || type > UINT8_MAX ? UINT8_MAX : (uint8_t)type;
    }
    return 0;
}

/* A list of bytes, of whatever type of whole numbers. */
static int read_charsmap(char **out, size_t *bytes, const struct gguf *g, struct error *e)
{
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    const struct gguf_value *v;
    int rc = gguf_array(g, key, GGUF_INTS, &v, e);

    if (rc || !v->count) return optional(rc);
    if (!(*out = malloc((size_t)v->count))) return no_memory(g, e);
    *bytes = (size_t)v->count;
    for (uint64_t i = 0; i < v->count; i++) {
        int64_t b = gguf_int(v, i);

        if (b < INT8_MIN || b > UINT8_MAX) return gguf_fault(g, e, key, "element %zu is no byte", (size_t)i);
        (*out)[i] = (char)(uint8_t)b;
    }
    return 0;
}

static int read_choice(enum ggml_choice *out, const struct gguf *g, const char *key, struct error *e)
{
    bool yes = false;
    int rc = gguf_bool(g, key, &yes, e);

    *out = rc ? GGML_UNSAID : yes ? GGML_YES : GGML_NO;
    return optional(rc);
}

static int read_id(int64_t *out, const struct gguf *g, const char *key, struct error *e)
{
    int rc;

    *out = -1;
    rc = gguf_i64(g, key, out, e);
    if (*out == UINT32_MAX) *out = -1; /* -1 as it is written by some */
    if (!rc && *out < -1) return gguf_fault(g, e, key, "%lld is no token's number", (long long)*out);
    return optional(rc);
}

/* Phi-3's special tokens swallow the white space behind them; its later models have another tokenizer. */
static bool strips_right(const struct gguf *g, const char *model)
{
    struct error unread = {0};
    const char *name;
    size_t bytes;

    return !gguf_string(g, "general.architecture", &name, &bytes, &unread) && !strcmp(name, "phi3") &&
           !strcmp(model, "llama");
}

struct read_tables {
    struct ggml_tables g;
    float *score;
    uint8_t *type;
    char *charsmap;
};

static int read_choices(struct ggml_tables *t, const struct gguf *g, struct error *e)
{
    int rc = read_id(&t->bos, g, "tokenizer.ggml.bos_token_id", e);

    if (!rc) rc = read_id(&t->eos, g, "tokenizer.ggml.eos_token_id", e);
    if (!rc) rc = read_id(&t->unknown, g, "tokenizer.ggml.unknown_token_id", e);
    if (!rc) rc = read_choice(&t->add_bos, g, "tokenizer.ggml.add_bos_token", e);
    if (!rc) rc = read_choice(&t->add_eos, g, "tokenizer.ggml.add_eos_token", e);
    if (!rc) rc = read_choice(&t->add_space, g, "tokenizer.ggml.add_space_prefix", e);
    return rc ? rc : read_choice(&t->merge_spaces, g, "tokenizer.ggml.remove_extra_whitespaces", e);
}

static int read_tables(struct read_tables *r, const struct gguf *g, const char *pre, struct error *e)
{
    struct ggml_tables *t = &r->g;
    size_t bytes;
    int rc;

    t->file = file_of(g);
    rc = gguf_string(g, "tokenizer.ggml.model", &t->model, &bytes, e);
    if (rc == -ENOENT || (!rc && (!strcmp(t->model, "none") || !strcmp(t->model, "no_vocab"))))
        return error_set(e, ENOENT, "%s: it holds no tokenizer (tokenizer.ggml.model): give tokens (sluice logits)",
                         t->file);
    if (!rc) rc = optional(gguf_string(g, "tokenizer.ggml.pre", &t->pre, &bytes, e));
    if (rc) return rc;
    if (pre) t->pre = pre;
    t->pre_asked = pre != NULL;
    t->strips_right = strips_right(g, t->model);
    rc = read_texts(&t->tokens, g, TOKENS, e);
    if (!rc) rc = read_texts(&t->merges, g, "tokenizer.ggml.merges", e);
    if (!rc) rc = read_scores(&r->score, g, t->tokens.count, e);
    if (!rc) rc = read_types(&r->type, g, t->tokens.count, e);
    if (!rc) rc = read_charsmap(&r->charsmap, &t->charsmap_bytes, g, e);
    t->score = r->score;
    t->type = r->type;
    t->charsmap = r->charsmap;
    return rc ? rc : read_choices(t, g, e);
}

int gguf_tokenizer(struct tokenizer **out, const struct gguf *g, const char *pre, struct error *e)
{
    static const char whole[] = "tokenizer.huggingface.json";
    struct read_tables r = {0};
    const char *text;
    size_t bytes;
    int rc = gguf_string(g, whole, &text, &bytes, e);

    *out = NULL;
    if (!rc && bytes) {
        char *name = NULL;

        if (asprintf(&name, "%s: %s", file_of(g), whole) < 0) return no_memory(g, e);
        rc = tokenizer_from_text(out, text, bytes, name, e);
        free(name);
        return rc;
    }
    if (!(rc = optional(rc))) rc = read_tables(&r, g, pre, e);
    if (!rc) rc = tokenizer_from_ggml(out, &r.g, e);
    free(r.score);
    free(r.type);
    free(r.charsmap);
    return rc;
}

/* Measured were up to 5.6 bytes a byte of the header where the file has merges, 11.4 where they are made of its scores. */
uint64_t gguf_text_bytes(const struct gguf *g)
{
    return (gguf_find(g, "tokenizer.ggml.merges") ? 6 : 12) * g->files[0].header_bytes;
}

/* ---- chat templates ---- */

static int add_source(json_t *sources, const struct gguf *g, const char *key, const char *name, struct error *e)
{
    const char *text;
    size_t bytes;
    int rc = gguf_string(g, key, &text, &bytes, e);
    json_t *source;

    if (rc) return optional(rc);
    if (!(source = json_stringn(text, bytes))) return gguf_fault(g, e, key, "not UTF-8: download the file again");
    return json_object_set_new(sources, name, source) ? no_memory(g, e) : 0;
}

static int add_named(json_t *sources, const struct gguf *g, struct error *e)
{
    static const char list[] = "tokenizer.chat_templates";
    const struct gguf_value *v;
    int rc = gguf_array(g, list, GGUF_STRINGS, &v, e);

    for (uint64_t i = 0; !rc && i < v->count; i++) {
        const char *name = gguf_text(v, i, NULL);
        json_t *check = json_string(name);
        char *key = NULL;

        if (!check) return gguf_fault(g, e, list, "element %zu is not UTF-8", (size_t)i);
        json_decref(check);
        if (asprintf(&key, "tokenizer.chat_template.%s", name) < 0) return no_memory(g, e);
        rc = add_source(sources, g, key, name, e);
        free(key);
    }
    return optional(rc);
}

/* The special tokens, as transformers calls them. */
static int add_tokens(json_t *tokens, const struct gguf *g, struct error *e)
{
    static const char *const names[][2] = {
        {"bos_token", "tokenizer.ggml.bos_token_id"},     {"eos_token", "tokenizer.ggml.eos_token_id"},
        {"unk_token", "tokenizer.ggml.unknown_token_id"}, {"sep_token", "tokenizer.ggml.seperator_token_id"},
        {"pad_token", "tokenizer.ggml.padding_token_id"}, {"mask_token", "tokenizer.ggml.mask_token_id"},
        {"cls_token", "tokenizer.ggml.cls_token_id"}};
    const struct gguf_value *v;
    int rc = gguf_array(g, TOKENS, GGUF_STRINGS, &v, e);

    if (rc) return optional(rc);
    for (size_t i = 0; i < sizeof names / sizeof *names && !rc; i++) {
        int64_t id;
        size_t bytes;
        const char *text;
        json_t *token;

        if ((rc = read_id(&id, g, names[i][1], e)) || id < 0) continue;
        if ((uint64_t)id >= v->count)
            return gguf_fault(g, e, names[i][1], "%lld, and there are %llu tokens", (long long)id,
                              (unsigned long long)v->count);
        text = gguf_text(v, (uint64_t)id, &bytes);
        if (!(token = json_stringn(text, bytes)))
            return gguf_fault(g, e, TOKENS, "token %lld is not UTF-8", (long long)id);
        if (json_object_set_new(tokens, names[i][0], token)) rc = no_memory(g, e);
    }
    return rc;
}

int gguf_template(struct template **out, const struct gguf *g, const char *name, struct error *e)
{
    json_t *sources = json_object(), *tokens = json_object();
    int rc = sources && tokens ? add_source(sources, g, "tokenizer.chat_template", "default", e) : no_memory(g, e);

    *out = NULL;
    if (!rc) rc = add_named(sources, g, e);
    if (!rc) rc = add_tokens(tokens, g, e);
    if (!rc) rc = template_make(out, file_of(g), "no tokenizer.chat_template", sources, tokens, name, e);
    json_decref(sources);
    json_decref(tokens);
    return rc;
}

/* ---- the ends of an answer ---- */

/* Whose text says that they are one, in llama.cpp's list and under its conditions. */
static const char *const end_texts[] = {"<|eot_id|>",
                                        "<|im_end|>",
                                        "<|end|>",
                                        "<|return|>",
                                        "<|call|>",
                                        "<|flush|>",
                                        "<|calls|>",
                                        "<end_of_turn>",
                                        "<|endoftext|>",
                                        "<|eom_id|>",
                                        "<EOT>",
                                        "_<EOT>",
                                        "[EOT]",
                                        "[EOS]",
                                        "<|end_of_text|>",
                                        "<end_of_utterance>",
                                        "<eos>",
                                        "<turn|>",
                                        "<|tool_response>",
                                        "<｜end▁of▁sentence｜>",
                                        "[e~["};
#define END_TEXTS (sizeof end_texts / sizeof *end_texts)

struct end_words {
    int64_t end[END_TEXTS], close; /* ids; close: "</s>" of the type control */
};

static void find_words(struct end_words *w, const struct gguf *g, const struct gguf_value *tokens)
{
    const struct gguf_value *types;
    struct error unread = {0};

    if (gguf_array(g, TYPES, GGUF_INTS, &types, &unread) || types->count != tokens->count) types = NULL;
    for (size_t k = 0; k < END_TEXTS; k++) w->end[k] = -1;
    w->close = -1;
    for (uint64_t i = 0; i < tokens->count; i++) {
        size_t bytes;
        const char *text = gguf_text(tokens, i, &bytes);

        if (bytes < 3 || bytes > 32 || !strchr("<[_", *text)) continue;
        for (size_t k = 0; k < END_TEXTS; k++)
            if (!strcmp(text, end_texts[k])) w->end[k] = (int64_t)i;
        if (!strcmp(text, "</s>") && types && gguf_int(types, i) == GGML_TOKEN_CONTROL) w->close = (int64_t)i;
    }
}

static bool has_word(const struct end_words *w, const char *text)
{
    for (size_t k = 0; k < END_TEXTS; k++)
        if (!strcmp(end_texts[k], text)) return w->end[k] >= 0;
    return false;
}

static int add_words(struct model_generation *x, const struct gguf *g, struct error *e)
{
    const struct gguf_value *tokens;
    struct end_words w;
    bool parts; /* "<|end|>" ends a part of an answer there, and another token the answer */
    int rc = gguf_array(g, TOKENS, GGUF_STRINGS, &tokens, e);

    if (rc) return optional(rc);
    find_words(&w, g, tokens);
    parts = (has_word(&w, "<|call|>") || has_word(&w, "<|calls|>")) &&
            (has_word(&w, "<|return|>") || has_word(&w, "<|flush|>"));
    for (size_t k = 0; k < END_TEXTS && !rc; k++)
        if (w.end[k] >= 0 && !(parts && !strcmp(end_texts[k], "<|end|>")))
            rc = generation_add_end(x, (uint32_t)w.end[k], GENERATION_END_TEXT, e);
    if (!rc && w.close >= 0 && !has_word(&w, "<|tool_response>"))
        rc = generation_add_end(x, (uint32_t)w.close, GENERATION_END_TEXT, e);
    return rc;
}

static int add_key(struct model_generation *x, const struct gguf *g, const char *key, enum generation_file from,
                   struct error *e)
{
    int64_t id;
    int rc = read_id(&id, g, key, e);

    if (rc || id < 0) return rc;
    if (id > UINT32_MAX) return gguf_fault(g, e, key, "%lld is no token's number", (long long)id);
    return generation_add_end(x, (uint32_t)id, from, e);
}

/* ---- sampling ---- */

static int read_number(double *out, const struct gguf *g, const char *key, double min, double max, struct error *e)
{
    double v = NAN;
    int rc = gguf_f64(g, key, &v, e);

    if (rc || isnan(v)) return optional(rc);
    if (v < min || v > max) return gguf_fault(g, e, key, "%g, and can be from %g to %g", v, min, max);
    *out = v;
    return 0;
}

static int read_sampling(struct model_generation *x, const struct gguf *g, struct error *e)
{
    double top_k = NAN, other = 0;
    int rc = read_number(&x->temperature, g, "general.sampling.temp", 0, TEMPERATURE_MOST, e);

    if (!rc) rc = read_number(&x->top_p, g, "general.sampling.top_p", 0, 1, e);
    if (!rc) rc = read_number(&x->min_p, g, "general.sampling.min_p", 0, 1, e);
    if (!rc)
        rc = read_number(&x->repeat_penalty, g, "general.sampling.penalty_repeat", REPEAT_PENALTY_LEAST,
                         REPEAT_PENALTY_MOST, e);
    if (!rc) rc = read_number(&top_k, g, "general.sampling.top_k", -1, TOP_K_MOST, e);
    if (!rc && !isnan(top_k)) x->top_k = top_k > 0 ? (int64_t)top_k : 0;
    if (!rc) rc = read_number(&other, g, "general.sampling.xtc_probability", -INFINITY, INFINITY, e);
    if (!rc && other > 0)
        log_info("%s: general.sampling.xtc_probability: sampling of this kind is not done", file_of(g));
    other = 0;
    if (!rc) rc = read_number(&other, g, "general.sampling.mirostat", -INFINITY, INFINITY, e);
    if (!rc && other > 0) log_info("%s: general.sampling.mirostat: sampling of this kind is not done", file_of(g));
    return rc;
}

int gguf_generation(struct model_generation *x, const struct gguf *g, struct error *e)
{
    int rc;

    generation_begin(x);
    rc = read_id(&x->bos, g, "tokenizer.ggml.bos_token_id", e);
    if (!rc) rc = read_id(&x->pad, g, "tokenizer.ggml.padding_token_id", e);
    if (!rc) rc = add_key(x, g, "tokenizer.ggml.eos_token_id", GENERATION_EOS_KEY, e);
    if (!rc) rc = add_key(x, g, "tokenizer.ggml.eot_token_id", GENERATION_EOT_KEY, e);
    if (!rc) rc = add_key(x, g, "tokenizer.ggml.eom_token_id", GENERATION_EOM_KEY, e);
    if (!rc) rc = add_words(x, g, e);
    return rc ? rc : read_sampling(x, g, e);
}
