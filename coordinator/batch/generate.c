#include "coordinator/batch/generate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/tokenizer/detokenizer.h"

/* Text that may still turn out to be the beginning of a stop text. */
struct held {
    char *text;
    size_t bytes, room;
};

static int hold(struct held *h, const char *text, size_t bytes, struct error *e)
{
    if (h->bytes + bytes > h->room) {
        size_t room = 2 * (h->bytes + bytes) + 256;
        char *more = realloc(h->text, room);

        if (!more) return error_set(e, ENOMEM, "out of memory");
        h->text = more;
        h->room = room;
    }
    if (bytes) memcpy(h->text + h->bytes, text, bytes);
    h->bytes += bytes;
    return 0;
}

static int let_go(struct held *h, size_t bytes, const struct generate_config *c, struct error *e)
{
    int rc = bytes ? c->text(c->arg, h->text, bytes, e) : 0;

    h->bytes -= bytes;
    if (bytes) memmove(h->text, h->text + bytes, h->bytes);
    return rc;
}

/* The earliest stop text in what is held: its offset, or SIZE_MAX. */
static size_t find_stop(const struct held *h, const struct generate_config *c)
{
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < c->stops; i++) {
        const char *at = h->bytes && c->stop[i][0] ? memmem(h->text, h->bytes, c->stop[i], strlen(c->stop[i])) : NULL;

        if (at && (size_t)(at - h->text) < best) best = (size_t)(at - h->text);
    }
    return best;
}

/* Bytes at the end that are the beginning of a stop text. */
static size_t undecided(const struct held *h, const struct generate_config *c)
{
    size_t most = 0;

    for (size_t i = 0; i < c->stops; i++) {
        size_t n = strlen(c->stop[i]);

        for (size_t k = n < h->bytes ? n : h->bytes; k > most; k--)
            if (!memcmp(h->text + h->bytes - k, c->stop[i], k)) {
                most = k;
                break;
            }
    }
    return most;
}

static int pass(struct held *h, const struct generate_config *c, const char *text, size_t bytes, bool *stop, struct error *e)
{
    size_t at;
    int rc = hold(h, text, bytes, e);

    if (rc) return rc;
    at = find_stop(h, c);
    *stop = at != SIZE_MAX;
    return let_go(h, *stop ? at : h->bytes - undecided(h, c), c, e);
}

static int finish(struct held *h, struct detokenizer *d, const struct generate_config *c, struct generate_result *out, struct error *e)
{
    const char *text;
    size_t bytes;
    bool stop = false;
    int rc = detokenizer_finish(d, &text, &bytes);

    if (!rc) rc = pass(h, c, text, bytes, &stop, e);
    if (!rc && stop) out->end = END_STOP;
    if (!rc && !stop) rc = let_go(h, h->bytes, c, e);
    return rc;
}

int generate(struct session *s, const struct generate_config *c, struct generate_result *out, struct error *e)
{
    struct detokenizer *d = NULL;
    struct held held = {0};
    const char *text;
    size_t bytes;
    uint32_t token;
    bool end = false, stop = false;
    int rc = detokenizer_open(&d, s->tokenizer, !c->keep_special, e);

    *out = (struct generate_result){.end = END_LENGTH};
    if (!rc) detokenizer_speak(d, c->spoken, c->spoken_count);
    while (!rc && !stop && (!c->max_tokens || out->tokens < c->max_tokens)) {
        if (s->tokens.count >= session_context(s)) {
            out->end = END_CONTEXT;
            break;
        }
        if ((rc = session_next(s, &token, &end, e))) break;
        out->tokens++;
        if (end) {
            out->end = END_TOKEN;
            break;
        }
        rc = detokenizer_push(d, token, &text, &bytes, e);
        if (!rc) rc = pass(&held, c, text, bytes, &stop, e);
        if (stop) out->end = END_STOP;
    }
    if (!stop && (!rc || rc == -ECANCELED) && d) {
        struct error second;
        int last = finish(&held, d, c, out, rc ? &second : e);
        if (!rc) rc = last;
    }
    detokenizer_close(d);
    free(held.text);
    return rc;
}

const char *generate_end_name(enum generate_end end)
{
    static const char *const names[] = {"end", "stop", "length", "context"};

    return names[end];
}
