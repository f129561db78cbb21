#include "proto/plan_check.h"

#include <errno.h>
#include <string.h>

/* Far above any use, low enough that sums and products of a few of them stay inside 64 bits. */
#define MAX_BYTES     (UINT64_C(1) << 50)
#define MAX_SLOT      (UINT64_C(1) << 30)
#define MAX_SLOTS     65536u
#define MAX_POSITIONS (1u << 26)
#define MAX_WIDTH     (1u << 28)

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
#define TABLE(name, type)                                                                                              \
    if (!rc) rc = check_table(p, &p->name, #name, sizeof(type), e)
    TABLE(files, struct plan_file);
    TABLE(matrices, struct plan_matrix);
    TABLE(vectors, struct plan_vector);
    TABLE(buffers, uint32_t);
    TABLE(ops, struct plan_op);
    TABLE(parts, struct plan_part);
    TABLE(tiles, struct plan_tile);
    TABLE(experts, struct plan_experts);
    TABLE(ropes, struct plan_rope);
    TABLE(caches, struct plan_cache);
    TABLE(states, struct plan_state);
    TABLE(constants, float);
    TABLE(strings, char);
#undef TABLE
    if (rc) return rc;
    if (!p->strings.count || plan_strings(p)[p->strings.count - 1]) CHECK_FAIL("strings do not end");
    return 0;
}

static bool power_of_two(uint32_t x)
{
    return x && !(x & (x - 1));
}

static int check_lane(const struct plan_run *r, int lane, struct error *e)
{
    if (!r->reader_slots[lane] || r->reader_slots[lane] > MAX_SLOTS)
        CHECK_FAIL("%u host slots in lane %d", r->reader_slots[lane], lane);
    if ((r->backend == BACKEND_CUDA) != (r->transfer_slots[lane] > 0) || r->transfer_slots[lane] > MAX_SLOTS)
        CHECK_FAIL("%u device slots in lane %d", r->transfer_slots[lane], lane);
    if (!power_of_two(r->entries[lane]) || r->entries[lane] > 4 * MAX_SLOTS)
        CHECK_FAIL("%u ring entries in lane %d", r->entries[lane], lane);
    return 0;
}

static int check_run(const struct plan_run *r, struct error *e)
{
    int rc;

    if (r->backend > BACKEND_CUDA || r->io > PLAN_IO_BUFFERED || r->engine > ENGINE_NULL || r->kv_type > KV_F16)
        CHECK_FAIL("unknown backend %u, io %u, engine %u or cache type %u", r->backend, r->io, r->engine, r->kv_type);
    if (!r->slot_bytes || r->slot_bytes % PLAN_PAGE || r->slot_bytes > MAX_SLOT)
        CHECK_FAIL("slots of %llu bytes", ULL(r->slot_bytes));
    if (r->host_cache_bytes % PLAN_PAGE || r->device_pin_bytes % PLAN_PAGE || r->expert_cache_bytes % PLAN_PAGE ||
        r->host_cache_bytes > MAX_BYTES || r->device_pin_bytes > MAX_BYTES ||
        r->expert_cache_bytes > r->host_cache_bytes)
        CHECK_FAIL("host cache of %llu bytes, %llu for experts; %llu on the device", ULL(r->host_cache_bytes),
                   ULL(r->expert_cache_bytes), ULL(r->device_pin_bytes));
    for (int lane = 0; lane < 2; lane++) {
        rc = check_lane(r, lane, e);
        if (rc) return rc;
    }
    if (r->io_block_bytes < PLAN_PAGE || r->io_block_bytes % PLAN_PAGE || r->io_block_bytes > MAX_SLOT)
        CHECK_FAIL("reads of %llu bytes", ULL(r->io_block_bytes));
    if (r->io_find > IO_FIND_ON_WISH) CHECK_FAIL("reads are to be tried in an unknown way (%u)", r->io_find);
    if (!r->io_depth || r->io_depth > 4096) CHECK_FAIL("%u reads in flight", r->io_depth);
    if (!r->threads || r->threads > 4096 || r->device > 4096)
        CHECK_FAIL("%u threads, device %u", r->threads, r->device);
    if (!r->kv_rows || r->kv_rows > MAX_POSITIONS || !r->max_positions || r->max_positions > MAX_POSITIONS)
        CHECK_FAIL("%u cached positions, %u in a sweep", r->kv_rows, r->max_positions);
    if (!r->max_logits || r->max_logits > r->max_positions)
        CHECK_FAIL("%u logits of %u positions", r->max_logits, r->max_positions);
    if (!r->sequences || r->sequences > MAX_POSITIONS) CHECK_FAIL("%u sequences", r->sequences);
    return 0;
}

