/* From operations to tiles.
 *
 * The sweep's tiles hold the rows in the order in which the operations consume them: OP_MATMUL all rows of its matrix,
 * OP_HEADMM the rows of one head after the other. Rows of several matrices share a tile where they fit; a matrix that
 * needs several tiles is cut into pieces of equal length, so that none is tiny. Resident tiles hold the vectors that
 * have a file, in order; expert tiles those of each table, expert by expert, all experts of a table cut alike. */
#pragma once
#include <stdint.h>
#include "coordinator/arch/program.h"
#include "proto/base/error.h"
#include "proto/plan.h"

/* The tables that a plan has beside those of its program; tiers are still TIER_DISK. */
struct tiling {
    struct program_table parts, tiles, expert_tiles;
    uint32_t sweep_count, resident_count, expert_count; /* tiles of each range */
};

#define SLOT_BYTES_MAX (UINT64_C(1) << 30)

/* Cuts a program that passes program_check() into c, which owns its tables. slot_bytes: a multiple of PLAN_PAGE, at least
 * tiling_slot_least(). -EINVAL, -EFBIG, -ENOMEM. */
int tiling_cut(struct tiling *c, const struct plan_shm *p, uint64_t slot_bytes, struct error *e);
void tiling_free(struct tiling *c);

/* Bytes of rows of a matrix, however badly they pack. */
uint64_t tiling_rows_most(const struct plan_matrix *m, uint64_t rows);
/* The smallest slot that holds any row, vector or embedding row of the program: a multiple of PLAN_PAGE. */
uint64_t tiling_slot_least(const struct plan_shm *p);
/* Stored bytes of the first rows of a matrix (of all, where it has no more), with their scales and zero points. */
uint64_t tiling_matrix_bytes(const struct plan_shm *p, uint32_t matrix, uint64_t rows);
/* Stored bytes of one sweep's rows; of all experts. */
uint64_t tiling_sweep_bytes(const struct plan_shm *p);
uint64_t tiling_expert_bytes(const struct plan_shm *p);
