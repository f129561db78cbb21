/* Sums over rows, y[c] += x[r] W[r][c]: each column is one chain over the rows in order. A block of rows is dequantized once,
 * columns of several tokens are held in registers. */
#pragma once
#include "compute/cpu/body_weights.h"

/* V vectors of columns of T tokens over rows dequantized rows; y is loaded, carried on and stored. */
INLINE void sum_columns(const int T, const int V, float *y, size_t ldy, const float *x, size_t ldx, const float *w,
                        size_t ldw, size_t rows)
{
    vf acc[TILE_TOKENS][TILE_VECS];
#pragma GCC unroll 8
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) acc[t][v] = vf_load(y + (size_t)t * ldy + v * (int)STEP);
    for (size_t r = 0; r < rows; r++, w += ldw) {
        vf wv[TILE_VECS];
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) wv[v] = vf_load(w + v * (int)STEP);
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            vf xv = vf_set1(x[(size_t)t * ldx + r]);
#pragma GCC unroll 8
            for (int v = 0; v < V; v++) acc[t][v] = vf_fma(xv, wv[v], acc[t][v]);
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) vf_store(y + (size_t)t * ldy + v * (int)STEP, acc[t][v]);
}

/* The same for width columns, a multiple of 16, of T <= TILE_TOKENS tokens. */
static void sum_group(int T, float *y, size_t ldy, const float *x, size_t ldx, const float *w, size_t ldw, size_t rows,
                      size_t width)
{
    size_t c = 0;
#define SUM_CASE(T)                                                                                                    \
    case T:                                                                                                            \
        for (; c + TILE_VECS * STEP <= width; c += TILE_VECS * STEP)                                                   \
            sum_columns(T, TILE_VECS, y + c, ldy, x, ldx, w + c, ldw, rows);                                           \
        for (; c < width; c += STEP) sum_columns(T, 1, y + c, ldy, x, ldx, w + c, ldw, rows);                          \
        break
    switch (T) {
        SUM_CASE(1);
        SUM_CASE(2);
#if TILE_TOKENS > 2
        SUM_CASE(3);
#endif
#if TILE_TOKENS > 3
        SUM_CASE(4);
        SUM_CASE(5);
        SUM_CASE(6);
#endif
    default: break;
    }
#undef SUM_CASE
}

/* One token, straight from stored weights without scales: ROWS_AT_ONCE rows walked together, y carried on for each column. */
#define ROWS_AT_ONCE 8

INLINE void sum_gemv_rows(const struct cpu_product *a, const int R, const uint32_t form, size_t r, size_t c0, size_t c1)
{
    const unsigned char *row[ROWS_AT_ONCE];
    const size_t ahead = (size_t)R * a->row_bytes;
    const struct span none = {vf_zero(), vf_zero()};
    vf x[ROWS_AT_ONCE];
#pragma GCC unroll 8
    for (int i = 0; i < R; i++) {
        row[i] = a->data + (r + (size_t)i) * a->row_bytes;
        x[i] = vf_set1(a->x[r + (size_t)i]);
    }
    size_t c = c0;
    for (; c + STEP <= c1; c += STEP) {
        const size_t at = form_at(form, c);
        vf sum = vf_load(a->y + c);
        if (at % 64 == 0)
#pragma GCC unroll 8
            for (int i = 0; i < R; i++) prefetch_far(row[i] + at + ahead);
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) sum = vf_fma(x[i], form_step(form, row[i] + at, none), sum);
        vf_store(a->y + c, sum);
    }
    if (c < c1) {
        const unsigned n = (unsigned)(c1 - c);
        vf sum = vf_load_n(a->y + c, n);
        for (int i = 0; i < R; i++) sum = vf_fma(x[i], form_rest(a, form, row[i], NULL, c, n), sum);
        vf_store_n(a->y + c, sum, n);
    }
}

INLINE void sum_gemv_form(const struct cpu_product *a, const uint32_t form, size_t rows, size_t c0, size_t c1)
{
    size_t r = 0;
    for (; r + ROWS_AT_ONCE <= rows; r += ROWS_AT_ONCE) sum_gemv_rows(a, ROWS_AT_ONCE, form, r, c0, c1);
    for (; r < rows; r++) sum_gemv_rows(a, 1, form, r, c0, c1);
}

