/* Tokenizers against the vectors of others' implementations, and what they refuse. */
#include "coordinator/tokenizer/detokenizer.h"
#include "coordinator/tokenizer/tokenizer.h"
#include "tests/support_temporary.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/support_model.h"

#define DATA "tests/data/tokenizers/"
#define MORE "tests/data/tokenizers-more/"
#define MIB  ((size_t)1 << 20)

static struct tokenizer *opened(const char *folder)
{
    struct error e = {0};
    struct tokenizer *t = NULL;
    if (tokenizer_open(&t, folder, &e) != 0) fail_msg("%s: %s", folder, e.text);
    return t;
}

static void check_ids(const char *where, const struct tokenizer *t, const json_t *o, const char *key, bool special)
{
    const json_t *text = json_object_get(o, "text"), *want = json_object_get(o, key);
    struct token_ids got = {0};
    struct error e = {0};
    if (tokenizer_encode(t, json_string_value(text), json_string_length(text), special, &got, &e) != 0)
        fail_msg("%s: %s", where, e.text);
    bool same = got.count == json_array_size(want);
    for (size_t i = 0; i < got.count && same; i++)
        same = (json_int_t)got.id[i] == json_integer_value(json_array_get(want, i));
    if (!same) fail_msg("%s: %s of \"%s\" differ", where, key, json_string_value(text));
    /* what so many tokens can hold is what long inputs are held against: nothing that is a text may be beyond it */
    if (json_string_length(text) > (got.count + 1) * tokenizer_longest(t))
        fail_msg("%s: %zu tokens hold %zu bytes, and a token %zu at most", where, got.count, json_string_length(text),
                 tokenizer_longest(t));
    token_ids_free(&got);
}

/* Joined pushes are the whole text, and each push is whole characters. */
static void check_decoded(const char *where, const struct tokenizer *t, const json_t *o)
{
    const json_t *ids = json_object_get(o, "plain"), *id, *want = json_object_get(o, "decoded");
    char *all = malloc(json_string_length(want) + 1);
    struct detokenizer *d;
    struct error e = {0};
    const char *text;
    size_t bytes, total = 0, i;
    assert_non_null(all);
    assert_int_equal(detokenizer_open(&d, t, false, &e), 0);
    for (i = 0; i <= json_array_size(ids); i++) {
        id = json_array_get(ids, i);
        int rc = id ? detokenizer_push(d, (uint32_t)json_integer_value(id), &text, &bytes, &e)
                    : detokenizer_finish(d, &text, &bytes);
        assert_int_equal(rc, 0);
        json_t *whole = json_stringn(text, bytes); /* NULL unless it is UTF-8 */
        if (!whole || total + bytes > json_string_length(want))
            fail_msg("%s: decoding \"%s\": half a character, or too much", where,
                     json_string_value(json_object_get(o, "text")));
        json_decref(whole);
        memcpy(all + total, text, bytes);
        total += bytes;
    }
    if (total != json_string_length(want) || memcmp(all, json_string_value(want), total) != 0)
        fail_msg("%s: decoding gives \"%.*s\", not \"%s\"", where, (int)total, all, json_string_value(want));
    detokenizer_close(d);
    free(all);
}

static size_t check_folder(const char *folder)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/vectors.jsonl", folder);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("%s is not there", path);
    struct tokenizer *t = opened(folder);
    json_error_t why;
    json_t *o;
    size_t count = 0;
    while ((o = json_loadf(f, JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, &why)) != NULL) {
        check_ids(folder, t, o, "ids", true);
        check_ids(folder, t, o, "plain", false);
        check_decoded(folder, t, o);
        json_decref(o);
        count++;
    }
    tokenizer_close(t);
    fclose(f);
    return count;
}

