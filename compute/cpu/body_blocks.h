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
#include "compute/cpu/grids.h"
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

INLINE float float_at(const unsigned char *p)
{
    return vb_half(half_at(p));
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
    o->curve = vc_scaled(&q4_curve, float_at(p));
}
BLOCK_STEP(Q4_0)
{
    UNUSED(g);
    return vc_look(&q4_curve, o->curve, nibbles_at(p + 2, s));
}

BLOCK_GROUP(Q4_1, 32)
BLOCK_OPEN(Q4_1)
{
    o->line = vl_line(float_at(p), float_at(p + 2));
}
BLOCK_STEP(Q4_1)
{
    UNUSED(g);
    return vl_look(o->line, nibbles_at(p + 4, s));
}

/* The fifth bits are a word of their own. */
INLINE vb five_bits(const unsigned char *nibbles, const unsigned char *fifth, unsigned s)
{
    return vb_add_where(low_nibbles(nibbles_at(nibbles, s)), half_at(fifth + 2 * s), 16);
}

BLOCK_GROUP(Q5_0, 32)
BLOCK_OPEN(Q5_0)
{
    o->d = vf_set1(float_at(p));
}
BLOCK_STEP(Q5_0)
{
    UNUSED(g);
    return vf_mul(vf_of_i8(vb_sub(five_bits(p + 6, p + 2, s), vb_set1(16))), o->d);
}

BLOCK_GROUP(Q5_1, 32)
BLOCK_OPEN(Q5_1)
{
    o->d = vf_set1(float_at(p));
    o->f[0] = float_at(p + 2);
}
BLOCK_STEP(Q5_1)
{
    UNUSED(g);
    return vf_fma(vf_of_u8(five_bits(p + 8, p + 4, s)), o->d, vf_set1(o->f[0]));
}

BLOCK_GROUP(Q8_0, 32)
BLOCK_OPEN(Q8_0)
{
    o->d = vf_set1(float_at(p));
}
BLOCK_STEP(Q8_0)
{
    UNUSED(g);
    return vf_mul(vf_of_i8(vb_load(p + 2 + 16 * s)), o->d);
}

static const struct curve iq4_curve = CURVE(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);

BLOCK_GROUP(IQ4_NL, 32)
BLOCK_OPEN(IQ4_NL)
{
    o->curve = vc_scaled(&iq4_curve, float_at(p));
}
BLOCK_STEP(IQ4_NL)
{
    UNUSED(g);
    return vc_look(&iq4_curve, o->curve, nibbles_at(p + 2, s));
}

