/* Products with few tokens, bound by memory: several rows are walked together and dequantized in registers on the way. Every
 * output element owns one vector of sums over the columns in steps of 16; nothing else decides its bits. */
#pragma once
#include "compute/cpu/body_weights.h"

#define MAX_ROWS 8

/* Columns [k, k + 64) of R rows, row after row, each dequantized by 64 at once. */
INLINE void gemv_by_four(const struct cpu_product *a, const int R, const int T, const uint32_t form,
                         const unsigned char *const *row, const struct span *s, const float *x0, size_t k, size_t ahead,
                         vf (*acc)[TILE_TOKENS])
{
    const size_t at = form_at(form, k);
#pragma GCC unroll 8
    for (int i = 0; i < R; i++) {
        vf w[4];
        prefetch_far(row[i] + at + ahead);
        form_four_steps(row[i] + at, s[i], w);
#pragma GCC unroll 4
        for (unsigned j = 0; j < 4; j++) {
#pragma GCC unroll 2
            for (int t = 0; t < T; t++)
                acc[i][t] = vf_fma(w[j], vf_load(x0 + (size_t)t * a->ldx + k + j * STEP), acc[i][t]);
        }
    }
}

/* Rows [r, r + R) times tokens [t0, t0 + T). R, T and form are constants wherever it is called. */
INLINE void gemv_rows(const struct cpu_product *a, const int R, const int T, const uint32_t form, size_t r, size_t t0)
{
    const float *x0 = a->x + t0 * a->ldx;
    float *y0 = a->y + t0 * a->ldy;
    vf acc[MAX_ROWS][TILE_TOKENS], w[MAX_ROWS];
    struct span s[MAX_ROWS];
    struct grid_row scales[MAX_ROWS];
    const unsigned char *row[MAX_ROWS];
    const bool grid = form_scales(form) == FORM_SCALES_GRID;
    /* The rows that come next are sent for while these are read; very long ones would push each other out. */
    const size_t cols = a->cols, group = (size_t)R * a->row_bytes, ahead = group <= 256u << 10 ? group : 4096;
#pragma GCC unroll 8
    for (int i = 0; i < R; i++) {
        row[i] = a->data + (r + (size_t)i) * a->row_bytes;
        scales[i] = grid ? grid_row(a, form, r + (size_t)i) : (struct grid_row){0};
        s[i] = (struct span){vf_zero(), vf_zero()};
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) acc[i][t] = vf_zero();
    }
    const size_t span = form_span(a, form);
    size_t k = 0;
    for (size_t first = 0; k + STEP <= cols; first += span) {
        size_t end = cols;
        if (grid) {
            end = first + span < cols ? first + span : cols;
#pragma GCC unroll 8
            for (int i = 0; i < R; i++) s[i] = open_span(a, form, &scales[i], first);
        }
        for (; form_by_four(form) && T <= 2 && k + 4 * STEP <= end; k += 4 * STEP)
            gemv_by_four(a, R, T, form, row, s, x0, k, ahead, acc);
        for (; k + STEP <= end; k += STEP) {
            const size_t at = form_at(form, k);
            if (at % 64 == 0)
#pragma GCC unroll 8
                for (int i = 0; i < R; i++) prefetch_far(row[i] + at + ahead);
            if (ROW_BY_ROW && T == 1 && grid) {
                const vf x = vf_load(x0 + k);
#pragma GCC unroll 8
                for (int i = 0; i < R; i++) acc[i][0] = vf_fma(form_step(form, row[i] + at, s[i]), x, acc[i][0]);
                continue;
            }
#pragma GCC unroll 8
            for (int i = 0; i < R; i++) w[i] = form_step(form, row[i] + at, s[i]);
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) {
                vf x = vf_load(x0 + (size_t)t * a->ldx + k);
#pragma GCC unroll 8
                for (int i = 0; i < R; i++) acc[i][t] = vf_fma(w[i], x, acc[i][t]);
            }
        }
    }
    if (k < cols)
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) {
            const unsigned n = (unsigned)(cols - k);
            vf last = form_rest(a, form, row[i], &scales[i], k, n);
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) acc[i][t] = vf_fma(last, vf_load_n(x0 + (size_t)t * a->ldx + k, n), acc[i][t]);
        }
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
        float sum[MAX_ROWS];
        if (R % 4 == 0)
#pragma GCC unroll 2
            for (int i = 0; i < R; i += 4) vf_sum4(sum + i, acc[i][t], acc[i + 1][t], acc[i + 2][t], acc[i + 3][t]);
        else
#pragma GCC unroll 8
            for (int i = 0; i < R; i++) sum[i] = vf_sum(acc[i][t]);
        for (int i = 0; i < R; i++)
            y0[(size_t)t * a->ldy + r + (size_t)i] = a->bias ? sum[i] + a->bias[r + (size_t)i] : sum[i];
    }
}

/* Rows [r, r + R) times all tokens, in groups as even as can be; the rows come from memory for the first of them. */
INLINE void gemv_groups(const struct cpu_product *a, const int R, const uint32_t form, size_t r)
{
    const uint32_t groups = kernel_groups(a->n);
    for (uint32_t g = 0; g < groups; g++) {
        const uint32_t t = group_first(a->n, groups, g);
        switch (group_first(a->n, groups, g + 1) - t) {
        case 1: gemv_rows(a, R, 1, form, r, t); break;
        case 2: gemv_rows(a, R, 2, form, r, t); break;
#if TILE_TOKENS > 2
        case 3: gemv_rows(a, R, 3, form, r, t); break;
#endif
#if TILE_TOKENS > 3
        case 4: gemv_rows(a, R, 4, form, r, t); break;
        case 5: gemv_rows(a, R, 5, form, r, t); break;
        case 6: gemv_rows(a, R, 6, form, r, t); break;
#endif
        default: break;
        }
    }
}

INLINE void gemv_form(const struct cpu_product *a, const uint32_t form, size_t r, size_t r1)
{
    for (; a->n == 1 && r + GEMV_ROWS <= r1; r += GEMV_ROWS) gemv_rows(a, GEMV_ROWS, 1, form, r, 0);
    for (; a->n == 2 && r + FEW_ROWS_2 <= r1; r += FEW_ROWS_2) gemv_rows(a, FEW_ROWS_2, 2, form, r, 0);
    for (; r + TILE_ROWS <= r1; r += TILE_ROWS) gemv_groups(a, TILE_ROWS, form, r);
    for (; r < r1; r++) gemv_groups(a, 1, form, r);
}

#define GEMV(name, ...)                                                                                                \
    static void gemv_##name(const struct cpu_product *a, size_t r0, size_t r1)                                         \
    {                                                                                                                  \
        gemv_form(a, FORM_##name, r0, r1);                                                                             \
    }
FORM_PLAIN(GEMV)
#undef GEMV