/* Every folder beneath; the counts keep a missing file from passing unseen. */
static void check_folders(const char *base, size_t folders_wanted, size_t cases_wanted)
{
    DIR *dir = opendir(base);
    size_t folders = 0, cases = 0;
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[512];
        if (strchr(entry->d_name, '.')) continue;
        snprintf(path, sizeof path, "%s%s", base, entry->d_name);
        cases += check_folder(path);
        folders++;
    }
    closedir(dir);
    assert_int_equal(folders, folders_wanted);
    assert_int_equal(cases, cases_wanted);
}

static void published_styles(void **state)
{
    (void)state;
    check_folders(DATA, 12, 12 * 227);
}

static void rarer_kinds(void **state)
{
    (void)state;
    check_folders(MORE, 13, 10 * 114 + 3 * 110);
}

static void questions(void **state)
{
    (void)state;
    struct tokenizer *t = opened(DATA "llama3");
    assert_int_equal(tokenizer_vocab_size(t), 905);
    assert_int_equal(tokenizer_token_id(t, "<|end|>"), 904);
    assert_int_equal(tokenizer_token_id(t, "no such token"), -1);
    assert_true(tokenizer_is_special(t, 904));
    assert_false(tokenizer_is_special(t, 5));
    assert_string_equal(tokenizer_token_text(t, 904), "<|end|>");
    assert_null(tokenizer_token_text(t, 905));
    tokenizer_close(t);
}

static void push_all(struct detokenizer *d, const struct token_ids *ids, char *out, size_t room)
{
    const char *text;
    size_t bytes, total = 0;
    for (size_t i = 0; i <= ids->count; i++) {
        if (i < ids->count)
            detokenizer_push(d, ids->id[i], &text, &bytes, NULL);
        else
            detokenizer_finish(d, &text, &bytes);
        assert_true(total + bytes < room);
        memcpy(out + total, text, bytes);
        total += bytes;
    }
    out[total] = 0;
}

static void special_tokens_are_skipped(void **state)
{
    (void)state;
    struct tokenizer *t = opened(DATA "llama3");
    struct token_ids ids = {0};
    struct detokenizer *d;
    char text[64];
    assert_int_equal(tokenizer_encode(t, "a<|end|>b", 9, true, &ids, NULL), 0);
    assert_int_equal(ids.id[0], 900);
    assert_int_equal(detokenizer_open(&d, t, true, NULL), 0);
    push_all(d, &ids, text, sizeof text);
    assert_string_equal(text, "ab");
    ids.id[1] = 4000000000u; /* an id without a token leaves nothing */
    push_all(d, &ids, text, sizeof text);
    assert_string_equal(text, "b");
    detokenizer_push(d, 225, &(const char *){0}, &(size_t){0}, NULL);
    detokenizer_reset(d);
    ids.count = 0;
    push_all(d, &ids, text, sizeof text);
    assert_string_equal(text, "");
    detokenizer_close(d);
    token_ids_free(&ids);
    tokenizer_close(t);
}

static void invalid_utf8_is_told_with_its_offset(void **state)
{
    (void)state;
    static const char *const broken[] = {"ok\xFFok",           "ok\xC0\x80", "ok\xED\xA0\x80",
                                         "ok\xF4\x90\x80\x80", "ok\xE2\x82", "ok\x80"};
    struct tokenizer *t = opened(DATA "gpt2");
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct token_ids ids = {0};
        struct error e = {0};
        assert_int_equal(token_ids_push(&ids, 7), 0);
        assert_int_equal(tokenizer_encode(t, broken[i], strlen(broken[i]), true, &ids, &e), -EILSEQ);
        assert_non_null(strstr(e.text, "byte 2"));
        assert_int_equal(ids.count, 1);
        token_ids_free(&ids);
    }
    tokenizer_close(t);
}

/* ---- long words ---- */

static double encode_seconds(const struct tokenizer *t, const char *text, size_t bytes, struct token_ids *ids)
{
    struct error e = {0};
    ids->count = 0;
    clock_t start = clock();
    if (tokenizer_encode(t, text, bytes, false, ids, &e) != 0) fail_msg("%s", e.text);
    return (double)(clock() - start) / CLOCKS_PER_SEC;
}

