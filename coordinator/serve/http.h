/* HTTP: connections, requests that are complete and within bounds, and answers. Knows nothing of models.
 *
 *   a connection has a thread of its own (libmicrohttpd), which may wait; what it may not do is come late with its request
 *
 *   Host, Origin, key, length --> body, whole --> handle() --> http_reply() or http_stream()
 *
 * Bounds: HTTP_BODY_MAX and what the room for requests has for one, HTTP_HEADERS_MAX, the connections of the configuration, and
 * PEERS_SECONDS from the connection (or the answer before) to the request's last byte. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/serve/fault.h"
#include "coordinator/serve/room.h"
#include "coordinator/text/buffer.h"
#include "proto/base/error.h"

#define HTTP_BODY_MAX    (32u << 20)
#define HTTP_HEADERS_MAX (32u << 10)

struct http;
struct exchange;

struct http_config {
    const char *host;
    int port;   /* 0: any that is free */
    char **key; /* NULL: none is needed */
    size_t keys;
    /* Which methods the path has; NULL: there is no such path. open: it needs no key. */
    const char *(*methods)(void *arg, const char *path, bool *open);
    /* A request that is complete: must answer it by one of the functions below. Called in the connection's thread. */
    void (*handle)(void *arg, struct exchange *x);
    void (*connections)(void *arg, int change);
    void *arg;
};

/* What is known once the model is. */
struct http_bounds {
    struct room *room;    /* bodies are taken from it, one body no more than a half; NULL: no matter */
    unsigned connections; /* that are served at once */
};

/* Takes the address, so that it is known at once whether it is free; who connects before http_start() is refused. */
int http_open(struct http **out, const struct http_config *c, struct error *e);
int http_start(struct http *h, const struct http_bounds *b, struct error *e);
int http_port(const struct http *h);
/* Waits until no request is being answered, so long at most. */
void http_settle(struct http *h, unsigned ms);
/* Connections that are still answered are cut off; their sources must not wait for anything any more. */
void http_close(struct http *h);

/* ---- a request ---- */

const char *exchange_method(const struct exchange *x);
const char *exchange_path(const struct exchange *x);
const struct buffer *exchange_body(const struct exchange *x);
const char *exchange_header(const struct exchange *x, const char *name); /* NULL: there is none */
const char *exchange_query(const struct exchange *x, const char *name);  /* of the URL, decoded; likewise */
/* The body is the caller's, and what it holds of the room with it. */
struct buffer exchange_take_body(struct exchange *x, size_t *held);
bool exchange_gone(const struct exchange *x); /* the client has hung up, as far as the socket tells */

/* ---- its answer: one of these, once ---- */

/* The body is taken over, and freed. */
void http_reply(struct exchange *x, int status, const char *type, struct buffer *body);
void http_fault(struct exchange *x, const struct fault *f);
/* A file of a page, which lives as long as the program, with what the page may do (Content-Security-Policy). */
void http_static(struct exchange *x, const char *type, const char *policy, const char *data, size_t bytes);
/* What read() gives, as it comes: it may wait for a second or two, not longer; 0 bytes: nothing yet. -1: the end, -2: broken
 * off. finish() is called once, in any case. */
struct http_source {
    long (*read)(void *arg, char *out, size_t room);
    void (*finish)(void *arg);
    void *arg;
    const char *id; /* X-Request-Id; NULL: none */
    size_t bytes;   /* of all of it; 0: not known */
};
void http_stream(struct exchange *x, const char *type, const struct http_source *s);
