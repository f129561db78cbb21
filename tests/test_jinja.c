/* The template language: cases made with Jinja2 (tests/data/templates/cases.json), limits, line numbers, and templates
 * that somebody has tampered with. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "coordinator/jinja/jinja.h"
#include "coordinator/source/config.h"
#include "coordinator/text/utf8.h"

#define CASES "tests/data/templates/cases.json"

static const struct tm DATE = {.tm_year = 125, .tm_mon = 6, .tm_mday = 10, .tm_hour = 12, .tm_wday = 4, .tm_yday = 190};

static json_t *load(const char *path)
{
    struct error e;
    json_t *j;
    if (json_read_file(&j, path, 1 << 24, &e)) fail_msg("%s", e.text);
    return j;
}

static int render(const char *source, size_t n, const json_t *vars, const struct jinja_limits *limits, char **text,
                  size_t *bytes, struct error *e)
{
    struct jinja *t;
    *text = NULL;
    *bytes = 0;
    int rc = jinja_parse(&t, source, n, e);
    if (rc) return rc;
    rc = jinja_render(t, vars, &DATE, limits, text, bytes, e);
    jinja_free(t);
    return rc;
}

/* What a template gives with no variables; the caller's to free. */
static int render_text(const char *source, const struct jinja_limits *limits, char **text, struct error *e)
{
    json_t *vars = json_object();
    size_t bytes;
    *e = (struct error){0};
    int rc = render(source, strlen(source), vars, limits, text, &bytes, e);
    json_decref(vars);
    return rc;
}

/* -- the same as Jinja2 -- */

static bool check_case(const json_t *c, const json_t *vars)
{
    const json_t *source = json_object_get(c, "template"), *wanted = json_object_get(c, "text");
    struct error e = {0};
    char *text;
    size_t bytes;
    int rc = render(json_string_value(source), json_string_length(source), vars, NULL, &text, &bytes, &e);
    bool same = wanted ? !rc && bytes == json_string_length(wanted) && !memcmp(text, json_string_value(wanted), bytes)
                       : rc == -EINVAL && !strncmp(e.text, "line ", 5) && e.code == EINVAL;
    if (!same)
        print_error("%s\n  gives %d \"%s\" %s\n  not %s\n", json_string_value(source), rc, text ? text : "", e.text,
                    json_string_value(wanted ? wanted : json_object_get(c, "error")));
    free(text);
    return same;
}

static void test_cases(void **state)
{
    (void)state;
    json_t *all = load(CASES), *cases = json_object_get(all, "cases"), *vars = json_object_get(all, "vars");
    size_t bad = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) bad += !check_case(json_array_get(cases, i), vars);
    print_message("%zu cases\n", json_array_size(cases));
    assert_true(json_array_size(cases) > 1000);
    assert_int_equal(bad, 0);
    json_decref(all);
}

/* -- errors tell where -- */

static void expect_error(const char *source, int code, const char *part)
{
    struct error e;
    char *text;
    int rc = render_text(source, NULL, &text, &e);
    if (rc != -code || e.code != code || !strstr(e.text, part))
        fail_msg("%.80s: %d \"%s\", not %d with \"%s\"", source, rc, e.text, -code, part);
    assert_null(text);
}

static void test_lines(void **state)
{
    (void)state;
    expect_error("a\nb\n{{ x.y }}\n", EINVAL, "line 3: 'x' is undefined");
    expect_error("{% if true %}\n\n{{ 1 + 'a' }}{% endif %}", EINVAL, "line 3:");
    expect_error("{#\n\n#}{% foo %}", EINVAL, "line 3: Encountered unknown tag 'foo'");
    expect_error("\n{% for x in [1] %}\n\n", EINVAL, "'endfor' is missing for the tag in line 2");
    expect_error("{% raw %}\n{% endraw %}\n{{ 'a' }}{{ \"b }}", EINVAL, "line 3: unexpected char '\"'");
    expect_error("{% macro m() %}\n{{ none.x.y }}\n{% endmacro %}\n{{ m() }}", EINVAL,
                 "line 2: 'None' has no attribute 'x'");
    expect_error("{% set a %}\n\n{{ raise_exception('no ' ~ 1) }}{% endset %}", EINVAL,
                 "line 3: the template refuses: no 1");
    expect_error("x\r\ny\rz {{ [][0].a }}", EINVAL, "line 3: list object has no element 0");
    expect_error("{{ 9223372036854775807 + 1 }}", EINVAL, "64 bits");
    expect_error("{{ 99999999999999999999 + 1 }}", EINVAL, "64 bits");
    expect_error("{{ 0xfffffffffffffffff }}", EINVAL, "64 bits");
    expect_error("{% set ns = namespace(_a=1) %}", EINVAL, "underscore");
    expect_error("{% autoescape true %}{% endautoescape %}", EINVAL, "escaping");
}

