/* Filters on one value: text and numbers.  Source: jinja2/filters.py. */
#include "coordinator/jinja/str.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const struct jbuiltin *jfilter_find(const struct jstr *name)
{
    const struct jbuiltin *tables[] = {JFILTERS_TEXT, JFILTERS_SEQ, JFILTERS_PICK}, *found = NULL;
    for (size_t i = 0; !found && i < 3; i++) found = jbuiltin_find(tables[i], name);
    return found;
}

/* -- text -- */

static struct jval filter_string(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    return jval_soft(r, v);
}

static struct jval filter_upper(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return jstr_upper(r, jval_soft(r, v), a);
}
static struct jval filter_lower(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return jstr_lower(r, jval_soft(r, v), a);
}
static struct jval filter_capitalize(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return jstr_capitalize(r, jval_soft(r, v), a);
}

static struct jval filter_title(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    return jstr_title_words(r, jval_soft(r, v));
}

static struct jval filter_trim(struct jinja_run *r, struct jval v, struct jargs *a)
{
    if (jarg_given(a->v[0]) && a->v[0].kind != J_STR) jrun_fail(r, "strip arg must be None or str");
    return jstr_strip(r, jval_soft(r, v), jarg_given(a->v[0]) ? a->v[0].s : NULL, true, true);
}

static struct jval filter_center(struct jinja_run *r, struct jval v, struct jargs *a)
{
    struct jval args[2] = {a->v[0].kind == J_MISSING ? jval_int(80) : a->v[0], jval_missing()};
    return jstr_center(r, jval_soft(r, v), &(struct jargs){.v = args, .n = 2});
}

static struct jval filter_replace(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return jstr_replace(r, jval_text(r, v), jval_text(r, a->v[0]), jval_text(r, a->v[1]),
                        jarg_int(r, a->v[2], -1, "count"));
}

static struct jval filter_escape(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    return jval_escape(r, v);
}

static struct jval filter_forceescape(struct jinja_run *r, struct jval v, struct jargs *a)
{
    v = jval_soft(r, v);
    v.safe = false;
    return filter_escape(r, v, a);
}

static struct jval filter_safe(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    v = jval_soft(r, v);
    v.safe = true;
    return v;
}

static struct jval filter_format(struct jinja_run *r, struct jval v, struct jargs *a)
{
    if (a->n && a->nkw) jrun_fail(r, "can't handle positional and keyword arguments at the same time");
    struct jdict *named = jdict_new(r, a->nkw);
    for (size_t i = 0; i < a->nkw; i++)
        jdict_set(r, named, jval_str(r, a->kw[i].name->s, a->kw[i].name->n), a->kw[i].v);
    struct jseq *q = jseq_new(r, a->n);
    for (size_t i = 0; i < a->n; i++) jseq_push(r, q, a->v[i]);
    return jformat_percent(r, jval_soft(r, v), a->nkw ? jval_of_dict(named) : jval_of_tuple(q));
}

static struct jval indentation(struct jinja_run *r, struct jval width)
{
    if (width.kind == J_STR) return width;
    struct jbuf b = {0};
    int64_t n = jarg_int(r, width, 4, "width");
    if (n > 0 && (uint64_t)n > r->limits.text_bytes)
        jrun_fail_code(r, E2BIG, "an indentation of %lld is past the limit", (long long)n);
    jbuf_fill(r, &b, " ", 1, n);
    return jbuf_value(r, &b);
}

static struct jval filter_indent(struct jinja_run *r, struct jval v, struct jargs *a)
{
    struct jval by = indentation(r, a->v[0]);
    bool blank = jarg_truth(r, a->v[2], false);
    struct jbuf b = {0};
    v = jop_binary(r, JOP_ADD, v, jval_cstr(r, "\n"));
    if (v.kind != J_STR) jrun_fail(r, "indent wants a str");
    const struct jseq *lines = jstr_lines(r, v, false);
    for (size_t i = 0; i < lines->n; i++) {
        const struct jstr *line = lines->v[i].s;
        if (i) jbuf_char(r, &b, '\n');
        if (i ? line->n || blank : jarg_truth(r, a->v[1], false)) jbuf_put(r, &b, by.s->s, by.s->n);
        jbuf_put(r, &b, line->s, line->n);
    }
    struct jval text = jbuf_value(r, &b);
    text.safe = v.safe;
    return text;
}

