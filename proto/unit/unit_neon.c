/* Units with NEON, which every 64-bit ARM processor has. It scatters no bits: a code of an upper level is looked up, by how
 * many weights before it have one, in a table of the codes as bytes. */
#include "proto/unit/code.h"

#if defined(__aarch64__)
#include <arm_neon.h>

typedef uint8x16_t GROUP_TABLE;
#define EXTRACT(bits, mask) bits_extract(bits, mask)
#define QUARTERS            4u /* of 16 weights in a group */

static inline GROUP_TABLE load_table(const uint8_t *table)
{
    return vld1q_u8(table);
}

/* Lane i of quarter q belongs to byte 2 q + i / 8 of a plane, */
static inline uint8x16_t byte_of(unsigned q)
{
    return vreinterpretq_u8_u64(vcombine_u64(vdup_n_u64(0x0202020202020202 * q), /* = 2 q in each byte */
                                             vdup_n_u64(0x0202020202020202 * q + 0x0101010101010101)));
}
/* to bit i % 8 in it, */
static inline uint8x16_t bit_of(void)
{
    return vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
}
/* and comes after these bits. */
static inline uint8x16_t bits_before(void)
{
    return vreinterpretq_u8_u64(vdupq_n_u64(0x7f3f1f0f07030100));
}

static inline uint8x16_t bytes_of(uint64_t bits)
{
    return vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(bits), vdup_n_u64(0)));
}

/* Where lanes have ones, quarter by quarter, as a plane; the lanes are all ones or all zeros. */
static inline uint64_t plane_of(const uint8x16_t lanes[QUARTERS])
{
    const uint8x16_t bit = bit_of();
    const uint8x16_t low = vpaddq_u8(vandq_u8(lanes[0], bit), vandq_u8(lanes[1], bit)),
                     high = vpaddq_u8(vandq_u8(lanes[2], bit), vandq_u8(lanes[3], bit));
    const uint8x16_t all = vpaddq_u8(low, high);

    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(all, all)), 0);
}

/* For each byte of a plane, the ones in the bytes before it. */
static inline uint8x16_t ones_before(uint64_t plane)
{
    const uint64_t ones = vget_lane_u64(vreinterpret_u64_u8(vcnt_u8(vcreate_u8(plane))), 0);

    return bytes_of(ones * 0x0101010101010100);
}

/* For the lanes of quarter q: the ones before them, or, in those that have none in the plane, what no table has. */
static inline uint8x16_t place_in(uint8x16_t plane, uint8x16_t before, uint8x16_t has, unsigned q)
{
    const uint8x16_t here = vcntq_u8(vandq_u8(vqtbl1q_u8(plane, byte_of(q)), bits_before()));

    return vornq_u8(vaddq_u8(here, vqtbl1q_u8(before, byte_of(q))), has);
}

/* Bits 16 q and so on of a stream as lanes. */
static inline uint8x16_t lanes_of(uint8x16_t bits, unsigned q)
{
    return vtstq_u8(vqtbl1q_u8(bits, byte_of(q)), bit_of());
}

/* 1 and 2 and 4 of three bits, of which the first two may be all there are; and 1, so that it adds to what leads there. */
static inline uint8x16_t code_of_bits(uint8x16_t one, uint8x16_t two)
{
    return vaddq_u8(vsubq_u8(vdupq_n_u8(1), one), vandq_u8(two, vdupq_n_u8(2)));
}

/* To the codes of a group that go on, quarter by quarter in code[], adds what the next level says: table[] has it for n of
 * them. */
