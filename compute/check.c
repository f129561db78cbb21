#include "compute/check.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REMEDY "the file is damaged, or was made wrongly: download it again"

/* Is element i, as stored, an infinity or not a number? PLAN_MXFP4 stands for its e8m0 scales: four-bit elements always
 * are numbers. code: its bits. */
static bool is_bad(uint32_t dtype, const uint8_t *p, uint64_t i, uint32_t *code)
{
    uint16_t half;

    switch (dtype) {
    case PLAN_F32: memcpy(code, p + 4 * i, 4); return (*code & 0x7f800000u) == 0x7f800000u;
    case PLAN_F16:
    case PLAN_BF16:
        memcpy(&half, p + 2 * i, 2);
        *code = half;
        return dtype == PLAN_F16 ? (half & 0x7c00u) == 0x7c00u : (half & 0x7f80u) == 0x7f80u;
    case PLAN_F8_E4M3: *code = p[i]; return (p[i] & 0x7fu) == 0x7fu;
    default: *code = p[i]; return p[i] == 0xffu;
    }
}

static const char *form(uint32_t dtype)
{
    return dtype == PLAN_MXFP4 ? "e8m0" : plan_dtype_name(dtype);
}

/* A stored array, and how to call it. */
struct stored {
    const void *data; /* device */
    uint64_t bytes, elements, file_off;
    uint32_t dtype, file;
    uint64_t name, row0, cols; /* cols 0: a vector */
    const char *what;          /* "" or "scales of " */
};

static int blame(const struct decoder *d, const struct stored *s, uint64_t i, uint32_t code, struct error *e)
{
    const struct plan_shm *p = d->plan;
    char place[96];

    if (s->cols)
        snprintf(place, sizeof place, "row %" PRIu64 ", column %" PRIu64, s->row0 + i / s->cols, i % s->cols);
    else
        snprintf(place, sizeof place, "element %" PRIu64, i);
    return error_set(
        e, EBADMSG, "%s: %stensor %s: %s is not a finite number (%s code 0x%0*x, at offset %" PRIu64 "): " REMEDY,
        plan_string(p, plan_files(p)[s->file].name), s->what, plan_string(p, s->name), place, form(s->dtype),
        s->dtype == PLAN_F32                                 ? 8
        : s->dtype == PLAN_F8_E4M3 || s->dtype == PLAN_MXFP4 ? 2
                                                             : 4,
        code, s->file_off + i * (s->bytes / s->elements));
}

static int check_stored(struct decoder *d, const struct stored *s, struct error *e)
{
    uint8_t *host = malloc(s->bytes ? s->bytes : 1);
    uint32_t code = 0;
    uint64_t i = 0;

    if (!host) return error_set(e, ENOMEM, "no memory to look for what is not a number");
    ops_download(d->ops, host, s->data, s->bytes);
    while (i < s->elements && !is_bad(s->dtype, host, i, &code)) i++;
    free(host);
    return i < s->elements ? blame(d, s, i, code, e) : 0;
}

static int check_scales(struct decoder *d, const struct weight_part *w, struct error *e)
{
    const struct plan_matrix *m = w->weight.matrix;
    uint64_t last = (w->weight.row0 + w->weight.rows - 1) / m->block_rows, first = w->weight.row0 / m->block_rows;
    uint64_t bytes = m->scale_dtype == PLAN_F32     ? 4
                     : m->scale_dtype == PLAN_MXFP4 ? 1
                                                    : 2,
             skip = first - w->weight.scale_row0;
    struct stored s = {.data = (const uint8_t *)w->weight.scale + skip * m->scale_row_bytes,
                       .bytes = (last - first + 1) * m->scale_row_bytes,
                       .file_off = m->scale_off + first * m->scale_row_bytes,
                       .dtype = m->scale_dtype,
                       .file = m->scale_file,
                       .name = m->name,
                       .row0 = first,
                       .cols = m->scale_row_bytes / bytes,
                       .what = "scales of "};

    s.elements = s.bytes / bytes;
    return check_stored(d, &s, e);
}

static int check_vector(struct decoder *d, const struct plan_vector *v, const void *data, uint32_t dtype,
                        struct error *e)
{
    struct stored s = {.data = data,
                       .bytes = plan_row_bytes(dtype, v->elements),
                       .elements = v->elements,
                       .file_off = v->file_off,
                       .dtype = dtype,
                       .file = v->file,
                       .name = v->name,
                       .what = ""};

