/* Stored forms on the device: for each form of FORM_WEIGHTS one function,
 *
 *   NAME_element(bytes, i)   element i of a block as float32; where scales lie inside of the block, times its scale
 *
 * from which all kernels follow. bytes is the block, in memory or in registers: u8, u16 and u32 at an offset that is a
 * multiple of their size, and of which memory allows words as wide as the form's align says. Inlined, and with constant
 * offsets wherever speed matters, loads of neighbours and scales fall together. */
#pragma once
#include "compute/cuda/element.h"
#include "compute/grids.h"
#include "proto/form.h"

struct block_in_memory {
    const uint8_t *p;

    ELEMENT_MEMBER uint32_t u8(uint32_t at) const
    {
        return p[at];
    }
    ELEMENT_MEMBER uint32_t u16(uint32_t at) const
    {
        return *(const uint16_t *)(const void *)(p + at);
    }
    ELEMENT_MEMBER uint32_t u32(uint32_t at) const
    {
        return *(const uint32_t *)(const void *)(p + at);
    }
};

struct block_in_registers { /* 16 bytes of it */
    uint32_t words[4];

    ELEMENT_MEMBER uint32_t u8(uint32_t at) const
    {
        return words[at / 4] >> at % 4 * 8 & 0xffu;
    }
    ELEMENT_MEMBER uint32_t u16(uint32_t at) const
    {
        return words[at / 4] >> at % 4 * 8 & 0xffffu;
    }
    ELEMENT_MEMBER uint32_t u32(uint32_t at) const
    {
        return words[at / 4];
    }
};

#define FORM_ELEMENT(name) template <class BYTES> ELEMENT_FN float name##_element(const BYTES &b, uint32_t i)

FORM_ELEMENT(F32)
{
    return element_from_bits(b.u32(4 * i));
}

FORM_ELEMENT(F16)
{
    return element_f16(b.u16(2 * i));
}

FORM_ELEMENT(BF16)
{
    return element_bf16(b.u16(2 * i));
}

FORM_ELEMENT(F8_E4M3)
{
    return element_e4m3(b.u8(i));
}

FORM_ELEMENT(MXFP4)
{
    return element_e2m1(b.u8(i / 2) >> i % 2 * 4 & 15u); /* low nibble first */
}

FORM_ELEMENT(NVFP4_GRID)
{
    return MXFP4_element(b, i);
}

FORM_ELEMENT(I8)
{
    return (float)(int8_t)b.u8(i);
}

FORM_ELEMENT(I8_PACKED)
{
    return (float)((int)b.u8(i) - 128);
}

FORM_ELEMENT(I4_PACKED)
{
    return (float)((int)(b.u8(i / 2) >> i % 2 * 4 & 15u) - 8);
}

/* One of 16 levels; high nibble first. */
FORM_ELEMENT(NF4)
{
    const float levels[16] = {FORM_NF4_LEVELS};

    return levels[b.u8(i / 2) >> (1 - i % 2) * 4 & 15u];
}

FORM_ELEMENT(FP4)
{
    const float levels[16] = {FORM_FP4_LEVELS};

    return levels[b.u8(i / 2) >> (1 - i % 2) * 4 & 15u];
}

/* ---- scales inside: blocks of 32 to 256 elements. Nothing is rounded but the one addition of two exact products where a
 * block has minima, so fused or not they are the same ---- */

/* Number i of 32 in 16 bytes that begin at at: the first 16 low nibbles, then high ones. */
template <class BYTES> ELEMENT_FN uint32_t form_nibble(const BYTES &b, uint32_t at, uint32_t i)
{
    return b.u8(at + i % 16) >> i / 16 * 4 & 15u;
}

template <class BYTES> ELEMENT_FN uint32_t form_bit(const BYTES &b, uint32_t at, uint32_t i)
{
    return b.u8(at + i / 8) >> i % 8 & 1u;
}

FORM_ELEMENT(Q4_0)
{
    return element_f16(b.u16(0)) * (float)((int)form_nibble(b, 2, i) - 8);
}

FORM_ELEMENT(Q4_1)
{
    return element_f16(b.u16(0)) * (float)form_nibble(b, 4, i) + element_f16(b.u16(2));
}

FORM_ELEMENT(Q5_0)
{
    return element_f16(b.u16(0)) * (float)((int)(form_nibble(b, 6, i) | form_bit(b, 2, i) << 4) - 16);
}

FORM_ELEMENT(Q5_1)
{
    return element_f16(b.u16(0)) * (float)(form_nibble(b, 8, i) | form_bit(b, 4, i) << 4) + element_f16(b.u16(2));
}

FORM_ELEMENT(Q8_0)
{
    return element_f16(b.u16(0)) * (float)(int8_t)b.u8(2 + i);
}

