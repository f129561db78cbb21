/* Schemas as automata: what each accepts and where it first says no, what is refused by name, masks against trying every
 * token, and schemas made to hurt. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "coordinator/grammar/constraint.h"
#include "coordinator/grammar/mask.h"
#include "coordinator/text/json.h"
#include "coordinator/text/json_cursor.h"

static json_t *read_json(const char *text)
{
    struct error e = {0};
    json_t *v = NULL;

    if (json_read_text(&v, text, strlen(text), "schema", JSON_READ_ANY, &e)) fail_msg("%s: %s", text, e.text);
    return v;
}

static struct grammar *compile(const char *schema)
{
    struct error e = {0};
    struct grammar *g = NULL;
    json_t *s = read_json(schema);

    if (grammar_open_schema(&g, s, "schema", &e)) fail_msg("%s: %s", schema, e.text);
    json_decref(s);
    return g;
}

/* How many bytes of the text can stand; -1 - that many where all can but the text may not end there. */
static int stands(struct grammar_states *s, const char *text)
{
    struct error e = {0};
    uint32_t state;
    size_t n = strlen(text);

    if (grammar_start(s, &state, &e)) fail_msg("%s", e.text);
    for (size_t i = 0; i < n; i++) {
        if (grammar_advance(s, &state, text + i, 1, &e)) fail_msg("%s", e.text);
        if (state == GRAMMAR_DEAD) return (int)i;
        if (!grammar_may_end(s, state)) continue;
        struct json_fault f;
        if (!json_check(text, i + 1, true, &f)) fail_msg("%.*s may end, and is no JSON", (int)i + 1, text);
    }
    return grammar_may_end(s, state) ? (int)n : -1 - (int)n;
}

/* Texts that are accepted, and such as are not with the place of the first byte that cannot stand (-1: cut off). */
struct sample {
    const char *schema;
    const char *yes[14];
    struct {
        const char *text;
        int at;
    } no[16];
};

