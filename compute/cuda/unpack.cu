/* Packed weights (proto/unit/unit.h) on the device: a warp a chunk, into BF16 rows in scratch, which the kernels of BF16 then
 * multiply with. They see the bits of the unpacked matrix.
 *
 * A step is four groups of 64 weights: lane l has eight neighbouring bytes and bits of group l / 8. Where its bits of the
 * second level begin follows from counts of those before it; of the third likewise, once the second is known: sums over the
 * lanes, no tables, and no chunk waits for another. A lane's eight weights lie side by side in the result.
 *
 * Nothing of a unit is believed: sizes come from the plan, the header must say the same, and a read beyond the unit's end gives
 * zeros. What is damaged is told by a flag in host memory that the device writes to, which ops_sync() looks at. */
#include <errno.h>

#include "compute/cuda/launch.cuh"
#include "compute/cuda/matmul.h"
#include "proto/unit/unit.h"

namespace {

const unsigned THREADS = 128, WARPS = THREADS / 32;
const unsigned UNITS = 128; /* of one launch: their places travel with its arguments */

struct unpack_args {
    const uint8_t *data;
    uint8_t *out;
    uint32_t *damaged;
    uint64_t first, count; /* of the weights of these units, those that are wanted */
    uint32_t unit_rows, last_rows, cols, units;
    uint64_t at[UNITS + 1]; /* of each unit, and of the end of the last, from data on */
};

/* A unit as this warp reads it. */
struct place {
    const uint8_t *low, *planes, *second, *third, *bytes, *end;
    uint32_t groups; /* of the chunk */
    uint32_t table[4];
};

__device__ __forceinline__ uint64_t load8(const uint8_t *p)
{
    const uint2 two = *(const uint2 *)p;

    return two.x | (uint64_t)two.y << 32;
}

/* The eight bits of a stream from a position on. */
__device__ __forceinline__ uint32_t bits8(const uint8_t *stream, const uint8_t *end, uint32_t position)
{
    const uint8_t *p = stream + position / 8;
    const uint32_t two = (p < end ? *p : 0u) | (p + 1 < end ? (uint32_t)p[1] << 8 : 0u);

    return two >> position % 8 & 0xff;
}

/* The low bits, in turn, at the ones of mask. */
__device__ __forceinline__ uint32_t deposit8(uint32_t bits, uint32_t mask)
{
    uint32_t out = 0;

    for (; mask; mask &= mask - 1, bits >>= 1)
        if (bits & 1) out |= mask & -mask;
    return out;
}

/* Of a number that each lane has: its sum over the lanes before this one in its group of eight, and of all eight. */
__device__ __forceinline__ void sum_group(uint32_t x, uint32_t lane, uint32_t *before, uint32_t *all)
{
    uint32_t b = 0, a = 0;

    for (uint32_t j = 0; j < 8; j++) {
        const uint32_t y = __shfl_sync(0xffffffffu, x, lane / 8 * 8 + j);

        a += y;
        if (j < lane % 8) b += y;
    }
    *before = b;
    *all = a;
}

/* Of a number that each group has: its sum over the groups before this one, and of all four. */
__device__ __forceinline__ void sum_step(uint32_t x, uint32_t lane, uint32_t *before, uint32_t *all)
{
    uint32_t b = 0, a = 0;

    for (uint32_t g = 0; g < 4; g++) {
        const uint32_t y = __shfl_sync(0xffffffffu, x, 8 * g);

        a += y;
        if (g < lane / 8) b += y;
    }
    *before = b;
    *all = a;
}

__device__ __forceinline__ uint32_t exponent_of(const struct place *p, uint32_t code)
{
    const uint32_t four = code & 8 ? (code & 4 ? p->table[3] : p->table[2]) : (code & 4 ? p->table[1] : p->table[0]);

    return four >> 8 * (code & 3) & 0xff;
}

/* Eight weights to their places; of those that nobody wants, none. at: of the first, among the wanted ones; may be below 0. */
__device__ __forceinline__ void put8(const struct unpack_args *a, int64_t at, uint32_t weights, const uint32_t four[4])
{
    if (at >= 0 && weights == 8 && (uint64_t)at + 8 <= a->count && at % 8 == 0) {
        uint4 all;

        all.x = four[0], all.y = four[1], all.z = four[2], all.w = four[3];
        *(uint4 *)(a->out + 2 * at) = all;
        return;
    }
    for (uint32_t w = 0; w < weights; w++)
        if (at + w >= 0 && (uint64_t)(at + w) < a->count)
            *(uint16_t *)(a->out + 2 * (at + w)) = (uint16_t)(four[w / 2] >> 16 * (w % 2));
}

/* The chunk's groups; every lane calls, whether its group is there or not. weights: of the chunk; base: of its first one. */
__device__ void unpack_groups(const struct unpack_args *a, const struct place *p, uint32_t lane, uint32_t weights, int64_t base)
{
    const uint32_t part = lane % 8, mine = 8 * (part / 2) + (part % 2 ? 32 : 0);
    uint32_t second_at = 0, third_at = 0, byte_at = 0;

    for (uint32_t step = 0; step < p->groups; step += 4) {
        const uint32_t g = step + lane / 8;
        const bool there = g < p->groups;
        const uint64_t m0 = there ? load8(p->planes + 16 * g) : 0, m1 = there ? load8(p->planes + 16 * g + 8) : 0, e1 = m0 & m1;
        const uint32_t b0 = (uint32_t)(m0 >> 8 * part) & 0xff, b1 = (uint32_t)(m1 >> 8 * part) & 0xff, x1 = b0 & b1,
                       n = (uint32_t)__popcll(e1), n_before = (uint32_t)__popcll(e1 & ((UINT64_C(1) << 8 * part) - 1));
        uint32_t groups_before, sum, k, k_before, q, q_before, at;

        sum_step(n, lane, &groups_before, &sum);
        at = second_at + 2 * groups_before + n_before;
        const uint32_t d0 = deposit8(bits8(p->second, p->end, at), x1), d1 = deposit8(bits8(p->second, p->end, at + n), x1), x2 = d0 & d1;
        second_at += 2 * sum;

        sum_group((uint32_t)__popc(x2), lane, &k_before, &k);
        sum_step(k, lane, &groups_before, &sum);
        at = third_at + 3 * groups_before + k_before;
        const uint32_t f0 = deposit8(bits8(p->third, p->end, at), x2), f1 = deposit8(bits8(p->third, p->end, at + k), x2),
                       f2 = deposit8(bits8(p->third, p->end, at + 2 * k), x2), x3 = f0 & f1 & f2;
        third_at += 3 * sum;

        sum_group((uint32_t)__popc(x3), lane, &q_before, &q);
        sum_step(q, lane, &groups_before, &sum);
        at = byte_at + groups_before + q_before;
        byte_at += sum;
        if (!there) continue;

        /* where a plane goes on to the next level, both of its bits are ones */
        const uint32_t c0 = (b0 ^ x1) | (d0 ^ x2) | f0, c1 = (b1 ^ x1) | (d1 ^ x2) | f1, c2 = (x1 ^ x2) | f2;
        const uint64_t low = load8(p->low + UNIT_GROUP * g + 8 * part);
        const uint32_t first = UNIT_GROUP * g + mine;
        uint32_t four[4] = {0, 0, 0, 0};

#pragma unroll
        for (uint32_t w = 0; w < 8; w++) {
            uint32_t e = exponent_of(p, (c0 >> w & 1) | (c1 >> w & 1) << 1 | (c2 >> w & 1) << 2 | (x2 >> w & 1) << 3);
            const uint32_t s = (uint32_t)(low >> 8 * w) & 0xff;

            if (x3 >> w & 1) {
                e = p->bytes + at < p->end ? p->bytes[at] : 0;
                at++;
            }
            four[w / 2] |= ((s & 0x80) << 8 | e << 7 | (s & 0x7f)) << 16 * (w % 2);
        }
        if (first < weights) put8(a, base + first, weights - first < 8 ? weights - first : 8, four);
    }
}

/* Raw weights begin at any even address behind a header. */
__device__ void copy_raw(const struct unpack_args *a, const uint8_t *from, uint32_t lane, uint32_t weights, int64_t base)
{
    for (uint32_t w = 8 * lane; w < weights; w += 256) {
        const uint32_t n = weights - w < 8 ? weights - w : 8;
        uint32_t four[4] = {0, 0, 0, 0};

        for (uint32_t k = 0; k < n; k++) four[k / 2] |= (uint32_t)((const uint16_t *)from)[w + k] << 16 * (k % 2);
        put8(a, base + w, n, four);
    }
}

/* Whether the header says what the plan does. */
__device__ bool header_is(const struct unit_header *h, uint32_t rows, uint32_t cols, uint64_t least, uint64_t room)
{
    return h->magic == UNIT_MAGIC && h->version == UNIT_VERSION && h->mode < UNIT_MODES && h->rows == rows && h->cols == cols &&
           h->stored >= least && h->stored <= room;
}

__global__ void __launch_bounds__(THREADS) unpack_kernel(const unpack_args a)
{
    const uint32_t lane = threadIdx.x % 32, chunk = blockIdx.x * WARPS + threadIdx.x / 32, i = blockIdx.y,
                   rows = i + 1 < a.units ? a.unit_rows : a.last_rows, all = rows * a.cols, begin = chunk * UNIT_CHUNK;
    const uint8_t *u = a.data + a.at[i];
    const uint64_t room = a.at[i + 1] - a.at[i], groups = ((uint64_t)all + UNIT_GROUP - 1) / UNIT_GROUP,
                   chunks = ((uint64_t)all + UNIT_CHUNK - 1) / UNIT_CHUNK, planes = UNIT_HEADER + groups * UNIT_GROUP,
                   directory = planes + groups * 16, bits = directory + chunks * sizeof(struct unit_chunk);
    const uint64_t before = (uint64_t)i * a.unit_rows * a.cols + begin; /* the chunk's first weight among all */
    const struct unit_header *h = (const struct unit_header *)u;

    if (chunk >= chunks || before + UNIT_CHUNK <= a.first || before >= a.first + a.count) return; /* a whole warp, here and below */
    const uint32_t weights = all - begin < UNIT_CHUNK ? all - begin : UNIT_CHUNK;
    const int64_t base = (int64_t)before - (int64_t)a.first;
    const bool raw = room >= UNIT_HEADER && h->mode == UNIT_RAW;

    if (room < UNIT_HEADER || !header_is(h, rows, a.cols, raw ? UNIT_HEADER + 2 * (uint64_t)all : bits, room)) {
        if (lane == 0) *a.damaged = 1;
        return;
    }
    if (raw) {
        copy_raw(&a, u + UNIT_HEADER + 2 * (uint64_t)begin, lane, weights, base);
        return;
    }
    const struct unit_chunk *d = (const struct unit_chunk *)(u + directory) + chunk;
    const uint64_t at = bits + (uint64_t)d->at * 8, third = ((uint64_t)d->second * 2 + 63) / 64 * 8,
                   last = third + ((uint64_t)d->third * 3 + 7) / 8;

    if (at > h->stored || d->second > UNIT_CHUNK || d->third > d->second || at + last > h->stored) {
        if (lane == 0) *a.damaged = 1;
        return;
    }
    struct place p;
    const uint32_t first_group = begin / UNIT_GROUP;

    p.low = u + UNIT_HEADER + (uint64_t)begin;
    p.planes = u + planes + 16 * (uint64_t)first_group;
    p.second = u + at;
    p.third = p.second + third;
    p.bytes = p.second + last;
    p.end = u + h->stored;
    p.groups = (uint32_t)(groups - first_group < UNIT_CHUNK / UNIT_GROUP ? groups - first_group : UNIT_CHUNK / UNIT_GROUP);
    for (int k = 0; k < 4; k++) p.table[k] = ((const uint32_t *)h->table)[k];
    unpack_groups(&a, &p, lane, weights, base);
}

} /* namespace */

