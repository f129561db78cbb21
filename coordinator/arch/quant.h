/* quantization_config: how the weights of a folder are stored. Forms that are not known are refused by name; of those
 * that are, the tensors themselves say which matrices they apply to (a scale lies beside each). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/source/config.h"
#include "coordinator/source/tensors.h"

enum quant_kind {
    QUANT_NONE,
    QUANT_FP8,
    QUANT_MXFP4,
    QUANT_COMPRESSED,
    QUANT_MODELOPT,
    QUANT_BITSANDBYTES,
    QUANT_GPTQ,
    QUANT_AWQ
};
/* FP8; whole numbers of 4 or 8 bits; numbers e2m1 with two scales (NVFP4); one of 16 levels (NF4). */
enum quant_numbers { QUANT_FLOATS, QUANT_INTEGERS, QUANT_E2M1, QUANT_LEVELS };

enum quant_span { QUANT_OF_MATRIX, QUANT_OF_ROW };

/* Elements that share a scale. */
struct quant_block {
    uint32_t rows, cols;
};

#define QUANT_BLOCKS 4u /* sizes of blocks in one folder */
struct quant {
    enum quant_kind kind;
    uint32_t blocks; /* that config.json names; scales cover groups of columns, rows or the whole matrix otherwise */
    struct quant_block block[QUANT_BLOCKS];
    /* For folders whose tensors are not there to tell: what a scale of most matrices covers, and its type. Blocks go first. */
    enum quant_span span;
    enum quant_numbers numbers;
    uint32_t bits, group;       /* of whole numbers; columns that share a scale, 0: all of a row or of the matrix */
    bool packed, zeros, nested; /* in words; all whole numbers have zero points; scales have scales */
    bool zeros_less, grouped;   /* GPTQ: zero points are stored less one; inputs name their groups (desc_act) */
    const json_t *left_out;     /* modules that are not quantized, the config's own; NULL: nobody says */
    bool left_out_within;       /* it lists parts of their names */
    uint32_t scale_dtype;       /* enum tensor_dtype; TENSOR_DTYPES: that of the model */
    bool fp4_experts;           /* experts of FP8 folders have numbers of 4 bits (DeepSeek V4) */
    bool kv_scales;             /* scales of a narrower KV cache are given; keys and values are not scaled here */
};

/* Of config.json, or where that says nothing, of hf_quant_config.json, quantize_config.json (GPTQ) or quant_config.json (AWQ)
 * beside it. Sticky: see config.h. */
struct quant quant_read(const struct config *c, const struct tensors *t, struct error *e);
/* Whether config.json leaves out the module of this weight, "model.layers.0.self_attn.q_proj.weight". */
bool quant_leaves_out(const struct quant *q, const char *weight);
/* -ENOTSUP, with the method, for weights that are quantized, as their tensors tell, although no file says so. */
int quant_unnamed(const struct config *c, const struct tensors *t, struct error *e);