static const struct sample samples[] = {
    {"{\"type\":\"boolean\"}", {"true", "false", " true"}, {{"tru", -1}, {"null", 0}, {"trues", 4}, {"  true", 1}}},
    {"{\"type\":\"null\"}", {"null"}, {{"nul", -1}, {"0", 0}}},
    {"{\"type\":[\"null\",\"boolean\"]}", {"null", "true"}, {{"1", 0}}},
    {"{\"type\":\"integer\"}",
     {"0", "7", "-1", "9223372036854775807", "-9223372036854775808", "120"},
     {{"01", 1},
      {"-0", 1},
      {"1.0", 1},
      {"9223372036854775808", 18},
      {"-9223372036854775809", 19},
      {"1e3", 1},
      {"-", -1}}},
    {"{\"type\":\"integer\",\"minimum\":-12,\"maximum\":105}",
     {"-12", "-9", "-1", "0", "9", "10", "99", "100", "105"},
     {{"-13", 2}, {"106", 2}, {"11 ", 2}, {"200", 2}, {"-20", 2}, {"1000", 3}}},
    {"{\"type\":\"integer\",\"exclusiveMinimum\":3,\"exclusiveMaximum\":5}", {"4"}, {{"3", 0}, {"5", 0}, {"40", 1}}},
    {"{\"type\":\"integer\",\"minimum\":1000}", {"1000", "99999", "9223372036854775807"}, {{"999", -1}, {"0", 0}}},
    {"{\"type\":\"number\"}",
     {"0", "-0", "-0.5", "1.25e-7", "3E+22", "12e99", "1e279", "1e-299", "0.00000000000000000001"},
     {{".5", 0}, {"1.", -1}, {"00", 1}, {"1e280", 4}, {"1e-300", 5}, {"1ee", 2}, {"--1", 1}, {"+1", 0}, {"1e", -1}}},
    {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}",
     {"0", "0.5", "1", "1.0", "1.000", "0.0"},
     {{"-", 0}, {"1.1", 2}, {"2", 0}, {"1e0", 1}}},
    {"{\"type\":\"number\",\"exclusiveMinimum\":0,\"maximum\":2}",
     {"0.5", "0.001", "2.0", "1.9"},
     {{"0.000", -1}, {"2.01", 3}, {"0", -1}}},
    {"{\"type\":\"number\",\"minimum\":-3,\"exclusiveMaximum\":-1}",
     {"-3", "-2.5", "-1.01", "-3.0"},
     {{"-1.0", -1}, {"-3.1", 3}, {"0", 0}}},
    {"{\"type\":\"string\"}",
     {"\"\"", "\"a b\"", "\"\\n\\\"\\/\"", "\"\\u00e9\"", "\"\\ud83d\\ude00\"", "\"\xc3\xa9\xf0\x9f\x98\x80\"",
      "\"\x7f\""},
     {{"\"\n", 1},
      {"\"\\x", 2},
      {"\"\\ud83d\"", 7},
      {"\"\\ud83d\\u0041", 9},
      {"\"\\ude00", 4},
      {"\"\xc0\x80", 1},
      {"\"\xed\xa0\x80", 2},
      {"\"\xf4\x90", 2},
      {"\"\xe0\x9f", 2},
      {"\"\xff", 1},
      {"\"abc", -1},
      {"\"\"\"", 2},
      {"'a'", 0}}},
    {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
     {"\"ab\"", "\"abc\"", "\"\xc3\xa9\xc3\xa9\"", "\"\\n\\n\\n\"", "\"\\ud83d\\ude00x\""},
     {{"\"a\"", 2}, {"\"abcd", 4}, {"\"\"", 1}}},
    {"{\"type\":\"string\",\"pattern\":\"^[A-Z]{2}-\\\\d{3}$\"}",
     {"\"AB-123\""},
     {{"\"A-", 2}, {"\"AB-12\"", 6}, {"\"AB-1234", 7}}},
    {"{\"type\":\"string\",\"pattern\":\"^(foo|bar)+$|^x?$\"}",
     {"\"foobar\"", "\"x\"", "\"\""},
     {{"\"fob", 3}, {"\"xf", 2}}},
    {"{\"type\":\"string\",\"pattern\":\"b\"}", {"\"abc\"", "\"b\"", "\"\\nb\\n\""}, {{"\"aaa\"", 4}}},
    {"{\"type\":\"string\",\"pattern\":\"^[^a-z\\\"]\\\\.\\\\w*?(?:\\u00e9|[\\u4e00-\\u9fff])$\"}",
     {"\"1.a_9\xc3\xa9\"", "\"\\\\.\xe4\xb8\x80\"", "\"\xf0\x9f\x98\x80.\xe9\xbf\xbf\""},
     {{"\"a", 1}, {"\"\\\"", 2}, {"\"1..", 3}, {"\"1.\xc3\xa8", 4}}},
    {"{\"type\":\"string\",\"pattern\":\"^.$\"}",
     {"\"\\\"\"", "\"\\\\\"", "\"\\t\"", "\"\\u0001\""},
     {{"\"\\n", 2}, {"\"ab", 2}, {"\"\xe2\x80\xa8", 3}}},
    {"{\"type\":\"string\",\"format\":\"date-time\"}",
     {"\"2026-02-28T23:59:59Z\"", "\"1999-12-31T00:00:00.5+01:00\""},
     {{"\"2026-02-30", 9}, {"\"2026-13", 7}}},
    {"{\"type\":\"string\",\"format\":\"ipv4\"}", {"\"255.0.10.199\""}, {{"\"256", 3}, {"\"1.2.3\"", 6}}},
    {"{\"type\":\"string\",\"format\":\"email\"}", {"\"a.b@ex-ample.org\""}, {{"\"@", 1}, {"\"a@b\"", 4}}},
    {"{\"enum\":[\"red\",\"red\",\"reddish\",\"\\u00e9\\n\",3,null,0.1,{\"a\":[1,true]}]}",
     {"\"red\"", "\"reddish\"", "\"\xc3\xa9\\n\"", "3", "null", "0.1", "{\"a\":[1,true]}"},
     {{"\"redd\"", 5}, {"\"green", 1}, {"\"\\u00e9", 1}, {"4", 0}, {"{\"a\": ", 5}}},
    {"{\"type\":\"string\",\"enum\":[\"a\",1,null]}", {"\"a\""}, {{"1", 0}, {"n", 0}}},
    {"{\"const\":-1.5e300}", {"-1.5e+300"}, {{"-1.6", 3}}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}",
     {"[]", "[1]", "[1,2, 3]", "[ 1 ]", "[ ]"},
     {{"[,", 1}, {"[1,]", 3}, {"[1  ", 3}, {"[1 2", 3}, {"[1,\n", 3}}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":2,\"maxItems\":3}",
     {"[1,2]", "[1,2,3]"},
     {{"[]", 1}, {"[1]", 2}, {"[1,2,3,", 6}}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"maxItems\":0}", {"[]", "[ ]"}, {{"[t", 1}}},
    {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"null\"}],\"items\":{\"type\":\"boolean\"}"
     ",\"minItems\":1,\"maxItems\":4}",
     {"[1]", "[1,null]", "[1,null,true]", "[1,null,true,false]"},
     {{"[]", 1}, {"[null", 1}, {"[1,true", 3}, {"[1,null,true,false,", 18}}},
    {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"}],\"items\":false,\"minItems\":1}",
     {"[1]"},
     {{"[]", 1}, {"[1,", 2}}},
    {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"}],\"items\":{\"const\":2},\"minItems\":3}",
     {"[1,2,2]", "[1,2,2,2]"},
     {{"[1,2]", 4}}},
    {"{\"type\":\"object\"}",
     {"{}", "{\"a\":1}", "{ \"\": [{}], \"\\u0061\":null }"},
     {{"{a", 1}, {"{\"a\" ", 4}, {"{,", 1}, {"[]", 0}, {"{\"a\":1,}", 7}}},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"null\"},\"c\":{\"type\":"
     "\"boolean\"}},\"required\":[\"a\",\"c\"]}",
     {"{\"a\":1,\"c\":true}", "{ \"a\": 1, \"b\": null, \"c\": false }"},
     {{"{}", 1}, {"{\"b", 2}, {"{\"a\":1}", 6}, {"{\"a\":1,\"d", 8}, {"{\"c", 2}, {"{\"a\":1,\"c\":true,", 15}}},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2}}}",
     {"{}", "{\"a\":1}", "{\"b\":2}", "{\"a\":1,\"b\":2}"},
     {{"{\"b\":2,", 6}, {"{\"c", 2}}},
    {"{\"type\":\"object\",\"properties\":{\"ab\":{\"const\":1},\"\\u00e9\\\"\":{\"const\":2}},"
     "\"additionalProperties\":{\"type\":\"integer\"}}",
     {"{}", "{\"ab\":1}", "{\"ab\":1,\"a\":5,\"abc\":6}", "{\"x\":1}", "{\"\xc3\xaa\":1,\"\xc3\xa9\":2}", "{\"\":3}",
      "{\"\xc3\xa9\\\"\":2,\"\xc3\xa9\\\"x\":0}"},
     {{"{\"ab\":2", 6},
      {"{\"x\":1,\"ab\"", 10},
      {"{\"x\":1,\"\xc3\xa9\\\"\"", 12},
      {"{\"\\u0061", 3},
      {"{\"x\":\"", 5}}},
    {"{\"properties\":{\"a\":false,\"b\":true},\"required\":[\"b\"]}", {"{\"b\":[1]}"}, {{"{\"a", 2}}},
    {"{\"required\":[\"z\"]}", {"{\"z\":1}", "{\"z\":1,\"y\":{}}"}, {{"{}", 1}, {"{\"y", 2}}},
    {"{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}", {"{}", "{ }"}, {{"{\"", 1}}},
    {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}]}",
     {"1", "[1]"},
     {{"\"", 0}}},
    {"{\"type\":\"object\",\"properties\":{\"k\":{\"type\":\"string\"}},\"oneOf\":[{\"required\":[\"k\"]},{"
     "\"properties\":{\"n\":{\"type\":\"null\"}},\"required\":[\"n\"]}]}",
     {"{\"k\":\"x\"}", "{\"k\":\"\",\"n\":null}", "{\"n\":null}"},
     {{"{}", 1}}},
    {"{\"allOf\":[{\"type\":[\"integer\",\"string\"],\"minimum\":3},{\"type\":\"number\",\"maximum\":4}]}",
     {"3", "4"},
     {{"5", 0}, {"3.", 1}, {"\"", 0}}},
    {"{\"$ref\":\"#/$defs/"
     "list\",\"$defs\":{\"list\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":{\"anyOf\":"
     "[{\"$ref\":\"#/$defs/list\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}}}",
     {"{\"v\":1,\"next\":null}", "{\"v\":1,\"next\":{\"v\":2,\"next\":null}}"},
     {{"{\"v\":1}", 6}, {"{\"v\":1,\"next\":{}", 15}}},
    {"{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}", {"[]", "[[],[[ ]]]"}, {{"[1", 1}}},
    {"{\"properties\":{\"p\":{\"allOf\":[{\"$ref\":\"#/definitions/"
     "d~1e\"}],\"description\":\"x\"}},\"required\":[\"p\"],\"definitions\":{\"d/e\":{\"enum\":[1,2]}}}",
     {"{\"p\":2}"},
     {{"{\"p\":3", 5}}},
    {"true", {"1", "\"x\"", "[]", "{\"a\":[null,-1.5]}"}, {{"x", 0}}},
    {"{}", {"null", "[[[1]]]"}, {{"]", 0}}},
};

