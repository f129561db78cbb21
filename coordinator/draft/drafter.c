#include "coordinator/draft/drafter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/draft/blend.h"
#include "coordinator/draft/history.h"

#define P_LEAST    0.002 /* of a path that is worth a position, however cheap */
#define BEYOND     8u    /* guesses after the best tree that are looked at for a better one */
#define GAIN_LEAST 0.98  /* of the seconds without any: what is no better than that is left */
/* What sweeps without guesses take is looked at where those with some take longer than that is assumed to be, by more than
 * this: at once where it is not known, else after so many. */
#define BLIND_MOST 128u
#define LONGER     1.1
#define TAIL       NGRAM_REACH

/* A guess, or a root: what follows it. */
struct node {
    uint32_t root, parent, token; /* parent: number of a guess, GUESS_ROOT */
    bool recycled;                /* more than from n-grams */
    bool open;                    /* list is there */
    double p;
    struct blend_list list;
};

struct heap_entry {
    double p;
    uint32_t root, parent, token;
    bool recycled;
};

/* Likeliest tokens in a row at the end of a sequence. */
#define STREAKS 256u
struct streak {
    uint32_t number, run;
};

struct drafter {
    struct drafter_config config;
    double *experts;
    struct history *history;
    struct recycle *recycle;
    struct blend blend;
    struct streak streak[STREAKS]; /* of the sequences whose numbers have these last bits */
    struct budget budget;
    struct node *node; /* [roots + most] the roots' first */
    struct heap_entry *heap;
    uint32_t heap_count, heap_room;
    /* the sweep under way */
    const struct guess_ask *ask;
    uint32_t *path;                    /* [most + TAIL] tokens before a node */
    uint32_t *tail, *tails;            /* [roots][TAIL] tokens of each root, at its end; how many */
    uint64_t *position;                /* [roots] of the token after it */
    uint32_t *number;                  /* [roots] */
    struct sampler_settings *sampling; /* [roots] */
    uint32_t roots, guesses;
    double predicted;
    uint32_t blind; /* sweeps since the last one without guesses */
    bool asked;     /* about the sweep under way */
    double seconds; /* of the last sweep with guesses */
    struct drafter_stats stats;
};

/* ---- its life ---- */

static uint32_t places(uint32_t tokens)
{
    uint32_t n = 1024;

    while (n < 8192 && n < tokens) n *= 2;
    return n;
}

uint64_t drafter_bytes(uint32_t most, uint32_t roots, uint32_t tokens)
{
    uint64_t nodes = (uint64_t)most + roots;

    return sizeof(struct drafter) + history_bytes(tokens) + recycle_bytes(places(tokens)) +
           nodes * (sizeof(struct node) + BLEND_MOST * sizeof(struct heap_entry)) +
           roots * (TAIL * sizeof(uint32_t) + sizeof(struct sampler_settings) + 24) + (most + TAIL) * sizeof(uint32_t);
}

static int allocate(struct drafter *d, struct error *e)
{
    const struct drafter_config *c = &d->config;

    d->heap_room = (c->roots + c->most) * BLEND_MOST;
    d->node = calloc(c->roots + c->most, sizeof *d->node);
    d->heap = calloc(d->heap_room, sizeof *d->heap);
    d->path = calloc(c->most + TAIL, sizeof *d->path);
    d->tail = calloc((size_t)c->roots * TAIL, sizeof *d->tail);
    d->tails = calloc(c->roots, sizeof *d->tails);
    d->position = calloc(c->roots, sizeof *d->position);
    d->number = calloc(c->roots, sizeof *d->number);
    d->sampling = calloc(c->roots, sizeof *d->sampling);
    if (c->costs.experts) d->experts = malloc((c->costs.most + UINT64_C(1)) * sizeof *d->experts);
    if (d->node && d->heap && d->path && d->tail && d->tails && d->position && d->number && d->sampling &&
        (d->experts || !c->costs.experts))
        return 0;
    return error_set(e, ENOMEM, "no memory for trees of %u guesses", c->most);
}

int drafter_open(struct drafter **out, const struct drafter_config *c, struct error *e)
{
    struct drafter *d = calloc(1, sizeof *d);
    struct budget_costs costs = c->costs;
    int rc;

    if (!d) return error_set(e, ENOMEM, "out of memory");
    d->config = *c;
    rc = allocate(d, e);
    if (!rc) rc = history_open(&d->history, c->tokens, e);
    if (!rc) rc = recycle_open(&d->recycle, places(c->tokens), e);
    if (rc) {
        drafter_close(d);
        return rc;
    }
    if (costs.experts) costs.experts = memcpy(d->experts, costs.experts, (costs.most + UINT64_C(1)) * sizeof(double));
    budget_open(&d->budget, &costs);
    blend_open(&d->blend, history_ngrams(d->history), d->recycle);
    *out = d;
    return 0;
}

