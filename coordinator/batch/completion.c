#include "coordinator/batch/completion.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct completion {
    struct completion_config config;
    struct detokenizer *detokenizer;
    char *held; /* text that may still turn out to be the beginning of a stop text */
    size_t bytes, room;
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
    free(c->held);
    free(c);
}

static int hold(struct completion *h, const char *text, size_t bytes, struct error *e)
{
    if (h->bytes + bytes > h->room) {
        size_t room = 2 * (h->bytes + bytes) + 256;
        char *more = realloc(h->held, room);

        if (!more) return error_set(e, ENOMEM, "out of memory");
        h->held = more;
        h->room = room;
    }
    if (bytes) memcpy(h->held + h->bytes, text, bytes);
    h->bytes += bytes;
    return 0;
}

static int let_go(struct completion *h, size_t bytes, struct error *e)
{
    int rc = bytes ? h->config.text(h->config.arg, h->held, bytes, e) : 0;

    h->bytes -= bytes;
    if (bytes) memmove(h->held, h->held + bytes, h->bytes);
    return rc;
}

/* The earliest stop text in what is held: its offset, or SIZE_MAX. */
static size_t find_stop(const struct completion *h)
{
    const struct completion_config *c = &h->config;
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < c->stops; i++) {
        const char *at = h->bytes && c->stop[i][0] ? memmem(h->held, h->bytes, c->stop[i], strlen(c->stop[i])) : NULL;

        if (at && (size_t)(at - h->held) < best) best = (size_t)(at - h->held);
    }
    return best;
}

/* Bytes at the end that are the beginning of a stop text. */
static size_t undecided(const struct completion *h)
{
    const struct completion_config *c = &h->config;
    size_t most = 0;

    for (size_t i = 0; i < c->stops; i++) {
        size_t n = strlen(c->stop[i]);

        for (size_t k = n < h->bytes ? n : h->bytes; k > most; k--)
            if (!memcmp(h->held + h->bytes - k, c->stop[i], k)) {
                most = k;
                break;
            }
    }
    return most;
}

static int pass(struct completion *h, const char *text, size_t bytes, bool *stop, struct error *e)
{
    size_t at;
    int rc = hold(h, text, bytes, e);

    if (rc) return rc;
    at = find_stop(h);
    *stop = at != SIZE_MAX;
    return let_go(h, *stop ? at : h->bytes - undecided(h), e);
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
    if (!rc && !*stop) rc = let_go(c, c->bytes, e);
    return rc;
}