static void samples_stand_or_fall(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        const struct sample *x = &samples[i];
        struct grammar *g = compile(x->schema);
        struct grammar_states *s;
        struct error e = {0};

        assert_int_equal(grammar_states_open(&s, g, &e), 0);
        for (int k = 0; k < 14 && x->yes[k]; k++)
            if (stands(s, x->yes[k]) != (int)strlen(x->yes[k]))
                fail_msg("%s: %s is refused at %d", x->schema, x->yes[k], stands(s, x->yes[k]));
        for (int k = 0; k < 16 && x->no[k].text; k++) {
            int at = stands(s, x->no[k].text), want = x->no[k].at < 0 ? -1 - (int)strlen(x->no[k].text) : x->no[k].at;
            if (at != want) fail_msg("%s: %s is refused at %d, not at %d", x->schema, x->no[k].text, at, want);
        }
        grammar_states_close(s);
        grammar_close(g);
    }
}

/* ---- refusals ---- */

static const char *const refused[][2] = {
    {"{\"properties\":{\"x\":{\"type\":\"number\",\"multipleOf\":2}}}",
     "schema.properties.x.multipleOf is not supported"},
    {"{\"items\":{\"not\":{}}}", "schema.items.not is not supported"},
    {"{\"anyOf\":[{},{\"if\":{}}]}", "schema.anyOf[1].if is not supported"},
    {"{\"prefixItems\":[{\"contains\":{}}]}", "schema.prefixItems[0].contains is not"},
    {"{\"minProperties\":1}", "schema.minProperties is not supported"},
    {"{\"patternProperties\":{}}", "schema.patternProperties is not supported"},
    {"{\"uniqueItems\":true}", "schema.uniqueItems is not supported"},
    {"{\"type\":\"date\"}", "schema.type must be"},
    {"{\"type\":3}", "schema.type must be"},
    {"{\"type\":\"number\",\"minimum\":0.5}", "schema.minimum is not supported where"},
    {"{\"type\":\"integer\",\"minimum\":\"1\"}", "schema.minimum must be a number"},
    {"{\"minLength\":-1}", "schema.minLength must be a whole number"},
    {"{\"maxItems\":1.5}", "schema.maxItems must be a whole number"},
    {"{\"minLength\":3,\"maxLength\":2}", "no value satisfies it"},
    {"{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}", "no value satisfies it"},
    {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", "no value satisfies it"},
    {"{\"enum\":[]}", "no value satisfies it"},
    {"{\"type\":\"string\",\"enum\":[1]}", "no value satisfies it"},
    {"{\"enum\":3}", "schema.enum must be a list"},
    {"{\"enum\":[1],\"minimum\":0}", "schema.minimum is not supported beside enum"},
    {"false", "no value satisfies it"},
    {"3", "schema must be a schema"},
    {"{\"properties\":{\"a\":1}}", "schema.properties.a must be a schema"},
    {"{\"properties\":[]}", "schema.properties must be an object"},
    {"{\"required\":\"a\"}", "schema.required must be a list"},
    {"{\"required\":[1]}", "schema.required must be a list"},
    {"{\"properties\":{},\"required\":[\"a\"],\"additionalProperties\":false}", "no value satisfies it"},
    {"{\"items\":[{}]}", "schema.items is not supported as a list"},
    {"{\"$ref\":\"http://example.org/x\"}", "schema.$ref is not supported where it leads out"},
    {"{\"$ref\":\"#/$defs/none\"}", "schema.$ref leads to no schema"},
    {"{\"$ref\":\"#/title\",\"title\":\"x\"}", "schema.$ref leads to no schema"},
    {"{\"$ref\":\"#\"}", "leads"},
    {"{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":\"#/$defs/a\"}}}", "schema"},
    {"{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}", "leads back to itself"},
    {"{\"anyOf\":[{\"properties\":{\"x\":{\"$ref\":\"#/$defs/b\"}}},{\"$ref\":\"#/$defs/"
     "b\"}],\"$defs\":{\"b\":{\"anyOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}}}",
     "leads back to itself"},
    {"{\"allOf\":[{\"$ref\":\"#\"}]}", "without end"},
    {"{\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "no value satisfies it"},
    {"{\"allOf\":[{\"pattern\":\"a\"},{\"pattern\":\"b\"}]}", "schema.pattern is not supported twice"},
    {"{\"allOf\":[]}", "schema.allOf must be a list"},
    {"{\"anyOf\":{}}", "schema.anyOf must be a list"},
    {"{\"anyOf\":[{}],\"oneOf\":[{}]}", "schema.oneOf is not supported beside anyOf"},
    {"{\"allOf\":[{\"properties\":{\"a\":{}},\"additionalProperties\":false},{\"properties\":{\"b\":{}}}]}",
     "schema.additionalProperties is not supported beside"},
    {"{\"format\":\"hostname\"}", "schema.format is supported for date"},
    {"{\"pattern\":\"a\",\"maxLength\":3}", "schema.pattern is not supported beside minLength"},
    {"{\"pattern\":\"(?=a)\"}", "schema.pattern looks around"},
    {"{\"pattern\":\"(?<!a)b\"}", "schema.pattern looks around"},
    {"{\"pattern\":\"\\\\bx\"}", "schema.pattern has an escape that is not"},
    {"{\"pattern\":\"(a)\\\\1\"}", "schema.pattern has an escape that is not"},
    {"{\"pattern\":\"\\\\p{L}\"}", "schema.pattern has an escape that is not"},
    {"{\"pattern\":\"a^b\"}", "schema.pattern has ^ or $ inside"},
    {"{\"pattern\":\"(a\"}", "schema.pattern has a ( without"},
    {"{\"pattern\":\"a)\"}", "schema.pattern has a ) without"},
    {"{\"pattern\":\"[a\"}", "schema.pattern has a [ without"},
    {"{\"pattern\":\"[b-a]\"}", "schema.pattern has a range"},
    {"{\"pattern\":\"[]\"}", "schema.pattern has an empty class"},
    {"{\"pattern\":\"*a\"}", "schema.pattern repeats nothing"},
    {"{\"pattern\":\"a**\"}", "schema.pattern repeats what repeats"},
    {"{\"pattern\":\"a{3,2}\"}", "schema.pattern repeats from more"},
    {"{\"pattern\":\"a{99999}\"}", "schema.pattern repeats more than"},
    {"{\"pattern\":\"\\\\\"}", "schema.pattern ends with a backslash"},
    {"{\"pattern\":\"\\\\x4\"}", "schema.pattern has an escape of a character"},
    {"{\"pattern\":\"\\\\ud800\"}", "schema.pattern has half a surrogate"},
    {"{\"pattern\":\"((((((((a{999}){999}){999}){999}){999}){999}){999}){999})\"}", "is too large"},
    {"{\"pattern\":3}", "schema.pattern must be a string"},
};

static void what_is_not_supported_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct grammar *g = NULL;
        struct error e = {0};
        json_t *s = read_json(refused[i][0]);

        if (!grammar_open_schema(&g, s, "schema", &e)) fail_msg("%s is accepted", refused[i][0]);
        assert_int_equal(e.code, EINVAL);
        if (!strstr(e.text, refused[i][1])) fail_msg("%s: %s", refused[i][0], e.text);
        json_decref(s);
    }
}

