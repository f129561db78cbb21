#include "proto/check.h"

#include <errno.h>

/* ---- ranges ---- */

static int check_ranges(const struct plan_shm *p, struct error *e)
{
    const struct plan_spec *s = &p->spec;
    uint64_t first = s->sweep_tiles + s->resident_tiles;

    if (s->sweep_tiles > UINT32_MAX || first + s->demand_tiles != p->tiles.count)
        CHECK_FAIL("%llu + %u + %u tiles, the table has %llu", ULL(s->sweep_tiles), s->resident_tiles, s->demand_tiles,
                   ULL(p->tiles.count));
    if (p->tiles.count >= PLAN_NONE) CHECK_FAIL("%llu tiles are too many to number", ULL(p->tiles.count));
    if (p->expert_tiles.count != p->experts.count)
        CHECK_FAIL("tiles of %llu tables of experts, there are %llu", ULL(p->expert_tiles.count),
                   ULL(p->experts.count));
    for (uint64_t i = 0; i < p->experts.count; i++) {
        const struct plan_expert_tiles *t = plan_expert_tiles(p) + i;

        if (!t->each || t->tile0 < first || !check_fits(t->tile0, plan_experts(p)[i].experts, t->each, p->tiles.count))
            CHECK_FAIL("experts %llu: tiles %u + %u x %u", ULL(i), t->tile0, plan_experts(p)[i].experts, t->each);
    }
    return 0;
}

/* ---- each part and tile by itself ---- */

#define PART_FAIL(fmt, ...) CHECK_FAIL("part %llu: " fmt, ULL(i), __VA_ARGS__)

/* Whole units of a packed matrix. */
static int check_units_part(const struct plan_shm *p, uint64_t i, const struct plan_part *x, struct error *e)
{
    const struct plan_matrix *m = plan_matrices(p) + x->index;
    const uint64_t *at = plan_units(p) + m->unit0;
    uint64_t first = x->row0 / m->unit_rows, last = (x->row0 + x->rows + m->unit_rows - 1) / m->unit_rows;

    if (x->form != FORM_B223) PART_FAIL("is stored in form %u, matrix %u is packed", x->form, x->index);
    if (!x->rows || x->row0 >= m->rows || x->rows > m->rows - x->row0 || x->row0 % m->unit_rows ||
        (x->row0 + x->rows != m->rows && (x->row0 + x->rows) % m->unit_rows))
        PART_FAIL("rows %llu + %u are no units of matrix %u", ULL(x->row0), x->rows, x->index);
    if (x->file != m->file || x->file_off != at[first] || x->bytes != at[last] - at[first])
        PART_FAIL("%llu bytes at %llu of file %u are not its units", ULL(x->bytes), ULL(x->file_off), x->file);
    return 0;
}

static int check_rows_part(const struct plan_shm *p, uint64_t i, const struct plan_part *x, struct error *e)
{
    const struct plan_matrix *m;
    uint64_t rows, row_bytes, off;
    uint32_t file, form;

    if (x->index >= p->matrices.count) PART_FAIL("matrix %u of %llu", x->index, ULL(p->matrices.count));
    m = plan_matrices(p) + x->index;
    rows = m->rows, row_bytes = m->row_bytes, off = m->file_off, file = m->file, form = m->form;
    if (x->role == PART_SCALE) {
        if (m->scale_file == PLAN_NONE) PART_FAIL("scales of matrix %u, which has none", x->index);
        rows = (m->rows + m->block_rows - 1) / m->block_rows;
        row_bytes = m->scale_row_bytes, off = m->scale_off, file = m->scale_file, form = m->scale_form;
    }
    if (x->role == PART_ZERO) {
        if (!m->zero_rows) PART_FAIL("zero points of matrix %u, which has none", x->index);
        rows = (m->rows + m->zero_rows - 1) / m->zero_rows;
        row_bytes = m->zero_row_bytes, off = m->zero_off, file = m->zero_file, form = FORM_BYTES;
    }
    if (m->unit_rows && x->role == PART_WEIGHT) return check_units_part(p, i, x, e);
    if (x->form != form)
        PART_FAIL("is stored in form %u (%s), matrix %u in %s", x->form, form_name(x->form), x->index, form_name(form));
    if (!x->rows || x->row0 >= rows || x->rows > rows - x->row0)
        PART_FAIL("rows %llu + %u of %llu", ULL(x->row0), x->rows, ULL(rows));
    if (x->bytes != x->rows * row_bytes || x->file != file || x->file_off != off + x->row0 * row_bytes)
        PART_FAIL("%llu bytes at %llu of file %u are not its rows", ULL(x->bytes), ULL(x->file_off), x->file);
    return 0;
}

