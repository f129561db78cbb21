#include "reader/table.h"

#include <errno.h>
#include <string.h>

#include "proto/unit/unit.h"

static const uint64_t *units_of(const struct plan_shm *p, const struct plan_gather *t)
{
    return plan_units(p) + t->unit0;
}

static uint64_t columns(const struct plan_gather *t)
{
    return t->row_bytes / 2; /* what is packed is BF16 */
}

struct table_place table_row(const struct plan_shm *p, const struct plan_gather *t, uint64_t row)
{
    uint64_t i, left;

    if (!t->unit_rows)
        return (struct table_place){.offset = t->file_off + row * t->row_bytes, .bytes = (uint32_t)t->row_bytes};
    i = row / t->unit_rows;
    left = t->rows - i * t->unit_rows;
    return (struct table_place){.offset = units_of(p, t)[i],
                                .bytes = (uint32_t)(units_of(p, t)[i + 1] - units_of(p, t)[i]),
                                .first = (uint32_t)(row % t->unit_rows),
                                .rows = left < t->unit_rows ? (uint32_t)left : t->unit_rows};
}

uint64_t table_end(const struct plan_shm *p, const struct plan_gather *t)
{
    if (!t->unit_rows) return t->file_off + t->rows * t->row_bytes;
    return units_of(p, t)[(t->rows + t->unit_rows - 1) / t->unit_rows];
}

static uint64_t unit_bytes(const struct plan_gather *t)
{
    return t->unit_rows ? unit_stored_most(t->unit_rows, columns(t)) : 0;
}

static uint64_t scratch_bytes(const struct plan_gather *t)
{
    return t->unit_rows ? unit_chunk_bytes((columns(t) + UNIT_CHUNK - 1) / UNIT_CHUNK + 1) : 0;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t table_unit_bytes(const struct plan_shm *p)
{
    return larger(unit_bytes(&p->gather), unit_bytes(&p->beside));
}

uint64_t table_scratch_bytes(const struct plan_shm *p)
{
    return larger(scratch_bytes(&p->gather), scratch_bytes(&p->beside));
}

static int unpack(const struct plan_gather *t, const struct table_place *x, const void *stored, void *scratch,
                  void *out, struct error *e)
{
    uint64_t cols = columns(t), from = x->first * cols, begin = from / UNIT_CHUNK,
             end = (from + cols + UNIT_CHUNK - 1) / UNIT_CHUNK;
    struct unit u;
    int rc = unit_open(&u, stored, x->bytes, e);

    if (!rc) rc = unit_check(&u, e);
    if (rc) return rc;
    if (u.rows != x->rows || u.cols != cols)
        return error_set(e, EBADMSG, "a unit of %u x %u weights, where %u x %llu should be", u.rows, u.cols, x->rows,
                         (unsigned long long)cols);
    if (u.mode == UNIT_RAW) {
        memcpy(out, u.bytes + UNIT_HEADER + x->first * t->row_bytes, t->row_bytes);
        return 0;
    }
    if (unit_code()->decode(&u, (uint32_t)begin, (uint32_t)(end - begin), scratch))
        return error_set(e, EBADMSG, "the unit does not unpack");
    memcpy(out, (const uint8_t *)scratch + 2 * (from - begin * UNIT_CHUNK), t->row_bytes);
    return 0;
}

int table_unpack(const struct plan_shm *p, const struct plan_gather *t, const struct table_place *x, const void *unit,
                 void *scratch, void *out, struct error *e)
{
    int rc = unpack(t, x, unit, scratch, out, e);

    return rc ? error_prefix(e, "%s: offset %llu: rows of the embedding", plan_string(p, plan_files(p)[t->file].name),
                             (unsigned long long)x->offset)
              : 0;
}
