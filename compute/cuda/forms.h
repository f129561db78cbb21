/* Stored forms on the device: for each form of FORM_WEIGHTS one function,
 *
 *   NAME_element(bytes, i)   element i of a block as float32; where scales lie inside of the block, times its scale
 *
 * from which all kernels follow. bytes is the block, in memory or in registers: u8, u16 and u32 at an offset that is a
 * multiple of their size, and of which memory allows words as wide as the form's align says. Inlined, and with constant
 * offsets wherever speed matters, loads of neighbours and scales fall together. */
#pragma once
#include "compute/cuda/element.h"
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
    case FORM_F8_E8M0: return element_e8m0(((const uint8_t *)row)[k]);
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
