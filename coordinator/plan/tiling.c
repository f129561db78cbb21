#include "coordinator/plan/tiling.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "proto/unit/unit.h"

struct tiler {
    struct tiling *c;
    const struct plan_shm *p;
    struct error *e;
    uint64_t slot_bytes;
    bool open;
    uint64_t used;   /* bytes of the open tile that are taken: whole pages */
    uint64_t charge; /* what fitting reckons with; above used where all experts shall be cut alike */
    bool alike;      /* reckon with the worst alignment */
    uint32_t layer;
};

static uint64_t pages(uint64_t bytes)
{
    return (bytes + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE;
}

/* Whole pages that hold bytes, wherever in a page they begin. */
static uint64_t worst_pages(uint64_t bytes)
{
    return pages(bytes + PLAN_PAGE - 1);
}

static uint64_t charge_of(const struct tiler *k, uint64_t file_off, uint64_t bytes)
{
    return k->alike ? worst_pages(bytes) : pages(file_off % PLAN_PAGE + bytes);
}

/* ---- one tile ---- */

static void close_tile(struct tiler *k)
{
    k->open = false;
    k->used = k->charge = 0;
}

static struct plan_tile *open_tile(struct tiler *k)
{
    struct plan_tile *t;

    if (k->open) return PROGRAM_AT(k->c, tiles, struct plan_tile, k->c->tiles.count - 1);
    t = program_table_add(&k->c->tiles, 1);
    if (!t) return NULL;
    t->part0 = (uint32_t)k->c->parts.count;
    t->layer = k->layer;
    k->open = true;
    return t;
}

/* A plan's parts take 48 bytes each in every process. The largest published models have a hundred thousand in slots of the
 * usual size; a few hundred bytes of config.json can claim sizes that would take millions of millions. */
#define PARTS_MOST (1u << 22)

/* Appends a part; whoever calls made sure that it fits. */
static int add_part(struct tiler *k, struct plan_part part)
{
    struct plan_tile *t;
    struct plan_part *x;

    if (k->c->parts.count >= PARTS_MOST)
        return error_set(k->e, EFBIG,
                         "slots of %llu bytes cut this model into more than %u pieces: take larger ones (--slot-mib), "
                         "or see whether "
                         "config.json names sizes that the model has",
                         (unsigned long long)k->slot_bytes, PARTS_MOST);
    t = open_tile(k);
    x = t ? program_table_add(&k->c->parts, 1) : NULL;
    if (!x) return error_set(k->e, ENOMEM, "no memory for a plan of %zu tiles", k->c->tiles.count);
    part.slot_off = (uint32_t)(k->used + part.file_off % PLAN_PAGE);
    k->charge += charge_of(k, part.file_off, part.bytes);
    k->used = pages(part.slot_off + part.bytes);
    *x = part;
    t->parts++;
    t->bytes += part.bytes;
    t->span = (uint32_t)k->used;
    return 0;
}

/* ---- rows of a matrix ---- */

struct rows {
    const struct plan_matrix *m;
    uint32_t matrix;
    uint64_t row, count;            /* those still to be placed */
    const struct plan_vector *bias; /* goes before the first of them; NULL: none, or placed */
    uint32_t bias_index;
};

static uint64_t vector_bytes(const struct plan_vector *v)
{
    return form_row_bytes(v->form, v->elements);
}

/* Where rows [row, row + n) lie in their file; of a packed matrix, whole units. */
struct stretch {
    uint64_t off, bytes;
};

static struct stretch stored_rows(const struct plan_shm *p, const struct plan_matrix *m, uint64_t row, uint64_t n)
{
    const uint64_t *unit = plan_units(p) + m->unit0;
    uint64_t first, last;

    if (!m->unit_rows) return (struct stretch){m->file_off + row * m->row_bytes, n * m->row_bytes};
    first = row / m->unit_rows;
    last = (row + n + m->unit_rows - 1) / m->unit_rows;
    return (struct stretch){unit[first], unit[last] - unit[first]};
}

uint64_t tiling_rows_most(const struct plan_matrix *m, uint64_t rows)
{
    uint64_t units = m->unit_rows ? (rows + m->unit_rows - 1) / m->unit_rows : 0;

    return rows * m->row_bytes + units * (UNIT_HEADER + UNIT_ALIGN);
}

/* Experts are cut alike though some pack better: all are taken for those that pack worst. */
static uint64_t charge_of_weights(const struct tiler *k, const struct rows *r, uint64_t n)
{
    struct stretch s;

    if (k->alike) return worst_pages(tiling_rows_most(r->m, n));
    s = stored_rows(k->p, r->m, r->row, n);
    return charge_of(k, s.off, s.bytes);
}

static uint64_t charge_of_rows(const struct tiler *k, const struct rows *r, uint64_t n)
{
    const struct plan_matrix *m = r->m;
    uint64_t sum = charge_of_weights(k, r, n);

    if (m->scale_file != PLAN_NONE) {
        struct plan_grid_rows g = plan_scale_rows(m, r->row, n);

        sum += charge_of(k, m->scale_off + g.first * m->scale_row_bytes, g.count * m->scale_row_bytes);
    }
    if (m->zero_rows) {
        struct plan_grid_rows g = plan_zero_rows(m, r->row, n);

        sum += charge_of(k, m->zero_off + g.first * m->zero_row_bytes, g.count * m->zero_row_bytes);
    }
    if (r->bias) sum += charge_of(k, r->bias->file_off, vector_bytes(r->bias));
    return sum;
}

/* How many of the rows fit into room bytes. */
static uint64_t rows_that_fit(const struct tiler *k, const struct rows *r, uint64_t room)
{
    uint64_t unit = r->m->unit_rows ? r->m->unit_rows : 1; /* a packed matrix is cut where its units end */
    uint64_t low = 0, high = (r->count + unit - 1) / unit, most = room / r->m->row_bytes;

    if (unit == 1 && high > most && !r->m->unit_rows) high = most;
    while (low < high) {
        uint64_t mid = low + (high - low + 1) / 2;

        if (charge_of_rows(k, r, mid * unit < r->count ? mid * unit : r->count) <= room)
            low = mid;
        else
            high = mid - 1;
    }
    return low * unit < r->count ? low * unit : r->count;
}

/* The same for an empty tile and any alignment. */
static uint64_t rows_of_a_tile(const struct tiler *k, const struct rows *r)
{
    struct tiler worst = *k;
    uint64_t rows, mean;

    worst.alike = true;
    rows = rows_that_fit(&worst, r, k->slot_bytes);
    if (!rows || k->alike || !r->m->unit_rows || k->slot_bytes <= 2 * PLAN_PAGE) return rows;
    /* as many as do where units are as long as they are on the whole */
    mean = (k->slot_bytes - 2 * PLAN_PAGE) * r->m->rows / stored_rows(k->p, r->m, 0, r->m->rows).bytes;
    return mean > rows ? mean : rows;
}

static int place_rows(struct tiler *k, struct rows *r, uint64_t n)
{
    const struct plan_matrix *m = r->m;
    struct stretch s = stored_rows(k->p, m, r->row, n);
    int rc = 0;

    if (r->bias)
        rc = add_part(k, (struct plan_part){.file_off = r->bias->file_off,
                                            .bytes = vector_bytes(r->bias),
                                            .rows = 1,
                                            .index = r->bias_index,
                                            .file = r->bias->file,
                                            .role = PART_BIAS,
                                            .form = r->bias->form});
    r->bias = NULL;
    if (!rc && m->scale_file != PLAN_NONE) {
        struct plan_grid_rows g = plan_scale_rows(m, r->row, n);

        rc = add_part(k, (struct plan_part){.file_off = m->scale_off + g.first * m->scale_row_bytes,
                                            .bytes = g.count * m->scale_row_bytes,
                                            .row0 = g.first,
                                            .rows = (uint32_t)g.count,
                                            .index = r->matrix,
                                            .file = m->scale_file,
                                            .role = PART_SCALE,
                                            .form = m->scale_form});
    }
    if (!rc && m->zero_rows) {
        struct plan_grid_rows g = plan_zero_rows(m, r->row, n);

        rc = add_part(k, (struct plan_part){.file_off = m->zero_off + g.first * m->zero_row_bytes,
                                            .bytes = g.count * m->zero_row_bytes,
                                            .row0 = g.first,
                                            .rows = (uint32_t)g.count,
                                            .index = r->matrix,
                                            .file = m->zero_file,
                                            .role = PART_ZERO,
                                            .form = FORM_BYTES});
    }
    if (!rc)
        rc = add_part(k, (struct plan_part){.file_off = s.off,
                                            .bytes = s.bytes,
                                            .row0 = r->row,
                                            .rows = (uint32_t)n,
                                            .index = r->matrix,
                                            .file = m->file,
                                            .role = PART_WEIGHT,
                                            .form = m->unit_rows ? FORM_B223 : m->form});
    r->row += n;
    r->count -= n;
    return rc;
}

/* Ends of pieces lie where blocks of scales end, and kernels like whole groups of rows. */
static uint64_t round_piece(const struct rows *r, uint64_t n, uint64_t most)
{
    uint64_t packed = r->m->unit_rows, whole = packed ? (n + packed - 1) / packed * packed : 0;
    uint64_t unit = r->m->scale_file != PLAN_NONE && r->m->block_rows > 1 ? r->m->block_rows : 16;
    uint64_t end = (r->row + n + unit - 1) / unit * unit;

    if (packed) return whole < most ? whole : most;

    if (n < unit || end - r->row > most) end = (r->row + n) / unit * unit;
    return n < unit || end <= r->row ? n : end - r->row;
}

static int tiling_rows(struct tiler *k, struct rows r)
{
    uint64_t whole = rows_of_a_tile(k, &r);
    int rc = 0;

    if (!whole)
        return error_set(k->e, EINVAL, "a %s of %s (%llu bytes) does not fit into a slot of %llu bytes",
                         r.m->unit_rows ? "unit" : "row", plan_string(k->p, r.m->name),
                         (unsigned long long)tiling_rows_most(r.m, r.m->unit_rows ? r.m->unit_rows : 1),
                         (unsigned long long)k->slot_bytes);
    if (r.m->unit_rows && (r.row % r.m->unit_rows || (r.row + r.count != r.m->rows && r.count % r.m->unit_rows)))
        return error_set(k->e, EINVAL, "an operation asks for rows of %s within its units: pack the model again",
                         plan_string(k->p, r.m->name));
    while (r.count && !rc) {
        uint64_t fit = rows_that_fit(k, &r, k->slot_bytes - k->charge), pieces, n;

        if (fit == r.count) return place_rows(k, &r, fit);
        if (k->open && (!fit || k->charge >= k->slot_bytes / 2)) {
            close_tile(k);
            continue;
        }
        pieces = 1 + (r.count - fit + whole - 1) / whole;
        n = (r.count + pieces - 1) / pieces;
        if (n > fit) n = fit;
        rc = place_rows(k, &r, round_piece(&r, n, fit));
        close_tile(k);
    }
    return rc;
}

static int tiling_matrix(struct tiler *k, uint32_t matrix, uint64_t row, uint64_t rows)
{
    const struct plan_matrix *m = &plan_matrices(k->p)[matrix];

    if (row > m->rows || rows > m->rows - row)
        return error_set(k->e, EINVAL, "an operation asks for rows beyond the end of %s", plan_string(k->p, m->name));
    return tiling_rows(k, (struct rows){.m = m, .matrix = matrix, .row = row, .count = rows});
}

/* ---- the three ranges ---- */

static int tiling_op(struct tiler *k, const struct plan_op *o)
{
    int rc = 0;

    k->layer = o->layer;
    if (o->kind == OP_MATMUL) return tiling_matrix(k, o->matmul.matrix, 0, plan_matrices(k->p)[o->matmul.matrix].rows);
    if (o->kind != OP_HEADMM) return 0;
    for (uint64_t h = 0; h < o->headmm.heads && !rc; h++)
        rc = tiling_matrix(k, o->headmm.matrix, h * o->headmm.row_stride + o->headmm.row_off, o->headmm.rows);
    return rc;
}

static int tiling_sweep(struct tiler *k)
{
    int rc = 0;

    for (size_t i = 0; i < k->p->ops.count && !rc; i++) rc = tiling_op(k, &plan_ops(k->p)[i]);
    close_tile(k);
    k->c->sweep_count = (uint32_t)k->c->tiles.count;
    return rc;
}

static int tiling_vectors(struct tiler *k)
{
    int rc = 0;

    for (size_t i = 0; i < k->p->vectors.count && !rc; i++) {
        const struct plan_vector *v = &plan_vectors(k->p)[i];
        uint64_t charge;

        if (v->file == PLAN_NONE || v->at == PLAN_STREAMED) continue;
        charge = charge_of(k, v->file_off, vector_bytes(v));
        if (charge > k->slot_bytes)
            return error_set(k->e, EINVAL, "%s (%llu bytes) does not fit into a slot of %llu bytes",
                             plan_string(k->p, v->name), (unsigned long long)vector_bytes(v),
                             (unsigned long long)k->slot_bytes);
        if (charge > k->slot_bytes - k->charge) close_tile(k);
        rc = add_part(k, (struct plan_part){.file_off = v->file_off,
                                            .bytes = vector_bytes(v),
                                            .rows = 1,
                                            .index = (uint32_t)i,
                                            .file = v->file,
                                            .role = PART_VECTOR,
                                            .form = v->form});
    }
    close_tile(k);
    k->c->resident_count = (uint32_t)k->c->tiles.count - k->c->sweep_count;
    return rc;
}

static bool same_form(const struct plan_matrix *a, const struct plan_matrix *b)
{
    return a->rows == b->rows && a->cols == b->cols && a->form == b->form && a->scale_form == b->scale_form &&
           a->unit_rows == b->unit_rows && a->block_rows == b->block_rows && a->scale_row_bytes == b->scale_row_bytes &&
           (a->scale_file == PLAN_NONE) == (b->scale_file == PLAN_NONE) && a->zero_rows == b->zero_rows &&
           a->zero_row_bytes == b->zero_row_bytes && a->flags == b->flags;
}

static int tiling_expert(struct tiler *k, const struct plan_experts *x, uint32_t expert)
{
    uint32_t each = plan_expert_matrices(x);
    int rc = 0;

    for (uint32_t i = 0; i < each && !rc; i++) {
        uint32_t n = expert * each + i;
        const struct plan_matrix *m = &plan_matrices(k->p)[x->matrix0 + n];
        struct rows r = {.m = m, .matrix = x->matrix0 + n, .count = m->rows};

        if (!same_form(m, &plan_matrices(k->p)[x->matrix0 + i]))
            return error_set(k->e, EINVAL, "%s has another form than the same matrix of the first expert",
                             plan_string(k->p, m->name));
        if (x->biased) {
            r.bias_index = x->bias0 + n;
            r.bias = &plan_vectors(k->p)[r.bias_index];
        }
        rc = tiling_rows(k, r);
    }
    close_tile(k);
    return rc;
}

/* The layer of the operation that uses a table. */
static uint32_t layer_of_experts(const struct plan_shm *p, uint32_t table)
{
    for (size_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *o = &plan_ops(p)[i];

        if (o->kind == OP_EXPERTS && o->experts.table == table) return o->layer;
    }
    return 0;
}

static int tiling_table(struct tiler *k, const struct plan_experts *x)
{
    struct plan_expert_tiles *t = program_table_add(&k->c->expert_tiles, 1);

    if (!t) return error_set(k->e, ENOMEM, "no memory for a plan of %zu tiles", k->c->tiles.count);
    t->tile0 = (uint32_t)k->c->tiles.count;
    for (uint32_t expert = 0; expert < x->experts; expert++) {
        int rc = tiling_expert(k, x, expert);

        if (rc) return rc;
        if (!expert) t->each = (uint32_t)k->c->tiles.count - t->tile0;
        if (k->c->tiles.count != t->tile0 + (expert + UINT64_C(1)) * t->each)
            return error_set(k->e, EINVAL, "expert %u of layer %u is not cut as the first one is", expert, k->layer);
    }
    return 0;
}

static int tiling_experts(struct tiler *k)
{
    int rc = 0;

    k->alike = true;
    for (size_t i = 0; i < k->p->experts.count && !rc; i++) {
        k->layer = layer_of_experts(k->p, (uint32_t)i);
        rc = tiling_table(k, &plan_experts(k->p)[i]);
    }
    k->c->expert_count = (uint32_t)k->c->tiles.count - k->c->sweep_count - k->c->resident_count;
    return rc;
}

int tiling_cut(struct tiling *c, const struct plan_shm *p, uint64_t slot_bytes, struct error *e)
{
    struct tiler k = {.c = c, .p = p, .e = e, .slot_bytes = slot_bytes};
    int rc;

    *c = (struct tiling){.parts.size = sizeof(struct plan_part),
                         .tiles.size = sizeof(struct plan_tile),
                         .expert_tiles.size = sizeof(struct plan_expert_tiles)};
    if (slot_bytes < PLAN_PAGE || slot_bytes % PLAN_PAGE || slot_bytes > SLOT_BYTES_MAX)
        return error_set(e, EINVAL, "slots of %llu bytes cannot be cut for", (unsigned long long)slot_bytes);
    rc = tiling_sweep(&k);
    if (!rc) rc = tiling_vectors(&k);
    if (!rc) rc = tiling_experts(&k);
    if (rc) tiling_free(c);
    return rc;
}

void tiling_free(struct tiling *c)
{
    free(c->parts.data);
    free(c->tiles.data);
    free(c->expert_tiles.data);
    *c = (struct tiling){0};
}

/* ---- what cutting will need ---- */

static uint64_t least_for_matrix(const struct plan_matrix *m)
{
    uint64_t bytes = worst_pages(tiling_rows_most(m, m->unit_rows && m->unit_rows < m->rows ? m->unit_rows
                                                     : m->unit_rows                         ? m->rows
                                                                                            : 1));

    /* one row may need the scales of one row of blocks, or of all where its inputs are grouped otherwise */
    if (m->scale_file != PLAN_NONE) bytes += worst_pages(plan_scale_rows(m, 0, 1).count * m->scale_row_bytes);
    if (m->zero_rows) bytes += worst_pages(plan_zero_rows(m, 0, 1).count * m->zero_row_bytes);
    return bytes;
}

static uint64_t least_with_bias(const struct plan_shm *p, const struct plan_experts *x)
{
    uint64_t n = x->biased ? plan_experts_matrices(x) : 0, most = 0;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t bytes = least_for_matrix(&plan_matrices(p)[x->matrix0 + i]) +
                         worst_pages(vector_bytes(&plan_vectors(p)[x->bias0 + i]));

        if (bytes > most) most = bytes;
    }
    return most;
}

