/* Sixteen float32 lanes in four NEON registers: the vector type of the kernel bodies on 64-bit ARM. The vec_*.h offer the same
 * functions, and every one of them gives the same bits in all of them; what each does is said in vec_plain.h. The
 * instructions are those that every ARMv8-A processor has. The later ones for dot products and bfloat16 are left alone: they
 * sum in another order, and round otherwise. */
#pragma once
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>
#include "compute/cpu/scalar.h"

#define INLINE         static inline __attribute__((always_inline))
#define VARIANT_(name) name##_neon
#define VARIANT(name)  VARIANT_(name)

#define TILE_ROWS       2 /* 2 rows x 3 tokens x 4 quarters: 24 of the 32 registers */
#define TILE_TOKENS     3
#define GEMV_ROWS       4
#define FEW_ROWS_2      2
#define ROW_BY_ROW      1 /* registers do not hold the weights of all rows beside their sums */
#define GEMV_TOKENS     6
#define TILE_VECS       1
#define INSIDE_ROWS     4
#define INSIDE_FEW_ROWS 2
#define SCAN_VECS       1 /* 4 states x 1 vector x 4 quarters stay in registers */
#define SCAN_ROWS       4

/* Lanes 0-3, 4-7, 8-11, 12-15. */
typedef struct {
    float32x4_t a, b, c, d;
} vf;
typedef struct {
    uint32x4_t a, b, c, d; /* all ones or all zeros in each lane */
} vm;
typedef uint8x16_t vb;

#define VF_QUARTERS(f, ...) ((vf){f(a, __VA_ARGS__), f(b, __VA_ARGS__), f(c, __VA_ARGS__), f(d, __VA_ARGS__)})
#define VF_1(q, f, x)       f((x).q)
#define VF_2(q, f, x, y)    f((x).q, (y).q)
#define VF_3(q, f, x, y, z) f((x).q, (y).q, (z).q)

