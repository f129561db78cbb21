/* Which files and tensors there are, and what is wrong with them before a weight is read. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "coordinator/cli/options.h"
#include "coordinator/source/source.h"
#include "coordinator/verify/published.h"
#include "coordinator/verify/verify.h"
#include "proto/base/clock.h"

#define TEMPLATES           "additional_chat_templates"
#define GGUF_ALIGNMENT_MOST 65536u /* that anybody uses */

static int no_memory(const struct verify *v, struct error *e)
{
    return error_set(e, ENOMEM, "%s: no memory for the list of what is in it", v->folder);
}

/* suffix: of the file that it lies in. -ENOENT: there is no such file. */
static int add_item(struct verify *v, const char *name, const char *suffix, bool weights)
{
    struct verify_item *grown = reallocarray(v->item, v->items + 1, sizeof *grown), x = {.weights = weights};
    struct stat st;

    if (!grown) return -ENOMEM;
    v->item = grown;
    x.name = strdup(name);
    if (asprintf(&x.path, "%s/%s%s", v->folder, name, suffix) < 0) x.path = NULL;
    if (!x.name || !x.path || stat(x.path, &st) || !S_ISREG(st.st_mode)) {
        int rc = !x.name || !x.path ? -ENOMEM : -ENOENT;
        free(x.name);
        free(x.path);
        return rc;
    }
    x.bytes = (uint64_t)st.st_size;
    v->stored_bytes += x.bytes;
    x.mtime_ns = clock_nanoseconds(st.st_mtim);
    x.inode = st.st_ino;
    v->item[v->items++] = x;
    return 0;
}

/* ---- the weights' headers ---- */

static int add_tensor(struct verify *v, const struct tensor *t, uint32_t item)
{
    struct verify_tensor x = {
        .item = item, .dtype = t->dtype, .form = tensor_stored_form(t), .offset = t->offset, .bytes = t->bytes};

    if (!x.bytes) x.offset = v->item[item].bytes; /* it lies nowhere, and none of the others around it */

    if (!(v->tensors & (v->tensors - 1))) { /* 0, 1, 2, 4, ...: full */
        struct verify_tensor *grown = reallocarray(v->tensor, v->tensors ? 2 * v->tensors : 1, sizeof *grown);

        if (!grown) return -ENOMEM;
        v->tensor = grown;
    }
    if (!(x.name = strdup(t->name))) return -ENOMEM;
    v->tensor[v->tensors++] = x;
    if (!t->dtype_text || v->gguf_folder) return 0;
    return verify_find(
        v, FINDING_TENSOR, v->item[item].name, t->name,
        "%s: tensor %s: its dtype \"%.40s\" is none that safetensors knows: its own library does not load the file",
        v->item[item].path, t->name, t->dtype_text);
}

/* What the format's own library refuses, and a run does not mind. */
static int judge_layout(struct verify *v, const struct tensors_file *f)
{
    const struct safetensors_file *i = &f->info;
    uint64_t after = (f->packed ? f->packed->head.raw_bytes : i->bytes) - i->tensors_end;
    int rc = 0;

    if (i->gap_bytes)
        rc = verify_find(v, FINDING_FILE, f->name, NULL,
                         "%s: %" PRIu64 " bytes belong to no tensor, the first at offset %" PRIu64
                         ": safetensors' own library does not load such a file; it is damaged, download it again",
                         f->path, i->gap_bytes, i->gap_offset);
    if (!rc && i->odd_header)
        rc = verify_find(
            v, FINDING_FILE, f->name, NULL,
            "%s: its header has an empty tensor within another, or metadata that are no strings: safetensors' "
            "own library does not load such a file",
            f->path);
    if (!rc && after)
        rc = verify_find(v, FINDING_FILE, f->name, NULL,
                         "%s: %" PRIu64
                         " bytes follow its last tensor%s: safetensors' own library does not load such a file; "
                         "download it again",
                         f->path, after,
                         after == i->tensors_end ? ", as many as the file has up to there: it was written twice" : "");
    return rc;
}

