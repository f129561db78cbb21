#include "coordinator/source/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "coordinator/text/mistaken.h"
#include "proto/base/checksum.h"
#include "coordinator/text/json.h"
#include "proto/base/clock.h"
#include "proto/base/file.h"

#define DIMS_MAX 16u /* of one tensor; what exists has at most five */

static const struct {
    const char *name;
    uint32_t bits, form;
} dtypes[TENSOR_DTYPES] = {
    [TENSOR_F32] = {"F32", 32, FORM_F32},
    [TENSOR_F16] = {"F16", 16, FORM_F16},
    [TENSOR_BF16] = {"BF16", 16, FORM_BF16},
    [TENSOR_F8_E4M3] = {"F8_E4M3", 8, FORM_F8_E4M3},
    [TENSOR_F8_E5M2] = {"F8_E5M2", 8, FORM_F8_E5M2},
    [TENSOR_F8_E8M0] = {"F8_E8M0", 8, FORM_F8_E8M0},
    [TENSOR_F4] = {"F4", 4, FORM_BYTES},
    [TENSOR_F64] = {"F64", 64, FORM_F64},
    [TENSOR_U8] = {"U8", 8, FORM_BYTES},
    [TENSOR_I8] = {"I8", 8, FORM_BYTES},
    [TENSOR_U16] = {"U16", 16, FORM_BYTES},
    [TENSOR_I16] = {"I16", 16, FORM_BYTES},
    [TENSOR_U32] = {"U32", 32, FORM_BYTES},
    [TENSOR_I32] = {"I32", 32, FORM_BYTES},
    [TENSOR_U64] = {"U64", 64, FORM_BYTES},
    [TENSOR_I64] = {"I64", 64, FORM_BYTES},
    [TENSOR_BOOL] = {"BOOL", 8, FORM_BYTES},
    [TENSOR_C64] = {"C64", 64, FORM_BYTES},
    [TENSOR_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8, FORM_BYTES},
    [TENSOR_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8, FORM_BYTES},
    [TENSOR_F6_E2M3] = {"F6_E2M3", 6, FORM_BYTES},
    [TENSOR_F6_E3M2] = {"F6_E3M2", 6, FORM_BYTES},
};

const char *tensor_dtype_name(uint32_t dtype)
{
    return dtype < TENSOR_DTYPES ? dtypes[dtype].name : "unknown";
}

const char *tensor_stored_as(const struct tensor *t)
{
    return t->dtype_text ? t->dtype_text : tensor_dtype_name(t->dtype);
}

uint32_t tensor_form(uint32_t dtype)
{
    return dtype < TENSOR_DTYPES ? dtypes[dtype].form : FORM_BYTES;
}

uint32_t tensor_stored_form(const struct tensor *t)
{
    return t->block_form ? t->block_form : tensor_form(t->dtype);
}

uint32_t tensor_dtype_of(const char *name)
{
    uint32_t i = 0;

    while (i < TENSOR_DTYPES && strcmp(dtypes[i].name, name)) i++;
    return i;
}

int tensor_shape_bytes(uint32_t dtype, const uint64_t *shape, uint32_t dims, uint64_t *bytes)
{
    uint64_t bits = dtype < TENSOR_DTYPES ? dtypes[dtype].bits : 0;

    if (!bits) return -EINVAL;
    for (uint32_t i = 0; i < dims; i++)
        if (__builtin_mul_overflow(bits, shape[i], &bits)) return -EOVERFLOW;
    if (bits % 8) return -EINVAL;
    *bytes = bits / 8;
    return 0;
}

/* One file being read. */
struct reading {
    const char *path;
    uint64_t data, data_bytes; /* where the tensors' bytes begin, and how many there are */
    uint32_t file_idx;
    struct safetensors_file *file;
    struct error *e;
};

static int fault(const struct reading *r, const char *tensor, const char *what)
{
    return error_set(r->e, EINVAL, "%s: tensor %.200s: %s: the file is damaged, download it again", r->path, tensor,
                     what);
}

static int parse_shape(const struct reading *r, const char *name, const json_t *shape, uint64_t *out, uint32_t *dims)
{
    size_t n = json_array_size(shape);

    if (!json_is_array(shape)) return fault(r, name, "no shape");
    if (n > DIMS_MAX) return fault(r, name, "more dimensions than any tensor has");
    for (size_t i = 0; i < n; i++) {
        int64_t v;
        if (!json_whole(json_array_get(shape, i), &v) || v < 0)
            return fault(r, name, "a dimension is not a whole number");
        out[i] = (uint64_t)v;
    }
    *dims = (uint32_t)n;
    return 0;
}

