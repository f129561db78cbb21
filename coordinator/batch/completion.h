/* The text of one answer as it grows: tokens in, certain text out, until a stop text is met.
 *
 * What is given out is never half a character and never the beginning of a stop text. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/tokenizer/detokenizer.h"

struct completion_config {
    const struct tokenizer *tokenizer;
    char **stop; /* texts that end the answer and are not part of it */
    size_t stops;
    bool keep_special;      /* special tokens are text too */
    const uint32_t *spoken; /* or these of them */
    size_t spoken_count;
    int (*text)(void *arg, const char *text, size_t bytes, struct error *e);
    void *arg;
};

struct completion;

/* What the config points at must outlive the completion. */
int completion_open(struct completion **out, const struct completion_config *c, struct error *e);
void completion_close(struct completion *c);
/* *stop: a stop text was met, what stood before it was given out, and nothing more follows. Results of text() too. */
int completion_push(struct completion *c, uint32_t token, bool *stop, struct error *e);
const char *completion_met(const struct completion *c); /* the stop text that was met, NULL: none */
/* No token follows: what was held back is given out, unless it is a stop text. */
int completion_finish(struct completion *c, bool *stop, struct error *e);
