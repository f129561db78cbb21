/* String formatting: "%s" % x and "{}".format(x). */
#include "coordinator/jinja/value.h"

#include <math.h>

/* -- % -- */

struct percent {
    struct jinja_run *r;
    const char *s, *end;
    struct jbuf out;
    const struct jval *args;
    size_t n, next;
    struct jval mapping;
    bool safe; /* the format is marked safe: what goes in is escaped */
};

static struct jval percent_next(struct percent *p)
{
    if (p->next >= p->n) jrun_fail(p->r, "not enough arguments for format string");
    return p->args[p->next++];
}

static struct jval percent_key(struct percent *p)
{
    const char *start = ++p->s;
    size_t depth = 1;
    for (; p->s < p->end; p->s++) {
        depth += (*p->s == '(') - (*p->s == ')');
        if (depth == 0) break;
    }
    if (p->s == p->end) jrun_fail(p->r, "incomplete format key");
    if (p->mapping.kind != J_DICT) jrun_fail(p->r, "format requires a mapping");
    struct jval key = jval_str(p->r, start, (size_t)(p->s++ - start));
    const struct jval *v = jdict_get(p->r, p->mapping.d, key);
    if (!v) jrun_fail(p->r, "the format wants a key '%.*s' that is not there", (int)key.s->n, key.s->s);
    return *v;
}

static int64_t percent_number(struct percent *p)
{
    int64_t n = 0;
    if (p->s < p->end && *p->s == '*') {
        p->s++;
        return jarg_int(p->r, percent_next(p), 0, "*");
    }
    for (; p->s < p->end && *p->s >= '0' && *p->s <= '9'; p->s++) {
        n = n * 10 + (*p->s - '0');
        if (n > INT32_MAX) jrun_fail(p->r, "width too big");
    }
    return n;
}

static void percent_flags(struct percent *p, struct jspec *spec, bool *zero)
{
    for (; p->s < p->end; p->s++) {
        switch (*p->s) {
        case '-': spec->align = '<'; break;
        case '+': spec->sign = '+'; break;
        case ' ': spec->sign = spec->sign ? spec->sign : ' '; break;
        case '#': spec->alternate = true; break;
        case '0': *zero = true; break;
        default: return;
        }
    }
}

static struct jval percent_text(struct percent *p, char type, struct jval v)
{
    struct jbuf b = {0};
    if (type == 's') {
        jbuf_str(p->r, &b, v);
    } else {
        jbuf_repr(p->r, &b, v);
        v.safe = false;
    }
    struct jval text = jbuf_value(p->r, &b);
    text.safe = v.kind == J_STR && v.safe;
    return p->safe ? jval_escape(p->r, text) : text;
}

static struct jval percent_value(struct percent *p, struct jspec *spec, struct jval v, char type)
{
    bool real = strchr("eEfFgG", type) != NULL;
    if (strchr("sra", type)) {
        spec->type = 's';
        return percent_text(p, type, v);
    }
    if (type == 'c' && v.kind == J_STR && jstr_chars(p->r, v.s) == 1) {
        spec->type = 's';
        return v;
    }
    if (!strchr("diuoxXceEfFgG", type)) jrun_fail(p->r, "unsupported format character '%c'", type);
    if (v.kind == J_UNDEFINED) jrun_fail_undefined(p->r, v);
    if (!jval_is_number(v) || (v.kind == J_FLOAT && strchr("oxXc", type)))
        jrun_fail(p->r, "%%%c format: a number is required, not %s", type, jval_type(v));
    spec->type = strchr("iu", type) ? 'd' : type;
    if (real) return jval_float(jval_double(p->r, v));
    if (v.kind == J_BIG) return v;
    if (v.kind != J_FLOAT) return jval_int(jval_integral(v));
    if (!isfinite(v.f)) jrun_fail(p->r, "cannot convert float %s to integer", isnan(v.f) ? "NaN" : "infinity");
    return v.f > -0x1p63 && v.f < 0x1p63 ? jval_int((int64_t)v.f) : jval_whole_double(p->r, v.f);
}

static void percent_item(struct percent *p)
{
    struct jspec spec = {.fill = " ", .fill_bytes = 1, .width = -1, .precision = -1};
    bool zero = false;
    struct jval v = jval_missing();
    if (p->s < p->end && *p->s == '(') v = percent_key(p);
    percent_flags(p, &spec, &zero);
    spec.width = percent_number(p);
    if (spec.width < 0) {
        spec.align = '<';
        spec.width = spec.width < -INT32_MAX ? INT32_MAX : -spec.width;
    }
    if (p->s < p->end && *p->s == '.') {
        p->s++;
        spec.precision = percent_number(p);
    }
    while (p->s < p->end && strchr("hlL", *p->s)) p->s++;
    if (p->s == p->end) jrun_fail(p->r, "incomplete format");
    char type = *p->s++;
    if (type == '%') {
        jbuf_char(p->r, &p->out, '%');
        return;
    }
    if (!type) jrun_fail(p->r, "unsupported format character");
    v = percent_value(p, &spec, v.kind == J_MISSING ? percent_next(p) : v, type);
    if (!spec.align) spec.align = zero && spec.type != 's' ? '=' : '>';
    if (spec.align == '=') spec.fill = "0";
    jspec_put(p->r, &p->out, &spec, v);
}