static void check_decodes_to(const struct tokenizer *t, const struct token_ids *ids, const char *want,
                             size_t want_bytes)
{
    struct detokenizer *d;
    const char *text;
    size_t bytes, at = 0;
    assert_int_equal(detokenizer_open(&d, t, false, NULL), 0);
    for (size_t i = 0; i <= ids->count; i++) {
        if (i < ids->count)
            detokenizer_push(d, ids->id[i], &text, &bytes, NULL);
        else
            detokenizer_finish(d, &text, &bytes);
        assert_true(at + bytes <= want_bytes && memcmp(text, want + at, bytes) == 0);
        at += bytes;
    }
    assert_int_equal(at, want_bytes);
    detokenizer_close(d);
}

/* A megabyte of one thing is a word of a megabyte for most patterns: anything quadratic would not end within the time that a
 * test program has. */
static void long_words_take_linear_time(void **state)
{
    (void)state;
    static const char *const units[] = {"a", " ", "\xF0\x9F\xA6\x8A", "A", "\xE7\x8B\x90", "the", "\n"};
    static const char *const folders[] = {DATA "llama3", DATA "o200k", DATA "llama2", MORE "unigram", MORE "flags"};
    char *text = malloc(MIB);
    assert_non_null(text);
    for (size_t k = 0; k < sizeof folders / sizeof *folders; k++) {
        struct tokenizer *t = opened(folders[k]);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            size_t n = strlen(units[u]), whole = MIB / n / 4 * 4 * n;
            struct token_ids ids = {0};
            for (size_t i = 0; i < whole; i++) text[i] = units[u][i % n];
            encode_seconds(t, text, whole, &ids);
            assert_true(ids.count > 0 || *units[u] == ' ' || *units[u] == '\n');
            if (strstr(folders[k], "llama")) check_decodes_to(t, &ids, text, whole);
            token_ids_free(&ids);
        }
        tokenizer_close(t);
    }
    free(text);
}

/* Left, right and what they become, by rank. */
static const uint32_t merge[6][3] = {{2, 1, 4}, {0, 0, 2}, {1, 0, 3}, {3, 0, 5}, {2, 2, 6}, {3, 1, 7}};

static uint32_t join_by_the_rule(uint32_t *id, uint32_t n)
{
    for (uint32_t best, at = 0;; n--) {
        best = 6;
        for (uint32_t i = 0; i + 1 < n; i++)
            for (uint32_t m = 0; m < best; m++)
                if (id[i] == merge[m][0] && id[i + 1] == merge[m][1]) {
                    best = m;
                    at = i;
                }
        if (best == 6) return n;
        id[at] = merge[best][2];
        memmove(id + at + 1, id + at + 2, (n - at - 2) * sizeof *id);
    }
}

/* Long words of two letters, in runs and at random, against the rule itself: the first pair of the lowest rank, again and
 * again. */
