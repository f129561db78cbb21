#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/arch/model.h"
#include "coordinator/pack/private.h"

#define WEIGHTS_LEAST 1024u /* of a matrix: less gains nothing */
#define HEADS_LEAST   4096u /* bytes of a unit where heads say how long it is: shorter ones are headers for a good part */
#define TABLE_BYTES   (32u << 10) /* of rows in a unit of which one row is wanted */

/* Bytes of a file that a program reads. */
struct range {
    uint64_t off, bytes;
    uint32_t file; /* of the program */
    uint32_t rows, cols;
    uint32_t unit_rows; /* it may become units of so many; 0: it stays as it is */
};

struct ranges {
    struct range *at;
    size_t count, capacity;
    bool failed;
};

static void add_range(struct ranges *r, struct range x)
{
    if (!x.bytes || r->failed) return;
    if (r->count == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : 256;
        struct range *at = reallocarray(r->at, capacity, sizeof *at);

        if (!at) {
            r->failed = true;
            return;
        }
        r->at = at;
        r->capacity = capacity;
    }
    r->at[r->count++] = x;
}

static uint32_t gcd(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

void cut_mark(const struct plan_shm *p, struct cut_use *use)
{
    uint32_t beside = plan_beside_matrix(p);

    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *op = &plan_ops(p)[i];
        const struct op_headmm *h = &op->headmm;

        if (op->kind == OP_MATMUL) use[op->matmul.matrix].product = true;
        if (op->kind == OP_HEADMM)
            use[h->matrix].heads = gcd(gcd(use[h->matrix].heads, h->rows), gcd(h->row_off, h->row_stride));
    }
    for (uint64_t i = 0; i < p->experts.count; i++)
        for (uint64_t k = 0; k < plan_experts_matrices(&plan_experts(p)[i]); k++)
            use[plan_experts(p)[i].matrix0 + k].product = true;
    use[p->spec.embed_matrix].table = true;
    if (beside != PLAN_NONE) use[beside].table = true;
}

uint32_t cut_rows(const struct plan_matrix *m, const struct cut_use *use, uint32_t unit_bytes)
{
    uint32_t most = use->table && unit_bytes > TABLE_BYTES ? TABLE_BYTES : unit_bytes;
    uint64_t n = most / (2 * m->cols), least = unit_bytes < HEADS_LEAST ? unit_bytes : HEADS_LEAST;

    if ((!use->product && !use->table && !use->heads) || m->form != FORM_BF16 || m->unit_rows ||
        m->rows * m->cols < WEIGHTS_LEAST || !unit_stored_most(1, m->cols) ||
        (use->table && m->row_bytes > PLAN_GATHER_UNIT))
        return 0;
    if (n >= 16) n -= n % 16; /* kernels like whole groups of rows */
    if (n > m->rows) n = m->rows;
    if (!n) n = 1;
    if (!use->heads) return (uint32_t)n;
    while (use->heads % n) n--;
    return n * m->row_bytes < least ? 0 : (uint32_t)n;
}

static void find_ranges(struct ranges *r, const struct plan_shm *p, const struct cut_use *use, uint32_t unit_bytes)
{
    for (uint64_t i = 0; i < p->matrices.count; i++) {
        const struct plan_matrix *m = &plan_matrices(p)[i];

        add_range(r, (struct range){m->file_off, m->rows * m->row_bytes, m->file, (uint32_t)m->rows, (uint32_t)m->cols,
                                    cut_rows(m, &use[i], unit_bytes)});
        if (m->scale_file != PLAN_NONE)
            add_range(r, (struct range){.off = m->scale_off,
                                        .bytes = (m->rows + m->block_rows - 1) / m->block_rows * m->scale_row_bytes,
                                        .file = m->scale_file});
        if (m->zero_rows)
            add_range(r, (struct range){.off = m->zero_off,
                                        .bytes = plan_zero_rows(m, 0, m->rows).count * m->zero_row_bytes,
                                        .file = m->zero_file});
    }
    for (uint64_t i = 0; i < p->vectors.count; i++) {
        const struct plan_vector *v = &plan_vectors(p)[i];

        if (v->file != PLAN_NONE)
            add_range(
                r, (struct range){.off = v->file_off, .bytes = form_row_bytes(v->form, v->elements), .file = v->file});
    }
}

