#include "coordinator/tokenizer/ggml_out.h"

#include <errno.h>
#include <stdio.h>
#include "coordinator/tokenizer/ggml_parts.h"

/* Of all that rules differ in: cases, digits, contractions, white space, line ends, marks, scripts, symbols. */
static const char probe[] =
    "Hello, World! It's we'LL they'd I'M don't (camelCase XMLParser snake_case) 1 12 123 1234567 3.14 1,000,000\n"
    "\n\n \n\t\ttabs    four   three  two one \r\n end   \n"
    "if (a[i] != b->c && x >= 0x1F) { return \"str\\n\"; } // comment == ??? ...!!! --- ___ ### $$$ \n"
    "cafe\xCC\x81 caf\xC3\xA9 na\xC3\xAFve \xC3\x85ngstr\xC3\xB6m \xEF\xAC\x81 \xC2\xBD \xC2\xB2 \xE2\x84\xA2 "
    "\xE2\x80\x9Cquoted\xE2\x80\x9D \xE2\x80\x94 dash\xE2\x80\xA6 \xC2\xA0nbsp "
    "\xE4\xBD\xA0\xE5\xA5\xBD\xEF\xBC\x8C\xE4\xB8\x96\xE7\x95\x8C\xE3\x80\x82 "
    "\xE3\x81\x93\xE3\x82\x93\xE3\x81\xAB\xE3\x81"
    "\xA1\xE3\x81\xAF \xEC\x95\x88\xEB\x85\x95\xED\x95\x98\xEC\x84\xB8\xEC\x9A\x94 "
    "\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82 \xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D "
    "\xD9\x85\xD8\xB1\xD8\xAD\xD8\xA8\xD8"
    "\xA7 \xE0\xA4\xA8\xE0\xA4\xAE\xE0\xA4\xB8\xE0\xA5\x8D\xE0\xA4\xA4\xE0\xA5\x87 "
    "\xE0\xB8\xAA\xE0\xB8\xA7\xE0\xB8\xB1\xE0"
    "\xB8\xAA \xF0\x9F\x98\x80\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD\xF0\x9F\x9A\x80 \xE2\x88\x91\xE2\x88\x9A\xE2\x88\x9E "
    "\xD9\xA1\xD9\xA2\xD9\xA3\xD9\xA4 3\xE0\xA5\xA7\xE0\xA5\xA8 a1b2c3 ABC123def 'tis 'S we\xE2\x80\x99re "
    "/usr/lib/x.so "
    "http://a.b/c?d=e&f=%20 <tag> user@host.com  \xE3\x80\x80wide \xE2\x80\x8Bzero";

/* ---- lists ---- */

static int list_add(struct ggml_list *l, const char *text, size_t bytes)
{
    size_t *at = array_grow(l->at, sizeof *at, &l->capacity, l->count + 2);

    if (!at) return -ENOMEM;
    l->at = at;
    at[l->count++] = l->text.bytes;
    buffer_append(&l->text, text, bytes);
    buffer_append_byte(&l->text, 0);
    at[l->count] = l->text.bytes;
    return l->text.failed ? -ENOMEM : 0;
}

static const char *list_at(const void *of, uint64_t i, size_t *bytes)
{
    const struct ggml_list *l = of;

    if (bytes) *bytes = l->at[i + 1] - l->at[i] - 1;
    return l->text.data + l->at[i];
}

static struct ggml_texts texts_of(const struct ggml_list *l)
{
    return (struct ggml_texts){.of = l, .count = l->count, .at = list_at};
}

/* ---- tokens ---- */

static bool is_byte(const char *text, size_t bytes)
{
    return bytes == 6 && !memcmp(text, "<0x", 3) && text[5] == '>';
}

static uint8_t type_of(const struct tokenizer *t, uint32_t id, const char *text, size_t bytes, bool pieces)
{
    if (pieces && t->model.unk == (int64_t)id) return GGML_TOKEN_UNKNOWN;
    if (tokenizer_is_added(t, id)) return tokenizer_is_special(t, id) ? GGML_TOKEN_CONTROL : GGML_TOKEN_USER_DEFINED;
    return pieces && is_byte(text, bytes) ? GGML_TOKEN_BYTE : GGML_TOKEN_NORMAL;
}

