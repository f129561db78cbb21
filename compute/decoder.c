#include "compute/decoder.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "compute/check.h"
#include "compute/experts.h"
#include "compute/heads.h"
#include "compute/hops.h"
#include "compute/rotary.h"
#include "proto/base/clock.h"
#include "proto/rows.h"
#include "proto/unit/unit.h"

#define DEVICE_PAGE (UINT64_C(2) << 20)

/* ---- opening ---- */

/* Offsets of a table's pieces, or NULL. */
static uint64_t *offsets(const struct plan_table *t)
{
    return calloc(t->count + 1, sizeof(uint64_t));
}

static int cut_activations(struct decoder *d, uint64_t *buffers, uint64_t *ropes, struct error *e)
{
    const struct plan_shm *p = d->plan;

    if (!buffers || !ropes) return error_set(e, ENOMEM, "no memory for activations");
    d->activation_bytes = footprint_activations(p, &p->run, buffers, ropes);
    d->activations = ops_alloc(d->ops, d->activation_bytes, e);
    if (!d->activations) return error_prefix(e, "activations of %u positions", p->run.max_positions);
    for (uint64_t b = 0; b < p->buffers.count; b++) {
        d->buffers[b] = (float *)(void *)(d->activations + buffers[b]);
        d->buffer_rows[b] = footprint_buffer_rows(p, &p->run, b);
    }
    for (uint64_t i = 0; i < p->ropes.count; i++) d->rope[i] = (float *)(void *)(d->activations + ropes[i]);
    return 0;
}

static int alloc_activations(struct decoder *d, struct error *e)
{
    const struct plan_shm *p = d->plan;
    uint64_t *buffers = offsets(&p->buffers), *ropes = offsets(&p->ropes);
    int rc = 0;

    d->buffers = calloc(p->buffers.count + 1, sizeof *d->buffers);
    d->buffer_rows = calloc(p->buffers.count + 1, sizeof *d->buffer_rows);
    d->rope = calloc(p->ropes.count + 1, sizeof *d->rope);
    d->rope_host = calloc(footprint_angles(p, &p->run) + 1, sizeof *d->rope_host);
    if (!d->buffers || !d->buffer_rows || !d->rope || !d->rope_host)
        rc = error_set(e, ENOMEM, "no memory for activations");
    if (!rc) rc = cut_activations(d, buffers, ropes, e);
    free(buffers);
    free(ropes);
    return rc;
}

static int cut_memory(struct decoder *d, uint64_t *k, uint64_t *v, uint64_t *states, struct error *e)
{
    const struct plan_shm *p = d->plan;

    if (!k || !v || !states) return error_set(e, ENOMEM, "no memory for caches");
    d->memory_bytes = footprint_memory(p, &p->run, k, v, states);
    d->memory = ops_alloc(d->ops, d->memory_bytes, e);
    if (!d->memory)
        return error_prefix(e, "KV cache of %u positions, states of %u sequences (lower --context)", p->run.kv_rows,
                            p->run.sequences);
    for (uint64_t i = 0; i < p->caches.count; i++) {
        d->k_cache[i] = d->memory + k[i];
        if (plan_caches(p)[i].v_width) d->v_cache[i] = d->memory + v[i];
    }
    for (uint64_t i = 0; i < p->states.count; i++) d->states[i] = (float *)(void *)(d->memory + states[i]);
    if (p->run.backend == BACKEND_CPU) stage_lock(d->stage, "the KV cache", d->memory, d->memory_bytes);
    return 0;
}

static int alloc_memory(struct decoder *d, struct error *e)
{
    const struct plan_shm *p = d->plan;
    uint64_t *k = offsets(&p->caches), *v = offsets(&p->caches), *states = offsets(&p->states);
    int rc = 0;

    d->k_cache = calloc(p->caches.count + 1, sizeof *d->k_cache);
    d->v_cache = calloc(p->caches.count + 1, sizeof *d->v_cache);
    d->states = calloc(p->states.count + 1, sizeof *d->states);
    if (!d->k_cache || !d->v_cache || !d->states) rc = error_set(e, ENOMEM, "no memory for caches");
    if (!rc) rc = cut_memory(d, k, v, states, e);
    free(k);
    free(v);
    free(states);
    return rc;
}

