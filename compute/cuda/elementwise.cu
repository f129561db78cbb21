/* What works on each element, or on each row as a whole. Threads along a row, rows along y. */
#include <errno.h>
#include <stdio.h>

#include "compute/cuda/act.h"
#include "compute/cuda/forms.h"
#include "compute/cuda/launch.cuh"

namespace
{

const unsigned THREADS = 256;

dim3 grid_for(uint64_t width, uint32_t n)
{
    return dim3(blocks_for(width, THREADS), grid_rows(n));
}

#define COLUMN()       (blockIdx.x * blockDim.x + threadIdx.x)
#define EACH_ROW(i, n) for (uint32_t i = blockIdx.y; i < (n); i += gridDim.y)

__global__ void embed_kernel(float *dst, uint32_t ld, const ops_gather g, uint64_t row_bytes, uint32_t n,
                             uint32_t width, float scale)
{
    uint32_t c = COLUMN();

    if (c >= width) return;
    EACH_ROW(i, n)
    {
        uint32_t k = g.index[i] - g.first;

        if (k < g.count)
            dst[(uint64_t)i * ld + c] = scale * form_load(g.form, (const uint8_t *)g.rows + k * row_bytes, c);
    }
}

__global__ void dequantize_kernel(float *dst, const void *src, uint32_t form, uint64_t elements)
{
    for (uint64_t i = COLUMN(); i < elements; i += (uint64_t)gridDim.x * blockDim.x) dst[i] = form_load(form, src, i);
}

/* One pair of a head: column c counts pairs over all heads. */
__global__ void rope_kernel(const op_rope p, float *x, uint32_t ldx, const float *cs, uint32_t dim, uint32_t n)
{
    uint32_t c = COLUMN(), half = p.dim / 2, head, j, a, b;

    if (c >= p.heads * half) return;
    head = c / half;
    j = c % half;
    a = p.style == ROPE_HALVES ? j : 2 * j;
    b = p.style == ROPE_HALVES ? j + half : 2 * j + 1;
    EACH_ROW(i, n)
    {
        float *h = x + (uint64_t)i * ldx + (uint64_t)head * p.head_stride;
        float cosine = cs[(uint64_t)i * dim + j], sine = cs[(uint64_t)i * dim + dim / 2 + j], xa = h[a], xb = h[b];

        h[a] = xa * cosine - xb * sine;
        h[b] = xb * cosine + xa * sine;
    }
}

__global__ void copy_kernel(float *dst, uint32_t ldd, const float *src, uint32_t lds, uint32_t blocks, uint32_t width,
                            uint32_t dst_stride, uint32_t src_stride, uint32_t n)
{
    uint64_t c = COLUMN();
    uint64_t block = c / width, at = c % width;

    if (block >= blocks) return;
    EACH_ROW(i, n) dst[(uint64_t)i * ldd + block * dst_stride + at] = src[(uint64_t)i * lds + block * src_stride + at];
}

__global__ void add_kernel(float *dst, uint32_t ldd, const float *a, uint32_t lda, const float *b, uint32_t ldb,
                           uint32_t width, float ca, float cb, uint32_t n)
{
    uint32_t c = COLUMN();

    if (c >= width) return;
    EACH_ROW(i, n) dst[(uint64_t)i * ldd + c] = ca * a[(uint64_t)i * lda + c] + cb * b[(uint64_t)i * ldb + c];
}

__global__ void act_kernel(const op_act p, float *dst, uint32_t ldd, const float *gate, uint32_t ldg, const float *up,
                           uint32_t ldu, uint32_t n)
{
    uint32_t c = COLUMN();

    if (c >= p.width) return;
    EACH_ROW(i, n)
    {
        const float *g = gate + (uint64_t)i * ldg, *u = up ? up + (uint64_t)i * ldu : NULL;
        float gv, uv = 0;

        if (p.flags & ACT_INTERLEAVED) {
            gv = g[2 * c];
            uv = g[2 * c + 1];
        } else {
            gv = g[!(p.flags & ACT_BROADCAST) ? c : p.each ? c / p.each : 0];
            if (u) uv = u[c];
        }
        dst[(uint64_t)i * ldd + c] =
            act_pair(p.kind, gv, uv, u || p.flags & ACT_INTERLEAVED, p.alpha, p.limit, p.flags);
    }
}

__global__ void scale_kernel(const op_scale p, float *x, uint32_t ldx, const ops_factors f, uint32_t n)
{
    uint32_t c = COLUMN();

    if (c >= p.width) return;
    EACH_ROW(i, n)
    {
        float *at = x + (uint64_t)i * ldx + c;
        float mul = p.mul;

        if (p.flags & SCALE_BY_POSITION)
            mul = 1.0f +
                  p.mul * logf(1.0f +
                               floorf(((float)f.positions[i] + (p.flags & SCALE_FROM_ZERO ? 0.0f : 1.0f)) / p.floor));
        if (p.flags & SCALE_BY_VECTOR) mul = f.vector[f.vector_floats == 1 ? 0 : c];
        if (p.flags & SCALE_CLAMP) { /* keeps what is not a number */
            float v = mul * *at;

            *at = v > p.cap ? p.cap : v < -p.cap ? -p.cap : v;
            continue;
        }
        *at = p.cap != 0.0f ? p.cap * tanhf(mul * *at / p.cap) : mul * *at;
    }
}

__global__ void position_kernel(const op_position p, float *x, uint32_t ldx, const float *table,
                                const uint32_t *positions, uint32_t n)
{
    uint32_t c = COLUMN();

    if (c >= p.width) return;
    EACH_ROW(i, n) x[(uint64_t)i * ldx + c] += table[((uint64_t)positions[i] + p.offset) * p.width + c];
}

__global__ void xielu_kernel(uint32_t width, float *dst, uint32_t ldd, const float *src, uint32_t lds,
                             const ops_xielu_args x, uint32_t n)
{
    uint32_t c = COLUMN();
    float beta = *x.beta, p = act_softplus(*x.alpha_p), m = beta + act_softplus(*x.alpha_n);

    if (c >= width) return;
    EACH_ROW(i, n)
    {
        float v = src[(uint64_t)i * lds + c], low = v > *x.eps ? *x.eps : v;

        dst[(uint64_t)i * ldd + c] = v > 0.0f ? p * v * v + beta * v : (expm1f(low) - v) * m + beta * v;
    }
}

/* A thread for each position: a few dozen numbers. */
__global__ void sinkhorn_kernel(const op_sinkhorn p, float *x, uint32_t ldx, const float *scale, const float *base,
                                uint32_t count)
{
    const uint32_t i = COLUMN(), n = p.streams;
    float *at = x + (uint64_t)i * ldx;
    double m[SINKHORN_STREAMS * SINKHORN_STREAMS], eps = p.eps;

    if (i >= count) return;
    for (uint32_t k = 0; k < n; k++) at[k] = (float)(1.0 / (1.0 + exp(-((double)at[k] * scale[0] + base[k]))) + eps);
    if (!p.rounds) return;
    for (uint32_t k = n; k < 2 * n; k++) at[k] = (float)(2.0 / (1.0 + exp(-((double)at[k] * scale[1] + base[k]))));
    at += 2 * n;
    base += 2 * n;
    for (uint32_t r = 0; r < n; r++) {
        double *row = m + r * n, top = -INFINITY, sum = 0.0;

        for (uint32_t k = 0; k < n; k++) {
            row[k] = (double)at[r * n + k] * scale[2] + base[r * n + k];
            if (!(row[k] <= top)) top = row[k];
        }
        for (uint32_t k = 0; k < n; k++) sum += row[k] = exp(row[k] - top);
        for (uint32_t k = 0; k < n; k++) row[k] = row[k] / sum + eps;
    }
    for (uint32_t half = 1; half < 2 * p.rounds; half++) { /* over columns, then over rows and columns in turn */
        const uint32_t each = half % 2 ? 1 : n, step = half % 2 ? n : 1;

        for (uint32_t r = 0; r < n; r++) {
            double sum = eps;

            for (uint32_t k = 0; k < n; k++) sum += m[r * each + k * step];
            for (uint32_t k = 0; k < n; k++) m[r * each + k * step] /= sum;
        }
    }
    for (uint32_t k = 0; k < n * n; k++) at[k] = (float)m[k];
}

__global__ void mix_kernel(const op_mix p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
                           const float *weight, uint32_t ldw, uint32_t n)
{
    const uint64_t c = COLUMN(), to = c / p.width, at = c % p.width;

    if (to >= p.out) return;
    EACH_ROW(i, n)
    {
        float *y = dst + (uint64_t)i * ldd + c, sum = p.flags & MIX_ADDS ? *y : 0.0f;

        for (uint32_t from = 0; from < p.in; from++)
            sum += weight[(uint64_t)i * ldw + (uint64_t)from * p.in_stride + to * p.out_stride] *
                   src[(uint64_t)i * lds + (uint64_t)from * p.width + at];
        *y = sum;
    }
}

__global__ void gather_kernel(float *dst, uint32_t ldd, const float *src, uint32_t lds, const uint32_t *index,
                              uint32_t width, uint32_t n)
{
    uint32_t c = COLUMN();

    if (c >= width) return;
    EACH_ROW(i, n) dst[(uint64_t)i * ldd + c] = src[(uint64_t)index[i] * lds + c];
}

__global__ void scatter_kernel(float *dst, uint32_t ldd, const float *src, uint32_t lds, const uint32_t *index,
                               const float *weight, uint32_t width, uint32_t n)
{
    uint32_t c = COLUMN();

    if (c >= width) return;
    EACH_ROW(i, n) dst[(uint64_t)index[i] * ldd + c] += (weight ? weight[i] : 1.0f) * src[(uint64_t)i * lds + c];
}

__global__ void scale_rows_kernel(float *x, uint32_t ldx, const float *weight, uint32_t width, uint32_t n)
{
    uint32_t c = COLUMN();

    if (c >= width) return;
    EACH_ROW(i, n) x[(uint64_t)i * ldx + c] *= weight[i];
}

/* Can rows of it stand alone, in whole blocks? */
bool known(struct ops *o, uint32_t form, uint64_t elements)
{
    char what[160];

    if (form_can_be_table(form) && elements % form_elements(form) == 0) return true;
    snprintf(what, sizeof what, "rows of %llu elements of form %u (%s) cannot be dequantized by themselves",
             (unsigned long long)elements, form, form_name(form));
    backend_fail(o, ENOTSUP, what);
    return false;
}

} /* namespace */

