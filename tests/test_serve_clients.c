/* sluice serve and many clients: those that go, stages that die under them, and its end. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_serve.h"
#include "tests/support_victims.h"

#define STORY "Once upon a time"

/* Until the metric has this value, 10 s at most. */
static void wait_for(const struct server *s, const char *name, double value)
{
    double got = -1;

    for (int i = 0; i < 500 && (got = server_metric(s, name)) != value; i++) nap_ms(20);
    if (got != value) fail_msg("%s%g instead of %g", name, got, value);
}

/* A request that is sent; its connection. */
static int send_post(const struct server *s, const char *body)
{
    int fd = client_connect(s), n;
    char head[256];

    n = snprintf(head, sizeof head, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
                 strlen(body));
    client_send(fd, head, (size_t)n);
    client_send(fd, body, strlen(body));
    return fd;
}

/* ---- company ---- */

struct client {
    const struct server *server;
    int number;
    char *text;
};

static void *ask_one(void *arg)
{
    struct client *c = arg;
    char body[256];
    const char *finish;
    struct reply r;

    snprintf(body, sizeof body,
             "{\"prompt\":\"" STORY "\",\"max_tokens\":30,\"temperature\":1,\"seed\":%d,\"stream\":%s}", c->number / 2,
             c->number % 2 ? "true" : "false");
    r = client_post(c->server, "/v1/completions", body);
    assert_int_equal(r.status, 200);
    if (c->number % 2) {
        c->text = stream_text(&r, 0, &finish);
    } else {
        json_t *o = reply_json(&r);

        c->text = strdup(json_string_value(json_object_get(json_array_get(json_object_get(o, "choices"), 0), "text")));
        json_decref(o);
    }
    reply_free(&r);
    return NULL;
}

static void texts_do_not_depend_on_company(void **state)
{
    struct server s = server_start((const char *const[]){"--parallel", "9", NULL});
    struct client c[64];
    pthread_t thread[64];

    (void)state;
    for (int i = 0; i < 64; i++) {
        c[i] = (struct client){&s, i, NULL};
        assert_int_equal(pthread_create(&thread[i], NULL, ask_one, &c[i]), 0);
    }
    for (int i = 0; i < 64; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 64; i += 16) { /* alone */
        struct client alone = {&s, i, NULL};

        ask_one(&alone);
        assert_string_equal(alone.text, c[i].text);
        free(alone.text);
    }
    for (int i = 0; i < 64; i += 2) assert_string_equal(c[i].text, c[i + 1].text);
    for (int i = 0; i < 64; i++) free(c[i].text);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

/* ---- clients that go ---- */

/* A request of many long answers, which takes a while; its connection. */
static int begin_long(const struct server *s, const char *more)
{
    char body[512];

    snprintf(body, sizeof body,
             "{\"prompt\":\"" STORY "\",\"max_tokens\":900,\"ignore_eos\":true,\"n\":64,\"logprobs\":20%s}", more);
    return send_post(s, body);
}

static void who_hangs_up_leaves(void **state)
{
    struct server s = server_start((const char *const[]){"--parallel", "64", NULL});
    int a, b;

    (void)state;
    a = begin_long(&s, ",\"stream\":true");
    wait_for(&s, "sluice:num_requests_running ", 64);
    b = begin_long(&s, ""); /* waits: all sequences are taken */
    wait_for(&s, "sluice:num_requests_waiting ", 64);
    close(b);
    wait_for(&s, "sluice:num_requests_waiting ", 0);
    assert_true(server_metric(&s, "sluice:num_requests_running ") == 64);
    close(a);
    wait_for(&s, "sluice:num_requests_running ", 0);
    assert_true(server_metric(&s, "sluice:request_success_total{finished_reason=\"abort\"} ") >= 1);
    a = begin_long(&s, ""); /* a whole answer */
    wait_for(&s, "sluice:num_requests_running ", 64);
    close(a);
    wait_for(&s, "sluice:num_requests_running ", 0);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

static void a_queue_is_bounded_and_a_retry_attaches(void **state)
{
    struct server s =
        server_start((const char *const[]){"--parallel", "2", "--queue", "1", "--heartbeat", "0.1", NULL});
    static const char body[] = "{\"prompt\":\"" STORY "\",\"max_tokens\":3,\"temperature\":0,\"stream\":true}";
    int a, b;
    char seen[4096] = "";
    struct reply r;
    json_t *o;
    ssize_t got;

    (void)state;
    a = begin_long(&s, ",\"stream\":true"); /* 64 answers, two at a time */
    wait_for(&s, "sluice:num_requests_running ", 2);
    b = send_post(&s, body);
    for (size_t have = 0; !strstr(seen, ": queued "); have += (size_t)got) {
        got = recv(b, seen + have, sizeof seen - have - 1, 0);
        assert_true(got > 0);
        seen[have + (size_t)got] = 0;
    }
    assert_non_null(strstr(seen, "HTTP/1.1 200 OK"));
    /* one waits already */
    r = client_post(&s, "/v1/completions", "{\"prompt\":\"x\"}");
    assert_int_equal(r.status, 429);
    assert_non_null(strstr(r.head, "Retry-After: "));
    assert_null(strstr(r.head, "x-should-retry"));
    o = reply_json(&r);
    json_decref(o);
    reply_free(&r);
    /* its client goes, and comes again */
    close(b);
    nap_ms(1200);
    b = send_post(&s, body);
    nap_ms(100);
    close(a);
    r = client_read(b);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "data: [DONE]"));
    reply_free(&r);
    close(b);
    assert_true(server_metric(&s, "sluice:requests_total ") == 2); /* not three */
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

/* ---- waiting ---- */

static void silence_is_broken(void **state)
{
    struct server s = server_start((const char *const[]){"--parallel", "1", "--heartbeat", "0.1", NULL});
    int a = begin_long(&s, ",\"stream\":true"), b;
    struct reply r;
    json_t *o;

    (void)state;
    wait_for(&s, "sluice:num_requests_running ", 1);
    b = send_post(&s, "{\"prompt\":\"" STORY "\",\"max_tokens\":3}");
    nap_ms(1500);
    close(a);
    r = client_read(b);
    close(b);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "Transfer-Encoding: chunked"));
    assert_int_equal(strncmp(r.body, "\n\n", 2), 0);
    o = reply_json(&r);
    assert_int_equal(json_array_size(json_object_get(o, "choices")), 1);
    json_decref(o);
    reply_free(&r);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

