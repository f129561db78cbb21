#include "coordinator/draft/history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_LEAST 4096u
#define TOKENS_MOST  65536u
#define TEXTS        64u

struct text {
    uint32_t number;
    uint32_t last;  /* its newest entry, NGRAM_NONE: none */
    uint32_t known; /* tokens of it that were added */
    uint64_t used;  /* when it was met last, from 1; 0: there is none here */
};

struct history {
    struct ngrams *ngrams;
    struct text text[TEXTS];
    uint64_t clock;
};

static uint32_t tokens_for(uint32_t tokens)
{
    uint32_t n = TOKENS_LEAST;

    while (n < TOKENS_MOST && n / 2 < tokens) n *= 2;
    return n;
}

uint64_t history_bytes(uint32_t tokens)
{
    return sizeof(struct history) + ngrams_bytes(tokens_for(tokens));
}

int history_open(struct history **out, uint32_t tokens, struct error *e)
{
    struct history *h = calloc(1, sizeof *h);
    int rc;

    if (!h) return error_set(e, ENOMEM, "out of memory");
    if ((rc = ngrams_open(&h->ngrams, tokens_for(tokens), e)))
        free(h);
    else
        *out = h;
    return rc;
}

void history_close(struct history *h)
{
    if (!h) return;
    ngrams_close(h->ngrams);
    free(h);
}

const struct ngrams *history_ngrams(const struct history *h)
{
    return h->ngrams;
}

/* How many tokens of r are the first of a text whose entries are all there; *last: the last of these. */
static uint32_t common(const struct history *h, const struct text *t, const struct guess_root *r, uint32_t *last)
{
    uint32_t at = t->last, same = 0;

    *last = NGRAM_NONE;
    for (uint32_t i = t->known; i-- > 0; at = ngrams_before(h->ngrams, at)) {
        if (at == NGRAM_NONE) return 0; /* its beginning was forgotten */
        if (i >= r->count || r->token[i] != ngrams_token(h->ngrams, at))
            same = 0;
        else if (!same++)
            *last = at;
    }
    return same;
}

/* A new text takes the place of the one that was not met for longest, and goes on from the one that began as it does. */
static struct text *begin(struct history *h, const struct guess_root *r)
{
    struct text *place = h->text, x = {.number = r->number, .last = NGRAM_NONE};

    for (uint32_t i = 0; i < TEXTS; i++) {
        uint32_t last, same = h->text[i].used ? common(h, &h->text[i], r, &last) : 0;

        if (same > x.known) {
            x.known = same;
            x.last = last;
        }
        if (h->text[i].used < place->used) place = &h->text[i];
    }
    *place = x;
    return place;
}

static struct text *find(struct history *h, const struct guess_root *r)
{
    for (uint32_t i = 0; i < TEXTS; i++)
        if (h->text[i].used && h->text[i].number == r->number && h->text[i].known <= r->count) return &h->text[i];
    return begin(h, r);
}

static void forget(struct history *h)
{
    uint32_t cut = ngrams_forget(h->ngrams);

    for (uint32_t i = 0; i < TEXTS; i++) {
        struct text *t = &h->text[i];

        if (t->last == NGRAM_NONE) continue;
        if (t->last < cut)
            t->used = 0;
        else
            t->last -= cut;
    }
}

void history_meet(struct history *h, const struct guess_root *r)
{
    struct text *t = find(h, r);

    t->used = ++h->clock;
    while (t->known < r->count) {
        const uint32_t *token = r->token + t->known;
        uint32_t at = ngrams_add(h->ngrams, t->last, (struct ngram_context){token, t->known}, *token);

        if (at == NGRAM_NONE) {
            forget(h);
            if (!t->used) *t = (struct text){.number = r->number, .last = NGRAM_NONE, .used = h->clock};
            continue;
        }
        t->last = at;
        t->known++;
    }
}
