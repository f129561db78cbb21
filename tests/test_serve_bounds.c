/* sluice serve and those who use it badly: wrong keys and origins, bodies too long or too deep, half requests, clients that
 * vanish. */
#include <dirent.h>
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

#include "tests/support_model.h"
#include "tests/support_serve.h"
#include "tests/support_usage.h"
#include "tests/support_victims.h"

/* Until the metric has this value, 40 s at most: a slow request may take 30. */
static void wait_for(const struct server *s, const char *name, double value)
{
    double got = -1;

    for (int i = 0; i < 2000 && (got = server_metric(s, name)) != value; i++) nap_ms(20);
    if (got != value) fail_msg("%s%g instead of %g", name, got, value);
}

static void send_text(int fd, const char *text)
{
    client_send(fd, text, strlen(text));
}

/* ---- who may ask, and what ---- */

static int status_of(const struct server *s, const char *method, const char *path, const char *headers)
{
    struct reply r = client_ask(s, method, path, headers, "", 0);
    int status = r.status;

    if (status >= 400) json_decref(reply_json(&r));
    reply_free(&r);
    return status;
}

static void keys_hosts_and_origins(void **state)
{
    char *folder = scratch_make(), *file = strdup(scratch_path(folder, "keys"));
    struct server s;
    int fd;
    struct reply r;

    (void)state;
    scratch_write(folder, "keys", "# a comment\nfirst-key \n\nsecond\n");
    s = server_start((const char *const[]){"--api-key-file", file, "--api-key", "third", NULL});
    assert_int_equal(status_of(&s, "GET", "/v1/models", ""), 401);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Authorization: Bearer first\r\n"), 401);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Authorization: Bearer first-key-\r\n"), 401);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Authorization: Bearer \r\n"), 401);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Authorization: Bearer # a comment\r\n"), 401);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Authorization: Bearer first-key\r\n"), 200);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Authorization: bearer second\r\n"), 200);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "x-api-key: third\r\n"), 200);
    assert_int_equal(status_of(&s, "GET", "/health", ""), 200);
    assert_int_equal(status_of(&s, "GET", "/health", "Origin: http://localhost:3000\r\n"), 200);
    assert_int_equal(status_of(&s, "GET", "/health", "Origin: https://127.0.0.1\r\n"), 200);
    assert_int_equal(status_of(&s, "GET", "/health", "Origin: http://localhost.evil.org\r\n"), 403);
    assert_int_equal(status_of(&s, "GET", "/health", "Origin: http://evil.org\r\n"), 403);
    assert_int_equal(status_of(&s, "GET", "/health", "Origin: null\r\n"), 403);
    assert_int_equal(status_of(&s, "OPTIONS", "/v1/models", "Origin: http://localhost:3000\r\n"), 204);
    assert_int_equal(status_of(&s, "GET", "/../../etc/passwd", "x-api-key: third\r\n"), 404);
    fd = client_connect(&s);
    send_text(fd, "GET /health HTTP/1.1\r\nHost: evil.org\r\n\r\n");
    r = client_read(fd);
    assert_int_equal(r.status, 403);
    reply_free(&r);
    close(fd);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
    scratch_remove(folder);
    free(file);
}

/* ---- too much, too deep, too slow ---- */

