/* Products of few tokens: bound by the reading of W, so every byte of W is read once, 16 bytes a lane, and several vectors of
 * each row are on their way before the first of them is used.
 *
 * A row is summed in spans of SPAN columns. In a span lane l takes the elements [l * V, l * V + V) of each group of 32 * V,
 * V = elements in 16 bytes: one chain of fused multiply-adds in ascending k for each row and token, and the 32 chains are
 * added in one fixed tree; the spans' sums are added in ascending order. That order depends on the stored type and the number of
 * columns alone, so the bits do not depend on n, ROWS, TOKENS, how many warps share a row, or where rows are cut.
 *
 * A warp owns ROWS rows of a matrix of one span; of a longer one a block does, whose warps take a span each: a tile of few
 * long rows keeps as many warps busy as one of many short ones. */
#include <errno.h>

#include "compute/cuda/launch.cuh"
#include "compute/cuda/matmul.h"

namespace
{

const unsigned WARPS = 4, MOST_WARPS = 8; /* of a block: as long as rows are short, and at most */
const uint32_t SPAN = 4096;               /* columns: a multiple of 32 V for every V */

struct gemv_args {
    struct weight_rows w;
    const float *x, *bias;
    float *y;
    uint32_t ldx, ldy, n;
    struct ops_heads h; /* a row of blocks each */
};

/* Elements that one lane takes: 16 bytes of them, or 32 of a longer block with its scales inside. */
FORM_CONSTANT uint32_t lane_elements(uint32_t form)
{
    return form_scales(form) == FORM_SCALES_INSIDE ? 32 : 16 * form_elements(form) / form_bytes(form);
}

/* Scales that a lane's elements have, of a grid: one, or more where the form says that each covers fewer of them (NVFP4). */
FORM_CONSTANT uint32_t lane_scales(uint32_t form)
{
    return form_grid_cols(form) && form_grid_cols(form) < lane_elements(form)
               ? lane_elements(form) / form_grid_cols(form)
               : 1;
}

template <uint32_t FORM, int ROWS, int TOKENS> struct gemv_rows {
    const uint8_t *row[ROWS], *scales[ROWS];
    uint64_t number[ROWS];
    const float *x[TOKENS];
};

/* 16 bytes of each row from column k on, with the scales and zero points there. */
template <uint32_t FORM, int ROWS> struct gemv_vector {
    block_in_registers raw[ROWS];
    float scale[ROWS][lane_scales(FORM)], zero[ROWS][lane_scales(FORM)];
};

template <uint32_t FORM, int ROWS, int TOKENS>
__device__ __forceinline__ void load_vector(gemv_vector<FORM, ROWS> &v, const gemv_args &a,
                                            const gemv_rows<FORM, ROWS, TOKENS> &w, uint32_t k)
{
    constexpr bool GRID = form_scales(FORM) == FORM_SCALES_GRID;
    constexpr int V = lane_elements(FORM);

#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const uint4 four = __ldg((const uint4 *)(w.row[r] + (uint64_t)(k / V) * 16));
        const uint32_t i = GRID ? k / (form_grid_cols(FORM) ? form_grid_cols(FORM) : a.w.block_cols) : 0;

        v.raw[r] = block_in_registers{{four.x, four.y, four.z, four.w}};
#pragma unroll
        for (int p = 0; p < (int)lane_scales(FORM); p++) {
            v.scale[r][p] = GRID ? weight_scale(&a.w, w.scales[r], w.number[r], i + p) : 1.0f;
            v.zero[r][p] = form_zero_pack(FORM) ? weight_zero(&a.w, w.number[r], i + p) : 0.0f;
        }
    }
}

/* acc += the products of the V columns from k on. WIDE: x begins at multiples of 16 bytes, so do rows (unless scales lie inside
 * of their blocks), and a scale covers whole vectors or what lane_scales() says. Otherwise element by element, in the same
 * order. */