/* llama.cpp wants the tensors of a GGUF one behind the other, and fills up to general.alignment behind the last. */
static int judge_gguf_layout(struct verify *v, const struct tensors_file *f)
{
    const struct safetensors_file *i = &f->info;
    uint64_t after = i->bytes > i->tensors_end ? i->bytes - i->tensors_end : 0;

    if (i->gap_bytes)
        return verify_find(v, FINDING_FILE, f->name, NULL,
                           "%s: %" PRIu64 " bytes belong to no tensor, the first at offset %" PRIu64
                           ": llama.cpp does not load such a file",
                           f->path, i->gap_bytes, i->gap_offset);
    if (after >= GGUF_ALIGNMENT_MOST)
        return verify_note(v, "%s: %" PRIu64 " bytes follow its last tensor", f->name, after);
    return 0;
}

static int note_mark(struct verify *v, const struct tensors_file *f)
{
    static const char *const usual[] = {"", "pt", "np"};
    const char *format = f->info.format;

    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (!strcmp(format, usual[i])) return 0;
    if (!strcmp(format, "mlx"))
        return verify_note(v, "%s is a conversion for mlx: its norms and names may differ from the published ones",
                           f->name);
    return verify_note(v, "%s is marked as written for \"%s\"", f->name, format);
}

/* The index as far as it is wrong without harm. */
static int note_index(struct verify *v, const struct tensors *t)
{
    size_t stale = 0, disputed = 0;
    const struct tensors_claim *first = NULL;
    int rc = 0;

    for (size_t i = 0; i < t->claim_count; i++) {
        if (t->files[t->claims[i].file].fault) continue; /* a finding of its own */
        if (!first) first = &t->claims[i];
        stale++;
    }
    if (stale)
        rc = verify_note(v, "%s names %zu tensor%s that no file has (%s, which should be in %s%s)", TENSORS_INDEX_NAME,
                         stale, stale > 1 ? "s" : "", first->tensor, t->files[first->file].name,
                         stale > 1 ? ", ..." : "");
    for (size_t i = 0; i < t->copy_count; i++) disputed += t->copies[i].disputed;
    if (!rc && t->copy_count)
        rc = verify_note(v, "%zu tensor%s in two files (%s, in %s and %s): %s", t->copy_count,
                         t->copy_count > 1 ? "s lie" : " lies", t->at[t->copies[0].tensor].name,
                         t->files[t->at[t->copies[0].tensor].file].name, t->files[t->copies[0].file].name,
                         disputed ? "the index does not say which counts, the last does"
                                  : "the one counts that the index names");
    return rc;
}

static int add_file(struct verify *v, const struct tensors_file *f, uint32_t *item)
{
    int rc = add_item(v, f->name, v->packed ? PACKED_SUFFIX : "", true);

    *item = (uint32_t)(v->items - (rc == 0));
    if (rc) return rc == -ENOENT ? 0 : rc; /* it is not there: a finding already */
    if (f->fault) return 0;
    if (f->packed) v->item[*item].bytes = f->packed->head.raw_bytes;
    if (v->gguf_folder) return judge_gguf_layout(v, f);
    rc = judge_layout(v, f);
    return rc ? rc : note_mark(v, f);
}

static void on_file_fault(void *arg, const char *file, const char *text)
{
    struct verify *v = arg;

    if (verify_find(v, FINDING_FILE, file, NULL, "%s", text)) v->failed = true;
}

/* The other files that were packed: those that lie there beside them are none of the model's. */
static int add_copied(struct verify *v, const struct packed_index *x)
{
    int rc = 0;

    for (size_t i = 0; i < x->copies && !rc; i++) {
        rc = add_item(v, x->copied[i].name, "", false);
        if (rc == -ENOENT) rc = 0; /* who unpacks it says so */
    }
    return rc ? rc : verify_note(v, "it is packed: sums and offsets are those of the files that it unpacks to");
}

