/* Folders with vocab.json and merges.txt and no tokenizer.json: the vectors of the same tokenizers as Hugging Face tokenizers
 * writes them, and which class is used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "coordinator/text/json.h"
#include "coordinator/tokenizer/detokenizer.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "tests/support_model.h"

static void write_value(const char *folder, const char *name, const json_t *v)
{
    char *text = json_dumps(v, 0);

    assert_non_null(text);
    scratch_write(folder, name, text);
    free(text);
}

/* The tokenizer.json of tests/data/tokenizers/NAME in the older files. */
static char *older(const char *name, const char *config, const char *tokenizer_config)
{
    char *folder = scratch_make(), path[128], *text = NULL;
    json_t *all, *model, *v, *added = json_object();
    struct error e;
    size_t bytes, i;
    FILE *f = open_memstream(&text, &bytes);

    snprintf(path, sizeof path, "tests/data/tokenizers/%s/tokenizer.json", name);
    if (json_read_file(&all, path, 1 << 24, &e)) fail_msg("%s", e.text);
    model = json_object_get(all, "model");
    write_value(folder, "vocab.json", json_object_get(model, "vocab"));
    fputs("#version: 0.2\n", f);
    json_array_foreach(json_object_get(model, "merges"), i, v)
        fprintf(f, "%s %s\n", json_string_value(json_array_get(v, 0)), json_string_value(json_array_get(v, 1)));
    fclose(f);
    scratch_write(folder, "merges.txt", text);
    json_array_foreach(json_object_get(all, "added_tokens"), i, v)
        json_object_set(added, json_string_value(json_object_get(v, "content")), json_object_get(v, "id"));
    write_value(folder, "added_tokens.json", added);
    if (config) scratch_write(folder, "config.json", config);
    if (tokenizer_config) scratch_write(folder, "tokenizer_config.json", tokenizer_config);
    json_decref(added);
    json_decref(all);
    free(text);
    return folder;
}

static size_t check_vectors(const char *name, const char *config, const char *tokenizer_config)
{
    char *folder = older(name, config, tokenizer_config), path[128];
    struct tokenizer *t;
    struct error e = {0};
    json_error_t why;
    size_t count = 0;
    json_t *o;
    FILE *f;

    snprintf(path, sizeof path, "tests/data/tokenizers/%s/vectors.jsonl", name);
    assert_non_null(f = fopen(path, "r"));
    if (tokenizer_open(&t, folder, &e)) fail_msg("%s", e.text);
    while ((o = json_loadf(f, JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, &why)) != NULL) {
        const json_t *text = json_object_get(o, "text"), *plain = json_object_get(o, "plain");
        struct token_ids ids = {0};

        if (tokenizer_encode(t, json_string_value(text), json_string_length(text), true, &ids, &e))
            fail_msg("%s", e.text);
        assert_int_equal(ids.count, json_array_size(plain));
        for (size_t i = 0; i < ids.count; i++)
            assert_int_equal(ids.id[i], json_integer_value(json_array_get(plain, i)));
        token_ids_free(&ids);
        json_decref(o);
        count++;
    }
    fclose(f);
    tokenizer_close(t);
    scratch_remove(folder);
    return count;
}

static void vectors(void **state)
{
    (void)state;
    assert_int_equal(check_vectors("gpt2", NULL, "{\"tokenizer_class\": \"GPT2Tokenizer\"}"), 227);
    assert_int_equal(check_vectors("gpt2", "{\"model_type\": \"gpt2\"}", NULL), 227);
    assert_int_equal(
        check_vectors("gpt2", "{\"model_type\": \"llama\"}", "{\"tokenizer_class\": \"GPT2TokenizerFast\"}"), 227);
    assert_int_equal(check_vectors("qwen2", NULL, "{\"tokenizer_class\": \"Qwen2Tokenizer\"}"), 227);
    assert_int_equal(check_vectors("qwen2", "{\"model_type\": \"qwen3_moe\"}", "{\"tokenizer_class\": \"SomeOther\"}"),
                     227);
    assert_int_equal(check_vectors("qwen2", "{\"tokenizer_class\": \"Qwen2TokenizerFast\"}", NULL), 227);
}

/* What a class says where the files do not. */
static void what_the_class_says(void **state)
{
    char *folder = older("qwen2", "{\"model_type\": \"qwen2\"}", NULL);
    struct token_ids ids = {0};
    struct tokenizer *t;
    struct error e = {0};
    const char *file;

    (void)state;
    assert_int_equal(tokenizer_open(&t, folder, &e), 0);
    assert_int_equal(tokenizer_end(t, &file), 900);
    assert_string_equal(file, "Qwen2Tokenizer");
    assert_true(tokenizer_is_special(t, 900));
    tokenizer_close(t);
    scratch_write(folder, "tokenizer_config.json",
                  "{\"eos_token\": \"<|im_end|>\", \"bos_token\": \"<|im_start|>\", \"add_bos_token\": true, "
                  "\"add_eos_token\": true}");
    assert_int_equal(tokenizer_open(&t, folder, &e), 0);
    assert_int_equal(tokenizer_end(t, &file), 902);
    assert_string_equal(file, "tokenizer_config.json");
    assert_int_equal(tokenizer_encode(t, "H", 1, true, &ids, &e), 0);
    assert_int_equal(ids.count, 3);
    assert_int_equal(ids.id[0], 901);
    assert_int_equal(ids.id[2], 902);
    token_ids_free(&ids);
    tokenizer_close(t);
    scratch_remove(folder);
}

static void refuse(const char *name, const char *text, const char *words)
{
    char *folder = older("gpt2", "{\"model_type\": \"gpt2\"}", NULL);
    struct tokenizer *t = NULL;
    struct error e = {0};

    if (text)
        scratch_write(folder, name, text);
    else
        remove(scratch_path(folder, name));
    assert_true(tokenizer_open(&t, folder, &e) < 0);
    if (!strstr(e.text, words)) fail_msg("\"%s\" does not say \"%s\"", e.text, words);
    scratch_remove(folder);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    refuse("config.json", "{\"model_type\": \"roberta\"}", "model type \"roberta\" is not known");
    refuse("config.json", "{\"tokenizer_class\": \"RobertaTokenizer\"}", "\"RobertaTokenizer\"");
    refuse("merges.txt", NULL, "no tokenizer: vocab.json is there, which needs merges.txt beside it");
    refuse("vocab.json", NULL, "no tokenizer: merges.txt is there, which needs vocab.json beside it");
    refuse("merges.txt", "a b c\n", "merges.txt: merge 0 is not two parts");
    refuse("merges.txt", "#version: 0.2\nab\n", "merges.txt: merge 0 is not two parts");
    refuse("merges.txt", "#version: 0.2\n\nzzzz yyyy\r\n", "merges.txt: merge 0");
    refuse("vocab.json", "[]", "vocab.json: the model has no object");
    refuse("vocab.json", "{\"a\": NaN}", "vocab.json: the id of \"a\" is not a number");
    refuse("vocab.json", "{\"a\": 1.5}", "vocab.json: the id of \"a\"");
    refuse("vocab.json", "{\"a\": 0", "vocab.json: line 1, column 8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(what_the_class_says),
        cmocka_unit_test(what_is_wrong_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