static int alloc_resident(struct decoder *d, struct error *e)
{
    d->resident_bytes = d->plan->spec.resident_floats * sizeof *d->resident;
    d->resident = ops_alloc(d->ops, d->resident_bytes, e);
    return d->resident ? 0 : error_prefix(e, "resident tensors");
}

int decoder_open(struct decoder *d, struct stage *s, struct ops *ops, struct error *e)
{
    int rc;

    *d = (struct decoder){.stage = s, .plan = s->plan, .ops = ops};
    if ((rc = positions_open(&d->positions, d->plan, ops, e))) return rc;
    if ((rc = alloc_activations(d, e)) || (rc = alloc_memory(d, e)) || (rc = alloc_resident(d, e))) return rc;
    if ((rc = experts_open(&d->experts, d, e))) return rc;
    if (d->plan->run.backend == BACKEND_CUDA) {
        /* The driver cuts small allocations out of common pages, and exports a page with all that lies in it. */
        d->device_bytes = (plan_device_bytes(&d->plan->run) + DEVICE_PAGE - 1) / DEVICE_PAGE * DEVICE_PAGE;
        d->device = ops_alloc(ops, d->device_bytes, e);
        if (!d->device) return error_prefix(e, "device slots and pinned tiles");
    }
    tiles_open(&d->sweep_tiles, s, ops, LANE_SWEEP, d->device);
    tiles_open(&d->request_tiles, s, ops, LANE_REQUEST, d->device);
    tiles_open(&d->row_tiles, s, ops, LANE_ROWS, d->device);
    return 0;
}

void decoder_close(struct decoder *d)
{
    if (!d->plan) return;
    experts_close(d->experts, d);
    positions_close(&d->positions);
    ops_free(d->ops, d->activations, d->activation_bytes);
    ops_free(d->ops, d->memory, d->memory_bytes);
    ops_free(d->ops, d->resident, d->resident_bytes);
    ops_free(d->ops, d->device, d->device_bytes);
    free(d->buffers);
    free(d->buffer_rows);
    free(d->k_cache);
    free(d->v_cache);
    free(d->states);
    free(d->rope);
    free(d->rope_host);
    *d = (struct decoder){0};
}

int decoder_load(struct decoder *d, struct error *e)
{
    const struct plan_shm *p = d->plan;
    struct tile_part part;
    int rc;

    for (uint64_t i = 0; i < p->vectors.count; i++) {
        const struct plan_vector *v = &plan_vectors(p)[i];

        if (v->file == PLAN_NONE)
            ops_upload(d->ops, d->resident + v->at, plan_constants(p) + v->file_off, v->elements * 4);
    }
    tiles_range(&d->request_tiles, 0, p->spec.sweep_tiles, p->spec.resident_tiles);
    while (!(rc = tiles_next(&d->request_tiles, &part, e))) {
        const struct plan_vector *v = &plan_vectors(p)[part.part->index];

        ops_dequantize(d->ops, d->resident + v->at, part.data, v->form, v->elements);
    }
    if (rc != -ENODATA) return rc;
    return ops_sync(d->ops, e);
}

/* ---- weights ---- */

int decoder_unit(const struct decoder *d, const struct weight_part *w, uint64_t i, struct unit *u, void **copy,
                 struct error *e)
{
    const uint64_t *at = w->weight.unit + i, bytes = at[1] - at[0];
    const uint8_t *data = (const uint8_t *)w->weight.data + (at[0] - w->weight.unit[0]);

    *copy = NULL;
    if (d->plan->run.backend != BACKEND_CUDA) return unit_open(u, data, bytes, e);
    if (!(*copy = malloc(bytes))) return error_set(e, ENOMEM, "no memory to look at packed weights");
    ops_download(d->ops, *copy, data, bytes);
    return unit_open(u, *copy, bytes, e);
}

/* Packed weights: in the first sweep, and in one that checks, their bytes are those that were packed. What is read later
 * is as good as weights that are not packed: nobody looks. On a device only a sweep that checks looks, for all would cross the
 * link twice. */
