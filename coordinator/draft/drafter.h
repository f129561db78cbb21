/* The guesser: a tree of what is likeliest to follow, over all sequences that are answering, as large as it pays.
 *
 * Of the trees that grow (tree.h) the one is taken with the fewest seconds for a token, by what sweeps take (budget.h): with n
 * guesses of probabilities p and R roots
 *
 *   seconds(n) / (R + sum of p)
 *
 * With a small model (neural.h) the likeliest guesses of the tree are asked about in steps, several in each, and the tree grows
 * anew with what it says, while that brings more than it costs: with S the sum of the p of a step's guesses, g what such a sum
 * has brought so far in tokens of the tree, T the seconds of the sweep and of the steps before it
 *
 *   g S T / (R + sum of p)  >  seconds of the step, but those that the reader's run ahead hides
 *
 * Memory is fixed. Single-threaded. */
#pragma once
#include <stdbool.h>
#include "coordinator/draft/budget.h"
#include "coordinator/draft/guess.h"
#include "coordinator/draft/neural.h"
#include "proto/base/error.h"

struct drafter;

struct drafter_config {
    uint32_t most;   /* guesses of one sweep */
    bool fixed;      /* always as many: the budget is not asked */
    uint32_t roots;  /* most that a sweep has */
    uint32_t tokens; /* of all sequences: what is remembered is sized for these */
    uint32_t vocab;
    struct budget_costs costs; /* experts: copied */
    struct neural *neural;     /* the caller's; NULL: no small model */
    uint32_t width;            /* most that one of its steps is asked about */
    double hidden;             /* seconds that the reader can read ahead between two sweeps */
};

/* Where tokens came from that were guessed rightly. */
struct drafter_stats {
    uint64_t guesses, hits_ngram, hits_recycled, hits_neural;
    uint64_t steps;          /* that the small model was asked */
    uint64_t sweeps, tokens; /* whose size it has chosen, without guesses too; that came of them */
    double predicted;        /* of these tokens */
};

/* Of a small model's tree: guesses that it is asked about at most, for trees of so many. */
uint32_t drafter_nodes(uint32_t most);
/* Of a drafter for these; small: with a small model. */
uint64_t drafter_bytes(uint32_t most, uint32_t roots, uint32_t tokens, bool small);
int drafter_open(struct drafter **out, const struct drafter_config *c, struct error *e);
void drafter_close(struct drafter *d);
struct guesser drafter_guesser(struct drafter *d);
struct drafter_stats drafter_stats(const struct drafter *d);