void ops_embed(struct ops *o, float *dst, uint32_t ld, const struct ops_gather *g, uint32_t n, uint32_t width,
               float scale)
{
    uint64_t stride = g->stride ? g->stride : form_row_bytes(g->form, width);

    if (known(o, g->form, width))
        launch(o, "embedding", embed_kernel, grid_for(width, n), THREADS, 0, dst, ld, *g, stride, n, width, scale);
}

void ops_dequantize(struct ops *o, float *dst, const void *src, uint32_t form, uint64_t elements)
{
    uint64_t blocks = (elements + THREADS - 1) / THREADS;

    if (known(o, form, elements))
        launch(o, "dequantizing", dequantize_kernel, dim3((unsigned)(blocks < 65535 ? blocks : 65535)), THREADS, 0, dst,
               src, form, elements);
}

void ops_rope(struct ops *o, const struct op_rope *p, float *x, uint32_t ldx, const float *cs, uint32_t dim, uint32_t n)
{
    launch(o, "rotary", rope_kernel, grid_for((uint64_t)p->heads * (p->dim / 2), n), THREADS, 0, *p, x, ldx, cs, dim,
           n);
}

void ops_copy(struct ops *o, float *dst, uint32_t ldd, const float *src, uint32_t lds, uint32_t blocks, uint32_t width,
              uint32_t dst_stride, uint32_t src_stride, uint32_t n)
{
    launch(o, "copy", copy_kernel, grid_for((uint64_t)blocks * width, n), THREADS, 0, dst, ldd, src, lds, blocks, width,
           dst_stride, src_stride, n);
}

