/* Matrices in every stored form, for tests of kernels: whatever has a row in the table of proto/form.h comes by itself. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "compute/ops.h"
#include "proto/form.h"

struct form_shape {
    uint32_t form, rows, cols, block_rows, block_cols, scale_form;
    uint32_t flags; /* MATRIX_*, and whether it has zero points */
    bool zeros;
};

/* Odd sizes of a form: rows of whole blocks, one more than a step where a block is one element; grids of scales whose blocks
 * divide nothing, of one row, of all of it, in every form that the scales can have. Returns how many. */
#define FORM_SHAPES_MOST 16u
size_t form_shapes(uint32_t form, struct form_shape *out);
/* The same of a form of FORM_TURNED: stored rows, with groups in order and out of it, ends of columns that fill no vector. */
size_t form_turned_shapes(uint32_t form, struct form_shape *out);
/* The form's own grid, or one of these where the matrix chooses; scales in the first form that they can have. */
struct form_shape form_shape_of(uint32_t form, uint32_t rows, uint32_t cols, uint32_t block_rows, uint32_t block_cols);
/* "BF16, 37 x 75"; valid until the next call. */
const char *form_shape_name(const struct form_shape *h);

/* A matrix in memory of its own: data and scales begin at odd bytes, and end where the allocation ends. */
struct stored {
    struct plan_matrix m;
    unsigned char *data, *scale; /* scale NULL: it has none */
    unsigned char *zero;         /* NULL: none */
    unsigned char *data_alloc, *scale_alloc, *zero_alloc;
    uint64_t data_bytes, scale_bytes, zero_bytes;
    float *vector[2]; /* that the flags name, or NULL */
    uint64_t vector_count[2];
    struct ops_weight w; /* all of it */
};

/* Numbers of ordinary size; aborts without memory. */
void stored_make(struct stored *s, const struct form_shape *h, uint64_t seed);
void stored_free(struct stored *s);
/* Rows [r0, r1) of it, as a tile would bring them. */
struct ops_weight stored_rows(const struct stored *s, uint64_t r0, uint64_t r1);
