#include "coordinator/serve/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "coordinator/serve/http_checks.h"
#include "coordinator/serve/peers.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define POOL_BYTES   (HTTP_HEADERS_MAX + (24u << 10)) /* of a connection: headers, and what is read and written at once */
#define BUSY_SECONDS 5                                /* until it is worth to try again */
#define DISCARD_MOST (UINT64_C(1) << 30) /* of a body that is too long, read so that the client hears why */
#define STACK_BYTES  (1u << 20)
#define SOCKET_BYTES (32 << 10) /* that the kernel keeps for each direction; it takes twice of what is asked */

struct http {
    struct http_config config;
    struct MHD_Daemon *daemon;
    int listener, port;
    bool loopback;
    struct http_bounds bounds;
    size_t body_max;
    struct peers *peers;
};

struct exchange {
    struct http *http;
    struct MHD_Connection *connection;
    const char *method, *path;
    struct buffer body;
    uint64_t received;
    size_t kept;        /* bytes of the room that the body has */
    struct fault fault; /* known before the body was read */
    bool answered;
    enum MHD_Result result;
};

/* ---- connections ---- */

static int descriptor(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);

    return i ? i->connect_fd : -1;
}

static void on_connection(void *arg, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code)
{
    struct http *h = arg;
    struct peer *p;
    int one = 1, fd;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        fd = descriptor(c);
        *context = p = peers_add(h->peers, fd);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        if (p) h->config.connections(h->config.arg, 1);
        return;
    }
    if (!(p = *context)) return;
    peers_remove(h->peers, p);
    h->config.connections(h->config.arg, -1);
    *context = NULL;
}

static struct peer *peer_of(const struct exchange *x)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return i ? i->socket_context : NULL;
}

static void set_busy(struct exchange *x, bool busy)
{
    struct peer *p = peer_of(x);

    if (p) peers_set_busy(x->http->peers, p, busy);
}

/* ---- answers ---- */

const char *exchange_method(const struct exchange *x)
{
    return x->method;
}

const char *exchange_path(const struct exchange *x)
{
    return x->path;
}

const struct buffer *exchange_body(const struct exchange *x)
{
    return &x->body;
}

struct buffer exchange_take_body(struct exchange *x, size_t *held)
{
    struct buffer b = x->body;

    *held = x->kept;
    x->body = (struct buffer){0};
    x->kept = 0;
    return b;
}