static void time_is_limited_and_progress_told(void **state)
{
    struct server s = server_start((const char *const[]){"--chunk", "32", NULL});
    char body[2048] = "{\"return_progress\":true,\"stream\":true,\"max_tokens\":2,\"prompt\":[0";
    struct reply r;
    const char *finish;
    json_t *o;

    (void)state;
    r = client_post(&s, "/v1/completions",
                    "{\"prompt\":\"" STORY "\",\"max_tokens\":900,\"ignore_eos\":true,\"n\":64,\"logprobs\":20,"
                    "\"timeout_s\":0.3}");
    assert_int_equal(r.status, 200);
    o = reply_json(&r);
    assert_true(json_integer_value(json_object_get(json_object_get(o, "usage"), "completion_tokens")) < 64 * 900);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(o, "choices"), 9), "finish_reason")),
        "length");
    json_decref(o);
    reply_free(&r);
    for (int i = 1; i < 200; i++) sprintf(body + strlen(body), ",%d", 10 + i % 90);
    strcat(body, "]}");
    r = client_post(&s, "/v1/completions", body);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "\"prompt_progress\":{\"total\":200,\"cache\":0,\"processed\":32,"));
    assert_non_null(strstr(r.body, "\"processed\":192,"));
    free(stream_text(&r, 0, &finish));
    reply_free(&r);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

/* ---- stages that die ---- */

