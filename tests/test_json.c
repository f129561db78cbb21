/* JSON as Python writes it: the reader by itself, and every JSON file of a model folder through the part that reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "coordinator/chat/chat.h"
#include "coordinator/source/generation.h"
#include "coordinator/source/template.h"
#include "coordinator/text/json_cursor.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "proto/base/file.h"
#include "tests/mkmodel.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define HUGE_INTEGER "1000000000000000019884624838656"

static char *printed(const json_t *v)
{
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);

    assert_non_null(f);
    assert_int_equal(json_print(f, v), 0);
    assert_int_equal(fclose(f), 0);
    return text;
}

/* The value of text written out again. */
static void expect(const char *text, const char *wanted)
{
    struct error e = {0};
    json_t *v;
    char *got;

    if (json_read_text(&v, text, strlen(text), "t", JSON_READ_ANY, &e)) fail_msg("%s: %s", text, e.text);
    got = printed(v);
    if (strcmp(got, wanted)) fail_msg("%s gives %s, not %s", text, got, wanted);
    free(got);
    json_decref(v);
}

static void values(void **state)
{
    static const char *const same[] = {
        "0",
        "-7",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-9223372036854775809",
        HUGE_INTEGER,
        "NaN",
        "Infinity",
        "-Infinity",
        "true",
        "false",
        "null",
        "\"\"",
        "[]",
        "{}",
        "1.5",
        "-0.0",
        "\"\xF0\x9F\xA6\x8A\"",
        "{\n  \"a\": [\n    1,\n    NaN,\n    {\n      \"b\": Infinity\n    }\n  ],\n  \"c\": {}\n}",
    };
    static const char *const pairs[][2] = {
        {"-0", "0"},
        {"1e400", "Infinity"},
        {"-1e400", "-Infinity"},
        {"1E5", "100000.0"},
        {" \t\r\n1 ", "1"},
        {"\"\\ud83e\\udd8a\"", "\"\xF0\x9F\xA6\x8A\""},
        {"\"\\ud800\"", "\"\xEF\xBF\xBD\""},
        {"\"a\\udc00\\ud800b\"", "\"a\xEF\xBF\xBD\xEF\xBF\xBD"
                                 "b\""},
        {"\"\\ud800\\ud83e\\udd8a\"", "\"\xEF\xBF\xBD\xF0\x9F\xA6\x8A\""},
        {"\xEF\xBB\xBF{}", "{}"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "{\n  \"a\": 3,\n  \"b\": 2\n}"},
        {"\"a\\u0000b\"", "\"a\\u0000b\""},
        {"\"\\/\\b\\f\\n\\r\\t\\\\\\\"\"", "\"/\\b\\f\\n\\r\\t\\\\\\\"\""},
        {"{\"\\u00e4\":0}", "{\n  \"\xC3\xA4\": 0\n}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) expect(same[i], same[i]);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) expect(pairs[i][0], pairs[i][1]);
}

/* Nothing is taken for something else: a number beyond jansson's has no type that a reader asks for by accident. */
static void kinds(void **state)
{
    static const struct {
        const char *text;
        bool whole;
        int64_t value;
        double nearest;
    } cases[] = {
        {"5", true, 5, 5},
        {"5.0", true, 5, 5},
        {"1e3", true, 1000, 1000},
        {"9007199254740991.0", true, 9007199254740991, 9007199254740991.0},
        {"9007199254740993", true, 9007199254740993, 9007199254740992.0},
        {"9007199254740992.0", false, 0, 9007199254740992.0}, /* may have been ...993 */
        {"9007199254740993.0", false, 0, 9007199254740992.0},
        {"1e30", false, 0, 1e30},
        {"5.5", false, 0, 5.5},
        {HUGE_INTEGER, false, 0, 1e30},
        {"NaN", false, 0, NAN},
        {"Infinity", false, 0, INFINITY},
        {"-1e999", false, 0, -INFINITY},
        {"\"5\"", false, 0, NAN},
        {"true", false, 0, NAN},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error e;
        int64_t n = 0;
        double x;
        json_t *v;

        assert_int_equal(json_read_text(&v, cases[i].text, strlen(cases[i].text), "t", JSON_READ_ANY, &e), 0);
        x = json_numeric_value(v);
        assert_int_equal(json_whole(v, &n), cases[i].whole);
        assert_true(n == cases[i].value);
        assert_true(x == cases[i].nearest || (isnan(x) && isnan(cases[i].nearest)));
        assert_int_equal(json_is_numeric(v), !strchr("\"t", cases[i].text[0]));
        assert_false(json_is_members(v));
        if (json_beyond(v)) assert_false(json_is_number(v) || json_is_string(v) || json_is_array(v));
        json_decref(v);
    }
}

static void refuse(const char *text, unsigned flags, const char *const *words)
{
    struct error e = {0};
    json_t *v = NULL;

    if (!json_read_text(&v, text, strlen(text), "some.json", flags, &e)) fail_msg("%.60s is taken", text);
    assert_null(v);
    assert_int_equal(e.code, EINVAL);
    assert_non_null(strstr(e.text, "some.json: "));
    for (; *words; words++)
        if (!strstr(e.text, *words)) fail_msg("%.60s: \"%s\" does not say \"%s\"", text, e.text, *words);
}
#define REFUSE(text, flags, ...) refuse(text, flags, (const char *const[]){__VA_ARGS__, NULL})

static char *repeated(const char *head, char c, size_t n, const char *tail)
{
    char *s = malloc(strlen(head) + n + strlen(tail) + 1);

    assert_non_null(s);
    sprintf(s, "%s", head);
    memset(s + strlen(head), c, n);
    strcpy(s + strlen(head) + n, tail);
    return s;
}

static void faults(void **state)
{
    char *text;

    (void)state;
    REFUSE("", JSON_READ_FILE, "empty", "download the file again");
    REFUSE(" \n", 0, "empty");
    REFUSE("\xEF\xBB\xBF", 0, "empty");
    REFUSE("[1]", 0, "not a JSON object");
    REFUSE("NaN", JSON_READ_FILE, "not a JSON object", "download the file again");
    REFUSE("{\n \"a\": nan}", 0, "line 2, column 7", "a value was expected");
    REFUSE("{\"\xC3\xA4\xC3\xB6\": Infinit}", 0, "line 1, column 8");
    REFUSE("[+Infinity]", JSON_READ_ANY, "column 2");
    REFUSE("[-]", JSON_READ_ANY, "column 3", "digits");
    REFUSE("[01]", JSON_READ_ANY, "column 2", "begins with 0");
    REFUSE("[-01]", JSON_READ_ANY, "begins with 0");
    REFUSE("[1.]", JSON_READ_ANY, "digits");
    REFUSE("[.5]", JSON_READ_ANY, "a value was expected");
    REFUSE("[1e]", JSON_READ_ANY, "digits");
    REFUSE("[0x10]", JSON_READ_ANY, "column 3");
    REFUSE("{'a':1}", 0, "a key was expected");
    REFUSE("{\"a\":1,}", 0, "a key was expected");
    REFUSE("[1,]", JSON_READ_ANY, "a value was expected");
    REFUSE("[1 2]", JSON_READ_ANY, "comma");
    REFUSE("{} {}", 0, "column 4", "something follows");
    REFUSE("{\"a\":1", 0, "ends too early");
    REFUSE("{\"a\":\"x", 0, "within a string");
    REFUSE("[\"\n\"]", JSON_READ_ANY, "line 1, column 3", "control character");
    REFUSE("[\"\\x\"]", JSON_READ_ANY, "escape");
    REFUSE("[\"\\u12g4\"]", JSON_READ_ANY, "hexadecimal");
    REFUSE("[\"\\ud800\"]", JSON_READ_ANY | JSON_READ_PAIRS, "surrogate");
    REFUSE("[\"\xFF\"]", JSON_READ_ANY, "column 3", "not UTF-8");
    REFUSE("[\"\xED\xA0\x80\"]", JSON_READ_ANY, "not UTF-8");
    REFUSE("{\"a\\u0000b\":1}", 0, "NUL");
    REFUSE("{\"a\":1,\"b\":{\"c\":1,\"c\":2}}", JSON_READ_UNIQUE, "stands twice, \"c\"");
    REFUSE("// x\n{}", 0, "column 1");
    REFUSE("<!DOCTYPE html>", JSON_READ_FILE, "column 1", "download the file again");
    REFUSE("\xFF\xFE{", 0, "UTF-16");
    REFUSE("\xFE\xFF", 0, "UTF-16");
    text = repeated("", '[', 200000, "");
    REFUSE(text, JSON_READ_ANY, "depth");
    free(text);
    text = repeated("", '1', 4301, "");
    REFUSE(text, JSON_READ_ANY, "4300 digits");
    text[4300] = 0;
    expect(text, text);
    free(text);
    text = repeated("0.", '1', 100000, "");
    expect(text, "0.1111111111111111");
    free(text);
}

/* A text of two-byte characters has a NUL beside every ASCII one. */
static void wide_text(void **state)
{
    struct error e;
    json_t *v;

    (void)state;
    assert_int_equal(json_read_text(&v, "{\0}\0", 4, "t", 0, &e), -EINVAL);
    assert_non_null(strstr(e.text, "UTF-16"));
    assert_int_equal(json_read_text(&v, "\0{\0}", 4, "t", 0, &e), -EINVAL);
    assert_non_null(strstr(e.text, "UTF-16"));
}

/* The text need not end with a NUL, and what stands behind it is not looked at. */
static void not_terminated(void **state)
{
    static const char *const texts[] = {"12",        "1.5", "\"a\"", "[1]",     "{}", "NaN",
                                        "-Infinity", "tru", "1e",    "\"\\u00", "-"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t n = strlen(texts[i]);
        char *own = malloc(n);
        struct error e;
        json_t *v;

        assert_non_null(own);
        memcpy(own, texts[i], n);
        json_read_text(&v, own, n, "t", JSON_READ_ANY, &e);
        json_decref(v);
        free(own);
    }
}

/* ---- the files of a folder ---- */

/* What Python may write into any object: in front of the other members, some of them twice. */
#define ODD                                                                                                            \
    "\"huge\": " HUGE_INTEGER ", \"nan\": NaN, \"inf\": [Infinity, -Infinity, 1e400, 1e30], \"half\": \"\\ud800\", "   \
    "\"model_max_length\": 7, \"model_max_length\": " HUGE_INTEGER ", \"time_step_limit\": [0.0, Infinity], "

/* The file's object with ODD in it and a byte order mark before it. */
static void make_odd(const char *folder, const char *name, const char *source)
{
    struct error e;
    uint64_t bytes;
    char *text, *all;

    if (file_load(&text, &bytes, source, 1 << 24, &e)) fail_msg("%s", e.text);
    assert_non_null(all = malloc(bytes + sizeof ODD + 8));
    sprintf(all, "\xEF\xBB\xBF{%s%s", ODD, strchr(text, '{') + 1);
    scratch_write(folder, name, all);
    free(all);
    free(text);
}

static void config_and_generation(void **state)
{
    char *folder = reference_make("llama");
    const struct model_generation *g;
    struct model *m, *plain;
    char source[4096];
    struct error e = {0};

    (void)state;
    assert_non_null(realpath(REFERENCE_MODELS "/llama/config.json", source));
    make_odd(folder, "config.json", source);
    scratch_write(folder, "generation_config.json",
                  "{" ODD
                  "\"eos_token_id\": [2.0, 7], \"temperature\": NaN, \"top_p\": 0.5, \"top_p\": 0.25, \"top_k\": 5.0}");
    if (model_open(&m, folder, NULL, &e)) fail_msg("%s", e.text);
    g = model_generation(m);
    assert_int_equal(g->eos[0], 2);
    assert_int_equal(g->eos[1], 7);
    assert_true(isnan(g->temperature));
    assert_true(g->top_p == 0.25);
    assert_int_equal(g->top_k, 5);
    remove(scratch_path(folder, "generation_config.json"));
    assert_int_equal(unlink(scratch_path(folder, "config.json")), 0);
    assert_int_equal(symlink(source, scratch_path(folder, "config.json")), 0);
    assert_int_equal(model_open(&plain, folder, NULL, &e), 0);
    assert_int_equal(model_program(m)->spec.context, model_program(plain)->spec.context); /* 1e27 is no length */
    model_close(plain);
    model_close(m);
    scratch_remove(folder);
}

/* Numbers that are asked for are exact, or refused with their own digits. */
static void config_numbers(void **state)
{
    static const struct {
        const char *value, *words;
    } cases[] = {
        {"4.0", NULL},
        {"4e0", NULL},
        {HUGE_INTEGER, HUGE_INTEGER " is out of range"},
        {"1e30", "is out of range"},
        {"9007199254740993", "9007199254740993 is out of range"},
        {"NaN", "NaN is not a whole number"},
        {"Infinity", "Infinity is out of range"},
        {"-Infinity", "-Infinity is out of range"},
        {"4.5", "4.5 is not a whole number"},
    };
    char *folder = scratch_make(), text[256];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error e = {0};
        struct config *c;
        uint32_t n;

        snprintf(text, sizeof text, "{\"n\": %s, \"list\": [%s]}", cases[i].value, cases[i].value);
        scratch_write(folder, "config.json", text);
        assert_int_equal(config_open(&c, folder, &e), 0);
        n = config_size(c, "n", 1, 1000000, &e);
        if (cases[i].words) {
            assert_int_equal(e.code, EINVAL);
            if (!strstr(e.text, cases[i].words)) fail_msg("\"%s\" does not say \"%s\"", e.text, cases[i].words);
        } else {
            assert_int_equal(e.code, 0);
            assert_int_equal(n, 4);
            assert_int_equal(config_list_int(c, "list", 0, 9, &e), 4);
        }
        config_close(c);
    }
    scratch_write(folder, "config.json", "{\"a\": Infinity, \"l\": 1e30, \"m\": 4096}");
    {
        struct error e = {0};
        struct config *c;

        assert_int_equal(config_open(&c, folder, &e), 0);
        assert_int_equal(config_length_or(c, "a", 77, &e), 77);
        assert_int_equal(config_length_or(c, "l", 77, &e), 77);
        assert_int_equal(config_length_or(c, "m", 77, &e), 4096);
        config_number_or(c, "a", 0, &e);
        assert_non_null(strstr(e.text, "Infinity is not a finite number"));
        config_close(c);
    }
    scratch_remove(folder);
}

/* An architecture that is not known is what is wrong, whatever numbers stand beside it. */
static void unknown_architecture(void **state)
{
    char *folder = scratch_make();
    struct error e = {0};
    struct model *m;

    (void)state;
    scratch_write(folder, "config.json", "{" ODD "\"architectures\": [\"NoSuchForCausalLM\"]}");
    assert_true(model_open(&m, folder, NULL, &e) < 0);
    assert_non_null(strstr(e.text, "NoSuchForCausalLM"));
    scratch_remove(folder);
}

static void headers_and_index(void **state)
{
    static const char header[] =
        "{\"__metadata__\":{\"n\":" HUGE_INTEGER
        ",\"x\":NaN},\"a\":{\"dtype\":\"U8\",\"shape\":[3.0],\"data_offsets\":[0,3],\"y\":1e400}}";
    char *folder = scratch_make(), file[sizeof header + 16];
    uint64_t n = strlen(header);
    struct tensors *t;
    struct error e = {0};

    (void)state;
    memcpy(file, &n, 8);
    memcpy(file + 8, header, n);
    memset(file + 8 + n, 0, 3);
    assert_int_equal(mkmodel_write_file(folder, "model-1.safetensors", file, 8 + n + 3, &e), 0);
    scratch_write(folder, "model.safetensors.index.json",
                  "\xEF\xBB\xBF{" ODD
                  "\"metadata\": {\"total_size\": 3.0}, \"weight_map\": {\"a\": \"model-1.safetensors\"}}");
    if (tensors_open(&t, folder, NULL, &e)) fail_msg("%s", e.text);
    assert_int_equal(tensors_find(t, "a")->bytes, 3);
    assert_int_equal(t->stated_bytes, 3);
    tensors_close(t);
    scratch_remove(folder);
}

#define TOKENIZER "tests/data/tokenizers/llama2/tokenizer.json"

static void tokenizer_files(void **state)
{
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"};
    char *folder = scratch_make();
    struct tokenizer *t;
    struct error e = {0};

    (void)state;
    make_odd(folder, "tokenizer.json", TOKENIZER);
    assert_true(tokenizer_open(&t, folder, &e) < 0); /* tokens are made of characters: no half is replaced in silence */
    assert_non_null(strstr(e.text, "surrogate"));
    {
        uint64_t bytes;
        char *text, *half;

        assert_int_equal(file_load(&text, &bytes, scratch_path(folder, "tokenizer.json"), 1 << 24, &e), 0);
        assert_non_null(half = strstr(text, "\\ud800"));
        memcpy(half, "\\u0041", 6);
        scratch_write(folder, "tokenizer.json", text);
        free(text);
    }
    for (size_t i = 0; i < 2; i++) scratch_write(folder, names[i], "\xEF\xBB\xBF{" ODD "\"x\": 1}");
    if (tokenizer_open(&t, folder, &e)) fail_msg("%s", e.text);
    assert_true(tokenizer_vocab_size(t) > 300);
    tokenizer_close(t);
    scratch_remove(folder);
}

static void template_files(void **state)
{
    char *folder = scratch_make();
    struct template *t;
    struct error e = {0};
    json_t *vars;
    size_t bytes;
    char *text;

    (void)state;
    scratch_write(folder, "tokenizer_config.json",
                  "\xEF\xBB\xBF{" ODD
                  "\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\", \"rank\": 1e999}}");
    scratch_write(folder, "special_tokens_map.json", "{" ODD "\"pad_token\": \"<pad>\", \"x_token\": NaN}");
    scratch_write(folder, "chat_template.json",
                  "{" ODD "\"chat_template\": \"{{ bos_token }}{{ eos_token }}{{ pad_token }} {{ n }} {{ n|tojson }} "
                  "{{ x_token is defined }}\"}");
    if (template_open(&t, folder, NULL, &e)) fail_msg("%s", e.text);
    assert_int_equal(json_read_text(&vars, "{\"messages\":[],\"n\":" HUGE_INTEGER "}", 17 + 31 + 3, "v", 0, &e), 0);
    if (template_render(t, vars, NULL, &text, &bytes, &e)) fail_msg("%s", e.text);
    assert_string_equal(text, "<s></s><pad> " HUGE_INTEGER " " HUGE_INTEGER " False");
    free(text);
    json_decref(vars);
    template_close(t);
    scratch_remove(folder);
}

/* Messages, tools and variables, by the program. */
static void given_files(void **state)
{
    char *folder = scratch_make(), tools[256], config[256];
    const char *arg[] = {"template", folder, "--tools", tools, "--var", "n=" HUGE_INTEGER, "--var", "x=NaN", NULL};
    const char *messages = "\xEF\xBB\xBF[{\"role\": \"user\", \"content\": \"Hi \\ud800\", \"n\": -Infinity, \"n\": "
                           "12345678901234567890}]";
    struct process_result r;

    (void)state;
    snprintf(tools, sizeof tools, "%s", scratch_path(folder, "tools.json"));
    snprintf(
        config, sizeof config,
        "{\"chat_template\": \"{{ messages[0].content }} {{ messages[0].n }} {{ tools|tojson }} {{ n }} {{ x }}\"}");
    scratch_write(folder, "tokenizer_config.json", config);
    scratch_write(folder, "tools.json", "[{\"maximum\": " HUGE_INTEGER ", \"default\": NaN}]");
    r = process_run("sluice", arg, messages, strlen(messages), 20);
    assert_int_equal(r.status, 0);
    assert_string_equal(r.out, "Hi \xEF\xBF\xBD 12345678901234567890 [{\"maximum\": " HUGE_INTEGER
                               ", \"default\": NaN}] " HUGE_INTEGER " nan");
    process_result_free(&r);
    scratch_remove(folder);
}

/* A conversation comes back from /save as it was loaded. */
static void saved_and_loaded(void **state)
{
    char *folder = scratch_make(), from[256], to[256], *first, *second;
    struct options o = {.model = folder};
    struct chat c = {.options = &o, .messages = json_array()};
    struct error e = {0};
    uint64_t bytes;

    (void)state;
    snprintf(from, sizeof from, "%s", scratch_path(folder, "a.json"));
    snprintf(to, sizeof to, "%s", scratch_path(folder, "b.json"));
    scratch_write(folder, "a.json",
                  "[\n  {\n    \"role\": \"user\",\n    \"content\": \"Hi\",\n    \"n\": " HUGE_INTEGER
                  ",\n    \"x\": [\n      NaN,\n      -Infinity,\n      {}\n    ]\n  }\n]\n");
    if (chat_load(&c, from, &e) || chat_save(&c, to, &e)) fail_msg("%s", e.text);
    assert_int_equal(file_load(&first, &bytes, from, 1 << 20, &e), 0);
    assert_int_equal(file_load(&second, &bytes, to, 1 << 20, &e), 0);
    assert_string_equal(first, second);
    free(first);
    free(second);
    json_decref(c.messages);
    scratch_remove(folder);
}

/* A pipe in the place of a file is no file; nobody waits for a writer. */
static void pipes_in_place_of_files(void **state)
{
    static const char *const names[] = {"config.json", "tokenizer_config.json", "tokenizer.json",
                                        "chat_template.jinja"};
    char *folder = scratch_make();

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct tokenizer *t = NULL;
        struct template *p = NULL;
        struct config *c = NULL;
        struct error e = {0};
        int rc;

        assert_int_equal(mkfifo(scratch_path(folder, names[i]), 0600), 0);
        rc = i == 0   ? config_open(&c, folder, &e)
             : i == 2 ? tokenizer_open(&t, folder, &e)
                      : template_open(&p, folder, NULL, &e);
        assert_int_equal(rc, -EINVAL);
        assert_non_null(strstr(e.text, names[i]));
        assert_non_null(strstr(e.text, "a named pipe"));
        assert_int_equal(unlink(scratch_path(folder, names[i])), 0);
    }
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(kinds),
        cmocka_unit_test(faults),
        cmocka_unit_test(wide_text),
        cmocka_unit_test(not_terminated),
        cmocka_unit_test(config_and_generation),
        cmocka_unit_test(config_numbers),
        cmocka_unit_test(unknown_architecture),
        cmocka_unit_test(headers_and_index),
        cmocka_unit_test(tokenizer_files),
        cmocka_unit_test(template_files),
        cmocka_unit_test(given_files),
        cmocka_unit_test(saved_and_loaded),
        cmocka_unit_test(pipes_in_place_of_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
