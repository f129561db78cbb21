/* Attention over cached rows, in two steps whose order of operations is fixed by positions of the sequence alone.
 *
 *   part    a thread block for (position, up to HEADS query heads of one key head, span): a span is CUDA_SPAN_POSITIONS positions,
 *           cut at its multiples. It walks the span in blocks of 64 positions with a running maximum (online softmax,
 *           Milakov and Gimelshein 2018; FlashAttention) and leaves maximum, sum and weighted values of each head.
 *   merge   adds the spans of a position in order.
 *
 * Where ancestors were chosen, spans and blocks are cut at multiples of the chosen ones, which are numbered anew.
 *
 * Neither the number of positions in the sweep, nor which rows hold a sequence, nor how many positions fit the scratch
 * at once changes any bit. */
#include <errno.h>

#include "compute/cuda/forms.h"
#include "compute/cuda/launch.cuh"

namespace
{

const unsigned THREADS = 128;
const uint32_t BLOCK = 64, SLICE = 32; /* positions at a time; columns of k at a time */

struct part_args {
    struct op_attention p;
    struct ops_rows rows;
    const float *q, *alibi;
    const void *k, *v;
    float *partial; /* [position][span][head][2 + dv]: maximum (-inf: saw nothing), sum, values */
    uint64_t k_width, v_width;
    uint32_t ldq, first_position, spans, groups; /* groups of HEADS query heads for each key head */
};

/* The first position that a position sees. */
__device__ uint32_t first_seen(const op_attention &p, uint32_t position)
{
    uint32_t low = p.window && position + 1 > p.window ? position + 1 - p.window : 0;

    if (p.chunk && position - position % p.chunk > low) low = position - position % p.chunk;
    return low;
}

/* What a position looks at for a key head: its list, NULL for all; and how many that are, up to itself. Of two keys a row the
 * pooled ones come first: *pooled of them. */
__device__ const uint32_t *list_of(const op_attention &p, const ops_rows &r, uint32_t i, uint32_t key_head,
                                   uint32_t *end, uint32_t *pooled)
{
    const uint32_t position = r.position[i], each = p.chosen_block;
    const uint32_t *list;

    *end = position + 1;
    if (p.pooled) {
        list = p.chosen_top ? r.chosen + (uint64_t)i * r.ld_chosen : NULL;
        *pooled = list ? list[0] : (position + 1) / p.pooled;
        *end = *pooled + position + 1 - first_seen(p, position);
        return list;
    }
    if (!p.chosen_top) return NULL;
    list = r.chosen + (uint64_t)i * r.ld_chosen + key_head / (p.kv_heads / p.chosen_groups) * (1ull + p.chosen_top);
    *end = (list[0] - 1) * each +
           (position + 1 - list[list[0]] * each < each ? position + 1 - list[list[0]] * each : each);
    return list;
}

/* Shared memory of the part kernel, in floats. dk is rounded up to whole slices. */
struct part_shape {
    uint32_t q, acc, k, weights, state, total;
};

__host__ __device__ inline part_shape part_layout(uint32_t heads, uint32_t dk, uint32_t dv)
{
    part_shape s;

    s.q = 0;
    s.acc = s.q + heads * ((dk + SLICE - 1) / SLICE * SLICE);
    s.k = s.acc + heads * dv;
    s.weights = s.k + BLOCK * (SLICE + 1);
    s.weights = (s.weights + 3) / 4 * 4;
    s.state = s.weights + heads * BLOCK;
    s.total = s.state + 3 * heads + BLOCK; /* maximum, sum, rescaling; rows */
    return s;
}

template <uint32_t KV, uint32_t HEADS> __global__ void __launch_bounds__(THREADS) part_kernel(const part_args a)
{
    constexpr uint32_t SHARE = HEADS > 1 ? HEADS / 2 : 1; /* heads that one half of the block scores */
    DYNAMIC_SHARED(shared);
    const op_attention &p = a.p;
    const uint32_t t = threadIdx.x, lane = t % 32, warp = t / 32, span = blockIdx.x;
    const uint32_t key_head = blockIdx.y / a.groups, each = p.heads / p.kv_heads, sub = blockIdx.y % a.groups * HEADS;
    const uint32_t head0 = key_head * each + sub, heads = each - sub < HEADS ? each - sub : HEADS;
    const uint32_t i = a.first_position + blockIdx.z, position = a.rows.position[i], seen = first_seen(p, position),
                   low = p.pooled ? 0 : seen;
    const uint32_t begin = low > span * CUDA_SPAN_POSITIONS ? low : span * CUDA_SPAN_POSITIONS;
    uint32_t all, pooled = 0;
    const uint32_t *list = list_of(p, a.rows, i, key_head, &all, &pooled);
    const uint32_t end = all < (span + 1) * CUDA_SPAN_POSITIONS ? all : (span + 1) * CUDA_SPAN_POSITIONS;
    const uint32_t dk_slices = (p.dk + SLICE - 1) / SLICE * SLICE;
    const part_shape s = part_layout(HEADS, p.dk, p.dv);
    float *q = shared + s.q, *acc = shared + s.acc, *ks = shared + s.k, *weights = shared + s.weights;
    float *maximum = shared + s.state, *sum = maximum + HEADS, *rescale = sum + HEADS;
    uint32_t *row_of = (uint32_t *)(rescale + HEADS);
    float *out = a.partial + (((uint64_t)blockIdx.z * a.spans + span) * p.heads + head0) * (p.dv + 2);
    uint32_t run = a.rows.first[i],
             run_position = 0; /* the run that holds the current position, and its first position */

    if (begin >= end) {
        for (uint32_t h = t; h < heads; h += THREADS) out[(uint64_t)h * (p.dv + 2)] = -INFINITY;
        return;
    }
    for (uint32_t e = t; e < HEADS * dk_slices; e += THREADS) {
        uint32_t h = e / dk_slices, d = e % dk_slices;

        q[e] = h < heads && d < p.dk ? a.q[(uint64_t)i * a.ldq + (uint64_t)(head0 + h) * p.dk + d] : 0.0f;
    }
    for (uint32_t e = t; e < HEADS * p.dv; e += THREADS) acc[e] = 0.0f;
    if (t < HEADS) {
        maximum[t] = -INFINITY;
        sum[t] = 0.0f;
    }

    for (uint32_t block = begin / BLOCK * BLOCK; block < end; block += BLOCK) {
        const uint32_t from = block < begin ? begin - block : 0, to = end - block < BLOCK ? end - block : BLOCK;
        const uint32_t j = t % BLOCK, half = t / BLOCK;
        float score[SHARE] = {};

        if (t < BLOCK && j >= from && j < to) { /* each thread goes on from the run of its position in the last block */
            const uint32_t v = block + j;
            uint32_t place = v;

            if (p.pooled) {
                place = v < pooled ? (list ? list[1 + v] : v) * p.pooled + p.pooled - 1 : seen + (v - pooled);
                if (place < run_position) { /* the window begins before the last pooled block ended */
                    run = a.rows.first[i];
                    run_position = 0;
                }
            } else if (list) {
                place = list[1 + v / p.chosen_block] * p.chosen_block + v % p.chosen_block;
            }
            while (place - run_position >= a.rows.runs[run].length) run_position += a.rows.runs[run++].length;
            row_of[j] = a.rows.runs[run].row + (place - run_position);
            if (p.pooled) row_of[j] = 2 * row_of[j] + (v < pooled);
        }
        for (uint32_t d0 = 0; d0 < p.dk; d0 += SLICE) {
            __syncthreads();
#pragma unroll 4
            for (uint32_t e = t; e < BLOCK * SLICE; e += THREADS) {
                uint32_t at = e / SLICE, d = d0 + e % SLICE;
                float x = 0.0f;

                if (at >= from && at < to && d < p.dk)
                    x = form_load(KV, a.k, row_of[at] * a.k_width + (uint64_t)key_head * p.dk + d);
                ks[at * (SLICE + 1) + e % SLICE] = x;
            }
            __syncthreads();
            if (half * SHARE < HEADS) {
#pragma unroll 4
                for (uint32_t d = 0; d < SLICE; d += 4) {
                    const float *k = ks + j * (SLICE + 1) + d;
                    const float k0 = k[0], k1 = k[1], k2 = k[2], k3 = k[3];

#pragma unroll
                    for (uint32_t h = 0; h < SHARE; h++) {
                        const float4 four = *(const float4 *)(q + (half * SHARE + h) * dk_slices + d0 + d);

                        score[h] = fmaf(four.x, k0, score[h]);
                        score[h] = fmaf(four.y, k1, score[h]);
                        score[h] = fmaf(four.z, k2, score[h]);
                        score[h] = fmaf(four.w, k3, score[h]);
                    }
                }
            }
        }
        if (half * SHARE < HEADS) {
#pragma unroll
            for (uint32_t h = 0; h < SHARE; h++) {
                uint32_t head = half * SHARE + h;
                float x = p.scale * score[h];

                if (p.cap != 0.0f) x = p.cap * tanhf(x / p.cap);
                if (a.alibi && head < heads) x += a.alibi[head0 + head] * -(float)(position - (block + j));
                weights[head * BLOCK + j] = j >= from && j < to ? x : -INFINITY;
            }
        }
        __syncthreads();
        for (uint32_t h = warp; h < HEADS; h += THREADS / 32) {
            float x0 = weights[h * BLOCK + lane], x1 = weights[h * BLOCK + lane + 32];
            float was = maximum[h], now = fmaxf(was, warp_max(fmaxf(x0, x1))), added;

            x0 = expf(x0 - now);
            x1 = expf(x1 - now);
            added = warp_sum(x0 + x1);
            weights[h * BLOCK + lane] = x0;
            weights[h * BLOCK + lane + 32] = x1;
            __syncwarp();
            if (lane == 0) {
                rescale[h] = expf(was - now);
                sum[h] = fmaf(sum[h], rescale[h], added);
                maximum[h] = now;
            }
        }
        __syncthreads();
        for (uint32_t c = t; c < p.dv; c += THREADS) {
            float values[HEADS];

#pragma unroll
            for (uint32_t h = 0; h < HEADS; h++) values[h] = acc[h * p.dv + c] * rescale[h];
#pragma unroll 4
            for (uint32_t at = from; at < to; at++) {
                float x = form_load(
                    KV, a.v, row_of[at] * a.v_width + (uint64_t)key_head * (p.flags & ATTN_V_IN_K ? p.dk : p.dv) + c);

#pragma unroll
                for (uint32_t h = 0; h < HEADS; h++) values[h] = fmaf(weights[h * BLOCK + at], x, values[h]);
            }
#pragma unroll
            for (uint32_t h = 0; h < HEADS; h++) acc[h * p.dv + c] = values[h];
        }
        __syncthreads();
    }
    for (uint32_t h = 0; h < heads; h++) {
        if (t == 0) {
            out[(uint64_t)h * (p.dv + 2)] = maximum[h];
            out[(uint64_t)h * (p.dv + 2) + 1] = sum[h];
        }
        for (uint32_t c = t; c < p.dv; c += THREADS) out[(uint64_t)h * (p.dv + 2) + 2 + c] = acc[h * p.dv + c];
    }
}

/* A block for each head and position; a sink is one more logit whose value is nothing. */
__global__ void merge_kernel(const part_args a, float *dst, uint32_t ldd, const float *sinks)
{
    const uint32_t head = blockIdx.x, i = a.first_position + blockIdx.y;
    const uint64_t each = a.p.dv + 2, stride = (uint64_t)a.p.heads * each;
    const float *part = a.partial + (uint64_t)blockIdx.y * a.spans * stride + head * each;
    float top = sinks ? sinks[head] : -INFINITY, sum = 0.0f;

    for (uint32_t s = 0; s < a.spans; s++) top = fmaxf(top, part[s * stride]);
    for (uint32_t s = 0; s < a.spans; s++)
        if (part[s * stride] != -INFINITY) sum = fmaf(part[s * stride + 1], expf(part[s * stride] - top), sum);
    if (sinks) sum += expf(sinks[head] - top);
    for (uint32_t c = threadIdx.x; c < a.p.dv; c += blockDim.x) {
        float x = 0.0f;

        for (uint32_t s = 0; s < a.spans; s++)
            if (part[s * stride] != -INFINITY) x = fmaf(part[s * stride + 2 + c], expf(part[s * stride] - top), x);
        dst[(uint64_t)i * ldd + (uint64_t)head * a.p.dv + c] = x / sum;
    }
}

__global__ void store_kernel(uint32_t kv_form, void *cache, uint32_t width, const float *src, uint32_t ld,
                             const uint32_t *row, uint32_t n)
{
    uint32_t c = blockIdx.x * blockDim.x + threadIdx.x;

    if (c >= width) return;
    for (uint32_t i = blockIdx.y; i < n; i += gridDim.y)
        form_store(kv_form, cache, (uint64_t)row[i] * width + c, src[(uint64_t)i * ld + c]);
}

const size_t SHARED_MOST = 48 << 10; /* what every device gives without being asked */

template <uint32_t HEADS> bool fits(const op_attention &p)
{
    return part_layout(HEADS, p.dk, p.dv).total * sizeof(float) <= SHARED_MOST;
}

template <uint32_t HEADS> void start(struct ops *o, part_args &a, uint32_t kv_form, uint32_t positions)
{
    size_t shared = part_layout(HEADS, a.p.dk, a.p.dv).total * sizeof(float);
    dim3 grid;

    a.groups = blocks_for(a.p.heads / a.p.kv_heads, HEADS);
    grid = dim3(a.spans, a.groups * a.p.kv_heads, positions);
    switch (kv_form) { /* those that are FORM_CACHE */
    case FORM_F32: launch(o, "attention", part_kernel<FORM_F32, HEADS>, grid, THREADS, shared, a); return;
    case FORM_BF16: launch(o, "attention", part_kernel<FORM_BF16, HEADS>, grid, THREADS, shared, a); return;
    case FORM_F16: launch(o, "attention", part_kernel<FORM_F16, HEADS>, grid, THREADS, shared, a); return;
    }
}

bool known(struct ops *o, uint32_t kv_form)
{
    char what[96];

    if (form_can_be(kv_form, FORM_CACHE)) return true;
    snprintf(what, sizeof what, "no KV cache is kept in form %u (%s)", kv_form, form_name(kv_form));
    backend_fail(o, ENOTSUP, what);
    return false;
}

} /* namespace */