static int check_spec(const struct plan_shm *p, struct error *e)
{
    const struct plan_spec *s = &p->spec;
    uint64_t tiles = s->sweep_tiles;

    if (memchr(s->architecture, 0, sizeof s->architecture) == NULL) CHECK_FAIL("architecture has no end");
    if (!s->vocab || s->vocab > MAX_WIDTH || !s->hidden || s->hidden > MAX_WIDTH || !s->context)
        CHECK_FAIL("vocabulary %u, hidden size %u, context %u", s->vocab, s->hidden, s->context);
    if (s->embed_matrix >= p->matrices.count) CHECK_FAIL("no embedding matrix %u", s->embed_matrix);
    if (s->resident_floats > MAX_BYTES / 4) CHECK_FAIL("%llu resident floats", ULL(s->resident_floats));
    if (s->sweep_tiles > UINT32_MAX || tiles + s->resident_tiles + s->expert_tiles != p->tiles.count)
        CHECK_FAIL("%llu + %u + %u tiles, the table has %llu", ULL(s->sweep_tiles), s->resident_tiles, s->expert_tiles,
                   ULL(p->tiles.count));
    if (p->tiles.count >= PLAN_NONE) CHECK_FAIL("%llu tiles are too many to number", ULL(p->tiles.count));
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
        if (f->name >= p->strings.count || f->bytes > MAX_BYTES)
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

static int check_matrices(const struct plan_shm *p, struct error *e)
{
    for (uint64_t i = 0; i < p->matrices.count; i++) {
        const struct plan_matrix *m = plan_matrices(p) + i;
        int rc;

        if (!m->rows || m->rows > UINT32_MAX || !m->cols || m->cols > MAX_WIDTH)
            CHECK_FAIL("matrix %llu: %llu x %llu", ULL(i), ULL(m->rows), ULL(m->cols));
        if (!form_can_be(m->form, FORM_WEIGHT))
            CHECK_FAIL("matrix %llu is stored in form %u (%s), which no kernel knows", ULL(i), m->form, form_name(m->form));
        if (m->row_bytes != form_row_bytes(m->form, m->cols) || !m->row_bytes)
            CHECK_FAIL("matrix %llu: rows of %llu bytes, %llu columns of %s are %llu", ULL(i), ULL(m->row_bytes),
                       ULL(m->cols), form_name(m->form), ULL(form_row_bytes(m->form, m->cols)));
        if (m->name >= p->strings.count) CHECK_FAIL("matrix %llu has no name", ULL(i));
        rc = check_file_range(p, m->file, m->file_off, m->rows, m->row_bytes, "matrix", i, e);
        if (!rc) rc = check_scales(p, m, i, e);
        if (rc) return rc;
    }
    return 0;
}

static int check_vectors(const struct plan_shm *p, struct error *e)
{
    for (uint64_t i = 0; i < p->vectors.count; i++) {
        const struct plan_vector *v = plan_vectors(p) + i;
        int rc;

        if (!v->elements || v->elements > UINT32_MAX) CHECK_FAIL("vector %llu: %llu elements", ULL(i), ULL(v->elements));
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

/* One expert's three (or two, fused) matrices, each with its bias. */
static int check_expert(const struct plan_shm *p, const struct plan_experts *x, uint64_t table, uint32_t expert,
                        struct error *e)
{
    uint32_t each = x->fused ? 2 : 3;

    for (uint32_t k = 0; k < each; k++) {
        const struct plan_matrix *m = plan_matrices(p) + x->matrix0 + (uint64_t)expert * each + k;
        bool down = k == each - 1;
        uint64_t in = down ? x->inter : x->hidden;
        uint64_t out = down ? x->hidden : x->inter * (x->fused ? UINT64_C(2) : 1);

        if (m->rows != (x->transposed ? in : out) || m->cols != (x->transposed ? out : in))
            CHECK_FAIL("experts %llu: matrix %u of expert %u is %llu x %llu", ULL(table), k, expert, ULL(m->rows),
                       ULL(m->cols));
        if (x->biased) {
            const struct plan_vector *v = plan_vectors(p) + x->bias0 + (uint64_t)expert * each + k;

            if (v->elements != out || v->file == PLAN_NONE)
                CHECK_FAIL("experts %llu: bias %u of expert %u has %llu elements", ULL(table), k, expert,
                           ULL(v->elements));
        }
    }
    return 0;
}

static int check_experts(const struct plan_shm *p, struct error *e)
{
    uint64_t first = p->spec.sweep_tiles + p->spec.resident_tiles;

    for (uint64_t i = 0; i < p->experts.count; i++) {
        const struct plan_experts *x = plan_experts(p) + i;
        uint64_t each = x->fused ? 2 : 3;

        if (!x->experts || !x->max_used || x->max_used > x->experts || !x->hidden || x->hidden > MAX_WIDTH ||
            !x->inter || x->inter > MAX_WIDTH / 2 || x->fused > 1 || x->interleaved > 1 || x->transposed > 1 ||
            x->biased > 1)
            CHECK_FAIL("experts %llu: %u of %u, %u x %u", ULL(i), x->max_used, x->experts, x->hidden, x->inter);
        if (!x->tiles_each || x->tile0 < first || !check_fits(x->tile0, x->experts, x->tiles_each, p->tiles.count))
            CHECK_FAIL("experts %llu: tiles %u + %u x %u", ULL(i), x->tile0, x->experts, x->tiles_each);
        if (!check_fits(x->matrix0, x->experts, each, p->matrices.count))
            CHECK_FAIL("experts %llu: no matrices from %u on", ULL(i), x->matrix0);
        if (x->biased && !check_fits(x->bias0, x->experts, each, p->vectors.count))
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
        if (!plan_buffers(p)[i] || plan_buffers(p)[i] > MAX_WIDTH)
            CHECK_FAIL("buffer %llu of %u columns", ULL(i), plan_buffers(p)[i]);
        width += plan_buffers(p)[i];
    }
    for (uint64_t i = 0; i < p->ropes.count; i++) {
        const struct plan_rope *r = plan_ropes(p) + i;

        if (!r->dim || r->dim % 2 || !check_fits(r->inv_freq, r->dim / 2, 1, p->constants.count))
            CHECK_FAIL("rotary angles %llu lie outside of the constants", ULL(i));
    }
    for (uint64_t i = 0; i < p->caches.count; i++) {
        const struct plan_cache *c = plan_caches(p) + i;

        if (!c->k_width || c->k_width > MAX_WIDTH || c->v_width > MAX_WIDTH)
            CHECK_FAIL("cache %llu of %u + %u columns", ULL(i), c->k_width, c->v_width);
        kv += (uint64_t)c->k_width + c->v_width;
    }
    for (uint64_t i = 0; i < p->states.count; i++) {
        uint64_t floats = plan_states(p)[i].floats;

        if (!floats || floats > MAX_BYTES / 4) CHECK_FAIL("state %llu of %llu floats", ULL(i), ULL(floats));
        state += floats;
        if (state > MAX_BYTES) CHECK_FAIL("states of more than %llu floats", ULL(state));
    }
    /* what the stages allocate from this must not overflow */
    if (!check_fits(0, kv, 4ull * p->run.kv_rows, MAX_BYTES) || !check_fits(0, state, 4ull * p->run.sequences, MAX_BYTES) ||
        !check_fits(0, width, 4ull * p->run.max_positions, MAX_BYTES))
        CHECK_FAIL("%u cached positions, %u in a sweep and %u sequences need more memory than there is",
                   p->run.kv_rows, p->run.max_positions, p->run.sequences);
    return 0;
}

int check_tables(const struct plan_shm *p, uint64_t map_bytes, struct error *e)
{
    int rc = check_header(p, map_bytes, e);

    if (!rc) rc = check_run(&p->run, e);
    if (!rc) rc = check_spec(p, e);
    if (!rc) rc = check_files(p, e);
    if (!rc) rc = check_matrices(p, e);
    if (!rc) rc = check_vectors(p, e);
    if (!rc) rc = check_experts(p, e);
    if (!rc) rc = check_small_tables(p, e);
    return rc;
}

int plan_check(const struct plan_shm *p, uint64_t map_bytes, struct error *e)
{
    int rc = check_tables(p, map_bytes, e);

    if (!rc) rc = check_ops(p, e);
    if (!rc) rc = check_tiles(p, e);
    return rc;
}
