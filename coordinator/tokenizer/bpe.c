#include "coordinator/tokenizer/model.h"
#include "coordinator/tokenizer/normalize.h"
#include "coordinator/text/utf8.h"

#include <errno.h>
#include <limits.h>

#define NO_SYMBOL UINT32_MAX
/* Up to so many symbols, looking at every pair each time is quicker than a heap. */
#define SHORT_WORD 40

static const char mark[] = "\xE2\x96\x81"; /* U+2581, SentencePiece's space */

/* ---- reading ---- */

int bpe_add_merge(struct model *m, const char *left, size_t left_bytes, const char *right, size_t right_bytes,
                  uint32_t rank, struct buffer *joined, struct error *e)
{
    int64_t a = vocab_find(&m->vocab, left, left_bytes), b = vocab_find(&m->vocab, right, right_bytes);
    size_t skip = m->bpe.prefix.bytes < right_bytes ? m->bpe.prefix.bytes : right_bytes;
    joined->bytes = 0;
    buffer_append(joined, left, left_bytes);
    buffer_append(joined, right + skip, right_bytes - skip);
    int64_t c = joined->failed ? -1 : vocab_find(&m->vocab, joined->data ? joined->data : "", joined->bytes);
    if (a < 0 || b < 0 || c < 0)
        return error_set(e, EINVAL, "merge %u, \"%.*s\" and \"%.*s\": not in the vocabulary, or what they make is not",
                         rank, left_bytes > 80 ? 80 : (int)left_bytes, left, right_bytes > 80 ? 80 : (int)right_bytes,
                         right);
    if (map_put(&m->bpe.merge, (uint64_t)a << 32 | (uint64_t)b, (uint64_t)rank << 32 | (uint64_t)c) != 0)
        return error_set(e, ENOMEM, "no memory for the merges");
    return 0;
}

/* A merge is "left right" or ["left", "right"]. */
static int read_merge(struct model *m, struct json_cursor *c, uint32_t rank, struct buffer *left, struct buffer *joined,
                      struct error *e)
{
    enum json_kind kind = json_cursor_kind(c);
    if (kind == JSON_KIND_STRING) {
        json_cursor_string(c);
        const char *text = c->text.data, *gap = c->text.bytes ? memchr(text, ' ', c->text.bytes) : NULL;
        size_t rest = gap ? c->text.bytes - (size_t)(gap + 1 - text) : 0;
        if (!gap || memchr(gap + 1, ' ', rest))
            return error_set(e, EINVAL, "merge %u is not two parts with a space between them", rank);
        return bpe_add_merge(m, text, (size_t)(gap - text), gap + 1, rest, rank, joined, e);
    }
    bool pair = kind == JSON_KIND_ARRAY;
    if (pair) {
        json_cursor_enter(c);
        pair = json_cursor_more(c) && json_cursor_kind(c) == JSON_KIND_STRING;
    }
    if (pair) {
        json_cursor_string(c);
        buffer_swap(left, &c->text);
        pair = json_cursor_more(c) && json_cursor_kind(c) == JSON_KIND_STRING;
    }
    if (pair) {
        json_cursor_string(c);
        pair = !json_cursor_more(c);
    }
    if (!pair || left->failed || c->text.failed || !left->data || !c->text.data)
        return error_set(e, EINVAL, "merge %u is neither a string nor a list of two strings", rank);
    return bpe_add_merge(m, left->data, left->bytes, c->text.data, c->text.bytes, rank, joined, e);
}

static int read_merges(struct model *m, const struct json_document *d, struct error *e)
{
    struct json_cursor c = {.s = d->merges.data, .bytes = d->merges.bytes};
    struct buffer left = {0}, joined = {0};
    if (!c.s || json_cursor_kind(&c) != JSON_KIND_ARRAY)
        return error_set(e, EINVAL, "the model has no list \"merges\"");
    int rc = map_reserve(&m->bpe.merge, m->vocab.count);
    json_cursor_enter(&c);
    for (uint32_t rank = 0; rc == 0 && json_cursor_more(&c); rank++) rc = read_merge(m, &c, rank, &left, &joined, e);
    if (rc == -ENOMEM) error_set(e, ENOMEM, "no memory for the merges");
    buffer_free(&left);
    buffer_free(&joined);
    json_cursor_free(&c);
    return rc;
}

static int read_unk(struct model *m, const json_t *o, struct error *e)
{
    const char *unk;
    size_t bytes;
    int rc = json_get_text(o, "unk_token", &unk, &bytes, e);
    if (rc != 0 || !unk) return rc;
    m->unk = vocab_find(&m->vocab, unk, bytes);
    return m->unk >= 0 ? 0 : error_set(e, EINVAL, "unk_token \"%s\" is not in the vocabulary", unk);
}

