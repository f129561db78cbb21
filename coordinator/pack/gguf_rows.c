#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/pack/gguf.h"
#include "coordinator/source/gguf_types.h"
#include "proto/base/checksum.h"
#include "proto/base/file.h"

uint64_t row_bytes(uint32_t type, uint64_t columns)
{
    const struct gguf_type *t = gguf_type(type);

    return columns / t->elements * t->bytes;
}

static uint64_t sum_of(const void *data, uint64_t bytes)
{
    struct checksum c;

    checksum_begin(&c);
    checksum_feed(&c, data, bytes);
    return checksum_end(&c);
}

static int grow(struct row_scratch *s, uint64_t bytes, uint64_t columns, struct error *e)
{
    uint8_t *b = bytes > s->room ? realloc(s->bytes, bytes) : s->bytes;

    if (b) s->bytes = b;
    if (b && bytes > s->room) s->room = bytes;
    if (b && columns > s->columns) {
        float *x = realloc(s->x, columns * sizeof *x), *back;

        if (x) s->x = x;
        back = x ? realloc(s->back, columns * sizeof *back) : NULL;
        if (back) {
            s->back = back;
            s->columns = columns;
        }
    }
    if (b && columns <= s->columns) return 0;
    return error_set(e, ENOMEM, "no memory for rows of %llu columns", (unsigned long long)columns);
}

void row_scratch_free(struct row_scratch *s)
{
    free(s->bytes);
    free(s->x);
    free(s->back);
    *s = (struct row_scratch){0};
}

/* ---- reading ---- */

struct reading {
    const struct gguf_pack *p;
    const struct gguf_made_tensor *t;
    const int *fd;
    uint64_t columns, row_bytes; /* of the source's rows, as they lie */
    struct error *e;
};

static int read_at(const struct reading *r, uint32_t file, void *to, uint64_t bytes, uint64_t offset)
{
    int rc = file_read_at(r->fd[file], to, bytes, offset);

    if (!rc) return 0;
    return error_set(r->e, -rc, "%s: offset %llu: %s%s", r->p->made.tensors->files[file].path,
                     (unsigned long long)offset, error_name(-rc),
                     rc == -EIO ? " (it became shorter, or its disk fails)" : "");
}

static uint64_t element_bytes(const struct reading *r)
{
    return r->t->form == FORM_F32 ? 4 : 2;
}

/* Columns of the source's are rows here: strips of rows from each of its rows. */
static int read_strips(const struct reading *r, const struct gguf_part *part, uint8_t *to, uint64_t row, uint64_t rows)
{
    uint64_t each = element_bytes(r), step = part->row_step, span = ((rows - 1) * step + 1) * each;
    uint8_t *strip = malloc(span);
    int rc = strip ? 0 : error_set(r->e, ENOMEM, "no memory for a strip of %llu bytes", (unsigned long long)span);

    for (uint64_t c = 0; c < r->columns && !rc; c++) {
        rc = read_at(r, part->file, strip, span, part->offset + (row * step + c * part->col_step) * each);
        for (uint64_t i = 0; i < rows && !rc; i++)
            memcpy(to + (i * r->columns + c) * each, strip + i * step * each, each);
    }
    free(strip);
    return rc;
}

/* One row of which every second number counts: biases of gate and up that alternate. */
static int read_sparse(const struct reading *r, const struct gguf_part *part, uint8_t *to)
{
    uint64_t each = element_bytes(r), span = ((r->columns - 1) * part->col_step + 1) * each;
    uint8_t *row = malloc(span);
    int rc = row ? read_at(r, part->file, row, span, part->offset)
                 : error_set(r->e, ENOMEM, "no memory for a row of %llu bytes", (unsigned long long)span);

    for (uint64_t c = 0; c < r->columns && !rc; c++) memcpy(to + c * each, row + c * part->col_step * each, each);
    free(row);
    return rc;
}

/* Blocks of MXFP4 and their scales, of a folder, as blocks of GGUF's. */
static int read_mxfp4(const struct reading *r, const struct gguf_part *part, uint8_t *to, uint64_t row, uint64_t rows)
{
    uint64_t blocks = r->columns / 32;
    uint8_t *in = malloc(17 * blocks);
    int rc = in ? 0 : error_set(r->e, ENOMEM, "no memory for a row of %llu columns", (unsigned long long)r->columns);

    for (uint64_t i = 0; i < rows && !rc; i++) {
        uint64_t at = (row + i) * part->row_step;

        rc = read_at(r, part->file, in, 16 * blocks, part->offset + at / 2);
        if (!rc) rc = read_at(r, part->scale_file, in + 16 * blocks, blocks, part->scale_offset + at / 32);
        for (uint64_t b = 0; b < blocks && !rc; b++)
            blocks_mxfp4(to + (i * blocks + b) * 17, in + 16 * b, in[16 * blocks + b]);
    }
    free(in);
    return rc;
}