static void bodies_are_bounded(void **state)
{
    struct server s = server_start(NULL);
    size_t most = 40u << 20;
    char *body = malloc(most + 1), *long_header;
    struct reply r;
    json_t *o;
    int fd;

    (void)state;
    memset(body, '[', most);
    body[most] = 0;
    r = client_ask(&s, "POST", "/v1/completions", "", body, 1000000);
    assert_int_equal(r.status, 400);
    o = reply_json(&r);
    json_decref(o);
    reply_free(&r);
    memset(body, ' ', most);
    r = client_ask(&s, "POST", "/v1/completions", "", body, most);
    assert_int_equal(r.status, 413);
    reply_free(&r);
    r = client_ask(&s, "POST", "/v1/completions", "Expect: 100-continue\r\n", body, most);
    assert_true(r.status == 413 || r.status == 400 || !r.status);
    reply_free(&r);
    /* chunks without a length */
    fd = client_connect(&s);
    send_text(fd, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    send_text(fd, "4\r\n{\"pr\r\n19\r\nompt\":\"x\",\"max_tokens\":1}\r\n0\r\n\r\n");
    r = client_read(fd);
    assert_int_equal(r.status, 200);
    reply_free(&r);
    /* the connection lives on after a refusal */
    send_text(fd, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}");
    r = client_read(fd);
    assert_int_equal(r.status, 400);
    reply_free(&r);
    send_text(fd, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    r = client_read(fd);
    assert_int_equal(r.status, 200);
    reply_free(&r);
    close(fd);
    long_header = malloc(40001);
    memset(long_header, 'x', 40000);
    memcpy(long_header, "X-Long: ", 8);
    memcpy(long_header + 39990, "\r\n\0", 3);
    r = client_ask(&s, "GET", "/health", long_header, "", 0);
    assert_int_equal(r.status, 431);
    reply_free(&r);
    free(long_header);
    free(body);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

/* Many bodies that are each allowed are too much together; who waits is served again when they are gone. */
static void bodies_are_bounded_together(void **state)
{
    struct server s = server_start(NULL); /* 1 GB: some 22 MiB for bodies and what else requests hold */
    size_t most = 8u << 20;
    char *body = malloc(most);
    struct reply r;
    int fd[2];

    (void)state;
    memset(body, ' ', most);
    for (int i = 0; i < 2; i++) {
        fd[i] = client_connect(&s);
        send_text(fd[i], "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8388609\r\n\r\n");
        client_send(fd[i], body, most); /* and not the last byte */
    }
    r = client_ask(&s, "POST", "/v1/completions", "", body, most);
    assert_int_equal(r.status, 503);
    assert_non_null(strstr(r.head, "Retry-After: 5"));
    reply_free(&r);
    for (int i = 0; i < 2; i++) close(fd[i]);
    wait_for(&s, "sluice:connections ", 1);
    r = client_post(&s, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":1}");
    assert_int_equal(r.status, 200);
    reply_free(&r);
    free(body);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

/* Every beginning of a request is sent and dropped. */
static void clients_vanish_at_every_byte(void **state)
{
    static const char request[] = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 47\r\n\r\n"
                                  "{\"prompt\":\"x\",\"max_tokens\":2,\"stream\":true}      ";
    struct server s = server_start(NULL);
    struct reply r;
    double had;

    (void)state;
    r = client_get(&s, "/health");
    reply_free(&r);
    wait_for(&s, "sluice:connections ", 1);
    had = usage_descriptors(s.process.pid);
    for (size_t n = 0; n < sizeof request; n++) {
        int fd = client_connect(&s);
        struct linger hard = {.l_onoff = 1};

        client_send(fd, request, n);
        if (n % 2) setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(fd);
    }
    wait_for(&s, "sluice:connections ", 1);
    wait_for(&s, "sluice:num_requests_running ", 0);
    nap_ms(100);
    assert_true(usage_descriptors(s.process.pid) <= had + 1);
    r = client_post(&s, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2}");
    assert_int_equal(r.status, 200);
    reply_free(&r);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

/* Connections that say nothing, or half of a request: others are served meanwhile, and these are closed. */
static int status_sent(const struct server *s, const char *text)
{
    int fd = client_connect(s), status;
    struct reply r;

    send_text(fd, text);
    r = client_read(fd);
    status = r.status;
    reply_free(&r);
    close(fd);
    return status;
}

#define POST_HEAD "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
#define POST_BODY "{\"prompt\":\"x\",\"max_tokens\":1}"

/* What two readers of the same bytes could understand in two ways. */
static void requests_have_one_meaning(void **state)
{
    static const char *const bad[] = {
        POST_HEAD "Content-Length: 29\r\nContent-Length: 5\r\n\r\n" POST_BODY,
        POST_HEAD "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1d\r\n" POST_BODY "\r\n0\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: elsewhere\r\n\r\n",
        POST_HEAD "Content-Length: -1\r\n\r\n" POST_BODY, POST_HEAD "Content-Length: +29\r\n\r\n" POST_BODY};
    struct server s = server_start(NULL);

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(status_sent(&s, bad[i]), 400);
    assert_int_equal(status_sent(&s, POST_HEAD "Content-Length: 29\r\n\r\n" POST_BODY), 200);
    assert_int_equal(status_sent(&s, POST_HEAD "Transfer-Encoding: chunked\r\n\r\n1d\r\n" POST_BODY "\r\n0\r\n\r\n"),
                     200);
    assert_int_equal(status_sent(&s, "GET /health%00x HTTP/1.1\r\nHost: localhost\r\n\r\n"), 404);
    assert_int_equal(status_sent(&s, "GET /%68ealth HTTP/1.1\r\nHost: localhost\r\n\r\n"), 200);
    /* longer than anybody would read: answered at once */
    assert_int_equal(status_sent(&s, POST_HEAD "Content-Length: 10000000000\r\n\r\n"), 413);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

static void half_open_connections_are_closed(void **state)
{
    struct server s = server_start(NULL);
    enum { MANY = 400 };
    int fd[MANY];
    struct reply r;
    char byte;

    (void)state;
    for (int i = 0; i < MANY; i++) {
        fd[i] = client_connect(&s);
        if (i % 2) send_text(fd[i], "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Le");
    }
    r = client_post(&s, "/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":2}");
    assert_int_equal(r.status, 200);
    reply_free(&r);
    assert_true(recv(fd[0], &byte, 1, 0) <= 0); /* connections are scarce: it gave way */
    for (int i = 0; i < MANY; i++) close(fd[i]);
    wait_for(&s, "sluice:connections ", 1);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_hosts_and_origins),      cmocka_unit_test(bodies_are_bounded),
        cmocka_unit_test(bodies_are_bounded_together), cmocka_unit_test(clients_vanish_at_every_byte),
        cmocka_unit_test(requests_have_one_meaning),   cmocka_unit_test(half_open_connections_are_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
