/* Starting kernels, and the reductions they share. */
#pragma once
#include <cuda_runtime.h>
#include "compute/cuda/backend.h"

/* Shared memory sized at the launch. */
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) float name[]
#endif

static inline unsigned blocks_for(uint64_t n, unsigned each)
{
    return (unsigned)((n + each - 1) / each);
}

/* Rows go along y, of which there are at most 65535 in a grid: kernels stride over it. */
static inline unsigned grid_rows(uint32_t n)
{
    return n < 65535u ? n : 65535u;
}

/* Queues kernel<<<grid, block, shared>>>(args...) on the backend's stream. */
template <typename... Params, typename... Args>
static inline void launch(struct ops *o, const char *name, void (*kernel)(Params...), dim3 grid, unsigned block, size_t shared, Args... args)
{
    cudaLaunchConfig_t config = {};

    if (!grid.x || !grid.y || !grid.z) return;
    config.gridDim = grid;
    config.blockDim = dim3(block);
    config.dynamicSmemBytes = shared;
    config.stream = o->stream;
    backend_check(o, cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...), name);
    backend_pace(o, 1);
}

/* Over the 32 lanes, in one fixed tree; every lane gets the result. All lanes must call. */
static __device__ __forceinline__ float warp_sum(float x)
{
    for (int lane = 16; lane; lane >>= 1) x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}

static __device__ __forceinline__ float warp_max(float x)
{
    for (int lane = 16; lane; lane >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}
