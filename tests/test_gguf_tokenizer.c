/* The tokenizers of GGUF files, every kind of them in a small vocabulary; and what is wrong with one, named. */
#include <setjmp.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "coordinator/source/gguf_text.h"
#include "coordinator/tokenizer/detokenizer.h"
#include "coordinator/tokenizer/ggml.h"
#include "coordinator/tokenizer/ggml_split.h"
#include "coordinator/tokenizer/normalize.h"
#include "tests/support_vocabulary.h"

static struct tokenizer *open_tokenizer(struct gguf_writer *w, const char *pre)
{
    struct gguf *g = gguf_open_written(w);
    struct tokenizer *t;
    struct error e = {0};

    if (gguf_tokenizer(&t, g, pre, &e)) fail_msg("%s", e.text);
    gguf_close(g);
    return t;
}

/* ---- looks ---- */

/* The tokens of a text, in brackets. */
static void check(const struct tokenizer *t, const char *text, bool special, const char *wanted)
{
    struct token_ids ids = {0};
    struct error e = {0};
    char got[1024] = "";
    size_t n = 0;

    if (tokenizer_encode(t, text, strlen(text), special, &ids, &e)) fail_msg("%s", e.text);
    for (size_t i = 0; i < ids.count && n < sizeof got; i++) {
        const char *token = tokenizer_token_text(t, ids.id[i]);

        n += (size_t)snprintf(got + n, sizeof got - n, "[%s]", token ? token : "?");
    }
    token_ids_free(&ids);
    if (strcmp(got, wanted)) fail_msg("\"%s\" is %s, and should be %s", text, got, wanted);
}

static void check_back(const struct tokenizer *t, const char *text, bool skip, const char *wanted)
{
    struct token_ids ids = {0};
    struct detokenizer *d;
    struct error e = {0};
    char got[1024] = "";
    const char *part;
    size_t bytes;

    if (tokenizer_encode(t, text, strlen(text), true, &ids, &e) || detokenizer_open(&d, t, skip, &e))
        fail_msg("%s", e.text);
    for (size_t i = 0; i < ids.count; i++) {
        assert_int_equal(detokenizer_push(d, ids.id[i], &part, &bytes, &e), 0);
        strncat(got, part, bytes);
    }
    assert_int_equal(detokenizer_finish(d, &part, &bytes), 0);
    strncat(got, part, bytes);
    detokenizer_close(d);
    token_ids_free(&ids);
    assert_string_equal(got, wanted);
}

static void refuse(struct gguf_writer *w, const char *pre, int code, const char *words)
{
    struct gguf *g = gguf_open_written(w);
    struct tokenizer *t = (struct tokenizer *)1;
    struct error e = {0};

    assert_int_equal(gguf_tokenizer(&t, g, pre, &e), -code);
    assert_null(t);
    gguf_close(g);
    if (!strstr(e.text, words)) fail_msg("\"%s\" does not say \"%s\"", e.text, words);
    if (!strstr(e.text, "a.gguf")) fail_msg("\"%s\" does not name the file", e.text);
}

/* ---- byte-level BPE ---- */

static const char *const merges[] = {"1 2", "12 3", "123 4", "3 4", "a B", "' s", "' S", "c d", "cd Ġ", "\xC4\xA0 e"};
#define MERGES (sizeof merges / sizeof *merges)

/* The bytes, what the merges make, and further ones. */
static void byte_vocabulary(struct vocabulary *v)
{
    static const char *const made[] = {"12", "123", "1234", "34", "aB", "'s", "'S", "cd", "cdĠ", "Ġe"};

    *v = (struct vocabulary){0};
    for (unsigned b = 0; b < 256; b++) vocabulary_add(v, byte_level_text[b], NORMAL, 0);
    for (size_t i = 0; i < MERGES; i++) vocabulary_add(v, made[i], NORMAL, 0);
    vocabulary_add(v, "<|bos|>", CONTROL, 0);
    vocabulary_add(v, "<|im_end|>", CONTROL, 0);
    vocabulary_add(v, "<think>", USER, 0);
    vocabulary_add(v, "[PAD269]", UNUSED, 0);
    vocabulary_add(v, "[PAD270]", USER, 0);
    vocabulary_add(v, "1234c", NORMAL, 0); /* no merge makes it */
}