static int parse_offsets(const struct reading *r, const char *name, const json_t *offsets, struct tensor *t)
{
    int64_t from, to;
    uint64_t begin, end;

    if (json_array_size(offsets) != 2 || !json_whole(json_array_get(offsets, 0), &from) ||
        !json_whole(json_array_get(offsets, 1), &to) || from < 0)
        return fault(r, name, "data_offsets are not two offsets");
    if (to < from) return fault(r, name, "data_offsets end before they begin");
    begin = (uint64_t)from;
    end = (uint64_t)to;
    if (end > r->data_bytes)
        return error_set(r->e, EINVAL,
                         "%s: tensor %.200s ends at byte %" PRIu64 " of the data, but the file holds %" PRIu64
                         ": the file is cut short or damaged, download it again",
                         r->path, name, end, r->data_bytes);
    t->offset = r->data + begin;
    t->bytes = end - begin;
    return 0;
}

static int parse_tensor(const struct reading *r, const char *name, const json_t *o, struct tensor *t, uint64_t *shape)
{
    const char *dtype = json_string_value(json_object_get(o, "dtype"));
    uint64_t bytes = 0;
    int rc;

    if (!dtype) return fault(r, name, "no dtype");
    t->name = name;
    t->shape = shape;
    t->file = r->file_idx;
    t->dtype = tensor_dtype_of(dtype);
    if (t->dtype == TENSOR_DTYPES) t->dtype_text = dtype;
    rc = parse_shape(r, name, json_object_get(o, "shape"), shape, &t->dims);
    if (!rc) rc = parse_offsets(r, name, json_object_get(o, "data_offsets"), t);
    if (rc || t->dtype_text) return rc;
    if (tensor_shape_bytes(t->dtype, shape, t->dims, &bytes) || bytes != t->bytes)
        return fault(r, name, "its shape and its data_offsets do not agree");
    return 0;
}

struct extent {
    uint64_t begin, end;
    const char *name;
};

static int by_begin(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;

    return x->begin != y->begin ? (x->begin < y->begin ? -1 : 1) : x->end < y->end ? -1 : x->end > y->end;
}

/* No two tensors share a byte; bytes of none are counted. */
static int check_extents(const struct reading *r, struct extent *x, size_t n, struct safetensors_file *file)
{
    uint64_t at = r->data;
    const char *last = "";

    if (n) qsort(x, n, sizeof *x, by_begin);
    for (size_t i = 0; i < n; i++) {
        if (x[i].begin == x[i].end) { /* empty */
            file->odd_header |= x[i].begin != at;
            continue;
        }
        if (x[i].begin < at)
            return error_set(r->e, EINVAL,
                             "%s: tensors %.200s and %.200s overlap: the file is damaged, download it again", r->path,
                             last, x[i].name);
        if (x[i].begin > at && !file->gap_bytes) file->gap_offset = at;
        file->gap_bytes += x[i].begin - at;
        at = x[i].end;
        last = x[i].name;
    }
    file->tensors_end = at;
    return 0;
}

static void read_metadata(json_t *metadata, struct safetensors_file *file)
{
    const char *key;
    json_t *v;

    if (!json_is_members(metadata)) file->odd_header |= !json_is_null(metadata);
    json_object_foreach(metadata, key, v)
    {
        if (!json_is_string(v))
            file->odd_header = true;
        else if (!strcmp(key, "format"))
            snprintf(file->format, sizeof file->format, "%s", json_string_value(v));
    }
}

static int check(const struct reading *r, json_t *header, struct extent *x)
{
    uint64_t shape[DIMS_MAX];
    const char *name;
    size_t n = 0;
    json_t *o;

    json_object_foreach(header, name, o)
    {
        struct tensor t = {0};
        int rc;

        if (!strcmp(name, "__metadata__")) {
            read_metadata(o, r->file);
            continue;
        }
        if (!json_is_members(o)) return fault(r, name, "not described by an object");
        rc = parse_tensor(r, name, o, &t, shape);
        if (rc) return rc;
        x[n++] = (struct extent){t.offset, t.offset + t.bytes, name};
    }
    return check_extents(r, x, n, r->file);
}

/* All of the header is checked before anybody hears of a tensor of it. */
static int walk(const struct reading *r, json_t *header, struct extent *x, safetensors_visit *visit, void *context)
{
    uint64_t shape[DIMS_MAX];
    int rc = check(r, header, x);
    const char *name;
    json_t *o;

    json_object_foreach(header, name, o)
    {
        struct tensor t = {0};

        if (rc) return rc;
        if (!strcmp(name, "__metadata__")) continue;
        rc = parse_tensor(r, name, o, &t, shape);
        if (!rc) rc = visit(context, &t, r->e);
    }
    return rc;
}

