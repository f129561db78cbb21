/* Kernels of the forms whose scales lie inside of their blocks (FORM_BLOCKS), compiled by themselves: blocks_*.c has them for
 * one instruction set each, named after it by the VARIANT() of its vec_*.h. */
#pragma once
#include "compute/cpu/cpu.h"

/* Columns [k0, k1) of a row to float32 at dst, dst + stride, ... in steps of 16; the last filled up with zeros. k0: a
 * multiple of 16, and where a block begins. */
typedef void dequantize_fn(const struct cpu_product *a, size_t r, size_t k0, size_t k1, float *dst, size_t stride);

#define BLOCK_KERNELS(name, ...)                                                                                       \
    dequantize_fn VARIANT(dequantize_##name);                                                                          \
    void VARIANT(gemv_##name)(const struct cpu_product *a, size_t r0, size_t r1);
FORM_BLOCKS(BLOCK_KERNELS)
#undef BLOCK_KERNELS

/* Rows [r0, r1) times few tokens, TILE_TOKENS at most, of any form: some columns of some rows are dequantized, into the
 * first cache, and multiplied with all tokens. The order of every sum is that of gemv. */
void VARIANT(gemv_widened)(const struct cpu_product *a, dequantize_fn *dequantize, size_t r0, size_t r1);