static void write_bytes(struct gguf_writer *w, const char *pre)
{
    struct vocabulary v;

    byte_vocabulary(&v);
    gguf_write_begin(w);
    vocabulary_write(w, &v, "gpt2");
    gguf_write_strings(w, "tokenizer.ggml.merges", merges, MERGES);
    gguf_write_u32(w, "tokenizer.ggml.bos_token_id", 266);
    if (pre) gguf_write_string(w, "tokenizer.ggml.pre", pre);
}

static void splits_are_those_that_are_named(void **state)
{
    static const char text[] = "1234 aB'S\xE4\xB8\xAD\x62";
    static const struct {
        const char *pre, *wanted;
    } cases[] = {
        {"llama-bpe", "[123][4][Ġ][aB]['S][ä][¸][Ń][b]"},
        {"qwen2", "[1][2][3][4][Ġ][aB]['S][ä][¸][Ń][b]"},
        {"qwen35", "[1][2][3][4][Ġ][aB]['S][ä][¸][Ń][b]"},
        {"gpt-2", "[1234][Ġ][aB]['][S][ä][¸][Ń][b]"},
        {"smollm", "[1][2][3][4][Ġ][aB]['][S][ä][¸][Ń][b]"},
        {"falcon", "[123][4][Ġ][aB]['][S][ä][¸][Ń][b]"},
        {"gpt-4o", "[123][4][Ġ][a][B]['S][ä][¸][Ń][b]"},
        {"tekken", "[1][2][3][4][Ġ][a][B]['S][ä][¸][Ń][b]"},
        {"deepseek-llm", "[1][2][3][4][Ġ][aB]['][S][ä][¸][Ń][b]"},
        {"deepseek-coder", "[1][2][3][4][Ġ][aB]['][S][ä][¸][Ń][b]"},
        {"deepseek-v3", "[123][4][Ġ][aB]['S][ä][¸][Ń][b]"},
        {"kimi-k2", "[123][4][Ġ][a][B]['S][ä][¸][Ń][b]"},
        {"seed-coder", "[1][2][3][4][Ġ][aB]['S][ä][¸][Ń][b]"},
        {"superbpe", "[1][2][34][Ġ][aB]['S][ä][¸][Ń][b]"},
    };
    struct gguf_writer w;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tokenizer *t;

        write_bytes(&w, cases[i].pre);
        t = open_tokenizer(&w, NULL);
        check(t, text, false, cases[i].wanted);
        check_back(t, text, true, text);
        tokenizer_close(t);
    }
}

static void every_name_opens(void **state)
{
    char names[1024], *rest = names, *name;
    size_t n = 0;

    (void)state;
    ggml_split_names(names, sizeof names);
    while ((name = strsep(&rest, ","))) {
        struct gguf_writer w;
        struct tokenizer *t;

        name += *name == ' ';
        write_bytes(&w, name);
        t = open_tokenizer(&w, NULL);
        check_back(t, "Hello, 12345 worlds!\r\n\n  \xC3\xA9\xE0\xA4\x95\xE0\xA5\x8D \xF0\x9F\x98\x80", true,
                   "Hello, 12345 worlds!\r\n\n  \xC3\xA9\xE0\xA4\x95\xE0\xA5\x8D \xF0\x9F\x98\x80");
        tokenizer_close(t);
        n++;
    }
    assert_true(n > 40);
    assert_null(ggml_split_find(""));
    assert_null(ggml_split_find("qwen"));
    assert_null(ggml_split_find("qwen2 stablelm2"));
}

