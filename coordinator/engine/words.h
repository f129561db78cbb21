/* What the stages write to standard error, where somebody wants it line by line: whoever shows an answer on the same
 * terminal must know of every character that is written there. They get a pipe then, which never makes them wait: what
 * finds no room is lost. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct words {
    int read, write; /* -1: none */
    char text[4096]; /* the line that has no end yet */
    size_t bytes;
    void (*line)(void *arg, const char *line, size_t bytes);
    void *arg;
};

#define WORDS_NONE                                                                                                     \
    {                                                                                                                  \
        .read = -1, .write = -1                                                                                        \
    }

/* line: called with whole lines, their newline included. Where no pipe can be had, the stages write where we do. */
void words_open(struct words *w, void (*line)(void *arg, const char *line, size_t bytes), void *arg);
void words_started(struct words *w); /* all stages have the pipe's end */
void words_look(struct words *w);    /* passes on what there is */
void words_close(struct words *w);   /* and what is left */
