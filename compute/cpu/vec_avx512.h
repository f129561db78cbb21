/* Sixteen float32 lanes in one AVX-512 register: the vector type of the kernel bodies. The three vec_*.h offer the same
 * functions, and every one of them gives the same bits in all three; what each does is said in vec_plain.h. With VEC_VBMI,
 * bytes are looked up by vector instructions that came later (Ice Lake, Zen 4). */
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include "compute/cpu/scalar.h"

#define INLINE         static inline __attribute__((always_inline))
#define VARIANT_(name) name##_avx512
#define VARIANT(name)  VARIANT_(name) /* functions that other files have */

#define TILE_ROWS       4 /* accumulators of a product: 4 rows x 6 tokens, 24 of the 32 registers */
#define TILE_TOKENS     6
#define GEMV_ROWS       8 /* rows walked together by one token */
#define FEW_ROWS_2      8 /* by two */
#define ROW_BY_ROW      0
#define GEMV_TOKENS     16 /* more are packed into tiles; weights of 16 bits never are */
#define SCAN_VECS       4  /* of a scan: 4 states x 4 vectors of columns stay in registers */
#define SCAN_ROWS       4
#define TILE_VECS       4 /* columns of sums over rows, in vectors: 4 x 6 tokens */
#define INSIDE_ROWS     4 /* rows of blocks walked together by one token */
#define INSIDE_FEW_ROWS 4 /* by several */

typedef __m512 vf;
typedef __mmask16 vm;

INLINE vm vm_first(unsigned n)
{
    return (vm)((1u << n) - 1u);
}
INLINE vf vf_zero(void)
{
    return _mm512_setzero_ps();
}
INLINE vf vf_set1(float x)
{
    return _mm512_set1_ps(x);
}
INLINE vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
INLINE vf vf_load_n(const float *p, unsigned n)
{
    return _mm512_maskz_loadu_ps(vm_first(n), p);
}
INLINE void vf_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}
INLINE void vf_store_n(float *p, vf x, unsigned n)
{
    _mm512_mask_storeu_ps(p, vm_first(n), x);
}
INLINE vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
INLINE vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
INLINE vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
INLINE vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
INLINE vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
INLINE vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
INLINE vf vf_and_bits(vf a, uint32_t bits)
{
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32((int)bits)));
}
INLINE vf vf_or(vf a, vf b)
{
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
INLINE vm vf_lt(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
INLINE vf vf_sel(vm m, vf yes, vf no)
{
    return _mm512_mask_blend_ps(m, no, yes);
}
INLINE vf vf_pow2_magic(vf t)
{
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(t), 23), _mm512_set1_epi32(0x3f800000)));
}

/* ---- lanes to one number: 8 + 8, 4 + 4, 2 + 2, 1 + 1 ---- */

