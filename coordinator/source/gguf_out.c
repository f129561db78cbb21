#include "coordinator/source/gguf_out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ---- */

static void put(struct buffer *b, const void *x, size_t bytes)
{
    buffer_append(b, x, bytes);
}

static void put_u32(struct buffer *b, uint32_t x)
{
    put(b, &x, sizeof x);
}

static void put_u64(struct buffer *b, uint64_t x)
{
    put(b, &x, sizeof x);
}

static void put_text(struct buffer *b, const char *s, size_t bytes)
{
    put_u64(b, bytes);
    put(b, s, bytes);
}

static void put_key(struct gguf_out *w, const char *key, uint32_t type)
{
    put_text(&w->values, key, strlen(key));
    put_u32(&w->values, type);
    w->count++;
}

void gguf_out_u16(struct gguf_out *w, const char *key, uint32_t x)
{
    uint16_t narrow = (uint16_t)x;

    put_key(w, key, GGUF_U16);
    put(&w->values, &narrow, sizeof narrow);
}

void gguf_out_u32(struct gguf_out *w, const char *key, uint32_t x)
{
    put_key(w, key, GGUF_U32);
    put_u32(&w->values, x);
}

void gguf_out_i32(struct gguf_out *w, const char *key, int32_t x)
{
    put_key(w, key, GGUF_I32);
    put(&w->values, &x, sizeof x);
}

void gguf_out_f32(struct gguf_out *w, const char *key, double x)
{
    float narrow = (float)x;

    put_key(w, key, GGUF_F32);
    put(&w->values, &narrow, sizeof narrow);
}

void gguf_out_bool(struct gguf_out *w, const char *key, bool x)
{
    uint8_t byte = x;

    put_key(w, key, GGUF_BOOL);
    put(&w->values, &byte, sizeof byte);
}

void gguf_out_text(struct gguf_out *w, const char *key, const char *s, size_t bytes)
{
    put_key(w, key, GGUF_STRING);
    put_text(&w->values, s, bytes);
}

void gguf_out_array(struct gguf_out *w, const char *key, enum gguf_value_type type, uint64_t n)
{
    put_key(w, key, GGUF_ARRAY);
    put_u32(&w->values, type);
    put_u64(&w->values, n);
}

void gguf_out_element(struct gguf_out *w, const void *x, size_t bytes)
{
    put(&w->values, x, bytes);
}

void gguf_out_string(struct gguf_out *w, const char *s, size_t bytes)
{
    put_text(&w->values, s, bytes);
}

static size_t element_bytes(uint32_t type)
{
    switch (type) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_BOOL: return 1;
    case GGUF_U16:
    case GGUF_I16: return 2;
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_F32: return 4;
    default: return 8;
    }
}

void gguf_out_copy(struct gguf_out *w, const struct gguf_value *v)
{
    if (v->array)
        gguf_out_array(w, v->key, v->type, v->count);
    else
        put_key(w, v->key, v->type);
    if (v->type != GGUF_STRING) {
        put(&w->values, v->at, v->count * element_bytes(v->type));
        return;
    }
    for (uint64_t i = 0; i < v->count; i++) {
        size_t bytes;
        const char *s = gguf_text(v, i, &bytes);

        put_text(&w->values, s, bytes);
    }
}

/* ---- places ---- */

static uint64_t aligned(uint64_t x, uint32_t align)
{
    return (x + align - 1) / align * align;
}

/* Which file each tensor goes into, and where from its data's start. Returns how many files that makes. */
static uint32_t place(struct gguf_out_tensor *t, size_t n, uint32_t align, uint64_t shard_bytes)
{
    uint64_t at = 0;
    uint32_t file = 0;

    for (size_t i = 0; i < n; i++) {
        if (shard_bytes && at && at + t[i].bytes > shard_bytes) {
            file++;
            at = 0;
        }
        t[i].file = file;
        t[i].offset = at;
        at = aligned(at + t[i].bytes, align);
    }
    return file + 1;
}

static void put_infos(struct buffer *b, const struct gguf_out_tensor *t, size_t n, uint32_t file)
{
    for (size_t i = 0; i < n; i++) {
        if (t[i].file != file) continue;
        put_text(b, t[i].name, strlen(t[i].name));
        put_u32(b, t[i].n_dims);
        put(b, t[i].dims, t[i].n_dims * sizeof *t[i].dims);
        put_u32(b, t[i].type);
        put_u64(b, t[i].offset);
    }
}

static int make_header(struct gguf_out_files *s, const struct gguf_out *w, struct gguf_out_tensor *t, size_t n,
                       uint32_t file, struct error *e)
{
    struct gguf_out all = {0};
    struct gguf_out_file *f = &s->at[file];
    struct buffer *b = &f->header;
    uint64_t mine = 0, end = 0;

    if (!file) {
        put(&all.values, w->values.data, w->values.bytes);
        all.count = w->count;
    }
    gguf_out_u32(&all, "general.alignment", s->align);
    if (s->count > 1) {
        gguf_out_u16(&all, "split.no", file);
        gguf_out_u16(&all, "split.count", s->count);
        gguf_out_i32(&all, "split.tensors.count", (int32_t)n);
    }
    for (size_t i = 0; i < n; i++) mine += t[i].file == file;
    put(b, "GGUF", 4);
    put_u32(b, 3);
    put_u64(b, mine);
    put_u64(b, all.count);
    put(b, all.values.data, all.values.bytes);
    put_infos(b, t, n, file);
    while (b->bytes % s->align && !b->failed) buffer_append_byte(b, 0);
    f->bytes = b->bytes;
    for (size_t i = 0; i < n; i++) {
        if (t[i].file != file) continue;
        t[i].offset += b->bytes;
        end = t[i].offset + t[i].bytes;
        if (end > f->bytes) f->bytes = end;
    }
    f->bytes = aligned(f->bytes, s->align);
    if (w->values.failed || all.values.failed || b->failed) {
        buffer_free(&all.values);
        return error_set(e, ENOMEM, "no memory for the header of a GGUF file");
    }
    buffer_free(&all.values);
    return 0;
}

int gguf_out_lay(struct gguf_out_files *out, const struct gguf_out *w, struct gguf_out_tensor *t, size_t n,
                 uint32_t align, uint64_t shard_bytes, struct error *e)
{
    uint32_t files = place(t, n, align, shard_bytes);
    int rc = 0;

    *out = (struct gguf_out_files){0};
    if (files > GGUF_FILES_MAX)
        return error_set(e, EINVAL, "%u files are more than a set can have: give a larger --shard-size", files);
    out->at = calloc(files, sizeof *out->at);
    if (!out->at) return error_set(e, ENOMEM, "no memory for the header of a GGUF file");
    out->count = files;
    out->align = align;
    for (uint32_t i = 0; i < files && !rc; i++) rc = make_header(out, w, t, n, i, e);
    return rc;
}

void gguf_out_files_free(struct gguf_out_files *f)
{
    for (uint32_t i = 0; i < f->count; i++) buffer_free(&f->at[i].header);
    free(f->at);
    *f = (struct gguf_out_files){0};
}
