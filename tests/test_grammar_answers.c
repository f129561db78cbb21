/* Answers under a form: what is valid is accepted, a model without a mind says nothing that is not valid, and the hook of a
 * sequence gives the same masks in whatever order it is asked. */
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
#include "coordinator/text/buffer.h"
#include "coordinator/text/json.h"
#include "coordinator/text/json_cursor.h"
#include "coordinator/text/utf8.h"
#include "coordinator/tokenizer/detokenizer.h"
#include "coordinator/tokenizer/token_bytes.h"
#include "tests/support_process.h"
#include "tests/support_schema.h"

#define SCHEMAS 200

static struct grammar *compile(const json_t *schema)
{
    struct error e = {0};
    struct grammar *g = NULL;

    if (grammar_open_schema(&g, schema, "schema", &e)) fail_msg("%s: %s", json_dumps(schema, 0), e.text);
    return g;
}

/* ---- values that are valid are accepted ---- */

static void accept(struct grammar_states *s, const char *text, const char *schema)
{
    struct error e = {0};
    uint32_t at;
    size_t n = strlen(text);

    assert_int_equal(grammar_start(s, &at, &e), 0);
    for (size_t i = 0; i < n; i++) {
        struct json_fault f;

        assert_int_equal(grammar_advance(s, &at, text + i, 1, &e), 0);
        if (at == GRAMMAR_DEAD) fail_msg("%s: %s is refused at %zu", schema, text, i);
        if (grammar_may_end(s, at) && !json_check(text, i + 1, true, &f))
            fail_msg("%s: %.*s may end", schema, (int)i + 1, text);
    }
    if (!grammar_may_end(s, at)) fail_msg("%s: %s may not end", schema, text);
}

static void valid_values_are_accepted(void **state)
{
    struct chance c = {0x9E3779B97F4A7C15u};
    int values = 0;

    (void)state;
    for (int i = 0; i < 2 * SCHEMAS; i++) {
        json_t *schema = schema_by_chance(&c);
        char *said = json_dumps(schema, JSON_COMPACT);
        struct grammar *g = compile(schema);
        struct grammar_states *s;
        struct error e = {0};

        assert_int_equal(grammar_states_open(&s, g, &e), 0);
        for (int k = 0; k < 10; k++) {
            json_t *v = value_by_chance(&c, schema);
            char *text = v ? json_dumps(v, JSON_ENCODE_ANY | (k % 2 ? JSON_COMPACT : 0)) : NULL;

            if (text) accept(s, text, said);
            values += text != NULL;
            free(text);
            json_decref(v);
        }
        grammar_states_close(s);
        grammar_close(g);
        free(said);
        json_decref(schema);
    }
    assert_true(values > 2000);
}

/* ---- a model without a mind ---- */

#define TOKENS 420

static char token_text[TOKENS][8];
static const char *token_list[TOKENS];
static size_t token_bytes[TOKENS];

static struct grammar_vocabulary *vocabulary(struct chance *c)
{
    static const char *const common[] = {"\",\"", "\":", "\": ", "{\"",      "\"}",  "},{", "]",   "true",
                                         "null",  "\\u", "00",   "\xc3\xa9", ", \"", "12",  "a\"", "\"a"};
    struct grammar_vocabulary *v;
    struct error e = {0};

    for (uint32_t i = 0; i < TOKENS; i++) {
        token_list[i] = token_text[i];
        if (i < 256) {
            token_text[i][0] = (char)i;
            token_bytes[i] = 1;
        } else if (i < 400) {
            token_bytes[i] = (size_t)sprintf(token_text[i], "%s", common[i % 16]);
        } else {
            token_bytes[i] = 1 + chance_below(c, 4);
            for (size_t k = 0; k < token_bytes[i]; k++) token_text[i][k] = (char)chance_below(c, 256);
        }
    }
    token_bytes[400] = (size_t)sprintf(token_text[400], "\xff</s>"); /* the end */
    assert_int_equal(grammar_vocabulary_list(&v, token_list, token_bytes, TOKENS, &e), 0);
    return v;
}

