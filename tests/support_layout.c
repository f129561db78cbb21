#include "tests/support_layout.h"

#include <stdlib.h>

void layout_add(struct layout *l, uint32_t from, uint32_t to, uint32_t piece, uint32_t base)
{
    for (uint32_t i = from; i < to; i++, l->n++) {
        uint32_t at = l->first[l->n], pieces = (to + piece - 1) / piece;
        for (uint32_t position = 0; position <= i; position += piece) {
            const uint32_t row = base + (pieces - 1 - position / piece) * piece;
            l->runs[at++] = (struct ops_run){row, i + 1 - position < piece ? i + 1 - position : piece};
        }
        l->row[l->n] = l->runs[at - 1].row + l->runs[at - 1].length - 1;
        l->position[l->n] = i;
        l->first[l->n + 1] = at;
    }
    uint32_t end = base + (to + piece - 1) / piece * piece;
    l->rows = end > l->rows ? end : l->rows;
}

struct layout layout_new(void)
{
    struct layout l = {.row = calloc(LAYOUT_MOST, 4),
                       .position = calloc(LAYOUT_MOST, 4),
                       .first = calloc(LAYOUT_MOST + 1, 4),
                       .runs = calloc(200000, sizeof *l.runs)};
    return l;
}

void layout_free(struct layout *l)
{
    free(l->row), free(l->position), free(l->first), free(l->runs);
}

struct ops_rows layout_rows(const struct layout *l, uint32_t i, uint32_t n)
{
    struct ops_rows r = {
        .row = l->row + i, .position = l->position + i, .first = l->first + i, .runs = l->runs, .n = n};
    for (uint32_t k = 0; k < n; k++) r.max_position = r.position[k] > r.max_position ? r.position[k] : r.max_position;
    return r;
}
