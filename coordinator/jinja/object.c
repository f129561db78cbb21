/* The methods of everything but strings, and the global functions. */
#include "coordinator/jinja/node.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { RANGE_MAX = 100000 /* as in Jinja's sandbox */, STRFTIME_MAX = 64 * 1024 };

/* -- lists and tuples -- */

static struct jval list_count(struct jinja_run *r, struct jval self, struct jargs *a)
{
    const struct jseq *q = jval_elements(r, self);
    size_t n = 0;
    for (size_t i = 0; i < q->n; i++) n += jval_equal(r, q->v[i], a->v[0]);
    jrun_charge(r, q->n);
    return jval_size(r, n);
}

static struct jval list_index(struct jinja_run *r, struct jval self, struct jargs *a)
{
    const struct jseq *q = jval_elements(r, self);
    int64_t n = (int64_t)q->n, from = jarg_int(r, a->v[1], 0, "start"), to = jarg_int(r, a->v[2], n, "stop");
    from = from < 0 ? (from + n < 0 ? 0 : from + n) : from;
    to = to < 0 ? to + n : to > n ? n : to;
    jrun_charge(r, q->n);
    for (int64_t i = from; i < to; i++)
        if (jval_equal(r, q->v[i], a->v[0])) return jval_int(i);
    jrun_fail(r, "the value is not in the %s", jval_type(self));
}

static struct jval same_copy(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)r, (void)a;
    return self; /* nothing can change it */
}

const struct jbuiltin JLIST_METHODS[] = {
    {"count", list_count, "value", 1}, {"index", list_index, "value start stop", 1},
    {"copy", same_copy, "", 0},        {"append", NULL, NULL, 0},
    {"clear", NULL, NULL, 0},          {"pop", NULL, NULL, 0},
    {"reverse", NULL, NULL, 0},        {"insert", NULL, NULL, 0},
    {"sort", NULL, NULL, 0},           {"extend", NULL, NULL, 0},
    {"remove", NULL, NULL, 0},         {0},
};

const struct jbuiltin JTUPLE_METHODS[] = {
    {"count", list_count, "value", 1},
    {"index", list_index, "value start stop", 1},
    {0},
};

/* -- dicts -- */

static struct jval view(struct jinja_run *r, struct jval self, enum jview_what what)
{
    struct jview *w = jrun_alloc(r, sizeof *w);
    *w = (struct jview){what, self.d};
    return (struct jval){.kind = J_VIEW, .view = w};
}

static struct jval dict_get(struct jinja_run *r, struct jval self, struct jargs *a)
{
    const struct jval *v = jdict_get(r, self.d, a->v[0]);
    return v ? *v : a->v[1].kind == J_MISSING ? jval_none() : a->v[1];
}

static struct jval dict_items(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return view(r, self, JVIEW_ITEMS);
}
static struct jval dict_keys(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return view(r, self, JVIEW_KEYS);
}
static struct jval dict_values(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    return view(r, self, JVIEW_VALUES);
}

static struct jval dict_fromkeys(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)self;
    struct jdict *d = jdict_new(r, 0);
    const struct jseq *q = jval_elements(r, a->v[0]);
    for (size_t i = 0; i < q->n; i++) jdict_set(r, d, q->v[i], a->v[1].kind == J_MISSING ? jval_none() : a->v[1]);
    return jval_of_dict(d);
}

const struct jbuiltin JDICT_METHODS[] = {
    {"get", dict_get, "key default", 1},
    {"items", dict_items, "", 0},
    {"keys", dict_keys, "", 0},
    {"values", dict_values, "", 0},
    {"copy", same_copy, "", 0},
    {"fromkeys", dict_fromkeys, "iterable value", 1},
    {"clear", NULL, NULL, 0},
    {"pop", NULL, NULL, 0},
    {"popitem", NULL, NULL, 0},
    {"setdefault", NULL, NULL, 0},
    {"update", NULL, NULL, 0},
    {0},
};

const struct jbuiltin JDICTTYPE_METHODS[] = {{"fromkeys", dict_fromkeys, "iterable value", 1}, {0}};

/* -- numbers -- */