/* Out: the four sums of a, b, c, d, at lanes 0, 4, 8, 12. */
INLINE __m512 vf_sum4_lanes(vf a, vf b, vf c, vf d)
{
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    __m512 s = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0x4e));
    return _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
}
INLINE void vf_sum4(float out[4], vf a, vf b, vf c, vf d)
{
    __m512 s = vf_sum4_lanes(a, b, c, d);
    __m512i idx = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(idx, s)));
}
INLINE float vf_sum(vf a)
{
    __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
INLINE float vf_top(vf a) /* the largest lane */
{
    __m256 s8 = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* ---- stored forms ---- */

INLINE vf vf_load_bf16(const void *p)
{
    __m256i b = _mm256_loadu_si256((const __m256i *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}
INLINE vf vf_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
/* e4m3 / 256: the codes moved into half floats, whose exponent is larger by 8. */
INLINE vf vf_load_e4m3_256th(const void *p)
{
    __m128i b = _mm_loadu_si128((const __m128i *)p);
    __mmask16 nan = _mm_cmpeq_epi8_mask(_mm_or_si128(b, _mm_set1_epi8((char)0x80)), _mm_set1_epi8((char)0xff));
    __m256i h = _mm256_and_si256(_mm256_slli_epi16(_mm256_cvtepi8_epi16(b), 7), _mm256_set1_epi16((short)0xbf80));
    h = _mm256_mask_blend_epi16(nan, h, _mm256_or_si256(h, _mm256_set1_epi16(0x7f80)));
    return _mm512_cvtph_ps(h);
}
/* The sixteen values, times s. */
INLINE vf vf_e2m1_table(vf s)
{
    const __m512 values = _mm512_setr_ps(0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, -0.0f, -0.5f, -1.0f, -1.5f,
                                         -2.0f, -3.0f, -4.0f, -6.0f);
    return _mm512_mul_ps(values, s);
}
INLINE vf vf_load_e2m1(const void *p, vf table)
{
    __m128i b = _mm_loadl_epi64((const __m128i *)p);
    __m128i nibbles = _mm_unpacklo_epi8(b, _mm_srli_epi16(b, 4)); /* the permutation looks at 4 bits only */
    return _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(nibbles), table);
}
#ifdef VEC_VBMI
#define WIDE_F8 1
/* e4m3 / 256 as bfloat16, sign left out: the code moves up to where exponent and fraction are, plus the difference of the
 * exponents; codes below 8 are subnormal; 127 is not a number, with the bits that a half float's would have. */
#define E4M3_BF16(c)                                                                                                   \
    ((c) == 127 ? 0x7ff0                                                                                               \
     : (c) >= 8 ? ((c) + 896u) << 4                                                                                    \
     : (c) >= 4 ? 112 << 7 | ((c)-4u) << 5                                                                             \
     : (c) >= 2 ? 111 << 7 | ((c)-2u) << 6                                                                             \
     : (c)      ? 110 << 7                                                                                             \
                : 0)
#define E4M3_4(f, c)  f(E4M3_BF16(c)), f(E4M3_BF16((c) + 1)), f(E4M3_BF16((c) + 2)), f(E4M3_BF16((c) + 3))
#define E4M3_16(f, c) E4M3_4(f, c), E4M3_4(f, (c) + 4), E4M3_4(f, (c) + 8), E4M3_4(f, (c) + 12)
#define E4M3_64(f, c) E4M3_16(f, c), E4M3_16(f, (c) + 16), E4M3_16(f, (c) + 32), E4M3_16(f, (c) + 48)
#define E4M3_LOW(x)   ((x)&255)
#define E4M3_HIGH(x)  ((x) >> 8)
static const uint8_t e4m3_low[128] __attribute__((aligned(64))) = {E4M3_64(E4M3_LOW, 0), E4M3_64(E4M3_LOW, 64)};
static const uint8_t e4m3_high[128] __attribute__((aligned(64))) = {E4M3_64(E4M3_HIGH, 0), E4M3_64(E4M3_HIGH, 64)};

/* Where bytes must lie so that unpacking them to words, and these to even and odd ones, leaves 4 x 16 in order: byte
 * 16j + 8u + 2i + w of the register is element 16(2u + w) + 4j + i. */
#define E4M3_PLACES(j, u)                                                                                              \
    32 * (u) + 4 * (j), 32 * (u) + 16 + 4 * (j), 32 * (u) + 4 * (j) + 1, 32 * (u) + 17 + 4 * (j),                      \
        32 * (u) + 4 * (j) + 2, 32 * (u) + 18 + 4 * (j), 32 * (u) + 4 * (j) + 3, 32 * (u) + 19 + 4 * (j)
static const uint8_t e4m3_place[64]
    __attribute__((aligned(64))) = {E4M3_PLACES(0, 0), E4M3_PLACES(0, 1), E4M3_PLACES(1, 0), E4M3_PLACES(1, 1),
                                    E4M3_PLACES(2, 0), E4M3_PLACES(2, 1), E4M3_PLACES(3, 0), E4M3_PLACES(3, 1)};

/* 64 of them, 16 to each of out. */
INLINE void vf_load4_e4m3_256th(const void *p, vf out[4])
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    __m512i b = _mm512_permutexvar_epi8(_mm512_load_si512(e4m3_place), _mm512_loadu_si512(p));
    __m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(e4m3_low), b, _mm512_load_si512(e4m3_low + 64));
    __m512i high = _mm512_permutex2var_epi8(_mm512_load_si512(e4m3_high), b, _mm512_load_si512(e4m3_high + 64));
    high = _mm512_ternarylogic_epi32(high, b, _mm512_set1_epi8((char)0x80), 0xf8); /* or with the sign */
    __m512i first = _mm512_unpacklo_epi8(low, high), last = _mm512_unpackhi_epi8(low, high);
    out[0] = _mm512_castsi512_ps(_mm512_slli_epi32(first, 16));
    out[1] = _mm512_castsi512_ps(_mm512_and_si512(first, upper));
    out[2] = _mm512_castsi512_ps(_mm512_slli_epi32(last, 16));
    out[3] = _mm512_castsi512_ps(_mm512_and_si512(last, upper));
}
#else
#define WIDE_F8 0
INLINE void vf_load4_e4m3_256th(const void *p, vf out[4])
{
    for (int i = 0; i < 4; i++) out[i] = vf_load_e4m3_256th((const char *)p + 16 * i);
}
#endif
INLINE void vf_store_bf16(void *p, vf x)
{
    __m512i u = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd), 16);
    __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
    r = _mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), quiet);
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(r));
}
INLINE void vf_store_f16(void *p, vf x)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* ---- what blocks are made of ---- */

