/* The live line: one line of progress on a terminal, below the text of an answer that is written to the same one.
 *
 *     ...the text so far, whose last row is not full            <- the cursor stays here
 *     token 17  layer 37/80  1.83 GB/s  0.12 tok/s  ETA 0:41    <- the line
 *
 * The line never costs a character of the text, because
 *   - every sequence moves the cursor relative to where it is, to the row below, which it makes by scrolling where
 *     there is none: so it does not matter how large the terminal is, also when that changes while the sequence is on
 *     its way
 *   - nothing is sent while the cursor may stand behind a full row (cells.h): the line is then drawn, or taken away, at
 *     the next character that is surely not at the edge
 *   - while a terminal is being resized it may be ahead of what it tells (tmux: a quarter of a second), so nothing is
 *     drawn
 *   - what is erased is to the right of the cursor and below it, where no text is
 * No state is left in the terminal: after kill -9 there is a line too many and nothing else. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "coordinator/view/cells.h"

struct live {
    bool wanted; /* standard error is a terminal that understands sequences, and nobody asked for quiet */
    bool shared; /* with the text on standard output */
    bool dim;    /* the line is, where colours are wanted */
    bool shown;
    bool in_place;       /* in the row of the cursor, since the text is at the beginning of a line */
    uint64_t resized_ns; /* when another size was seen */
    int columns, rows;
    unsigned stops;     /* of stop_count(), that were seen */
    struct cells cells; /* of the text */
};

void live_open(struct live *l, bool quiet);
void live_close(struct live *l); /* nothing of the line is left; what comes next begins a line */

/* A row at most; what is longer is cut off. */
void live_draw(struct live *l, const char *line);
/* Text for standard output, valid UTF-8 in whole characters. 0 or -errno; it is out when this returns. */
int live_text(struct live *l, const char *text, size_t bytes);
/* Somebody else's echo of what was typed, by the terminal itself: only where the cursor is. */
void live_echoed(struct live *l, const char *text, size_t bytes);
/* The text is at an end, for now. */
void live_hide(struct live *l);
/* Something else is to be printed on a line of its own. */
void live_interrupt(struct live *l);