static int read_part(const struct reading *r, const struct gguf_part *part, uint8_t *to, uint64_t row, uint64_t rows)
{
    int rc = 0;

    if (r->t->form == FORM_MXFP4) return read_mxfp4(r, part, to, row, rows);
    if (part->col_step != 1 && part->row_step == r->columns) return read_sparse(r, part, to);
    if (part->col_step != 1) return read_strips(r, part, to, row, rows);
    if (part->row_step == r->columns && !part->turn.outer)
        return read_at(r, part->file, to, rows * r->row_bytes, part->offset + row * r->row_bytes);
    for (uint64_t i = 0; i < rows && !rc; i++)
        rc = read_at(r, part->file, to + i * r->row_bytes, r->row_bytes,
                     part->offset + gguf_turned(&part->turn, row + i) * part->row_step * element_bytes(r));
    return rc;
}

static int read_rows(const struct reading *r, uint8_t *to, uint64_t row, uint64_t rows)
{
    const struct gguf_part *part = &r->p->made.part[r->t->part0];
    uint64_t before = 0;
    int rc = 0;

    for (size_t i = 0; i < r->t->parts && rows && !rc; before += part[i++].rows) {
        uint64_t n;

        if (row >= before + part[i].rows) continue;
        n = before + part[i].rows - row;
        if (n > rows) n = rows;
        rc = read_part(r, &part[i], to, row - before, n);
        to += n * r->row_bytes;
        row += n;
        rows -= n;
    }
    return rc;
}

/* ---- making ---- */

static void change(const struct gguf_made_tensor *t, float *x, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        if (t->change == GGUF_PLUS_ONE) x[i] += 1;
        if (t->change == GGUF_MINUS_EXP) x[i] = -expf(x[i]);
    }
}

static void widen(const struct gguf_made_tensor *t, float *x, const uint8_t *in, uint64_t n)
{
    enum block_type type = t->form == FORM_F32 ? BLOCK_F32 : t->form == FORM_F16 ? BLOCK_F16 : BLOCK_BF16;

    if (!t->turn.outer) {
        blocks_read(type, x, in, n);
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        blocks_read(type, &x[i], in + gguf_turned(&t->turn, i) * (type == BLOCK_F32 ? 4 : 2), 1);
}

static int not_a_number(const struct gguf_pack *p, const struct row_piece *x, uint64_t row, struct error *e)
{
    const struct gguf_made_tensor *t = &p->made.at[x->tensor];
    const char *path = t->parts ? p->made.tensors->files[p->made.part[t->part0].file].path : p->made.tensors->folder;

    return error_set(
        e, EINVAL,
        "%s: row %llu of what becomes %s holds a number that is none, or is too large for %s: `sluice verify` "
        "says where",
        path, (unsigned long long)(x->row + row), t->name, gguf_type_name(p->type[x->tensor]));
}

static int make_row(const struct gguf_pack *p, struct row_piece *x, uint64_t row, struct row_scratch *s, uint64_t n,
                    struct error *e)
{
    uint32_t type = p->type[x->tensor];
    uint8_t *out = x->out + row * row_bytes(type, n);

    if (!blocks_make(type, out, s->x, n)) return not_a_number(p, x, row, e);
    blocks_read(type, s->back, out, n);
    for (uint64_t i = 0; i < n; i++) {
        double a = (double)s->x[i], d = (double)s->back[i] - a;

        x->lost += d * d;
        x->all += a * a;
    }
    return 0;
}

/* Blocks that stay as they are. */
static bool is_kept(const struct gguf_made_tensor *t)
{
    return t->parts && t->form != FORM_F32 && t->form != FORM_F16 && t->form != FORM_BF16;
}

int rows_make(const struct gguf_pack *p, const int *fd, struct row_piece *x, struct row_scratch *s, struct error *e)
{
    const struct gguf_made_tensor *t = &p->made.at[x->tensor];
    uint64_t n = t->dims[0];
    struct reading r = {.p = p, .t = t, .fd = fd, .columns = n, .e = e};
    int rc;

    x->lost = x->all = 0;
    r.row_bytes = is_kept(t) ? row_bytes(p->type[x->tensor], n) : n * (t->form == FORM_F32 ? 4 : 2);
    rc = grow(s, x->rows * r.row_bytes, n, e);
    if (rc) return rc;
    if (is_kept(t)) {
        rc = read_rows(&r, x->out, x->row, x->rows);
    } else {
        if (t->parts) rc = read_rows(&r, s->bytes, x->row, x->rows);
        for (uint64_t i = 0; i < x->rows && !rc; i++) {
            if (t->parts)
                widen(t, s->x, s->bytes + i * r.row_bytes, n);
            else
                memcpy(s->x, t->own + (x->row + i) * n, n * sizeof *s->x);
            change(t, s->x, n);
            rc = make_row(p, x, i, s, n, e);
        }
    }
    if (!rc) x->sum = sum_of(x->out, x->bytes);
    return rc;
}