uint32_t unpack_rows(struct ops *o, const struct ops_weight *w, uint64_t row, void *scratch, uint64_t bytes, struct weight_rows *out)
{
    const struct plan_matrix *m = w->matrix;
    const uint64_t first = row / m->unit_rows, units = (w->rows + m->unit_rows - 1) / m->unit_rows;
    uint64_t rows = bytes / m->row_bytes, most = (uint64_t)UNITS * m->unit_rows - row % m->unit_rows;
    struct unpack_args a = {};

    if (rows > most) rows = most;
    if (rows > w->rows - row) rows = w->rows - row;
    a.data = (const uint8_t *)w->data + (w->unit[first] - w->unit[0]);
    a.out = (uint8_t *)scratch;
    a.damaged = o->damaged;
    a.first = row % m->unit_rows * m->cols;
    a.count = rows * m->cols;
    a.unit_rows = m->unit_rows;
    a.cols = (uint32_t)m->cols;
    a.units = (uint32_t)((row + rows - 1) / m->unit_rows - first + 1);
    a.last_rows = (uint32_t)(first + a.units == units ? w->rows - (units - 1) * m->unit_rows : m->unit_rows);
    for (uint32_t i = 0; i <= a.units; i++) a.at[i] = w->unit[first + i] - w->unit[first];
    const uint64_t chunks = ((uint64_t)m->unit_rows * m->cols + UNIT_CHUNK - 1) / UNIT_CHUNK;
    launch(o, "unpacking weights", unpack_kernel, dim3(blocks_for(chunks, WARPS), a.units), THREADS, 0, a);

    *out = weight_rows{};
    out->data = (const uint8_t *)scratch;
    out->row_bytes = m->row_bytes;
    out->row0 = w->row0 + row;
    out->rows = (uint32_t)rows;
    out->cols = (uint32_t)m->cols;
    out->block_rows = out->block_cols = 1;
    out->form = FORM_BF16;
    return (uint32_t)rows;
}
