/* The positions of one sweep, out of what sequences have left to do, and guesses of what follows.
 *
 * Single tokens come first, then chunks of prompts: what is left of the sweep is shared evenly among those that are still
 * reading their prompts, and what one does not need the next ones get. Who is cut short goes on in the next sweep; sequences
 * that did not come into a sweep at all come first in the next. How positions are cut into sweeps changes no number.
 *
 * Guesses hang on rows of logits: a root, the last token of a sequence that is answering, or an earlier guess. The first that
 * is hung on a root, and the first on that one, and so on, get the rows of the cache that these tokens would have; all
 * others get rows that belong to no sequence and are free again in the next sweep. Where models have recurrent states there
 * are no others: a chain of guesses goes on from a copy of the state after its root, which is kept for what is computed
 * again where not all of them were right. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/batch/sequence.h"
#include "proto/control.h"

struct sweep_span {
    struct sequence *sequence;
    uint32_t from, count;
};
#define SWEEP_NONE UINT32_MAX

struct sweep_row { /* of logits that will come, in order */
    struct sequence *sequence;
    uint32_t position;
    bool root;   /* guesses may follow it */
    uint32_t at; /* its place among the positions */
    /* of a guess: */
    uint32_t parent; /* the row of logits that it follows, SWEEP_NONE: it is no guess */
    uint32_t token;
    bool own;            /* it lies in the cache where the token would lie */
    bool heir;           /* there is a guess after it that does */
    uint32_t row, turns; /* of the cache; how often the rows from the root to it do not follow each other */
    uint32_t kin,
        next; /* the last guess that was hung on it; the guess before this one on the same, SWEEP_NONE: none */
};

struct sweep {
    uint32_t most, most_rows;        /* positions, rows of logits */
    struct sweep_position *position; /* [most] */
    struct sweep_span *span;         /* [most] */
    struct sweep_row *row;           /* [most_rows] */
    uint32_t positions, spans, rows;
    uint32_t decodes;                /* of the positions, those that come after a prompt, guesses included */
    uint32_t guesses;                /* of the positions */
    bool chains;                     /* guesses follow each other: recurrent states */
    uint32_t *spare, spares, spared; /* rows of the cache for guesses; how many there are, and are used */
};

int sweep_open(struct sweep *s, uint32_t most, uint32_t most_rows, struct error *e);
void sweep_close(struct sweep *s);
/* Rows of the cache that no sequence has, for guesses: the sweep's from now on. -ENOMEM. */
int sweep_spare(struct sweep *s, struct kv_rows *k, uint32_t rows, struct error *e);

/* Fills the sweep from n sequences; turn: which of them comes first, moved on by each call. No position: none has anything
 * to do. The sweep's rows are in the sweep until sweep_end(). */
void sweep_build(struct sweep *s, struct sequence *const *list, uint32_t n, uint32_t *turn);
/* A token that may follow a row: a root or a guess. *row: the guess's. False: there is no room for it. */
bool sweep_guess(struct sweep *s, uint32_t parent, uint32_t token, uint32_t *row);
/* The guess of this token that follows a row; SWEEP_NONE: there is none. */
uint32_t sweep_child(const struct sweep *s, uint32_t parent, uint32_t token);
/* The first `count` positions of one sequence from `from` on, for looking at what went wrong: no state changes. */
void sweep_replay(struct sweep *s, const struct sequence *q, uint32_t from, uint32_t count);
/* The sweep is over: its positions are computed where done. */
void sweep_end(struct sweep *s, bool done);
