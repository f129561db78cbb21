#include "coordinator/source/gguf_header.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "coordinator/source/gguf_types.h"
#include "coordinator/text/mistaken.h"
#include "proto/base/checksum.h"
#include "proto/base/clock.h"
#include "proto/base/file.h"

#define FIRST_READ   (UINT64_C(1) << 20)
#define MAGIC_BYTES  24u /* magic, version, two counts */
#define VALUE_LEAST  13u /* bytes of a value at least: length of the key, type, one byte */
#define TENSOR_LEAST 24u /* of a tensor's entry: length of the name, dims, type, offset */
#define NAME_MOST    4096u
#define ALIGN_MOST   (UINT64_C(1) << 30)
#define FIRST_ROOM   64u /* entries, a power of two */
#define MORE         1   /* what is there of the header is whole, and it goes on */

/* ---- reading the bytes ---- */

struct parser {
    const char *path;
    uint8_t *buf;
    uint64_t have, file_bytes, at; /* bytes in buf; of the file; where reading stands */
    struct gguf_header *h;
    uint64_t alignment;
    struct error *e;
};

static int damaged(const struct parser *p, const char *what)
{
    return error_set(p->e, EINVAL, "%s: offset %" PRIu64 ": %s: the file is damaged, download it again", p->path, p->at,
                     what);
}

/* n more bytes: 0; MORE where they are in the file and not read yet. */
static int need(const struct parser *p, uint64_t n)
{
    if (n <= p->have - p->at) return 0;
    if (n > p->file_bytes - p->at)
        return error_set(p->e, EINVAL,
                         "%s: its header goes on behind the end of the file, at byte %" PRIu64
                         ": the download has not come so far, or the file is damaged",
                         p->path, p->file_bytes);
    if (p->at + n > GGUF_HEADER_MAX)
        return error_set(p->e, EINVAL, "%s: a header of more than %" PRIu64 " MiB: the file is damaged", p->path,
                         GGUF_HEADER_MAX >> 20);
    return MORE;
}

static uint64_t number(const uint8_t *p, uint32_t bytes)
{
    uint64_t x = 0;

    for (uint32_t i = bytes; i-- > 0;) x = x << 8 | p[i];
    return x;
}

static int take(struct parser *p, uint32_t bytes, uint64_t *out)
{
    int rc = need(p, bytes);

    if (rc) return rc;
    *out = number(p->buf + p->at, bytes);
    p->at += bytes;
    return 0;
}

/* *start: where its bytes begin, in buf. */
static int take_string(struct parser *p, uint64_t *start, uint64_t *bytes)
{
    int rc = take(p, 8, bytes);

    if (!rc && *bytes > p->file_bytes) return damaged(p, "a string is longer than the file");
    if (!rc) rc = need(p, *bytes);
    if (rc) return rc;
    *start = p->at;
    p->at += *bytes;
    return 0;
}

/* Of a key or a tensor, on the way to be a C string: its offset. */
static int take_name(struct parser *p, const char *what, uint64_t *start, uint64_t *bytes)
{
    int rc = take_string(p, start, bytes);

    if (rc) return rc;
    if (!*bytes || *bytes > NAME_MOST || memchr(p->buf + *start, 0, *bytes))
        return error_set(p->e, EINVAL,
                         "%s: offset %" PRIu64 ": a %s's name of %" PRIu64
                         " bytes is empty, too long or no text: the file is damaged, download it again",
                         p->path, *start, what, *bytes);
    return 0;
}

/* ---- values ---- */

static uint32_t type_bytes(uint64_t type)
{
    static const uint8_t bytes[GGUF_TYPES] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8};

    return type < GGUF_TYPES ? bytes[type] : 0;
}

