/* Where rows of the plan's gather tables lie in their file, and how they come out of it: as they are, or out of a unit that
 * holds a few of them (proto/unit/unit.h). */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

struct table_place {
    uint64_t offset;
    uint32_t bytes;       /* to be read: the row, or its unit */
    uint32_t first, rows; /* the row's number in the unit, and how many that has; rows 0: it is not packed */
};

/* row < t->rows. */
struct table_place table_row(const struct plan_shm *p, const struct plan_gather *t, uint64_t row);
/* The first byte of the file behind the table. */
uint64_t table_end(const struct plan_shm *p, const struct plan_gather *t);
/* Bytes that a unit of any table of the plan takes at most, and those of scratch that unpacking a row needs; 0: none is packed. */
uint64_t table_unit_bytes(const struct plan_shm *p);
uint64_t table_scratch_bytes(const struct plan_shm *p);
/* The row (t->row_bytes) to out; unit: its bytes, as read. -EBADMSG: they are not what was packed, with the file's name. */
int table_unpack(const struct plan_shm *p, const struct plan_gather *t, const struct table_place *x, const void *unit,
                 void *scratch, void *out, struct error *e);
