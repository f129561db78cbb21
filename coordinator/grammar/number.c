/* Numbers: their digits as a way of nodes, between bounds where there are some. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/grammar/build.h"

#define INTEGER_DIGITS  19 /* before the point */
#define FRACTION_DIGITS 20

static uint32_t digit(struct grammar *g, char from, char to, uint32_t next)
{
    return grammar_range(g, (uint8_t)from, (uint8_t)to, next);
}

/* n digits, any. */
static uint32_t digits(struct grammar *g, size_t n, uint32_t next)
{
    while (n-- > 0) next = digit(g, '0', '9', next);
    return next;
}

/* Up to n further digits. */
static uint32_t digits_up_to(struct grammar *g, size_t n, uint32_t next)
{
    uint32_t at = next;

    while (n-- > 0) at = grammar_either(g, digit(g, '0', '9', at), next);
    return at;
}

/* ---- whole numbers from a to b, without a sign ---- */

/* Digits that are not less (most: not more) than s, as many as s has. */
static uint32_t beyond(struct grammar *g, const char *s, bool most, uint32_t next)
{
    size_t n = strlen(s);
    uint32_t to[2];
    size_t ways = 0;

    if (!n) return next;
    to[ways++] = digit(g, s[0], s[0], beyond(g, s + 1, most, next));
    if (most && s[0] > '0') to[ways++] = digit(g, '0', (char)(s[0] - 1), digits(g, n - 1, next));
    if (!most && s[0] < '9') to[ways++] = digit(g, (char)(s[0] + 1), '9', digits(g, n - 1, next));
    return grammar_split(g, to, ways);
}

/* From a to b, which have as many digits. */
static uint32_t between(struct grammar *g, const char *a, const char *b, uint32_t next)
{
    uint32_t to[3];
    size_t ways = 0, n = strlen(a);

    if (!n) return next;
    if (a[0] == b[0]) return digit(g, a[0], a[0], between(g, a + 1, b + 1, next));
    to[ways++] = digit(g, a[0], a[0], beyond(g, a + 1, false, next));
    to[ways++] = digit(g, b[0], b[0], beyond(g, b + 1, true, next));
    if (b[0] - a[0] > 1) to[ways++] = digit(g, (char)(a[0] + 1), (char)(b[0] - 1), digits(g, n - 1, next));
    return grammar_split(g, to, ways);
}

static uint32_t whole(struct grammar *g, uint64_t a, uint64_t b, uint32_t next)
{
    uint32_t to[20];
    size_t ways = 0;
    uint64_t low = a, high = 9;

    for (int n = 1; n <= 20 && a <= b; n++) {
        char from[24], until[24];

        if (low <= high) {
            uint64_t last = b < high ? b : high;

            snprintf(from, sizeof from, "%" PRIu64, low);
            snprintf(until, sizeof until, "%" PRIu64, last);
            to[ways++] = between(g, from, until, next);
            if (last == b) break;
            low = last + 1;
        }
        high = n < 19 ? high * 10 + 9 : UINT64_MAX;
    }
    return grammar_split(g, to, ways);
}

static uint64_t size_of(int64_t x)
{
    return x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
}

uint32_t grammar_integer(struct grammar *g, int64_t from, int64_t to, uint32_t next)
{
    uint32_t way[2];
    size_t ways = 0;

    if (to >= 0 && from <= to) way[ways++] = whole(g, from > 0 ? (uint64_t)from : 0, (uint64_t)to, next);
    if (from < 0 && from <= to)
        way[ways++] = digit(g, '-', '-', whole(g, to < 0 ? size_of(to) : 1, size_of(from), next));
    return grammar_split(g, way, ways);
}

/* ---- numbers ---- */

/* Perhaps a point and digits. */
static uint32_t fraction(struct grammar *g, uint32_t next)
{
    uint32_t rest = digits_up_to(g, FRACTION_DIGITS - 1, next);

    return grammar_either(g, digit(g, '.', '.', digit(g, '0', '9', rest)), next);
}

