#include "coordinator/serve/routes.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "coordinator/serve/body.h"
#include "coordinator/serve/out.h"
#include "coordinator/serve/room.h"

#define JSON "application/json"
/* What is made of a body while it is read: its values, and copies of them; its texts, rendered and taken apart. */
#define VALUES_TIMES 3u
#define TEXTS_TIMES  8u
#define ROOM_MS      10000 /* to wait for others */
#define BUSY_SECONDS 5
#define TRIM_BYTES   ((size_t)4 << 20)

void routes_json(struct exchange *x, struct buffer *b)
{
    http_reply(x, 200, JSON, b);
}

/* The one that check_key() looks at. */
const char *routes_caller(const struct exchange *x)
{
    const char *authorization = exchange_header(x, "Authorization"), *key = exchange_header(x, "x-api-key");

    if (authorization && !strncasecmp(authorization, "Bearer ", 7)) return authorization + 7;
    return key ? key : "";
}

/* ---- answers to prompts ---- */

int routes_body(struct routes *r, struct exchange *x, json_t **body, size_t *held, struct fault *f)
{
    const struct buffer *b = exchange_body(x);
    const char *text = b->data ? b->data : "";
    struct room *room = r->facts->room;
    size_t want = VALUES_TIMES * body_weight(text, b->bytes) + TEXTS_TIMES * b->bytes;
    int rc;

    *held = 0;
    if (body_check(text, b->bytes, f)) return -1;
    if (want > room_most(room) / 2)
        return fault_set(f, 413, NULL, NULL,
                         "what the body says takes up to %zu MiB, and --host-memory leaves %zu for a request",
                         want >> 20, room_most(room) >> 21);
    if (!room_take(room, want, ROOM_MS)) {
        fault_set(f, 503, NULL, "busy", "all requests together take the %zu MiB that --host-memory leaves them",
                  room_most(room) >> 20);
        f->retry_after = BUSY_SECONDS;
        return -1;
    }
    rc = body_read(body, text, b->bytes, f);
    if (rc)
        room_give(room, want);
    else
        *held = want;
    return rc;
}

void routes_body_done(struct routes *r, json_t *body, size_t held)
{
    json_decref(body);
    if (held > TRIM_BYTES) malloc_trim(0); /* what it took is given back to the system */
    room_give(r->facts->room, held);
}

static void generate(struct routes *r, struct exchange *x,
                     int (*read)(struct ask **, const struct facts *, const json_t *, struct fault *))
{
    struct fault f = {0};
    struct ask *a;
    json_t *body;
    size_t held;
    int rc = routes_body(r, x, &body, &held, &f);

    if (!rc) {
        rc = read(&a, r->facts, body, &f);
        routes_body_done(r, body, held);
    }
    f.typed = read == ask_messages;
    if (rc)
        http_fault(x, &f);
    else
        routes_answer(r, x, a);
}

static void completions(struct routes *r, struct exchange *x)
{
    generate(r, x, ask_completion);
}

static void chat_completions(struct routes *r, struct exchange *x)
{
    generate(r, x, ask_chat);
}

static void responses(struct routes *r, struct exchange *x)
{
    generate(r, x, ask_responses);
}

static void messages(struct routes *r, struct exchange *x)
{
    generate(r, x, ask_messages);
}

/* ---- looking ---- */

static void health(struct routes *r, struct exchange *x)
{
    struct buffer b = {0};
    struct fault f;
    char why[256];

    if (!work_healthy(r->work, why, sizeof why)) {
        fault_set(&f, 503, NULL, NULL, "%s", why);
        f.retry_after = 1;
        http_fault(x, &f);
        return;
    }
    out_format(&b, "{\"status\":\"ok\",\"running\":%u,\"waiting\":%u}", atomic_load(&r->metrics->running),
               atomic_load(&r->metrics->waiting));
    routes_json(x, &b);
}

static void metrics(struct routes *r, struct exchange *x)
{
    struct buffer b = {0};

    metrics_write(&b, r->metrics);
    http_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}

static void slots(struct routes *r, struct exchange *x)
{
    struct buffer b = {0};

    work_slots(r->work, &b);
    routes_json(x, &b);
}

static void not_here(struct routes *r, struct exchange *x)
{
    struct fault f;

    (void)r;
    fault_set(&f, 501, NULL, "not_supported", "%.200s is not supported by this server", exchange_path(x));
    http_fault(x, &f);
}

/* ---- the table ---- */

static const struct route {
    const char *path; /* one that ends in * stands for all that begin so */
    const char *methods;
    bool open;
    void (*handle)(struct routes *r, struct exchange *x);
} table[] = {
    {"/v1/chat/completions", "POST", false, chat_completions},
    {"/chat/completions", "POST", false, chat_completions},
    {"/v1/completions", "POST", false, completions},
    {"/v1/models", "GET", false, routes_models},
    {"/models", "GET", false, routes_models},
    {"/v1/models/*", "GET", false, routes_models},
    {"/tokenize", "POST", false, routes_tokenize},
    {"/detokenize", "POST", false, routes_detokenize},
    {"/apply-template", "POST", false, routes_apply_template},
    {"/v1/chat/completions/input_tokens", "POST", false, routes_input_tokens},
    {"/health", "GET", true, health},
    {"/metrics", "GET", false, metrics},
    {"/props", "GET", false, routes_props},
    {"/slots", "GET", false, slots},
    {"/events", "GET", false, routes_events},
    {"/v1/stream", "GET, DELETE", false, routes_stream},
    {"/", "GET", true, routes_page},
    {"/page.js", "GET", true, routes_page},
    {"/page.css", "GET", true, routes_page},
    {"/v1/responses", "POST", false, responses},
    {"/v1/responses/*", "GET, POST, DELETE", false, not_here},
    {"/v1/messages", "POST", false, messages},
    {"/v1/messages/count_tokens", "POST", false, routes_count_tokens},
    {"/v1/messages/*", "GET, POST", false, not_here},
    {"/v1/embeddings", "POST", false, not_here},
    {"/embedding*", "POST", false, not_here},
    {"/v1/rerank*", "POST", false, not_here},
    {"/rerank*", "POST", false, not_here},
    {"/infill", "POST", false, not_here},
    {"/completion", "POST", false, not_here},
    {"/v1/audio/*", "POST", false, not_here},
    {"/v1/images/*", "POST", false, not_here},
    {"/v1/moderations", "POST", false, not_here},
    {"/v1/files*", "GET, POST", false, not_here},
    {"/v1/batches*", "GET, POST", false, not_here},
    {"/v1/fine_tuning/*", "GET, POST", false, not_here},
    {"/lora-adapters", "GET, POST", false, not_here},
};

static const struct route *find(const char *path)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t n = strlen(table[i].path);
        bool prefix = table[i].path[n - 1] == '*';

        if (prefix ? !strncmp(path, table[i].path, n - 1) : !strcmp(path, table[i].path)) return &table[i];
    }
    return NULL;
}

const char *routes_methods(void *arg, const char *path, bool *open)
{
    const struct route *t = find(path);

    (void)arg;
    *open = t && t->open;
    return t ? t->methods : NULL;
}

void routes_handle(void *arg, struct exchange *x)
{
    find(exchange_path(x))->handle(arg, x);
}