static int refuse_dropout(const json_t *o, struct error *e)
{
    const json_t *dropout = json_object_get(o, "dropout");
    if (json_number_value(dropout) > 0)
        return error_set(e, ENOTSUP, "dropout is %g: such a tokenizer gives random ids; set it to null",
                         json_number_value(dropout));
    return 0;
}

int bpe_read(struct model *m, const struct json_document *d, const json_t *o, struct error *e)
{
    struct bpe *b = &m->bpe;
    int rc = refuse_dropout(o, e);
    rc = rc != 0 ? rc : json_get_bool(o, "fuse_unk", false, &b->fuse_unk, e);
    rc = rc != 0 ? rc : json_get_bool(o, "byte_fallback", false, &b->byte_fallback, e);
    rc = rc != 0 ? rc : json_get_bool(o, "ignore_merges", false, &b->ignore_merges, e);
    rc = rc != 0 ? rc : model_read_text(&b->prefix, o, "continuing_subword_prefix", e);
    rc = rc != 0 ? rc : model_read_text(&b->suffix, o, "end_of_word_suffix", e);
    rc = rc != 0 ? rc : model_read_vocab(m, d, e);
    rc = rc != 0 ? rc : read_merges(m, d, e);
    rc = rc != 0 ? rc : read_unk(m, o, e);
    return rc != 0 ? rc : bpe_finish(m, e);
}

/* Which characters a merge puts before a "▁": over all others a word may be cut before it is encoded. */
static int find_joins(struct model *m)
{
    struct bpe *b = &m->bpe;
    b->tiling_words = vocab_find(&m->vocab, mark, 3) >= 0 && !b->ignore_merges && !b->prefix.bytes && !b->suffix.bytes;
    size_t slots = b->tiling_words && b->merge.slot ? b->merge.mask + 1 : 0;
    for (size_t i = 0; i < slots; i++) {
        size_t bytes, n;
        if (b->merge.slot[i].key == MAP_NONE) continue;
        const char *text = vocab_text(&m->vocab, (uint32_t)b->merge.slot[i].value, &bytes), *hit = text;
        while (text && (hit = memmem(hit, bytes - (size_t)(hit - text), mark, 3)) != NULL) {
            if (hit > text &&
                map_put(&b->joins_mark, utf8_decode(text + utf8_previous(text, (size_t)(hit - text)), &n), 1) != 0)
                return -ENOMEM;
            hit += 3;
        }
    }
    return 0;
}

int bpe_finish(struct model *m, struct error *e)
{
    struct bpe *b = &m->bpe;
    int rc = find_joins(m);
    for (size_t i = 0; i < m->vocab.count && rc == 0; i++) {
        const struct vocab_string *s = &m->vocab.string[i];
        const char *text = m->vocab.text.data + s->offset;
        size_t n;
        if (s->bytes && utf8_char_bytes(text[0]) == s->bytes) rc = map_put(&b->chars, utf8_decode(text, &n), s->id);
    }
    for (unsigned i = 0; i < 256; i++)
        b->byte_id[i] = vocab_find(&m->vocab, byte_level_text[i], strlen(byte_level_text[i]));
    if (b->byte_fallback) model_find_fallback(m, b->fallback_id);
    return rc != 0 ? error_set(e, ENOMEM, "no memory for the vocabulary") : 0;
}

/* ---- a word's first symbols ---- */

struct start {
    const struct model *m;
    struct model_work *work;
    uint32_t count;
    bool unk_waits; /* an unknown that the next one may join */
    uint32_t unk_bytes;
};

static void add_symbol(struct start *s, uint32_t id, uint32_t bytes)
{
    s->work->symbol[s->count] = (struct model_symbol){id, s->count - 1, s->count + 1, bytes};
    s->count++;
}

static void flush_unk(struct start *s)
{
    if (s->unk_waits) add_symbol(s, (uint32_t)s->m->unk, s->unk_bytes);
    s->unk_waits = false;
}

static bool add_fallback(struct start *s, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (s->m->bpe.fallback_id[(unsigned char)text[i]] < 0) return false;
    }
    for (size_t i = 0; i < bytes; i++) add_symbol(s, (uint32_t)s->m->bpe.fallback_id[(unsigned char)text[i]], 1);
    return true;
}

/* The character with what the model puts before or behind it; `bytes` are those of the character alone. */
static void add_char(struct start *s, int64_t id, const char *decorated, size_t decorated_bytes, size_t bytes)
{
    const struct bpe *b = &s->m->bpe;
    if (id >= 0) {
        flush_unk(s);
        add_symbol(s, (uint32_t)id, (uint32_t)bytes);
        return;
    }
    if (b->byte_fallback && add_fallback(s, decorated, decorated_bytes)) return;
    if (s->m->unk < 0) return; /* without an unknown token it leaves nothing, as in Hugging Face */
    if (s->unk_waits && b->fuse_unk) {
        s->unk_bytes += (uint32_t)bytes;
        return;
    }
    flush_unk(s);
    s->unk_waits = true;
    s->unk_bytes = (uint32_t)bytes;
}