void ops_kv_store(struct ops *o, uint32_t kv_form, void *cache, uint32_t width, const float *src, uint32_t ld,
                  const struct ops_rows *r)
{
    if (!known(o, kv_form)) return;
    launch(o, "storing keys and values", store_kernel, dim3(blocks_for(width, 256), grid_rows(r->n)), 256, 0, kv_form,
           cache, width, src, ld, r->row, r->n);
}

void ops_attention(struct ops *o, const struct op_attention *p, float *dst, uint32_t ldd, const float *q, uint32_t ldq,
                   const void *k_cache, const void *v_cache, uint32_t kv_form, const float *sinks, const float *alibi,
                   const struct ops_rows *r)
{
    uint64_t chosen = (uint64_t)p->chosen_top * p->chosen_block,
             most = chosen && chosen <= r->max_position ? chosen - 1 : r->max_position;
    if (p->pooled) {
        const uint64_t blocks = ((uint64_t)r->max_position + 1) / p->pooled;

        most = (p->chosen_top && p->chosen_top < blocks ? p->chosen_top : blocks) +
               (p->window && p->window <= r->max_position ? p->window - 1 : r->max_position);
    }
    uint64_t spans = most / CUDA_SPAN_POSITIONS + 1, each = spans * p->heads * (p->dv + 2ull) * sizeof(float), at_once;
    uint32_t group = p->heads / p->kv_heads;
    part_args a = {};

    if (!r->n || !known(o, kv_form)) return;
    backend_scratch_begin(o);
    at_once = backend_at_once(o, each, r->n);
    a.p = *p;
    a.rows = *r;
    a.q = q;
    a.ldq = ldq;
    a.k = k_cache;
    a.k_width = (uint64_t)p->kv_heads * p->dk;
    a.v = p->flags & ATTN_V_IN_K ? k_cache : v_cache;
    a.v_width = p->flags & ATTN_V_IN_K ? a.k_width : (uint64_t)p->kv_heads * p->dv;
    a.alibi = alibi;
    a.spans = (uint32_t)spans;
    a.partial = (float *)backend_scratch(o, at_once * each);
    if (!a.partial) return;
    for (uint64_t i = 0; i < r->n; i += at_once) {
        uint32_t positions = (uint32_t)(r->n - i < at_once ? r->n - i : at_once);

        a.first_position = (uint32_t)i;
        if (group > 1 && fits<8>(*p) && group > 4)
            start<8>(o, a, kv_form, positions);
        else if (group > 1 && fits<4>(*p))
            start<4>(o, a, kv_form, positions);
        else if (fits<1>(*p))
            start<1>(o, a, kv_form, positions);
        else {
            backend_fail(o, ENOTSUP, "attention heads are too wide for the kernels");
            return;
        }
        launch(o, "merging attention", merge_kernel, dim3(p->heads, positions), THREADS, 0, a, dst, ldd, sinks);
        if (positions > CUDA_GEMV_TOKENS) backend_pace(o, CUDA_PACE_GEMM);
    }
}