static void splits_are_asked_for(void **state)
{
    struct gguf_writer w;
    struct tokenizer *t;

    (void)state;
    write_bytes(&w, NULL);
    refuse(&w, NULL, ENOTSUP, "say it with --pre, one of llama-bpe, llama3,");
    write_bytes(&w, "default");
    refuse(&w, NULL, ENOTSUP, "tokenizer.ggml.pre does not say how");
    write_bytes(&w, "new-rule");
    refuse(&w, NULL, ENOTSUP, "tokenizer.ggml.pre \"new-rule\" is not known: say which of these is right with --pre");
    write_bytes(&w, "gpt-2");
    refuse(&w, "gpt2", ENOTSUP, "the rule of --pre \"gpt2\" is not known: these are: llama-bpe");
    write_bytes(&w, "new-rule");
    t = open_tokenizer(&w, "gpt-2");
    check(t, "1234", true, "[1234]");
    tokenizer_close(t);
}

/* Groups that take a whole word that is a token, and that begin a text with bos where the file does not say. */
static void groups_have_their_ways(void **state)
{
    static const char text[] = "cd e";
    struct gguf_writer w;
    struct tokenizer *t;

    (void)state;
    write_bytes(&w, "llama-bpe");
    t = open_tokenizer(&w, NULL);
    check(t, text, true, "[<|bos|>][cd][Ġe]");
    tokenizer_close(t);
    write_bytes(&w, "llama-bpe");
    gguf_write_bool(&w, "tokenizer.ggml.add_bos_token", 0);
    t = open_tokenizer(&w, NULL);
    check(t, text, true, "[cd][Ġe]");
    tokenizer_close(t);
    write_bytes(&w, "qwen2");
    gguf_write_bool(&w, "tokenizer.ggml.add_bos_token", 1);
    gguf_write_bool(&w, "tokenizer.ggml.add_eos_token", 1);
    gguf_write_u32(&w, "tokenizer.ggml.eos_token_id", 267);
    t = open_tokenizer(&w, NULL);
    check(t, "e\xCC\x81", true, "[<|bos|>][Ã][©][<|im_end|>]"); /* in its normal form */
    tokenizer_close(t);
}

static void added_tokens_come_first(void **state)
{
    struct gguf_writer w;
    struct tokenizer *t;

    (void)state;
    write_bytes(&w, "gpt-2");
    t = open_tokenizer(&w, NULL);
    check(t, "a<think>B<|im_end|>[PAD269][PAD270]", false,
          "[a][<think>][B][<|im_end|>][[][P][A][D][2][6][9][]][[][P][A][D][2][7][0][]]");
    assert_true(tokenizer_is_special(t, 267));
    assert_false(tokenizer_is_special(t, 268));
    assert_true(tokenizer_is_added(t, 268));
    assert_int_equal(tokenizer_vocab_size(t), 272);
    assert_null(tokenizer_token_text(t, 269));
    check_back(t, "a<think>B<|im_end|>", true, "a<think>B");
    check_back(t, "a<think>B<|im_end|>", false, "a<think>B<|im_end|>");
    tokenizer_close(t);
}

/* ---- SentencePiece ---- */

#define SPACE "\xE2\x96\x81"

static void piece_vocabulary(struct vocabulary *v)
{
    static char bytes[256][8];

    *v = (struct vocabulary){0};
    vocabulary_add(v, "<unk>", UNKNOWN, 0);
    vocabulary_add(v, "<s>", CONTROL, 0);
    vocabulary_add(v, "</s>", CONTROL, 0);
    for (unsigned b = 0; b < 256; b++) {
        snprintf(bytes[b], sizeof bytes[b], "<0x%02X>", b);
        vocabulary_add(v, bytes[b], BYTE, 0);
    }
    vocabulary_add(v, "ab", NORMAL, -3);
    vocabulary_add(v, "bc", NORMAL, -2);
    vocabulary_add(v, "abc", NORMAL, -1);
    vocabulary_add(v, SPACE "a", NORMAL, -5);
    vocabulary_add(v, "aa", NORMAL, -4);
    vocabulary_add(v, SPACE SPACE, NORMAL, -6);
    vocabulary_add(v, "<tag>", USER, -1000);
    vocabulary_add(v, "unused", UNUSED, -1000);
    for (const char *const *c = (const char *const[]){SPACE, "a", "b", "c", "\n", "u", "n", NULL}; *c; c++)
        vocabulary_add(v, *c, NORMAL, -100);
    vocabulary_add(v, "\n\n", NORMAL, -7);
}

