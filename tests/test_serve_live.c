/* sluice serve for its page: the three files and nothing else, the pipeline as events, and streams that outlive their client. */
#include <jansson.h>
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

static struct server server;

static int open_server(void **state)
{
    (void)state;
    server = server_start(NULL);
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    return server_stop(&server, SIGTERM);
}

static void the_page_is_three_files(void **state)
{
    static const struct {
        const char *path, *type, *has;
    } files[] = {{"/", "text/html", "<!doctype html>"},
                 {"/page.js", "text/javascript", "'use strict'"},
                 {"/page.css", "text/css", "prefers-color-scheme"}};
    static const char *const others[] = {"/page.html", "/page.c", "/page", "/index.html", "/../Makefile", "/page.js/x"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct reply r = client_get(&server, files[i].path);

        assert_int_equal(r.status, 200);
        assert_non_null(strstr(r.head, files[i].type));
        assert_non_null(strstr(r.head, "Content-Security-Policy: default-src 'self'"));
        assert_non_null(strstr(r.body, files[i].has));
        assert_null(strstr(r.body, "innerHTML"));
        for (const char *at = r.body; (at = strstr(at, "http")) && i != 1; at++)
            fail_msg("%s names a place", files[i].path);
        reply_free(&r);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct reply r = client_get(&server, others[i]);

        assert_int_equal(r.status, 404);
        reply_free(&r);
    }
}

/* So many events of a stream that does not end; the last one. */
static json_t *events(const char *path, int n)
{
    char request[256], text[65536] = "";
    size_t have = 0;
    int fd = client_connect(&server), seen = 0;
    const char *at = NULL;
    json_t *o;

    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    client_send(fd, request, strlen(request));
    while (seen < n) {
        ssize_t got = recv(fd, text + have, sizeof text - 1 - have, 0);

        assert_true(got > 0);
        have += (size_t)got;
        text[have] = 0;
        seen = 0;
        for (const char *p = text; (p = strstr(p, "data: ")); p += 6) {
            if (!strstr(p, "\n\n")) break;
            at = p + 6;
            seen++;
        }
    }
    close(fd);
    *strstr(at, "\n\n") = 0;
    o = json_loads(at, 0, NULL);
    assert_non_null(o);
    return o;
}

static void events_tell_of_the_pipeline(void **state)
{
    static const char *const numbers[] = {"seconds", "running",       "waiting",   "sweep",
                                          "layer",   "layers",        "positions", "max_positions",
                                          "elapsed", "sweep_seconds", "predicted"};
    struct reply r = client_post(&server, "/v1/completions", "{\"prompt\":\"Once\",\"max_tokens\":3}");
    json_t *o, *x;
    size_t i;

    (void)state;
    assert_int_equal(r.status, 200);
    reply_free(&r);
    o = events("/events", 2);
    for (i = 0; i < sizeof numbers / sizeof *numbers; i++) assert_true(json_is_number(json_object_get(o, numbers[i])));
    assert_int_equal(json_array_size(json_object_get(o, "stages")), 3);
    assert_int_equal(json_array_size(json_object_get(o, "rings")), 2);
    json_array_foreach(json_object_get(o, "stages"), i, x) assert_true(json_is_number(json_object_get(x, "busy")));
    json_array_foreach(json_object_get(o, "rings"), i, x)
        assert_true(json_integer_value(json_object_get(x, "depth")) > 0);
    assert_true(json_integer_value(json_object_get(json_array_get(json_object_get(o, "stages"), 2), "ceiling")) > 0);
    assert_true(json_array_size(json_object_get(o, "slots")) > 0);
    json_decref(o);
}

/* Those who look are bounded, and whoever leaves makes room. */
static void watchers_are_bounded(void **state)
{
    static const char request[] = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int fd[32];
    struct reply r;

    (void)state;
    for (int i = 0; i < 32; i++) {
        char byte;

        fd[i] = client_connect(&server);
        client_send(fd[i], request, sizeof request - 1);
        assert_int_equal(recv(fd[i], &byte, 1, 0), 1);
    }
    for (int tries = 0; tries < 50; tries++) { /* one of the test before may still be leaving */
        r = client_get(&server, "/events");
        if (r.status == 503) break;
        reply_free(&r);
    }
    assert_int_equal(r.status, 503);
    assert_non_null(strstr(r.head, "Retry-After"));
    reply_free(&r);
    for (int i = 0; i < 32; i++) close(fd[i]);
    for (int tries = 0; tries < 100; tries++) {
        char byte;
        int one = client_connect(&server);
        char head[16] = "";

        client_send(one, request, sizeof request - 1);
        for (size_t n = 0; n < 12 && recv(one, &byte, 1, 0) == 1; n++) head[n] = byte;
        close(one);
        if (!strcmp(head, "HTTP/1.1 200")) return;
        usleep(50000);
    }
    fail_msg("the places of those who left are not free");
}

#define LONG                                                                                                           \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"Tell me a "                                                       \
    "story.\"}],\"stream\":true,\"temperature\":0,\"ignore_eos\":true,\"max_tokens\":%d}"

static struct reply ask_as(const char *name, int tokens)
{
    char header[128], body[512];

    snprintf(header, sizeof header, "X-Conversation-Id: %s\r\n", name);
    snprintf(body, sizeof body, LONG, tokens);
    return client_ask(&server, "POST", "/v1/chat/completions", header, body, strlen(body));
}

static struct reply again(const char *name, const char *from)
{
    char path[160];

