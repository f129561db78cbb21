/* Products of few tokens with matrices of which the file's rows are inputs (FORM_TURNED): a thread a column, inputs in order,
 * one chain however the rows are cut into calls. Neighbours read neighbouring words; a word serves all of its inputs, and where it
 * holds outputs, their threads read it together. */
#include "compute/cuda/launch.cuh"
#include "compute/cuda/matmul.h"

namespace
{

const unsigned THREADS = 64;

/* rows stored rows from row on, which share a pair, or have one for each input. */
template <uint32_t FORM, int TOKENS, bool GROUPED>
__device__ __forceinline__ void turned_rows(const weight_rows &w, struct turned_factors pair, const float *x,
                                            uint32_t ldx, uint32_t n, uint32_t c, uint32_t row, uint32_t rows,
                                            float *acc)
{
    constexpr uint32_t DEEP = form_deep(FORM), ELEMENTS = form_elements(FORM);

#pragma unroll 4
    for (uint32_t r = row; r < row + rows; r++) {
        const uint32_t word = turned_word(&w, r, c);

#pragma unroll
        for (uint32_t j = 0; j < DEEP; j++) {
            const uint32_t k = r * DEEP + j;

            if (GROUPED) pair = turned_factors_of(&w, turned_group(&w, k), c);
            const float e = turned_weight(turned_number(FORM, word, DEEP > 1 ? j : c % ELEMENTS), pair);
#pragma unroll
            for (int t = 0; t < TOKENS; t++)
                if (t < (int)n) acc[t] = fmaf(e, x[(uint64_t)t * ldx + k], acc[t]);
        }
    }
}

template <uint32_t FORM, int TOKENS, bool GROUPED>
__global__ void turned_kernel(float *y, uint32_t ldy, const float *x, uint32_t ldx, const weight_rows w, uint32_t n)
{
    const uint32_t c = blockIdx.x * blockDim.x + threadIdx.x;
    float acc[TOKENS];

    if (c >= w.cols) return;
#pragma unroll
    for (int t = 0; t < TOKENS; t++) acc[t] = t < (int)n ? y[(uint64_t)t * ldy + c] : 0.0f;
    for (uint32_t r = 0, rows; r < w.rows; r += rows) {
        rows = GROUPED ? w.rows : w.block_rows - (uint32_t)((w.row0 + r) % w.block_rows);
        if (rows > w.rows - r) rows = w.rows - r;
        struct turned_factors pair = {};
        if (!GROUPED) pair = turned_factors_of(&w, turned_group(&w, (uint64_t)r * form_deep(FORM)), c);
        turned_rows<FORM, TOKENS, GROUPED>(w, pair, x, ldx, n, c, r, rows, acc);
    }
#pragma unroll
    for (int t = 0; t < TOKENS; t++)
        if (t < (int)n) y[(uint64_t)t * ldy + c] = acc[t];
}

template <uint32_t FORM, int TOKENS>
void start(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const weight_rows &w, uint32_t n)
{
    const dim3 grid(blocks_for(w.cols, THREADS));

    if (w.flags & MATRIX_GROUPED)
        launch(o, "turned product", turned_kernel<FORM, TOKENS, true>, grid, THREADS, 0, y, ldy, x, ldx, w, n);
    else
        launch(o, "turned product", turned_kernel<FORM, TOKENS, false>, grid, THREADS, 0, y, ldy, x, ldx, w, n);
}

} /* namespace */

void gemv_turned(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct weight_rows *w,
                 uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 8) {
        const uint32_t count = n - i < 8 ? n - i : 8;
        float *out = y + (uint64_t)i * ldy;
        const float *in = x + (uint64_t)i * ldx;

        switch (w->form) { /* ops_matmul_t() knows it */
#define START(name, ...)                                                                                               \
    case FORM_##name:                                                                                                  \
        if (count == 1)                                                                                                \
            start<FORM_##name, 1>(o, out, ldy, in, ldx, *w, count);                                                    \
        else                                                                                                           \
            start<FORM_##name, 8>(o, out, ldy, in, ldx, *w, count);                                                    \
        break;
            FORM_TURNEDS(START)
#undef START
        }
    }
}
