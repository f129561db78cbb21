/* Unigram (Kudo 2018, "Subword Regularization"): the cut of a word whose pieces' scores sum to the most, by Viterbi. */
#include "coordinator/tokenizer/model.h"
#include "coordinator/text/utf8.h"

#include <errno.h>
#include <float.h>
#include <math.h>

#define NOWHERE SIZE_MAX

struct path {
    double score; /* of the best cut up to here */
    size_t from;  /* where its last piece starts; NOWHERE: not reached */
    uint32_t id;
};

/* ---- reading ---- */

int unigram_add(struct unigram *u, const char *piece, size_t bytes, uint32_t id)
{
    uint64_t node = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint64_t key = node << 8 | (unsigned char)piece[i], value = map_get(&u->trie, key);
        if (value == MAP_NONE) value = (uint64_t)++u->nodes << 32;
        if (i + 1 == bytes) value = (value & 0xFFFFFFFF00000000u) | (id + 1);
        if (map_put(&u->trie, key, value) != 0) return -ENOMEM;
        node = value >> 32;
    }
    return 0;
}

/* One ["piece", score]. */
static int read_piece(struct model *m, struct json_cursor *c, uint32_t id, double *score, struct error *e)
{
    bool good = json_cursor_kind(c) == JSON_KIND_ARRAY;
    if (good) {
        json_cursor_enter(c);
        good = json_cursor_more(c) && json_cursor_kind(c) == JSON_KIND_STRING;
    }
    if (good) {
        json_cursor_string(c);
        good = json_cursor_more(c) && json_cursor_kind(c) == JSON_KIND_NUMBER;
    }
    if (good) {
        *score = json_cursor_number(c);
        good = !json_cursor_more(c) && isfinite(*score);
    }
    if (!good) return error_set(e, EINVAL, "piece %u of the vocabulary is not a list of a string and a number", id);
    if (vocab_put(&m->vocab, c->text.data ? c->text.data : "", c->text.bytes, id) != 0 || c->text.failed)
        return error_set(e, id < VOCAB_ID_LIMIT ? ENOMEM : ERANGE, "the vocabulary is too large");
    return 0;
}

static int read_pieces(struct model *m, const struct json_document *d, struct error *e)
{
    struct json_cursor c = {.s = d->vocab.data, .bytes = d->vocab.bytes};
    struct unigram *u = &m->unigram;
    if (!c.s || json_cursor_kind(&c) != JSON_KIND_ARRAY) return error_set(e, EINVAL, "the model has no list \"vocab\"");
    size_t capacity = 0;
    double worst = DBL_MAX;
    uint32_t id = 0;
    int rc = 0;
    json_cursor_enter(&c);
    for (; rc == 0 && json_cursor_more(&c); id++) {
        double *score = array_grow(u->score, sizeof *score, &capacity, (size_t)id + 1);
        if (!score) {
            rc = error_set(e, ENOMEM, "no memory for the vocabulary");
            break;
        }
        u->score = score;
        rc = read_piece(m, &c, id, &score[id], e);
        if (rc == 0 && unigram_add(u, c.text.data, c.text.bytes, id) != 0)
            rc = error_set(e, ENOMEM, "no memory for the vocabulary");
        if (rc == 0 && score[id] < worst) worst = score[id];
    }
    u->unk_score = worst - UNIGRAM_UNK_PENALTY;
    json_cursor_free(&c);
    return rc;
}

int unigram_read(struct model *m, const struct json_document *d, const json_t *o, struct error *e)
{
    const json_t *unk = json_object_get(o, "unk_id");
    int rc = json_get_bool(o, "byte_fallback", false, &m->unigram.byte_fallback, e);
    rc = rc != 0 ? rc : read_pieces(m, d, e);
    if (rc != 0) return rc;
    if (json_is_integer(unk)) {
        m->unk = json_integer_value(unk);
        if (m->unk < 0 || (size_t)m->unk >= m->vocab.size)
            return error_set(e, EINVAL, "unk_id is %lld, the vocabulary has %zu pieces", (long long)m->unk,
                             m->vocab.size);
    }
    model_find_fallback(m, m->unigram.fallback_id);
    return 0;
}

