#include "tests/support_serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_model.h"

char *server_model(const char *tokenizer_config)
{
    static const char *const files[] = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"};
    char here[PATH_MAX], path[PATH_MAX + 64], *folder = scratch_make();

    assert_non_null(realpath(SERVE_DEMO, here));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", here, files[i]);
        assert_int_equal(symlink(path, scratch_path(folder, files[i])), 0);
    }
    scratch_write(folder, "tokenizer_config.json", tokenizer_config);
    return folder;
}

struct server server_start(const char *const *more)
{
    return server_start_model(SERVE_DEMO, more);
}

struct server server_start_model(const char *model, const char *const *more)
{
    const char *arg[32] = {"serve", model, "--port", "0", "--threads", "1", "--host-memory", "1G"};
    struct server s = {0};
    char text[4096];
    const char *at = NULL;
    size_t n = 0;
    int i = 8;

    for (; more && *more; more++) arg[i++] = *more;
    s.process = process_start("sluice", arg);
    while (n + 1 < sizeof text && !(at = n ? strstr(text, "listening on http://127.0.0.1:") : NULL)) {
        struct pollfd p = {.fd = s.process.err, .events = POLLIN};
        ssize_t got;

        assert_true(poll(&p, 1, 20000) > 0);
        got = read(s.process.err, text + n, sizeof text - n - 1);
        text[n += got > 0 ? (size_t)got : 0] = 0;
        if (got <= 0) fail_msg("the server has ended: %s", text);
    }
    s.port = atoi(at + strlen("listening on http://127.0.0.1:"));
    assert_true(s.port > 0);
    return s;
}

int server_stop(struct server *s, int signal)
{
    struct process_result r;
    int status;

    kill(s->process.pid, signal);
    r = process_finish(&s->process, NULL, 0, 20);
    status = r.status;
    if (status && status != 130) fprintf(stderr, "%s\n", r.err);
    process_result_free(&r);
    return status;
}

/* ---- a client ---- */

int client_connect(const struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    struct timeval limit = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return fd;
}

void client_send(int fd, const char *text, size_t bytes)
{
    while (bytes) {
        ssize_t n = send(fd, text, bytes, MSG_NOSIGNAL);

        if (n <= 0) return;
        text += n;
        bytes -= (size_t)n;
    }
}

struct input {
    int fd;
    char *data;
    size_t bytes, room;
};

static bool more(struct input *in)
{
    ssize_t n;

    if (in->bytes + 65536 > in->room) {
        in->room = 2 * in->room + 131072;
        in->data = realloc(in->data, in->room);
        assert_non_null(in->data);
    }
    n = recv(in->fd, in->data + in->bytes, 65535, 0);
    if (n <= 0) return false;
    in->bytes += (size_t)n;
    in->data[in->bytes] = 0;
    return true;
}

/* The chunks from here on, put together; false: they are not complete. */
static bool join_chunks(struct input *in, size_t at, struct reply *r)
{
    r->body = calloc(1, 1);
    for (;;) {
        char *end, *line;
        size_t n;

        while (!(line = at < in->bytes ? memmem(in->data + at, in->bytes - at, "\r\n", 2) : NULL))
            if (!more(in)) return false;
        n = strtoul(in->data + at, &end, 16);
        assert_ptr_equal(end, line);
        at = (size_t)(line + 2 - in->data);
        while (in->bytes < at + n + 2)
            if (!more(in)) return false;
        assert_memory_equal(in->data + at + n, "\r\n", 2);
        if (!n) return true;
        r->body = realloc(r->body, r->bytes + n + 1);
        memcpy(r->body + r->bytes, in->data + at, n);
        r->body[r->bytes += n] = 0;
        at += n + 2;
    }
}

struct reply client_read(int fd)
{
    struct input in = {.fd = fd};
    struct reply r = {0};
    char *end, *length;
    size_t at, n;

    while (!in.data || !(end = strstr(in.data, "\r\n\r\n")))
        if (!more(&in)) {
            free(in.data);
            return r;
        }
    at = (size_t)(end + 4 - in.data);
    r.head = strndup(in.data, at);
    assert_int_equal(sscanf(r.head, "HTTP/1.1 %d", &r.status), 1);
    if (strcasestr(r.head, "Transfer-Encoding: chunked")) {
        if (!join_chunks(&in, at, &r)) r.status = -r.status;
    } else {
        length = strcasestr(r.head, "Content-Length:");
        n = length ? strtoul(length + 15, NULL, 10) : 0;
        while (in.bytes < at + n && more(&in)) {
        }
        r.bytes = in.bytes - at < n ? in.bytes - at : n;
        r.body = strndup(in.data + at, r.bytes);
    }
    free(in.data);
    return r;
}