static int add_all_weights(struct verify *v, const struct source *s, struct error *e)
{
    struct tensors_options o = {.file_fault = on_file_fault, .arg = v};
    struct error fault = {0};
    struct tensors *t = NULL;
    uint32_t *item;
    int rc = source_tensors(s, &o, &t, &fault);

    if (rc == -ENOMEM || v->failed) {
        tensors_close(t);
        return no_memory(v, e);
    }
    if (rc) return 0; /* who opens the model says so */
    item = calloc(t->file_count + 1, sizeof *item);
    rc = item ? 0 : -ENOMEM;
    v->packed = t->packed;
    for (uint32_t i = 0; i < t->file_count && !rc; i++) rc = add_file(v, &t->files[i], &item[i]);
    for (size_t i = 0; i < t->count && !rc; i++) rc = add_tensor(v, &t->at[i], item[t->at[i].file]);
    if (!rc) rc = note_index(v, t);
    if (!rc && v->packed) rc = add_copied(v, &t->packed_index);
    free(item);
    tensors_close(t);
    return rc ? no_memory(v, e) : 0;
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
        rc = add_item(v, name, "", false);
        return rc == -ENOENT ? 0 : rc; /* a folder */
    }
    return tensors_name_ends(name, ".safetensors") ? verify_note(v, "%s is no part of the model: not read", name) : 0;
}

/* Templates have names of their own in a folder of their own. */
static int add_templates(struct verify *v)
{
    char path[4096], name[512];
    struct dirent *x;
    DIR *d;
    int rc = 0;

    snprintf(path, sizeof path, "%s/" TEMPLATES, v->folder);
    if (!(d = opendir(path))) return 0;
    while (!rc && (x = readdir(d))) {
        if (!tensors_name_ends(x->d_name, ".jinja")) continue;
        snprintf(name, sizeof name, TEMPLATES "/%s", x->d_name);
        rc = add_item(v, name, "", false);
        if (rc == -ENOENT) rc = 0;
    }
    closedir(d);
    return rc;
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
    if (!rc) rc = add_templates(v);
    if (v->items > weights) qsort(v->item + weights, v->items - weights, sizeof *v->item, by_item_name);
    return rc ? no_memory(v, e) : 0;
}

static int by_place(const void *a, const void *b)
{
    const struct verify_tensor *x = a, *y = b;

    if (x->item != y->item) return x->item < y->item ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* A line of the tensors that the model does not use: those that it knows and leaves out, or the others. */
static int note_unused(struct verify *v, bool left_out)
{
    uint64_t bytes = 0;
    size_t n = 0;
    const char *first = NULL;

    for (size_t i = 0; i < v->tensors && v->model_known; i++) {
        if (v->tensor[i].used || v->tensor[i].left_out != left_out) continue;
        if (!n++) first = v->tensor[i].name;
        bytes += v->tensor[i].bytes;
    }
    if (!n) return 0;
    if (left_out)
        return verify_note(v,
                           "%zu tensor%s (%.3f GB, %s%s) known and left out: what predicts further tokens, or does "
                           "nothing",
                           n, n > 1 ? "s" : "", (double)bytes / 1e9, first, n > 1 ? ", ..." : "");
    return verify_note(v, "%zu extra tensor%s (%.3f GB, %s%s): in the files, and not used by the model as it runs here",
                       n, n > 1 ? "s" : "", (double)bytes / 1e9, first, n > 1 ? ", ..." : "");
}

static int take_gguf_folder(struct verify *v)
{
    const char *slash = strrchr(v->folder, '/');

    v->gguf_folder = slash == v->folder ? strdup("/")
                     : slash            ? strndup(v->folder, (size_t)(slash - v->folder))
                                        : strdup(".");
    if (!v->gguf_folder) return -ENOMEM;
    v->folder = v->gguf_folder;
    return 0;
}

int verify_gather(struct verify *v, const struct options *o, struct error *e)
{
    int rc;

    *v = (struct verify){.folder = source_path(o->source)};
    rc = source_gguf(o->source) ? take_gguf_folder(v) : 0;
    if (rc) return no_memory(v, e);
    rc = add_all_weights(v, o->source, e);
    if (!rc) rc = verify_open(v, o->source, e);
    if (!rc && !v->gguf_folder && !v->packed) rc = add_others(v, o, e); /* all of a GGUF is in its files */
    if (rc) return rc;
    if (v->tensors) qsort(v->tensor, v->tensors, sizeof *v->tensor, by_place);
    for (size_t i = 0; i < v->items; i++) v->bytes += v->item[i].bytes;
    if (v->model_known && !v->gguf_folder && !verify_item_named(v, "generation_config.json"))
        rc = verify_note(v, "it has no generation_config.json: nobody recommends how tokens are chosen");
    return rc || note_unused(v, true) || note_unused(v, false) ? no_memory(v, e) : 0;
}
