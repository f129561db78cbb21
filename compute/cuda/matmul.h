/* What the files of the matrix products share. */
#pragma once
#include "compute/cuda/backend.h"
#include "compute/cuda/forms.h"

/* Rows of a stored matrix as kernels see them: struct ops_weight without its pointers to host memory. */
struct weight_rows {
    const uint8_t *data, *scale; /* scale NULL: none */
    uint64_t row_bytes, scale_row_bytes;
    uint64_t row0, scale_row0;
    uint32_t rows, cols;
    uint32_t block_rows, block_cols; /* of one scale of the grid; 1 where there is none */
    uint32_t form, scale_form;
};

struct weight_rows weight_rows_of(const struct ops_weight *w);
/* Rows [first, first + count) of w. */
struct weight_rows weight_rows_slice(const struct weight_rows *w, uint64_t first, uint32_t count);

/* The scales of row r (counted from w's first row), and the scale of its column c. */
ELEMENT_FN const uint8_t *weight_scale_row(const struct weight_rows *w, uint64_t r)
{
    return w->scale + ((w->row0 + r) / w->block_rows - w->scale_row0) * w->scale_row_bytes;
}

/* Element (r, c) as float32: the stored number times its scale, rounded once. */
ELEMENT_FN float weight_at(const struct weight_rows *w, uint64_t r, uint32_t c)
{
    float x = form_load(w->form, w->data + r * w->row_bytes, c);

    return w->scale ? x * form_load_scale(w->scale_form, weight_scale_row(w, r), c / w->block_cols) : x;
}

/* y[i][r] = x[i] . W[r], n <= CUDA_GEMV_TOKENS: own kernels. */
void gemv(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct weight_rows *w,
          const float *bias, uint32_t n);
/* The same for any n, and y[i][c] += sum_r x[i][r] W[r][c]: cuBLAS. */
void gemm(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct weight_rows *w, uint32_t n);
void gemm_t(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct weight_rows *w,
            uint32_t n);