static int add_tokens(struct ggml_made *x, const struct tokenizer *t, uint64_t tokens, bool pieces)
{
    char filler[32];

    x->type = malloc(tokens + 1);
    if (!x->type) return -ENOMEM;
    for (uint64_t id = 0; id < tokens; id++) {
        size_t bytes = 0;
        const char *text = tokenizer_token(t, (uint32_t)id, &bytes);

        if (text && bytes) {
            x->type[id] = type_of(t, (uint32_t)id, text, bytes, pieces);
        } else {
            text = filler;
            bytes = (size_t)snprintf(filler, sizeof filler, "[PAD%llu]", (unsigned long long)id);
            x->type[id] = GGML_TOKEN_UNUSED;
        }
        if (list_add(&x->tokens, text, bytes)) return -ENOMEM;
    }
    return 0;
}

/* ---- merges ---- */

struct merge {
    uint32_t rank, joined;
    uint64_t pair;
};

static int by_rank(const void *a, const void *b)
{
    const struct merge *x = a, *y = b;

    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return x->pair < y->pair ? -1 : x->pair > y->pair;
}

/* In the order of their ranks; the caller's. */
static struct merge *list_merges(const struct bpe *b, size_t *count)
{
    struct merge *list = malloc((b->merge.count + 1) * sizeof *list);
    size_t n = 0;

    for (size_t i = 0; list && b->merge.slot && i <= b->merge.mask; i++) {
        const struct map_slot *s = &b->merge.slot[i];

        if (s->key != MAP_NONE) list[n++] = (struct merge){(uint32_t)(s->value >> 32), (uint32_t)s->value, s->key};
    }
    if (n) qsort(list, n, sizeof *list, by_rank);
    *count = n;
    return list;
}

static int add_merges(struct ggml_made *x, const struct tokenizer *t)
{
    size_t n;
    struct merge *list = list_merges(&t->model.bpe, &n);
    struct buffer both = {0};
    int rc = list ? 0 : -ENOMEM;

    for (size_t i = 0; i < n && !rc; i++) {
        size_t a, b;
        const char *left = vocab_text(&t->model.vocab, (uint32_t)(list[i].pair >> 32), &a),
                   *right = vocab_text(&t->model.vocab, (uint32_t)list[i].pair, &b);

        if (!left || !right) continue;
        both.bytes = 0;
        buffer_append(&both, left, a);
        buffer_append_byte(&both, ' ');
        buffer_append(&both, right, b);
        rc = both.failed ? -ENOMEM : list_add(&x->merges, both.data, both.bytes);
    }
    buffer_free(&both);
    free(list);
    return rc;
}

static float unigram_score(const struct tokenizer *t, size_t id)
{
    return id < t->model.vocab.size && vocab_text(&t->model.vocab, (uint32_t)id, NULL)
               ? (float)t->model.unigram.score[id]
               : -1000.0f;
}

/* Pieces that merges make get scores that say the same: SentencePiece joins what has the best one first. */
static int add_scores(struct ggml_made *x, const struct tokenizer *t)
{
    size_t n = 0;
    struct merge *list = t->model.kind == MODEL_BPE ? list_merges(&t->model.bpe, &n) : NULL;

    x->score = malloc((x->tokens.count + 1) * sizeof *x->score);
    if (!x->score || (!list && t->model.kind == MODEL_BPE)) {
        free(list);
        return -ENOMEM;
    }
    for (size_t i = 0; i < x->tokens.count; i++)
        x->score[i] = t->model.kind == MODEL_UNIGRAM         ? unigram_score(t, i)
                      : t->model.kind != MODEL_SENTENCEPIECE ? -(float)(n + i)
                      : i < sentencepiece_size(t->model.sentencepiece)
                          ? sentencepiece_score(t->model.sentencepiece, (uint32_t)i)
                          : -1000.0f;
    for (size_t i = n; i-- > 0;) /* the first of those that make it counts */
        if (list[i].joined < x->tokens.count) x->score[list[i].joined] = -(float)i;
    free(list);
    return 0;
}

/* ---- around them ---- */

static bool has_step(const struct normalizer *n, enum normalizer_kind kind)
{
    for (size_t i = 0; i < n->count; i++)
        if (n->step[i].kind == kind) return true;
    return false;
}

static bool prefixes_space(const struct tokenizer *t)
{
    if (t->model.kind == MODEL_SENTENCEPIECE) return sentencepiece_strips(t->model.sentencepiece) != 0;
    for (size_t i = 0; i < t->pretokenizer.count; i++)
        if (t->pretokenizer.step[i].kind == PRETOKENIZER_METASPACE)
            return t->pretokenizer.step[i].prepend != PREPEND_NEVER;
    return has_step(&t->normalizer, NORMALIZER_PREPEND);
}

