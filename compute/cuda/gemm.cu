/* Products of many tokens, by cuBLAS, accurate to about what float32 gives.
 *
 * Weights that are exact in bfloat16 (BF16 as stored, MXFP4 dequantized: a 2-bit significand times a power of two) go through
 * the bf16 units with float32 sums: the float32 inputs are split into three bf16 terms that add up to them exactly but
 * for the last bit (8 + 8 + 8 bits of significand), and three products are added, the smallest first. On everything with
 * tensor cores that is several times faster than float32 itself, and its error is that of the float32 sums.
 * All other weights, and devices before 8.0, which have no bf16 units, take float32 products of dequantized weights; TF32,
 * which keeps 11 bits, is never used.
 *
 * cuBLAS chooses its order of summation by the shapes: results agree with the few-token kernels to a few 1e-6 of the sum
 * of |x w|, not in every bit. */
#include <errno.h>

#include "compute/cuda/launch.cuh"
#include "compute/cuda/matmul.h"

namespace
{

/* Rows of w as float32 or bf16, [inputs][cols] without gaps. */
template <typename OUT> __global__ void dequantize_kernel(OUT *out, const weight_rows w)
{
    uint32_t c = blockIdx.x * blockDim.x + threadIdx.x;

    if (c >= w.cols) return;
    for (uint32_t r = blockIdx.y; r < weight_inputs(&w); r += gridDim.y) {
        float x = weight_at(&w, r, c);

        if (sizeof(OUT) == 4)
            ((float *)out)[(uint64_t)r * w.cols + c] = x;
        else
            ((uint16_t *)out)[(uint64_t)r * w.cols + c] = element_to_bf16(x);
    }
}

/* x = term 0 + term 1 + term 2, each [n][cols], one after another. */
__global__ void split_kernel(uint16_t *terms, const float *x, uint32_t ldx, uint32_t cols, uint32_t n)
{
    uint32_t c = blockIdx.x * blockDim.x + threadIdx.x;
    uint64_t each = (uint64_t)n * cols;

    if (c >= cols) return;
    for (uint32_t i = blockIdx.y; i < n; i += gridDim.y) {
        float rest = x[(uint64_t)i * ldx + c];
        uint16_t *out = terms + (uint64_t)i * cols + c;

        for (int t = 0; t < 3; t++) {
            uint16_t term = element_to_bf16(rest);
            float value = element_bf16(term);

            out[t * each] = term;
            rest = isfinite(value) ? rest - value : 0.0f; /* exact */
        }
    }
}

/* One product of w (already as cuBLAS reads it, rows of cols elements) with n tokens. Row-major [n][..] is to cuBLAS the
 * transposed matrix, so W stands first: y^T = W x^T, or y^T = W^T x^T for the transposed product. */
struct product {
    const void *w, *x;
    uint32_t type; /* FORM_BF16 or FORM_F32, of both */
    uint32_t rows, cols, ldx, n;
    bool transposed;
    float beta;
};

void multiply(struct ops *o, float *y, uint32_t ldy, const product &p)
{
    cudaDataType type = p.type == FORM_BF16 ? CUDA_R_16BF : CUDA_R_32F;
    int m = (int)(p.transposed ? p.cols : p.rows), k = (int)(p.transposed ? p.rows : p.cols);
    float one = 1;

    backend_check_cublas(o,
                         cublasGemmEx(o->cublas, p.transposed ? CUBLAS_OP_N : CUBLAS_OP_T, CUBLAS_OP_N, m, (int)p.n, k,
                                      &one, p.w, type, (int)p.cols, p.x, type, (int)p.ldx, &p.beta, y, CUDA_R_32F,
                                      (int)ldy, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                         "cublasGemmEx");
    backend_pace(o, CUDA_PACE_GEMM);
}

bool exact_in_bf16(const weight_rows *w)
{
    /* e8m0 scales of MXFP4 reach 2^127 and 6 * 2^127 overflows, in float32 just as well */
    return form_to(w->form) == FORM_BF16;
}

/* The rows of w as one operand: where they lie, or dequantized into scratch. */
const void *operand(struct ops *o, const weight_rows &w, bool bf16, void *wide)
{
    dim3 grid(blocks_for(w.cols, 256), grid_rows(weight_inputs(&w)));

    if (w.form == (bf16 ? FORM_BF16 : FORM_F32) && w.row_bytes == form_row_bytes(w.form, w.cols) &&
        (uintptr_t)w.data % 16 == 0)
        return w.data;
    if (bf16)
        launch(o, "dequantizing weights", dequantize_kernel<uint16_t>, grid, 256, 0, (uint16_t *)wide, w);
    else
        launch(o, "dequantizing weights", dequantize_kernel<float>, grid, 256, 0, (float *)wide, w);
    return wide;
}

/* n tokens, all rows of w, in pieces of rows that fit the scratch. accumulate: y is added to. */
void tokens(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const weight_rows &w, uint32_t n,
            bool transposed)
{
    uint32_t deep = form_deep(w.form), inputs = transposed ? w.rows * deep : w.cols;
    uint64_t row = (uint64_t)w.cols * deep; /* elements of a stored row */
    uint32_t piece = (uint32_t)(CUDA_WIDEN_FLOATS / row ? CUDA_WIDEN_FLOATS / row : 1);
    bool bf16 = exact_in_bf16(&w) && o->capability >= 80;
    uint64_t each = (uint64_t)n * inputs, most = row > CUDA_WIDEN_FLOATS ? row : CUDA_WIDEN_FLOATS;
    uint16_t *terms = NULL;
    void *wide;

    if (bf16) {
        terms = (uint16_t *)backend_scratch(o, 3 * each * sizeof *terms);
        if (!terms) return;
        launch(o, "splitting inputs", split_kernel, dim3(blocks_for(inputs, 256), grid_rows(n)), 256, 0, terms, x, ldx,
               inputs, n);
    }
    wide = backend_scratch(o, w.rows * row < most ? w.rows * row * sizeof(float) : most * sizeof(float));
    if (!wide) return;
    for (uint32_t r = 0; r < w.rows; r += piece) {
        weight_rows part = weight_rows_slice(&w, r, w.rows - r < piece ? w.rows - r : piece);
        const void *data = operand(o, part, bf16, wide);
        float *out = transposed ? y : y + r;
        uint32_t first = transposed ? r * deep : 0; /* input column */

        if (!bf16) {
            multiply(o, out, ldy,
                     product{data, x + first, FORM_F32, part.rows * deep, w.cols, ldx, n, transposed,
                             transposed ? 1.0f : 0.0f});
            continue;
        }
        for (int t = 2; t >= 0; t--)
            multiply(o, out, ldy,
                     product{data, terms + t * each + first, FORM_BF16, part.rows * deep, w.cols, inputs, n, transposed,
                             transposed || t < 2 ? 1.0f : 0.0f});
    }
}

void pieces(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const weight_rows *w, uint32_t n,
            bool transposed)
{
    uint64_t used = o->scratch_used;

    for (uint32_t i = 0; i < n; i += CUDA_GEMM_TOKENS) {
        o->scratch_used = used;
        tokens(o, y + (uint64_t)i * ldy, ldy, x + (uint64_t)i * ldx, ldx, *w,
               n - i < CUDA_GEMM_TOKENS ? n - i : CUDA_GEMM_TOKENS, transposed);
    }
}

} /* namespace */

void gemm(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct weight_rows *w, uint32_t n)
{
    pieces(o, y, ldy, x, ldx, w, n, false);
}

void gemm_t(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct weight_rows *w,
            uint32_t n)
{
    pieces(o, y, ldy, x, ldx, w, n, true);
}