#include "compute/cpu/vec_bytes.h"

INLINE vf vf_two(float a, float b)
{
    return _mm512_insertf32x8(_mm512_set1_ps(a), _mm256_set1_ps(b), 1);
}
INLINE vf vf_of_u8(vb b)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(b));
}
INLINE vf vf_pick(vf table, vb nibbles)
{
    return _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(nibbles), table);
}
INLINE vf vf_of_i8(vb b)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(b));
}
INLINE vf vf_signed(vb b, unsigned bits, float d)
{
    const __m512i s = _mm512_castps_si512(_mm512_set1_ps(d));
    const __m512i x = _mm512_mask_xor_epi32(s, (__mmask16)bits, s, _mm512_set1_epi32(INT32_MIN));
    return _mm512_mul_ps(vf_of_i8(b), _mm512_castsi512_ps(x));
}
INLINE vb vb_add_where(vb b, unsigned bits, unsigned x)
{
    return _mm_mask_add_epi8(b, (__mmask16)bits, b, vb_set1(x));
}
INLINE vb vb_add_where_has(vb b, vb a, unsigned bit, unsigned x)
{
    return _mm_mask_add_epi8(b, _mm_test_epi8_mask(a, vb_set1(bit)), b, vb_set1(x));
}
/* All sixteen values are in a register; the permutation looks at 4 bits only. */
typedef vf vl;
INLINE vl vl_line(float a, float b)
{
    const __m512 x = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_fmadd_ps(x, _mm512_set1_ps(a), _mm512_set1_ps(b));
}
INLINE vf vl_look(vl t, vb nibbles)
{
    return _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(nibbles), t);
}
typedef vf vc;
INLINE vc vc_scaled(const struct curve *c, float d)
{
    return _mm512_mul_ps(_mm512_loadu_ps(c->f), _mm512_set1_ps(d));
}
INLINE vf vc_look(const struct curve *c, vc t, vb nibbles)
{
    (void)c;
    return _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(nibbles), t);
}

/* ---- words of 32 bits: vec_words.h says what each does ---- */
#define VEC_WORDS

typedef __m512i vw;
INLINE vw vw_load(const void *p)
{
    return _mm512_loadu_si512(p);
}
INLINE vw vw_load_n(const void *p, unsigned n)
{
    return _mm512_maskz_loadu_epi32(vm_first(n), p);
}
INLINE vf vf_of_low_nibbles(__m512i w) /* the permutation looks at 4 bits only */
{
    const __m512 x = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_permutexvar_ps(w, x);
}
INLINE vf vf_of_nibbles(vw w, unsigned i)
{
    return vf_of_low_nibbles(_mm512_srli_epi32(w, 4 * i));
}
INLINE vf vf_of_bytes(vw w, unsigned i)
{
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(w, 8 * i), _mm512_set1_epi32(255)));
}
INLINE vf vf_of_awq(uint32_t a, uint32_t b)
{
    const __m512i shifts = _mm512_setr_epi32(0, 16, 4, 20, 8, 24, 12, 28, 0, 16, 4, 20, 8, 24, 12, 28);
    const __m512i w = _mm512_mask_set1_epi32(_mm512_set1_epi32((int)a), 0xff00, (int)b);
    return vf_of_low_nibbles(_mm512_srlv_epi32(w, shifts));
}

INLINE void prefetch_near(const void *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}
INLINE void prefetch_far(const void *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T1);
}
