/* What the device's memory and units can do at most: the peaks that a profile is held against. */
#include <errno.h>

#include "compute/cuda/launch.cuh"
#include "proto/base/clock.h"

#define MEMORY_LEAST (UINT64_C(1) << 20)
#define BLOCK        256u
#define BLOCKS       2048u
#define FMA_ROUNDS   4096u
#define FMA_SUMS     8u /* enough to hide the latency */

/* The sum is written only if it is one that cannot be: the loads may not be left out. */
static __global__ void read_kernel(const float4 *from, uint64_t n, float *out)
{
    float sum = 0;

    for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x) {
        float4 x = from[i];

        sum += x.x + x.y + x.z + x.w;
    }
    if (sum == 12345.678f) *out = sum;
}

static __global__ void fma_kernel(float x, float y, float *out)
{
    float a[FMA_SUMS];
    float sum = 0;

    for (unsigned k = 0; k < FMA_SUMS; k++) a[k] = (float)(threadIdx.x + k);
    for (unsigned i = 0; i < FMA_ROUNDS; i++)
        for (unsigned k = 0; k < FMA_SUMS; k++) a[k] = fmaf(a[k], x, y);
    for (unsigned k = 0; k < FMA_SUMS; k++) sum += a[k];
    if (sum == 12345.678f) *out = sum;
}

/* A kernel again and again until limit_ns have passed; the first is not counted. */
static int peak_repeat(struct ops *o, enum ops_peak_kind what, void *memory, uint64_t bytes, uint64_t limit_ns,
                       uint64_t *amount, uint64_t *ns, struct error *e)
{
    uint64_t start = 0, each = what == OPS_PEAK_MEMORY ? bytes : UINT64_C(2) * FMA_ROUNDS * FMA_SUMS * BLOCK * BLOCKS;
    int rc;

    for (bool warm = false;; warm = true) {
        if (what == OPS_PEAK_MEMORY)
            launch(o, "reading memory", read_kernel, dim3(BLOCKS), BLOCK, 0, (const float4 *)memory,
                   bytes / sizeof(float4), (float *)memory);
        else
            launch(o, "multiplying", fma_kernel, dim3(BLOCKS), BLOCK, 0, 0.5f, 1.0f, (float *)memory);
        if ((rc = ops_sync(o, e))) return rc;
        if (!warm)
            start = clock_ns();
        else
            *amount += each;
        if (warm && (*ns = clock_ns() - start) >= limit_ns) return 0;
    }
}

int ops_peak(struct ops *o, enum ops_peak_kind what, uint64_t most_bytes, uint64_t limit_ns, uint64_t *amount,
             uint64_t *ns, struct error *e)
{
    uint64_t bytes = what == OPS_PEAK_MEMORY ? most_bytes : MEMORY_LEAST;
    void *memory = NULL;
    int rc;

    *amount = *ns = 0;
    if (bytes < MEMORY_LEAST) return error_set(e, ENOMEM, "too little memory is allowed to measure its speed");
    while (!memory && bytes >= MEMORY_LEAST) {
        memory = ops_alloc(o, bytes, e);
        if (!memory) bytes /= 2;
    }
    if (!memory) return -ENOMEM;
    rc = peak_repeat(o, what, memory, bytes, limit_ns, amount, ns, e);
    ops_free(o, memory, bytes);
    return rc;
}
