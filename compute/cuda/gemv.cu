/* Products of few tokens: bound by the reading of W, so every byte of W is read once, 16 bytes a lane.
 *
 * A warp owns ROWS rows. Lane l takes the elements [l * V, l * V + V) of each group of 32 * V, V = elements in 16 bytes:
 * one chain of fused multiply-adds in ascending k for each row and token, and the 32 chains are added in one fixed tree.
 * That order depends on the stored type alone, so the bits do not depend on n, ROWS, TOKENS or where rows are cut. */
#include <errno.h>

#include "compute/cuda/launch.cuh"
#include "compute/cuda/matmul.h"

namespace {

const unsigned THREADS = 128, WARPS = THREADS / 32;

struct gemv_args {
    struct weight_rows w;
    const float *x, *bias;
    float *y;
    uint32_t ldx, ldy, n;
};

/* Elements [s, s + 8) (F32: all four) of 16 bytes that were loaded. */
template <uint32_t FORM>
__device__ __forceinline__ void dequantize_part(float *out, const uint4 &raw, int s)
{
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};

    if (FORM == FORM_F32) {
#pragma unroll
        for (int j = 0; j < 4; j++) out[j] = element_from_bits(words[j]);
    } else if (FORM == FORM_F16 || FORM == FORM_BF16) {
#pragma unroll
        for (int j = 0; j < 8; j++) {
            uint32_t half = words[j / 2] >> (j % 2 * 16) & 0xffffu;
            out[j] = FORM == FORM_F16 ? element_f16(half) : element_bf16(half);
        }
    } else if (FORM == FORM_F8_E4M3) {
#pragma unroll
        for (int j = 0; j < 8; j++) out[j] = element_e4m3(words[(s + j) / 4] >> ((s + j) % 4 * 8) & 0xffu);
    } else {
#pragma unroll
        for (int j = 0; j < 8; j++) out[j] = element_e2m1(words[(s + j) / 8] >> ((s + j) % 8 * 4) & 15u);
    }
}

/* WIDE: rows and x begin at multiples of 16 bytes, and a scale covers whole vectors. Otherwise element by element, in
 * the same order. */
template <uint32_t FORM, int ROWS, int TOKENS, bool WIDE>
__global__ void __launch_bounds__(THREADS) gemv_kernel(const gemv_args a)
{
    constexpr int V = FORM == FORM_F32 ? 4 : FORM == FORM_F8_E4M3 ? 16 : FORM == FORM_MXFP4 ? 32 : 8;
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
        scales[r] = a.w.scale ? weight_scale_row(&a.w, at) : NULL;
    }
#pragma unroll
    for (int t = 0; t < TOKENS; t++) x[t] = a.x + (uint64_t)(t < (int)a.n ? t : a.n - 1) * a.ldx;

    for (uint32_t k = lane * V; k < a.w.cols; k += 32 * V) {
        uint4 raw[ROWS];
        float scale[ROWS];

        if (WIDE) {
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                raw[r] = __ldg((const uint4 *)(row[r] + (uint64_t)(k / V) * 16));
                scale[r] = a.w.scale ? element_load_scale(a.w.scale_form, scales[r], FORM == FORM_MXFP4 ? k / 32 : k / a.w.block_cols) : 1.0f;
            }
        }
#pragma unroll
        for (int s = 0; s < V; s += PART) {
            float wide[ROWS][PART];

#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                if (WIDE) {
                    dequantize_part<FORM>(wide[r], raw[r], s);
                    if (a.w.scale)
#pragma unroll
                        for (int j = 0; j < PART; j++) wide[r][j] *= scale[r];
                } else {
#pragma unroll
                    for (int j = 0; j < PART; j++) {
                        uint32_t at = k + s + j;
                        float e = at < a.w.cols ? element_load(FORM, row[r], at) : 0.0f;

                        if (a.w.scale && at < a.w.cols) e *= element_load_scale(a.w.scale_form, scales[r], at / a.w.block_cols);
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

template <uint32_t FORM, int ROWS, int TOKENS, bool WIDE>
void start(struct ops *o, const gemv_args &a)
{
    launch(o, "few-token product", gemv_kernel<FORM, ROWS, TOKENS, WIDE>, dim3(blocks_for(a.w.rows, WARPS * ROWS)), THREADS, 0, a);
}

template <uint32_t FORM>
void start_form(struct ops *o, const gemv_args &a, bool wide)
{
    if (!wide) start<FORM, 2, 8, false>(o, a);
    else if (a.n == 1) start<FORM, 2, 1, true>(o, a);
    else if (a.n <= 4) start<FORM, 4, 4, true>(o, a);
    else start<FORM, 4, 8, true>(o, a);
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

void gemv(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct weight_rows *w, const float *bias,
                uint32_t n)
{
    uint32_t vector = element_vector(w->form);
    bool wide = aligned16(w->data) && w->row_bytes % 16 == 0 && w->cols % vector == 0 && (!w->scale || w->block_cols % vector == 0);
    gemv_args a = {*w, x, bias, y, ldx, ldy, n};

    if (wide && (!aligned16(x) || ldx % 4)) { /* rarely: a head's columns that begin in the middle of a vector */
        float *packed = (float *)backend_scratch(o, (uint64_t)n * w->cols * sizeof *packed);

        if (!packed) return;
        launch(o, "packing inputs", pack_kernel, dim3(blocks_for(w->cols, 256), n), 256, 0, packed, w->cols, x, ldx, w->cols, n);
        a.x = packed;
        a.ldx = w->cols; /* a multiple of the vector, so of 4 */
    }
    for (uint32_t i = 0; i < n; i += 8) {
        gemv_args part = a;

        part.n = n - i < 8 ? n - i : 8;
        part.x = a.x + (uint64_t)i * a.ldx;
        part.y = a.y + (uint64_t)i * a.ldy;
        switch (w->form) {
        case FORM_F32: start_form<FORM_F32>(o, part, wide); break;
        case FORM_F16: start_form<FORM_F16>(o, part, wide); break;
        case FORM_BF16: start_form<FORM_BF16>(o, part, wide); break;
        case FORM_F8_E4M3: start_form<FORM_F8_E4M3>(o, part, wide); break;
        case FORM_MXFP4: start_form<FORM_MXFP4>(o, part, wide); break;
        default: backend_fail(o, ENOTSUP, "a weight of unknown type"); return;
        }
    }
}
