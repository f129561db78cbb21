/* Headers of GGUF files that are to be written (gguf.h has the format): values in the order in which they are given, then
 * where each tensor will lie.
 *
 *   gguf_out_u32() ...      values, into a growing text; a failed allocation is remembered in values.failed
 *   gguf_out_lay()          files, offsets and headers: all known before a byte of the data is
 *
 * Tensors lie in the order given, each at a multiple of align: of a page, so that reads of one begin at one, or of what most
 * files have. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/source/gguf.h"
#include "coordinator/text/buffer.h"
#include "proto/base/error.h"

#define GGUF_OUT_PAGE  4096u
#define GGUF_OUT_USUAL 32u /* llama-quantize makes broken files of those that have another */

struct gguf_out {
    struct buffer values; /* as they will lie in the file */
    uint64_t count;
};

void gguf_out_u16(struct gguf_out *w, const char *key, uint32_t x);
void gguf_out_u32(struct gguf_out *w, const char *key, uint32_t x);
void gguf_out_i32(struct gguf_out *w, const char *key, int32_t x);
void gguf_out_f32(struct gguf_out *w, const char *key, double x);
void gguf_out_bool(struct gguf_out *w, const char *key, bool x);
void gguf_out_text(struct gguf_out *w, const char *key, const char *s, size_t bytes);
/* An array: its elements follow, by gguf_out_element() or gguf_out_string(), n of them. */
void gguf_out_array(struct gguf_out *w, const char *key, enum gguf_value_type type, uint64_t n);
void gguf_out_element(struct gguf_out *w, const void *x, size_t bytes);
void gguf_out_string(struct gguf_out *w, const char *s, size_t bytes);
/* A value of another file, as it is. */
void gguf_out_copy(struct gguf_out *w, const struct gguf_value *v);

struct gguf_out_tensor {
    const char *name;
    uint64_t dims[GGUF_DIMS]; /* columns first */
    uint32_t n_dims, type;
    uint64_t bytes;
    uint32_t file;   /* filled by gguf_out_lay(): which file, */
    uint64_t offset; /* and where in it, from its first byte */
};

struct gguf_out_file {
    struct buffer header; /* up to where the data begin, zeros included */
    uint64_t bytes;       /* of the whole file */
};

struct gguf_out_files {
    struct gguf_out_file *at;
    uint32_t count, align;
};

/* shard_bytes: how large a file may become, where it holds more than one tensor; 0: all in one. The caller frees *out with
 * gguf_out_files_free(), after an error too. */
int gguf_out_lay(struct gguf_out_files *out, const struct gguf_out *w, struct gguf_out_tensor *t, size_t n,
                 uint32_t align, uint64_t shard_bytes, struct error *e);
void gguf_out_files_free(struct gguf_out_files *f);
