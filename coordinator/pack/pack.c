#include "coordinator/pack/pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "coordinator/pack/private.h"
#include "coordinator/source/tensors.h"
#include "coordinator/text/json.h"
#include "proto/base/checksum.h"

#define TEMPLATES "additional_chat_templates"
#define MARKER    PACKED_INDEX PACKED_PARTIAL
#define COPY_MOST (UINT64_C(1) << 30) /* of a file beside the weights: none that a run reads is so large */

/* ---- the other files ---- */

/* Weights, in forms that a run does not read; what downloads leave; and what this room makes. */
static bool left_out(const char *name)
{
    static const char *const ends[] = {".safetensors", ".bin",  ".pt",         ".pth",        ".gguf",
                                       ".ggml",        ".onnx", ".onnx_data",  ".h5",         ".msgpack",
                                       ".ckpt",        ".npz",  ".tflite",     ".zip",        ".tar",
                                       ".gz",          ".tmp",  ".incomplete", PACKED_SUFFIX, PACKED_PARTIAL};

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (tensors_name_ends(name, ends[i])) return true;
    return *name == '.' || !strcmp(name, PACKED_INDEX);
}

static int add_copied(struct packed_index *x, const char *name, struct error *e)
{
    struct packed_file *list = reallocarray(x->copied, x->copies + 1, sizeof *list);

    if (list) x->copied = list;
    if (!list || !(list[x->copies].name = strdup(name)))
        return error_set(e, ENOMEM, "%s: no memory for its name", name);
    list[x->copies] = (struct packed_file){.name = list[x->copies].name};
    x->copies++;
    return 0;
}

static int list_folder(struct packed_index *x, const char *folder, const char *inner, struct error *e)
{
    char *path = join(folder, inner, "");
    DIR *d = path ? opendir(path) : NULL;
    const struct dirent *n;
    int rc = path ? 0 : error_set(e, ENOMEM, "%s: no memory for its files", folder);

    while (d && !rc && (n = readdir(d))) {
        char name[1024], whole[4096];
        struct stat st;

        snprintf(name, sizeof name, "%s%s%s", inner, *inner ? "/" : "", n->d_name);
        snprintf(whole, sizeof whole, "%s/%s", folder, name);
        if (left_out(n->d_name) || stat(whole, &st) || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > COPY_MOST)
            continue;
        rc = add_copied(x, name, e);
        if (!rc) x->copied[x->copies - 1].raw_bytes = (uint64_t)st.st_size;
    }
    if (d) closedir(d);
    free(path);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct packed_file *)a)->name, ((const struct packed_file *)b)->name);
}

static int list_others(struct packed_index *x, const char *folder, struct error *e)
{
    int rc = list_folder(x, folder, "", e);

    if (!rc) rc = list_folder(x, folder, TEMPLATES, e);
    if (!rc && x->copies) qsort(x->copied, x->copies, sizeof *x->copied, by_name);
    return rc;
}

/* ---- space ---- */

/* More than it will take, where weights pack as trained ones do. */
static int check_space(const struct cut *c, const struct packed_index *x, const char *out, struct error *e)
{
    uint64_t need = 0;

    for (uint32_t i = 0; i < c->files; i++) {
        const struct cut_file *f = &c->file[i];
        uint64_t bytes = f->bytes - f->matrix_bytes + (uint64_t)((double)f->matrix_bytes * (PACK_RATIO + 0.01)) +
                         packed_front_bytes(f->header_bytes, f->segments, f->units),
                 there =
                     bytes_there(out, f->name, PACKED_SUFFIX) + bytes_there(out, f->name, PACKED_SUFFIX PACKED_PARTIAL);

        need += bytes > there ? bytes - there : 0;
    }
    for (size_t i = 0; i < x->copies; i++) need += x->copied[i].raw_bytes;
    return check_room(out, need, "packed", e);
}

/* ---- which model a partial folder is of ---- */

static int identity(char *out, size_t room, const struct source *s, uint32_t unit_bytes, struct error *e)
{
    struct tensors *t = NULL;
    struct checksum sum;
    int rc = source_tensors(s, NULL, &t, e);

    if (rc) return rc;
    checksum_begin(&sum);
    for (uint32_t i = 0; i < t->file_count; i++) {
        const struct safetensors_file *f = &t->files[i].info;
        const uint64_t facts[] = {f->bytes, f->mtime_ns, f->header_bytes, f->header_sum};

        checksum_feed(&sum, t->files[i].name, strlen(t->files[i].name) + 1);
        checksum_feed(&sum, facts, sizeof facts);
    }
    tensors_close(t);
    snprintf(out, room, "sluice-pack 1 %016" PRIx64 " %u\n", checksum_end(&sum), unit_bytes);
    return 0;
}

