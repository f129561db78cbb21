/* Numbers into the blocks of GGUF's types, and back: plain C in one fixed order of operations, so that the same numbers give the
 * same bytes on every machine. Layouts: compute/cpu/body_blocks.h has them for the kernels; here for whole rows.
 *
 * What a type of few levels loses depends on its scales, so these are searched for: of each group of elements several dozens are
 * tried, each with the least squares that go with it, and the one with the least weighted error is kept. Large elements weigh
 * more, for they matter more to a product. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Types by their numbers in GGUF. */
enum block_type {
    BLOCK_F32 = 0,
    BLOCK_F16 = 1,
    BLOCK_Q5_0 = 6,
    BLOCK_Q5_1 = 7,
    BLOCK_Q8_0 = 8,
    BLOCK_Q4_K = 12,
    BLOCK_Q5_K = 13,
    BLOCK_Q6_K = 14,
    BLOCK_BF16 = 30,
    BLOCK_MXFP4 = 39
};

/* n, whole blocks, become gguf_type()'s bytes of them. Not MXFP4: that is never made of other numbers. false: an element is no
 * finite number, or too large for the type. */
bool blocks_make(enum block_type type, uint8_t *out, const float *x, uint64_t n);
/* The way back, as every reader does it; MXFP4 too. */
void blocks_read(enum block_type type, float *x, const uint8_t *in, uint64_t n);
/* 32 elements of MXFP4 of a folder, neighbours in a byte, with their scale, as a block of GGUF's: elements i and i + 16. */
void blocks_mxfp4(uint8_t *out, const uint8_t *in, uint8_t scale);
