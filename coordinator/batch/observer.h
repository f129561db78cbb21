/* What the batch tells whoever shows it: called back, never asked. Any of the functions may be NULL. */
#pragma once
#include <stdint.h>
#include "proto/control.h"

/* Where everything that was joined is. */
struct batch_progress {
    uint32_t sequences;                  /* under way */
    uint64_t prompt_tokens, prompt_done; /* of their prompts */
    uint64_t answered;                   /* tokens of their answers */
    uint32_t positions, max_positions;   /* of the sweep under way; that one may have */
    uint64_t sweep_start_ns;
    uint64_t layer, layers; /* where compute is */
    uint64_t bytes_read;
    uint64_t decode_ns, decode_sweeps, decode_tokens; /* sweeps of nothing but new tokens, so far */
    uint64_t guesses, guess_ns;                       /* checked so far; spent on seeking them */
    /* Sweeps for which guesses were sought, with none too; tokens that came of them, and that were expected to. */
    uint64_t sought_sweeps, sought_tokens;
    double sought_expected;
    uint64_t hits_ngram, hits_recycled, hits_draft;     /* guesses that were right, by where they came from */
    double seconds_per_token, seconds_per_prompt_token; /* as predicted */
};

struct batch_observer {
    void *arg;
    void (*sweep)(void *arg, const struct batch_progress *p);                         /* one begins */
    void (*swept)(void *arg, uint64_t start_ns, uint64_t end_ns, uint32_t positions); /* it is done */
    /* guesses of the sweep that begins now were sought */
    void (*guessed)(void *arg, uint64_t start_ns, uint64_t end_ns, uint32_t guesses);
    void (*tick)(void *arg, const struct batch_progress *p); /* about ten times a second */
    void (*note)(void *arg, const char *text);               /* a word for people */
    void (*log)(void *arg, const char *line, size_t bytes);  /* of a stage; NULL: it writes itself */
    void (*trace)(void *arg, const struct trace_record *r, uint32_t n);
};
