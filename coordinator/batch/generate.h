/* One answer: tokens from a session, turned into text as they come, until an end is reached. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/batch/session.h"

enum generate_end { END_TOKEN, END_STOP, END_LENGTH, END_CONTEXT };

struct generate_config {
    uint64_t max_tokens; /* 0: until it ends by itself or the context is full */
    char **stop;         /* texts that end the answer and are not part of it */
    size_t stops;
    bool keep_special;   /* special tokens are text too */
    const uint32_t *spoken; /* or these of them */
    size_t spoken_count;
    /* Text that is certain: never half a character, never the beginning of a stop text. A negative result ends it. */
    int (*text)(void *arg, const char *text, size_t bytes, struct error *e);
    void *arg;
};

struct generate_result {
    uint64_t tokens;
    enum generate_end end;
};

/* The session holds the prompt. Results as session_next(), or the callback's. After -ECANCELED what was said so far is
 * in the session. */
int generate(struct session *s, const struct generate_config *c, struct generate_result *out, struct error *e);
const char *generate_end_name(enum generate_end end); /* "end", "stop", "length", "context" */
