#include "coordinator/pack/guess.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/pack/private.h"

#define TABLE_ALIGN 64u

static uint64_t aligned(uint64_t x)
{
    return (x + TABLE_ALIGN - 1) / TABLE_ALIGN * TABLE_ALIGN;
}

/* Of each matrix its rows in a unit; 0: it stays as it is. Returns how many offsets that makes. */
static uint64_t choose(uint32_t *unit_rows, const struct plan_shm *p)
{
    struct cut_use *use = calloc(p->matrices.count + 1, sizeof *use);
    uint64_t offsets = 0;

    if (!use) return 0;
    cut_mark(p, use);
    for (uint64_t i = 0; i < p->matrices.count; i++) {
        struct plan_matrix m = plan_matrices(p)[i];

        unit_rows[i] = m.unit_rows = cut_rows(&m, &use[i], UNIT_BYTES);
        if (m.unit_rows) offsets += plan_matrix_units(&m) + 1;
    }
    free(use);
    return offsets;
}

/* Places as long as packed units are, in the matrix's own bytes. */
static void place(struct plan_matrix *m, uint64_t *units, uint64_t unit0)
{
    uint64_t at = m->file_off / PACKED_ALIGN * PACKED_ALIGN, n;

    n = plan_matrix_units(m);
    m->unit0 = unit0;
    for (uint64_t i = 0; i <= n; i++) {
        uint64_t left = m->rows - i * m->unit_rows, rows = left < m->unit_rows ? left : m->unit_rows;

        units[unit0 + i] = at;
        if (i < n)
            at += (UNIT_HEADER + (uint64_t)(PACK_RATIO * (double)(rows * m->row_bytes))) / UNIT_ALIGN * UNIT_ALIGN;
    }
    m->file_off = units[unit0];
}

int pack_guess(struct plan_shm **out, const struct plan_shm *program, struct error *e)
{
    uint32_t *unit_rows = calloc(program->matrices.count + 1, sizeof *unit_rows);
    uint64_t offsets = unit_rows && !program->units.count ? choose(unit_rows, program) : 0, at = 0, *units;
    struct plan_shm *p = offsets ? calloc(1, aligned(program->bytes) + offsets * sizeof *units) : NULL;

    *out = NULL;
    if (!p) {
        free(unit_rows);
        return offsets || !unit_rows ? error_set(e, ENOMEM, "no memory for the description of a packed model") : 0;
    }
    memcpy(p, program, program->bytes);
    p->bytes = aligned(program->bytes) + offsets * sizeof *units;
    p->units = (struct plan_table){.offset = aligned(program->bytes), .count = offsets};
    units = (uint64_t *)(void *)((char *)p + p->units.offset);
    for (uint64_t i = 0; i < p->matrices.count; i++) {
        struct plan_matrix *m = (struct plan_matrix *)(uintptr_t)&plan_matrices(p)[i];

        if (!unit_rows[i]) continue;
        m->unit_rows = unit_rows[i];
        place(m, units, at);
        at += plan_matrix_units(m) + 1;
    }
    free(unit_rows);
    *out = p;
    return 0;
}