/* ---- masks ---- */

static uint64_t seed = 88172645463325252u;

static uint32_t below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % n;
}

#define TOKENS 700

static char token_text[TOKENS][16];
static const char *token_list[TOKENS];
static size_t token_bytes[TOKENS];

/* Single bytes, pieces of the samples, random bytes, some of them twice, one special. */
static void make_tokens(void)
{
    for (uint32_t i = 0; i < TOKENS; i++) {
        const char *from = samples[below(sizeof samples / sizeof *samples)].yes[0];
        size_t n = strlen(from), at = below((uint32_t)n), most = n - at;

        token_list[i] = token_text[i];
        token_bytes[i] = i < 256 ? 1 : 1 + below(most < 12 ? (uint32_t)most : 12);
        memcpy(token_text[i], from + at, token_bytes[i]);
        if (i < 256) token_text[i][0] = (char)i;
        if (i >= 600 && i < 640) token_text[i][below((uint32_t)token_bytes[i])] = (char)below(256);
        if (i == 640) memcpy(token_text[i], "\xff<s>", token_bytes[i] = 4);
        if (i == 641) token_bytes[i] = 0;
    }
}

static void masks_are_what_single_tokens_say(void **state)
{
    struct grammar_vocabulary *v;
    struct error e = {0};
    uint64_t dead = 0, alive = 0;

    (void)state;
    make_tokens();
    assert_int_equal(grammar_vocabulary_list(&v, token_list, token_bytes, TOKENS, &e), 0);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct grammar *g = compile(samples[i].schema);
        struct grammar_states *s;
        struct grammar_masks *m;

        assert_int_equal(grammar_states_open(&s, g, &e), 0);
        assert_int_equal(grammar_masks_open(&m, v, (uint32_t[]){9, 5000, 300}, 3, &e), 0);
        for (int k = 0; k < 14 && samples[i].yes[k]; k++) {
            const char *text = samples[i].yes[k];
            size_t cut = below((uint32_t)strlen(text) + 1);
            const uint64_t *bits;
            uint32_t at;

            assert_int_equal(grammar_start(s, &at, &e), 0);
            assert_int_equal(grammar_advance(s, &at, text, cut, &e), 0);
            assert_int_not_equal(at, GRAMMAR_DEAD);
            assert_int_equal(grammar_mask(m, s, at, &bits, &e), 0);
            for (uint32_t t = 0; t < TOKENS; t++) {
                uint32_t to = at;
                bool may = token_bytes[t] > 0;

                assert_int_equal(grammar_advance(s, &to, token_text[t], token_bytes[t], &e), 0);
                may = t == 9 || t == 300 ? grammar_may_end(s, at) : may && to != GRAMMAR_DEAD;
                if ((bits[t / 64] >> t % 64 & 1) != may)
                    fail_msg("%s: %.*s: token %u is %s", samples[i].schema, (int)cut, text, t, may ? "out" : "in");
                dead += !may;
                alive += may;
            }
        }
        assert_true(grammar_masks_work(m) <= 14 * v->nodes);
        grammar_masks_close(m);
        grammar_states_close(s);
        grammar_close(g);
    }
    assert_true(alive > 1000 && dead > 10000);
    grammar_vocabulary_close(v);
}