static int open_units(const struct decoder *d, struct weight_part *w, struct error *e)
{
    const struct plan_matrix *m = w->weight.matrix;
    bool first = !d->sweep && d->plan->run.backend != BACKEND_CUDA;
    uint64_t units = (w->part->rows + (uint64_t)m->unit_rows - 1) / m->unit_rows;

    w->weight.unit = plan_units(d->plan) + m->unit0 + w->part->row0 / m->unit_rows;
    for (uint64_t i = 0; i < units && (first || d->checking); i++) {
        struct unit u;
        void *copy;
        int rc = decoder_unit(d, w, i, &u, &copy, e);

        if (!rc) rc = unit_check(&u, e);
        free(copy);
        if (rc)
            return error_prefix(e, "%s: tensor %s: offset %llu",
                                plan_string(d->plan, plan_files(d->plan)[m->file].name), plan_string(d->plan, m->name),
                                (unsigned long long)w->weight.unit[i]);
    }
    return 0;
}

int decoder_weight(struct decoder *d, struct tiles *t, struct weight_part *out, struct error *e)
{
    struct tile_part part;
    const struct plan_matrix *m;
    const void *scale = NULL, *zero = NULL;
    uint64_t scale_row0 = 0, zero_row0 = 0;
    int rc;

    out->bias_part = NULL;
    while (!(rc = tiles_next(t, &part, e))) {
        if (part.part->role == PART_SCALE) {
            scale = part.data;
            scale_row0 = part.part->row0;
        } else if (part.part->role == PART_ZERO) {
            zero = part.data;
            zero_row0 = part.part->row0;
        } else if (part.part->role == PART_WEIGHT) {
            m = &plan_matrices(d->plan)[part.part->index];
            out->part = part.part;
            out->weight = (struct ops_weight){.matrix = m,
                                              .data = part.data,
                                              .scale = scale,
                                              .row0 = part.part->row0,
                                              .rows = part.part->rows,
                                              .scale_row0 = scale_row0,
                                              .zero = zero,
                                              .zero_row0 = zero_row0};
            if (m->flags & (MATRIX_WHOLE | MATRIX_NESTED | MATRIX_GROUPED))
                out->weight.vector[0] = decoder_vector(d, m->vector[0]);
            if (m->flags & MATRIX_NESTED) out->weight.vector[1] = decoder_vector(d, m->vector[1]);
            if (part.part->form == FORM_B223 && (rc = open_units(d, out, e))) return rc;
            return d->checking ? check_weight(d, out, e) : 0;
        } else {
            out->bias_part = part.part;
            out->bias_data = part.data;
        }
    }
    return rc;
}

static int expect(const struct weight_part *w, uint32_t matrix, uint64_t row0, struct error *e)
{
    if (w->part->index != matrix || w->part->row0 != row0)
        return error_set(e, EPROTO, "expected rows from %llu of matrix %u, got rows from %llu of matrix %u",
                         (unsigned long long)row0, matrix, (unsigned long long)w->part->row0, w->part->index);
    return 0;
}

/* Products whose weights lie at equal distances in memory that stays as it is meanwhile are computed together: heads of one
 * tile, or rows of one matrix in tiles that are kept. */
struct together {
    struct ops_heads h; /* heads 0: nothing waits */
    struct weight_part first, last;
    float *dst;
    const float *src;
    uint32_t ldd, lds;
    bool transposed;
};

static void finish_together(struct decoder *d, struct together *r)
{
    if (!r->h.heads) return;
    if (r->transposed)
        ops_matmul_t_heads(d->ops, r->dst, r->ldd, r->src, r->lds, &r->first.weight, &r->h, d->rows);
    else
        ops_matmul_heads(d->ops, r->dst, r->ldd, r->src, r->lds, &r->first.weight, &r->h, d->rows);
    r->h.heads = 0;
}

/* What lies between two of them; y and x: how far what they write and read are apart. */
static struct ops_heads between(const struct ops_weight *a, const struct ops_weight *b, uint64_t y, uint64_t x)
{
    return (struct ops_heads){.y = y,
                              .x = x,
                              .data = (uint64_t)((const uint8_t *)b->data - (const uint8_t *)a->data),
                              .scale = a->scale ? (uint64_t)((const uint8_t *)b->scale - (const uint8_t *)a->scale) : 0,
                              .row = b->row0 - a->row0,
                              .scale_row = b->scale_row0 - a->scale_row0};
}

