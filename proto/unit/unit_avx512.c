/* Units with AVX-512 (F, BW) and BMI2. */
#include "proto/unit/code.h"

#if defined(__x86_64__) /* the Makefile compiles this file for them */
#include <immintrin.h>

typedef __m512i GROUP_TABLE;
#define DEPOSIT(bits, mask) _pdep_u64(bits, mask)
#define EXTRACT(bits, mask) _pext_u64(bits, mask)

static inline GROUP_TABLE load_table(const uint8_t *table)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table));
}

static inline void write_group(uint8_t *out, const uint8_t *low, GROUP_TABLE table, const uint64_t b[4])
{
    const __m512i one = _mm512_set1_epi8(1), two = _mm512_set1_epi8(2), four = _mm512_set1_epi8(4),
                  eight = _mm512_set1_epi8(8), sign = _mm512_set1_epi8((char)0x80);
    __m512i code = _mm512_maskz_mov_epi8(b[0], one);

    code = _mm512_mask_add_epi8(code, b[1], code, two);
    code = _mm512_mask_add_epi8(code, b[2], code, four);
    code = _mm512_mask_add_epi8(code, b[3], code, eight);
    const __m512i exponent = _mm512_shuffle_epi8(table, code), sm = _mm512_loadu_si512(low);
    /* 0xca: bits of the second where the first has ones, else of the third */
    const __m512i high = _mm512_ternarylogic_epi32(sign, sm, _mm512_srli_epi16(exponent, 1), 0xca),
                  bottom = _mm512_ternarylogic_epi32(sign, _mm512_slli_epi16(exponent, 7), sm, 0xca);

    _mm512_storeu_si512(out, _mm512_unpacklo_epi8(bottom, high));
    _mm512_storeu_si512(out + 64, _mm512_unpackhi_epi8(bottom, high));
}

static inline void planes_of(const uint8_t code[UNIT_GROUP], uint64_t b[4])
{
    const __m512i x = _mm512_loadu_si512(code);

    for (unsigned i = 0; i < 4; i++) b[i] = _mm512_test_epi8_mask(x, _mm512_set1_epi8((char)(1 << i)));
}

#include "proto/unit/planes.h"
#include "proto/unit/body.h"

const struct unit_code unit_code_avx512 = {"avx512", decode, encode_chunk};
#endif