void drafter_close(struct drafter *d)
{
    if (!d) return;
    history_close(d->history);
    recycle_close(d->recycle);
    free(d->experts);
    free(d->node);
    free(d->heap);
    free(d->path);
    free(d->tail);
    free(d->tails);
    free(d->position);
    free(d->number);
    free(d->sampling);
    free(d);
}

struct drafter_stats drafter_stats(const struct drafter *d)
{
    return d->stats;
}

/* ---- the heap: the likeliest first; of equals, the one that came first in the tree ---- */

static bool before(const struct heap_entry *a, const struct heap_entry *b)
{
    return a->p > b->p;
}

static void push(struct drafter *d, struct heap_entry x)
{
    uint32_t i = d->heap_count;

    if (i == d->heap_room) return;
    for (d->heap_count++; i && before(&x, &d->heap[(i - 1) / 2]); i = (i - 1) / 2) d->heap[i] = d->heap[(i - 1) / 2];
    d->heap[i] = x;
}

static bool pop(struct drafter *d, struct heap_entry *out)
{
    struct heap_entry x;
    uint32_t i = 0, child;

    if (!d->heap_count) return false;
    *out = d->heap[0];
    x = d->heap[--d->heap_count];
    while ((child = 2 * i + 1) < d->heap_count) {
        if (child + 1 < d->heap_count && before(&d->heap[child + 1], &d->heap[child])) child++;
        if (!before(&d->heap[child], &x)) break;
        d->heap[i] = d->heap[child];
        i = child;
    }
    d->heap[i] = x;
    return true;
}

/* ---- the tree ---- */

/* The tokens up to a node, itself the last: the newest TAIL of them, or what there is. *ahead: guesses on the way. */
static struct ngram_context way_to(struct drafter *d, uint32_t root, uint32_t guess, uint32_t *ahead)
{
    uint32_t *end = d->path + d->config.most + TAIL, *at = end, left;

    for (*ahead = 0; guess != GUESS_ROOT; ++*ahead) {
        const struct node *x = &d->node[d->config.roots + guess];

        *--at = x->token;
        guess = x->parent;
    }
    left = (uint32_t)(at - d->path);
    if (left > d->tails[root]) left = d->tails[root];
    at -= left;
    memcpy(at, d->tail + (size_t)root * TAIL + TAIL - left, left * sizeof *at);
    return (struct ngram_context){end, (uint32_t)(end - at)};
}

/* What may follow a node becomes candidates. */
static void grow(struct drafter *d, struct node *x, uint32_t guess)
{
    uint32_t ahead;
    struct ngram_context c = way_to(d, x->root, guess, &ahead);
    const struct blend_guess *best = NULL;

    blend_look(&d->blend, c, &d->sampling[x->root], d->position[x->root] + ahead, &x->list);
    x->open = true;
    if (ahead >= d->ask->root[x->root].most) return;
    for (uint32_t i = 0; i < x->list.n; i++)
        if (!best || x->list.guess[i].p > best->p) best = &x->list.guess[i];
    for (uint32_t i = 0; i < x->list.n; i++) {
        const struct blend_guess *g = &x->list.guess[i];
        double p = x->p * (double)g->p;

        if (p >= P_LEAST && (g == best || !d->ask->root[x->root].chain))
            push(d, (struct heap_entry){p, x->root, guess, g->token, g->recycled > g->ngram});
    }
}

static uint32_t run_of(const struct drafter *d, uint32_t number)
{
    const struct streak *x = &d->streak[number % STREAKS];

    return x->number == number ? x->run : 0;
}

static void plant(struct drafter *d)
{
    d->heap_count = 0;
    for (uint32_t i = 0; i < d->roots; i++) {
        const struct guess_root *r = &d->ask->root[i];

        history_meet(d->history, r);
        d->tails[i] = r->count < TAIL ? r->count : TAIL;
        memcpy(d->tail + (size_t)i * TAIL + TAIL - d->tails[i], r->token + r->count - d->tails[i],
               d->tails[i] * sizeof *d->tail);
        d->position[i] = r->count;
        d->number[i] = r->number;
        d->sampling[i] = *r->sampling;
        d->node[i] = (struct node){.root = i, .parent = GUESS_ROOT, .p = 1, .list.run = run_of(d, r->number)};
        grow(d, &d->node[i], GUESS_ROOT);
    }
}

