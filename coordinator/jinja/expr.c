/* The parser of expressions.  Source of the grammar: jinja2/parser.py. */
#include "coordinator/jinja/node.h"

#include <stdarg.h>
#include <stdio.h>

enum { PARSE_DEPTH_MAX = 200 };

/* -- nodes and tokens -- */

struct jnode *jnode_new(struct jparser *p, enum jnode_type type, unsigned line)
{
    struct jnode *node = jrun_alloc(p->r, sizeof *node);
    node->type = (uint8_t)type;
    node->line = line;
    return node;
}

void jnodes_push(struct jparser *p, struct jnodes *list, struct jnode *node)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 4;
        struct jnode **grown = jrun_array(p->r, cap, sizeof *grown);
        if (list->n) memcpy(grown, list->v, list->n * sizeof *grown);
        list->v = grown;
        list->cap = cap;
    }
    list->v[list->n++] = node;
}

struct jstr *jparse_intern(struct jparser *p, const char *s, size_t n)
{
    const struct jval *known = jdict_get_str(p->r, p->names, s, n);
    if (known) return known->s;
    struct jval name = jval_str(p->r, s, n);
    jdict_set(p->r, p->names, name, name);
    return name.s;
}

void jparse_fail(struct jparser *p, unsigned line, const char *fmt, ...)
{
    char what[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    p->r->line = line;
    jrun_fail(p->r, "%s", what);
}

static void describe(const struct jtoken *t, char text[64])
{
    static const char *const names[] = {
        [T_EOF] = "end of template",
        [T_DATA] = "template data / text",
        [T_VARIABLE_BEGIN] = "begin of print statement",
        [T_VARIABLE_END] = "end of print statement",
        [T_BLOCK_BEGIN] = "begin of statement block",
        [T_BLOCK_END] = "end of statement block",
        [T_CONST] = "a literal",
    };
    if (t->type == T_NAME || t->type == T_OP)
        snprintf(text, 64, "'%.*s'", t->n < 40 ? (int)t->n : 40, t->s);
    else
        snprintf(text, 64, "%s", names[t->type]);
}

void jparse_unexpected(struct jparser *p, const char *wanted)
{
    char text[64];
    describe(p->tok, text);
    if (wanted) jparse_fail(p, p->tok->line, "expected %s, got %s", wanted, text);
    jparse_fail(p, p->tok->line, "unexpected %s", text);
}

void jparse_enter(struct jparser *p)
{
    jrun_charge(p->r, 1);
    if (++p->depth > PARSE_DEPTH_MAX) jparse_fail(p, p->tok->line, "nested more than %d deep", PARSE_DEPTH_MAX);
}

void jparse_next(struct jparser *p)
{
    if (p->tok->type != T_EOF) p->tok++;
}

bool jparse_is_op(const struct jparser *p, int op)
{
    return p->tok->type == T_OP && p->tok->op == op;
}

static bool token_is_name(const struct jtoken *t, const char *name)
{
    return t->type == T_NAME && t->n == strlen(name) && !memcmp(t->s, name, t->n);
}

bool jparse_is_name(const struct jparser *p, const char *name)
{
    return token_is_name(p->tok, name);
}

bool jparse_skip_op(struct jparser *p, int op)
{
    bool is = jparse_is_op(p, op);
    if (is) jparse_next(p);
    return is;
}

bool jparse_skip_name(struct jparser *p, const char *name)
{
    bool is = jparse_is_name(p, name);
    if (is) jparse_next(p);
    return is;
}

void jparse_expect_op(struct jparser *p, int op)
{
    char wanted[] = "' '";
    wanted[1] = (char)op;
    if (!jparse_skip_op(p, op)) jparse_unexpected(p, wanted);
}

void jparse_expect_name(struct jparser *p, const char *name)
{
    char wanted[32];
    snprintf(wanted, sizeof wanted, "'%s'", name);
    if (!jparse_skip_name(p, name)) jparse_unexpected(p, wanted);
}

struct jstr *jparse_name(struct jparser *p)
{
    if (p->tok->type != T_NAME) jparse_unexpected(p, "a name");
    struct jstr *name = jparse_intern(p, p->tok->s, p->tok->n);
    jparse_next(p);
    return name;
}

static struct jnode *binary(struct jparser *p, enum jnode_type type, unsigned line, struct jnode *a, struct jnode *b)
{
    struct jnode *node = jnode_new(p, type, line);
    node->a = a;
    node->b = b;
    return node;
}

static struct jnode *constant(struct jparser *p, unsigned line, struct jval v)
{
    struct jnode *node = jnode_new(p, N_CONST, line);
    node->value = v;
    return node;
}

/* -- literals and names -- */

static struct jnode *parse_name(struct jparser *p, bool namespaces)
{
    unsigned line = p->tok->line;
    struct jval name = jval_of_str(jparse_name(p));
    bool yes = jval_is_cstr(name, "true") || jval_is_cstr(name, "True");
    if (yes || jval_is_cstr(name, "false") || jval_is_cstr(name, "False")) return constant(p, line, jval_bool(yes));
    if (jval_is_cstr(name, "none") || jval_is_cstr(name, "None")) return constant(p, line, jval_none());
    struct jnode *node = jnode_new(p, N_NAME, line);
    node->name = name.s;
    if (namespaces && jparse_skip_op(p, '.')) {
        node->type = N_NSREF;
        node->value = jval_of_str(jparse_name(p));
    }
    p->uses |= name.s == p->t->caller    ? USES_CALLER
               : name.s == p->t->kwargs  ? USES_KWARGS
               : name.s == p->t->varargs ? USES_VARARGS
                                         : 0;
    return node;
}

static struct jnode *parse_constant(struct jparser *p)
{
    struct jnode *node = constant(p, p->tok->line, p->tok->value);
    jparse_next(p);
    if (node->value.kind != J_STR) return node;
    struct jbuf b = {0};
    jbuf_str(p->r, &b, node->value);
    for (; p->tok->type == T_CONST && p->tok->value.kind == J_STR; jparse_next(p)) jbuf_str(p->r, &b, p->tok->value);
    node->value = jbuf_value(p->r, &b);
    jstr_chars(p->r, node->value.s); /* counted now, since later several threads may read the node */
    return node;
}

static struct jnode *parse_list(struct jparser *p)
{
    struct jnode *node = jnode_new(p, N_LIST, p->tok->line);
    jparse_expect_op(p, '[');
    while (!jparse_is_op(p, ']')) {
        if (node->list.n) jparse_expect_op(p, ',');
        if (!jparse_is_op(p, ']')) jnodes_push(p, &node->list, jparse_expression(p));
    }
    jparse_next(p);
    return node;
}

static struct jnode *parse_dict(struct jparser *p)
{
    struct jnode *node = jnode_new(p, N_DICT, p->tok->line);
    jparse_expect_op(p, '{');
    while (!jparse_is_op(p, '}')) {
        if (node->list.n) jparse_expect_op(p, ',');
        if (jparse_is_op(p, '}')) break;
        jnodes_push(p, &node->list, jparse_expression(p));
        jparse_expect_op(p, ':');
        jnodes_push(p, &node->list, jparse_expression(p));
    }
    jparse_next(p);
    return node;
}

static struct jnode *parse_primary(struct jparser *p, bool namespaces)
{
    if (p->tok->type == T_NAME) return parse_name(p, namespaces);
    if (p->tok->type == T_CONST) return parse_constant(p);
    if (jparse_is_op(p, '[')) return parse_list(p);
    if (jparse_is_op(p, '{')) return parse_dict(p);
    if (!jparse_skip_op(p, '(')) jparse_unexpected(p, NULL);
    struct jnode *node = jparse_tuple(p, (struct jparse_tuple){.parenthesized = true});
    jparse_expect_op(p, ')');
    return node;
}

static bool tuple_ends(struct jparser *p, const char *end)
{
    return p->tok->type == T_VARIABLE_END || p->tok->type == T_BLOCK_END || jparse_is_op(p, ')') ||
           (end && jparse_is_name(p, end));
}

static struct jnode *parse_or(struct jparser *p);

struct jnode *jparse_tuple(struct jparser *p, struct jparse_tuple how)
{
    struct jnode *node = jnode_new(p, N_TUPLE, p->tok->line);
    bool comma = false;
    jparse_enter(p);
    while (!tuple_ends(p, how.end)) {
        jnodes_push(p, &node->list,
                    how.simplified     ? parse_primary(p, how.namespaces)
                    : how.no_condition ? parse_or(p)
                                       : jparse_expression(p));
        if (!jparse_skip_op(p, ',')) break;
        comma = true;
    }
    p->depth--;
    if (!comma && node->list.n) return node->list.v[0];
    if (!comma && !how.parenthesized) jparse_unexpected(p, "an expression");
    return node;
}

/* -- calls, subscripts, filters, tests -- */

static void parse_argument(struct jparser *p, struct jcallargs *call, unsigned line)
{
    bool dynamic = call->star || call->starstar, ok = true;
    if (jparse_skip_op(p, '*')) {
        ok = !dynamic;
        call->star = jparse_expression(p);
    } else if (jparse_skip_op(p, OP_POW)) {
        ok = !call->starstar;
        call->starstar = jparse_expression(p);
    } else if (p->tok->type == T_NAME && p->tok[1].type == T_OP && p->tok[1].op == '=') {
        ok = !call->starstar;
        struct jnode *name = jnode_new(p, N_NAME, p->tok->line);
        name->name = jparse_name(p);
        jparse_next(p);
        jnodes_push(p, &call->names, name);
        jnodes_push(p, &call->values, jparse_expression(p));
    } else {
        ok = !dynamic && !call->names.n;
        jnodes_push(p, &call->pos, jparse_expression(p));
    }
    if (!ok) jparse_fail(p, line, "invalid syntax for function call expression");
}

static struct jcallargs *parse_call_args(struct jparser *p)
{
    struct jcallargs *call = jrun_alloc(p->r, sizeof *call);
    unsigned line = p->tok->line;
    jparse_expect_op(p, '(');
    for (bool first = true; !jparse_is_op(p, ')'); first = false) {
        if (!first) jparse_expect_op(p, ',');
        if (!jparse_is_op(p, ')')) parse_argument(p, call, line);
    }
    jparse_next(p);
    return call;
}

static struct jnode *parse_call(struct jparser *p, struct jnode *callee)
{
    struct jnode *node = jnode_new(p, N_CALL, p->tok->line);
    node->a = callee;
    node->call = parse_call_args(p);
    return node;
}

/* One part of a subscript: an expression, or a slice. */
static struct jnode *parse_subscribed(struct jparser *p)
{
    struct jnode *slice = jnode_new(p, N_SLICE, p->tok->line), *part = NULL;
    if (!jparse_is_op(p, ':')) {
        part = jparse_expression(p);
        if (!jparse_is_op(p, ':')) return part;
    }
    jnodes_push(p, &slice->list, part);
    for (int i = 0; i < 2; i++) {
        part = NULL;
        if (jparse_skip_op(p, ':') && !jparse_is_op(p, ':') && !jparse_is_op(p, ']') && !jparse_is_op(p, ','))
            part = jparse_expression(p);
        jnodes_push(p, &slice->list, part);
    }
    return slice;
}

static struct jnode *parse_subscript(struct jparser *p, struct jnode *of)
{
    struct jnode *node = jnode_new(p, N_GETITEM, p->tok->line), *keys = jnode_new(p, N_TUPLE, p->tok->line);
    node->a = of;
    if (jparse_skip_op(p, '.')) {
        if (p->tok->type == T_NAME) {
            node->type = N_GETATTR;
            node->name = jparse_name(p);
        } else if (p->tok->type == T_CONST && p->tok->value.kind == J_INT) {
            node->b = constant(p, p->tok->line, p->tok->value);
            jparse_next(p);
        } else {
            jparse_unexpected(p, "a name or number");
        }
        return node;
    }
    jparse_expect_op(p, '[');
    while (!jparse_is_op(p, ']')) {
        if (keys->list.n) jparse_expect_op(p, ',');
        jnodes_push(p, &keys->list, parse_subscribed(p));
        if (keys->list.n > 1 && (keys->list.v[0]->type == N_SLICE || keys->list.v[keys->list.n - 1]->type == N_SLICE))
            jparse_fail(p, node->line, "a slice of several dimensions is not supported");
    }
    jparse_next(p);
    node->b = keys->list.n == 1 ? keys->list.v[0] : keys;
    if (node->b->type == N_SLICE) {
        node->b->a = of;
        return node->b;
    }
    return node;
}

static struct jnode *parse_postfix(struct jparser *p, struct jnode *node)
{
    for (;;) {
        if (jparse_is_op(p, '.') || jparse_is_op(p, '['))
            node = parse_subscript(p, node);
        else if (jparse_is_op(p, '('))
            node = parse_call(p, node);
        else
            return node;
    }
}

/* name or name.name, as filters and tests may have it */
static struct jstr *dotted_name(struct jparser *p)
{
    struct jbuf b = {0};
    struct jstr *name = jparse_name(p);
    jbuf_put(p->r, &b, name->s, name->n);
    while (jparse_skip_op(p, '.')) {
        name = jparse_name(p);
        jbuf_char(p->r, &b, '.');
        jbuf_put(p->r, &b, name->s, name->n);
    }
    return jbuf_value(p->r, &b).s;
}

/* node|name(...)|name...; first_named: the first comes without its bar. */
struct jnode *jparse_filters(struct jparser *p, struct jnode *node, bool first_named)
{
    while (first_named || jparse_skip_op(p, '|')) {
        first_named = false;
        struct jnode *filter = jnode_new(p, N_FILTER, p->tok->line);
        filter->a = node;
        filter->name = dotted_name(p);
        filter->fn = jfilter_find(filter->name);
        filter->call = jparse_is_op(p, '(') ? parse_call_args(p) : jrun_alloc(p->r, sizeof *filter->call);
        node = filter;
    }
    return node;
}

static bool test_argument_follows(struct jparser *p)
{
    if (p->tok->type == T_NAME)
        return !jparse_is_name(p, "else") && !jparse_is_name(p, "or") && !jparse_is_name(p, "and");
    return p->tok->type == T_CONST || jparse_is_op(p, '[') || jparse_is_op(p, '{');
}

static struct jnode *parse_test(struct jparser *p, struct jnode *of)
{
    struct jnode *test = jnode_new(p, N_TEST, p->tok->line), *not ;
    jparse_next(p);
    bool negated = jparse_skip_name(p, "not");
    test->a = of;
    test->name = dotted_name(p);
    test->fn = jtest_find(test->name);
    if (jparse_is_op(p, '(')) {
        test->call = parse_call_args(p);
    } else {
        test->call = jrun_alloc(p->r, sizeof *test->call);
        if (test_argument_follows(p)) {
            if (jparse_is_name(p, "is")) jparse_fail(p, p->tok->line, "You cannot chain multiple tests with is");
            jnodes_push(p, &test->call->pos, parse_postfix(p, parse_primary(p, false)));
        }
    }
    if (!negated) return test;
    not = jnode_new(p, N_NOT, test->line);
    not ->a = test;
    return not ;
}

/* -- operators, from the tightest to the loosest -- */

static struct jnode *parse_unary(struct jparser *p, bool with_filters)
{
    struct jnode *node;
    jparse_enter(p);
    if (jparse_is_op(p, '-') || jparse_is_op(p, '+')) {
        node = jnode_new(p, N_SIGN, p->tok->line);
        node->flag = jparse_is_op(p, '-');
        jparse_next(p);
        node->a = parse_unary(p, false);
    } else {
        node = parse_primary(p, false);
    }
    node = parse_postfix(p, node);
    while (with_filters) {
        if (jparse_is_op(p, '|'))
            node = jparse_filters(p, node, false);
        else if (jparse_is_name(p, "is"))
            node = parse_test(p, node);
        else if (jparse_is_op(p, '('))
            node = parse_call(p, node);
        else
            break;
    }
    p->depth--;
    return node;
}

struct level {
    int token;
    enum jop op;
};

static struct jnode *parse_operators(struct jparser *p, const struct level *levels,
                                     struct jnode *(*operand)(struct jparser *))
{
    struct jnode *left = operand(p);
    for (size_t i = 0; levels[i].token;) {
        if (!jparse_is_op(p, levels[i].token)) {
            i++;
            continue;
        }
        unsigned line = p->tok->line;
        jparse_next(p);
        left = binary(p, N_BINARY, line, left, operand(p));
        left->op = (uint8_t)levels[i].op;
        i = 0;
    }
    return left;
}

static struct jnode *parse_signed(struct jparser *p)
{
    return parse_unary(p, true);
}

static struct jnode *parse_pow(struct jparser *p)
{
    static const struct level levels[] = {{OP_POW, JOP_POW}, {0}};
    return parse_operators(p, levels, parse_signed);
}

static struct jnode *parse_product(struct jparser *p)
{
    static const struct level levels[] = {
        {'*', JOP_MUL}, {'/', JOP_DIV}, {OP_FLOORDIV, JOP_FLOORDIV}, {'%', JOP_MOD}, {0}};
    return parse_operators(p, levels, parse_pow);
}

static struct jnode *parse_concat(struct jparser *p)
{
    struct jnode *first = parse_product(p);
    if (!jparse_is_op(p, '~')) return first;
    struct jnode *node = jnode_new(p, N_CONCAT, first->line);
    jnodes_push(p, &node->list, first);
    while (jparse_skip_op(p, '~')) jnodes_push(p, &node->list, parse_product(p));
    return node;
}

static struct jnode *parse_sum(struct jparser *p)
{
    static const struct level levels[] = {{'+', JOP_ADD}, {'-', JOP_SUB}, {0}};
    return parse_operators(p, levels, parse_concat);
}

/* The comparison that comes next, skipped; -1 if none does. */
static int skip_comparison(struct jparser *p)
{
    static const struct {
        int token;
        enum jcompare op;
    } signs[] = {{OP_EQ, JCMP_EQ}, {OP_NE, JCMP_NE}, {'<', JCMP_LT},
                 {OP_LE, JCMP_LE}, {'>', JCMP_GT},   {OP_GE, JCMP_GE}};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (jparse_skip_op(p, signs[i].token)) return (int)signs[i].op;
    if (jparse_skip_name(p, "in")) return JCMP_IN;
    if (!jparse_is_name(p, "not") || !token_is_name(p->tok + 1, "in")) return -1;
    jparse_next(p);
    jparse_next(p);
    return JCMP_NOTIN;
}

static struct jnode *parse_compare(struct jparser *p)
{
    struct jnode *first = parse_sum(p), *node = NULL;
    unsigned line = p->tok->line;
    for (int op; (op = skip_comparison(p)) >= 0;) {
        if (!node) node = jnode_new(p, N_COMPARE, line);
        struct jnode *operand = jnode_new(p, N_OPERAND, line);
        operand->op = (uint8_t)op;
        operand->a = parse_sum(p);
        jnodes_push(p, &node->list, operand);
    }
    if (!node) return first;
    node->a = first;
    return node;
}

static struct jnode *parse_not(struct jparser *p)
{
    if (!jparse_is_name(p, "not")) return parse_compare(p);
    struct jnode *node = jnode_new(p, N_NOT, p->tok->line);
    jparse_enter(p);
    jparse_next(p);
    node->a = parse_not(p);
    p->depth--;
    return node;
}

static struct jnode *parse_and(struct jparser *p)
{
    struct jnode *left = parse_not(p);
    for (unsigned line; line = p->tok->line, jparse_skip_name(p, "and");)
        left = binary(p, N_AND, line, left, parse_not(p));
    return left;
}

static struct jnode *parse_or(struct jparser *p)
{
    struct jnode *left = parse_and(p);
    for (unsigned line; line = p->tok->line, jparse_skip_name(p, "or");)
        left = binary(p, N_OR, line, left, parse_and(p));
    return left;
}

struct jnode *jparse_expression(struct jparser *p)
{
    jparse_enter(p);
    struct jnode *node = parse_or(p);
    for (unsigned line; line = p->tok->line, jparse_skip_name(p, "if");) {
        struct jnode *condition = parse_or(p);
        struct jnode *otherwise = jparse_skip_name(p, "else") ? jparse_expression(p) : NULL;
        node = binary(p, N_COND, line, node, condition);
        node->c = otherwise;
    }
    p->depth--;
    return node;
}