static bool joins(const struct together *r, const struct weight_part *w, uint64_t y, uint64_t x)
{
    const struct ops_weight *last = &r->last.weight;
    struct ops_heads next;

    if (!r->h.heads || w->weight.unit || w->weight.zero || !w->weight.scale != !last->scale ||
        w->weight.rows != last->rows || (uintptr_t)w->weight.data < (uintptr_t)last->data)
        return false;
    next = between(last, &w->weight, y, x);
    return r->h.heads == 1 || (next.data == r->h.data && next.scale == r->h.scale && next.row == r->h.row &&
                               next.scale_row == r->h.scale_row);
}

/* One more: the last one is next to those before it, or they go first. dst and src are of this one. */
static void add_together(struct decoder *d, struct together *r, const struct weight_part *w, float *dst,
                         const float *src, uint64_t y, uint64_t x)
{
    uint32_t heads = r->h.heads;

    if (!joins(r, w, y, x)) {
        finish_together(d, r);
        r->h = between(&w->weight, &w->weight, y, x);
        r->first = *w;
        r->dst = dst;
        r->src = src;
        heads = 0;
    } else if (heads == 1) {
        r->h = between(&r->last.weight, &w->weight, y, x);
    }
    r->last = *w;
    r->h.heads = heads + 1;
}

/* Does the tile that is open, and the next one, lie where compute may read it as long as it likes? */
static bool kept_here(const struct decoder *d)
{
    return d->device && d->sweep_tiles.open && !d->sweep_tiles.held;
}
static bool kept_next(const struct decoder *d)
{
    const struct tiles *t = &d->sweep_tiles;

    return t->part < t->part_end ||
           (t->tile < t->last && t->sweep > 0 && plan_tiles(d->plan)[t->tile].flags & TILE_STAYS);
}

static int run_matmul(struct decoder *d, const struct op_matmul *p, struct error *e)
{
    const struct plan_matrix *m = &plan_matrices(d->plan)[p->matrix];
    const float *bias = decoder_vector(d, p->bias), *src = decoder_at(d, p->src);
    bool turned = p->flags & MATMUL_TRANSPOSED;
    struct together run = {.ldd = decoder_ld(d, p->dst), .lds = decoder_ld(d, p->src)};
    struct weight_part w;
    int rc;

    for (uint64_t row = 0; row < m->rows; row += w.part->rows) {
        float *dst = decoder_at(d, p->dst) + row;

        if ((rc = decoder_weight(d, &d->sweep_tiles, &w, e)) || (rc = expect(&w, p->matrix, row, e))) return rc;
        if (!d->rows) continue;
        if (!p->flags && !bias && kept_here(d)) {
            add_together(d, &run, &w, dst, src, w.part->rows, 0);
            if (!kept_next(d)) finish_together(d, &run);
            continue;
        }
        finish_together(d, &run);
        if (turned)
            ops_matmul_t(d->ops, decoder_at(d, p->dst), run.ldd, src + row * form_deep(m->form), run.lds, &w.weight,
                         bias, row == 0, d->rows);
        else
            ops_matmul(d->ops, dst, run.ldd, src, run.lds, &w.weight, bias ? bias + row : NULL, p->flags, d->rows);
    }
    finish_together(d, &run);
    return 0;
}

static int run_headmm(struct decoder *d, const struct op_headmm *p, struct error *e)
{
    struct together run = {.ldd = decoder_ld(d, p->dst), .lds = decoder_ld(d, p->src), .transposed = p->transposed};
    struct weight_part w;
    int rc;

    for (uint32_t h = 0; h < p->heads; h++) {
        uint64_t first = (uint64_t)h * p->row_stride + p->row_off;
        const float *src = decoder_at(d, p->src) + (uint64_t)h * p->src_stride;
        float *dst = decoder_at(d, p->dst) + (uint64_t)h * p->dst_stride;

        for (uint64_t r = 0; r < p->rows; r += w.part->rows) {
            if ((rc = decoder_weight(d, &d->sweep_tiles, &w, e)) || (rc = expect(&w, p->matrix, first + r, e)))
                return rc;
            if (!d->rows) continue;
            if (w.part->rows == p->rows) {
                add_together(d, &run, &w, dst, src, p->dst_stride, p->src_stride);
                /* the next part closes the tile, and its slot may be filled again */
                if (d->sweep_tiles.part == d->sweep_tiles.part_end) finish_together(d, &run);
                continue;
            }
            finish_together(d, &run);
            if (p->transposed)
                ops_matmul_t(d->ops, dst, run.ldd, src + r, run.lds, &w.weight, NULL, r == 0, d->rows);
            else
                ops_matmul(d->ops, dst + r, run.ldd, src, run.lds, &w.weight, NULL, 0, d->rows);
        }
    }
    finish_together(d, &run);
    return 0;
}