struct jval jformat_percent(struct jinja_run *r, struct jval format, struct jval args)
{
    struct percent p = {.r = r,
                        .s = format.s->s,
                        .end = format.s->s + format.s->n,
                        .args = &args,
                        .n = 1,
                        .mapping = args,
                        .safe = format.safe};
    if (args.kind == J_TUPLE) {
        p.args = args.q->v;
        p.n = args.q->n;
    }
    while (p.s < p.end) {
        const char *percent = memchr(p.s, '%', (size_t)(p.end - p.s));
        jbuf_put(r, &p.out, p.s, (size_t)((percent ? percent : p.end) - p.s));
        p.s = percent ? percent + 1 : p.end;
        if (percent) percent_item(&p);
        jrun_charge(r, 1);
    }
    bool is_mapping = args.kind == J_DICT || args.kind == J_LIST || args.kind == J_RANGE || args.kind == J_UNDEFINED;
    if (p.next < p.n && !is_mapping) jrun_fail(r, "not all arguments converted during string formatting");
    struct jval v = jbuf_value(r, &p.out);
    v.safe = format.safe;
    return v;
}

/* -- braces -- */

struct braces {
    struct jinja_run *r;
    struct jargs *args;
    size_t automatic; /* the next number of {} */
    bool manual, safe;
};

static void braces_put(struct braces *f, struct jbuf *out, const char *s, const char *end, unsigned depth);

static bool read_number(const char *s, size_t n, int64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || *value > INT32_MAX) return false;
        *value = *value * 10 + (s[i] - '0');
    }
    return n > 0;
}

static struct jval braces_argument(struct braces *f, const char *name, size_t n)
{
    int64_t at;
    bool numbered = read_number(name, n, &at);
    if (!n) {
        if (f->manual) jrun_fail(f->r, "cannot switch from manual field specification to automatic field numbering");
        at = (int64_t)f->automatic++;
    } else if (numbered) {
        if (f->automatic) jrun_fail(f->r, "cannot switch from automatic field numbering to manual field specification");
        f->manual = true;
    }
    if (!n || numbered) {
        if ((uint64_t)at >= f->args->n)
            jrun_fail(f->r, "Replacement index %lld out of range for positional args tuple", (long long)at);
        return f->args->v[at];
    }
    for (size_t i = 0; i < f->args->nkw; i++)
        if (f->args->kw[i].name->n == n && !memcmp(f->args->kw[i].name->s, name, n)) return f->args->kw[i].v;
    jrun_fail(f->r, "the format wants '%.*s', which is not given", (int)n, name);
}

/* name.attribute[item]... */
static struct jval braces_field(struct braces *f, const char *s, const char *end)
{
    const char *p = s;
    while (p < end && *p != '.' && *p != '[') p++;
    struct jval v = braces_argument(f, s, (size_t)(p - s));
    while (p < end) {
        bool item = *p++ == '[';
        const char *start = p;
        while (p < end && (item ? *p != ']' : *p != '.' && *p != '[')) p++;
        int64_t at;
        size_t n = (size_t)(p - start);
        if (!n || (item && p == end))
            jrun_fail(f->r, item && p == end ? "Missing ']' in format string" : "Empty attribute in format string");
        if (item)
            v = jop_getitem(f->r, v, read_number(start, n, &at) ? jval_int(at) : jval_str(f->r, start, n));
        else
            v = jop_getattr(f->r, v, jval_str(f->r, start, n));
        p += item;
        if (item && p < end && *p != '.' && *p != '[')
            jrun_fail(f->r, "Only '.' or '[' may follow ']' in format field specifier");
    }
    return v;
}

static bool is_align(char c)
{
    return c == '<' || c == '>' || c == '^' || c == '=';
}

static int64_t spec_number(struct jinja_run *r, const char **p, const char *end)
{
    const char *start = *p;
    int64_t n;
    while (*p < end && **p >= '0' && **p <= '9') (*p)++;
    if (*p == start) return -1;
    if (!read_number(start, (size_t)(*p - start), &n)) jrun_fail(r, "Too many decimal digits in format string");
    return n;
}

