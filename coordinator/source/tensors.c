#include "coordinator/source/tensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "coordinator/text/lfs.h"
#include "proto/base/checksum.h"
#include "proto/base/file.h"

#define LENGTH_FIELD 8 /* what a safetensors file begins with: tensors without a header follow it at once */

/* ---- names ---- */

static uint64_t hash(const char *s)
{
    uint64_t h = UINT64_C(14695981039346656037);

    while (*s) h = (h ^ (uint8_t)*s++) * UINT64_C(1099511628211);
    return h ^ h >> 29;
}

static size_t find_slot(const struct tensors *t, const char *name)
{
    size_t i = hash(name) & (t->slots - 1);

    while (t->slot[i] && strcmp(t->at[t->slot[i] - 1].name, name)) i = (i + 1) & (t->slots - 1);
    return i;
}

const struct tensor *tensors_find(const struct tensors *t, const char *name)
{
    size_t i;

    if (!t->slots) return NULL;
    i = find_slot(t, name);
    return t->slot[i] ? &t->at[t->slot[i] - 1] : NULL;
}

static int rehash(struct tensors *t, size_t slots)
{
    uint32_t *slot = calloc(slots, sizeof *slot);

    if (!slot) return -ENOMEM;
    free(t->slot);
    t->slot = slot;
    t->slots = slots;
    for (size_t k = 0; k < t->count; k++) t->slot[find_slot(t, t->at[k].name)] = (uint32_t)(k + 1);
    return 0;
}

/* *to becomes x with memory of its own, one allocation: shape (which wants the alignment), name,
 * dtype_text, stored. */
static int copy_tensor(struct tensor *to, const struct tensor *x)
{
    size_t name_bytes = strlen(x->name) + 1, shape_bytes = x->dims * sizeof *x->shape;
    size_t text_bytes = x->dtype_text ? strlen(x->dtype_text) + 1 : 0;
    size_t stored_bytes = x->stored ? strlen(x->stored) + 1 : 0;
    char *own = malloc(shape_bytes + name_bytes + text_bytes + stored_bytes), *stored;

    if (!own) return -ENOMEM;
    if (shape_bytes) memcpy(own, x->shape, shape_bytes);
    memcpy(own + shape_bytes, x->name, name_bytes);
    if (text_bytes) memcpy(own + shape_bytes + name_bytes, x->dtype_text, text_bytes);
    stored = own + shape_bytes + name_bytes + text_bytes;
    if (stored_bytes) memcpy(stored, x->stored, stored_bytes);
    *to = *x;
    to->stored = stored_bytes ? stored : NULL;
    to->shape = (const uint64_t *)(const void *)own;
    to->name = own + shape_bytes;
    to->dtype_text = text_bytes ? own + shape_bytes + name_bytes : NULL;
    return 0;
}

static void free_tensor(struct tensor *x)
{
    free((void *)(uintptr_t)x->shape);
}

int tensors_add(struct tensors *t, const struct tensor *x, struct tensor **where)
{
    size_t i;

    if (t->count * 2 >= t->slots && rehash(t, t->slots ? t->slots * 2 : 256)) return -ENOMEM;
    i = find_slot(t, x->name);
    if (t->slot[i]) return -EEXIST;
    if (t->count == t->capacity) {
        size_t capacity = t->capacity ? t->capacity * 2 : 128;
        struct tensor *at = reallocarray(t->at, capacity, sizeof *at);
        if (!at) return -ENOMEM;
        t->at = at;
        t->capacity = capacity;
    }
    if (copy_tensor(&t->at[t->count], x)) return -ENOMEM;
    if (where) *where = &t->at[t->count];
    t->slot[i] = (uint32_t)++t->count;
    return 0;
}

bool tensors_name_ends(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    return n >= k && !strcmp(s + n - k, end);
}

/* ---- files ---- */

bool tensors_inner_name(char *out, const char *name)
{
    size_t n = 0;

    if (*name == '/' || strlen(name) >= TENSORS_NAME_BYTES) return false;
    while (*name) {
        size_t k = strcspn(name, "/");

        if (k == 2 && !memcmp(name, "..", 2)) return false;
        if (k && !(k == 1 && *name == '.')) {
            if (n) out[n++] = '/';
            memcpy(out + n, name, k);
            n += k;
        }
        name += k + (name[k] == '/');
    }
    out[n] = 0;
    return n > 0;
}

