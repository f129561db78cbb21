/* Arrays of float32 for support_gguf_model.c: what a converter does with the numbers of a tensor. All fail the test where there
 * is no memory. */
#pragma once
#include <stdint.h>

/* An array [a][b][c] of float32, rows first; fewer dimensions leave out the first. */
struct array {
    float *x;
    uint64_t shape[3];
    uint32_t dims;
};

uint64_t array_count(const struct array *a);
/* Zeros; the caller frees x. */
struct array array_make(uint64_t a, uint64_t b, uint64_t c, uint32_t dims);
/* One element of a tensor's type: F32, F16 or BF16. */
float array_widened(const uint8_t *p, uint32_t dtype);
/* Within each head's rows: i of the first half and i of the second become 2i and 2i + 1. */
void array_permute(struct array *a, uint64_t heads);
/* Columns [b][c] of each a become [c][b]. */
void array_transpose(struct array *a);
/* Rows first, first + step, ... (rows of them) of each of the a; of a vector's or a matrix's, its last dimension but one. */
struct array array_rows(const struct array *a, uint64_t first, uint64_t step, uint64_t rows);
/* Rows in groups [outer][inner][width] become [inner][outer][width]: value heads from grouped to tiled. */
void array_tile(struct array *a, uint64_t first, uint64_t outer, uint64_t inner, uint64_t width);
