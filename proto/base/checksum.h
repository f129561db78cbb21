/* A 64-bit checksum of bytes, for telling whether they are still the same: about as fast as memory, so that it may run over
 * what is read from a disk. Not cryptographic: two texts that differ in one 8-byte word never have the same sum, others with
 * a probability of 2^-64. The sum depends on the bytes only, never on how they are cut into pieces. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define CHECKSUM_LANES 8u
#define CHECKSUM_BLOCK (CHECKSUM_LANES * sizeof(uint64_t))

struct checksum {
    uint64_t lane[CHECKSUM_LANES], bytes;
    uint8_t rest[CHECKSUM_BLOCK]; /* bytes % CHECKSUM_BLOCK of them wait for the block to be full */
};

void checksum_begin(struct checksum *c);
void checksum_feed(struct checksum *c, const void *data, size_t bytes);
uint64_t checksum_end(struct checksum *c);