/* Scale and minimum of elements [32 i, 32 i + 32) of Q4_K and Q5_K: 6 bits each, in bytes 4 to 15. */
template <class BYTES> ELEMENT_FN float form_k_scale(const BYTES &b, uint32_t i)
{
    uint32_t q = i < 4 ? b.u8(4 + i) & 63u : (b.u8(8 + i) & 15u) | b.u8(i) >> 6 << 4;

    return element_f16(b.u16(0)) * (float)q;
}

template <class BYTES> ELEMENT_FN float form_k_minimum(const BYTES &b, uint32_t i)
{
    uint32_t q = i < 4 ? b.u8(8 + i) & 63u : b.u8(8 + i) >> 4 | b.u8(4 + i) >> 6 << 4;

    return element_f16(b.u16(2)) * (float)q;
}

FORM_ELEMENT(Q4_K)
{
    uint32_t q = b.u8(16 + i / 64 * 32 + i % 32) >> i / 32 % 2 * 4 & 15u;

    return form_k_scale(b, i / 32) * (float)q - form_k_minimum(b, i / 32);
}

FORM_ELEMENT(Q5_K)
{
    uint32_t q = (b.u8(48 + i / 64 * 32 + i % 32) >> i / 32 % 2 * 4 & 15u) | (b.u8(16 + i % 32) >> i / 32 & 1u) << 4;

    return form_k_scale(b, i / 32) * (float)q - form_k_minimum(b, i / 32);
}

FORM_ELEMENT(Q6_K)
{
    uint32_t half = i / 128, quarter = i / 32 % 4, l = i % 32;
    uint32_t q = (b.u8(64 * half + quarter % 2 * 32 + l) >> quarter / 2 * 4 & 15u) |
                 (b.u8(128 + 32 * half + l) >> quarter * 2 & 3u) << 4;

    return element_f16(b.u16(208)) * (float)(int8_t)b.u8(192 + i / 16) * (float)((int)q - 32);
}

ELEMENT_FN float form_iq4(uint32_t code)
{
    /* -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113, the first the lowest byte */
    uint32_t four = code < 8 ? (code < 4 ? 0xbfad9881u : 0xf6eaddcfu) : code < 12 ? 0x26190d01u : 0x71594535u;

    return (float)(int8_t)(four >> code % 4 * 8 & 0xffu);
}

FORM_ELEMENT(IQ4_NL)
{
    return element_f16(b.u16(0)) * form_iq4(form_nibble(b, 2, i));
}

FORM_ELEMENT(IQ4_XS)
{
    uint32_t j = i / 32, q = (b.u8(4 + j / 2) >> j % 2 * 4 & 15u) | (b.u8(2 + j / 4) >> j % 4 * 2 & 3u) << 4;

    return element_f16(b.u16(0)) * (float)((int)q - 32) * form_iq4(form_nibble(b, 8 + 16 * j, i % 32));
}

/* Twice the number; minus zero is zero. */
ELEMENT_FN float form_e2m1_twice(uint32_t code)
{
    uint32_t four = code & 4u ? 0x0c080604u : 0x03020100u; /* 0 1 2 3, 4 6 8 12 */
    int x = (int)(four >> code % 4 * 8 & 0xffu);

    return (float)(code & 8u ? -x : x);
}

FORM_ELEMENT(MXFP4_BLOCK)
{
    return 0.5f * element_e8m0(b.u8(0)) * form_e2m1_twice(form_nibble(b, 1, i));
}

FORM_ELEMENT(NVFP4)
{
    uint32_t j = i / 16, s = b.u8(j);
    float scale = s == 0x7fu ? 0.0f : element_f16((s & 0x7fu) << 7) * 128.0f;

    return scale * form_e2m1_twice(b.u8(4 + 8 * j + i % 8) >> i / 8 % 2 * 4 & 15u);
}

/* Number i of 256 in 64 bytes that begin at at: of each 128, four times 32 share 32 bytes. */
template <class BYTES> ELEMENT_FN uint32_t form_two_bits(const BYTES &b, uint32_t at, uint32_t i)
{
    return b.u8(at + i / 128 * 32 + i % 32) >> i / 32 % 4 * 2 & 3u;
}

FORM_ELEMENT(Q2_K)
{
    uint32_t s = b.u8(i / 16);

    return element_f16(b.u16(80)) * (float)(s & 15u) * (float)form_two_bits(b, 16, i) -
           element_f16(b.u16(82)) * (float)(s >> 4);
}

FORM_ELEMENT(Q3_K)
{
    uint32_t j = i / 16, s = (b.u8(96 + j % 8) >> j / 8 * 4 & 15u) | (b.u8(104 + j % 4) >> j / 4 * 2 & 3u) << 4;
    int q = (int)form_two_bits(b, 32, i) - (b.u8(i % 32) >> i / 32 & 1u ? 0 : 4);

    return element_f16(b.u16(108)) * (float)((int)s - 32) * (float)q;
}

