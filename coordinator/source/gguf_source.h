/* A GGUF file, or a set of them, as a source: given by its path, by any file of the set, or as the only one in a folder that
 * holds no model of safetensors files. Told by how it begins, so that a name without the suffix does too. */
#pragma once
#include "coordinator/source/gguf.h"
#include "coordinator/source/source.h"

extern const struct source_ops source_gguf_ops;

/* The files of g, without tensors yet: what is missing of them is told as o says. */
int gguf_tensors_begin(struct tensors **out, const struct gguf *g, const struct tensors_options *o, struct error *e);
/* A tensor as the others are described: shape[GGUF_DIMS] gets its dimensions, rows first, and belongs to the caller. */
struct tensor gguf_tensor_plain(const struct gguf_tensor *t, uint64_t shape[GGUF_DIMS]);
/* Is all of it in its file? */
bool gguf_tensor_is_there(const struct gguf *g, const struct gguf_tensor *t);
/* The numbers of a small tensor of F32, malloc'ed; *n of them. -EINVAL: of another type, larger than most, or not there. */
int gguf_read_floats(float **out, size_t *n, const struct gguf *g, const struct gguf_tensor *t, size_t most,
                     struct error *e);
