#include "compute/check.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proto/unit/unit.h"

#define REMEDY "the file is damaged, or was made wrongly: download it again"

/* Rows of blocks of a form as they lie in a tile, and how to call them. */
struct stored {
    const void *data; /* device; of packed rows, which are unpacked here, host */
    uint64_t rows, cols, row_bytes, file_off;
    uint32_t form, file;
    uint64_t name, row0;
    bool vector, packed;
    const char *what; /* "" or "scales of " */
};

static int blame(const struct decoder *d, const struct stored *s, uint64_t block, uint32_t code, uint64_t bits,
                 struct error *e)
{
    const struct form_info *f = form_info(s->form);
    uint64_t row = block / (s->cols / f->elements), col = block % (s->cols / f->elements) * f->elements;
    char place[96];

    if (s->vector)
        snprintf(place, sizeof place, "element %" PRIu64, col);
    else
        snprintf(place, sizeof place, "row %" PRIu64 ", column %" PRIu64, s->row0 + row, col);
    return error_set(
        e, EBADMSG,
        "%s: %stensor %s: %s is not a finite number (%s code 0x%0*" PRIx64 ", at offset %" PRIu64 "): " REMEDY,
        plan_string(d->plan, plan_files(d->plan)[s->file].name), s->what, plan_string(d->plan, s->name), place, f->name,
        2 * f->code_bytes, bits, s->file_off + (s->packed ? 0 : block * f->bytes + f->code_off + code * f->code_bytes));
}

/* Copies of what lies on the device are looked at in pieces, so that a sweep that checks needs no more memory than others. */
#define PIECE_BYTES (UINT64_C(256) << 10)

/* Looks at every code that can be no finite number; of forms that have none, at nothing. */
static int check_stored(struct decoder *d, const struct stored *s, struct error *e)
{
    const struct form_info *f = form_info(s->form);
    uint64_t blocks, each;
    uint8_t *host;
    int rc = 0;

    if (!f) return error_set(e, EPROTO, "form %u is unknown to the search for what is not a number", s->form);
    if (!f->codes) return 0;
    blocks = s->rows * s->row_bytes / f->bytes;
    each = PIECE_BYTES / f->bytes;
    host = malloc(PIECE_BYTES);
    if (!host) return error_set(e, ENOMEM, "no memory to look for what is not a number");
    for (uint64_t i = 0; i < blocks && !rc; i++) {
        if (i % each == 0) {
            uint64_t n = blocks - i < each ? blocks - i : each;

            if (s->packed)
                memcpy(host, (const uint8_t *)s->data + i * f->bytes, n * f->bytes);
            else
                ops_download(d->ops, host, (const uint8_t *)s->data + i * f->bytes, n * f->bytes);
        }
        for (uint32_t k = 0; k < f->codes && !rc; k++) {
            uint64_t bits = form_code(f, host + i % each * f->bytes, k);

            if (form_kind(f, bits) != FORM_FINITE) rc = blame(d, s, i, k, bits, e);
        }
    }
    free(host);
    return rc;
}

static int check_scales(struct decoder *d, const struct weight_part *w, struct error *e)
{
    const struct plan_matrix *m = w->weight.matrix;
    const struct plan_grid_rows g = plan_scale_rows(m, w->weight.row0, w->weight.rows);
    uint64_t skip = g.first - w->weight.scale_row0;
    struct stored s = {.data = (const uint8_t *)w->weight.scale + skip * m->scale_row_bytes,
                       .rows = g.count,
                       .cols = (m->cols + m->block_cols - 1) / m->block_cols,
                       .row_bytes = m->scale_row_bytes,
                       .file_off = m->scale_off + g.first * m->scale_row_bytes,
                       .form = m->scale_form,
                       .file = m->scale_file,
                       .name = m->name,
                       .row0 = g.first,
                       .what = "scales of "};

    return check_stored(d, &s, e);
}

static int check_vector(struct decoder *d, const struct plan_vector *v, const void *data, uint32_t form,
                        struct error *e)
{
    struct stored s = {.data = data,
                       .rows = 1,
                       .cols = v->elements,
                       .row_bytes = form_row_bytes(form, v->elements),
                       .file_off = v->file_off,
                       .form = form,
                       .file = v->file,
                       .name = v->name,
                       .vector = true,
                       .what = ""};

    return check_stored(d, &s, e);
}

/* Packed rows, a unit at a time. */
static int check_units(struct decoder *d, const struct weight_part *w, struct stored s, struct error *e)
{
    const struct plan_matrix *m = w->weight.matrix;
    uint64_t most = unit_chunk_bytes(((uint64_t)m->unit_rows * m->cols + UNIT_CHUNK - 1) / UNIT_CHUNK);
    uint8_t *rows = malloc(most);
    int rc = rows ? 0 : error_set(e, ENOMEM, "no memory to look for what is not a number");

    s.data = rows;
    for (uint64_t i = 0, row = 0; row < w->weight.rows && !rc; i++, row += m->unit_rows) {
        struct unit u;
        void *copy;

        rc = decoder_unit(d, w, i, &u, &copy, e);
        if (!rc && (u.rows > m->unit_rows || u.cols != m->cols || unit_code()->decode(&u, 0, u.chunks, rows)))
            rc = error_set(e, EBADMSG, "a unit of packed weights does not unpack: pack the model again");
        free(copy);
        s.rows = rc ? 0 : u.rows;
        s.row0 = w->weight.row0 + row;
        s.file_off = w->weight.unit[i]; /* of the unit: what is in it has no place of its own */
        s.packed = true;
        if (!rc) rc = check_stored(d, &s, e);
    }
    free(rows);
    return rc;
}