/* Where the strings of an array begin; v->string_at is allocated. */
static int take_strings(struct parser *p, struct gguf_value *v)
{
    uint64_t first = p->at, start, bytes;
    uint32_t *at;
    int rc = 0;

    if (v->count > (p->file_bytes - p->at) / 8) return damaged(p, "more strings than the file has room for");
    if (v->count > (GGUF_HEADER_MAX - 8) / 8) return damaged(p, "more strings than a header has");
    at = malloc((v->count + 1) * sizeof *at);
    if (!at) return error_set(p->e, ENOMEM, "%s: no memory for %" PRIu64 " strings", p->path, v->count);
    v->string_at = at;
    for (uint64_t i = 0; i < v->count && !rc; i++) {
        rc = take_string(p, &start, &bytes);
        if (!rc) at[i] = (uint32_t)(start - first);
    }
    at[v->count] = (uint32_t)(p->at - first + 8); /* as if another string followed */
    return rc;
}

static int take_elements(struct parser *p, struct gguf_value *v, const char *key, uint64_t key_bytes)
{
    uint32_t each = type_bytes(v->type);
    uint64_t bytes;
    int rc;

    if (v->type == GGUF_STRING) return take_strings(p, v);
    if (!each)
        return error_set(
            p->e, EINVAL,
            "%s: %.*s: its type %u%s is none that is known: the file is damaged, or newer than this sluice", p->path,
            (int)key_bytes, key, v->type, v->type == GGUF_ARRAY ? " (an array inside of an array)" : "");
    if (__builtin_mul_overflow(v->count, each, &bytes) || bytes > p->file_bytes - p->at)
        return error_set(p->e, EINVAL,
                         "%s: %.*s: %" PRIu64
                         " elements are more than the file has room for: it is cut short or damaged, download it again",
                         p->path, (int)key_bytes, key, v->count);
    rc = need(p, bytes);
    if (!rc) p->at += bytes;
    return rc;
}

/* key and at are offsets in buf until all is read: settle(). */
static int take_value(struct parser *p, struct gguf_value *v)
{
    uint64_t key, key_bytes, type, at;
    int rc = take_name(p, "key", &key, &key_bytes);

    if (!rc) rc = take(p, 4, &type);
    if (rc) return rc;
    *v = (struct gguf_value){.key = (const char *)(uintptr_t)key, .type = (uint32_t)type, .count = 1};
    if (type == GGUF_ARRAY) {
        v->array = true;
        rc = take(p, 4, &type);
        v->type = (uint32_t)type;
        if (!rc) rc = take(p, 8, &v->count);
    }
    at = p->at;
    if (!rc) rc = take_elements(p, v, (const char *)p->buf + key, key_bytes);
    v->at = (const uint8_t *)(uintptr_t)at;
    return rc;
}

/* ---- tensors ---- */

/* name is an offset in buf until settle(). */
static int take_tensor(struct parser *p, struct gguf_tensor *t)
{
    uint64_t name, name_bytes, x = 0;
    int rc = take_name(p, "tensor", &name, &name_bytes);

    *t = (struct gguf_tensor){.name = (const char *)(uintptr_t)name, .dims = {1, 1, 1, 1}};
    if (!rc) rc = take(p, 4, &x);
    if (rc) return rc;
    if (x > GGUF_DIMS)
        return error_set(p->e, EINVAL,
                         "%s: tensor %.*s: %" PRIu64 " dimensions: the file is damaged, download it again", p->path,
                         (int)name_bytes, (const char *)p->buf + name, x);
    t->n_dims = (uint32_t)x;
    for (uint32_t i = 0; i < t->n_dims && !rc; i++) rc = take(p, 8, &t->dims[i]);
    if (!rc) rc = take(p, 4, &x);
    t->type = (uint32_t)x;
    return rc ? rc : take(p, 8, &t->offset);
}

/* ---- where they lie: names are strings by now ---- */

static int tensor_fault(const struct parser *p, const struct gguf_tensor *t, const char *what)
{
    return error_set(p->e, EINVAL, "%s: tensor %.200s: %s: the file is damaged, download it again", p->path, t->name,
                     what);
}

