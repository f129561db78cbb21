/* Counting exponents many at once. The including file gives, for its instruction set:
 *
 *   exponents_of(weights)      the exponents of a group, in their places: GROUP_EXPONENTS
 *   everywhere(exponent)       64 times the same
 *   equal_places(x, y)         a bit for each place where they are equal
 *   store_exponents(to, x)     64 bytes
 *
 * A dozen of exponents are nearly all that trained weights have. Those that are the commonest of a sample are compared with,
 * the others are counted one by one: so the counts are exact whatever the weights are. */
#pragma once
#include "proto/unit/body.h"

#define SAMPLES 2048u

static void sample(uint32_t count[256], const uint8_t *weights, uint64_t n)
{
    for (uint32_t i = 0; i < SAMPLES; i++) {
        const uint8_t *w = weights + 2 * (n * i / SAMPLES);

        count[(uint8_t)(w[1] << 1 | w[0] >> 7)]++;
    }
}

static void count_exponents(uint32_t count[256], const uint8_t *weights, uint64_t n)
{
    GROUP_EXPONENTS common[UNIT_CODES];
    uint64_t found[UNIT_CODES] = {0}, i = 0;
    uint8_t exponent[UNIT_CODES], each[UNIT_GROUP];
    uint32_t sampled[256] = {0}, commons;

    if (n >= 4 * (uint64_t)SAMPLES) {
        sample(sampled, weights, n);
        commons = unit_commonest(exponent, sampled);
        /* an exponent twice would be counted twice, so the rest gets some that do not occur as often */
        for (unsigned x = 0; commons < UNIT_CODES; x++)
            if (!sampled[x]) exponent[commons++] = (uint8_t)x;
        for (unsigned k = 0; k < UNIT_CODES; k++) common[k] = everywhere(exponent[k]);
        for (; i + UNIT_GROUP <= n; i += UNIT_GROUP) {
            const GROUP_EXPONENTS e = exponents_of(weights + 2 * i);
            uint64_t rest = ~UINT64_C(0);

#pragma GCC unroll 13
            for (unsigned k = 0; k < UNIT_CODES; k++) {
                const uint64_t places = equal_places(e, common[k]);

                rest ^= places;
                found[k] += (uint64_t)__builtin_popcountll(places);
            }
            if (__builtin_expect(rest != 0, 0)) store_exponents(each, e);
            for (; rest; rest &= rest - 1) count[each[__builtin_ctzll(rest)]]++;
        }
        for (unsigned k = 0; k < UNIT_CODES; k++) count[exponent[k]] += (uint32_t)found[k];
    }
    unit_count_each(count, weights + 2 * i, n - i);
}
