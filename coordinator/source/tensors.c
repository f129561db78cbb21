#include "coordinator/source/tensors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "coordinator/source/config.h"

#define LENGTH_FIELD    8 /* what a safetensors file begins with: tensors without a header follow it at once */
#define INDEX_BYTES_MAX (UINT64_C(256) << 20)
#define INDEX_NAME      "model.safetensors.index.json"

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

int tensors_add(struct tensors *t, const struct tensor *x, struct tensor **where)
{
    size_t name_bytes = strlen(x->name) + 1, shape_bytes = x->dims * sizeof *x->shape, i;
    char *own;

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
    own = malloc(shape_bytes + name_bytes); /* shape first: it wants the alignment */
    if (!own) return -ENOMEM;
    if (shape_bytes) memcpy(own, x->shape, shape_bytes);
    memcpy(own + shape_bytes, x->name, name_bytes);
    t->at[t->count] = *x;
    t->at[t->count].shape = (const uint64_t *)(const void *)own;
    t->at[t->count].name = own + shape_bytes;
    if (where) *where = &t->at[t->count];
    t->slot[i] = (uint32_t)++t->count;
    return 0;
}

/* ---- files ---- */

int tensors_add_file(struct tensors *t, const char *name, uint32_t *idx, struct error *e)
{
    struct tensors_entry *files = reallocarray(t->files, t->file_count + 1, sizeof *files);
    struct tensors_entry f = {0};

    if (!files) return error_set(e, ENOMEM, "no memory for the list of files of %s", t->folder);
    t->files = files;
    f.info.bytes = LENGTH_FIELD;
    f.name = strdup(name);
    if (asprintf(&f.path, "%s/%s", t->folder, name) < 0) f.path = NULL;
    if (!f.name || !f.path) {
        free(f.name);
        free(f.path);
        return error_set(e, ENOMEM, "no memory for the list of files of %s", t->folder);
    }
    *idx = t->file_count;
    t->files[t->file_count++] = f;
    return 0;
}

static int visit(void *context, const struct tensor *x, struct error *e)
{
    struct tensors *t = context;
    int rc = tensors_add(t, x, NULL);

    if (rc == -EEXIST)
        return error_set(e, EINVAL, "%s: tensor %.200s is in %s already: one of the two files does not belong there",
                         t->files[x->file].path, x->name, t->files[tensors_find(t, x->name)->file].name);
    if (rc) return error_set(e, -rc, "%s: no memory for its tensors", t->files[x->file].path);
    return 0;
}

static int read_file(struct tensors *t, const char *name, struct error *e)
{
    uint32_t idx = 0;
    int rc = tensors_add_file(t, name, &idx, e);

    return rc ? rc : safetensors_read(t->files[idx].path, idx, &t->files[idx].info, visit, t, e);
}

/* ---- the index ---- */

/* Files lie in the folder itself: a name that leads elsewhere is an attack or a mistake. */
bool tensors_plain_name(const char *s)
{
    return *s && *s != '.' && !strchr(s, '/') && strlen(s) < 256;
}

