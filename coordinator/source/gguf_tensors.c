/* Tensors of a GGUF in the form that all tensors have (tensors.h). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "coordinator/source/gguf_source.h"
#include "coordinator/source/gguf_types.h"
#include "proto/base/file.h"

static int no_memory(const struct gguf *g, struct error *e)
{
    return error_set(e, ENOMEM, "%s: no memory for the list of its tensors", g->files[0].path);
}

/* The folder that its files lie in; the caller's. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == path ? strdup("/") : slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
}

static int add_file(struct tensors *t, const struct gguf *g, uint32_t i, struct error *e)
{
    const struct gguf_file *f = &g->files[i];
    struct safetensors_file *info;
    uint32_t idx;
    int rc = tensors_add_file(t, f->name, &idx, e);

    if (rc) return rc;
    info = &t->files[idx].info;
    *info = (struct safetensors_file){.bytes = f->bytes,
                                      .mtime_ns = f->mtime_ns,
                                      .ctime_ns = f->ctime_ns,
                                      .inode = f->inode,
                                      .device = f->device,
                                      .header_bytes = f->header_bytes,
                                      .header_sum = f->header_sum,
                                      .tensors_end = f->tensors_end,
                                      .gap_bytes = f->gap_bytes,
                                      .gap_offset = f->gap_offset};
    t->files[idx].absent = f->absent;
    if (f->fault && !(t->files[idx].fault = strdup(f->fault))) return no_memory(g, e);
    return 0;
}

/* A file that somebody cut without making files of the parts: "x.gguf.part1of3", "x.gguf-split-a". */
static bool is_raw_part(const char *name)
{
    const char *end = strstr(name, ".gguf");

    return end && (strstr(end, "part") || strstr(end, "split"));
}

/* What is not there of file i: for a plan it need not be, where its header is. */
static int judge_file(struct tensors *t, const struct gguf *g, uint32_t i, const struct tensors_options *o,
                      struct error *e)
{
    const struct gguf_file *f = &g->files[i];

    if (f->fault) {
        error_set(e, f->absent ? ENOENT : EINVAL, "%s", f->fault);
        return tensors_file_fault(t, i, o, e);
    }
    if (!f->missing_bytes) return 0;
    if (o->allow_missing) {
        t->source = TENSORS_HEADER;
        t->files[i].info.bytes = f->tensors_end;
        return 0;
    }
    error_set(e, EINVAL, "%s: cut short: its tensors end at byte %" PRIu64 ", and it has %" PRIu64 ": %s", f->path,
              f->tensors_end, f->bytes,
              is_raw_part(f->name) ? "put its parts together first (cat)"
                                   : "let the download go on, or start it again");
    return tensors_file_fault(t, i, o, e);
}

int gguf_tensors_begin(struct tensors **out, const struct gguf *g, const struct tensors_options *o, struct error *e)
{
    struct tensors *t = calloc(1, sizeof *t);
    int rc = 0;

    *out = NULL;
    if (!t || !(t->folder = folder_of(g->files[0].path))) rc = no_memory(g, e);
    if (t) t->gguf = true;
    for (uint32_t i = 0; i < g->file_count && !rc; i++) rc = add_file(t, g, i, e);
    for (uint32_t i = 0; i < g->file_count && !rc; i++) rc = judge_file(t, g, i, o, e);
    if (rc)
        tensors_close(t);
    else
        *out = t;
    return rc;
}

struct tensor gguf_tensor_plain(const struct gguf_tensor *t, uint64_t shape[GGUF_DIMS])
{
    const struct gguf_type *type = gguf_type(t->type);
    const char *name = gguf_type_name(t->type);
    struct tensor x = {
        .name = t->name, .shape = shape, .dims = t->n_dims, .file = t->file, .offset = t->offset, .bytes = t->bytes};

    for (uint32_t i = 0; i < t->n_dims; i++) shape[i] = t->dims[t->n_dims - 1 - i];
    x.dtype = type && type->elements == 1 ? tensor_dtype_of(name) : TENSOR_DTYPES; /* they are called alike */
    if (x.dtype != TENSOR_DTYPES) return x;
    x.dtype_text = name;
    if (form_of_ggml_type(t->type) > 0) x.block_form = (uint32_t)form_of_ggml_type(t->type);
    return x;
}

bool gguf_tensor_is_there(const struct gguf *g, const struct gguf_tensor *t)
{
    return t->offset + t->bytes <= g->files[t->file].bytes;
}

int gguf_read_floats(float **out, size_t *n, const struct gguf *g, const struct gguf_tensor *t, size_t most,
                     struct error *e)
{
    const char *path = g->files[t->file].path;
    struct stat st;
    int fd, rc;

    *out = NULL;
    *n = t->bytes / sizeof **out;
    if (t->type != 0 || !*n || *n > most)
        return error_set(e, EINVAL, "%s: tensor %s: %s of %zu numbers, where up to %zu in F32 were expected", path,
                         t->name, gguf_type_name(t->type), *n, most);
    if (!gguf_tensor_is_there(g, t))
        return error_set(e, EINVAL, "%s: tensor %s: the file ends before it", path, t->name);
    rc = file_open(path, &fd, &st, e);
    if (rc) return rc;
    *out = malloc(t->bytes);
    rc = *out ? file_read_at(fd, *out, t->bytes, t->offset) : -ENOMEM;
    close(fd);
    if (!rc) return 0;
    free(*out);
    *out = NULL;
    return error_set(e, -rc, "%s: tensor %s: %s", path, t->name, error_name(-rc));
}
