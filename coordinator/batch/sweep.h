/* The positions of one sweep, out of what sequences have left to do.
 *
 * Single tokens come first, then chunks of prompts: what is left of the sweep is shared evenly among those that are still
 * reading their prompts, and what one does not need the next ones get. Who is cut short goes on in the next sweep; sequences
 * that did not come into a sweep at all come first in the next. How positions are cut into sweeps changes no number. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/batch/sequence.h"
#include "proto/control.h"

struct sweep_span {
    struct sequence *sequence;
    uint32_t from, count;
};
struct sweep_row { /* of logits that will come, in order */
    struct sequence *sequence;
    uint32_t position;
};

struct sweep {
    uint32_t most, most_rows;        /* positions, rows of logits */
    struct sweep_position *position; /* [most] */
    struct sweep_span *span;         /* [most] */
    struct sweep_row *row;           /* [most_rows] */
    uint32_t positions, spans, rows;
    uint32_t decodes; /* of the positions, those that are one token after a prompt */
};

int sweep_open(struct sweep *s, uint32_t most, uint32_t most_rows, struct error *e);
void sweep_close(struct sweep *s);

/* Fills the sweep from n sequences; turn: which of them comes first, moved on by each call. No position: none has anything
 * to do. The sweep's rows are in the sweep until sweep_end(). */
void sweep_build(struct sweep *s, struct sequence *const *list, uint32_t n, uint32_t *turn);
/* The first `tokens` positions of one sequence from `from` on, for looking at what went wrong: no state changes. */
void sweep_replay(struct sweep *s, const struct sequence *q, uint32_t from, uint32_t count);
/* The sweep is over: its positions are computed where done. */
void sweep_end(struct sweep *s, bool done);
