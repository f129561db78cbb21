#include "proto/base/sha256.h"

#include <string.h>

static const uint32_t constant[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turn(uint32_t x, int bits)
{
    return x >> bits | x << (32 - bits);
}

static void blocks_plain(uint32_t state[8], const uint8_t *p, size_t blocks)
{
    for (; blocks; blocks--, p += SHA256_BLOCK) {
        uint32_t w[64], s[8];

        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
        for (int i = 16; i < 64; i++) {
            uint32_t a = w[i - 15], b = w[i - 2];

            w[i] = w[i - 16] + w[i - 7] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
        }
        memcpy(s, state, sizeof s);
        for (int i = 0; i < 64; i++) {
            uint32_t e = s[4], a = s[0],
                     x = s[7] + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & s[5]) ^ (~e & s[6])) + constant[i] +
                         w[i],
                     y = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));

            memmove(s + 1, s, 7 * sizeof *s);
            s[4] += x;
            s[0] = x + y;
        }
        for (int i = 0; i < 8; i++) state[i] += s[i];
    }
}

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

static int has_instructions(void)
{
    unsigned a, b, c, d;

    return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29);
}

/* The instructions keep the state as ABEF and CDGH, and do four rounds with four words at a time. */
__attribute__((target("sha,sse4.1"))) static void blocks_fast(uint32_t state[8], const uint8_t *p, size_t blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i t = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)state), 0xb1),      /* CDAB */
        cdgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(state + 4)), 0x1b), /* EFGH */
        abef = _mm_alignr_epi8(t, cdgh, 8);

    cdgh = _mm_blend_epi16(cdgh, t, 0xf0);
    for (; blocks; blocks--, p += SHA256_BLOCK) {
        const __m128i abef0 = abef, cdgh0 = cdgh;
        __m128i w[4];

        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), swap);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            const __m128i now = w[i % 4];
            __m128i k = _mm_add_epi32(now, _mm_loadu_si128((const __m128i *)(const void *)(constant + 4 * i)));

            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k, 0x0e));
            if (i < 12) { /* the words of four rounds later */
                const __m128i last = w[(i + 3) % 4];

                t = _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(i + 1) % 4]), _mm_alignr_epi8(last, w[(i + 2) % 4], 4));
                w[i % 4] = _mm_sha256msg2_epu32(t, last);
            }
        }
        abef = _mm_add_epi32(abef, abef0);
        cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    t = _mm_shuffle_epi32(abef, 0x1b);                                             /* FEBA */
    cdgh = _mm_shuffle_epi32(cdgh, 0xb1);                                          /* DCHG */
    _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(t, cdgh, 0xf0));    /* DCBA */
    _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(cdgh, t, 8)); /* HGFE */
}

static void do_blocks(uint32_t state[8], const uint8_t *p, size_t blocks)
{
    if (has_instructions())
        blocks_fast(state, p, blocks);
    else
        blocks_plain(state, p, blocks);
}
#else
#define do_blocks blocks_plain
#endif

void sha256_begin(struct sha256 *s)
{
    *s = (struct sha256){
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_feed(struct sha256 *s, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    size_t have = s->bytes % SHA256_BLOCK, n = SHA256_BLOCK - have;

    s->bytes += bytes;
    if (have) {
        if (n > bytes) n = bytes;
        memcpy(s->rest + have, p, n);
        p += n;
        bytes -= n;
        if (have + n < SHA256_BLOCK) return;
        do_blocks(s->state, s->rest, 1);
    }
    if (bytes >= SHA256_BLOCK) do_blocks(s->state, p, bytes / SHA256_BLOCK);
    if (bytes % SHA256_BLOCK) memcpy(s->rest, p + bytes / SHA256_BLOCK * SHA256_BLOCK, bytes % SHA256_BLOCK);
}

void sha256_end(struct sha256 *s, uint8_t digest[SHA256_BYTES])
{
    uint64_t bits = s->bytes * 8;
    size_t have = s->bytes % SHA256_BLOCK;
    uint8_t last[2 * SHA256_BLOCK] = {0};
    size_t n = have + 9 > SHA256_BLOCK ? 2 : 1;

    memcpy(last, s->rest, have);
    last[have] = 0x80;
    for (int i = 0; i < 8; i++) last[n * SHA256_BLOCK - 1 - (size_t)i] = (uint8_t)(bits >> 8 * i);
    do_blocks(s->state, last, n);
    for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(s->state[i / 4] >> (24 - i % 4 * 8));
}

char *sha256_hex(char *out, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = 0;
    return out;
}
