#include "coordinator/plan/tiling.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FLOAT_ALIGN 64u /* resident vectors begin at a multiple of 256 bytes */

struct tiler {
    struct tiling *c;
    struct program *p;
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

static uint64_t matrices_of(const struct plan_experts *x)
{
    return x->experts * (x->fused ? UINT64_C(2) : UINT64_C(3));
}

static uint64_t charge_of(const struct tiler *k, uint64_t file_off, uint64_t bytes)
{
    return k->alike ? worst_pages(bytes) : pages(file_off % PLAN_PAGE + bytes);
}

static void *table_next(struct program_table *t)
{
    if (t->count == t->capacity) {
        size_t capacity = t->capacity ? t->capacity * 2 : 256;
        void *data = reallocarray(t->data, capacity, t->size);

        if (!data) return NULL;
        t->data = data;
        t->capacity = capacity;
    }
    return memset((char *)t->data + t->count++ * t->size, 0, t->size);
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
    t = table_next(&k->c->tiles);
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
        return error_set(k->e, EFBIG, "slots of %llu bytes cut this model into more than %u pieces: take larger ones (--slot-mib), or see whether "
                         "config.json names sizes that the model has", (unsigned long long)k->slot_bytes, PARTS_MOST);
    t = open_tile(k);
    x = t ? table_next(&k->c->parts) : NULL;
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
    uint64_t row, count;   /* those still to be placed */
    const struct plan_vector *bias; /* goes before the first of them; NULL: none, or placed */
    uint32_t bias_index;
};

static uint64_t scale_first(const struct plan_matrix *m, uint64_t row)
{
    return row / m->block_rows;
}

static uint64_t scale_count(const struct plan_matrix *m, uint64_t row, uint64_t rows)
{
    return (row + rows + m->block_rows - 1) / m->block_rows - scale_first(m, row);
}

static uint64_t bias_bytes(const struct plan_vector *v)
{
    return form_row_bytes(v->form, v->elements);
}

static uint64_t charge_of_rows(const struct tiler *k, const struct rows *r, uint64_t n)
{
    const struct plan_matrix *m = r->m;
    uint64_t sum = charge_of(k, m->file_off + r->row * m->row_bytes, n * m->row_bytes);

    if (m->scale_file != PLAN_NONE)
        sum += charge_of(k, m->scale_off + scale_first(m, r->row) * m->scale_row_bytes,
                         scale_count(m, r->row, n) * m->scale_row_bytes);
    if (r->bias) sum += charge_of(k, r->bias->file_off, bias_bytes(r->bias));
    return sum;
}

/* How many of the rows fit into room bytes. */
static uint64_t rows_that_fit(const struct tiler *k, const struct rows *r, uint64_t room)
{
    uint64_t low = 0, high = r->count, most = room / r->m->row_bytes;

    if (high > most) high = most;
    while (low < high) {
        uint64_t mid = low + (high - low + 1) / 2;

        if (charge_of_rows(k, r, mid) <= room) low = mid;
        else high = mid - 1;
    }
    return low;
}

/* The same for an empty tile and any alignment. */
static uint64_t rows_of_a_tile(const struct tiler *k, const struct rows *r)
{
    struct tiler worst = *k;

    worst.alike = true;
    return rows_that_fit(&worst, r, k->slot_bytes);
}

static int place_rows(struct tiler *k, struct rows *r, uint64_t n)
{
    const struct plan_matrix *m = r->m;
    int rc = 0;

    if (r->bias)
        rc = add_part(k, (struct plan_part){.file_off = r->bias->file_off, .bytes = bias_bytes(r->bias), .rows = 1,
                                            .index = r->bias_index, .file = r->bias->file, .role = PART_BIAS,
                                            .form = r->bias->form});
    r->bias = NULL;
    if (!rc && m->scale_file != PLAN_NONE) {
        uint64_t first = scale_first(m, r->row), count = scale_count(m, r->row, n);

        rc = add_part(k, (struct plan_part){.file_off = m->scale_off + first * m->scale_row_bytes,
                                            .bytes = count * m->scale_row_bytes, .row0 = first,
                                            .rows = (uint32_t)count, .index = r->matrix, .file = m->scale_file,
                                            .role = PART_SCALE, .form = m->scale_form});
    }
    if (!rc)
        rc = add_part(k, (struct plan_part){.file_off = m->file_off + r->row * m->row_bytes,
                                            .bytes = n * m->row_bytes, .row0 = r->row, .rows = (uint32_t)n,
                                            .index = r->matrix, .file = m->file, .role = PART_WEIGHT, .form = m->form});
    r->row += n;
    r->count -= n;
    return rc;
}

/* Ends of pieces lie where blocks of scales end, and kernels like whole groups of rows. */
static uint64_t round_piece(const struct rows *r, uint64_t n, uint64_t most)
{
    uint64_t unit = r->m->scale_file != PLAN_NONE && r->m->block_rows > 1 ? r->m->block_rows : 16;
    uint64_t end = (r->row + n + unit - 1) / unit * unit;

    if (n < unit || end - r->row > most) end = (r->row + n) / unit * unit;
    return n < unit || end <= r->row ? n : end - r->row;
}

static int tiling_rows(struct tiler *k, struct rows r)
{
    uint64_t whole = rows_of_a_tile(k, &r);
    int rc = 0;

    if (!whole)
        return error_set(k->e, EINVAL, "a row of %s (%llu bytes) does not fit into a slot of %llu bytes",
                         PROGRAM_AT(k->p, strings, char, r.m->name), (unsigned long long)r.m->row_bytes,
                         (unsigned long long)k->slot_bytes);
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
    const struct plan_matrix *m = PROGRAM_AT(k->p, matrices, struct plan_matrix, matrix);

    if (row > m->rows || rows > m->rows - row)
        return error_set(k->e, EINVAL, "an operation asks for rows beyond the end of %s", PROGRAM_AT(k->p, strings, char, m->name));
    return tiling_rows(k, (struct rows){.m = m, .matrix = matrix, .row = row, .count = rows});
}

/* ---- the three ranges ---- */

static int tiling_op(struct tiler *k, const struct plan_op *o)
{
    int rc = 0;

    k->layer = o->layer;
    if (o->kind == OP_MATMUL)
        return tiling_matrix(k, o->matmul.matrix, 0, PROGRAM_AT(k->p, matrices, struct plan_matrix, o->matmul.matrix)->rows);
    if (o->kind != OP_HEADMM) return 0;
    for (uint64_t h = 0; h < o->headmm.heads && !rc; h++)
        rc = tiling_matrix(k, o->headmm.matrix, h * o->headmm.row_stride + o->headmm.row_off, o->headmm.rows);
    return rc;
}

static int tiling_sweep(struct tiler *k)
{
    int rc = 0;

    for (size_t i = 0; i < k->p->ops.count && !rc; i++) rc = tiling_op(k, PROGRAM_AT(k->p, ops, struct plan_op, i));
    close_tile(k);
    k->c->sweep_tiles = (uint32_t)k->c->tiles.count;
    return rc;
}

/* Places of the vectors in the resident area; biases of experts have none. */
static void place_vectors(struct program *p)
{
    uint64_t at = 0;

    for (size_t i = 0; i < p->vectors.count; i++) PROGRAM_AT(p, vectors, struct plan_vector, i)->at = 0;
    for (size_t i = 0; i < p->experts.count; i++) {
        const struct plan_experts *x = PROGRAM_AT(p, experts, struct plan_experts, i);
        uint64_t n = x->biased ? matrices_of(x) : 0;

        for (uint64_t v = 0; v < n; v++) PROGRAM_AT(p, vectors, struct plan_vector, x->bias0 + v)->at = PLAN_STREAMED;
    }
    for (size_t i = 0; i < p->vectors.count; i++) {
        struct plan_vector *v = PROGRAM_AT(p, vectors, struct plan_vector, i);

        if (v->at == PLAN_STREAMED) continue;
        v->at = at;
        at = (at + v->elements + FLOAT_ALIGN - 1) / FLOAT_ALIGN * FLOAT_ALIGN;
    }
    p->spec.resident_floats = at;
}

static int tiling_vectors(struct tiler *k)
{
    int rc = 0;

    place_vectors(k->p);
    for (size_t i = 0; i < k->p->vectors.count && !rc; i++) {
        const struct plan_vector *v = PROGRAM_AT(k->p, vectors, struct plan_vector, i);
        uint64_t charge;

        if (v->file == PLAN_NONE || v->at == PLAN_STREAMED) continue;
        charge = charge_of(k, v->file_off, bias_bytes(v));
        if (charge > k->slot_bytes)
            return error_set(k->e, EINVAL, "%s (%llu bytes) does not fit into a slot of %llu bytes",
                             PROGRAM_AT(k->p, strings, char, v->name), (unsigned long long)bias_bytes(v),
                             (unsigned long long)k->slot_bytes);
        if (charge > k->slot_bytes - k->charge) close_tile(k);
        rc = add_part(k, (struct plan_part){.file_off = v->file_off, .bytes = bias_bytes(v), .rows = 1,
                                            .index = (uint32_t)i, .file = v->file, .role = PART_VECTOR, .form = v->form});
    }
    close_tile(k);
    k->c->resident_tiles = (uint32_t)k->c->tiles.count - k->c->sweep_tiles;
    return rc;
}

static bool same_form(const struct plan_matrix *a, const struct plan_matrix *b)
{
    return a->rows == b->rows && a->cols == b->cols && a->form == b->form && a->scale_form == b->scale_form &&
           a->block_rows == b->block_rows && a->scale_row_bytes == b->scale_row_bytes &&
           (a->scale_file == PLAN_NONE) == (b->scale_file == PLAN_NONE);
}

static int tiling_expert(struct tiler *k, const struct plan_experts *x, uint32_t expert)
{
    uint32_t each = x->fused ? 2 : 3;
    int rc = 0;

    for (uint32_t i = 0; i < each && !rc; i++) {
        uint32_t n = expert * each + i;
        const struct plan_matrix *m = PROGRAM_AT(k->p, matrices, struct plan_matrix, x->matrix0 + n);
        struct rows r = {.m = m, .matrix = x->matrix0 + n, .count = m->rows};

        if (!same_form(m, PROGRAM_AT(k->p, matrices, struct plan_matrix, x->matrix0 + i)))
            return error_set(k->e, EINVAL, "%s has another form than the same matrix of the first expert",
                             PROGRAM_AT(k->p, strings, char, m->name));
        if (x->biased) {
            r.bias_index = x->bias0 + n;
            r.bias = PROGRAM_AT(k->p, vectors, struct plan_vector, r.bias_index);
        }
        rc = tiling_rows(k, r);
    }
    close_tile(k);
    return rc;
}

/* The layer of the operation that uses a table. */
static uint32_t layer_of_experts(const struct program *p, uint32_t table)
{
    for (size_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *o = PROGRAM_AT(p, ops, struct plan_op, i);

        if (o->kind == OP_EXPERTS && o->experts.table == table) return o->layer;
    }
    return 0;
}

static int tiling_experts(struct tiler *k)
{
    k->alike = true;
    for (size_t i = 0; i < k->p->experts.count; i++) {
        struct plan_experts *x = PROGRAM_AT(k->p, experts, struct plan_experts, i);

        k->layer = layer_of_experts(k->p, (uint32_t)i);
        x->tile0 = (uint32_t)k->c->tiles.count;
        for (uint32_t expert = 0; expert < x->experts; expert++) {
            int rc = tiling_expert(k, x, expert);

            if (rc) return rc;
            if (!expert) x->tiles_each = (uint32_t)k->c->tiles.count - x->tile0;
            if (k->c->tiles.count != x->tile0 + (expert + UINT64_C(1)) * x->tiles_each)
                return error_set(k->e, EINVAL, "expert %u of layer %u is not cut as the first one is", expert, k->layer);
        }
    }
    k->c->expert_tiles = (uint32_t)k->c->tiles.count - k->c->sweep_tiles - k->c->resident_tiles;
    return 0;
}

int tiling_program(struct tiling *c, struct program *p, uint64_t slot_bytes, struct error *e)
{
    struct tiler k = {.c = c, .p = p, .e = e, .slot_bytes = slot_bytes};
    int rc;

    *c = (struct tiling){.parts.size = sizeof(struct plan_part), .tiles.size = sizeof(struct plan_tile)};
    if (slot_bytes < PLAN_PAGE || slot_bytes % PLAN_PAGE || slot_bytes > SLOT_BYTES_MAX)
        return error_set(e, EINVAL, "slots of %llu bytes cannot be cut for", (unsigned long long)slot_bytes);
    rc = tiling_sweep(&k);
    if (!rc) rc = tiling_vectors(&k);
    if (!rc) rc = tiling_experts(&k);
    if (rc) {
        tiling_free(c);
        return rc;
    }
    p->spec.sweep_tiles = c->sweep_tiles;
    p->spec.resident_tiles = c->resident_tiles;
    p->spec.expert_tiles = c->expert_tiles;
    return 0;
}

void tiling_free(struct tiling *c)
{
    free(c->parts.data);
    free(c->tiles.data);
    *c = (struct tiling){0};
}

/* ---- what cutting will need ---- */

static int check_matrix(const struct program *p, size_t i, struct error *e)
{
    const struct plan_matrix *m = PROGRAM_AT(p, matrices, struct plan_matrix, i);
    bool scaled = m->scale_file != PLAN_NONE;

    if (m->name >= p->strings.count) return error_set(e, EINVAL, "matrix %zu has no name", i);
    if (!m->rows || m->rows > UINT32_MAX || !m->row_bytes || m->row_bytes > (UINT64_C(1) << 32) ||
        (scaled && (!m->block_rows || !m->scale_row_bytes || m->scale_row_bytes > (UINT64_C(1) << 32))))
        return error_set(e, EINVAL, "%s: %llu rows of %llu bytes cannot be cut", PROGRAM_AT(p, strings, char, m->name),
                         (unsigned long long)m->rows, (unsigned long long)m->row_bytes);
    return 0;
}

static int check_ranges(const struct program *p, size_t i, struct error *e)
{
    const struct plan_experts *x = PROGRAM_AT(p, experts, struct plan_experts, i);
    uint64_t n = matrices_of(x);

    if (!n || n > p->matrices.count || x->matrix0 > p->matrices.count - n)
        return error_set(e, EINVAL, "table %zu of %u experts lacks matrices", i, x->experts);
    if (x->biased && (n > p->vectors.count || x->bias0 > p->vectors.count - n))
        return error_set(e, EINVAL, "table %zu of %u experts lacks biases", i, x->experts);
    return 0;
}

int tiling_check(const struct program *p, struct error *e)
{
    int rc = 0;

    for (size_t i = 0; i < p->matrices.count && !rc; i++) rc = check_matrix(p, i, e);
    for (size_t i = 0; i < p->experts.count && !rc; i++) rc = check_ranges(p, i, e);
    for (size_t i = 0; i < p->vectors.count && !rc; i++) {
        const struct plan_vector *v = PROGRAM_AT(p, vectors, struct plan_vector, i);

        if (v->name >= p->strings.count || !v->elements || v->elements > UINT32_MAX)
            rc = error_set(e, EINVAL, "vector %zu of %llu elements cannot be placed", i, (unsigned long long)v->elements);
    }
    for (size_t i = 0; i < p->ops.count && !rc; i++) {
        const struct plan_op *o = PROGRAM_AT(p, ops, struct plan_op, i);
        uint32_t m = o->kind == OP_MATMUL ? o->matmul.matrix : o->kind == OP_HEADMM ? o->headmm.matrix : 0;

        if (m && m >= p->matrices.count)
            rc = error_set(e, EINVAL, "operation %zu asks for matrix %u, which is not there", i, m);
    }
    if (!rc && p->spec.embed_matrix >= p->matrices.count) rc = error_set(e, EINVAL, "there is no embedding table");
    return rc;
}

static uint64_t least_for_matrix(const struct plan_matrix *m)
{
    uint64_t bytes = worst_pages(m->row_bytes);

    /* one row may need the scales of one row of blocks */
    if (m->scale_file != PLAN_NONE) bytes += worst_pages(m->scale_row_bytes);
    return bytes;
}

static uint64_t least_with_bias(const struct program *p, const struct plan_experts *x)
{
    uint64_t n = x->biased ? matrices_of(x) : 0, most = 0;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t bytes = least_for_matrix(PROGRAM_AT(p, matrices, struct plan_matrix, x->matrix0 + i)) +
                         worst_pages(bias_bytes(PROGRAM_AT(p, vectors, struct plan_vector, x->bias0 + i)));

        if (bytes > most) most = bytes;
    }
    return most;
}