    snprintf(path, sizeof path, "/v1/stream?conv_id=%s%s%s", name, from ? "&from=" : "", from ? from : "");
    return client_get(&server, path);
}

static const char *behind(const char *body, int events)
{
    while (events-- > 0) body = strstr(body, "\n\n") + 2;
    return body;
}

static void a_stream_is_read_again(void **state)
{
    struct reply first = ask_as("c-1", 40), r;

    (void)state;
    assert_int_equal(first.status, 200);
    assert_non_null(strstr(first.head, "X-Request-Id: chatcmpl-"));
    r = again("c-1", NULL);
    assert_string_equal(r.body, first.body);
    reply_free(&r);
    r = again("c-1", "3");
    assert_string_equal(r.body, behind(first.body, 3));
    reply_free(&r);
    r = again("c-1", "1000000");
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "");
    reply_free(&r);
    r = ask_as("c-1", 5); /* the newest one is meant */
    assert_true(r.bytes < first.bytes);
    reply_free(&first);
    first = again("c-1", "0");
    assert_string_equal(first.body, r.body);
    reply_free(&first);
    reply_free(&r);
}

/* Whole answers too. */
static void a_whole_answer_is_read_again(void **state)
{
    static const char body[] = "{\"prompt\":\"Once upon a time\",\"max_tokens\":20,\"temperature\":0}";
    struct reply r =
        client_ask(&server, "POST", "/v1/completions", "X-Conversation-Id: whole\r\n", body, sizeof body - 1);
    struct reply other = again("whole", NULL);

    (void)state;
    assert_int_equal(r.status, 200);
    assert_int_equal(other.status, 200);
    assert_string_equal(r.body, other.body);
    reply_free(&r);
    reply_free(&other);
}

static void what_is_no_stream_is_refused(void **state)
{
    static const struct {
        const char *name, *from;
        int status;
    } cases[] = {{"never", NULL, 404}, {"", NULL, 400}, {"a%2Fb", NULL, 400}, {"c-1", "x", 400}, {"c-1", "-1", 400}};
    struct reply r;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        r = again(cases[i].name, cases[i].from);
        if (r.status != cases[i].status) fail_msg("%s: %d", cases[i].name, r.status);
        reply_free(&r);
    }
    r = ask_as("no/name", 3);
    assert_int_equal(r.status, 400);
    reply_free(&r);
    /* another key's is none */
    r = client_ask(&server, "GET", "/v1/stream?conv_id=c-1", "Authorization: Bearer x\r\n", "", 0);
    assert_int_equal(r.status, 404);
    reply_free(&r);
    r = client_ask(&server, "GET", "/v1/stream?conv_id=c-1", "x-api-key: x\r\n", "", 0);
    assert_int_equal(r.status, 404);
    reply_free(&r);
}

/* The client goes at once; the answer is there all the same, and is the one that it would have been. */
static void an_answer_outlives_its_client(void **state)
{
    char body[512], request[1024];
    struct reply r, alone;
    const char *finish;
    char *text, *want;
    int fd = client_connect(&server);

    (void)state;
    snprintf(body, sizeof body, LONG, 300);
    snprintf(request, sizeof request,
             "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Conversation-Id: gone\r\nContent-Length: "
             "%zu\r\n\r\n%s",
             strlen(body), body);
    client_send(fd, request, strlen(request));
    recv(fd, request, 15, MSG_WAITALL);
    close(fd);
    r = again("gone", "0");
    assert_int_equal(r.status, 200);
    text = stream_text(&r, 0, &finish);
    assert_string_equal(finish, "length");
    alone = ask_as("alone", 300);
    want = stream_text(&alone, 0, &finish);
    assert_string_equal(text, want);
    free(text);
    free(want);
    reply_free(&r);
    reply_free(&alone);
}

static void an_answer_can_be_stopped(void **state)
{
    char body[512], request[1024];
    struct reply r;
    json_t *o;
    bool stopped;
    int fd = client_connect(&server);

    (void)state;
    snprintf(body, sizeof body, LONG, 900);
    snprintf(request, sizeof request,
             "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX-Conversation-Id: stop\r\nContent-Length: "
             "%zu\r\n\r\n%s",
             strlen(body), body);
    client_send(fd, request, strlen(request));
    recv(fd, request, 15, MSG_WAITALL);
    r = client_ask(&server, "DELETE", "/v1/stream?conv_id=stop", "", "", 0);
    o = reply_json(&r);
    stopped = json_is_true(json_object_get(o, "stopped"));
    json_decref(o);
    reply_free(&r);
    close(fd);
    r = again("stop", "0");
    assert_int_equal(r.status, 200);
    /* it was in time, or the answer was done already */
    assert_true(stopped ? strstr(r.body, "\"client_gone\"") != NULL : strstr(r.body, "[DONE]") != NULL);
    reply_free(&r);
    r = client_ask(&server, "DELETE", "/v1/stream?conv_id=stop", "", "", 0);
    assert_non_null(strstr(r.body, "\"stopped\":false"));
    reply_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_is_three_files),       cmocka_unit_test(events_tell_of_the_pipeline),
        cmocka_unit_test(watchers_are_bounded),          cmocka_unit_test(a_stream_is_read_again),
        cmocka_unit_test(a_whole_answer_is_read_again),  cmocka_unit_test(what_is_no_stream_is_refused),
        cmocka_unit_test(an_answer_outlives_its_client), cmocka_unit_test(an_answer_can_be_stopped),
    };

    return cmocka_run_group_tests(tests, open_server, close_server);
}
