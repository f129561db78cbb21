/* Vocabularies that llama.cpp publishes with texts and their ids, all of them equal. tests/fetch_models.sh fetches them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "coordinator/source/gguf_text.h"
#include "coordinator/tokenizer/detokenizer.h"
#include "proto/base/file.h"
#include "tests/support_fetched.h"

static const char separator[] = "\n__ggml_vocab_test__\n";

static char *load(const char *path, const char *suffix)
{
    struct error e = {0};
    uint64_t bytes;
    char *name, *text;

    assert_true(asprintf(&name, "%s%s", path, suffix) > 0);
    if (file_load(&text, &bytes, name, 1 << 20, &e)) fail_msg("%s", e.text);
    free(name);
    return text;
}

static void compare(const struct tokenizer *t, const char *text, size_t bytes, const char *wanted, size_t wanted_bytes)
{
    struct token_ids ids = {0};
    struct error e = {0};
    const char *at = wanted;
    size_t n = 0;

    if (tokenizer_encode(t, text, bytes, false, &ids, &e)) fail_msg("%s", e.text);
    for (char *end; at < wanted + wanted_bytes; at = end, n++) {
        unsigned long id = strtoul(at, &end, 10);

        if (end == at || end > wanted + wanted_bytes) break;
        if (n >= ids.count || ids.id[n] != id)
            fail_msg("\"%.*s\": id %zu is %ld and should be %lu", (int)bytes, text, n,
                     n < ids.count ? (long)ids.id[n] : -1, id);
    }
    if (n != ids.count) fail_msg("\"%.*s\": %zu ids and not %zu", (int)bytes, text, ids.count, n);
    token_ids_free(&ids);
}

/* Byte-level BPE gives a text back as it was. */
static void there_and_back(const struct tokenizer *t, const char *text, size_t bytes)
{
    struct detokenizer *d;
    struct token_ids ids = {0};
    struct error e = {0};
    char *back = calloc(1, bytes + 1);
    const char *part;
    size_t n = 0, part_bytes;

    assert_non_null(back);
    if (tokenizer_encode(t, text, bytes, false, &ids, &e) || detokenizer_open(&d, t, false, &e)) fail_msg("%s", e.text);
    for (size_t i = 0; i <= ids.count; i++) {
        if (i < ids.count)
            assert_int_equal(detokenizer_push(d, ids.id[i], &part, &part_bytes, &e), 0);
        else
            assert_int_equal(detokenizer_finish(d, &part, &part_bytes), 0);
        assert_true(n + part_bytes <= bytes);
        memcpy(back + n, part, part_bytes);
        n += part_bytes;
    }
    assert_int_equal(n, bytes);
    assert_memory_equal(back, text, bytes);
    detokenizer_close(d);
    token_ids_free(&ids);
    free(back);
}

static void check(const char *name, bool returns)
{
    char *path = fetched_path(name), *texts, *wanted;
    struct tokenizer *t;
    struct gguf *g;
    struct error e = {0};
    size_t n = 0;

    if (!path) skip();
    texts = load(path, ".inp");
    wanted = load(path, ".out");
    if (gguf_open(&g, path, &e) || gguf_tokenizer(&t, g, NULL, &e)) fail_msg("%s", e.text);
    for (char *text = texts, *ids = wanted; text; n++) {
        char *end = strstr(text, separator), *line = strchrnul(ids, '\n');
        size_t bytes = end ? (size_t)(end - text) : strlen(text);

        compare(t, text, bytes, ids, (size_t)(line - ids));
        if (returns) there_and_back(t, text, bytes);
        text = end ? end + sizeof separator - 1 : NULL;
        ids = line + (*line != 0);
    }
    assert_true(n > 40);
    tokenizer_close(t);
    gguf_close(g);
    free(texts);
    free(wanted);
    free(path);
}

#define VOCABULARY(function, name, returns)                                                                            \
    static void function(void **state)                                                                                 \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        check("vocab/ggml-vocab-" name ".gguf", returns);                                                              \
    }

VOCABULARY(command_r, "command-r", false)
VOCABULARY(deepseek_coder, "deepseek-coder", true)
VOCABULARY(deepseek_llm, "deepseek-llm", true)
VOCABULARY(falcon, "falcon", true)
VOCABULARY(gemma_4, "gemma-4", true)
VOCABULARY(gpt_2, "gpt-2", true)
VOCABULARY(llama_bpe, "llama-bpe", true)
VOCABULARY(llama_spm, "llama-spm", true)
VOCABULARY(mpt, "mpt", false)
VOCABULARY(phi_3, "phi-3", true)
VOCABULARY(qwen2, "qwen2", false)
VOCABULARY(qwen35, "qwen35", true)
VOCABULARY(refact, "refact", true)
VOCABULARY(starcoder, "starcoder", true)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_r), cmocka_unit_test(deepseek_coder), cmocka_unit_test(deepseek_llm),
        cmocka_unit_test(falcon),    cmocka_unit_test(gemma_4),        cmocka_unit_test(gpt_2),
        cmocka_unit_test(llama_bpe), cmocka_unit_test(llama_spm),      cmocka_unit_test(mpt),
        cmocka_unit_test(phi_3),     cmocka_unit_test(qwen2),          cmocka_unit_test(qwen35),
        cmocka_unit_test(refact),    cmocka_unit_test(starcoder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
