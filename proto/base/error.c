#include "proto/base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *e, int code, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        e->code = code;
        va_start(ap, fmt);
        vsnprintf(e->text, sizeof e->text, fmt, ap);
        va_end(ap);
    }
    return -code;
}

int error_prefix(struct error *e, const char *fmt, ...)
{
    char old[ERROR_TEXT_BYTES], head[ERROR_TEXT_BYTES / 2];
    va_list ap;

    if (!e) return -EINVAL;
    memcpy(old, e->text, sizeof old);
    old[sizeof old - 1] = 0;
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    snprintf(e->text, sizeof e->text, "%s: %.*s", head, (int)(sizeof e->text - strlen(head) - 3), old);
    return -e->code;
}

const char *error_name(int code)
{
    return strerrordesc_np(code);
}
