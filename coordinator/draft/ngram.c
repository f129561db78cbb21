#include "coordinator/draft/ngram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Tokens of a context, and how many between it and what follows may be any: where a text that is copied has one token
 * changed, the tokens before that one say how it goes on. The weakest first. */
static const struct order {
    uint8_t length, gap;
} orders[NGRAM_ORDERS] = {{1, 0}, {2, 0},  {6, 1},  {3, 0},  {4, 0},          {6, 0},
                          {8, 0}, {12, 0}, {16, 0}, {24, 0}, {NGRAM_REACH, 0}};
#define NO_SLOT UINT32_MAX /* the context is too short */

#define MEETINGS   24u   /* of a context that are looked at, the newest */
#define STEPS      64u   /* of a list of entries, those of other contexts included */
#define FOLLOWERS  32u   /* different tokens that are told apart */
#define REST_LEAST 0.004 /* shares below this are not worth the way */

/* Classes of contexts: how often met, and by how many different tokens they were followed. */
#define MEETING_CLASSES  5u
#define FOLLOWER_CLASSES 3u
#define TRIALS_MOST      200.0f /* what was learnt longer ago counts half */
#define TRIALS_BEFORE    4.0f   /* that what is assumed at first counts for */

struct escape {
    float trials, escapes;
};

struct entry {
    uint32_t token, before;
    uint32_t link[NGRAM_ORDERS]; /* the entry before this one whose context of this order has the same hash */
};

struct ngrams {
    uint32_t room, count, mask;
    struct entry *entry; /* [room] */
    uint32_t *newest;    /* [NGRAM_ORDERS][mask + 1] */
    struct escape rate[NGRAM_ORDERS][MEETING_CLASSES * FOLLOWER_CLASSES];
};

/* Of texts of all kinds, roughly: only where it starts. */
static const float escapes_at_first[NGRAM_ORDERS] = {.75f, .55f, .5f, .4f, .3f, .2f, .12f, .06f, .03f, .015f, .008f};

static void assume_rates(struct ngrams *g)
{
    for (uint32_t k = 0; k < NGRAM_ORDERS; k++)
        for (uint32_t m = 0; m < MEETING_CLASSES; m++)
            for (uint32_t f = 0; f < FOLLOWER_CLASSES; f++) {
                float x = escapes_at_first[k] * (m && !f ? 0.5f : 1);

                g->rate[k][m * FOLLOWER_CLASSES + f] = (struct escape){TRIALS_BEFORE, TRIALS_BEFORE * x};
            }
}

static uint64_t heads(uint32_t tokens)
{
    return UINT64_C(2) * tokens;
}

uint64_t ngrams_bytes(uint32_t tokens)
{
    return sizeof(struct ngrams) + tokens * sizeof(struct entry) + NGRAM_ORDERS * heads(tokens) * sizeof(uint32_t);
}

static void empty_lists(struct ngrams *g)
{
    memset(g->newest, 0xff, NGRAM_ORDERS * heads(g->room) * sizeof *g->newest);
}

int ngrams_open(struct ngrams **out, uint32_t tokens, struct error *e)
{
    struct ngrams *g = calloc(1, sizeof *g);

    if (g) {
        g->entry = malloc(tokens * sizeof *g->entry);
        g->newest = malloc(NGRAM_ORDERS * heads(tokens) * sizeof *g->newest);
    }
    if (!g || !g->entry || !g->newest) {
        ngrams_close(g);
        return error_set(e, ENOMEM, "no memory to find %u tokens again", tokens);
    }
    g->room = tokens;
    g->mask = (uint32_t)heads(tokens) - 1;
    empty_lists(g);
    assume_rates(g);
    *out = g;
    return 0;
}

void ngrams_close(struct ngrams *g)
{
    if (!g) return;
    free(g->entry);
    free(g->newest);
    free(g);
}

uint32_t ngrams_token(const struct ngrams *g, uint32_t entry)
{
    return g->entry[entry].token;
}

uint32_t ngrams_before(const struct ngrams *g, uint32_t entry)
{
    return g->entry[entry].before;
}

