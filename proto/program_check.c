#include "proto/check.h"

#include <errno.h>
#include <string.h>
#include "proto/unit/unit.h"

/* ---- the image ---- */

static int check_table(const struct plan_shm *p, const struct plan_table *t, const char *name, uint64_t size,
                       struct error *e)
{
    if (t->count > UINT32_MAX) CHECK_FAIL("table of %s has %llu entries", name, ULL(t->count));
    if (t->offset % 8 || t->offset < sizeof *p || !check_fits(t->offset, t->count, size, p->bytes))
        CHECK_FAIL("table of %s lies outside: offset %llu, %llu entries of %llu bytes, segment %llu", name,
                   ULL(t->offset), ULL(t->count), ULL(size), ULL(p->bytes));
    return 0;
}

static int check_header(const struct plan_shm *p, uint64_t map_bytes, struct error *e)
{
    int rc = 0;

    if ((uintptr_t)p % 8) CHECK_FAIL("not aligned");
    if (map_bytes < sizeof *p || p->magic != PLAN_MAGIC)
        CHECK_FAIL("not a plan segment of this program (%llu bytes)", ULL(map_bytes));
    if (p->version != PLAN_VERSION)
        CHECK_FAIL("version %u, this executable speaks %u; all must be of one build", p->version, PLAN_VERSION);
    if (p->bytes < sizeof *p || p->bytes > map_bytes)
        CHECK_FAIL("says %llu bytes, mapped are %llu", ULL(p->bytes), ULL(map_bytes));
#define CHECK_TABLE(name, type)                                                                                        \
    if (!rc) rc = check_table(p, &p->name, #name, sizeof(type), e);
    PLAN_PROGRAM_TABLES(CHECK_TABLE)
    PLAN_TILE_TABLES(CHECK_TABLE)
#undef CHECK_TABLE
    if (rc) return rc;
    if (!p->strings.count || plan_strings(p)[p->strings.count - 1]) CHECK_FAIL("strings do not end");
    return 0;
}

/* ---- records ---- */

static int check_spec(const struct plan_shm *p, struct error *e)
{
    const struct plan_spec *s = &p->spec;

    if (memchr(s->architecture, 0, sizeof s->architecture) == NULL) CHECK_FAIL("architecture has no end");
    if (!s->vocab || s->vocab > CHECK_WIDTH || !s->hidden || s->hidden > CHECK_WIDTH || !s->context)
        CHECK_FAIL("vocabulary %u, hidden size %u, context %u", s->vocab, s->hidden, s->context);
    if (s->embed_matrix >= p->matrices.count) CHECK_FAIL("no embedding matrix %u", s->embed_matrix);
    if (!check_gathered(&plan_matrices(p)[s->embed_matrix]))
        CHECK_FAIL("rows are gathered from matrix %u, whose units have %u rows of %llu bytes", s->embed_matrix,
                   plan_matrices(p)[s->embed_matrix].unit_rows, ULL(plan_matrices(p)[s->embed_matrix].row_bytes));
    if (s->resident_floats > CHECK_BYTES / 4) CHECK_FAIL("%llu resident floats", ULL(s->resident_floats));
    return 0;
}

static int check_file_range(const struct plan_shm *p, uint32_t file, uint64_t off, uint64_t rows, uint64_t row_bytes,
                            const char *what, uint64_t i, struct error *e)
{
    if (file >= p->files.count) CHECK_FAIL("%s %llu is in file %u of %llu", what, ULL(i), file, ULL(p->files.count));
    if (!check_fits(off, rows, row_bytes, plan_files(p)[file].bytes))
        CHECK_FAIL("%s %llu lies beyond the end of %s", what, ULL(i), plan_string(p, plan_files(p)[file].name));
    return 0;
}

static int check_files(const struct plan_shm *p, struct error *e)
{
    for (uint64_t i = 0; i < p->files.count; i++) {
        const struct plan_file *f = plan_files(p) + i;

        if (f->header_bytes > f->bytes) CHECK_FAIL("file %llu has a header that is longer than itself", ULL(i));
        if (f->name >= p->strings.count || f->bytes > CHECK_BYTES)
            CHECK_FAIL("file %llu: name at %llu, %llu bytes", ULL(i), ULL(f->name), ULL(f->bytes));
    }
    return 0;
}

static int check_scales(const struct plan_shm *p, const struct plan_matrix *m, uint64_t i, struct error *e)
{
    const struct form_info *f = form_info(m->form);
    uint64_t rows, cols;

    if (f->scales != FORM_SCALES_GRID) {
        if (m->scale_file != PLAN_NONE) CHECK_FAIL("matrix %llu of %s has scales", ULL(i), f->name);
        return 0;
    }
    if (m->scale_file == PLAN_NONE) CHECK_FAIL("matrix %llu of %s has no scales", ULL(i), f->name);
    if (!form_scaled_by(m->form, m->scale_form))
        CHECK_FAIL("matrix %llu of %s has scales of form %u (%s)", ULL(i), f->name, m->scale_form,
                   form_name(m->scale_form));
    if (!m->block_rows || !m->block_cols) CHECK_FAIL("matrix %llu has blocks of no size", ULL(i));
    if ((f->grid_rows && m->block_rows != f->grid_rows) || (f->grid_cols && m->block_cols != f->grid_cols))
        CHECK_FAIL("matrix %llu: %s has one scale for %u x %u elements, not for %u x %u", ULL(i), f->name, f->grid_rows,
                   f->grid_cols, m->block_rows, m->block_cols);
    rows = (m->rows + m->block_rows - 1) / m->block_rows;
    cols = (m->cols + m->block_cols - 1) / m->block_cols;
    if (m->scale_row_bytes != form_row_bytes(m->scale_form, cols))
        CHECK_FAIL("matrix %llu: %llu bytes of scales a row, not %llu", ULL(i), ULL(m->scale_row_bytes),
                   ULL(form_row_bytes(m->scale_form, cols)));
    return check_file_range(p, m->scale_file, m->scale_off, rows, m->scale_row_bytes, "scales of matrix", i, e);
}

static int check_own_vector(const struct plan_shm *p, uint32_t vector, uint64_t elements, uint64_t i, struct error *e)
{
    const struct plan_vector *v = plan_vectors(p) + vector;

    if (vector >= p->vectors.count || v->at == PLAN_STREAMED || v->elements != elements)
        CHECK_FAIL("matrix %llu: vector %u is not %llu numbers that stay", ULL(i), vector, ULL(elements));
    return 0;
}

/* Zero points of a matrix whose rows are inputs, and which group each of these belongs to. */
static int check_turned(const struct plan_shm *p, const struct plan_matrix *m, uint64_t i, struct error *e)
{
    uint32_t pack = form_turned_pack(m->form);
    uint64_t groups = plan_scale_rows(m, 0, m->rows).count;
    int rc = 0;

    if (m->flags & ~(MATRIX_ZEROS_LESS | MATRIX_GROUPED)) CHECK_FAIL("matrix %llu: flags %u", ULL(i), m->flags);
    if (plan_matrix_inputs(m) > CHECK_WIDTH) CHECK_FAIL("matrix %llu: %llu inputs", ULL(i), ULL(plan_matrix_inputs(m)));
    if (m->flags & MATRIX_GROUPED && groups > MATRIX_GROUPS)
        CHECK_FAIL("matrix %llu: %llu groups, at most %u are possible", ULL(i), ULL(groups), MATRIX_GROUPS);
    if (m->flags & MATRIX_GROUPED) rc = check_own_vector(p, m->vector[0], plan_matrix_inputs(m), i, e);
    if (rc || !m->zero_rows) return rc;
    if (m->zero_rows != m->block_rows || m->cols % pack || m->zero_row_bytes != m->cols / pack * 4)
        CHECK_FAIL("matrix %llu: zero points of %llu bytes for %u rows", ULL(i), ULL(m->zero_row_bytes), m->zero_rows);
    return check_file_range(p, m->zero_file, m->zero_off, groups, m->zero_row_bytes, "zero points of matrix", i, e);
}

/* Zero points, and numbers that scales are made with. */
static int check_zeros(const struct plan_shm *p, const struct plan_matrix *m, uint64_t i, struct error *e)
{
    bool nested = m->flags & MATRIX_NESTED, grid = form_info(m->form)->scales == FORM_SCALES_GRID;
    uint64_t columns = grid ? (m->cols + m->block_cols - 1) / m->block_cols : 0, rows;
    uint32_t pack = form_zero_pack(m->form);
    int rc = 0;

    if (form_turned_pack(m->form)) return check_turned(p, m, i, e);
    if (m->flags & ~(MATRIX_WHOLE | MATRIX_DIVIDED | MATRIX_NESTED) || (m->flags && !grid) ||
        nested != (grid && m->scale_form == FORM_BYTES) || (nested && m->flags & MATRIX_WHOLE) ||
        (m->flags & MATRIX_DIVIDED && !(m->flags & MATRIX_WHOLE)))
        CHECK_FAIL("matrix %llu: flags %u", ULL(i), m->flags);
    if (m->flags & MATRIX_WHOLE) rc = check_own_vector(p, m->vector[0], 1, i, e);
    if (nested) {
        rows = (m->rows + m->block_rows - 1) / m->block_rows;
        rc = check_own_vector(p, m->vector[0], 256, i, e);
        if (!rc) rc = check_own_vector(p, m->vector[1], (rows * columns + MATRIX_NESTING - 1) / MATRIX_NESTING, i, e);
    }
    if (rc || !m->zero_rows) return rc;
    if (!grid || !pack || m->block_rows != 1 || m->zero_rows != pack ||
        m->zero_row_bytes != columns * (pack > 1 ? 4 : 1))
        CHECK_FAIL("matrix %llu: zero points of %llu bytes for %u rows", ULL(i), ULL(m->zero_row_bytes), m->zero_rows);
    return check_file_range(p, m->zero_file, m->zero_off, (m->rows + pack - 1) / pack, m->zero_row_bytes,
                            "zero points of matrix", i, e);
}

/* The units of a packed matrix follow each other, and none is longer than what it unpacks to and its header. */
static int check_units(const struct plan_shm *p, const struct plan_matrix *m, uint64_t i, struct error *e)
{
    const uint64_t *at, n = plan_matrix_units(m);

    if (m->form != FORM_BF16) CHECK_FAIL("matrix %llu is packed, and stored in %s", ULL(i), form_name(m->form));
    if (!check_fits(m->unit0, n + 1, 1, p->units.count) || !unit_stored_most(m->unit_rows, m->cols))
        CHECK_FAIL("matrix %llu: units from %llu on, of %u rows", ULL(i), ULL(m->unit0), m->unit_rows);
    at = plan_units(p) + m->unit0;
    if (m->file_off != *at)
        CHECK_FAIL("matrix %llu: units from %llu on, of %u rows", ULL(i), ULL(m->unit0), m->unit_rows);
    for (uint64_t k = 0; k < n; k++) {
        uint64_t left = m->rows - k * m->unit_rows, bytes = at[k + 1] - at[k];

        if (at[k + 1] < at[k] || bytes < UNIT_HEADER || bytes % UNIT_ALIGN ||
            bytes > unit_stored_most(left < m->unit_rows ? left : m->unit_rows, m->cols))
            CHECK_FAIL("matrix %llu: unit %llu from %llu to %llu", ULL(i), ULL(k), ULL(at[k]), ULL(at[k + 1]));
    }
    return check_file_range(p, m->file, at[0], 1, at[n] - at[0], "matrix", i, e);
}

static int check_matrices(const struct plan_shm *p, struct error *e)
{
    for (uint64_t i = 0; i < p->matrices.count; i++) {
        const struct plan_matrix *m = plan_matrices(p) + i;
        int rc;

        if (!m->rows || m->rows > UINT32_MAX || !m->cols || m->cols > CHECK_WIDTH)
            CHECK_FAIL("matrix %llu: %llu x %llu", ULL(i), ULL(m->rows), ULL(m->cols));
        if (!form_can_be(m->form, FORM_WEIGHT | FORM_TURNED))
            CHECK_FAIL("matrix %llu is stored in form %u (%s), which no kernel knows", ULL(i), m->form,
                       form_name(m->form));
        if (m->row_bytes != form_row_bytes(m->form, m->cols) || !m->row_bytes)
            CHECK_FAIL("matrix %llu: rows of %llu bytes, %llu columns of %s are %llu", ULL(i), ULL(m->row_bytes),
                       ULL(m->cols), form_name(m->form), ULL(form_row_bytes(m->form, m->cols)));
        if (m->name >= p->strings.count) CHECK_FAIL("matrix %llu has no name", ULL(i));
        rc = m->unit_rows ? check_units(p, m, i, e)
                          : check_file_range(p, m->file, m->file_off, m->rows, m->row_bytes, "matrix", i, e);
        if (!rc) rc = check_scales(p, m, i, e);
        if (!rc) rc = check_zeros(p, m, i, e);
        if (rc) return rc;
    }
    return 0;
}

static int check_vectors(const struct plan_shm *p, struct error *e)
{
    for (uint64_t i = 0; i < p->vectors.count; i++) {
        const struct plan_vector *v = plan_vectors(p) + i;
        int rc;

        if (!v->elements || v->elements > UINT32_MAX)
            CHECK_FAIL("vector %llu: %llu elements", ULL(i), ULL(v->elements));
        if (!form_can_be_vector(v->form))
            CHECK_FAIL("vector %llu is stored in form %u (%s), which is not for vectors", ULL(i), v->form,
                       form_name(v->form));
        if (v->name >= p->strings.count) CHECK_FAIL("vector %llu has no name", ULL(i));
        if (v->at != PLAN_STREAMED && !check_fits(v->at, v->elements, 1, p->spec.resident_floats))
            CHECK_FAIL("vector %llu lies outside of the resident area", ULL(i));
        if (v->file == PLAN_NONE) {
            if (v->form != FORM_F32 || v->at == PLAN_STREAMED ||
                !check_fits(v->file_off, v->elements, 1, p->constants.count))
                CHECK_FAIL("vector %llu lies outside of the constants", ULL(i));
            continue;
        }
        rc = check_file_range(p, v->file, v->file_off, v->elements, form_row_bytes(v->form, 1), "vector", i, e);
        if (rc) return rc;
    }
    return 0;
}

/* One expert's matrices, each with its bias. */
static int check_expert(const struct plan_shm *p, const struct plan_experts *x, uint64_t table, uint32_t expert,
                        struct error *e)
{
    uint32_t each = plan_expert_matrices(x);

    for (uint32_t k = 0; k < each; k++) {
        const struct plan_matrix *m = plan_matrices(p) + x->matrix0 + (uint64_t)expert * each + k;
        bool down = k == each - 1;
        uint64_t in = down ? x->inter : x->hidden;
        uint64_t out = down ? x->hidden : plan_expert_up(x);

        if (plan_matrix_inputs(m) != (x->transposed ? in : out) || m->cols != (x->transposed ? out : in) ||
            (!x->transposed && form_turned_pack(m->form)))
            CHECK_FAIL("experts %llu: matrix %u of expert %u is %llu x %llu", ULL(table), k, expert, ULL(m->rows),
                       ULL(m->cols));
        if (x->biased) {
            const struct plan_vector *v = plan_vectors(p) + x->bias0 + (uint64_t)expert * each + k;

            if (v->elements != out || v->file == PLAN_NONE || v->at != PLAN_STREAMED)
                CHECK_FAIL("experts %llu: bias %u of expert %u has %llu elements, or does not travel with it",
                           ULL(table), k, expert, ULL(v->elements));
        }
    }
    return 0;
}

static int check_experts(const struct plan_shm *p, struct error *e)
{
    for (uint64_t i = 0; i < p->experts.count; i++) {
        const struct plan_experts *x = plan_experts(p) + i;

        if (!x->experts || !x->max_used || x->max_used > x->experts || !x->hidden || x->hidden > CHECK_WIDTH ||
            !x->inter || x->inter > CHECK_WIDTH / 2 || x->fused > EXPERTS_UNGATED || x->interleaved > 1 ||
            x->transposed > 1 || x->biased > 1 || (x->interleaved && x->fused != 1) || x->identity > CHECK_WIDTH)
            CHECK_FAIL("experts %llu: %u of %u, %u x %u", ULL(i), x->max_used, x->experts, x->hidden, x->inter);
        if (!check_fits(x->matrix0, 1, plan_experts_matrices(x), p->matrices.count))
            CHECK_FAIL("experts %llu: no matrices from %u on", ULL(i), x->matrix0);
        if (x->biased && !check_fits(x->bias0, 1, plan_experts_matrices(x), p->vectors.count))
            CHECK_FAIL("experts %llu: no biases from %u on", ULL(i), x->bias0);
        for (uint32_t n = 0; n < x->experts; n++) {
            int rc = check_expert(p, x, i, n, e);

            if (rc) return rc;
        }
    }
    return 0;
}

static int check_small_tables(const struct plan_shm *p, struct error *e)
{
    uint64_t kv = 0, state = 0, width = 0;

    for (uint64_t i = 0; i < p->buffers.count; i++) {
        if (!plan_buffers(p)[i] || plan_buffers(p)[i] > CHECK_WIDTH)
            CHECK_FAIL("buffer %llu of %u columns", ULL(i), plan_buffers(p)[i]);
        width += plan_buffers(p)[i];
    }
    for (uint64_t i = 0; i < p->ropes.count; i++) {
        const struct plan_rope *r = plan_ropes(p) + i;

        if (!r->dim || r->dim % 2 || !check_fits(r->inv_freq, r->dim / 2, 1, p->constants.count))
            CHECK_FAIL("rotary angles %llu lie outside of the constants", ULL(i));
        width += r->dim;
    }
    for (uint64_t i = 0; i < p->caches.count; i++) {
        const struct plan_cache *c = plan_caches(p) + i;

        if (!c->k_width || c->k_width > CHECK_WIDTH || c->v_width > CHECK_WIDTH)
            CHECK_FAIL("cache %llu of %u + %u columns", ULL(i), c->k_width, c->v_width);
        kv += (uint64_t)c->k_width + c->v_width;
    }
    for (uint64_t i = 0; i < p->states.count; i++) {
        uint64_t floats = plan_states(p)[i].floats;

        if (!floats || floats > CHECK_BYTES / 4) CHECK_FAIL("state %llu of %llu floats", ULL(i), ULL(floats));
        state += floats;
        if (state > CHECK_BYTES) CHECK_FAIL("states of more than %llu floats", ULL(state));
    }
    /* of one position, one sequence: sums of them in 64 bits are what everybody reckons with */
    if (kv > CHECK_BYTES / 4 || width > CHECK_BYTES / 4)
        CHECK_FAIL("%llu cached columns and %llu columns of activations", ULL(kv), ULL(width));
    return 0;
}

int program_check(const struct plan_shm *p, uint64_t map_bytes, struct error *e)
{
    int rc = check_header(p, map_bytes, e);

    if (!rc) rc = check_spec(p, e);
    if (!rc) rc = check_files(p, e);
    if (!rc) rc = check_matrices(p, e);
    if (!rc) rc = check_vectors(p, e);
    if (!rc) rc = check_experts(p, e);
    if (!rc) rc = check_small_tables(p, e);
    return rc ? rc : check_ops(p, e);
}