/* By form; those with scales dequantize rows, as for several tokens. */
typedef void sum_gemv_fn(const struct cpu_product *a, size_t rows, size_t c0, size_t c1);
#define SUM_GEMV(name, ...)                                                                                            \
    static void sum_gemv_##name(const struct cpu_product *a, size_t rows, size_t c0, size_t c1)                        \
    {                                                                                                                  \
        if (form_scales(FORM_##name) == FORM_SCALES_NONE) sum_gemv_form(a, FORM_##name, rows, c0, c1);                 \
    }
FORM_PLAIN(SUM_GEMV)
#undef SUM_GEMV
static sum_gemv_fn *const sum_gemv_of[FORMS] = {
#define SUM_GEMV(name, ...) [FORM_##name] = sum_gemv_##name,
    FORM_PLAIN(SUM_GEMV)
#undef SUM_GEMV
};

static void begin_sums(const struct cpu_product *a, size_t c0, size_t c1)
{
    for (uint32_t t = 0; t < a->n; t++) {
        float *y = a->y + t * a->ldy + c0;
        if (a->bias)
            memcpy(y, a->bias + c0, (c1 - c0) * sizeof *y);
        else
            memset(y, 0, (c1 - c0) * sizeof *y);
    }
}

/* count dequantized rows from row r on, of width columns from c0 on, added to the sums of all tokens. The last columns go by
 * way of a copy in edge, so that nothing beyond them is touched. */
static void sum_tokens(const struct cpu_product *a, const float *w, size_t r, size_t count, size_t c0, size_t width,
                       float *edge)
{
    const size_t padded = cpu_round_up(width, STEP);
    for (uint32_t t = 0; t < a->n; t += TILE_TOKENS) {
        const int T = (int)(a->n - t < TILE_TOKENS ? a->n - t : TILE_TOKENS);
        float *y = a->y + t * a->ldy + c0;
        const float *x = a->x + t * a->ldx + r;
        if (width == padded) {
            sum_group(T, y, a->ldy, x, a->ldx, w, padded, count, width);
            continue;
        }
        for (int i = 0; i < T; i++) memcpy(edge + (size_t)i * SUM_COLS, y + (size_t)i * a->ldy, width * sizeof *y);
        sum_group(T, edge, SUM_COLS, x, a->ldx, w, padded, count, padded);
        for (int i = 0; i < T; i++) memcpy(y + (size_t)i * a->ldy, edge + (size_t)i * SUM_COLS, width * sizeof *y);
    }
}

/* Columns [c0, c1) with c1 - c0 <= SUM_COLS, in one pass over all rows. */
static void sum_block(const struct cpu_product *a, size_t rows, size_t c0, size_t c1, float *work)
{
    dequantize_fn *const dequantize = dequantize_of[a->form];
    const size_t width = c1 - c0, padded = cpu_round_up(width, STEP);
    float *w = work, *edge = work + (size_t)SUM_ROWS * SUM_COLS;
    for (size_t r = 0; r < rows; r += SUM_ROWS) {
        const size_t count = rows - r < SUM_ROWS ? rows - r : SUM_ROWS;
        for (size_t i = 0; i < count; i++) {
            const unsigned char *next = a->data + (r + i + 8) * a->row_bytes + cpu_bytes_of(a->form, c0);
            for (size_t b = 0; b < cpu_bytes_of(a->form, width); b += 64) prefetch_near(next + b);
            dequantize(a, r + i, c0, c1, w + i * padded, STEP);
        }
        sum_tokens(a, w, r, count, c0, width, edge);
    }
}

static void kernel_matmul_t(const struct cpu_product *a, size_t rows, size_t c0, size_t c1, float *work)
{
    if (a->init) begin_sums(a, c0, c1);
    if (a->n == 1 && form_scales(a->form) == FORM_SCALES_NONE) {
        sum_gemv_of[a->form](a, rows, c0, c1);
        return;
    }
    for (; c0 < c1; c0 += SUM_COLS) sum_block(a, rows, c0, c1 - c0 < SUM_COLS ? c1 : c0 + SUM_COLS, work);
}