static struct jspec read_spec(struct jinja_run *r, const struct jstr *text)
{
    struct jspec spec = {.fill = " ", .fill_bytes = 1, .width = -1, .precision = -1};
    const char *p = text->s, *end = p + text->n;
    size_t first = 0;
    if (text->n) jutf8_next(text->s, text->n, &first);
    if (first && first < text->n && is_align(p[first])) {
        spec.fill = p;
        spec.fill_bytes = first;
        spec.align = p[first];
        p += first + 1;
    } else if (text->n && is_align(*p)) {
        spec.align = *p++;
    }
    if (p < end && (*p == '+' || *p == '-' || *p == ' ')) spec.sign = *p++ == '-' ? 0 : p[-1];
    if (p < end && *p == '#') spec.alternate = *p++ == '#';
    if (p < end && *p == '0') {
        p++;
        if (!spec.align) {
            spec.fill = "0";
            spec.align = '=';
        }
    }
    spec.width = spec_number(r, &p, end);
    if (p < end && (*p == ',' || *p == '_')) spec.group = *p++;
    if (p < end && *p == '.') {
        p++;
        if ((spec.precision = spec_number(r, &p, end)) < 0) jrun_fail(r, "Format specifier missing precision");
    }
    if (p < end) spec.type = *p++;
    if (p < end) jrun_fail(r, "Invalid format specifier '%.*s'", (int)text->n, text->s);
    return spec;
}

static void braces_value(struct braces *f, struct jbuf *out, struct jval v, char conversion, const struct jstr *text)
{
    struct jbuf b = {0};
    if (conversion == 'r' || conversion == 'a')
        jbuf_repr(f->r, &b, v);
    else if (conversion == 's')
        jbuf_str(f->r, &b, v);
    else if (conversion)
        jrun_fail(f->r, "Unknown conversion specifier '%c'", conversion);
    if (conversion) v = jbuf_value(f->r, &b);
    if (!text->n) {
        if (f->safe)
            jbuf_escape(f->r, out, v);
        else
            jbuf_str(f->r, out, v);
        return;
    }
    if (v.kind != J_STR && !jval_is_number(v))
        jrun_fail(f->r, "unsupported format string passed to %s.__format__", jval_type(v));
    struct jspec spec = read_spec(f->r, text);
    if (v.kind != J_STR || !f->safe) {
        jspec_put(f->r, out, &spec, v);
        return;
    }
    struct jbuf laid = {0};
    jspec_put(f->r, &laid, &spec, v);
    jbuf_escape(f->r, out, jbuf_value(f->r, &laid));
}

/* The field between s and end, braces taken off. */
static void braces_replace(struct braces *f, struct jbuf *out, const char *s, const char *end, unsigned depth)
{
    const char *p = s;
    for (bool item = false; p < end && (item || (*p != ':' && *p != '!')); p++) item = item ? *p != ']' : *p == '[';
    const char *name_end = p;
    char conversion = 0;
    if (p < end && *p == '!') {
        if (end - p < 2 || (end - p > 2 && p[2] != ':')) jrun_fail(f->r, "expected ':' after conversion specifier");
        conversion = p[1];
        p += 2;
    }
    struct jbuf spec = {0};
    struct jval v = braces_field(f, s, name_end);
    if (p < end) braces_put(f, &spec, p + 1, end, depth + 1);
    braces_value(f, out, v, conversion, jbuf_value(f->r, &spec).s);
}

static const char *closing_brace(struct jinja_run *r, const char *s, const char *end)
{
    for (size_t depth = 1; s < end; s++) {
        depth += (*s == '{') - (*s == '}');
        if (!depth) return s;
    }
    jrun_fail(r, "expected '}' before end of string");
}

static void braces_put(struct braces *f, struct jbuf *out, const char *s, const char *end, unsigned depth)
{
    if (depth > 2) jrun_fail(f->r, "Max string recursion exceeded");
    while (s < end) {
        jrun_charge(f->r, 1);
        if (*s != '{' && *s != '}') {
            const char *start = s;
            while (s < end && *s != '{' && *s != '}') s++;
            jbuf_put(f->r, out, start, (size_t)(s - start));
        } else if (s + 1 < end && s[1] == *s) {
            jbuf_char(f->r, out, *s);
            s += 2;
        } else if (*s == '}') {
            jrun_fail(f->r, "Single '}' encountered in format string");
        } else {
            const char *close = closing_brace(f->r, s + 1, end);
            braces_replace(f, out, s + 1, close, depth);
            s = close + 1;
        }
    }
}

struct jval jformat_braces(struct jinja_run *r, struct jval format, struct jargs *a)
{
    struct braces f = {.r = r, .args = a, .safe = format.safe};
    struct jbuf out = {0};
    braces_put(&f, &out, format.s->s, format.s->s + format.s->n, 1);
    struct jval v = jbuf_value(r, &out);
    v.safe = format.safe;
    return v;
}
