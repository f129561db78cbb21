/* SentencePiece's models as GGUF files hold them: pieces and scores. */
#include "coordinator/tokenizer/ggml_parts.h"

#include <errno.h>
#include <math.h>
#include "coordinator/text/utf8.h"

/* How much the cuts of all tokens may cost; the largest real vocabularies come to a hundredth of it. */
#define CUTS_MOST (UINT64_C(4) << 30)

static const char mark[] = "\xE2\x96\x81";

/* ---- merges out of scores ---- */

struct scored {
    float score;
    uint32_t id;
};

/* The best score first. */
static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;

    return x->score != y->score ? (x->score > y->score ? -1 : 1) : x->id < y->id ? -1 : 1;
}

static bool is_joined(enum ggml_token_type type)
{
    return type != GGML_TOKEN_UNKNOWN && type != GGML_TOKEN_CONTROL && type != GGML_TOKEN_BYTE;
}

static bool is_piece(const struct ggml_tables *g, const struct vocab *v, uint32_t id)
{
    return vocab_text(v, id, NULL) && is_joined(ggml_type(g, id));
}

/* Every way to cut a piece into two others. SentencePiece joins the two neighbours whose piece has the best score, the
 * leftmost of equals: pieces of one score share a rank. */
static int add_cuts(struct model *m, const struct ggml_tables *g, uint32_t id, uint32_t rank, struct error *e)
{
    size_t bytes;
    const char *text = vocab_text(&m->vocab, id, &bytes);

    for (size_t at = utf8_char_bytes(text[0]); at < bytes; at += utf8_char_bytes(text[at])) {
        int64_t left = vocab_find(&m->vocab, text, at), right;

        if (left < 0 || !is_joined(ggml_type(g, (uint64_t)left))) continue;
        right = vocab_find(&m->vocab, text + at, bytes - at);
        if (right < 0 || !is_joined(ggml_type(g, (uint64_t)right))) continue;
        if (map_put(&m->bpe.merge, (uint64_t)left << 32 | (uint64_t)right, (uint64_t)rank << 32 | id))
            return ggml_no_memory(e);
    }
    return 0;
}

static int check_cuts(const struct model *m, const struct ggml_tables *g, struct error *e)
{
    uint64_t cost = 0;

    for (size_t i = 0; i < m->vocab.count && cost <= CUTS_MOST; i++)
        cost += (uint64_t)m->vocab.string[i].bytes * m->vocab.string[i].bytes;
    return cost <= CUTS_MOST ? 0 : ggml_fault(g, e, "tokens", "longer than any tokenizer's");
}

/* Runs of spaces as the model's normalizer writes them, unless there is such a piece beside: then this one is found in a text
 * before anything else, like other user-defined tokens. */
static int add_space_run(struct tokenizer *t, const struct ggml_tables *g, uint32_t id, struct error *e)
{
    struct added_token a = {.id = id};
    struct buffer marks = {0};
    size_t bytes;
    const char *text = g->tokens.at(g->tokens.of, id, &bytes);
    int rc = 0;

    for (size_t i = 0; i < bytes; i++) buffer_append_text(&marks, mark);
    if (marks.failed)
        rc = ggml_no_memory(e);
    else if (vocab_find(&t->model.vocab, marks.data, marks.bytes) < 0)
        rc = vocab_put(&t->model.vocab, marks.data, marks.bytes, id) ? ggml_no_memory(e) : 0;
    else if (vocab_put(&t->model.vocab, text, bytes, id))
        rc = ggml_no_memory(e);
    else
        rc = tokenizer_add_token(t, a, text, bytes, e);
    buffer_free(&marks);
    return rc;
}

static int add_space_runs(struct tokenizer *t, const struct ggml_tables *g, struct error *e)
{
    int rc = 0;

    for (uint32_t id = 0; id < g->tokens.count && !rc; id++)
        if (ggml_is_space_run(g, id)) rc = add_space_run(t, g, id, e);
    return rc;
}

/* Runs of spaces come first, in the order of their ids: converters replace their scores, which say nothing any more. */
static float score_of(const struct ggml_tables *g, uint32_t id)
{
    return ggml_is_space_run(g, id) ? INFINITY : g->score[id];
}

