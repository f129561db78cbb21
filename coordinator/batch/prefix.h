/* What is left of sequences that have ended, for those that begin in the same way: their rows of the KV cache are shared
 * (sequence_fork()) instead of computed again, until the room is wanted.
 *
 *   sequence ends --prefix_keep()--> kept --prefix_open()--> a new sequence that shares its first rows
 *                                     \-- least recently used first --> given up, where there is no room else
 *
 * Results are the same bytes with and without. Models with recurrent states keep nothing: states cannot be shared. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/batch/scheduler.h"

struct prefixes;

/* most: sequences that are kept at the same time. */
int prefixes_open(struct prefixes **out, struct scheduler *s, bool recurrent, uint32_t most, struct error *e);
void prefixes_close(struct prefixes *p);

/* Takes over a sequence that has left the scheduler. */
void prefixes_keep(struct prefixes *p, struct sequence *q);
struct prefix_ask {
    const uint32_t *token;
    uint32_t tokens, limit;
    bool alone;                   /* nothing is to be shared: all its rows are wanted again */
    struct sequence *const *live; /* [lives] others under way, which may be shared with too */
    uint32_t lives;
};
/* A new sequence of these tokens with room for limit. It shares what another one holds of them; sequence_computed() tells how
 * much. Gives up what is kept for room. Results as scheduler_sequence() and sequence_append(). */
int prefixes_sequence(struct prefixes *p, struct sequence **out, const struct prefix_ask *a, struct error *e);
uint32_t prefixes_kept(const struct prefixes *p);
