/* A model's thinking, told apart from its answer while the text streams: <think> ... </think> and its kin. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "proto/error.h"

struct think {
    bool inside;
    char held[16]; /* may be the beginning of a tag */
    size_t bytes;
    int (*text)(void *arg, bool thinking, const char *text, size_t bytes, struct error *e);
    void *arg;
};

/* inside: the prompt ended within an open tag. */
void think_begin(struct think *t, bool inside);
int think_push(struct think *t, const char *text, size_t bytes, struct error *e);
int think_end(struct think *t, struct error *e);
/* Does the rendered prompt leave a tag open? */
bool think_left_open(const char *prompt, size_t bytes);