/* Twice the numbers e2m1, so that they are whole; minus zero is zero. */
static const struct curve e2m1_curve = CURVE(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

BLOCK_GROUP(MXFP4_BLOCK, 32)
BLOCK_OPEN(MXFP4_BLOCK)
{
    o->curve = vc_scaled(&e2m1_curve, 0.5f * e8m0_value(*p));
}
BLOCK_STEP(MXFP4_BLOCK)
{
    UNUSED(g);
    return vc_look(&e2m1_curve, o->curve, nibbles_at(p + 1, s));
}

/* Four scales e4m3, whose sign is no matter, for 16 columns each: of these the first 8 are low nibbles. As halves the codes
 * are worth 2^-8 of what they are; 0x7f is zero, 0xff the largest of all. */
BLOCK_GROUP(NVFP4, 64)
BLOCK_OPEN(NVFP4)
{
    for (int i = 0; i < 4; i++) o->f[i] = p[i] == 0x7f ? 0 : 128.0f * vb_half((p[i] & 0x7fu) << 7);
}
BLOCK_STEP(NVFP4)
{
    uint64_t low;
    UNUSED(g);
    memcpy(&low, p + 4 + 8 * s, sizeof low);
    return vc_look(&e2m1_curve, vc_scaled(&e2m1_curve, o->f[s]), vb_quads(low, low >> 4));
}

/* ---- 256 columns ---- */

/* f[0-15]: d times the scales of 16 columns each, f[16-31]: minus dmin times their minima. */
BLOCK_GROUP(Q2_K, 128)
BLOCK_OPEN(Q2_K)
{
    const vb b = vb_load(p);
    vf_store(o->f, vf_mul(vf_of_u8(low_nibbles(b)), vf_set1(float_at(p + 80))));
    vf_store(o->f + 16, vf_mul(vf_of_u8(low_nibbles(vb_shr(b, 4))), vf_set1(-float_at(p + 82))));
}
/* Four times 32 columns share 32 bytes, two bits each. */
INLINE vb two_bits(const unsigned char *p, unsigned s)
{
    return vb_and(vb_shr(vb_load(p + s % 2 * 16), s / 2 * 2), vb_set1(3));
}
BLOCK_STEP(Q2_K)
{
    const unsigned i = 8 * g + s;
    return vf_fma(vf_of_u8(two_bits(p + 16 + 32 * g, s)), vf_set1(o->f[i]), vf_set1(o->f[16 + i]));
}

/* Sixteen scales of 6 bits less 32, in 12 bytes: 8 of lower nibbles, 4 of two upper bits. */
BLOCK_GROUP(Q3_K, 128)
BLOCK_OPEN(Q3_K)
{
    const uint32_t a = word_at(p + 96), b = word_at(p + 100), c = word_at(p + 104), low = 0x0f0f0f0f, two = 0x30303030;
    const vb q = vb_words((a & low) | (c << 4 & two), (b & low) | (c << 2 & two), (a >> 4 & low) | (c & two),
                          (b >> 4 & low) | (c >> 2 & two));
    vf_store(o->f, vf_mul(vf_of_i8(vb_sub(q, vb_set1(32))), vf_set1(float_at(p + 108))));
}
/* The third bit, less 4: bit 4 g + s / 2 of 32 bytes. */
BLOCK_STEP(Q3_K)
{
    const vb low = vb_sub(two_bits(p + 32 + 32 * g, s), vb_set1(4));
    const vb q = vb_add_where_has(low, vb_load(p + s % 2 * 16), 1u << (4 * g + s / 2), 4);
    return vf_mul(vf_of_i8(q), vf_set1(o->f[8 * g + s]));
}

/* f[0-7]: d times the scales of 32 columns each, f[8-15]: minus dmin times their minima; both of 6 bits, in 12 bytes. */
INLINE void open_scales_and_minima(const unsigned char *p, float *f)
{
    const uint32_t a = word_at(p + 4), b = word_at(p + 8), c = word_at(p + 12);
    const vb q = vb_words(a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030), b & 0x3f3f3f3f,
                          (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030));
    vf_store(f, vf_mul(vf_of_u8(q), vf_two(float_at(p), -float_at(p + 2))));
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
    const vb q = vb_add_where_has(low, vb_load(p + 16 + s % 2 * 16), 1u << i, 16);
    return vf_fma(vf_of_u8(q), vf_set1(o->f[i]), vf_set1(o->f[8 + i]));
}

BLOCK_GROUP(Q6_K, 128)
BLOCK_OPEN(Q6_K)
{
    vf_store(o->f, vf_mul(vf_of_i8(vb_load(p + 192)), vf_set1(float_at(p + 208))));
}
BLOCK_STEP(Q6_K)
{
    const unsigned k = s / 2; /* of four times 32 columns: which two bits of the upper ones */
    const vb low = low_nibbles(nibbles_at(p + 64 * g + s % 4 * 16, s / 4));
    const vb two = vb_load(p + 128 + 32 * g + s % 2 * 16);
    const vb high = vb_and(k < 2 ? vb_shl(two, 4 - 2 * k) : vb_shr(two, 2 * k - 4), vb_set1(0x30));
    return vf_mul(vf_of_i8(vb_sub(vb_or(low, high), vb_set1(32))), vf_set1(o->f[8 * g + s]));
}

/* Eight nibbles as eight bytes. */
INLINE uint64_t spread_nibbles(uint64_t x)
{
    x = (x | x << 16) & 0x0000ffff0000ffff;
    x = (x | x << 8) & 0x00ff00ff00ff00ff;
    return (x | x << 4) & 0x0f0f0f0f0f0f0f0f;
}

/* Eight scales of 6 bits less 32: 4 bytes of lower nibbles, 2 of upper bits. */
BLOCK_GROUP(IQ4_XS, 64)
BLOCK_OPEN(IQ4_XS)
{
    const uint64_t low = spread_nibbles(word_at(p + 4));
    uint64_t two = half_at(p + 2);
    two = (two | two << 24) & 0x000000ff000000ff; /* two bits to a byte */
    two = (two | two << 12) & 0x000f000f000f000f;
    two = (two | two << 6) & 0x0303030303030303;
    vf_store(o->f, vf_mul(vf_of_i8(vb_sub(vb_quads(low | two << 4, 0), vb_set1(32))), vf_set1(float_at(p))));
}
BLOCK_STEP(IQ4_XS)
{
    return vc_look(&iq4_curve, vc_scaled(&iq4_curve, o->f[2 * g + s / 2]),
                   nibbles_at(p + 8 + 32 * g + s / 2 * 16, s % 2));
}