static int by_place(const void *a, const void *b)
{
    const struct range *x = a, *y = b;

    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    if (x->off != y->off) return x->off < y->off ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Bytes that something else reads too, or that lie otherwise in another matrix, stay as they are. */
static void settle_overlaps(struct ranges *r)
{
    uint64_t end = 0;

    if (!r->count) return;
    qsort(r->at, r->count, sizeof *r->at, by_place);
    for (size_t i = 1, last = 0; i < r->count; i++) {
        struct range *a = &r->at[last], *b = &r->at[i];

        if (a->file != b->file) {
            last = i;
            end = 0;
            continue;
        }
        if (a->off + a->bytes > end) end = a->off + a->bytes;
        if (b->off >= end) {
            last = i;
            continue;
        }
        if (a->off == b->off && a->bytes == b->bytes && a->cols == b->cols && a->unit_rows && b->unit_rows) continue;
        for (size_t k = last; k <= i; k++) r->at[k].unit_rows = 0;
        if (b->off + b->bytes > a->off + a->bytes) last = i;
    }
    /* of equal ones, one is enough, with units that do for all; none where one of them says no */
    for (size_t i = 1, first = 0; i < r->count; i++) {
        struct range *a = &r->at[first], *b = &r->at[i];

        if (by_place(a, b)) {
            first = i;
            continue;
        }
        a->unit_rows = a->unit_rows && b->unit_rows ? gcd(a->unit_rows, b->unit_rows) : 0;
        b->unit_rows = 0;
    }
}

static void put_segment(struct cut_file *f, struct packed_segment s)
{
    if (!s.raw_bytes) return;
    s.unit0 = s.unit_rows ? f->units : 0;
    f->units += packed_units(&s);
    if (s.unit_rows) f->matrix_bytes += s.raw_bytes;
    f->segment[f->segments++] = s;
}

/* The ranges of one file become segments, with what lies between them. */
static int cut_file(struct cut_file *f, const struct range *x, size_t n, struct error *e)
{
    uint64_t at = f->header_bytes;

    f->segment = calloc(2 * n + 1, sizeof *f->segment);
    if (!f->segment) return error_set(e, ENOMEM, "%s: no memory for its pieces", f->path);
    for (size_t i = 0; i < n; i++) {
        if (!x[i].unit_rows || x[i].off < at) continue;
        put_segment(f, (struct packed_segment){.raw_off = at, .raw_bytes = x[i].off - at});
        put_segment(f, (struct packed_segment){.raw_off = x[i].off,
                                               .raw_bytes = x[i].bytes,
                                               .rows = x[i].rows,
                                               .cols = x[i].cols,
                                               .unit_rows = x[i].unit_rows});
        at = x[i].off + x[i].bytes;
    }
    put_segment(f, (struct packed_segment){.raw_off = at, .raw_bytes = f->bytes - at});
    return 0;
}

static uint32_t file_number(const struct plan_shm *p, const char *path)
{
    for (uint32_t i = 0; i < p->files.count; i++)
        if (!strcmp(plan_string(p, plan_files(p)[i].name), path)) return i;
    return PLAN_NONE;
}

static int cut_files(struct cut *c, const struct tensors *t, const struct plan_shm *p, const struct ranges *r,
                     struct error *e)
{
    int rc = 0;

    c->file = calloc(t->file_count + 1, sizeof *c->file);
    if (!c->file) return error_set(e, ENOMEM, "%s: no memory for its files", t->folder);
    for (uint32_t i = 0; i < t->file_count && !rc; i++) {
        const struct tensors_file *from = &t->files[i];
        struct cut_file *f = &c->file[c->files];
        uint32_t number = file_number(p, from->path);
        size_t first = 0, n = 0;

        if (from->fault) return error_set(e, EINVAL, "%s", from->fault);
        *f = (struct cut_file){.name = strdup(from->name),
                               .path = strdup(from->path),
                               .bytes = from->info.bytes,
                               .header_bytes = from->info.header_bytes};
        c->files++;
        if (!f->name || !f->path) return error_set(e, ENOMEM, "%s: no memory for its files", t->folder);
        while (first < r->count && r->at[first].file != number) first++;
        while (first + n < r->count && r->at[first + n].file == number) n++;
        rc = cut_file(f, r->at + first, n, e);
    }
    return rc;
}

static int cut_program(struct cut *c, const struct tensors *t, const struct plan_shm *p, uint32_t unit_bytes,
                       struct error *e)
{
    struct cut_use *use = calloc(p->matrices.count + 1, sizeof *use);
    struct ranges r = {0};
    int rc;

    if (!use) return error_set(e, ENOMEM, "%s: no memory for its matrices", t->folder);
    cut_mark(p, use);
    find_ranges(&r, p, use, unit_bytes);
    settle_overlaps(&r);
    rc = r.failed ? error_set(e, ENOMEM, "%s: no memory for its matrices", t->folder) : cut_files(c, t, p, &r, e);
    free(r.at);
    free(use);
    return rc;
}

int cut_make(struct cut *c, const struct source *s, uint32_t unit_bytes, struct error *e)
{
    struct model *m = NULL;
    struct tensors *t = NULL;
    int rc = model_open_source(&m, s, NULL, e);

    *c = (struct cut){0};
    if (!rc) rc = source_tensors(s, NULL, &t, e);
    if (!rc) rc = cut_program(c, t, model_program(m), unit_bytes ? unit_bytes : UNIT_BYTES, e);
    tensors_close(t);
    model_close(m);
    if (rc) cut_free(c);
    return rc;
}

void cut_free(struct cut *c)
{
    for (uint32_t i = 0; i < c->files; i++) {
        free(c->file[i].name);
        free(c->file[i].path);
        free(c->file[i].segment);
    }
    free(c->file);
    *c = (struct cut){0};
}
