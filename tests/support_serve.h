/* A server of the demo model, and a client of raw sockets. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "tests/support_process.h"

#define SERVE_DEMO "tests/data/demo-model"

struct server {
    struct process process;
    int port;
};

/* Waits until it listens; more: further arguments, ended by NULL, or NULL. Fails the test. */
struct server server_start(const char *const *more);
/* A scratch folder of the demo model with this tokenizer_config.json; scratch_remove() takes it away. */
char *server_model(const char *tokenizer_config);
struct server server_start_model(const char *model, const char *const *more);
/* Sends the signal and waits for its end; the exit status. */
int server_stop(struct server *s, int signal);

struct reply {
    int status;        /* 0: the connection was closed without one */
    char *head, *body; /* NUL-terminated; the body is put together from its chunks */
    size_t bytes;
};

int client_connect(const struct server *s);
void client_send(int fd, const char *text, size_t bytes); /* as much as the other side takes */
/* A whole request with these further header lines ("A: b\r\n"...), and its answer. */
struct reply client_ask(const struct server *s, const char *method, const char *path, const char *headers,
                        const char *body, size_t bytes);
struct reply client_post(const struct server *s, const char *path, const char *body);
struct reply client_get(const struct server *s, const char *path);
struct reply client_read(int fd); /* until the answer is complete or the connection closed */
void reply_free(struct reply *r);
json_t *reply_json(const struct reply *r); /* the caller's; fails the test where it is none */
/* The JSON of the answer, the caller's; fails the test where its status is another. */
json_t *client_post_json(const struct server *s, const char *path, const char *body, int status);

/* The text of a stream's choice: its pieces, joined; checks the framing of every event. The caller's. */
char *stream_text(const struct reply *r, int choice, const char **finish);
/* The value of a line of /metrics that begins so. */
double server_metric(const struct server *s, const char *name);
/* What `sluice run` says to the same; the caller's. */
char *run_text(const char *const *arg);
