/* Sixteen float32 lanes in two AVX registers: the vector type of the kernel bodies. The three vec_*.h offer the same
 * functions, and every one of them gives the same bits in all three; what each does is said in vec_plain.h. */
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>
#include "compute/cpu/scalar.h"

#define INLINE         static inline __attribute__((always_inline))
#define VARIANT_(name) name##_avx2
#define VARIANT(name)  VARIANT_(name)

#define TILE_ROWS       2 /* 2 rows x 3 tokens x 2 halves: 12 of the 16 registers */
#define TILE_TOKENS     3
#define GEMV_ROWS       4
#define FEW_ROWS_2      2
#define ROW_BY_ROW      1 /* one token, forms with scales: registers do not hold all rows' weights beside these */
#define GEMV_TOKENS     6
#define TILE_VECS       2
#define INSIDE_ROWS     4
#define SCAN_VECS       1 /* of a scan: states x vectors of columns that stay in registers, 4 x 1 x 2 halves */
#define SCAN_ROWS       4
#define INSIDE_FEW_ROWS 2

typedef struct {
    __m256 lo, hi;
} vf;
typedef vf vm; /* all ones or all zeros in each lane */

INLINE vf vf_pair(__m256 lo, __m256 hi)
{
    vf r = {lo, hi};
    return r;
}
INLINE __m256i vm_first_half(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vm vm_first(unsigned n)
{
    return vf_pair(_mm256_castsi256_ps(vm_first_half((int)n)), _mm256_castsi256_ps(vm_first_half((int)n - 8)));
}
INLINE vf vf_zero(void)
{
    return vf_pair(_mm256_setzero_ps(), _mm256_setzero_ps());
}
INLINE vf vf_set1(float x)
{
    return vf_pair(_mm256_set1_ps(x), _mm256_set1_ps(x));
}
INLINE vf vf_load(const float *p)
{
    return vf_pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
INLINE vf vf_load_n(const float *p, unsigned n)
{
    return vf_pair(_mm256_maskload_ps(p, vm_first_half((int)n)), _mm256_maskload_ps(p + 8, vm_first_half((int)n - 8)));
}
INLINE void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x.lo);
    _mm256_storeu_ps(p + 8, x.hi);
}
INLINE void vf_store_n(float *p, vf x, unsigned n)
{
    _mm256_maskstore_ps(p, vm_first_half((int)n), x.lo);
    _mm256_maskstore_ps(p + 8, vm_first_half((int)n - 8), x.hi);
}
INLINE vf vf_add(vf a, vf b)
{
    return vf_pair(_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi));
}
INLINE vf vf_sub(vf a, vf b)
{
    return vf_pair(_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi));
}
INLINE vf vf_mul(vf a, vf b)
{
    return vf_pair(_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi));
}
INLINE vf vf_div(vf a, vf b)
{
    return vf_pair(_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi));
}
INLINE vf vf_fma(vf a, vf b, vf c)
{
    return vf_pair(_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi));
}
INLINE vf vf_max(vf a, vf b)
{
    return vf_pair(_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi));
}
INLINE vf vf_min(vf a, vf b)
{
    return vf_pair(_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi));
}
INLINE vf vf_and_bits(vf a, uint32_t bits)
{
    __m256 m = _mm256_castsi256_ps(_mm256_set1_epi32((int)bits));
    return vf_pair(_mm256_and_ps(a.lo, m), _mm256_and_ps(a.hi, m));
}
INLINE vf vf_or(vf a, vf b)
{
    return vf_pair(_mm256_or_ps(a.lo, b.lo), _mm256_or_ps(a.hi, b.hi));
}
INLINE vm vf_lt(vf a, vf b)
{
    return vf_pair(_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ));
}
INLINE vf vf_sel(vm m, vf yes, vf no)
{
    return vf_pair(_mm256_blendv_ps(no.lo, yes.lo, m.lo), _mm256_blendv_ps(no.hi, yes.hi, m.hi));
}
INLINE __m256 vf_pow2_half(__m256 t)
{
    return _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23), _mm256_set1_epi32(0x3f800000)));
}
INLINE vf vf_pow2_magic(vf t)
{
    return vf_pair(vf_pow2_half(t.lo), vf_pow2_half(t.hi));
}

/* ---- lanes to one number: 8 + 8, 4 + 4, 2 + 2, 1 + 1 ---- */