void ops_add(struct ops *o, float *dst, uint32_t ldd, const float *a, uint32_t lda, const float *b, uint32_t ldb,
             uint32_t width, float ca, float cb, uint32_t n)
{
    launch(o, "add", add_kernel, grid_for(width, n), THREADS, 0, dst, ldd, a, lda, b, ldb, width, ca, cb, n);
}

void ops_act(struct ops *o, const struct op_act *p, float *dst, uint32_t ldd, const float *gate, uint32_t ldg,
             const float *up, uint32_t ldu, uint32_t n)
{
    launch(o, "activation", act_kernel, grid_for(p->width, n), THREADS, 0, *p, dst, ldd, gate, ldg, up, ldu, n);
}

void ops_scale(struct ops *o, const struct op_scale *p, float *x, uint32_t ldx, const struct ops_factors *f, uint32_t n)
{
    launch(o, "scale", scale_kernel, grid_for(p->width, n), THREADS, 0, *p, x, ldx, *f, n);
}

void ops_position(struct ops *o, const struct op_position *p, float *x, uint32_t ldx, const float *table,
                  const uint32_t *positions, uint32_t n)
{
    launch(o, "positions", position_kernel, grid_for(p->width, n), THREADS, 0, *p, x, ldx, table, positions, n);
}