static void long_words_join_as_the_rule_says(void **state)
{
    static const char text[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"aa\":2,\"ba\":3,\"aab\":4,"
                               "\"baa\":5,\"aaaa\":6,\"bab\":7},"
                               "\"merges\":[\"aa b\",\"a a\",\"b a\",\"ba a\",\"aa aa\",\"ba b\"]}}";
    char *folder = scratch_make();
    struct tokenizer *t;

    (void)state;
    scratch_write(folder, "tokenizer.json", text);
    t = opened(folder);
    for (uint32_t round = 0, noise = 1; round < 40; round++) {
        char word[601] = "";
        uint32_t id[600], n = 60 + 13 * round;
        struct token_ids ids = {0};
        struct error e;

        for (uint32_t i = 0; i < n; i++) {
            noise = noise * 1664525u + 1013904223u;
            id[i] = (noise >> 16) % (round % 8 + 1) == 1; /* all a, then ever fewer b */
            word[i] = id[i] ? 'b' : 'a';
        }
        assert_int_equal(tokenizer_encode(t, word, n, false, &ids, &e), 0);
        n = join_by_the_rule(id, n);
        assert_int_equal(ids.count, n);
        assert_memory_equal(ids.id, id, n * sizeof *id);
        token_ids_free(&ids);
    }
    tokenizer_close(t);
    scratch_remove(folder);
}

/* A long run of unknown characters is given to libsentencepiece in parts: it stays one unknown piece. */
static void unknown_run_is_one_piece(void **state)
{
    (void)state;
    static const char *const folders[] = {MORE "spm-unigram", MORE "spm-bpe"};
    static const char unit[] = "\xF0\x9F\x8E\x89\xE6\x97\xA5"; /* two characters, neither in a piece */
    struct token_ids ids[2] = {{0}};
    char *text = malloc(MIB);
    assert_non_null(text);
    for (size_t k = 0; k < sizeof folders / sizeof *folders; k++) {
        struct tokenizer *t = opened(folders[k]);
        for (size_t run = 0; run < 2; run++) {
            size_t n = (size_t)sprintf(text, "The fox said ");
            for (size_t i = 0; i < (run ? 20000u : 10u); i++, n += sizeof unit - 1) memcpy(text + n, unit, sizeof unit);
            n += (size_t)sprintf(text + n, " and left.");
            ids[run].count = 0;
            encode_seconds(t, text, n, &ids[run]);
        }
        if (strstr(folders[k], "unigram")) assert_int_equal(ids[0].count, ids[1].count);
        for (size_t i = 0; i < 3 && i < ids[0].count; i++) {
            assert_int_equal(ids[0].id[i], ids[1].id[i]);
            assert_int_equal(ids[0].id[ids[0].count - 1 - i], ids[1].id[ids[1].count - 1 - i]);
        }
        tokenizer_close(t);
    }
    token_ids_free(&ids[0]);
    token_ids_free(&ids[1]);
    free(text);
}

/* ---- threads ---- */

static void *encode_often(void *shared)
{
    const struct tokenizer *t = shared;
    static const char text[] = "Once upon a time, in 1742, the lighthouse <|end|> stood.";
    struct token_ids first = {0}, ids = {0};
    for (int i = 0; i < 200; i++) {
        ids.count = 0;
        if (tokenizer_encode(t, text, sizeof text - 1, true, i ? &ids : &first, NULL) != 0) return "fails";
        if (i && (ids.count != first.count || memcmp(ids.id, first.id, ids.count * sizeof *ids.id) != 0))
            return "differs";
    }
    token_ids_free(&first);
    token_ids_free(&ids);
    return NULL;
}

static void threads_share_a_tokenizer(void **state)
{
    (void)state;
    struct tokenizer *t = opened(DATA "qwen2");
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, encode_often, t), 0);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(thread[i], &result);
        assert_null(result);
    }
    tokenizer_close(t);
}

/* ---- refusals ---- */

static void in_folder(const char *file, const char *content, int want, const char *message)
{
    char folder[TEMPORARY_BYTES], path[TEMPORARY_BYTES + 64];
    assert_true(temporary_make(folder, NULL));
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
    struct tokenizer *t = NULL;
    struct error e = {0};
    int rc = tokenizer_open(&t, folder, &e);
    if (rc == 0) tokenizer_close(t);
    unlink(path);
    rmdir(folder);
    if (rc != want || (message && !strstr(e.text, message)))
        fail_msg("%.200s: %d, \"%s\" instead of %d, \"%s\"", content, rc, e.text, want, message ? message : "");
}

#define MODEL "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

