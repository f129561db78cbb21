/* IEEE half precision in software: not every compiler that builds this has a type for it on every processor. */
#pragma once
#include <stdint.h>
#include <string.h>

/* Rounded to nearest, ties to even; what is too large becomes infinite, and no number stays none. */
static inline uint16_t half_bits(float x)
{
    uint32_t u, sign, rest;
    int32_t exponent;

    memcpy(&u, &x, sizeof u);
    sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (u >> 13 & 0x3ff));
    if (u >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
    exponent = (int32_t)(u >> 23) - 112;
    if (exponent > 0) {
        rest = u & 0x1fff;
        u = (u >> 13) - (112u << 10);
    } else {
        const uint32_t shift = (uint32_t)(14 - exponent);

        if (shift > 24) return (uint16_t)sign;
        u = (u & 0x7fffff) | 0x800000;
        rest = u & ((1u << shift) - 1);
        u >>= shift;
        /* as if 13 bits had been cut off: what decides is whether they are less, half or more */
        rest = rest > 1u << (shift - 1) ? 0x1001 : rest == 1u << (shift - 1) ? 0x1000 : 0;
    }
    if (rest > 0x1000 || (rest == 0x1000 && u & 1)) u++;
    return (uint16_t)(sign | u);
}

/* Exact. */
static inline float half_value(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff, u;
    float x;

    if (exponent == 0x1f) {
        u = sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0);
    } else if (exponent) {
        u = sign | (exponent + 112) << 23 | fraction << 13;
    } else {
        x = (float)fraction * 0x1p-24f;
        memcpy(&u, &x, sizeof u);
        u |= sign;
    }
    memcpy(&x, &u, sizeof x);
    return x;
}