const char *exchange_header(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

const char *exchange_query(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

bool exchange_gone(const struct exchange *x)
{
    struct pollfd p = {.fd = descriptor(x->connection), .events = POLLRDHUP};

    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

static void add_headers(const struct exchange *x, struct MHD_Response *r, const char *type)
{
    const char *origin = exchange_header(x, "Origin");

    if (type) MHD_add_response_header(r, "Content-Type", type);
    MHD_add_response_header(r, "Server", "sluice/" SLUICE_VERSION);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (origin && check_origin_local(origin)) {
        MHD_add_response_header(r, "Access-Control-Allow-Origin", origin);
        MHD_add_response_header(r, "Vary", "Origin");
    }
}

static void queue(struct exchange *x, int status, struct MHD_Response *r)
{
    x->answered = true;
    x->result = r ? MHD_queue_response(x->connection, (unsigned)status, r) : MHD_NO;
    if (r) MHD_destroy_response(r);
}

static struct MHD_Response *whole(struct exchange *x, const char *type, struct buffer *body)
{
    struct MHD_Response *r;

    if (body->failed) {
        buffer_free(body);
        return NULL;
    }
    r = MHD_create_response_from_buffer(body->bytes, body->data ? body->data : (void *)"",
                                        body->data ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (!r) buffer_free(body);
    *body = (struct buffer){0};
    if (r) add_headers(x, r, type);
    return r;
}

void http_reply(struct exchange *x, int status, const char *type, struct buffer *body)
{
    queue(x, status, whole(x, type, body));
}

void http_fault(struct exchange *x, const struct fault *f)
{
    struct buffer b = {0};
    struct MHD_Response *r;
    bool open;
    char seconds[16];

    fault_write(&b, f);
    r = whole(x, "application/json", &b);
    /* one that would be refused again must not be sent again; one that may do better later says when */
    if (r && f->retry_after) {
        snprintf(seconds, sizeof seconds, "%u", f->retry_after);
        MHD_add_response_header(r, "Retry-After", seconds);
    } else if (r) {
        MHD_add_response_header(r, "x-should-retry", "false");
    }
    if (r && f->status == 401) MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    if (r && f->status == 405)
        MHD_add_response_header(r, "Allow", x->http->config.methods(x->http->config.arg, x->path, &open));
    queue(x, f->status, r);
}

void http_static(struct exchange *x, const char *type, const char *policy, const char *data, size_t bytes)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(bytes, (void *)(uintptr_t)data, MHD_RESPMEM_PERSISTENT);

    if (r) {
        add_headers(x, r, type);
        MHD_add_response_header(r, "Content-Security-Policy", policy);
        MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
        MHD_add_response_header(r, "Cache-Control", "no-cache");
    }
    queue(x, 200, r);
}

static ssize_t on_read(void *arg, uint64_t at, char *out, size_t room)
{
    struct http_source *s = arg;
    long n = s->read(s->arg, out, room);

    (void)at;
    return n == -1 ? MHD_CONTENT_READER_END_OF_STREAM : n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : (ssize_t)n;
}

static void on_finish(void *arg)
{
    struct http_source *s = arg;

    s->finish(s->arg);
    free(s);
}

void http_stream(struct exchange *x, const char *type, const struct http_source *s)
{
    struct http_source *own = malloc(sizeof *own);
    struct MHD_Response *r = NULL;

    if (own) {
        *own = *s;
        r = MHD_create_response_from_callback(s->bytes ? s->bytes : MHD_SIZE_UNKNOWN, 16384, on_read, own, on_finish);
    }
    if (!r) {
        s->finish(s->arg);
        free(own);
    } else {
        add_headers(x, r, type);
        if (s->id) MHD_add_response_header(r, "X-Request-Id", s->id);
        MHD_add_response_header(r, "Cache-Control", "no-cache");
        MHD_add_response_header(r, "X-Accel-Buffering", "no");
    }
    queue(x, 200, r);
}

/* ---- requests ---- */

static void reply_options(struct exchange *x, const char *methods)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    char allow[64];

    snprintf(allow, sizeof allow, "%s, OPTIONS", methods);
    if (r) {
        add_headers(x, r, NULL);
        MHD_add_response_header(r, "Allow", allow);
        MHD_add_response_header(r, "Access-Control-Allow-Methods", allow);
        MHD_add_response_header(r, "Access-Control-Allow-Headers",
                                "Authorization, Content-Type, x-api-key, X-Conversation-Id");
        MHD_add_response_header(r, "Access-Control-Max-Age", "600");
    }
    queue(x, 204, r);
}

struct head { /* what its headers come to */
    size_t bytes;
    unsigned hosts, lengths, codings;
};

static enum MHD_Result add_header(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct head *h = arg;

    (void)kind;
    h->bytes += strlen(key) + (value ? strlen(value) : 0) + 4;
    h->hosts += !strcasecmp(key, "Host");
    h->lengths += !strcasecmp(key, "Content-Length");
    h->codings += !strcasecmp(key, "Transfer-Encoding");
    return MHD_YES;
}

/* So long that it is not read to its end, for its client to hear the answer. */
static bool is_endless(const struct exchange *x)
{
    const char *length = exchange_header(x, "Content-Length");

    return length && strtoull(length, NULL, 10) > DISCARD_MOST;
}

static const char *why_less(const struct http *h)
{
    return h->body_max < HTTP_BODY_MAX ? ": a larger --host-memory would allow more" : "";
}

/* What can be told from the headers alone. */
static void check_head(struct exchange *x)
{
    const struct http_config *c = &x->http->config;
    const char *length = exchange_header(x, "Content-Length");
    const char *origin = exchange_header(x, "Origin"), *host = exchange_header(x, "Host"), *methods;
    struct head h = {.bytes = strlen(x->path)};
    bool open = false;

    MHD_get_connection_values(x->connection, MHD_HEADER_KIND, add_header, &h);
    methods = c->methods(c->arg, x->path, &open);
    if (h.bytes > HTTP_HEADERS_MAX)
        fault_set(&x->fault, 431, NULL, NULL, "the headers have %zu bytes, and %u are allowed", h.bytes,
                  HTTP_HEADERS_MAX);
    else if (h.hosts > 1 || h.codings > 1 ||
             h.lengths + h.codings > 1) /* others on the way may have taken the other one */
        fault_set(&x->fault, 400, NULL, NULL, "the headers name %s twice",
                  h.hosts > 1 ? "the host" : "the length of the body");
    else if (x->http->loopback && !check_host_local(host, c->host))
        fault_set(&x->fault, 403, NULL, "bad_host", "the Host header names another machine: this one is localhost");
    else if (origin && !check_origin(origin, host))
        fault_set(&x->fault, 403, NULL, "bad_origin", "pages of %.100s may not use this server", origin);
    else if (length && strtoull(length, NULL, 10) > x->http->body_max)
        fault_set(&x->fault, 413, NULL, NULL, "the body has %.20s bytes, and %zu are allowed%s", length,
                  x->http->body_max, why_less(x->http));
    else if (peer_of(x) && peer_surplus(peer_of(x))) {
        fault_set(&x->fault, 503, NULL, "busy",
                  "%u connections are answered already, and --host-memory has no room "
                  "for more",
                  x->http->bounds.connections);
        x->fault.retry_after = BUSY_SECONDS;
    } else if (!strcmp(x->method, "OPTIONS"))
        return;
    else if (!open && c->keys &&
             !check_key(c->key, c->keys, exchange_header(x, "Authorization"), exchange_header(x, "x-api-key")))
        fault_set(&x->fault, 401, NULL, "invalid_api_key", "the API key is missing or wrong");
    else if (!methods)
        fault_set(&x->fault, 404, NULL, "not_found", "there is no %.200s here", x->path);
    else if (!check_method(methods, x->method))
        fault_set(&x->fault, 405, NULL, NULL, "%.200s takes %s, not %.20s", x->path, methods, x->method);
}

static void drop_body(struct exchange *x)
{
    buffer_free(&x->body);
    room_hold(x->http->bounds.room, &x->kept, 0);
}

static void take_body(struct exchange *x, const char *data, size_t bytes)
{
    const struct http *h = x->http;

    x->received += bytes;
    if (!x->fault.status && x->received > h->body_max)
        fault_set(&x->fault, 413, NULL, NULL, "the body has more than the %zu bytes that are allowed%s", h->body_max,
                  why_less(h));
    if (!x->fault.status && !room_hold(h->bounds.room, &x->kept, x->kept + bytes)) {
        fault_set(&x->fault, 503, NULL, "busy", "all requests together take the %zu MiB that --host-memory leaves them",
                  room_most(h->bounds.room) >> 20);
        x->fault.retry_after = BUSY_SECONDS;
    }
    if (x->fault.status || x->body.failed) {
        drop_body(x);
        return;
    }
    buffer_append(&x->body, data, bytes);
}

static void answer(struct exchange *x)
{
    bool open;
    const char *methods;

    set_busy(x, true);
    if (!x->fault.status && x->body.failed) fault_set(&x->fault, 500, NULL, NULL, "out of memory");
    methods = x->http->config.methods(x->http->config.arg, x->path, &open);
    if (x->fault.status)
        http_fault(x, &x->fault);
    else if (!strcmp(x->method, "OPTIONS"))
        reply_options(x, methods ? methods : "GET, POST");
    else
        x->http->config.handle(x->http->config.arg, x);
    if (x->answered) return;
    fault_set(&x->fault, 500, NULL, NULL, "nothing was answered");
    http_fault(x, &x->fault);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *data, size_t *bytes, void **context)
{
    struct exchange *x = *context;
    const char *expect;

    (void)version;
    if (!x) {
        *context = x = calloc(1, sizeof *x);
        if (!x) return MHD_NO;
        *x = (struct exchange){.http = arg, .connection = c, .method = method, .path = url};
        check_head(x);
        expect = exchange_header(x, "Expect");
        /* who asks before it sends is told at once; of others the body is read, so that they hear the answer */
        if (!x->fault.status || (!expect && !is_endless(x))) return MHD_YES;
        answer(x);
        return x->result;
    }
    x->method = method;
    x->path = url;
    if (*bytes) {
        take_body(x, data, *bytes);
        *bytes = 0;
        return x->received > DISCARD_MOST ? MHD_NO : MHD_YES;
    }
    if (x->answered) return MHD_YES;
    answer(x);
    return x->result;
}

static void on_completed(void *arg, struct MHD_Connection *c, void **context, enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *context;

    (void)arg;
    (void)c;
    (void)code;
    if (!x) return;
    set_busy(x, false);
    drop_body(x);
    free(x);
    *context = NULL;
}

/* ---- its life ---- */

/* A NUL in a path or a query must not end it before its end. */
static size_t unescape(void *arg, struct MHD_Connection *c, char *text)
{
    size_t n = MHD_http_unescape(text);

    (void)arg;
    (void)c;
    for (size_t i = 0; i < n; i++)
        if (!text[i]) text[i] = '?';
    return n;
}

static void on_log(void *arg, const char *format, va_list ap)
{
    char line[512];

    (void)arg;
    vsnprintf(line, sizeof line, format, ap);
    line[strcspn(line, "\n")] = 0;
    log_debug("http: %s", line);
}

static int cannot_listen(const struct http *h, int failed, struct error *e)
{
    return error_set(e, failed, "cannot listen on %s port %d: %s%s", h->config.host, h->config.port, error_name(failed),
                     failed == EADDRINUSE ? "; --port N takes another, 0 any that is free" : "");
}

static int take_address(struct http *h, struct error *e)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
    const char *host = h->config.host;
    char port[16];
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    int rc, one = 1, kernel = SOCKET_BYTES, failed = 0;

    snprintf(port, sizeof port, "%d", h->config.port);
    if ((rc = getaddrinfo(host, port, &hints, &list)))
        return error_set(e, EINVAL, "--host %s: %s", host, gai_strerror(rc));
    h->listener = -1;
    for (struct addrinfo *p = list; p && h->listener < 0; p = p->ai_next) {
        int fd = socket(p->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kernel, sizeof kernel); /* those that it accepts have it */
        if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kernel, sizeof kernel);
        if (fd >= 0 && !bind(fd, p->ai_addr, p->ai_addrlen)) {
            h->listener = fd;
            h->loopback = check_address_local(p->ai_addr);
            continue;
        }
        failed = errno;
        if (fd >= 0) close(fd);
    }
    freeaddrinfo(list);
    if (h->listener < 0) return cannot_listen(h, failed, e);
    getsockname(h->listener, (struct sockaddr *)&a, &n);
    h->port =
        ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
    return 0;
}