static struct jval float_is_integer(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)r, (void)a;
    return jval_bool(isfinite(self.f) && self.f == floor(self.f));
}

static struct jval int_bit_length(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)a;
    if (self.kind == J_BIG) jrun_fail(r, "bit_length() of an integer beyond 64 bits");
    int64_t i = jval_integral(self);
    uint64_t u = i < 0 ? -(uint64_t)i : (uint64_t)i;
    return jval_int(u ? 64 - __builtin_clzll(u) : 0);
}

const struct jbuiltin JFLOAT_METHODS[] = {{"is_integer", float_is_integer, "", 0}, {0}};
const struct jbuiltin JINT_METHODS[] = {{"bit_length", int_bit_length, "", 0}, {0}};

/* -- cyclers -- */

static struct jval cycler_next(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)r, (void)a;
    struct jcycler *c = self.cycler;
    struct jval v = c->items->v[c->pos];
    c->pos = (c->pos + 1) % c->items->n;
    return v;
}

static struct jval cycler_reset(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)r, (void)a;
    self.cycler->pos = 0;
    return jval_none();
}

const struct jbuiltin JCYCLER_METHODS[] = {{"next", cycler_next, "", 0}, {"reset", cycler_reset, "", 0}, {0}};

/* -- globals -- */

static void no_keywords(struct jinja_run *r, const char *what, const struct jargs *a)
{
    if (a->nkw) jrun_fail(r, "%s takes no keyword arguments", what);
}

static size_t range_length(int64_t start, int64_t stop, int64_t step)
{
    if (step > 0 ? start >= stop : start <= stop) return 0;
    uint64_t distance = step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop;
    uint64_t stride = step > 0 ? (uint64_t)step : -(uint64_t)step;
    return (size_t)((distance - 1) / stride + 1);
}

static struct jval global_range(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)self;
    no_keywords(r, "range()", a);
    if (a->n < 1 || a->n > 3) jrun_fail(r, "range expected 1 to 3 arguments, got %zu", a->n);
    int64_t v[3];
    for (size_t i = 0; i < a->n; i++) {
        if (a->v[i].kind == J_NONE) jrun_fail(r, "range() takes ints, not None");
        v[i] = jarg_int(r, a->v[i], 0, "an argument of range()");
    }
    struct jrange *range = jrun_alloc(r, sizeof *range);
    *range = (struct jrange){a->n > 1 ? v[0] : 0, a->n > 1 ? v[1] : v[0], a->n > 2 ? v[2] : 1, 0};
    if (!range->step) jrun_fail(r, "range() arg 3 must not be zero");
    range->n = range_length(range->start, range->stop, range->step);
    if (range->n > RANGE_MAX)
        jrun_fail(r, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", RANGE_MAX);
    return (struct jval){.kind = J_RANGE, .range = range};
}

static void dict_add_pairs(struct jinja_run *r, struct jdict *d, struct jval from)
{
    if (from.kind == J_DICT || from.kind == J_NAMESPACE) {
        for (size_t i = 0; i < from.d->n; i++) jdict_set(r, d, from.d->v[i].key, from.d->v[i].value);
        return;
    }
    const struct jseq *q = jval_elements(r, from);
    for (size_t i = 0; i < q->n; i++) {
        const struct jseq *pair = jval_elements(r, q->v[i]);
        if (pair->n != 2)
            jrun_fail(r, "dictionary update sequence element #%zu has length %zu; 2 is required", i, pair->n);
        jdict_set(r, d, pair->v[0], pair->v[1]);
    }
}

static struct jdict *dict_of(struct jinja_run *r, struct jargs *a)
{
    struct jdict *d = jdict_new(r, a->nkw);
    if (a->n > 1) jrun_fail(r, "dict expected at most 1 argument, got %zu", a->n);
    if (a->n) dict_add_pairs(r, d, a->v[0]);
    for (size_t i = 0; i < a->nkw; i++) jdict_set(r, d, jval_str(r, a->kw[i].name->s, a->kw[i].name->n), a->kw[i].v);
    return d;
}

static struct jval global_dict(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)self;
    return jval_of_dict(dict_of(r, a));
}

