/* Packed weights: rows of a unit become BF16 in a thread's own scratch, on which the kernels of BF16 then work. What they
 * see are the bits of the unpacked matrix, so that results are, too. */
#include <errno.h>
#include <stdatomic.h>

#include "compute/cpu/cpu.h"

static struct cpu_rows damaged(struct ops *o)
{
    atomic_store_explicit(&o->damaged, true, memory_order_relaxed);
    return (struct cpu_rows){0};
}

/* The unit that has a row of the call; *first: the row's number in it. */
static bool open_unit(struct unit *u, const struct ops_weight *w, size_t row, size_t *first)
{
    const uint64_t each = w->matrix->unit_rows, units = (w->rows + each - 1) / each, i = row / each;
    const uint64_t at = w->unit[i] - w->unit[0], left = w->rows - i * each;

    *first = row % each;
    return !unit_open(u, (const uint8_t *)w->data + at, w->unit[units] - w->unit[0] - at, NULL) &&
           u->stored <= w->unit[i + 1] - w->unit[i] && u->rows == (left < each ? left : each) &&
           u->cols == w->matrix->cols;
}

struct cpu_rows cpu_unpack(struct ops *o, const struct ops_weight *w, size_t row, size_t rows, void *scratch,
                           size_t bytes)
{
    const size_t row_bytes = w->matrix->row_bytes, cols = w->matrix->cols, room = bytes - FOOTPRINT_CPU_CHUNKS;
    size_t first, n = room / row_bytes;
    struct unit u;

    if (!open_unit(&u, w, row, &first)) return damaged(o);
    if (n > rows) n = rows;
    if (n > u.rows - first) n = u.rows - first;
    if (u.mode == UNIT_RAW) /* as many as there are: nothing is unpacked */
        return (struct cpu_rows){u.bytes + UNIT_HEADER + first * row_bytes,
                                 rows < u.rows - first ? rows : u.rows - first};
    const size_t begin = first * cols / UNIT_CHUNK, end = ((first + n) * cols + UNIT_CHUNK - 1) / UNIT_CHUNK;
    if (o->units->decode(&u, (uint32_t)begin, (uint32_t)(end - begin), scratch)) return damaged(o);
    return (struct cpu_rows){(const unsigned char *)scratch + 2 * (first * cols - begin * UNIT_CHUNK), n};
}

void cpu_unpack_failed(struct ops *o, const struct ops_weight *w)
{
    if (!atomic_exchange_explicit(&o->damaged, false, memory_order_relaxed) || o->error.code) return;
    error_set(&o->error, EBADMSG,
              "units of packed weights (%llu rows from %llu on) do not unpack: they are damaged, `sluice verify` tells "
              "of the "
              "file",
              (unsigned long long)w->rows, (unsigned long long)w->row0);
}
