/* The model's numbers for given tokens, through the scheduler. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "coordinator/batch/instance.h"

/* Logits of positions [n], rising, each once, of a sequence of these tokens: calls row() for each, in order. Results as
 * scheduler_run(), or row()'s. */
int logits_at(struct instance *i, const uint32_t *token, size_t tokens, const uint32_t *position, size_t n,
              int (*row)(void *arg, const float *logits, struct error *e), void *arg, struct error *e);
