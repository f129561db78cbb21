/* Values: making them, and what Python would say of them (truth, equality, order, length, elements). */
#include "coordinator/jinja/value.h"

#include <math.h>

struct jval jval_size(struct jinja_run *r, size_t n)
{
    if (n > INT64_MAX) jrun_fail(r, "a length of %zu is too large", n);
    return jval_int((int64_t)n);
}

struct jval jval_str(struct jinja_run *r, const char *s, size_t n)
{
    struct jstr *str = jrun_alloc(r, sizeof *str);
    *str = (struct jstr){s, n, SIZE_MAX};
    return jval_of_str(str);
}

struct jval jval_cstr(struct jinja_run *r, const char *s)
{
    return jval_str(r, s, strlen(s));
}

struct jval jval_undefined(struct jinja_run *r, struct jval obj, struct jval name)
{
    struct jundefined *u = jrun_alloc(r, sizeof *u);
    *u = (struct jundefined){NULL, obj, name};
    return (struct jval){.kind = J_UNDEFINED, .undefined = u};
}

struct jval jval_undefined_hint(struct jinja_run *r, const char *hint)
{
    struct jval v = jval_undefined(r, jval_missing(), jval_missing());
    ((struct jundefined *)v.undefined)->hint = hint;
    return v;
}

static const char *object_name(struct jinja_run *r, struct jval v)
{
    if (v.kind == J_NONE) return "None";
    struct jbuf b = {0};
    jbuf_cstr(r, &b, jval_type(v));
    jbuf_put(r, &b, " object", 8);
    return b.s;
}

void jrun_fail_undefined(struct jinja_run *r, struct jval v)
{
    const struct jundefined *u = v.undefined;
    if (u->hint) jrun_fail(r, "%s", u->hint);
    struct jbuf name = {0};
    jbuf_repr(r, &name, u->name);
    int n = name.n > 200 ? 200 : (int)name.n;
    if (u->obj.kind == J_MISSING) jrun_fail(r, "%.*s is undefined", n, name.s);
    if (u->name.kind != J_STR) jrun_fail(r, "%s has no element %.*s", object_name(r, u->obj), n, name.s);
    jrun_fail(r, "'%s' has no attribute %.*s", object_name(r, u->obj), n, name.s);
}

struct jval jval_iter(struct jinja_run *r, struct jseq *q, const char *type)
{
    struct jiter *it = jrun_alloc(r, sizeof *it);
    *it = (struct jiter){q, 0, type};
    return (struct jval){.kind = J_ITER, .iter = it};
}

struct jval jval_pair(struct jinja_run *r, struct jval a, struct jval b)
{
    struct jseq *q = jseq_new(r, 2);
    jseq_push(r, q, a);
    jseq_push(r, q, b);
    return jval_of_tuple(q);
}

struct jseq *jseq_new(struct jinja_run *r, size_t cap)
{
    struct jseq *q = jrun_alloc(r, sizeof *q);
    q->cap = cap;
    if (cap) q->v = jrun_array(r, cap, sizeof *q->v);
    return q;
}

void jseq_push(struct jinja_run *r, struct jseq *q, struct jval v)
{
    if (q->n == q->cap) {
        size_t cap = q->cap ? q->cap * 2 : 4;
        struct jval *grown = jrun_array(r, cap, sizeof *grown);
        if (q->n) memcpy(grown, q->v, q->n * sizeof *grown);
        q->v = grown;
        q->cap = cap;
    }
    q->v[q->n++] = v;
}

/* -- dictionaries -- */

enum { DICT_LINEAR = 8 }; /* up to so many entries are searched one after the other */

