/* The parsed template: nodes, scopes and loops, shared by the parser and the evaluator.
 *
 * Nodes live in the arena of struct jinja and are not written to after parsing. */
#pragma once
#include "coordinator/jinja/value.h"

enum jnode_type {
    /* expressions; a, b, c, list as noted */
    N_CONST,   /* value */
    N_NAME,    /* name */
    N_TUPLE,   /* list */
    N_LIST,    /* list */
    N_DICT,    /* list: key, value, key, value */
    N_COND,    /* a if b else c (may be NULL) */
    N_AND,     /* a, b */
    N_OR,      /* a, b */
    N_NOT,     /* a */
    N_COMPARE, /* a, then list of N_OPERAND */
    N_OPERAND, /* op (enum jcompare), a */
    N_BINARY,  /* op (enum jop), a, b */
    N_CONCAT,  /* list */
    N_SIGN,    /* flag: minus; a */
    N_GETATTR, /* a, name */
    N_GETITEM, /* a, b */
    N_SLICE,   /* a, list: start, stop, step, each may be NULL */
    N_CALL,    /* a, call */
    N_FILTER,  /* a (NULL: what the block gives), name, fn (NULL: unknown), call */
    N_TEST,    /* a, name, fn, call */
    N_NSREF,   /* name, value: the attribute; only as a target */
    /* statements */
    N_DATA,        /* value */
    N_PRINT,       /* list */
    N_IF,          /* a, body, orelse; list: the elifs, each an N_IF with a and body */
    N_FOR,         /* a: target, b: iterable, c: condition or NULL, flag: recursive, body, orelse */
    N_SET,         /* a: target, b */
    N_SETBLOCK,    /* a: target, b: filter chain or NULL, body */
    N_MACRO,       /* name, list: parameter names, list2: defaults of the last ones, uses, body */
    N_CALLBLOCK,   /* as N_MACRO, and a: the call */
    N_FILTERBLOCK, /* a: filter chain, body */
    N_WITH,        /* list: targets, list2: values, body */
    N_SCOPE,       /* body: generation and autoescape blocks */
    N_BLOCK,       /* name, flag: scoped, body */
    N_BREAK,
    N_CONTINUE,
    N_UNSUPPORTED, /* name: a tag that cannot work here */
};

enum jcompare { JCMP_LT, JCMP_LE, JCMP_GT, JCMP_GE, JCMP_EQ, JCMP_NE, JCMP_IN, JCMP_NOTIN }; /* begins as enum jorder */

enum juses { USES_CALLER = 1, USES_KWARGS = 2, USES_VARARGS = 4 };

struct jnodes {
    struct jnode **v;
    size_t n, cap;
};

struct jcallargs {
    struct jnodes pos;
    struct jnodes names, values; /* name=value; names as N_NAME */
    struct jnode *star, *starstar;
};

struct jnode {
    uint8_t type, op, uses;
    bool flag;
    unsigned line;
    struct jstr *name; /* interned: equal names are one pointer */
    struct jval value;
    struct jnode *a, *b, *c;
    struct jnodes list, list2, body, orelse;
    struct jcallargs *call;
    const struct jbuiltin *fn;
};

struct jinja {
    struct jarena arena;
    struct jnodes body;
    struct jstr *loop, *caller, *kwargs, *varargs; /* interned */
};

struct jbinding {
    const struct jstr *name;
    struct jval v;
};

struct jscope {
    struct jscope *parent;
    struct jbinding *v;
    size_t n, cap;
};

/* A running for loop; `loop` in the template.  Its condition is evaluated as items are needed, as in Jinja, since
 * the body may change what it looks at. */
struct jloop {
    const struct jnode *node;
    struct jscope *outer, *test; /* where the loop stands; where its condition is evaluated */
    const struct jseq *items;
    size_t next;                        /* of items */
    size_t index0;                      /* of what is current */
    struct jval before, current, after; /* J_MISSING: none; after is what a look ahead found */
    bool passed;                        /* the rest of items is known to meet the condition */
    size_t length;                      /* SIZE_MAX: not known yet */
    unsigned depth0;
    struct jval changed; /* what loop.changed() saw last */
};

