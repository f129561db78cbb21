/* Few tokens times rows of any form: see gemv_widened() in blocks.h. */
#pragma once
#include "compute/cpu/body_blocks.h"

#define WIDENED_COLS 512u /* of TILE_ROWS rows: in the first cache beside the tokens' */

/* Rows [r, r + R), R <= TILE_ROWS, times T tokens, both constants wherever it is called. */
INLINE void widened_rows(const struct cpu_product *a, dequantize_fn *dequantize, const int R, const int T, size_t r)
{
    float w[TILE_ROWS * WIDENED_COLS];
    vf acc[TILE_ROWS][TILE_TOKENS];
#pragma GCC unroll 8
    for (int i = 0; i < R; i++)
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) acc[i][t] = vf_zero();
    for (size_t k0 = 0; k0 < a->cols; k0 += WIDENED_COLS) {
        const size_t k1 = k0 + WIDENED_COLS < a->cols ? k0 + WIDENED_COLS : a->cols;
        const unsigned char *next = a->data + (r + (size_t)R) * a->row_bytes + cpu_bytes_of(a->form, k0);
        for (int i = 0; i < R; i++) {
            for (size_t b = 0; b < cpu_bytes_of(a->form, k1 - k0); b += 64)
                prefetch_far(next + (size_t)i * a->row_bytes + b);
            dequantize(a, r + (size_t)i, k0, k1, w + (size_t)i * STEP, (size_t)R * STEP);
        }
        const float *from = w, *x = a->x + k0;
        for (size_t k = k0; k < k1; k += STEP, from += R * (int)STEP, x += STEP) {
            vf wide[TILE_ROWS];
#pragma GCC unroll 8
            for (int i = 0; i < R; i++) wide[i] = vf_load(from + i * (int)STEP);
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) {
                const vf in = vf_load(x + (size_t)t * a->ldx);
#pragma GCC unroll 8
                for (int i = 0; i < R; i++) acc[i][t] = vf_fma(wide[i], in, acc[i][t]);
            }
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) {
            const float sum = vf_sum(acc[i][t]);
            a->y[(size_t)t * a->ldy + r + (size_t)i] = a->bias ? sum + a->bias[r + (size_t)i] : sum;
        }
}

INLINE void widened_tokens(const struct cpu_product *a, dequantize_fn *dequantize, const int T, size_t r0, size_t r1)
{
    size_t r = r0;
    for (; r + TILE_ROWS <= r1; r += TILE_ROWS) widened_rows(a, dequantize, TILE_ROWS, T, r);
    for (; r < r1; r++) widened_rows(a, dequantize, 1, T, r);
}

void VARIANT(gemv_widened)(const struct cpu_product *a, dequantize_fn *dequantize, size_t r0, size_t r1)
{
    switch (a->n) {
    case 1: widened_tokens(a, dequantize, 1, r0, r1); return;
    case 2: widened_tokens(a, dequantize, 2, r0, r1); return;
#if TILE_TOKENS > 2
    case 3: widened_tokens(a, dequantize, 3, r0, r1); return;
#endif
#if TILE_TOKENS > 3
    case 4: widened_tokens(a, dequantize, 4, r0, r1); return;
    case 5: widened_tokens(a, dequantize, 5, r0, r1); return;
    case 6: widened_tokens(a, dequantize, 6, r0, r1); return;
#endif
    default: return; /* ops_matmul() knows how many */
    }
}
