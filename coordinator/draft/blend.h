/* The probabilities of what may follow, from all that was met and kept: one list out of n-grams (ngram.h), recycled logits
 * (recycle.h) and a small model's scores (neural.h) where there are such, right on average.
 *
 *   q = v small model + (1 - v) (w n-grams + (1 - w) recycled)
 *                                        v, w by the order of the longest context that was met, learnt by responsibility
 *   small model = h softmax(b score)     the same as
 *   recycled = h softmax(b (logit / T + noise))
 *                                        the sampler's own noise of that token at that position, so that what is sampled is
 *                                        as predictable as what is not; h and b learnt from what was chosen
 *   p = q x hits / sum of q              of all that had about this q, after about as many likeliest tokens in a row: in the
 *                                        midst of a copy what follows is surer than elsewhere */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/batch/sampling.h"
#include "coordinator/draft/ngram.h"
#include "coordinator/draft/recycle.h"

#define BLEND_MOST   24u
#define BLEND_BINS   16u
#define BLEND_BETAS  10u
#define BLEND_RUNS   5u
#define BLEND_SCORES 12u

/* Scores of what a model would choose, the best first: logits over temperature, noise included. */
struct blend_scores {
    uint32_t n;
    uint32_t token[BLEND_SCORES];
    float score[BLEND_SCORES];
};

struct blend {
    const struct ngrams *ngrams;
    const struct recycle *recycle;
    double weight[NGRAM_ORDERS];    /* w */
    double trust[NGRAM_ORDERS + 1]; /* v */
    double trials[RECYCLE_ORDERS + 1], hits[RECYCLE_ORDERS + 1];
    struct blend_beta {
        double likelihood[BLEND_BETAS]; /* logarithms, the older the less */
        uint32_t best;
    } recycled, neural; /* b */
    double neural_trials, neural_hits;
    double sum[2][BLEND_RUNS][BLEND_BINS], found[2][BLEND_RUNS][BLEND_BINS]; /* 1: with a small model's scores */
};

struct blend_guess {
    uint32_t token;
    float p, q, ngram, recycled, neural;
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
    struct blend_scores neural;
};

void blend_open(struct blend *b, const struct ngrams *g, const struct recycle *r);
/* out->run is given. position: of the token that follows, in its sequence. neural: NULL where there are none. */
void blend_look(const struct blend *b, struct ngram_context c, const struct sampler_settings *s, uint64_t position,
                const struct blend_scores *neural, struct blend_list *out);
enum blend_source { BLEND_NGRAM, BLEND_RECYCLED, BLEND_NEURAL };
/* Which of them has said most about a guess. */
enum blend_source blend_from(const struct blend *b, const struct blend_list *x, const struct blend_guess *g);
/* The run after this token of the list. */
uint32_t blend_run(const struct blend_list *x, uint32_t token);
void blend_learn(struct blend *b, const struct blend_list *x, uint32_t token);
