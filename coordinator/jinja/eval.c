/* The evaluation of expressions. */
#include "coordinator/jinja/node.h"

/* Kept out of line, so that the frame of jeval(), which nests, stays small. */
#define APART static __attribute__((noinline))

/* -- names -- */

struct jscope *jscope_new(struct jinja_run *r, struct jscope *parent)
{
    struct jscope *s = jrun_alloc(r, sizeof *s);
    s->parent = parent;
    return s;
}

void jscope_set(struct jinja_run *r, struct jscope *s, const struct jstr *name, struct jval v)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].name == name) {
            s->v[i].v = v;
            return;
        }
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 4;
        struct jbinding *grown = jrun_array(r, cap, sizeof *grown);
        if (s->n) memcpy(grown, s->v, s->n * sizeof *grown);
        s->v = grown;
        s->cap = cap;
    }
    s->v[s->n++] = (struct jbinding){name, v};
}

APART struct jval lookup(struct jinja_run *r, const struct jstr *name, const struct jscope *scope)
{
    for (; scope; scope = scope->parent) {
        jrun_charge(r, 1 + scope->n / 8);
        for (size_t i = 0; i < scope->n; i++)
            if (scope->v[i].name == name) return scope->v[i].v;
    }
    const struct jval *v = jdict_get_str(r, r->vars, name->s, name->n);
    if (v) return *v;
    const struct jbuiltin *fn = jglobal_find(name);
    if (fn) return (struct jval){.kind = J_FUNCTION, .fn = fn};
    return jval_undefined(r, jval_missing(), jval_str(r, name->s, name->n));
}

/* -- calls -- */

static void add_keyword(struct jinja_run *r, struct jargs *a, const struct jstr *name, struct jval v)
{
    for (size_t i = 0; i < a->nkw; i++)
        if (jstr_equal(a->kw[i].name, name))
            jrun_fail(r, "got multiple values for keyword argument '%.*s'", (int)name->n, name->s);
    a->kw[a->nkw++] = (struct jkwarg){name, v};
}

static void add_star(struct jinja_run *r, struct jargs *a, struct jval star)
{
    const struct jseq *q = jval_elements(r, star);
    struct jval *v = jrun_array(r, a->n + q->n, sizeof *v);
    if (a->n) memcpy(v, a->v, a->n * sizeof *v);
    if (q->n) memcpy(v + a->n, q->v, q->n * sizeof *v);
    a->v = v;
    a->n += q->n;
}

static void add_starstar(struct jinja_run *r, struct jargs *a, struct jval v)
{
    if (v.kind != J_DICT) jrun_fail(r, "argument after ** must be a mapping, not %s", jval_type(v));
    struct jkwarg *kw = jrun_array(r, a->nkw + v.d->n + 1, sizeof *kw);
    if (a->nkw) memcpy(kw, a->kw, a->nkw * sizeof *kw);
    a->kw = kw;
    for (size_t i = 0; i < v.d->n; i++) {
        if (v.d->v[i].key.kind != J_STR) jrun_fail(r, "keywords must be strings");
        add_keyword(r, a, v.d->v[i].key.s, v.d->v[i].value);
    }
}

/* The arguments of a call; room for one more keyword is left. */
APART struct jargs eval_args(struct jinja_run *r, const struct jcallargs *call, struct jscope *scope)
{
    struct jargs a = {.n = call->pos.n};
    a.v = jrun_array(r, a.n, sizeof *a.v);
    a.kw = jrun_array(r, call->names.n + 1, sizeof *a.kw);
    for (size_t i = 0; i < call->pos.n; i++) a.v[i] = jeval(r, call->pos.v[i], scope);
    if (call->star) add_star(r, &a, jeval(r, call->star, scope));
    for (size_t i = 0; i < call->names.n; i++)
        add_keyword(r, &a, call->names.v[i]->name, jeval(r, call->values.v[i], scope));
    if (call->starstar) add_starstar(r, &a, jeval(r, call->starstar, scope));
    return a;
}

struct jval jeval_call(struct jinja_run *r, const struct jnode *node, struct jscope *scope, struct jval caller)
{
    struct jval callee = jeval(r, node->a, scope);
    struct jargs a = eval_args(r, node->call, scope);
    r->line = node->line;
    if (caller.kind != J_MISSING) add_keyword(r, &a, r->program->caller, caller);
    struct jval v = jrun_call(r, callee, &a);
    r->line = node->line;
    return v;
}

static _Noreturn void fail_unknown(struct jinja_run *r, const struct jnode *node)
{
    const struct jstr *name = node->name;
    r->line = node->line;
    jrun_fail(r, "No %s named '%.*s'.", node->type == N_FILTER ? "filter" : "test",
              (int)(name->n < 100 ? name->n : 100), name->s);
}

/* input J_MISSING: the filter has an operand of its own. */
APART struct jval eval_filter(struct jinja_run *r, const struct jnode *node, struct jscope *scope, struct jval input)
{
    if (!node->fn) fail_unknown(r, node);
    if (node->a)
        input = node->a->type == N_FILTER && input.kind != J_MISSING ? jeval_filters(r, node->a, scope, input)
                                                                     : jeval(r, node->a, scope);
    struct jargs a = eval_args(r, node->call, scope);
    r->line = node->line;
    return jbuiltin_call(r, node->fn, input, &a);
}

