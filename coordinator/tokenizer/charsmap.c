#include "coordinator/tokenizer/charsmap.h"

#include "coordinator/text/utf8.h"

#include <errno.h>
#include <utf8proc.h>

/* Longer graphemes are not looked up as a whole. */
#define GRAPHEME_LIMIT_BYTES 6

int charsmap_read(struct charsmap *m, const char *data, size_t bytes, struct error *e)
{
    uint32_t array_bytes = 0;
    if (bytes >= 4) memcpy(&array_bytes, data, 4);
    if (bytes < 4 || array_bytes > bytes - 4 || array_bytes % 4 || !array_bytes)
        return error_set(e, EINVAL, "the precompiled character map is damaged: %u bytes of an array in %zu",
                         array_bytes, bytes);
    m->unit = malloc(array_bytes);
    buffer_append(&m->texts, data + 4 + array_bytes, bytes - 4 - array_bytes);
    buffer_append_byte(&m->texts, 0);
    if (!m->unit || m->texts.failed) return error_set(e, ENOMEM, "no memory for the character map");
    memcpy(m->unit, data + 4, array_bytes);
    m->units = array_bytes / 4;
    return 0;
}

void charsmap_free(struct charsmap *m)
{
    free(m->unit);
    buffer_free(&m->texts);
    *m = (struct charsmap){0};
}

/* Units of darts-clone: bit 8 "has a value", bits 10.. the offset (times 256 where bit 9 is set), bits 0..7 the label. */
static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The replacement of the shortest entry that begins key[0..bytes), NULL if none does. (The shortest: as Hugging Face.) */
static const char *look_up(const struct charsmap *m, const char *key, size_t bytes)
{
    size_t at = offset_of(m->unit[0]);
    for (size_t i = 0; i < bytes; i++) {
        unsigned char b = (unsigned char)key[i];
        at ^= b;
        if (b == 0 || at >= m->units || (m->unit[at] & 0x800000FFu) != b) return NULL;
        uint32_t unit = m->unit[at];
        at ^= offset_of(unit);
        if (unit & 1u << 8) {
            uint32_t text = at < m->units ? m->unit[at] & 0x7FFFFFFFu : UINT32_MAX;
            return text < m->texts.bytes ? m->texts.data + text : NULL;
        }
    }
    return NULL;
}

static void apply_chars(const struct charsmap *m, const char *text, size_t bytes, struct buffer *out)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        n = utf8_char_bytes(text[at]);
        const char *to = look_up(m, text + at, n);
        buffer_append(out, to ? to : text + at, to ? strlen(to) : n);
    }
}

void charsmap_apply(const struct charsmap *m, const char *text, size_t bytes, struct buffer *out)
{
    size_t start = 0, n = 0;
    while (start < bytes) {
        utf8proc_int32_t state = 0;
        size_t end;
        uint32_t c = utf8_decode(text + start, &n), next;
        for (end = start + n; end < bytes; end += n, c = next) {
            next = utf8_decode(text + end, &n);
            if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state)) break;
        }
        const char *to = end - start < GRAPHEME_LIMIT_BYTES ? look_up(m, text + start, end - start) : NULL;
        if (to)
            buffer_append_text(out, to);
        else
            apply_chars(m, text + start, end - start, out);
        start = end;
    }
}
