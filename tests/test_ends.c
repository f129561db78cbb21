/* What ends an answer: tokens of generation_config.json, of config.json and of the tokenizer together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "coordinator/batch/ends.h"
#include "coordinator/source/generation.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define DEMO "tests/data/demo-model"

/* Eight words, and an added token behind them. */
static const char tokenizer[] = "{\"added_tokens\":[{\"id\":8,\"content\":\"<end>\",\"special\":true}],\"pre_"
                                "tokenizer\":{\"type\":\"WhitespaceSplit\"},"
                                "\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"w0\",\"vocab\":{\"w0\":0,\"w1\":1,"
                                "\"w2\":2,\"w3\":3,\"w4\":4,\"w5\":5,"
                                "\"w6\":6,\"w7\":7}}}";

static const struct {
    const char *generation, *config, *tokenizer_config, *special_tokens_map; /* NULL: no such file */
    const char *ends;
} cases[] = {
    {NULL, "{}", NULL, NULL, ""},
    {NULL, "{\"eos_token_id\": 3}", NULL, NULL, "3"},
    {NULL, "{\"eos_token_id\": 3}", "{\"eos_token\": \"w5\"}", NULL, "3 5"},
    {NULL, "{\"eos_token_id\": 3}", "{\"eos_token\": {\"content\": \"w5\", \"lstrip\": false}}", NULL, "3 5"},
    {NULL, "{}", "{\"eos_token\": \"<end>\"}", NULL, "8"},
    {NULL, "{\"eos_token_id\": 5}", "{\"eos_token\": \"w5\"}", NULL, "5"},
    {"{\"eos_token_id\": 2}", "{\"eos_token_id\": 3}", "{\"eos_token\": \"w5\"}", NULL, "2 3 5"},
    {"{\"eos_token_id\": [2, 4]}", "{\"eos_token_id\": [3, 2]}", "{\"eos_token\": \"w4\"}", NULL, "2 4 3"},
    {"{\"eos_token_id\": null}", "{\"eos_token_id\": 3}", NULL, NULL, "3"},
    {"{\"eos_token_id\": []}", "{\"eos_token_id\": 3}", NULL, NULL, "3"},
    {"{\"eos_token_id\": -1}", "{\"eos_token_id\": 3}", NULL, NULL, "3"},
    {"{\"temperature\": 1}", "{\"eos_token_id\": null}", "{\"eos_token\": null}", NULL, ""},
    {"{\"eos_token_id\": [2, 100]}", "{\"eos_token_id\": 9}", NULL, NULL, "2"}, /* beyond the vocabulary */
    {"{\"eos_token_id\": 2.0}", "{}", NULL, NULL, "2"},
    {"{\"eos_token_id\": 2}", "{\"text_config\": {\"eos_token_id\": 3, \"x\": 1}, \"eos_token_id\": 4}", NULL, NULL,
     "2 3 4"},
    {"{}", "{\"text_config\": {\"eos_token_id\": [1, 6], \"x\": 1}}", "{\"eos_token\": \"w7\"}", NULL, "1 6 7"},
    {NULL, "{}", NULL, "{\"eos_token\": \"w6\"}", "6"},
    {NULL, "{}", "{\"eos_token\": \"w5\"}", "{\"eos_token\": {\"content\": \"w6\"}}", "6"}, /* as transformers */
    {NULL, "{}", "{\"eos_token\": \"w5\", \"added_tokens_decoder\": {}}", "{\"eos_token\": \"w6\"}", "5"},
    {NULL, "{\"eos_token_id\": 1}", "{\"eos_token\": \"<new>\"}", NULL,
     "1"}, /* a token that the model has no row for */
};

static void ends_of_every_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = scratch_make(), got[256] = "";
        struct model_generation g;
        struct tokenizer *t;
        struct config *c;
        struct error e = {0};
        struct ends x;

        scratch_write(folder, "tokenizer.json", tokenizer);
        scratch_write(folder, "config.json", cases[i].config);
        if (cases[i].generation) scratch_write(folder, "generation_config.json", cases[i].generation);
        if (cases[i].tokenizer_config) scratch_write(folder, "tokenizer_config.json", cases[i].tokenizer_config);
        if (cases[i].special_tokens_map) scratch_write(folder, "special_tokens_map.json", cases[i].special_tokens_map);
        if (config_open(&c, folder, &e) || generation_read(&g, folder, c, &e) || tokenizer_open(&t, folder, &e))
            fail_msg("%zu: %s", i, e.text);
        assert_int_equal(ends_find(&x, &g, t, 9, &e), 0);
        for (size_t k = 0; k < x.count; k++)
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s%u", k ? " " : "", x.id[k]);
        if (strcmp(got, cases[i].ends)) fail_msg("%zu: \"%s\", not \"%s\"", i, got, cases[i].ends);
        ends_free(&x);
        tokenizer_close(t);
        generation_free(&g);
        config_close(c);
        scratch_remove(folder);
    }
}

