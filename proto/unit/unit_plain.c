/* Units on any processor. */
#include "proto/unit/code.h"

typedef const uint8_t *GROUP_TABLE;
#define EXTRACT(bits, mask) bits_extract(bits, mask)

static inline GROUP_TABLE load_table(const uint8_t *table)
{
    return table;
}

static inline uint64_t DEPOSIT(uint64_t bits, uint64_t mask)
{
    uint64_t out = 0;

    for (; mask; mask &= mask - 1, bits >>= 1) out |= (bits & 1) << __builtin_ctzll(mask);
    return out;
}

static inline void write_group(uint8_t *out, const uint8_t *low, GROUP_TABLE table, const uint64_t b[4])
{
    for (unsigned w = 0; w < UNIT_GROUP; w++) {
        const unsigned j = w < 32 ? 16 * (w / 8) + w % 8 : 16 * (w / 8 - 4) + 8 + w % 8,
                       code = (unsigned)((b[0] >> j & 1) | (b[1] >> j & 1) << 1 | (b[2] >> j & 1) << 2 |
                                         (b[3] >> j & 1) << 3);

        out[2 * w] = (uint8_t)((low[j] & 0x7f) | table[code] << 7);
        out[2 * w + 1] = (uint8_t)((low[j] & 0x80) | table[code] >> 1);
    }
}

static inline void planes_of(const uint8_t code[UNIT_GROUP], uint64_t b[4])
{
    b[0] = b[1] = b[2] = b[3] = 0;
    for (unsigned j = 0; j < UNIT_GROUP; j++)
        for (unsigned i = 0; i < 4; i++) b[i] |= (uint64_t)(code[j] >> i & 1) << j;
}

#include "proto/unit/planes.h"
#include "proto/unit/body.h"

const struct unit_code unit_code_plain = {"plain", decode, encode_chunk};
