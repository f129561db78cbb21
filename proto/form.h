/* Stored forms: how numbers lie in a file, hence in a slot, in the host cache and in device memory.
 *
 * A form is one row of FORM_TABLE. A row of a matrix is whole blocks of its form; a block is `elements`
 * consecutive columns in `bytes` bytes. Where the numbers of a block are multiplied by scales, these lie
 *
 *   FORM_SCALES_NONE     nowhere: the elements are the numbers
 *   FORM_SCALES_GRID     in a tensor of their own, one for each grid_rows x grid_cols elements (0: the matrix says
 *                        how many: plan_matrix.block_rows, block_cols), stored in one of the forms of the bit set
 *                        scale_forms. They travel as PART_SCALE before the rows that they serve
 *   FORM_SCALES_INSIDE   inside of the block
 *
 * Dequantizing is exact in the form `to`, in which a dequantized matrix may be kept; everywhere else it is
 * float32: stored number times scale, rounded once; of blocks that have minima, the difference (or sum) of two
 * exact products, rounded once. Activations are float32 whatever the form.
 *
 * Who reads the table: the coordinator (which tensors can be weights, row bytes, tiles, predicted bytes),
 * plan_check(), compute's search for what is no finite number, sluice-verify, the profiles' stub stages. Who has
 * code of its own for each form has it there: compute/cpu/body_forms.h and body_blocks.h, compute/cpu/reference.c,
 * compute/cuda/forms.h; all of them run over FORM_WEIGHTS, so that a form without its functions does not compile, or link.
 * A number that is no form is an error that names it, wherever it is met.
 *
 * ---- how to add one ----
 * In all cases: a row here, its types' form in the table of whoever reads the file
 * (coordinator/source/safetensors.c, gguf_types.c), its functions in the files named above on leaves of vec_plain.h,
 * vec_avx2.h and vec_avx512.h, and the tests over the table (tests/test_forms.c, test_kernels.c,
 * gpu/test_cuda_products.c, test_cuda_ops.c) hold it against the scalar reference.
 *
 * GGUF's blocks (32 to 256 elements, scales inside; offsets of rows are whole blocks, so a row of a 3-D tensor's expert is
 * cut like any other): a row of FORM_BLOCKS, a line in compute/cpu/body_blocks_all.h, its blocks in
 * tests/make_blocks.py, whose vectors tests/test_blocks.c holds it against.
 *
 * Whole numbers with zero points in another tensor (compressed-tensors): FORM_SCALES_GRID with grid_cols given by the
 * matrix, and form_zero_pack() says how they lie; they travel as PART_ZERO between PART_SCALE and PART_WEIGHT.
 *
 * Matrices of which the file's rows are inputs, and whose numbers lie in words of 32 bits (AWQ, GPTQ): FORM_TURNED. Only
 * MATMUL_TRANSPOSED and transposed experts multiply with them. A stored row, by which parts and scales count, holds
 * form_deep() rows of inputs: in a word, the one below the other. A row of FORM_TURNED, its numbers in
 * compute/cpu/body_turned.h, compute/cpu/reference.c and compute/cuda/turned.cu.
 *
 * Lossless units (proto/unit/unit.h: whole rows in fewer bytes): the matrix keeps the form that its elements have once
 * they are unpacked (BF16), for the kernels, and says with unit_rows that it is packed; B223 is the form of its parts
 * alone, whole units each, whose places come from the plan's table of units instead of from row0. plan_part.bytes are
 * stored bytes, and readers, rings, caches and copies know nothing else. Compute unpacks a few rows at a time into its
 * scratch and calls the kernels of BF16. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum form_scales { FORM_SCALES_NONE, FORM_SCALES_GRID, FORM_SCALES_INSIDE };

/* What else than elements of a matrix a form can be, and whether it is that. */
#define FORM_WEIGHT 1u /* elements of a matrix: all kernels of products know it */
#define FORM_SCALE  2u /* elements of a grid of scales */
#define FORM_CACHE  4u /* keys and values of the KV cache: narrowed to it, and dequantized again */
#define FORM_TURNED 8u /* elements of a matrix stored [inputs][outputs]: kernels of transposed products alone know it */

#define FORM_BIT(name)    (UINT64_C(1) << FORM_##name)
#define FORM_SCALES_FLOAT (FORM_BIT(F32) | FORM_BIT(BF16) | FORM_BIT(F16))

