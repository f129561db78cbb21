/* Integers beyond 64 bits, as decimal digits: kept, printed and compared as Python does; not computed with. */
#include "coordinator/jinja/value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

struct jval jval_integer_text(struct jinja_run *r, const char *digits, size_t n)
{
    bool negative = n && *digits == '-';
    char *text = jrun_bytes(r, n + 1);
    errno = 0;
    memcpy(text, digits, n);
    text[n] = 0;
    long long i = strtoll(text, NULL, 10);
    if (!errno) return jval_int(i);
    size_t zeros = strspn(text + negative, "0");
    if (n - zeros - negative > JSON_INTEGER_DIGITS)
        jrun_fail(r, "an integer of more than %d digits", JSON_INTEGER_DIGITS);
    if (negative) text[zeros] = '-';
    struct jval v = jval_str(r, text + zeros, n - zeros);
    v.kind = J_BIG;
    return v;
}

/* Every double from 2^63 on is whole, and printf writes it exactly. */
struct jval jval_whole_double(struct jinja_run *r, double f)
{
    char text[400];
    int n = snprintf(text, sizeof text, "%.0f", f);
    return jval_integer_text(r, text, (size_t)n);
}

double jval_double(struct jinja_run *r, struct jval v)
{
    if (v.kind != J_BIG) return v.kind == J_FLOAT ? v.f : (double)jval_integral(v);
    double f = jbig_nearest(v);
    if (isinf(f)) jrun_fail(r, "int too large to convert to float");
    return f;
}

double jbig_nearest(struct jval v)
{
    char text[JSON_INTEGER_DIGITS + 2];
    memcpy(text, v.s->s, v.s->n);
    text[v.s->n] = 0;
    return strtod(text, NULL);
}

static int compare_digits(const struct jstr *a, const struct jstr *b)
{
    bool minus = *a->s == '-';
    if (minus != (*b->s == '-')) return minus ? -1 : 1;
    int c = a->n != b->n ? (a->n < b->n ? -1 : 1) : memcmp(a->s, b->s, a->n);
    return minus ? -c : c;
}

/* The sign of big - v, for a v that is no NaN. */
static int compare_big(struct jinja_run *r, struct jval big, struct jval v)
{
    bool minus = *big.s->s == '-';
    if (v.kind == J_BIG) return compare_digits(big.s, v.s);
    if (v.kind != J_FLOAT || fabs(v.f) < 0x1p63) return minus ? -1 : 1; /* beyond every integer of 64 bits */
    if (isinf(v.f)) return v.f < 0 ? 1 : -1;
    struct jval whole = jval_whole_double(r, v.f);
    return whole.kind == J_BIG ? compare_digits(big.s, whole.s) : minus ? -1 : 1; /* -2^63 fits */
}

bool jbig_compare(struct jinja_run *r, struct jval a, struct jval b, int *sign)
{
    if ((a.kind == J_FLOAT && isnan(a.f)) || (b.kind == J_FLOAT && isnan(b.f))) return false;
    *sign = a.kind == J_BIG ? compare_big(r, a, b) : -compare_big(r, b, a);
    return true;
}

struct jval jbig_negative(struct jinja_run *r, struct jval v)
{
    struct jbuf b = {0};
    bool minus = *v.s->s == '-';
    if (!minus) jbuf_char(r, &b, '-');
    jbuf_put(r, &b, v.s->s + minus, v.s->n - minus);
    return jval_integer_text(r, b.s, b.n);
}
