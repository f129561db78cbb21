/* What the files that make matrices of tensors share: build_tensors.c, build_packed.c. */
#pragma once
#include "coordinator/arch/build.h"

/* The tensor of this whole name; where its folder is assumed, with this type and shape. NULL and a fault where there is none.
 * A tensor that is found may move where another one is assumed. */
const struct tensor *build_tensor(struct build *b, const char *name, uint32_t dtype, const uint64_t *shape,
                                  uint32_t dims);
void build_shape_fault(struct build *b, const struct tensor *t, const uint64_t *shape, uint32_t dims);
/* Its file's number in the program. */
uint32_t build_file_of(struct build *b, const struct tensor *t);
/* Scales of the matrix in NAME_scale or NAME_scale_inv: its form, rows and cols are known. */
void build_scales(struct build *b, struct plan_matrix *m, const char *name, uint32_t part, uint32_t parts);
/* The type of most tensors, as config.json says. */
uint32_t build_model_dtype(struct build *b);
uint32_t build_put_matrix(struct build *b, const struct plan_matrix *m, const char *name);

/* The same stored [inputs][outputs] in words, NAME without ".weight" and with ".qweight", ".qzeros", ".scales", ".g_idx" (GPTQ,
 * AWQ). m has the rows and cols of the product, and gets those that are stored. */
bool build_has_words(const struct build *b, const char *name);
void build_words(struct build *b, struct plan_matrix *m, const char *name);

/* A matrix whose numbers lie packed, or beside scales in several tensors, under names of their own (compressed-tensors,
 * ModelOpt, bitsandbytes, GPTQ, AWQ). false: NAME, a whole one that ends with ".weight", is an ordinary one. */
bool build_packed(struct build *b, const char *name, uint64_t rows, uint64_t cols, uint32_t *matrix);