/* The table. A row:
 *
 *   name       FORM_name, and what people read
 *   elements, bytes   of a block
 *   align      on a device, where payloads begin at multiples of 256 bytes, every block begins at a multiple of it, and
 *              kernels may load words so wide; processors' kernels read at any byte
 *   to         the form in which dequantized numbers are exact, F32 where that is rounded once
 *   scales     where they lie; of a grid: rows and columns that share one (0: the matrix says), FORM_BIT()s of their form
 *   also       FORM_SCALE, FORM_CACHE, FORM_TURNED, or 0
 *   codes      those of a block that can be no finite number: offset of the first, how many, bytes of one; a code c is none
 *              where (c & ones) == ones, and then an infinity where fraction is not 0 and c & fraction is 0
 *   filler     a byte that, repeated, makes blocks of small finite numbers
 *
 * First the forms that matrices can have, of these those whose scales lie inside of their blocks last (FORM_BLOCKS), then
 * those of FORM_TURNED, then the others; those of them that are no FORM_SCALE are looked at by verify only.
 *
 *      name  elements bytes align to scales, rows, cols, forms of a grid
 *          also                     codes                                             filler */
/* clang-format off */
#define FORM_PLAIN(ROW)                                                                                                \
    ROW(F32,       1,  4, 4, F32,  NONE,  0,  0, 0,                                                                    \
        FORM_SCALE | FORM_CACHE, (0, 1, 4, 0x7f800000, 0x7fffff),                  0x3c)                               \
    ROW(BF16,      1,  2, 2, BF16, NONE,  0,  0, 0,                                                                    \
        FORM_SCALE | FORM_CACHE, (0, 1, 2, 0x7f80, 0x7f),                          0x3c)                               \
    ROW(F16,       1,  2, 2, F32,  NONE,  0,  0, 0,                                                                    \
        FORM_SCALE | FORM_CACHE, (0, 1, 2, 0x7c00, 0x3ff),                         0x2c)                               \
    ROW(F8_E4M3,   1,  1, 1, F32,  GRID,  0,  0, FORM_SCALES_FLOAT | FORM_BIT(F8_E8M0),                                 \
        FORM_SCALE,              (0, 1, 1, 0x7f, 0),                               0x3c)                               \
    ROW(MXFP4,    32, 16, 1, BF16, GRID,  1, 32, FORM_BIT(F8_E8M0),                                                    \
        0,                       (0, 0, 0, 0, 0),                                  0x21)                               \
    ROW(NVFP4_GRID, 16, 8, 1, F32, GRID,  1, 16, FORM_BIT(F8_E4M3),                                                    \
        0,                       (0, 0, 0, 0, 0),                                  0x21)                               \
    ROW(I8,        1,  1, 1, F32,  GRID,  0,  0, FORM_SCALES_FLOAT,                                                    \
        0,                       (0, 0, 0, 0, 0),                                  0x01)                               \
    ROW(I8_PACKED, 4,  4, 1, F32,  GRID,  0,  0, FORM_SCALES_FLOAT,                                                    \
        0,                       (0, 0, 0, 0, 0),                                  0x81)                               \
    ROW(I4_PACKED, 8,  4, 1, F32,  GRID,  0,  0, FORM_SCALES_FLOAT,                                                    \
        0,                       (0, 0, 0, 0, 0),                                  0x99)                               \
    ROW(NF4,       2,  1, 1, F32,  GRID,  1,  0, FORM_BIT(F32) | FORM_BIT(BYTES),                                      \
        0,                       (0, 0, 0, 0, 0),                                  0x88)                               \
    ROW(FP4,       2,  1, 1, F32,  GRID,  1,  0, FORM_BIT(F32) | FORM_BIT(BYTES),                                      \
        0,                       (0, 0, 0, 0, 0),                                  0x11)
