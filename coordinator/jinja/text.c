/* Text of values: buffers, code points, str() and repr() as Python writes them. */
#include "coordinator/jinja/value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

uint32_t jutf8_next(const char *s, size_t n, size_t *pos)
{
    const uint8_t *p = (const uint8_t *)s + *pos;
    size_t len = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    if (len > n - *pos) len = n - *pos;
    uint32_t c = len == 1 ? *p : *p & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) c = c << 6 | (p[i] & 0x3f);
    *pos += len;
    return c;
}

size_t jstr_chars(struct jinja_run *r, struct jstr *s)
{
    if (s->chars == SIZE_MAX) {
        size_t n = 0;
        jrun_charge_bytes(r, s->n);
        for (size_t i = 0; i < s->n; i++) n += ((uint8_t)s->s[i] & 0xc0) != 0x80;
        s->chars = n;
    }
    return s->chars;
}

size_t jstr_offset(struct jinja_run *r, struct jstr *s, size_t idx)
{
    size_t chars = jstr_chars(r, s);
    if (chars == s->n || idx >= chars) return idx < s->n && idx < chars ? idx : s->n;
    size_t at = 0;
    jrun_charge(r, 1 + idx / 16);
    while (idx--)
        for (at++; ((uint8_t)s->s[at] & 0xc0) == 0x80; at++)
            ;
    return at;
}

bool jstr_equal(const struct jstr *a, const struct jstr *b)
{
    return a == b || (a->n == b->n && !memcmp(a->s, b->s, a->n));
}

void jbuf_put(struct jinja_run *r, struct jbuf *b, const char *s, size_t n)
{
    if (n > b->cap - b->n) {
        size_t cap = b->cap ? b->cap * 2 : 64;
        while (cap - b->n < n) {
            if (cap > SIZE_MAX / 4) jrun_fail(r, "a text of %zu bytes is too large", n);
            cap *= 2;
        }
        char *grown = jrun_bytes(r, cap);
        if (b->n) memcpy(grown, b->s, b->n);
        b->s = grown;
        b->cap = cap;
    }
    jrun_charge(r, n / 64);
    if (n) memcpy(b->s + b->n, s, n);
    b->n += n;
}

void jbuf_cstr(struct jinja_run *r, struct jbuf *b, const char *s)
{
    jbuf_put(r, b, s, strlen(s));
}

void jbuf_char(struct jinja_run *r, struct jbuf *b, char c)
{
    jbuf_put(r, b, &c, 1);
}

void jbuf_fill(struct jinja_run *r, struct jbuf *b, const char *s, size_t n, int64_t times)
{
    if (!n || times <= 0) return;
    if ((uint64_t)times > r->limits.held_bytes / n)
        jrun_fail_code(r, E2BIG, "a text of %lld times %zu bytes is past the limit", (long long)times, n);
    jrun_charge(r, (uint64_t)times / 16);
    for (int64_t i = 0; i < times; i++) jbuf_put(r, b, s, n);
}

void jbuf_code(struct jinja_run *r, struct jbuf *b, uint32_t c)
{
    utf8proc_uint8_t bytes[4];
    if (!utf8proc_codepoint_valid((utf8proc_int32_t)c)) jrun_fail(r, "U+%04X is not a character that text can have", c);
    jbuf_put(r, b, (const char *)bytes, (size_t)utf8proc_encode_char((utf8proc_int32_t)c, bytes));
}

struct jval jbuf_value(struct jinja_run *r, struct jbuf *b)
{
    return jval_str(r, b->n ? b->s : "", b->n);
}

bool jchar_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool jchar_printable(uint32_t c)
{
    if (c == ' ') return true;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    default: return true;
    }
}

/* -- numbers -- */

/* The shortest digits that read back as f, as repr() has them: digits[0].digits[1..] * 10^exponent. */
static int shortest_digits(double f, char digits[32], int *exponent)
{
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, f);
        if (strtod(text, NULL) == f) break;
    }
    int n = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') digits[n++] = *p;
    *exponent = atoi(p + 1);
    while (n > 1 && digits[n - 1] == '0') n--;
    return n;
}

