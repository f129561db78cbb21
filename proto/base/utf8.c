#include "proto/base/utf8.h"

#include <string.h>

static bool is_continuation(unsigned char b)
{
    return (b & 0xC0) == 0x80;
}

/* The range that the second byte may have after this lead byte; false where the byte leads nothing. */
static bool lead_of(unsigned char b, size_t *bytes, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (b >= 0xC2 && b <= 0xDF) {
        *bytes = 2;
    } else if (b >= 0xE0 && b <= 0xEF) {
        *bytes = 3;
        if (b == 0xE0) *low = 0xA0;
        if (b == 0xED) *high = 0x9F;
    } else if (b >= 0xF0 && b <= 0xF4) {
        *bytes = 4;
        if (b == 0xF0) *low = 0x90;
        if (b == 0xF4) *high = 0x8F;
    } else {
        return false;
    }
    return true;
}

/* Bytes of the well-formed beginning of the character at s, 0 if its first byte is wrong; *whole is its full length. */
static size_t well_formed_bytes(const unsigned char *s, size_t bytes, size_t *whole)
{
    unsigned char low, high;
    if (s[0] < 0x80) {
        *whole = 1;
        return 1;
    }
    if (!lead_of(s[0], whole, &low, &high)) return 0;
    if (bytes < 2 || s[1] < low || s[1] > high) return 1;
    size_t n = 2;
    while (n < *whole && n < bytes && is_continuation(s[n])) n++;
    return n;
}

size_t utf8_valid_bytes(const char *text, size_t bytes)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t at = 0;
    while (at < bytes) {
        uint64_t eight;
        while (bytes - at >= 8 && (memcpy(&eight, s + at, 8), (eight & 0x8080808080808080u) == 0)) at += 8;
        if (at == bytes) break;
        size_t whole = 0, n = well_formed_bytes(s + at, bytes - at, &whole);
        if (n == 0 || n < whole) return at;
        at += n;
    }
    return at;
}

size_t utf8_broken_bytes(const char *text, size_t bytes, bool *incomplete)
{
    size_t whole = 0, n = well_formed_bytes((const unsigned char *)text, bytes, &whole);
    *incomplete = n > 0 && n == bytes && n < whole;
    return n ? n : 1;
}

uint32_t utf8_decode(const char *text, size_t *bytes)
{
    const unsigned char *s = (const unsigned char *)text;
    *bytes = utf8_char_bytes(text[0]);
    switch (*bytes) {
    case 1: return s[0];
    case 2: return (s[0] & 0x1Fu) << 6 | (s[1] & 0x3Fu);
    case 3: return (s[0] & 0x0Fu) << 12 | (s[1] & 0x3Fu) << 6 | (s[2] & 0x3Fu);
    default: return (s[0] & 0x07u) << 18 | (s[1] & 0x3Fu) << 12 | (s[2] & 0x3Fu) << 6 | (s[3] & 0x3Fu);
    }
}

size_t utf8_encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

size_t utf8_previous(const char *s, size_t at)
{
    do at--;
    while (at > 0 && is_continuation((unsigned char)s[at]));
    return at;
}
