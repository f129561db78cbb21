/* A model folder as the GGUF file that llama.cpp's converter (convert_hf_to_gguf.py) makes of it: written from what that
 * program does, not from what the reader undoes. Matrices are stored as F32 or, where bf16, as BF16; vectors as F32. */
#pragma once
#include <stdbool.h>

/* FOLDER's config.json and safetensors files become OUT/name. false: no conversion of that model_type is known here. */
bool gguf_model_write(const char *folder, const char *out, const char *name, bool bf16);
/* The same as a set of GGUF_SET_FILES: OUT/STEM-00001-of-00003.gguf and so on, tensors by turns; the first has none. */
#define GGUF_SET_FILES 3
bool gguf_model_write_set(const char *folder, const char *out, const char *stem, bool bf16);
