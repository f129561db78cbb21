#include "coordinator/batch/completion.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/text/buffer.h"

struct completion {
    const char *met;
    struct completion_config config;
    struct detokenizer *detokenizer;
    struct buffer held; /* text that may still turn out to be the beginning of a stop text */
};

int completion_open(struct completion **out, const struct completion_config *config, struct error *e)
{
    struct completion *c = calloc(1, sizeof *c);
    int rc;

    if (!c) return error_set(e, ENOMEM, "out of memory");
    c->config = *config;
    rc = detokenizer_open(&c->detokenizer, config->tokenizer, !config->keep_special, e);
    if (rc) {
        free(c);
        return rc;
    }
    detokenizer_speak(c->detokenizer, config->spoken, config->spoken_count);
    *out = c;
    return 0;
}

void completion_close(struct completion *c)
{
    if (!c) return;
    detokenizer_close(c->detokenizer);
    buffer_free(&c->held);
    free(c);
}

static int let_go(struct completion *h, size_t bytes, struct error *e)
{
    int rc = bytes ? h->config.text(h->config.arg, h->held.data, bytes, e) : 0;

    buffer_drop(&h->held, bytes);
    return rc;
}

/* The earliest stop text in what is held: its offset, or SIZE_MAX. */
static size_t find_stop(struct completion *h)
{
    const struct completion_config *c = &h->config;
    const struct buffer *t = &h->held;
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < c->stops; i++) {
        const char *at = t->bytes && c->stop[i][0] ? memmem(t->data, t->bytes, c->stop[i], strlen(c->stop[i])) : NULL;

        if (!at || (size_t)(at - t->data) >= best) continue;
        best = (size_t)(at - t->data);
        h->met = c->stop[i];
    }
    return best;
}

/* Bytes at the end that are the beginning of a stop text. */
static size_t undecided(const struct completion *h)
{
    const struct completion_config *c = &h->config;
    const struct buffer *t = &h->held;
    size_t most = 0;

    for (size_t i = 0; i < c->stops; i++) {
        size_t n = strlen(c->stop[i]);

        for (size_t k = n < t->bytes ? n : t->bytes; k > most; k--)
            if (!memcmp(t->data + t->bytes - k, c->stop[i], k)) {
                most = k;
                break;
            }
    }
    return most;
}

static int pass(struct completion *h, const char *text, size_t bytes, bool *stop, struct error *e)
{
    size_t at;
    int rc = buffer_put(&h->held, text, bytes, e);

    if (rc) return rc;
    at = find_stop(h);
    *stop = at != SIZE_MAX;
    return let_go(h, *stop ? at : h->held.bytes - undecided(h), e);
}

const char *completion_met(const struct completion *c)
{
    return c->met;
}

int completion_push(struct completion *c, uint32_t token, bool *stop, struct error *e)
{
    const char *text;
    size_t bytes;
    int rc = detokenizer_push(c->detokenizer, token, &text, &bytes, e);

    return rc ? rc : pass(c, text, bytes, stop, e);
}

int completion_finish(struct completion *c, bool *stop, struct error *e)
{
    const char *text;
    size_t bytes;
    int rc = detokenizer_finish(c->detokenizer, &text, &bytes);

    if (!rc) rc = pass(c, text, bytes, stop, e);
    if (!rc && !*stop) rc = let_go(c, c->held.bytes, e);
    return rc;
}
