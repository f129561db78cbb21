/* Norms: a thread block for each position and group, sums in one fixed tree of 256 threads. */
#include "compute/cuda/launch.cuh"

namespace
{

const unsigned THREADS = 256, WARPS = THREADS / 32;

/* Sum over the block; every thread gets it. shared: [WARPS]. */
__device__ float block_sum(float x, float *shared)
{
    float sum = 0;

    x = warp_sum(x);
    __syncthreads(); /* the last sum was read by all */
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    for (unsigned w = 0; w < WARPS; w++) sum += shared[w];
    return sum;
}

/* What comes after the sums. shift is subtracted from x * small. */
__device__ void write_columns(const op_norm &p, float *out, const float *in, float small, float shift, float factor,
                              const float *w, const float *b)
{
    for (uint32_t c = threadIdx.x; c < p.width; c += THREADS) { /* each thread writes what it alone reads: y may be x */
        float v = (in[c] * small - shift) * factor;

        if (w) v *= p.weight_add + w[c];
        if (b) v += b[c];
        out[c] = v;
    }
}

/* NORM_SIZE and NORM_CUT, of x * small. */
__device__ void write_statistic(const op_norm &p, float *out, const float *in, float small, float mean, float deviation)
{
    float cut = mean + p.deviations * deviation;

    if (p.kind == NORM_SIZE) {
        if (threadIdx.x == 0) out[0] = deviation / small;
        return;
    }
    for (uint32_t c = threadIdx.x; c < p.width; c += THREADS) { /* what is not a number stays one */
        float v = in[c] * small - cut;

        out[c] = v < 0.0f ? 0.0f : v / small;
    }
}

/* Mean and sum of squares of x * small; every thread gets both. */
__device__ float sum_squares(const op_norm &p, const float *in, float small, float *mean, float *shared)
{
    float sum = 0;

    *mean = 0;
    if (p.kind == NORM_LAYER || p.kind == NORM_CUT) {
        for (uint32_t c = threadIdx.x; c < p.width; c += THREADS) sum += in[c] * small;
        *mean = block_sum(sum, shared) / (float)p.width;
    }
    sum = 0;
    for (uint32_t c = threadIdx.x; c < p.width; c += THREADS) {
        float d = in[c] * small - *mean;

        sum = fmaf(d, d, sum);
    }
    return block_sum(sum, shared);
}

__global__ void __launch_bounds__(THREADS) norm_kernel(const op_norm p, float *y, uint32_t ldy, const float *x,
                                                       uint32_t ldx, const float *weight, const float *bias)
{
    __shared__ float shared[WARPS];
    const uint32_t g = blockIdx.y;
    const float *in = x + (uint64_t)blockIdx.x * ldx + (uint64_t)g * p.src_stride;
    float *out = y + (uint64_t)blockIdx.x * ldy + (uint64_t)g * p.dst_stride;
    const float *w = weight ? weight + (uint64_t)g * p.weight_stride : NULL,
                *b = bias ? bias + (uint64_t)g * p.weight_stride : NULL;
    float mean, eps = p.eps, small = 1.0f, sum = sum_squares(p, in, 1.0f, &mean, shared), factor;

    if (!(sum < INFINITY)) { /* the same for all threads */
        float m, s = sum_squares(p, in, NORM_SMALLER, &m, shared);

        if (s < INFINITY) { /* else x is not finite, and the result shows it */
            sum = s;
            mean = m;
            small = NORM_SMALLER;
            eps = s > 0.0f ? 0.0f : 1.0f;
        }
    }
    if (p.kind == NORM_SIZE || p.kind == NORM_CUT) {
        write_statistic(p, out, in, small, mean, sqrtf(sum / (float)p.width));
        return;
    }
    sum = p.kind == NORM_L2 ? sum : sum / (float)p.width;
    factor = 1.0f / sqrtf(p.kind == NORM_LEAST ? fmaxf(sum, eps) : sum + eps);
    write_columns(p, out, in, small, mean, factor, w, b);
}

} /* namespace */

void ops_norm(struct ops *o, const struct op_norm *p, float *y, uint32_t ldy, const float *x, uint32_t ldx,
              const float *weight, const float *bias, uint32_t n)
{
    launch(o, "norm", norm_kernel, dim3(n, p->groups), THREADS, 0, *p, y, ldy, x, ldx, weight, bias);
}

cudaError_t backend_probe(void)
{
    cudaFuncAttributes a;

    return cudaFuncGetAttributes(&a, (const void *)norm_kernel);
}
