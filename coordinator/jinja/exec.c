/* The execution of statements. */
#include "coordinator/jinja/node.h"

#include <errno.h>

static void check_text(struct jinja_run *r)
{
    if (r->out->n > r->limits.text_bytes)
        jrun_fail_code(r, E2BIG, "the text is longer than %zu bytes, the limit", r->limits.text_bytes);
}

/* Executes body with its text going to *text. */
static enum jflow capture(struct jinja_run *r, const struct jnodes *body, struct jscope *scope, struct jbuf *text)
{
    struct jbuf *out = r->out;
    r->out = text;
    enum jflow flow = jexec(r, body, scope);
    r->out = out;
    return flow;
}

/* -- assignment -- */

static void unpack(struct jinja_run *r, struct jscope *scope, const struct jnode *target, struct jval v)
{
    if (!jval_iterable(v)) jrun_fail(r, "cannot unpack non-iterable %s object", jval_type(v));
    const struct jseq *q = jval_elements(r, v);
    if (q->n < target->list.n)
        jrun_fail(r, "not enough values to unpack (expected %zu, got %zu)", target->list.n, q->n);
    if (q->n > target->list.n) jrun_fail(r, "too many values to unpack (expected %zu)", target->list.n);
    for (size_t i = 0; i < q->n; i++) jexec_assign(r, scope, target->list.v[i], q->v[i]);
}

static void assign_attribute(struct jinja_run *r, struct jscope *scope, const struct jnode *target, struct jval v)
{
    struct jnode name = {.type = N_NAME, .line = target->line, .name = target->name};
    struct jval ns = jeval(r, &name, scope);
    if (ns.kind != J_NAMESPACE) jrun_fail(r, "cannot assign attribute on non-namespace object");
    jnamespace_check(r, target->value.s);
    jdict_set(r, ns.d, target->value, v);
}

void jexec_assign(struct jinja_run *r, struct jscope *scope, const struct jnode *target, struct jval v)
{
    jrun_enter(r);
    if (target->type == N_TUPLE)
        unpack(r, scope, target, v);
    else if (target->type == N_NSREF)
        assign_attribute(r, scope, target, v);
    else
        jscope_set(r, scope, target->name, v);
    jrun_leave(r);
}

static enum jflow exec_set_block(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    struct jbuf text = {0};
    struct jscope *inner = jscope_new(r, scope);
    enum jflow flow = capture(r, &node->body, inner, &text);
    if (flow != FLOW_NEXT) return flow;
    struct jval v = jbuf_value(r, &text);
    if (node->b) v = jeval_filters(r, node->b, inner, v);
    jexec_assign(r, scope, node->a, v);
    return FLOW_NEXT;
}

/* -- macros -- */

struct jval jmacro_name(struct jinja_run *r, const struct jmacro *m)
{
    const struct jstr *name = m->node->name;
    return name ? jval_str(r, name->s, name->n) : jval_none();
}

static struct jval new_macro(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    struct jmacro *m = jrun_alloc(r, sizeof *m);
    *m = (struct jmacro){node, scope};
    return (struct jval){.kind = J_MACRO, .macro = m};
}

/* Takes a keyword argument out of *a, J_MISSING if it is not there. */
static struct jval take_keyword(struct jargs *a, const struct jstr *name)
{
    for (size_t i = 0; i < a->nkw; i++)
        if (jstr_equal(a->kw[i].name, name)) {
            struct jval v = a->kw[i].v;
            memmove(a->kw + i, a->kw + i + 1, (--a->nkw - i) * sizeof *a->kw);
            return v;
        }
    return jval_missing();
}

static void bind_named(struct jinja_run *r, const struct jnode *node, struct jscope *scope, struct jargs *a)
{
    size_t params = node->list.n;
    for (size_t i = 0; i < params; i++) {
        const struct jstr *name = node->list.v[i]->name;
        struct jval v = i < a->n ? a->v[i] : take_keyword(a, name);
        if (v.kind != J_MISSING) jscope_set(r, scope, name, v);
    }
    for (size_t i = a->n; i < params; i++) {
        const struct jstr *name = node->list.v[i]->name;
        bool given = false;
        for (size_t k = 0; k < scope->n; k++) given |= scope->v[k].name == name;
        size_t first = params - node->list2.n;
        if (!given && i >= first)
            jscope_set(r, scope, name, jeval(r, node->list2.v[i - first], scope));
        else if (!given)
            jscope_set(r, scope, name, jval_undefined(r, jval_missing(), jval_str(r, name->s, name->n)));
    }
}

