/* Models that answer inside of a test program, by the library's own means. */
#pragma once
#include "coordinator/batch/generate.h"
#include "coordinator/batch/logits.h"

/* Loaded without a tokenizer and started; results as instance_load() and instance_start(). */
int support_start(struct instance **out, const struct options *o, const struct instance_load *l, struct error *e);
/* The next n tokens of a prompt as the options choose them, whatever ends it. */
int support_tokens(struct instance *i, const uint32_t *prompt, size_t prompts, uint32_t *token, size_t n,
                   struct error *e);
