/* What a GGUF file says beside sizes: its tokenizer, templates, and how its makers would choose tokens (gguf_text.c reads it). */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/pack/gguf.h"
#include "coordinator/tokenizer/ggml_out.h"
#include "proto/base/file.h"

#define JSON_MOST (UINT64_C(64) << 20) /* of a tokenizer.json that goes into the header */

/* ---- tokenizer ---- */

static void put_id(struct gguf_out *out, const char *key, int64_t id, uint64_t tokens)
{
    if (id >= 0 && (uint64_t)id < tokens) gguf_out_u32(out, key, (uint32_t)id);
}

static void put_texts(struct gguf_out *out, const char *key, const struct ggml_texts *t)
{
    gguf_out_array(out, key, GGUF_STRING, t->count);
    for (uint64_t i = 0; i < t->count; i++) {
        size_t bytes;
        const char *text = t->at(t->of, i, &bytes);

        gguf_out_string(out, text, bytes);
    }
}

static void put_choice(struct gguf_out *out, const char *key, enum ggml_choice x)
{
    if (x != GGML_UNSAID) gguf_out_bool(out, key, x == GGML_YES);
}

static void put_tables(struct gguf_out *out, const struct ggml_made *x)
{
    const struct ggml_tables *g = &x->tables;

    gguf_out_text(out, "tokenizer.ggml.model", g->model, strlen(g->model));
    gguf_out_text(out, "tokenizer.ggml.pre", g->pre ? g->pre : "default", strlen(g->pre ? g->pre : "default"));
    put_texts(out, "tokenizer.ggml.tokens", &g->tokens);
    if (g->score) {
        gguf_out_array(out, "tokenizer.ggml.scores", GGUF_F32, g->tokens.count);
        gguf_out_element(out, g->score, g->tokens.count * sizeof *g->score);
    }
    gguf_out_array(out, "tokenizer.ggml.token_type", GGUF_I32, g->tokens.count);
    for (uint64_t i = 0; i < g->tokens.count; i++) {
        int32_t type = g->type[i];

        gguf_out_element(out, &type, sizeof type);
    }
    if (g->merges.count) put_texts(out, "tokenizer.ggml.merges", &g->merges);
    put_choice(out, "tokenizer.ggml.add_bos_token", g->add_bos);
    put_choice(out, "tokenizer.ggml.add_eos_token", g->add_eos);
    put_choice(out, "tokenizer.ggml.add_space_prefix", g->add_space);
    put_choice(out, "tokenizer.ggml.remove_extra_whitespaces", g->merge_spaces);
    if (!g->charsmap) return;
    gguf_out_array(out, "tokenizer.ggml.precompiled_charsmap", GGUF_U8, g->charsmap_bytes);
    gguf_out_element(out, g->charsmap, g->charsmap_bytes);
}

/* Ends beyond the first: the first of them is a turn's. */
static void put_ends(struct gguf_out *out, const struct ggml_made *x, const struct model_generation *g, uint64_t tokens)
{
    const struct ggml_tables *t = &x->tables;
    int64_t eos = t->add_eos == GGML_YES ? t->eos : g->eos_count ? (int64_t)g->eos[0] : t->eos;

    if (t->eos >= 0)
        for (size_t i = 0; i < g->eos_count; i++)
            if (g->eos[i] == t->eos) eos = t->eos;
    put_id(out, "tokenizer.ggml.bos_token_id", t->bos >= 0 ? t->bos : g->bos, tokens);
    put_id(out, "tokenizer.ggml.eos_token_id", eos, tokens);
    put_id(out, "tokenizer.ggml.unknown_token_id", t->unknown, tokens);
    put_id(out, "tokenizer.ggml.padding_token_id", g->pad, tokens);
    for (size_t i = 0; i < g->eos_count; i++) {
        if (g->eos[i] == eos) continue;
        put_id(out, "tokenizer.ggml.eot_token_id", g->eos[i], tokens);
        break;
    }
}

