/* The built program from outside: exit status, what goes to which stream, and the commands that work on text alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/support_process.h"
#include "tests/support_temporary.h"

#define DEMO    "tests/data/demo-model"
#define SECONDS 20

static struct process_result last;

static const struct process_result *sluice_with(const char *text, const char *const *arg)
{
    process_result_free(&last);
    last = process_run("sluice", arg, text, text ? strlen(text) : 0, SECONDS);
    return &last;
}

#define SLUICE(text, ...) sluice_with(text, (const char *const[]){__VA_ARGS__, NULL})

static void assert_status(int status, int line)
{
    if (last.status != status) fail_msg("line %d: exit %d, not %d: %s", line, last.status, status, last.err);
}

/* One message on standard error that says so, nothing on standard output. */
static void assert_message(int status, const char *says, int line)
{
    assert_status(status, line);
    if (last.out_bytes) fail_msg("line %d: standard output has: %s", line, last.out);
    if (strncmp(last.err, "sluice: ", 8) || !strstr(last.err, says))
        fail_msg("line %d: the message should say '%s': %s", line, says, last.err);
}

#define DONE(text, ...)                                                                                                \
    do {                                                                                                               \
        SLUICE(text, __VA_ARGS__);                                                                                     \
        assert_status(0, __LINE__);                                                                                    \
        assert_string_equal(last.err, "");                                                                             \
    } while (0)
#define FAILED(text, says, ...)                                                                                        \
    do {                                                                                                               \
        SLUICE(text, __VA_ARGS__);                                                                                     \
        assert_message(1, says, __LINE__);                                                                             \
    } while (0)
#define WRONG_USAGE(says, ...)                                                                                         \
    do {                                                                                                               \
        SLUICE(NULL, __VA_ARGS__);                                                                                     \
        assert_message(2, says, __LINE__);                                                                             \
    } while (0)

static void told_on_stdout(void **state)
{
    (void)state;
    DONE(NULL, "--version");
    assert_int_equal(strncmp(last.out, "sluice ", 7), 0);
    DONE(NULL, "--help");
    assert_non_null(strstr(last.out, "usage: sluice MODEL"));
    assert_null(strchr(last.out, '\033')); /* colours are for terminals */
    DONE(NULL, "run", "--help");
    assert_non_null(strstr(last.out, "--temperature"));
    DONE(NULL, "help", "logits");
    assert_non_null(strstr(last.out, "--positions"));
    DONE(NULL, "--man-page");
    assert_non_null(strstr(last.out, ".TH SLUICE 1"));
    DONE(NULL, "completion", "bash");
    assert_non_null(strstr(last.out, "complete "));
}

static void wrong_usage(void **state)
{
    (void)state;
    WRONG_USAGE("sluice --help", "--json");
    WRONG_USAGE("needs MODEL", "run");
    WRONG_USAGE("did you mean --temperature", "run", DEMO, "--temprature", "0");
    WRONG_USAGE("did you mean 'plan'", "paln", DEMO);
    WRONG_USAGE("from 0 to 1", "run", DEMO, "--top-p", "2");
    WRONG_USAGE("is no flag of", "plan", DEMO, "--svg", "x");
    WRONG_USAGE("needs --tokens", "logits", DEMO, "--out", "/dev/null");
    process_result_free(&last);
    last = process_run("sluice", (const char *const[]){NULL}, NULL, 0, SECONDS);
    assert_message(2, "sluice --help", __LINE__);
}

/* A model that is not there is no wrong usage: the command was right. */
static void no_such_model(void **state)
{
    (void)state;
    FAILED("text", "/no/such/folder", "tokenize", "/no/such/folder");
    FAILED("1 2", "/no/such/folder", "detokenize", "/no/such/folder");
    FAILED("[]", "/no/such/folder", "template", "/no/such/folder");
}

/* What a terminal would obey must not reach it by way of a message. */
static void no_control_characters(void **state)
{
    (void)state;
    FAILED("text", "/no/such", "tokenize", "/no/such\033[31m\007folder");
    assert_null(strchr(last.err, '\033'));
    assert_null(strchr(last.err, '\007'));
    WRONG_USAGE("unknown flag", "run", DEMO, "--\033[2J");
    assert_null(strchr(last.err, '\033'));
}

