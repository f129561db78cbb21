/* Writes GGUF files for tests: values and tensors in the order in which they are given, as the format's own writers do. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct gguf_bytes {
    uint8_t *at;
    size_t bytes, room;
};

struct gguf_writer {
    struct gguf_bytes values, infos, data;
    uint64_t value_count, tensor_count;
    uint32_t version, alignment; /* 3 and 32 unless set before the first tensor */
};

void gguf_write_begin(struct gguf_writer *w);
void gguf_put(struct gguf_bytes *b, const void *data, size_t bytes);
void gguf_put_number(struct gguf_bytes *b, uint64_t x, uint32_t bytes);
void gguf_put_string(struct gguf_bytes *b, const char *s, size_t bytes);
/* A key and its type: the value follows, by gguf_put() on w->values. */
void gguf_write_key(struct gguf_writer *w, const char *key, uint32_t type);

void gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t x);
void gguf_write_u16(struct gguf_writer *w, const char *key, uint32_t x);
void gguf_write_f32(struct gguf_writer *w, const char *key, double x);
void gguf_write_bool(struct gguf_writer *w, const char *key, int x);
void gguf_write_string(struct gguf_writer *w, const char *key, const char *s);
void gguf_write_u32s(struct gguf_writer *w, const char *key, const uint32_t *x, size_t n);
void gguf_write_f32s(struct gguf_writer *w, const char *key, const float *x, size_t n);
void gguf_write_bools(struct gguf_writer *w, const char *key, const uint8_t *x, size_t n);
void gguf_write_strings(struct gguf_writer *w, const char *key, const char *const *s, size_t n);
/* dims: columns first. data NULL: zeros. */
void gguf_write_tensor(struct gguf_writer *w, const char *name, uint32_t type, const uint64_t *dims, uint32_t n_dims,
                       const void *data, size_t bytes);
/* The file's bytes, malloc'ed; w is let go. */
uint8_t *gguf_write_end(struct gguf_writer *w, size_t *bytes);
/* Into FOLDER/name; fails the test where it cannot. */
void gguf_write_file(struct gguf_writer *w, const char *folder, const char *name);