INLINE __m256 vf_sum2_lanes(vf a, vf b) /* the four sums 4 + 4 of a in the lower half, of b in the upper */
{
    __m256 a8 = _mm256_add_ps(a.lo, a.hi), b8 = _mm256_add_ps(b.lo, b.hi);
    return _mm256_add_ps(_mm256_permute2f128_ps(a8, b8, 0x20), _mm256_permute2f128_ps(a8, b8, 0x31));
}
INLINE __m256 vf_sum2(vf a, vf b) /* the sums at lanes 0 and 4 */
{
    __m256 s = vf_sum2_lanes(a, b);
    s = _mm256_add_ps(s, _mm256_permute_ps(s, 0x4e));
    return _mm256_add_ps(s, _mm256_permute_ps(s, 0xb1));
}
INLINE void vf_sum4(float out[4], vf a, vf b, vf c, vf d)
{
    __m256 ab = vf_sum2(a, b), cd = vf_sum2(c, d);
    out[0] = _mm_cvtss_f32(_mm256_castps256_ps128(ab));
    out[1] = _mm_cvtss_f32(_mm256_extractf128_ps(ab, 1));
    out[2] = _mm_cvtss_f32(_mm256_castps256_ps128(cd));
    out[3] = _mm_cvtss_f32(_mm256_extractf128_ps(cd, 1));
}
INLINE float vf_sum(vf a)
{
    __m256 s8 = _mm256_add_ps(a.lo, a.hi);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
INLINE float vf_top(vf a)
{
    __m256 s8 = _mm256_max_ps(a.lo, a.hi);
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* ---- stored forms ---- */

INLINE __m256 vf_bf16_half(__m128i b)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(b), 16));
}
INLINE vf vf_from_bf16(__m128i lo, __m128i hi)
{
    return vf_pair(vf_bf16_half(lo), vf_bf16_half(hi));
}
INLINE vf vf_load_bf16(const void *p)
{
    return vf_from_bf16(_mm_loadu_si128((const __m128i *)p), _mm_loadu_si128((const __m128i *)p + 1));
}
INLINE vf vf_load_f16(const void *p)
{
    return vf_pair(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                   _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + 1)));
}
/* e4m3 / 256: the codes moved into half floats, whose exponent is larger by 8. */
INLINE vf vf_load_e4m3_256th(const void *p)
{
    const __m256i nan_bits = _mm256_set1_epi16(0x7f80);
    __m256i h = _mm256_slli_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p)), 7);
    h = _mm256_and_si256(h, _mm256_set1_epi16((short)0xbf80));
    __m256i nan = _mm256_cmpeq_epi16(_mm256_and_si256(h, nan_bits), _mm256_set1_epi16(0x3f80));
    h = _mm256_or_si256(h, _mm256_and_si256(nan, nan_bits));
    return vf_pair(_mm256_cvtph_ps(_mm256_castsi256_si128(h)), _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1)));
}
#define WIDE_F8 0
INLINE void vf_load4_e4m3_256th(const void *p, vf out[4])
{
    for (int i = 0; i < 4; i++) out[i] = vf_load_e4m3_256th((const char *)p + 16 * i);
}
INLINE vf vf_e2m1_table(vf s)
{
    return s;
}
INLINE vf vf_load_e2m1(const void *p, vf table)
{
    /* the upper and the lower byte of each value as bfloat16 */
    const __m128i high = _mm_setr_epi8(0x00, 0x3f, 0x3f, 0x3f, 0x40, 0x40, 0x40, 0x40, (char)0x80, (char)0xbf,
                                       (char)0xbf, (char)0xbf, (char)0xc0, (char)0xc0, (char)0xc0, (char)0xc0);
    const __m128i low = _mm_setr_epi8(0x00, 0x00, (char)0x80, (char)0xc0, 0x00, 0x40, (char)0x80, (char)0xc0, 0x00,
                                      0x00, (char)0x80, (char)0xc0, 0x00, 0x40, (char)0x80, (char)0xc0);
    __m128i b = _mm_loadl_epi64((const __m128i *)p);
    __m128i nibbles = _mm_and_si128(_mm_unpacklo_epi8(b, _mm_srli_epi16(b, 4)), _mm_set1_epi8(0x0f));
    __m128i h = _mm_shuffle_epi8(high, nibbles), l = _mm_shuffle_epi8(low, nibbles);
    return vf_mul(vf_from_bf16(_mm_unpacklo_epi8(l, h), _mm_unpackhi_epi8(l, h)), table);
}
INLINE __m256i vf_bf16_words(__m256 x)
{
    __m256i u = _mm256_castps_si256(x), top = _mm256_srli_epi32(u, 16);
    __m256i odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
    __m256i r = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd), 16);
    __m256i quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(r, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}