static void what_is_not_known_is_named(void **state)
{
    (void)state;
    static const char *const parts[][2] = {
        {"\"normalizer\":{\"type\":\"Frobnicate\"}", "Frobnicate"},
        {"\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Odd\"}]}", "Odd"},
        {"\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}", "UnicodeScripts"},
        {"\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Shredded\"}", "Shredded"},
        {"\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{Klingon}\"},\"behavior\":\"Isolated\"}",
         "Klingon"},
        {"\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"often\"}", "often"},
        {"\"post_processor\":{\"type\":\"Postal\"}", "Postal"},
        {"\"decoder\":{\"type\":\"CTC\"}", "CTC"},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char text[512];
        snprintf(text, sizeof text, "{%s," MODEL "}", parts[i][0]);
        in_folder("tokenizer.json", text, -ENOTSUP, parts[i][1]);
    }
    in_folder("tokenizer.json", "{\"model\":{\"type\":\"Neural\",\"vocab\":{},\"merges\":[]}}", -ENOTSUP, "Neural");
}

static void damage_is_told(void **state)
{
    (void)state;
    in_folder("nothing", "", -ENOENT, "no tokenizer");
    in_folder("tokenizer.json", "", -EINVAL, "is empty");
    in_folder("tokenizer.json", "{\"model\": {", -EINVAL, "ends too early");
    in_folder("tokenizer.json", "{\n\"model\": nul}", -EINVAL, "line 2");
    in_folder("tokenizer.json", "{} {}", -EINVAL, "column 4: something follows");
    in_folder("tokenizer.json", "[]", -EINVAL, "object");
    in_folder("tokenizer.json", "{}", -EINVAL, "\"model\" is missing");
    in_folder("tokenizer.json", "{\"x\":\"\xFF\"}", -EINVAL, "column 7: not UTF-8");
    in_folder("tokenizer.json", "{\"x\":\"\\ud800\"}", -EINVAL, "surrogate");
    in_folder("tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", -ERANGE, "\"a\"");
    in_folder("tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":4e9},\"merges\":[]}}", -ERANGE, "\"a\"");
    in_folder("tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":\"0\"},\"merges\":[]}}", -EINVAL,
              "not a number");
    in_folder("tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", -EINVAL,
              "merge 0");
    in_folder("tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}", -EINVAL,
              "merge 0");
    in_folder("tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", -EINVAL,
              "merge 0");
    in_folder("tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", -EINVAL, "merges");
    in_folder("tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}",
              -ENOTSUP, "dropout");
    in_folder("tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\",\"vocab\":{\"a\":0},\"merges\":[]}}",
              -EINVAL, "unk_token");
    in_folder("tokenizer.json", "{\"model\":{\"type\":\"Unigram\",\"unk_id\":3,\"vocab\":[[\"a\",-1]]}}", -EINVAL,
              "unk_id");
    in_folder("tokenizer.json",
              "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"},\"behavior\":\"Isolated\"}," MODEL
              "}",
              -EINVAL, "(a");
    in_folder("tokenizer.model", "\x0A\x0Fnot a model at all", -EINVAL, "tokenizer.model");
    in_folder("qwen.tiktoken", "YQ== 0\nYg==\n", -EINVAL, "line 2");
    in_folder("qwen.tiktoken", "YQ== 0\n", -EINVAL, "no token for the byte");
    in_folder("other.tiktoken", "YQ== 0\n", -ENOTSUP, "tokenizer_class");
    in_folder("tokenizer.json", "{" MODEL "}", 0, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_styles),
        cmocka_unit_test(rarer_kinds),
        cmocka_unit_test(questions),
        cmocka_unit_test(special_tokens_are_skipped),
        cmocka_unit_test(invalid_utf8_is_told_with_its_offset),
        cmocka_unit_test(long_words_take_linear_time),
        cmocka_unit_test(long_words_join_as_the_rule_says),
        cmocka_unit_test(unknown_run_is_one_piece),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(what_is_not_known_is_named),
        cmocka_unit_test(damage_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
