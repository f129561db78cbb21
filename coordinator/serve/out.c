#include "coordinator/serve/out.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/utf8.h"

void out_string(struct buffer *b, const char *text, size_t bytes)
{
    static const char hex[] = "0123456789abcdef";
    size_t from = 0, good = 0; /* [0, good) is UTF-8, as far as it was looked at */

    buffer_append_byte(b, '"');
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

        if (i >= good) good = i + utf8_valid_bytes(text + i, bytes - i);
        if (i < good && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) continue;
        buffer_append(b, text + from, i - from);
        if (i >= good)
            buffer_append_text(b, "\xEF\xBF\xBD");
        else if (c == '"' || c == '\\')
            buffer_append(b, (char[]){'\\', (char)c}, 2);
        else if (c == '\n')
            buffer_append_text(b, "\\n");
        else
            buffer_append(b, escape, sizeof escape);
        from = i + 1;
    }
    buffer_append(b, text + from, bytes - from);
    buffer_append_byte(b, '"');
}

void out_format(struct buffer *b, const char *format, ...)
{
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n < 0 || !buffer_reserve(b, (size_t)n + 1)) {
        b->failed = true;
        return;
    }
    va_start(ap, format);
    vsnprintf(b->data + b->bytes, (size_t)n + 1, format, ap);
    va_end(ap);
    b->bytes += (size_t)n;
}

void out_real(struct buffer *b, double x)
{
    if (isfinite(x))
        out_format(b, "%.9g", x);
    else
        buffer_append_text(b, x > 0 ? "9999.0" : "-9999.0");
}
