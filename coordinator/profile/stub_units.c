#include "coordinator/profile/stub_units.h"

#include <string.h>

#include "proto/base/checksum.h"
#include "proto/unit/unit.h"

#define EXPONENT 110u /* of all weights: small numbers, so that no sum grows beyond what a float holds */

bool stub_units_any(const struct plan_shm *p)
{
    for (uint64_t i = 0; i < p->matrices.count; i++)
        if (plan_matrices(p)[i].unit_rows) return true;
    return false;
}

static uint64_t sum_of_zeros(uint64_t bytes)
{
    static const uint8_t zeros[4096];
    struct checksum sum;

    checksum_begin(&sum);
    for (uint64_t at = 0; at < bytes; at += sizeof zeros)
        checksum_feed(&sum, zeros, bytes - at < sizeof zeros ? bytes - at : sizeof zeros);
    return checksum_end(&sum);
}

/* A unit of the shape whose other bytes are zeros, in room bytes at most. */
static struct unit_header header_of(uint32_t rows, uint32_t cols, uint64_t room)
{
    uint64_t least = unit_stored_least(rows, cols);
    struct unit_header h = {
        .magic = UNIT_MAGIC, .version = UNIT_VERSION, .mode = UNIT_B223, .rows = rows, .cols = cols};

    if (least > room) { /* of so few weights that packing them does not pay */
        h.mode = UNIT_RAW;
        least = unit_stored_most(rows, cols);
    } else {
        h.table[0] = EXPONENT;
    }
    h.stored = (uint32_t)least;
    h.stored_sum = sum_of_zeros(least - UNIT_HEADER);
    h.sum = unit_header_sum(&h);
    return h;
}

static void put_part(const struct plan_shm *p, uint8_t *to, const struct plan_part *x, bool clear)
{
    const struct plan_matrix *m = &plan_matrices(p)[x->index];
    const uint64_t *at = plan_units(p) + m->unit0 + x->row0 / m->unit_rows;
    struct unit_header h = {0};

    for (uint64_t row = 0, i = 0; row < x->rows; row += m->unit_rows, i++) {
        uint64_t left = x->rows - row, room = at[i + 1] - at[i];
        uint32_t rows = (uint32_t)(left < m->unit_rows ? left : m->unit_rows);

        if (!clear && (h.rows != rows || h.stored > room || h.mode == UNIT_RAW))
            h = header_of(rows, (uint32_t)m->cols, room);
        memcpy(to + (at[i] - at[0]), &h, sizeof h);
    }
}

void stub_units_put(const struct plan_shm *p, uint8_t *place, uint32_t tile, bool clear)
{
    const struct plan_tile *t = &plan_tiles(p)[tile];

    for (uint32_t i = 0; i < t->parts; i++) {
        const struct plan_part *x = &plan_parts(p)[t->part0 + i];

        if (x->form == FORM_B223 && x->role == PART_WEIGHT) put_part(p, place + x->slot_off, x, clear);
    }
}