static void write_pieces(struct gguf_writer *w, const char *model)
{
    struct vocabulary v;

    piece_vocabulary(&v);
    gguf_write_begin(w);
    vocabulary_write(w, &v, model);
}

static void pieces_are_joined_by_scores(void **state)
{
    struct gguf_writer w;
    struct tokenizer *t;

    (void)state;
    write_pieces(&w, "llama");
    t = open_tokenizer(&w, NULL);
    check(t, "b abc aaa", true, "[<s>][" SPACE "][b][" SPACE "][abc][" SPACE "][aa][a]");
    check(t, "aaa", false, "[" SPACE "][aa][a]"); /* the leftmost of equals */
    check(t, "a<tag>b</s> a", false, "[" SPACE "a][<tag>][" SPACE "][b][</s>][" SPACE "][" SPACE "a]");
    check(t, "\xC3\xA9x", false, "[" SPACE "][<0xC3>][<0xA9>][<0x78>]");
    check(t, "", true, "[<s>]");
    check_back(t, "ab  \xC3\xA9 c", true, "ab  \xC3\xA9 c");
    tokenizer_close(t);
}

/* User-defined runs of spaces, which converters write as spaces. */
static void runs_of_spaces_are_pieces(void **state)
{
    struct gguf_writer w;
    struct vocabulary v;
    struct tokenizer *t;

    (void)state;
    piece_vocabulary(&v);
    vocabulary_add(&v, "   ", USER, -1000);
    vocabulary_add(&v, "  ", USER, -1000); /* "▁▁" is there as a piece */
    gguf_write_begin(&w);
    vocabulary_write(&w, &v, "llama");
    gguf_write_bool(&w, "tokenizer.ggml.add_space_prefix", 0);
    gguf_write_bool(&w, "tokenizer.ggml.add_bos_token", 0);
    t = open_tokenizer(&w, NULL);
    check(t, "b" SPACE SPACE SPACE "b", false, "[b][" SPACE SPACE SPACE "][b]");
    check(t, "b  b", false, "[b][  ][b]");
    check_back(t, "b   b  " SPACE, true, "b   b   ");
    tokenizer_close(t);
}

static void pieces_without_a_space_before(void **state)
{
    struct gguf_writer w;
    struct tokenizer *t;

    (void)state;
    write_pieces(&w, "llama");
    gguf_write_bool(&w, "tokenizer.ggml.add_space_prefix", 0);
    gguf_write_bool(&w, "tokenizer.ggml.add_bos_token", 0);
    gguf_write_bool(&w, "tokenizer.ggml.add_eos_token", 1);
    t = open_tokenizer(&w, NULL);
    check(t, "a ab", true, "[a][" SPACE "][ab][</s>]");
    check_back(t, " ab", true, " ab");
    tokenizer_close(t);
}

/* Special tokens of Phi-3 swallow white space behind them. */
static void special_tokens_strip(void **state)
{
    struct gguf_writer w;
    struct tokenizer *t;

    (void)state;
    write_pieces(&w, "llama");
    gguf_write_string(&w, "general.architecture", "phi3");
    t = open_tokenizer(&w, NULL);
    check(t, "</s>\n \nb", false, "[</s>][" SPACE "][b]");
    check(t, "<s>\nb", false, "[<s>][" SPACE "][\n][b]");
    tokenizer_close(t);
}

static void lines_are_joined_apart(void **state)
{
    static const char *const line_merges[] = {"\n \n", SPACE " a", "b c", "a bc", "a a"};
    struct gguf_writer w;
    struct tokenizer *t;

    (void)state;
    write_pieces(&w, "gemma4");
    gguf_write_strings(&w, "tokenizer.ggml.merges", line_merges, 5);
    gguf_write_u32(&w, "tokenizer.ggml.bos_token_id", 1);
    gguf_write_u32(&w, "tokenizer.ggml.unknown_token_id", 0);
    t = open_tokenizer(&w, NULL);
    check(t, "abc\n\n\n a\xC3\xA9", true, "[<s>][abc][\n\n][\n][" SPACE "a][<0xC3>][<0xA9>]");
    check_back(t, "abc\n\n\n a", true, "abc\n\n\n a");
    tokenizer_close(t);
}