/* ---- contexts ---- */

static uint64_t stir(uint64_t h, uint32_t token)
{
    h = (h ^ token) * UINT64_C(0xD6E8FEB86659FD93);
    return h ^ h >> 29;
}

/* The list of each order. Contexts without a gap are the longer ones' ends, so that each token is looked at once. */
static void hash(const struct ngrams *g, struct ngram_context c, uint32_t out[NGRAM_ORDERS])
{
    const uint64_t seed = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t whole = seed;
    uint32_t done = 0;

    for (uint32_t k = 0; k < NGRAM_ORDERS; k++) {
        uint32_t from = orders[k].gap, to = from + orders[k].length;
        uint64_t h = seed;

        out[k] = NO_SLOT;
        if (to > c.known) continue;
        for (uint32_t i = from; i < to && from; i++) h = stir(h, *(c.end - 1 - i));
        for (; done < to && !from; done++) whole = stir(whole, *(c.end - 1 - done));
        out[k] = (uint32_t)(((from ? h : whole) * (2 * k + seed)) >> 32) & g->mask;
    }
}

static bool in_context(const struct ngrams *g, uint32_t entry, struct ngram_context c, uint32_t order)
{
    uint32_t at = g->entry[entry].before, gap = orders[order].gap;

    for (uint32_t i = 0; i < gap + orders[order].length; i++) {
        if (at == NGRAM_NONE || (i >= gap && g->entry[at].token != *(c.end - 1 - i))) return false;
        at = g->entry[at].before;
    }
    return true;
}

/* What followed a context, but those tokens that are left out; and how often it was met, they included. */
struct followers {
    uint32_t token[FOLLOWERS], count[FOLLOWERS];
    uint32_t n, sum, meetings;
};

static bool among(const struct ngram_guess *list, uint32_t n, uint32_t token)
{
    for (uint32_t i = 0; i < n; i++)
        if (list[i].token == token) return true;
    return false;
}

static void count_follower(struct followers *f, uint32_t token)
{
    uint32_t i = 0;

    while (i < f->n && f->token[i] != token) i++;
    if (i == FOLLOWERS) return;
    if (i == f->n) {
        f->token[f->n] = token;
        f->count[f->n++] = 0;
    }
    f->count[i]++;
    f->sum++;
}

static void list_followers(const struct ngrams *g, struct ngram_context c, uint32_t order, uint32_t slot,
                           const struct ngram_guess *without, uint32_t n, struct followers *f)
{
    uint32_t at = g->newest[order * (uint64_t)(g->mask + 1) + slot];

    f->n = f->sum = f->meetings = 0;
    for (uint32_t step = 0; at != NGRAM_NONE && step < STEPS && f->meetings < MEETINGS; step++) {
        const struct entry *x = &g->entry[at];

        if (in_context(g, at, c, order)) {
            f->meetings++;
            if (!among(without, n, x->token)) count_follower(f, x->token);
        }
        at = x->link[order];
    }
}

static uint32_t meeting_class(uint32_t n)
{
    return n < 3 ? n - 1 : n < 5 ? 2 : n < 9 ? 3 : 4;
}

static uint32_t follower_class(uint32_t n)
{
    return n < FOLLOWER_CLASSES ? n - 1 : FOLLOWER_CLASSES - 1;
}

/* What each order has added, for who learns from it: the number of its rate, from 1; 0: nothing. */
struct steps {
    uint32_t rate[NGRAM_ORDERS];
    uint32_t from[FOLLOWERS]; /* the order that each of the list is from */
};

