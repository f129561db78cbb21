#include "coordinator/tokenizer/added.h"

#include "coordinator/text/utf8.h"

#include <errno.h>

int added_tokens_add(struct added_tokens *a, struct added_token token, const char *content, size_t bytes)
{
    uint64_t index = map_get(&a->by_id, token.id);
    if (index == MAP_NONE) {
        struct added_token *grown = array_grow(a->token, sizeof *grown, &a->capacity, a->count + 1);
        if (!grown) return -ENOMEM;
        a->token = grown;
        index = a->count;
    }
    int rc = vocab_put(&a->vocab, content, bytes, token.id);
    if (rc == 0 && token.special) rc = map_put(&a->special, token.id, 1);
    if (rc == 0) rc = map_put(&a->by_id, token.id, index);
    if (rc != 0) return rc;
    a->token[index] = token;
    a->count += index == a->count;
    return 0;
}

static int set_add(struct added_set *set, const char *content, size_t bytes, size_t index)
{
    uint64_t node = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint64_t key = node << 8 | (unsigned char)content[i], value = map_get(&set->trie, key);
        if (value == MAP_NONE) value = (uint64_t)++set->nodes << 32;
        if (i + 1 == bytes && !(uint32_t)value) /* of equal contents the first one counts */
            value |= index + 1;
        if (map_put(&set->trie, key, value) != 0) return -ENOMEM;
        node = value >> 32;
    }
    if (bytes) set->starts[(unsigned char)content[0]] = true;
    return 0;
}

int added_tokens_show(struct added_tokens *a, uint32_t id, const char *text, size_t bytes)
{
    struct added_token *t = &a->token[map_get(&a->by_id, id)];
    t->shown = a->shown.bytes;
    t->shown_bytes = bytes;
    buffer_append(&a->shown, text, bytes);
    buffer_append_byte(&a->shown, 0);
    return a->shown.failed ? -ENOMEM : 0;
}

static int index_token(struct added_tokens *a, size_t index, const struct normalizer *n, struct pattern_match *m,
                       struct error *e)
{
    struct added_token *t = &a->token[index];
    struct buffer text = {0}, spare = {0};
    size_t bytes;
    bool cut = false;
    const char *content = vocab_text(&a->vocab, t->id, &bytes);
    if (!content) return 0; /* its id went to a later token */
    buffer_append(&text, content, bytes);
    int rc = t->normalized ? normalizer_apply(n, m, &text, &spare, &cut, e) : 0;
    bool changed = t->normalized && text.bytes && (text.bytes != bytes || memcmp(text.data, content, bytes) != 0);
    if (rc == 0 && changed && added_tokens_show(a, t->id, text.data, text.bytes) != 0)
        rc = error_set(e, ENOMEM, "no memory for the added tokens");
    if (rc == 0 &&
        (text.failed || set_add(t->normalized ? &a->normalized : &a->raw, text.data, text.bytes, index) != 0))
        rc = error_set(e, ENOMEM, "no memory for the added tokens");
    buffer_free(&text);
    buffer_free(&spare);
    return rc;
}

/* Special ones first: they win where two tokens have the same content after normalization. */
int added_tokens_index(struct added_tokens *a, const struct normalizer *n, struct error *e)
{
    struct pattern_match *m = pattern_match_new();
    int rc = m ? 0 : error_set(e, ENOMEM, "no memory for the added tokens");
    for (int special = 1; special >= 0; special--) {
        for (size_t i = 0; i < a->count && rc == 0; i++) {
            if (a->token[i].special == special) rc = index_token(a, i, n, m, e);
        }
    }
    pattern_match_free(m);
    return rc;
}

void added_tokens_free(struct added_tokens *a)
{
    free(a->token);
    vocab_free(&a->vocab);
    map_free(&a->special);
    map_free(&a->by_id);
    buffer_free(&a->shown);
    map_free(&a->raw.trie);
    map_free(&a->normalized.trie);
    *a = (struct added_tokens){0};
}

const char *added_tokens_text(const struct added_tokens *a, uint32_t id, size_t *bytes)
{
    uint64_t index = map_get(&a->by_id, id);
    if (index == MAP_NONE || !a->token[index].shown_bytes) return vocab_text(&a->vocab, id, bytes);
    if (bytes) *bytes = a->token[index].shown_bytes;
    return a->shown.data + a->token[index].shown;
}

/* The longest content that starts at text[at]: its token, and where it ends. */
static const struct added_token *longest_at(const struct added_tokens *a, const struct added_set *set, const char *text,
                                            size_t bytes, size_t at, size_t *end)
{
    const struct added_token *found = NULL;
    uint64_t node = 0;
    for (size_t i = at; i < bytes; i++) {
        uint64_t value = map_get(&set->trie, node << 8 | (unsigned char)text[i]);
        if (value == MAP_NONE) break;
        if ((uint32_t)value) {
            found = &a->token[(uint32_t)value - 1];
            *end = i + 1;
        }
        node = value >> 32;
    }
    return found;
}

static bool touches_word(const char *text, size_t bytes, size_t start, size_t end)
{
    size_t n;
    return (start > 0 && utf8_is_word(utf8_decode(text + utf8_previous(text, start), &n))) ||
           (end < bytes && utf8_is_word(utf8_decode(text + end, &n)));
}

static void swallow(const struct added_token *t, const char *text, size_t bytes, size_t covered,
                    struct added_match *match)
{
    size_t n;
    if (t->lstrip && match->start < covered)
        match->start = covered; /* the one before has swallowed its beginning, perhaps all of it */
    while (t->lstrip && match->start > covered &&
           utf8_is_space(utf8_decode(text + utf8_previous(text, match->start), &n)))
        match->start -= n;
    if (t->rstrip && match->end < covered)
        match->end = covered; /* what the one before has swallowed is all white space: not to be walked again */
    while (t->rstrip && match->end < bytes && utf8_is_space(utf8_decode(text + match->end, &n))) match->end += n;
}

bool added_tokens_next(const struct added_tokens *a, const struct added_set *set, const char *text, size_t bytes,
                       struct added_walk *w, struct added_match *match)
{
    if (!set->trie.slot) return false;
    for (size_t at = w->from, end = 0; at < bytes; at++) {
        if (!set->starts[(unsigned char)text[at]]) continue;
        const struct added_token *t = longest_at(a, set, text, bytes, at, &end);
        if (!t) continue;
        bool stands = !(a->split_special && map_get(&a->special, t->id) != MAP_NONE) &&
                      (!t->single_word || !touches_word(text, bytes, at, end));
        if (stands) {
            *match = (struct added_match){at, end, t->id};
            swallow(t, text, bytes, w->covered, match);
            w->covered = match->end;
            w->from = end;
        }
        if (stands && match->start < match->end) return true;
        at = end - 1; /* the search goes on behind it */
    }
    w->from = bytes;
    return false;
}
