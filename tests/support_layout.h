/* Positions of one or more sequences as the kernels are given them: the rows of the cache, and what each position sees as runs. */
#pragma once
#include <stdint.h>
#include "compute/ops.h"

#define LAYOUT_MOST 1000 /* positions */

struct layout {
    uint32_t n, rows;
    uint32_t *row, *position, *first;
    struct ops_run *runs;
};

struct layout layout_new(void);
void layout_free(struct layout *l);
/* Positions [from, to) of a sequence whose places lie in pieces of piece rows, last piece first, from row base on. */
void layout_add(struct layout *l, uint32_t from, uint32_t to, uint32_t piece, uint32_t base);
/* Positions [i, i + n). */
struct ops_rows layout_rows(const struct layout *l, uint32_t i, uint32_t n);