/* Where no header can be read: what lies there instead, else that it is none. */
static int no_header(const struct reading *r, int fd, uint64_t file_bytes, uint64_t claimed)
{
    char head[MISTAKEN_HEAD_BYTES];
    uint64_t n = file_bytes < sizeof head ? file_bytes : sizeof head;
    int rc = file_read_at(fd, head, n, 0);

    if (rc) return error_set(r->e, -rc, "%s: offset 0: %s", r->path, error_name(-rc));
    rc = mistaken_look(r->path, head, n, file_bytes, r->e);
    if (rc) return rc;
    if (file_bytes < 8)
        return error_set(r->e, EINVAL, "%s: %" PRIu64 " bytes are no safetensors file: download it again", r->path,
                         file_bytes);
    return error_set(r->e, EINVAL,
                     "%s: its header claims %" PRIu64 " bytes of a file of %" PRIu64
                     ": the file is cut short, damaged, or no safetensors file",
                     r->path, claimed, file_bytes);
}

static void sum_header(struct safetensors_file *file, const uint8_t raw[8], const char *text, uint64_t bytes)
{
    struct checksum sum;

    checksum_begin(&sum);
    checksum_feed(&sum, raw, 8);
    checksum_feed(&sum, text, bytes);
    file->header_bytes = 8 + bytes;
    file->header_sum = checksum_end(&sum);
}

/* Length and text of the header; *text is the caller's. */
static int read_header(struct reading *r, int fd, struct safetensors_file *file, char **text, uint64_t *bytes)
{
    uint64_t file_bytes = file->bytes;
    uint8_t raw[8];
    uint64_t n = 0;
    int rc;

    if (file_bytes < 8) return no_header(r, fd, file_bytes, 0);
    rc = file_read_at(fd, raw, sizeof raw, 0);
    if (rc) return error_set(r->e, -rc, "%s: offset 0: %s", r->path, error_name(-rc));
    for (int i = 7; i >= 0; i--) n = n << 8 | raw[i];
    if (n < 2 || n > file_bytes - 8 || n > SAFETENSORS_HEADER_MAX) return no_header(r, fd, file_bytes, n);
    *text = malloc(n);
    if (!*text) return error_set(r->e, ENOMEM, "%s: no memory for a header of %" PRIu64 " bytes", r->path, n);
    rc = file_read_at(fd, *text, n, 8);
    if (rc) {
        free(*text);
        return error_set(r->e, -rc, "%s: offset 8: %s", r->path, error_name(-rc));
    }
    sum_header(file, raw, *text, n);
    *bytes = n;
    r->data = 8 + n;
    r->data_bytes = file_bytes - 8 - n;
    return 0;
}

static int parse_header(struct reading *r, const char *text, uint64_t bytes, safetensors_visit *visit, void *context)
{
    char name[4096];
    struct extent *x;
    json_t *header;
    int rc;

    snprintf(name, sizeof name, "%s: its header", r->path);
    rc = json_read_text(&header, text, bytes, name, JSON_READ_UNIQUE | JSON_READ_FILE, r->e);
    if (rc) return rc;
    x = calloc(json_object_size(header) + 1, sizeof *x);
    if (!x)
        rc = error_set(r->e, ENOMEM, "%s: no memory for its %zu tensors", r->path, json_object_size(header));
    else
        rc = walk(r, header, x, visit, context);
    free(x);
    json_decref(header);
    return rc;
}

int safetensors_open(const char *path, struct safetensors_file *file, struct error *e)
{
    struct stat st;
    int fd, rc = file_open(path, &fd, &st, e);

    *file = (struct safetensors_file){0};
    if (rc) return rc;
    file->bytes = (uint64_t)st.st_size;
    file->mtime_ns = clock_nanoseconds(st.st_mtim);
    file->ctime_ns = clock_nanoseconds(st.st_ctim);
    file->inode = st.st_ino;
    file->device = st.st_dev;
    return fd;
}

int safetensors_read(const char *path, uint32_t file_idx, struct safetensors_file *file, safetensors_visit *visit,
                     void *context, struct error *e)
{
    struct reading r = {.path = path, .file_idx = file_idx, .file = file, .e = e};
    uint64_t bytes = 0;
    char *text = NULL;
    int fd = safetensors_open(path, file, e), rc;

    if (fd < 0) return fd;
    rc = read_header(&r, fd, file, &text, &bytes);
    close(fd);
    if (rc) return rc;
    rc = parse_header(&r, text, bytes, visit, context);
    free(text);
    return rc;
}

int safetensors_read_header(const char *path, uint32_t file_idx, const uint8_t *header, uint64_t header_bytes,
                            uint64_t raw_bytes, struct safetensors_file *file, safetensors_visit *visit, void *context,
                            struct error *e)
{
    struct reading r = {.path = path, .file_idx = file_idx, .file = file, .e = e};
    uint64_t n = 0;

    for (int i = 7; i >= 0 && header_bytes >= 8; i--) n = n << 8 | header[i];
    if (header_bytes < 10 || n != header_bytes - 8 || header_bytes > raw_bytes || n > SAFETENSORS_HEADER_MAX)
        return error_set(e, EINVAL, "%s: what it has for the header of a safetensors file is none", path);
    r.data = header_bytes;
    r.data_bytes = raw_bytes - header_bytes;
    return parse_header(&r, (const char *)header + 8, n, visit, context);
}
