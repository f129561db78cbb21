/* SHA-256 (FIPS 180-4) of bytes that come in pieces; by the processor's own instructions where it has them. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32u
#define SHA256_BLOCK 64u

struct sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t rest[SHA256_BLOCK]; /* bytes % SHA256_BLOCK of them wait for the block to be full */
};

void sha256_begin(struct sha256 *s);
void sha256_feed(struct sha256 *s, const void *data, size_t bytes);
void sha256_end(struct sha256 *s, uint8_t digest[SHA256_BYTES]);
/* 2 n digits, lower case, and a 0; returns out. */
char *sha256_hex(char *out, const uint8_t *bytes, size_t n);
