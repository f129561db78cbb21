/* Answers: tokens from the scheduler, turned into text as they come, until an end is reached. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/batch/instance.h"

enum generate_end { END_TOKEN, END_STOP, END_LENGTH, END_CONTEXT };

struct generate_config {
    struct sampler_settings sampling;
    uint64_t max_tokens; /* 0: until it ends by itself or the context is full */
    char **stop;         /* texts that end the answer and are not part of it */
    size_t stops;
    bool keep_special;      /* special tokens are text too */
    const uint32_t *spoken; /* or these of them */
    size_t spoken_count;
    /* Text that is certain: never half a character, never the beginning of a stop text. A negative result ends it. NULL:
     * tokens only. */
    int (*text)(void *arg, const char *text, size_t bytes, struct error *e);
    int (*token)(void *arg, uint32_t token, struct error *e); /* each token, the ending one too; may be NULL */
    void *arg;
};

struct generate_result {
    uint64_t prompt_tokens, tokens;
    enum generate_end end;
};

/* One answer. The sequence holds the prompt, and afterwards the answer too. Results as scheduler_run(), or the callbacks'.
 * After -ECANCELED what was said so far is in the sequence, and its text was given out. */
int generate(struct instance *i, struct sequence *q, const struct generate_config *c, struct generate_result *out,
             struct error *e);
const char *generate_end_name(enum generate_end end); /* "end", "stop", "length", "context" */

/* Many answers: as many at once as the instance has sequences for, each the text that it would be alone. */
struct generate_prompt {
    const uint32_t *token;
    uint32_t tokens;
};
struct generate_many {
    const struct generate_prompt *prompt;
    uint32_t prompts;
    struct generate_config each; /* text, token and arg unused */
    /* Of prompt number n, as it comes; prompts answer side by side, and begin in order. Either may be NULL. */
    int (*text)(void *arg, uint32_t n, const char *text, size_t bytes, struct error *e);
    int (*token)(void *arg, uint32_t n, uint32_t token, struct error *e);
    int (*done)(void *arg, uint32_t n, const struct generate_result *r, struct error *e);
    void *arg;
};
int generate_all(struct instance *i, const struct generate_many *m, struct error *e);
