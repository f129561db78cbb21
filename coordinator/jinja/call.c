/* Calls: arguments bound to the parameters of builtins, and what can be called. */
#include "coordinator/jinja/node.h"

int64_t jarg_int(struct jinja_run *r, struct jval v, int64_t missing, const char *what)
{
    if (!jarg_given(v)) return missing;
    if (v.kind == J_UNDEFINED) jrun_fail_undefined(r, v);
    if (!jval_is_integral(v)) jrun_fail(r, "%s must be an int, not %s", what, jval_type(v));
    return jval_integral(v);
}

bool jarg_truth(struct jinja_run *r, struct jval v, bool missing)
{
    return v.kind == J_MISSING ? missing : jval_truth(r, v);
}

const struct jbuiltin *jbuiltin_find(const struct jbuiltin *table, const struct jstr *name)
{
    for (; table->name; table++)
        if (strlen(table->name) == name->n && !memcmp(table->name, name->s, name->n)) return table;
    return NULL;
}

/* The place of a name in "a b c", SIZE_MAX if it is not there; NULL counts them. */
static size_t param_place(const char *params, const struct jstr *name)
{
    size_t place = 0;
    for (const char *p = params; *p; place++) {
        size_t n = strcspn(p, " ");
        if (name && n == name->n && !memcmp(p, name->s, n)) return place;
        p += n + (p[n] == ' ');
    }
    return name ? SIZE_MAX : place;
}

struct jval jbuiltin_call(struct jinja_run *r, const struct jbuiltin *fn, struct jval self, struct jargs *a)
{
    jrun_charge(r, 1);
    if (!fn->fn) jrun_fail(r, "'%s' would change a value, which the sandbox does not allow", fn->name);
    if (!fn->params) return fn->fn(r, self, a);
    struct jargs bound = {.n = param_place(fn->params, NULL)};
    if (a->n > bound.n) jrun_fail(r, "%s takes at most %zu arguments, %zu given", fn->name, bound.n, a->n);
    bound.v = jrun_array(r, bound.n, sizeof *bound.v);
    for (size_t i = 0; i < a->n; i++) bound.v[i] = a->v[i];
    for (size_t i = 0; i < a->nkw; i++) {
        const struct jstr *name = a->kw[i].name;
        size_t place = param_place(fn->params, name);
        if (place == SIZE_MAX)
            jrun_fail(r, "%s got an unexpected keyword argument '%.*s'", fn->name, (int)name->n, name->s);
        if (bound.v[place].kind != J_MISSING)
            jrun_fail(r, "%s got multiple values for argument '%.*s'", fn->name, (int)name->n, name->s);
        bound.v[place] = a->kw[i].v;
    }
    for (size_t i = 0; i < fn->required; i++)
        if (bound.v[i].kind == J_MISSING)
            jrun_fail(r, "%s is missing an argument (it takes: %s)", fn->name, fn->params);
    return fn->fn(r, self, &bound);
}

static struct jval joiner_call(struct jinja_run *r, struct jjoiner *j, struct jargs *a)
{
    if (a->n || a->nkw) jrun_fail(r, "a joiner takes no arguments");
    bool used = j->used;
    j->used = true;
    return used ? j->separator : jval_cstr(r, "");
}

struct jval jrun_call(struct jinja_run *r, struct jval callee, struct jargs *a)
{
    switch (callee.kind) {
    case J_UNDEFINED: jrun_fail_undefined(r, callee);
    case J_FUNCTION: return jbuiltin_call(r, callee.fn, jval_missing(), a);
    case J_METHOD: return jbuiltin_call(r, callee.method->fn, callee.method->self, a);
    case J_MACRO: return jexec_macro(r, callee.macro, a);
    case J_JOINER: return joiner_call(r, callee.joiner, a);
    case J_LOOP:
        if (a->n != 1 || a->nkw) jrun_fail(r, "loop() takes one argument, the items");
        return jexec_recurse(r, callee.loop, a->v[0]);
    default: jrun_fail(r, "'%s' object is not callable", jval_type(callee));
    }
}