static int check_vector_part(const struct plan_shm *p, uint64_t i, const struct plan_part *x, struct error *e)
{
    const struct plan_vector *v;

    if (x->index >= p->vectors.count) PART_FAIL("vector %u of %llu", x->index, ULL(p->vectors.count));
    v = plan_vectors(p) + x->index;
    if ((x->role == PART_BIAS) != (v->at == PLAN_STREAMED) || v->file == PLAN_NONE)
        PART_FAIL("vector %u does not travel like this", x->index);
    if (x->form != v->form)
        PART_FAIL("is stored in form %u (%s), vector %u in %s", x->form, form_name(x->form), x->index,
                  form_name(v->form));
    if (x->rows != 1 || x->row0 || x->file != v->file || x->file_off != v->file_off ||
        x->bytes != form_row_bytes(v->form, v->elements))
        PART_FAIL("%llu bytes at %llu of file %u are not vector %u", ULL(x->bytes), ULL(x->file_off), x->file,
                  x->index);
    return 0;
}

static int check_part(const struct plan_shm *p, uint64_t i, struct error *e)
{
    const struct plan_part *x = plan_parts(p) + i;

    switch (x->role) {
    case PART_WEIGHT:
    case PART_ZERO:
    case PART_SCALE: return check_rows_part(p, i, x, e);
    case PART_VECTOR:
    case PART_BIAS: return check_vector_part(p, i, x, e);
    default: PART_FAIL("unknown role %u", x->role);
    }
}