/* A file that has all that the tables cannot say goes in whole: sluice reads it before them. */
static int put_json(struct gguf_out *out, const struct source *s, bool *is)
{
    struct error unread = {0};
    uint64_t bytes;
    char *path, *text;
    int rc;

    *is = false;
    if (asprintf(&path, "%s/tokenizer.json", source_path(s)) < 0) return -ENOMEM;
    rc = file_load(&text, &bytes, path, JSON_MOST, &unread);
    free(path);
    if (rc) return rc == -ENOMEM ? rc : 0;
    gguf_out_text(out, "tokenizer.huggingface.json", text, bytes);
    free(text);
    *is = true;
    return 0;
}

static int put_tokenizer(struct gguf_out *out, const struct source *s, const struct model_generation *g,
                         uint64_t tokens, char *notice, size_t room, struct error *e)
{
    struct tokenizer *t = NULL;
    struct ggml_made x = {0};
    bool whole = false;
    int rc = source_tokenizer(s, &t, e);

    if (rc == -ENOENT) {
        *e = (struct error){0};
        snprintf(notice, room, "%s has no tokenizer, so its GGUF file has none either", source_name(s));
        return 0;
    }
    if (!rc) rc = ggml_make(&x, t, tokens, e);
    if (!rc && x.tables.model) {
        put_tables(out, &x);
        put_ends(out, &x, g, tokens);
    }
    if (!rc && !x.same) {
        if (put_json(out, s, &whole)) rc = error_set(e, ENOMEM, "no memory for a tokenizer");
        snprintf(notice, room,
                 "the tokenizer is in the file %s: %s; programs that read GGUF's tables only may get other tokens",
                 whole ? "as tokenizer.json" : "as well as its tables can say", x.why);
    }
    ggml_made_free(&x);
    tokenizer_close(t);
    return rc;
}

/* ---- templates, sampling ---- */

static int put_template(struct gguf_out *out, const struct source *s, struct error *e)
{
    struct error unread = {0};
    struct template *t = NULL;
    size_t bytes, tool_bytes;
    const char *text, *tools;
    int rc = source_template(s, NULL, &t, &unread);

    if (rc == -ENOMEM) return error_set(e, ENOMEM, "%s", unread.text);
    if (rc) return 0; /* without one, or with one that cannot be read, which the model runs without too */
    text = template_text(t, false, &bytes);
    tools = template_text(t, true, &tool_bytes);
    gguf_out_text(out, "tokenizer.chat_template", text, bytes);
    if (bytes != tool_bytes || memcmp(text, tools, bytes)) {
        gguf_out_array(out, "tokenizer.chat_templates", GGUF_STRING, 1);
        gguf_out_string(out, "tool_use", strlen("tool_use"));
        gguf_out_text(out, "tokenizer.chat_template.tool_use", tools, tool_bytes);
    }
    template_close(t);
    return 0;
}

static void put_sampling(struct gguf_out *out, const struct model_generation *g)
{
    const struct {
        const char *key;
        double x;
    } all[] = {{"general.sampling.temp", g->temperature},
               {"general.sampling.top_p", g->top_p},
               {"general.sampling.min_p", g->min_p},
               {"general.sampling.penalty_repeat", g->repeat_penalty}};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!isnan(all[i].x)) gguf_out_f32(out, all[i].key, all[i].x);
    if (g->top_k >= 0) gguf_out_i32(out, "general.sampling.top_k", (int32_t)g->top_k);
}

int gguf_pack_values(struct gguf_out *out, const struct source *s, const struct model *m, uint64_t tokens, char *notice,
                     size_t room, struct error *e)
{
    const struct model_generation *g = model_generation(m);
    int rc;

    gguf_out_text(out, "general.type", "model", strlen("model"));
    gguf_out_text(out, "general.name", source_name(s), strlen(source_name(s)));
    put_sampling(out, g);
    rc = put_tokenizer(out, s, g, tokens, notice, room, e);
    return rc ? rc : put_template(out, s, e);
}