/* Inputs that name a group which the matrix has not. */
static int check_groups(struct decoder *d, const struct plan_matrix *m, struct error *e)
{
    const struct plan_vector *v = &plan_vectors(d->plan)[m->vector[0]];
    const uint64_t groups = plan_scale_rows(m, 0, m->rows).count;
    uint32_t *host = malloc(v->elements * sizeof *host);
    int rc = 0;

    if (!host) return error_set(e, ENOMEM, "no memory to look at groups of inputs");
    ops_download(d->ops, host, decoder_vector(d, m->vector[0]), v->elements * sizeof *host);
    for (uint64_t i = 0; i < v->elements && !rc; i++)
        if (host[i] >= groups)
            rc = error_set(e, EBADMSG,
                           "%s: tensor %s: element %" PRIu64 " is %" PRId32 ", there are groups 0 to %" PRIu64
                           " (at offset %" PRIu64 "): " REMEDY,
                           plan_string(d->plan, plan_files(d->plan)[v->file].name), plan_string(d->plan, v->name), i,
                           (int32_t)host[i], groups - 1, v->file_off + 4 * i);
    free(host);
    return rc;
}

int check_weight(struct decoder *d, const struct weight_part *w, struct error *e)
{
    const struct plan_matrix *m = w->weight.matrix;
    struct stored s = {.data = w->weight.data,
                       .rows = w->weight.rows,
                       .cols = m->cols,
                       .row_bytes = m->row_bytes,
                       .file_off = m->file_off + w->weight.row0 * m->row_bytes,
                       .form = m->form,
                       .file = m->file,
                       .name = m->name,
                       .row0 = w->weight.row0,
                       .what = ""};
    int rc = 0;

    if (w->bias_part) {
        const struct plan_vector *v = &plan_vectors(d->plan)[w->bias_part->index];

        rc = check_vector(d, v, w->bias_data, v->form, e);
    }
    if (m->flags & MATRIX_GROUPED && !rc) rc = check_groups(d, m, e);
    if (!rc && w->weight.scale) rc = check_scales(d, w, e);
    if (!rc) rc = w->weight.unit ? check_units(d, w, s, e) : check_stored(d, &s, e);
    return rc;
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
        rc = check_vector(d, v, d->resident + v->at, FORM_F32, e);
        /* they were dequantized when they came: tell of the file's own form */
        if (rc == -EBADMSG)
            rc = error_set(e, EBADMSG,
                           "%s: tensor %s holds elements that are not finite numbers (stored as %s from offset %" PRIu64
                           " on): " REMEDY,
                           plan_string(p, plan_files(p)[v->file].name), plan_string(p, v->name), form_name(v->form),
                           v->file_off);
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

static int blame_row(const struct decoder *d, const struct plan_matrix *m, uint32_t row, struct error *e)
{
    uint32_t token = d->positions.token[row];

    return error_set(e, EBADMSG, "%s: tensor %s: row %llu holds elements that are not finite numbers: " REMEDY,
                     plan_string(d->plan, plan_files(d->plan)[m->file].name), plan_string(d->plan, m->name),
                     token < m->rows ? (unsigned long long)token : 0);
}

static int blame_result(const struct decoder *d, const struct plan_op *op, uint32_t row, struct error *e)
{
    const struct plan_matrix *m = matrix_of(d, op);
    const char *file = m ? plan_string(d->plan, plan_files(d->plan)[m->file].name) : NULL,
               *name = m ? plan_string(d->plan, m->name) : NULL;

    if (op->kind == OP_EMBED) return blame_row(d, m, row, e);
    if (m)
        return error_set(e, EBADMSG,
                         "%s: tensor %s: products with it exceed float32, though its elements are numbers: " REMEDY,
                         file, name);
    if (op->kind == OP_ATTENTION && d->plan->run.kv_form == FORM_F16)
        return error_set(e, EBADMSG,
                         "layer %u: keys or values exceed what float16 holds, or the results of attention float32: try "
                         "--kv-type bf16 or f32",
                         op->layer);
    return error_set(e, EBADMSG,
                     "layer %u: the results of %s exceed float32, though its weights are numbers: config.json and the "
                     "weights do not belong together, or " REMEDY,
                     op->layer, plan_op_name(op->kind));
}

/* Rows of an operation's result that are not finite numbers: the first; d->rows: there is none. -ENOMEM. */
static int look(struct decoder *d, struct plan_view v, uint32_t *row, struct error *e)
{
    const uint64_t each = PIECE_BYTES / sizeof(float);
    uint32_t ld = decoder_ld(d, v);
    uint64_t elements = (uint64_t)d->rows * ld, i = 0;
    float *host = malloc(PIECE_BYTES);

    if (!host) return error_set(e, ENOMEM, "no memory to look for what is not a number");
    for (; i < elements; i++) {
        if (i % each == 0)
            ops_download(d->ops, host, d->buffers[v.buf] + i,
                         (elements - i < each ? elements - i : each) * sizeof *host);
        if (!isfinite(host[i % each])) break;
    }
    free(host);
    *row = (uint32_t)(i / ld);
    return 0;
}

int check_result(struct decoder *d, const struct plan_op *op, struct error *e)
{
    struct plan_view views[PLAN_OP_VIEWS];
    uint32_t n = plan_op_views(op, views), row;
    int rc;

    if (!n || !d->rows || op->kind == OP_ROUTER || op->kind == OP_LOGITS) return 0;
    rc = look(d, views[n - 1], &row, e);
    if (!rc && row < d->rows) return blame_result(d, op, row, e);
    if (!rc && op->kind == OP_EMBED && (op->embed.flags & EMBED_BESIDE)) {
        rc = look(d, op->embed.beside_dst, &row, e);
        if (!rc && row < d->rows) return blame_row(d, &plan_matrices(d->plan)[op->embed.beside], row, e);
    }
    return rc;
}
