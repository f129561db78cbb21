/* Units with AVX2 and BMI2. */
#include "proto/unit/code.h"

#if defined(__x86_64__) /* the Makefile compiles this file for them */
#include <immintrin.h>

typedef __m256i GROUP_TABLE;
#define DEPOSIT(bits, mask) _pdep_u64(bits, mask)
#define EXTRACT(bits, mask) _pext_u64(bits, mask)

static inline GROUP_TABLE load_table(const uint8_t *table)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
}

/* 32 bits to 32 bytes: value where a bit is one, else 0. */
static inline __m256i spread(uint32_t bits, char value)
{
    const __m256i where = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303),
                  bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i x = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), where), bit);

    return _mm256_and_si256(_mm256_cmpeq_epi8(x, bit), _mm256_set1_epi8(value));
}

static inline void write_half(uint8_t *out, const uint8_t *low, GROUP_TABLE table, const uint64_t b[4], unsigned shift)
{
    const __m256i code =
        _mm256_or_si256(_mm256_or_si256(spread((uint32_t)(b[0] >> shift), 1), spread((uint32_t)(b[1] >> shift), 2)),
                        _mm256_or_si256(spread((uint32_t)(b[2] >> shift), 4), spread((uint32_t)(b[3] >> shift), 8)));
    const __m256i exponent = _mm256_shuffle_epi8(table, code),
                  sm = _mm256_loadu_si256((const __m256i *)(const void *)(low + shift)),
                  sign = _mm256_set1_epi8((char)0x80);
    const __m256i half = _mm256_andnot_si256(sign, _mm256_srli_epi16(exponent, 1));
    const __m256i high = _mm256_or_si256(_mm256_and_si256(sm, sign), half),
                  bottom = _mm256_or_si256(_mm256_andnot_si256(sign, sm),
                                           _mm256_and_si256(_mm256_slli_epi16(exponent, 7), sign));

    /* the first half of the bytes has weights 0-15 and 32-47, the second 16-31 and 48-63 */
    _mm256_storeu_si256((__m256i *)(void *)(out + shift), _mm256_unpacklo_epi8(bottom, high));
    _mm256_storeu_si256((__m256i *)(void *)(out + 64 + shift), _mm256_unpackhi_epi8(bottom, high));
}

static inline void write_group(uint8_t *out, const uint8_t *low, GROUP_TABLE table, const uint64_t b[4])
{
    write_half(out, low, table, b, 0);
    write_half(out, low, table, b, 32);
}

typedef struct {
    __m256i half[2];
} GROUP_EXPONENTS;

/* In their places. */
static inline GROUP_EXPONENTS exponents_of(const uint8_t *weights)
{
    const __m256i byte = _mm256_set1_epi16(0xff);
    GROUP_EXPONENTS e;

    for (unsigned i = 0; i < 2; i++) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(weights + 32 * i)),
                      y = _mm256_loadu_si256((const __m256i *)(const void *)(weights + 64 + 32 * i));

        e.half[i] = _mm256_packus_epi16(_mm256_and_si256(_mm256_srli_epi16(x, 7), byte),
                                        _mm256_and_si256(_mm256_srli_epi16(y, 7), byte));
    }
    return e;
}

static inline __m256i sign_and_mantissa(__m256i x)
{
    const __m256i mantissa = _mm256_set1_epi16(0x7f);

    return _mm256_or_si256(_mm256_and_si256(mantissa, x), _mm256_andnot_si256(mantissa, _mm256_srli_epi16(x, 8)));
}

static inline void put_signs_and_mantissas(uint8_t *low, const uint8_t *weights)
{
    for (unsigned i = 0; i < 2; i++) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(weights + 32 * i)),
                      y = _mm256_loadu_si256((const __m256i *)(const void *)(weights + 64 + 32 * i));

        _mm256_storeu_si256((__m256i *)(void *)(low + 32 * i),
                            _mm256_packus_epi16(sign_and_mantissa(x), sign_and_mantissa(y)));
    }
}

static inline uint64_t bits_of(__m256i low, __m256i high)
{
    return (uint64_t)(uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

static inline uint64_t equal_places(GROUP_EXPONENTS x, GROUP_EXPONENTS one)
{
    return bits_of(_mm256_cmpeq_epi8(x.half[0], one.half[0]), _mm256_cmpeq_epi8(x.half[1], one.half[1]));
}

static inline GROUP_EXPONENTS everywhere(uint8_t exponent)
{
    const __m256i x = _mm256_set1_epi8((char)exponent);

    return (GROUP_EXPONENTS){{x, x}};
}

static inline void store_exponents(uint8_t *to, GROUP_EXPONENTS x)
{
    _mm256_storeu_si256((__m256i *)(void *)to, x.half[0]);
    _mm256_storeu_si256((__m256i *)(void *)(to + 32), x.half[1]);
}

typedef struct {
    __m256i exponent[UNIT_CODES];
} GROUP_RANKS;

static inline GROUP_RANKS load_ranks(const struct unit_ranks *r)
{
    GROUP_RANKS x;

    for (unsigned i = 0; i < UNIT_CODES; i++) x.exponent[i] = _mm256_set1_epi8((char)r->exponent[i]);
    return x;
}

/* The smallest code of those whose exponent it is: where there are fewer exponents, others have the first one's too. */
static inline __m256i codes_of(__m256i x, const GROUP_RANKS *r)
{
    __m256i less = _mm256_setzero_si256(); /* than the last code, by so much */

#pragma GCC unroll 13
    for (unsigned i = 0; i < UNIT_CODES; i++)
        less = _mm256_max_epu8(less, _mm256_and_si256(_mm256_cmpeq_epi8(x, r->exponent[i]),
                                                      _mm256_set1_epi8((char)(UNIT_TABLE - 1 - unit_slots[i]))));
    return _mm256_sub_epi8(_mm256_set1_epi8(UNIT_TABLE - 1), less);
}

static inline void read_group(uint8_t *low, uint8_t *exponent, uint64_t b[4], const uint8_t *weights, GROUP_RANKS r)
{
    const GROUP_EXPONENTS e = exponents_of(weights);
    const __m256i x = codes_of(e.half[0], &r), y = codes_of(e.half[1], &r);

    b[0] = bits_of(_mm256_slli_epi16(x, 7), _mm256_slli_epi16(y, 7));
    b[1] = bits_of(_mm256_slli_epi16(x, 6), _mm256_slli_epi16(y, 6));
    b[2] = bits_of(_mm256_slli_epi16(x, 5), _mm256_slli_epi16(y, 5));
    b[3] = bits_of(_mm256_slli_epi16(x, 4), _mm256_slli_epi16(y, 4));
    put_signs_and_mantissas(low, weights);
    store_exponents(exponent, e);
}

#include "proto/unit/planes.h"
#include "proto/unit/body.h"
#include "proto/unit/counting.h"

const struct unit_code unit_code_avx2 = {"avx2", decode, count_exponents, encode_chunk};
#endif
