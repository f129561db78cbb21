/* Units on any processor. */
#include "proto/unit/code.h"

typedef const uint8_t *GROUP_TABLE;
typedef const struct unit_ranks *GROUP_RANKS;
#define EXTRACT(bits, mask) bits_extract(bits, mask)

static inline GROUP_TABLE load_table(const uint8_t *table)
{
    return table;
}

static inline GROUP_RANKS load_ranks(const struct unit_ranks *r)
{
    return r;
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

static inline void read_group(uint8_t *low, uint8_t *exponent, uint64_t b[4], const uint8_t *weights, GROUP_RANKS r)
{
    b[0] = b[1] = b[2] = b[3] = 0;
    for (unsigned w = 0; w < UNIT_GROUP; w++) {
        const unsigned x = weights[2 * w] | (unsigned)weights[2 * w + 1] << 8,
                       j = w < 32 ? 16 * (w / 8) + w % 8 : 16 * (w / 8 - 4) + 8 + w % 8;

        low[j] = (uint8_t)((x >> 8 & 0x80) | (x & 0x7f));
        exponent[j] = (uint8_t)(x >> 7);
        for (unsigned i = 0; i < 4; i++) b[i] |= (uint64_t)(r->code[exponent[j]] >> i & 1) << j;
    }
}

void unit_count_each(uint32_t count[256], const uint8_t *weights, uint64_t n)
{
    uint32_t four[4][256] = {{0}};
    uint64_t i = 0;

    for (; i + 4 <= n; i += 4) {
        uint64_t x;

        memcpy(&x, weights + 2 * i, 8);
        four[0][x >> 7 & 255]++;
        four[1][x >> 23 & 255]++;
        four[2][x >> 39 & 255]++;
        four[3][x >> 55 & 255]++;
    }
    for (; i < n; i++) four[0][(uint8_t)(weights[2 * i + 1] << 1 | weights[2 * i] >> 7)]++;
    for (unsigned x = 0; x < 256; x++) count[x] += four[0][x] + four[1][x] + four[2][x] + four[3][x];
}

#include "proto/unit/planes.h"
#include "proto/unit/body.h"

const struct unit_code unit_code_plain = {"plain", decode, unit_count_each, encode_chunk};
