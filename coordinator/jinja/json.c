/* tojson, as transformers has it: json.dumps(value, ensure_ascii=False, indent, separators, sort_keys), with no
 * escapes for HTML. */
#include "coordinator/jinja/value.h"

#include <math.h>
#include <stdio.h>

struct dump {
    struct jinja_run *r;
    struct jbuf *out;
    bool ascii, sort;
    const struct jstr *indent; /* per level, NULL: all on one line */
    const struct jstr *item, *colon;
};

static void dump_value(struct dump *d, struct jval v, unsigned level);

static void dump_unit(struct dump *d, uint32_t unit)
{
    char text[16];
    snprintf(text, sizeof text, "\\u%04x", unit);
    jbuf_cstr(d->r, d->out, text);
}

static void dump_code(struct dump *d, uint32_t c, const char *s, size_t n)
{
    static const char named[] = "\"\"\\\\\nn\rr\tt\ff\bb";
    for (const char *p = named; *p; p += 2)
        if (c == (uint32_t)p[0]) {
            jbuf_char(d->r, d->out, '\\');
            jbuf_char(d->r, d->out, p[1]);
            return;
        }
    if (c >= 0x10000 && d->ascii) {
        dump_unit(d, 0xd800 + ((c - 0x10000) >> 10));
        dump_unit(d, 0xdc00 + ((c - 0x10000) & 0x3ff));
    } else if (c < 0x20 || (c >= 0x7f && d->ascii)) {
        dump_unit(d, c);
    } else {
        jbuf_put(d->r, d->out, s, n);
    }
}

static void dump_string(struct dump *d, const struct jstr *s)
{
    jbuf_char(d->r, d->out, '"');
    jrun_charge(d->r, s->n / 16);
    for (size_t at = 0; at < s->n;) {
        size_t start = at;
        uint32_t c = jutf8_next(s->s, s->n, &at);
        dump_code(d, c, s->s + start, at - start);
    }
    jbuf_char(d->r, d->out, '"');
}

static void dump_float(struct dump *d, double f)
{
    if (isnan(f))
        jbuf_cstr(d->r, d->out, "NaN");
    else if (isinf(f))
        jbuf_cstr(d->r, d->out, f < 0 ? "-Infinity" : "Infinity");
    else
        jbuf_float(d->r, d->out, f);
}

static void dump_newline(struct dump *d, unsigned level)
{
    if (!d->indent) return;
    jbuf_char(d->r, d->out, '\n');
    jbuf_fill(d->r, d->out, d->indent->s, d->indent->n, level);
}

static void dump_key(struct dump *d, struct jval key)
{
    struct jbuf b = {0};
    struct dump inner = *d;
    inner.out = &b;
    switch (key.kind) {
    case J_STR: dump_string(d, key.s); return;
    case J_NONE:
    case J_BOOL:
    case J_INT:
    case J_BIG:
    case J_FLOAT: dump_value(&inner, key, 0); break;
    default: jrun_fail(d->r, "keys must be str, int, float, bool or None, not %s", jval_type(key));
    }
    dump_string(d, jbuf_value(d->r, &b).s);
}

static void dump_list(struct dump *d, const struct jseq *q, unsigned level)
{
    jbuf_char(d->r, d->out, '[');
    for (size_t i = 0; i < q->n; i++) {
        if (i) jbuf_put(d->r, d->out, d->item->s, d->item->n);
        dump_newline(d, level + 1);
        dump_value(d, q->v[i], level + 1);
    }
    if (q->n) dump_newline(d, level);
    jbuf_char(d->r, d->out, ']');
}

static const size_t *dump_order(struct dump *d, const struct jdict *dict)
{
    size_t *order = jrun_array(d->r, dict->n, sizeof *order);
    struct jval *keys = jrun_array(d->r, dict->n, sizeof *keys);
    for (size_t i = 0; i < dict->n; i++) {
        order[i] = i;
        keys[i] = dict->v[i].key;
    }
    if (d->sort) jsort(d->r, keys, order, dict->n, false);
    return order;
}

static void dump_dict(struct dump *d, const struct jdict *dict, unsigned level)
{
    const size_t *order = dump_order(d, dict);
    jbuf_char(d->r, d->out, '{');
    for (size_t i = 0; i < dict->n; i++) {
        if (i) jbuf_put(d->r, d->out, d->item->s, d->item->n);
        dump_newline(d, level + 1);
        dump_key(d, dict->v[order[i]].key);
        jbuf_put(d->r, d->out, d->colon->s, d->colon->n);
        dump_value(d, dict->v[order[i]].value, level + 1);
    }
    if (dict->n) dump_newline(d, level);
    jbuf_char(d->r, d->out, '}');
}

static void dump_value(struct dump *d, struct jval v, unsigned level)
{
    jrun_enter(d->r);
    switch (v.kind) {
    case J_NONE: jbuf_cstr(d->r, d->out, "null"); break;
    case J_BOOL: jbuf_cstr(d->r, d->out, v.b ? "true" : "false"); break;
    case J_INT:
    case J_BIG: jbuf_str(d->r, d->out, v); break;
    case J_FLOAT: dump_float(d, v.f); break;
    case J_STR: dump_string(d, v.s); break;
    case J_LIST:
    case J_TUPLE: dump_list(d, v.q, level); break;
    case J_DICT: dump_dict(d, v.d, level); break;
    default: jrun_fail(d->r, "Object of type %s is not JSON serializable", jval_type(v));
    }
    jrun_leave(d->r);
}

static void read_separators(struct dump *d, struct jval v)
{
    const struct jseq *q = jval_elements(d->r, v);
    if (q->n != 2 || q->v[0].kind != J_STR || q->v[1].kind != J_STR)
        jrun_fail(d->r, "tojson wants two strings as separators");
    d->item = q->v[0].s;
    d->colon = q->v[1].s;
}

static const struct jstr *read_indent(struct jinja_run *r, struct jval v)
{
    if (v.kind == J_STR) return v.s;
    struct jbuf b = {0};
    jbuf_fill(r, &b, " ", 1, jarg_int(r, v, 0, "indent"));
    return jbuf_value(r, &b).s;
}

/* options: ensure_ascii, indent, separators, sort_keys */
struct jval jjson_dump(struct jinja_run *r, struct jval v, struct jargs *options)
{
    struct jval *o = options->v;
    struct jbuf b = {0};
    struct dump d = {.r = r, .out = &b, .ascii = jarg_truth(r, o[0], false), .sort = jarg_truth(r, o[3], false)};
    if (jarg_given(o[1])) d.indent = read_indent(r, o[1]);
    d.item = jval_cstr(r, d.indent ? "," : ", ").s;
    d.colon = jval_cstr(r, ": ").s;
    if (jarg_given(o[2])) read_separators(&d, o[2]);
    dump_value(&d, v, 0);
    return jbuf_value(r, &b);
}
