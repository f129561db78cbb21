/* One safetensors file: 8 bytes of header length (little-endian), a JSON object, then the tensors' bytes.
 *
 *   {"NAME": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, ..., "__metadata__": {...}}
 *
 * Nothing of the header is believed before it is checked: its length against the file, every offset against the file,
 * every shape against its bytes, tensors against each other. Offsets may be odd: nothing in the format aligns them. A
 * tensor of a type that is not known is no fault: a file may hold what the model does not need.
 * Format: https://huggingface.co/docs/safetensors */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/form.h"

#define SAFETENSORS_HEADER_MAX (UINT64_C(100) << 20) /* as the reference implementation has it */

/* Stored types by the name that the format gives them; elements are a whole number of bits. */
enum tensor_dtype {
    TENSOR_F32,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_F8_E4M3,
    TENSOR_F8_E5M2,
    TENSOR_F8_E8M0,
    TENSOR_F4,
    TENSOR_F64,
    TENSOR_U8,
    TENSOR_I8,
    TENSOR_U16,
    TENSOR_I16,
    TENSOR_U32,
    TENSOR_I32,
    TENSOR_U64,
    TENSOR_I64,
    TENSOR_BOOL,
    TENSOR_C64,
    TENSOR_F8_E4M3FNUZ,
    TENSOR_F8_E5M2FNUZ,
    TENSOR_F6_E2M3,
    TENSOR_F6_E3M2,
    TENSOR_DTYPES /* of a tensor: one that is not known here, see dtype_text */
};

struct tensor {
    const char *name;
    const char *stored; /* what its file calls it, where that is another name; else NULL */
    const uint64_t *shape;
    uint64_t offset, bytes; /* in the file, from its first byte */
    uint32_t dims, file;    /* file: number given by who opened it */
    uint32_t dtype;         /* enum tensor_dtype */
    const char *dtype_text; /* what the file calls a type that is not known; else NULL */
    uint32_t block_form;    /* of a type of GGUF's blocks: enum form. 0: dtype says the form */
    float times;            /* all of it is multiplied by it, where it is not 0; NaN: each part of a stack by another */
    bool used;              /* by the model's program; set while it is written */
    bool left_out;          /* known to it and of no use: see model_leaves_out() */
};

/* What is known of the file itself. The format's own library loads no file of which bytes belong to no tensor. */
struct safetensors_file {
    uint64_t bytes, mtime_ns, ctime_ns, inode, device;
    uint64_t header_bytes, header_sum; /* as struct plan_file has them */
    uint64_t tensors_end;              /* where the last tensor ends */
    uint64_t gap_bytes, gap_offset;    /* before it, of no tensor: how many in all, and where the first lie */
    bool odd_header; /* an empty tensor lies within another, or __metadata__ holds more than strings */
    char format[24]; /* "pt", "mlx", ...: __metadata__'s mark of who wrote it; "": it has none */
};

/* Called for each tensor in the order of the header; name, shape and dtype_text live until it returns. Non-zero ends the reading. */
typedef int safetensors_visit(void *context, const struct tensor *t, struct error *e);

/* A descriptor of the file, and what is known of it before a byte is read; -errno. */
int safetensors_open(const char *path, struct safetensors_file *file, struct error *e);

/* Reads and checks the header of the file at path, then calls visit for each tensor. file_idx goes into each tensor. */
int safetensors_read(const char *path, uint32_t file_idx, struct safetensors_file *file, safetensors_visit *visit,
                     void *context, struct error *e);

/* The same of a header that lies in memory, its length and its text, of a file of raw_bytes bytes. path: for messages. Of *file only
 * what the header says is filled. */
int safetensors_read_header(const char *path, uint32_t file_idx, const uint8_t *header, uint64_t header_bytes,
                            uint64_t raw_bytes, struct safetensors_file *file, safetensors_visit *visit, void *context,
                            struct error *e);

const char *tensor_dtype_name(uint32_t dtype);
/* How its file calls it, for messages. */
static inline const char *tensor_stored_name(const struct tensor *t)
{
    return t->stored ? t->stored : t->name;
}
const char *tensor_stored_as(const struct tensor *t); /* its dtype's name, as the file has it */
/* The stored form of elements of that type (enum form); BYTES: whatever they are, they are no floating-point numbers by
 * themselves. */
uint32_t tensor_form(uint32_t dtype);
/* That of a tensor, of GGUF's blocks too. */
uint32_t tensor_stored_form(const struct tensor *t);
/* The dtype of a name; TENSOR_DTYPES: unknown. */
uint32_t tensor_dtype_of(const char *name);
/* Bytes of a shape: -EOVERFLOW, or -EINVAL where its bits fill no whole number of bytes, or the dtype is unknown. */
int tensor_shape_bytes(uint32_t dtype, const uint64_t *shape, uint32_t dims, uint64_t *bytes);