static uint64_t hash_bytes(const char *s, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < n; i++) h = (h ^ (uint8_t)s[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

/* Equal values hash alike: 1, 1.0 and true are one key. */
static uint64_t hash_value(struct jinja_run *r, struct jval v)
{
    uint64_t h = 0x345678;
    switch (v.kind) {
    case J_STR: jrun_charge_bytes(r, v.s->n); return hash_bytes(v.s->s, v.s->n);
    case J_BOOL: return hash_value(r, jval_int(v.b));
    case J_INT: return (uint64_t)v.i * 0x9e3779b97f4a7c15u >> 7 ^ (uint64_t)v.i;
    case J_BIG: { /* equal numbers have the same nearest double */
        double nearest = jbig_nearest(v);
        return hash_bytes((const char *)&nearest, sizeof nearest);
    }
    case J_FLOAT:
        if (v.f == floor(v.f) && fabs(v.f) < 0x1p62) return hash_value(r, jval_int((int64_t)v.f));
        return hash_bytes((const char *)&v.f, sizeof v.f);
    case J_TUPLE:
        jrun_enter(r);
        for (size_t i = 0; i < v.q->n; i++) h = h * 1000003 ^ hash_value(r, v.q->v[i]);
        jrun_leave(r);
        return h;
    case J_LIST:
    case J_DICT: jrun_fail(r, "unhashable type: '%s'", jval_type(v));
    default: return 7; /* none, undefined and objects: rare as keys */
    }
}

struct jdict *jdict_new(struct jinja_run *r, size_t cap)
{
    struct jdict *d = jrun_alloc(r, sizeof *d);
    d->cap = cap;
    if (cap) d->v = jrun_array(r, cap, sizeof *d->v);
    return d;
}

static bool key_equal(struct jinja_run *r, struct jval a, struct jval b)
{
    jrun_charge(r, 1);
    return a.kind == J_STR && b.kind == J_STR ? jstr_equal(a.s, b.s) : jval_equal(r, a, b);
}

/* Where the key's entry is, or SIZE_MAX. */
static size_t dict_find(struct jinja_run *r, const struct jdict *d, struct jval key, uint64_t hash)
{
    if (!d->index) {
        for (size_t i = 0; i < d->n; i++)
            if (d->v[i].hash == hash && key_equal(r, d->v[i].key, key)) return i;
        return SIZE_MAX;
    }
    size_t mask = d->index_cap - 1;
    for (size_t at = hash & mask; d->index[at]; at = (at + 1) & mask) {
        size_t i = d->index[at] - 1;
        jrun_charge(r, 1);
        if (d->v[i].hash == hash && key_equal(r, d->v[i].key, key)) return i;
    }
    return SIZE_MAX;
}

static void dict_reindex(struct jinja_run *r, struct jdict *d)
{
    d->index_cap = 32;
    while (d->index_cap < d->cap * 2) d->index_cap *= 2;
    d->index = jrun_array(r, d->index_cap, sizeof *d->index);
    for (size_t i = 0; i < d->n; i++) {
        size_t at = d->v[i].hash & (d->index_cap - 1);
        while (d->index[at]) at = (at + 1) & (d->index_cap - 1);
        d->index[at] = (uint32_t)(i + 1);
    }
}

static void dict_append(struct jinja_run *r, struct jdict *d, struct jentry entry)
{
    if (d->n >= UINT32_MAX / 4) jrun_fail(r, "a dict of %zu entries is too large", d->n);
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 4;
        struct jentry *grown = jrun_array(r, cap, sizeof *grown);
        if (d->n) memcpy(grown, d->v, d->n * sizeof *grown);
        d->v = grown;
        d->cap = cap;
        d->index = NULL;
    }
    d->v[d->n++] = entry;
    if (!d->index) {
        if (d->n > DICT_LINEAR) dict_reindex(r, d);
        return;
    }
    size_t at = entry.hash & (d->index_cap - 1);
    while (d->index[at]) at = (at + 1) & (d->index_cap - 1);
    d->index[at] = (uint32_t)d->n;
}

void jdict_set(struct jinja_run *r, struct jdict *d, struct jval key, struct jval value)
{
    uint64_t hash = hash_value(r, key);
    size_t i = dict_find(r, d, key, hash);
    if (i != SIZE_MAX)
        d->v[i].value = value;
    else
        dict_append(r, d, (struct jentry){key, value, hash});
}

const struct jval *jdict_get(struct jinja_run *r, const struct jdict *d, struct jval key)
{
    size_t i = dict_find(r, d, key, hash_value(r, key));
    return i == SIZE_MAX ? NULL : &d->v[i].value;
}

const struct jval *jdict_get_str(struct jinja_run *r, const struct jdict *d, const char *s, size_t n)
{
    struct jstr str = {s, n, SIZE_MAX};
    return jdict_get(r, d, jval_of_str(&str));
}

static struct jval number_beyond(struct jinja_run *r, const char *text)
{
    size_t n = strlen(text);
    return text[n - 1] >= '0' && text[n - 1] <= '9' ? jval_integer_text(r, text, n) : jval_float(strtod(text, NULL));
}

struct jval jval_from_json(struct jinja_run *r, const json_t *j)
{
    struct jval v = jval_none();
    const char *beyond = json_beyond(j);
    if (beyond) return number_beyond(r, beyond);
    jrun_enter(r);
    switch (json_typeof(j)) {
    case JSON_OBJECT: {
        const char *key;
        json_t *member;
        v = jval_of_dict(jdict_new(r, json_object_size(j)));
        json_object_foreach((json_t *)j, key, member) jdict_set(r, v.d, jval_cstr(r, key), jval_from_json(r, member));
        break;
    }
    case JSON_ARRAY:
        v = jval_of_list(jseq_new(r, json_array_size(j)));
        for (size_t i = 0; i < json_array_size(j); i++) jseq_push(r, v.q, jval_from_json(r, json_array_get(j, i)));
        break;
    case JSON_STRING: v = jval_str(r, json_string_value(j), json_string_length(j)); break;
    case JSON_INTEGER: v = jval_int(json_integer_value(j)); break;
    case JSON_REAL: v = jval_float(json_real_value(j)); break;
    case JSON_TRUE: v = jval_bool(true); break;
    case JSON_FALSE: v = jval_bool(false); break;
    case JSON_NULL: break;
    }
    jrun_leave(r);
    return v;
}

/* -- asking -- */

const char *jval_type(struct jval v)
{
    static const char *const names[] = {
        [J_MISSING] = "missing",
        [J_UNDEFINED] = "Undefined",
        [J_NONE] = "NoneType",
        [J_BOOL] = "bool",
        [J_INT] = "int",
        [J_BIG] = "int",
        [J_FLOAT] = "float",
        [J_STR] = "str",
        [J_LIST] = "list",
        [J_TUPLE] = "tuple",
        [J_DICT] = "dict",
        [J_RANGE] = "range",
        [J_NAMESPACE] = "Namespace",
        [J_MACRO] = "Macro",
        [J_METHOD] = "method",
        [J_FUNCTION] = "function",
        [J_LOOP] = "LoopContext",
        [J_CYCLER] = "Cycler",
        [J_JOINER] = "Joiner",
    };
    static const char *const views[] = {"dict_keys", "dict_values", "dict_items"};
    return v.kind == J_VIEW ? views[v.view->what] : v.kind == J_ITER ? v.iter->type : names[v.kind];
}

bool jval_truth(struct jinja_run *r, struct jval v)
{
    size_t n;
    switch (v.kind) {
    case J_MISSING:
    case J_UNDEFINED:
    case J_NONE: return false;
    case J_BOOL: return v.b;
    case J_INT: return v.i != 0;
    case J_FLOAT: return v.f != 0;
    default: return !jval_length(v, r, &n) || n > 0;
    }
}

static int order_of_strings(const struct jstr *a, const struct jstr *b)
{
    int c = memcmp(a->s, b->s, a->n < b->n ? a->n : b->n); /* UTF-8 keeps the order of code points */
    return c ? c : a->n < b->n ? -1 : a->n > b->n;
}

static bool order_says(enum jorder op, int c)
{
    switch (op) {
    case JORDER_LT: return c < 0;
    case JORDER_LE: return c <= 0;
    case JORDER_GT: return c > 0;
    case JORDER_GE: return c >= 0;
    }
    return false;
}

/* NaN is neither less nor more; long double holds each int64 and each double. */
static bool order_numbers(struct jinja_run *r, enum jorder op, struct jval a, struct jval b)
{
    int sign = 0;
    if (a.kind == J_BIG || b.kind == J_BIG) return jbig_compare(r, a, b, &sign) && order_says(op, sign);
    long double x = a.kind == J_FLOAT ? (long double)a.f : (long double)jval_integral(a);
    long double y = b.kind == J_FLOAT ? (long double)b.f : (long double)jval_integral(b);
    switch (op) {
    case JORDER_LT: return x < y;
    case JORDER_LE: return x <= y;
    case JORDER_GT: return x > y;
    case JORDER_GE: return x >= y;
    }
    return false;
}

static bool numbers_equal(struct jinja_run *r, struct jval a, struct jval b)
{
    if (jval_is_integral(a) && jval_is_integral(b)) return jval_integral(a) == jval_integral(b);
    return order_numbers(r, JORDER_LE, a, b) && order_numbers(r, JORDER_GE, a, b);
}

static bool order_sequences(struct jinja_run *r, enum jorder op, const struct jseq *a, const struct jseq *b)
{
    size_t i = 0;
    while (i < a->n && i < b->n && jval_equal(r, a->v[i], b->v[i])) i++;
    if (i < a->n && i < b->n) return jval_order(r, op, a->v[i], b->v[i]);
    return order_says(op, a->n < b->n ? -1 : a->n > b->n);
}

bool jval_order(struct jinja_run *r, enum jorder op, struct jval a, struct jval b)
{
    static const char *const signs[] = {"<", "<=", ">", ">="};
    if (a.kind == J_UNDEFINED) jrun_fail_undefined(r, a);
    if (b.kind == J_UNDEFINED) jrun_fail_undefined(r, b);
    jrun_enter(r);
    bool result = false;
    if (jval_is_number(a) && jval_is_number(b))
        result = order_numbers(r, op, a, b);
    else if (a.kind == J_STR && b.kind == J_STR) {
        jrun_charge_bytes(r, a.s->n);
        result = order_says(op, order_of_strings(a.s, b.s));
    } else if (a.kind == b.kind && (a.kind == J_LIST || a.kind == J_TUPLE))
        result = order_sequences(r, op, a.q, b.q);
    else
        jrun_fail(r, "'%s' not supported between instances of '%s' and '%s'", signs[op], jval_type(a), jval_type(b));
    jrun_leave(r);
    return result;
}

bool jval_same(struct jval a, struct jval b)
{
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case J_NONE: return true;
    case J_BOOL: return a.b == b.b;
    case J_INT: return a.i == b.i;
    case J_FLOAT:
        return a.f == b.f || (isnan(a.f) && isnan(b.f)); /* of NaNs that a template has, most are one object */
    case J_BIG:
    case J_STR: return jstr_equal(a.s, b.s) && a.safe == b.safe;
    default: return (const void *)a.q == (const void *)b.q;
    }
}