static int make_merges(struct model *m, const struct ggml_tables *g, struct error *e)
{
    struct scored *list = malloc(g->tokens.count * sizeof *list);
    uint32_t rank = 0;
    size_t n = 0;
    int rc = list ? check_cuts(m, g, e) : ggml_no_memory(e);

    for (uint32_t id = 0; id < g->tokens.count && !rc; id++)
        if (is_piece(g, &m->vocab, id)) list[n++] = (struct scored){score_of(g, id), id};
    if (!rc && n) qsort(list, n, sizeof *list, by_score);
    for (size_t i = 0; i < n && !rc; i++) {
        rank += i && (list[i].score != list[i - 1].score || isinf(list[i].score));
        rc = add_cuts(m, g, list[i].id, rank, e);
    }
    free(list);
    return rc;
}

/* ---- around them ---- */

static int add_replace(struct normalizer *n, struct error *e)
{
    struct normalizer_step *s;
    int rc = normalizer_add(n, NORMALIZER_REPLACE, &s, e);

    if (rc) return rc;
    buffer_append_text(&s->content, mark);
    return s->content.failed ? ggml_no_memory(e) : pattern_literal(&s->pattern, " ", 1, e);
}

static int add_prepend(struct normalizer *n, const char *text, struct error *e)
{
    struct normalizer_step *s;
    int rc = normalizer_add(n, NORMALIZER_PREPEND, &s, e);

    if (!rc) buffer_append_text(&s->content, text);
    return rc ? rc : s->content.failed ? ggml_no_memory(e) : 0;
}

/* Marks to spaces, bytes to text, and off with the space that was put before the text. */
static int make_decoder(struct tokenizer *t, bool strips, struct error *e)
{
    struct decoder_step *s;
    int rc = decoder_add(&t->decoder, DECODER_REPLACE, &s, e);

    if (rc) return rc;
    buffer_append_text(&s->literal, mark);
    buffer_append_text(&s->content, " ");
    if (s->literal.failed || s->content.failed) return ggml_no_memory(e);
    rc = pattern_literal(&s->pattern, mark, 3, e);
    if (!rc) rc = decoder_add(&t->decoder, DECODER_BYTE_FALLBACK, &s, e);
    if (!rc) rc = decoder_add(&t->decoder, DECODER_FUSE, &s, e);
    if (rc || !strips || (rc = decoder_add(&t->decoder, DECODER_STRIP, &s, e))) return rc;
    buffer_append_byte(&s->content, ' ');
    s->start = 1;
    return s->content.failed ? ggml_no_memory(e) : 0;
}

static bool has_bytes(const struct model *m)
{
    int64_t id[256];

    model_find_fallback(m, id);
    for (unsigned b = 0; b < 256; b++)
        if (id[b] < 0) return false;
    return true;
}

static int finish(struct tokenizer *t, bool prefix, struct error *e)
{
    int rc;

    t->model.kind = MODEL_BPE;
    t->model.bpe.fuse_unk = true;
    t->model.bpe.byte_fallback = has_bytes(&t->model);
    rc = bpe_finish(&t->model, e);
    if (!rc && prefix) rc = add_prepend(&t->normalizer, mark, e);
    if (!rc) rc = add_replace(&t->normalizer, e);
    return rc ? rc : make_decoder(t, prefix, e);
}

int ggml_read_pieces(struct tokenizer *t, const struct ggml_tables *g, struct error *e)
{
    int rc = g->score ? add_space_runs(t, g, e) : ggml_fault(g, e, "scores", "there are none");

    if (!rc) rc = make_merges(&t->model, g, e);
    return rc ? rc : finish(t, g->add_space != GGML_NO, e);
}

/* No merge reaches over the end of a line; runs of line ends are by themselves, and one that is a token is that token. */
int ggml_read_lines(struct tokenizer *t, const struct ggml_tables *g, struct error *e)
{
    static const char lines[] = "[^\\n]+|[\\n]+";
    struct pretokenizer_step *s;
    int rc = g->merges.count ? finish(t, g->add_space == GGML_YES, e) : ggml_fault(g, e, "merges", "there are none");

    if (!rc) rc = pretokenizer_add(&t->pretokenizer, PRETOKENIZER_SPLIT, &s, e);
    return rc ? rc : pattern_compile(&s->pattern, lines, sizeof lines - 1, PATTERN_ONIGURUMA, e);
}

