#include "coordinator/tokenizer/model.h"

#include "coordinator/text/utf8.h"

#include <errno.h>
#include <stdio.h>

/* Texts shorter than this gain nothing from remembered words; the cache never grows beyond its largest size. */
#define CACHE_FROM_BYTES  256
#define CACHE_SLOTS_LEAST 256
#define CACHE_SLOTS_MOST  (1u << 17)
#define CACHE_WORD_BYTES  64

/* ---- reading ---- */

int model_read_vocab(struct model *m, const struct json_document *d, struct error *e)
{
    struct json_cursor c = {.s = d->vocab.data, .bytes = d->vocab.bytes};
    if (!c.s || json_cursor_kind(&c) != JSON_KIND_OBJECT)
        return error_set(e, EINVAL, "the model has no object \"vocab\"");
    int rc = 0;
    json_cursor_enter(&c);
    while (rc == 0 && json_cursor_more(&c)) {
        json_cursor_key(&c);
        if (json_cursor_kind(&c) != JSON_KIND_NUMBER) {
            rc = error_set(e, EINVAL, "the id of \"%.*s\" is not a number", (int)c.key.bytes, c.key.data);
            break;
        }
        double id = json_cursor_number(&c);
        if (!(id >= 0 && id < VOCAB_ID_LIMIT) || id != (double)(uint32_t)id) {
            rc = error_set(e, ERANGE, "the id of \"%.*s\" is %g: not a whole number below %u",
                           c.key.bytes > 80 ? 80 : (int)c.key.bytes, c.key.data, id, VOCAB_ID_LIMIT);
            break;
        }
        rc = vocab_put(&m->vocab, c.key.data ? c.key.data : "", c.key.bytes, (uint32_t)id);
        if (rc != 0 || c.key.failed) rc = error_set(e, ENOMEM, "no memory for the vocabulary");
    }
    json_cursor_free(&c);
    return rc;
}

int model_read_text(struct buffer *out, const json_t *o, const char *key, struct error *e)
{
    const char *text;
    size_t bytes;
    int rc = json_get_text(o, key, &text, &bytes, e);
    if (rc == 0 && text) buffer_append(out, text, bytes);
    return rc != 0 ? rc : out->failed ? error_set(e, ENOMEM, "no memory for the model") : 0;
}

void model_find_fallback(const struct model *m, int64_t id[256])
{
    for (unsigned b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        id[b] = vocab_find(&m->vocab, name, 6);
    }
}

/* Files from before models had a type are told by their members. */
static const char *type_of(const struct json_document *d, const json_t *o)
{
    const char *type = json_type_name(o);
    if (*type) return type;
    if (d->merges.data) return "BPE";
    if (d->vocab.data && d->vocab.data[0] == '[') return "Unigram";
    return json_object_get(o, "max_input_chars_per_word") ? "WordPiece" : "WordLevel";
}

int model_read(struct model *m, const struct json_document *d, struct error *e)
{
    const json_t *o = json_object_get(d->root, "model");
    if (!json_is_object(o)) return error_set(e, EINVAL, "\"model\" is missing");
    const char *type = type_of(d, o);
    m->unk = -1;
    if (!strcmp(type, "BPE")) {
        m->kind = MODEL_BPE;
        return bpe_read(m, d, o, e);
    }
    if (!strcmp(type, "Unigram")) {
        m->kind = MODEL_UNIGRAM;
        return unigram_read(m, d, o, e);
    }
    if (!strcmp(type, "WordPiece") || !strcmp(type, "WordLevel")) {
        m->kind = type[4] == 'P' ? MODEL_WORDPIECE : MODEL_WORDLEVEL;
        return wordpiece_read(m, d, o, e);
    }
    return error_set(e, ENOTSUP, "the model \"%s\" is not known", type);
}

void model_take_bytes(struct model *m)
{
    m->bpe.raw_bytes = true;
}

void model_free(struct model *m)
{
    vocab_free(&m->vocab);
    map_free(&m->bpe.merge);
    map_free(&m->bpe.chars);
    map_free(&m->bpe.joins_mark);
    buffer_free(&m->bpe.prefix);
    buffer_free(&m->bpe.suffix);
    free(m->unigram.score);
    map_free(&m->unigram.trie);
    buffer_free(&m->wordpiece.prefix);
    sentencepiece_close(m->sentencepiece);
}

/* ---- encoding ---- */

void model_work_start(struct model_work *work, size_t text_bytes)
{
    if (text_bytes < CACHE_FROM_BYTES || work->cache) return;
    size_t slots = CACHE_SLOTS_LEAST;
    while (slots < CACHE_SLOTS_MOST && slots < text_bytes / 4) slots *= 2;
    work->cache = calloc(slots, sizeof *work->cache); /* without it everything works, slower */
    work->cache_mask = slots - 1;
}

void model_work_free(struct model_work *work)
{
    free(work->symbol);
    free(work->heap);
    free(work->lattice);
    free(work->cache);
    buffer_free(&work->text);
    buffer_free(&work->keys);
    *work = (struct model_work){0};
}