/* Parts lie in the tile one after the other, on pages of their own. */
static int check_layout(const struct plan_shm *p, uint64_t i, struct error *e)
{
    const struct plan_tile *t = plan_tiles(p) + i;
    uint64_t bytes = 0, free_off = 0;

    for (uint64_t k = t->part0; k < (uint64_t)t->part0 + t->parts; k++) {
        const struct plan_part *x = plan_parts(p) + k;
        int rc = check_part(p, k, e);

        if (rc) return rc;
        if (x->slot_off % PLAN_PAGE != x->file_off % PLAN_PAGE)
            CHECK_FAIL("part %llu at %u is not aligned as in its file", ULL(k), x->slot_off);
        if (x->slot_off / PLAN_PAGE * PLAN_PAGE < free_off || !check_fits(x->slot_off, x->bytes, 1, t->span))
            CHECK_FAIL("part %llu at %u + %llu of tile %llu, %u bytes long", ULL(k), x->slot_off, ULL(x->bytes), ULL(i),
                       t->span);
        free_off = (x->slot_off + x->bytes + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE;
        bytes += x->bytes;
    }
    if (t->bytes != bytes) CHECK_FAIL("tile %llu of %llu bytes has parts of %llu", ULL(i), ULL(t->bytes), ULL(bytes));
    return 0;
}

struct pins {
    uint64_t host, device; /* ends so far */
};

static int check_tier(const struct plan_shm *p, uint64_t i, struct pins *pins, struct error *e)
{
    const struct plan_run *r = &p->run;
    const struct plan_tile *t = plan_tiles(p) + i;
    bool device = t->tier == TIER_DEVICE;
    uint64_t *end = device ? &pins->device : &pins->host;
    uint64_t limit = device ? r->device_pin_bytes : r->host_cache_bytes - r->expert_cache_bytes;

    if (t->tier > TIER_DEVICE || t->flags & ~TILE_STAYS || (t->tier == TIER_DISK && (t->flags || t->tier_off)))
        CHECK_FAIL("tile %llu: tier %u, flags %x", ULL(i), t->tier, t->flags);
    if (t->tier == TIER_DISK) return 0;
    if (i >= p->spec.sweep_tiles) CHECK_FAIL("tile %llu is pinned but no tile of the sweep", ULL(i));
    if (device ? r->backend != BACKEND_CUDA || !(t->flags & TILE_STAYS)
               : (r->backend == BACKEND_CPU) != ((t->flags & TILE_STAYS) != 0))
        CHECK_FAIL("tile %llu: tier %u, flags %x do not go with backend %u", ULL(i), t->tier, t->flags, r->backend);
    if (t->tier_off % PLAN_PAGE || t->tier_off < *end || !check_fits(t->tier_off, t->span, 1, limit))
        CHECK_FAIL("tile %llu: tier at %llu + %u, from %llu to %llu are free", ULL(i), ULL(t->tier_off), t->span,
                   ULL(*end), ULL(limit));
    *end = t->tier_off + t->span;
    return 0;
}

static int check_each_tile(const struct plan_shm *p, struct error *e)
{
    struct pins pins = {0};
    uint64_t part = 0;

    for (uint64_t i = 0; i < p->tiles.count; i++) {
        const struct plan_tile *t = plan_tiles(p) + i;
        int rc;

        if (t->part0 != part || !t->parts || t->parts > p->parts.count - part)
            CHECK_FAIL("tile %llu: parts %u + %u of %llu, %llu were expected next", ULL(i), t->part0, t->parts,
                       ULL(p->parts.count), ULL(part));
        if (!t->span || t->span % PLAN_PAGE || t->span > p->run.slot_bytes)
            CHECK_FAIL("tile %llu: %u bytes, slots have %llu", ULL(i), t->span, ULL(p->run.slot_bytes));
        rc = check_layout(p, i, e);
        if (!rc) rc = check_tier(p, i, &pins, e);
        if (rc) return rc;
        part += t->parts;
    }
    if (part != p->parts.count) CHECK_FAIL("%llu parts, tiles have %llu", ULL(p->parts.count), ULL(part));
    return 0;
}

/* ---- their order: what the operations will ask for, in turn ---- */

struct walk {
    const struct plan_shm *p;
    struct error *e;
    uint64_t tile, last;                  /* next tile, end of the range */
    uint64_t part, part_end;              /* of the open tile */
    const struct plan_part *scale, *zero; /* met in the open tile, serves the next WEIGHT part */
};

static int walk_next(struct walk *w, const struct plan_part **out)
{
    struct error *e = w->e;

    if (w->part == w->part_end) {
        const struct plan_tile *t;

        if (w->scale) CHECK_FAIL("tile %llu ends with scales", ULL(w->tile - 1));
        if (w->tile == w->last) CHECK_FAIL("tiles end at %llu before the rows do", ULL(w->last));
        t = plan_tiles(w->p) + w->tile++;
        w->part = t->part0;
        w->part_end = (uint64_t)t->part0 + t->parts;
    }
    *out = plan_parts(w->p) + w->part++;
    return 0;
}

static int walk_end(const struct walk *w)
{
    struct error *e = w->e;

    if (w->part != w->part_end || w->tile != w->last)
        CHECK_FAIL("tile %llu holds rows that nobody asks for", ULL(w->part != w->part_end ? w->tile - 1 : w->tile));
    return 0;
}

static bool covers(const struct plan_part *s, const struct plan_part *x, struct plan_grid_rows g)
{
    return s && s->index == x->index && s->row0 <= g.first && s->row0 + s->rows >= g.first + g.count;
}

static int walk_rows(struct walk *w, uint32_t matrix, uint64_t row, uint64_t rows)
{
    const struct plan_matrix *m = plan_matrices(w->p) + matrix;
    struct error *e = w->e;

    for (uint64_t end = row + rows; row < end;) {
        const struct plan_part *x;
        int rc = walk_next(w, &x);

        if (rc) return rc;
        if (x->index != matrix || (x->role != PART_WEIGHT && x->role != PART_SCALE && x->role != PART_ZERO))
            CHECK_FAIL("part %llu: rows of matrix %u expected", ULL(w->part - 1), matrix);
        if (x->role == PART_SCALE) {
            if (w->scale) CHECK_FAIL("part %llu: scales after scales", ULL(w->part - 1));
            w->scale = x;
            continue;
        }
        if (x->role == PART_ZERO) {
            if (w->zero) CHECK_FAIL("part %llu: zero points after zero points", ULL(w->part - 1));
            w->zero = x;
            continue;
        }
        if (x->row0 != row || x->rows > end - row)
            CHECK_FAIL("part %llu: rows %llu + %u of matrix %u, %llu + %llu expected", ULL(w->part - 1), ULL(x->row0),
                       x->rows, matrix, ULL(row), ULL(end - row));
        if (m->scale_file != PLAN_NONE && !covers(w->scale, x, plan_scale_rows(m, x->row0, x->rows)))
            CHECK_FAIL("part %llu: no scales for its rows", ULL(w->part - 1));
        if (m->zero_rows && !covers(w->zero, x, plan_zero_rows(m, x->row0, x->rows)))
            CHECK_FAIL("part %llu: no zero points for its rows", ULL(w->part - 1));
        w->scale = w->zero = NULL;
        row += x->rows;
    }
    return 0;
}

static int check_sweep_order(const struct plan_shm *p, struct error *e)
{
    struct walk w = {.p = p, .e = e, .last = p->spec.sweep_tiles};
    int rc = 0;

    for (uint64_t i = 0; i < p->ops.count && !rc; i++) {
        const struct plan_op *o = plan_ops(p) + i;

        if (o->kind == OP_MATMUL) rc = walk_rows(&w, o->matmul.matrix, 0, plan_matrices(p)[o->matmul.matrix].rows);
        if (o->kind != OP_HEADMM) continue;
        for (uint64_t h = 0; h < o->headmm.heads && !rc; h++)
            rc = walk_rows(&w, o->headmm.matrix, h * o->headmm.row_stride + o->headmm.row_off, o->headmm.rows);
    }
    return rc ? rc : walk_end(&w);
}

static int walk_bias(struct walk *w, uint32_t vector)
{
    const struct plan_part *x;
    struct error *e = w->e;
    int rc = walk_next(w, &x);

    if (rc) return rc;
    if (x->role != PART_BIAS || x->index != vector) CHECK_FAIL("part %llu: bias %u expected", ULL(w->part - 1), vector);
    return 0;
}

static int check_expert_order(const struct plan_shm *p, uint64_t table, uint32_t expert, struct error *e)
{
    const struct plan_experts *x = plan_experts(p) + table;
    const struct plan_expert_tiles *t = plan_expert_tiles(p) + table;
    uint64_t tile = t->tile0 + (uint64_t)expert * t->each;
    struct walk w = {.p = p, .e = e, .tile = tile, .last = tile + t->each};
    uint32_t each = plan_expert_matrices(x);
    int rc = 0;

    for (uint32_t k = 0; k < each && !rc; k++) {
        uint32_t n = expert * each + k;

        if (x->biased) rc = walk_bias(&w, x->bias0 + n);
        if (!rc) rc = walk_rows(&w, x->matrix0 + n, 0, plan_matrices(p)[x->matrix0 + n].rows);
    }
    return rc ? rc : walk_end(&w);
}

/* Every vector that has a file and stays comes once, in order. */
static int check_resident_order(const struct plan_shm *p, struct error *e)
{
    uint64_t first = p->spec.sweep_tiles, v = 0;
    struct walk w = {.p = p, .e = e, .tile = first, .last = first + p->spec.resident_tiles};

    for (; v < p->vectors.count; v++) {
        const struct plan_vector *x = plan_vectors(p) + v;
        const struct plan_part *part;
        int rc;

        if (x->file == PLAN_NONE || x->at == PLAN_STREAMED) continue;
        rc = walk_next(&w, &part);
        if (rc) return rc;
        if (part->role != PART_VECTOR || part->index != v)
            CHECK_FAIL("part %llu: vector %llu expected", ULL(w.part - 1), ULL(v));
    }
    return walk_end(&w);
}

int check_tiles(const struct plan_shm *p, struct error *e)
{
    int rc = check_ranges(p, e);

    if (!rc) rc = check_each_tile(p, e);
    if (!rc) rc = check_sweep_order(p, e);
    if (!rc) rc = check_resident_order(p, e);
    for (uint64_t i = 0; i < p->experts.count; i++)
        for (uint32_t n = 0; n < plan_experts(p)[i].experts && !rc; n++) rc = check_expert_order(p, i, n, e);
    return rc;
}
