#include "coordinator/arch/packed.h"

#include <errno.h>
#include <string.h>

struct placing {
    struct program *p;
    const struct tensors *t;
    const uint32_t *file_of;
    uint64_t *bytes;
    struct error *e;
};

/* The file with that number in the program; NULL: it is not packed. */
static const struct tensors_file *file_with(const struct placing *x, uint32_t number)
{
    for (uint32_t i = 0; i < x->t->file_count; i++)
        if (x->file_of[i] == number) return x->t->files[i].packed ? &x->t->files[i] : NULL;
    return NULL;
}

static int other_model(const struct placing *x, const struct tensors_file *f, uint64_t name)
{
    return error_set(
        x->e, EINVAL,
        "%s: tensor %s is packed in other pieces than this model needs: it was packed for another config.json "
        "or by another version, pack the folder again",
        f->path, (const char *)x->p->strings.data + name);
}

/* Bytes that were left as they were. */
static int place_bytes(const struct placing *x, const struct tensors_file *f, uint64_t *off, uint64_t bytes,
                       uint64_t name)
{
    const struct packed_segment *s = packed_find(f->packed, *off);

    if (!bytes) return 0;
    if (!s || s->unit_rows || s->raw_bytes - (*off - s->raw_off) < bytes) return other_model(x, f, name);
    *off = s->stored_off + (*off - s->raw_off);
    return 0;
}

static int place_units(const struct placing *x, const struct tensors_file *f, const struct packed_segment *s,
                       struct plan_matrix *m)
{
    uint64_t unit_bytes = s->unit_rows * m->row_bytes, from = (m->file_off - s->raw_off) / unit_bytes, n, *to;
    uint64_t row = from * s->unit_rows, raw = m->rows * m->row_bytes;

    if (m->form != FORM_BF16 || m->cols != s->cols || (m->file_off - s->raw_off) % unit_bytes ||
        m->rows > s->rows - row || (row + m->rows != s->rows && m->rows % s->unit_rows))
        return other_model(x, f, m->name);
    m->unit_rows = s->unit_rows;
    n = plan_matrix_units(m);
    m->unit0 = x->p->units.count;
    to = program_table_add(&x->p->units, n + 1);
    if (!to) return error_set(x->e, ENOMEM, "%s: no memory for its units", f->path);
    for (uint64_t i = 0; i <= n; i++) to[i] = packed_unit(f->packed, s, from + i);
    m->file_off = to[0];
    *x->bytes -= raw - (to[n] - to[0]);
    return 0;
}

static int place_matrix(const struct placing *x, struct plan_matrix *m)
{
    const struct tensors_file *f = file_with(x, m->file), *g;
    const struct packed_segment *s = f ? packed_find(f->packed, m->file_off) : NULL;
    int rc = 0;

    if (s && s->unit_rows)
        rc = place_units(x, f, s, m);
    else if (f)
        rc = place_bytes(x, f, &m->file_off, m->rows * m->row_bytes, m->name);
    g = !rc && m->scale_file != PLAN_NONE ? file_with(x, m->scale_file) : NULL;
    if (g)
        rc = place_bytes(x, g, &m->scale_off, (m->rows + m->block_rows - 1) / m->block_rows * m->scale_row_bytes,
                         m->name);
    g = !rc && m->zero_rows ? file_with(x, m->zero_file) : NULL;
    if (g) rc = place_bytes(x, g, &m->zero_off, plan_zero_rows(m, 0, m->rows).count * m->zero_row_bytes, m->name);
    return rc;
}

int packed_place(struct program *p, const struct tensors *t, const uint32_t *file_of, uint64_t *bytes, struct error *e)
{
    const struct placing x = {p, t, file_of, bytes, e};
    int rc = 0;

    if (!t->packed || p->failed) return 0;
    for (size_t i = 0; i < p->matrices.count && !rc; i++)
        rc = place_matrix(&x, PROGRAM_AT(p, matrices, struct plan_matrix, i));
    for (size_t i = 0; i < p->vectors.count && !rc; i++) {
        struct plan_vector *v = PROGRAM_AT(p, vectors, struct plan_vector, i);
        const struct tensors_file *f = v->file == PLAN_NONE ? NULL : file_with(&x, v->file);

        if (f) rc = place_bytes(&x, f, &v->file_off, form_row_bytes(v->form, v->elements), v->name);
    }
    return rc;
}
