/* sluice batch: every request has one result, whatever ends it in between, and each is what it would be alone. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/serve/batch_lines.h"
#include "tests/support_model.h"
#include "tests/support_serve.h"
#include "tests/support_victims.h"

#define STORY "Once upon a time"

static char *folder;
static char in[256], out[256];

static int open_folder(void **state)
{
    (void)state;
    folder = scratch_make();
    snprintf(in, sizeof in, "%s", scratch_path(folder, "in.jsonl"));
    snprintf(out, sizeof out, "%s", scratch_path(folder, "out.jsonl"));
    return 0;
}

static int close_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static const char *const *arguments(const char *const *more)
{
    static const char *arg[24];
    int n = 0;

    memset(arg, 0, sizeof arg);
    for (const char *const *x = (const char *const[]){"batch", SERVE_DEMO, "-f", in, "--out", out, "--threads", "1",
                                                      "--host-memory", "1G", NULL};
         *x; x++)
        arg[n++] = *x;
    for (; more && *more; more++) arg[n++] = *more;
    return arg;
}

/* Runs it; checks the status, and that the messages hold this. */
static void run(int status, const char *says, const char *const *more)
{
    struct process_result r = process_run("sluice", arguments(more), NULL, 0, 30);

    if (r.status != status || (says && !strstr(r.err, says))) fail_msg("%d: %s", r.status, r.err);
    assert_int_equal(r.out_bytes, 0);
    process_result_free(&r);
}

/* n requests; each third one a chat. */
static void write_requests(int n, int tokens)
{
    FILE *f = fopen(in, "w");

    for (int i = 0; i < n; i++)
        if (i % 3 == 2)
            fprintf(
                f,
                "{\"custom_id\":\"r%d\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"messages\":"
                "[{\"role\":\"user\",\"content\":\"Please tell me about Karl and the bell.\"}],\"max_tokens\":%d,"
                "\"seed\":%d,\"ignore_eos\":true}}\r\n",
                i, tokens, i);
        else
            fprintf(
                f,
                "{\"custom_id\":\"r%d\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"" STORY
                "\",\"max_tokens\":%d,\"seed\":%d,\"temperature\":1,\"ignore_eos\":true}}\n",
                i, tokens, i);
    fclose(f);
}

/* The results by their custom_id; those without one by their id. Each is there once. */
static json_t *results(void)
{
    json_t *all = json_object(), *o;
    char *line = NULL;
    size_t room = 0;
    FILE *f = fopen(out, "r");
    ssize_t n;

    assert_non_null(f);
    while ((n = getline(&line, &room, f)) > 0) {
        const char *id;

        assert_int_equal(line[n - 1], '\n');
        assert_non_null(o = json_loadb(line, (size_t)n, 0, NULL));
        id = json_string_value(json_object_get(o, "custom_id"));
        if (!id) id = json_string_value(json_object_get(o, "id"));
        assert_null(json_object_get(all, id));
        json_object_set_new(all, id, o);
    }
    free(line);
    fclose(f);
    return all;
}

static json_t *body_of(const json_t *all, const char *id, int status)
{
    json_t *r = json_object_get(json_object_get(all, id), "response");

    assert_int_equal(json_integer_value(json_object_get(r, "status_code")), status);
    assert_true(json_is_null(json_object_get(json_object_get(all, id), "error")));
    return json_object_get(r, "body");
}

static const char *text_of(const json_t *all, const char *id)
{
    json_t *c = json_array_get(json_object_get(body_of(all, id, 200), "choices"), 0);
    json_t *m = json_object_get(c, "message");

    return json_string_value(m ? json_object_get(m, "content") : json_object_get(c, "text"));
}

