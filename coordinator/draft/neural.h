/* A second, small model that says what may follow: its own stages hold it in memory, and its sweeps are short.
 *
 *   neural_meet()    while the model's sweep is under way: this sequence is answering; neural_idle() then computes,
 *                    piece by piece, what its cache lacks of it
 *   neural_plant()   between sweeps: the roots of a new tree
 *   neural_step()    one of its sweeps: roots, and tokens that may follow them, each after its parent; what follows
 *                    each
 *
 * The cache has places for some sequences, each of a context's rows, and rows of nobody. What the likeliest tokens have
 * left in the rows that they would have is there if they are right; the others are computed again.
 *
 * One with recurrent states (neural_chains()) goes on from one state only: of the tokens after a root, or after another
 * one, it is asked about one. Each root is computed twice, into its own row, whose state stays for what comes of the
 * tree, and into a row of nobody, from which the chain goes on; so each place has two states.
 *
 * It may fail at any time: that is told once, its stages are ended, and neural_works() is false from then on. Nothing
 * that it says is trusted: it makes no text. */
#pragma once
#include <stdbool.h>
#include "coordinator/draft/blend.h"
#include "coordinator/draft/budget.h"
#include "coordinator/draft/guess.h"
#include "coordinator/engine/engine.h"

#define NEURAL_ROOT UINT32_MAX

struct neural;

struct neural_config {
    const struct plan_shm *plan; /* of the small model; must outlive it */
    uint64_t plan_bytes;
    const char *name;       /* for messages */
    uint32_t places, width; /* sequences of its cache; rows of logits of one sweep */
    uint32_t roots, nodes;  /* of a tree at most, the roots not among the nodes */
    uint32_t vocab;         /* tokens that the model has */
    struct budget_costs costs;
    void (*tick)(void *arg); /* as engine_config's */
    void *tick_arg;
    void (*log)(void *arg, const char *line, size_t bytes);
    void *log_arg;
};

/* A token that may follow its parent, or a root: then parent is NEURAL_ROOT. Roots are numbered from 0, and tokens on
 * from there in the order in which neural_step() meets them. */
struct neural_node {
    uint32_t root, parent, token;
};

struct neural_stats {
    uint64_t steps, positions, ns; /* of trees: sweeps, what they have computed, and how long they took */
    uint64_t peak_bytes;           /* of its stages at most */
};

/* Bytes of the coordinator's for it. */
uint64_t neural_bytes(const struct neural_config *c);
int neural_open(struct neural **out, const struct neural_config *c,
                struct error *e); /* its stages are still starting */
void neural_close(struct neural *n);
bool neural_works(const struct neural *n);
bool neural_chains(const struct neural *n);
bool neural_ready(const struct neural *n); /* it lies in memory: a step begins at once */
void neural_rest(struct neural *n);        /* engine_rest() */

void neural_meet(struct neural *n,
                 const struct guess_root *r); /* which stays as it is until neural_forget() or neural_plant() */
void neural_forget(struct neural *n);         /* all that were met */
/* True: it works at something, so look again soon. */
bool neural_idle(struct neural *n);

/* roots [count] must stay until the last step; which of them have a place: has[i]. */
void neural_plant(struct neural *n, const struct guess_root *root, uint32_t count, bool *has);
/* Positions of the roots that its cache lacks, the roots themselves included. */
uint32_t neural_lacks(const struct neural *n);
/* One step of x[0..count), count at most width: what follows each, out [count], nothing where there was no row for it.
 * Tokens at most nodes in all. False: it has failed, or somebody has interrupted. */
bool neural_step(struct neural *n, const struct neural_node *x, uint32_t count, struct blend_scores *out);
/* Seconds of a step of so many positions, of which so many want logits. */
double neural_seconds(const struct neural *n, uint32_t positions, uint32_t rows);

struct neural_stats neural_stats(struct neural *n);