static void unigrams_take_the_best_sum(void **state)
{
    struct gguf_writer w;
    struct tokenizer *t;
    struct vocabulary v = {0};

    (void)state;
    vocabulary_add(&v, "<pad>", CONTROL, 0);
    vocabulary_add(&v, "</s>", CONTROL, 0);
    vocabulary_add(&v, "<unk>", UNKNOWN, 0);
    vocabulary_add(&v, SPACE "ab", NORMAL, -2);
    vocabulary_add(&v, SPACE "a", NORMAL, -1.5f);
    vocabulary_add(&v, "b", NORMAL, -1);
    vocabulary_add(&v, "bc", NORMAL, -1.2f);
    vocabulary_add(&v, "c", NORMAL, -3);
    vocabulary_add(&v, SPACE, NORMAL, -4);
    gguf_write_begin(&w);
    vocabulary_write(&w, &v, "t5");
    gguf_write_bool(&w, "tokenizer.ggml.add_space_prefix", 1);
    gguf_write_bool(&w, "tokenizer.ggml.remove_extra_whitespaces", 1);
    t = open_tokenizer(&w, NULL);
    check(t, "  abc   ab xx ", true, "[" SPACE "a][bc][" SPACE "ab][" SPACE "][<unk>][</s>]");
    check_back(t, "abc ab", true, "abc ab");
    tokenizer_close(t);
}

/* ---- what is wrong ---- */

enum wrong {
    TWICE = 1,
    NOT_UTF8,
    BAD_SCORE,
    BAD_TYPE,
    FEW_SCORES,
    FEW_TYPES,
    NO_TOKENS,
    BAD_BOS,
    NO_GAP,
    BAD_CHARSMAP,
    BAD_MODEL,
    NO_MODEL,
    NO_SCORES,
    LONG_TOKENS,
};

static void write_wrong(struct gguf_writer *w, enum wrong what)
{
    static char lengthy[80000];
    static const char *const no_gap[] = {"a b", "ab"};
    struct vocabulary v;

    piece_vocabulary(&v);
    if (what == TWICE) v.text[260] = "ab";
    if (what == NOT_UTF8) v.text[260] = "a\xFF";
    if (what == BAD_SCORE) v.score[7] = NAN;
    if (what == BAD_TYPE) v.type[9] = 12;
    if (what == NO_TOKENS) v.n = 0;
    if (what == LONG_TOKENS) v.text[260] = memset(lengthy, 'a', sizeof lengthy - 1);
    gguf_write_begin(w);
    if (what != NO_MODEL)
        gguf_write_string(w, "tokenizer.ggml.model",
                          what == BAD_MODEL      ? "rwkv"
                          : what == NO_GAP       ? "gemma4"
                          : what == BAD_CHARSMAP ? "t5"
                                                 : "llama");
    gguf_write_strings(w, "tokenizer.ggml.tokens", v.text, v.n);
    if (what != NO_SCORES) gguf_write_numbers(w, "tokenizer.ggml.scores", F32, v.score, v.n - (what == FEW_SCORES));
    gguf_write_numbers(w, "tokenizer.ggml.token_type", I32, v.type, v.n - (what == FEW_TYPES));
    if (what == BAD_BOS) gguf_write_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)v.n);
    if (what == NO_GAP) gguf_write_strings(w, "tokenizer.ggml.merges", no_gap, 2);
    if (what == BAD_CHARSMAP) gguf_write_numbers(w, "tokenizer.ggml.precompiled_charsmap", U8, "\0\1\0\0\0\0", 6);
}

