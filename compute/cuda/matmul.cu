/* ops_matmul() and ops_matmul_t(): which kernels serve which product. */
#include <errno.h>
#include <stdio.h>

#include "compute/cuda/launch.cuh"
#include "compute/cuda/matmul.h"

namespace
{

const unsigned THREADS = 256;
const uint32_t NORM_ROWS = 65536; /* rows whose lengths are kept at once */

/* 1 / |row|, at least 1e-12 long as torch.nn.functional.normalize() has it; a warp a row. */
__global__ void lengths_kernel(float *inverse, const weight_rows w)
{
    uint64_t r = (uint64_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    float sum = 0;

    if (r >= w.rows) return;
    for (uint32_t c = threadIdx.x % 32; c < w.cols; c += 32) {
        float x = weight_at(&w, r, c);
        sum = fmaf(x, x, sum);
    }
    sum = warp_sum(sum);
    if (!(sum < INFINITY)) {
        sum = 0;
        for (uint32_t c = threadIdx.x % 32; c < w.cols; c += 32) {
            float x = weight_at(&w, r, c) * NORM_SMALLER;
            sum = fmaf(x, x, sum);
        }
        sum = warp_sum(sum);
        if (threadIdx.x % 32 == 0) inverse[r] = NORM_SMALLER / sqrtf(sum);
        return;
    }
    if (threadIdx.x % 32 == 0) inverse[r] = 1.0f / fmaxf(sqrtf(sum), 1e-12f);
}

/* y[i][c] = y[i][c] * factor[c] + bias[c]; either may be absent. */
__global__ void finish_kernel(float *y, uint32_t ldy, const float *factor, const float *bias, uint32_t width,
                              uint32_t n)
{
    uint32_t c = blockIdx.x * blockDim.x + threadIdx.x;

    if (c >= width) return;
    for (uint32_t i = blockIdx.y; i < n; i += gridDim.y) {
        float *at = y + (uint64_t)i * ldy + c;
        float x = factor ? *at * factor[c] : *at;

        *at = bias ? x + bias[c] : x;
    }
}

__global__ void fill_kernel(float *y, uint32_t ldy, const float *bias, uint32_t width, uint32_t n)
{
    uint32_t c = blockIdx.x * blockDim.x + threadIdx.x;

    if (c >= width) return;
    for (uint32_t i = blockIdx.y; i < n; i += gridDim.y) y[(uint64_t)i * ldy + c] = bias ? bias[c] : 0.0f;
}

struct transposed_args {
    struct weight_rows w;
    const float *x;
    float *y;
    uint32_t ldx, ldy, n;
    bool init;          /* y is not added to */
    struct ops_heads h; /* a row of blocks each */
};

/* y[i][c] += sum_r x[i][r] W[r][c], a thread a column, r ascending: one chain however the rows are cut into calls. */
template <int TOKENS> __global__ void transposed_kernel(const transposed_args a)
{
    uint32_t c = blockIdx.x * blockDim.x + threadIdx.x, head = blockIdx.y;
    const float *x = a.x + head * a.h.x;
    float *y = a.y + head * a.h.y, acc[TOKENS];
    weight_rows w = a.w;

    if (c >= w.cols) return;
    w.data += head * a.h.data;
    if (w.scale) w.scale += head * a.h.scale;
    w.row0 += head * a.h.row;
    w.scale_row0 += head * a.h.scale_row;
#pragma unroll
    for (int t = 0; t < TOKENS; t++) acc[t] = t < (int)a.n && !a.init ? y[(uint64_t)t * a.ldy + c] : 0.0f;
#pragma unroll 8
    for (uint32_t r = 0; r < w.rows; r++) {
        float e = weight_at(&w, r, c);

#pragma unroll
        for (int t = 0; t < TOKENS; t++)
            if (t < (int)a.n) acc[t] = fmaf(e, x[(uint64_t)t * a.ldx + r], acc[t]);
    }
#pragma unroll
    for (int t = 0; t < TOKENS; t++)
        if (t < (int)a.n) y[(uint64_t)t * a.ldy + c] = acc[t];
}

/* init: y is written, not added to. h: as gemv() has it. */
void gemv_t(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const weight_rows &w, bool init,
            const struct ops_heads *h, uint32_t n)
{
    const ops_heads one = {1, 0, 0, 0, 0, 0, 0};
    dim3 grid(blocks_for(w.cols, 64), h ? h->heads : 1);

    for (uint32_t i = 0; i < n; i += 8) {
        const uint32_t count = n - i < 8 ? n - i : 8;
        const transposed_args a = {w,    x + (uint64_t)i * ldx, y + (uint64_t)i * ldy, ldx, ldy, count,
                                   init, h ? *h : one};

        if (count == 1)
            launch(o, "transposed product", transposed_kernel<1>, grid, 64, 0, a);
        else
            launch(o, "transposed product", transposed_kernel<8>, grid, 64, 0, a);
    }
}

/* A matrix that the kernels know, in memory where they can read its blocks; a failure that names the form otherwise. */
bool sound(struct ops *o, const struct ops_weight *w, bool transposed)
{
    const struct plan_matrix *m = w->matrix;
    bool grid = form_scales(m->form) == FORM_SCALES_GRID;
    char what[200];

    if (!form_can_be(m->form, transposed ? FORM_WEIGHT | FORM_TURNED : FORM_WEIGHT))
        snprintf(what, sizeof what, "no kernel multiplies with weights of form %u (%s)", m->form, form_name(m->form));
    else if (grid && (!w->scale || !form_scaled_by(m->form, m->scale_form) || !m->block_rows || !m->block_cols))
        snprintf(what, sizeof what,
                 "weights of %s without scales, or with scales of form %u (%s), which they cannot have",
                 form_name(m->form), m->scale_form, form_name(m->scale_form));
    else if (m->unit_rows && (!w->unit || (uintptr_t)w->data % 8))
        snprintf(what, sizeof what, "packed weights that do not begin with a unit");
    else if ((uintptr_t)w->data % form_align(m->form) || (grid && (uintptr_t)w->scale % form_align(m->scale_form)) ||
             (form_turned_pack(m->form) && (uintptr_t)w->zero % 4))
        snprintf(what, sizeof what, "weights of %s that begin in the middle of a word", form_name(m->form));
    else if (w->rows > UINT32_MAX || m->cols > UINT32_MAX || !m->cols)
        snprintf(what, sizeof what, "a matrix of %llu x %llu, which the kernels cannot count",
                 (unsigned long long)w->rows, (unsigned long long)m->cols);
    else
        return true;
    backend_fail(o, ENOTSUP, what);
    return false;
}

} /* namespace */

struct weight_rows weight_rows_of(const struct ops_weight *w)
{
    const struct plan_matrix *m = w->matrix;
    bool grid = form_scales(m->form) == FORM_SCALES_GRID;
    struct weight_rows v = {};