static int no_memory(const struct tensors *t, struct error *e)
{
    return error_set(e, ENOMEM, "no memory for the list of tensors of %s", t->folder);
}

int tensors_add_file(struct tensors *t, const char *name, uint32_t *idx, struct error *e)
{
    struct tensors_file *files = reallocarray(t->files, t->file_count + 1, sizeof *files), f = {0};

    if (!files) return no_memory(t, e);
    t->files = files;
    f.info.bytes = LENGTH_FIELD;
    f.name = strdup(name);
    if (asprintf(&f.path, "%s/%s%s", t->folder, name, t->packed ? PACKED_SUFFIX : "") < 0) f.path = NULL;
    if (!f.name || !f.path) {
        free(f.name);
        free(f.path);
        return no_memory(t, e);
    }
    *idx = t->file_count;
    t->files[t->file_count++] = f;
    return 0;
}

int tensors_look(struct tensors *t, uint32_t idx, uint64_t *bytes, struct error *e)
{
    struct tensors_file *f = &t->files[idx];
    struct lfs_pointer pointer;
    struct error why;
    struct stat st = {0};
    int rc = file_check(f->path, &st, &why);

    *bytes = (uint64_t)st.st_size;
    if (!rc && lfs_pointer_read(&pointer, f->path)) {
        rc = lfs_pointer_error(&why, f->path, &pointer);
        *bytes = pointer.bytes;
    }
    if (!rc || (rc != -ENOENT && rc != -ENOLINK && rc != -ENODATA)) return 0; /* others: who opens it will say so */
    f->absent = true;
    f->fault = strdup(why.text);
    return f->fault ? 0 : no_memory(t, e);
}

int tensors_file_fault(struct tensors *t, uint32_t idx, const struct tensors_options *o, struct error *e)
{
    struct tensors_file *f = &t->files[idx];

    if (e->code == ENOMEM) return -ENOMEM;
    if (!f->fault && !(f->fault = strdup(e->text))) return no_memory(t, e);
    if (!o->file_fault) return -e->code;
    o->file_fault(o->arg, f->name, f->fault);
    e->code = 0;
    return 0;
}

/* ---- reading ---- */

struct reading {
    struct tensors *t;
    tensors_claim_fn *claim;
    void *arg;
};

/* x is in the table already, from another file. */
static int add_copy(const struct reading *r, const struct tensor *x)
{
    struct tensors *t = r->t;
    struct tensor *old = (struct tensor *)(uintptr_t)tensors_find(t, x->name), new;
    struct tensors_copy *copies = reallocarray(t->copies, t->copy_count + 1, sizeof *copies), *c;
    uint32_t named = r->claim ? r->claim(r->arg, x->name) : TENSORS_NONE;

    if (!copies) return -ENOMEM;
    t->copies = copies;
    c = &t->copies[t->copy_count++];
    *c = (struct tensors_copy){.tensor = (uint32_t)(old - t->at), .file = x->file};
    c->disputed = named != x->file && named != old->file;
    if (named == old->file) return 0;
    if (copy_tensor(&new, x)) return -ENOMEM;
    c->file = old->file;
    free_tensor(old);
    *old = new;
    return 0;
}

static int visit(void *context, const struct tensor *x, struct error *e)
{
    struct reading *r = context;
    int rc = tensors_add(r->t, x, NULL);

    if (rc == -EEXIST) rc = add_copy(r, x);
    return rc ? no_memory(r->t, e) : 0;
}

/* The front of a packed file, which must be the one that the folder's index speaks of. */
static int open_packed(const struct tensors *t, struct tensors_file *f, struct error *e)
{
    const struct packed_file *x = packed_index_find(&t->packed_index, f->name);
    int rc = safetensors_open(f->path, &f->info, e), fd;

    if (rc < 0) return rc;
    fd = rc;
    rc = packed_read(&f->packed, f->path, fd, f->info.bytes, e);
    close(fd);
    if (rc) return rc;
    if (!f->packed) return error_set(e, EINVAL, "%s: it is no packed file: copy or pack the folder again", f->path);
    if (!x || x->stored_bytes != f->info.bytes || x->front_sum != f->packed->head.sum ||
        x->raw_bytes != f->packed->head.raw_bytes)
        return error_set(e, EINVAL,
                         "%s: it is not the file that " PACKED_INDEX " speaks of: files of two packed models lie "
                         "together, copy or pack the folder again",
                         f->path);
    return 0;
}

