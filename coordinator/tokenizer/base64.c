#include "coordinator/tokenizer/base64.h"

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct buffer *out, const char *s, size_t bytes)
{
    while (bytes && s[bytes - 1] == '=') bytes--;
    if (bytes % 4 == 1 || !buffer_reserve(out, bytes / 4 * 3 + 3)) return false;
    unsigned bits = 0, held = 0;
    for (size_t i = 0; i < bytes; i++) {
        int v = value_of(s[i]);
        if (v < 0) return false;
        bits = bits << 6 | (unsigned)v;
        held += 6;
        if (held >= 8) {
            held -= 8;
            buffer_append_byte(out, (char)(bits >> held & 0xFF));
        }
    }
    return !out->failed;
}