static void put_plain(struct jinja_run *r, struct jbuf *b, const char *digits, int n, int exponent)
{
    if (exponent < 0) {
        jbuf_put(r, b, "0.", 2);
        jbuf_fill(r, b, "0", 1, -exponent - 1);
        jbuf_put(r, b, digits, (size_t)n);
        return;
    }
    int whole = n < exponent + 1 ? n : exponent + 1;
    jbuf_put(r, b, digits, (size_t)whole);
    jbuf_fill(r, b, "0", 1, exponent + 1 - whole);
    jbuf_char(r, b, '.');
    if (n > whole)
        jbuf_put(r, b, digits + whole, (size_t)(n - whole));
    else
        jbuf_char(r, b, '0');
}

void jbuf_float(struct jinja_run *r, struct jbuf *b, double f)
{
    if (isnan(f) || isinf(f)) {
        jbuf_cstr(r, b, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    if (signbit(f)) jbuf_char(r, b, '-');
    char digits[32], text[16];
    int exponent, n = shortest_digits(fabs(f), digits, &exponent);
    if (exponent >= -4 && exponent < 16) {
        put_plain(r, b, digits, n, exponent);
        return;
    }
    jbuf_char(r, b, digits[0]);
    if (n > 1) {
        jbuf_char(r, b, '.');
        jbuf_put(r, b, digits + 1, (size_t)n - 1);
    }
    snprintf(text, sizeof text, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    jbuf_cstr(r, b, text);
}

static void put_int(struct jinja_run *r, struct jbuf *b, int64_t i)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)i);
    jbuf_cstr(r, b, text);
}

/* -- repr -- */

static void put_escaped(struct jinja_run *r, struct jbuf *b, uint32_t c)
{
    char text[16];
    const char *names = "\tt\nn\rr";
    for (const char *p = names; *p; p += 2)
        if (c == (uint32_t)p[0]) {
            jbuf_char(r, b, '\\');
            jbuf_char(r, b, p[1]);
            return;
        }
    snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    jbuf_cstr(r, b, text);
}

static void repr_string(struct jinja_run *r, struct jbuf *b, const struct jstr *s)
{
    bool single = memchr(s->s, '\'', s->n) != NULL, dbl = memchr(s->s, '"', s->n) != NULL;
    char quote = single && !dbl ? '"' : '\'';
    jbuf_char(r, b, quote);
    jrun_charge(r, s->n / 8);
    for (size_t at = 0; at < s->n;) {
        size_t start = at;
        uint32_t c = jutf8_next(s->s, s->n, &at);
        if (c == (uint32_t)quote || c == '\\') {
            jbuf_char(r, b, '\\');
            jbuf_char(r, b, (char)c);
        } else if (jchar_printable(c)) {
            jbuf_put(r, b, s->s + start, at - start);
        } else {
            put_escaped(r, b, c);
        }
    }
    jbuf_char(r, b, quote);
}

static void repr_items(struct jinja_run *r, struct jbuf *b, const struct jseq *q)
{
    for (size_t i = 0; i < q->n; i++) {
        if (i) jbuf_put(r, b, ", ", 2);
        jbuf_repr(r, b, q->v[i]);
    }
}

static void repr_dict(struct jinja_run *r, struct jbuf *b, const struct jdict *d)
{
    jbuf_char(r, b, '{');
    for (size_t i = 0; i < d->n; i++) {
        if (i) jbuf_put(r, b, ", ", 2);
        jbuf_repr(r, b, d->v[i].key);
        jbuf_put(r, b, ": ", 2);
        jbuf_repr(r, b, d->v[i].value);
    }
    jbuf_char(r, b, '}');
}

static void repr_range(struct jinja_run *r, struct jbuf *b, const struct jrange *range)
{
    jbuf_cstr(r, b, "range(");
    put_int(r, b, range->start);
    jbuf_put(r, b, ", ", 2);
    put_int(r, b, range->stop);
    if (range->step != 1) {
        jbuf_put(r, b, ", ", 2);
        put_int(r, b, range->step);
    }
    jbuf_char(r, b, ')');
}

