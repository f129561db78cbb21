#include "proto/base/checksum.h"

#include <string.h>

#define FACTOR UINT64_C(0x9e3779b97f4a7c15) /* odd: multiplying by it loses nothing */

static inline uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

void checksum_begin(struct checksum *c)
{
    *c = (struct checksum){0};
    for (uint32_t i = 0; i < CHECKSUM_LANES; i++) c->lane[i] = FACTOR * (i + 1);
}

/* Each step is a bijection of the lane and of the word. The rotation brings the highest bit to where the factor spreads
 * it: without it, that bit flipped in two words of a lane would cancel out. */
static const uint8_t *feed_blocks(struct checksum *c, const uint8_t *p, size_t blocks)
{
    uint64_t lane[CHECKSUM_LANES], word;

    memcpy(lane, c->lane, sizeof lane);
    for (; blocks; blocks--, p += CHECKSUM_BLOCK) {
#pragma GCC unroll 8
        for (uint32_t i = 0; i < CHECKSUM_LANES; i++) {
            memcpy(&word, p + i * sizeof word, sizeof word);
            lane[i] = rotate(lane[i] ^ word, 29) * FACTOR;
        }
    }
    memcpy(c->lane, lane, sizeof lane);
    return p;
}

void checksum_feed(struct checksum *c, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    size_t have = c->bytes % CHECKSUM_BLOCK, n = CHECKSUM_BLOCK - have;

    c->bytes += bytes;
    if (have) {
        if (n > bytes) n = bytes;
        memcpy(c->rest + have, p, n);
        p += n;
        bytes -= n;
        if (have + n < CHECKSUM_BLOCK) return;
        feed_blocks(c, c->rest, 1);
    }
    p = feed_blocks(c, p, bytes / CHECKSUM_BLOCK);
    if (bytes % CHECKSUM_BLOCK) memcpy(c->rest, p, bytes % CHECKSUM_BLOCK);
}

uint64_t checksum_end(struct checksum *c)
{
    size_t have = c->bytes % CHECKSUM_BLOCK;
    uint64_t sum = c->bytes;

    if (have) {
        memset(c->rest + have, 0, CHECKSUM_BLOCK - have);
        feed_blocks(c, c->rest, 1);
    }
    for (uint32_t i = 0; i < CHECKSUM_LANES; i++) sum = rotate(sum ^ c->lane[i], 29) * FACTOR;
    return sum ^ sum >> 32;
}
