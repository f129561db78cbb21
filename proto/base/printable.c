#include "proto/base/printable.h"

#include <stdint.h>
#include <string.h>

#include "proto/base/utf8.h"

static bool obeyed(uint32_t c)
{
    if (c < ' ') return c != '\n' && c != '\t';
    return (c >= 0x7F && c < 0xA0) || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x206F);
}

size_t printable_refused(const char *text, size_t bytes)
{
    size_t n = utf8_char_bytes(text[0]);
    bool incomplete;

    if (n > bytes || utf8_valid_bytes(text, n) < n) return utf8_broken_bytes(text, bytes, &incomplete);
    return obeyed(utf8_decode(text, &n)) ? n : 0;
}

size_t printable_copy(char *out, size_t room, const char *text, size_t bytes, bool more, size_t *used)
{
    const size_t instead = sizeof PRINTABLE_INSTEAD - 1;
    size_t at = 0, to = 0, n;

    while (at < bytes) {
        size_t refused = printable_refused(text + at, bytes - at);
        bool incomplete = false;

        if (refused && more) utf8_broken_bytes(text + at, bytes - at, &incomplete);
        if (incomplete) break;
        n = refused ? refused : utf8_char_bytes(text[at]);
        if ((refused ? instead : n) > room - to) break;
        memcpy(out + to, refused ? PRINTABLE_INSTEAD : text + at, refused ? instead : n);
        to += refused ? instead : n;
        at += n;
    }
    *used = at;
    return to;
}

void printable_line(char *out, size_t room, const char *text)
{
    size_t used, n = printable_copy(out, room - 1, text, strlen(text), false, &used);

    for (size_t i = 0; i < n; i++)
        if (out[i] == '\n' || out[i] == '\t') out[i] = ' ';
    out[n] = 0;
}