template <uint32_t FORM, int ROWS, int TOKENS, bool WIDE>
__device__ __forceinline__ void multiply_vector(float (&acc)[ROWS][TOKENS], const gemv_args &a,
                                                const gemv_rows<FORM, ROWS, TOKENS> &w,
                                                const gemv_vector<FORM, ROWS> &v, uint32_t k)
{
    constexpr bool GRID = form_scales(FORM) == FORM_SCALES_GRID, INSIDE = form_scales(FORM) == FORM_SCALES_INSIDE;
    constexpr int V = lane_elements(FORM), ELEMENTS = form_elements(FORM), BYTES = form_bytes(FORM);
    constexpr int PART = V < 8 ? V : 8, EACH = V / lane_scales(FORM);

#pragma unroll(INSIDE ? 1 : V / PART)
    for (int s = 0; s < V; s += PART) {
        float wide[ROWS][PART];

#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            if (WIDE && INSIDE) {
                const block_in_memory block = {w.row[r] + (uint64_t)(k / ELEMENTS) * BYTES};

#pragma unroll
                for (int j = 0; j < PART; j++) wide[r][j] = form_element(FORM, block, k % ELEMENTS + s + j);
            } else if (WIDE) {
#pragma unroll
                for (int j = 0; j < PART; j++) wide[r][j] = form_element(FORM, v.raw[r], s + j);
                if (GRID)
#pragma unroll
                    for (int j = 0; j < PART; j++)
                        wide[r][j] = (form_zero_pack(FORM) ? wide[r][j] - v.zero[r][s / EACH] : wide[r][j]) *
                                     v.scale[r][s / EACH];
            } else {
#pragma unroll
                for (int j = 0; j < PART; j++) {
                    uint32_t at = k + s + j;
                    float e = at < a.w.cols ? form_load(FORM, w.row[r], at) : 0.0f;

                    if (GRID && at < a.w.cols)
                        e = (e - weight_zero(&a.w, w.number[r], at / a.w.block_cols)) *
                            weight_scale(&a.w, w.scales[r], w.number[r], at / a.w.block_cols);
                    wide[r][j] = e;
                }
            }
        }
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            float in[PART];

            if (WIDE) {
#pragma unroll
                for (int j = 0; j < PART; j += 4) {
                    const float4 four = *(const float4 *)(w.x[t] + k + s + j);
                    in[j] = four.x, in[j + 1] = four.y, in[j + 2] = four.z, in[j + 3] = four.w;
                }
            } else {
#pragma unroll
                for (int j = 0; j < PART; j++) in[j] = k + s + j < a.w.cols ? w.x[t][k + s + j] : 0.0f;
            }
#pragma unroll
            for (int r = 0; r < ROWS; r++)
#pragma unroll
                for (int j = 0; j < PART; j++) acc[r][t] = fmaf(wide[r][j], in[j], acc[r][t]);
        }
    }
}

/* This lane's part of a span's sums. */
template <uint32_t FORM, int ROWS, int TOKENS, bool WIDE>
__device__ __forceinline__ void sum_span(float (&acc)[ROWS][TOKENS], const gemv_args &a,
                                         const gemv_rows<FORM, ROWS, TOKENS> &w, uint32_t span)
{
    constexpr bool INSIDE = form_scales(FORM) == FORM_SCALES_INSIDE;
    constexpr int V = lane_elements(FORM), STEP = 32 * V;
    /* what is worth the code that it makes: several tokens keep the units busy meanwhile */
    constexpr int AHEAD = !WIDE || INSIDE ? 1 : TOKENS == 1 ? (V <= 16 ? 4 : 2) : V <= 8 ? 2 : 1;
    const uint32_t end = a.w.cols - span * SPAN < SPAN ? a.w.cols : (span + 1) * SPAN;

#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int t = 0; t < TOKENS; t++) acc[r][t] = 0.0f;
    for (uint32_t k0 = span * SPAN + threadIdx.x % 32 * V; k0 < end; k0 += AHEAD * STEP) {
        gemv_vector<FORM, ROWS> v[AHEAD];

        if (WIDE && !INSIDE)
#pragma unroll
            for (int u = 0; u < AHEAD; u++)
                if (k0 + u * STEP < end) load_vector<FORM, ROWS, TOKENS>(v[u], a, w, k0 + u * STEP);
#pragma unroll
        for (int u = 0; u < AHEAD; u++)
            if (k0 + u * STEP < end) multiply_vector<FORM, ROWS, TOKENS, WIDE>(acc, a, w, v[u], k0 + u * STEP);
    }
}

/* The scales of row r of a head. */
__device__ __forceinline__ const uint8_t *scale_row(const gemv_args &a, uint32_t head, uint64_t r)
{
    const uint64_t row = (a.w.row0 + head * a.h.row + r) / a.w.block_rows - (a.w.scale_row0 + head * a.h.scale_row);

    return a.w.scale + head * a.h.scale + row * a.w.scale_row_bytes;
}

