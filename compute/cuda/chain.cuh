/* What recurrences over a sweep's positions have in common on a device. */
#pragma once
#include "compute/cuda/launch.cuh"

namespace
{

const unsigned THREADS = 128;
const uint32_t COLUMNS = 32; /* of a head's state that one block owns */

struct chain {
    const uint32_t *from, *to; /* device copies */
    uint32_t n;
};

chain upload_chain(struct ops *o, const struct ops_chain *c)
{
    uint32_t *tables = (uint32_t *)backend_scratch(o, 2 * (uint64_t)c->n * sizeof *tables);

    if (!tables) return chain{};
    ops_upload(o, tables, c->from, c->n * sizeof *tables);
    ops_upload(o, tables + c->n, c->to, c->n * sizeof *tables);
    return chain{tables, tables + c->n, c->n};
}

/* Sum of the four warps' shares of each column, in order. */
__device__ float over_warps(float x, float *shared)
{
    float sum;

    __syncthreads();
    shared[threadIdx.x] = x;
    __syncthreads();
    sum = shared[threadIdx.x % 32];
    for (unsigned w = 1; w < THREADS / 32; w++) sum += shared[w * 32 + threadIdx.x % 32];
    return sum;
}

} /* namespace */
