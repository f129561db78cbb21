/* What the files of the matrix products share. */
#pragma once
#include "compute/cuda/backend.h"
#include "compute/cuda/forms.h"
#include "compute/heads.h"

/* Rows of a stored matrix as kernels see them: struct ops_weight without its pointers to host memory. */
struct weight_rows {
    const uint8_t *data, *scale; /* scale NULL: none */
    uint64_t row_bytes, scale_row_bytes;
    uint64_t row0, scale_row0;
    uint32_t rows, cols;
    uint32_t block_rows, block_cols; /* of one scale of the grid; 1 where there is none */
    uint32_t form, scale_form;
    const uint8_t *zero; /* NULL: none */
    uint64_t zero_row_bytes, zero_row0;
    uint32_t zero_rows, flags; /* MATRIX_* */
    const float *vector[2];
    float offset;
    uint32_t groups; /* rows of scales that the matrix has */
};

struct weight_rows weight_rows_of(const struct ops_weight *w);
/* Rows [first, first + count) of w. */
struct weight_rows weight_rows_slice(const struct weight_rows *w, uint64_t first, uint32_t count);

/* Rows of packed weights, from row on, as BF16 in scratch (256-byte aligned): as many as its bytes hold, of so few units that
 * one launch does. Returns their number, at least 1, where bytes hold a row. */
uint32_t unpack_rows(struct ops *o, const struct ops_weight *w, uint64_t row, void *scratch, uint64_t bytes,
                     struct weight_rows *out);

/* The scales of row r (counted from w's first row), and the scale of its column c. */
ELEMENT_FN const uint8_t *weight_scale_row(const struct weight_rows *w, uint64_t r)
{
    return w->scale + ((w->row0 + r) / w->block_rows - w->scale_row0) * w->scale_row_bytes;
}

/* A product, or a sum, that is rounded by itself, and not fused with what comes next. */
#ifdef __CUDA_ARCH__
#define WEIGHT_MUL(a, b) __fmul_rn(a, b)
#define WEIGHT_ADD(a, b) __fadd_rn(a, b)
#else
#define WEIGHT_MUL(a, b) ((a) * (b))
#define WEIGHT_ADD(a, b) ((a) + (b))
#endif

/* Scale number i of row r, whose scales begin at row. */
ELEMENT_FN float weight_scale(const struct weight_rows *w, const uint8_t *row, uint64_t r, uint32_t i)
{
    float s;

    if (w->flags & MATRIX_NESTED) {
        uint64_t flat = (w->row0 + r) / w->block_rows * w->scale_row_bytes + i;

        return WEIGHT_ADD(WEIGHT_MUL(w->vector[0][row[i]], w->vector[1][flat / MATRIX_NESTING]), w->offset);
    }
    s = form_load_scale(w->scale_form, row, i);
    if (!(w->flags & MATRIX_WHOLE)) return s;
    return w->flags & MATRIX_DIVIDED ? s / *w->vector[0] : WEIGHT_MUL(s, *w->vector[0]);
}

/* Zero point number i of row r, less what the form takes off by itself. */
ELEMENT_FN float weight_zero(const struct weight_rows *w, uint64_t r, uint32_t i)
{
    uint64_t row = w->row0 + r;
    const uint8_t *at;
    uint32_t bits, word;

    if (!w->zero) return 0.0f;
    at = w->zero + (row / w->zero_rows - w->zero_row0) * w->zero_row_bytes;
    if (w->zero_rows == 1) return (float)(int8_t)at[i];
    bits = 32 / w->zero_rows;
    word = at[4 * i] | (uint32_t)at[4 * i + 1] << 8 | (uint32_t)at[4 * i + 2] << 16 | (uint32_t)at[4 * i + 3] << 24;
    return (float)((int)(word >> row % w->zero_rows * bits & ((1u << bits) - 1)) - (int)(1u << (bits - 1)));
}

/* ---- forms of FORM_TURNED: rows of inputs, form_deep() of them in each stored row ---- */

ELEMENT_FN uint32_t weight_inputs(const struct weight_rows *w)
{
    return w->rows * form_deep(w->form);
}

