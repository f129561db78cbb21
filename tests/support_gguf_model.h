/* A model folder as the GGUF file that llama.cpp's converter (convert_hf_to_gguf.py) makes of it: written from what that
 * program does, not from what the reader undoes. Matrices are stored as F32 or, where bf16, as BF16; vectors as F32. */
#pragma once
#include <stdbool.h>

/* FOLDER's config.json and safetensors files become OUT/name. false: no conversion of that model_type is known here. */
bool gguf_model_write(const char *folder, const char *out, const char *name, bool bf16);
/* The same in forms that other converters, and older ones, write. */
enum {
    GGUF_FUSED_EXPERTS = 1, /* gate and up of all experts in one tensor */
    GGUF_EXPERTS_APART = 2, /* a tensor for each matrix of each expert (2023) */
    GGUF_KV_B_TOO = 4       /* both halves of latent attention as one matrix, beside the two */
};
bool gguf_model_write_as(const char *folder, const char *out, const char *name, unsigned forms);
/* The same as a set of GGUF_SET_FILES: OUT/STEM-00001-of-00003.gguf and so on, tensors by turns; the first has none. */
#define GGUF_SET_FILES 3
bool gguf_model_write_set(const char *folder, const char *out, const char *stem, bool bf16);