    v.data = (const uint8_t *)w->data;
    v.scale = grid ? (const uint8_t *)w->scale : NULL;
    v.row_bytes = m->row_bytes;
    v.scale_row_bytes = m->scale_row_bytes;
    v.row0 = w->row0;
    v.scale_row0 = w->scale_row0;
    v.rows = (uint32_t)w->rows;
    v.cols = (uint32_t)m->cols;
    v.block_rows = grid ? m->block_rows : 1;
    v.block_cols = grid ? m->block_cols : 1;
    v.form = m->form;
    v.scale_form = m->scale_form;
    v.zero = m->zero_rows ? (const uint8_t *)w->zero : NULL;
    v.zero_row_bytes = m->zero_row_bytes;
    v.zero_row0 = w->zero_row0;
    v.zero_rows = m->zero_rows;
    v.flags = m->flags;
    v.vector[0] = w->vector[0];
    v.vector[1] = w->vector[1];
    v.offset = m->offset;
    v.groups = grid ? (uint32_t)plan_scale_rows(m, 0, m->rows).count : 0;
    return v;
}

struct weight_rows weight_rows_slice(const struct weight_rows *w, uint64_t first, uint32_t count)
{
    struct weight_rows v = *w;

    v.data += first * w->row_bytes;
    v.row0 += first;
    v.rows = count;
    if (v.flags & MATRIX_GROUPED) return v;
    if (v.scale) {
        uint64_t scale_row = v.row0 / v.block_rows;

        v.scale += (scale_row - v.scale_row0) * v.scale_row_bytes;
        v.scale_row0 = scale_row;
    }
    if (v.zero) {
        uint64_t zero_row = v.row0 / v.zero_rows;

        v.zero += (zero_row - v.zero_row0) * v.zero_row_bytes;
        v.zero_row0 = zero_row;
    }
    return v;
}

/* y = x W^T of these rows, of which y and bias have the columns. Scratch from o->scratch_used on is free. */
static void multiply_rows(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const weight_rows &v,
                          const float *bias, bool norm, uint32_t n)
{
    const uint64_t used = o->scratch_used;
    bool few = n <= CUDA_GEMV_TOKENS;

    if (few)
        gemv(o, y, ldy, x, ldx, &v, norm ? NULL : bias, NULL, n);
    else
        gemm(o, y, ldy, x, ldx, &v, n);
    if (!norm) {
        if (!few && bias)
            launch(o, "bias", finish_kernel, dim3(blocks_for(v.rows, THREADS), grid_rows(n)), THREADS, 0, y, ldy,
                   (const float *)NULL, bias, v.rows, n);
        return;
    }
    for (uint32_t r = 0; r < v.rows; r += NORM_ROWS) {
        weight_rows part = weight_rows_slice(&v, r, v.rows - r < NORM_ROWS ? v.rows - r : NORM_ROWS);
        float *inverse;

        o->scratch_used = used;
        inverse = (float *)backend_scratch(o, part.rows * sizeof *inverse);
        if (!inverse) return;
        launch(o, "lengths of rows", lengths_kernel, dim3(blocks_for(part.rows, THREADS / 32)), THREADS, 0, inverse,
               part);
        launch(o, "rows to length 1", finish_kernel, dim3(blocks_for(part.rows, THREADS), grid_rows(n)), THREADS, 0,
               y + r, ldy, inverse, bias ? bias + r : NULL, part.rows, n);
    }
}

/* y += x W of these rows, whose inputs x has the columns of. */
static void multiply_rows_t(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const weight_rows &v,
                            uint32_t n)
{
    if (n <= CUDA_GEMV_TOKENS && form_turned_pack(v.form))
        gemv_turned(o, y, ldy, x, ldx, &v, n);
    else if (n <= CUDA_GEMV_TOKENS)
        gemv_t(o, y, ldy, x, ldx, v, false, NULL, n);
    else
        gemm_t(o, y, ldy, x, ldx, &v, n);
}

/* Of packed weights, panels of rows, one after the other through the same scratch: there is one stream. Of others all at once.
 * NULL: what failed is kept. */
struct panels {
    struct ops *o;
    const struct ops_weight *w;
    void *scratch;
    uint64_t bytes, used, row;
};

static bool panels_begin(struct panels *p, struct ops *o, const struct ops_weight *w)
{
    *p = {o, w, NULL, 0, 0, 0};
    backend_scratch_begin(o);
    if (w->matrix->unit_rows) {
        p->bytes = footprint_cuda_panel(w->matrix);
        if (!(p->scratch = backend_scratch(o, p->bytes))) return false;
    }
    p->used = o->scratch_used;
    return true;
}

static bool panels_next(struct panels *p, weight_rows *v, uint64_t *row)
{
    if (p->row >= p->w->rows) return false;
    *row = p->row;
    p->o->scratch_used = p->used;
    if (p->scratch)
        p->row += unpack_rows(p->o, p->w, p->row, p->scratch, p->bytes, v);
    else
        *v = weight_rows_of(p->w), p->row = p->w->rows;
    return true;
}

void ops_matmul(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct ops_weight *w,
                const float *bias, uint32_t flags, uint32_t n)
{
    struct panels p;
    weight_rows v;
    uint64_t row;

    if (!n || !w->rows || !sound(o, w, false) || !panels_begin(&p, o, w)) return;
    while (panels_next(&p, &v, &row))
        multiply_rows(o, y + row, ldy, x, ldx, v, bias ? bias + row : NULL, flags & MATMUL_ROW_NORM, n);
}

void ops_matmul_t(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct ops_weight *w,
                  const float *bias, bool init, uint32_t n)
{
    struct panels p;
    weight_rows v;
    uint64_t row;

    if (!n || !sound(o, w, true)) return;
    if (init)
        launch(o, "bias", fill_kernel, dim3(blocks_for(w->matrix->cols, THREADS), grid_rows(n)), THREADS, 0, y, ldy,
               bias, (uint32_t)w->matrix->cols, n);
    if (!w->rows || !panels_begin(&p, o, w)) return;
    while (panels_next(&p, &v, &row)) multiply_rows_t(o, y, ldy, x + row, ldx, v, n);
}

/* Heads that one launch computes: what few tokens' kernels take without anything that is kept beside the weights. */
static bool together(struct ops *o, const struct ops_weight *w, const struct ops_heads *h, bool transposed, uint32_t n)
{
    return n && n <= CUDA_GEMV_TOKENS && h->heads > 1 && h->heads <= 65535 && w->rows && !w->matrix->unit_rows &&
           !w->matrix->zero_rows && !w->matrix->flags && !form_turned_pack(w->matrix->form) && sound(o, w, transposed);
}

void ops_matmul_heads(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx,
                      const struct ops_weight *first, const struct ops_heads *h, uint32_t n)
{
    if (together(o, first, h, false, n)) {
        const weight_rows v = weight_rows_of(first);

        gemv(o, y, ldy, x, ldx, &v, NULL, h, n);
        return;
    }
    for (uint32_t i = 0; i < h->heads; i++) {
        const ops_weight w = ops_head(first, h, i);

        ops_matmul(o, y + i * h->y, ldy, x + i * h->x, ldx, &w, NULL, 0, n);
    }
}

void ops_matmul_t_heads(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx,
                        const struct ops_weight *first, const struct ops_heads *h, uint32_t n)
{
    if (together(o, first, h, true, n)) {
        gemv_t(o, y, ldy, x, ldx, weight_rows_of(first), true, h, n);
        return;
    }
    for (uint32_t i = 0; i < h->heads; i++) {
        const ops_weight w = ops_head(first, h, i);

        ops_matmul_t(o, y + i * h->y, ldy, x + i * h->x, ldx, &w, NULL, true, n);
    }
}
