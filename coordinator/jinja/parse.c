/* The parser of statements.  Source of the grammar: jinja2/parser.py, the loop controls of jinja2/ext.py and the
 * generation tag of transformers. */
#include "coordinator/jinja/node.h"

#include <stdio.h>

struct tag {
    const char *name;
    struct jnode *(*parse)(struct jparser *p, unsigned line);
};

static const struct tag *find_tag(const struct jparser *p);

/* -- bodies -- */

static struct jnode *parse_print(struct jparser *p)
{
    struct jnode *node = jnode_new(p, N_PRINT, p->tok->line);
    jparse_next(p);
    jnodes_push(p, &node->list, jparse_tuple(p, (struct jparse_tuple){0}));
    if (p->tok->type != T_VARIABLE_END) jparse_unexpected(p, "end of print statement");
    jparse_next(p);
    return node;
}

static struct jnode *parse_data(struct jparser *p)
{
    struct jnode *node = jnode_new(p, N_DATA, p->tok->line);
    node->value = jval_str(p->r, p->tok->s, p->tok->n);
    jparse_next(p);
    return node;
}

static struct jnode *parse_statement(struct jparser *p)
{
    const struct jtoken *name = p->tok;
    if (name->type != T_NAME) jparse_fail(p, name->line, "tag name expected");
    const struct tag *tag = find_tag(p);
    if (!tag)
        jparse_fail(p, name->line, "Encountered unknown tag '%.*s'.", name->n < 100 ? (int)name->n : 100, name->s);
    unsigned outer = p->tag_line;
    p->tag_line = name->line;
    jparse_enter(p);
    jparse_next(p);
    struct jnode *node = tag->parse(p, name->line);
    p->depth--;
    p->tag_line = outer;
    if (p->tok->type != T_BLOCK_END) jparse_unexpected(p, "end of statement block");
    jparse_next(p);
    return node;
}

static const char *ends_with(const struct jparser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (jparse_is_name(p, *ends)) return *ends;
    return NULL;
}

static _Noreturn void fail_open(struct jparser *p, const char *const *ends)
{
    while (ends[1]) ends++;
    jparse_fail(p, p->tok->line, "unexpected end of template: '%s' is missing for the tag in line %u", *ends,
                p->tag_line);
}

/* Statements up to one of the tags in ends, the closing one last, which is skipped and returned; ends NULL: the whole
 * template. */
static const char *parse_body(struct jparser *p, struct jnodes *body, const char *const *ends)
{
    for (;;) {
        const char *end;
        if (p->tok->type == T_EOF) {
            if (ends) fail_open(p, ends);
            return NULL;
        }
        if (p->tok->type == T_DATA) {
            jnodes_push(p, body, parse_data(p));
        } else if (p->tok->type == T_VARIABLE_BEGIN) {
            jnodes_push(p, body, parse_print(p));
        } else {
            jparse_next(p);
            if ((end = ends_with(p, ends))) {
                jparse_next(p);
                return end;
            }
            jnodes_push(p, body, parse_statement(p));
        }
    }
}

/* The body of a tag, from the end of the tag on. */
static const char *parse_block(struct jparser *p, struct jnodes *body, const char *const *ends)
{
    jparse_skip_op(p, ':');
    if (p->tok->type != T_BLOCK_END) jparse_unexpected(p, "end of statement block");
    jparse_next(p);
    return parse_body(p, body, ends);
}

#define ENDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* -- assignment -- */

static void check_target(struct jparser *p, const struct jnode *target)
{
    if (target->type == N_NSREF) return;
    if (target->type == N_TUPLE) {
        for (size_t i = 0; i < target->list.n; i++) check_target(p, target->list.v[i]);
        return;
    }
    if (target->type != N_NAME) jparse_fail(p, target->line, "can't assign to this expression");
    if (target->name == p->t->loop && p->loops)
        jparse_fail(p, target->line, "Can't assign to special loop variable in for-loop target");
}

static struct jnode *parse_target(struct jparser *p, const char *end, bool namespaces)
{
    struct jnode *target =
        jparse_tuple(p, (struct jparse_tuple){.simplified = true, .end = end, .namespaces = namespaces});
    check_target(p, target);
    return target;
}

/* A single name that is assigned to. */
static struct jstr *parse_target_name(struct jparser *p)
{
    const struct jtoken *t = p->tok;
    static const char *const reserved[] = {"true", "false", "none", "True", "False", "None", NULL};
    if (ends_with(p, reserved)) jparse_fail(p, t->line, "can't assign to '%.*s'", (int)t->n, t->s);
    struct jstr *name = jparse_name(p);
    if (name == p->t->loop && p->loops)
        jparse_fail(p, t->line, "Can't assign to special loop variable in for-loop target");
    return name;
}