static inline void go_on(uint8x16_t code[QUARTERS], const uint8x16_t has[QUARTERS], uint64_t plane, unsigned n,
                         const uint8x16_t table[QUARTERS])
{
    const uint8x16_t bytes = bytes_of(plane), before = ones_before(plane);

    if (__builtin_expect(n <= 16, 1)) {
#pragma GCC unroll 4
        for (unsigned q = 0; q < QUARTERS; q++)
            code[q] = vaddq_u8(code[q], vqtbl1q_u8(table[0], place_in(bytes, before, has[q], q)));
    } else if (n <= 32) {
        const uint8x16x2_t two = {{table[0], table[1]}};
#pragma GCC unroll 4
        for (unsigned q = 0; q < QUARTERS; q++)
            code[q] = vaddq_u8(code[q], vqtbl2q_u8(two, place_in(bytes, before, has[q], q)));
    } else {
        const uint8x16x4_t four = {{table[0], table[1], table[2], table[3]}};
#pragma GCC unroll 4
        for (unsigned q = 0; q < QUARTERS; q++)
            code[q] = vaddq_u8(code[q], vqtbl4q_u8(four, place_in(bytes, before, has[q], q)));
    }
}

/* 16 weights in the order of their bytes: the halves go to places of their own. */
static inline void write_quarter(uint8_t *out, const uint8_t *low, GROUP_TABLE table, uint8x16_t code, unsigned q)
{
    const uint8x16_t sm = vld1q_u8(low + 16 * q), exponent = vqtbl1q_u8(table, code);
    const uint8x16_t bottom = vsliq_n_u8(sm, exponent, 7), high = vsriq_n_u8(sm, exponent, 1);

    vst1q_u8(out + 16 * q, vzip1q_u8(bottom, high));
    vst1q_u8(out + 64 + 16 * q, vzip2q_u8(bottom, high));
}

/* The second level of n weights at c->second_at, as what their codes, 3 so far, grow by. */
static inline void second_level(const struct chunk_place *c, unsigned n, uint8x16_t table[QUARTERS])
{
    uint64_t low = bits_peek(c->second, c->second_at), high = low >> n % 64;

    if (__builtin_expect(2 * n > PEEKED, 0)) {
        low = bits_get(c->second, c->second_at);
        high = bits_get(c->second, c->second_at + n);
    }
    const uint8x16_t one = bytes_of(low), two = bytes_of(high);
    table[0] = code_of_bits(lanes_of(one, 0), lanes_of(two, 0));
    table[1] = code_of_bits(lanes_of(one, 1), lanes_of(two, 1));
    if (__builtin_expect(n <= 32, 1)) return;
    table[2] = code_of_bits(lanes_of(one, 2), lanes_of(two, 2));
    table[3] = code_of_bits(lanes_of(one, 3), lanes_of(two, 3));
}

/* The third level of k weights, whose codes are 7 so far. */
static inline void third_level(const struct chunk_place *c, unsigned k, uint8x16_t table[QUARTERS])
{
    uint64_t third[3];

    third[0] = bits_peek(c->third, c->third_at);
    third[1] = third[0] >> k % 64;
    third[2] = third[1] >> k % 64;
    if (__builtin_expect(3 * k > PEEKED, 0))
        for (unsigned i = 0; i < 3; i++) third[i] = bits_get(c->third, c->third_at + i * k);
    const uint8x16_t one = bytes_of(third[0]), two = bytes_of(third[1]), four = bytes_of(third[2]);
    for (unsigned q = 0; q < (k <= 16 ? 1u : QUARTERS); q++)
        table[q] =
            vaddq_u8(code_of_bits(lanes_of(one, q), lanes_of(two, q)), vandq_u8(lanes_of(four, q), vdupq_n_u8(4)));
}

