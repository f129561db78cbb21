/* The texts of this process as n-grams: each sequence's tokens are added once, as they come, and one that begins as another did
 * goes on from there. */
#pragma once
#include "coordinator/draft/guess.h"
#include "coordinator/draft/ngram.h"

struct history;

uint64_t history_bytes(uint32_t tokens); /* of one that is sized for so many tokens */
int history_open(struct history **out, uint32_t tokens, struct error *e);
void history_close(struct history *h);
/* Adds what is new of a sequence. */
void history_meet(struct history *h, const struct guess_root *r);
const struct ngrams *history_ngrams(const struct history *h);