static void answers_are_those_of_run(void **state)
{
    json_t *all;
    char *want;

    (void)state;
    write_requests(90, 20);
    run(0, "90/90 answered", NULL);
    all = results();
    assert_int_equal(json_object_size(all), 90);
    for (int i = 0; i < 90; i += 22) {
        char id[8], seed[8];

        snprintf(id, sizeof id, "r%d", i);
        snprintf(seed, sizeof seed, "%d", i);
        want = i % 3 == 2 ? run_text((const char *const[]){"--chat", "-p", "Please tell me about Karl and the bell.",
                                                           "-n", "20", "--seed", seed, "--ignore-eos", NULL})
                          : run_text((const char *const[]){"-p", STORY, "-n", "20", "--temperature", "1", "--seed",
                                                           seed, "--ignore-eos", NULL});
        assert_string_equal(text_of(all, id), want);
        free(want);
    }
    json_decref(all);
    run(1, "is there already: --resume", NULL);
    run(0, "90/90 answered", (const char *const[]){"--resume", NULL});
    all = results();
    assert_int_equal(json_object_size(all), 90);
    json_decref(all);
    unlink(out);
}

static void a_bad_line_is_one_error(void **state)
{
    static const char text[] =
        "garbage\n"
        "{\"custom_id\":\"a\",\"method\":\"GET\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\"}}\n"
        "\n"
        "{\"custom_id\":\"b\",\"method\":\"POST\",\"url\":\"/v1/nothing\",\"body\":{\"prompt\":\"x\"}}\n"
        "{\"custom_id\":\"c\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":[]}\n"
        "{\"custom_id\":\"d\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\",\"n\":0}}\n"
        "{\"custom_id\":\"e\",\"method\":\"POST\",\"url\":\"/v1/"
        "completions\",\"body\":{\"prompt\":\"x\",\"stream\":true}}\n"
        "{\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\"}}\n"
        "{\"custom_id\":\"good\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\","
        "\"max_tokens\":2}}"; /* no newline at its end */
    json_t *all, *x;
    const char *id;

    (void)state;
    scratch_write(folder, "in.jsonl", text);
    run(0, "8/8 answered", NULL);
    all = results();
    assert_int_equal(json_object_size(all), 8);
    assert_non_null(text_of(all, "good"));
    x = json_object_get(body_of(all, "d", 400), "error");
    assert_string_equal(json_string_value(json_object_get(x, "param")), "n");
    json_object_foreach(all, id, x)
    {
        if (!strcmp(id, "good") || !strcmp(id, "d")) continue;
        assert_true(json_is_null(json_object_get(x, "response")));
        assert_int_equal(
            strncmp(json_string_value(json_object_get(json_object_get(x, "error"), "message")), "line ", 5), 0);
    }
    json_decref(all);
    run(0, "8/8 answered", (const char *const[]){"--resume", NULL}); /* they stand */
    all = results();
    assert_int_equal(json_object_size(all), 8);
    json_decref(all);
    unlink(out);
}

static void what_cannot_be_is_refused(void **state)
{
    struct stat st;

    (void)state;
    scratch_write(folder, "in.jsonl", "\n\n");
    run(1, "holds no requests", NULL);
    write_requests(3, 2);
    scratch_write(folder, "more", "");
    {
        FILE *f = fopen(in, "a");

        fprintf(f,
                "{\"custom_id\":\"r1\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\"}}\n");
        fclose(f);
    }
    run(1, "lines 2 and 4 have the same custom_id, r1", NULL);
    assert_int_equal(stat(out, &st), -1); /* before anything is written */
    write_requests(3, 2);
    assert_int_equal(link(in, out), 0);
    run(1, "is read and cannot be written too", (const char *const[]){"--resume", NULL});
    unlink(out);
    scratch_write(folder, "out.jsonl", "{\"a\":1}\n");
    run(1, "line 1 is no result of a batch", (const char *const[]){"--resume", NULL});
    unlink(out);
    mkdir(out, 0755);
    run(1, NULL, NULL);
    rmdir(out);
    /* pipes that nobody reads or writes are not waited for */
    assert_int_equal(mkfifo(out, 0600), 0);
    run(1, "is no regular file", NULL);
    unlink(out);
    unlink(in);
    assert_int_equal(mkfifo(in, 0600), 0);
    run(1, "is no regular file", NULL);
    unlink(in);
    run(2, "no flag of `sluice batch`", (const char *const[]){"--port", "1", NULL});
}