/* ---- encoding ---- */

static void improve(struct path *p, double score, size_t from, uint32_t id)
{
    if (p->from == NOWHERE || score > p->score) *p = (struct path){score, from, id};
}

/* All pieces that start at `at`, and the unknown one where no piece is this character alone. */
static bool extend_paths(const struct model *m, struct path *path, const char *word, size_t bytes, size_t at)
{
    const struct unigram *u = &m->unigram;
    size_t char_bytes = utf8_char_bytes(word[at]);
    bool single = false;
    uint64_t node = 0;
    for (size_t end = at; end < bytes;) {
        uint64_t value = map_get(&u->trie, node << 8 | (unsigned char)word[end++]);
        if (value == MAP_NONE) break;
        node = value >> 32;
        uint32_t id = (uint32_t)value;
        if (!id--) continue;
        improve(&path[end], path[at].score + u->score[id], at, id);
        single |= end - at == char_bytes;
    }
    if (single) return true;
    if (m->unk >= 0) improve(&path[at + char_bytes], path[at].score + u->unk_score, at, (uint32_t)m->unk);
    return m->unk >= 0;
}

static int push_piece(const struct model *m, const char *word, size_t bytes, struct token_ids *out)
{
    int64_t id = vocab_find(&m->vocab, word, bytes);
    bool fallback = id < 0 && m->unigram.byte_fallback;
    for (size_t i = 0; i < bytes && fallback; i++) fallback = m->unigram.fallback_id[(unsigned char)word[i]] >= 0;
    if (!fallback) return token_ids_push(out, (uint32_t)(id >= 0 ? id : m->unk));
    int rc = 0;
    for (size_t i = 0; i < bytes && rc == 0; i++)
        rc = token_ids_push(out, (uint32_t)m->unigram.fallback_id[(unsigned char)word[i]]);
    return rc;
}

/* Walks back from the end, turns the way round in the `from` fields, and gives out piece by piece; unknowns side by side
 * are one. */
static int push_path(const struct model *m, struct path *path, const char *word, size_t bytes, struct token_ids *out)
{
    size_t next = NOWHERE;
    uint32_t id_after = 0;
    for (size_t at = bytes; at != NOWHERE;) {
        size_t from = at ? path[at].from : NOWHERE;
        uint32_t id = path[at].id;
        path[at].from = next;
        path[at].id = id_after;
        next = at;
        id_after = id;
        at = from;
    }
    int rc = 0;
    for (size_t at = 0; at < bytes && rc == 0;) {
        size_t end = path[at].from;
        while (m->unk >= 0 && path[at].id == m->unk && end < bytes && path[end].id == m->unk) end = path[end].from;
        rc = push_piece(m, word + at, end - at, out);
        at = end;
    }
    return rc;
}

int unigram_encode(const struct model *m, struct model_work *work, const char *word, size_t bytes,
                   struct token_ids *out, struct error *e)
{
    struct path *path = array_grow(work->lattice, sizeof *path, &work->lattice_capacity, bytes + 1);
    if (!path) return error_set(e, ENOMEM, "no memory for a word of %zu bytes", bytes);
    work->lattice = path;
    for (size_t i = 0; i <= bytes; i++) path[i] = (struct path){0, NOWHERE, 0};
    for (size_t at = 0; at < bytes; at += utf8_char_bytes(word[at])) {
        if (!extend_paths(m, path, word, bytes, at))
            return error_set(e, EINVAL, "a character of the text is not in the vocabulary, which has no unknown token");
    }
    return push_path(m, path, word, bytes, out) != 0 ? error_set(e, ENOMEM, "no memory for token ids") : 0;
}
