/* From operations to tiles.
 *
 * The sweep's tiles hold the rows in the order in which the operations consume them: OP_MATMUL all rows of its matrix,
 * OP_HEADMM the rows of one head after the other. Rows of several matrices share a tile where they fit; a matrix that
 * needs several tiles is cut into pieces of equal length, so that none is tiny. Resident tiles hold the vectors that
 * have a file, in order; expert tiles those of each table, expert by expert, all experts of a table cut alike. */
#pragma once
#include <stdint.h>
#include "coordinator/plan/program.h"
#include "proto/base/error.h"

struct tiling {
    struct program_table parts, tiles; /* struct plan_part, struct plan_tile; tiers are still TIER_DISK */
    uint32_t sweep_tiles, resident_tiles, expert_tiles;
};

#define SLOT_BYTES_MAX (UINT64_C(1) << 30)

/* Every index that the functions here follow names a record, every size is one that can be cut: 0 or -EINVAL. To be
 * called once before any of the others. */
int tiling_check(const struct program *p, struct error *e);

/* Fills c (which owns its tables), p->spec's tile counts and resident_floats, vectors' at, experts' tile0, tiles_each.
 * slot_bytes: a multiple of PLAN_PAGE, at least tiling_slot_least(). */
int tiling_program(struct tiling *c, struct program *p, uint64_t slot_bytes, struct error *e);
void tiling_free(struct tiling *c);

/* The smallest slot that holds any row, vector or embedding row of the program: a multiple of PLAN_PAGE. */
uint64_t tiling_slot_least(const struct program *p);
/* Stored bytes of one sweep's rows; of all experts. */
uint64_t tiling_sweep_bytes(const struct program *p);
uint64_t tiling_expert_bytes(const struct program *p);