static struct jval filter_truncate(struct jinja_run *r, struct jval v, struct jargs *a)
{
    size_t n;
    int64_t length = jarg_int(r, a->v[0], 255, "length"), leeway = jarg_int(r, a->v[3], 5, "leeway");
    struct jval end = a->v[2].kind == J_MISSING ? jval_cstr(r, "...") : a->v[2];
    if (end.kind != J_STR || !jval_length(v, r, &n)) jrun_fail(r, "truncate wants a str");
    if (length < (int64_t)jstr_chars(r, end.s) || leeway < 0)
        jrun_fail(r, "expected length >= %zu, got %lld", jstr_chars(r, end.s), (long long)length);
    if ((int64_t)n - leeway <= length) return v;
    if (v.kind != J_STR) jrun_fail(r, "truncate wants a str, not %s", jval_type(v));
    struct jval head = jop_slice(r, v, jval_none(), jval_int(length - (int64_t)jstr_chars(r, end.s)), jval_none());
    const char *space = jarg_truth(r, a->v[1], false) ? NULL : memrchr(head.s->s, ' ', head.s->n);
    if (space) head = jval_str(r, head.s->s, (size_t)(space - head.s->s));
    head.safe = v.safe;
    return jop_binary(r, JOP_ADD, head, end);
}

static struct jval filter_wordcount(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    const struct jstr *s = jval_text(r, v);
    size_t n = 0;
    bool inside = false;
    jrun_charge(r, s->n / 8);
    for (size_t at = 0; at < s->n;) {
        bool word = jchar_word(jutf8_next(s->s, s->n, &at));
        n += word && !inside;
        inside = word;
    }
    return jval_size(r, n);
}

static void put_quoted(struct jinja_run *r, struct jbuf *b, struct jval v, bool query)
{
    const struct jstr *s = jval_text(r, v);
    char text[4];
    jrun_charge(r, s->n / 8);
    for (size_t i = 0; i < s->n; i++) {
        uint8_t c = (uint8_t)s->s[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("_.-~", c));
        if (plain || (c == '/' && !query)) {
            jbuf_char(r, b, (char)c);
        } else if (c == ' ' && query) {
            jbuf_char(r, b, '+');
        } else {
            snprintf(text, sizeof text, "%%%02X", c);
            jbuf_put(r, b, text, 3);
        }
    }
}

static struct jval filter_urlencode(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    struct jbuf b = {0};
    if (v.kind == J_STR || !jval_iterable(v)) {
        put_quoted(r, &b, v, false);
        return jbuf_value(r, &b);
    }
    if (v.kind == J_DICT) v = jrun_call(r, jop_getattr(r, v, jval_cstr(r, "items")), &(struct jargs){0});
    const struct jseq *q = jval_elements(r, v);
    for (size_t i = 0; i < q->n; i++) {
        const struct jseq *pair = jval_elements(r, q->v[i]);
        if (pair->n != 2) jrun_fail(r, "urlencode wants pairs of a name and a value");
        if (i) jbuf_char(r, &b, '&');
        put_quoted(r, &b, pair->v[0], true);
        jbuf_char(r, &b, '=');
        put_quoted(r, &b, pair->v[1], true);
    }
    return jbuf_value(r, &b);
}

/* -- numbers -- */

/* A number's text as strtod() and strtoll() take it: no white space around it, no underscores, NUL at its end. */
static char *number_text(struct jinja_run *r, struct jval v)
{
    const struct jstr *s = jstr_strip(r, v, NULL, true, true).s;
    char *text = jrun_bytes(r, s->n + 1), *p = text;
    for (size_t i = 0; i < s->n; i++) {
        bool between = i && i + 1 < s->n && s->s[i - 1] != '_' && s->s[i + 1] != '_';
        if (s->s[i] != '_' || !between) *p++ = s->s[i];
    }
    *p = 0;
    return text;
}

