/* A value in a field: width, fill, sign, precision and kind, as Python's format() and % lay it out. */
#include "coordinator/jinja/value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

enum { PRECISION_MAX = 1000 };

/* Pads text to the width; what is added for '=' goes after the first `lead` bytes, the sign and the base. */
void jspec_pad(struct jinja_run *r, struct jbuf *b, const struct jspec *spec, char align, size_t lead,
               struct jstr *text)
{
    size_t chars = jstr_chars(r, text);
    int64_t pad = spec->width > 0 && (size_t)spec->width > chars ? spec->width - (int64_t)chars : 0;
    if ((uint64_t)pad > r->limits.text_bytes)
        jrun_fail_code(r, E2BIG, "a field of %lld characters is past the limit", (long long)spec->width);
    int64_t left = align == '>' ? pad : align == '^' ? pad / 2 : 0;
    size_t head = align == '=' ? lead : 0;
    jbuf_fill(r, b, spec->fill, spec->fill_bytes, left);
    jbuf_put(r, b, text->s, head);
    if (align == '=') jbuf_fill(r, b, spec->fill, spec->fill_bytes, pad);
    jbuf_put(r, b, text->s + head, text->n - head);
    if (align != '=') jbuf_fill(r, b, spec->fill, spec->fill_bytes, pad - left);
}

static void put_sign(struct jinja_run *r, struct jbuf *b, const struct jspec *spec, bool negative)
{
    if (negative)
        jbuf_char(r, b, '-');
    else if (spec->sign)
        jbuf_char(r, b, spec->sign);
}

/* digits with a separator between groups of three before the point. */
static void put_grouped(struct jinja_run *r, struct jbuf *b, const char *digits, size_t n, char group, size_t each)
{
    size_t whole = 0;
    while (whole < n && ((digits[whole] >= '0' && digits[whole] <= '9') || each == 4)) whole++;
    for (size_t i = 0; i < whole; i++) {
        if (group && i && (whole - i) % each == 0) jbuf_char(r, b, group);
        jbuf_char(r, b, digits[i]);
    }
    jbuf_put(r, b, digits + whole, n - whole);
}

static size_t digits_of(uint64_t u, unsigned base, bool upper, char text[72])
{
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char reversed[72];
    size_t n = 0;
    do reversed[n++] = digits[u % base];
    while ((u /= base) > 0);
    for (size_t i = 0; i < n; i++) text[i] = reversed[n - 1 - i];
    return n;
}

static void put_digits(struct jinja_run *r, struct jbuf *b, const struct jspec *spec, unsigned base, bool negative,
                       const char *digits, size_t n)
{
    struct jbuf text = {0};
    put_sign(r, &text, spec, negative);
    if (spec->alternate && base != 10) {
        jbuf_char(r, &text, '0');
        jbuf_char(r, &text, spec->type);
    }
    size_t lead = text.n;
    if (spec->precision > PRECISION_MAX) jrun_fail(r, "a precision of %lld is too large", (long long)spec->precision);
    jbuf_fill(r, &text, "0", 1, spec->precision - (int64_t)n);
    put_grouped(r, &text, digits, n, spec->group, base == 10 ? 3 : 4);
    jspec_pad(r, b, spec, spec->align ? spec->align : '>', lead, jbuf_value(r, &text).s);
}

static void put_integer(struct jinja_run *r, struct jbuf *b, const struct jspec *spec, struct jval v)
{
    char type = spec->type ? spec->type : 'd', digits[72];
    unsigned base = type == 'b' ? 2 : type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
    bool negative = v.kind == J_BIG ? *v.s->s == '-' : jval_integral(v) < 0;
    if (v.kind == J_BIG && base != 10) jrun_fail(r, "an integer beyond 64 bits cannot be written to the base %u", base);
    if (v.kind == J_BIG) {
        put_digits(r, b, spec, base, negative, v.s->s + negative, v.s->n - negative);
        return;
    }
    int64_t i = jval_integral(v);
    size_t n = digits_of(negative ? -(uint64_t)i : (uint64_t)i, base, type == 'X', digits);
    put_digits(r, b, spec, base, negative, digits, n);
}

static void put_double(struct jinja_run *r, struct jbuf *text, const struct jspec *spec, double f)
{
    if (!spec->type && spec->precision < 0) {
        jbuf_float(r, text, f);
        return;
    }
    if (spec->precision > PRECISION_MAX) jrun_fail(r, "a precision of %lld is too large", (long long)spec->precision);
    char type = !spec->type || spec->type == 'n' ? 'g' : spec->type == '%' ? 'f' : spec->type;
    char plain[] = {'%', '.', '*', type, 0}, alternate[] = {'%', '#', '.', '*', type, 0};
    const char *format = spec->alternate ? alternate : plain;
    int precision = spec->precision < 0 ? 6 : (int)spec->precision;
    double shown = spec->type == '%' ? f * 100 : f;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    int n = snprintf(NULL, 0, format, precision, shown);
    char *s = jrun_bytes(r, (size_t)n + 1);
    snprintf(s, (size_t)n + 1, format, precision, shown);
#pragma GCC diagnostic pop
    jbuf_put(r, text, s, (size_t)n);
}

static void put_real(struct jinja_run *r, struct jbuf *b, const struct jspec *spec, double f)
{
    struct jbuf digits = {0}, text = {0};
    bool negative = signbit(f) && !isnan(f);
    put_double(r, &digits, spec, negative ? -f : f);
    put_sign(r, &text, spec, negative);
    size_t lead = text.n;
    put_grouped(r, &text, digits.s, digits.n, spec->group, 3);
    if (spec->type == '%') jbuf_char(r, &text, '%');
    jspec_pad(r, b, spec, spec->align ? spec->align : '>', lead, jbuf_value(r, &text).s);
}

static void put_string(struct jinja_run *r, struct jbuf *b, const struct jspec *spec, struct jstr *s)
{
    if (spec->precision >= 0 && (uint64_t)spec->precision < jstr_chars(r, s))
        s = jval_str(r, s->s, jstr_offset(r, s, (size_t)spec->precision)).s;
    jspec_pad(r, b, spec, spec->align ? spec->align : '<', 0, s);
}

static void put_character(struct jinja_run *r, struct jbuf *b, const struct jspec *spec, int64_t code)
{
    struct jbuf c = {0};
    if (code < 0 || code > 0x10ffff) jrun_fail(r, "%%c arg not in range(0x110000)");
    jbuf_code(r, &c, (uint32_t)code);
    jspec_pad(r, b, spec, spec->align ? spec->align : '<', 0, jbuf_value(r, &c).s);
}

void jspec_put(struct jinja_run *r, struct jbuf *b, const struct jspec *spec, struct jval v)
{
    char type = spec->type;
    bool whole = jval_is_integral(v) || v.kind == J_BIG;
    bool for_int = type && strchr("bcdoxXn", type), for_real = type && strchr("eEfFgGn%", type);
    if (v.kind == J_STR && (!type || type == 's'))
        put_string(r, b, spec, v.s);
    else if (v.kind == J_FLOAT && (!type || for_real))
        put_real(r, b, spec, v.f);
    else if (jval_is_integral(v) && type == 'c')
        put_character(r, b, spec, jval_integral(v));
    else if (whole && (!type || for_int) && type != 'c')
        put_integer(r, b, spec, v);
    else if (whole && for_real)
        put_real(r, b, spec, jval_double(r, v));
    else
        jrun_fail(r, "Unknown format code '%c' for object of type '%s'", type ? type : ' ', jval_type(v));
}