/* ---- the embedding ---- */

/* The rows of the embedding that belong to a sweep: they come next, and each position's is the row of its token. */
static int check_rows(struct decoder *d, const struct control_sweep *o, struct error *e)
{
    uint32_t row;

    if (o->first_row != d->next_row)
        return error_set(e, EPROTO, "the sweep's rows of the embedding begin with number %llu, the next one is %llu",
                         (unsigned long long)o->first_row, (unsigned long long)d->next_row);
    for (uint32_t i = 0; i < o->count; i++) {
        const struct sweep_position *s = &o->position[i];

        if (s->gather >= o->rows || !rows_at(d->stage->run, o->first_row + s->gather, &row) || row != s->token)
            return error_set(e, EPROTO, "position %u: row %u of %u is not that of token %u", s->position, s->gather,
                             o->rows, s->token);
    }
    d->first_row = o->first_row;
    d->end_row = o->first_row + o->rows;
    return 0;
}

static int run_embed(struct decoder *d, const struct op_embed *p, struct error *e)
{
    struct ops_gather g = {.index = d->positions.d_gather, .stride = plan_row_stride(d->plan)};
    struct tiles_rows r;
    int rc;

    while (d->next_row < d->end_row) {
        if ((rc = tiles_gather(&d->row_tiles, &r, e))) return rc;
        if (r.first != d->next_row || r.count > d->end_row - r.first)
            return error_set(e, EPROTO, "%u rows of the embedding from number %llu on, expected are %llu from %llu on",
                             r.count, (unsigned long long)r.first, (unsigned long long)(d->end_row - d->next_row),
                             (unsigned long long)d->next_row);
        g.form = plan_matrices(d->plan)[p->matrix].form;
        g.rows = r.data;
        g.first = (uint32_t)(r.first - d->first_row);
        g.count = r.count;
        ops_embed(d->ops, decoder_at(d, p->dst), decoder_ld(d, p->dst), &g, d->positions.n, p->width, p->scale);
        if (p->flags & EMBED_BESIDE) {
            g.form = plan_matrices(d->plan)[p->beside].form;
            g.rows = (const uint8_t *)r.data + plan_beside_offset(d->plan);
            ops_embed(d->ops, decoder_at(d, p->beside_dst), decoder_ld(d, p->beside_dst), &g, d->positions.n,
                      p->beside_width, p->beside_scale);
        }
        tiles_done(&d->row_tiles);
        d->next_row += r.count;
    }
    return 0;
}

static int idle(void *decoder)
{
    return experts_pump(decoder);
}

/* ---- the other operations ---- */

static void run_attention(struct decoder *d, const struct op_attention *p)
{
    const struct plan_cache *c = &plan_caches(d->plan)[p->cache];
    struct ops_rows rows = positions_rows(&d->positions);
    uint32_t kv = d->plan->run.kv_form;
    void *k = d->k_cache[p->cache], *v = d->v_cache[p->cache];

    if (p->chosen_top) {
        rows.chosen = (const uint32_t *)(const void *)decoder_at(d, p->chosen);
        rows.ld_chosen = decoder_ld(d, p->chosen);
    }
    if (!(p->flags & ATTN_REUSES))
        ops_kv_store(d->ops, kv, k, c->k_width, decoder_at(d, p->k), decoder_ld(d, p->k), &rows);
    if (!(p->flags & ATTN_REUSES) && c->v_width)
        ops_kv_store(d->ops, kv, v, c->v_width, decoder_at(d, p->v), decoder_ld(d, p->v), &rows);
    ops_attention(d->ops, p, decoder_at(d, p->dst), decoder_ld(d, p->dst), decoder_at(d, p->q), decoder_ld(d, p->q), k,
                  v ? v : k, kv, decoder_vector(d, p->sinks), decoder_vector(d, p->alibi), &rows);
}

