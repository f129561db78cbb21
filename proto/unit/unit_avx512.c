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

typedef __m512i GROUP_EXPONENTS;

/* In their places. */
static inline GROUP_EXPONENTS exponents_of(const uint8_t *weights)
{
    const __m512i x = _mm512_loadu_si512(weights), y = _mm512_loadu_si512(weights + 64), byte = _mm512_set1_epi16(0xff);

    return _mm512_packus_epi16(_mm512_and_si512(_mm512_srli_epi16(x, 7), byte),
                               _mm512_and_si512(_mm512_srli_epi16(y, 7), byte));
}

static inline GROUP_EXPONENTS signs_and_mantissas(const uint8_t *weights)
{
    const __m512i x = _mm512_loadu_si512(weights), y = _mm512_loadu_si512(weights + 64),
                  mantissa = _mm512_set1_epi16(0x7f);

    return _mm512_packus_epi16(_mm512_ternarylogic_epi32(mantissa, x, _mm512_srli_epi16(x, 8), 0xca),
                               _mm512_ternarylogic_epi32(mantissa, y, _mm512_srli_epi16(y, 8), 0xca));
}

static inline uint64_t equal_places(GROUP_EXPONENTS x, GROUP_EXPONENTS one)
{
    return _mm512_cmpeq_epi8_mask(x, one);
}

static inline GROUP_EXPONENTS everywhere(uint8_t exponent)
{
    return _mm512_set1_epi8((char)exponent);
}

static inline void store_exponents(uint8_t *to, GROUP_EXPONENTS x)
{
    _mm512_storeu_si512(to, x);
}

typedef struct {
    __m512i exponent[UNIT_CODES];
} GROUP_RANKS;

static inline GROUP_RANKS load_ranks(const struct unit_ranks *r)
{
    GROUP_RANKS x;

    for (unsigned i = 0; i < UNIT_CODES; i++) x.exponent[i] = everywhere(r->exponent[i]);
    return x;
}

/* The first code last: where there are fewer exponents, others have its exponent too. */
static inline void read_group(uint8_t *low, uint8_t *exponent, uint64_t b[4], const uint8_t *weights, GROUP_RANKS r)
{
    const __m512i x = exponents_of(weights);
    __m512i code = _mm512_set1_epi8(UNIT_TABLE - 1);

#pragma GCC unroll 13
    for (unsigned i = UNIT_CODES; i-- > 0;)
        code =
            _mm512_mask_mov_epi8(code, _mm512_cmpeq_epi8_mask(x, r.exponent[i]), _mm512_set1_epi8((char)unit_slots[i]));
    for (unsigned i = 0; i < 4; i++) b[i] = _mm512_test_epi8_mask(code, _mm512_set1_epi8((char)(1 << i)));
    _mm512_storeu_si512(low, signs_and_mantissas(weights));
    store_exponents(exponent, x);
}

#include "proto/unit/planes.h"
#include "proto/unit/body.h"
#include "proto/unit/counting.h"

const struct unit_code unit_code_avx512 = {"avx512", decode, count_exponents, encode_chunk};
#endif
