/* The guesser: a tree of what is likeliest to follow, over all sequences that are answering, as large as it pays.
 *
 * The likeliest of all candidates, by the product of probabilities on its way from its root (blend.h), joins the tree and
 * brings its own candidates, and so on. Of the trees that grow so the one is taken with the fewest seconds for a token,
 * by what sweeps take (budget.h): with n guesses of probabilities p and R roots
 *
 *   seconds(n) / (R + sum of p)
 *
 * Memory is fixed. Single-threaded. */
#pragma once
#include <stdbool.h>
#include "coordinator/draft/budget.h"
#include "coordinator/draft/guess.h"
#include "proto/base/error.h"

struct drafter;

struct drafter_config {
    uint32_t most;   /* guesses of one sweep */
    bool fixed;      /* always as many: the budget is not asked */
    uint32_t roots;  /* most that a sweep has */
    uint32_t tokens; /* of all sequences: what is remembered is sized for these */
    uint32_t vocab;
    struct budget_costs costs; /* experts: copied */
};

/* Where tokens came from that were guessed rightly. */
struct drafter_stats {
    uint64_t guesses, hits_ngram, hits_recycled;
    uint64_t sweeps, tokens; /* whose size it has chosen, without guesses too; that came of them */
    double predicted;        /* of these tokens */
};

/* Of a drafter for these. */
uint64_t drafter_bytes(uint32_t most, uint32_t roots, uint32_t tokens);
int drafter_open(struct drafter **out, const struct drafter_config *c, struct error *e);
void drafter_close(struct drafter *d);
struct guesser drafter_guesser(struct drafter *d);
struct drafter_stats drafter_stats(const struct drafter *d);