/* ---- grids: entries of 8 numbers (4 in IQ3), looked up; d, scales and entries multiply without rounding ---- */

/* Of 4 x 7 bits those of 16 columns. */
INLINE unsigned signs_at(uint32_t word, unsigned s)
{
    return grid_signs[word >> 14 * s & 127] | (unsigned)grid_signs[word >> (14 * s + 7) & 127] << 8;
}

/* f: d times scales, each and a half. */
INLINE void open_halved(float *f, vb scales, float d)
{
    vf_store(f, vf_mul(vf_add(vf_of_u8(scales), vf_set1(0.5f)), vf_set1(d)));
}

/* 16 nibbles, for 16 columns each. */
INLINE vb sixteen_nibbles(const unsigned char *p)
{
    return vb_quads(spread_nibbles(word_at(p)), spread_nibbles(word_at(p + 4)));
}

/* 32 columns: four numbers of entries in bytes, then signs and the scale in a word. */
BLOCK_GROUP(IQ2_XXS, 32)
BLOCK_OPEN(IQ2_XXS)
{
    uint64_t scales = 0;
    for (unsigned i = 0; i < 8; i++) scales |= (uint64_t)(p[9 + 8 * i] >> 4) << 8 * i;
    open_halved(o->f, vb_quads(scales, 0), 0.25f * float_at(p));
}
BLOCK_STEP(IQ2_XXS)
{
    const unsigned char *q = p + 2 + 8 * g;
    return vf_signed(vb_quads(grid_iq2_xxs[q[2 * s]], grid_iq2_xxs[q[2 * s + 1]]), signs_at(word_at(q + 4), s),
                     o->f[g]);
}

/* Eight columns: 9 bits of the entry, 7 of signs. */
BLOCK_GROUP(IQ2_XS, 32)
BLOCK_OPEN(IQ2_XS)
{
    open_halved(o->f, sixteen_nibbles(p + 66), 0.25f * float_at(p));
}
BLOCK_STEP(IQ2_XS)
{
    const uint32_t q = word_at(p + 2 + 8 * g + 4 * s);
    return vf_signed(vb_quads(grid_iq2_xs[q & 511], grid_iq2_xs[q >> 16 & 511]),
                     grid_signs[q >> 9 & 127] | (unsigned)grid_signs[q >> 25] << 8, o->f[2 * g + s]);
}

/* Eight columns: a byte of the entry's number, one of signs, two more bits of the number. */
BLOCK_GROUP(IQ2_S, 32)
BLOCK_OPEN(IQ2_S)
{
    open_halved(o->f, sixteen_nibbles(p + 74), 0.25f * float_at(p));
}
BLOCK_STEP(IQ2_S)
{
    const unsigned char *q = p + 2 + 4 * g + 2 * s;
    const unsigned high = p[66 + g] >> 4 * s;
    return vf_signed(vb_quads(grid_iq2_s[q[0] | (high & 3) << 8], grid_iq2_s[q[1] | (high & 12) << 6]), half_at(q + 32),
                     o->f[2 * g + s]);
}

BLOCK_GROUP(IQ3_XXS, 32)
BLOCK_OPEN(IQ3_XXS)
{
    uint64_t scales = 0;
    for (unsigned i = 0; i < 8; i++) scales |= (uint64_t)(p[69 + 4 * i] >> 4) << 8 * i;
    open_halved(o->f, vb_quads(scales, 0), 0.5f * float_at(p));
}
BLOCK_STEP(IQ3_XXS)
{
    const unsigned char *q = p + 2 + 8 * g + 4 * s;
    const vb b = vb_words(grid_iq3_xxs[q[0]], grid_iq3_xxs[q[1]], grid_iq3_xxs[q[2]], grid_iq3_xxs[q[3]]);
    return vf_signed(b, signs_at(word_at(p + 66 + 4 * g), s), o->f[g]);
}

BLOCK_GROUP(IQ3_S, 32)
BLOCK_OPEN(IQ3_S)
{
    open_halved(o->f, vb_quads(spread_nibbles(word_at(p + 106)), 0), 2 * float_at(p)); /* 2 s + 1 */
}
BLOCK_STEP(IQ3_S)
{
    const unsigned char *q = p + 2 + 8 * g + 4 * s;
    const unsigned high = (unsigned)p[66 + g] >> 4 * s;
    const vb b = vb_words(grid_iq3_s[q[0] | (high << 8 & 256)], grid_iq3_s[q[1] | (high << 7 & 256)],
                          grid_iq3_s[q[2] | (high << 6 & 256)], grid_iq3_s[q[3] | (high << 5 & 256)]);
    return vf_signed(b, half_at(p + 74 + 4 * g + 2 * s), o->f[g]);
}

