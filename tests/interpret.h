/* A program run by the plainest code there is: one sequence, float64 activations, every operation as proto/plan.h
 * defines it. What families write is held against published logits with it, without kernels, tiles or processes. */
#pragma once
#include <stdint.h>
#include "proto/plan.h"
#include "proto/base/error.h"

/* Logits [wanted][vocabulary] of the positions listed, for n tokens from position 0. */
int interpret(const struct plan_shm *p, const uint32_t *tokens, uint32_t n, const uint32_t *positions, uint32_t wanted,
              double *logits, struct error *e);