INLINE void vf_store_bf16(void *p, vf x)
{
    __m256i packed = _mm256_packus_epi32(vf_bf16_words(x.lo), vf_bf16_words(x.hi));
    _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(packed, 0xd8));
}
INLINE void vf_store_f16(void *p, vf x)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((__m128i *)p + 1, _mm256_cvtps_ph(x.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* ---- what blocks are made of ---- */

#include "compute/cpu/vec_bytes.h"

INLINE vf vf_two(float a, float b)
{
    return vf_pair(_mm256_set1_ps(a), _mm256_set1_ps(b));
}
INLINE vf vf_of_u8(vb b)
{
    return vf_pair(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(b)),
                   _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(b, 8))));
}
INLINE __m256 vf_pick_half(vf table, __m256i i)
{
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.lo, i), _mm256_permutevar8x32_ps(table.hi, i),
                            _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}
INLINE vf vf_pick(vf table, vb nibbles)
{
    return vf_pair(vf_pick_half(table, _mm256_cvtepu8_epi32(nibbles)),
                   vf_pick_half(table, _mm256_cvtepu8_epi32(_mm_srli_si128(nibbles, 8))));
}
INLINE vf vf_of_i8(vb b)
{
    return vf_pair(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b)),
                   _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(b, 8))));
}
INLINE vf vf_signed(vb b, unsigned bits, float d)
{
    const vb m = vb_spread(bits);
    return vf_mul(vf_of_i8(_mm_sub_epi8(_mm_xor_si128(b, m), m)), vf_set1(d));
}
INLINE vb vb_add_where(vb b, unsigned bits, unsigned x)
{
    return _mm_add_epi8(b, _mm_and_si128(vb_spread(bits), vb_set1(x)));
}
INLINE vb vb_add_where_has(vb b, vb a, unsigned bit, unsigned x)
{
    return _mm_add_epi8(b, _mm_and_si128(vb_has(a, vb_set1(bit)), vb_set1(x)));
}
typedef struct {
    __m256 a, b;
} vl;
INLINE vl vl_line(float a, float b)
{
    vl t = {_mm256_set1_ps(a), _mm256_set1_ps(b)};
    return t;
}
INLINE vf vl_look(vl t, vb nibbles)
{
    return vf_fma(vf_of_u8(_mm_and_si128(nibbles, _mm_set1_epi8(15))), vf_pair(t.a, t.a), vf_pair(t.b, t.b));
}
typedef __m256 vc;
INLINE vc vc_scaled(const struct curve *c, float d)
{
    (void)c;
    return _mm256_set1_ps(d);
}
INLINE vf vc_look(const struct curve *c, vc t, vb nibbles)
{
    return vf_mul(vf_of_i8(_mm_shuffle_epi8(vb_load(c->i), _mm_and_si128(nibbles, _mm_set1_epi8(15)))), vf_pair(t, t));
}

/* ---- words of 32 bits: vec_words.h says what each does ---- */
#define VEC_WORDS

typedef struct {
    __m256i lo, hi;
} vw;
INLINE vw vw_load(const void *p)
{
    const vw w = {_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)p + 1)};
    return w;
}
INLINE vw vw_load_n(const void *p, unsigned n)
{
    const vw w = {_mm256_maskload_epi32((const int *)p, vm_first_half((int)n)),
                  _mm256_maskload_epi32((const int *)p + 8, vm_first_half((int)n - 8))};
    return w;
}
INLINE __m256 vf_low_bits_half(__m256i w, int mask)
{
    return _mm256_cvtepi32_ps(_mm256_and_si256(w, _mm256_set1_epi32(mask)));
}
INLINE vf vf_of_nibbles(vw w, unsigned i)
{
    return vf_pair(vf_low_bits_half(_mm256_srli_epi32(w.lo, (int)(4 * i)), 15),
                   vf_low_bits_half(_mm256_srli_epi32(w.hi, (int)(4 * i)), 15));
}
INLINE vf vf_of_bytes(vw w, unsigned i)
{
    return vf_pair(vf_low_bits_half(_mm256_srli_epi32(w.lo, (int)(8 * i)), 255),
                   vf_low_bits_half(_mm256_srli_epi32(w.hi, (int)(8 * i)), 255));
}
INLINE vf vf_of_awq(uint32_t a, uint32_t b)
{
    const __m256i shifts = _mm256_setr_epi32(0, 16, 4, 20, 8, 24, 12, 28);
    return vf_pair(vf_low_bits_half(_mm256_srlv_epi32(_mm256_set1_epi32((int)a), shifts), 15),
                   vf_low_bits_half(_mm256_srlv_epi32(_mm256_set1_epi32((int)b), shifts), 15));
}

INLINE void prefetch_near(const void *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T0);
}
INLINE void prefetch_far(const void *p)
{
    _mm_prefetch((const char *)p, _MM_HINT_T1);
}