void jnamespace_check(struct jinja_run *r, const struct jstr *name)
{
    if (name->n && name->s[0] == '_')
        jrun_fail(r, "a namespace cannot have an attribute that begins with an underscore ('%.*s')", (int)name->n,
                  name->s);
}

static struct jval global_namespace(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)self;
    struct jdict *d = dict_of(r, a);
    for (size_t i = 0; i < d->n; i++)
        if (d->v[i].key.kind == J_STR) jnamespace_check(r, d->v[i].key.s);
    return (struct jval){.kind = J_NAMESPACE, .d = d};
}

static struct jval global_cycler(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)self;
    no_keywords(r, "cycler()", a);
    if (!a->n) jrun_fail(r, "at least one item has to be provided");
    struct jseq *items = jseq_new(r, a->n);
    for (size_t i = 0; i < a->n; i++) jseq_push(r, items, a->v[i]);
    struct jcycler *c = jrun_alloc(r, sizeof *c);
    c->items = items;
    return (struct jval){.kind = J_CYCLER, .cycler = c};
}

static struct jval global_joiner(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)self;
    struct jjoiner *j = jrun_alloc(r, sizeof *j);
    j->separator = a->v[0].kind == J_MISSING ? jval_cstr(r, ", ") : a->v[0];
    return (struct jval){.kind = J_JOINER, .joiner = j};
}

static struct jval global_raise_exception(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)self;
    const struct jstr *s = jval_text(r, a->v[0]);
    jrun_fail_code(r, EINVAL, "the template refuses: %.*s", (int)(s->n < 4096 ? s->n : 4096), s->s);
}

/* What Python's datetime adds to strftime(): microseconds, and no zone. */
static struct jval naive_format(struct jinja_run *r, const struct jstr *s)
{
    struct jbuf b = {0};
    for (size_t i = 0; i < s->n; i++) {
        char c = s->s[i], next = i + 1 < s->n ? s->s[i + 1] : 0;
        if (c == '%' && next == 'f')
            jbuf_cstr(r, &b, "000000");
        else if (c == '%' && next && !strchr("zZ", next))
            jbuf_put(r, &b, s->s + i, 2);
        else if (c != '%' || !next)
            jbuf_char(r, &b, c);
        i += c == '%' && next;
    }
    return jbuf_value(r, &b);
}

/* strftime() says 0 both for no text and for no room; the extra character tells them apart. */
static struct jval global_strftime_now(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)self;
    if (a->v[0].kind != J_STR) jrun_fail(r, "strftime_now() takes a str, not %s", jval_type(a->v[0]));
    struct jbuf format = {0};
    const struct jstr *s = naive_format(r, a->v[0].s).s;
    if (memchr(s->s, 0, s->n)) jrun_fail(r, "embedded null character");
    jbuf_put(r, &format, s->s, s->n);
    jbuf_put(r, &format, "|", 2);
    for (size_t room = 256 + s->n * 2; room <= STRFTIME_MAX; room *= 2) {
        char *text = jrun_bytes(r, room);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        size_t n = strftime(text, room, format.s, r->now);
#pragma GCC diagnostic pop
        if (n) return jval_str(r, text, n - 1);
    }
    jrun_fail(r, "strftime_now() would give more than %d bytes", STRFTIME_MAX);
}

static struct jval global_lipsum(struct jinja_run *r, struct jval self, struct jargs *a)
{
    (void)self, (void)a;
    jrun_fail(r, "lipsum() is not supported in a chat template");
}

static const struct jbuiltin GLOBALS[] = {
    {"range", global_range, NULL, 0},
    {"dict", global_dict, NULL, 0},
    {"namespace", global_namespace, NULL, 0},
    {"cycler", global_cycler, NULL, 0},
    {"joiner", global_joiner, "sep", 0},
    {"raise_exception", global_raise_exception, "message", 1},
    {"strftime_now", global_strftime_now, "format", 1},
    {"lipsum", global_lipsum, NULL, 0},
    {0},
};

const struct jbuiltin *jglobal_find(const struct jstr *name)
{
    return jbuiltin_find(GLOBALS, name);
}
