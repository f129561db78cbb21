/* Short convolutions and the gated delta rule: positions in order inside a thread block, channels and heads in parallel. */
#include <errno.h>

#include "compute/cuda/act.h"
#include "compute/cuda/chain.cuh"

namespace
{

/* A thread a channel. */
__global__ void conv_kernel(const op_conv p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
                            const float *weight, const float *bias, float *states, uint64_t state_floats, const chain c)
{
    const uint32_t ch = blockIdx.x * blockDim.x + threadIdx.x, kept = p.taps - 1;

    if (ch >= p.width) return;
    for (uint32_t i = 0; i < c.n; i++) {
        const float x = src[(uint64_t)i * lds + ch], *w = weight + (uint64_t)ch * p.taps;
        const float *from = c.from[i] == UINT32_MAX ? NULL : states + c.from[i] * state_floats + ch;
        float *to = states + c.to[i] * state_floats + ch;
        float sum = 0.0f;

        for (uint32_t t = 0; t < kept; t++) { /* moving down by one: reads stay ahead of writes, so to may be from */
            float in = from ? from[(uint64_t)t * p.width] : 0.0f;

            sum = fmaf(w[t], in, sum);
            if (t) to[(uint64_t)(t - 1) * p.width] = in;
        }
        sum = fmaf(w[kept], x, sum);
        if (kept) to[(uint64_t)(kept - 1) * p.width] = x;
        dst[(uint64_t)i * ldd + ch] = act_one(p.act, bias ? sum + bias[ch] : sum);
    }
}

/* x / sqrt(sum x^2 + 1e-6) into out, by one warp. */
__device__ void normalize(float *out, const float *x, uint32_t width, uint32_t lane)
{
    float sum = 0.0f, large = 0.0f, small = 1.0f, factor;

    for (uint32_t d = lane; d < width; d += 32) sum = fmaf(x[d], x[d], sum);
    sum = warp_sum(sum);
    factor = 1.0f / sqrtf(sum + 1e-6f);
    if (!(sum < INFINITY)) {
        for (uint32_t d = lane; d < width; d += 32) large = fmaf(x[d] * NORM_SMALLER, x[d] * NORM_SMALLER, large);
        large = warp_sum(large);
        if (large < INFINITY) {
            small = NORM_SMALLER;
            factor = 1.0f / sqrtf(large);
        }
    }
    for (uint32_t d = lane; d < width; d += 32) out[d] = x[d] * small * factor;
}

/* A block for each head and COLUMNS columns of its state S [dk][dv], which stays in shared memory as long as positions
 * continue one another. Lane: column; warp w owns the rows w, w + 4, ... of S. */
__global__ void __launch_bounds__(THREADS)
    delta_kernel(const op_delta p, float *dst, uint32_t ldd, const ops_delta_args x, float *states,
                 uint64_t state_floats, const chain c)
{
    DYNAMIC_SHARED(shared);
    const uint32_t head = blockIdx.x, key_head = head / (p.heads / p.key_heads), lane = threadIdx.x % 32,
                   warp = threadIdx.x / 32;
    const uint32_t col = blockIdx.y * COLUMNS + lane, warps = THREADS / 32;
    const bool inside = col < p.dv;
    float *S = shared, *q = S + (uint64_t)p.dk * COLUMNS, *k = q + p.dk, *decays = k + p.dk, *sums = decays + p.dk;
    uint32_t held = UINT32_MAX; /* state slot whose contents are in S */

    for (uint32_t i = 0; i < c.n; i++) {
        const uint32_t from = c.from[i], to = c.to[i];
        const float rate = p.flags & DELTA_RATES ? x.a_log[head] : -expf(x.a_log[head]);
        const float beta = act_sigmoid(x.b[(uint64_t)i * x.ldb + head]);
        float recalled = 0.0f, change, sum = 0.0f;

        if (from == UINT32_MAX || from != held) {
            const float *slot = states + (from == UINT32_MAX ? 0 : from) * state_floats + (uint64_t)head * p.dk * p.dv;

            for (uint32_t d = warp; d < p.dk; d += warps)
                S[d * COLUMNS + lane] = from != UINT32_MAX && inside ? slot[(uint64_t)d * p.dv + col] : 0.0f;
        }
        __syncthreads(); /* q and k of the last position were used by all */
        if (warp == 0) normalize(q, x.q + (uint64_t)i * x.ldq + (uint64_t)key_head * p.dk, p.dk, lane);
        for (uint32_t d = threadIdx.x; d < p.dk; d += THREADS) {
            const uint64_t at = p.flags & DELTA_CHANNELS ? (uint64_t)head * p.dk + d : head;
            const float a = x.a[(uint64_t)i * x.lda + at] + x.dt_bias[at];

            decays[d] = expf(p.flags & DELTA_BOUNDED ? p.bound * act_sigmoid(-rate * a) : rate * act_softplus(a));
        }
        if (warp == 1) normalize(k, x.k + (uint64_t)i * x.ldk + (uint64_t)key_head * p.dk, p.dk, lane);
        __syncthreads();
        for (uint32_t d = warp; d < p.dk; d += warps) {
            float s = S[d * COLUMNS + lane] * decays[d];

            S[d * COLUMNS + lane] = s;
            recalled = fmaf(s, k[d], recalled);
        }
        recalled = over_warps(recalled, sums);
        change = inside ? beta * (x.v[(uint64_t)i * x.ldv + (uint64_t)head * p.dv + col] - recalled) : 0.0f;
        for (uint32_t d = warp; d < p.dk; d += warps) {
            float s = fmaf(k[d], change, S[d * COLUMNS + lane]);

            S[d * COLUMNS + lane] = s;
            sum = fmaf(s, q[d], sum);
        }
        sum = over_warps(sum, sums);
        if (warp == 0 && inside) dst[(uint64_t)i * ldd + (uint64_t)head * p.dv + col] = sum * p.scale;
        held = to;
        if (i + 1 < c.n && c.from[i + 1] == to && c.to[i + 1] == to) continue; /* goes on in place: written later */
        if (inside) {
            float *slot = states + to * state_floats + (uint64_t)head * p.dk * p.dv;

            for (uint32_t d = warp; d < p.dk; d += warps) slot[(uint64_t)d * p.dv + col] = S[d * COLUMNS + lane];
        }
    }
}

/* Softmax of one column as far as its positions have come. */
struct pooled {
    float top, sum, x;
};

__device__ pooled pool_load(const float *set, uint32_t width)
{
    return pooled{set[0], set[width], set[2ull * width]};
}

__device__ void pool_store(float *set, uint32_t width, const pooled &s)
{
    set[0] = s.top;
    set[width] = s.sum;
    set[2ull * width] = s.x;
}

__device__ float larger(float a, float b) /* b where one is not a number */
{
    return a > b ? a : b;
}

__device__ pooled pool_add(const pooled &s, float gate, float x)
{
    const float top = larger(s.top, gate), keep = expf(s.top - top), e = expf(gate - top);

    return pooled{top, fmaf(s.sum, keep, e), fmaf(s.x, keep, e * x)};
}

/* A thread a column. */
__global__ void pool_kernel(const op_pool p, float *dst, uint32_t ldd, const ops_pool_args x, float *states,
                            uint64_t state_floats, const chain c)
{
    const uint32_t ch = blockIdx.x * blockDim.x + threadIdx.x;
    const uint64_t set = 3ull * p.width, columns = (uint64_t)p.parts * p.width;
    const bool two = p.parts == 2;
    const pooled none = {-INFINITY, 0.0f, 0.0f};

    if (ch >= p.width) return;
    for (uint32_t i = 0; i < c.n; i++) {
        const uint32_t place = x.positions[i] % p.every;
        const float *from = c.from[i] == UINT32_MAX ? NULL : states + c.from[i] * state_floats + ch;
        float *to = states + c.to[i] * state_floats + ch;
        const float *xi = x.x + (uint64_t)i * x.ldx + ch, *gate = x.gate + (uint64_t)i * x.ldg + ch,
                    *bias = x.bias + place * columns + ch;
        pooled before = none, next = none, own = none;
        float y = 0.0f;

        if (from && two) before = pool_load(place ? from : from + set, p.width);
        if (from && place && two) next = pool_load(from + set, p.width);
        if (from && place) own = pool_load(from + (two ? 2 * set : 0), p.width);
        if (two) {
            next = pool_add(next, gate[0] + bias[0], xi[0]);
            pool_store(to, p.width, before);
            pool_store(to + set, p.width, next);
        }
        own = pool_add(own, gate[two ? p.width : 0] + bias[two ? p.width : 0], xi[two ? p.width : 0]);
        pool_store(to + (two ? 2 * set : 0), p.width, own);
        if (place + 1 == p.every) {
            const float top = larger(before.top, own.top), a = expf(before.top - top), b = expf(own.top - top);

            y = fmaf(before.x, a, own.x * b) / fmaf(before.sum, a, own.sum * b);
        }
        dst[(uint64_t)i * ldd + ch] = y;
    }
}

} /* namespace */

