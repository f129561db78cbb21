/* Products of few tokens: bound by the reading of W, so every byte of W is read once, 16 bytes a lane.
 *
 * A warp owns ROWS rows. Lane l takes the elements [l * V, l * V + V) of each group of 32 * V, V = elements in 16 bytes:
 * one chain of fused multiply-adds in ascending k for each row and token, and the 32 chains are added in one fixed tree.
 * That order depends on the stored type alone, so the bits do not depend on n, ROWS, TOKENS or where rows are cut. */
#include <errno.h>

#include "compute/cuda/launch.cuh"
#include "compute/cuda/matmul.h"

namespace
{

const unsigned THREADS = 128, WARPS = THREADS / 32;

struct gemv_args {
    struct weight_rows w;
    const float *x, *bias;
    float *y;
    uint32_t ldx, ldy, n;
};

/* Elements that one lane takes: 16 bytes of them, or 32 of a longer block with its scales inside. */
FORM_CONSTANT uint32_t lane_elements(uint32_t form)
{
    return form_scales(form) == FORM_SCALES_INSIDE ? 32 : 16 * form_elements(form) / form_bytes(form);
}

/* WIDE: x begins at multiples of 16 bytes, so do rows (unless scales lie inside of their blocks), and a scale covers whole
 * vectors. Otherwise element by element, in the same order. */
template <uint32_t FORM, int ROWS, int TOKENS, bool WIDE>
__global__ void __launch_bounds__(THREADS) gemv_kernel(const gemv_args a)
{
    constexpr bool GRID = form_scales(FORM) == FORM_SCALES_GRID, INSIDE = form_scales(FORM) == FORM_SCALES_INSIDE;
    constexpr int V = lane_elements(FORM), ELEMENTS = form_elements(FORM), BYTES = form_bytes(FORM);
    constexpr int PART = V < 8 ? V : 8;
    const uint32_t lane = threadIdx.x % 32;
    const uint64_t r0 = ((uint64_t)blockIdx.x * WARPS + threadIdx.x / 32) * ROWS;
    const uint8_t *row[ROWS], *scales[ROWS];
    const float *x[TOKENS];
    float acc[ROWS][TOKENS] = {};

    if (r0 >= a.w.rows) return; /* a whole warp */
#pragma unroll
    for (int r = 0; r < ROWS; r++) { /* past the end: the last row once more, and thrown away */
        uint64_t at = r0 + r < a.w.rows ? r0 + r : a.w.rows - 1;

        row[r] = a.w.data + at * a.w.row_bytes;
        scales[r] = GRID ? weight_scale_row(&a.w, at) : NULL;
    }
#pragma unroll
    for (int t = 0; t < TOKENS; t++) x[t] = a.x + (uint64_t)(t < (int)a.n ? t : a.n - 1) * a.ldx;

    for (uint32_t k = lane * V; k < a.w.cols; k += 32 * V) {
        block_in_registers raw[ROWS];
        float scale[ROWS], zero[ROWS];

        if (WIDE && !INSIDE) {
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const uint4 four = __ldg((const uint4 *)(row[r] + (uint64_t)(k / V) * 16));

                raw[r] = block_in_registers{{four.x, four.y, four.z, four.w}};
                const uint32_t i = GRID ? k / (form_grid_cols(FORM) ? form_grid_cols(FORM) : a.w.block_cols) : 0;
                const uint64_t at = r0 + r < a.w.rows ? r0 + r : a.w.rows - 1;
                scale[r] = GRID ? weight_scale(&a.w, scales[r], at, i) : 1.0f;
                zero[r] = form_zero_pack(FORM) ? weight_zero(&a.w, at, i) : 0.0f;
            }
        }
#pragma unroll(INSIDE ? 1 : V / PART)
        for (int s = 0; s < V; s += PART) {
            float wide[ROWS][PART];

#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                if (WIDE && INSIDE) {
                    const block_in_memory block = {row[r] + (uint64_t)(k / ELEMENTS) * BYTES};

#pragma unroll
                    for (int j = 0; j < PART; j++) wide[r][j] = form_element(FORM, block, k % ELEMENTS + s + j);
                } else if (WIDE) {
#pragma unroll
                    for (int j = 0; j < PART; j++) wide[r][j] = form_element(FORM, raw[r], s + j);
                    if (GRID)
#pragma unroll
                        for (int j = 0; j < PART; j++)
                            wide[r][j] = (form_zero_pack(FORM) ? wide[r][j] - zero[r] : wide[r][j]) * scale[r];
                } else {
#pragma unroll
                    for (int j = 0; j < PART; j++) {
                        uint32_t at = k + s + j;
                        const uint64_t n = r0 + r < a.w.rows ? r0 + r : a.w.rows - 1;
                        float e = at < a.w.cols ? form_load(FORM, row[r], at) : 0.0f;

                        if (GRID && at < a.w.cols)
                            e = (e - weight_zero(&a.w, n, at / a.w.block_cols)) *
                                weight_scale(&a.w, scales[r], n, at / a.w.block_cols);
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
                        const float4 four = *(const float4 *)(x[t] + k + s + j);
                        in[j] = four.x, in[j + 1] = four.y, in[j + 2] = four.z, in[j + 3] = four.w;
                    }
                } else {
#pragma unroll
                    for (int j = 0; j < PART; j++) in[j] = k + s + j < a.w.cols ? x[t][k + s + j] : 0.0f;
                }
#pragma unroll
                for (int r = 0; r < ROWS; r++)
#pragma unroll
                    for (int j = 0; j < PART; j++) acc[r][t] = fmaf(wide[r][j], in[j], acc[r][t]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            float sum = warp_sum(acc[r][t]);

            if (lane == 0 && r0 + r < a.w.rows && t < (int)a.n)
                a.y[(uint64_t)t * a.ldy + r0 + r] = a.bias ? sum + a.bias[r0 + r] : sum;
        }
    }
}

template <uint32_t FORM, int ROWS, int TOKENS, bool WIDE> void start(struct ops *o, const gemv_args &a)
{
    launch(o, "few-token product", gemv_kernel<FORM, ROWS, TOKENS, WIDE>, dim3(blocks_for(a.w.rows, WARPS * ROWS)),
           THREADS, 0, a);
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
          const float *bias, uint32_t n)
{
    uint32_t vector = lane_elements(w->form);
    bool inside = form_scales(w->form) == FORM_SCALES_INSIDE;
    bool wide = w->cols % vector == 0 && (inside || (aligned16(w->data) && w->row_bytes % 16 == 0)) &&
                (!w->scale || w->block_cols % vector == 0);
    gemv_args a = {*w, x, bias, y, ldx, ldy, n};

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
