/* Values of the template language, the arena that holds them and the state of one parse or rendering.
 *
 * Everything is allocated from the run's arena and never freed by itself.  All strings are valid UTF-8; all
 * containers but namespaces, cyclers and joiners are immutable once built, so they are shared freely.  A function
 * here that fails does not return: jrun_fail() leaves by longjmp to jinja_parse() or jinja_render(). */
#pragma once
#include "coordinator/jinja/jinja.h"
#include "coordinator/text/json.h"
#include "coordinator/text/json_cursor.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct jinja_run;
enum jkind {
    J_MISSING, /* an argument that was not given; never seen by a template */
    J_UNDEFINED,
    J_NONE,
    J_BOOL,
    J_INT,
    J_BIG, /* an integer beyond 64 bits: its digits, a minus before them; see big.c */
    J_FLOAT,
    J_STR,
    J_LIST,
    J_TUPLE,
    J_DICT,
    J_RANGE,
    J_VIEW,      /* what dict.items(), .keys() and .values() give */
    J_ITER,      /* a generator: read once, no length */
    J_NAMESPACE, /* a struct jdict, the only thing a template can write to */
    J_MACRO,
    J_METHOD,   /* a builtin bound to the value it was taken from */
    J_FUNCTION, /* a builtin */
    J_LOOP,
    J_CYCLER,
    J_JOINER,
};

struct jstr {
    const char *s; /* UTF-8, not NUL-terminated */
    size_t n;      /* bytes */
    size_t chars;  /* code points, SIZE_MAX until counted */
};

struct jval {
    uint8_t kind;
    uint8_t safe; /* J_STR: marked safe, as markupsafe.Markup; adding to it escapes.  J_TUPLE: a group of groupby */
    union {
        bool b;
        int64_t i;
        double f;
        struct jstr *s;  /* J_STR, J_BIG */
        struct jseq *q;  /* J_LIST, J_TUPLE */
        struct jdict *d; /* J_DICT, J_NAMESPACE */
        const struct jrange *range;
        const struct jview *view;
        struct jiter *iter;
        const struct jundefined *undefined;
        const struct jmacro *macro;
        const struct jmethod *method;
        const struct jbuiltin *fn;
        struct jloop *loop;
        struct jcycler *cycler;
        struct jjoiner *joiner;
    };
};

struct jseq {
    struct jval *v;
    size_t n, cap;
};

struct jentry {
    struct jval key, value;
    uint64_t hash;
};

/* Keeps the order of insertion. */
struct jdict {
    struct jentry *v;
    size_t n, cap;
    uint32_t *index; /* open addressing, entry + 1, 0 = free; NULL while n is small */
    size_t index_cap;
};

struct jrange {
    int64_t start, stop, step;
    size_t n;
};

enum jview_what { JVIEW_KEYS, JVIEW_VALUES, JVIEW_ITEMS };
struct jview {
    enum jview_what what;
    const struct jdict *d;
};

struct jiter {
    const struct jseq *q;
    size_t pos;
    const char *type;
};

/* Why there is nothing: hint if not NULL, else the name, of obj if that is not J_MISSING. */
struct jundefined {
    const char *hint;
    struct jval obj, name;
};

struct jmacro {
    const struct jnode *node;
    struct jscope *scope; /* where it was defined */
};

struct jkwarg {
    const struct jstr *name;
    struct jval v;
};

struct jargs {
    struct jval *v;
    size_t n;
    struct jkwarg *kw;
    size_t nkw;
};

/* A filter, test, method or global.  params names what it takes, space separated, the first `required` of them
 * needed; the function then gets exactly these, J_MISSING for those not given.  params NULL: as they come. */
struct jbuiltin {
    const char *name;
    struct jval (*fn)(struct jinja_run *r, struct jval self, struct jargs *a);
    const char *params;
    size_t required;
};

struct jmethod {
    struct jval self;
    const struct jbuiltin *fn;
};

