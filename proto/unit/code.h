/* What the variants of unit_code share; see body.h. */
#pragma once
#include <string.h>
#include "proto/unit/unit.h"

/* The most bytes that decoding a chunk loads from the beginning of its bits on: both planes of the second level, three of the
 * third, all bytes, and a word behind each. */
#define CHUNK_BITS_MOST (UNIT_CHUNK / 4 + UNIT_CHUNK * 3 / 8 + UNIT_CHUNK + 64u)

/* A bit stream: whole words are loaded, so up to 16 bytes behind the last bit. */
static inline uint64_t bits_get(const uint8_t *p, uint64_t at)
{
    uint64_t low, high;

    memcpy(&low, p + at / 64 * 8, 8);
    memcpy(&high, p + at / 64 * 8 + 8, 8);
    return at % 64 ? low >> at % 64 | high << (64 - at % 64) : low;
}

/* The same by one load: the lower PEEKED bits are those of the stream. */
#define PEEKED 57u
static inline uint64_t bits_peek(const uint8_t *p, uint64_t at)
{
    uint64_t x;

    memcpy(&x, p + at / 8, 8);
    return x >> at % 8;
}

struct unit_bits {
    uint8_t *at;
    uint64_t count; /* bits so far */
};

static inline void bits_put(struct unit_bits *b, uint64_t bits, uint32_t n)
{
    uint64_t low;
    uint8_t *p = b->at + b->count / 64 * 8;
    uint32_t s = b->count % 64;

    memcpy(&low, p, 8);
    low |= bits << s;
    memcpy(p, &low, 8);
    if (s && s + n > 64) {
        low = bits >> (64 - s);
        memcpy(p + 8, &low, 8);
    }
    b->count += n;
}

/* One chunk as it is encoded. */
struct unit_work {
    uint8_t *low, *planes; /* of the chunk, in the unit */
    struct unit_bits second, third;
    uint64_t second_words[UNIT_CHUNK / 32 + 2], third_words[UNIT_CHUNK * 3 / 64 + 2];
    uint8_t bytes[UNIT_CHUNK];
    uint32_t second_count, third_count, byte_count;
};

extern const struct unit_code unit_code_plain, unit_code_avx2, unit_code_avx512;
