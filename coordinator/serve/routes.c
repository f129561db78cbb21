#include "coordinator/serve/routes.h"

#include <stdio.h>
#include <string.h>

#include "coordinator/serve/body.h"
#include "coordinator/serve/out.h"

#define JSON "application/json"

void routes_json(struct exchange *x, struct buffer *b)
{
    http_reply(x, 200, JSON, b);
}

/* ---- answers to prompts ---- */

static void generate(struct routes *r, struct exchange *x,
                     int (*read)(struct ask **, const struct facts *, const json_t *, struct fault *))
{
    const struct buffer *text = exchange_body(x);
    struct fault f = {0};
    struct ask *a;
    json_t *body;
    int rc = body_read(&body, text->data ? text->data : "", text->bytes, &f);

    if (!rc) {
        rc = read(&a, r->facts, body, &f);
        json_decref(body);
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