FORM_ELEMENT(TQ2_0)
{
    return element_f16(b.u16(64)) * (float)((int)form_two_bits(b, 0, i) - 1);
}

FORM_ELEMENT(TQ1_0)
{
    uint32_t byte = i < 160 ? b.u8(i % 32) : i < 240 ? b.u8(32 + i % 16) : b.u8(48 + i % 4);
    uint32_t n = i < 160 ? i / 32 : i < 240 ? i / 16 - 10 : i / 4 - 60; /* which digit of base 3 */
    uint32_t power = n == 0 ? 1 : n == 1 ? 3 : n == 2 ? 9 : n == 3 ? 27 : 81;

    return element_f16(b.u16(52)) * (float)((int)((byte * power & 255u) * 3 >> 8) - 1);
}

/* ---- grids: once for the device and, where the functions are for both, once for the host ---- */

#define GRID_ENTRY(x) x,
#define GRID_TABLES(kind, suffix)                                                                                      \
    kind const uint16_t grid_iq1##suffix[] = {GRID_IQ1(GRID_ENTRY)};                                                   \
    kind const uint16_t grid_iq2_xxs##suffix[] = {GRID_IQ2_XXS(GRID_ENTRY)};                                           \
    kind const uint16_t grid_iq2_xs##suffix[] = {GRID_IQ2_XS(GRID_ENTRY)};                                             \
    kind const uint16_t grid_iq2_s##suffix[] = {GRID_IQ2_S(GRID_ENTRY)};                                               \
    kind const uint16_t grid_iq3_xxs##suffix[] = {GRID_IQ3_XXS(GRID_ENTRY)};                                           \
    kind const uint16_t grid_iq3_s##suffix[] = {GRID_IQ3_S(GRID_ENTRY)};
#ifdef __CUDA_ARCH__
GRID_TABLES(static __device__, _device)
#define GRID_AT(name, i) grid_##name##_device[i]
#else
#ifdef __CUDACC__
GRID_TABLES(static __device__, _device) /* both passes of the compiler have to see the same variables */
#endif
GRID_TABLES(static, _host)
#define GRID_AT(name, i) grid_##name##_host[i]
#endif

/* Value i of an entry: 8 codes of 2 bits for 8, 25, 43. */
ELEMENT_FN float form_iq2(uint32_t entry, uint32_t i)
{
    uint32_t c = entry >> i * 2 & 3u;

    return (float)(8 + 17 * c + c / 2);
}

/* 4 codes of 4 bits. */
ELEMENT_FN uint32_t form_iq3(uint32_t entry, uint32_t i)
{
    return entry >> i * 4 & 7u;
}

/* x, negative where bit i of bits is one: of 7 bits, the eighth is their parity. */
ELEMENT_FN float form_signed(float x, uint32_t bits, uint32_t i)
{
    bits &= 127u;
    bits |= (bits ^ bits << 1 ^ bits << 2 ^ bits << 3 ^ bits << 4 ^ bits << 5 ^ bits << 6) << 1 & 128u;
    return bits >> i & 1u ? -x : x;
}

template <class BYTES> ELEMENT_FN uint32_t form_word(const BYTES &b, uint32_t at)
{
    return b.u16(at) | b.u16(at + 2) << 16;
}

/* d times a scale of 4 bits for each 16 elements, and a half. */
template <class BYTES> ELEMENT_FN float form_nibble_scale(const BYTES &b, uint32_t at, uint32_t i)
{
    return element_f16(b.u16(0)) * (0.5f + (float)(b.u8(at + i / 32) >> i / 16 % 2 * 4 & 15u)) * 0.25f;
}

FORM_ELEMENT(IQ2_XXS)
{
    uint32_t at = 2 + i / 32 * 8, w = form_word(b, at + 4);
    float scale = element_f16(b.u16(0)) * (0.5f + (float)(w >> 28)) * 0.25f;

    return form_signed(scale * form_iq2(GRID_AT(iq2_xxs, b.u8(at + i / 8 % 4)), i % 8), w >> i / 8 % 4 * 7, i % 8);
}

FORM_ELEMENT(IQ2_XS)
{
    uint32_t q = b.u16(2 + i / 8 * 2);

    return form_signed(form_nibble_scale(b, 66, i) * form_iq2(GRID_AT(iq2_xs, q & 511u), i % 8), q >> 9, i % 8);
}

FORM_ELEMENT(IQ2_S)
{
    uint32_t j = i / 8, q = b.u8(2 + j) | (b.u8(66 + j / 4) >> j % 4 * 2 & 3u) << 8;
    float x = form_nibble_scale(b, 74, i) * form_iq2(GRID_AT(iq2_s, q), i % 8);

    return form_bit(b, 34, i) ? -x : x;
}