/* Tokens drawn evenly under the mask, into *out; false: it went on for too long. */
static bool babble(struct chance *c, const struct grammar *g, const struct grammar_vocabulary *v, struct buffer *out)
{
    struct constraint *k;
    struct error e = {0};
    uint32_t made[4000], n = 0;
    bool over = false;

    if (constraint_open(&k, g, v, (uint32_t[]){400}, 1, &e)) fail_msg("%s", e.text);
    while (n < 4000 && !over) {
        const uint64_t *bits;
        uint32_t may[TOKENS], count = 0;

        assert_int_equal(constraint_mask(k, made, n, &bits, &e), 0);
        if (constraint_error(k)->code) fail_msg("%.*s: %s", (int)out->bytes, out->data, constraint_error(k)->text);
        for (uint32_t t = 0; t < TOKENS; t++)
            if (bits[t / 64] >> t % 64 & 1) may[count++] = t;
        assert_true(count > 0);
        made[n] = may[chance_below(c, count)];
        over = made[n] == 400;
        if (!over) buffer_append(out, token_text[made[n]], token_bytes[made[n]]);
        if (!over && constraint_complete(k, made, n + 1)) over = true;
        n++;
    }
    constraint_close(k);
    buffer_append_byte(out, 0);
    return over;
}

static struct buffer lines; /* of what was said, for the next test */
static int said;

static void remember(const json_t *schema, const struct buffer *text)
{
    json_t *line = json_pack("{sOss%}", "schema", schema, "text", text->data, text->bytes - 1);
    char *dump = json_dumps(line, JSON_COMPACT);

    assert_non_null(dump);
    buffer_append_text(&lines, dump);
    buffer_append_byte(&lines, '\n');
    free(dump);
    json_decref(line);
    said++;
}

static void a_model_without_a_mind_says_json(void **state)
{
    struct chance c = {77};
    struct grammar_vocabulary *v = vocabulary(&c);

    (void)state;
    for (int i = 0; i < SCHEMAS; i++) {
        json_t *schema = schema_by_chance(&c), *read = NULL;
        struct grammar *g = compile(schema);
        struct buffer text = {0};
        struct error e = {0};

        if (babble(&c, g, v, &text)) {
            if (json_read_text(&read, text.data, text.bytes - 1, "answer", JSON_READ_ANY | JSON_READ_PAIRS, &e))
                fail_msg("%s: %s", text.data, e.text);
            json_decref(read);
            remember(schema, &text);
        }
        buffer_free(&text);
        grammar_close(g);
        json_decref(schema);
    }
    grammar_vocabulary_close(v);
    if (said < SCHEMAS * 9 / 10) fail_msg("only %d of %d answers came to an end", said, SCHEMAS);
}

/* All that was said is valid by its schema, as Python's jsonschema sees it. */
static void what_it_said_is_valid(void **state)
{
    static const char *const find[] = {"python3", "-c", "import jsonschema", NULL}, *const check[] = {
                                                                                        "python3",
                                                                                        "tests/check_schemas.py", NULL};
    struct process_result r = process_run("/usr/bin/env", find, NULL, 0, 30);
    int missing = r.status;

    (void)state;
    process_result_free(&r);
    if (missing) {
        print_message("skipped: python3 has no jsonschema\n");
        buffer_free(&lines);
        skip();
    }
    r = process_run("/usr/bin/env", check, lines.data, lines.bytes, 60);
    buffer_free(&lines);
    if (r.status || atoi(r.out) != said) fail_msg("%s%s", r.out, r.err);
    process_result_free(&r);
}

/* ---- the hook ---- */

static bool same_masks(const uint64_t *a, const uint64_t *b)
{
    return !memcmp(a, b, (TOKENS + 63) / 64 * sizeof *a);
}

/* Whatever was asked before, the mask is that of the tokens. The string is longer than the table of states. */
static void masks_depend_on_the_tokens_alone(void **state)
{
    enum { LONG = 9000 };
    struct chance c = {5};
    struct grammar_vocabulary *v = vocabulary(&c);
    json_t *schema = json_pack("{s{s{sssi},s{ss}},s[s,s]}", "properties", "a", "type", "string", "maxLength", LONG, "b",
                               "type", "null", "required", "a", "b");
    struct grammar *g = compile(schema);
    struct constraint *k, *fresh;
    struct error e = {0};
    static uint32_t made[LONG + 64];
    uint32_t n = 0;
    const uint64_t *bits, *other;

    (void)state;
    assert_int_equal(constraint_open(&k, g, v, (uint32_t[]){400}, 1, &e), 0);
    for (const char *s = "{\"a\":\""; *s; s++) made[n++] = (uint8_t)*s;
    for (int i = 0; i < LONG; i++) {
        made[n++] = 'x';
        if (i % 997 && i + 3 < LONG) continue;
        assert_int_equal(constraint_mask(k, made, n, &bits, &e), 0);
        assert_true(bits['"' / 64] >> '"' % 64 & 1);
        assert_int_equal(bits['x' / 64] >> 'x' % 64 & 1, i + 1 < LONG);
    }
    for (const char *s = "\",\"b\":null}"; *s; s++) made[n++] = (uint8_t)*s;
    assert_true(constraint_complete(k, made, n));
    assert_false(constraint_complete(k, made, n - 1));
    for (int i = 0; i < 6; i++) {
        uint32_t at = chance_below(&c, i < 3 ? 40 : n);

        assert_int_equal(constraint_open(&fresh, g, v, (uint32_t[]){400}, 1, &e), 0);
        assert_int_equal(constraint_mask(k, made, at, &bits, &e), 0);
        assert_int_equal(constraint_mask(fresh, made, at, &other, &e), 0);
        assert_true(same_masks(bits, other));
        constraint_close(fresh);
    }
    assert_int_equal(constraint_error(k)->code, 0);
    constraint_close(k);
    grammar_close(g);
    json_decref(schema);
    grammar_vocabulary_close(v);
}

