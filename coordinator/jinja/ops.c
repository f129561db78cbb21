/* Operators: arithmetic with Python's rules, attributes, subscripts and slices. */
#include "coordinator/jinja/value.h"

#include <errno.h>
#include <math.h>

static const char *const op_signs[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};

/* -- numbers -- */

static _Noreturn void fail_overflow(struct jinja_run *r, enum jop op)
{
    jrun_fail(r, "the result of '%s' does not fit into 64 bits", op_signs[op]);
}

static int64_t int_power(struct jinja_run *r, int64_t base, int64_t exponent)
{
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) fail_overflow(r, JOP_POW);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base)) fail_overflow(r, JOP_POW);
    }
    return result;
}

static int64_t int_floor_div(struct jinja_run *r, int64_t a, int64_t b)
{
    if (a == INT64_MIN && b == -1) fail_overflow(r, JOP_FLOORDIV);
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t int_mod(int64_t a, int64_t b)
{
    if (b == -1) return 0;
    int64_t m = a % b;
    return m && (m < 0) != (b < 0) ? m + b : m;
}

static void need_divisor(struct jinja_run *r, enum jop op, bool zero)
{
    if (zero) jrun_fail(r, op == JOP_MOD ? "modulo by zero" : "division by zero");
}

static struct jval float_power(struct jinja_run *r, double a, double b)
{
    if (a == 0 && b < 0) jrun_fail(r, "0.0 cannot be raised to a negative power");
    if (a < 0 && b != floor(b) && !isinf(b)) jrun_fail(r, "a complex number is not supported");
    double f = pow(a, b);
    if (isinf(f) && !isinf(a) && !isinf(b)) jrun_fail(r, "(34, 'Numerical result out of range')");
    return jval_float(f);
}

static struct jval int_op(struct jinja_run *r, enum jop op, int64_t a, int64_t b)
{
    int64_t c = 0;
    bool overflow = false;
    switch (op) {
    case JOP_ADD: overflow = __builtin_add_overflow(a, b, &c); break;
    case JOP_SUB: overflow = __builtin_sub_overflow(a, b, &c); break;
    case JOP_MUL: overflow = __builtin_mul_overflow(a, b, &c); break;
    case JOP_DIV: need_divisor(r, op, b == 0); return jval_float((double)((long double)a / (long double)b));
    case JOP_FLOORDIV:
        need_divisor(r, op, b == 0);
        c = int_floor_div(r, a, b);
        break;
    case JOP_MOD:
        need_divisor(r, op, b == 0);
        c = int_mod(a, b);
        break;
    case JOP_POW:
        if (b < 0) return float_power(r, (double)a, (double)b);
        c = int_power(r, a, b);
        break;
    }
    if (overflow) fail_overflow(r, op);
    return jval_int(c);
}

/* The sign of a remainder is the divisor's, that of -0.0 too. */
static double float_mod(double a, double b)
{
    double m = fmod(a, b);
    if (m != 0) return (m < 0) != (b < 0) ? m + b : m;
    return copysign(0.0, b);
}

static double float_floor_div(double a, double b)
{
    double q = (a - float_mod(a, b)) / b;
    if (q == 0) return copysign(0.0, a / b);
    double f = floor(q);
    return q - f > 0.5 ? f + 1 : f;
}

static struct jval float_op(struct jinja_run *r, enum jop op, double a, double b)
{
    switch (op) {
    case JOP_ADD: return jval_float(a + b);
    case JOP_SUB: return jval_float(a - b);
    case JOP_MUL: return jval_float(a * b);
    case JOP_DIV: need_divisor(r, op, b == 0); return jval_float(a / b);
    case JOP_FLOORDIV: need_divisor(r, op, b == 0); return jval_float(float_floor_div(a, b));
    case JOP_MOD: need_divisor(r, op, b == 0); return jval_float(float_mod(a, b));
    case JOP_POW: return float_power(r, a, b);
    }
    return jval_none();
}

struct jval jop_sign(struct jinja_run *r, bool minus, struct jval v)
{
    if (v.kind == J_UNDEFINED) jrun_fail_undefined(r, v);
    if (!jval_is_number(v)) jrun_fail(r, "bad operand type for unary %c: '%s'", minus ? '-' : '+', jval_type(v));
    if (v.kind == J_BIG) return minus ? jbig_negative(r, v) : v;
    if (minus && v.kind == J_INT && v.i == INT64_MIN) return jval_integer_text(r, "9223372036854775808", 19);
    if (v.kind == J_FLOAT) return jval_float(minus ? -v.f : v.f);
    return minus ? int_op(r, JOP_SUB, 0, jval_integral(v)) : jval_int(jval_integral(v));
}

/* -- sequences -- */

static struct jval concat_strings(struct jinja_run *r, struct jval a, struct jval b)
{
    struct jbuf buf = {0};
    if (a.safe || b.safe) {
        jbuf_escape(r, &buf, a);
        jbuf_escape(r, &buf, b);
    } else {
        size_t n = a.s->n + b.s->n;
        buf = (struct jbuf){jrun_bytes(r, n), 0, n};
        jbuf_put(r, &buf, a.s->s, a.s->n);
        jbuf_put(r, &buf, b.s->s, b.s->n);
    }
    struct jval v = jbuf_value(r, &buf);
    v.safe = a.safe || b.safe;
    return v;
}

static struct jval concat_sequences(struct jinja_run *r, struct jval a, struct jval b)
{
    struct jseq *q = jseq_new(r, a.q->n + b.q->n);
    for (size_t i = 0; i < a.q->n; i++) jseq_push(r, q, a.q->v[i]);
    for (size_t i = 0; i < b.q->n; i++) jseq_push(r, q, b.q->v[i]);
    return (struct jval){.kind = a.kind, .q = q};
}

static struct jval repeat(struct jinja_run *r, struct jval v, int64_t times)
{
    size_t each = v.kind == J_STR ? v.s->n : v.q->n, total;
    size_t n = times > 0 ? (size_t)times : 0;
    if (__builtin_mul_overflow(each, n, &total) || total > r->limits.held_bytes)
        jrun_fail_code(r, E2BIG, "repeating %s %lld times is past the limit", jval_type(v), (long long)times);
    jrun_charge(r, total / 16);
    if (v.kind == J_STR) {
        struct jbuf b = {jrun_bytes(r, total), 0, total};
        jbuf_fill(r, &b, v.s->s, v.s->n, times);
        struct jval text = jbuf_value(r, &b);
        text.safe = v.safe;
        return text;
    }
    struct jseq *q = jseq_new(r, total);
    for (size_t i = 0; i < total; i++) jseq_push(r, q, v.q->v[i % each]);
    return (struct jval){.kind = v.kind, .q = q};
}

static bool is_sequence(struct jval v)
{
    return v.kind == J_STR || v.kind == J_LIST || v.kind == J_TUPLE;
}

static _Noreturn void fail_operands(struct jinja_run *r, enum jop op, struct jval a, struct jval b)
{
    if (op == JOP_ADD && is_sequence(a))
        jrun_fail(r, "can only concatenate %s (not \"%s\") to %s", jval_type(a), jval_type(b), jval_type(a));
    jrun_fail(r, "unsupported operand type(s) for %s: '%s' and '%s'", op_signs[op], jval_type(a), jval_type(b));
}

struct jval jop_binary(struct jinja_run *r, enum jop op, struct jval a, struct jval b)
{
    if (a.kind == J_UNDEFINED) jrun_fail_undefined(r, a);
    if (op == JOP_MOD && a.kind == J_STR) return jformat_percent(r, a, b);
    if (b.kind == J_UNDEFINED) jrun_fail_undefined(r, b);
    if (jval_is_integral(a) && jval_is_integral(b)) return int_op(r, op, jval_integral(a), jval_integral(b));
    if (jval_is_number(a) && jval_is_number(b) && (a.kind == J_FLOAT || b.kind == J_FLOAT))
        return float_op(r, op, jval_double(r, a), jval_double(r, b));
    if (jval_is_number(a) && jval_is_number(b)) fail_overflow(r, op);
    if (op == JOP_ADD && a.kind == b.kind && a.kind == J_STR) return concat_strings(r, a, b);
    if (op == JOP_ADD && a.kind == b.kind && is_sequence(a)) return concat_sequences(r, a, b);
    if (op == JOP_MUL && is_sequence(a) && jval_is_integral(b)) return repeat(r, a, jval_integral(b));
    if (op == JOP_MUL && is_sequence(b) && jval_is_integral(a)) return repeat(r, b, jval_integral(a));
    fail_operands(r, op, a, b);
}

/* -- attributes and subscripts -- */

static const struct jbuiltin *methods_of(struct jval v)
{
    switch (v.kind) {
    case J_STR: return JSTR_METHODS;
    case J_LIST: return JLIST_METHODS;
    case J_TUPLE:
    case J_RANGE: return JTUPLE_METHODS;
    case J_DICT: return JDICT_METHODS;
    case J_FLOAT: return JFLOAT_METHODS;
    case J_BOOL:
    case J_INT:
    case J_BIG: return JINT_METHODS;
    case J_LOOP: return JLOOP_METHODS;
    case J_CYCLER: return JCYCLER_METHODS;
    case J_FUNCTION: return strcmp(v.fn->name, "dict") ? NULL : JDICTTYPE_METHODS;
    default: return NULL;
    }
}

static struct jval macro_attribute(struct jinja_run *r, const struct jmacro *m, const struct jstr *name)
{
    struct jval asked = {.kind = J_STR, .s = (struct jstr *)name};
    return jval_is_cstr(asked, "name") ? jmacro_name(r, m) : jval_missing();
}

static struct jval group_attribute(struct jval group, const struct jstr *name)
{
    struct jval asked = {.kind = J_STR, .s = (struct jstr *)name};
    if (jval_is_cstr(asked, "grouper")) return group.q->v[0];
    return jval_is_cstr(asked, "list") ? group.q->v[1] : jval_missing();
}

struct jval jop_attribute(struct jinja_run *r, struct jval v, const struct jstr *name)
{
    const struct jval *member;
    struct jval found = jval_missing();
    if (v.kind == J_NAMESPACE) return (member = jdict_get_str(r, v.d, name->s, name->n)) ? *member : found;
    if (v.kind == J_MACRO) return macro_attribute(r, v.macro, name);
    if (v.kind == J_LOOP || v.kind == J_CYCLER) found = jloop_attribute(r, v, name);
    if (v.kind == J_TUPLE && v.safe) found = group_attribute(v, name);
    const struct jbuiltin *table = methods_of(v), *fn = table ? jbuiltin_find(table, name) : NULL;
    if (found.kind != J_MISSING || !fn) return found;
    if (!fn->fn) /* it would change the value, which the sandbox does not allow */
        return jval_undefined_hint(r, "changing a list or dict is unsafe; the sandbox does not allow it");
    struct jmethod *m = jrun_alloc(r, sizeof *m);
    *m = (struct jmethod){v, fn};
    return (struct jval){.kind = J_METHOD, .method = m};
}

static bool index_in(struct jval key, size_t n, size_t *at)
{
    int64_t i = jval_integral(key);
    if (i < 0) i += (int64_t)n;
    *at = (size_t)i;
    return i >= 0 && (size_t)i < n;
}

static struct jval string_item(struct jinja_run *r, struct jval v, size_t idx)
{
    size_t start = jstr_offset(r, v.s, idx), end = start;
    jutf8_next(v.s->s, v.s->n, &end);
    struct jval c = jval_str(r, v.s->s + start, end - start);
    c.safe = v.safe;
    return c;
}

/* v[key] as Python has it, J_MISSING where that raises TypeError or LookupError. */
static struct jval item(struct jinja_run *r, struct jval v, struct jval key)
{
    size_t n, at;
    const struct jval *member;
    switch (v.kind) {
    case J_DICT:
        if (key.kind == J_LIST || key.kind == J_DICT) return jval_missing();
        member = jdict_get(r, v.d, key);
        return member ? *member : jval_missing();
    case J_STR:
    case J_LIST:
    case J_TUPLE:
    case J_RANGE:
        if (!jval_is_integral(key) || !jval_length(v, r, &n) || !index_in(key, n, &at)) return jval_missing();
        if (v.kind == J_RANGE) return jval_int(v.range->start + (int64_t)at * v.range->step);
        return v.kind == J_STR ? string_item(r, v, at) : v.q->v[at];
    default: return jval_missing();
    }
}

struct jval jop_getattr(struct jinja_run *r, struct jval v, struct jval name)
{
    if (v.kind == J_UNDEFINED) jrun_fail_undefined(r, v);
    struct jval found = jop_attribute(r, v, name.s);
    if (found.kind == J_MISSING) found = item(r, v, name);
    return found.kind == J_MISSING ? jval_undefined(r, v, name) : found;
}

struct jval jop_getitem(struct jinja_run *r, struct jval v, struct jval key)
{
    if (v.kind == J_UNDEFINED) jrun_fail_undefined(r, v);
    struct jval found = item(r, v, key);
    if (found.kind == J_MISSING && key.kind == J_STR) found = jop_attribute(r, v, key.s);
    return found.kind == J_MISSING ? jval_undefined(r, v, key) : found;
}

/* -- slices -- */

static int64_t slice_bound(struct jinja_run *r, struct jval v, int64_t missing, int64_t low, int64_t high, int64_t n)
{
    if (!jarg_given(v)) return missing;
    if (v.kind == J_UNDEFINED) jrun_fail_undefined(r, v);
    if (v.kind == J_BIG) return *v.s->s == '-' ? low : high;
    if (!jval_is_integral(v)) jrun_fail(r, "slice indices must be integers or None or have an __index__ method");
    int64_t i = jval_integral(v);
    if (i < 0) i = i < -n ? -1 : i + n; /* -1 lies below every index and is clipped to low */
    return i < low ? low : i > high ? high : i;
}

struct span {
    int64_t start, stop, step; /* as slice.indices() gives them */
    size_t n;
};

static struct span slice_span(struct jinja_run *r, size_t length, struct jval start, struct jval stop, struct jval step)
{
    int64_t n = (int64_t)length, by = slice_bound(r, step, 1, INT64_MIN, INT64_MAX, 0);
    if (jarg_given(step) && step.kind != J_BIG) by = jval_integral(step);
    if (by == 0) jrun_fail(r, "slice step cannot be zero");
    bool back = by < 0;
    int64_t low = back ? -1 : 0, high = back ? n - 1 : n;
    int64_t from = slice_bound(r, start, back ? high : low, low, high, n);
    int64_t to = slice_bound(r, stop, back ? low : high, low, high, n);
    if (back ? from <= to : from >= to) return (struct span){from, to, by, 0};
    uint64_t distance = back ? (uint64_t)(from - to) : (uint64_t)(to - from);
    uint64_t stride = back ? -(uint64_t)by : (uint64_t)by;
    return (struct span){from, to, by, (size_t)((distance - 1) / stride + 1)};
}

static struct jval slice_string(struct jinja_run *r, struct jval v, struct span sp)
{
    struct jval text;
    if (!sp.n) {
        text = jval_cstr(r, "");
    } else if (sp.step == 1) {
        size_t from = jstr_offset(r, v.s, (size_t)sp.start), to = jstr_offset(r, v.s, (size_t)sp.start + sp.n);
        text = jval_str(r, v.s->s + from, to - from);
    } else {
        const struct jseq *chars = jval_elements(r, v);
        struct jbuf b = {0};
        for (size_t i = 0; i < sp.n; i++) {
            const struct jstr *c = chars->v[sp.start + (int64_t)i * sp.step].s;
            jbuf_put(r, &b, c->s, c->n);
        }
        text = jbuf_value(r, &b);
    }
    text.safe = v.safe;
    return text;
}

static struct jval slice_sequence(struct jinja_run *r, struct jval v, struct span sp)
{
    struct jseq *q = jseq_new(r, 0);
    if (sp.step == 1 && sp.n) { /* shared, since lists do not change */
        q->v = v.q->v + sp.start;
        q->n = q->cap = sp.n;
        return (struct jval){.kind = v.kind, .q = q};
    }
    jrun_charge(r, sp.n / 4);
    for (size_t i = 0; i < sp.n; i++) jseq_push(r, q, v.q->v[sp.start + (int64_t)i * sp.step]);
    return (struct jval){.kind = v.kind, .q = q};
}

static int64_t range_at(struct jinja_run *r, const struct jrange *range, int64_t idx)
{
    int64_t i;
    if (__builtin_mul_overflow(idx, range->step, &i) || __builtin_add_overflow(i, range->start, &i))
        fail_overflow(r, JOP_MUL);
    return i;
}

static struct jval slice_range(struct jinja_run *r, const struct jrange *of, struct span sp)
{
    struct jrange *range = jrun_alloc(r, sizeof *range);
    *range = (struct jrange){range_at(r, of, sp.start), range_at(r, of, sp.stop), 0, sp.n};
    if (__builtin_mul_overflow(of->step, sp.step, &range->step)) fail_overflow(r, JOP_MUL);
    return (struct jval){.kind = J_RANGE, .range = range};
}

struct jval jop_slice(struct jinja_run *r, struct jval v, struct jval start, struct jval stop, struct jval step)
{
    if (v.kind == J_UNDEFINED) jrun_fail_undefined(r, v);
    size_t n;
    if (v.kind == J_DICT || v.kind == J_VIEW || v.kind == J_LOOP || !jval_length(v, r, &n))
        jrun_fail(r, "'%s' object is not subscriptable", jval_type(v));
    struct span sp = slice_span(r, n, start, stop, step);
    if (v.kind == J_STR) return slice_string(r, v, sp);
    return v.kind == J_RANGE ? slice_range(r, v.range, sp) : slice_sequence(r, v, sp);
}