static uint32_t walk(const struct ngrams *g, struct ngram_context c, struct ngram_guess *out, uint32_t most,
                     uint32_t *order, struct steps *steps)
{
    uint32_t slot[NGRAM_ORDERS], k = NGRAM_ORDERS, n = 0;
    struct followers f;
    double rest = 1;

    hash(g, c, slot);
    *order = NGRAM_ORDERS;
    while (k-- > 0 && rest > REST_LEAST && n < most) {
        uint32_t before = n, rate;
        double share;

        if (slot[k] == NO_SLOT) continue;
        list_followers(g, c, k, slot[k], out, n, &f);
        if (!f.n) continue;
        if (*order == NGRAM_ORDERS) *order = k;
        rate = meeting_class(f.meetings) * FOLLOWER_CLASSES + follower_class(f.n);
        share = rest * (1 - (double)(g->rate[k][rate].escapes / g->rate[k][rate].trials));
        for (uint32_t i = 0; i < f.n && n < most; i++)
            out[n++] = (struct ngram_guess){f.token[i], share * f.count[i] / f.sum};
        rest -= share;
        if (!steps) continue;
        for (; before < n; before++) steps->from[before] = k;
        steps->rate[k] = rate + 1;
    }
    return n;
}

uint32_t ngrams_guess(const struct ngrams *g, struct ngram_context c, struct ngram_guess *out, uint32_t most,
                      uint32_t *order)
{
    return walk(g, c, out, most, order, NULL);
}

/* ---- growing ---- */

static void count_trial(struct escape *x, bool escaped)
{
    if (x->trials > TRIALS_MOST) {
        x->trials /= 2;
        x->escapes /= 2;
    }
    x->trials++;
    if (escaped) x->escapes++;
}

/* The longest context that was met says whether the token is one of its; where it is not, the next one that it left something
 * to says so. */
static void learn(struct ngrams *g, struct ngram_context c, uint32_t token)
{
    struct ngram_guess list[FOLLOWERS];
    struct steps steps = {0};
    uint32_t order, n = walk(g, c, list, FOLLOWERS, &order, &steps), found = NGRAM_NONE;

    for (uint32_t i = 0; i < n; i++)
        if (list[i].token == token) found = steps.from[i];
    for (uint32_t k = NGRAM_ORDERS; k-- > 0;) {
        if (!steps.rate[k]) continue;
        count_trial(&g->rate[k][steps.rate[k] - 1], k != found);
        if (k == found) return;
    }
}

static void link_entry(struct ngrams *g, uint32_t at, struct ngram_context c)
{
    uint32_t slot[NGRAM_ORDERS];

    hash(g, c, slot);
    for (uint32_t k = 0; k < NGRAM_ORDERS; k++) {
        uint32_t *head = slot[k] == NO_SLOT ? NULL : &g->newest[k * (uint64_t)(g->mask + 1) + slot[k]];

        g->entry[at].link[k] = NGRAM_NONE;
        if (!head) continue;
        g->entry[at].link[k] = *head;
        *head = at;
    }
}

uint32_t ngrams_add(struct ngrams *g, uint32_t before, struct ngram_context c, uint32_t token)
{
    uint32_t at = g->count;

    if (at == g->room) return NGRAM_NONE;
    if (c.known > NGRAM_REACH) c.known = NGRAM_REACH;
    learn(g, c, token);
    g->entry[at].token = token;
    g->entry[at].before = before;
    link_entry(g, at, c);
    g->count++;
    return at;
}

/* The tokens before an entry, as far as they are there. */
static struct ngram_context context_of(const struct ngrams *g, uint32_t entry, uint32_t buffer[NGRAM_REACH])
{
    uint32_t n = 0;

    for (uint32_t at = g->entry[entry].before; at != NGRAM_NONE && n < NGRAM_REACH; at = g->entry[at].before)
        buffer[NGRAM_REACH - ++n] = g->entry[at].token;
    return (struct ngram_context){buffer + NGRAM_REACH, n};
}

uint32_t ngrams_forget(struct ngrams *g)
{
    uint32_t cut = g->count / 2, buffer[NGRAM_REACH];

    g->count -= cut;
    memmove(g->entry, g->entry + cut, g->count * sizeof *g->entry);
    empty_lists(g);
    for (uint32_t i = 0; i < g->count; i++) {
        struct entry *x = &g->entry[i];

        x->before = x->before == NGRAM_NONE || x->before < cut ? NGRAM_NONE : x->before - cut;
        link_entry(g, i, context_of(g, i, buffer));
    }
    return cut;
}
