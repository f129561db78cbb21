#include "coordinator/cli/values.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

int value_unsigned(const char *text, uint64_t *out)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    const char *first = hex ? text + 2 : text;
    unsigned long long v;
    char *end;

    /* strtoull would take blanks and signs */
    if (hex ? !isxdigit((unsigned char)*first) : !is_digit(*first)) return -EINVAL;
    errno = 0;
    v = strtoull(first, &end, hex ? 16 : 10);
    if (*end) return -EINVAL;
    if (errno == ERANGE) return -ERANGE;
    *out = v;
    return 0;
}

int value_integer(const char *text, int64_t *out)
{
    bool minus = *text == '-';
    uint64_t v = 0;
    int rc;

    if (!is_digit(text[minus])) return -EINVAL;
    rc = value_unsigned(text + minus, &v);
    if (rc) return rc;
    if (v > INT64_MAX) return -ERANGE;
    *out = minus ? -(int64_t)v : (int64_t)v;
    return 0;
}

int value_real(const char *text, double *out)
{
    const char *p = text + (*text == '-');
    char *end;
    double v;

    /* the C locale is never left (main calls no setlocale but for characters), so the point is a point */
    if (!is_digit(*p) && !(*p == '.' && is_digit(p[1]))) return -EINVAL;
    if (*p == '0' && (p[1] == 'x' || p[1] == 'X')) return -EINVAL;
    errno = 0;
    v = strtod(text, &end);
    if (*end) return -EINVAL;
    if (!isfinite(v)) return -ERANGE;
    *out = v;
    return 0;
}

/* The factor of a unit, or 0 for something that is none. */
static uint64_t size_unit(const char *u)
{
    static const char letters[] = "kmgt";
    uint64_t factor = 1;
    const char *l;
    bool binary;

    if (!*u || !strcasecmp(u, "b")) return 1;
    l = strchr(letters, tolower((unsigned char)*u));
    if (!l) return 0;
    u++;
    binary = *u == 'i' || *u == 'I';
    u += binary;
    if (*u && strcasecmp(u, "b")) return 0;
    for (ptrdiff_t i = 0; i <= l - letters; i++) factor *= binary ? 1024 : 1000;
    return factor;
}

int value_size(const char *text, uint64_t *out)
{
    uint64_t whole = 0, part = 0, scale = 1, factor, bytes;
    bool overflow = false, digits = false;

    for (; is_digit(*text); text++, digits = true) {
        overflow |= __builtin_mul_overflow(whole, 10, &whole);
        overflow |= __builtin_add_overflow(whole, (uint64_t)(*text - '0'), &whole);
    }
    if (*text == '.') {
        for (text++; is_digit(*text); text++, digits = true) {
            if (scale > UINT64_C(100000000000000000)) continue; /* what follows is less than a byte */
            part = part * 10 + (uint64_t)(*text - '0');
            scale *= 10;
        }
    }
    factor = size_unit(text);
    if (!digits || !factor) return -EINVAL;
    overflow |= __builtin_mul_overflow(whole, factor, &bytes);
    part = (uint64_t)((unsigned __int128)part * factor / scale);
    overflow |= __builtin_add_overflow(bytes, part, &bytes);
    if (overflow) return -ERANGE;
    *out = bytes;
    return 0;
}

/* Exactly count digits at *p as a number; *p moves on. -1 where there are not that many. */
static int date_field(const char **p, int count)
{
    int v = 0;

    for (; count; count--, ++*p) {
        if (!is_digit(**p)) return -1;
        v = v * 10 + (**p - '0');
    }
    return v;
}

int value_date(const char *text, struct tm *out)
{
    static const struct {
        int digits;
        const char *after;
    } field[6] = {{4, "-"}, {2, "-"}, {2, "Tt "}, {2, ":"}, {2, ":"}, {2, ""}};
    int v[6];
    struct tm t = {0}, normal;

    for (int i = 0; i < 6; i++) {
        v[i] = date_field(&text, field[i].digits);
        if (v[i] < 0) return -EINVAL;
        if (i < 5 && (!*text || !strchr(field[i].after, *text++))) return -EINVAL;
    }
    if (*text) return -EINVAL;
    t.tm_year = v[0] - 1900;
    t.tm_mon = v[1] - 1;
    t.tm_mday = v[2];
    t.tm_hour = v[3];
    t.tm_min = v[4];
    t.tm_sec = v[5];
    normal = t;
    timegm(&normal); /* fills the days, and turns the 31st of April into something else, by which it is known */
    if (normal.tm_mon != t.tm_mon || normal.tm_mday != t.tm_mday || normal.tm_hour != t.tm_hour ||
        normal.tm_min != t.tm_min || normal.tm_sec != t.tm_sec)
        return -EINVAL;
    *out = normal;
    return 0;
}

static bool is_separator(char c)
{
    return c == ' ' || c == ',' || (c >= '\t' && c <= '\r');
}

/* The number at text[*at..bytes); *at moves behind it. */
static int number_at(const char *text, size_t bytes, size_t *at, uint32_t *out, struct error *e)
{
    size_t first = *at, i = first;
    uint64_t v = 0;
    bool word = false;

    for (; i < bytes && !is_separator(text[i]); i++) {
        word |= !is_digit(text[i]);
        if (v <= UINT32_MAX) v = v * 10 + (uint64_t)(text[i] - '0');
    }
    *at = i;
    if (word)
        return error_set(e, EINVAL, "'%.*s' at byte %zu is no number; give numbers separated by spaces",
                         (int)(i - first > 40 ? 40 : i - first), text + first, first);
    if (v > UINT32_MAX)
        return error_set(e, ERANGE, "%.*s at byte %zu is too large for a number of 32 bits",
                         (int)(i - first > 40 ? 40 : i - first), text + first, first);
    *out = (uint32_t)v;
    return 0;
}

int value_numbers(const char *text, size_t bytes, uint32_t **out, size_t *count, struct error *e)
{
    uint32_t *list = NULL, *grown;
    size_t n = 0, room = 0;
    int rc;

    *out = NULL;
    *count = 0;
    for (size_t at = 0;;) {
        while (at < bytes && is_separator(text[at])) at++;
        if (at == bytes) break;
        if (n == room) {
            room = room ? 2 * room : 64;
            grown = reallocarray(list, room, sizeof *list);
            if (!grown) {
                rc = error_set(e, ENOMEM, "no memory for a list of %zu numbers", room);
                goto err;
            }
            list = grown;
        }
        rc = number_at(text, bytes, &at, &list[n], e);
        if (rc) goto err;
        n++;
    }
    *out = list;
    *count = n;
    return 0;
err:
    free(list);
    return rc;
}

const char *value_size_text(uint64_t bytes, char *out, size_t room)
{
    static const char *const unit[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    double v = (double)bytes / 1000;
    size_t i = 0;

    if (bytes < 1000) {
        snprintf(out, room, "%u bytes", (unsigned)bytes);
        return out;
    }
    for (; v >= 999.995 && i + 1 < sizeof unit / sizeof *unit; i++) v /= 1000;
    snprintf(out, room, v < 10 ? "%.2f %s" : v < 100 ? "%.1f %s" : "%.0f %s", v, unit[i]);
    return out;
}