static struct jnode *tag_set(struct jparser *p, unsigned line)
{
    struct jnode *node = jnode_new(p, N_SET, line);
    node->a = parse_target(p, NULL, true);
    if (jparse_skip_op(p, '=')) {
        node->b = jparse_tuple(p, (struct jparse_tuple){0});
        return node;
    }
    node->type = N_SETBLOCK;
    node->b = jparse_filters(p, NULL, false);
    parse_block(p, &node->body, ENDS("endset"));
    return node;
}

static struct jnode *tag_with(struct jparser *p, unsigned line)
{
    struct jnode *node = jnode_new(p, N_WITH, line);
    while (p->tok->type != T_BLOCK_END) {
        if (node->list.n) jparse_expect_op(p, ',');
        jnodes_push(p, &node->list, parse_target(p, NULL, false));
        jparse_expect_op(p, '=');
        jnodes_push(p, &node->list2, jparse_expression(p));
    }
    parse_block(p, &node->body, ENDS("endwith"));
    return node;
}

/* -- control -- */

static struct jnode *tag_if(struct jparser *p, unsigned line)
{
    struct jnode *first = jnode_new(p, N_IF, line), *node = first;
    for (;;) {
        node->a = jparse_tuple(p, (struct jparse_tuple){.no_condition = true});
        const char *end = parse_block(p, &node->body, ENDS("elif", "else", "endif"));
        if (!strcmp(end, "else")) parse_block(p, &first->orelse, ENDS("endif"));
        if (strcmp(end, "elif")) return first;
        struct jnode *next = jnode_new(p, N_IF, p->tok->line);
        jnodes_push(p, &first->list, next); /* a list, since a chain of nodes would nest */
        node = next;
    }
}

static struct jnode *tag_for(struct jparser *p, unsigned line)
{
    struct jnode *node = jnode_new(p, N_FOR, line);
    unsigned in_loop = p->in_loop;
    p->loops++;
    node->a = parse_target(p, "in", false);
    jparse_expect_name(p, "in");
    node->b = jparse_tuple(p, (struct jparse_tuple){.no_condition = true, .end = "recursive"});
    if (jparse_skip_name(p, "if")) node->c = jparse_expression(p);
    node->flag = jparse_skip_name(p, "recursive");
    p->in_loop++;
    const char *end = parse_block(p, &node->body, ENDS("else", "endfor"));
    p->in_loop = node->flag ? 0 : in_loop; /* a break in the else part leaves the loop outside */
    if (!strcmp(end, "else")) parse_block(p, &node->orelse, ENDS("endfor"));
    p->in_loop = in_loop;
    p->loops--;
    return node;
}

static struct jnode *loop_control(struct jparser *p, unsigned line, enum jnode_type type)
{
    if (!p->in_loop) jparse_fail(p, line, "'%s' outside loop", type == N_BREAK ? "break" : "continue");
    return jnode_new(p, type, line);
}

static struct jnode *tag_break(struct jparser *p, unsigned line)
{
    return loop_control(p, line, N_BREAK);
}
static struct jnode *tag_continue(struct jparser *p, unsigned line)
{
    return loop_control(p, line, N_CONTINUE);
}

/* -- macros and calls -- */

static void parse_signature(struct jparser *p, struct jnode *node)
{
    jparse_expect_op(p, '(');
    while (!jparse_is_op(p, ')')) {
        if (node->list.n) jparse_expect_op(p, ',');
        struct jnode *param = jnode_new(p, N_NAME, p->tok->line);
        param->name = parse_target_name(p);
        if (jparse_skip_op(p, '='))
            jnodes_push(p, &node->list2, jparse_expression(p));
        else if (node->list2.n)
            jparse_fail(p, param->line, "non-default argument follows default argument");
        jnodes_push(p, &node->list, param);
    }
    jparse_next(p);
}

static bool has_param(const struct jnode *node, const struct jstr *name)
{
    for (size_t i = 0; i < node->list.n; i++)
        if (node->list.v[i]->name == name) return true;
    return false;
}

/* Which of the special names the body uses decides what the macro takes. */
static void parse_macro_body(struct jparser *p, struct jnode *node, const char *end)
{
    unsigned in_loop = p->in_loop, uses = p->uses;
    p->in_loop = p->uses = 0;
    parse_block(p, &node->body, (const char *const[]){end, NULL});
    node->uses = (uint8_t)(p->uses & ~(has_param(node, p->t->caller) ? (unsigned)USES_CALLER : 0) &
                           ~(has_param(node, p->t->kwargs) ? (unsigned)USES_KWARGS : 0) &
                           ~(has_param(node, p->t->varargs) ? (unsigned)USES_VARARGS : 0));
    p->in_loop = in_loop;
    p->uses |= uses;
}

static struct jnode *tag_macro(struct jparser *p, unsigned line)
{
    struct jnode *node = jnode_new(p, N_MACRO, line);
    node->name = parse_target_name(p);
    parse_signature(p, node);
    parse_macro_body(p, node, "endmacro");
    return node;
}