static int shape_bytes(const struct parser *p, struct gguf_tensor *t)
{
    const struct gguf_type *type = gguf_type(t->type);
    uint64_t elements = 1;

    for (uint32_t i = 0; i < GGUF_DIMS; i++)
        if (t->dims[i] > INT64_MAX || __builtin_mul_overflow(elements, t->dims[i], &elements) || elements > INT64_MAX)
            return tensor_fault(p, t, "its dimensions are out of range");
    if (!type || !type->elements) return 0;
    if (t->dims[0] % type->elements) return tensor_fault(p, t, "a row is no whole number of blocks");
    if (__builtin_mul_overflow(elements / type->elements, type->bytes, &t->bytes))
        return tensor_fault(p, t, "its dimensions are out of range");
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct gguf_tensor *x = *(const struct gguf_tensor *const *)a, *y = *(const struct gguf_tensor *const *)b;

    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* No two tensors share a byte; bytes of none are counted. */
static int check_extents(const struct parser *p, struct gguf_file *f)
{
    const struct gguf_header *h = p->h;
    const struct gguf_tensor **order = calloc(h->tensor_count + 1, sizeof *order), *last = NULL;
    uint64_t at = f->data_offset;
    int rc = 0;

    if (!order) return error_set(p->e, ENOMEM, "%s: no memory for its %zu tensors", p->path, h->tensor_count);
    for (size_t i = 0; i < h->tensor_count; i++) order[i] = &h->tensors[i];
    if (h->tensor_count) qsort(order, h->tensor_count, sizeof *order, by_offset);
    for (size_t i = 0; i < h->tensor_count && !rc; i++) {
        const struct gguf_tensor *t = order[i];
        uint64_t gap = t->offset > at ? t->offset - at : 0;

        if (!t->bytes) continue; /* empty, or of unknown type */
        if (t->offset < at)
            rc =
                error_set(p->e, EINVAL, "%s: tensors %.200s and %.200s overlap: the file is damaged, download it again",
                          p->path, last ? last->name : "the header", t->name);
        if (gap >= p->alignment) {
            if (!f->gap_bytes) f->gap_offset = at;
            f->gap_bytes += gap;
        }
        at = t->offset + t->bytes;
        last = t;
    }
    free(order);
    f->tensors_end = at;
    f->missing_bytes = at > f->bytes ? at - (f->bytes > f->data_offset ? f->bytes : f->data_offset) : 0;
    return rc;
}

static int place_tensors(const struct parser *p, struct gguf_file *f)
{
    for (size_t i = 0; i < p->h->tensor_count; i++) {
        struct gguf_tensor *t = &p->h->tensors[i];
        int rc = shape_bytes(p, t);
        uint64_t end;

        if (rc) return rc;
        if (t->offset % p->alignment) return tensor_fault(p, t, "its offset is no multiple of general.alignment");
        if (__builtin_add_overflow(t->offset, f->data_offset, &t->offset) ||
            __builtin_add_overflow(t->offset, t->bytes, &end) || end > INT64_MAX)
            return tensor_fault(p, t, "its offset is out of range");
    }
    return check_extents(p, f);
}

/* ---- the whole ---- */

static int begin(struct parser *p, uint64_t *tensors, uint64_t *values)
{
    uint64_t version = 0;
    int rc = need(p, MAGIC_BYTES);

    if (rc) return rc;
    p->at = 4;
    rc = take(p, 4, &version);
    if (!rc) rc = take(p, 8, tensors);
    if (!rc) rc = take(p, 8, values);
    if (rc) return rc;
    p->h->version = (uint32_t)version;
    if (!(version & 0xffff))
        return error_set(p->e, EINVAL,
                         "%s: a big-endian GGUF file, made for another kind of machine: take the usual one, or turn it "
                         "with gguf-convert-endian of the gguf package",
                         p->path);
    if (version < 2)
        return error_set(p->e, EINVAL,
                         "%s: GGUF version %" PRIu64
                         " of 2023, which is not supported, nor by others: take a newer file",
                         p->path, version);
    if (version > 3)
        return error_set(p->e, EINVAL, "%s: GGUF version %" PRIu64 " is not known, 2 and 3 are: take a newer sluice",
                         p->path, version);
    if (*values > (p->file_bytes - p->at) / VALUE_LEAST || *tensors > (p->file_bytes - p->at) / TENSOR_LEAST)
        return error_set(p->e, EINVAL,
                         "%s: %" PRIu64 " values and %" PRIu64
                         " tensors are more than the file has room for: it is cut short or damaged, download it again",
                         p->path, *values, *tensors);
    return 0;
}

/* Room for entry number `count` of an array that grows as its entries are read: a count alone, in a file whose end is a
   hole, takes no memory. */
static void *grow(struct parser *p, void *entries, size_t count, size_t entry)
{
    void *grown = entries;

    if (!count || (count >= FIRST_ROOM && !(count & (count - 1))))
        grown = realloc(entries, (count ? 2 * count : FIRST_ROOM) * entry);
    if (!grown) error_set(p->e, ENOMEM, "%s: no memory for entry %zu of its header", p->path, count);
    return grown;
}

static int parse_value(struct parser *p)
{
    struct gguf_header *h = p->h;
    struct gguf_value *values = grow(p, h->values, h->value_count, sizeof *values);

    if (!values) return -ENOMEM;
    h->values = values;
    values[h->value_count] = (struct gguf_value){0};
    return take_value(p, &values[h->value_count++]);
}

static int parse_tensor(struct parser *p)
{
    struct gguf_header *h = p->h;
    struct gguf_tensor *tensors = grow(p, h->tensors, h->tensor_count, sizeof *tensors);

    if (!tensors) return -ENOMEM;
    h->tensors = tensors;
    tensors[h->tensor_count] = (struct gguf_tensor){0};
    return take_tensor(p, &tensors[h->tensor_count++]);
}

static int parse(struct parser *p)
{
    uint64_t tensors = 0, values = 0;
    int rc = begin(p, &tensors, &values);

    while (!rc && p->h->value_count < values) rc = parse_value(p);
    while (!rc && p->h->tensor_count < tensors) rc = parse_tensor(p);
    return rc;
}

/* A string in the header moves over the last byte of its length, and gets a NUL where its own last byte was. */
static char *end_string(uint8_t *start, uint64_t bytes)
{
    memmove(start - 1, start, bytes);
    start[(int64_t)bytes - 1] = 0; /* of an empty one: the last byte of its length */
    return (char *)start - 1;
}

static void settle(struct parser *p)
{
    for (size_t i = 0; i < p->h->value_count; i++) {
        struct gguf_value *v = &p->h->values[i];
        uint8_t *key = p->buf + (uintptr_t)v->key, *at = p->buf + (uintptr_t)v->at;
        uint32_t *begins = (uint32_t *)(uintptr_t)v->string_at;

        v->key = end_string(key, number(key - 8, 8));
        v->at = at;
        for (uint64_t k = 0; v->type == GGUF_STRING && k < v->count; k++)
            end_string(at + begins[k], begins[k + 1] - 8 - begins[k]);
    }
    for (size_t i = 0; i < p->h->tensor_count; i++) {
        uint8_t *name = p->buf + (uintptr_t)p->h->tensors[i].name;

        p->h->tensors[i].name = end_string(name, number(name - 8, 8));
    }
}

static int read_alignment(struct parser *p)
{
    static const char key[] = "general.alignment";

    p->alignment = 32;
    for (size_t i = 0; i < p->h->value_count; i++) {
        const struct gguf_value *v = &p->h->values[i];

        if (strcmp(v->key, key)) continue;
        if (!v->array && v->type == GGUF_U32) p->alignment = number(v->at, 4);
        if (v->array || v->type != GGUF_U32 || p->alignment < 8 || p->alignment > ALIGN_MOST ||
            (p->alignment & (p->alignment - 1)))
            return error_set(p->e, EINVAL, "%s: %s: no power of two from 8 on: the file is damaged, download it again",
                             p->path, key);
    }
    return 0;
}

/* No key stands twice, no name does. */
static int check_names(struct parser *p)
{
    size_t i = gguf_sort_values(p->h->values, p->h->value_count);

    if (i != SIZE_MAX)
        return error_set(p->e, EINVAL, "%s: %.200s stands in it twice: the file is damaged, download it again", p->path,
                         p->h->values[i].key);
    i = gguf_sort_tensors(p->h->tensors, p->h->tensor_count);
    if (i != SIZE_MAX)
        return error_set(p->e, EINVAL, "%s: tensor %.200s stands in it twice: the file is damaged, download it again",
                         p->path, p->h->tensors[i].name);
    return 0;
}

static void sum_header(struct parser *p, struct gguf_file *f)
{
    struct checksum sum;

    checksum_begin(&sum);
    checksum_feed(&sum, p->buf, p->at);
    f->header_bytes = p->at;
    f->header_sum = checksum_end(&sum);
}

static int finish(struct parser *p, struct gguf_file *f)
{
    int rc;

    sum_header(p, f);
    settle(p);
    rc = read_alignment(p);
    if (rc) return rc;
    f->data_offset = (p->at + p->alignment - 1) & ~(p->alignment - 1);
    rc = place_tensors(p, f);
    return rc ? rc : check_names(p);
}

/* Where no GGUF begins: what lies there instead. */
static int no_gguf(const struct parser *p)
{
    uint64_t n = p->have < MISTAKEN_HEAD_BYTES ? p->have : MISTAKEN_HEAD_BYTES;
    int rc = mistaken_look(p->path, (const char *)p->buf, n, p->file_bytes, p->e);

    if (rc) return rc;
    return error_set(p->e, EINVAL, "%s: it does not begin as a GGUF file does: it is damaged, or another kind of file",
                     p->path);
}

/* buf becomes the first bytes of the file. */
static int fill(struct parser *p, int fd, uint64_t bytes)
{
    uint8_t *grown = realloc(p->buf, bytes ? bytes : 1);
    int rc;

    if (!grown) return error_set(p->e, ENOMEM, "%s: no memory for a header of %" PRIu64 " bytes", p->path, bytes);
    p->buf = grown;
    rc = file_read_at(fd, p->buf + p->have, bytes - p->have, p->have);
    if (rc) return error_set(p->e, -rc, "%s: offset %" PRIu64 ": %s", p->path, p->have, error_name(-rc));
    p->have = bytes;
    return 0;
}

/* Until all of the header is there: twice as much each time. */
static int read_all(struct parser *p, int fd)
{
    uint64_t want = p->file_bytes < FIRST_READ ? p->file_bytes : FIRST_READ;
    int rc = fill(p, fd, want);

    if (!rc && (p->have < 4 || memcmp(p->buf, "GGUF", 4))) return no_gguf(p);
    while (!rc && (rc = parse(p)) == MORE) {
        gguf_header_free(p->h);
        p->at = 0;
        want = p->have < p->file_bytes / 2 ? 2 * p->have : p->file_bytes;
        if (want > GGUF_HEADER_MAX) want = GGUF_HEADER_MAX; /* need() asks for nothing behind it */
        rc = fill(p, fd, want);
    }
    return rc;
}

int gguf_header_read(struct gguf_header *h, struct gguf_file *f, struct error *e)
{
    struct parser p = {.path = f->path, .h = h, .e = e};
    struct stat st;
    int fd, rc = file_open(f->path, &fd, &st, e);

    *h = (struct gguf_header){0};
    if (rc) return rc;
    f->bytes = p.file_bytes = (uint64_t)st.st_size;
    f->mtime_ns = clock_nanoseconds(st.st_mtim);
    f->ctime_ns = clock_nanoseconds(st.st_ctim);
    f->inode = st.st_ino;
    f->device = st.st_dev;
    rc = read_all(&p, fd);
    close(fd);
    f->header = p.buf;
    if (!rc) rc = finish(&p, f);
    if (rc) gguf_header_free(h);
    return rc;
}

void gguf_header_free(struct gguf_header *h)
{
    for (size_t i = 0; h->values && i < h->value_count; i++) free((void *)(uintptr_t)h->values[i].string_at);
    free(h->values);
    free(h->tensors);
    h->values = NULL;
    h->tensors = NULL;
    h->value_count = h->tensor_count = 0;
}
