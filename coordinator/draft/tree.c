#include "coordinator/draft/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define P_LEAST 0.002 /* of a path that is worth a position, however cheap */
#define TAIL    NGRAM_REACH

struct tree_heap_entry {
    double p;
    uint32_t root, parent, token;
    enum blend_source from;
};

/* ---- its life ---- */

uint64_t tree_bytes(uint32_t most, uint32_t roots, uint32_t spots)
{
    uint64_t nodes = (uint64_t)most + roots;

    return nodes * (sizeof(struct tree_node) + BLEND_MOST * sizeof(struct tree_heap_entry)) +
           (spots + UINT64_C(1) * roots) * sizeof(struct tree_spot) +
           roots * (TAIL * sizeof(uint32_t) + sizeof(struct sampler_settings) + 24) + (most + TAIL) * sizeof(uint32_t);
}

int tree_open(struct tree *t, const struct tree_config *c, struct error *e)
{
    *t = (struct tree){.config = *c, .heap_room = (c->roots + c->most) * BLEND_MOST};
    t->node = calloc(c->roots + c->most, sizeof *t->node);
    t->heap = calloc(t->heap_room, sizeof *t->heap);
    t->spot = calloc(c->roots + c->spots, sizeof *t->spot);
    t->path = calloc(c->most + TAIL, sizeof *t->path);
    t->tail = calloc((size_t)c->roots * TAIL, sizeof *t->tail);
    t->tails = calloc(c->roots, sizeof *t->tails);
    t->position = calloc(c->roots, sizeof *t->position);
    t->run = calloc(c->roots, sizeof *t->run);
    t->sampling = calloc(c->roots, sizeof *t->sampling);
    if (t->node && t->heap && t->spot && t->path && t->tail && t->tails && t->position && t->run && t->sampling)
        return 0;
    return error_set(e, ENOMEM, "no memory for trees of %u guesses", c->most);
}

void tree_close(struct tree *t)
{
    free(t->node);
    free(t->heap);
    free(t->spot);
    free(t->path);
    free(t->tail);
    free(t->tails);
    free(t->position);
    free(t->run);
    free(t->sampling);
    *t = (struct tree){0};
}

/* ---- the heap: the likeliest first ---- */

static bool before(const struct tree_heap_entry *a, const struct tree_heap_entry *b)
{
    return a->p > b->p;
}

static void push(struct tree *t, struct tree_heap_entry x)
{
    uint32_t i = t->heap_count;

    if (i == t->heap_room) return;
    for (t->heap_count++; i && before(&x, &t->heap[(i - 1) / 2]); i = (i - 1) / 2) t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = x;
}

static bool pop(struct tree *t, struct tree_heap_entry *out)
{
    struct tree_heap_entry x;
    uint32_t i = 0, child;

    if (!t->heap_count) return false;
    *out = t->heap[0];
    x = t->heap[--t->heap_count];
    while ((child = 2 * i + 1) < t->heap_count) {
        if (child + 1 < t->heap_count && before(&t->heap[child + 1], &t->heap[child])) child++;
        if (!before(&t->heap[child], &x)) break;
        t->heap[i] = t->heap[child];
        i = child;
    }
    t->heap[i] = x;
    return true;
}

/* ---- the tree ---- */

struct tree_node *tree_at(const struct tree *t, uint32_t root, uint32_t guess)
{
    return &t->node[guess == GUESS_ROOT ? root : t->config.roots + guess];
}

struct ngram_context tree_way(const struct tree *t, uint32_t root, uint32_t guess, uint32_t *ahead)
{
    uint32_t *end = t->path + t->config.most + TAIL, *at = end, left;

    for (*ahead = 0; guess != GUESS_ROOT; ++*ahead) {
        const struct tree_node *x = tree_at(t, root, guess);

        *--at = x->token;
        guess = x->parent;
    }
    left = (uint32_t)(at - t->path);
    if (left > t->tails[root]) left = t->tails[root];
    at -= left;
    memcpy(at, t->tail + (size_t)root * TAIL + TAIL - left, left * sizeof *at);
    return (struct ngram_context){end, (uint32_t)(end - at)};
}

