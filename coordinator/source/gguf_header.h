/* The header of one file of GGUF, for gguf.c. */
#pragma once
#include "coordinator/source/gguf.h"

struct gguf_header {
    struct gguf_value *values;
    struct gguf_tensor *tensors; /* file 0 each */
    size_t value_count, tensor_count;
    uint32_t version;
};

/* Reads and checks the header of f->path; fills f but for its names, and h, whose strings lie in f->header. */
int gguf_header_read(struct gguf_header *h, struct gguf_file *f, struct error *e);
/* Values and tensors; f->header stays. */
void gguf_header_free(struct gguf_header *h);

/* Sorts by name; the index of an entry whose name the one before it has too, SIZE_MAX: there is none. */
size_t gguf_sort_values(struct gguf_value *v, size_t n);
size_t gguf_sort_tensors(struct gguf_tensor *t, size_t n);
