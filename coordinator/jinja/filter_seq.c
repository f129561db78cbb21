/* Filters on sequences that look at whole elements.  Source: jinja2/filters.py. */
#include "coordinator/jinja/path.h"
#include "coordinator/jinja/str.h"

static struct jval filter_list(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    return jval_of_list((struct jseq *)jval_elements(r, v));
}

static struct jval filter_items(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    if (v.kind == J_UNDEFINED) return jval_iter(r, jseq_new(r, 0), "generator");
    if (v.kind != J_DICT) jrun_fail(r, "Can only get item pairs from a mapping.");
    struct jview view = {JVIEW_ITEMS, v.d};
    const struct jseq *q = jval_elements(r, (struct jval){.kind = J_VIEW, .view = &view});
    return jval_iter(r, (struct jseq *)q, "generator");
}

static struct jval filter_first(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    if (v.kind == J_ITER && v.iter->pos < v.iter->q->n) return v.iter->q->v[v.iter->pos++];
    const struct jseq *q = jval_elements(r, v);
    return q->n ? q->v[0] : jval_undefined_hint(r, "No first item, sequence was empty.");
}

static struct jval filter_last(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    if (v.kind == J_ITER) jrun_fail(r, "'%s' object is not reversible", jval_type(v));
    const struct jseq *q = jval_elements(r, v);
    return q->n ? q->v[q->n - 1] : jval_undefined_hint(r, "No last item, sequence was empty.");
}

static struct jval filter_reverse(struct jinja_run *r, struct jval v, struct jargs *a)
{
    (void)a;
    if (v.kind == J_STR) return jop_slice(r, v, jval_none(), jval_none(), jval_int(-1));
    if (!jval_iterable(v)) jrun_fail(r, "argument must be iterable");
    const struct jseq *q = jval_elements(r, v);
    struct jseq *back = jseq_new(r, q->n);
    for (size_t i = q->n; i-- > 0;) jseq_push(r, back, q->v[i]);
    return v.kind == J_ITER ? jval_of_list(back) : jval_iter(r, back, "list_reverseiterator");
}

static struct jval filter_join(struct jinja_run *r, struct jval v, struct jargs *a)
{
    const struct jstr *separator = a->v[0].kind == J_MISSING ? jval_cstr(r, "").s : jval_text(r, a->v[0]);
    const struct jseq *q = jval_elements(r, v);
    struct jpath path = jpath_of(r, a->v[1]);
    struct jbuf b = {0};
    for (size_t i = 0; i < q->n; i++) {
        jrun_charge(r, 1);
        if (i) jbuf_put(r, &b, separator->s, separator->n);
        jbuf_str(r, &b, jpath_get(r, &path, q->v[i], jval_missing()));
    }
    return jbuf_value(r, &b);
}

static struct jval filter_sum(struct jinja_run *r, struct jval v, struct jargs *a)
{
    const struct jseq *q = jval_elements(r, v);
    struct jpath path = jpath_of(r, a->v[0]);
    struct jval sum = a->v[1].kind == J_MISSING ? jval_int(0) : a->v[1];
    if (sum.kind == J_STR) jrun_fail(r, "sum() can't sum strings [use ''.join(seq) instead]");
    for (size_t i = 0; i < q->n; i++) sum = jop_binary(r, JOP_ADD, sum, jpath_get(r, &path, q->v[i], jval_missing()));
    return sum;
}

/* The element whose key comes first in the given order. */
static struct jval extreme(struct jinja_run *r, struct jval v, struct jargs *a, enum jorder order)
{
    const struct jseq *q = jval_elements(r, v);
    struct jpath path = jpath_of(r, a->v[1]);
    bool fold = !jarg_truth(r, a->v[0], false);
    size_t best = 0;
    struct jval best_key = jval_missing();
    for (size_t i = 0; i < q->n; i++) {
        struct jval key = jpath_key(r, &path, q->v[i], fold);
        if (i && !jval_order(r, order, key, best_key)) continue;
        best = i;
        best_key = key;
    }
    return q->n ? q->v[best] : jval_undefined_hint(r, "No aggregated item, sequence was empty.");
}

static struct jval filter_min(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return extreme(r, v, a, JORDER_LT);
}
static struct jval filter_max(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return extreme(r, v, a, JORDER_GT);
}

/* -- in pieces -- */