static void full_output(void **state)
{
    char path[4096];
    const char *const shell[] = {"-c", "exec \"$0\" --help >/dev/full", path, NULL};
    int fd = open("/dev/full", O_WRONLY);

    (void)state;
    if (fd < 0) {
        print_message("skipped: there is no /dev/full\n");
        skip();
    }
    close(fd);
    snprintf(path, sizeof path, "%s/sluice", process_build());
    process_result_free(&last);
    last = process_run("/bin/sh", shell, NULL, 0, SECONDS);
    assert_message(1, "standard output", __LINE__);
}

/* ---- tokenize, detokenize -------------------------------------------------------------------------------------- */

static char *golden_ids(const json_t *ids)
{
    char *text = NULL;
    size_t bytes, i;
    FILE *f = open_memstream(&text, &bytes);
    json_t *id;

    assert_non_null(f);
    json_array_foreach(ids, i, id) fprintf(f, "%s%lld", i ? " " : "", (long long)json_integer_value(id));
    fputc('\n', f);
    fclose(f);
    return text;
}

static void tokenize(void **state)
{
    json_t *golden = json_load_file(DEMO "/golden.json", 0, NULL), *one;
    size_t i, seen = 0;

    (void)state;
    assert_non_null(golden);
    json_array_foreach(golden, i, one)
    {
        const char *prompt = json_string_value(json_object_get(one, "prompt"));
        char *want;
        if (!prompt) continue;
        want = golden_ids(json_object_get(one, "ids"));
        DONE(prompt, "tokenize", DEMO);
        assert_string_equal(last.out, want);
        free(want);
        seen++;
    }
    assert_true(seen > 2);
    json_decref(golden);
}

static void there_and_back(void **state)
{
    static const char *const text[] = {"Once upon a time", "", " two  blanks \n\ttab\n",
                                       "Gr\303\274\303\237e \360\237\246\212!"};
    char *ids;

    (void)state;
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        DONE(text[i], "tokenize", DEMO, "--no-special");
        assert_int_equal(last.out[last.out_bytes - 1], '\n');
        ids = strdup(last.out);
        DONE(ids, "detokenize", DEMO);
        if (last.out_bytes != strlen(text[i]) || (last.out && memcmp(last.out, text[i], last.out_bytes)))
            fail_msg("'%s' became '%s'", text[i], last.out);
        free(ids);
    }
}

static void special_tokens(void **state)
{
    char *ids;

    (void)state;
    DONE("Hello", "tokenize", DEMO);
    ids = strdup(last.out);
    DONE(ids, "detokenize", DEMO);
    assert_string_equal(last.out, "<|begin_of_text|>Hello");
    DONE(ids, "detokenize", DEMO, "--no-special");
    assert_string_equal(last.out, "Hello");
    free(ids);
}

static void text_that_is_none(void **state)
{
    (void)state;
    FAILED("abc\377def", "3", "tokenize", DEMO);
    FAILED("1 two 3", "'two' at byte 2", "detokenize", DEMO);
    FAILED("1 99999999999", "too large", "detokenize", DEMO);
}

/* ---- template -------------------------------------------------------------------------------------------------- */

#define HELLO "[{\"role\": \"user\", \"content\": \"Hello!\"}]"

static void template(void **state)
{
    char *plain;

    (void)state;
    DONE(HELLO, "template", DEMO);
    assert_non_null(strstr(last.out, "Hello!"));
    plain = strdup(last.out);
    DONE("{\"messages\": " HELLO "}", "template", DEMO);
    assert_string_equal(last.out, plain);
    DONE("{\"messages\": " HELLO ", \"add_generation_prompt\": true}", "template", DEMO, "-f", "-");
    assert_string_equal(last.out, plain);
    DONE("{\"messages\": " HELLO ", \"add_generation_prompt\": false}", "template", DEMO);
    assert_true(last.out_bytes < strlen(plain));
    assert_int_equal(memcmp(last.out, plain, last.out_bytes), 0);
    DONE("{\"messages\": " HELLO ", \"bos_token\": \"<BOS>\"}", "template", DEMO);
    assert_non_null(strstr(last.out, "<BOS>"));
    DONE(HELLO, "template", DEMO, "--var", "add_generation_prompt=false");
    assert_true(last.out_bytes < strlen(plain));
    free(plain);
}

