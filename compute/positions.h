/* The positions of a sweep: checked, and turned into the tables that the operations want.
 *
 * Every KV row remembers its parent, its position, and the first row of the run of consecutive rows that ends in it, so that
 * the rows which a position sees are found in as many steps as there are runs: one, mostly.
 *
 * A row may be written again, by another sequence or by the same one after it went back. What was written after it then has
 * no ancestors any more, and a position that continues from there is refused:
 *   within a run   the run ends before the row that was written again; a row is in its run while that is longer than the
 *                  way from its first row
 *   between runs   the first row of a run remembers which write of its parent it continues
 * So a parent was always written before its child, and every chain of parents ends. */
#pragma once
#include <stdint.h>
#include "compute/ops.h"
#include "proto/control.h"
#include "proto/footprint.h"

struct kv_row {
    uint32_t parent, position;
    uint32_t run;    /* first row of its run */
    uint32_t length; /* of a run's first row: rows of the run, itself included, that nobody has written again; else 0 */
    uint64_t written,
        parent_written; /* numbers of the writes of itself and, at that time, of its parent; from 1, 0: never */
};
_Static_assert(sizeof(struct kv_row) == FOOTPRINT_KV_ROW, "kv_row");
_Static_assert(sizeof(struct ops_run) == FOOTPRINT_RUN, "ops_run");

struct positions {
    const struct plan_shm *plan;
    struct footprint_positions footprint;
    uint8_t *host, *device; /* the blocks that all tables lie in */
    struct kv_row *rows;    /* [kv_rows] */
    uint64_t writes;        /* of rows, so far */
    struct ops_run *runs;   /* [footprint.runs_most] */
    /* of the current sweep, host: */
    uint32_t n, logits, max_position;
    uint32_t *token, *row, *position, *first /* n + 1 */, *select /* logits */, *gather;
    /* device copies */
    struct ops *ops;
    uint32_t *d_row, *d_position, *d_first, *d_select, *d_gather;
    struct ops_run *d_runs;
    /* recurrent states: which slot holds the state after a row */
    uint32_t *state_of_row;   /* [kv_rows], UINT32_MAX: none; NULL where the model has none */
    uint32_t *row_of_state;   /* [slots], ROW_NONE: free */
    uint64_t *state_used;     /* [slots] sweep of last use */
    uint32_t *state_sequence; /* [slots] whose it was last */
    uint32_t *from, *to;      /* of the current sweep */
};

int positions_open(struct positions *p, const struct plan_shm *plan, struct ops *ops, struct error *e);
void positions_close(struct positions *p);
/* Checks and takes a sweep's positions. -EPROTO for what no honest coordinator sends. */
int positions_set(struct positions *p, const struct sweep_position *s, uint32_t n, uint64_t sweep, struct error *e);
struct ops_rows positions_rows(const struct positions *p); /* device tables, for attention */
