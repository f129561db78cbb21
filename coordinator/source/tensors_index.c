/* model.safetensors.index.json: which tensors lie in which files, as far as it is right. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/source/config.h"
#include "coordinator/source/tensors.h"
#include "coordinator/text/json.h"

#define INDEX_BYTES_MAX (UINT64_C(256) << 20)

struct index {
    struct tensors *t;
    const char *path;
    json_t *map;
    struct error *e;
};

static int no_memory(const struct index *x)
{
    return error_set(x->e, ENOMEM, "%s: no memory for it", x->path);
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The different files of the index become the tensors' files, in the order of their names. */
static int add_files(struct index *x, char **names, size_t n)
{
    uint32_t idx = 0;
    int rc = 0;

    if (n) qsort(names, n, sizeof *names, by_string);
    for (size_t i = 0; i < n && !rc; i++)
        if (!i || strcmp(names[i], names[i - 1])) rc = tensors_add_file(x->t, names[i], &idx, x->e);
    return rc;
}

static int find_files(struct index *x)
{
    char **names = calloc(json_object_size(x->map) + 1, sizeof *names), inner[TENSORS_NAME_BYTES];
    const char *key, *s;
    size_t n = 0;
    json_t *v;
    int rc = names ? 0 : no_memory(x);

    json_object_foreach(x->map, key, v)
    {
        if (rc) break;
        s = json_string_value(v);
        if (!s || !tensors_inner_name(inner, s))
            rc = error_set(x->e, EINVAL, "%s: tensor %.200s: %s: download the file again", x->path, key,
                           s ? "its file is no path inside of the folder" : "it names no file");
        else if ((names[n] = strdup(inner)))
            n++;
        else
            rc = no_memory(x);
    }
    if (!rc) rc = add_files(x, names, n);
    for (size_t i = 0; i < n; i++) free(names[i]);
    free(names);
    return rc;
}

static uint32_t file_named(const struct index *x, const char *name)
{
    uint32_t low = 0, high = x->t->file_count;
    char inner[TENSORS_NAME_BYTES];

    if (!name || !tensors_inner_name(inner, name)) return TENSORS_NONE;
    while (low < high) {
        uint32_t at = low + (high - low) / 2;
        int c = strcmp(x->t->files[at].name, inner);

        if (!c) return at;
        if (c < 0)
            low = at + 1;
        else
            high = at;
    }
    return TENSORS_NONE;
}

static uint32_t claim(void *arg, const char *tensor)
{
    const struct index *x = arg;

    return file_named(x, json_string_value(json_object_get(x->map, tensor)));
}

/* Names alone: the shards are not there. */
static int assume(struct index *x)
{
    struct tensors *t = x->t;
    const char *key;
    json_t *v;

    json_object_foreach(
        x->map, key, v) if (tensors_add(t, &(struct tensor){.name = key, .file = file_named(x, json_string_value(v))},
                                        NULL)) return no_memory(x);
    t->assumed = t->names_known = true;
    t->source = TENSORS_INDEX;
    return 0;
}

static int by_tensor(const void *a, const void *b)
{
    return strcmp(((const struct tensors_claim *)a)->tensor, ((const struct tensors_claim *)b)->tensor);
}

/* What the index names and no file has. */
static int keep_claims(struct index *x)
{
    struct tensors *t = x->t;
    const char *key;
    size_t n = 0;
    json_t *v;

    json_object_foreach(x->map, key, v) n += !tensors_find(t, key);
    if (!n) return 0;
    if (!(t->claims = calloc(n, sizeof *t->claims))) return no_memory(x);
    json_object_foreach(x->map, key, v)
    {
        struct tensors_claim c = {.file = file_named(x, json_string_value(v))};

        if (tensors_find(t, key)) continue;
        if (!(c.tensor = strdup(key))) return no_memory(x);
        t->claims[t->claim_count++] = c;
    }
    qsort(t->claims, t->claim_count, sizeof *t->claims, by_tensor);
    return 0;
}

/* A missing file's fault says how many of them there are. */
static int count_missing(struct index *x, uint32_t absent)
{
    struct tensors *t = x->t;

    for (uint32_t i = 0; i < t->file_count; i++) {
        struct tensors_file *f = &t->files[i];
        char *text;

        if (!f->absent) continue;
        if (asprintf(&text, "%s (%s lists it; of its %u file%s %u %s)", f->fault, TENSORS_INDEX_NAME, t->file_count,
                     t->file_count == 1 ? "" : "s", absent,
                     absent == 1 ? "is not there: download it" : "are not there: download them") < 0)
            return no_memory(x);
        free(f->fault);
        f->fault = text;
    }
    return 0;
}

/* What is there of the files: how many are not, and how many bytes there should be. */
static int look(struct index *x, uint32_t *absent, uint32_t *first, uint64_t *stated)
{
    struct tensors *t = x->t;

    for (uint32_t i = 0; i < t->file_count; i++) {
        uint64_t bytes = 0;
        int rc = tensors_look(t, i, &bytes, x->e);

        if (rc) return rc;
        if (t->files[i].absent && !(*absent)++) *first = i;
        *stated = bytes && *stated != UINT64_MAX ? *stated + bytes : UINT64_MAX;
    }
    if (*stated == UINT64_MAX) *stated = 0; /* of a file that is not there nobody says its size */
    return *absent ? count_missing(x, *absent) : 0;
}

static int read_files(struct index *x, const struct tensors_options *o)
{
    struct tensors *t = x->t;
    int rc = 0;

    for (uint32_t i = 0; i < t->file_count && !rc; i++) {
        if (t->files[i].absent) {
            if (o->file_fault) o->file_fault(o->arg, t->files[i].name, t->files[i].fault);
            continue;
        }
        rc = tensors_read_file(t, i, claim, x, x->e);
        if (rc) rc = tensors_file_fault(t, i, o, x->e);
    }
    return rc ? rc : keep_claims(x);
}

static int open_files(struct index *x, const struct tensors_options *o)
{
    uint32_t absent = 0, first = 0;
    int rc = find_files(x);

    if (!rc) rc = look(x, &absent, &first, &x->t->stated_bytes);
    if (rc) return rc;
    if (absent && o->allow_missing) return assume(x);
    if (absent == x->t->file_count && !o->file_fault) return error_set(x->e, ENOENT, "%s", x->t->files[first].fault);
    return read_files(x, o);
}

int tensors_read_index(struct tensors *t, const char *path, const struct tensors_options *o, struct error *e)
{
    struct index x = {.t = t, .path = path, .e = e};
    json_t *root = NULL, *total;
    int64_t bytes;
    int rc = json_read_file(&root, path, INDEX_BYTES_MAX, e);

    if (rc) return rc;
    t->indexed = true;
    x.map = json_object_get(root, "weight_map");
    if (!json_is_members(x.map) || !json_object_size(x.map))
        rc = error_set(e, EINVAL, "%s: weight_map: no list of tensors: download the file again", path);
    else
        rc = open_files(&x, o);
    total = json_object_get(json_object_get(root, "metadata"), "total_size");
    if (json_whole(total, &bytes) && bytes > 0) t->stated_bytes = (uint64_t)bytes;
    json_decref(root);
    return rc;
}