/* Perhaps a point and zeros. */
static uint32_t fraction_of_zeros(struct grammar *g, uint32_t next)
{
    uint32_t at = next;

    for (int i = 0; i < FRACTION_DIGITS; i++) at = digit(g, '0', '0', i ? grammar_either(g, at, next) : next);
    return grammar_either(g, digit(g, '.', '.', at), next);
}

/* A point and digits that are not all zeros. */
static uint32_t fraction_above_zero(struct grammar *g, uint32_t next)
{
    uint32_t at = digit(g, '1', '9', next);

    for (size_t i = 1; i < FRACTION_DIGITS; i++)
        at = grammar_either(g, digit(g, '0', '0', at), digit(g, '1', '9', digits_up_to(g, i, next)));
    return digit(g, '.', '.', at);
}

/* Exponents from -299 to 279: with 19 digits before it none becomes infinite. */
static uint32_t exponent(struct grammar *g, uint32_t next)
{
    struct grammar_set e = {0};
    uint32_t two = digit(g, '0', '9', grammar_either(g, digit(g, '0', '9', next), next)), plus, minus;

    grammar_set_add(&e, 'e', 'e');
    grammar_set_add(&e, 'E', 'E');
    plus = grammar_split(g,
                         (uint32_t[]){digit(g, '1', '1', digits(g, 2, next)),
                                      digit(g, '2', '2', digit(g, '0', '7', digits(g, 1, next))), two},
                         3);
    minus = grammar_either(g, digit(g, '1', '2', digits(g, 2, next)), two);
    return grammar_either(
        g,
        grammar_bytes(g, &e,
                      grammar_split(g, (uint32_t[]){plus, digit(g, '+', '+', plus), digit(g, '-', '-', minus)}, 3)),
        next);
}

uint32_t grammar_number(struct grammar *g, uint32_t next)
{
    uint32_t tail = fraction(g, exponent(g, next));
    uint32_t head =
        grammar_either(g, digit(g, '0', '0', tail), digit(g, '1', '9', digits_up_to(g, INTEGER_DIGITS - 1, tail)));

    return grammar_either(g, digit(g, '-', '-', head), head);
}

/* Sizes from a (above: more than a) to b (below: less than b). */
static uint32_t sizes(struct grammar *g, uint64_t a, bool above, uint64_t b, bool below, uint32_t next)
{
    uint32_t to[4];
    size_t ways = 0;

    if (a > b || (a == b && (above || below))) return grammar_split(g, NULL, 0);
    if (a == b) return whole(g, a, a, fraction_of_zeros(g, next));
    if (above) to[ways++] = whole(g, a, a, fraction_above_zero(g, next));
    if (b - a > (above ? 1 : 0)) to[ways++] = whole(g, above ? a + 1 : a, b - 1, fraction(g, next));
    if (!below) to[ways++] = whole(g, b, b, fraction_of_zeros(g, next));
    return grammar_split(g, to, ways);
}

uint32_t grammar_bounded(struct grammar *g, const struct grammar_bounds *x, uint32_t next)
{
    const uint64_t most = INT64_MAX;
    uint32_t to[2];
    size_t ways = 0;

    if (!x->has_most || x->most >= 0) {
        bool from_zero = !x->has_least || x->least < 0;

        to[ways++] = sizes(g, from_zero ? 0 : (uint64_t)x->least, !from_zero && x->above_least,
                           x->has_most ? (uint64_t)x->most : most, x->has_most && x->below_most, next);
    }
    if (!x->has_least || x->least < 0) { /* with a sign, what is below zero */
        bool to_zero = !x->has_most || x->most >= 0;

        to[ways++] = digit(g, '-', '-',
                           sizes(g, to_zero ? 0 : size_of(x->most), to_zero || x->below_most,
                                 x->has_least ? size_of(x->least) : most, x->has_least && x->above_least, next));
    }
    return grammar_split(g, to, ways);
}