void ops_sinkhorn(struct ops *o, const struct op_sinkhorn *p, float *x, uint32_t ldx, const float *scale,
                  const float *base, uint32_t n)
{
    if (n)
        launch(o, "weights of streams", sinkhorn_kernel, dim3(blocks_for(n, THREADS)), THREADS, 0, *p, x, ldx, scale,
               base, n);
}

void ops_mix(struct ops *o, const struct op_mix *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
             const float *weight, uint32_t ldw, uint32_t n)
{
    launch(o, "mixing", mix_kernel, grid_for((uint64_t)p->width * p->out, n), THREADS, 0, *p, dst, ldd, src, lds,
           weight, ldw, n);
}

void ops_xielu(struct ops *o, const struct op_xielu *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
               const struct ops_xielu_args *x, uint32_t n)
{
    launch(o, "xielu", xielu_kernel, grid_for(p->width, n), THREADS, 0, p->width, dst, ldd, src, lds, *x, n);
}

void ops_gather_rows(struct ops *o, float *dst, uint32_t ldd, const float *src, uint32_t lds, const uint32_t *index,
                     uint32_t width, uint32_t n)
{
    launch(o, "gathering rows", gather_kernel, grid_for(width, n), THREADS, 0, dst, ldd, src, lds, index, width, n);
}

void ops_scatter_add_rows(struct ops *o, float *dst, uint32_t ldd, const float *src, uint32_t lds,
                          const uint32_t *index, const float *weight, uint32_t width, uint32_t n)
{
    launch(o, "adding rows", scatter_kernel, grid_for(width, n), THREADS, 0, dst, ldd, src, lds, index, weight, width,
           n);
}

void ops_scale_rows(struct ops *o, float *x, uint32_t ldx, const float *weight, uint32_t width, uint32_t n)
{
    launch(o, "scaling rows", scale_rows_kernel, grid_for(width, n), THREADS, 0, x, ldx, weight, width, n);
}

void ops_zero(struct ops *o, float *x, uint32_t ldx, uint32_t width, uint32_t n)
{
    if (n && width)
        backend_check(o, cudaMemset2DAsync(x, (size_t)ldx * sizeof *x, 0, (size_t)width * sizeof *x, n, o->stream),
                      "clearing rows");
}
