/* An index: scores of the ancestors of each position, then the best blocks of them, listed.
 *
 *   score    a thread block for (position, 64 ancestors): TILE heads at a time, columns in slices; a group's heads are added in order
 *   choose   a thread block for (position, group): the scores of blocks as whole numbers in their order, the top-th largest found
 *            bit by bit, then each thread lists what it finds in its own stretch of them
 *
 * A score is made of one query and one row, and a list of one position's scores: nothing else in the sweep changes it. */
#include <errno.h>

#include "compute/cuda/forms.h"
#include "compute/cuda/launch.cuh"

namespace
{

const unsigned THREADS = 128;
const uint32_t KEYS = 64, TILE = 16, SLICE = 32;
const uint32_t FIRST = UINT32_MAX, NOT_NUMBER = FIRST - 1; /* before every score; must not just be passed over */

struct index_args {
    struct op_index p;
    struct ops_rows rows;
    const float *q, *w;
    const void *cache;
    float *scores; /* [position][group][ld] */
    uint32_t *dst;
    uint64_t ldd;
    uint32_t ldq, ldw, ld, first_position;
};

__host__ __device__ uint32_t blocks_of(const op_index &p, uint32_t position)
{
    return p.flags & INDEX_POOLED ? (position + 1) / p.block : position / p.block + 1;
}

__device__ bool all_chosen(const op_index &p, uint32_t position)
{
    return blocks_of(p, position) <= p.top;
}

template <uint32_t KV> __global__ void __launch_bounds__(THREADS) score_kernel(const index_args a)
{
    __shared__ float qs[TILE][SLICE], ks[KEYS][SLICE + 1], found[TILE][KEYS];
    __shared__ uint32_t row_of[KEYS];
    const op_index &p = a.p;
    const uint32_t t = threadIdx.x, j = t % KEYS, half = t / KEYS, i = a.first_position + blockIdx.y,
                   position = a.rows.position[i];
    const bool pooled = p.flags & INDEX_POOLED;
    const uint32_t base = blockIdx.x * KEYS, each = p.heads / p.groups,
                   keys = pooled ? blocks_of(p, position) : position + 1; /* that have a score */
    float *to = a.scores + (uint64_t)blockIdx.y * p.groups * a.ld;
    float sum = 0.0f;

    if (base >= keys || all_chosen(p, position)) return;
    if (t < KEYS && base + j < keys) {
        uint32_t run = a.rows.first[i], place = pooled ? (base + j) * p.block + p.block - 1 : base + j;

        while (place >= a.rows.runs[run].length) place -= a.rows.runs[run++].length;
        row_of[j] = a.rows.runs[run].row + place;
    }
    for (uint32_t h0 = 0; h0 < p.heads; h0 += TILE) {
        float score[TILE / 2] = {};

        for (uint32_t d0 = 0; d0 < p.dim; d0 += SLICE) {
            __syncthreads();
            for (uint32_t e = t; e < TILE * SLICE; e += THREADS) {
                uint32_t h = h0 + e / SLICE, d = d0 + e % SLICE;

                qs[e / SLICE][e % SLICE] =
                    h < p.heads && d < p.dim ? a.q[(uint64_t)i * a.ldq + (uint64_t)h * p.dim + d] : 0.0f;
            }
            for (uint32_t e = t; e < KEYS * SLICE; e += THREADS) {
                uint32_t k = e / SLICE, d = d0 + e % SLICE;

                ks[k][e % SLICE] =
                    base + k < keys && d < p.dim ? form_load(KV, a.cache, (uint64_t)row_of[k] * p.dim + d) : 0.0f;
            }
            __syncthreads();
            for (uint32_t d = 0; d < SLICE; d++)
#pragma unroll
                for (uint32_t h = 0; h < TILE / 2; h++)
                    score[h] = fmaf(qs[half * (TILE / 2) + h][d], ks[j][d], score[h]);
        }
#pragma unroll
        for (uint32_t h = 0; h < TILE / 2; h++) found[half * (TILE / 2) + h][j] = score[h];
        __syncthreads();
        for (uint32_t h = h0; t < KEYS && h < h0 + TILE && h < p.heads; h++) {
            float x = p.scale * found[h - h0][j];

            if ((p.flags & INDEX_RELU) && x < 0.0f) x = 0.0f;
            if (h % each == 0) sum = 0.0f;
            sum = a.w ? fmaf(a.w[(uint64_t)i * a.ldw + h], x, sum) : sum + x;
            if ((h + 1) % each == 0) to[(uint64_t)(h / each) * a.ld + base + j] = sum;
        }
    }
}

/* In the order of the numbers; both zeros are one. */
__device__ uint32_t order_of(float x)
{
    uint32_t u;

    if (x != x) return NOT_NUMBER;
    if (x == 0.0f) return UINT32_C(1) << 31;
    memcpy(&u, &x, sizeof u);
    return u >> 31 ? ~u : u | UINT32_C(1) << 31;
}

/* The sum of all threads' numbers, for each of them; those before a thread's own in *before. */
__device__ uint32_t sum_threads(uint32_t *room, uint32_t x, uint32_t *before)
{
    uint32_t sum = 0;

    __syncthreads();
    room[threadIdx.x] = x;
    __syncthreads();
    *before = 0;
    for (uint32_t t = 0; t < THREADS; t++) {
        if (t == threadIdx.x) *before = sum;
        sum += room[t];
    }
    return sum;
}

__global__ void __launch_bounds__(THREADS) choose_kernel(const index_args a)
{
    __shared__ uint32_t room[THREADS];
    const op_index &p = a.p;
    const uint32_t t = threadIdx.x, group = blockIdx.x, i = a.first_position + blockIdx.y,
                   position = a.rows.position[i];
    const uint32_t block = p.flags & INDEX_POOLED ? 1 : p.block; /* scores of a block */
    const uint32_t blocks = blocks_of(p, position), last = p.flags & INDEX_POOLED ? blocks - 1 : position,
                   each = (blocks + THREADS - 1) / THREADS;
    const uint32_t b0 = t * each < blocks ? t * each : blocks, b1 = b0 + each < blocks ? b0 + each : blocks;
    const float *scores = a.scores + ((uint64_t)blockIdx.y * p.groups + group) * a.ld;
    uint32_t *list = a.dst + i * a.ldd + group * (1ull + p.top),
             *orders = (uint32_t *)(a.scores + ((uint64_t)blockIdx.y * p.groups + group) * a.ld);
    uint32_t least = 0, before, above, equal, n;

    if (t == 0) list[0] = blocks < p.top ? blocks : p.top;
    if (all_chosen(p, position)) {
        for (uint32_t b = t; b < blocks; b += THREADS) list[1 + b] = b;
        return;
    }
    /* The order of a block goes into the place of its first position's score, which only this thread reads. */
    for (uint32_t b = b0; b < b1; b++) {
        uint32_t best = 0;

        for (uint32_t k = b * block; k <= last && k < (b + 1) * block; k++) {
            uint32_t x = order_of(scores[k]);

            if (x > best) best = x;
        }
        orders[(uint64_t)b * block] = blocks - b <= p.local ? FIRST : best;
    }
    for (int bit = 31; bit >= 0; bit--) { /* the largest number that top of them reach */
        uint32_t tried = least | UINT32_C(1) << bit, reach = 0;

        for (uint32_t b = b0; b < b1; b++) reach += orders[(uint64_t)b * block] >= tried;
        if (sum_threads(room, reach, &before) >= p.top) least = tried;
    }
    above = equal = 0;
    for (uint32_t b = b0; b < b1; b++) {
        above += orders[(uint64_t)b * block] > least;
        equal += orders[(uint64_t)b * block] == least;
    }
    {
        uint32_t above_before, equal_before, all = sum_threads(room, above, &above_before), left = p.top - all;

        sum_threads(room, equal, &equal_before);
        n = 1 + above_before + (equal_before < left ? equal_before : left);
        for (uint32_t b = b0; b < b1; b++) {
            uint32_t x = orders[(uint64_t)b * block];

            if (x > least || (x == least && equal_before++ < left)) list[n++] = b;
        }
    }
}

bool score(struct ops *o, const index_args &a, uint32_t kv_form, dim3 grid)
{
    char what[96];

    switch (kv_form) { /* those that are FORM_CACHE */
    case FORM_F32: launch(o, "scores of an index", score_kernel<FORM_F32>, grid, THREADS, 0, a); return true;
    case FORM_BF16: launch(o, "scores of an index", score_kernel<FORM_BF16>, grid, THREADS, 0, a); return true;
    case FORM_F16: launch(o, "scores of an index", score_kernel<FORM_F16>, grid, THREADS, 0, a); return true;
    }
    snprintf(what, sizeof what, "no index is kept in form %u (%s)", kv_form, form_name(kv_form));
    backend_fail(o, ENOTSUP, what);
    return false;
}

} /* namespace */

