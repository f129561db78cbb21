#include "coordinator/pack/gguf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "coordinator/pack/private.h"
#include "coordinator/source/gguf_types.h"
#include "proto/base/file.h"

/* ---- planning ---- */

static int no_memory(const struct source *s, struct error *e)
{
    return error_set(e, ENOMEM, "%s: no memory to write it as a GGUF file", source_path(s));
}

static uint64_t tensor_bytes(const struct gguf_made_tensor *t, uint32_t type)
{
    return gguf_made_rows(t) * row_bytes(type, t->dims[0]);
}

static int describe(struct gguf_pack *p, const struct source *s, struct error *e)
{
    const struct gguf_made *x = &p->made;

    p->type = calloc(x->count + 1, sizeof *p->type);
    p->tensor = calloc(x->count + 1, sizeof *p->tensor);
    p->report = calloc(x->count + 1, sizeof *p->report);
    if (!p->type || !p->tensor || !p->report) return no_memory(s, e);
    if (pack_form_types(p->type, x, p->form, e)) return -e->code;
    for (size_t i = 0; i < x->count; i++) {
        const struct gguf_made_tensor *t = &x->at[i];
        struct gguf_out_tensor *o = &p->tensor[i];

        *o = (struct gguf_out_tensor){
            .name = t->name, .n_dims = t->n_dims, .type = p->type[i], .bytes = tensor_bytes(t, p->type[i])};
        memcpy(o->dims, t->dims, sizeof o->dims);
        p->report[i] = (struct pack_tensor){
            .name = t->name, .type = o->type, .elements = gguf_made_rows(t) * t->dims[0], .bytes = o->bytes};
    }
    return 0;
}

/* What others may quantize has what their programs expect; what is run as it is, pages. */
static uint32_t align_of(enum pack_form form)
{
    return form == PACK_AS_BF16 || form == PACK_AS_F16 || form == PACK_AS_F32 ? GGUF_OUT_USUAL : GGUF_OUT_PAGE;
}

int gguf_pack_plan(struct gguf_pack *p, const struct source *s, const struct model *m, enum pack_form form,
                   uint64_t shard_bytes, bool text, struct error *e)
{
    int rc;

    *p = (struct gguf_pack){.form = form};
    if (model_tensors(m)->packed)
        return error_set(e, EINVAL, "%s is packed: `sluice unpack` it first, and take what that makes", source_path(s));
    rc = gguf_make(&p->made, s, m, e);
    if (!rc && text && !source_gguf(s))
        rc = gguf_pack_values(&p->made.out, s, m, model_program(m)->spec.vocab, p->notice, sizeof p->notice, e);
    if (rc) return rc;
    gguf_out_u32(&p->made.out, "general.file_type", pack_form_info(form)->file_type);
    gguf_out_u32(&p->made.out, "general.quantization_version", 2);
    rc = describe(p, s, e);
    if (!rc) rc = gguf_out_lay(&p->files, &p->made.out, p->tensor, p->made.count, align_of(form), shard_bytes, e);
    for (uint32_t i = 0; i < p->files.count && !rc; i++) p->bytes += p->files.at[i].bytes;
    return rc;
}

void gguf_pack_free(struct gguf_pack *p)
{
    gguf_out_files_free(&p->files);
    gguf_made_free(&p->made);
    free(p->type);
    free(p->tensor);
    free(p->report);
    *p = (struct gguf_pack){0};
}

/* ---- what it would be ---- */

