/* IEEE half precision in software, the same on every machine: not every compiler that builds this has a type for it. */
#pragma once
#include <stdint.h>
#include <string.h>

static inline uint32_t bits_of_float(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline float float_of_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* IEEE half to float, exact; signalling NaNs become quiet. */
static inline float float_of_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fff;
    if (mag >= 0x7c00) return float_of_bits(sign | 0x7f800000u | (mag & 0x3ff) << 13 | (mag > 0x7c00 ? 0x400000u : 0));
    if (mag < 0x400) /* subnormal: mag * 2^-24 */
        return float_of_bits(sign | bits_of_float((float)mag * 0x1p-24f));
    return float_of_bits(sign | ((mag << 13) + 0x38000000u));
}

/* Float to IEEE half, to the nearest, ties to even. */
static inline uint16_t half_of_float(float x)
{
    uint32_t u = bits_of_float(x), sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;
    if (mag > 0x7f800000u) return (uint16_t)(sign | 0x7e00 | (mag >> 13 & 0x3ff));
    if (mag >= 0x477ff000u) /* 65520 and more */
        return (uint16_t)(sign | 0x7c00);
    if (mag < 0x38800000u) /* below 2^-14: adding 0.5 leaves mag / 2^-24, rounded, in the low bits */
        return (uint16_t)(sign | (bits_of_float(float_of_bits(mag) + 0.5f) - 0x3f000000u));
    return (uint16_t)(sign | ((mag - 0x38000000u + 0xfff + (mag >> 13 & 1)) >> 13));
}