/* A block's warps in groups of `share`, each group with ROWS rows of its own. */
template <uint32_t FORM, int ROWS, int TOKENS, bool WIDE>
__global__ void __launch_bounds__(MOST_WARPS * 32) gemv_kernel(const gemv_args a, uint32_t share)
{
    DYNAMIC_SHARED(shared); /* [groups][spans][ROWS][TOKENS] */
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, spans = (a.w.cols + SPAN - 1) / SPAN;
    const uint32_t group = warp / share, groups = blockDim.x / 32 / share, head = blockIdx.y;
    const uint64_t r0 = ((uint64_t)blockIdx.x * groups + group) * ROWS;
    const float *x = a.x + head * a.h.x;
    float *y = a.y + head * a.h.y, *sums = shared + group * spans * ROWS * TOKENS;
    gemv_rows<FORM, ROWS, TOKENS> w;
    float acc[ROWS][TOKENS];

#pragma unroll
    for (int r = 0; r < ROWS; r++) { /* past the end: the last row once more, and thrown away */
        w.number[r] = r0 + r < a.w.rows ? r0 + r : a.w.rows - 1;
        w.row[r] = a.w.data + head * a.h.data + w.number[r] * a.w.row_bytes;
        w.scales[r] = form_scales(FORM) == FORM_SCALES_GRID ? scale_row(a, head, w.number[r]) : NULL;
    }
#pragma unroll
    for (int t = 0; t < TOKENS; t++) w.x[t] = x + (uint64_t)(t < (int)a.n ? t : a.n - 1) * a.ldx;
    for (uint32_t span = warp % share; span < spans && r0 < a.w.rows; span += share) {
        sum_span<FORM, ROWS, TOKENS, WIDE>(acc, a, w, span);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
#pragma unroll
            for (int t = 0; t < TOKENS; t++) {
                const float sum = warp_sum(acc[r][t]);

                if (lane == 0) sums[(span * ROWS + r) * TOKENS + t] = sum;
            }
    }
    __syncthreads();
    for (uint32_t i = warp % share * 32 + lane; i < ROWS * TOKENS; i += share * 32) {
        const uint32_t r = i / TOKENS, t = i % TOKENS;
        float sum = sums[i];

        if (r0 + r >= a.w.rows || t >= a.n) continue;
        for (uint32_t span = 1; span < spans; span++) sum += sums[span * ROWS * TOKENS + i];
        y[(uint64_t)t * a.ldy + r0 + r] = a.bias ? sum + a.bias[r0 + r] : sum;
    }
}

template <uint32_t FORM, int ROWS, int TOKENS, bool WIDE> void start(struct ops *o, const gemv_args &a)
{
    const unsigned spans = blocks_for(a.w.cols, SPAN), share = spans < MOST_WARPS ? spans : MOST_WARPS;
    const unsigned groups = share < WARPS ? WARPS / share : 1;

    launch(o, "few-token product", gemv_kernel<FORM, ROWS, TOKENS, WIDE>,
           dim3(blocks_for(a.w.rows, groups * ROWS), a.h.heads), groups * share * 32,
           groups * spans * ROWS * TOKENS * sizeof(float), a, share);
}

template <uint32_t FORM> void start_form(struct ops *o, const gemv_args &a, bool wide)
{
    if constexpr (form_scales(FORM) ==
                  FORM_SCALES_INSIDE) { /* always in vectors; few kernels, for such forms are many */
        if (a.n == 1)
            start<FORM, 2, 1, true>(o, a);
        else
            start<FORM, 2, 8, true>(o, a);
    } else {
        if (!wide)
            start<FORM, 2, 8, false>(o, a);
        else if (a.n == 1)
            start<FORM, 2, 1, true>(o, a);
        else if (a.n <= 4)
            start<FORM, 4, 4, true>(o, a);
        else
            start<FORM, 4, 8, true>(o, a);
    }
}

__global__ void pack_kernel(float *dst, uint32_t ldd, const float *src, uint32_t lds, uint32_t cols, uint32_t n)
{
    uint32_t c = blockIdx.x * blockDim.x + threadIdx.x;

    if (c >= cols) return;
    for (uint32_t i = blockIdx.y; i < n; i += gridDim.y) dst[(uint64_t)i * ldd + c] = src[(uint64_t)i * lds + c];
}

bool aligned16(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

} /* namespace */

void gemv(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct weight_rows *w,
          const float *bias, const struct ops_heads *h, uint32_t n)
{
    uint32_t vector = lane_elements(w->form);
    bool inside = form_scales(w->form) == FORM_SCALES_INSIDE;
    bool wide = w->cols % vector == 0 &&
                (inside || (aligned16(w->data) && w->row_bytes % 16 == 0 && (!h || h->data % 16 == 0))) &&
                (!w->scale || w->block_cols % (vector / lane_scales(w->form)) == 0);
    gemv_args a = {*w, x, bias, y, ldx, ldy, n, h ? *h : ops_heads{1, 0, 0, 0, 0, 0, 0}};

    if (h && h->x && (!aligned16(x) || ldx % 4 || h->x % 4)) wide = false;
    if (wide && (!aligned16(x) || ldx % 4)) { /* rarely: a head's columns that begin in the middle of a vector */
        float *packed = (float *)backend_scratch(o, (uint64_t)n * w->cols * sizeof *packed);

        if (!packed) return;
        launch(o, "packing inputs", pack_kernel, dim3(blocks_for(w->cols, 256), n), 256, 0, packed, w->cols, x, ldx,
               w->cols, n);
        a.x = packed;
        a.ldx = w->cols; /* a multiple of the vector, so of 4 */
    }
    for (uint32_t i = 0; i < n; i += 8) {
        gemv_args part = a;

        part.n = n - i < 8 ? n - i : 8;
        part.x = a.x + (uint64_t)i * a.ldx;
        part.y = a.y + (uint64_t)i * a.ldy;
        switch (w->form) { /* ops_matmul() knows it */
#define START(name, ...)                                                                                               \
    case FORM_##name: start_form<FORM_##name>(o, part, wide); break;
            FORM_WEIGHTS(START)
#undef START
        }
    }
}