static void damage_is_named(void **state)
{
    static const struct {
        enum wrong what;
        int code;
        const char *words;
    } cases[] = {
        {TWICE, EINVAL, "tokenizer.ggml.tokens: 259 and 260 are both \"ab\""},
        {NOT_UTF8, EINVAL, "tokenizer.ggml.tokens: element 260 is not UTF-8"},
        {BAD_SCORE, EINVAL, "tokenizer.ggml.scores: element 7 is not a number"},
        {BAD_TYPE, EINVAL, "tokenizer.ggml.token_type: element 9 is no type of a token"},
        {FEW_SCORES, EINVAL, "tokenizer.ggml.scores: 274 elements, and 275 tokens"},
        {FEW_TYPES, EINVAL, "tokenizer.ggml.token_type: 274 elements, and 275 tokens"},
        {NO_TOKENS, EINVAL, "tokenizer.ggml.tokens: there are none"},
        {BAD_BOS, EINVAL, "tokenizer.ggml.bos_token_id is 275, and there are 275 tokens"},
        {NO_GAP, EINVAL, "tokenizer.ggml.merges: element 1 is not two parts"},
        {BAD_CHARSMAP, EINVAL, "tokenizer.ggml.precompiled_charsmap"},
        {BAD_MODEL, ENOTSUP, "tokenizer.ggml.model is \"rwkv\", and gpt2, llama, gemma4 and t5 are known"},
        {NO_MODEL, ENOENT, "it holds no tokenizer"},
        {NO_SCORES, EINVAL, "tokenizer.ggml.scores: there are none"},
        {LONG_TOKENS, EINVAL, "tokenizer.ggml.tokens: longer than any tokenizer's"},
    };
    struct gguf_writer w;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_wrong(&w, cases[i].what);
        refuse(&w, NULL, cases[i].code, cases[i].words);
    }
    write_pieces(&w, "llama");
    refuse(&w, "gpt-2", EINVAL, "leave --pre out");
}

/* A merge of texts that are no tokens makes none; the others still do. */
static void merges_of_nothing_are_left_out(void **state)
{
    static const char *const some[] = {"x\xC4\xA0 y", "1 2"};
    struct gguf_writer w;
    struct tokenizer *t;
    struct vocabulary v;

    (void)state;
    byte_vocabulary(&v);
    gguf_write_begin(&w);
    vocabulary_write(&w, &v, "gpt2");
    gguf_write_string(&w, "tokenizer.ggml.pre", "gpt-2");
    gguf_write_strings(&w, "tokenizer.ggml.merges", some, 2);
    t = open_tokenizer(&w, NULL);
    check(t, "123", true, "[12][3]");
    tokenizer_close(t);
}

static void a_tokenizer_json_within_wins(void **state)
{
    static const char json[] =
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";
    struct gguf_writer w;
    struct tokenizer *t;

    (void)state;
    write_pieces(&w, "rwkv");
    gguf_write_string(&w, "tokenizer.huggingface.json", json);
    t = open_tokenizer(&w, NULL);
    check(t, "abb", true, "[ab][b]");
    tokenizer_close(t);
    write_pieces(&w, "llama");
    gguf_write_string(&w, "tokenizer.huggingface.json", "{\"model\":");
    refuse(&w, NULL, EINVAL, "tokenizer.huggingface.json: line 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_are_those_that_are_named),
        cmocka_unit_test(every_name_opens),
        cmocka_unit_test(splits_are_asked_for),
        cmocka_unit_test(groups_have_their_ways),
        cmocka_unit_test(added_tokens_come_first),
        cmocka_unit_test(pieces_are_joined_by_scores),
        cmocka_unit_test(runs_of_spaces_are_pieces),
        cmocka_unit_test(pieces_without_a_space_before),
        cmocka_unit_test(special_tokens_strip),
        cmocka_unit_test(lines_are_joined_apart),
        cmocka_unit_test(unigrams_take_the_best_sum),
        cmocka_unit_test(damage_is_named),
        cmocka_unit_test(merges_of_nothing_are_left_out),
        cmocka_unit_test(a_tokenizer_json_within_wins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