static void template_that_fails(void **state)
{
    (void)state;
    FAILED("[{\"role\": ]", "standard input: line 1, column 11", "template", DEMO);
    FAILED("", "standard input", "template", DEMO);
    FAILED("\"text\"", "list of messages", "template", DEMO);
    FAILED("{\"messages\": 3}", "list of messages", "template", DEMO);
    FAILED(NULL, "/no/such/file", "template", DEMO, "-f", "/no/such/file");
    FAILED(HELLO, "/no/such/tools", "template", DEMO, "--tools", "/no/such/tools");
}

/* ---- a folder that a test fills ---------------------------------------------------------------------------------- */

static char folder[TEMPORARY_BYTES];

static int make_folder(void **state)
{
    (void)state;
    return temporary_make(folder, NULL) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    unlink(path);
    return rmdir(folder);
}

static void write_template(const char *source)
{
    json_t *o = json_pack("{s:s, s:s}", "chat_template", source, "bos_token", "<s>");
    char path[128];

    snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    assert_int_equal(json_dump_file(o, path, 0), 0);
    json_decref(o);
}

static void variables(void **state)
{
    (void)state;
    write_template("{{ bos_token }}{{ a }},{{ b }},{{ c is string }}{{ strftime_now('%d %b %Y') }}");
    DONE(HELLO, "template", folder, "--var", "a=3", "--var", "b=plain text", "--var", "c=\"3\"", "--date",
         "2025-07-10T12:00:00");
    assert_string_equal(last.out, "<s>3,plain text,True10 Jul 2025");
    write_template("{{ raise_exception('no such role') }}");
    FAILED(HELLO, "no such role", "template", folder);
    write_template("{% for x in %}");
    FAILED(HELLO, folder, "template", folder);
}

/* Each sweep of a run with its time: the prompt by chunks, then one position a token. */
static void sweeps_are_told(void **state)
{
    static const json_int_t want[] = {4, 3, 1, 1};
    json_t *o, *list, *one;
    size_t i;

    (void)state;
    DONE(NULL, "run", DEMO, "-p", "Once upon a time", "-n", "3", "--temperature", "0", "--chunk", "4", "--json");
    o = json_loads(last.out, 0, NULL);
    assert_non_null(o);
    list = json_object_get(o, "sweeps");
    assert_int_equal(json_array_size(list), sizeof want / sizeof *want);
    json_array_foreach(list, i, one)
    {
        assert_int_equal(json_integer_value(json_object_get(one, "positions")), want[i]);
        assert_true(json_real_value(json_object_get(one, "seconds")) > 0);
    }
    json_decref(o);
}

/* The seed of the summary, as it is written there. */
static void told_seed(char *out, size_t room)
{
    const char *at = strstr(last.out, "\"seed\": ");

    assert_non_null(at);
    at += strlen("\"seed\": ");
    snprintf(out, room, "%.*s", (int)strspn(at, "-0123456789"), at);
}

/* What is printed is what --seed takes, and gives the same text again. */
static void seeds_come_back(void **state)
{
    static const char *const given[] = {"0", "9223372036854775807", "9223372036854775808", "18446744073709551615"};
    char seed[32], again[32];
    json_t *o, *p;

    (void)state;
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        DONE(NULL, "run", DEMO, "-p", "Once", "-n", "1", "--temperature", "1", "--json", "--seed", given[i]);
        told_seed(seed, sizeof seed);
        assert_string_equal(seed, given[i]);
    }
    for (int i = 0; i < 4; i++) { /* half of all numbers of 64 bits would be negative with a sign */
        DONE(NULL, "run", DEMO, "-p", "Once", "-n", "8", "--temperature", "1.5", "--json");
        told_seed(seed, sizeof seed);
        assert_int_equal(strspn(seed, "0123456789"), strlen(seed));
        o = json_loads(last.out, 0, NULL);
        assert_non_null(o);
        assert_true(json_integer_value(json_object_get(o, "seed")) < INT64_C(1)
                                                                         << 53); /* kept by readers with doubles */
        DONE(NULL, "run", DEMO, "-p", "Once", "-n", "8", "--temperature", "1.5", "--json", "--seed", seed);
        told_seed(again, sizeof again);
        assert_string_equal(again, seed);
        p = json_loads(last.out, 0, NULL);
        assert_string_equal(json_string_value(json_object_get(p, "text")),
                            json_string_value(json_object_get(o, "text")));
        json_decref(o);
        json_decref(p);
    }
}