static bool sequences_equal(struct jinja_run *r, const struct jseq *a, const struct jseq *b)
{
    if (a == b) return true;
    bool equal = a->n == b->n;
    for (size_t i = 0; equal && i < a->n; i++) equal = jval_equal(r, a->v[i], b->v[i]);
    return equal;
}

static bool dicts_equal(struct jinja_run *r, const struct jdict *a, const struct jdict *b)
{
    if (a == b) return true;
    bool equal = a->n == b->n;
    for (size_t i = 0; equal && i < a->n; i++) {
        const struct jval *v = jdict_get(r, b, a->v[i].key);
        equal = v && jval_equal(r, a->v[i].value, *v);
    }
    return equal;
}

static bool views_equal(struct jinja_run *r, struct jval a, struct jval b)
{
    if (a.view->what != b.view->what || a.view->what == JVIEW_VALUES) return false;
    if (a.view->what == JVIEW_ITEMS) return dicts_equal(r, a.view->d, b.view->d);
    bool equal = a.view->d->n == b.view->d->n;
    for (size_t i = 0; equal && i < a.view->d->n; i++) equal = jdict_get(r, b.view->d, a.view->d->v[i].key) != NULL;
    return equal;
}

bool jval_equal(struct jinja_run *r, struct jval a, struct jval b)
{
    if (jval_is_number(a) && jval_is_number(b)) return numbers_equal(r, a, b);
    if (a.kind != b.kind) return false;
    bool equal;
    jrun_enter(r);
    switch (a.kind) {
    case J_UNDEFINED: equal = true; break;
    case J_STR:
        jrun_charge_bytes(r, a.s->n);
        equal = jstr_equal(a.s, b.s);
        break;
    case J_LIST:
    case J_TUPLE: equal = sequences_equal(r, a.q, b.q); break;
    case J_DICT: equal = dicts_equal(r, a.d, b.d); break;
    case J_VIEW: equal = views_equal(r, a, b); break;
    case J_RANGE:
        equal =
            a.range->n == b.range->n &&
            (!a.range->n || (a.range->start == b.range->start && (a.range->n == 1 || a.range->step == b.range->step)));
        break;
    case J_METHOD: equal = a.method->fn == b.method->fn && jval_same(a.method->self, b.method->self); break;
    default: equal = jval_same(a, b); break;
    }
    jrun_leave(r);
    return equal;
}