static void run_index(struct decoder *d, const struct op_index *p)
{
    struct ops_rows rows = positions_rows(&d->positions);
    bool weighted = p->w.buf != PLAN_NOBUF;
    uint32_t kv = d->plan->run.kv_form;
    void *k = d->k_cache[p->cache];

    ops_kv_store(d->ops, kv, k, p->dim, decoder_at(d, p->k), decoder_ld(d, p->k), &rows);
    ops_index(d->ops, p, (uint32_t *)(void *)decoder_at(d, p->dst), decoder_ld(d, p->dst), decoder_at(d, p->q),
              decoder_ld(d, p->q), weighted ? decoder_at(d, p->w) : NULL, weighted ? decoder_ld(d, p->w) : 0, k, kv,
              &rows);
}

static void run_conv(struct decoder *d, const struct op_conv *p)
{
    struct ops_chain c = {d->positions.from, d->positions.to, d->positions.n};

    ops_conv(d->ops, p, decoder_at(d, p->dst), decoder_ld(d, p->dst), decoder_at(d, p->src), decoder_ld(d, p->src),
             decoder_vector(d, p->weight), decoder_vector(d, p->bias), d->states[p->state],
             plan_states(d->plan)[p->state].floats, &c);
}

static void run_delta(struct decoder *d, const struct op_delta *p)
{
    struct ops_chain c = {d->positions.from, d->positions.to, d->positions.n};
    struct ops_delta_args x = {.q = decoder_at(d, p->q),
                               .k = decoder_at(d, p->k),
                               .v = decoder_at(d, p->v),
                               .a = decoder_at(d, p->a),
                               .b = decoder_at(d, p->b),
                               .ldq = decoder_ld(d, p->q),
                               .ldk = decoder_ld(d, p->k),
                               .ldv = decoder_ld(d, p->v),
                               .lda = decoder_ld(d, p->a),
                               .ldb = decoder_ld(d, p->b),
                               .a_log = decoder_vector(d, p->a_log),
                               .dt_bias = decoder_vector(d, p->dt_bias)};

    ops_delta(d->ops, p, decoder_at(d, p->dst), decoder_ld(d, p->dst), &x, d->states[p->state],
              plan_states(d->plan)[p->state].floats, &c);
}

static void run_scan(struct decoder *d, const struct op_scan *p)
{
    struct ops_chain c = {d->positions.from, d->positions.to, d->positions.n};
    struct ops_scan_args x = {.x = decoder_at(d, p->x),
                              .dt = decoder_at(d, p->dt),
                              .b = decoder_at(d, p->b),
                              .c = decoder_at(d, p->c),
                              .ldx = decoder_ld(d, p->x),
                              .lddt = decoder_ld(d, p->dt),
                              .ldb = decoder_ld(d, p->b),
                              .ldc = decoder_ld(d, p->c),
                              .a_log = decoder_vector(d, p->a_log),
                              .dt_bias = decoder_vector(d, p->dt_bias),
                              .skip = decoder_vector(d, p->skip)};

    ops_scan(d->ops, p, decoder_at(d, p->dst), decoder_ld(d, p->dst), &x, d->states[p->state],
             plan_states(d->plan)[p->state].floats, &c);
}

static void run_pool(struct decoder *d, const struct op_pool *p)
{
    struct ops_chain c = {d->positions.from, d->positions.to, d->positions.n};
    struct ops_pool_args x = {.x = decoder_at(d, p->x),
                              .gate = decoder_at(d, p->gate),
                              .ldx = decoder_ld(d, p->x),
                              .ldg = decoder_ld(d, p->gate),
                              .bias = decoder_vector(d, p->bias),
                              .positions = d->positions.d_position};

    ops_pool(d->ops, p, decoder_at(d, p->dst), decoder_ld(d, p->dst), &x, d->states[p->state],
             plan_states(d->plan)[p->state].floats, &c);
}

static void run_mix(struct decoder *d, const struct op_mix *p)
{
    ops_mix(d->ops, p, decoder_at(d, p->dst), decoder_ld(d, p->dst), decoder_at(d, p->src), decoder_ld(d, p->src),
            decoder_at(d, p->weight), decoder_ld(d, p->weight), d->rows);
}

static int run_position(struct decoder *d, const struct op_position *p, struct error *e)
{
    if ((uint64_t)d->positions.max_position + p->offset >= p->rows)
        return error_set(e, EPROTO, "position %u has no row in a table of %u", d->positions.max_position, p->rows);
    ops_position(d->ops, p, decoder_at(d, p->x), decoder_ld(d, p->x), decoder_vector(d, p->table),
                 d->positions.d_position, d->rows);
    return 0;
}