/* caller, kwargs and varargs, as far as the body uses them; what is left over is an error. */
static void bind_special(struct jinja_run *r, const struct jnode *node, struct jscope *scope, struct jargs *a)
{
    size_t params = node->list.n;
    if (node->uses & USES_CALLER) {
        struct jval caller = take_keyword(a, r->program->caller);
        jscope_set(r, scope, r->program->caller,
                   caller.kind == J_MISSING ? jval_undefined_hint(r, "No caller defined") : caller);
    }
    if (node->uses & USES_KWARGS) {
        struct jdict *d = jdict_new(r, a->nkw);
        for (size_t i = 0; i < a->nkw; i++)
            jdict_set(r, d, jval_str(r, a->kw[i].name->s, a->kw[i].name->n), a->kw[i].v);
        jscope_set(r, scope, r->program->kwargs, jval_of_dict(d));
    } else if (a->nkw) {
        jrun_fail(r, "the macro takes no keyword argument '%.*s'", (int)a->kw[0].name->n, a->kw[0].name->s);
    }
    if (node->uses & USES_VARARGS) {
        struct jseq *q = jseq_new(r, 0);
        for (size_t i = params; i < a->n; i++) jseq_push(r, q, a->v[i]);
        jscope_set(r, scope, r->program->varargs, jval_of_tuple(q));
    } else if (a->n > params) {
        jrun_fail(r, "the macro takes not more than %zu argument(s)", params);
    }
}

struct jval jexec_macro(struct jinja_run *r, const struct jmacro *m, struct jargs *a)
{
    struct jscope *scope = jscope_new(r, m->scope);
    struct jbuf text = {0};
    jrun_enter(r);
    bind_named(r, m->node, scope, a);
    bind_special(r, m->node, scope, a);
    capture(r, &m->node->body, scope, &text);
    jrun_leave(r);
    return jbuf_value(r, &text);
}

/* -- statements -- */

static enum jflow exec_if(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    if (jval_truth(r, jeval(r, node->a, scope))) return jexec(r, &node->body, scope);
    for (size_t i = 0; i < node->list.n; i++)
        if (jval_truth(r, jeval(r, node->list.v[i]->a, scope))) return jexec(r, &node->list.v[i]->body, scope);
    return jexec(r, &node->orelse, scope);
}

static enum jflow exec_with(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    struct jscope *inner = jscope_new(r, scope);
    for (size_t i = 0; i < node->list.n; i++)
        jexec_assign(r, inner, node->list.v[i], jeval(r, node->list2.v[i], scope));
    return jexec(r, &node->body, inner);
}

static enum jflow exec_filter_block(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    struct jbuf text = {0};
    struct jscope *inner = jscope_new(r, scope);
    enum jflow flow = capture(r, &node->body, inner, &text);
    if (flow == FLOW_NEXT) jbuf_str(r, r->out, jeval_filters(r, node->a, inner, jbuf_value(r, &text)));
    return flow;
}

static void exec_print(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    for (size_t i = 0; i < node->list.n; i++) jbuf_str(r, r->out, jeval(r, node->list.v[i], scope));
}

static enum jflow exec(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    switch (node->type) {
    case N_DATA: jbuf_str(r, r->out, node->value); break;
    case N_PRINT: exec_print(r, node, scope); break;
    case N_IF: return exec_if(r, node, scope);
    case N_FOR: return jexec_for(r, node, scope);
    case N_SET: jexec_assign(r, scope, node->a, jeval(r, node->b, scope)); break;
    case N_SETBLOCK: return exec_set_block(r, node, scope);
    case N_MACRO: jscope_set(r, scope, node->name, new_macro(r, node, scope)); break;
    case N_CALLBLOCK: jbuf_str(r, r->out, jeval_call(r, node->a, scope, new_macro(r, node, scope))); break;
    case N_FILTERBLOCK: return exec_filter_block(r, node, scope);
    case N_WITH: return exec_with(r, node, scope);
    case N_SCOPE: return jexec(r, &node->body, jscope_new(r, scope));
    case N_BLOCK: return jexec(r, &node->body, jscope_new(r, node->flag ? scope : r->root));
    case N_BREAK: return FLOW_BREAK;
    case N_CONTINUE: return FLOW_CONTINUE;
    default:
        jrun_fail(r, "'%.*s' does not work in a chat template, which has no other templates", (int)node->name->n,
                  node->name->s);
    }
    return FLOW_NEXT;
}

enum jflow jexec(struct jinja_run *r, const struct jnodes *body, struct jscope *scope)
{
    enum jflow flow = FLOW_NEXT;
    jrun_enter(r);
    for (size_t i = 0; i < body->n && flow == FLOW_NEXT; i++) {
        r->line = body->v[i]->line;
        jrun_charge(r, 1);
        flow = exec(r, body->v[i], scope);
        check_text(r);
    }
    jrun_leave(r);
    return flow;
}