static void set_ends(struct ggml_made *x, const struct tokenizer *t)
{
    struct ggml_tables *g = &x->tables;

    g->bos = t->post.prefix.count ? (int64_t)t->post.prefix.id[0] : -1;
    g->eos = t->eos;
    if (t->post.suffix.count) g->eos = t->post.suffix.id[0];
    g->unknown = t->model.unk;
    g->add_bos = t->post.prefix.count ? GGML_YES : GGML_NO;
    g->add_eos = t->post.suffix.count ? GGML_YES : GGML_NO;
    if (g->bos >= (int64_t)x->tokens.count) g->bos = -1;
    if (g->eos >= (int64_t)x->tokens.count) g->eos = -1;
    if (g->unknown >= (int64_t)x->tokens.count) g->unknown = -1;
}

static bool is_byte_level(const struct tokenizer *t)
{
    for (size_t i = 0; i < t->decoder.count; i++)
        if (t->decoder.step[i].kind == DECODER_BYTE_LEVEL) return true;
    return t->model.kind == MODEL_BPE && t->model.bpe.raw_bytes;
}

/* ---- trying ---- */

/* The words that it cuts the probe into. */
static int words_of(struct pieces *p, const struct tokenizer *t, struct error *e)
{
    struct pattern_match *m = pattern_match_new();
    struct buffer spare = {0};
    struct pieces spare_pieces = {0};
    bool cut = false;
    int rc = m ? 0 : ggml_no_memory(e);

    p->count = p->text.bytes = 0;
    buffer_append(&p->text, probe, sizeof probe - 1);
    if (!rc) rc = normalizer_apply(&t->normalizer, m, &p->text, &spare, &cut, e);
    pieces_push(p, 0, p->text.bytes, true);
    if (!rc) rc = pretokenizer_apply(&t->pretokenizer, m, p, &spare_pieces, e);
    if (!rc && (p->failed || p->text.failed)) rc = ggml_no_memory(e);
    pattern_match_free(m);
    buffer_free(&spare);
    pieces_free(&spare_pieces);
    return rc;
}

static bool same_words(const struct pieces *a, const struct pieces *b)
{
    if (a->count != b->count || a->text.bytes != b->text.bytes || memcmp(a->text.data, b->text.data, a->text.bytes))
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (a->piece[i].start != b->piece[i].start || a->piece[i].bytes != b->piece[i].bytes) return false;
    return true;
}

static int same_ids(const struct ggml_made *x, const struct tokenizer *t, const struct tokenizer *other, bool around,
                    bool *same, struct error *e)
{
    struct token_ids want = {0}, got = {0};
    int rc = tokenizer_encode(t, probe, sizeof probe - 1, around, &want, e);

    if (!rc) rc = tokenizer_encode(other, probe, sizeof probe - 1, around, &got, e);
    *same = !rc && want.count == got.count && !memcmp(want.id, got.id, want.count * sizeof *want.id);
    for (size_t i = 0; i < want.count && !rc; i++)
        if (want.id[i] >= x->tokens.count) *same = false;
    token_ids_free(&want);
    token_ids_free(&got);
    return rc;
}

/* The rule that cuts texts alike and gives the same ids; where none cuts alike (a vocabulary may make that of no effect), one that
 * gives the same ids. */
static int find_rule(struct ggml_made *x, const struct tokenizer *t, struct tokenizer *other, struct error *e)
{
    struct pieces want = {0}, got = {0};
    char name[sizeof x->pre];
    bool found = false, alike = false;
    int rc = words_of(&want, t, e);

    for (size_t i = 0; ggml_split_name(i, name, sizeof name) && !alike && !rc; i++) {
        bool same;

        rc = ggml_split_by(other, name, e);
        if (!rc) rc = same_ids(x, t, other, false, &same, e);
        if (rc || !same) continue;
        rc = words_of(&got, other, e);
        alike = !rc && same_words(&want, &got);
        if (alike || !found) snprintf(x->pre, sizeof x->pre, "%s", name);
        found = true;
    }
    pieces_free(&want);
    pieces_free(&got);
    if (!rc && found) rc = ggml_split_by(other, x->pre, e);
    if (!found)
        snprintf(x->why, sizeof x->why,
                 "none of the rules that GGUF files can name splits texts as this tokenizer does");
    return rc;
}