/* Rotary factors are read with the header. */
static int write_factors(int fd, const struct gguf_pack *p, const struct gguf_out_tensor *tensor, struct error *e)
{
    struct row_scratch s = {0};
    int rc = 0;

    for (size_t i = 0; i < p->made.count && !rc; i++) {
        const struct gguf_made_tensor *t = &p->made.at[i];
        struct row_piece x = {.tensor = i, .rows = gguf_made_rows(t), .bytes = tensor[i].bytes};
        int source = -1;
        struct stat st;

        if (strncmp(t->name, "rope_f", 6)) continue;
        x.out = malloc(x.bytes + 1);
        if (!x.out) rc = error_set(e, ENOMEM, "no memory for rotary factors");
        if (!rc && t->parts) rc = file_open(p->made.tensors->files[p->made.part[t->part0].file].path, &source, &st, e);
        if (!rc) {
            int *fds = calloc(p->made.tensors->file_count + 1, sizeof *fds);

            if (fds && t->parts) fds[p->made.part[t->part0].file] = source;
            rc = fds ? rows_make(p, fds, &x, &s, e) : error_set(e, ENOMEM, "no memory for rotary factors");
            free(fds);
        }
        if (!rc && write_at(fd, x.out, x.bytes, tensor[i].offset)) rc = error_set(e, EIO, "no memory for a header");
        if (source >= 0) close(source);
        free(x.out);
    }
    row_scratch_free(&s);
    return rc;
}

static int write_header(int fd, const struct gguf_pack *p, struct error *e)
{
    struct gguf_out_tensor *tensor = malloc((p->made.count + 1) * sizeof *tensor);
    struct gguf_out_files files = {0};
    int rc = tensor ? 0 : error_set(e, ENOMEM, "no memory for the header of a GGUF file");

    if (!rc) {
        memcpy(tensor, p->tensor, p->made.count * sizeof *tensor);
        rc = gguf_out_lay(&files, &p->made.out, tensor, p->made.count, p->files.align, 0, e);
    }
    if (!rc && write_at(fd, files.at[0].header.data, files.at[0].header.bytes, 0))
        rc = error_set(e, ENOMEM, "no memory for the header of a GGUF file");
    if (!rc) rc = write_factors(fd, p, tensor, e);
    gguf_out_files_free(&files);
    free(tensor);
    return rc;
}

/* A header without its data, as of a download that has only begun. */
int gguf_pack_model(struct model **out, const struct gguf_pack *p, const struct model *m, uint32_t *window,
                    struct error *e)
{
    struct model_options o = {.allow_missing_weights = true};
    int fd = memfd_create("sluice-gguf", MFD_CLOEXEC), rc;
    char path[64];

    *out = NULL;
    *window = 0;
    if (fd < 0) return error_set(e, errno, "a GGUF file in memory: %s", error_name(errno));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    rc = write_header(fd, p, e);
    if (!rc && model_open(out, path, &o, e)) rc = error_prefix(e, "the header of the new file");
    close(fd);
    if (!rc) rc = gguf_check(model_program(*out), m, window, e);
    if (rc) {
        model_close(*out);
        *out = NULL;
    }
    return rc;
}

/* ---- all of it ---- */

static int check(struct gguf_pack *p, const struct model *m, struct error *e)
{
    struct model *made = NULL;
    uint32_t window = 0;
    size_t n = strlen(p->notice);
    int rc = gguf_pack_model(&made, p, m, &window, e);

    if (window)
        snprintf(p->notice + n, sizeof p->notice - n,
                 "%sGGUF files of the architecture %s have no window: texts longer than %u tokens would be answered "
                 "otherwise",
                 n ? "; " : "", p->made.architecture, window);
    model_close(made);
    return rc;
}

int gguf_pack(struct gguf_pack *p, const struct source *s, const struct gguf_pack_options *o, struct pack_result *r,
              struct error *e)
{
    struct model *m = NULL;
    int rc = model_open_source(&m, s, NULL, e);

    *r = (struct pack_result){0};
    *p = (struct gguf_pack){0};
    if (!rc) rc = gguf_pack_plan(p, s, m, o->form, o->shard_bytes, true, e);
    if (!rc) rc = check(p, m, e);
    if (!rc) {
        for (uint32_t i = 0; i < p->made.tensors->file_count; i++) r->raw_bytes += p->made.tensors->files[i].info.bytes;
        rc = gguf_pack_write(p, o, r, e);
    }
    p->made.tensors = NULL; /* the model's */
    model_close(m);
    return rc;
}