/* ---- unigram ---- */

static int add_charsmap(struct tokenizer *t, const struct ggml_tables *g, struct error *e)
{
    struct normalizer_step *s;
    int rc = normalizer_add(&t->normalizer, NORMALIZER_CHARSMAP, &s, e);

    if (!rc) rc = charsmap_read(&s->charsmap, g->charsmap, g->charsmap_bytes, e);
    return rc == -EINVAL ? error_prefix(e, "%s: tokenizer.ggml.precompiled_charsmap", g->file) : rc;
}

/* Spaces at the ends go, several become one. */
static int add_merging(struct normalizer *n, struct error *e)
{
    static const char spaces[] = " {2,}";
    struct normalizer_step *s;
    int rc = normalizer_add(n, NORMALIZER_STRIP, &s, e);

    if (rc) return rc;
    s->left = s->right = true;
    if ((rc = normalizer_add(n, NORMALIZER_REPLACE, &s, e))) return rc;
    buffer_append_byte(&s->content, ' ');
    return s->content.failed ? ggml_no_memory(e)
                             : pattern_compile(&s->pattern, spaces, sizeof spaces - 1, PATTERN_ONIGURUMA, e);
}

/* Is a mark in it behind something else? Then a text may not be cut at its spaces. */
static bool reaches_over_space(const char *text, size_t bytes)
{
    size_t at = 0;

    while (bytes - at >= 3 && !memcmp(text + at, mark, 3)) at += 3;
    return memmem(text + at, bytes - at, mark, 3) != NULL;
}

static int fill_unigram(struct model *m, const struct ggml_tables *g, bool *split, struct error *e)
{
    double worst = INFINITY;
    int rc = 0;

    m->unigram.score = calloc(g->tokens.count, sizeof *m->unigram.score);
    if (!m->unigram.score) return ggml_no_memory(e);
    for (uint32_t id = 0; id < g->tokens.count && !rc; id++) {
        enum ggml_token_type type = ggml_type(g, id);
        size_t bytes;
        const char *text = vocab_text(&m->vocab, id, &bytes);

        m->unigram.score[id] = type == GGML_TOKEN_USER_DEFINED ? 0 : g->score[id];
        if (type == GGML_TOKEN_NORMAL && g->score[id] < worst) worst = g->score[id];
        if (!text || !is_joined(type)) continue;
        if (reaches_over_space(text, bytes)) *split = false;
        if (unigram_add(&m->unigram, text, bytes, id)) rc = ggml_no_memory(e);
    }
    m->unigram.unk_score = (worst < INFINITY ? worst : 0) - UNIGRAM_UNK_PENALTY;
    m->unigram.byte_fallback = has_bytes(m);
    model_find_fallback(m, m->unigram.fallback_id);
    return rc;
}

int ggml_read_unigram(struct tokenizer *t, const struct ggml_tables *g, struct error *e)
{
    struct pretokenizer_step *p;
    bool prefix = g->add_space == GGML_YES, split = true;
    int rc = g->score ? 0 : ggml_fault(g, e, "scores", "there are none");

    t->model.kind = MODEL_UNIGRAM;
    if (!rc) rc = fill_unigram(&t->model, g, &split, e);
    if (!rc && g->charsmap) rc = add_charsmap(t, g, e);
    if (!rc && g->merge_spaces == GGML_YES) rc = add_merging(&t->normalizer, e);
    if (!rc && prefix) rc = add_prepend(&t->normalizer, " ", e);
    if (!rc) rc = pretokenizer_add(&t->pretokenizer, PRETOKENIZER_METASPACE, &p, e);
    if (rc) return rc;
    memcpy(p->replacement, mark, 4);
    p->replacement_bytes = 3;
    p->prepend = PREPEND_NEVER;
    p->split = split;
    return make_decoder(t, prefix, e);
}