static int try_tables(struct ggml_made *x, const struct tokenizer *t, struct error *e)
{
    struct tokenizer *other = NULL;
    struct error unfit = {0};
    int rc = 0;

    snprintf(x->pre, sizeof x->pre, "%s", "llama-bpe");
    if (!strcmp(x->tables.model, "gpt2")) x->tables.pre = x->pre;
    if (tokenizer_from_ggml(&other, &x->tables, &unfit)) {
        snprintf(x->why, sizeof x->why, "%.150s", unfit.text);
        return unfit.code == ENOMEM ? error_set(e, ENOMEM, "%s", unfit.text) : 0;
    }
    if (x->tables.pre) {
        snprintf(x->pre, sizeof x->pre, "%s", "default");
        rc = find_rule(x, t, other, e);
    }
    if (!rc && !x->why[0]) rc = same_ids(x, t, other, true, &x->same, e);
    if (!x->same && !x->why[0])
        snprintf(x->why, sizeof x->why, "%s",
                 t->post.prefix.count > 1 || t->post.suffix.count > 1
                     ? "texts begin or end with more than one token"
                     : "its tables cannot say all that this tokenizer does");
    tokenizer_close(other);
    return rc;
}

static const char *model_of(const struct tokenizer *t)
{
    if (is_byte_level(t)) return t->model.kind == MODEL_BPE ? "gpt2" : NULL;
    if (t->model.kind == MODEL_SENTENCEPIECE && sentencepiece_is_bpe(t->model.sentencepiece)) return "llama";
    if (t->model.kind == MODEL_UNIGRAM) return "t5";
    return t->model.kind == MODEL_BPE && t->model.bpe.byte_fallback ? "llama" : NULL;
}

/* The normalizer's character map as the bytes that it was read from. */
static int add_charsmap(struct ggml_made *x, const struct tokenizer *t)
{
    for (size_t i = 0; i < t->normalizer.count; i++) {
        const struct charsmap *m = &t->normalizer.step[i].charsmap;
        uint32_t bytes = (uint32_t)(m->units * sizeof *m->unit);

        if (t->normalizer.step[i].kind != NORMALIZER_CHARSMAP || x->charsmap.bytes) continue;
        buffer_append(&x->charsmap, (const char *)&bytes, sizeof bytes);
        buffer_append(&x->charsmap, (const char *)m->unit, bytes);
        buffer_append(&x->charsmap, m->texts.data, m->texts.bytes);
        x->tables.charsmap = x->charsmap.data;
        x->tables.charsmap_bytes = x->charsmap.bytes;
    }
    return x->charsmap.failed ? -ENOMEM : 0;
}

/* Of Unigram, what is done with spaces is tried. */
static int try_spaces(struct ggml_made *x, const struct tokenizer *t, struct error *e)
{
    int rc = 0;

    for (int way = 0; way < 4 && !x->same && !rc; way++) {
        x->why[0] = 0;
        x->tables.add_space = way & 1 ? GGML_NO : GGML_YES;
        x->tables.merge_spaces = way & 2 ? GGML_NO : GGML_YES;
        rc = try_tables(x, t, e);
    }
    return rc;
}

int ggml_make(struct ggml_made *x, const struct tokenizer *t, uint64_t tokens, struct error *e)
{
    const char *model = model_of(t);
    bool pieces = model && strcmp(model, "gpt2");
    int rc = 0;

    *x = (struct ggml_made){.tables = {.file = "the new file", .model = model, .bos = -1, .eos = -1, .unknown = -1}};
    if (!model) {
        snprintf(x->why, sizeof x->why, "its kind of tokenizer is not one of those that GGUF files have tables for");
        return 0;
    }
    rc = add_tokens(x, t, tokens, pieces);
    if (!rc) rc = pieces ? add_scores(x, t) : add_merges(x, t);
    if (!rc && t->model.kind == MODEL_UNIGRAM) rc = add_charsmap(x, t);
    if (rc) return ggml_no_memory(e);
    set_ends(x, t);
    x->tables.tokens = texts_of(&x->tokens);
    x->tables.merges = texts_of(&x->merges);
    x->tables.score = x->score;
    x->tables.type = x->type;
    x->tables.add_space = !pieces ? GGML_UNSAID : prefixes_space(t) ? GGML_YES : GGML_NO;
    x->tables.merge_spaces = GGML_UNSAID;
    return t->model.kind == MODEL_UNIGRAM ? try_spaces(x, t, e) : try_tables(x, t, e);
}

static void list_free(struct ggml_list *l)
{
    buffer_free(&l->text);
    free(l->at);
}

void ggml_made_free(struct ggml_made *x)
{
    list_free(&x->tokens);
    list_free(&x->merges);
    buffer_free(&x->charsmap);
    free(x->score);
    free(x->type);
    *x = (struct ggml_made){0};
}