uint64_t tiling_slot_least(const struct plan_shm *p)
{
    uint64_t most = PLAN_PAGE, bytes;

    for (size_t i = 0; i < p->matrices.count; i++) {
        bytes = least_for_matrix(&plan_matrices(p)[i]);
        if (bytes > most) most = bytes;
    }
    for (size_t i = 0; i < p->vectors.count; i++) {
        const struct plan_vector *v = &plan_vectors(p)[i];

        bytes = v->file == PLAN_NONE ? 0 : worst_pages(vector_bytes(v));
        if (bytes > most) most = bytes;
    }
    for (size_t i = 0; i < p->experts.count; i++) {
        bytes = least_with_bias(p, &plan_experts(p)[i]);
        if (bytes > most) most = bytes;
    }
    return most;
}

uint64_t tiling_matrix_bytes(const struct plan_shm *p, uint32_t matrix, uint64_t rows)
{
    const struct plan_matrix *m = &plan_matrices(p)[matrix];

    if (rows > m->rows) rows = m->rows;
    return stored_rows(p, m, 0, rows).bytes +
           (m->scale_file == PLAN_NONE ? 0 : plan_scale_rows(m, 0, rows).count * m->scale_row_bytes) +
           (m->zero_rows ? plan_zero_rows(m, 0, rows).count * m->zero_row_bytes : 0);
}

uint64_t tiling_sweep_bytes(const struct plan_shm *p)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *o = &plan_ops(p)[i];

        if (o->kind == OP_MATMUL) sum += tiling_matrix_bytes(p, o->matmul.matrix, UINT64_MAX);
        if (o->kind == OP_HEADMM)
            sum += tiling_matrix_bytes(p, o->headmm.matrix, (uint64_t)o->headmm.heads * o->headmm.rows);
    }
    return sum;
}

uint64_t tiling_expert_bytes(const struct plan_shm *p)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < p->experts.count; i++) {
        const struct plan_experts *x = &plan_experts(p)[i];

        for (uint64_t m = 0; m < plan_experts_matrices(x); m++)
            sum += tiling_matrix_bytes(p, (uint32_t)(x->matrix0 + m), UINT64_MAX);
    }
    return sum;
}
