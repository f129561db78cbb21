#include "coordinator/tokenizer/ggml.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include "coordinator/text/utf8.h"
#include "coordinator/tokenizer/ggml_out.h"
#include "coordinator/tokenizer/ggml_parts.h"

#define KEY(name) "tokenizer.ggml." name

int ggml_no_memory(struct error *e)
{
    return error_set(e, ENOMEM, "no memory for the tokenizer");
}

int ggml_fault(const struct ggml_tables *g, struct error *e, const char *key, const char *what)
{
    return error_set(e, EINVAL, "%s: " KEY("%s") ": %s: download the file again", g->file, key, what);
}

enum ggml_token_type ggml_type(const struct ggml_tables *g, uint64_t id)
{
    return g->type ? g->type[id] : GGML_TOKEN_NORMAL;
}

/* "[PAD7]": converters fill vocabularies up with these, of whatever type but normal. */
static bool is_filler(const char *text, size_t bytes)
{
    size_t at = 4;

    if (bytes < 6 || memcmp(text, "[PAD", 4)) return false;
    while (at < bytes && text[at] >= '0' && text[at] <= '9') at++;
    return at > 4 && at + 1 == bytes && text[at] == ']';
}

bool ggml_is_space_run(const struct ggml_tables *g, uint64_t id)
{
    size_t bytes, n = 0;
    const char *text;

    if (strcmp(g->model, "llama") || ggml_type(g, id) != GGML_TOKEN_USER_DEFINED) return false;
    text = g->tokens.at(g->tokens.of, id, &bytes);
    while (n < bytes && text[n] == ' ') n++;
    return bytes && n == bytes;
}

/* ---- tokens ---- */

static bool is_found_first(enum ggml_token_type type)
{
    return type == GGML_TOKEN_UNKNOWN || type == GGML_TOKEN_CONTROL || type == GGML_TOKEN_USER_DEFINED;
}

static int fault_at(const struct ggml_tables *g, struct error *e, const char *key, uint64_t i, const char *what)
{
    return error_set(e, EINVAL, "%s: " KEY("%s") ": element %llu %s: download the file again", g->file, key,
                     (unsigned long long)i, what);
}

/* Of the special tokens that swallow white space, these do not. */
static bool keeps_space(const char *text)
{
    return !strcmp(text, "<unk>") || !strcmp(text, "<s>") || !strcmp(text, "<|endoftext|>");
}

static int read_token(struct tokenizer *t, const struct ggml_tables *g, uint32_t id, struct error *e)
{
    enum ggml_token_type type = ggml_type(g, id);
    size_t bytes;
    const char *text = g->tokens.at(g->tokens.of, id, &bytes);
    struct added_token a = {
        .id = id, .special = type != GGML_TOKEN_USER_DEFINED, .rstrip = g->strips_right && !keeps_space(text)};
    int64_t other;
    int rc;

    if (type >= GGML_TOKEN_TYPES) return fault_at(g, e, "token_type", id, "is no type of a token");
    if (g->score && !isfinite(g->score[id])) return fault_at(g, e, "scores", id, "is not a number");
    if (utf8_valid_bytes(text, bytes) < bytes) return fault_at(g, e, "tokens", id, "is not UTF-8");
    if (!bytes || (type != GGML_TOKEN_NORMAL && is_filler(text, bytes))) return 0;
    if ((other = vocab_find(&t->model.vocab, text, bytes)) >= 0)
        return error_set(e, EINVAL,
                         "%s: " KEY("tokens") ": %u and %u are both \"%.80s\": a vocabulary has a text only once",
                         g->file, (uint32_t)other, id, text);
    if (ggml_is_space_run(g, id)) return 0; /* ggml_read_pieces() adds it */
    if ((rc = vocab_put(&t->model.vocab, text, bytes, id))) return error_set(e, -rc, "no memory for the tokenizer");
    return is_found_first(type) ? tokenizer_add_token(t, a, text, bytes, e) : 0;
}

static int check_id(const struct ggml_tables *g, int64_t id, const char *key, struct error *e)
{
    if (id < (int64_t)g->tokens.count) return 0;
    return error_set(e, EINVAL, "%s: " KEY("%s") " is %lld, and there are %llu tokens: download the file again",
                     g->file, key, (long long)id, (unsigned long long)g->tokens.count);
}

static int read_tokens(struct tokenizer *t, const struct ggml_tables *g, struct error *e)
{
    int rc = 0;

    if (!g->tokens.count) return ggml_fault(g, e, "tokens", "there are none");
    if (g->tokens.count > VOCAB_ID_LIMIT) return ggml_fault(g, e, "tokens", "more than any model has");
    for (uint32_t id = 0; id < g->tokens.count && !rc; id++) rc = read_token(t, g, id, e);
    if (!rc) rc = check_id(g, g->bos, "bos_token_id", e);
    if (!rc) rc = check_id(g, g->eos, "eos_token_id", e);
    return rc ? rc : check_id(g, g->unknown, "unknown_token_id", e);
}