static void start_bytes(struct start *s, const char *word, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        const char *visible = byte_level_text[(unsigned char)word[i]];
        add_char(s, s->m->bpe.byte_id[(unsigned char)word[i]], visible, strlen(visible), 1);
    }
}

static void start_chars(struct start *s, const char *word, size_t bytes)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        uint64_t id = map_get(&s->m->bpe.chars, utf8_decode(word + at, &n));
        add_char(s, id == MAP_NONE ? -1 : (int64_t)id, word + at, n, n);
    }
}

static void start_decorated(struct start *s, const char *word, size_t bytes)
{
    const struct bpe *b = &s->m->bpe;
    struct buffer *text = &s->work->text;
    for (size_t at = 0, n; at < bytes; at += n) {
        n = utf8_char_bytes(word[at]);
        text->bytes = 0;
        if (at > 0) buffer_append(text, b->prefix.data, b->prefix.bytes);
        buffer_append(text, word + at, n);
        if (at + n == bytes) buffer_append(text, b->suffix.data, b->suffix.bytes);
        if (!text->failed) add_char(s, vocab_find(&s->m->vocab, text->data, text->bytes), text->data, text->bytes, n);
    }
}

/* ---- joining ---- */

static uint64_t merge_of(const struct bpe *b, uint32_t left, uint32_t right)
{
    return map_get(&b->merge, (uint64_t)left << 32 | right);
}

/* Each time the pair of lowest rank among all; the values of merge_of sort by rank. */
static uint32_t join_short(const struct bpe *b, struct model_symbol *symbol, uint32_t count)
{
    uint64_t pair[SHORT_WORD];
    for (uint32_t i = 0; i + 1 < count; i++) pair[i] = merge_of(b, symbol[i].id, symbol[i + 1].id);
    while (count > 1) {
        uint32_t best = 0;
        for (uint32_t i = 1; i + 1 < count; i++) {
            if (pair[i] >> 32 < pair[best] >> 32) best = i;
        }
        if (pair[best] == MAP_NONE) break;
        symbol[best].id = (uint32_t)pair[best];
        count--;
        for (uint32_t i = best + 1; i < count; i++) symbol[i].id = symbol[i + 1].id;
        for (uint32_t i = best + 1; i + 1 < count; i++) pair[i] = pair[i + 1];
        if (best + 1 < count) pair[best] = merge_of(b, symbol[best].id, symbol[best + 1].id);
        if (best > 0) pair[best - 1] = merge_of(b, symbol[best - 1].id, symbol[best].id);
    }
    return count;
}

/* Four children an entry: a pop in a heap of megabytes waits for memory once a level, and half the levels are enough. */
#define HEAP_WAYS 4

static void heap_down(struct model_heap_entry *h, size_t count, size_t at)
{
    struct model_heap_entry x = h[at];
    for (size_t first; (first = HEAP_WAYS * at + 1) < count;) {
        size_t least = first, end = first + HEAP_WAYS < count ? first + HEAP_WAYS : count;
        for (size_t child = first + 1; child < end; child++) least = h[child].order < h[least].order ? child : least;
        if (h[least].order >= x.order) break;
        h[at] = h[least];
        at = least;
    }
    h[at] = x;
}

/* Entries that come in order, as those of a run of one letter do, need no heap: they queue up from the other end of its
 * array, which has room for all that are ever pushed. */
static struct model_heap_entry *queued(const struct model_work *w, size_t i)
{
    return &w->heap[w->heap_capacity - 1 - i];
}

static void heap_push(struct model_work *w, struct model_heap_entry x)
{
    if (w->queue_end == w->queue_first || queued(w, w->queue_end - 1)->order <= x.order) {
        *queued(w, w->queue_end++) = x;
        return;
    }
    size_t at = w->heap_count++;
    for (; at > 0 && w->heap[(at - 1) / HEAP_WAYS].order > x.order; at = (at - 1) / HEAP_WAYS)
        w->heap[at] = w->heap[(at - 1) / HEAP_WAYS];
    w->heap[at] = x;
}

static struct model_heap_entry heap_pop(struct model_work *w)
{
    if (w->queue_first < w->queue_end && (!w->heap_count || queued(w, w->queue_first)->order <= w->heap[0].order))
        return *queued(w, w->queue_first++);
    struct model_heap_entry top = w->heap[0];
    w->heap[0] = w->heap[--w->heap_count];
    if (w->heap_count) heap_down(w->heap, w->heap_count, 0);
    return top;
}

