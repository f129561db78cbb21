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

/* A bit stream as it is written. Words before at are whole; the word at it holds what word does, or will (bits_end()). */
struct unit_bits {
    uint8_t *at;
    uint64_t word;
    uint32_t filled; /* bits of word, fewer than 64 */
};

/* n: 64 at most; bits has no others. */
static inline void bits_put(struct unit_bits *b, uint64_t bits, uint32_t n)
{
    const uint32_t s = b->filled, end = s + n;
    const uint64_t word = b->word | bits << s;

    memcpy(b->at, &word, 8);
    b->word = end < 64 ? word : bits >> 1 >> (63 - s);
    b->at += end / 64 * 8;
    b->filled = end % 64;
}

static inline void bits_end(const struct unit_bits *b)
{
    memcpy(b->at, &b->word, 8);
}

#define UNIT_CODES 13u /* exponents that have a code of their own */

/* The slots of the table that they have, the commonest first. */
static const uint8_t unit_slots[UNIT_CODES] = {0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14};

struct unit_ranks {
    uint8_t code[256];            /* of each exponent: its slot, or UNIT_TABLE - 1: none */
    uint8_t exponent[UNIT_CODES]; /* of unit_slots[i]; where there are fewer, the rest repeats the first one */
};

/* One chunk as it is encoded. */
struct unit_work {
    uint8_t *low, *planes; /* of the chunk, in the unit */
    uint64_t second_words[UNIT_CHUNK / 32 + 2], third_words[UNIT_CHUNK * 3 / 64 + 2];
    uint8_t bytes[UNIT_CHUNK];
    uint32_t second_count, third_count, byte_count;
};

/* ---- groups ---- */

/* Where weight w of a group has its byte and its bit. */
static inline unsigned place_of(unsigned w)
{
    return w < 32 ? 16 * (w / 8) + w % 8 : 16 * (w / 8 - 4) + 8 + w % 8;
}

struct chunk_place {
    const uint8_t *low, *planes, *second, *third, *bytes;
    uint64_t second_at, third_at;
};

/* Exponents that have no code: their bytes. */
static inline void fix_group(uint8_t *out, uint64_t escaped, const uint8_t **bytes)
{
    for (; escaped; escaped &= escaped - 1) {
        const unsigned j = (unsigned)__builtin_ctzll(escaped), k = j % 16, w = j / 16 * 8 + k % 8 + (k >= 8 ? 32 : 0);
        const uint8_t x = *(*bytes)++;

        out[2 * w] = (uint8_t)((out[2 * w] & 0x7f) | x << 7);
        out[2 * w + 1] = (uint8_t)((out[2 * w + 1] & 0x80) | x >> 1);
    }
}

/* What comes a chunk later in each of the three streams, wherever it lies: they are too many, and their pages too short, for
 * the processor to find them by itself. */
static inline void send_for_next(const struct chunk_place *c, uint32_t g)
{
    __builtin_prefetch(c->low + UNIT_GROUP * g + UNIT_CHUNK);
    if (g % 4 == 0) __builtin_prefetch(c->planes + 16 * g + UNIT_CHUNK / 4);
    if (g % 8 == 0) __builtin_prefetch(c->second + c->second_at / 8 + 512);
}

/* The bits at the ones of mask, in turn, as low bits, where no instruction does it. */
static inline uint64_t bits_extract(uint64_t bits, uint64_t mask)
{
    uint64_t out = 0;

    for (unsigned i = 0; mask; mask &= mask - 1, i++) out |= (bits >> __builtin_ctzll(mask) & 1) << i;
    return out;
}

/* Each architecture numbers its variants from UNIT_PLAIN on: no machine has those of two. */
#define UNIT_NEON ((enum unit_variant)(UNIT_PLAIN + 1))

/* The exponents that occur, the commonest first, of equals the smaller one. Returns how many there are, UNIT_CODES at most; the
 * rest of table is left alone. */
uint32_t unit_commonest(uint8_t table[UNIT_CODES], const uint32_t count[256]);
/* As unit_code.count, one by one. */
void unit_count_each(uint32_t count[256], const uint8_t *weights, uint64_t n);

extern const struct unit_code unit_code_plain, unit_code_avx2, unit_code_avx512, unit_code_neon;
