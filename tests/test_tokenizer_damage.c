/* Tokenizer files cut short and changed at random: opened or refused with a message, and what opens encodes and decodes. */
#include "coordinator/tokenizer/detokenizer.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "tests/support_temporary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define ROUNDS 1000

static const char sample[] = "Hello, w\xC3\xB6rld <s> 123\n\xF0\x9F\xA6\x8A  the lighthouse <|end|>\xE2\x96\x81x";

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static char *read_whole(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s is not there", path);
    char *text = malloc((size_t)1 << 22);
    assert_non_null(text);
    *bytes = fread(text, 1, (size_t)1 << 22, f);
    fclose(f);
    return text;
}

static void use(struct tokenizer *t)
{
    struct token_ids ids = {0};
    struct detokenizer *d;
    struct error e = {0};
    const char *text;
    size_t bytes;
    int rc = tokenizer_encode(t, sample, sizeof sample - 1, true, &ids, &e);
    assert_true(rc == 0 || e.text[0]);
    assert_int_equal(detokenizer_open(&d, t, false, &e), 0);
    for (size_t i = 0; i < ids.count; i++) detokenizer_push(d, ids.id[i], &text, &bytes, &e);
    for (uint32_t id = 0; id < 1200; id += 7) detokenizer_push(d, id, &text, &bytes, &e);
    detokenizer_finish(d, &text, &bytes);
    detokenizer_close(d);
    token_ids_free(&ids);
}

/* Returns whether it opened. */
static bool try_file(const char *folder, const char *file, const char *text, size_t bytes)
{
    char path[128];
    struct tokenizer *t = NULL;
    struct error e = {0};
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, bytes, f), bytes);
    fclose(f);
    int rc = tokenizer_open(&t, folder, &e);
    unlink(path);
    if (rc != 0) {
        assert_true(e.text[0] != 0 && e.code == -rc);
        return false;
    }
    use(t);
    tokenizer_close(t);
    return true;
}

/* Bytes changed, numbers and words swapped for others, stretches removed or doubled. */
static size_t change(char *text, size_t bytes, uint64_t *state)
{
    static const char *const words[] = {"null", "true", "-1",         "1e99",        "\"\"",
                                        "[]",   "{}",   "4294967295", "\"\\u0000\"", "0.5"};
    for (uint64_t n = random_next(state) % 3 + 1; n > 0 && bytes > 200; n--) {
        size_t at = random_next(state) % (bytes - 100), length = random_next(state) % 60 + 1;
        const char *word = words[random_next(state) % (sizeof words / sizeof *words)];
        char *colon = memchr(text + at, ':', bytes - at - 40);
        switch (random_next(state) % 5) {
        case 0: text[at] = (char)random_next(state); break;
        case 1: text[at] = "{}[]\",:\\0"[random_next(state) % 9]; break;
        case 2: /* another value for a member */
            if (colon) memcpy(colon + 1, word, strlen(word));
            break;
        case 3:
            memmove(text + at, text + at + length, bytes - at - length);
            bytes -= length;
            break;
        default: memmove(text + at, text + at + length / 2, length);
        }
    }
    return bytes;
}

/* The head of a tokenizer.json has its settings, so changes go there as often as anywhere. */
static void damage(const char *source, const char *file, bool settings)
{
    char folder[TEMPORARY_BYTES];
    size_t bytes, opened = 0;
    char *whole = read_whole(source, &bytes), *copy = malloc(bytes);
    uint64_t state = 88172645463325252u;
    assert_non_null(copy);
    assert_true(temporary_make(folder, NULL));
    assert_true(try_file(folder, file, whole, bytes));
    for (size_t cut = 0; cut + 3 < bytes; cut += bytes / 60 + 1) try_file(folder, file, whole, cut);
    for (int i = 0; i < ROUNDS; i++) {
        memcpy(copy, whole, bytes);
        size_t head = settings && i % 2 && bytes > 2500 ? 2500 : bytes, rest = bytes - head;
        size_t now = change(copy, head, &state);
        memmove(copy + now, whole + head, rest);
        opened += try_file(folder, file, copy, now + rest);
    }
    print_message("%s: %zu of %d changed files still open\n", source, opened, ROUNDS);
    rmdir(folder);
    free(copy);
    free(whole);
}

static void json_files(void **state)
{
    (void)state;
    damage("tests/data/tokenizers/added-tokens/tokenizer.json", "tokenizer.json", true);
    damage("tests/data/tokenizers/llama2/tokenizer.json", "tokenizer.json", true);
    damage("tests/data/tokenizers-more/unigram-bytes/tokenizer.json", "tokenizer.json", true);
    damage("tests/data/tokenizers-more/splits/tokenizer.json", "tokenizer.json", true);
    damage("tests/data/tokenizers-more/bert/tokenizer.json", "tokenizer.json", true);
}

static void tiktoken_files(void **state)
{
    (void)state;
    damage("tests/data/tokenizers-more/tiktoken-qwen/qwen.tiktoken", "qwen.tiktoken", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(json_files), cmocka_unit_test(tiktoken_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
