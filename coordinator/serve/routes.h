/* What lies where: paths to answers. */
#pragma once
#include <stdbool.h>
#include "coordinator/serve/facts.h"
#include "coordinator/serve/http.h"
#include "coordinator/serve/metrics.h"
#include "coordinator/serve/pulse.h"
#include "coordinator/serve/streams.h"
#include "coordinator/serve/work.h"

struct routes {
    const struct facts *facts;
    struct metrics *metrics;
    struct work *work;
    struct pulse *pulse;
    struct streams *streams;
    unsigned connections; /* at once */
    double heartbeat;     /* seconds between signs of life; 0: none */
};

/* Of struct http_config; arg is a struct routes. */
const char *routes_methods(void *arg, const char *path, bool *open);
void routes_handle(void *arg, struct exchange *x);

/* ---- for routes_*.c ---- */

/* Hands the ask in and answers with what is said, as events or whole. Takes the ask over. */
void routes_answer(struct routes *r, struct exchange *x, struct ask *a);
/* What the job says from so many events on; takes over the hold on it. */
void routes_read(struct routes *r, struct exchange *x, struct job *j, unsigned long events);
/* The key that the request came with; "": none. Answers that are read again, and retries, belong to it. */
const char *routes_caller(const struct exchange *x);
/* The body as JSON, and what that holds of the room; 0 or -1. Then routes_body_done() once it was read. */
int routes_body(struct routes *r, struct exchange *x, json_t **body, size_t *held, struct fault *f);
void routes_body_done(struct routes *r, json_t *body, size_t held);
void routes_json(struct exchange *x, struct buffer *b); /* 200; the buffer is taken over */

void routes_tokenize(struct routes *r, struct exchange *x);
void routes_detokenize(struct routes *r, struct exchange *x);
void routes_apply_template(struct routes *r, struct exchange *x);
void routes_input_tokens(struct routes *r, struct exchange *x);
void routes_count_tokens(struct routes *r, struct exchange *x);
void routes_models(struct routes *r, struct exchange *x);
void routes_page(struct routes *r, struct exchange *x);
void routes_events(struct routes *r, struct exchange *x);
void routes_stream(struct routes *r, struct exchange *x);
void routes_props(struct routes *r, struct exchange *x);