FORM_ELEMENT(IQ3_XXS)
{
    uint32_t w = form_word(b, 66 + i / 32 * 4), c = form_iq3(GRID_AT(iq3_xxs, b.u8(2 + i / 4)), i % 4);
    float scale = element_f16(b.u16(0)) * (0.5f + (float)(w >> 28)) * 0.5f;

    return form_signed(scale * (float)(4 + 8 * c + c / 7 * 2), w >> i / 8 % 4 * 7, i % 8);
}

FORM_ELEMENT(IQ3_S)
{
    uint32_t q = b.u8(2 + i / 4) | form_bit(b, 66, i / 4) << 8, s = b.u8(106 + i / 64) >> i / 32 % 2 * 4 & 15u;
    float x = element_f16(b.u16(0)) * (float)(1 + 2 * s) * (float)(1 + 2 * form_iq3(GRID_AT(iq3_s, q), i % 4));

    return form_bit(b, 74, i) ? -x : x;
}

/* -1, 0 or 1 and an eighth more, or less. */
ELEMENT_FN float form_iq1(uint32_t entry, uint32_t i, uint32_t less)
{
    return (float)(int)(entry >> i * 2 & 3u) - 1.0f + (less ? -0.125f : 0.125f);
}

FORM_ELEMENT(IQ1_S)
{
    uint32_t high = b.u16(34 + i / 32 * 2), q = b.u8(2 + i / 8) | (high >> i / 8 % 4 * 3 & 7u) << 8;

    return element_f16(b.u16(0)) * (float)(2 * (high >> 12 & 7u) + 1) * form_iq1(GRID_AT(iq1, q), i % 8, high >> 15);
}

/* d lies in the highest bits of four words. */
FORM_ELEMENT(IQ1_M)
{
    uint32_t high = b.u8(32 + i / 16) >> i / 8 % 2 * 4, q = b.u8(i / 8) | (high & 7u) << 8;
    uint32_t d = b.u16(48) >> 12 | (b.u16(50) >> 12) << 4 | (b.u16(52) >> 12) << 8 | (b.u16(54) >> 12) << 12;
    uint32_t s = b.u16(48 + i / 64 * 2) >> i / 16 % 4 * 3 & 7u;

    return element_f16(d) * (float)(2 * s + 1) * form_iq1(GRID_AT(iq1, q), i % 8, high >> 3 & 1u);
}

/* ---- the form as an argument; a constant wherever speed matters. NaN where it is none ---- */

template <class BYTES> ELEMENT_FN float form_element(uint32_t form, const BYTES &b, uint32_t i)
{
    switch (form) {
#define FORM_CASE(name, ...)                                                                                           \
    case FORM_##name: return name##_element(b, i);
        FORM_WEIGHTS(FORM_CASE)
#undef FORM_CASE
    }
    return element_from_bits(0x7fc00000u);
}

/* Element k of a row. */
ELEMENT_FN float form_load(uint32_t form, const void *row, uint64_t k)
{
    uint32_t elements = form_elements(form);
    block_in_memory b = {(const uint8_t *)row + k / elements * form_bytes(form)};

    return form_element(form, b, (uint32_t)(k % elements));
}

/* Scale k of a row of a grid. */
ELEMENT_FN float form_load_scale(uint32_t form, const void *row, uint64_t k)
{
    switch (form) {
    case FORM_F32: return ((const float *)row)[k];
    case FORM_BF16: return element_bf16(((const uint16_t *)row)[k]);
    case FORM_F16: return element_f16(((const uint16_t *)row)[k]);
    case FORM_F8_E8M0: return element_e8m0(((const uint8_t *)row)[k]);
    case FORM_F8_E4M3: return element_e4m3(((const uint8_t *)row)[k]);
    }
    return element_from_bits(0x7fc00000u);
}

/* x, or what is not a number where its magnitude has these bits or more. */
ELEMENT_FN float form_below_or_nan(float x, uint32_t limit)
{
    return (element_bits(x) & 0x7fffffffu) < limit ? x : element_from_bits(0x7fc00000u);
}

/* Narrows x into element at of a KV cache, one of the forms that are FORM_CACHE. What is too large for it becomes not a
 * number, and not infinite: a score of minus infinity would be taken for a position that is not seen, and nobody would
 * notice. The limits are what would be rounded to infinity. */
ELEMENT_FN void form_store(uint32_t form, void *cache, uint64_t at, float x)
{
    switch (form) {
    case FORM_F32: ((float *)cache)[at] = x; return;
    case FORM_BF16: ((uint16_t *)cache)[at] = element_to_bf16(form_below_or_nan(x, 0x7f7f8000u)); return;
    case FORM_F16: ((uint16_t *)cache)[at] = element_to_f16(form_below_or_nan(x, 0x477ff000u)); return;
    }
}
