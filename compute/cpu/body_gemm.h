/* Products with many tokens, bound by multiplications: a block of weights is dequantized once, then tiles of TILE_ROWS x
 * TILE_TOKENS sums run over it, the tokens' part in the first cache, the weights' streaming from the second. Every output
 * element owns one vector of sums over the columns in steps of 16, the same as for few tokens.
 *
 * packed tokens:  [block of columns][group of tokens][step of 16 columns][token of the group][16]
 * dequantized rows:   [group of TILE_ROWS rows][step][row of the group][16] */
#pragma once
#include "compute/cpu/body_weights.h"

/* Columns [k0, k1) of T tokens. */
INLINE void pack_group(float *dst, const float *x, size_t ldx, uint32_t T, size_t k0, size_t k1)
{
    for (size_t k = k0; k < k1; k += STEP)
        for (uint32_t t = 0; t < T; t++, dst += STEP)
            vf_store(dst, k1 - k < STEP ? vf_load_n(x + t * ldx + k, (unsigned)(k1 - k)) : vf_load(x + t * ldx + k));
}

static void kernel_pack(float *dst, const float *x, size_t ldx, uint32_t n, size_t cols, uint32_t group)
{
    uint32_t groups = kernel_groups(n), t0 = group_first(n, groups, group), T = group_first(n, groups, group + 1) - t0;
    for (size_t k0 = 0; k0 < cols; k0 += BLOCK_COLS) {
        size_t k1 = k0 + BLOCK_COLS < cols ? k0 + BLOCK_COLS : cols, width = cpu_round_up(k1 - k0, STEP);
        pack_group(dst + k0 * n + t0 * width, x + t0 * ldx, ldx, T, k0, k1);
    }
}

/* One tile: TILE_ROWS rows x T tokens over steps of 16 columns. */
struct tile {
    const float *w, *x;
    size_t steps;
    float *acc; /* [T][TILE_ROWS][16], its sums before and after; used where not first or not last */
    bool first, last;
    float *y; /* last: y[t * ldy + row] = sum + bias[row] */
    size_t ldy;
    const float *bias; /* or NULL */
    uint32_t rows;     /* of them valid */
};

INLINE void tile_finish(const struct tile *c, const int T, vf acc[TILE_TOKENS][TILE_ROWS])
{
#pragma GCC unroll 8
    for (int t = 0; t < T; t++) {
        float sum[TILE_ROWS], *y = c->y + (size_t)t * c->ldy;
#if TILE_ROWS == 4
        vf_sum4(sum, acc[t][0], acc[t][1], acc[t][2], acc[t][3]);
#else
        for (int i = 0; i < TILE_ROWS; i++) sum[i] = vf_sum(acc[t][i]);
#endif
        if (c->rows == TILE_ROWS && !c->bias) {
            memcpy(y, sum, sizeof sum);
            continue;
        }
        for (uint32_t i = 0; i < c->rows; i++) y[i] = c->bias ? sum[i] + c->bias[i] : sum[i];
    }
}

INLINE void tile_run(const struct tile *c, const int T)
{
    vf acc[TILE_TOKENS][TILE_ROWS];
#pragma GCC unroll 8
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++)
            acc[t][i] = c->first ? vf_zero() : vf_load(c->acc + (t * TILE_ROWS + i) * (int)STEP);
    const float *w = c->w, *x = c->x;
    for (size_t k = c->steps; k > 0; k--, w += TILE_ROWS * STEP, x += (size_t)T * STEP) {
        vf wv[TILE_ROWS];
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++) wv[i] = vf_load(w + i * (int)STEP);
#pragma GCC unroll 8
        for (int t = 0; t < T; t++) {
            vf xv = vf_load(x + t * (int)STEP);
#pragma GCC unroll 8
            for (int i = 0; i < TILE_ROWS; i++) acc[t][i] = vf_fma(wv[i], xv, acc[t][i]);
        }
    }
    if (c->last) {
        tile_finish(c, T, acc);
        return;
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; t++)
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++) vf_store(c->acc + (t * TILE_ROWS + i) * (int)STEP, acc[t][i]);
}