#define FORM_BLOCKS(ROW)                                                                                               \
    ROW(Q4_0,         32,  18,  2, F32,  INSIDE, 0, 0, 0, 0, (0, 1, 2, 0x7c00, 0x3ff), 0x26)                           \
    ROW(Q4_1,         32,  20,  4, F32,  INSIDE, 0, 0, 0, 0, (0, 2, 2, 0x7c00, 0x3ff), 0xa3)                           \
    ROW(Q5_0,         32,  22,  2, F32,  INSIDE, 0, 0, 0, 0, (0, 1, 2, 0x7c00, 0x3ff), 0xa6)                           \
    ROW(Q5_1,         32,  24,  8, F32,  INSIDE, 0, 0, 0, 0, (0, 2, 2, 0x7c00, 0x3ff), 0xa1)                           \
    ROW(Q8_0,         32,  34,  2, F32,  INSIDE, 0, 0, 0, 0, (0, 1, 2, 0x7c00, 0x3ff), 0x9a)                           \
    ROW(IQ4_NL,       32,  18,  2, F32,  INSIDE, 0, 0, 0, 0, (0, 1, 2, 0x7c00, 0x3ff), 0x14)                           \
    ROW(MXFP4_BLOCK,  32,  17,  1, BF16, INSIDE, 0, 0, 0, 0, (0, 1, 1, 0xff, 0), 0x79)                                 \
    ROW(NVFP4,        64,  36,  4, BF16, INSIDE, 0, 0, 0, 0, (0, 0, 0, 0, 0), 0x1b)                                    \
    ROW(Q2_K,        256,  84,  4, F32,  INSIDE, 0, 0, 0, 0, (80, 2, 2, 0x7c00, 0x3ff), 0xa1)                          \
    ROW(Q3_K,        256, 110,  2, F32,  INSIDE, 0, 0, 0, 0, (108, 1, 2, 0x7c00, 0x3ff), 0x16)                         \
    ROW(Q4_K,        256, 144, 16, F32,  INSIDE, 0, 0, 0, 0, (0, 2, 2, 0x7c00, 0x3ff), 0x90)                           \
    ROW(Q5_K,        256, 176, 16, F32,  INSIDE, 0, 0, 0, 0, (0, 2, 2, 0x7c00, 0x3ff), 0x8b)                           \
    ROW(Q6_K,        256, 210,  2, F32,  INSIDE, 0, 0, 0, 0, (208, 1, 2, 0x7c00, 0x3ff), 0x0e)                         \
    ROW(IQ4_XS,      256, 136,  8, F32,  INSIDE, 0, 0, 0, 0, (0, 1, 2, 0x7c00, 0x3ff), 0x05)                           \
    ROW(IQ1_S,       256,  50,  2, F32,  INSIDE, 0, 0, 0, 0, (0, 1, 2, 0x7c00, 0x3ff), 0xa3)                           \
    ROW(IQ1_M,       256,  56,  8, F32,  INSIDE, 0, 0, 0, 0, (48, 1, 8, 0x7000c00000000000, 0x3000f000f000), 0x2c)     \
    ROW(IQ2_XXS,     256,  66,  2, F32,  INSIDE, 0, 0, 0, 0, (0, 1, 2, 0x7c00, 0x3ff), 0x9b)                           \
    ROW(IQ2_XS,      256,  74,  2, F32,  INSIDE, 0, 0, 0, 0, (0, 1, 2, 0x7c00, 0x3ff), 0x95)                           \
    ROW(IQ2_S,       256,  82,  2, F32,  INSIDE, 0, 0, 0, 0, (0, 1, 2, 0x7c00, 0x3ff), 0x17)                           \
    ROW(IQ3_XXS,     256,  98,  2, F32,  INSIDE, 0, 0, 0, 0, (0, 1, 2, 0x7c00, 0x3ff), 0x1f)                           \
    ROW(IQ3_S,       256, 110,  2, F32,  INSIDE, 0, 0, 0, 0, (0, 1, 2, 0x7c00, 0x3ff), 0x0f)                           \
    ROW(TQ1_0,       256,  54,  2, F32,  INSIDE, 0, 0, 0, 0, (52, 1, 2, 0x7c00, 0x3ff), 0xb1)                          \
    ROW(TQ2_0,       256,  66,  2, F32,  INSIDE, 0, 0, 0, 0, (64, 1, 2, 0x7c00, 0x3ff), 0x2c)
#define FORM_WEIGHTS(ROW) FORM_PLAIN(ROW) FORM_BLOCKS(ROW)
#define FORM_TURNEDS(ROW)                                                                                              \
    ROW(GPTQ_4,    1,  4, 4, F32,  GRID,  0,  1, FORM_BIT(F16) | FORM_BIT(BF16),                                       \
        FORM_TURNED,             (0, 0, 0, 0, 0),                                  0x21)                               \
    ROW(GPTQ_8,    1,  4, 4, F32,  GRID,  0,  1, FORM_BIT(F16) | FORM_BIT(BF16),                                       \
        FORM_TURNED,             (0, 0, 0, 0, 0),                                  0x02)                               \
    ROW(AWQ_4,     8,  4, 4, F32,  GRID,  0,  1, FORM_BIT(F16) | FORM_BIT(BF16),                                       \
        FORM_TURNED,             (0, 0, 0, 0, 0),                                  0x21)