static void test_source(void **state)
{
    (void)state;
    struct jinja *t;
    struct error e = {0};
    assert_int_equal(jinja_parse(&t, "abc\xff", 4, &e), -EINVAL);
    assert_non_null(strstr(e.text, "offset 3"));
    assert_null(t);
    size_t huge = (8u << 20) + 1;
    char *blank = calloc(1, huge);
    assert_int_equal(jinja_parse(&t, blank, huge, &e), -E2BIG);
    free(blank);
    assert_int_equal(jinja_parse(&t, "{{", 2, NULL), -EINVAL); /* no one to tell */
}

/* -- limits -- */

/* Refused, for a limit or as an error, and not carried out. */
static void expect_refusal(const char *source)
{
    struct error e;
    char *text;
    int rc = render_text(source, NULL, &text, &e);
    if (rc != -E2BIG && rc != -EINVAL) fail_msg("%.80s gives %d", source, rc);
    assert_true(e.text[0] != 0);
    free(text);
}

static void test_limits(void **state)
{
    (void)state;
    static const char *const greedy[] = {
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% "
        "endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(x) %}{{ m([x]) }}{% endmacro %}{{ m(1) }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for x in range(99999) %}{% set ns.s = ns.s ~ ns.s %}{% "
        "endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for x in range(99999) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for x in range(99999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[1]) %}{% for x in range(99999) %}{% set ns.l = {'a': ns.l} %}{% endfor %}{{ ns.l | "
        "tojson }}",
        "{% set a = namespace(l=[]) %}{% set b = namespace(l=[]) %}{% for x in range(99999) %}{% set a.l = [a.l] %}"
        "{% set b.l = [b.l] %}{% endfor %}{{ a.l == b.l }}{{ a.l < b.l }}",
        "{% set ns = namespace(t=()) %}{% for x in range(99999) %}{% set ns.t = (ns.t,) %}{% endfor %}{{ {ns.t: 1} }}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        "{{ 'a' * 1000000000000 }}",
        "{{ [1, 2] * 1000000000000 }}",
        "{{ ('a' * 100000000) | list }}",
        "{{ 'x'.center(1000000000000) }}",
        "{{ 'x'.rjust(9223372036854775807) }}",
        "{{ 'x'.zfill(9223372036854775807) }}",
        "{{ '%1000000000000d' % 1 }}",
        "{{ '%*d' % (9223372036854775807, 1) }}",
        "{{ '%*d' % (-9223372036854775807 - 1, 1) }}",
        "{{ '%.1000000000f' % 1 }}",
        "{{ '{:1000000000000}'.format(1) }}",
        "{{ '{:.1000000000}'.format(1.5) }}",
        "{{ 'a' | indent(1000000000000, true) }}",
        "{{ [1] | tojson(indent=1000000000000) }}",
        "{{ [1] | batch(1000000000000, 'x') | list }}",
        "{{ [1] | slice(1000000000000, 'x') | list }}",
        "{{ 'a'.replace('', 'b' * 100000).replace('', 'c' * 100000).replace('', 'd' * 100000) }}",
        "{{ strftime_now('%99999999d') }}",
        "{{ 2 ** 9223372036854775807 }}",
        "{{ -9223372036854775807 - 2 }}",
        "{{ (-9223372036854775807 - 1) // -1 }}",
        "{{ (-9223372036854775807 - 1) * -1 }}",
        "{{ 1e308 * 10 | int }}{{ (1e308 * 10) | int }}",
        "{{ 99999999999999999999 + 1 }}",
        "{{ -99999999999999999999 // 7 }}",
        "{{ 99999999999999999999 / 7 }}",
        "{{ 99999999999999999999 % 7 }}",
        "{{ 99999999999999999999 ** 2 }}",
        "{{ 99999999999999999999 | round(-3) }}",
        "{{ '%x' % 99999999999999999999 }}",
        "{{ 99999999999999999999.bit_length() }}",
        "{{ ('9' * 4301) | int }}",
        "{{ ('9' * 400) | int | float }}",
    };
    for (size_t i = 0; i < sizeof greedy / sizeof *greedy; i++) expect_refusal(greedy[i]);
}

