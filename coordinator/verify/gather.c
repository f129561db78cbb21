/* Which files and tensors there are, and what is wrong with them before a weight is read. */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "coordinator/cli/options.h"
#include "coordinator/source/config.h"
#include "coordinator/text/lfs.h"
#include "coordinator/arch/model.h"
#include "coordinator/source/tensors.h"
#include "coordinator/verify/published.h"
#include "coordinator/verify/verify.h"

#define INDEX_NAME      "model.safetensors.index.json"
#define INDEX_BYTES_MAX (UINT64_C(256) << 20)

static int no_memory(const struct verify *v, struct error *e)
{
    return error_set(e, ENOMEM, "%s: no memory for the list of what is in it", v->folder);
}

/* -ENOENT: there is no such file. */
static int add_item(struct verify *v, const char *name, bool weights)
{
    struct verify_item *grown = reallocarray(v->item, v->items + 1, sizeof *grown), x = {.weights = weights};
    struct stat st;

    if (!grown) return -ENOMEM;
    v->item = grown;
    x.name = strdup(name);
    if (asprintf(&x.path, "%s/%s", v->folder, name) < 0) x.path = NULL;
    if (!x.name || !x.path || stat(x.path, &st) || !S_ISREG(st.st_mode)) {
        int rc = !x.name || !x.path ? -ENOMEM : -ENOENT;
        free(x.name);
        free(x.path);
        return rc;
    }
    x.bytes = (uint64_t)st.st_size;
    x.mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    v->item[v->items++] = x;
    return 0;
}

/* ---- the weights' headers ---- */

static int add_tensor(void *context, const struct tensor *t, struct error *e)
{
    struct verify *v = context;
    struct verify_tensor x = {.item = t->file, .dtype = t->dtype, .offset = t->offset, .bytes = t->bytes};

    if (!(v->tensors & (v->tensors - 1))) { /* 0, 1, 2, 4, ...: full */
        struct verify_tensor *grown = reallocarray(v->tensor, v->tensors ? 2 * v->tensors : 1, sizeof *grown);

        if (!grown) return no_memory(v, e);
        v->tensor = grown;
    }
    if (!(x.name = strdup(t->name))) return no_memory(v, e);
    v->tensor[v->tensors++] = x;
    return 0;
}

