/* Selective scans: positions in order inside a thread block, heads and their columns in parallel. */
#include <errno.h>

#include "compute/cuda/act.h"
#include "compute/cuda/chain.cuh"

namespace
{

/* A block for each head and COLUMNS columns of its state S [states][width], which stays in shared memory as long as
 * positions continue one another. Lane: column; warp w owns the rows w, w + 4, ... of S. */
__global__ void __launch_bounds__(THREADS) scan_kernel(const op_scan p, float *dst, uint32_t ldd, const ops_scan_args x,
                                                       float *states, uint64_t state_floats, const chain c)
{
    DYNAMIC_SHARED(shared);
    const uint32_t head = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = THREADS / 32;
    const uint32_t col = blockIdx.y * COLUMNS + lane;
    const uint64_t channel = (uint64_t)head * p.width + col, group = head / (p.heads / p.groups) * (uint64_t)p.states;
    const bool inside = col < p.width, channels = p.flags & SCAN_CHANNELS;
    const uint64_t own = channels ? (inside ? channel : 0) : head;
    float *S = shared, *rates = S + (uint64_t)p.states * COLUMNS, *sums = rates + (channels ? p.states * COLUMNS : 0);
    const float bias = x.dt_bias[own], skip = x.skip ? x.skip[own] : 0.0f;
    const float log_rate = channels ? 0.0f : x.a_log[head],
                head_rate = p.flags & SCAN_RATES ? log_rate : -expf(log_rate);
    uint32_t held = UINT32_MAX; /* state slot whose contents are in S */

    for (uint32_t d = warp; d < p.states && channels; d += warps) {
        const float a = x.a_log[own * p.states + d];

        rates[d * COLUMNS + lane] = p.flags & SCAN_RATES ? a : -expf(a);
    }
    for (uint32_t i = 0; i < c.n; i++) {
        const uint32_t from = c.from[i], to = c.to[i];
        const float raw = act_softplus(x.dt[(uint64_t)i * x.lddt + own] + bias);
        const float step = fminf(fmaxf(raw, p.dt_least), p.dt_most), decay = channels ? 0.0f : expf(step * head_rate);
        const float in = inside ? x.x[(uint64_t)i * x.ldx + channel] : 0.0f;
        const float *b = x.b + (uint64_t)i * x.ldb + group, *z = x.c + (uint64_t)i * x.ldc + group;
        float sum = 0.0f;

        if (from == UINT32_MAX || from != held) {
            const float *slot =
                states + (from == UINT32_MAX ? 0 : from) * state_floats + (uint64_t)head * p.states * p.width;

            for (uint32_t d = warp; d < p.states; d += warps)
                S[d * COLUMNS + lane] = from != UINT32_MAX && inside ? slot[(uint64_t)d * p.width + col] : 0.0f;
        }
        for (uint32_t d = warp; d < p.states; d += warps) {
            const float g = channels ? expf(step * rates[d * COLUMNS + lane]) : decay;
            const float s = fmaf(S[d * COLUMNS + lane], g, step * in * b[d]);

            S[d * COLUMNS + lane] = s;
            sum = fmaf(s, z[d], sum);
        }
        sum = over_warps(sum, sums);
        if (warp == 0 && inside) dst[(uint64_t)i * ldd + channel] = fmaf(skip, in, sum);
        held = to;
        if (i + 1 < c.n && c.from[i + 1] == to && c.to[i + 1] == to) continue; /* goes on in place: written later */
        if (inside) {
            float *slot = states + to * state_floats + (uint64_t)head * p.states * p.width;

            for (uint32_t d = warp; d < p.states; d += warps) slot[(uint64_t)d * p.width + col] = S[d * COLUMNS + lane];
        }
    }
}

} /* namespace */

void ops_scan(struct ops *o, const struct op_scan *p, float *dst, uint32_t ldd, const struct ops_scan_args *x,
              float *states, uint64_t state_floats, const struct ops_chain *c)
{
    const uint64_t rows = (uint64_t)p->states * (p->flags & SCAN_CHANNELS ? 2 : 1);
    const size_t shared = (rows * COLUMNS + THREADS) * sizeof(float);
    chain on_device;

    if (!c->n) return;
    if (shared > (48 << 10)) {
        backend_fail(o, ENOTSUP, "the scan has more states than the kernels hold");
        return;
    }
    backend_scratch_begin(o);
    on_device = upload_chain(o, c);
    if (on_device.n)
        launch(o, "scan", scan_kernel, dim3(p->heads, blocks_for(p->width, COLUMNS)), THREADS, shared, *p, dst, ldd, *x,
               states, state_floats, on_device);
}