/* A lexed template. */
enum jtoken_type { T_EOF, T_DATA, T_VARIABLE_BEGIN, T_VARIABLE_END, T_BLOCK_BEGIN, T_BLOCK_END, T_NAME, T_CONST, T_OP };
enum {
    OP_POW = 256,
    OP_FLOORDIV,
    OP_EQ,
    OP_NE,
    OP_GE,
    OP_LE, /* others: their character */
};

struct jtoken {
    uint8_t type;
    uint16_t op;
    unsigned line;
    struct jval value; /* T_CONST */
    const char *s;     /* T_DATA, T_NAME */
    size_t n;
};

/* Reads the tokens of source[bytes], valid UTF-8 with \n as line ends, into the run's arena; the last is T_EOF. */
struct jtoken *jlex(struct jinja_run *r, const char *source, size_t bytes);

struct jparser {
    struct jinja_run *r;
    struct jinja *t;
    const struct jtoken *tok; /* the current one */
    struct jdict *names;
    unsigned depth;
    unsigned tag_line; /* where the innermost open tag stands */
    unsigned loops;    /* for loops around this place */
    unsigned in_loop;  /* those that break can leave: not through a macro or call block */
    unsigned uses;     /* of caller, kwargs, varargs, seen so far */
};

/* jinja_parse.c: statements */
void jparse_template(struct jinja_run *r, struct jinja *t, const struct jtoken *tokens);

/* jinja_expr.c: expressions */
struct jnode *jnode_new(struct jparser *p, enum jnode_type type, unsigned line);
void jnodes_push(struct jparser *p, struct jnodes *list, struct jnode *node);
struct jstr *jparse_intern(struct jparser *p, const char *s, size_t n);
_Noreturn void jparse_fail(struct jparser *p, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void jparse_unexpected(struct jparser *p, const char *wanted); /* NULL: "unexpected X" */
void jparse_enter(struct jparser *p);
void jparse_next(struct jparser *p);
bool jparse_is_op(const struct jparser *p, int op);
bool jparse_is_name(const struct jparser *p, const char *name);
bool jparse_skip_op(struct jparser *p, int op);
bool jparse_skip_name(struct jparser *p, const char *name);
void jparse_expect_op(struct jparser *p, int op);
void jparse_expect_name(struct jparser *p, const char *name);
struct jstr *jparse_name(struct jparser *p);

struct jparse_tuple {
    bool simplified;    /* names and literals only, as targets are */
    bool no_condition;  /* no x if y else z at the top */
    bool parenthesized; /* may be empty */
    bool namespaces;    /* ns.attribute is a target */
    const char *end;    /* a name that ends it */
};
struct jnode *jparse_expression(struct jparser *p);
struct jnode *jparse_tuple(struct jparser *p, struct jparse_tuple how);
struct jnode *jparse_filters(struct jparser *p, struct jnode *node, bool first_named);

/* jinja_eval.c, jinja_exec.c */
enum jflow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };
struct jval jeval(struct jinja_run *r, const struct jnode *node, struct jscope *scope);
struct jval jeval_filters(struct jinja_run *r, const struct jnode *node, struct jscope *scope, struct jval input);
struct jval jeval_call(struct jinja_run *r, const struct jnode *node, struct jscope *scope, struct jval caller);
enum jflow jexec(struct jinja_run *r, const struct jnodes *body, struct jscope *scope);
struct jval jexec_macro(struct jinja_run *r, const struct jmacro *m, struct jargs *a);
struct jval jexec_recurse(struct jinja_run *r, const struct jloop *loop, struct jval items);
enum jflow jexec_for(struct jinja_run *r, const struct jnode *node, struct jscope *scope); /* jinja_loop.c */
void jexec_assign(struct jinja_run *r, struct jscope *scope, const struct jnode *target, struct jval v);
struct jscope *jscope_new(struct jinja_run *r, struct jscope *parent);
void jscope_set(struct jinja_run *r, struct jscope *s, const struct jstr *name, struct jval v);
