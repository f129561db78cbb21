/* Norms: a thread block for each position and group, sums in one fixed tree of 256 threads. */
#include "compute/cuda/launch.cuh"

namespace {

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

__global__ void __launch_bounds__(THREADS) norm_kernel(const op_norm p, float *y, uint32_t ldy, const float *x, uint32_t ldx,
                                                       const float *weight, const float *bias)
{
    __shared__ float shared[WARPS];
    const uint32_t g = blockIdx.y;
    const float *in = x + (uint64_t)blockIdx.x * ldx + (uint64_t)g * p.src_stride;
    float *out = y + (uint64_t)blockIdx.x * ldy + (uint64_t)g * p.dst_stride;
    const float *w = weight ? weight + (uint64_t)g * p.weight_stride : NULL, *b = bias ? bias + (uint64_t)g * p.weight_stride : NULL;
    float mean = 0, sum = 0, factor;

    if (p.kind == NORM_LAYER) {
        for (uint32_t c = threadIdx.x; c < p.width; c += THREADS) mean += in[c];
        mean = block_sum(mean, shared) / (float)p.width;
    }
    for (uint32_t c = threadIdx.x; c < p.width; c += THREADS) sum = fmaf(in[c] - mean, in[c] - mean, sum);
    sum = block_sum(sum, shared);
    factor = 1.0f / sqrtf((p.kind == NORM_L2 ? sum : sum / (float)p.width) + p.eps);
    for (uint32_t c = threadIdx.x; c < p.width; c += THREADS) { /* each thread writes what it alone reads: y may be x */
        float v = (in[c] - mean) * factor;

        if (w) v *= p.weight_add + w[c];
        if (b) v += b[c];
        out[c] = v;
    }
}

} /* namespace */

void ops_norm(struct ops *o, const struct op_norm *p, float *y, uint32_t ldy, const float *x, uint32_t ldx, const float *weight,
              const float *bias, uint32_t n)
{
    launch(o, "norm", norm_kernel, dim3(n, p->groups), THREADS, 0, *p, y, ldy, x, ldx, weight, bias);
}

cudaError_t backend_probe(void)
{
    cudaFuncAttributes a;

    return cudaFuncGetAttributes(&a, (const void *)norm_kernel);
}