/* These look dangerous and are not. */
static void test_edges(void **state)
{
    (void)state;
    static const char *const fine[][2] = {
        {"{{ (-9223372036854775807 - 1) % -1 }}", "0"},
        {"{{ 'abc'[-9223372036854775807 - 1:9223372036854775807] }}", "abc"},
        {"{{ 'abc'[::9223372036854775807] }}{{ 'abc'[::-9223372036854775807 - 1] }}", "ac"},
        {"{{ [1, 2, 3][9223372036854775807:] }}", "[]"},
        {"{{ range(9223372036854775807, -9223372036854775807, -9223372036854775807) | list | length }}", "2"},
        {"{{ 'x' * -9223372036854775807 }}", ""},
        {"{{ 'a,b'.split(',', 9223372036854775807) | length }}", "2"},
        {"{{ 12345678901234567 | round(-9223372036854775807) }}", "0"},
        {"{{ 9223372036854775807 }} {{ -9223372036854775807 - 1 }}", "9223372036854775807 -9223372036854775808"},
        {"{{ '\\0' | length }}", "1"},
    };
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        struct error e;
        char *text;
        int rc = render_text(fine[i][0], NULL, &text, &e);
        if (rc) fail_msg("%s: %s", fine[i][0], e.text);
        assert_string_equal(text, fine[i][1]);
        free(text);
    }
}

/* head, n times unit, tail */
static char *repeated(const char *head, const char *unit, size_t n, const char *tail)
{
    size_t each = strlen(unit);
    char *s = malloc(strlen(head) + n * each + strlen(tail) + 1), *p = stpcpy(s, head);
    for (size_t i = 0; i < n; i++, p += each) memcpy(p, unit, each);
    strcpy(p, tail);
    return s;
}

static void test_nesting(void **state)
{
    (void)state;
    static const char *const deep[][3] = {
        {"{{ ", "(", ""},
        {"{{ ", "[", ""},
        {"{{ ", "{1:", ""},
        {"{{ ", "not ", "1 }}"},
        {"{{ ", "- ", "1 }}"},
        {"{{ ", "a[", ""},
        {"{{ ", "a(", ""},
        {"{{ 1", "+1", " }}"},
        {"{{ a", ".a", " }}"},
        {"{{ 1", "|abs", " }}"},
        {"{{ 1", " ** 1", " }}"},
        {"{{ a", "()", " }}"},
        {"", "{% if 1 %}", ""},
        {"", "{% for a in b %}", ""},
        {"", "{% filter upper %}", ""},
        {"{{ 1", " if 1 else 1", " }}"},
        {"{{ 1", " and 1", " }}"},
        {"{{ 1", " or 1", " }}"},
        {"{% set ", "(", ""},
        {"{{ 1 ", "is a(", ""},
        {"{{ a", "[0]", " }}"},
        {"{{ 1", " is defined is defined", " }}"},
        {"{% set x", "|upper", " %}{% endset %}"},
        {"{{ '", "{", "'.format(1) }}"},
        {"{{ '{:", "{:", "'.format(1) }}"},
        {"{% with ", "a = 1, ", "%}{% endwith %}"},
        {"{% if 0 %}", "{% elif 0 %}", "{% endif %}"},
        {"{{ 1", " ~ 1", " }}"},
        {"{{ 1", " < 1", " }}"},
        {"", "{#", ""},
    };
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++)
        for (size_t n = 50; n <= 50000; n *= 10) {
            char *source = repeated(deep[i][0], deep[i][1], n, deep[i][2]), *text;
            struct error e;
            int rc = render_text(source, NULL, &text, &e);
            if (rc && rc != -EINVAL && rc != -E2BIG) fail_msg("%.20s... gives %d %s", source, rc, e.text);
            free(text);
            free(source);
        }
}

/* Variables too are walked with care, whatever their depth. */
static void test_deep_variables(void **state)
{
    (void)state;
    char *source = repeated("", "[", 2000, ""), *all = repeated(source, "]", 2000, ""), *text;
    json_t *inner = json_loads(all, 0, NULL), *vars = json_pack("{s:o}", "x", inner);
    struct error e = {0};
    size_t bytes;
    assert_non_null(inner);
    assert_int_equal(render("{{ x }}", 7, vars, NULL, &text, &bytes, &e), -E2BIG);
    json_decref(vars);
    free(source);
    free(all);
}