/* Killed, interrupted, torn in the middle of a line: what is missing is answered, and nothing twice. */
static void an_end_is_resumed(void **state)
{
    static const int signals[] = {SIGKILL, SIGINT, SIGTERM, SIGKILL};
    json_t *all;

    (void)state;
    write_requests(300, 60);
    for (size_t i = 0; i < 4; i++) {
        struct process p =
            process_start("sluice", arguments((const char *const[]){"--resume", "--parallel", "8", NULL}));
        struct process_result r;
        struct stat st = {0};
        off_t had = i && !stat(out, &st) ? st.st_size : 0;

        for (int k = 0; k < 1000 && (stat(out, &st) || st.st_size < had + 3000); k++) nap_ms(5);
        kill(p.pid, signals[i]);
        r = process_finish(&p, NULL, 0, 20);
        assert_true(r.status == (signals[i] == SIGKILL ? 137 : 130) || r.status == 0);
        process_result_free(&r);
        if (i == 1 && !stat(out, &st)) assert_int_equal(truncate(out, st.st_size - 77), 0);
    }
    run(0, "300/300 answered", (const char *const[]){"--resume", NULL});
    all = results();
    assert_int_equal(json_object_size(all), 300);
    for (int i = 0; i < 300; i++) {
        char id[8];

        snprintf(id, sizeof id, "r%d", i);
        assert_non_null(text_of(all, id));
    }
    json_decref(all);
    unlink(out);
}

/* What many answers would bring is told before anything starts. */
static void many_answers_are_planned(void **state)
{
    struct process_result r = process_run(
        "sluice", (const char *const[]){"plan", SERVE_DEMO, "--parallel", "32", "--json", "--host-memory", "1G", NULL},
        NULL, 0, 20);
    json_t *o = json_loadb(r.out, r.out_bytes, 0, NULL), *x = json_object_get(o, "parallel");
    double seconds = json_number_value(json_object_get(x, "seconds_per_sweep"));

    (void)state;
    assert_int_equal(r.status, 0);
    assert_int_equal(json_integer_value(json_object_get(x, "answers")), 32);
    assert_true(seconds >= json_number_value(json_object_get(o, "predicted_seconds_per_token")) * 0.9);
    assert_true(json_number_value(json_object_get(x, "tokens_per_second")) * seconds > 31.9);
    json_decref(o);
    process_result_free(&r);
}

/* The room of the longest request is known before anything starts: ids as they are, texts by their bytes, answers by their
 * limit or what is usual. */
static void the_longest_request_is_known(void **state)
{
    static const struct {
        const char *body;
        uint64_t least, most;
    } cases[] = {
        {"{\"prompt\":[1,2,3],\"max_tokens\":40}", 43, 200},
        {"{\"prompt\":\"abcdefgh\"}", 500, 600},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"abcdefghijklmnopqrstuvwxyz\"}],\"max_completion_tokens\":9}",
         20, 200},
        {"{\"prompt\":7,\"max_tokens\":\"x\"}", 500, 600},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FILE *f = fopen(in, "w");
        struct batch_extent x;
        struct error e = {0};

        assert_non_null(f);
        for (int k = 0; k < 2; k++)
            fprintf(f, "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":%s}\n", k,
                    k ? cases[i].body : "{\"prompt\":[1],\"max_tokens\":1}");
        fclose(f);
        assert_int_equal(batch_input_check(&x, in, 500, &e), 0);
        assert_int_equal(x.requests, 2);
        assert_in_range(x.tokens, cases[i].least, cases[i].most);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_request_is_known),
        cmocka_unit_test(answers_are_those_of_run),
        cmocka_unit_test(a_bad_line_is_one_error),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(an_end_is_resumed),
        cmocka_unit_test(many_answers_are_planned),
    };

    return cmocka_run_group_tests(tests, open_folder, close_folder);
}