uint64_t tiling_slot_least(const struct program *p)
{
    uint64_t most = PLAN_PAGE, bytes;

    for (size_t i = 0; i < p->matrices.count; i++) {
        bytes = least_for_matrix(PROGRAM_AT(p, matrices, struct plan_matrix, i));
        if (bytes > most) most = bytes;
    }
    for (size_t i = 0; i < p->vectors.count; i++) {
        const struct plan_vector *v = PROGRAM_AT(p, vectors, struct plan_vector, i);

        bytes = v->file == PLAN_NONE ? 0 : worst_pages(bias_bytes(v));
        if (bytes > most) most = bytes;
    }
    for (size_t i = 0; i < p->experts.count; i++) {
        bytes = least_with_bias(p, PROGRAM_AT(p, experts, struct plan_experts, i));
        if (bytes > most) most = bytes;
    }
    return most;
}

static uint64_t bytes_of_rows(const struct program *p, uint32_t matrix, uint64_t rows)
{
    const struct plan_matrix *m = PROGRAM_AT(p, matrices, struct plan_matrix, matrix);

    if (rows > m->rows) rows = m->rows;
    return rows * m->row_bytes + (m->scale_file == PLAN_NONE ? 0 : scale_count(m, 0, rows) * m->scale_row_bytes);
}

uint64_t tiling_sweep_bytes(const struct program *p)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *o = PROGRAM_AT(p, ops, struct plan_op, i);

        if (o->kind == OP_MATMUL) sum += bytes_of_rows(p, o->matmul.matrix, UINT64_MAX);
        if (o->kind == OP_HEADMM) sum += bytes_of_rows(p, o->headmm.matrix, (uint64_t)o->headmm.heads * o->headmm.rows);
    }
    return sum;
}

uint64_t tiling_expert_bytes(const struct program *p)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < p->experts.count; i++) {
        const struct plan_experts *x = PROGRAM_AT(p, experts, struct plan_experts, i);

        for (uint64_t m = 0; m < matrices_of(x); m++) sum += bytes_of_rows(p, (uint32_t)(x->matrix0 + m), UINT64_MAX);
    }
    return sum;
}