/* A vocabulary that cannot say it: the answer ends, and the reason is kept. */
static void what_cannot_be_said_ends(void **state)
{
    static const char *const few[] = {"{", "\"", "a", "</s>"};
    static const size_t bytes[] = {1, 1, 1, 4};
    json_t *schema = json_pack("{s{s{ss}}s[s]}", "properties", "a", "type", "null", "required", "a");
    struct grammar *g = compile(schema);
    struct grammar_vocabulary *v;
    struct constraint *k;
    struct error e = {0};
    const uint64_t *bits;

    (void)state;
    assert_int_equal(grammar_vocabulary_list(&v, few, bytes, 4, &e), 0);
    assert_int_equal(constraint_open(&k, g, v, (uint32_t[]){3}, 1, &e), 0);
    assert_int_equal(constraint_mask(k, (uint32_t[]){0, 1, 2}, 3, &bits, &e), 0);
    assert_int_equal(bits[0], 2);
    assert_int_equal(constraint_mask(k, (uint32_t[]){0, 1, 2, 1}, 4, &bits, &e), 0);
    assert_int_equal(bits[0], 8);
    assert_non_null(strstr(constraint_error(k)->text, "no token"));
    constraint_close(k);
    assert_int_equal(constraint_open(&k, g, v, NULL, 0, &e), -EINVAL);
    assert_non_null(strstr(e.text, "ends an answer"));
    grammar_vocabulary_close(v);
    grammar_close(g);
    json_decref(schema);
}

/* Forms: text, a special token, schemas, several of them, a thought before. */
static void forms_follow_their_pieces(void **state)
{
    json_t *schema = json_pack("{ss}", "type", "integer");
    struct grammar_piece one[] = {
        {.special = "<call>"}, {.text = "f("}, {.schema = schema, .name = "x"}, {.text = ")"}};
    struct grammar_piece other[] = {{.text = "g"}, {.space = true}, {.text = "!"}};
    struct grammar_form form[] = {{one, 4}, {other, 3}};
    struct grammar_config plain = {.form = form, .forms = 2},
                          many = {.form = form, .forms = 2, .separator = ", ", .most = 3},
                          led = {.form = form, .forms = 2, .lead = "aab>"},
                          special = {.form = form, .forms = 2, .lead = "</t>", .lead_special = true};
    const struct {
        const struct grammar_config *c;
        const char *text;
        bool fine;
    } cases[] = {
        {&plain, "\xff<call>f(-12)", true},
        {&plain, "g!", true},
        {&plain, "g !", true},
        {&plain, "<call>f(1)", false},
        {&plain, "g!, g!", false},
        {&plain, "\xff<call>f()", false},
        {&many, "g!", true},
        {&many, "g!, \xff<call>f(3), g !", true},
        {&many, "g!, g!, g!, g!", false},
        {&many, "g!,g!", false},
        {&led, "aab>g!", true},
        {&led, "aaaab>g!", true},
        {&led, "why? aaab aab>g !", true},
        {&led, "g!", false},
        {&led, "aab>aab>g!", false},
        {&led,
         "x\xff"
         "aab>g!",
         false},
        {&special, "thinking </t> \xff</t>g!", true},
        {&special, "\xff</t>g!", true},
        {&special, "</t>g!", false},
    };
    struct error e = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct grammar *g;
        struct grammar_states *s;
        uint32_t at;

        assert_int_equal(grammar_open(&g, cases[i].c, &e), 0);
        assert_int_equal(grammar_states_open(&s, g, &e), 0);
        assert_int_equal(grammar_start(s, &at, &e), 0);
        assert_int_equal(grammar_advance(s, &at, cases[i].text, strlen(cases[i].text), &e), 0);
        if (grammar_may_end(s, at) != cases[i].fine) fail_msg("%s", cases[i].text);
        grammar_states_close(s);
        grammar_close(g);
    }
    json_decref(schema);
}

