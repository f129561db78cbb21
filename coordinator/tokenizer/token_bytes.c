#include "coordinator/tokenizer/token_bytes.h"

#include <string.h>

#include "coordinator/text/utf8.h"
#include "coordinator/tokenizer/parts.h"

/* The byte that "<0xNN>" names, or -1. */
static int named_byte(const char *text, size_t bytes)
{
    unsigned v = 0;

    if (bytes != 6 || memcmp(text, "<0x", 3) || text[5] != '>') return -1;
    for (int i = 3; i < 5; i++) {
        char c = text[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;

        if (digit < 0) return -1;
        v = v * 16 + (unsigned)digit;
    }
    return (int)v;
}

/* Visible characters to bytes; the token as it is where one of them stands for none. */
static void from_visible(const struct buffer *text, struct buffer *to)
{
    for (size_t at = 0, n; at < text->bytes; at += n) {
        int byte = byte_level_byte(utf8_decode(text->data + at, &n));

        if (byte < 0) {
            to->bytes = 0;
            buffer_append(to, text->data, text->bytes);
            return;
        }
        buffer_append_byte(to, (char)byte);
    }
}

static void replace(const struct decoder_step *s, const struct buffer *text, struct buffer *to)
{
    struct pattern_match *m = pattern_match_new();
    struct pattern_walk w = {0};
    size_t from = 0;

    if (!m) to->failed = true;
    while (m && pattern_next(s->pattern, m, text->data, text->bytes, &w, NULL) > 0) {
        buffer_append(to, text->data + from, w.start - from);
        buffer_append(to, s->content.data, s->content.bytes);
        from = w.end;
    }
    buffer_append(to, text->data + from, text->bytes - from);
    pattern_match_free(m);
}

static void spaces(const struct decoder_step *s, const struct buffer *text, struct buffer *to)
{
    for (size_t at = 0, n; at < text->bytes; at += n) {
        n = utf8_char_bytes(text->data[at]);
        if (n == s->space.replacement_bytes && !memcmp(text->data + at, s->space.replacement, n))
            buffer_append_byte(to, ' ');
        else
            buffer_append(to, text->data + at, n);
    }
}

static bool is_at(const struct buffer *text, size_t at, const struct buffer *what)
{
    return what->bytes && text->bytes - at >= what->bytes && !memcmp(text->data + at, what->data, what->bytes);
}

static void strip(const struct decoder_step *s, const struct buffer *text, struct buffer *to)
{
    size_t from = 0, end = text->bytes, n = s->content.bytes;

    for (size_t i = 0; i < s->start && is_at(text, from, &s->content); i++) from += n;
    for (size_t i = 0; i < s->stop && end >= from + n && is_at(text, end - n, &s->content); i++) end -= n;
    buffer_append(to, text->data + from, end - from);
}

/* A word's piece: the prefix goes, or a space comes before it. */
static void piece(const struct decoder_step *s, const struct buffer *text, struct buffer *to)
{
    size_t from = is_at(text, 0, &s->content) ? s->content.bytes : 0;

    if (!from && s->content.bytes) buffer_append_byte(to, ' ');
    buffer_append(to, text->data + from, text->bytes - from);
}

/* Every suffix that ends a word is a space. */
static void suffix(const struct decoder_step *s, const struct buffer *text, struct buffer *to)
{
    for (size_t at = 0; at < text->bytes;) {
        if (is_at(text, at, &s->content)) {
            buffer_append_byte(to, ' ');
            at += s->content.bytes;
        } else {
            buffer_append_byte(to, text->data[at++]);
        }
    }
}

bool tokenizer_token_bytes(const struct tokenizer *t, uint32_t id, struct buffer *out)
{
    struct buffer text = {0}, made = {0};
    size_t bytes;
    const char *stored = tokenizer_token(t, id, &bytes);
    bool fused = false;
    int byte;

    if (!stored) return false;
    buffer_append(&text, stored, bytes);
    for (size_t i = 0; i < t->decoder.count && text.bytes && !tokenizer_is_special(t, id); i++) {
        const struct decoder_step *s = &t->decoder.step[i];

        made.bytes = 0;
        if (s->kind == DECODER_FUSE || (fused && s->kind == DECODER_STRIP)) { /* the ends of a text are not here */
            fused = true;
            continue;
        }
        if (s->kind == DECODER_BYTE_FALLBACK) {
            if ((byte = named_byte(text.data, text.bytes)) < 0) continue;
            buffer_append_byte(&made, (char)byte);
            buffer_swap(&text, &made);
            break; /* no character: nothing further looks at it */
        }
        switch (s->kind) {
        case DECODER_BYTE_LEVEL: from_visible(&text, &made); break;
        case DECODER_REPLACE: replace(s, &text, &made); break;
        case DECODER_METASPACE: spaces(s, &text, &made); break;
        case DECODER_STRIP: strip(s, &text, &made); break;
        case DECODER_WORDPIECE: piece(s, &text, &made); break;
        default: suffix(s, &text, &made); break;
        }
        buffer_swap(&text, &made);
        if (s->kind == DECODER_BYTE_LEVEL) break; /* its bytes are no characters yet */
    }
    if (!t->decoder.present) buffer_append_byte(out, ' ');
    buffer_append(out, text.data, text.bytes);
    out->failed |= text.failed || made.failed;
    buffer_free(&text);
    buffer_free(&made);
    return true;
}