static void run_xielu(struct decoder *d, const struct op_xielu *p)
{
    struct ops_xielu_args x = {decoder_vector(d, p->alpha_p), decoder_vector(d, p->alpha_n), decoder_vector(d, p->beta),
                               decoder_vector(d, p->eps)};

    ops_xielu(d->ops, p, decoder_at(d, p->dst), decoder_ld(d, p->dst), decoder_at(d, p->src), decoder_ld(d, p->src), &x,
              d->rows);
}

static void run_act(struct decoder *d, const struct op_act *p)
{
    bool has_up = p->up.buf != PLAN_NOBUF;

    ops_act(d->ops, p, decoder_at(d, p->dst), decoder_ld(d, p->dst), decoder_at(d, p->gate), decoder_ld(d, p->gate),
            has_up ? decoder_at(d, p->up) : NULL, has_up ? decoder_ld(d, p->up) : 0, d->rows);
}

static void run_scale(struct decoder *d, const struct op_scale *p)
{
    struct ops_factors f = {.positions = d->positions.d_position};

    if (p->flags & SCALE_BY_VECTOR) {
        f.vector = decoder_vector(d, p->vector);
        f.vector_floats = (uint32_t)plan_vectors(d->plan)[p->vector].elements;
    }
    ops_scale(d->ops, p, decoder_at(d, p->x), decoder_ld(d, p->x), &f, d->rows);
}

static void run_select(struct decoder *d, const struct op_select *p)
{
    d->rows = d->positions.logits;
    if (d->rows)
        ops_gather_rows(d->ops, decoder_at(d, p->dst), decoder_ld(d, p->dst), decoder_at(d, p->src),
                        decoder_ld(d, p->src), d->positions.d_select, p->width, d->rows);
}

static void run_logits(struct decoder *d, const struct op_logits *p)
{
    uint32_t vocab = d->plan->spec.vocab, ld = decoder_ld(d, p->src);

    for (uint32_t i = 0; i < d->rows; i++)
        ops_download(d->ops, d->stage->logits + (uint64_t)i * vocab, decoder_at(d, p->src) + (uint64_t)i * ld,
                     p->width * 4ull);
}

static int run_op(struct decoder *d, const struct plan_op *op, struct error *e)
{
    uint32_t n = d->rows;

    switch (op->kind) {
    case OP_MATMUL: return run_matmul(d, &op->matmul, e);
    case OP_HEADMM: return run_headmm(d, &op->headmm, e);
    case OP_EMBED: return run_embed(d, &op->embed, e);
    case OP_SELECT: run_select(d, &op->select); return 0;
    case OP_SEND: return hops_send(d, op, e);
    case OP_RECEIVE: return hops_receive(d, op, e);
    default: break;
    }
    if (!n) return 0; /* nobody wants logits: what follows only lets its tiles pass */
    switch (op->kind) {
    case OP_NORM:
        ops_norm(d->ops, &op->norm, decoder_at(d, op->norm.dst), decoder_ld(d, op->norm.dst),
                 decoder_at(d, op->norm.src), decoder_ld(d, op->norm.src), decoder_vector(d, op->norm.weight),
                 decoder_vector(d, op->norm.bias), n);
        return 0;
    case OP_ROPE:
        ops_rope(d->ops, &op->rope, decoder_at(d, op->rope.x), decoder_ld(d, op->rope.x), d->rope[op->rope.rope],
                 plan_ropes(d->plan)[op->rope.rope].dim, n);
        return 0;
    case OP_COPY:
        ops_copy(d->ops, decoder_at(d, op->copy.dst), decoder_ld(d, op->copy.dst), decoder_at(d, op->copy.src),
                 decoder_ld(d, op->copy.src), op->copy.blocks, op->copy.width, op->copy.dst_stride, op->copy.src_stride,
                 n);
        return 0;
    case OP_ADD:
        ops_add(d->ops, decoder_at(d, op->add.dst), decoder_ld(d, op->add.dst), decoder_at(d, op->add.a),
                decoder_ld(d, op->add.a), decoder_at(d, op->add.b), decoder_ld(d, op->add.b), op->add.width, op->add.ca,
                op->add.cb, n);
        return 0;
    case OP_ACT: run_act(d, &op->act); return 0;
    case OP_SCALE: run_scale(d, &op->scale); return 0;
    case OP_ATTENTION: run_attention(d, &op->attention); return 0;
    case OP_INDEX: run_index(d, &op->index); return 0;
    case OP_CONV: run_conv(d, &op->conv); return 0;
    case OP_DELTA: run_delta(d, &op->delta); return 0;
    case OP_SCAN: run_scan(d, &op->scan); return 0;
    case OP_ROUTER: return experts_route(d, &op->router, e);
    case OP_EXPERTS: return experts_run(d, &op->experts, e);
    case OP_LOGITS: run_logits(d, &op->logits); return 0;
    case OP_POSITION: return run_position(d, &op->position, e);
    case OP_XIELU: run_xielu(d, &op->xielu); return 0;
    case OP_POOL: run_pool(d, &op->pool); return 0;
    case OP_MIX: run_mix(d, &op->mix); return 0;
    case OP_SINKHORN:
        ops_sinkhorn(d->ops, &op->sinkhorn, decoder_at(d, op->sinkhorn.x), decoder_ld(d, op->sinkhorn.x),
                     decoder_vector(d, op->sinkhorn.scale), decoder_vector(d, op->sinkhorn.base), n);
        return 0;
    default: return error_set(e, EPROTO, "operation %u is unknown to this stage", op->kind);
    }
}