/* A state that comes again costs nothing; what an equal state costs the first time is bounded by the tree. */
static void masks_are_kept(void **state)
{
    struct grammar *g = compile("{\"type\":\"array\",\"items\":{\"type\":\"string\"}}");
    struct grammar_vocabulary *v;
    struct grammar_states *s;
    struct grammar_masks *m;
    struct error e = {0};
    const uint64_t *bits;
    uint32_t one, other;
    uint64_t work;

    (void)state;
    make_tokens();
    assert_int_equal(grammar_vocabulary_list(&v, token_list, token_bytes, TOKENS, &e), 0);
    assert_int_equal(grammar_states_open(&s, g, &e), 0);
    assert_int_equal(grammar_masks_open(&m, v, (uint32_t[]){9}, 1, &e), 0);
    assert_int_equal(grammar_start(s, &one, &e), 0);
    other = one;
    assert_int_equal(grammar_advance(s, &one, "[\"a", 3, &e), 0);
    assert_int_equal(grammar_advance(s, &other, "[ \"xyz\", \"\xc3\xa9", 12, &e), 0);
    assert_int_equal(one, other);
    assert_int_equal(grammar_mask(m, s, one, &bits, &e), 0);
    work = grammar_masks_work(m);
    assert_true(work > 0 && work <= v->nodes);
    assert_int_equal(grammar_mask(m, s, other, &bits, &e), 0);
    assert_int_equal(grammar_masks_work(m), work);
    grammar_masks_close(m);
    grammar_states_close(s);
    grammar_vocabulary_close(v);
    grammar_close(g);
}

