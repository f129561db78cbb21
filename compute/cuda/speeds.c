/* The device's link and memory, for a plan that knows nothing of them. */
#include "compute/speeds.h"

#include "compute/cuda/backend.h"
#include "proto/base/clock.h"

#define MEMORY_BYTES (UINT64_C(256) << 20) /* more than any cache holds */
#define LINK_BYTES   (UINT64_C(32) << 20)
#define EACH_NS      UINT64_C(50000000)

static uint64_t per_second(uint64_t amount, uint64_t ns)
{
    return ns ? (uint64_t)((double)amount * 1e9 / (double)ns) : 0;
}

static bool copy_once(struct ops *o, void *to, const void *from)
{
    return cudaMemcpyAsync(to, from, LINK_BYTES, cudaMemcpyHostToDevice, o->stream) == cudaSuccess &&
           cudaStreamSynchronize(o->stream) == cudaSuccess;
}

/* The first copy wakes the link up and is not counted. */
static uint64_t link_speed(struct ops *o)
{
    void *from = NULL, *to = NULL;
    uint64_t start, bytes = 0, ns = 0;

    if (cudaHostAlloc(&from, LINK_BYTES, cudaHostAllocDefault) == cudaSuccess &&
        cudaMalloc(&to, LINK_BYTES) == cudaSuccess && copy_once(o, to, from)) {
        start = clock_ns();
        for (; ns < EACH_NS && copy_once(o, to, from); ns = clock_ns() - start) bytes += LINK_BYTES;
    }
    if (to) cudaFree(to);
    if (from) cudaFreeHost(from);
    cudaGetLastError();
    return per_second(bytes, ns);
}

int ops_device_speeds(struct device_speeds *s, uint32_t device, struct error *e)
{
    struct ops_options options = {.device = device, .scratch_bytes = 1 << 16};
    struct error ignored;
    struct ops *o = NULL;
    uint64_t bytes, ns;
    int mode = cudaComputeModeDefault;
    int rc = ops_open(&o, &options, e);

    *s = (struct device_speeds){0};
    if (rc) return rc;
    if (cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, (int)device) == cudaSuccess)
        s->exclusive = mode == cudaComputeModeExclusive || mode == cudaComputeModeExclusiveProcess;
    s->link = link_speed(o);
    if (!ops_peak(o, OPS_PEAK_MEMORY, MEMORY_BYTES, EACH_NS, &bytes, &ns, &ignored)) s->memory = per_second(bytes, ns);
    ops_close(o);
    return 0;
}