/* Entries of -1, 0 and 1, and an eighth more or less of each: eight times all of it is whole. */
#define EIGHTHS_MORE UINT64_C(0x0101010101010101)
#define EIGHTHS_LESS UINT64_C(0xffffffffffffffff)

BLOCK_GROUP(IQ1_S, 32)
BLOCK_OPEN(IQ1_S)
{
    open_halved(o->f, vb_and(vb_shr(vb_load(p + 34), 4), vb_set1(7)),
                0.25f * float_at(p)); /* 2 s + 1, of words: f[2 i + 1] */
}
BLOCK_STEP(IQ1_S)
{
    const unsigned char *q = p + 2 + 4 * g + 2 * s;
    const unsigned high = half_at(p + 34 + 2 * g);
    const uint64_t eighths = high & 0x8000 ? EIGHTHS_LESS : EIGHTHS_MORE;
    const vb b = vb_quads(grid_iq1[q[0] | (high >> 6 * s & 7) << 8], grid_iq1[q[1] | (high >> (6 * s + 3) & 7) << 8]);
    return vf_mul(vf_of_i8(vb_add(b, vb_quads(eighths, eighths))), vf_set1(o->f[2 * g + 1]));
}

/* Four times three bits as four bytes. */
INLINE uint32_t spread_thirds(uint32_t x)
{
    return (x & 7) | (x << 5 & 0x700) | (x << 10 & 0x70000) | (x << 15 & 0x7000000);
}

/* d lies in the highest bits of four words, scales of 3 bits below. */
BLOCK_GROUP(IQ1_M, 32)
BLOCK_OPEN(IQ1_M)
{
    const uint32_t a = half_at(p + 48), b = half_at(p + 50), c = half_at(p + 52), e = half_at(p + 54);
    const float d = vb_half(a >> 12 | (b >> 8 & 0xf0) | (c >> 4 & 0xf00) | (e & 0xf000));
    open_halved(o->f, vb_words(spread_thirds(a), spread_thirds(b), spread_thirds(c), spread_thirds(e)), 0.25f * d);
}
BLOCK_STEP(IQ1_M)
{
    const unsigned char *q = p + 4 * g + 2 * s;
    const unsigned high = p[32 + 2 * g + s];
    const vb b = vb_quads(grid_iq1[q[0] | (high & 7) << 8], grid_iq1[q[1] | (high & 0x70) << 4]);
    const vb eighths = vb_quads(high & 0x08 ? EIGHTHS_LESS : EIGHTHS_MORE, high & 0x80 ? EIGHTHS_LESS : EIGHTHS_MORE);
    return vf_mul(vf_of_i8(vb_add(b, eighths)), vf_set1(o->f[2 * g + s]));
}

/* ---- of three values ---- */

BLOCK_GROUP(TQ2_0, 128)
BLOCK_OPEN(TQ2_0)
{
    o->d = vf_set1(float_at(p + 64));
}
BLOCK_STEP(TQ2_0)
{
    return vf_mul(vf_of_i8(vb_sub(two_bits(p + 32 * g, s), vb_set1(1))), o->d);
}

/* Five numbers of base 3 in a byte, as a fraction of 256: times 3 to the power of which one, the whole part is gone and the
 * next digit is what three times the rest carries. */
INLINE vb times_3(vb b, unsigned n)
{
    for (; n; n--) b = vb_add(vb_add(b, b), b);
    return b;
}

BLOCK_GROUP(TQ1_0, 256)
BLOCK_OPEN(TQ1_0)
{
    o->d = vf_set1(float_at(p + 52));
}
BLOCK_STEP(TQ1_0)
{
    const uint32_t last = word_at(p + 48); /* 4 bytes of 4 numbers, the last 16 columns */
    const vb one = vb_words(last, last, last, last), three = times_3(one, 1), mask = vb_words(0, ~0u, 0, ~0u);
    vb b;
    UNUSED(g);
    if (s < 10)
        b = times_3(vb_load(p + s % 2 * 16), s / 2);
    else if (s < 15)
        b = times_3(vb_load(p + 32), s - 10);
    else { /* 1, 3, 9, 27 */
        b = vb_or(vb_and(one, vb_xor(mask, vb_set1(255))), vb_and(three, mask));
        b = vb_or(vb_and(b, vb_quads(~UINT64_C(0), 0)), vb_and(times_3(b, 2), vb_quads(0, ~UINT64_C(0))));
    }
    return vf_mul(vf_of_i8(vb_sub(vb_sub(vb_set1(255), vb_least(b, 86)), vb_least(b, 171))), o->d);
}
