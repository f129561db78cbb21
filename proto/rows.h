/* Rows of the plan's gather table (the embeddings of tokens): listed by the coordinator, read by the reader, sent through the
 * rings of LANE_ROWS in the order of the list.
 *
 *      coordinator  --rows_list()-->  reader  --entries of LANE_ROWS-->  transfer  -->  compute, which looks at rows_at()
 *
 * Rows are numbered from 0 since the epoch began. What one call of rows_list() has listed is a batch: an entry holds rows of
 * one batch, as many as fit into a slot, so no row waits for a batch that is still to come. The coordinator lists a row as
 * soon as it knows that a sweep will need it; a sweep's order (CONTROL_SWEEP) says which rows are the sweep's, one range
 * after the other without a gap, and which of them each position's is. So compute asks for nothing, and takes all rows in
 * order.
 *
 * listed belongs to the coordinator, taken to the reader. A place of the list is written again, capacity rows later, only
 * when the sweep that its row belongs to is done: the coordinator sees to that, and compute may look meanwhile at whether
 * it was sent the row of the token that it wanted. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/epoch.h"

#define ROWS_LAST (UINT32_C(1) << 31) /* ends a batch; tables have fewer rows */

struct rows_shm {
    uint32_t capacity, pad;               /* a power of two */
    _Alignas(64) _Atomic uint64_t listed; /* coordinator */
    _Alignas(64) _Atomic uint64_t taken;  /* reader */
    _Alignas(64) uint32_t row[];
};

/* Coordinator. Lists a batch of n rows; keep: the number of the first row that is still in use. -EAGAIN, and nothing is
 * listed: there are not so many places now. Wakes the reader. */
int rows_list(struct epoch_shm *r, uint64_t keep, const uint32_t *row, uint32_t n);
/* Reader. The next row; false: there is none. */
bool rows_next(struct epoch_shm *r, uint32_t *row, bool *last);
/* Who knows that it is still in use. False: none of this number is in the list. */
bool rows_at(const struct epoch_shm *r, uint64_t number, uint32_t *row);

/* For sweeps of so many positions: room for those of three, so that the rows of a coming one can be listed meanwhile. */
uint32_t rows_capacity(uint32_t max_positions);
uint64_t rows_bytes(uint32_t capacity);
void rows_init(struct rows_shm *s, uint32_t capacity);