#define FORM_OTHERS(ROW)                                                                                               \
    ROW(F8_E8M0,   1,  1, 1, BF16, NONE,  0,  0, 0,                                                                    \
        FORM_SCALE,              (0, 1, 1, 0xff, 0),                               0x78)                               \
    ROW(F8_E5M2,   1,  1, 1, F32,  NONE,  0,  0, 0,                                                                    \
        0,                       (0, 1, 1, 0x7c, 0x03),                            0x2c)                               \
    ROW(F64,       1,  8, 8, F64,  NONE,  0,  0, 0,                                                                    \
        0,                       (0, 1, 8, 0x7ff0000000000000, 0xfffffffffffff),   0x3c)                               \
    ROW(BYTES,     1,  1, 1, BYTES,NONE,  0,  0, 0,                                                                    \
        FORM_SCALE,              (0, 0, 0, 0, 0),                                  0x3c)                               \
    ROW(B223,      1,  1, 1, BF16, NONE,  0,  0, 0,                                                                    \
        0,                       (0, 0, 0, 0, 0),                                  0x3c)
/* clang-format on */
#define FORM_TABLE(ROW) FORM_WEIGHTS(ROW) FORM_TURNEDS(ROW) FORM_OTHERS(ROW)
/* MXFP4 (OCP microscaling formats 1.0): a block's 32 numbers e2m1, two in a byte, the low nibble first. F8_*: OCP 8-bit
 * floating point 1.0; e4m3 has no infinity, e8m0 is 2^(x - 127). BYTES: integers, bits, anything. B223: bytes of units, of parts
 * alone. FORM_BLOCKS are GGUF's
 * types, layouts as ggml-common.h has them; MXFP4_BLOCK is its MXFP4, with the e8m0 scale before the 32 numbers, whose first
 * 16 are low nibbles. A matrix of NVFP4 may be multiplied by one more number for all of it, which lies in another tensor:
 * that is an operation on the product, and no matter of the form. NVFP4_GRID are the same numbers, two in a byte, the low nibble
 * first, with a scale e4m3 in another tensor for each 16. I8: whole numbers; I8_PACKED and I4_PACKED: with 128 and 8 added, the
 * first in the lowest bits. NF4 and FP4 (bitsandbytes): one of 16 levels, the high nibble first.
 * GPTQ_4, GPTQ_8: words of 8 and 4 inputs of one output, the first in the lowest bits. AWQ_4: words of 8 outputs of one input,
 * of which bits 4 i and up hold output 0 2 4 6 1 3 5 7 [i]. */

#define FORM_ENUM(name, ...) FORM_##name,
enum form { FORM_TABLE(FORM_ENUM) FORMS };
#undef FORM_ENUM

#define FORM_BLOCK_MOST 256u /* bytes of a block */

/* ---- columns of the table as constants: where form is one, so is what these return; 0 where it is none ---- */

#ifdef __CUDACC__
#define FORM_CONSTANT static constexpr __host__ __device__
#elif defined __cplusplus
#define FORM_CONSTANT static constexpr
#else
#define FORM_CONSTANT static inline
#endif
#define FORM_COLUMN(function, row)                                                                                     \
    FORM_CONSTANT uint32_t function(uint32_t form)                                                                     \
    {                                                                                                                  \
        switch (form) {                                                                                                \
            FORM_TABLE(row)                                                                                            \
        }                                                                                                              \
        return 0;                                                                                                      \
    }
/* clang-format off */
#define FORM_ELEMENTS_OF(name, elements, ...)                              case FORM_##name: return (elements);
#define FORM_BYTES_OF(name, elements, bytes, ...)                          case FORM_##name: return (bytes);
#define FORM_ALIGN_OF(name, elements, bytes, align, ...)                   case FORM_##name: return (align);
#define FORM_TO_OF(name, elements, bytes, align, to, ...)                  case FORM_##name: return FORM_##to;
#define FORM_SCALES_OF(name, elements, bytes, align, to, scales, ...)      case FORM_##name: return FORM_SCALES_##scales;
#define FORM_GRID_COLS_OF(name, elements, bytes, align, to, scales, rows, cols, ...) case FORM_##name: return (cols);
/* clang-format on */
FORM_COLUMN(form_elements, FORM_ELEMENTS_OF)
FORM_COLUMN(form_bytes, FORM_BYTES_OF)
FORM_COLUMN(form_align, FORM_ALIGN_OF)
FORM_COLUMN(form_to, FORM_TO_OF)
FORM_COLUMN(form_scales, FORM_SCALES_OF)
FORM_COLUMN(form_grid_cols, FORM_GRID_COLS_OF)