static void repr_wrapped(struct jinja_run *r, struct jbuf *b, const char *open, struct jval v, const char *close)
{
    jbuf_cstr(r, b, open);
    repr_items(r, b, jval_elements(r, v));
    jbuf_cstr(r, b, close);
}

static void repr_object(struct jinja_run *r, struct jbuf *b, struct jval v)
{
    jbuf_char(r, b, '<');
    jbuf_cstr(r, b, jval_type(v));
    if (v.kind == J_NAMESPACE) {
        jbuf_char(r, b, ' ');
        repr_dict(r, b, v.d);
    } else {
        jbuf_cstr(r, b, " object");
    }
    jbuf_char(r, b, '>');
}

void jbuf_repr(struct jinja_run *r, struct jbuf *b, struct jval v)
{
    jrun_enter(r);
    switch (v.kind) {
    case J_MISSING: break;
    case J_UNDEFINED: jbuf_cstr(r, b, "Undefined"); break;
    case J_NONE: jbuf_cstr(r, b, "None"); break;
    case J_BOOL: jbuf_cstr(r, b, v.b ? "True" : "False"); break;
    case J_INT: put_int(r, b, v.i); break;
    case J_BIG: jbuf_put(r, b, v.s->s, v.s->n); break;
    case J_FLOAT: jbuf_float(r, b, v.f); break;
    case J_STR:
        jbuf_cstr(r, b, v.safe ? "Markup(" : "");
        repr_string(r, b, v.s);
        jbuf_cstr(r, b, v.safe ? ")" : "");
        break;
    case J_LIST: repr_wrapped(r, b, "[", v, "]"); break;
    case J_TUPLE: repr_wrapped(r, b, "(", v, v.q->n == 1 ? ",)" : ")"); break;
    case J_DICT: repr_dict(r, b, v.d); break;
    case J_RANGE: repr_range(r, b, v.range); break;
    case J_VIEW:
        jbuf_cstr(r, b, jval_type(v));
        repr_wrapped(r, b, "([", v, "])");
        break;
    default: repr_object(r, b, v); break;
    }
    jrun_leave(r);
}

/* -- str -- */

void jbuf_str(struct jinja_run *r, struct jbuf *b, struct jval v)
{
    if (v.kind == J_STR)
        jbuf_put(r, b, v.s->s, v.s->n);
    else if (v.kind != J_UNDEFINED)
        jbuf_repr(r, b, v);
}

struct jstr *jval_text(struct jinja_run *r, struct jval v)
{
    if (v.kind == J_STR) return v.s;
    struct jbuf b = {0};
    jbuf_str(r, &b, v);
    return jbuf_value(r, &b).s;
}

struct jval jval_soft(struct jinja_run *r, struct jval v)
{
    return v.kind == J_STR ? v : jval_of_str(jval_text(r, v));
}

void jbuf_escape(struct jinja_run *r, struct jbuf *b, struct jval v)
{
    const struct jstr *s = jval_text(r, v);
    if (v.kind == J_STR && v.safe) {
        jbuf_put(r, b, s->s, s->n);
        return;
    }
    jrun_charge(r, s->n / 16);
    for (size_t i = 0; i < s->n; i++) {
        switch (s->s[i]) {
        case '&': jbuf_cstr(r, b, "&amp;"); break;
        case '<': jbuf_cstr(r, b, "&lt;"); break;
        case '>': jbuf_cstr(r, b, "&gt;"); break;
        case '\'': jbuf_cstr(r, b, "&#39;"); break;
        case '"': jbuf_cstr(r, b, "&#34;"); break;
        default: jbuf_char(r, b, s->s[i]);
        }
    }
}

struct jval jval_escape(struct jinja_run *r, struct jval v)
{
    struct jbuf b = {0};
    jbuf_escape(r, &b, v);
    v = jbuf_value(r, &b);
    v.safe = true;
    return v;
}
