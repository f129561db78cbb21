/* Products with few tokens, bound by memory: several rows are walked together and widened in registers on the way. Every
 * output element owns one vector of sums over the columns in steps of 16; nothing else decides its bits. */
#pragma once
#include "compute/cpu/body_weights.h"

#define MAX_ROWS 8

/* Rows [r, r + R) times T tokens. R, T and dtype are constants wherever it is called. */
INLINE void few_rows(const struct cpu_product *a, const int R, const int T, const uint32_t dtype, size_t r)
{
    vf acc[MAX_ROWS][TILE_TOKENS], s[MAX_ROWS], w[MAX_ROWS];
    const unsigned char *row[MAX_ROWS], *scales[MAX_ROWS];
    const size_t cols = a->cols, ahead = (size_t)R * a->row_bytes;
#pragma GCC unroll 8
    for (int i = 0; i < R; i++) {
        row[i] = a->data + (r + (size_t)i) * a->row_bytes;
        scales[i] = dtype_scaled(dtype) ? scale_row(a, r + (size_t)i) : NULL;
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
            acc[i][t] = vf_zero();
    }
    const size_t block_cols = dtype == PLAN_MXFP4 ? 32 : a->block_cols;
    size_t k = 0;
    for (size_t block = 0; k + STEP <= cols; block++) {
        size_t end = cols;
        if (dtype_scaled(dtype)) {
            end = (block + 1) * block_cols < cols ? (block + 1) * block_cols : cols;
#pragma GCC unroll 8
            for (int i = 0; i < R; i++)
                s[i] = vf_set1(block_scale(a, dtype, scales[i], block));
        }
        for (; k + STEP <= end; k += STEP) {
            const size_t at = cpu_stored_bytes(dtype, k);
            if (at % 64 == 0)
#pragma GCC unroll 8
                for (int i = 0; i < R; i++)
                    prefetch_near(row[i] + at + ahead);
#pragma GCC unroll 8
            for (int i = 0; i < R; i++) {
                w[i] = stored_vec(dtype, row[i] + at);
                if (dtype_scaled(dtype))
                    w[i] = vf_mul(w[i], s[i]);
            }
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) {
                vf x = vf_load(a->x + (size_t)t * a->ldx + k);
#pragma GCC unroll 8
                for (int i = 0; i < R; i++)
                    acc[i][t] = vf_fma(w[i], x, acc[i][t]);
            }
        }
    }
    if (k < cols)
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) {
            const unsigned n = (unsigned)(cols - k);
            vf last = weight_vec(a, dtype, row[i], scales[i], k, n);
#pragma GCC unroll 8
            for (int t = 0; t < T; t++)
                acc[i][t] = vf_fma(last, vf_load_n(a->x + (size_t)t * a->ldx + k, n), acc[i][t]);
        }
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
        float sum[MAX_ROWS];
        if (R % 4 == 0)
#pragma GCC unroll 2
            for (int i = 0; i < R; i += 4)
                vf_sum4(sum + i, acc[i][t], acc[i + 1][t], acc[i + 2][t], acc[i + 3][t]);
        else
#pragma GCC unroll 8
            for (int i = 0; i < R; i++)
                sum[i] = vf_sum(acc[i][t]);
        for (int i = 0; i < R; i++)
            a->y[(size_t)t * a->ldy + r + (size_t)i] = a->bias ? sum[i] + a->bias[r + (size_t)i] : sum[i];
    }
}

INLINE void few_typed(const struct cpu_product *a, const uint32_t dtype, size_t r, size_t r1)
{
#define FEW(R, T)                                                                                                      \
    for (; r + (R) <= r1; r += (R))                                                                                    \
    few_rows(a, R, T, dtype, r)
#define FEW_CASE(T)                                                                                                    \
    case T:                                                                                                            \
        FEW(TILE_ROWS, T);                                                                                             \
        FEW(1, T);                                                                                                     \
        break
    switch (a->n) {
    case 1:
        FEW(FEW_ROWS, 1);
        FEW(1, 1);
        break;
        FEW_CASE(2);
#if TILE_TOKENS > 2
        FEW_CASE(3);
#endif
#if TILE_TOKENS > 3
        FEW_CASE(4);
        FEW_CASE(5);
        FEW_CASE(6);
#endif
    default:
        break;
    }
#undef FEW
#undef FEW_CASE
}

static void few_f32(const struct cpu_product *a, size_t r0, size_t r1)
{
    few_typed(a, PLAN_F32, r0, r1);
}
static void few_f16(const struct cpu_product *a, size_t r0, size_t r1)
{
    few_typed(a, PLAN_F16, r0, r1);
}
static void few_bf16(const struct cpu_product *a, size_t r0, size_t r1)
{
    few_typed(a, PLAN_BF16, r0, r1);
}
static void few_f8(const struct cpu_product *a, size_t r0, size_t r1)
{
    few_typed(a, PLAN_F8_E4M3, r0, r1);
}
static void few_mxfp4(const struct cpu_product *a, size_t r0, size_t r1)
{
    few_typed(a, PLAN_MXFP4, r0, r1);
}

static void kernel_matmul_few(const struct cpu_product *a, size_t r0, size_t r1)
{
    static void (*const typed[PLAN_DTYPES])(const struct cpu_product *, size_t, size_t) = {few_f32, few_f16, few_bf16, few_f8,
                                                                                           few_mxfp4};
    typed[a->dtype](a, r0, r1);
}