static bool string_contains(struct jinja_run *r, const struct jstr *s, struct jval v)
{
    if (v.kind != J_STR) jrun_fail(r, "'in <string>' requires string as left operand, not %s", jval_type(v));
    jrun_charge_bytes(r, s->n);
    return memmem(s->s, s->n, v.s->s, v.s->n) != NULL;
}

bool jval_contains(struct jinja_run *r, struct jval container, struct jval v)
{
    if (container.kind == J_STR) return string_contains(r, container.s, v);
    if (container.kind == J_DICT) return jdict_get(r, container.d, v) != NULL;
    if (!jval_iterable(container)) jrun_fail(r, "argument of type '%s' is not iterable", jval_type(container));
    const struct jseq *q = jval_elements(r, container);
    for (size_t i = 0; i < q->n; i++) {
        jrun_charge(r, 1);
        if (jval_same(q->v[i], v) || jval_equal(r, q->v[i], v)) return true;
    }
    return false;
}

bool jval_iterable(struct jval v)
{
    switch (v.kind) {
    case J_UNDEFINED:
    case J_STR:
    case J_LIST:
    case J_TUPLE:
    case J_DICT:
    case J_RANGE:
    case J_VIEW:
    case J_ITER: return true;
    default: return false;
    }
}

static const struct jseq *string_elements(struct jinja_run *r, struct jstr *s)
{
    struct jseq *q = jseq_new(r, jstr_chars(r, s));
    for (size_t at = 0; at < s->n;) {
        size_t start = at;
        jutf8_next(s->s, s->n, &at);
        jseq_push(r, q, jval_str(r, s->s + start, at - start));
    }
    return q;
}