int http_start(struct http *h, const struct http_bounds *b, struct error *e)
{
    size_t half = room_most(b->room) / 2;
    int rc = peers_open(&h->peers, b->connections, e);

    if (rc) return rc;
    h->bounds = *b;
    h->body_max = half < HTTP_BODY_MAX ? half : HTTP_BODY_MAX;
    if (listen(h->listener, 1024)) return cannot_listen(h, errno, e);
    h->daemon = MHD_start_daemon(MHD_USE_POLL | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                                     MHD_USE_ERROR_LOG | MHD_USE_ITC,
                                 0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, h->listener,
                                 MHD_OPTION_CONNECTION_LIMIT, b->connections + ROOM_SPARE,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_THREAD_STACK_SIZE,
                                 (size_t)STACK_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
                                 MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_EXTERNAL_LOGGER, on_log,
                                 NULL, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_END);
    if (!h->daemon)
        return error_set(e, EAGAIN, "cannot start the HTTP server: are there too many processes or descriptors?");
    return 0;
}

int http_open(struct http **out, const struct http_config *c, struct error *e)
{
    struct http *h = calloc(1, sizeof *h);
    int rc;

    if (!h) return error_set(e, ENOMEM, "out of memory");
    h->config = *c;
    h->listener = -1;
    rc = take_address(h, e);
    if (rc)
        http_close(h);
    else
        *out = h;
    return rc;
}

int http_port(const struct http *h)
{
    return h->port;
}

void http_settle(struct http *h, unsigned ms)
{
    struct timespec pause = {.tv_nsec = 10000000};
    uint64_t end = clock_ns() + ms * UINT64_C(1000000);

    while (h->peers && peers_answering(h->peers) && clock_ns() < end) nanosleep(&pause, NULL);
}

void http_close(struct http *h)
{
    if (!h) return;
    if (h->daemon) {
        MHD_stop_daemon(h->daemon); /* closes the socket that it listens on */
        h->listener = -1;
    }
    if (h->listener >= 0) close(h->listener);
    peers_close(h->peers);
    free(h);
}
