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

static inline void planes_of(const uint8_t code[UNIT_GROUP], uint64_t b[4])
{
    const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)code),
                  y = _mm256_loadu_si256((const __m256i *)(const void *)(code + 32));

#define PLANE(i)                                                                                                       \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(x, 7 - (i))) |                                         \
     (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(y, 7 - (i))) << 32)
    b[0] = PLANE(0);
    b[1] = PLANE(1);
    b[2] = PLANE(2);
    b[3] = PLANE(3);
#undef PLANE
}

#include "proto/unit/planes.h"
#include "proto/unit/body.h"

const struct unit_code unit_code_avx2 = {"avx2", decode, encode_chunk};
#endif