static struct jval filter_batch(struct jinja_run *r, struct jval v, struct jargs *a)
{
    const struct jseq *q = jval_elements(r, v);
    int64_t count = jarg_int(r, a->v[0], 0, "linecount");
    struct jseq *rows = jseq_new(r, 0), *row = NULL;
    for (size_t i = 0; i < q->n; i++) {
        if (!row || (count >= 0 && row->n == (uint64_t)count)) jseq_push(r, rows, jval_of_list(row = jseq_new(r, 0)));
        jseq_push(r, row, q->v[i]);
    }
    while (row && jarg_given(a->v[1]) && (int64_t)row->n < count) {
        jrun_charge(r, 1);
        jseq_push(r, row, a->v[1]);
    }
    return jval_iter(r, rows, "generator");
}

static struct jval filter_slice(struct jinja_run *r, struct jval v, struct jargs *a)
{
    const struct jseq *q = jval_elements(r, v);
    int64_t slices = jarg_int(r, a->v[0], 0, "slices");
    if (!slices) jrun_fail(r, "integer modulo by zero");
    size_t n = slices > 0 ? (size_t)slices : 0, at = 0;
    struct jseq *columns = jseq_new(r, 0);
    for (size_t i = 0; i < n; i++) {
        struct jseq *column = jseq_new(r, 0);
        bool longer = i < q->n % n;
        jrun_charge(r, 1);
        for (size_t k = 0; k < q->n / n + longer; k++) jseq_push(r, column, q->v[at++]);
        if (!longer && jarg_given(a->v[1])) jseq_push(r, column, a->v[1]);
        jseq_push(r, columns, jval_of_list(column));
    }
    return jval_iter(r, columns, "generator");
}

/* -- in order -- */

/* order[from, to) is merged with the help of spare; stable both ways. */
static void merge(struct jinja_run *r, const struct jval *keys, size_t *order, size_t *spare, size_t from, size_t to,
                  bool reverse)
{
    size_t middle = from + (to - from) / 2, a = from, b = middle, n = from;
    while (a < middle && b < to) {
        struct jval left = keys[order[a]], right = keys[order[b]];
        bool take_right = reverse ? jval_order(r, JORDER_LT, left, right) : jval_order(r, JORDER_LT, right, left);
        spare[n++] = take_right ? order[b++] : order[a++];
    }
    while (a < middle) spare[n++] = order[a++];
    while (b < to) spare[n++] = order[b++];
    memcpy(order + from, spare + from, (to - from) * sizeof *order);
}

static void sort_span(struct jinja_run *r, const struct jval *keys, size_t *order, size_t *spare, size_t from,
                      size_t to, bool reverse)
{
    if (to - from < 2) return;
    size_t middle = from + (to - from) / 2;
    sort_span(r, keys, order, spare, from, middle, reverse);
    sort_span(r, keys, order, spare, middle, to, reverse);
    merge(r, keys, order, spare, from, to, reverse);
}

void jsort(struct jinja_run *r, const struct jval *keys, size_t *order, size_t n, bool reverse)
{
    sort_span(r, keys, order, jrun_array(r, n, sizeof *order), 0, n, reverse);
}

static struct jseq *sorted(struct jinja_run *r, const struct jseq *q, const struct jval *keys, bool reverse)
{
    size_t *order = jrun_array(r, q->n, sizeof *order);
    struct jseq *out = jseq_new(r, q->n);
    for (size_t i = 0; i < q->n; i++) order[i] = i;
    jsort(r, keys, order, q->n, reverse);
    for (size_t i = 0; i < q->n; i++) jseq_push(r, out, q->v[order[i]]);
    return out;
}

/* The key of "a,b" is the tuple of both. */
static struct jval sort_key(struct jinja_run *r, const struct jseq *paths, struct jval v, bool fold)
{
    struct jseq *key = jseq_new(r, paths->n);
    for (size_t i = 0; i < paths->n; i++) {
        struct jpath path = jpath_of(r, paths->v[i]);
        jseq_push(r, key, jpath_key(r, &path, v, fold));
    }
    return jval_of_tuple(key);
}

static struct jval filter_sort(struct jinja_run *r, struct jval v, struct jargs *a)
{
    const struct jseq *q = jval_elements(r, v);
    bool fold = !jarg_truth(r, a->v[1], false);
    struct jval *keys = jrun_array(r, q->n, sizeof *keys);
    struct jseq *paths = jseq_new(r, 1);
    if (a->v[2].kind == J_STR) {
        struct jval args[2] = {jval_cstr(r, ","), jval_missing()};
        paths = jrun_call(r, jop_getattr(r, a->v[2], jval_cstr(r, "split")), &(struct jargs){.v = args, .n = 1}).q;
    } else {
        jseq_push(r, paths, a->v[2]);
    }
    for (size_t i = 0; i < q->n; i++) keys[i] = sort_key(r, paths, q->v[i], fold);
    return jval_of_list(sorted(r, q, keys, jarg_truth(r, a->v[0], false)));
}