static void test_given_limits(void **state)
{
    (void)state;
    struct jinja_limits limits = jinja_limits_default();
    struct error e;
    char *text;
    limits.steps = 100;
    assert_int_equal(render_text("{% for x in range(1000) %}{{ x }}{% endfor %}", &limits, &text, &e), -E2BIG);
    limits = jinja_limits_default();
    limits.text_bytes = 10;
    assert_int_equal(render_text("{{ 'a' * 10 }}", &limits, &text, &e), 0);
    free(text);
    assert_int_equal(render_text("{{ 'a' * 11 }}", &limits, &text, &e), -E2BIG);
    limits = jinja_limits_default();
    limits.held_bytes = 1 << 20;
    assert_int_equal(render_text("{{ ('a' * 2000000) | length }}", &limits, &text, &e), -E2BIG);
    limits = jinja_limits_default();
    limits.depth = 10;
    assert_int_equal(render_text("{{ 1 + (2 * (3 - (4 + (5 * (6 - (7 + (8 * (9 + x)))))))) }}", &limits, &text, &e),
                     -E2BIG);
}

/* -- tampered templates -- */

static uint64_t random_state;
static uint64_t random64(void) /* splitmix64: the same numbers everywhere */
{
    uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static const char *const PIECES[] = {
    "{{",
    "}}",
    "{%",
    "%}",
    "{%-",
    "-%}",
    "{#",
    "#}",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "|",
    ".",
    ",",
    ":",
    "=",
    "'",
    "\"",
    "\\",
    "-1",
    "0",
    "9223372036854775807",
    "1e308",
    "none",
    "missing",
    "[]",
    "{}",
    "''",
    " is ",
    " not ",
    " in ",
    " if ",
    " else ",
    " for ",
    " recursive ",
    "endfor",
    "endif",
    "loop",
    "|list",
    "|map('upper')",
    "|tojson",
    "|sort",
    "|join",
    "*",
    "**",
    "%",
    "//",
    "~",
    "+",
    "<",
    "==",
    "\n",
    " ",
    "\xc5\x82",
    "\xf0\x9f\xa6\x8a",
    "\xff",
    "%s",
    "[::-1]",
    ".items()",
    ".split()",
    "|groupby('age')",
    "|batch(2)",
    "namespace()",
    "d",
    "users",
    "messages",
    "tree",
    "u",
    "{% break %}",
    "{% endmacro %}",
};
enum { PIECE_COUNT = sizeof PIECES / sizeof *PIECES };

/* Replaces up to 8 bytes somewhere by a piece; room is left in s. */
static size_t tamper(char *s, size_t n)
{
    const char *piece = PIECES[random64() % PIECE_COUNT];
    size_t at = random64() % (n + 1), cut = random64() % 9, add = random64() % 3 ? strlen(piece) : 0;
    if (cut > n - at || random64() % 2) cut = cut > n - at ? n - at : cut / 8;
    memmove(s + at + add, s + at + cut, n - at - cut);
    memcpy(s + at, piece, add);
    return n - cut + add;
}

static void try_tampered(const char *source, size_t n, const json_t *vars)
{
    char *s = malloc(n + 256), *text;
    struct jinja_limits limits = {200000, 8 << 20, 1 << 20, 300};
    struct error e = {0};
    size_t bytes;
    memcpy(s, source, n);
    for (size_t i = 1 + random64() % 4; i > 0; i--) n = tamper(s, n);
    int rc = render(s, n, vars, &limits, &text, &bytes, &e);
    if (rc ? (rc != -EINVAL && rc != -E2BIG) || !e.text[0] : utf8_valid_bytes(text, bytes) != bytes)
        fail_msg("%.*s gives %d \"%s\"", (int)n, s, rc, e.text);
    free(text);
    free(s);
}

static void test_tampered(void **state)
{
    (void)state;
    json_t *all = load(CASES), *cases = json_object_get(all, "cases"), *vars = json_object_get(all, "vars");
    random_state = 5;
    for (size_t round = 0; round < 12; round++)
        for (size_t i = 0; i < json_array_size(cases); i++) {
            const json_t *source = json_object_get(json_array_get(cases, i), "template");
            try_tampered(json_string_value(source), json_string_length(source), vars);
        }
    for (size_t i = json_array_size(cases) - 3; i < json_array_size(cases); i++) {
        const json_t *source = json_object_get(json_array_get(cases, i), "template");
        for (size_t round = 0; round < 1000; round++) /* the long ones again */
            try_tampered(json_string_value(source), json_string_length(source), vars);
    }
    json_decref(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),          cmocka_unit_test(test_lines),        cmocka_unit_test(test_source),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_edges),        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_deep_variables), cmocka_unit_test(test_given_limits), cmocka_unit_test(test_tampered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
