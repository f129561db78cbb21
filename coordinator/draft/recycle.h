/* Logits of earlier sweeps, used again: the best tokens that the model itself had in mind the last time that the same 1 to 4
 * tokens stood before (token recycling, Luo et al. 2024, arXiv 2408.08696). Single-threaded, of fixed size. */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"

#define RECYCLE_TOKENS 8u
#define RECYCLE_ORDERS 4u

struct recycled {
    uint32_t token[RECYCLE_TOKENS];
    float logit[RECYCLE_TOKENS]; /* the best first */
};

struct recycle;

uint64_t recycle_bytes(uint32_t places);
int recycle_open(struct recycle **out, uint32_t places, struct error *e); /* of each order, a power of two */
void recycle_close(struct recycle *r);

/* Logits [vocab] of what follows the known tokens before end. vocab: RECYCLE_TOKENS at least. */
void recycle_keep(struct recycle *r, const uint32_t *end, uint32_t known, const float *logits, uint32_t vocab);
/* The same of the longest context that is kept; NULL: none. *order: its length. */
const struct recycled *recycle_find(const struct recycle *r, const uint32_t *end, uint32_t known, uint32_t *order);
