#include "tests/support_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/source/gguf.h"

void gguf_put(struct gguf_bytes *b, const void *data, size_t bytes)
{
    if (b->bytes + bytes > b->room) {
        b->room = 2 * (b->bytes + bytes) + 64;
        b->at = realloc(b->at, b->room);
        if (!b->at) abort();
    }
    if (data)
        memcpy(b->at + b->bytes, data, bytes);
    else
        memset(b->at + b->bytes, 0, bytes);
    b->bytes += bytes;
}

void gguf_put_number(struct gguf_bytes *b, uint64_t x, uint32_t bytes)
{
    uint8_t out[8];

    for (uint32_t i = 0; i < bytes; i++) out[i] = (uint8_t)(x >> 8 * i);
    gguf_put(b, out, bytes);
}

void gguf_put_string(struct gguf_bytes *b, const char *s, size_t bytes)
{
    gguf_put_number(b, bytes, 8);
    gguf_put(b, s, bytes);
}

void gguf_write_begin(struct gguf_writer *w)
{
    *w = (struct gguf_writer){.version = 3, .alignment = 32};
}

void gguf_write_key(struct gguf_writer *w, const char *key, uint32_t type)
{
    gguf_put_string(&w->values, key, strlen(key));
    gguf_put_number(&w->values, type, 4);
    w->value_count++;
}

static void write_array(struct gguf_writer *w, const char *key, uint32_t type, size_t n)
{
    gguf_write_key(w, key, GGUF_ARRAY);
    gguf_put_number(&w->values, type, 4);
    gguf_put_number(&w->values, n, 8);
}

void gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t x)
{
    gguf_write_key(w, key, GGUF_U32);
    gguf_put_number(&w->values, x, 4);
}

void gguf_write_u16(struct gguf_writer *w, const char *key, uint32_t x)
{
    gguf_write_key(w, key, GGUF_U16);
    gguf_put_number(&w->values, x, 2);
}

void gguf_write_f32(struct gguf_writer *w, const char *key, double x)
{
    float f = (float)x;

    gguf_write_key(w, key, GGUF_F32);
    gguf_put(&w->values, &f, sizeof f);
}

void gguf_write_bool(struct gguf_writer *w, const char *key, int x)
{
    gguf_write_key(w, key, GGUF_BOOL);
    gguf_put_number(&w->values, x != 0, 1);
}

void gguf_write_string(struct gguf_writer *w, const char *key, const char *s)
{
    gguf_write_key(w, key, GGUF_STRING);
    gguf_put_string(&w->values, s, strlen(s));
}

void gguf_write_u32s(struct gguf_writer *w, const char *key, const uint32_t *x, size_t n)
{
    write_array(w, key, GGUF_U32, n);
    for (size_t i = 0; i < n; i++) gguf_put_number(&w->values, x[i], 4);
}

void gguf_write_f32s(struct gguf_writer *w, const char *key, const float *x, size_t n)
{
    write_array(w, key, GGUF_F32, n);
    gguf_put(&w->values, x, n * sizeof *x);
}

void gguf_write_bools(struct gguf_writer *w, const char *key, const uint8_t *x, size_t n)
{
    write_array(w, key, GGUF_BOOL, n);
    gguf_put(&w->values, x, n);
}

void gguf_write_strings(struct gguf_writer *w, const char *key, const char *const *s, size_t n)
{
    write_array(w, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) gguf_put_string(&w->values, s[i], strlen(s[i]));
}

static void pad(struct gguf_bytes *b, size_t before, uint32_t alignment)
{
    while ((before + b->bytes) % alignment) gguf_put(b, NULL, 1);
}

void gguf_write_tensor(struct gguf_writer *w, const char *name, uint32_t type, const uint64_t *dims, uint32_t n_dims,
                       const void *data, size_t bytes)
{
    pad(&w->data, 0, w->alignment);
    gguf_put_string(&w->infos, name, strlen(name));
    gguf_put_number(&w->infos, n_dims, 4);
    for (uint32_t i = 0; i < n_dims; i++) gguf_put_number(&w->infos, dims[i], 8);
    gguf_put_number(&w->infos, type, 4);
    gguf_put_number(&w->infos, w->data.bytes, 8);
    gguf_put(&w->data, data, bytes);
    w->tensor_count++;
}

uint8_t *gguf_write_end(struct gguf_writer *w, size_t *bytes)
{
    struct gguf_bytes out = {0};

    gguf_put(&out, "GGUF", 4);
    gguf_put_number(&out, w->version, 4);
    gguf_put_number(&out, w->tensor_count, 8);
    gguf_put_number(&out, w->value_count, 8);
    gguf_put(&out, w->values.at, w->values.bytes);
    gguf_put(&out, w->infos.at, w->infos.bytes);
    pad(&out, 0, w->alignment);
    gguf_put(&out, w->data.at, w->data.bytes);
    free(w->values.at);
    free(w->infos.at);
    free(w->data.at);
    *bytes = out.bytes;
    return out.at;
}

void gguf_write_file(struct gguf_writer *w, const char *folder, const char *name)
{
    char path[4096];
    size_t bytes;
    uint8_t *data = gguf_write_end(w, &bytes);
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "wb");
    if (!f || fwrite(data, 1, bytes, f) != bytes || fclose(f)) abort();
    free(data);
}