static bool text_to_float(struct jinja_run *r, struct jval v, double *f)
{
    char *text = number_text(r, v), *end;
    if (!*text || strpbrk(text, "xXpP(")) return false;
    *f = strtod(text, &end);
    return !*end;
}

static bool to_float(struct jinja_run *r, struct jval v, double *f)
{
    if (v.kind == J_UNDEFINED) jrun_fail_undefined(r, v);
    if (v.kind == J_STR) return text_to_float(r, v, f);
    if (jval_is_number(v)) *f = jval_double(r, v);
    return jval_is_number(v);
}

/* *decimal: its text, where it is to be read as one that may have more than 64 bits. */
static bool text_to_int(struct jinja_run *r, struct jval v, int64_t base, int64_t *i, const char **decimal)
{
    char *text = number_text(r, v), *digits = text + (*text == '-' || *text == '+'), *end;
    char letter = (char)(digits[0] == '0' ? digits[1] | 32 : 0);
    int64_t marked = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    bool negative = *text == '-';
    if (base != 0 && (base < 2 || base > 36)) return false;
    if (marked && (base == 0 || base == marked)) {
        base = marked;
        digits += 2;
    }
    if (!*digits || strchr("+- \t\n\v\f\r", *digits)) return false;
    errno = 0;
    unsigned long long u = strtoull(digits, &end, base ? (int)base : 10);
    if (*end) return false;
    *decimal = base == 10 || !base ? text + (*text == '+') : NULL;
    if (*decimal && (errno || u > INT64_MAX)) return true;
    if (errno || u > (uint64_t)INT64_MAX + negative) jrun_fail(r, "a number does not fit into 64 bits");
    *i = negative ? (int64_t)(-(uint64_t)u) : (int64_t)u;
    return true;
}

static struct jval filter_int(struct jinja_run *r, struct jval v, struct jargs *a)
{
    const char *decimal = NULL;
    int64_t i = 0;
    double f;
    if (v.kind == J_BIG) return v;
    if (jval_is_integral(v)) return jval_int(jval_integral(v));
    if (v.kind == J_STR && text_to_int(r, v, jarg_int(r, a->v[1], 10, "base"), &i, &decimal))
        return decimal ? jval_integer_text(r, decimal, strlen(decimal)) : jval_int(i);
    if (!to_float(r, v, &f) || isnan(f) || (isinf(f) && v.kind == J_STR))
        return a->v[0].kind == J_MISSING ? jval_int(0) : a->v[0];
    if (isinf(f)) jrun_fail(r, "cannot convert float infinity to integer");
    return f > -0x1p63 && f < 0x1p63 ? jval_int((int64_t)f) : jval_whole_double(r, f);
}

static struct jval filter_float(struct jinja_run *r, struct jval v, struct jargs *a)
{
    double f;
    if (to_float(r, v, &f)) return jval_float(f);
    return a->v[0].kind == J_MISSING ? jval_float(0) : a->v[0];
}

static struct jval filter_abs(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    if (!jval_is_number(v)) jrun_fail(r, "bad operand type for abs(): '%s'", jval_type(v));
    if (v.kind == J_FLOAT) return jval_float(fabs(v.f));
    return jop_sign(r, v.kind == J_BIG ? *v.s->s == '-' : jval_integral(v) < 0, v);
}

/* Half to even, by the exact value of f, as Python's round(). */
static double round_half_even(struct jinja_run *r, double f, int64_t digits)
{
    if (!isfinite(f) || digits > 330) return f;
    if (digits < 0) {
        double unit = pow(10, digits < -330 ? 330 : (double)-digits);
        return isinf(unit) ? f * 0 : rint(f / unit) * unit;
    }
    size_t room = 700;
    char *text = jrun_bytes(r, room);
    snprintf(text, room, "%.*f", (int)digits, f);
    return strtod(text, NULL);
}

static int64_t round_int(int64_t i, int64_t digits)
{
    if (digits >= 0) return i;
    if (digits < -18) return 0;
    int64_t unit = 1;
    while (digits++ < 0) unit *= 10;
    int64_t rest = ((i % unit) + unit) % unit, down = i - rest;
    bool up = rest > unit - rest || (rest == unit - rest && (down / unit) % 2 != 0);
    if (up && __builtin_add_overflow(down, unit, &down)) down = i - rest; /* no room above it */
    return down;
}