static int read_packed(struct reading *r, uint32_t idx, struct error *e)
{
    struct tensors_file *f = &r->t->files[idx];
    struct checksum sum;
    int rc = open_packed(r->t, f, e);

    if (rc) return rc;
    checksum_begin(&sum);
    checksum_feed(&sum, f->packed->front, f->packed->head.front_bytes);
    f->info.header_bytes = f->packed->head.front_bytes;
    f->info.header_sum = checksum_end(&sum);
    return safetensors_read_header(f->path, idx, f->packed->header, f->packed->head.header_bytes,
                                   f->packed->head.raw_bytes, &f->info, visit, r, e);
}

int tensors_read_file(struct tensors *t, uint32_t idx, tensors_claim_fn *claim, void *arg, struct error *e)
{
    struct reading r = {t, claim, arg};

    if (t->packed) return read_packed(&r, idx, e);
    return safetensors_read(t->files[idx].path, idx, &t->files[idx].info, visit, &r, e);
}

void tensors_forget_fronts(struct tensors *t)
{
    for (uint32_t i = 0; i < t->file_count; i++) {
        packed_close(t->files[i].packed);
        t->files[i].packed = NULL;
    }
}

void tensors_close(struct tensors *t)
{
    if (!t) return;
    for (size_t i = 0; i < t->count; i++) free_tensor(&t->at[i]);
    for (uint32_t i = 0; i < t->file_count; i++) {
        free(t->files[i].name);
        free(t->files[i].path);
        free(t->files[i].fault);
        packed_close(t->files[i].packed);
    }
    for (size_t i = 0; i < t->claim_count; i++) free(t->claims[i].tensor);
    packed_index_free(&t->packed_index);
    free(t->copies);
    free(t->claims);
    free(t->at);
    free(t->files);
    free(t->slot);
    free(t->folder);
    free(t);
}

/* ---- questions ---- */

static int by_tensor(const void *a, const void *b)
{
    return strcmp(((const struct tensors_claim *)a)->tensor, ((const struct tensors_claim *)b)->tensor);
}

const struct tensors_file *tensors_claimed(const struct tensors *t, const char *name)
{
    struct tensors_claim key = {.tensor = (char *)(uintptr_t)name}, *c = NULL;

    if (t->claim_count) c = bsearch(&key, t->claims, t->claim_count, sizeof *t->claims, by_tensor);
    return c ? &t->files[c->file] : NULL;
}

bool tensors_any_fault(const struct tensors *t)
{
    for (uint32_t i = 0; i < t->file_count; i++)
        if (t->files[i].fault) return true;
    return false;
}

const struct tensor *tensors_assume(struct tensors *t, const char *name, uint32_t dtype, const uint64_t *shape,
                                    uint32_t dims)
{
    struct tensor x = {.name = name, .shape = shape, .dims = dims, .dtype = dtype}, named;
    struct tensor *own = (struct tensor *)(uintptr_t)tensors_find(t, name);

    if (own && own->dims) return own;
    if (tensor_shape_bytes(dtype, shape, dims, &x.bytes)) return NULL;
    if (own) { /* named by the index, seen for the first time */
        x.file = own->file;
        if (copy_tensor(&named, &x)) return NULL;
        free_tensor(own);
        *own = named;
    } else if (tensors_add(t, &x, &own)) {
        return NULL;
    }
    own->offset = t->files[own->file].info.bytes;
    t->files[own->file].info.bytes += own->bytes;
    return own;
}

uint64_t tensors_assumed_bytes(const struct tensors *t, bool *every)
{
    uint64_t sum = 0;

    *every = true;
    for (size_t i = 0; i < t->count; i++) {
        sum += t->at[i].bytes;
        *every &= t->at[i].dims > 0;
    }
    return sum;
}

const char *tensors_source_name(enum tensors_source s)
{
    static const char *const names[] = {"files", TENSORS_LIST_NAME, TENSORS_INDEX_NAME, "config.json",
                                        "the file's header"};

    return names[s];
}

const char *tensors_path(const struct tensors *t, const struct tensor *x)
{
    return t->files[x->file].path;
}
