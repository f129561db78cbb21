/* Guesses: what may follow the tokens of a sequence, as a tree, to be checked in the sweep that computes its last token.
 *
 *   tokens ... t        the root: the last token, which the sweep computes in any case
 *               |- a - c
 *               |   `- d        guess: a follows t, c and d follow t a, ...
 *               `- b
 *
 * Who guesses changes no text: a guess counts only where it is the token that the sequence would have had anyway. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/batch/sampling.h"

#define GUESS_ROOT UINT32_MAX

/* A sequence of which more than its next token may be guessed. */
struct guess_root {
    const uint32_t *token; /* [count], the root is the last */
    uint32_t count;
    uint32_t prompt; /* tokens that it began with */
    uint32_t number; /* its name: another one's, or the same one's after it was asked again, is another */
    uint32_t most;   /* guesses after each other that are of use */
    bool chain;      /* only one guess can follow each */
    const struct sampler_settings *sampling;
};

/* parent: which of the guesses before it it follows, GUESS_ROOT: its root. */
struct guess {
    uint32_t root, parent, token;
};

struct guess_ask {
    const struct guess_root *root; /* [roots] */
    uint32_t roots;
    uint32_t positions; /* that the sweep has already */
    uint32_t most;      /* guesses that it has room for */
};

/* Logits of the token that follows a root (node 0) or a guess (its number in the order of guesses + 1). */
struct guess_seen {
    uint32_t root, node;
    uint32_t token;      /* that was chosen */
    const float *logits; /* [vocab] */
};

struct guess_sweep {
    uint64_t ns, compute_ns, read_ns; /* wall clock; compute's and the reader's work */
    uint32_t positions, guesses;      /* guesses are among the positions */
    uint32_t rows;                    /* of logits */
    uint32_t tokens;                  /* that came of it */
    bool decode;                      /* nothing but tokens after prompts */
};

/* Whoever guesses, called between sweeps, but for meet(): while one is under way, with all sequences whose tokens are known
 * by then, those of which nothing is to be guessed too. Calls come in this order, the middle one for each token that was chosen, a root's before its guesses':
 * guess(), seen() ..., swept(). guess() alone too, where the sweep failed; swept() alone where there was nothing to guess at,
 * or no room. */
struct guesser {
    /* NULL: it wants to know nothing before. root NULL: whoever was met before may be gone. */
    void (*meet)(void *arg, const struct guess_root *root);
    /* After these, again and again until the sweep is done: works on them without waiting. True: look again soon. May be NULL. */
    bool (*idle)(void *arg);
    /* The guesses, each after its parent, into out [ask->most]; how many. */
    uint32_t (*guess)(void *arg, const struct guess_ask *ask, struct guess *out);
    void (*seen)(void *arg, const struct guess_seen *s);
    void (*swept)(void *arg, const struct guess_sweep *s);
    void *arg;
};