struct jval jeval_filters(struct jinja_run *r, const struct jnode *node, struct jscope *scope, struct jval input)
{
    jrun_enter(r);
    struct jval v = eval_filter(r, node, scope, input);
    jrun_leave(r);
    return v;
}

APART struct jval eval_test(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    if (!node->fn) fail_unknown(r, node);
    struct jval v = jeval(r, node->a, scope);
    struct jargs a = eval_args(r, node->call, scope);
    r->line = node->line;
    return jbuiltin_call(r, node->fn, v, &a);
}

/* -- containers and operators -- */

APART struct jval eval_sequence(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    struct jseq *q = jseq_new(r, node->list.n);
    for (size_t i = 0; i < node->list.n; i++) jseq_push(r, q, jeval(r, node->list.v[i], scope));
    return node->type == N_LIST ? jval_of_list(q) : jval_of_tuple(q);
}

APART struct jval eval_dict(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    struct jdict *d = jdict_new(r, node->list.n / 2);
    for (size_t i = 0; i + 1 < node->list.n; i += 2) {
        struct jval key = jeval(r, node->list.v[i], scope);
        jdict_set(r, d, key, jeval(r, node->list.v[i + 1], scope));
    }
    return jval_of_dict(d);
}

APART struct jval eval_concat(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    struct jbuf b = {0};
    for (size_t i = 0; i < node->list.n; i++) jbuf_str(r, &b, jeval(r, node->list.v[i], scope));
    return jbuf_value(r, &b);
}

static bool compare(struct jinja_run *r, enum jcompare op, struct jval a, struct jval b)
{
    switch (op) {
    case JCMP_EQ: return jval_equal(r, a, b);
    case JCMP_NE: return !jval_equal(r, a, b);
    case JCMP_IN: return jval_contains(r, b, a);
    case JCMP_NOTIN: return !jval_contains(r, b, a);
    default: return jval_order(r, (enum jorder)op, a, b);
    }
}

APART struct jval eval_compare(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    struct jval left = jeval(r, node->a, scope);
    for (size_t i = 0; i < node->list.n; i++) {
        const struct jnode *operand = node->list.v[i];
        struct jval right = jeval(r, operand->a, scope);
        r->line = node->line;
        if (!compare(r, (enum jcompare)operand->op, left, right)) return jval_bool(false);
        left = right;
    }
    return jval_bool(true);
}

APART struct jval eval_binary(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    struct jval a = jeval(r, node->a, scope), b = jeval(r, node->b, scope);
    r->line = node->line;
    return jop_binary(r, (enum jop)node->op, a, b);
}

APART struct jval eval_slice(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    struct jval of = jeval(r, node->a, scope), part[3];
    for (size_t i = 0; i < 3; i++) part[i] = node->list.v[i] ? jeval(r, node->list.v[i], scope) : jval_missing();
    r->line = node->line;
    return jop_slice(r, of, part[0], part[1], part[2]);
}

APART struct jval eval_item(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    struct jval of = jeval(r, node->a, scope), key = jeval(r, node->b, scope);
    r->line = node->line;
    return jop_getitem(r, of, key);
}

APART struct jval eval_condition(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    if (jval_truth(r, jeval(r, node->b, scope))) return jeval(r, node->a, scope);
    if (node->c) return jeval(r, node->c, scope);
    return jval_undefined_hint(r, "the inline if-expression evaluated to false and no else section was defined.");
}

APART struct jval eval_attribute(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    struct jval of = jeval(r, node->a, scope);
    r->line = node->line;
    return jop_getattr(r, of, jval_of_str(node->name));
}

static struct jval eval(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    switch (node->type) {
    case N_CONST: return node->value;
    case N_NAME: return lookup(r, node->name, scope);
    case N_TUPLE:
    case N_LIST: return eval_sequence(r, node, scope);
    case N_DICT: return eval_dict(r, node, scope);
    case N_COND: return eval_condition(r, node, scope);
    case N_AND:
    case N_OR: {
        struct jval left = jeval(r, node->a, scope);
        return jval_truth(r, left) == (node->type == N_AND) ? jeval(r, node->b, scope) : left;
    }
    case N_NOT: return jval_bool(!jval_truth(r, jeval(r, node->a, scope)));
    case N_COMPARE: return eval_compare(r, node, scope);
    case N_BINARY: return eval_binary(r, node, scope);
    case N_CONCAT: return eval_concat(r, node, scope);
    case N_SIGN: {
        struct jval v = jeval(r, node->a, scope);
        r->line = node->line;
        return jop_sign(r, node->flag, v);
    }
    case N_GETATTR: return eval_attribute(r, node, scope);
    case N_GETITEM: return eval_item(r, node, scope);
    case N_SLICE: return eval_slice(r, node, scope);
    case N_CALL: return jeval_call(r, node, scope, jval_missing());
    case N_FILTER: return eval_filter(r, node, scope, jval_missing());
    case N_TEST: return eval_test(r, node, scope);
    default: jrun_fail(r, "an expression of an unknown kind (%d)", node->type);
    }
}

struct jval jeval(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    jrun_enter(r);
    struct jval v = eval(r, node, scope);
    jrun_leave(r);
    return v;
}
