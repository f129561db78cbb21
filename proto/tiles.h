/* Tiles: what travels through a ring. A tile holds parts, a part whole consecutive rows of one matrix, or one vector.
 *
 * The order of the tiles of a sweep is the order in which the operations consume their parts: who executes the list
 * walks the tiles front to back and never looks anything up.
 *
 * Tiles come in three ranges:
 *   [0, sweep_tiles)                       one sweep, in order; streamed for ever, sweep after sweep, on lane 0
 *   [sweep_tiles, +resident_tiles)         parts are vectors; sent once at the start of an epoch, on lane 1
 *   [.., +demand_tiles)                    sent on demand (those of experts), on lane 1
 * A part's payload begins at tile-relative slot_off, of which the low 12 bits are those of its offset in the file, so
 * that a direct read of whole pages lands it there. Parts do not share pages. A tile occupies span bytes, a multiple of
 * PLAN_PAGE, at most slot_bytes. */
#pragma once
#include <assert.h>
#include <stdint.h>
#include "proto/config.h"

enum plan_role { PART_WEIGHT, PART_SCALE, PART_VECTOR, PART_BIAS, PART_ZERO };

/* Rows [row0, row0 + rows) of a matrix, or of its scales (SCALE parts come before the WEIGHT part they serve, in the
 * same tile, and cover its rows: row0 and rows then count rows of scales; ZERO parts, of zero points as bytes, come between the
 * two), or one vector (resident, or the BIAS of an
 * expert's matrix). form says how they are stored, bytes how long that is: who moves a part looks at nothing else. */
struct plan_part {
    uint64_t file_off, bytes, row0;
    uint32_t rows;
    uint32_t index; /* matrix, or vector for VECTOR and BIAS */
    uint32_t file;
    uint32_t slot_off;   /* of the payload's first byte; slot_off % PLAN_PAGE == file_off % PLAN_PAGE */
    uint16_t role, form; /* enum plan_role, enum form */
    uint32_t pad;
};

enum plan_tier { TIER_DISK, TIER_HOST, TIER_DEVICE };

/* TILE_STAYS: who computes keeps it after its first visit, so from the next sweep on it is not sent any more (device
 * tier anywhere; host tier where the kernels read host memory). */
#define TILE_STAYS 1u

struct plan_tile {
    uint64_t tier_off; /* in the host cache or in the device's pinned area, a multiple of PLAN_PAGE */
    uint64_t bytes;    /* payload, without padding */
    uint32_t part0, parts;
    uint32_t span; /* with padding */
    uint16_t tier, flags;
    uint32_t layer, pad;
};

/* Expert e of a table owns tiles [tile0 + e * each, + each), whose parts come in the order of its matrices, each with its
 * SCALE part before it and its BIAS part before its first rows. */
struct plan_expert_tiles {
    uint32_t tile0, each;
};

/* A table whose rows are read one by one, as they are asked for (the embedding). rows 0: there is none. With a second table
 * beside it, each row that is sent is the first one's, then the second one's of the same number (of number 0, where it has
 * not so many), each from a multiple of PLAN_ROW_ALIGN on. */
#define PLAN_ROW_ALIGN 16u
#define PLAN_GATHER_UNIT                                                                                               \
    (64u << 10) /* of unpacked rows in a unit of such a table, at most: each row is one read of a unit */
/* Of a packed one (struct plan_matrix), unit_rows and unit0 are the matrix's, 0 otherwise; its rows are sent unpacked. */
struct plan_gather {
    uint64_t file_off, rows, row_bytes;
    uint32_t file, unit_rows;
    uint64_t unit0;
};

static inline uint64_t plan_row_aligned(uint64_t bytes)
{
    return (bytes + PLAN_ROW_ALIGN - 1) / PLAN_ROW_ALIGN * PLAN_ROW_ALIGN;
}
/* Bytes from one row that is sent to the next; beside_bytes 0: there is no second table. */
static inline uint64_t plan_rows_stride(uint64_t row_bytes, uint64_t beside_bytes)
{
    return beside_bytes ? plan_row_aligned(row_bytes) + plan_row_aligned(beside_bytes) : row_bytes;
}

/* ---- device memory (cuda): the lanes' slots, then the pinned tiles ----
 * A tile lies there as in its host slot, but every part is moved down to a multiple of 256 bytes, for wide loads. That
 * stays within the part's own pages, so parts do not meet and a device slot is as long as a host slot. */
#define PLAN_DEVICE_ALIGN 256u

static inline uint32_t plan_device_offset(const struct plan_part *part)
{
    return part->slot_off & ~(PLAN_DEVICE_ALIGN - 1);
}

/* Where the pinned tiles begin (a tile's own place is this + tier_off), and the bytes of the whole area. */
static inline uint64_t plan_device_pins_offset(const struct plan_run *run)
{
    return plan_slots_before(run, run->transfer_slots, LANES);
}
static inline uint64_t plan_device_bytes(const struct plan_run *run)
{
    return plan_device_pins_offset(run) + run->device_pin_bytes;
}

static_assert(sizeof(struct plan_part) == 48, "plan_part");
static_assert(sizeof(struct plan_tile) == 40, "plan_tile");