/* ---- hostile ---- */

/* Refused, or with states that stay within bounds. */
static void try_hostile(const char *what, json_t *schema)
{
    struct grammar *g = NULL;
    struct grammar_states *s;
    struct error e = {0};
    uint32_t state;

    assert_non_null(schema);
    if (grammar_open_schema(&g, schema, "schema", &e)) {
        if (e.code != EINVAL) fail_msg("%s: %s", what, e.text);
        json_decref(schema);
        return;
    }
    json_decref(schema);
    assert_int_equal(grammar_states_open(&s, g, &e), 0);
    if (!grammar_start(s, &state, &e))
        for (int i = 0; i < 20000 && state != GRAMMAR_DEAD; i++) {
            char c = "[{\"a1,:]} "[below(10)];
            uint32_t to = state;

            if (grammar_advance(s, &to, &c, 1, &e)) {
                if (e.code != ENOSPC) break;
                assert_int_equal(grammar_states_keep(s, &state, &e), 0);
            } else if (to != GRAMMAR_DEAD) {
                state = to;
            }
        }
    assert_true(grammar_states_bytes(s) < (size_t)64 << 20);
    grammar_states_close(s);
    grammar_close(g);
}

static json_t *nested(const char *key, int depth)
{
    json_t *v = json_pack("{ss}", "type", "null");

    for (int i = 0; i < depth; i++) v = json_pack("{so}", key, v);
    return v;
}