struct reply client_ask(const struct server *s, const char *method, const char *path, const char *headers,
                        const char *body, size_t bytes)
{
    int fd = client_connect(s), n;
    char head[65536];
    struct reply r;

    n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: localhost:%d\r\n%sContent-Length: %zu\r\n\r\n", method,
                 path, s->port, headers, bytes);
    assert_true(n > 0 && (size_t)n < sizeof head);
    client_send(fd, head, (size_t)n);
    client_send(fd, body, bytes);
    r = client_read(fd);
    close(fd);
    return r;
}

struct reply client_post(const struct server *s, const char *path, const char *body)
{
    return client_ask(s, "POST", path, "Content-Type: application/json\r\n", body, strlen(body));
}

struct reply client_get(const struct server *s, const char *path)
{
    return client_ask(s, "GET", path, "", "", 0);
}

void reply_free(struct reply *r)
{
    free(r->head);
    free(r->body);
    *r = (struct reply){0};
}

json_t *reply_json(const struct reply *r)
{
    json_error_t e;
    json_t *o = r->body ? json_loadb(r->body, r->bytes, 0, &e) : NULL;

    if (!o) fail_msg("no JSON (status %d): %s", r->status, r->body ? r->body : "nothing");
    return o;
}

json_t *client_post_json(const struct server *s, const char *path, const char *body, int status)
{
    struct reply r = client_post(s, path, body);
    json_t *o;

    if (r.status != status) fail_msg("%d instead of %d for %s: %s", r.status, status, body, r.body);
    o = reply_json(&r);
    reply_free(&r);
    return o;
}

/* ---- streams ---- */

static const char *piece_of(const json_t *choice)
{
    json_t *delta = json_object_get(choice, "delta");
    const char *text = json_string_value(delta ? json_object_get(delta, "content") : json_object_get(choice, "text"));

    return text ? text : "";
}

char *stream_text(const struct reply *r, int choice, const char **finish)
{
    static const char *const reasons[] = {"stop", "length", "tool_calls"};
    char *text = calloc(1, r->bytes + 1);
    bool done = false;

    *finish = NULL;
    for (const char *at = r->body, *end; *at; at = end + 2) {
        json_t *o, *c;
        size_t i;

        end = strstr(at, "\n\n");
        assert_non_null(end);
        assert_false(done);
        if (*at == ':') continue; /* a sign of life */
        assert_int_equal(strncmp(at, "data: ", 6), 0);
        if ((done = !strncmp(at, "data: [DONE]", 12))) continue;
        assert_null(memchr(at, '\n', (size_t)(end - at)));
        o = json_loadb(at + 6, (size_t)(end - at - 6), 0, NULL);
        assert_non_null(o);
        if (json_object_get(o, "error")) fail_msg("%.*s", (int)(end - at), at);
        json_array_foreach(json_object_get(o, "choices"), i, c)
        {
            const char *why = json_string_value(json_object_get(c, "finish_reason"));

            if (json_integer_value(json_object_get(c, "index")) != choice) continue;
            assert_null(*finish); /* nothing follows the last one */
            strcat(text, piece_of(c));
            for (size_t k = 0; why && k < sizeof reasons / sizeof *reasons; k++)
                if (!strcmp(why, reasons[k])) *finish = reasons[k];
        }
        json_decref(o);
    }
    assert_true(done);
    assert_non_null(*finish);
    return text;
}

double server_metric(const struct server *s, const char *name)
{
    struct reply r = client_get(s, "/metrics");
    char *at = r.body;
    double value = -1;

    assert_int_equal(r.status, 200);
    while (at && strncmp(at, name, strlen(name))) {
        at = strchr(at, '\n');
        at = at ? at + 1 : NULL;
    }
    if (at) value = strtod(at + strlen(name), NULL);
    reply_free(&r);
    return value;
}

char *run_text(const char *const *arg)
{
    const char *all[32] = {"run", SERVE_DEMO, "--threads", "1", "--host-memory", "1G"};
    struct process_result r;
    char *text;
    int i = 6;

    for (; *arg; arg++) all[i++] = *arg;
    r = process_run("sluice", all, NULL, 0, 20);
    assert_int_equal(r.status, 0);
    assert_true(r.out_bytes > 0);
    text = strndup(r.out, r.out_bytes - 1); /* without the newline at its end */
    process_result_free(&r);
    return text;
}
