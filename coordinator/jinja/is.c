/* Tests: what stands after `is`.  Source: jinja2/tests.py. */
#include "coordinator/jinja/str.h"

static bool is_zero(struct jinja_run *r, struct jval v, struct jval divisor, int64_t rest)
{
    return jval_equal(r, jop_binary(r, JOP_MOD, v, divisor), jval_int(rest));
}

#define TEST(name, says)                                                                                               \
    static struct jval name(struct jinja_run *r, struct jval v, struct jargs *a)                                       \
    {                                                                                                                  \
        (void)r, (void)v, (void)a;                                                                                     \
        return jval_bool(says);                                                                                        \
    }

TEST(test_defined, v.kind != J_UNDEFINED)
TEST(test_undefined, v.kind == J_UNDEFINED)
TEST(test_none, v.kind == J_NONE)
TEST(test_boolean, v.kind == J_BOOL)
TEST(test_true, v.kind == J_BOOL && v.b)
TEST(test_false, v.kind == J_BOOL && !v.b)
TEST(test_integer, v.kind == J_INT || v.kind == J_BIG)
TEST(test_float, v.kind == J_FLOAT)
TEST(test_number, jval_is_number(v))
TEST(test_string, v.kind == J_STR)
TEST(test_mapping, v.kind == J_DICT)
TEST(test_iterable, jval_iterable(v) || v.kind == J_LOOP)
TEST(test_escaped, v.kind == J_STR && v.safe)
TEST(test_odd, is_zero(r, v, jval_int(2), 1))
TEST(test_even, is_zero(r, v, jval_int(2), 0))
TEST(test_divisibleby, is_zero(r, v, a->v[0], 0))
TEST(test_sameas, jval_same(v, a->v[0]))
TEST(test_in, jval_contains(r, a->v[0], v))
TEST(test_eq, jval_equal(r, v, a->v[0]))
TEST(test_ne, !jval_equal(r, v, a->v[0]))
TEST(test_lt, jval_order(r, JORDER_LT, v, a->v[0]))
TEST(test_le, jval_order(r, JORDER_LE, v, a->v[0]))
TEST(test_gt, jval_order(r, JORDER_GT, v, a->v[0]))
TEST(test_ge, jval_order(r, JORDER_GE, v, a->v[0]))
TEST(test_filter, v.kind == J_STR && jfilter_find(v.s))
TEST(test_test, v.kind == J_STR && jtest_find(v.s))

/* What has a length and a subscript. */
TEST(test_sequence, v.kind == J_UNDEFINED || v.kind == J_STR || v.kind == J_LIST || v.kind == J_TUPLE ||
                        v.kind == J_DICT || v.kind == J_RANGE)

TEST(test_callable, v.kind == J_UNDEFINED || v.kind == J_MACRO || v.kind == J_METHOD || v.kind == J_FUNCTION ||
                        v.kind == J_LOOP || v.kind == J_JOINER)

static struct jval test_lower(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return jstr_islower(r, jval_soft(r, v), a);
}

static struct jval test_upper(struct jinja_run *r, struct jval v, struct jargs *a)
{
    return jstr_isupper(r, jval_soft(r, v), a);
}

static const struct jbuiltin TESTS[] = {
    {"odd", test_odd, "", 0},
    {"even", test_even, "", 0},
    {"divisibleby", test_divisibleby, "num", 1},
    {"defined", test_defined, "", 0},
    {"undefined", test_undefined, "", 0},
    {"filter", test_filter, "", 0},
    {"test", test_test, "", 0},
    {"none", test_none, "", 0},
    {"boolean", test_boolean, "", 0},
    {"false", test_false, "", 0},
    {"true", test_true, "", 0},
    {"integer", test_integer, "", 0},
    {"float", test_float, "", 0},
    {"lower", test_lower, "", 0},
    {"upper", test_upper, "", 0},
    {"string", test_string, "", 0},
    {"mapping", test_mapping, "", 0},
    {"number", test_number, "", 0},
    {"sequence", test_sequence, "", 0},
    {"iterable", test_iterable, "", 0},
    {"callable", test_callable, "", 0},
    {"sameas", test_sameas, "other", 1},
    {"escaped", test_escaped, "", 0},
    {"in", test_in, "seq", 1},
    {"==", test_eq, "other", 1},
    {"eq", test_eq, "other", 1},
    {"equalto", test_eq, "other", 1},
    {"!=", test_ne, "other", 1},
    {"ne", test_ne, "other", 1},
    {">", test_gt, "other", 1},
    {"gt", test_gt, "other", 1},
    {"greaterthan", test_gt, "other", 1},
    {">=", test_ge, "other", 1},
    {"ge", test_ge, "other", 1},
    {"<", test_lt, "other", 1},
    {"lt", test_lt, "other", 1},
    {"lessthan", test_lt, "other", 1},
    {"<=", test_le, "other", 1},
    {"le", test_le, "other", 1},
    {0},
};

const struct jbuiltin *jtest_find(const struct jstr *name)
{
    return jbuiltin_find(TESTS, name);
}