/* One file of weights; what is wrong with its header is a finding, and the file is read all the same. */
static int add_weights(struct verify *v, const char *name, struct error *e)
{
    struct safetensors_file info;
    struct lfs_pointer pointer;
    struct error fault = {0};
    int rc = add_item(v, name, true);
    size_t before = v->tensors;
    uint32_t at;

    if (rc == -ENOENT) {
        rc = verify_find(v, FINDING_FILE, name, NULL, "%s/%s is missing: the download is incomplete", v->folder, name);
        return rc ? no_memory(v, e) : 0;
    }
    if (rc) return no_memory(v, e);
    at = (uint32_t)v->items - 1;
    if (lfs_pointer_read(&pointer, v->item[at].path)) {
        lfs_pointer_error(&fault, v->item[at].path, &pointer);
        return verify_find(v, FINDING_FILE, name, NULL, "%s", fault.text) ? no_memory(v, e) : 0;
    }
    rc = safetensors_read(v->item[at].path, at, &info, add_tensor, v, &fault);
    if (!rc) return 0;
    if (rc == -ENOMEM) return no_memory(v, e);
    while (v->tensors > before) free(v->tensor[--v->tensors].name); /* nothing of a damaged header is believed */
    return verify_find(v, FINDING_FILE, name, NULL, "%s", fault.text) ? no_memory(v, e) : 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_shards(struct verify *v, json_t *map, struct error *e)
{
    const char **name = calloc(json_object_size(map) + 1, sizeof *name), *key;
    char inner[TENSORS_NAME_BYTES];
    size_t n = 0;
    json_t *x;
    int rc = name ? 0 : no_memory(v, e);

    if (rc) return rc;
    json_object_foreach(map, key, x)
    {
        const char *file = json_string_value(x);

        if (file && tensors_inner_name(inner, file)) name[n++] = file; /* others: model_open() complains */
    }
    if (n) qsort(name, n, sizeof *name, by_name);
    for (size_t i = 0; i < n && !rc; i++)
        if (!i || strcmp(name[i], name[i - 1])) rc = add_weights(v, name[i], e);
    free(name);
    return rc;
}

static int add_all_weights(struct verify *v, struct error *e)
{
    struct error fault = {0};
    char path[4096];
    json_t *root;
    struct stat st;
    int rc;

    snprintf(path, sizeof path, "%s/" TENSORS_SINGLE_NAME, v->folder);
    if (!stat(path, &st)) return add_weights(v, TENSORS_SINGLE_NAME, e);
    snprintf(path, sizeof path, "%s/" INDEX_NAME, v->folder);
    if (stat(path, &st)) return 0; /* model_open() says what is missing */
    rc = json_read_file(&root, path, INDEX_BYTES_MAX, &fault);
    if (rc == -ENOMEM) return no_memory(v, e);
    if (rc) return 0; /* and here too */
    rc = add_shards(v, json_object_get(root, "weight_map"), e);
    json_decref(root);
    return rc;
}

/* ---- the model's plan ---- */

struct faults {
    struct verify *v;
    bool failed;
};

static void on_tensor_fault(void *arg, const char *file, const char *tensor, const char *text)
{
    struct faults *f = arg;
    struct verify *v = f->v;
    const char *name = file ? strrchr(file, '/') : NULL;

    /* experts of a stack tell of it one by one */
    for (size_t i = 0; i < v->findings; i++)
        if (v->finding[i].kind == FINDING_TENSOR && v->finding[i].tensor && !strcmp(v->finding[i].tensor, tensor))
            return;
    if (verify_find(v, FINDING_TENSOR, name ? name + 1 : NULL, tensor, "%s: tensor %s %s", file ? file : v->folder,
                    tensor, text))
        f->failed = true;
}

/* What the family asks of the folder. Headers that are damaged were named already: then nothing more can be told. */
static int compare_with_plan(struct verify *v, struct error *e)
{
    struct faults faults = {.v = v};
    struct model_options mo = {.tensor_fault = on_tensor_fault, .fault_arg = &faults};
    struct error fault = {0};
    struct model *m = NULL;
    int rc;

    for (size_t i = 0; i < v->findings; i++)
        if (v->finding[i].kind == FINDING_FILE) return 0;
    rc = model_open(&m, v->folder, &mo, &fault);
    if (rc == -ENOMEM || faults.failed) {
        model_close(m);
        return no_memory(v, e);
    }
    if (rc) return verify_find(v, FINDING_MODEL, NULL, NULL, "%s", fault.text) ? no_memory(v, e) : 0;
    v->model_known = true;
    snprintf(v->architecture, sizeof v->architecture, "%s", model_program(m)->spec.architecture);
    for (size_t i = 0; i < v->tensors; i++) v->tensor[i].used = model_uses(m, v->tensor[i].name);
    model_close(m);
    return 0;
}

/* ---- the other files ---- */

/* Weights in forms that a run does not read: as large as the model, and none of its files. */
static bool other_weights(const char *name)
{
    static const char *const ends[] = {
        ".safetensors", ".bin", ".pt",     ".pth",     ".gguf", ".ggml", ".onnx", ".onnx_data",  ".h5", ".msgpack",
        ".ckpt",        ".npz", ".tflite", ".mlmodel", ".zip",  ".tar",  ".gz",   ".incomplete", ".tmp"};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (tensors_name_ends(name, ends[i])) return true;
    return false;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;

    return a && !stat(a, &x) && !stat(b, &y) && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

static int add_other(struct verify *v, const struct options *o, const char *name)
{
    char path[4096];
    int rc;

    if (*name == '.' || published_is_list(name) || verify_item_named(v, name)) return 0;
    snprintf(path, sizeof path, "%s/%s", v->folder, name);
    if (same_file(o->out, path) || same_file(o->baseline, path)) return 0;
    if (!other_weights(name)) {
        rc = add_item(v, name, false);
        return rc == -ENOENT ? 0 : rc; /* a folder */
    }
    return tensors_name_ends(name, ".safetensors") ? verify_note(v, "%s is no part of the model: not read", name) : 0;
}

static int by_item_name(const void *a, const void *b)
{
    return strcmp(((const struct verify_item *)a)->name, ((const struct verify_item *)b)->name);
}

static int add_others(struct verify *v, const struct options *o, struct error *e)
{
    DIR *d = opendir(v->folder);
    size_t weights = v->items; /* tensors name them by number: they stay where they are */
    struct dirent *x;
    int rc = 0;

    if (!d) return error_set(e, errno, "%s: %s: give the path of a model folder", v->folder, error_name(errno));
    while (!rc && (x = readdir(d))) rc = add_other(v, o, x->d_name);
    closedir(d);
    if (v->items > weights) qsort(v->item + weights, v->items - weights, sizeof *v->item, by_item_name);
    return rc ? no_memory(v, e) : 0;
}

static int by_place(const void *a, const void *b)
{
    const struct verify_tensor *x = a, *y = b;

    if (x->item != y->item) return x->item < y->item ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int note_extra(struct verify *v)
{
    uint64_t bytes = 0;
    size_t n = 0;
    const char *first = NULL;

    for (size_t i = 0; i < v->tensors && v->model_known; i++) {
        if (v->tensor[i].used) continue;
        if (!n++) first = v->tensor[i].name;
        bytes += v->tensor[i].bytes;
    }
    if (!n) return 0;
    return verify_note(v, "%zu extra tensor%s (%.3f GB, %s%s): in the files, and not used by the model as it runs here",
                       n, n > 1 ? "s" : "", (double)bytes / 1e9, first, n > 1 ? ", ..." : "");
}

int verify_gather(struct verify *v, const struct options *o, struct error *e)
{
    struct stat st;
    int rc;

    *v = (struct verify){.folder = o->model};
    if (stat(v->folder, &st))
        return error_set(e, errno, "%s: %s: give the path of a model folder", v->folder, error_name(errno));
    if (!S_ISDIR(st.st_mode))
        return error_set(e, ENOTDIR, "%s: not a folder: give the folder that holds config.json", v->folder);
    rc = add_all_weights(v, e);
    if (!rc) rc = compare_with_plan(v, e);
    if (!rc) rc = add_others(v, o, e);
    if (rc) return rc;
    if (v->tensors) qsort(v->tensor, v->tensors, sizeof *v->tensor, by_place);
    for (size_t i = 0; i < v->items; i++) v->bytes += v->item[i].bytes;
    return note_extra(v) ? no_memory(v, e) : 0;
}