/* Number i of a word: of the inputs below each other, or of the outputs beside each other. */
ELEMENT_FN float turned_number(uint32_t form, uint32_t word, uint32_t i)
{
    if (form == FORM_GPTQ_8) return (float)(word >> 8 * i & 255u);
    if (form == FORM_AWQ_4) i = i / 2 + i % 2 * 4;
    return (float)(word >> 4 * i & 15u);
}

/* The row of scales of input k, counted from w's first; one that is not there for what names none. */
ELEMENT_FN uint64_t turned_group(const struct weight_rows *w, uint64_t k)
{
    uint32_t deep = form_deep(w->form);

    if (!(w->flags & MATRIX_GROUPED)) return (w->row0 + k / deep) / w->block_rows;
    return ((const uint32_t *)(const void *)w->vector[0])[w->row0 * deep + k];
}

/* Scale, and minus the zero point times it, of output c in a group; both not a number where there is no such group. */
struct turned_factors {
    float scale, zero;
};
ELEMENT_FN struct turned_factors turned_factors_of(const struct weight_rows *w, uint64_t group, uint32_t c)
{
    struct turned_factors p;
    uint32_t pack = form_turned_pack(w->form);
    float zero = w->flags & MATRIX_ZEROS_LESS ? 1.0f : 0.0f;

    p.scale = p.zero = element_from_bits(0x7fc00000u);
    if (group >= w->groups) return p;
    p.scale = form_load_scale(w->scale_form, w->scale + (group - w->scale_row0) * w->scale_row_bytes, c);
    if (w->zero) {
        const uint8_t *row = w->zero + (group - w->zero_row0) * w->zero_row_bytes;

        zero += turned_number(w->form, ((const uint32_t *)(const void *)row)[c / pack], c % pack);
    }
    p.zero = -WEIGHT_MUL(zero, p.scale);
    return p;
}

/* A number of at most 8 bits times a scale of 11, less a product of 9 and 11: exact, so fused or not it is the same. */
ELEMENT_FN float turned_weight(float number, struct turned_factors p)
{
    return fmaf(number, p.scale, p.zero);
}

ELEMENT_FN uint32_t turned_word(const struct weight_rows *w, uint64_t row, uint32_t c)
{
    uint64_t at = c / form_elements(w->form);

    return ((const uint32_t *)(const void *)(w->data + row * w->row_bytes))[at];
}

/* Input k, output c. */
ELEMENT_FN float turned_at(const struct weight_rows *w, uint64_t k, uint32_t c)
{
    uint32_t deep = form_deep(w->form), i = deep > 1 ? (uint32_t)(k % deep) : c % form_elements(w->form);

    return turned_weight(turned_number(w->form, turned_word(w, k / deep, c), i),
                         turned_factors_of(w, turned_group(w, k), c));
}

/* Element (r, c) as float32: the stored number, less its zero point, times its scale, rounded once. r is an input where rows
 * are such. */
ELEMENT_FN float weight_at(const struct weight_rows *w, uint64_t r, uint32_t c)
{
    uint32_t i = c / w->block_cols;
    float x;

    if (form_turned_pack(w->form)) return turned_at(w, r, c);
    x = form_load(w->form, w->data + r * w->row_bytes, c);
    return w->scale ? (x - weight_zero(w, r, i)) * weight_scale(w, weight_scale_row(w, r), r, i) : x;
}

/* y[i][r] = x[i] . W[r], n <= CUDA_GEMV_TOKENS: own kernels. */
/* h: of as many heads, w being the first one's rows; NULL: there is one. */
void gemv(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct weight_rows *w,
          const float *bias, const struct ops_heads *h, uint32_t n);
/* y[i][c] += sum_r x[i][r] W[r][c] of a form of FORM_TURNED, n <= CUDA_GEMV_TOKENS. */
void gemv_turned(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct weight_rows *w,
                 uint32_t n);
/* The same for any n, and y[i][c] += sum_r x[i][r] W[r][c]: cuBLAS. */
void gemm(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct weight_rows *w, uint32_t n);
void gemm_t(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct weight_rows *w,
            uint32_t n);