static struct jnode *tag_call(struct jparser *p, unsigned line)
{
    struct jnode *node = jnode_new(p, N_CALLBLOCK, line);
    if (jparse_is_op(p, '(')) parse_signature(p, node);
    node->a = jparse_expression(p);
    if (node->a->type != N_CALL) jparse_fail(p, line, "expected call");
    parse_macro_body(p, node, "endcall");
    return node;
}

static struct jnode *tag_filter(struct jparser *p, unsigned line)
{
    struct jnode *node = jnode_new(p, N_FILTERBLOCK, line);
    node->a = jparse_filters(p, NULL, true);
    parse_block(p, &node->body, ENDS("endfilter"));
    return node;
}

/* -- the rest -- */

static struct jnode *tag_generation(struct jparser *p, unsigned line)
{
    struct jnode *node = jnode_new(p, N_SCOPE, line);
    unsigned in_loop = p->in_loop;
    p->in_loop = 0; /* it is a call block to Jinja */
    parse_block(p, &node->body, ENDS("endgeneration"));
    p->in_loop = in_loop;
    return node;
}

static struct jnode *tag_autoescape(struct jparser *p, unsigned line)
{
    struct jnode *node = jnode_new(p, N_SCOPE, line), *how = jparse_expression(p);
    if (how->type != N_CONST || how->value.kind != J_BOOL || how->value.b)
        jparse_fail(p, line, "automatic escaping is not supported in a chat template");
    parse_block(p, &node->body, ENDS("endautoescape"));
    return node;
}

static struct jnode *tag_block(struct jparser *p, unsigned line)
{
    struct jnode *node = jnode_new(p, N_BLOCK, line);
    unsigned in_loop = p->in_loop;
    node->name = jparse_name(p);
    node->flag = jparse_skip_name(p, "scoped");
    jparse_skip_name(p, "required");
    p->in_loop = 0;
    parse_block(p, &node->body, ENDS("endblock"));
    p->in_loop = in_loop;
    if (p->tok->type == T_NAME && jparse_intern(p, p->tok->s, p->tok->n) == node->name) jparse_next(p);
    return node;
}

static struct jnode *tag_print(struct jparser *p, unsigned line)
{
    struct jnode *node = jnode_new(p, N_PRINT, line);
    while (p->tok->type != T_BLOCK_END) {
        if (node->list.n) jparse_expect_op(p, ',');
        jnodes_push(p, &node->list, jparse_expression(p));
    }
    return node;
}

/* import, include and the like parse, so that a branch never taken does no harm. */
static struct jnode *unsupported(struct jparser *p, unsigned line, const char *tag)
{
    struct jnode *node = jnode_new(p, N_UNSUPPORTED, line);
    node->name = jparse_intern(p, tag, strlen(tag));
    while (p->tok->type != T_BLOCK_END && p->tok->type != T_EOF) jparse_next(p);
    return node;
}

static struct jnode *tag_import(struct jparser *p, unsigned line)
{
    return unsupported(p, line, "import");
}
static struct jnode *tag_from(struct jparser *p, unsigned line)
{
    return unsupported(p, line, "from ... import");
}
static struct jnode *tag_include(struct jparser *p, unsigned line)
{
    return unsupported(p, line, "include");
}
static struct jnode *tag_extends(struct jparser *p, unsigned line)
{
    return unsupported(p, line, "extends");
}

static const struct tag TAGS[] = {
    {"if", tag_if},
    {"for", tag_for},
    {"set", tag_set},
    {"macro", tag_macro},
    {"call", tag_call},
    {"filter", tag_filter},
    {"with", tag_with},
    {"break", tag_break},
    {"print", tag_print},
    {"continue", tag_continue},
    {"block", tag_block},
    {"generation", tag_generation},
    {"import", tag_import},
    {"from", tag_from},
    {"include", tag_include},
    {"extends", tag_extends},
    {"autoescape", tag_autoescape},
};

static const struct tag *find_tag(const struct jparser *p)
{
    for (size_t i = 0; i < sizeof TAGS / sizeof *TAGS; i++)
        if (jparse_is_name(p, TAGS[i].name)) return &TAGS[i];
    return NULL;
}

void jparse_template(struct jinja_run *r, struct jinja *t, const struct jtoken *tokens)
{
    struct jparser p = {.r = r, .t = t, .tok = tokens, .names = jdict_new(r, 0)};
    t->loop = jparse_intern(&p, "loop", 4);
    t->caller = jparse_intern(&p, "caller", 6);
    t->kwargs = jparse_intern(&p, "kwargs", 6);
    t->varargs = jparse_intern(&p, "varargs", 7);
    parse_body(&p, &t->body, NULL);
}