/* ---- merges ---- */

struct merge_reader {
    struct tokenizer *t;
    const struct ggml_tables *g;
    struct buffer joined;
    uint32_t lost, first_lost; /* merges of texts that are no tokens */
};

/* "left right": cut at the first space that is not its first byte. Whose texts are no tokens makes none: added tokens are not
 * always written as the merges write them. */
static int read_merge(struct merge_reader *r, uint32_t rank, struct error *e)
{
    const struct vocab *v = &r->t->model.vocab;
    size_t bytes, left, right;
    const char *text = r->g->merges.at(r->g->merges.of, rank, &bytes),
               *gap = bytes > 2 ? memchr(text + 1, ' ', bytes - 1) : NULL;

    if (utf8_valid_bytes(text, bytes) < bytes) return fault_at(r->g, e, "merges", rank, "is not UTF-8");
    if (!gap || gap + 1 == text + bytes)
        return fault_at(r->g, e, "merges", rank, "is not two parts with a space between");
    left = (size_t)(gap - text);
    right = bytes - left - 1;
    r->joined.bytes = 0;
    buffer_append(&r->joined, text, left);
    buffer_append(&r->joined, gap + 1, right);
    if (r->joined.failed) return ggml_no_memory(e);
    if (vocab_find(v, text, left) < 0 || vocab_find(v, gap + 1, right) < 0 ||
        vocab_find(v, r->joined.data, r->joined.bytes) < 0) {
        if (!r->lost++) r->first_lost = rank;
        return 0;
    }
    return bpe_add_merge(&r->t->model, text, left, gap + 1, right, rank, &r->joined, e);
}

static int read_merges(struct tokenizer *t, const struct ggml_tables *g, struct error *e)
{
    struct merge_reader r = {.t = t, .g = g};
    int rc = map_reserve(&t->model.bpe.merge, g->merges.count < VOCAB_ID_LIMIT ? g->merges.count : 0);

    if (rc) return ggml_no_memory(e);
    if (g->merges.count >= UINT32_MAX) return ggml_fault(g, e, "merges", "more than any tokenizer has");
    for (uint32_t rank = 0; rank < g->merges.count && !rc; rank++) rc = read_merge(&r, rank, e);
    if (!rc && r.lost)
        log_info("%s: " KEY("merges") ": %u of %llu are of texts that are no tokens, the first is element %u: left out",
                 g->file, r.lost, (unsigned long long)g->merges.count, r.first_lost);
    buffer_free(&r.joined);
    return rc;
}

/* ---- byte-level BPE ---- */

static int unknown_split(const struct ggml_tables *g, struct error *e)
{
    char names[800];

    ggml_split_names(names, sizeof names);
    if (!g->pre || !strcmp(g->pre, "default"))
        return error_set(
            e, ENOTSUP,
            "%s: " KEY("pre") " does not say how its tokenizer splits a text, and a wrong rule gives wrong "
                              "ids: say it with --pre, one of %s",
            g->file, names);
    return error_set(e, ENOTSUP, "%s: %s \"%.80s\" is not known: %s: %s", g->file,
                     g->pre_asked ? "the rule of --pre" : KEY("pre"), g->pre,
                     g->pre_asked ? "these are" : "say which of these is right with --pre", names);
}

static int add_pattern(struct tokenizer *t, const char *pattern, struct error *e)
{
    struct pretokenizer_step *s;
    int rc = pretokenizer_add(&t->pretokenizer, PRETOKENIZER_SPLIT, &s, e);

    return rc ? rc : pattern_compile(&s->pattern, pattern, strlen(pattern), PATTERN_ONIGURUMA, e);
}

static int add_patterns(struct tokenizer *t, const struct ggml_split *split, bool behind, struct error *e)
{
    int rc = 0;

    for (size_t i = 0; i < GGML_SPLIT_STEPS && split->pattern[i] && !rc; i++)
        if (split->behind[i] == behind) rc = add_pattern(t, split->pattern[i], e);
    return rc;
}

static int make_splits(struct tokenizer *t, const struct ggml_split *split, struct error *e)
{
    struct normalizer_step *n;
    struct pretokenizer_step *p;
    int rc = split->nfc ? normalizer_add(&t->normalizer, NORMALIZER_NFC, &n, e) : 0;

    if (!rc && split->punctuation && !(rc = pretokenizer_add(&t->pretokenizer, PRETOKENIZER_PUNCTUATION, &p, e)))
        p->behavior = SPLIT_CONTIGUOUS;
    if (!rc) rc = add_patterns(t, split, false, e);
    if (!rc && split->gpt2) rc = add_pattern(t, pretokenizer_gpt2_regex, e);
    return rc ? rc : add_patterns(t, split, true, e);
}

