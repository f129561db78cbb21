#include "coordinator/tokenizer/tokenizer.h"

#include "coordinator/tokenizer/parts.h"
#include "coordinator/text/utf8.h"

#include <errno.h>

int token_ids_push(struct token_ids *ids, uint32_t id)
{
    if (ids->count == ids->capacity) {
        uint32_t *grown = array_grow(ids->id, sizeof *grown, &ids->capacity, ids->count + 1);
        if (!grown) return -ENOMEM;
        ids->id = grown;
    }
    ids->id[ids->count++] = id;
    return 0;
}

void token_ids_free(struct token_ids *ids)
{
    free(ids->id);
    *ids = (struct token_ids){0};
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t) return;
    added_tokens_free(&t->added);
    normalizer_free(&t->normalizer);
    pretokenizer_free(&t->pretokenizer);
    model_free(&t->model);
    postprocessor_free(&t->post);
    decoder_free(&t->decoder);
    free(t);
}

/* ---- questions ---- */

/* A normalizer makes text shorter: composed characters, lower case, single spaces. */
#define NORMALIZED_TO 4u
/* A word of WordPiece with more characters than this is one unknown token, and a character has at most four bytes. */
#define LONGEST_LEAST 400u

size_t tokenizer_longest(const struct tokenizer *t)
{
    size_t most = LONGEST_LEAST / (t->normalizer.count ? NORMALIZED_TO : 1), n = tokenizer_vocab_size(t);

    for (size_t i = 0; i < n; i++) {
        size_t bytes = 0;

        if (tokenizer_token(t, (uint32_t)i, &bytes) && bytes > most) most = bytes;
    }
    return most * (t->normalizer.count ? NORMALIZED_TO : 1);
}

size_t tokenizer_vocab_size(const struct tokenizer *t)
{
    size_t n = t->model.vocab.size > t->added.vocab.size ? t->model.vocab.size : t->added.vocab.size;
    return n > t->ids ? n : t->ids;
}

int64_t tokenizer_token_id(const struct tokenizer *t, const char *content)
{
    int64_t id = vocab_find(&t->added.vocab, content, strlen(content));
    return id >= 0 ? id : vocab_find(&t->model.vocab, content, strlen(content));
}

bool tokenizer_is_added(const struct tokenizer *t, uint32_t id)
{
    return map_get(&t->added.by_id, id) != MAP_NONE;
}

bool tokenizer_is_special(const struct tokenizer *t, uint32_t id)
{
    return map_get(&t->added.special, id) != MAP_NONE;
}

const char *tokenizer_token(const struct tokenizer *t, uint32_t id, size_t *bytes)
{
    const char *text = added_tokens_text(&t->added, id, bytes);
    return text ? text : vocab_text(&t->model.vocab, id, bytes);
}

int64_t tokenizer_end(const struct tokenizer *t, const char **file)
{
    if (file) *file = t->eos_file;
    return t->eos_file ? t->eos : -1;
}

const char *tokenizer_token_text(const struct tokenizer *t, uint32_t id)
{
    return tokenizer_token(t, id, NULL);
}

/* ---- encoding ---- */

/* What one encoding needs beside the tokenizer. */
struct encoding {
    const struct tokenizer *t;
    struct token_ids *out;
    struct pattern_match *match;
    struct model_work work;
    struct buffer text, spare;
    struct pieces pieces, spare_pieces;
    struct error *e;
};

static int push(struct encoding *c, uint32_t id)
{
    return token_ids_push(c->out, id) != 0 ? error_set(c->e, ENOMEM, "no memory for token ids") : 0;
}

static int push_all(struct encoding *c, const struct token_ids *ids)
{
    for (size_t i = 0; i < ids->count; i++) {
        if (push(c, ids->id[i]) != 0) return -ENOMEM;
    }
    return 0;
}

/* Normalized text without added tokens. */
static int encode_words(struct encoding *c, const char *text, size_t bytes, bool first)
{
    struct pieces *p = &c->pieces;
    p->count = p->text.bytes = 0;
    buffer_append(&p->text, text, bytes);
    pieces_push(p, 0, p->text.bytes, first);
    int rc = pretokenizer_apply(&c->t->pretokenizer, c->match, p, &c->spare_pieces, c->e);
    for (size_t i = 0; i < p->count && rc == 0; i++)
        rc = model_encode(&c->t->model, &c->work, p->text.data + p->piece[i].start, p->piece[i].bytes, c->out, c->e);
    return rc;
}

/* Raw text without the added tokens that are found in raw text. */
static int encode_raw(struct encoding *c, const char *text, size_t bytes, bool first)
{
    bool cut = false;
    c->text.bytes = 0;
    buffer_append(&c->text, text, bytes);
    int rc = normalizer_apply(&c->t->normalizer, c->match, &c->text, &c->spare, &cut, c->e);
    struct added_walk w = {0};
    struct added_match m;
    size_t from = 0;
    first &= !cut;
    while (rc == 0 && added_tokens_next(&c->t->added, &c->t->added.normalized, c->text.data, c->text.bytes, &w, &m)) {
        if (m.start > from) rc = encode_words(c, c->text.data + from, m.start - from, first && from == 0);
        rc = rc != 0 ? rc : push(c, m.id);
        from = m.end;
    }
    if (rc == 0 && from < c->text.bytes)
        rc = encode_words(c, c->text.data + from, c->text.bytes - from, first && from == 0);
    return rc;
}

static int encode_text(struct encoding *c, const char *text, size_t bytes)
{
    struct added_walk w = {0};
    struct added_match m;
    size_t from = 0;
    int rc = 0;
    while (rc == 0 && added_tokens_next(&c->t->added, &c->t->added.raw, text, bytes, &w, &m)) {
        if (m.start > from) rc = encode_raw(c, text + from, m.start - from, from == 0);
        rc = rc != 0 ? rc : push(c, m.id);
        from = m.end;
    }
    return rc != 0 || from >= bytes ? rc : encode_raw(c, text + from, bytes - from, from == 0);
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t bytes, bool add_special, struct token_ids *out,
                     struct error *e)
{
    size_t valid = utf8_valid_bytes(text, bytes), before = out->count;
    if (valid < bytes)
        return error_set(e, EILSEQ, "the text is not UTF-8 at byte %zu (0x%02x)", valid, (unsigned char)text[valid]);
    struct encoding c = {.t = t, .out = out, .e = e, .match = pattern_match_new()};
    if (!c.match) return error_set(e, ENOMEM, "no memory to encode a text");
    model_work_start(&c.work, bytes);
    int rc = add_special ? push_all(&c, &t->post.prefix) : 0;
    rc = rc != 0 ? rc : encode_text(&c, text, bytes);
    rc = rc != 0 || !add_special ? rc : push_all(&c, &t->post.suffix);
    if (rc != 0) out->count = before;
    pattern_match_free(c.match);
    model_work_free(&c.work);
    buffer_free(&c.text);
    buffer_free(&c.spare);
    pieces_free(&c.pieces);
    pieces_free(&c.spare_pieces);
    return rc;
}