/* The slot of this word, or the one that it would take. */
static struct model_cache_slot *cache_find(struct model_work *work, const char *word, size_t bytes, uint64_t hash)
{
    for (size_t i = (size_t)hash & work->cache_mask;; i = (i + 1) & work->cache_mask) {
        struct model_cache_slot *s = &work->cache[i];
        if (!s->hash || (s->hash == hash && s->bytes == bytes && memcmp(work->keys.data + s->key, word, bytes) == 0))
            return s;
    }
}

static void cache_fill(struct model_work *work, struct model_cache_slot *s, const char *word, size_t bytes,
                       uint64_t hash, size_t ids, size_t count)
{
    if (work->cache_used >= work->cache_mask / 4 * 3 || !buffer_reserve(&work->keys, bytes)) return;
    *s = (struct model_cache_slot){hash, work->keys.bytes, bytes, ids, count};
    buffer_append(&work->keys, word, bytes);
    work->cache_used++;
}

static int encode_word(const struct model *m, struct model_work *work, const char *word, size_t bytes,
                       struct token_ids *out, struct error *e)
{
    switch (m->kind) {
    case MODEL_BPE: return bpe_encode(m, work, word, bytes, out, e);
    case MODEL_UNIGRAM: return unigram_encode(m, work, word, bytes, out, e);
    case MODEL_SENTENCEPIECE: return sentencepiece_encode(m->sentencepiece, word, bytes, out, e);
    default: return wordpiece_encode(m, work, word, bytes, out, e);
    }
}

static int encode_cached(const struct model *m, struct model_work *work, const char *word, size_t bytes,
                         struct token_ids *out, struct error *e)
{
    if (!work->cache || bytes > CACHE_WORD_BYTES) return encode_word(m, work, word, bytes, out, e);
    uint64_t hash = bytes_hash(word, bytes) | 1;
    struct model_cache_slot *s = cache_find(work, word, bytes, hash);
    size_t before = out->count;
    if (!s->hash) {
        int rc = encode_word(m, work, word, bytes, out, e);
        if (rc == 0) cache_fill(work, s, word, bytes, hash, before, out->count - before);
        return rc;
    }
    for (size_t i = 0; i < s->count; i++) {
        if (token_ids_push(out, out->id[s->ids + i]) != 0) return error_set(e, ENOMEM, "no memory for token ids");
    }
    return 0;
}

/* Cuts a word before each "▁" that no merge joins to what stands before it: the parts give the same ids by themselves,
 * and they repeat, which a whole text does not. */
static int encode_cut(const struct model *m, struct model_work *work, const char *word, size_t bytes,
                      struct token_ids *out, struct error *e)
{
    static const char mark[] = "\xE2\x96\x81";
    size_t from = 0, at = 0;
    const char *hit;
    while ((hit = memmem(word + at, bytes - at, mark, 3)) != NULL) {
        size_t cut = (size_t)(hit - word), n;
        at = cut + 3;
        if (cut == 0 || cut == from) continue;
        uint32_t before = utf8_decode(word + utf8_previous(word, cut), &n);
        if (map_get(&m->bpe.joins_mark, before) != MAP_NONE) continue;
        int rc = encode_cached(m, work, word + from, cut - from, out, e);
        if (rc != 0) return rc;
        from = cut;
    }
    return encode_cached(m, work, word + from, bytes - from, out, e);
}

static bool is_visible_ascii(char c)
{
    return c > ' ' && c < 0x7F;
}

/* The same for libsentencepiece: a text cut at the single spaces between visible ASCII characters, where no rule of
 * normalization looks across. */
static int encode_words(const struct model *m, struct model_work *work, const char *text, size_t bytes,
                        struct token_ids *out, struct error *e)
{
    size_t from = 0, at = 1;
    const char *space;
    while (at + 1 < bytes && (space = memchr(text + at, ' ', bytes - at - 1)) != NULL) {
        at = (size_t)(space - text) + 1;
        if (!is_visible_ascii(space[-1]) || !is_visible_ascii(space[1])) continue;
        int rc = encode_cached(m, work, text + from, at - 1 - from, out, e);
        if (rc != 0) return rc;
        from = m->words == SENTENCEPIECE_KEEP_SPACE ? at - 1 : at;
    }
    return encode_cached(m, work, text + from, bytes - from, out, e);
}

int model_encode(const struct model *m, struct model_work *work, const char *word, size_t bytes, struct token_ids *out,
                 struct error *e)
{
    if (bytes >= UINT32_MAX) return error_set(e, E2BIG, "a word of %zu bytes is too long", bytes);
    if (m->kind == MODEL_BPE && m->bpe.tiling_words && !m->bpe.raw_bytes)
        return encode_cut(m, work, word, bytes, out, e);
    if (m->kind == MODEL_SENTENCEPIECE && m->words != SENTENCEPIECE_WHOLE)
        return encode_words(m, work, word, bytes, out, e);
    return encode_cached(m, work, word, bytes, out, e);
}