/* What follows a guess, or a root. */
static const struct blend_list *list_of(const struct drafter *d, uint32_t root, uint32_t guess)
{
    return &d->node[guess == GUESS_ROOT ? root : d->config.roots + guess].list;
}

/* The tree as large as it pays: how many of the guesses that were made. */
static uint32_t choose(struct drafter *d, uint32_t most)
{
    uint32_t at = d->ask->positions, rows = d->roots, best = 0, n = 0;
    double tokens = d->roots, seconds = budget_seconds(&d->budget, at, rows), least = seconds / tokens * GAIN_LEAST;
    struct heap_entry x;

    d->predicted = tokens;
    while (n < most && (d->config.fixed || n < best + BEYOND) && pop(d, &x)) {
        struct node *y = &d->node[d->config.roots + n];
        double longer = budget_seconds(&d->budget, at + n + 1, rows + n + 1);

        tokens += x.p;
        if (longer > seconds) seconds = longer;
        *y = (struct node){.root = x.root, .parent = x.parent, .token = x.token, .recycled = x.recycled, .p = x.p};
        y->list.run = blend_run(list_of(d, x.root, x.parent), x.token);
        n++;
        if (d->config.fixed || seconds / tokens < least) {
            least = seconds / tokens;
            best = n;
            d->predicted = tokens;
        }
        grow(d, y, n - 1);
    }
    return best;
}

/* Is a sweep without guesses due? */
static bool look_up(const struct drafter *d)
{
    uint32_t n = d->ask->positions, rows = d->roots;

    if (d->config.fixed || !d->blind) return false;
    if (!budget_seen(&d->budget, n)) return d->seconds > LONGER * budget_planned(&d->budget, n, rows);
    return d->blind >= BLIND_MOST && d->seconds > LONGER * budget_seconds(&d->budget, n, rows);
}

static uint32_t on_guess(void *arg, const struct guess_ask *ask, struct guess *out)
{
    struct drafter *d = arg;
    uint32_t most = ask->most < d->config.most ? ask->most : d->config.most;

    d->ask = ask;
    d->roots = ask->roots < d->config.roots ? ask->roots : d->config.roots;
    plant(d);
    d->guesses = choose(d, look_up(d) ? 0 : most);
    for (uint32_t i = 0; i < d->guesses; i++) {
        const struct node *x = &d->node[d->config.roots + i];

        out[i] = (struct guess){x->root, x->parent, x->token};
    }
    d->ask = NULL;
    d->asked = true;
    return d->guesses;
}

/* ---- what came of it ---- */

static void on_seen(void *arg, const struct guess_seen *s)
{
    struct drafter *d = arg;
    struct node *x = s->node ? &d->node[d->config.roots + s->node - 1] : &d->node[s->root];
    struct ngram_context c;
    uint32_t ahead;

    if (s->root >= d->roots) return;
    c = way_to(d, s->root, s->node ? s->node - 1 : GUESS_ROOT, &ahead);
    if (x->open) {
        blend_learn(&d->blend, &x->list, s->token);
        d->streak[d->number[s->root] % STREAKS] = (struct streak){d->number[s->root], blend_run(&x->list, s->token)};
    }
    if (s->node && x->recycled) d->stats.hits_recycled++;
    if (s->node && !x->recycled) d->stats.hits_ngram++;
    recycle_keep(d->recycle, c.end, c.known, s->logits, d->config.vocab);
}

static void on_swept(void *arg, const struct guess_sweep *s)
{
    struct drafter *d = arg;

    if (s->decode) budget_learn(&d->budget, s->positions, s->rows, (double)s->ns / 1e9);
    if (s->guesses) d->seconds = (double)s->ns / 1e9;
    d->blind = s->guesses ? d->blind + 1 : 0;
    if (!d->asked) return;
    d->asked = false;
    d->stats.sweeps++;
    d->stats.guesses += s->guesses;
    d->stats.tokens += s->tokens;
    d->stats.predicted += d->predicted;
}

static void on_meet(void *arg, const struct guess_root *r)
{
    struct drafter *d = arg;

    history_meet(d->history, r);
}

struct guesser drafter_guesser(struct drafter *d)
{
    return (struct guesser){.meet = on_meet, .guess = on_guess, .seen = on_seen, .swept = on_swept, .arg = d};
}