static void wrong_ends_are_named(void **state)
{
    static const char *const values[] = {"\"</s>\"", "[1, \"x\"]", "1.5",  "-2", "4294967296",
                                         "NaN",      "true",       "1e30", "{}"};
    char *folder = scratch_make(), text[128];

    (void)state;
    for (size_t i = 0; i < 2 * sizeof values / sizeof *values; i++) {
        const char *name = i % 2 ? "generation_config.json" : "config.json";
        struct model_generation g;
        struct config *c;
        struct error e = {0};

        scratch_write(folder, "config.json", "{}");
        snprintf(text, sizeof text, "{\"eos_token_id\": %s}", values[i / 2]);
        scratch_write(folder, name, text);
        assert_int_equal(config_open(&c, folder, &e), 0);
        assert_int_equal(generation_read(&g, folder, c, &e), -EINVAL);
        assert_non_null(strstr(e.text, name));
        assert_non_null(strstr(e.text, "eos_token_id"));
        generation_free(&g);
        config_close(c);
        remove(scratch_path(folder, "generation_config.json"));
    }
    scratch_remove(folder);
}

static char *demo_with(const char *tokenizer_config)
{
    static const char *const files[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"};
    char *folder = scratch_make(), source[PATH_MAX], name[128];

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(name, sizeof name, DEMO "/%s", files[i]);
        assert_non_null(realpath(name, source));
        assert_int_equal(symlink(source, scratch_path(folder, files[i])), 0);
    }
    scratch_write(folder, "tokenizer_config.json", tokenizer_config);
    return folder;
}

/* A word of the greedy answer becomes the tokenizer's end of text: the answer ends there, and -v says why. */
static void the_answer_ends(void **state)
{
    char *folder = demo_with("{}"), config[256], *full;
    const char *arg[] = {"run", folder, "-p", "Once upon a time", "-t", "0", "-n", "12", "-v", NULL};
    struct process_result r = process_run("sluice", arg, NULL, 0, 30);
    struct tokenizer *t;
    struct token_ids ids = {0};
    struct error e = {0};

    (void)state;
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.err, "an answer ends with 1 \"<|end_of_text|>\" (generation_config.json, config.json), "
                                  "4 \"<|end|>\" (generation_config.json, config.json)"));
    assert_int_equal(tokenizer_open(&t, folder, &e), 0);
    assert_int_equal(tokenizer_encode(t, r.out, r.out_bytes - 1, false, &ids, &e), 0);
    assert_true(ids.count > 6);
    snprintf(config, sizeof config, "{\"eos_token\": \"%s\"}", tokenizer_token_text(t, ids.id[4]));
    full = r.out;
    r.out = NULL;
    process_result_free(&r);
    scratch_write(folder, "tokenizer_config.json", config);
    r = process_run("sluice", arg, NULL, 0, 30);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.err, "(tokenizer_config.json)"));
    assert_true(r.out_bytes < strlen(full));
    assert_memory_equal(r.out, full, r.out_bytes - 1);
    process_result_free(&r);
    free(full);
    token_ids_free(&ids);
    tokenizer_close(t);
    scratch_remove(folder);
}

/* Tokens that a file adds behind the model's rows do not make it another model's tokenizer. */
static void tokens_beyond_the_model(void **state)
{
    char *folder = demo_with("{\"pad_token\": \"<|new pad|>\"}");
    const char *arg[] = {"run", folder, "-p", "Once upon a time", "-t", "0", "-n", "2", NULL};
    struct process_result r;

    (void)state;
    scratch_write(folder, "added_tokens.json", "{\"<|more|>\": 99999, \"<|most|>\": 100000}");
    r = process_run("sluice", arg, NULL, 0, 30);
    if (r.status) fail_msg("%s", r.err);
    process_result_free(&r);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_of_every_file),
        cmocka_unit_test(wrong_ends_are_named),
        cmocka_unit_test(the_answer_ends),
        cmocka_unit_test(tokens_beyond_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