/* ---- the index ---- */

static json_t *describe(const struct packed_file *f, bool copied)
{
    char front[17];
    json_t *o = json_pack("{s:s, s:I, s:s}", "name", f->name, "bytes", (json_int_t)f->raw_bytes, "sha256", f->sha256);

    if (copied || !o) return o;
    snprintf(front, sizeof front, "%016" PRIx64, f->front_sum);
    json_object_set_new(o, "stored_bytes", json_integer((json_int_t)f->stored_bytes));
    json_object_set_new(o, "front", json_string(front));
    return o;
}

static json_t *describe_all(const struct packed_index *x)
{
    json_t *root = json_object(), *files = json_array(), *copied = json_array();

    for (size_t i = 0; i < x->files; i++) json_array_append_new(files, describe(&x->file[i], false));
    for (size_t i = 0; i < x->copies; i++) json_array_append_new(copied, describe(&x->copied[i], true));
    json_object_set_new(root, "format", json_string("sluice-pack 1"));
    json_object_set_new(root, "files", files);
    json_object_set_new(root, "copied", copied);
    return root;
}

static int write_index(const struct packed_index *x, const char *out, struct error *e)
{
    char *path = join(out, PACKED_INDEX, ""), *partial = join(out, PACKED_INDEX, ".new");
    json_t *root = describe_all(x);
    FILE *f = path && partial && root ? fopen(partial, "we") : NULL;
    int rc = 0;

    if (!path || !partial || !root)
        rc = error_set(e, ENOMEM, "%s: no memory for its index", out);
    else if (!f || json_print(f, root) || fputc('\n', f) == EOF || fflush(f))
        rc = error_set(e, errno ? errno : EIO, "%s: %s", partial, error_name(errno ? errno : EIO));
    if (!rc) rc = settle_file(fileno(f), partial, path, e);
    if (f) fclose(f);
    json_decref(root);
    free(path);
    free(partial);
    return rc;
}

/* ---- all of it ---- */

static int pack_files(const struct cut *c, const struct source *s, const struct pack_options *o, struct packed_index *x,
                      struct pack_result *r, struct error *e)
{
    struct progress p = {0};
    int rc = 0;

    x->file = calloc(c->files + 1, sizeof *x->file);
    if (!x->file) return error_set(e, ENOMEM, "%s: no memory for its index", o->out);
    for (uint32_t i = 0; i < c->files; i++) p.total += c->file[i].bytes - c->file[i].header_bytes;
    for (size_t i = 0; i < x->copies && !rc; i++)
        rc = copy_file(source_path(s), o->out, x->copied[i].name, x->copied[i].sha256, NULL, e);
    for (uint32_t i = 0; i < c->files && !rc; i++) {
        rc = pack_file(&c->file[i], o, &p, r, &x->file[i], e);
        if (!rc && o->told) o->told(o->arg, x->file[i].name, x->file[i].sha256);
        x->files += x->file[i].name != NULL;
    }
    return rc;
}

/* What a run finds only here. */
static int refuse_kinds(const struct source *s, struct error *e)
{
    struct stat st;

    if (packed_folder(source_path(s))) return error_set(e, EINVAL, "%s is packed already", source_path(s));
    if (stat(source_path(s), &st) || !S_ISDIR(st.st_mode))
        return error_set(e, ENOTSUP, "%s is no folder of safetensors files: only those are packed", source_path(s));
    return 0;
}

int pack_folder(const struct source *s, const struct pack_options *o, struct pack_result *r, struct error *e)
{
    struct packed_index x = {0};
    struct place_out place;
    struct cut c = {0};
    char text[128];
    int rc = refuse_kinds(s, e);

    *r = (struct pack_result){0};
    if (!rc) rc = cut_make(&c, s, o->unit_bytes, e);
    if (!rc) rc = identity(text, sizeof text, s, o->unit_bytes, e);
    if (!rc) rc = list_others(&x, source_path(s), e);
    if (!rc) rc = place_out_open(&place, o->out, source_path(s), MARKER, text, PACKED_INDEX, e);
    if (!rc) {
        rc = check_space(&c, &x, o->out, e);
        if (!rc) rc = pack_files(&c, s, o, &x, r, e);
        if (!rc) rc = write_index(&x, o->out, e);
        if (rc)
            place_out_close(&place, false, NULL);
        else
            rc = place_out_close(&place, true, e);
    }
    packed_index_free(&x);
    cut_free(&c);
    return rc;
}
