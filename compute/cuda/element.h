/* Number formats to float32 and back, one at a time: the same functions on the device and, for the tests, on the host. How
 * stored forms are made of them is compute/cuda/forms.h.
 *
 *   bf16   1.8.7    the upper half of a float32
 *   f16    1.5.10   IEEE 754 binary16
 *   e4m3   1.4.3    OCP 8-bit floating point, E4M3: no infinity, S.1111.111 is NaN, largest 448
 *   e2m1   1.2.1    OCP microscaling FP4: 0 .5 1 1.5 2 3 4 6
 *   e8m0   8        OCP microscaling scale: 2^(x - 127), 255 is NaN
 *
 * Sources: OCP 8-bit Floating Point Specification 1.0; OCP Microscaling Formats 1.0. C and C++. */
#pragma once
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define ELEMENT_MEMBER __host__ __device__
#else
#define ELEMENT_MEMBER
#endif
#define ELEMENT_FN static inline ELEMENT_MEMBER

ELEMENT_FN float element_from_bits(uint32_t bits)
{
#ifdef __CUDA_ARCH__
    return __uint_as_float(bits);
#else
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
#endif
}

ELEMENT_FN uint32_t element_bits(float x)
{
#ifdef __CUDA_ARCH__
    return __float_as_uint(x);
#else
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
#endif
}

ELEMENT_FN float element_bf16(uint32_t x)
{
    return element_from_bits(x << 16);
}

ELEMENT_FN float element_f16(uint32_t x)
{
#ifdef __CUDA_ARCH__
    float y;
    uint16_t h = (uint16_t)x;

    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(h));
    return y;
#else
    uint32_t sign = (x & 0x8000u) << 16, body = x & 0x7fffu;

    if (body >= 0x7c00u) return element_from_bits(sign | 0x7f800000u | (body & 0x3ffu) << 13);
    /* Shifted into place the exponent is 112 too small, subnormals included: one exact product mends both. */
    return element_from_bits(sign | element_bits(element_from_bits(body << 13) * element_from_bits(239u << 23)));
#endif
}

ELEMENT_FN float element_e4m3(uint32_t x)
{
    /* As binary16 the bits mean 2^-8 of the value: the exponents' biases are 7 and 15. */
    if ((x & 0x7fu) == 0x7fu) return element_from_bits(0x7fc00000u);
    return element_f16((x & 0x80u) << 8 | (x & 0x7fu) << 7) * 256.0f;
}

ELEMENT_FN float element_e2m1(uint32_t x)
{
    return element_f16((x & 8u) << 12 | (x & 7u) << 9) * 16384.0f; /* biases 1 and 15 */
}

ELEMENT_FN float element_e8m0(uint32_t x)
{
    if (x == 255u) return element_from_bits(0x7fc00000u);
    return element_from_bits(x ? x << 23 : 0x00400000u); /* 2^-127 is subnormal */
}

/* To the nearest, ties to even. */
ELEMENT_FN uint16_t element_to_bf16(float x)
{
    uint32_t bits = element_bits(x);

    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u); /* NaN stays NaN */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

ELEMENT_FN uint16_t element_to_f16(float x)
{
#ifdef __CUDA_ARCH__
    uint16_t h;

    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
#else
    uint32_t bits = element_bits(x), sign = bits >> 16 & 0x8000u, body = bits & 0x7fffffffu, rounded;

    if (body > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (body >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* 65536 and up */
    if (body < 0x38800000u) {                                   /* below 2^-14: adding 1/2 rounds at 2^-24 */
        rounded = element_bits(element_from_bits(body) + 0.5f) - 0x3f000000u;
        return (uint16_t)(sign | rounded);
    }
    rounded = body + 0xfffu + (body >> 13 & 1u) - (112u << 23);
    return (uint16_t)(sign | rounded >> 13);
#endif
}