/* The pair that starts at this symbol, if there is one that joins. */
static void offer(const struct bpe *b, struct model_work *w, uint32_t at, uint32_t count)
{
    uint32_t next = w->symbol[at].next;
    uint64_t merge = next < count ? merge_of(b, w->symbol[at].id, w->symbol[next].id) : MAP_NONE;
    if (merge != MAP_NONE) heap_push(w, (struct model_heap_entry){(merge & 0xFFFFFFFF00000000u) | at, (uint32_t)merge});
}

/* A linked list of symbols and a heap of pairs, some of them out of date: O(n log n). A symbol that was joined to its left
 * neighbour has bytes == 0. Each join pushes at most two pairs and removes a symbol: 3 * count entries are enough. */
static uint32_t join_long(const struct bpe *b, struct model_work *w, uint32_t count)
{
    struct model_symbol *symbol = w->symbol;
    w->heap_count = w->queue_first = w->queue_end = 0;
    for (uint32_t i = 0; i + 1 < count; i++) offer(b, w, i, count);
    while (w->heap_count || w->queue_first < w->queue_end) {
        struct model_heap_entry top = heap_pop(w);
        uint32_t at = (uint32_t)top.order, next = symbol[at].next;
        if (symbol[at].bytes == 0 || next >= count) continue;
        uint64_t merge = merge_of(b, symbol[at].id, symbol[next].id);
        if (merge == MAP_NONE || (uint32_t)merge != top.id) continue;
        symbol[at].id = top.id;
        symbol[at].bytes += symbol[next].bytes;
        symbol[at].next = symbol[next].next;
        symbol[next].bytes = 0;
        if (symbol[at].next < count) symbol[symbol[at].next].prev = at;
        if (symbol[at].prev != NO_SYMBOL) offer(b, w, symbol[at].prev, count);
        offer(b, w, at, count);
    }
    uint32_t left = 0;
    for (uint32_t i = 0; i < count; i = symbol[i].next) symbol[left++].id = symbol[i].id;
    return left;
}

static bool make_room(struct model_work *w, size_t symbols, bool heap)
{
    struct model_symbol *symbol = array_grow(w->symbol, sizeof *symbol, &w->symbol_capacity, symbols);
    if (!symbol) return false;
    w->symbol = symbol;
    if (!heap) return true;
    struct model_heap_entry *entry = array_grow(w->heap, sizeof *entry, &w->heap_capacity, 3 * symbols);
    if (!entry) return false;
    w->heap = entry;
    return true;
}

/* ignore_merges: a word that is a token is that token. */
static int64_t whole_word(const struct model *m, struct model_work *w, const char *word, size_t bytes)
{
    if (!m->bpe.raw_bytes) return vocab_find(&m->vocab, word, bytes);
    w->text.bytes = 0;
    byte_level_append(&w->text, word, bytes);
    return w->text.failed ? -1 : vocab_find(&m->vocab, w->text.data, w->text.bytes);
}

int bpe_encode(const struct model *m, struct model_work *w, const char *word, size_t bytes, struct token_ids *out,
               struct error *e)
{
    const struct bpe *b = &m->bpe;
    int64_t whole = b->ignore_merges ? whole_word(m, w, word, bytes) : -1;
    if (whole >= 0)
        return token_ids_push(out, (uint32_t)whole) != 0 ? error_set(e, ENOMEM, "no memory for token ids") : 0;
    /* a character may fall back to as many symbols as it has bytes, and two with its prefix and suffix have more */
    size_t most = b->prefix.bytes || b->suffix.bytes ? bytes * (1 + b->prefix.bytes) + b->suffix.bytes
                  : b->raw_bytes                     ? 2 * bytes
                                                     : bytes;
    if (most >= UINT32_MAX || !make_room(w, most, most > SHORT_WORD))
        return error_set(e, ENOMEM, "no memory for a word of %zu bytes", bytes);
    struct start s = {.m = m, .work = w};
    if (b->raw_bytes)
        start_bytes(&s, word, bytes);
    else if (b->prefix.bytes || b->suffix.bytes)
        start_decorated(&s, word, bytes);
    else
        start_chars(&s, word, bytes);
    flush_unk(&s);
    uint32_t count = s.count <= SHORT_WORD ? join_short(b, w->symbol, s.count) : join_long(b, w, s.count);
    for (uint32_t i = 0; i < count; i++) {
        if (token_ids_push(out, w->symbol[i].id) != 0) return error_set(e, ENOMEM, "no memory for token ids");
    }
    return w->text.failed ? error_set(e, ENOMEM, "no memory for a word") : 0;
}