static void decode_groups(struct chunk_place c, uint32_t groups, GROUP_TABLE exponents, uint8_t *out)
{
    for (uint32_t g = 0; g < groups; g++, out += 2 * UNIT_GROUP) {
        uint8x16_t code[QUARTERS], has[QUARTERS], table[QUARTERS] = {vdupq_n_u8(0)};
        uint64_t m0, m1, e1, e2;

        send_for_next(&c, g);
        memcpy(&m0, c.planes + 16 * g, 8);
        memcpy(&m1, c.planes + 16 * g + 8, 8);
        e1 = m0 & m1;
#pragma GCC unroll 4
        for (unsigned q = 0; q < QUARTERS; q++) {
            const uint8x16_t one = lanes_of(bytes_of(m0), q), two = lanes_of(bytes_of(m1), q);

            code[q] = vsubq_u8(vandq_u8(two, vdupq_n_u8(2)), one);
            has[q] = vandq_u8(one, two);
        }
        const unsigned n = (unsigned)__builtin_popcountll(e1);
        second_level(&c, n, table);
        go_on(code, has, e1, n, table);
        c.second_at += 2 * n;
#pragma GCC unroll 4
        for (unsigned q = 0; q < QUARTERS; q++) has[q] = vceqq_u8(code[q], vdupq_n_u8(7));
        e2 = plane_of(has);
        const unsigned k = (unsigned)__builtin_popcountll(e2);
        third_level(&c, k, table);
        go_on(code, has, e2, k, table);
        c.third_at += 3 * k;
#pragma GCC unroll 4
        for (unsigned q = 0; q < QUARTERS; q++) write_quarter(out, c.low + UNIT_GROUP * g, exponents, code[q], q);
        const uint8x16_t most = vmaxq_u8(vmaxq_u8(code[0], code[1]), vmaxq_u8(code[2], code[3]));
        if (__builtin_expect(vmaxvq_u8(most) == 15, 0)) {
            for (unsigned q = 0; q < QUARTERS; q++) has[q] = vceqq_u8(code[q], vdupq_n_u8(15));
            fix_group(out, plane_of(has), &c.bytes);
        }
    }
}

typedef struct {
    uint8x16_t exponent[UNIT_CODES];
} GROUP_RANKS;

static inline GROUP_RANKS load_ranks(const struct unit_ranks *r)
{
    GROUP_RANKS x;

    for (unsigned i = 0; i < UNIT_CODES; i++) x.exponent[i] = vdupq_n_u8(r->exponent[i]);
    return x;
}

/* The smallest code of those whose exponent it is: where there are fewer exponents, others have the first one's too. */
static inline uint8x16_t codes_of(uint8x16_t exponent, const GROUP_RANKS *r)
{
    uint8x16_t less = vdupq_n_u8(0); /* than the last code, by so much */

#pragma GCC unroll 13
    for (unsigned i = 0; i < UNIT_CODES; i++)
        less = vmaxq_u8(
            less, vandq_u8(vceqq_u8(exponent, r->exponent[i]), vdupq_n_u8((uint8_t)(UNIT_TABLE - 1 - unit_slots[i]))));
    return vsubq_u8(vdupq_n_u8(UNIT_TABLE - 1), less);
}

static inline void read_group(uint8_t *low, uint8_t *exponent, uint64_t b[4], const uint8_t *weights, GROUP_RANKS r)
{
    uint8x16_t code[QUARTERS], lanes[QUARTERS];

#pragma GCC unroll 4
    for (unsigned q = 0; q < QUARTERS; q++) {
        const uint8x16_t x = vld1q_u8(weights + 16 * q), y = vld1q_u8(weights + 64 + 16 * q);
        const uint8x16_t bottom = vuzp1q_u8(x, y), high = vuzp2q_u8(x, y),
                         e = vsriq_n_u8(vshlq_n_u8(high, 1), bottom, 7);

        vst1q_u8(low + 16 * q, vbslq_u8(vdupq_n_u8(0x80), high, bottom));
        vst1q_u8(exponent + 16 * q, e);
        code[q] = codes_of(e, &r);
    }
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned q = 0; q < QUARTERS; q++) lanes[q] = vtstq_u8(code[q], vdupq_n_u8((uint8_t)(1 << i)));
        b[i] = plane_of(lanes);
    }
}

#include "proto/unit/body.h"

const struct unit_code unit_code_neon = {"neon", decode, unit_count_each, encode_chunk};
#endif