static const struct jseq *view_elements(struct jinja_run *r, enum jview_what what, const struct jdict *d)
{
    struct jseq *q = jseq_new(r, d->n);
    for (size_t i = 0; i < d->n; i++)
        jseq_push(r, q,
                  what == JVIEW_KEYS     ? d->v[i].key
                  : what == JVIEW_VALUES ? d->v[i].value
                                         : jval_pair(r, d->v[i].key, d->v[i].value));
    return q;
}

static const struct jseq *range_elements(struct jinja_run *r, const struct jrange *range)
{
    struct jseq *q = jseq_new(r, range->n);
    for (size_t i = 0; i < range->n; i++) jseq_push(r, q, jval_int(range->start + (int64_t)i * range->step));
    return q;
}

static const struct jseq *iter_elements(struct jinja_run *r, struct jiter *it)
{
    struct jseq *rest = jseq_new(r, 0);
    if (it->pos == it->q->n) return rest;
    rest->v = it->q->v + it->pos;
    rest->n = rest->cap = it->q->n - it->pos;
    it->pos = it->q->n;
    return rest;
}

const struct jseq *jval_elements(struct jinja_run *r, struct jval v)
{
    switch (v.kind) {
    case J_UNDEFINED: return jseq_new(r, 0);
    case J_STR: return string_elements(r, v.s);
    case J_LIST:
    case J_TUPLE: return v.q;
    case J_DICT: return view_elements(r, JVIEW_KEYS, v.d);
    case J_RANGE: return range_elements(r, v.range);
    case J_VIEW: return view_elements(r, v.view->what, v.view->d);
    case J_ITER: return iter_elements(r, v.iter);
    default: jrun_fail(r, "'%s' object is not iterable", jval_type(v));
    }
}

bool jval_length(struct jval v, struct jinja_run *r, size_t *n)
{
    switch (v.kind) {
    case J_UNDEFINED: *n = 0; return true;
    case J_STR: *n = v.s->n ? jstr_chars(r, v.s) : 0; return true;
    case J_LIST:
    case J_TUPLE: *n = v.q->n; return true;
    case J_DICT: *n = v.d->n; return true;
    case J_RANGE: *n = v.range->n; return true;
    case J_VIEW: *n = v.view->d->n; return true;
    case J_LOOP: *n = jloop_length(r, v.loop); return true;
    default: return false;
    }
}