void ops_pool(struct ops *o, const struct op_pool *p, float *dst, uint32_t ldd, const struct ops_pool_args *x,
              float *states, uint64_t state_floats, const struct ops_chain *c)
{
    chain on_device;

    if (!c->n) return;
    backend_scratch_begin(o);
    on_device = upload_chain(o, c);
    if (on_device.n)
        launch(o, "pooling", pool_kernel, dim3(blocks_for(p->width, 64)), 64, 0, *p, dst, ldd, *x, states, state_floats,
               on_device);
}

void ops_conv(struct ops *o, const struct op_conv *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
              const float *weight, const float *bias, float *states, uint64_t state_floats, const struct ops_chain *c)
{
    chain on_device;

    if (!c->n) return;
    backend_scratch_begin(o);
    on_device = upload_chain(o, c);
    if (on_device.n)
        launch(o, "convolution", conv_kernel, dim3(blocks_for(p->width, 64)), 64, 0, *p, dst, ldd, src, lds, weight,
               bias, states, state_floats, on_device);
}

void ops_delta(struct ops *o, const struct op_delta *p, float *dst, uint32_t ldd, const struct ops_delta_args *x,
               float *states, uint64_t state_floats, const struct ops_chain *c)
{
    size_t shared = ((uint64_t)p->dk * (COLUMNS + 3) + THREADS) * sizeof(float);
    chain on_device;

    if (!c->n) return;
    if (shared > (48 << 10)) {
        backend_fail(o, ENOTSUP, "key heads of the delta rule are too wide for the kernels");
        return;
    }
    backend_scratch_begin(o);
    on_device = upload_chain(o, c);
    if (on_device.n)
        launch(o, "delta rule", delta_kernel, dim3(p->heads, blocks_for(p->dv, COLUMNS)), THREADS, shared, *p, dst, ldd,
               *x, states, state_floats, on_device);
}