/* Zero points that a matrix of a form may have (plan_matrix.zero_rows): one for each scale, stored like the numbers
 * themselves, in words of so many consecutive rows (1: bytes), the first row in the lowest bits. 0: it has none. */
FORM_CONSTANT uint32_t form_zero_pack(uint32_t form)
{
    return form == FORM_I8 ? 1 : form == FORM_I8_PACKED ? 4 : form == FORM_I4_PACKED ? 8 : 0;
}

/* Rows of inputs in a stored row of a form of FORM_TURNED; 1 of all others. */
FORM_CONSTANT uint32_t form_deep(uint32_t form)
{
    return form == FORM_GPTQ_4 ? 8 : form == FORM_GPTQ_8 ? 4 : 1;
}

/* Zero points in a word: those of FORM_TURNED lie along the row of scales, one for each output, in words as the form's numbers
 * have them (GPTQ: the first in the lowest bits). 0: it is no such form. */
FORM_CONSTANT uint32_t form_turned_pack(uint32_t form)
{
    return form == FORM_GPTQ_4 || form == FORM_AWQ_4 ? 8 : form == FORM_GPTQ_8 ? 4 : 0;
}

/* The levels of bitsandbytes' forms. */
#define FORM_NF4_LEVELS                                                                                                \
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,                   \
        -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,                \
        0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f,    \
        1.0f
#define FORM_FP4_LEVELS                                                                                                \
    0.0f, 0.005208333333333333f, 0.6666666666666666f, 1.0f, 0.3333333333333333f, 0.5f, 0.16666666666666666f, 0.25f,    \
        -0.0f, -0.005208333333333333f, -0.6666666666666666f, -1.0f, -0.3333333333333333f, -0.5f,                       \
        -0.16666666666666666f, -0.25f

/* ---- the table ---- */

struct form_info {
    const char *name;
    uint16_t elements, bytes; /* of a block */
    uint8_t align, filler;
    uint8_t to;     /* enum form */
    uint8_t scales; /* enum form_scales */
    uint32_t can_be;
    uint64_t scale_forms; /* FORM_BIT()s */
    uint16_t grid_rows, grid_cols;
    uint16_t code_off;
    uint8_t codes, code_bytes;
    uint64_t special, fraction;
};

#ifdef __cplusplus
extern "C" {
#endif

/* A form's row; NULL where it is none. */
const struct form_info *form_info(uint32_t form);
/* Its name; "unknown" where it is none. */
const char *form_name(uint32_t form);
/* Bytes of a row of cols elements; 0 where that is no whole number of blocks, or no form. */
uint64_t form_row_bytes(uint32_t form, uint64_t cols);

/* Can matrices, grids of scales, or vectors (dequantized element by element, once) be stored so? */
bool form_can_be(uint32_t form, uint32_t what);
bool form_can_be_vector(uint32_t form);
/* Can rows be gathered one by one, without anything that lies elsewhere? */
bool form_can_be_table(uint32_t form);
/* Can scale_form be the form of a grid of scales of it? */
bool form_scaled_by(uint32_t form, uint32_t scale_form);

enum form_kind { FORM_FINITE, FORM_INFINITE, FORM_NOT_A_NUMBER };

#ifdef __cplusplus
}
#endif

/* Code number i of a block, and what it is. */
static inline uint64_t form_code(const struct form_info *f, const uint8_t *block, uint32_t i)
{
    const uint8_t *p = block + f->code_off + (uint64_t)i * f->code_bytes;
    uint64_t code = 0;

    for (uint32_t b = 0; b < f->code_bytes; b++) code |= (uint64_t)p[b] << 8 * b;
    return code;
}

static inline enum form_kind form_kind(const struct form_info *f, uint64_t code)
{
    if (!f->codes || (code & f->special) != f->special) return FORM_FINITE;
    return f->fraction && !(code & f->fraction) ? FORM_INFINITE : FORM_NOT_A_NUMBER;
}