    return check_stored(d, &s, e);
}

int check_weight(struct decoder *d, const struct weight_part *w, struct error *e)
{
    const struct plan_matrix *m = w->weight.matrix;
    struct stored s = {.data = w->weight.data,
                       .bytes = w->weight.rows * m->row_bytes,
                       .elements = w->weight.rows * m->cols,
                       .file_off = m->file_off + w->weight.row0 * m->row_bytes,
                       .dtype = m->dtype,
                       .file = m->file,
                       .name = m->name,
                       .row0 = w->weight.row0,
                       .cols = m->cols,
                       .what = ""};
    int rc = 0;

    if (w->bias_part) {
        const struct plan_vector *v = &plan_vectors(d->plan)[w->bias_part->index];

        rc = check_vector(d, v, w->bias_data, v->dtype, e);
    }
    if (!rc && w->weight.scale) rc = check_scales(d, w, e);
    return rc || m->dtype == PLAN_MXFP4 ? rc : check_stored(d, &s, e);
}

int check_begin(struct decoder *d, struct error *e)
{
    const struct plan_shm *p = d->plan;
    int rc = 0;

    for (uint64_t b = 0; b < p->buffers.count; b++)
        ops_zero(d->ops, d->buffers[b], plan_buffers(p)[b], plan_buffers(p)[b], d->buffer_rows[b]);
    for (uint64_t i = 0; i < p->vectors.count && !rc; i++) {
        const struct plan_vector *v = &plan_vectors(p)[i];

        if (v->file == PLAN_NONE || v->at == PLAN_STREAMED) continue;
        rc = check_vector(d, v, d->resident + v->at, PLAN_F32, e);
        /* they were dequantized when they came: tell of the file's own form */
        if (rc == -EBADMSG)
            rc = error_set(e, EBADMSG,
                           "%s: tensor %s holds elements that are not finite numbers (stored as %s from offset %" PRIu64
                           " on): " REMEDY,
                           plan_string(p, plan_files(p)[v->file].name), plan_string(p, v->name),
                           plan_dtype_name(v->dtype), v->file_off);
    }
    return rc;
}

/* The weights of an operation that has some. */
static const struct plan_matrix *matrix_of(const struct decoder *d, const struct plan_op *op)
{
    const struct plan_matrix *m = plan_matrices(d->plan);

    return op->kind == OP_MATMUL   ? m + op->matmul.matrix
           : op->kind == OP_HEADMM ? m + op->headmm.matrix
           : op->kind == OP_EMBED  ? m + op->embed.matrix
                                   : NULL;
}

static int blame_result(const struct decoder *d, const struct plan_op *op, uint32_t row, struct error *e)
{
    const struct plan_matrix *m = matrix_of(d, op);
    const char *file = m ? plan_string(d->plan, plan_files(d->plan)[m->file].name) : NULL,
               *name = m ? plan_string(d->plan, m->name) : NULL;

    if (op->kind == OP_EMBED)
        return error_set(e, EBADMSG, "%s: tensor %s: row %u holds elements that are not finite numbers: " REMEDY, file,
                         name, d->positions.token[row]);
    if (m)
        return error_set(e, EBADMSG,
                         "%s: tensor %s: products with it exceed float32, though its elements are numbers: " REMEDY,
                         file, name);
    return error_set(e, EBADMSG,
                     "layer %u: the results of %s exceed float32, though its weights are numbers: config.json and the "
                     "weights do not belong together, or " REMEDY,
                     op->layer, plan_op_name(op->kind));
}

int check_result(struct decoder *d, const struct plan_op *op, struct error *e)
{
    struct plan_view views[PLAN_OP_VIEWS];
    uint32_t n = plan_op_views(op, views), ld;
    uint64_t elements, i = 0;
    float *host;

    if (!n || !d->rows || op->kind == OP_ROUTER || op->kind == OP_LOGITS) return 0;
    ld = decoder_ld(d, views[n - 1]);
    elements = (uint64_t)d->rows * ld;
    host = malloc(elements * sizeof *host);
    if (!host) return error_set(e, ENOMEM, "no memory to look for what is not a number");
    ops_download(d->ops, host, d->buffers[views[n - 1].buf], elements * sizeof *host);
    while (i < elements && isfinite(host[i])) i++;
    free(host);
    return i == elements ? 0 : blame_result(d, op, (uint32_t)(i / ld), e);
}