static struct jval filter_round(struct jinja_run *r, struct jval v, struct jargs *a)
{
    int64_t digits = jarg_int(r, a->v[0], 0, "precision");
    struct jval method = a->v[1].kind == J_MISSING ? jval_cstr(r, "common") : a->v[1];
    bool peak = jval_is_cstr(method, "ceil");
    if (!peak && !jval_is_cstr(method, "floor") && !jval_is_cstr(method, "common"))
        jrun_fail(r, "method must be common, ceil or floor");
    if (!jval_is_number(v)) jrun_fail(r, "type %s doesn't define __round__ method", jval_type(v));
    if (v.kind == J_BIG && digits >= 0 && jval_is_cstr(method, "common")) return v;
    if (v.kind == J_BIG && jval_is_cstr(method, "common"))
        jrun_fail(r, "an integer beyond 64 bits cannot be rounded to %lld digits", (long long)digits);
    if (jval_is_cstr(method, "common"))
        return v.kind == J_FLOAT ? jval_float(round_half_even(r, v.f, digits))
                                 : jval_int(round_int(jval_integral(v), digits));
    double unit = pow(10, (double)digits), scaled = jval_double(r, v) * unit;
    if (!isfinite(scaled)) jrun_fail(r, "cannot convert float %s to integer", isnan(scaled) ? "NaN" : "infinity");
    return jval_float((peak ? ceil(scaled) : floor(scaled)) / unit);
}

/* -- any value -- */

static struct jval filter_default(struct jinja_run *r, struct jval v, struct jargs *a)
{
    if (v.kind != J_UNDEFINED && !(jarg_truth(r, a->v[1], false) && !jval_truth(r, v))) return v;
    return a->v[0].kind == J_MISSING ? jval_cstr(r, "") : a->v[0];
}

static struct jval filter_length(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    size_t n;
    if (!jval_length(v, r, &n)) jrun_fail(r, "object of type '%s' has no len()", jval_type(v));
    return jval_size(r, n);
}

static struct jval filter_tojson(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return jjson_dump(r, v, a);
}

static struct jval filter_attr(struct jinja_run *r, struct jval v, struct jargs *a)
{
    const struct jstr *name = jval_text(r, a->v[0]);
    if (v.kind == J_UNDEFINED) jrun_fail_undefined(r, v);
    struct jval found = jop_attribute(r, v, name);
    return found.kind == J_MISSING ? jval_undefined(r, v, jval_str(r, name->s, name->n)) : found;
}

const struct jbuiltin JFILTERS_TEXT[] = {
    {"abs", filter_abs, "", 0},
    {"attr", filter_attr, "name", 1},
    {"capitalize", filter_capitalize, "", 0},
    {"center", filter_center, "width", 0},
    {"count", filter_length, "", 0},
    {"d", filter_default, "default_value boolean", 0},
    {"default", filter_default, "default_value boolean", 0},
    {"e", filter_escape, "", 0},
    {"escape", filter_escape, "", 0},
    {"float", filter_float, "default", 0},
    {"forceescape", filter_forceescape, "", 0},
    {"format", filter_format, NULL, 0},
    {"indent", filter_indent, "width first blank", 0},
    {"int", filter_int, "default base", 0},
    {"length", filter_length, "", 0},
    {"lower", filter_lower, "", 0},
    {"replace", filter_replace, "old new count", 2},
    {"round", filter_round, "precision method", 0},
    {"safe", filter_safe, "", 0},
    {"string", filter_string, "", 0},
    {"title", filter_title, "", 0},
    {"tojson", filter_tojson, "ensure_ascii indent separators sort_keys", 0},
    {"trim", filter_trim, "chars", 0},
    {"truncate", filter_truncate, "length killwords end leeway", 0},
    {"upper", filter_upper, "", 0},
    {"urlencode", filter_urlencode, "", 0},
    {"wordcount", filter_wordcount, "", 0},
    {0},
};
