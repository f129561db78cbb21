/* The for loop and its `loop` variable. */
#include "coordinator/jinja/node.h"

/* -- iterating -- */

/* The next item that meets the condition, J_MISSING at the end. */
static struct jval fetch(struct jinja_run *r, struct jloop *loop)
{
    while (loop->next < loop->items->n) {
        struct jval v = loop->items->v[loop->next++];
        jrun_charge(r, 1);
        if (!loop->node->c || loop->passed) return v;
        loop->test->n = 0;
        jexec_assign(r, loop->test, loop->node->a, v);
        if (jval_truth(r, jeval(r, loop->node->c, loop->test))) return v;
    }
    return jval_missing();
}

static struct jval peek(struct jinja_run *r, struct jloop *loop)
{
    if (loop->after.kind == J_MISSING) loop->after = fetch(r, loop);
    return loop->after;
}

static bool advance(struct jinja_run *r, struct jloop *loop)
{
    struct jval v = loop->after.kind == J_MISSING ? fetch(r, loop) : loop->after;
    loop->after = jval_missing();
    if (v.kind == J_MISSING) return false;
    loop->index0++;
    loop->before = loop->current;
    loop->current = v;
    return true;
}

size_t jloop_length(struct jinja_run *r, struct jloop *loop)
{
    if (loop->length == SIZE_MAX && !loop->node->c) loop->length = loop->items->n;
    if (loop->length == SIZE_MAX) {
        struct jseq *rest = jseq_new(r, 0);
        for (struct jval v; (v = fetch(r, loop)).kind != J_MISSING;) jseq_push(r, rest, v);
        loop->items = rest;
        loop->next = 0;
        loop->passed = true;
        loop->length = loop->index0 + 1 + (loop->after.kind != J_MISSING) + rest->n;
    }
    return loop->length;
}

/* One round after the other; whether any came to its end is in *any (a round cut short by break or continue does not
 * keep Jinja from the else part). */
static void iterate(struct jinja_run *r, struct jloop *loop, bool *any)
{
    struct jscope *scope = jscope_new(r, loop->outer);
    const struct jnode *node = loop->node;
    while (advance(r, loop)) {
        scope->n = 0; /* what a round sets is gone in the next */
        jexec_assign(r, scope, node->a, loop->current);
        jscope_set(r, scope, r->program->loop, (struct jval){.kind = J_LOOP, .loop = loop});
        enum jflow flow = jexec(r, &node->body, scope);
        *any |= flow == FLOW_NEXT;
        if (flow == FLOW_BREAK) break;
    }
}

static enum jflow run_loop(struct jinja_run *r, const struct jnode *node, struct jscope *outer, struct jval over,
                           unsigned depth0)
{
    struct jloop *loop = jrun_alloc(r, sizeof *loop);
    bool any = false;
    r->line = node->line;
    *loop = (struct jloop){.node = node,
                           .outer = outer,
                           .items = jval_elements(r, over),
                           .index0 = SIZE_MAX,
                           .length = SIZE_MAX,
                           .depth0 = depth0};
    loop->test = node->c ? jscope_new(r, outer) : NULL;
    iterate(r, loop, &any);
    return any || !node->orelse.n ? FLOW_NEXT : jexec(r, &node->orelse, jscope_new(r, outer));
}

enum jflow jexec_for(struct jinja_run *r, const struct jnode *node, struct jscope *scope)
{
    return run_loop(r, node, scope, jeval(r, node->b, scope), 0);
}

struct jval jexec_recurse(struct jinja_run *r, const struct jloop *loop, struct jval items)
{
    if (!loop->node->flag) jrun_fail(r, "The loop must have the 'recursive' marker to be called recursively.");
    struct jbuf text = {0}, *out = r->out;
    jrun_enter(r);
    r->out = &text;
    run_loop(r, loop->node, loop->outer, items, loop->depth0 + 1);
    r->out = out;
    jrun_leave(r);
    return jbuf_value(r, &text);
}

/* -- what the template asks of it -- */

static struct jval neighbour(struct jinja_run *r, struct jval v, const char *hint)
{
    return v.kind == J_MISSING ? jval_undefined_hint(r, hint) : v;
}

static struct jval get_index(struct jinja_run *r, struct jloop *l)
{
    return jval_size(r, l->index0 + 1);
}
static struct jval get_index0(struct jinja_run *r, struct jloop *l)
{
    return jval_size(r, l->index0);
}
static struct jval get_first(struct jinja_run *r, struct jloop *l)
{
    (void)r;
    return jval_bool(l->index0 == 0);
}
static struct jval get_last(struct jinja_run *r, struct jloop *l)
{
    return jval_bool(peek(r, l).kind == J_MISSING);
}
static struct jval get_length(struct jinja_run *r, struct jloop *l)
{
    return jval_size(r, jloop_length(r, l));
}
static struct jval get_revindex(struct jinja_run *r, struct jloop *l)
{
    return jval_size(r, jloop_length(r, l) - l->index0);
}
static struct jval get_revindex0(struct jinja_run *r, struct jloop *l)
{
    return jval_size(r, jloop_length(r, l) - l->index0 - 1);
}
static struct jval get_depth(struct jinja_run *r, struct jloop *l)
{
    (void)r;
    return jval_int(l->depth0 + 1);
}
static struct jval get_depth0(struct jinja_run *r, struct jloop *l)
{
    (void)r;
    return jval_int(l->depth0);
}
static struct jval get_previtem(struct jinja_run *r, struct jloop *l)
{
    return neighbour(r, l->before, "there is no previous item");
}
static struct jval get_nextitem(struct jinja_run *r, struct jloop *l)
{
    return neighbour(r, peek(r, l), "there is no next item");
}

static const struct {
    const char *name;
    struct jval (*get)(struct jinja_run *r, struct jloop *l);
} ATTRIBUTES[] = {
    {"index", get_index},   {"index0", get_index0},     {"first", get_first},         {"last", get_last},
    {"length", get_length}, {"revindex", get_revindex}, {"revindex0", get_revindex0}, {"depth", get_depth},
    {"depth0", get_depth0}, {"previtem", get_previtem}, {"nextitem", get_nextitem},
};

struct jval jloop_attribute(struct jinja_run *r, struct jval v, const struct jstr *name)
{
    struct jval asked = {.kind = J_STR, .s = (struct jstr *)name};
    if (v.kind == J_CYCLER) return jval_is_cstr(asked, "current") ? v.cycler->items->v[v.cycler->pos] : jval_missing();
    for (size_t i = 0; i < sizeof ATTRIBUTES / sizeof *ATTRIBUTES; i++)
        if (jval_is_cstr(asked, ATTRIBUTES[i].name)) return ATTRIBUTES[i].get(r, v.loop);
    return jval_missing();
}

static struct jval loop_cycle(struct jinja_run *r, struct jval self, struct jargs *a)
{
    if (!a->n || a->nkw) jrun_fail(r, "no items for cycling given");
    return a->v[self.loop->index0 % a->n];
}

static struct jval loop_changed(struct jinja_run *r, struct jval self, struct jargs *a)
{
    struct jseq *q = jseq_new(r, a->n);
    for (size_t i = 0; i < a->n; i++) jseq_push(r, q, a->v[i]);
    struct jval now = jval_of_tuple(q);
    bool changed = self.loop->changed.kind == J_MISSING || !jval_equal(r, self.loop->changed, now);
    self.loop->changed = now;
    return jval_bool(changed);
}

const struct jbuiltin JLOOP_METHODS[] = {{"cycle", loop_cycle, NULL, 0}, {"changed", loop_changed, NULL, 0}, {0}};
