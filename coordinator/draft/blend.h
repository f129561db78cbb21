/* The probabilities of what may follow, from all that was met and kept: one list out of n-grams (ngram.h) and recycled logits
 * (recycle.h), right on average.
 *
 *   q = w n-grams + (1 - w) recycled     w by the order of the longest context that was met, learnt by responsibility
 *   recycled = h softmax(b (logit / T + noise))
 *                                        the sampler's own noise of that token at that position, so that what is sampled is
 *                                        as predictable as what is not; h and b learnt from what was chosen
 *   p = q x hits / sum of q              of all that had about this q, after about as many likeliest tokens in a row: in the
 *                                        midst of a copy what follows is surer than elsewhere */
#pragma once
#include <stdint.h>
#include "coordinator/batch/sampling.h"
#include "coordinator/draft/ngram.h"
#include "coordinator/draft/recycle.h"

#define BLEND_MOST  24u
#define BLEND_BINS  16u
#define BLEND_BETAS 10u
#define BLEND_RUNS  5u

struct blend {
    const struct ngrams *ngrams;
    const struct recycle *recycle;
    double weight[NGRAM_ORDERS]; /* w */
    double trials[RECYCLE_ORDERS + 1], hits[RECYCLE_ORDERS + 1];
    struct blend_beta {
        double likelihood[BLEND_BETAS]; /* logarithms, the older the less */
        uint32_t best;
    } recycled; /* b */
    double sum[BLEND_RUNS][BLEND_BINS], found[BLEND_RUNS][BLEND_BINS];
};

struct blend_guess {
    uint32_t token;
    float p, q, ngram, recycled;
};

/* What follows one place, and what is learnt from once the token is known. */
struct blend_list {
    uint32_t n;
    struct blend_guess guess[BLEND_MOST];
    uint32_t run;            /* tokens before it that were the likeliest, in a row */
    uint32_t order;          /* of the longest context, NGRAM_ORDERS: none */
    uint32_t recycled_order; /* 0: none */
    uint32_t recycled;       /* how many there are */
    uint32_t token[RECYCLE_TOKENS];
    float score[RECYCLE_TOKENS];
};

void blend_open(struct blend *b, const struct ngrams *g, const struct recycle *r);
/* out->run is given. position: of the token that follows, in its sequence. */
void blend_look(const struct blend *b, struct ngram_context c, const struct sampler_settings *s, uint64_t position,
                struct blend_list *out);
/* The run after this token of the list. */
uint32_t blend_run(const struct blend_list *x, uint32_t token);
void blend_learn(struct blend *b, const struct blend_list *x, uint32_t token);