struct jcycler {
    const struct jseq *items;
    size_t pos;
};

struct jjoiner {
    struct jval separator;
    bool used;
};

struct jchunk {
    struct jchunk *next;
    char bytes[] __attribute__((aligned(16)));
};

struct jarena {
    struct jchunk *chunks;
    char *free;
    size_t left;
    size_t held; /* bytes asked from malloc */
};

struct jinja_run {
    struct jarena arena;
    struct jinja_limits limits;
    uint64_t steps;
    unsigned depth, line;
    struct error *error;
    int code; /* what the run ends with, set by jrun_fail */
    jmp_buf fail;
    const struct jinja *program;
    struct jscope *root;      /* the template's own variables */
    const struct jdict *vars; /* the caller's */
    struct jbuf *out;         /* where text goes at present */
    const struct tm *now;
};

/* -- the run -- */
_Noreturn void jrun_fail(struct jinja_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void jrun_fail_code(struct jinja_run *r, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void jrun_fail_undefined(struct jinja_run *r, struct jval v); /* "'x' is undefined" */
void *jrun_alloc(struct jinja_run *r, size_t bytes);                    /* zeroed, aligned for anything here */
void *jrun_array(struct jinja_run *r, size_t n, size_t bytes_each);     /* zeroed, checked for overflow */
char *jrun_bytes(struct jinja_run *r, size_t bytes);                    /* not zeroed, not aligned */
void jrun_charge_slow(struct jinja_run *r);
void jrun_enter(struct jinja_run *r);
void jarena_free(struct jarena *a);

/* n steps of work are about to be done. */
static inline void jrun_charge(struct jinja_run *r, uint64_t n)
{
    r->steps += n;
    if (r->steps > r->limits.steps) jrun_charge_slow(r);
}

static inline void jrun_charge_bytes(struct jinja_run *r, size_t bytes)
{
    jrun_charge(r, 1 + bytes / 64);
}

static inline void jrun_leave(struct jinja_run *r)
{
    r->depth--;
}

/* -- making values -- */
static inline struct jval jval_none(void)
{
    return (struct jval){.kind = J_NONE};
}
static inline struct jval jval_missing(void)
{
    return (struct jval){.kind = J_MISSING};
}
static inline struct jval jval_bool(bool b)
{
    return (struct jval){.kind = J_BOOL, .b = b};
}
static inline struct jval jval_int(int64_t i)
{
    return (struct jval){.kind = J_INT, .i = i};
}
static inline struct jval jval_float(double f)
{
    return (struct jval){.kind = J_FLOAT, .f = f};
}
static inline struct jval jval_of_str(struct jstr *s)
{
    return (struct jval){.kind = J_STR, .s = s};
}
static inline struct jval jval_of_list(struct jseq *q)
{
    return (struct jval){.kind = J_LIST, .q = q};
}
static inline struct jval jval_of_tuple(struct jseq *q)
{
    return (struct jval){.kind = J_TUPLE, .q = q};
}
static inline struct jval jval_of_dict(struct jdict *d)
{
    return (struct jval){.kind = J_DICT, .d = d};
}
struct jval jval_size(struct jinja_run *r, size_t n);
struct jval jval_str(struct jinja_run *r, const char *s, size_t n); /* s is not copied */
struct jval jval_cstr(struct jinja_run *r, const char *s);
struct jval jval_undefined(struct jinja_run *r, struct jval obj, struct jval name);
struct jval jval_undefined_hint(struct jinja_run *r, const char *hint);
struct jval jval_iter(struct jinja_run *r, struct jseq *q, const char *type);
struct jval jval_pair(struct jinja_run *r, struct jval a, struct jval b);

struct jseq *jseq_new(struct jinja_run *r, size_t cap);
void jseq_push(struct jinja_run *r, struct jseq *q, struct jval v);
struct jdict *jdict_new(struct jinja_run *r, size_t cap);
void jdict_set(struct jinja_run *r, struct jdict *d, struct jval key, struct jval value);
const struct jval *jdict_get(struct jinja_run *r, const struct jdict *d, struct jval key);
const struct jval *jdict_get_str(struct jinja_run *r, const struct jdict *d, const char *s, size_t n);
struct jval jval_from_json(struct jinja_run *r, const json_t *j);

/* -- asking values -- */
static inline bool jval_is_number(struct jval v)
{
    return v.kind == J_BOOL || v.kind == J_INT || v.kind == J_BIG || v.kind == J_FLOAT;
}
static inline bool jval_is_integral(struct jval v)
{
    return v.kind == J_BOOL || v.kind == J_INT;
}
static inline int64_t jval_integral(struct jval v)
{
    return v.kind == J_BOOL ? v.b : v.i;
}
double jval_double(struct jinja_run *r, struct jval v); /* of a number; fails where an integer is too large for one */
static inline bool jval_is_cstr(struct jval v, const char *s)
{
    return v.kind == J_STR && v.s->n == strlen(s) && !memcmp(v.s->s, s, v.s->n);
}
const char *jval_type(struct jval v); /* as Python names it: "str", "NoneType" */
bool jval_truth(struct jinja_run *r, struct jval v);
bool jval_equal(struct jinja_run *r, struct jval a, struct jval b);
enum jorder { JORDER_LT, JORDER_LE, JORDER_GT, JORDER_GE };
bool jval_order(struct jinja_run *r, enum jorder op, struct jval a, struct jval b);
bool jval_same(struct jval a, struct jval b); /* Python's `is` */
bool jval_contains(struct jinja_run *r, struct jval container, struct jval v);
bool jval_length(struct jval v, struct jinja_run *r, size_t *n); /* false where it has none */
bool jval_iterable(struct jval v);
/* The elements; a generator is read to its end.  Fails for what cannot be iterated. */
const struct jseq *jval_elements(struct jinja_run *r, struct jval v);
size_t jloop_length(struct jinja_run *r, struct jloop *loop);

/* -- integers beyond 64 bits: big.c -- */
struct jval jval_integer_text(struct jinja_run *r, const char *digits, size_t n); /* J_INT where it fits */
struct jval jval_whole_double(struct jinja_run *r, double f);                     /* finite, without a fraction */
struct jval jbig_negative(struct jinja_run *r, struct jval v);
double jbig_nearest(struct jval v); /* an infinity where it is too large */
/* The sign of a - b, one of which is J_BIG and both are numbers; false: one is NaN. */
bool jbig_compare(struct jinja_run *r, struct jval a, struct jval b, int *sign);

/* -- strings: jinja_text.c -- */
struct jbuf {
    char *s;
    size_t n, cap;
};
size_t jstr_chars(struct jinja_run *r, struct jstr *s);
size_t jstr_offset(struct jinja_run *r, struct jstr *s, size_t idx); /* of code point idx, in bytes; n at the end */
bool jstr_equal(const struct jstr *a, const struct jstr *b);
void jbuf_put(struct jinja_run *r, struct jbuf *b, const char *s, size_t n);
void jbuf_cstr(struct jinja_run *r, struct jbuf *b, const char *s);
void jbuf_char(struct jinja_run *r, struct jbuf *b, char c);
void jbuf_fill(struct jinja_run *r, struct jbuf *b, const char *s, size_t n, int64_t times);
void jbuf_code(struct jinja_run *r, struct jbuf *b, uint32_t code_point);
void jbuf_str(struct jinja_run *r, struct jbuf *b, struct jval v);    /* str(v) */
void jbuf_repr(struct jinja_run *r, struct jbuf *b, struct jval v);   /* repr(v) */
void jbuf_float(struct jinja_run *r, struct jbuf *b, double f);       /* repr(f) */
void jbuf_escape(struct jinja_run *r, struct jbuf *b, struct jval v); /* for HTML; what is safe stays */
struct jval jbuf_value(struct jinja_run *r, struct jbuf *b);
struct jstr *jval_text(struct jinja_run *r, struct jval v); /* str(v) */
struct jval jval_soft(struct jinja_run *r, struct jval v);  /* str(v), a string as it is, safe ones stay safe */
struct jval jval_escape(struct jinja_run *r, struct jval v);
uint32_t jutf8_next(const char *s, size_t n, size_t *pos); /* s is valid */
bool jchar_space(uint32_t c);                              /* str.isspace() */
bool jchar_printable(uint32_t c);

/* -- operators: jinja_ops.c -- */
enum jop { JOP_ADD, JOP_SUB, JOP_MUL, JOP_DIV, JOP_FLOORDIV, JOP_MOD, JOP_POW };
struct jval jop_binary(struct jinja_run *r, enum jop op, struct jval a, struct jval b);
struct jval jop_sign(struct jinja_run *r, bool minus, struct jval v);
struct jval jop_getattr(struct jinja_run *r, struct jval v, struct jval name);
struct jval jop_getitem(struct jinja_run *r, struct jval v, struct jval key);
struct jval jop_slice(struct jinja_run *r, struct jval v, struct jval start, struct jval stop, struct jval step);
struct jval jop_attribute(struct jinja_run *r, struct jval v, const struct jstr *name); /* J_MISSING if none */

/* -- text formats -- */
/* How a value is laid out, the same for "%5d" and "{:5}". */
struct jspec {
    const char *fill; /* one code point */
    size_t fill_bytes;
    char align; /* '<', '>', '^', '=' or 0: by the value */
    char sign;  /* '+', ' ' or 0 */
    bool alternate;
    char group;
    int64_t width, precision; /* -1: not given */
    char type;                /* 0: not given */
};
void jspec_put(struct jinja_run *r, struct jbuf *b, const struct jspec *spec, struct jval v);
void jspec_pad(struct jinja_run *r, struct jbuf *b, const struct jspec *spec, char align, size_t lead,
               struct jstr *text);
struct jval jformat_percent(struct jinja_run *r, struct jval format, struct jval args);
struct jval jformat_braces(struct jinja_run *r, struct jval format, struct jargs *a);
struct jval jjson_dump(struct jinja_run *r, struct jval v, struct jargs *options);

struct jval jmacro_name(struct jinja_run *r, const struct jmacro *m);
struct jval jloop_attribute(struct jinja_run *r, struct jval v, const struct jstr *name);

/* -- calls -- */
struct jval jrun_call(struct jinja_run *r, struct jval callee, struct jargs *a); /* jinja_call.c */
struct jval jbuiltin_call(struct jinja_run *r, const struct jbuiltin *fn, struct jval self, struct jargs *a);
int64_t jarg_int(struct jinja_run *r, struct jval v, int64_t missing, const char *what);
bool jarg_truth(struct jinja_run *r, struct jval v, bool missing);
static inline bool jarg_given(struct jval v)
{
    return v.kind != J_MISSING && v.kind != J_NONE;
}

const struct jbuiltin *jbuiltin_find(const struct jbuiltin *table, const struct jstr *name);
const struct jbuiltin *jfilter_find(const struct jstr *name);
const struct jbuiltin *jtest_find(const struct jstr *name);
const struct jbuiltin *jglobal_find(const struct jstr *name);
extern const struct jbuiltin JSTR_METHODS[], JLIST_METHODS[], JTUPLE_METHODS[], JDICT_METHODS[], JFLOAT_METHODS[],
    JINT_METHODS[], JDICTTYPE_METHODS[], JLOOP_METHODS[], JCYCLER_METHODS[];
extern const struct jbuiltin JFILTERS_TEXT[], JFILTERS_SEQ[], JFILTERS_PICK[];
void jnamespace_check(struct jinja_run *r, const struct jstr *name);

/* A stable sort by key[i] of the n indices in order[]. */
void jsort(struct jinja_run *r, const struct jval *keys, size_t *order, size_t n, bool reverse);
