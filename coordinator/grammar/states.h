/* Where a text stands in a grammar.
 *
 * A state is a number: copied at will, and equal numbers have equal futures. Behind it lies a set of places, each a node
 * with a counter and the frames of its callers; the table keeps every place, set and step that was met, so that going
 * the same way again is one look-up. A table is one thread's. It is bounded: when it is full, grammar_states_keep()
 * forgets everything but one state. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/grammar/grammar.h"

#define GRAMMAR_DEAD 0u /* no text goes on from here */

struct grammar_states;

/* The grammar must outlive it. */
int grammar_states_open(struct grammar_states **out, const struct grammar *g, struct error *e);
void grammar_states_close(struct grammar_states *s);
/* Forgets all but *state, which gets a new number; other states are no longer valid. -ENOMEM: forgets all. */
int grammar_states_keep(struct grammar_states *s, uint32_t *state, struct error *e);

/* Before the first byte. -ENOMEM, -E2BIG: so many places at once that it is given up. */
int grammar_start(struct grammar_states *s, uint32_t *state, struct error *e);
/* Where the bytes lead from *state, GRAMMAR_DEAD where they cannot stand there. -ENOSPC: the table is full; else as above. */
int grammar_advance(struct grammar_states *s, uint32_t *state, const char *bytes, size_t n, struct error *e);
bool grammar_may_end(const struct grammar_states *s, uint32_t state);  /* the text may be over */
bool grammar_complete(const struct grammar_states *s, uint32_t state); /* it is: nothing can follow */

/* One byte, for walks over many: the state, GRAMMAR_DEAD also where *rc says why there is none. A walk's work is bounded
 * from grammar_begin_work() on: -E2BIG. */
void grammar_begin_work(struct grammar_states *s);
uint32_t grammar_step(struct grammar_states *s, uint32_t state, uint8_t byte, int *rc);
/* What is known of a state's steps: [byte] is the state + 1, 0: not known. Good until the table forgets. NULL: no memory. */
const uint32_t *grammar_known_steps(struct grammar_states *s, uint32_t state);
int grammar_step_error(int rc, struct error *e);             /* in words */
size_t grammar_states_bytes(const struct grammar_states *s); /* of memory */