/* What may follow a node becomes candidates. */
static void grow(struct tree *t, struct tree_node *x, uint32_t guess)
{
    const struct tree_spot *s = x->spot != TREE_NONE && t->spot[x->spot].scored ? &t->spot[x->spot] : NULL;
    const struct guess_root *r = &t->asked[x->root];
    const struct blend_guess *best = NULL;
    uint32_t ahead;
    struct ngram_context c = tree_way(t, x->root, guess, &ahead);

    blend_look(t->config.blend, c, &t->sampling[x->root], t->position[x->root] + ahead, s ? &s->scores : NULL,
               &x->list);
    x->open = true;
    x->ahead = ahead;
    if (ahead >= r->most) return;
    for (uint32_t i = 0; i < x->list.n; i++)
        if (!best || x->list.guess[i].p > best->p) best = &x->list.guess[i];
    for (uint32_t i = 0; i < x->list.n; i++) {
        const struct blend_guess *g = &x->list.guess[i];
        double p = x->p * (double)g->p;

        if (p >= P_LEAST && (g == best || !r->chain))
            push(t, (struct tree_heap_entry){p, x->root, guess, g->token, blend_from(t->config.blend, &x->list, g)});
    }
}

void tree_plant(struct tree *t, const struct guess_root *root, uint32_t roots, const uint32_t *run)
{
    t->roots = t->spots = roots < t->config.roots ? roots : t->config.roots;
    t->asked = root;
    for (uint32_t i = 0; i < t->roots; i++) {
        const struct guess_root *r = &root[i];

        t->tails[i] = r->count < TAIL ? r->count : TAIL;
        memcpy(t->tail + (size_t)i * TAIL + TAIL - t->tails[i], r->token + r->count - t->tails[i],
               t->tails[i] * sizeof *t->tail);
        t->position[i] = r->count;
        t->run[i] = run[i];
        t->sampling[i] = *r->sampling;
        t->spot[i] = (struct tree_spot){.kid = TREE_NONE, .next = TREE_NONE};
    }
}

void tree_begin(struct tree *t)
{
    t->heap_count = t->guesses = 0;
    for (uint32_t i = 0; i < t->roots; i++) {
        t->node[i] = (struct tree_node){.root = i, .parent = GUESS_ROOT, .spot = i, .p = 1, .list.run = t->run[i]};
        grow(t, &t->node[i], GUESS_ROOT);
    }
}

/* The spot after this one of that token. */
static uint32_t kid_of(const struct tree *t, uint32_t spot, uint32_t token)
{
    uint32_t i = spot == TREE_NONE ? TREE_NONE : t->spot[spot].kid;

    while (i != TREE_NONE && t->spot[i].token != token) i = t->spot[i].next;
    return i;
}

bool tree_next(struct tree *t)
{
    struct tree_heap_entry x;
    struct tree_node *y;
    const struct tree_node *parent;

    if (t->guesses == t->config.most || !pop(t, &x)) return false;
    y = tree_at(t, x.root, t->guesses);
    parent = tree_at(t, x.root, x.parent);
    *y = (struct tree_node){.root = x.root,
                            .parent = x.parent,
                            .token = x.token,
                            .spot = kid_of(t, parent->spot, x.token),
                            .from = x.from,
                            .p = x.p};
    y->list.run = blend_run(&parent->list, x.token);
    grow(t, y, t->guesses++);
    return true;
}

void tree_leave(struct tree *t)
{
    t->asked = NULL;
}

uint32_t tree_spot(struct tree *t, struct tree_node *x)
{
    const struct tree_node *parent = tree_at(t, x->root, x->parent);
    struct tree_spot *s = &t->spot[t->spots];

    if (t->spots == t->config.roots + t->config.spots || parent->spot == TREE_NONE) return TREE_NONE;
    *s = (struct tree_spot){.token = x->token, .kid = TREE_NONE, .next = t->spot[parent->spot].kid};
    return x->spot = t->spot[parent->spot].kid = t->spots++;
}
