/* Where the cursor of a terminal is, as far as that is certain: cells since the beginning of the line that is being
 * written, rows of the terminal's width that are filled one after the other.
 *
 * Terminals do not agree about how wide some characters are (ambiguous ones, emoji and what joins them, new ones), so
 * the cells are kept as the fewest and the most that any of them may have come to. Characters that are wide everywhere
 * wrap early where one cell is left: no terminal splits them. A tab goes to a stop that may be anywhere up to the next
 * multiple of eight, and never past the last column.
 *
 * A row that is exactly full leaves the cursor on its last cell, and the next character wraps (pending wrap). Few
 * sequences keep that state and most destroy it, after which the next character is written over the last one: so
 * nothing but text may be sent to the terminal while cells_at_edge(). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cells {
    uint64_t least, most; /* since the line began */
    uint32_t width;       /* columns of the terminal, at least 1 */
    bool lost;            /* the cursor may be anywhere until the next newline */
    bool joins;           /* the last character may take the next one into its own cells */
};

/* At the beginning of a line. */
void cells_begin(struct cells *c, uint32_t width);
/* The terminal has another width: where the line's rows are now depends on the terminal. */
void cells_resize(struct cells *c, uint32_t width);
/* One character was written, or U+FFFD in its place. */
void cells_add(struct cells *c, uint32_t character);
/* May the cursor stand behind a full row? */
bool cells_at_edge(const struct cells *c);
/* Has the text between the two, which has no newline, surely stayed in one row? */
bool cells_in_one_row(const struct cells *from, const struct cells *to);
/* Is it at the beginning of a line? */
bool cells_at_start(const struct cells *c);