static char *read_bytes(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "re");
    char *data = NULL;

    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *bytes = (size_t)ftell(f);
    rewind(f);
    data = malloc(*bytes + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *bytes, f), *bytes);
    fclose(f);
    return data;
}

/* Rows of --positions come in the order asked for, as often as asked for. */
static void positions_as_asked(void **state)
{
    static const char *const asked[] = {"3 0 0 2", "1", "0 1 2 3", "3 3", "3 2 1 0 3"};
    char all_path[200], path[200];
    size_t bytes, row, got;
    char *all, *some;

    (void)state;
    snprintf(all_path, sizeof all_path, "%s/all", folder);
    snprintf(path, sizeof path, "%s/some", folder);
    DONE(NULL, "logits", DEMO, "--tokens", "5 6 7 8", "--out", all_path);
    all = read_bytes(all_path, &bytes);
    row = bytes / 4;
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        size_t n = (strlen(asked[i]) + 1) / 2;

        DONE(NULL, "logits", DEMO, "--tokens", "5 6 7 8", "--positions", asked[i], "--out", path);
        some = read_bytes(path, &got);
        assert_int_equal(got, n * row);
        for (size_t k = 0; k < n; k++)
            assert_memory_equal(some + k * row, all + (size_t)(asked[i][2 * k] - '0') * row, row);
        free(some);
    }
    DONE(NULL, "logits", DEMO, "--tokens", "5 6 7 8", "--positions", "0 3", "--out", "/dev/stdout"); /* a pipe */
    assert_int_equal(last.out_bytes, 2 * row);
    assert_memory_equal(last.out + row, all + 3 * row, row);
    FAILED(NULL, "give --positions rising", "logits", DEMO, "--tokens", "5 6 7 8", "--positions", "3 0", "--out",
           "/dev/stdout");
    FAILED(NULL, "--positions 4: there are 4 tokens", "logits", DEMO, "--tokens", "5 6 7 8", "--positions", "0 4",
           "--out", path);
    free(all);
    unlink(all_path);
    unlink(path);
}

static int free_last(void **state)
{
    (void)state;
    process_result_free(&last);
    return 0;
}

/* A prompt that takes all of the context leaves no room for an answer: said, with a context that is enough. Where no answer
 * is wanted it fits. */
static void prompt_fills_the_context(void **state)
{
    static const struct {
        const char *context, *tokens;
        int status;
        const char *says;
    } each[] = {{"7", "1", 1, "the prompt has 8 tokens, the context 7: shorten it, or give --context 9"},
                {"8", "1", 1, "the context 8, so that no room is left for an answer: shorten it, or give --context 9"},
                {"8", "0", 0, ""},
                {"9", "1", 0, ""}};

    (void)state;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        struct process_result r =
            process_run("sluice",
                        (const char *const[]){"run", "tests/data/demo-model", "-p", "Once upon a time there", "-n",
                                              each[i].tokens, "--context", each[i].context, NULL},
                        NULL, 0, 30);

        if (r.status != each[i].status || !strstr(r.err, each[i].says))
            fail_msg("--context %s: exit %d: %s", each[i].context, r.status, r.err);
        process_result_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompt_fills_the_context),
        cmocka_unit_test(told_on_stdout),
        cmocka_unit_test(wrong_usage),
        cmocka_unit_test(no_such_model),
        cmocka_unit_test(no_control_characters),
        cmocka_unit_test(full_output),
        cmocka_unit_test(tokenize),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(special_tokens),
        cmocka_unit_test(text_that_is_none),
        cmocka_unit_test(template),
        cmocka_unit_test(template_that_fails),
        cmocka_unit_test(sweeps_are_told),
        cmocka_unit_test_setup_teardown(variables, make_folder, remove_folder),
        cmocka_unit_test(seeds_come_back),
        cmocka_unit_test_setup_teardown(positions_as_asked, make_folder, remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, free_last);
}