static void hostile_schemas_are_bounded(void **state)
{
    json_t *v, *list;

    (void)state;
    try_hostile("deep items", nested("items", 20000));
    try_hostile("deep additionalProperties", nested("additionalProperties", 20000));
    try_hostile("many items", read_json("{\"type\":\"array\",\"minItems\":1000000000,\"maxItems\":1000000000}"));
    try_hostile("long strings", read_json("{\"minLength\":1000000000,\"maxLength\":18446744073709551615}"));
    try_hostile("counted in counted",
                read_json("{\"items\":{\"items\":{\"maxLength\":999999},\"maxItems\":999999},\"maxItems\":999999}"));
    list = json_array();
    for (int i = 0; i < 200000; i++) json_array_append_new(list, json_sprintf("value number %d", i * 7));
    try_hostile("large enum", json_pack("{so}", "enum", list));
    list = json_array();
    for (int i = 0; i < 3000; i++)
        json_array_append_new(list, json_pack("{s{s{ss}}}", "properties", "a", "type", "string"));
    try_hostile("many equal alternatives", json_pack("{so}", "anyOf", list));
    list = json_array();
    for (int i = 0; i < 20000; i++) json_array_append_new(list, json_pack("{s[s]}", "required", "a"));
    try_hostile("many parts", json_pack("{so}", "allOf", list));
    v = json_object();
    for (int i = 0; i < 30000; i++) {
        char name[32];
        snprintf(name, sizeof name, "property%d", i);
        json_object_set_new(v, name, json_pack("{ss}", "type", "null"));
    }
    try_hostile("many properties", json_pack("{so}", "properties", v));
    try_hostile("merging for ever",
                read_json("{\"allOf\":[{\"$ref\":\"#/$defs/a\"},{\"$ref\":\"#/$defs/"
                          "b\"}],\"$defs\":{\"a\":{\"properties\":{\"x\":{\"$ref\":\"#/$defs/a\"}}},"
                          "\"b\":{\"properties\":{\"x\":{\"$ref\":\"#/$defs/b\"}}}}}"));
    try_hostile("ways that never part", read_json("{\"pattern\":\"^(a?){300}(a|a|a|a)*(aa|a)*$\"}"));
    try_hostile("a star of stars", read_json("{\"pattern\":\"^((a*)*)*$\"}"));
    {
        char *text = malloc(1 << 20);
        memset(text, '(', 1 << 20);
        try_hostile("open groups", json_pack("{ss%}", "pattern", text, (size_t)1 << 20));
        memset(text, 'a', 1 << 20);
        try_hostile("a long pattern", json_pack("{ss%}", "pattern", text, (size_t)1 << 20));
        text[(1 << 20) - 1] = 0;
        v = json_object();
        json_object_set_new(v, text, json_true());
        try_hostile("a long name", json_pack("{so}", "properties", v));
        try_hostile("a long const", json_pack("{ss}", "const", text));
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_stand_or_fall),
        cmocka_unit_test(what_is_not_supported_is_named),
        cmocka_unit_test(masks_are_what_single_tokens_say),
        cmocka_unit_test(masks_are_kept),
        cmocka_unit_test(hostile_schemas_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