/* ---- tokens' bytes ---- */

/* What a detokenizer makes of tokens is their bytes, joined. */
static void check_tokenizer(struct chance *c, const char *folder)
{
    struct tokenizer *t;
    struct detokenizer *d;
    struct error e = {0};
    struct buffer whole = {0}, bytes = {0};
    uint32_t size;
    int compared = 0;

    if (tokenizer_open(&t, folder, &e)) fail_msg("%s: %s", folder, e.text);
    if (detokenizer_open(&d, t, false, &e)) fail_msg("%s: %s", folder, e.text);
    size = (uint32_t)tokenizer_vocab_size(t);
    for (int round = 0; round < 1000; round++) {
        uint32_t id[4];
        const char *text;
        size_t n;

        whole.bytes = bytes.bytes = 0;
        for (int i = 0; i < 4; i++) {
            do id[i] = chance_below(c, size);
            while (!tokenizer_token_text(t, id[i]) || tokenizer_is_special(t, id[i]));
            assert_int_equal(detokenizer_push(d, id[i], &text, &n, &e), 0);
            buffer_append(&whole, text, n);
            assert_true(tokenizer_token_bytes(t, id[i], &bytes));
        }
        assert_int_equal(detokenizer_finish(d, &text, &n), 0);
        buffer_append(&whole, text, n);
        /* a decoder may take spaces at a text's beginning, and what is no UTF-8 is shown in more than one way */
        while (bytes.bytes > whole.bytes && bytes.data[0] == ' ') buffer_drop(&bytes, 1);
        if (utf8_valid_bytes(bytes.data ? bytes.data : "", bytes.bytes) != bytes.bytes) continue;
        if (whole.bytes != bytes.bytes || (whole.bytes && memcmp(whole.data, bytes.data, bytes.bytes)))
            fail_msg("%s: \"%.*s\" is not \"%.*s\"", folder, (int)bytes.bytes, bytes.data, (int)whole.bytes,
                     whole.data);
        compared++;
    }
    if (compared < 50) fail_msg("%s: only %d texts were compared", folder, compared);
    assert_false(tokenizer_token_bytes(t, size + 5, &bytes));
    detokenizer_close(d);
    tokenizer_close(t);
    buffer_free(&whole);
    buffer_free(&bytes);
}

static void tokens_have_the_bytes_of_their_text(void **state)
{
    static const char *const folders[] = {"tests/data/demo-model",
                                          "tests/data/tokenizers/added-tokens",
                                          "tests/data/tokenizers/added-tokens-spm",
                                          "tests/data/tokenizers/deepseek3",
                                          "tests/data/tokenizers/gemma",
                                          "tests/data/tokenizers/gpt2",
                                          "tests/data/tokenizers/llama2",
                                          "tests/data/tokenizers/llama2-noprefix",
                                          "tests/data/tokenizers/llama3",
                                          "tests/data/tokenizers/metaspace-always",
                                          "tests/data/tokenizers/metaspace-first",
                                          "tests/data/tokenizers/o200k",
                                          "tests/data/tokenizers/qwen2",
                                          "tests/data/tokenizers-more/spm-bpe",
                                          "tests/data/tokenizers-more/spm-unigram",
                                          "tests/data/tokenizers-more/spm-unigram-bytes",
                                          "tests/data/tokenizers-more/tiktoken-glm4",
                                          "tests/data/tokenizers-more/tiktoken-kimi",
                                          "tests/data/tokenizers-more/tiktoken-qwen",
                                          "tests/data/tokenizers-more/unigram",
                                          "tests/data/tokenizers-more/unigram-bytes"};
    struct chance c = {31};

    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) check_tokenizer(&c, folders[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_values_are_accepted),
        cmocka_unit_test(a_model_without_a_mind_says_json),
        cmocka_unit_test(what_it_said_is_valid),
        cmocka_unit_test(masks_depend_on_the_tokens_alone),
        cmocka_unit_test(what_cannot_be_said_ends),
        cmocka_unit_test(forms_follow_their_pieces),
        cmocka_unit_test(tokens_have_the_bytes_of_their_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
