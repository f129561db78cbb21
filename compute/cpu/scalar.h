/* Scalar arithmetic with one result on every machine: number formats, and exp and log in double precision from additions,
 * multiplications and divisions only (a C library's own may differ in the last bit between machines). */
#pragma once
#include <stdint.h>
#include <string.h>
#include "proto/base/half.h"

static inline double double_of_bits(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static inline uint64_t bits_of_double(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* Float to bfloat16, to the nearest, ties to even. */
static inline uint16_t bf16_of_float(float x)
{
    uint32_t u = bits_of_float(x);
    if ((u & 0x7fffffff) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* FP8 e4m3 (no infinities; 0x7f and 0xff are not numbers), divided by 256. */
static inline float e4m3_256th(uint8_t b)
{
    uint32_t h = (uint32_t)(b & 0x80) << 8 | (uint32_t)(b & 0x7f) << 7;
    return float_of_half((uint16_t)((b & 0x7f) == 0x7f ? h | 0x7f80 : h));
}

/* FP4 e2m1. */
static inline float e2m1_value(int nibble)
{
    static const float values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                     -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
    return values[nibble];
}

/* Sixteen whole numbers that four bits stand for, as both kinds of numbers. */
struct curve {
    float f[16];
    int8_t i[16];
};
#define CURVE(...)                                                                                                     \
    {                                                                                                                  \
        {__VA_ARGS__},                                                                                                 \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }

/* e8m0: 2^(b - 127); 255 is not a number. Looked up: products need one for every 32 weights. */
#define E8M0_BITS(b) ((b) == 0 ? 0x00400000u : (b) == 255 ? 0x7fc00000u : (uint32_t)(b) << 23)
#define E8M0_4(b)    E8M0_BITS(b), E8M0_BITS((b) + 1), E8M0_BITS((b) + 2), E8M0_BITS((b) + 3)
#define E8M0_16(b)   E8M0_4(b), E8M0_4((b) + 4), E8M0_4((b) + 8), E8M0_4((b) + 12)
#define E8M0_64(b)   E8M0_16(b), E8M0_16((b) + 16), E8M0_16((b) + 32), E8M0_16((b) + 48)
static const uint32_t e8m0_bits[256] = {E8M0_64(0), E8M0_64(64), E8M0_64(128), E8M0_64(192)};

static inline float e8m0_value(uint8_t b)
{
    return float_of_bits(e8m0_bits[b]);
}

/* exp(x), a few units of 1e-16; saturates below -700 and above 700. */
static inline double exp_exact(double x)
{
    if (x != x) return x;
    x = x < -700 ? -700 : x > 700 ? 700 : x;
    double t = x * 1.4426950408889634 + 0x1.8p52; /* the nearest integer in the low bits */
    double n = t - 0x1.8p52, r = (x - n * 0x1.62e42fefap-1) - n * 0x1.cf79abc9e3b39p-40;
    double sum = 1.0;
    for (int i = 14; i > 0; i--) sum = 1.0 + sum * r / i;
    return sum * double_of_bits((uint64_t)((int64_t)n + 1023) << 52);
}

/* log(x) of a positive normal x, a few units of 1e-16 times log(x). */
static inline double log_exact(double x)
{
    uint64_t u = bits_of_double(x);
    int64_t n = (int64_t)(u >> 52) - 1023;
    double m = double_of_bits((u & 0xfffffffffffffu) | 0x3ff0000000000000u);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        n++;
    }
    double s = (m - 1) / (m + 1), s2 = s * s, sum = 0;
    for (int i = 23; i > 0; i -= 2) /* 2 atanh(s) */
        sum = sum * s2 + 1.0 / i;
    return (double)n * 0x1.cf79abc9e3b39p-40 + (2 * s * sum + (double)n * 0x1.62e42fefap-1);
}

/* log(1 + exp(x)), x itself above 20 as torch has it. */
static inline float softplus(float x)
{
    if (!(x <= 20.0f)) return x;
    double e = exp_exact(x);
    return (float)(e < 1e-8 ? e : log_exact(1 + e));
}
static inline float sigmoid_exact(float x)
{
    return (float)(1.0 / (1.0 + exp_exact(-(double)x)));
}
