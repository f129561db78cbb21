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

/* ---- tekken.json ---- */

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void encode(char *out, const unsigned char *s, size_t n)
{
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)s[i] << 16 | (i + 1 < n ? (uint32_t)s[i + 1] << 8 : 0) | (i + 2 < n ? s[i + 2] : 0);

        *out++ = base64[v >> 18];
        *out++ = base64[v >> 12 & 63];
        *out++ = i + 1 < n ? base64[v >> 6 & 63] : '=';
        *out++ = i + 2 < n ? base64[v & 63] : '=';
    }
    *out = 0;
}

/* The tokens of tests/data/tokenizers/llama3 in Mistral's file, behind ten special ones. */
static char *tekken(void)
{
    json_t *all, *list = json_array(), *root;
    struct tokenizer *t;

    struct error e;
    char *folder = scratch_make(), text[512];

    assert_int_equal(json_read_file(&all, "tests/data/tokenizers/llama3/tokenizer.json", 1 << 24, &e), 0);
    assert_int_equal(tokenizer_open(&t, "tests/data/tokenizers/llama3", &e), 0);
    for (uint32_t id = 0; id < json_object_size(json_object_get(json_object_get(all, "model"), "vocab")); id++) {
        unsigned char raw[256];
        size_t n = 0;
        const char *s = tokenizer_token_text(t, id);

        while (*s) { /* visible characters back to bytes, as GPT-2 numbers them */
            unsigned c = (unsigned char)*s++, at = 0, b = 0;

            if (c >= 0xC0) c = (c & 0x1F) << 6 | ((unsigned char)*s++ & 0x3F);
            for (b = 0; c >= 256 && b < 256; b++)
                if (!((b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174) && at++ == c - 256) break;
            raw[n++] = (unsigned char)(c >= 256 ? b : c);
        }
        encode(text, raw, n);
        json_array_append_new(list, json_pack("{s:i,s:s}", "rank", (int)id, "token_bytes", text));
    }
    root = json_pack(
        "{s:{s:O,s:i,s:i},s:o,s:[{s:i,s:s},{s:i,s:s},{s:i,s:s}]}", "config", "pattern",
        json_object_get(
            json_object_get(json_array_get(json_object_get(json_object_get(all, "pre_tokenizer"), "pretokenizers"), 0),
                            "pattern"),
            "Regex"),
        "default_vocab_size", (int)json_array_size(list) + 10, "default_num_special_tokens", 10, "vocab", list,
        "special_tokens", "rank", 0, "token_str", "<unk>", "rank", 1, "token_str", "<s>", "rank", 2, "token_str",
        "</s>");
    assert_non_null(root);
    write_value(folder, "tekken.json", root);
    json_decref(root);
    json_decref(all);
    tokenizer_close(t);
    return folder;
}

static void tekken_file(void **state)
{
    char *folder = tekken();
    struct tokenizer *t, *llama;
    struct error e = {0};
    json_error_t why;
    size_t count = 0;
    json_t *o;
    FILE *f = fopen("tests/data/tokenizers/llama3/vectors.jsonl", "r");

    (void)state;
    assert_non_null(f);
    if (tokenizer_open(&t, folder, &e)) fail_msg("%s", e.text);
    assert_int_equal(tokenizer_open(&llama, "tests/data/tokenizers/llama3", &e), 0);
    assert_int_equal(tokenizer_token_id(t, "<SPECIAL_9>"), 9);
    assert_int_equal(tokenizer_end(t, NULL), 2);
    while ((o = json_loadf(f, JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, &why)) != NULL) {
        const json_t *text = json_object_get(o, "text"), *plain = json_object_get(o, "plain");
        struct token_ids ids = {0};
        bool special = false;

        for (size_t i = 0; i < json_array_size(plain); i++)
            special |= tokenizer_is_special(llama, (uint32_t)json_integer_value(json_array_get(plain, i)));
        special |= strstr(json_string_value(text), "<s>") || strstr(json_string_value(text), "</s>") ||
                   strstr(json_string_value(text), "<unk>");
        assert_int_equal(tokenizer_encode(t, json_string_value(text), json_string_length(text), true, &ids, &e), 0);
        assert_int_equal(ids.id[0], 1);
        if (!special) {
            assert_int_equal(ids.count, json_array_size(plain) + 1);
            for (size_t i = 1; i < ids.count; i++)
                assert_int_equal(ids.id[i], json_integer_value(json_array_get(plain, i - 1)) + 10);
            count++;
        }
        token_ids_free(&ids);
        json_decref(o);
    }
    assert_true(count > 200);
    fclose(f);
    tokenizer_close(t);
    tokenizer_close(llama);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(what_the_class_says),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(tekken_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
