/* Attribute paths, and the filters that pick elements by them or apply a filter or test to each. */
#include "coordinator/jinja/path.h"
#include "coordinator/jinja/str.h"

static struct jval path_part(struct jinja_run *r, const char *s, size_t n)
{
    int64_t i = 0;
    for (size_t k = 0; k < n; k++) {
        if (s[k] < '0' || s[k] > '9' || i > INT32_MAX) return jval_str(r, s, n);
        i = i * 10 + (s[k] - '0');
    }
    return n ? jval_int(i) : jval_str(r, s, n);
}

struct jpath jpath_of(struct jinja_run *r, struct jval attribute)
{
    struct jpath path = {0};
    if (!jarg_given(attribute)) return path;
    struct jseq *parts = jseq_new(r, 1);
    if (attribute.kind == J_STR) {
        const char *s = attribute.s->s, *end = s + attribute.s->n;
        for (const char *dot; s; s = dot ? dot + 1 : NULL) {
            dot = memchr(s, '.', (size_t)(end - s));
            jseq_push(r, parts, path_part(r, s, (size_t)((dot ? dot : end) - s)));
        }
    } else {
        jseq_push(r, parts, attribute);
    }
    return (struct jpath){parts->v, parts->n};
}

struct jval jpath_get(struct jinja_run *r, const struct jpath *path, struct jval v, struct jval missing)
{
    for (size_t i = 0; i < path->n; i++) {
        v = jop_getitem(r, v, path->parts[i]);
        if (v.kind == J_UNDEFINED && missing.kind != J_MISSING) v = missing;
    }
    return v;
}

struct jval jpath_fold(struct jinja_run *r, struct jval v, bool fold)
{
    return fold && v.kind == J_STR ? jstr_lower(r, v, NULL) : v;
}

struct jval jpath_key(struct jinja_run *r, const struct jpath *path, struct jval v, bool fold)
{
    return jpath_fold(r, jpath_get(r, path, v, jval_missing()), fold);
}

/* -- map -- */

static struct jval map_attribute(struct jinja_run *r, const struct jseq *q, struct jargs *a)
{
    struct jval attribute = jval_missing(), missing = jval_missing();
    for (size_t i = 0; i < a->nkw; i++) {
        struct jval name = {.kind = J_STR, .s = (struct jstr *)a->kw[i].name};
        if (jval_is_cstr(name, "attribute"))
            attribute = a->kw[i].v;
        else if (jval_is_cstr(name, "default"))
            missing = jarg_given(a->kw[i].v) ? a->kw[i].v : missing;
        else
            jrun_fail(r, "Unexpected keyword argument '%.*s'", (int)name.s->n, name.s->s);
    }
    if (attribute.kind == J_MISSING) jrun_fail(r, "map requires a filter argument");
    struct jpath path = jpath_of(r, attribute);
    struct jseq *out = jseq_new(r, q->n);
    for (size_t i = 0; i < q->n; i++) {
        jrun_charge(r, 1);
        jseq_push(r, out, jpath_get(r, &path, q->v[i], missing));
    }
    return jval_iter(r, out, "generator");
}

static struct jval filter_map(struct jinja_run *r, struct jval v, struct jargs *a)
{
    const struct jseq *q = v.kind != J_UNDEFINED && !jval_truth(r, v) ? jseq_new(r, 0) : jval_elements(r, v);
    if (!a->n) return map_attribute(r, q, a);
    const struct jstr *name = jval_text(r, a->v[0]);
    const struct jbuiltin *fn = jfilter_find(name);
    if (!fn) jrun_fail(r, "No filter named '%.*s'.", (int)(name->n < 100 ? name->n : 100), name->s);
    struct jargs rest = {a->v + 1, a->n - 1, a->kw, a->nkw};
    struct jseq *out = jseq_new(r, q->n);
    jrun_enter(r); /* a filter named may be map again */
    for (size_t i = 0; i < q->n; i++) jseq_push(r, out, jbuiltin_call(r, fn, q->v[i], &rest));
    jrun_leave(r);
    return jval_iter(r, out, "generator");
}

/* -- select and reject -- */

static struct jval pick(struct jinja_run *r, struct jval v, struct jargs *a, bool by_attribute, bool wanted)
{
    struct jseq *out = jseq_new(r, 0);
    if (v.kind != J_ITER && !jval_truth(r, v)) return jval_iter(r, out, "generator");
    const struct jseq *q = jval_elements(r, v);
    struct jpath path = {0};
    if (by_attribute && !a->n) jrun_fail(r, "Missing parameter for attribute name");
    if (by_attribute) path = jpath_of(r, a->v[0]);
    const struct jbuiltin *fn = NULL;
    struct jargs rest = {a->v, a->n, a->kw, a->nkw};
    rest.v += by_attribute;
    rest.n -= by_attribute;
    if (rest.n) {
        const struct jstr *name = jval_text(r, rest.v[0]);
        fn = jtest_find(name);
        if (!fn) jrun_fail(r, "No test named '%.*s'.", (int)(name->n < 100 ? name->n : 100), name->s);
        rest.v++;
        rest.n--;
    }
    for (size_t i = 0; i < q->n; i++) {
        struct jval looked = jpath_get(r, &path, q->v[i], jval_missing());
        jrun_charge(r, 1);
        if (jval_truth(r, fn ? jbuiltin_call(r, fn, looked, &rest) : looked) == wanted) jseq_push(r, out, q->v[i]);
    }
    return jval_iter(r, out, "generator");
}

static struct jval filter_select(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return pick(r, v, a, false, true);
}
static struct jval filter_reject(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return pick(r, v, a, false, false);
}
static struct jval filter_selectattr(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return pick(r, v, a, true, true);
}
static struct jval filter_rejectattr(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return pick(r, v, a, true, false);
}

const struct jbuiltin JFILTERS_PICK[] = {
    {"map", filter_map, NULL, 0},
    {"reject", filter_reject, NULL, 0},
    {"rejectattr", filter_rejectattr, NULL, 0},
    {"select", filter_select, NULL, 0},
    {"selectattr", filter_selectattr, NULL, 0},
    {0},
};