static struct jval filter_dictsort(struct jinja_run *r, struct jval v, struct jargs *a)
{
    bool fold = !jarg_truth(r, a->v[0], false), by_value = jval_is_cstr(a->v[1], "value");
    if (a->v[1].kind != J_MISSING && !by_value && !jval_is_cstr(a->v[1], "key"))
        jrun_fail(r, "You can only sort by either \"key\" or \"value\"");
    if (v.kind == J_UNDEFINED) jrun_fail_undefined(r, v);
    if (v.kind != J_DICT) jrun_fail(r, "'%s' object has no attribute 'items'", jval_type(v));
    struct jseq *items = jseq_new(r, v.d->n);
    struct jval *keys = jrun_array(r, v.d->n, sizeof *keys);
    struct jpath whole = {0};
    for (size_t i = 0; i < v.d->n; i++) {
        jseq_push(r, items, jval_pair(r, v.d->v[i].key, v.d->v[i].value));
        keys[i] = jpath_key(r, &whole, by_value ? v.d->v[i].value : v.d->v[i].key, fold);
    }
    return jval_of_list(sorted(r, items, keys, jarg_truth(r, a->v[2], false)));
}

static struct jval filter_unique(struct jinja_run *r, struct jval v, struct jargs *a)
{
    const struct jseq *q = jval_elements(r, v);
    bool fold = !jarg_truth(r, a->v[0], false);
    struct jpath path = jpath_of(r, a->v[1]);
    struct jdict *seen = jdict_new(r, 0);
    struct jseq *out = jseq_new(r, 0);
    for (size_t i = 0; i < q->n; i++) {
        struct jval key = jpath_key(r, &path, q->v[i], fold);
        if (jdict_get(r, seen, key)) continue;
        jdict_set(r, seen, key, jval_none());
        jseq_push(r, out, q->v[i]);
    }
    return jval_iter(r, out, "generator");
}

static struct jval filter_groupby(struct jinja_run *r, struct jval v, struct jargs *a)
{
    const struct jseq *q = jval_elements(r, v);
    bool fold = !jarg_truth(r, a->v[2], false);
    struct jval missing = jarg_given(a->v[1]) ? a->v[1] : jval_missing(), before = jval_missing();
    struct jpath path = jpath_of(r, a->v[0]);
    struct jval *keys = jrun_array(r, q->n, sizeof *keys);
    for (size_t i = 0; i < q->n; i++) keys[i] = jpath_fold(r, jpath_get(r, &path, q->v[i], missing), fold);
    const struct jseq *all = sorted(r, q, keys, false);
    struct jseq *groups = jseq_new(r, 0), *group = NULL;
    for (size_t i = 0; i < all->n; i++) {
        struct jval real = jpath_get(r, &path, all->v[i], missing), key = jpath_fold(r, real, fold);
        if (!group || !jval_equal(r, key, before)) {
            struct jval pair = jval_pair(r, real, jval_of_list(group = jseq_new(r, 0)));
            pair.safe = true;
            jseq_push(r, groups, pair);
        }
        jseq_push(r, group, all->v[i]);
        before = key;
    }
    return jval_of_list(groups);
}

const struct jbuiltin JFILTERS_SEQ[] = {
    {"batch", filter_batch, "linecount fill_with", 1},
    {"dictsort", filter_dictsort, "case_sensitive by reverse", 0},
    {"first", filter_first, "", 0},
    {"groupby", filter_groupby, "attribute default case_sensitive", 1},
    {"items", filter_items, "", 0},
    {"join", filter_join, "d attribute", 0},
    {"last", filter_last, "", 0},
    {"list", filter_list, "", 0},
    {"max", filter_max, "case_sensitive attribute", 0},
    {"min", filter_min, "case_sensitive attribute", 0},
    {"reverse", filter_reverse, "", 0},
    {"slice", filter_slice, "slices fill_with", 1},
    {"sort", filter_sort, "reverse case_sensitive attribute", 0},
    {"sum", filter_sum, "attribute start", 0},
    {"unique", filter_unique, "case_sensitive attribute", 0},
    {0},
};
