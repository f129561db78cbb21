/* The container GGUF: one file, or a split set of them, and what their headers say. Nothing of the data is read.
 *
 *   "GGUF", u32 version, u64 tensors, u64 values
 *   values     string key, u32 type, the value (an array: u32 type, u64 count, elements); strings are u64 length and bytes
 *   tensors    string name, u32 dims, u64 dimensions (columns first), u32 type, u64 offset from the data's start
 *   data       begins at a multiple of general.alignment (32), and so does every tensor
 *
 * All is little-endian; versions 2 and 3 are read. Nothing of it is believed before it is checked: lengths, counts, types and
 * offsets, names that stand twice, products of dimensions, whole blocks in a row, tensors against each other. Data that ends
 * before its tensors do (a download that goes on) is no fault of the header: gguf_file.missing_bytes says how much is not there.
 *
 * A set NAME-00001-of-00003.gguf is found by any of its files. The first has the values, each has tensors and data of its own;
 * sums are checked where all are there. One that is not there is told in its gguf_file.fault.
 *
 * Everything belongs to the struct gguf and is not changed after gguf_open(): several threads may read. Every string has a NUL
 * behind it, which its length does not count; a value's may hold others inside, a key or a name never does.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"

#define GGUF_HEADER_MAX (UINT64_C(128) << 20)
#define GGUF_DIMS       4u
#define GGUF_FILES_MAX  4096u

/* Of values. (Types of tensors: gguf_types.h.) */
enum gguf_value_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES
};

/* What elements are asked for as: whole numbers of any width, floating-point numbers of both, and so on. */
enum gguf_kind { GGUF_INTS, GGUF_FLOATS, GGUF_BOOLS, GGUF_STRINGS };

struct gguf_value {
    const char *key;
    uint32_t type; /* enum gguf_value_type of the elements, never GGUF_ARRAY */
    bool array;
    uint64_t count;            /* of elements; 1 of what is no array */
    const uint8_t *at;         /* numbers as they lie; gguf_int() and its kin read them */
    const uint32_t *string_at; /* of strings: where each begins, from at, and one more entry behind the last */
};

struct gguf_tensor {
    const char *name;
    uint64_t dims[GGUF_DIMS];    /* columns, rows, ...; 1 behind the last */
    uint32_t n_dims, type, file; /* type: gguf_types.h */
    uint64_t offset, bytes;      /* in its file, from its first byte; bytes 0 where the type is not known */
};

struct gguf_file {
    char *name, *path; /* in its folder; to open it */
    uint64_t bytes, mtime_ns, ctime_ns, inode, device;
    uint64_t header_bytes, header_sum; /* up to the last tensor's entry; proto/base/checksum.h */
    uint64_t data_offset;
    uint64_t tensors_end;   /* where the last tensor ends */
    uint64_t missing_bytes; /* of tensors, behind the file's end; 0: all are there */
    uint64_t gap_bytes,
        gap_offset; /* between tensors, of none, alignment left out: how many, and where the first lie */
    char *fault;    /* NULL: its tensors are known. Else why they are not: a whole message */
    bool absent;    /* it is not there */
    void *header;   /* what the values and names lie in */
};

struct gguf {
    struct gguf_value *values;   /* of the first file, by key */
    struct gguf_tensor *tensors; /* of all files, by name */
    struct gguf_file *files;
    size_t value_count, tensor_count;
    uint32_t file_count, version;
    bool complete; /* all files of the set are there: tensors are all that there are */
};

/* Does a regular file at path begin as a GGUF does? */
bool gguf_is(const char *path);

/* path: the file, or any file of a set. -EINVAL, -ENOENT and so on with file, key or tensor and the remedy. A set whose first
 * file is not there cannot be opened. */
int gguf_open(struct gguf **out, const char *path, struct error *e);
void gguf_close(struct gguf *g);

/* NULL: there is none of that key, of that name. */
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name);
/* A value of a key: -ENOENT where it is not there, and *out and e are not touched; -EINVAL where it is of another type (e says
 * which), or out of range. Whole numbers of all widths, signs and booleans serve as such, floating-point numbers of both widths
 * and whole numbers as doubles. */
int gguf_u64(const struct gguf *g, const char *key, uint64_t *out, struct error *e);
int gguf_i64(const struct gguf *g, const char *key, int64_t *out, struct error *e);
int gguf_f64(const struct gguf *g, const char *key, double *out, struct error *e);
int gguf_bool(const struct gguf *g, const char *key, bool *out, struct error *e);
int gguf_string(const struct gguf *g, const char *key, const char **out, size_t *bytes, struct error *e);
/* An array of elements of that kind, one of none too. */
int gguf_array(const struct gguf *g, const char *key, enum gguf_kind kind, const struct gguf_value **out,
               struct error *e);

/* Element i < v->count, which is of that kind: of an array, or 0 of a single value. */
int64_t gguf_int(const struct gguf_value *v, uint64_t i);  /* u64 past INT64_MAX: INT64_MAX */
double gguf_float(const struct gguf_value *v, uint64_t i); /* of whole numbers too */
bool gguf_truth(const struct gguf_value *v, uint64_t i);
const char *gguf_text(const struct gguf_value *v, uint64_t i, size_t *bytes); /* bytes may be NULL */
bool gguf_is_kind(const struct gguf_value *v, enum gguf_kind kind);

/* A complaint about a key: "FILE: KEY: text". Keeps an earlier one. Returns -EINVAL. */
int gguf_fault(const struct gguf *g, struct error *e, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
