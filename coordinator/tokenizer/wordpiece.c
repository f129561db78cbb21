/* WordPiece (BERT): from the left, each time the longest piece that fits; and WordLevel: whole words only. */
#include "coordinator/tokenizer/model.h"
#include "coordinator/text/utf8.h"

#include <errno.h>

#define MAX_CHARS_DEFAULT 100
#define MAX_CHARS_LIMIT   4096 /* the search takes the square of this */

int wordpiece_read(struct model *m, const struct json_document *d, const json_t *o, struct error *e)
{
    const char *unk;
    size_t bytes;
    const json_t *most = json_object_get(o, "max_input_chars_per_word");
    int64_t chars = MAX_CHARS_DEFAULT;
    if (most && (!json_whole(most, &chars) || chars < 0 || chars > MAX_CHARS_LIMIT))
        return error_set(e, ENOTSUP, "max_input_chars_per_word is no whole number from 0 to %d", MAX_CHARS_LIMIT);
    m->wordpiece.max_chars = (size_t)chars;
    int rc = model_read_text(&m->wordpiece.prefix, o, "continuing_subword_prefix", e);
    rc = rc != 0 ? rc : json_need_text(o, "unk_token", &unk, &bytes, e);
    rc = rc != 0 ? rc : model_read_vocab(m, d, e);
    if (rc == 0) m->unk = vocab_find(&m->vocab, unk, bytes);
    return rc;
}

static int unknown(const struct model *m, struct token_ids *out, size_t before, struct error *e)
{
    out->count = before;
    if (m->unk < 0)
        return error_set(e, EINVAL, "a word of the text is not in the vocabulary, and neither is the unknown token");
    return token_ids_push(out, (uint32_t)m->unk) != 0 ? error_set(e, ENOMEM, "no memory for token ids") : 0;
}

/* The longest piece that begins word[at..bytes): its id and end, or -1. */
static int64_t longest(const struct model *m, struct buffer *text, const char *word, size_t bytes, size_t at,
                       size_t *end)
{
    text->bytes = 0;
    if (at > 0) buffer_append(text, m->wordpiece.prefix.data, m->wordpiece.prefix.bytes);
    size_t head = text->bytes;
    buffer_append(text, word + at, bytes - at);
    for (*end = bytes; *end > at && !text->failed; *end = utf8_previous(word, *end)) {
        int64_t id = vocab_find(&m->vocab, text->data, head + *end - at);
        if (id >= 0) return id;
    }
    return -1;
}

int wordpiece_encode(const struct model *m, struct model_work *work, const char *word, size_t bytes,
                     struct token_ids *out, struct error *e)
{
    size_t before = out->count, chars = 0;
    if (m->kind == MODEL_WORDLEVEL) {
        int64_t id = vocab_find(&m->vocab, word, bytes);
        if (id < 0) return unknown(m, out, before, e);
        return token_ids_push(out, (uint32_t)id) != 0 ? error_set(e, ENOMEM, "no memory for token ids") : 0;
    }
    for (size_t at = 0; at < bytes && chars <= m->wordpiece.max_chars; at += utf8_char_bytes(word[at])) chars++;
    if (chars > m->wordpiece.max_chars) return unknown(m, out, before, e);
    for (size_t at = 0, end = 0; at < bytes; at = end) {
        int64_t id = longest(m, &work->text, word, bytes, at, &end);
        if (id < 0) return unknown(m, out, before, e);
        if (token_ids_push(out, (uint32_t)id) != 0) return error_set(e, ENOMEM, "no memory for token ids");
    }
    return 0;
}
