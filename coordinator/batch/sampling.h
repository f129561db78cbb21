/* The choice of the next token.
 *
 * Stateless: the token is the argmax of logit / T - log(-log u) over the tokens that the filters keep (the Gumbel-max
 * trick: the same distribution as sampling from the softmax). u comes from Philox4x32-10 (Salmon et al., SC 2011) with
 * the key (seed, sequence) and the counter (position, token): the text of a seed does not depend on batching, restarts or
 * guesses. Temperature 0 is the plain argmax; the lower id wins ties.
 *
 * Filters in the order of Hugging Face transformers: repetition penalty, temperature, top-k, top-p, min-p. Tokens that are
 * not allowed are out before all of them, as if their logits were -inf. */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"

struct sampler_settings {
    double temperature, top_p, min_p, repeat_penalty; /* 1 / 1 / 0 / 1: off */
    int top_k;                                        /* 0: off */
    uint64_t seed;
    const uint64_t *allow; /* a bit for each token of the vocabulary, the lowest of the first word first; NULL: all */
};

struct sampler;

int sampler_open(struct sampler **out, uint32_t vocab, struct error *e);
void sampler_close(struct sampler *s);
/* logits [vocab]; history: tokens so far (for the penalty); position: of the new token in its sequence. Allocates nothing.
 * Tokens that are not finite are never chosen while there is another; -EDOM where all are NaN, or none is allowed. */
int sampler_choose(struct sampler *s, const struct sampler_settings *o, const float *logits, const uint32_t *history,
                   uint64_t count, uint64_t sequence, uint64_t position, uint32_t *token, struct error *e);

/* For guesses at what another model's logits will make of the same noise (of sequence 0): the best `most` tokens by the scores that
 * sampler_choose() compares, the best first, into token and score: how many. Tokens that are hardly ever chosen may be left
 * out, and allow is not looked at. */
uint32_t sampler_rank(struct sampler *s, const struct sampler_settings *o, const float *logits, const uint32_t *history,
                      uint64_t count, uint64_t position, uint32_t most, uint32_t *token, float *score);

/* Uniform in (0, 1), never 0 or 1; the same bits on every machine. */
double sampler_uniform(uint64_t seed, uint64_t sequence, uint64_t position, uint32_t token);