int ggml_split_by(struct tokenizer *t, const char *name, struct error *e)
{
    const struct ggml_split *split = ggml_split_find(name);

    if (!split) return error_set(e, EINVAL, "no rule is called %s", name);
    pretokenizer_free(&t->pretokenizer);
    normalizer_free(&t->normalizer);
    t->model.bpe.ignore_merges = split->whole_words;
    return make_splits(t, split, e);
}

static int read_byte_level(struct tokenizer *t, const struct ggml_tables *g, bool *begins, struct error *e)
{
    const struct ggml_split *split = g->pre ? ggml_split_find(g->pre) : NULL;
    struct decoder_step *d;
    int rc;

    if (!split) return unknown_split(g, e);
    *begins = split->begins;
    t->model.kind = MODEL_BPE;
    t->model.bpe.ignore_merges = split->whole_words;
    rc = read_merges(t, g, e);
    if (!rc && !g->merges.count) { /* tiktoken's: tokens in the order of their ranks */
        rc = tokenizer_finish_ranks(t, g->file, e);
        return rc ? rc : make_splits(t, split, e);
    }
    if (!rc) rc = bpe_finish(&t->model, e);
    model_take_bytes(&t->model);
    if (!rc) rc = make_splits(t, split, e);
    return rc ? rc : decoder_add(&t->decoder, DECODER_BYTE_LEVEL, &d, e);
}

/* ---- around the text ---- */

static int push_around(const struct ggml_tables *g, enum ggml_choice said, bool otherwise, int64_t id, const char *key,
                       struct token_ids *to, struct error *e)
{
    if (said == GGML_UNSAID ? !otherwise : said == GGML_NO) return 0;
    if (id < 0) {
        if (said == GGML_YES)
            log_warn("%s: " KEY("add_%s_token") " is true, but no " KEY("%s_token_id") " says which: none is added",
                     g->file, key, key);
        return 0;
    }
    return token_ids_push(to, (uint32_t)id) ? ggml_no_memory(e) : 0;
}

static int read_model(struct tokenizer *t, const struct ggml_tables *g, bool *begins, bool *ends, struct error *e)
{
    *begins = *ends = false;
    if (!strcmp(g->model, "gpt2")) return read_byte_level(t, g, begins, e);
    if (g->pre_asked)
        return error_set(e, EINVAL, "%s: its tokenizer is \"%.40s\", which no rule splits texts for: leave --pre out",
                         g->file, g->model);
    *begins = strcmp(g->model, "t5") != 0;
    *ends = !*begins;
    if (!strcmp(g->model, "llama")) return ggml_read_pieces(t, g, e);
    if (!strcmp(g->model, "gemma4")) {
        int rc = read_merges(t, g, e);

        return rc ? rc : ggml_read_lines(t, g, e);
    }
    if (!strcmp(g->model, "t5")) return ggml_read_unigram(t, g, e);
    return error_set(e, ENOTSUP, "%s: " KEY("model") " is \"%.40s\", and gpt2, llama, gemma4 and t5 are known", g->file,
                     g->model);
}

/* What llama.cpp takes for the ids of SentencePiece's where a file does not say. */
static void set_defaults(struct ggml_tables *g)
{
    bool pieces = !strcmp(g->model, "llama"), unigram = !strcmp(g->model, "t5");

    if (g->bos < 0 && pieces) g->bos = 1;
    if (g->eos < 0 && (pieces || unigram)) g->eos = pieces ? 2 : 1;
    if (g->unknown < 0 && (pieces || unigram)) g->unknown = pieces ? 0 : 2;
}

static int fill(struct tokenizer *t, struct ggml_tables *g, struct error *e)
{
    bool begins = false, ends = false;
    int rc;

    set_defaults(g);
    rc = read_tokens(t, g, e);
    t->ids = g->tokens.count;
    t->model.unk = g->unknown;
    if (!rc) rc = read_model(t, g, &begins, &ends, e);
    if (!rc) rc = push_around(g, g->add_bos, begins, g->bos, "bos", &t->post.prefix, e);
    if (!rc) rc = push_around(g, g->add_eos, ends, g->eos, "eos", &t->post.suffix, e);
    return rc ? rc : added_tokens_index(&t->added, &t->normalizer, e);
}

int tokenizer_from_ggml(struct tokenizer **out, const struct ggml_tables *g, struct error *e)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    struct ggml_tables all = *g;
    int rc;

    *out = NULL;
    if (!t) return ggml_no_memory(e);
    t->eos = -1;
    rc = fill(t, &all, e);
    if (rc)
        tokenizer_close(t);
    else
        *out = t;
    return rc;
}
