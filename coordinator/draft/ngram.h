/* What followed before: every token of every text that this process has met, found again by the 1 to 32 tokens before it.
 *
 * Prediction by partial matching (Cleary, Witten 1984), with exclusion: what followed the longest context that was met before
 * counts most; what followed shorter ones, and none of the longer, shares the rest. How much that rest is, the escape rate, is
 * learnt for every order and for how often and how uniformly the context was met.
 *
 * One of the orders leaves the last token out of its context: what was copied with a change goes on after it.
 *
 * Texts grow side by side: each entry knows the entry before it. Memory is fixed: where it is full, the older half is
 * forgotten. Single-threaded. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"

#define NGRAM_ORDERS 11u
#define NGRAM_REACH  32u /* the longest */
#define NGRAM_NONE   UINT32_MAX

struct ngrams;

uint64_t ngrams_bytes(uint32_t tokens); /* of one with room for so many tokens, a power of two */
int ngrams_open(struct ngrams **out, uint32_t tokens, struct error *e);
void ngrams_close(struct ngrams *g);

/* Tokens before some place: behind the last of them, and how many there are. */
struct ngram_context {
    const uint32_t *end;
    uint32_t known;
};

/* A token that follows entry before (NGRAM_NONE: it is a text's first), in this context. Its entry; NGRAM_NONE: no room, and
 * ngrams_forget() makes some. */
uint32_t ngrams_add(struct ngrams *g, uint32_t before, struct ngram_context c, uint32_t token);
/* Forgets the older half: entries below the result are gone, and those above are numbered from 0 now. */
uint32_t ngrams_forget(struct ngrams *g);
uint32_t ngrams_token(const struct ngrams *g, uint32_t entry);
uint32_t ngrams_before(const struct ngrams *g, uint32_t entry); /* NGRAM_NONE: none, or forgotten */

struct ngram_guess {
    uint32_t token;
    double p;
};
/* What may follow, at most so many: how many. *order: which of the orders the longest context that was met has, from 0;
 * NGRAM_ORDERS: none was. */
uint32_t ngrams_guess(const struct ngrams *g, struct ngram_context c, struct ngram_guess *out, uint32_t most,
                      uint32_t *order);