/* ---- a sweep ---- */

static void make_rope_tables(struct decoder *d)
{
    for (uint64_t i = 0; i < d->plan->ropes.count; i++) {
        const struct plan_rope *r = &plan_ropes(d->plan)[i];

        rotary_table(d->rope_host, d->positions.position, d->positions.n, plan_constants(d->plan) + r->inv_freq, r->dim,
                     r->scale, r->each);
        ops_upload(d->ops, d->rope[i], d->rope_host, (uint64_t)d->positions.n * r->dim * 4);
    }
}

int decoder_sweep(struct decoder *d, const struct control_sweep *order, uint32_t *logits, struct error *e)
{
    struct epoch_stats *stats = &d->stage->run->stats[STAGE_COMPUTE];
    uint64_t start = clock_ns(), waited = atomic_load(&stats->wait_ns), now;
    struct tile_part extra;
    int rc;

    if ((rc = positions_set(&d->positions, order->position, order->count, order->sweep, e)) ||
        (plan_embeds(d->plan) && (rc = check_rows(d, order, e))))
        return rc;
    d->sweep = order->sweep;
    d->rows = order->count;
    d->checking = order->position->flags & POSITION_CHECK;
    if (d->checking && (rc = check_begin(d, e))) return rc;
    d->sweep_tiles.idle = d->request_tiles.idle = idle;
    d->sweep_tiles.idle_arg = d->request_tiles.idle_arg = d;
    atomic_store_explicit(&stats->sweep, d->sweep + 1, memory_order_relaxed);
    make_rope_tables(d);
    tiles_range(&d->sweep_tiles, d->sweep, 0, d->plan->spec.sweep_tiles);
    for (uint64_t i = 0; i < d->plan->ops.count; i++) {
        const struct plan_op *op = &plan_ops(d->plan)[i];

        atomic_store_explicit(&stats->layer, op->layer, memory_order_relaxed);
        atomic_fetch_add_explicit(&stats->calls, 1, memory_order_relaxed);
        rc = run_op(d, op, e);
        if (!rc && d->checking) rc = check_result(d, op, e);
        if (rc) return rc == -ENODATA ? error_set(e, EPROTO, "the sweep has too few tiles") : rc;
    }
    rc = tiles_next(&d->sweep_tiles, &extra, e);
    if (rc != -ENODATA) return rc ? rc : error_set(e, EPROTO, "the sweep has more tiles than operations");
    if (d->next_row != d->end_row)
        return error_set(e, EPROTO, "the sweep has more rows of the embedding than operations");
    tiles_done(&d->request_tiles);
    if ((rc = ops_sync(d->ops, e))) return rc;
    *logits = d->positions.logits;
    now = clock_ns();
    waited = atomic_load(&stats->wait_ns) - waited;
    atomic_fetch_add_explicit(&stats->busy_ns, now - start > waited ? now - start - waited : 0, memory_order_relaxed);
    return 0;
}
