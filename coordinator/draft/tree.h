/* The guesses of one sweep as they grow: the likeliest of all candidates, by the product of probabilities on its way from its root
 * (blend.h), joins the tree and brings its own candidates, and so on.
 *
 *   tree_plant()    the roots of a sweep
 *   tree_begin()    nothing but these; again as often as more is known
 *   tree_next()     one more guess
 *
 * What a small model says of what follows a root or a guess is kept from tree_begin() to tree_begin(), and asked for wherever the
 * same guess comes up again. Memory is fixed. */
#pragma once
#include <stdbool.h>
#include "coordinator/draft/blend.h"
#include "coordinator/draft/guess.h"
#include "proto/base/error.h"

#define TREE_NONE UINT32_MAX

/* A guess, or a root: what follows it. */
struct tree_node {
    uint32_t root, parent, token; /* parent: number of a guess, GUESS_ROOT */
    uint32_t spot;                /* TREE_NONE: nothing is known of it */
    uint32_t ahead;               /* guesses on the way to it, itself included */
    enum blend_source from;
    bool open; /* list is there */
    double p;
    struct blend_list list;
};

/* A root or a guess of which a small model knows: what it said, once it has. The roots' spots are the first. */
struct tree_spot {
    uint32_t token, kid, next; /* the last spot after it, the one before it of the same parent; TREE_NONE */
    bool scored;
    struct blend_scores scores;
};

struct tree_config {
    uint32_t most, roots, spots; /* guesses; roots at most; spots beside the roots', 0: no small model */
    const struct blend *blend;
};

struct tree {
    struct tree_config config;
    struct tree_node *node; /* [roots + most] the roots' first */
    uint32_t guesses;
    struct tree_heap_entry *heap;
    uint32_t heap_count, heap_room;
    struct tree_spot *spot; /* [roots + spots] */
    uint32_t spots;
    const struct guess_root *asked;    /* [roots] from tree_plant() to tree_leave() */
    uint32_t *path;                    /* [most + NGRAM_REACH] tokens before a node */
    uint32_t *tail, *tails;            /* [roots][NGRAM_REACH] tokens of each root, at its end; how many */
    uint64_t *position;                /* [roots] of the token after it */
    uint32_t *run;                     /* [roots] likeliest tokens in a row at its end */
    struct sampler_settings *sampling; /* [roots] */
    uint32_t roots;
};

uint64_t tree_bytes(uint32_t most, uint32_t roots, uint32_t spots);
int tree_open(struct tree *t, const struct tree_config *c, struct error *e);
void tree_close(struct tree *t);

void tree_plant(struct tree *t, const struct guess_root *root, uint32_t roots, const uint32_t *run);
void tree_begin(struct tree *t);
bool tree_next(struct tree *t);  /* t->guesses is one more; false: there is none, or no room */
void tree_leave(struct tree *t); /* the roots are asked for no more */

/* A root, node GUESS_ROOT, or a guess. */
struct tree_node *tree_at(const struct tree *t, uint32_t root, uint32_t guess);
/* The tokens up to it, itself the last: the newest NGRAM_REACH of them, or what there is; until the next call. *ahead: guesses
 * on the way. */
struct ngram_context tree_way(const struct tree *t, uint32_t root, uint32_t guess, uint32_t *ahead);
/* A spot for a guess whose parent has one, the next number; TREE_NONE: no room. */
uint32_t tree_spot(struct tree *t, struct tree_node *x);