bool tensors_name_ends(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    return n >= k && !strcmp(s + n - k, end);
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int index_fault(const struct tensors *t, struct error *e, const char *tensor, const char *what)
{
    return error_set(e, EINVAL, "%s/%s: tensor %.200s: %s", t->folder, INDEX_NAME, tensor, what);
}

/* The different files of the index, sorted; names belong to the map, the array to the caller. */
static int index_files(struct tensors *t, json_t *map, const char ***out, size_t *n, struct error *e)
{
    const char **names = calloc(json_object_size(map) + 1, sizeof *names), *key;
    size_t k = 0, distinct = 0;
    json_t *v;

    if (!names) return error_set(e, ENOMEM, "%s/%s: no memory for it", t->folder, INDEX_NAME);
    json_object_foreach(map, key, v)
    {
        const char *s = json_string_value(v);
        if (!s || !tensors_plain_name(s)) {
            free(names);
            return index_fault(t, e, key, s ? "its file is not a plain name inside the folder" : "names no file");
        }
        names[k++] = s;
    }
    qsort(names, k, sizeof *names, by_string);
    for (size_t i = 0; i < k; i++)
        if (!i || strcmp(names[i], names[i - 1])) names[distinct++] = names[i];
    *out = names;
    *n = distinct;
    return 0;
}

/* Every tensor of the index is where the index says. */
static int check_index(const struct tensors *t, json_t *map, struct error *e)
{
    const char *key;
    json_t *v;

    json_object_foreach(map, key, v)
    {
        const struct tensor *x = tensors_find(t, key);
        if (!x)
            return error_set(e, EINVAL,
                             "%s/%s: tensor %.200s is not in it, though %s says so: download both files again",
                             t->folder, json_string_value(v), key, INDEX_NAME);
        if (strcmp(t->files[x->file].name, json_string_value(v)))
            return error_set(e, EINVAL,
                             "%s: tensor %.200s is in it, but %s says it is in %s: download both files again",
                             t->files[x->file].path, key, INDEX_NAME, json_string_value(v));
    }
    return 0;
}

/* The index of a folder whose shards are not there: names alone. */
static int assume_index(struct tensors *t, json_t *map, const char **names, size_t n, struct error *e)
{
    const char *key;
    uint32_t idx = 0;
    json_t *v;
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++) rc = tensors_add_file(t, names[i], &idx, e);
    json_object_foreach(map, key, v)
    {
        const char *s = json_string_value(v);
        const char **at = rc ? NULL : bsearch(&s, names, n, sizeof *names, by_string);
        if (at && tensors_add(t, &(struct tensor){.name = key, .file = (uint32_t)(at - names)}, NULL))
            rc = error_set(e, ENOMEM, "%s/%s: no memory for it", t->folder, INDEX_NAME);
    }
    t->assumed = t->names_known = true;
    t->source = TENSORS_INDEX;
    return rc;
}

static bool any_missing(const struct tensors *t, const char **names, size_t n, const char **which)
{
    char path[4096];
    struct stat st;

    for (size_t i = 0; i < n; i++) {
        if (snprintf(path, sizeof path, "%s/%s", t->folder, names[i]) >= (int)sizeof path || stat(path, &st)) {
            *which = names[i];
            return true;
        }
    }
    return false;
}

static int open_shards(struct tensors *t, json_t *map, bool allow_missing, struct error *e)
{
    const char **names = NULL, *gone = NULL;
    size_t n = 0;
    int rc = index_files(t, map, &names, &n, e);

    if (rc) return rc;
    if (any_missing(t, names, n, &gone))
        rc = allow_missing
                 ? assume_index(t, map, names, n, e)
                 : error_set(e, ENOENT, "%s/%s: no such file: %s lists it, %zu files in all; download the missing ones",
                             t->folder, gone, INDEX_NAME, n);
    for (size_t i = 0; i < n && !rc && !t->assumed; i++) rc = read_file(t, names[i], e);
    if (!rc && !t->assumed) rc = check_index(t, map, e);
    free(names);
    return rc;
}

static int open_index(struct tensors *t, const char *path, bool allow_missing, struct error *e)
{
    json_t *root = NULL, *map, *total;
    int64_t bytes;
    int rc = config_load_json(&root, path, INDEX_BYTES_MAX, e);

    if (rc) return rc;
    map = json_object_get(root, "weight_map");
    if (!json_is_members(map) || !json_object_size(map))
        rc = error_set(e, EINVAL, "%s: weight_map: no list of tensors: download the file again", path);
    else
        rc = open_shards(t, map, allow_missing, e);
    total = json_object_get(json_object_get(root, "metadata"), "total_size");
    if (json_whole(total, &bytes) && bytes > 0) t->index_bytes = (uint64_t)bytes;
    json_decref(root);
    return rc;
}

/* ---- the folder ---- */

static bool exists(const char *folder, const char *name)
{
    char path[4096];
    struct stat st;

    return snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && !stat(path, &st);
}

