/* quantization_config: how the weights of a folder are stored. Forms that are not known are refused by name; of those
 * that are, the tensors themselves say which matrices they apply to (a scale lies beside each). */
#pragma once
#include <stdint.h>
#include "coordinator/source/config.h"
#include "coordinator/source/tensors.h"

enum quant_kind { QUANT_NONE, QUANT_FP8, QUANT_MXFP4 };

struct quant {
    enum quant_kind kind;
    uint32_t block_rows, block_cols; /* FP8: of one scale; 0: scales cover rows or the whole matrix */
};

/* Sticky: see config.h. */
struct quant quant_read(const struct config *c, struct error *e);
/* -ENOTSUP, with the method, for weights that are quantized although config.json does not say so: their tensors tell; t
 * NULL, since none could be read: files beside config.json. */
int quant_unnamed(const struct config *c, const char *folder, const struct tensors *t, struct error *e);