void ops_index(struct ops *o, const struct op_index *p, uint32_t *dst, uint32_t ldd, const float *q, uint32_t ldq,
               const float *w, uint32_t ldw, const void *cache, uint32_t kv_form, const struct ops_rows *r)
{
    uint32_t key_blocks = r->max_position / KEYS + 1;
    uint64_t one = (uint64_t)p->groups * key_blocks * KEYS * sizeof(float), at_once;
    index_args a = {};

    if (!r->n) return;
    backend_scratch_begin(o);
    at_once = backend_at_once(o, one, r->n);
    a.p = *p;
    a.rows = *r;
    a.q = q;
    a.ldq = ldq;
    a.w = w;
    a.ldw = ldw;
    a.cache = cache;
    a.dst = dst;
    a.ldd = ldd;
    a.ld = key_blocks * KEYS;
    a.scores = (float *)backend_scratch(o, at_once * one);
    if (!a.scores) return;
    for (uint64_t i = 0; i < r->n; i += at_once) {
        uint32_t positions = (uint32_t)(r->n - i < at_once ? r->n - i : at_once);

        a.first_position = (uint32_t)i;
        if (blocks_of(*p, r->max_position) > p->top && !score(o, a, kv_form, dim3(key_blocks, positions))) return;
        launch(o, "choice of an index", choose_kernel, dim3(p->groups, positions), THREADS, 0, a);
        if (positions > CUDA_GEMV_TOKENS) backend_pace(o, CUDA_PACE_GEMM);
    }
}
