/* What each form of FORM_BLOCKS looks like to vectors: blocks of 32 to 256 columns with their scales inside, as GGUF has
 * them. Whoever adds one writes here, on the leaves of vec_*.h,
 *
 *   NAME_GROUP               columns that are walked together, with s a constant: 32 to 128, a divisor of the block's
 *   NAME_open(p, o)          once for a block, which begins at p: scales and whatever else the steps want to know of it
 *   NAME_step(p, g, s, o)    columns g NAME_GROUP + 16 s to + 15 of the block at p as float32
 *
 * Values are those of the `gguf` Python package's dequantize(), signs of zero included. Nothing in them is rounded but the
 * one addition of two exact products where a block has minima, so fused or not they are the same. Any first byte. All
 * instruction sets give the same bits. */
#pragma once
#include "compute/cpu/blocks.h"
#include "compute/cpu/scalar.h"

#define STEP 16u /* columns of one step of a sum */

struct opened {
    vl line;
    vc curve;
    vf d;
    float f[32];
};

#define BLOCK_GROUP(name, columns) enum { name##_GROUP = (columns) };
#define BLOCK_OPEN(name)           INLINE void name##_open(const unsigned char *p, struct opened *o)
#define BLOCK_STEP(name)           INLINE vf name##_step(const unsigned char *p, unsigned g, unsigned s, const struct opened *o)
#define UNUSED(x)                  (void)(x)

INLINE uint32_t word_at(const unsigned char *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

INLINE uint16_t half_at(const unsigned char *p)
{
    uint16_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* Sixteen bytes that hold low nibbles of columns, and high ones of others. The upper four bits are anything. */
INLINE vb nibbles_at(const unsigned char *p, bool high)
{
    return high ? vb_shr(vb_load(p), 4) : vb_load(p);
}

INLINE vb low_nibbles(vb b)
{
    return vb_and(b, vb_set1(15));
}

/* ---- 32 columns: nibbles of the first 16 are low, of the last 16 high ---- */

static const struct curve q4_curve = CURVE(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);

BLOCK_GROUP(Q4_0, 32)
BLOCK_OPEN(Q4_0)
{
    o->curve = vc_scaled(&q4_curve, float_of_half_at(p));
}
BLOCK_STEP(Q4_0)
{
    UNUSED(g);
    return vc_look(&q4_curve, o->curve, nibbles_at(p + 2, s));
}

BLOCK_GROUP(Q4_1, 32)
BLOCK_OPEN(Q4_1)
{
    o->line = vl_line(float_of_half_at(p), float_of_half_at(p + 2));
}
BLOCK_STEP(Q4_1)
{
    UNUSED(g);
    return vl_look(o->line, nibbles_at(p + 4, s));
}

/* The fifth bits are a word of their own. */
INLINE vb five_bits(const unsigned char *nibbles, const unsigned char *fifth, unsigned s)
{
    return vb_or(low_nibbles(nibbles_at(nibbles, s)), vb_and(vb_spread(half_at(fifth + 2 * s)), vb_set1(16)));
}

BLOCK_GROUP(Q5_0, 32)
BLOCK_OPEN(Q5_0)
{
    o->d = vf_set1(float_of_half_at(p));
}
BLOCK_STEP(Q5_0)
{
    UNUSED(g);
    return vf_mul(vf_of_i8(vb_sub(five_bits(p + 6, p + 2, s), vb_set1(16))), o->d);
}

BLOCK_GROUP(Q5_1, 32)
BLOCK_OPEN(Q5_1)
{
    o->d = vf_set1(float_of_half_at(p));
    o->f[0] = float_of_half_at(p + 2);
}
BLOCK_STEP(Q5_1)
{
    UNUSED(g);
    return vf_fma(vf_of_u8(five_bits(p + 8, p + 4, s)), o->d, vf_set1(o->f[0]));
}

BLOCK_GROUP(Q8_0, 32)
BLOCK_OPEN(Q8_0)
{
    o->d = vf_set1(float_of_half_at(p));
}
BLOCK_STEP(Q8_0)
{
    UNUSED(g);
    return vf_mul(vf_of_i8(vb_load(p + 2 + 16 * s)), o->d);
}

/* ---- 256 columns ---- */

/* f[0-7]: d times the scales of 32 columns each, f[8-15]: minus dmin times their minima; both of 6 bits, in 12 bytes. */
INLINE void open_scales_and_minima(const unsigned char *p, float *f)
{
    const uint32_t a = word_at(p + 4), b = word_at(p + 8), c = word_at(p + 12);
    const vb q = vb_words(a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030), b & 0x3f3f3f3f,
                          (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030));
    vf_store(f, vf_mul(vf_of_u8(q), vf_two(float_of_half_at(p), -float_of_half_at(p + 2))));
}

BLOCK_GROUP(Q4_K, 64)
BLOCK_OPEN(Q4_K)
{
    open_scales_and_minima(p, o->f);
}
BLOCK_STEP(Q4_K)
{
    const unsigned i = 2 * g + s / 2;
    return vl_look(vl_line(o->f[i], o->f[8 + i]), nibbles_at(p + 16 + 32 * g + s % 2 * 16, s / 2));
}

BLOCK_GROUP(Q5_K, 64)
BLOCK_OPEN(Q5_K)
{
    open_scales_and_minima(p, o->f);
}
BLOCK_STEP(Q5_K)
{
    const unsigned i = 2 * g + s / 2; /* which bit of the fifth ones, too */
    const vb low = low_nibbles(nibbles_at(p + 48 + 32 * g + s % 2 * 16, s / 2));
    const vb fifth = vb_and(vb_has(vb_load(p + 16 + s % 2 * 16), vb_set1(1u << i)), vb_set1(16));
    return vf_fma(vf_of_u8(vb_or(low, fifth)), vf_set1(o->f[i]), vf_set1(o->f[8 + i]));
}

BLOCK_GROUP(Q6_K, 128)
BLOCK_OPEN(Q6_K)
{
    vf_store(o->f, vf_mul(vf_of_i8(vb_load(p + 192)), vf_set1(float_of_half_at(p + 208))));
}
BLOCK_STEP(Q6_K)
{
    const unsigned k = s / 2; /* of four times 32 columns: which two bits of the upper ones */
    const vb low = low_nibbles(nibbles_at(p + 64 * g + s % 4 * 16, s / 4));
    const vb two = vb_load(p + 128 + 32 * g + s % 2 * 16);
    const vb high = vb_and(k < 2 ? vb_shl(two, 4 - 2 * k) : vb_shr(two, 2 * k - 4), vb_set1(0x30));
    return vf_mul(vf_of_i8(vb_sub(vb_or(low, high), vb_set1(32))), vf_set1(o->f[8 * g + s]));
}