static void a_killed_stage_changes_no_text(void **state)
{
    char *want = run_text(
        (const char *const[]){"-p", STORY, "-n", "900", "--temperature", "1", "--seed", "11", "--ignore-eos", NULL});
    struct server s = server_start(NULL);
    const char *finish;
    static const char body[] = "{\"prompt\":\"" STORY "\",\"max_tokens\":900,\"temperature\":1,\"seed\":11,"
                               "\"ignore_eos\":true,\"stream\":true}";
    int fd = send_post(&s, body);
    struct reply r;
    char *text;

    (void)state;
    nap_ms(60);
    kill(victim_find(s.process.pid, 2), SIGKILL);
    r = client_read(fd);
    close(fd);
    assert_int_equal(r.status, 200);
    text = stream_text(&r, 0, &finish);
    assert_string_equal(text, want);
    free(text);
    free(want);
    reply_free(&r);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

/* ---- its beginning ---- */

static void an_address_that_is_taken_is_told(void **state)
{
    struct server s = server_start(NULL);
    char port[8];
    struct process_result r;

    (void)state;
    snprintf(port, sizeof port, "%d", s.port);
    r = process_run("sluice", (const char *const[]){"serve", SERVE_DEMO, "--port", port, NULL}, NULL, 0, 10);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "--port N takes another"));
    process_result_free(&r);
    r = process_run("sluice", (const char *const[]){"serve", SERVE_DEMO, "--host", "nowhere.invalid", NULL}, NULL, 0,
                    20);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "--host nowhere.invalid: "));
    process_result_free(&r);
    assert_int_equal(server_stop(&s, SIGINT), 0);
}

/* Told to end at any moment from its start on, it ends. */
static void it_ends_before_it_has_begun(void **state)
{
    (void)state;
    for (int ms = 0; ms < 120; ms += 9) {
        struct process p = process_start("sluice", (const char *const[]){"serve", SERVE_DEMO, "--port", "0", NULL});
        struct process_result r;

        nap_ms(ms);
        kill(p.pid, ms % 2 ? SIGINT : SIGTERM);
        r = process_finish(&p, NULL, 0, 10);
        if (r.status && r.status != 130 && r.status != 128 + SIGTERM && r.status != 128 + SIGINT)
            fail_msg("after %d ms: %d: %s", ms, r.status, r.err);
        process_result_free(&r);
    }
}

/* ---- its end ---- */

static void what_runs_may_end(void **state)
{
    struct server s = server_start((const char *const[]){"--drain", "15", NULL});
    static const char body[] = "{\"prompt\":\"" STORY "\",\"max_tokens\":900,\"temperature\":1,\"seed\":11,"
                               "\"ignore_eos\":true,\"stream\":true,\"n\":8}";
    int fd = send_post(&s, body);
    struct reply r, late;
    const char *finish;

    (void)state;
    wait_for(&s, "sluice:num_requests_running ", 8);
    kill(s.process.pid, SIGTERM);
    nap_ms(100);
    late = client_post(&s, "/v1/completions", "{\"prompt\":\"x\"}");
    assert_int_equal(late.status, 503);
    reply_free(&late);
    r = client_read(fd);
    close(fd);
    assert_int_equal(r.status, 200);
    for (int i = 0; i < 8; i++) free(stream_text(&r, i, &finish));
    reply_free(&r);
    assert_int_equal(server_stop(&s, 0), 0);
}

static void what_runs_too_long_is_told(void **state)
{
    struct server s = server_start((const char *const[]){"--drain", "0", NULL});
    int a = begin_long(&s, ",\"stream\":true"), b;
    struct reply r;
    json_t *o;

    (void)state;
    wait_for(&s, "sluice:num_requests_running ", 64);
    b = begin_long(&s, "");
    wait_for(&s, "sluice:num_requests_waiting ", 64);
    kill(s.process.pid, SIGTERM);
    r = client_read(a);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "data: {\"error\":{\"message\":"));
    assert_null(strstr(r.body, "[DONE]"));
    reply_free(&r);
    r = client_read(b);
    assert_int_equal(r.status, 503);
    o = reply_json(&r);
    json_decref(o);
    reply_free(&r);
    close(a);
    close(b);
    server_stop(&s, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_do_not_depend_on_company),
        cmocka_unit_test(who_hangs_up_leaves),
        cmocka_unit_test(a_queue_is_bounded_and_a_retry_attaches),
        cmocka_unit_test(silence_is_broken),
        cmocka_unit_test(time_is_limited_and_progress_told),
        cmocka_unit_test(a_killed_stage_changes_no_text),
        cmocka_unit_test(an_address_that_is_taken_is_told),
        cmocka_unit_test(it_ends_before_it_has_begun),
        cmocka_unit_test(what_runs_may_end),
        cmocka_unit_test(what_runs_too_long_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