static void tile_1(const struct tile *c)
{
    tile_run(c, 1);
}
static void tile_2(const struct tile *c)
{
    tile_run(c, 2);
}
#if TILE_TOKENS > 2
static void tile_3(const struct tile *c)
{
    tile_run(c, 3);
}
#endif
#if TILE_TOKENS > 3
static void tile_4(const struct tile *c)
{
    tile_run(c, 4);
}
static void tile_5(const struct tile *c)
{
    tile_run(c, 5);
}
static void tile_6(const struct tile *c)
{
    tile_run(c, 6);
}
#endif

static void (*const tile_of[TILE_TOKENS])(const struct tile *) = {
    tile_1, tile_2,
#if TILE_TOKENS > 2
    tile_3,
#endif
#if TILE_TOKENS > 3
    tile_4, tile_5, tile_6,
#endif
};

/* Lines of the stored weights that come next, fetched a few at a time while a block is multiplied. */
struct ahead {
    const unsigned char *at;
    size_t row_bytes, lines, line; /* lines of each row; line: the next one, counted over all rows */
    size_t total;
};

INLINE void ahead_some(struct ahead *h, size_t until)
{
    for (; h->line < until; h->line++)
        prefetch_far(h->at + h->line / h->lines * h->row_bytes + h->line % h->lines * 64);
}

static void dequantize_block(const struct cpu_product *a, size_t r0, size_t rows, size_t k0, size_t k1, float *w)
{
    dequantize_fn *const dequantize = dequantize_of[a->form];
    const size_t group = cpu_round_up(k1 - k0, STEP) * TILE_ROWS;
    for (size_t i = 0; i < rows; i++)
        dequantize(a, r0 + i, k0, k1, w + i / TILE_ROWS * group + i % TILE_ROWS * STEP, TILE_ROWS * STEP);
    for (size_t i = rows; i % TILE_ROWS; i++) /* rows that do not exist: their sums are dropped */
        for (size_t k = 0; k < k1 - k0; k += STEP)
            vf_store(w + i / TILE_ROWS * group + i % TILE_ROWS * STEP + k * TILE_ROWS, vf_zero());
}

static void kernel_gemm(const struct cpu_product *a, const float *packed, uint32_t t0, uint32_t n, size_t r0, size_t r1,
                        float *work)
{
    float *w = work, *acc = work + BLOCK_ROWS * BLOCK_COLS;
    const uint32_t groups = kernel_groups(n);
    for (size_t r = r0; r < r1; r += BLOCK_ROWS) {
        const size_t rows = r1 - r < BLOCK_ROWS ? r1 - r : BLOCK_ROWS, row_groups = (rows + TILE_ROWS - 1) / TILE_ROWS;
        for (size_t k0 = 0; k0 < a->cols; k0 += BLOCK_COLS) {
            const size_t k1 = k0 + BLOCK_COLS < a->cols ? k0 + BLOCK_COLS : a->cols,
                         width = cpu_round_up(k1 - k0, STEP);
            dequantize_block(a, r, rows, k0, k1, w);
            struct ahead next = {.row_bytes = a->row_bytes};
            if (k1 < a->cols) {
                size_t k2 = k1 + BLOCK_COLS < a->cols ? k1 + BLOCK_COLS : a->cols;
                next.at = a->data + r * a->row_bytes + cpu_bytes_of(a->form, k1);
                next.lines = cpu_bytes_of(a->form, k2 - k1) / 64 + 1;
                next.total = next.lines * rows;
            }
            for (uint32_t g = 0; g < groups; g++) {
                const uint32_t t = group_first(n, groups, g), T = group_first(n, groups, g + 1) - t;
                struct tile c = {.x = packed + k0 * n + t * width,
                                 .steps = width / STEP,
                                 .first = k0 == 0,
                                 .last = k1 == a->cols,
                                 .ldy = a->ldy};
                for (size_t i = 0; i < row_groups; i++) {
                    const size_t row = r + i * TILE_ROWS;
                    c.w = w + i * width * TILE_ROWS;
                    c.acc = acc + (i * BLOCK_TOKENS + t) * TILE_ROWS * STEP;
                    c.y = a->y + (t0 + t) * a->ldy + row;
                    c.bias = a->bias ? a->bias + row : NULL;
                    c.rows = (uint32_t)(r1 - row < TILE_ROWS ? r1 - row : TILE_ROWS);
                    ahead_some(&next, next.total * (g * row_groups + i + 1) / (groups * row_groups));
                    tile_of[T - 1](&c);
                }
            }
        }
    }
}