INLINE vf vf_of_words(uint32x4_t a, uint32x4_t b, uint32x4_t c, uint32x4_t d)
{
    return (vf){vreinterpretq_f32_u32(a), vreinterpretq_f32_u32(b), vreinterpretq_f32_u32(c), vreinterpretq_f32_u32(d)};
}
INLINE uint32x4_t vf_word(float32x4_t x)
{
    return vreinterpretq_u32_f32(x);
}
INLINE vm vm_first(unsigned n)
{
    static const uint32_t places[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const uint32x4_t all = vdupq_n_u32(n);
    return (vm){vcltq_u32(vld1q_u32(places), all), vcltq_u32(vld1q_u32(places + 4), all),
                vcltq_u32(vld1q_u32(places + 8), all), vcltq_u32(vld1q_u32(places + 12), all)};
}
INLINE vf vf_set1(float x)
{
    const float32x4_t q = vdupq_n_f32(x);
    return (vf){q, q, q, q};
}
INLINE vf vf_zero(void)
{
    return vf_set1(0.0f);
}
INLINE vf vf_load(const float *p)
{
    return (vf){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
INLINE void vf_store(float *p, vf x)
{
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
}
INLINE vf vf_load_n(const float *p, unsigned n)
{
    float all[16] = {0};
    memcpy(all, p, n * sizeof *p);
    return vf_load(all);
}
INLINE void vf_store_n(float *p, vf x, unsigned n)
{
    float all[16];
    vf_store(all, x);
    memcpy(p, all, n * sizeof *p);
}
INLINE vf vf_add(vf x, vf y)
{
    return VF_QUARTERS(VF_2, vaddq_f32, x, y);
}
INLINE vf vf_sub(vf x, vf y)
{
    return VF_QUARTERS(VF_2, vsubq_f32, x, y);
}
INLINE vf vf_mul(vf x, vf y)
{
    return VF_QUARTERS(VF_2, vmulq_f32, x, y);
}
INLINE vf vf_div(vf x, vf y)
{
    return VF_QUARTERS(VF_2, vdivq_f32, x, y);
}
INLINE vf vf_fma(vf x, vf y, vf z)
{
    return VF_QUARTERS(VF_3, vfmaq_f32, z, x, y);
}
/* Not fmax and fmin: these order the zeros, and pass a number on where the other is none. */
INLINE float32x4_t vf_max_quarter(float32x4_t x, float32x4_t y)
{
    return vbslq_f32(vcgtq_f32(x, y), x, y);
}
INLINE float32x4_t vf_min_quarter(float32x4_t x, float32x4_t y)
{
    return vbslq_f32(vcltq_f32(x, y), x, y);
}
INLINE vf vf_max(vf x, vf y)
{
    return VF_QUARTERS(VF_2, vf_max_quarter, x, y);
}
INLINE vf vf_min(vf x, vf y)
{
    return VF_QUARTERS(VF_2, vf_min_quarter, x, y);
}
INLINE vf vf_and_bits(vf x, uint32_t bits)
{
    const uint32x4_t m = vdupq_n_u32(bits);
    return vf_of_words(vandq_u32(vf_word(x.a), m), vandq_u32(vf_word(x.b), m), vandq_u32(vf_word(x.c), m),
                       vandq_u32(vf_word(x.d), m));
}
INLINE vf vf_or(vf x, vf y)
{
    return vf_of_words(vorrq_u32(vf_word(x.a), vf_word(y.a)), vorrq_u32(vf_word(x.b), vf_word(y.b)),
                       vorrq_u32(vf_word(x.c), vf_word(y.c)), vorrq_u32(vf_word(x.d), vf_word(y.d)));
}
INLINE vm vf_lt(vf x, vf y)
{
    return (vm){vcltq_f32(x.a, y.a), vcltq_f32(x.b, y.b), vcltq_f32(x.c, y.c), vcltq_f32(x.d, y.d)};
}
INLINE vf vf_sel(vm m, vf yes, vf no)
{
    return VF_QUARTERS(VF_3, vbslq_f32, m, yes, no);
}
INLINE float32x4_t vf_pow2_quarter(float32x4_t t)
{
    return vreinterpretq_f32_u32(vaddq_u32(vshlq_n_u32(vf_word(t), 23), vdupq_n_u32(0x3f800000)));
}
INLINE vf vf_pow2_magic(vf t)
{
    return VF_QUARTERS(VF_1, vf_pow2_quarter, t);
}

/* ---- lanes to one number: 8 + 8, 4 + 4, 2 + 2, 1 + 1 ---- */

INLINE float32x4_t vf_sum_quarter(vf x) /* the four sums 4 + 4 */
{
    return vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
}
INLINE float32x4_t vf_sum_pairs(float32x4_t x, float32x4_t y) /* the two sums 2 + 2 of x, and those of y */
{
    return vaddq_f32(vcombine_f32(vget_low_f32(x), vget_low_f32(y)), vcombine_f32(vget_high_f32(x), vget_high_f32(y)));
}
INLINE void vf_sum4(float out[4], vf x, vf y, vf z, vf w)
{
    const float32x4_t xy = vf_sum_pairs(vf_sum_quarter(x), vf_sum_quarter(y)),
                      zw = vf_sum_pairs(vf_sum_quarter(z), vf_sum_quarter(w));
    vst1q_f32(out, vpaddq_f32(xy, zw));
}
INLINE float vf_sum(vf x)
{
    const float32x4_t s = vf_sum_quarter(x);
    return vpadds_f32(vadd_f32(vget_low_f32(s), vget_high_f32(s)));
}
INLINE float vf_top(vf x)
{
    const float32x4_t s = vf_max_quarter(vf_max_quarter(x.a, x.c), vf_max_quarter(x.b, x.d));
    const float32x2_t low = vget_low_f32(s), high = vget_high_f32(s);
    const float32x2_t two = vbsl_f32(vcgt_f32(low, high), low, high);
    const float first = vget_lane_f32(two, 0), second = vget_lane_f32(two, 1);
    return first > second ? first : second;
}

/* ---- stored forms ---- */

/* The halves of eight words each become the upper ones of eight lanes. */
INLINE vf vf_from_bf16(uint16x8_t low, uint16x8_t high)
{
    const uint16x8_t zero = vdupq_n_u16(0);
    return vf_of_words(vreinterpretq_u32_u16(vzip1q_u16(zero, low)), vreinterpretq_u32_u16(vzip2q_u16(zero, low)),
                       vreinterpretq_u32_u16(vzip1q_u16(zero, high)), vreinterpretq_u32_u16(vzip2q_u16(zero, high)));
}
INLINE vf vf_from_f16(uint16x8_t low, uint16x8_t high)
{
    const float16x8_t l = vreinterpretq_f16_u16(low), h = vreinterpretq_f16_u16(high);
    return (vf){vcvt_f32_f16(vget_low_f16(l)), vcvt_high_f32_f16(l), vcvt_f32_f16(vget_low_f16(h)),
                vcvt_high_f32_f16(h)};
}
INLINE uint16x8_t vf_load_words(const void *p, unsigned i)
{
    return vreinterpretq_u16_u8(vld1q_u8((const uint8_t *)p + 16 * i));
}
INLINE vf vf_load_bf16(const void *p)
{
    return vf_from_bf16(vf_load_words(p, 0), vf_load_words(p, 1));
}
INLINE vf vf_load_f16(const void *p)
{
    return vf_from_f16(vf_load_words(p, 0), vf_load_words(p, 1));
}
/* e4m3 / 256: the codes moved into half floats, whose exponent is larger by 8. */
INLINE uint16x8_t vf_half_of_e4m3(int8x8_t codes)
{
    const uint16x8_t nan_bits = vdupq_n_u16(0x7f80);
    const uint16x8_t h = vandq_u16(vshlq_n_u16(vreinterpretq_u16_s16(vmovl_s8(codes)), 7), vdupq_n_u16(0xbf80));
    const uint16x8_t nan = vceqq_u16(vandq_u16(h, nan_bits), vdupq_n_u16(0x3f80));
    return vorrq_u16(h, vandq_u16(nan, nan_bits));
}
INLINE vf vf_load_e4m3_256th(const void *p)
{
    const int8x16_t codes = vreinterpretq_s8_u8(vld1q_u8(p));
    return vf_from_f16(vf_half_of_e4m3(vget_low_s8(codes)), vf_half_of_e4m3(vget_high_s8(codes)));
}
#define WIDE_F8 0
INLINE void vf_load4_e4m3_256th(const void *p, vf out[4])
{
    for (int i = 0; i < 4; i++) out[i] = vf_load_e4m3_256th((const char *)p + 16 * i);
}
INLINE void vf_store_bf16(void *p, vf x)
{
    const uint32x4_t half = vdupq_n_u32(0x7fff), one = vdupq_n_u32(1), quiet = vdupq_n_u32(0x400000);
    uint16_t h[16];
#define NARROW(q, at)                                                                                                  \
    {                                                                                                                  \
        const uint32x4_t u = vf_word(x.q), odd = vandq_u32(vshrq_n_u32(u, 16), one);                                   \
        const uint32x4_t r = vbslq_u32(vceqq_f32(x.q, x.q), vaddq_u32(vaddq_u32(u, half), odd), vorrq_u32(u, quiet));  \
        vst1_u16(h + (at), vshrn_n_u32(r, 16));                                                                        \
    }
    NARROW(a, 0)
    NARROW(b, 4)
    NARROW(c, 8)
    NARROW(d, 12)
#undef NARROW
    memcpy(p, h, sizeof h);
}
INLINE void vf_store_f16(void *p, vf x)
{
    const float16x8_t low = vcvt_high_f16_f32(vcvt_f16_f32(x.a), x.b), high = vcvt_high_f16_f32(vcvt_f16_f32(x.c), x.d);
    vst1q_u8(p, vreinterpretq_u8_f16(low));
    vst1q_u8((uint8_t *)p + 16, vreinterpretq_u8_f16(high));
}

/* ---- what blocks are made of: sixteen bytes ---- */

INLINE vb vb_load(const void *p)
{
    return vld1q_u8(p);
}
INLINE vb vb_nibbles(const void *p)
{
    const uint8x8_t low = vld1_u8(p), high = vshr_n_u8(low, 4);
    return vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high));
}
INLINE vb vb_nibbles_high(const void *p)
{
    const uint8x8_t low = vld1_u8(p), high = vshr_n_u8(low, 4);
    return vcombine_u8(vzip1_u8(high, low), vzip2_u8(high, low));
}
INLINE vb vb_set1(unsigned x)
{
    return vdupq_n_u8((uint8_t)x);
}
INLINE vb vb_quads(uint64_t a, uint64_t b)
{
    return vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(a), vcreate_u64(b)));
}
INLINE vb vb_words(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    return vb_quads((uint64_t)b << 32 | a, (uint64_t)d << 32 | c);
}
INLINE vb vb_and(vb x, vb y)
{
    return vandq_u8(x, y);
}
INLINE vb vb_or(vb x, vb y)
{
    return vorrq_u8(x, y);
}
INLINE vb vb_xor(vb x, vb y)
{
    return veorq_u8(x, y);
}
INLINE vb vb_add(vb x, vb y)
{
    return vaddq_u8(x, y);
}
INLINE vb vb_sub(vb x, vb y)
{
    return vsubq_u8(x, y);
}
INLINE vb vb_shr(vb x, unsigned n)
{
    return vshlq_u8(x, vdupq_n_s8((int8_t) - (int)n));
}
INLINE vb vb_shl(vb x, unsigned n)
{
    return vshlq_u8(x, vdupq_n_s8((int8_t)n));
}
INLINE vb vb_low4(vb x)
{
    return vandq_u8(x, vdupq_n_u8(15));
}
INLINE vb vb_spread(unsigned bits) /* 16 bits to 255 or 0 each */
{
    const uint8x16_t each = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    return vtstq_u8(vcombine_u8(vdup_n_u8((uint8_t)bits), vdup_n_u8((uint8_t)(bits >> 8))), each);
}
INLINE vb vb_add_where(vb b, unsigned bits, unsigned x)
{
    return vaddq_u8(b, vandq_u8(vb_spread(bits), vb_set1(x)));
}
INLINE vb vb_add_where_has(vb b, vb a, unsigned bit, unsigned x)
{
    return vaddq_u8(b, vandq_u8(vtstq_u8(a, vb_set1(bit)), vb_set1(x)));
}
INLINE vb vb_least(vb a, unsigned x)
{
    return vcgeq_u8(a, vb_set1(x));
}
INLINE float vb_half(unsigned bits)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16((uint16_t)bits))), 0);
}
INLINE vf vf_two(float a, float b)
{
    const float32x4_t x = vdupq_n_f32(a), y = vdupq_n_f32(b);
    return (vf){x, x, y, y};
}
INLINE vf vf_of_u8(vb b)
{
    const uint16x8_t low = vmovl_u8(vget_low_u8(b)), high = vmovl_high_u8(b);
    return (vf){vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_high_u16(low)),
                vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_high_u16(high))};
}
INLINE vf vf_of_i8(vb b)
{
    const int8x16_t s = vreinterpretq_s8_u8(b);
    const int16x8_t low = vmovl_s8(vget_low_s8(s)), high = vmovl_high_s8(s);
    return (vf){vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))};
}
INLINE vf vf_pick(vf table, vb nibbles)
{
    /* byte places 4 i + 0, 1, 2, 3 of the sixteen floats as 64 bytes */
    static const uint8_t lane[4][16] = {{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3},
                                        {4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7},
                                        {8, 8, 8, 8, 9, 9, 9, 9, 10, 10, 10, 10, 11, 11, 11, 11},
                                        {12, 12, 12, 12, 13, 13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 15}};
    const uint8x16_t byte = vreinterpretq_u8_u32(vdupq_n_u32(0x03020100)), at = vshlq_n_u8(vb_low4(nibbles), 2);
    const uint8x16x4_t bytes = {{vreinterpretq_u8_f32(table.a), vreinterpretq_u8_f32(table.b),
                                 vreinterpretq_u8_f32(table.c), vreinterpretq_u8_f32(table.d)}};
#define PICK(i) vreinterpretq_f32_u8(vqtbl4q_u8(bytes, vorrq_u8(vqtbl1q_u8(at, vld1q_u8(lane[i])), byte)))
    return (vf){PICK(0), PICK(1), PICK(2), PICK(3)};
#undef PICK
}
INLINE vf vf_signed(vb b, unsigned bits, float d)
{
    const vb m = vb_spread(bits);
    return vf_mul(vf_of_i8(vb_sub(vb_xor(b, m), m)), vf_set1(d));
}
INLINE vf vf_e2m1_table(vf s)
{
    return s;
}
INLINE vf vf_load_e2m1(const void *p, vf table)
{
    /* the upper and the lower byte of each value as bfloat16 */
    static const uint8_t high[16] = {0x00, 0x3f, 0x3f, 0x3f, 0x40, 0x40, 0x40, 0x40,
                                     0x80, 0xbf, 0xbf, 0xbf, 0xc0, 0xc0, 0xc0, 0xc0},
                         low[16] = {0x00, 0x00, 0x80, 0xc0, 0x00, 0x40, 0x80, 0xc0,
                                    0x00, 0x00, 0x80, 0xc0, 0x00, 0x40, 0x80, 0xc0};
    const vb nibbles = vb_low4(vb_nibbles(p));
    const vb h = vqtbl1q_u8(vld1q_u8(high), nibbles), l = vqtbl1q_u8(vld1q_u8(low), nibbles);
    return vf_mul(vf_from_bf16(vreinterpretq_u16_u8(vzip1q_u8(l, h)), vreinterpretq_u16_u8(vzip2q_u8(l, h))), table);
}
typedef struct {
    float a, b;
} vl;
INLINE vl vl_line(float a, float b)
{
    return (vl){a, b};
}
INLINE vf vl_look(vl t, vb nibbles)
{
    return vf_fma(vf_of_u8(vb_low4(nibbles)), vf_set1(t.a), vf_set1(t.b));
}
typedef float vc;
INLINE vc vc_scaled(const struct curve *c, float d)
{
    (void)c;
    return d;
}
INLINE vf vc_look(const struct curve *c, vc t, vb nibbles)
{
    return vf_mul(vf_of_i8(vqtbl1q_u8(vb_load(c->i), vb_low4(nibbles))), vf_set1(t));
}

INLINE void prefetch_near(const void *p)
{
    __builtin_prefetch(p, 0, 3);
}
INLINE void prefetch_far(const void *p)
{
    __builtin_prefetch(p, 0, 2);
}
