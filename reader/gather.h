/* Rows of the plan's gather table, one by one as the coordinator lists them (proto/rows.h), to slots of LANE_ROWS.
 *
 * A slot takes as many rows as it has room for, all of one batch. A row whose bytes lie in the host cache, since a tile that
 * stays there holds them (a head that is the embedding too), is copied from it; every other one is a small read of its own,
 * through the page cache, and goes before the reads of tiles. Where a second table stands beside the first, a row is two
 * reads, one of each. Of a packed table the unit that holds the row is read, or looked at in the cache, and the row leaves
 * it here: what is sent is the same as of one that is not packed. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"
#include "reader/fetch.h"
#include "reader/lane.h"

struct gather_held; /* a piece of the table in the host cache */
struct gather_unit; /* memory for a unit that is being read */

struct gather {
    const struct plan_shm *plan;
    struct epoch_shm *run;
    const struct plan_gather *table, *beside;
    uint64_t stride; /* bytes of a row in a slot */
    struct fetch *fetch;
    uint8_t *arena;
    const uint8_t *cache;
    struct lane lane;
    uint32_t rows_each;      /* rows that a slot holds */
    struct ring_entry *open; /* the entry that rows are added to; NULL: none */
    uint64_t number;         /* of the next row */
    bool pending, last;      /* a row that was taken from the list and not yet begun; it ends its batch */
    bool half;               /* of that row the first table's part has begun */
    uint32_t row;
    struct gather_held *held; /* by place in the file */
    uint32_t held_count;
    struct gather_unit *unit; /* NULL: nothing is packed */
    uint32_t units;
    uint8_t *units_memory; /* [units] of them, then scratch */
    uint8_t *scratch;
};

struct gather_options {
    const struct plan_shm *plan; /* checked */
    struct epoch_shm *run;
    struct fetch *fetch;
    uint8_t *arena, *cache;
};

int gather_open(struct gather *g, const struct gather_options *o, struct error *e);
void gather_close(struct gather *g); /* harmless where it was not opened */
/* Begins as many rows as there is room for. tiles: how many of the first sweep are where they belong. 0 or -errno; -EPROTO:
 * the table has no such row. */
int gather_fill(struct gather *g, uint64_t tiles, struct error *e);
