/* Sixteen bytes in one SSE register, for vec_avx512.h and vec_avx2.h: what a block's packed numbers are taken apart with.
 * vec_plain.h says what each does. */
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef __m128i vb;

INLINE vb vb_load(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}
/* 8 bytes as their 16 nibbles, the low ones first, or the high ones. The upper four bits are anything. */
INLINE vb vb_nibbles(const void *p)
{
    const __m128i b = _mm_loadl_epi64((const __m128i *)p);
    return _mm_unpacklo_epi8(b, _mm_srli_epi16(b, 4));
}
INLINE vb vb_nibbles_high(const void *p)
{
    const __m128i b = _mm_loadl_epi64((const __m128i *)p);
    return _mm_unpacklo_epi8(_mm_srli_epi16(b, 4), b);
}
INLINE vb vb_set1(unsigned x)
{
    return _mm_set1_epi8((char)x);
}
INLINE vb vb_words(uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    return _mm_setr_epi32((int)a, (int)b, (int)c, (int)d);
}
INLINE vb vb_quads(uint64_t a, uint64_t b)
{
    return _mm_set_epi64x((long long)b, (long long)a);
}
INLINE vb vb_and(vb a, vb b)
{
    return _mm_and_si128(a, b);
}
INLINE vb vb_or(vb a, vb b)
{
    return _mm_or_si128(a, b);
}
INLINE vb vb_xor(vb a, vb b)
{
    return _mm_xor_si128(a, b);
}
INLINE vb vb_add(vb a, vb b)
{
    return _mm_add_epi8(a, b);
}
INLINE vb vb_sub(vb a, vb b)
{
    return _mm_sub_epi8(a, b);
}
INLINE vb vb_shr(vb a, unsigned n)
{
    return _mm_srli_epi16(a, (int)n);
}
INLINE vb vb_shl(vb a, unsigned n)
{
    return _mm_slli_epi16(a, (int)n);
}
INLINE vb vb_has(vb a, vb bits)
{
    return _mm_cmpeq_epi8(_mm_and_si128(a, bits), bits);
}
INLINE vb vb_least(vb a, unsigned x)
{
    const __m128i least = _mm_set1_epi8((char)x);
    return _mm_cmpeq_epi8(_mm_max_epu8(a, least), a);
}
INLINE vb vb_spread(unsigned bits)
{
    const __m128i place = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m128i each = _mm_set1_epi64x((long long)0x8040201008040201);
    return vb_has(_mm_shuffle_epi8(_mm_cvtsi32_si128((int)bits), place), each);
}
INLINE float vb_half(unsigned bits)
{
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128((int)bits)));
}