static int no_weights(struct tensors *t, bool allow_missing, struct error *e)
{
    if (allow_missing) {
        uint32_t idx = 0;
        t->assumed = true;
        t->source = TENSORS_CONFIG;
        return tensors_add_file(t, TENSORS_SINGLE_NAME, &idx, e);
    }
    if (exists(t->folder, "pytorch_model.bin") || exists(t->folder, "pytorch_model.bin.index.json"))
        return error_set(
            e, ENOENT,
            "%s: only pytorch_model.bin is there, which is a program and not data: convert it to safetensors",
            t->folder);
    return error_set(e, ENOENT, "%s: no weights: neither %s nor %s is there, download them", t->folder, TENSORS_SINGLE_NAME,
                     INDEX_NAME);
}

static int open_list(struct tensors *t, struct error *e)
{
    char *path = NULL;
    int rc;

    if (asprintf(&path, "%s/%s", t->folder, TENSORS_LIST_NAME) < 0)
        return error_set(e, ENOMEM, "%s: no memory", t->folder);
    rc = tensors_read_list(t, path, e);
    free(path);
    return rc;
}

static int open_folder(struct tensors *t, bool allow_missing, struct error *e)
{
    bool listed = allow_missing && exists(t->folder, TENSORS_LIST_NAME);
    char *path = NULL;
    int rc;

    if (exists(t->folder, TENSORS_SINGLE_NAME)) return read_file(t, TENSORS_SINGLE_NAME, e);
    if (!exists(t->folder, INDEX_NAME)) return listed ? open_list(t, e) : no_weights(t, allow_missing, e);
    if (asprintf(&path, "%s/%s", t->folder, INDEX_NAME) < 0) return error_set(e, ENOMEM, "%s: no memory", t->folder);
    rc = open_index(t, path, allow_missing && !listed, e); /* where shards are missing, a list says more than it */
    free(path);
    if (rc == -ENOENT && listed) {
        *e = (struct error){0};
        rc = open_list(t, e);
    }
    return rc;
}

int tensors_open(struct tensors **out, const char *folder, bool allow_missing, struct error *e)
{
    struct tensors *t = calloc(1, sizeof *t);
    int rc;

    *out = NULL;
    if (!t || !(t->folder = strdup(folder))) {
        free(t);
        return error_set(e, ENOMEM, "%s: no memory for its tensors", folder);
    }
    rc = open_folder(t, allow_missing, e);
    if (rc) {
        tensors_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

void tensors_close(struct tensors *t)
{
    if (!t) return;
    for (size_t i = 0; i < t->count; i++)
        free((void *)(uintptr_t)t->at[i].shape); /* the one allocation of a tensor: shape, then name */
    for (uint32_t i = 0; i < t->file_count; i++) {
        free(t->files[i].name);
        free(t->files[i].path);
    }
    free(t->at);
    free(t->files);
    free(t->slot);
    free(t->folder);
    free(t);
}

const struct tensor *tensors_assume(struct tensors *t, const char *name, uint32_t dtype, const uint64_t *shape,
                                    uint32_t dims)
{
    struct tensor x = {.name = name, .shape = shape, .dims = dims, .dtype = dtype};
    struct tensor *old = (struct tensor *)(uintptr_t)tensors_find(t, name);
    struct tensor *own = NULL;
    uint64_t *kept;
    char *copy;

    if (old && old->dims) return old;
    if (tensor_shape_bytes(dtype, shape, dims, &x.bytes)) return NULL;
    if (old) { /* named by the index, seen for the first time */
        size_t n = strlen(name) + 1;
        copy = malloc(dims * sizeof *shape + n);
        if (!copy) return NULL;
        kept = memcpy(copy, shape, dims * sizeof *shape);
        memcpy(copy + dims * sizeof *shape, name, n);
        x.file = old->file;
        free((void *)(uintptr_t)old->shape);
        x.shape = kept;
        x.name = copy + dims * sizeof *shape;
        *old = x;
        own = old;
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
    static const char *const names[] = {"files", TENSORS_LIST_NAME, INDEX_NAME, "config.json"};

    return names[s];
}

const char *tensors_path(const struct tensors *t, const struct tensor *x)
{
    return t->files[x->file].path;
}
