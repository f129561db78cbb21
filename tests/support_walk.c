#include "tests/support_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/plan/plan.h"
#include "tests/support_program.h"

static uint64_t walked; /* sums what was read, so that nothing is optimized away */

static void inside(bool ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "a checked plan leads outside: %s\n", what);
    abort();
}

static void walk_view(const struct plan_shm *p, struct plan_view v, uint64_t end)
{
    inside(v.buf < p->buffers.count, "buffer");
    inside((unsigned __int128)v.col + end <= plan_buffers(p)[v.buf], "columns");
}

static void walk_vector(const struct plan_shm *p, uint32_t v, uint64_t n)
{
    if (v == PLAN_NONE) return;
    inside(v < p->vectors.count, "vector");
    inside(plan_vectors(p)[v].at != PLAN_STREAMED, "resident vector");
    inside((unsigned __int128)plan_vectors(p)[v].at + n <= p->spec.resident_floats, "resident floats");
    inside(n <= plan_vectors(p)[v].elements, "elements");
}

static void walk_part(const struct plan_shm *p, const struct plan_tile *t, const struct plan_part *x)
{
    inside(x->file < p->files.count, "file");
    inside((unsigned __int128)x->file_off + x->bytes <= plan_files(p)[x->file].bytes, "file range");
    inside((unsigned __int128)x->slot_off + x->bytes <= t->span, "slot");
    inside(x->slot_off % PLAN_PAGE == x->file_off % PLAN_PAGE, "alignment");
    inside(x->slot_off % PLAN_PAGE + (unsigned __int128)x->bytes <= p->run.slot_bytes, "direct read");
    walked += strlen(plan_string(p, plan_files(p)[x->file].name));
    if (x->role == PART_VECTOR || x->role == PART_BIAS) {
        const struct plan_vector *v = plan_vectors(p) + x->index;

        inside(x->index < p->vectors.count, "vector of a part");
        inside(form_row_bytes(v->form, v->elements) <= x->bytes, "elements of a part");
        if (x->role == PART_VECTOR)
            inside((unsigned __int128)v->at + v->elements <= p->spec.resident_floats, "place of a vector");
    } else {
        inside(x->index < p->matrices.count, "matrix of a part");
    }
}

struct stream {
    uint64_t tile, last;
    uint32_t part, end;
};

static const struct plan_part *next_weight(const struct plan_shm *p, struct stream *s)
{
    const struct plan_part *scale = NULL;

    for (;;) {
        const struct plan_part *x;

        if (s->part == s->end) {
            inside(s->tile < s->last, "end of tiles");
            s->part = plan_tiles(p)[s->tile].part0;
            s->end = s->part + plan_tiles(p)[s->tile++].parts;
        }
        inside(s->part < p->parts.count, "part");
        x = plan_parts(p) + s->part++;
        if (x->role == PART_SCALE) scale = x;
        if (x->role != PART_WEIGHT) continue;
        const struct plan_matrix *m = plan_matrices(p) + x->index;
        inside((unsigned __int128)x->rows * m->row_bytes <= x->bytes, "rows of a part");
        if (form_info(m->form)->scales == FORM_SCALES_GRID) {
            inside(scale != NULL, "scales");
            const struct plan_grid_rows g = plan_scale_rows(m, x->row0, x->rows);
            inside(g.first >= scale->row0, "first scale");
            inside((g.first + g.count - scale->row0) * m->scale_row_bytes <= scale->bytes, "last scale");
        }
        return x;
    }
}

static void walk_matmul(const struct plan_shm *p, struct stream *s, const struct op_matmul *o)
{
    const struct plan_matrix *m = plan_matrices(p) + o->matrix;

    inside(o->matrix < p->matrices.count, "matrix");
    const bool turned = o->flags & MATMUL_TRANSPOSED; /* rows are inputs */

    walk_view(p, o->src, turned ? plan_matrix_inputs(m) : m->cols);
    walk_vector(p, o->bias, turned ? m->cols : m->rows);
    for (uint64_t row = 0; row < m->rows;) {
        const struct plan_part *x = next_weight(p, s);

        inside(x->index == o->matrix && x->row0 == row && x->rows, "order of rows");
        row += x->rows;
        walk_view(p, o->dst, turned ? m->cols : row);
    }
}

static void walk_headmm(const struct plan_shm *p, struct stream *s, const struct op_headmm *o)
{
    uint64_t cols = plan_matrices(p)[o->matrix].cols;

    for (uint64_t h = 0; h < o->heads; h++) {
        for (uint64_t r = 0; r < o->rows;) {
            const struct plan_part *x = next_weight(p, s);

            inside(x->index == o->matrix && x->row0 == h * o->row_stride + o->row_off + r && x->rows,
                   "order of heads' rows");
            r += x->rows;
            inside(r <= o->rows, "rows of a head");
        }
        walk_view(p, o->src, h * o->src_stride + (o->transposed ? o->rows : cols));
        walk_view(p, o->dst, h * o->dst_stride + (o->transposed ? cols : o->rows));
    }
}

static uint64_t router_experts(const struct plan_experts *x)
{
    return (uint64_t)x->experts + x->identity;
}

static void walk_experts(const struct plan_shm *p, const struct op_experts *o)
{
    const struct plan_experts *x = plan_experts(p) + o->table;
    const struct plan_expert_tiles *t = plan_expert_tiles(p) + o->table;
    uint32_t each = x->fused ? 2 : 3;

    inside(o->table < p->experts.count && o->table < p->expert_tiles.count, "experts");
    for (uint32_t e = 0; e < x->experts; e++) {
        uint64_t first = t->tile0 + (uint64_t)e * t->each;
        struct stream s = {.tile = first, .last = first + t->each};

        inside(s.last <= p->tiles.count, "tiles of an expert");
        for (uint32_t k = 0; k < each; k++) {
            uint32_t matrix = x->matrix0 + e * each + k;
            uint64_t rows = plan_matrices(p)[matrix].rows;

            for (uint64_t row = 0; row < rows;) {
                const struct plan_part *w = next_weight(p, &s);

                inside(w->index == matrix && w->row0 == row, "order of an expert's rows");
                row += w->rows;
            }
            inside(x->transposed ? plan_matrices(p)[matrix].cols <= 2ull * x->inter + x->hidden
                                 : rows <= 2ull * x->inter + x->hidden,
                   "size");
        }
    }
    walk_view(p, o->src, x->hidden);
    walk_view(p, o->dst, x->hidden);
}

static void walk_attention(const struct plan_shm *p, const struct op_attention *o)
{
    bool shared = o->flags & ATTN_V_IN_K, reuses = o->flags & ATTN_REUSES;

    inside(o->cache < p->caches.count, "cache");
    inside(o->heads / o->kv_heads * (uint64_t)o->kv_heads == o->heads, "heads");
    walk_view(p, o->q, (uint64_t)o->heads * o->dk);
    if (!reuses) walk_view(p, o->k, plan_caches(p)[o->cache].k_width);
    inside((uint64_t)o->kv_heads * o->dk * (o->pooled ? 2 : 1) <= plan_caches(p)[o->cache].k_width, "cached keys");
    inside(!o->pooled || (shared && o->window && o->kv_heads == 1), "pooled keys");
    if (!shared) {
        if (!reuses) walk_view(p, o->v, plan_caches(p)[o->cache].v_width);
        inside((uint64_t)o->kv_heads * o->dv <= plan_caches(p)[o->cache].v_width, "cached values");
    }
    inside(!shared || o->dv <= o->dk, "values in keys");
    walk_view(p, o->dst, (uint64_t)o->heads * o->dv);
    walk_vector(p, o->sinks, o->heads);
    walk_vector(p, o->alibi, o->heads);
    if (!o->chosen_top) return;
    inside(o->chosen_groups && o->kv_heads % o->chosen_groups == 0 && o->chosen_block, "groups of lists");
    walk_view(p, o->chosen, (uint64_t)o->chosen_groups * (1ull + o->chosen_top));
}

static void walk_index(const struct plan_shm *p, const struct op_index *o)
{
    inside(o->cache < p->caches.count && o->dim <= plan_caches(p)[o->cache].k_width, "cache of an index");
    inside(o->groups && o->heads % o->groups == 0 && o->block && o->top && o->local <= o->top, "groups of an index");
    walk_view(p, o->q, (uint64_t)o->heads * o->dim);
    walk_view(p, o->k, plan_caches(p)[o->cache].k_width);
    if (o->w.buf != PLAN_NOBUF) walk_view(p, o->w, o->heads);
    walk_view(p, o->dst, (uint64_t)o->groups * (1ull + o->top));
}

static void walk_delta(const struct plan_shm *p, const struct op_delta *o)
{
    uint64_t decays = o->flags & DELTA_CHANNELS ? (uint64_t)o->heads * o->dk : o->heads;

    walk_view(p, o->q, (uint64_t)o->key_heads * o->dk);
    walk_view(p, o->k, (uint64_t)o->key_heads * o->dk);
    walk_view(p, o->v, (uint64_t)o->heads * o->dv);
    walk_view(p, o->a, decays);
    walk_view(p, o->b, o->heads);
    walk_view(p, o->dst, (uint64_t)o->heads * o->dv);
    inside(o->a_log != PLAN_NONE && o->dt_bias != PLAN_NONE, "decay");
    walk_vector(p, o->a_log, o->heads);
    walk_vector(p, o->dt_bias, decays);
    inside(o->state < p->states.count && (unsigned __int128)o->heads * o->dk * o->dv <= plan_states(p)[o->state].floats,
           "state");
}

static void walk_scan(const struct plan_shm *p, const struct op_scan *o)
{
    unsigned __int128 rates = (unsigned __int128)o->heads * o->width * o->states;
    uint64_t channels = (uint64_t)o->heads * o->width, each = o->flags & SCAN_CHANNELS ? channels : o->heads;

    inside(rates <= UINT64_MAX, "rates");
    walk_view(p, o->x, channels);
    walk_view(p, o->dt, each);
    walk_view(p, o->b, (uint64_t)o->groups * o->states);
    walk_view(p, o->c, (uint64_t)o->groups * o->states);
    walk_view(p, o->dst, channels);
    inside(o->a_log != PLAN_NONE && o->dt_bias != PLAN_NONE, "decay");
    walk_vector(p, o->a_log, o->flags & SCAN_CHANNELS ? (uint64_t)rates : o->heads);
    walk_vector(p, o->dt_bias, each);
    walk_vector(p, o->skip, each);
    inside(o->state < p->states.count && rates <= plan_states(p)[o->state].floats, "state");
}

static void walk_pool(const struct plan_shm *p, const struct op_pool *o)
{
    uint64_t columns = (uint64_t)o->parts * o->width;

    walk_view(p, o->x, columns);
    walk_view(p, o->gate, columns);
    walk_view(p, o->dst, o->width);
    inside(o->bias != PLAN_NONE && o->every, "windows");
    walk_vector(p, o->bias, o->every * columns);
    inside(o->state < p->states.count && plan_pool_sets(o) * 3 * o->width <= plan_states(p)[o->state].floats, "state");
}

static void walk_embed(const struct plan_shm *p, const struct op_embed *o)
{
    inside(p->spec.vocab <= plan_matrices(p)[o->matrix].rows && o->width <= plan_matrices(p)[o->matrix].cols,
           "embedding");
    walk_view(p, o->dst, o->width);
    if (!(o->flags & EMBED_BESIDE)) return;
    inside(o->beside < p->matrices.count && o->beside_width <= plan_matrices(p)[o->beside].cols,
           "table beside the embedding");
    walk_view(p, o->beside_dst, o->beside_width);
}

static void walk_norm(const struct plan_shm *p, const struct op_norm *o)
{
    uint64_t more = o->groups - 1;

    walk_view(p, o->src, more * o->src_stride + o->width);
    walk_view(p, o->dst, more * o->dst_stride + (o->kind == NORM_SIZE ? 1 : o->width));
    walk_vector(p, o->weight, more * o->weight_stride + o->width);
    walk_vector(p, o->bias, more * o->weight_stride + o->width);
}

static void walk_router(const struct plan_shm *p, const struct op_router *o)
{
    inside(o->table < p->experts.count && o->experts == router_experts(plan_experts(p) + o->table),
           "experts of a router");
    inside(o->top && o->top <= o->experts, "chosen experts");
    walk_view(p, o->src, o->experts);
    walk_vector(p, o->bias, o->experts);
    for (uint64_t i = 0; o->flags & ROUTER_BY_TOKEN && i < (uint64_t)p->spec.vocab * o->top; i++)
        inside(o->fixed + i < p->constants.count && plan_constants(p)[o->fixed + i] < (float)o->experts,
               "choice by token");
    if (o->flags & ROUTER_SCALE_EACH) walk_vector(p, o->each, o->experts);
}

static void walk_xielu(const struct plan_shm *p, const struct op_xielu *o)
{
    walk_view(p, o->src, o->width);
    walk_view(p, o->dst, o->width);
    walk_vector(p, o->alpha_p, 1);
    walk_vector(p, o->alpha_n, 1);
    walk_vector(p, o->beta, 1);
    walk_vector(p, o->eps, 1);
}

static void walk_op(const struct plan_shm *p, struct stream *s, const struct plan_op *op)
{
    switch (op->kind) {
    case OP_EMBED: walk_embed(p, &op->embed); break;
    case OP_NORM: walk_norm(p, &op->norm); break;
    case OP_MATMUL: walk_matmul(p, s, &op->matmul); break;
    case OP_HEADMM: walk_headmm(p, s, &op->headmm); break;
    case OP_ROPE:
        inside(op->rope.rope < p->ropes.count && plan_ropes(p)[op->rope.rope].dim >= op->rope.dim, "rotary table");
        inside(plan_ropes(p)[op->rope.rope].inv_freq + op->rope.dim / 2 <= p->constants.count, "angles");
        walk_view(p, op->rope.x, (op->rope.heads - 1ull) * op->rope.head_stride + op->rope.dim);
        break;
    case OP_COPY:
        walk_view(p, op->copy.src, (op->copy.blocks - 1ull) * op->copy.src_stride + op->copy.width);
        walk_view(p, op->copy.dst, (op->copy.blocks - 1ull) * op->copy.dst_stride + op->copy.width);
        break;
    case OP_ADD:
        walk_view(p, op->add.a, op->add.width);
        walk_view(p, op->add.b, op->add.width);
        walk_view(p, op->add.dst, op->add.width);
        break;
    case OP_ACT:
        walk_view(p, op->act.dst, op->act.width);
        walk_view(p, op->act.gate,
                  op->act.flags & ACT_BROADCAST     ? 1
                  : op->act.flags & ACT_INTERLEAVED ? 2ull * op->act.width
                                                    : op->act.width);
        if (op->act.up.buf != PLAN_NOBUF) walk_view(p, op->act.up, op->act.width);
        break;
    case OP_SCALE:
        walk_view(p, op->scale.x, op->scale.width);
        if (op->scale.flags & SCALE_BY_VECTOR)
            walk_vector(p, op->scale.vector, plan_vectors(p)[op->scale.vector].elements == 1 ? 1 : op->scale.width);
        break;
    case OP_ATTENTION: walk_attention(p, &op->attention); break;
    case OP_INDEX: walk_index(p, &op->index); break;
    case OP_CONV:
        walk_view(p, op->conv.src, op->conv.width);
        walk_view(p, op->conv.dst, op->conv.width);
        inside(op->conv.weight != PLAN_NONE, "taps");
        walk_vector(p, op->conv.weight, (uint64_t)op->conv.width * op->conv.taps);
        walk_vector(p, op->conv.bias, op->conv.width);
        inside(op->conv.state < p->states.count &&
                   (op->conv.taps - 1ull) * op->conv.width <= plan_states(p)[op->conv.state].floats,
               "inputs kept");
        break;
    case OP_DELTA: walk_delta(p, &op->delta); break;
    case OP_SCAN: walk_scan(p, &op->scan); break;
    case OP_ROUTER: walk_router(p, &op->router); break;
    case OP_EXPERTS: walk_experts(p, &op->experts); break;
    case OP_POOL: walk_pool(p, &op->pool); break;
    case OP_SINKHORN:
        inside(op->sinkhorn.streams && op->sinkhorn.streams <= SINKHORN_STREAMS, "streams");
        walk_view(p, op->sinkhorn.x, plan_sinkhorn_columns(&op->sinkhorn));
        inside(op->sinkhorn.scale != PLAN_NONE && op->sinkhorn.base != PLAN_NONE, "scale and base");
        walk_vector(p, op->sinkhorn.scale, op->sinkhorn.rounds ? 3 : 1);
        walk_vector(p, op->sinkhorn.base, plan_sinkhorn_columns(&op->sinkhorn));
        break;
    case OP_MIX:
        walk_view(p, op->mix.src, (uint64_t)op->mix.in * op->mix.width);
        walk_view(p, op->mix.dst, (uint64_t)op->mix.out * op->mix.width);
        walk_view(p, op->mix.weight,
                  (op->mix.in - 1ull) * op->mix.in_stride + (op->mix.out - 1ull) * op->mix.out_stride + 1);
        break;
    case OP_POSITION:
        walk_view(p, op->position.x, op->position.width);
        inside((uint64_t)p->spec.context + op->position.offset <= op->position.rows &&
                   op->position.table < p->vectors.count &&
                   plan_vectors(p)[op->position.table].at + (uint64_t)op->position.rows * op->position.width <=
                       p->spec.resident_floats,
               "rows of positions");
        break;
    case OP_XIELU: walk_xielu(p, &op->xielu); break;
    case OP_SELECT:
        walk_view(p, op->select.src, op->select.width);
        walk_view(p, op->select.dst, op->select.width);
        break;
    case OP_LOGITS:
        inside(op->logits.width <= p->spec.vocab, "logits");
        walk_view(p, op->logits.src, op->logits.width);
        break;
    default: inside(false, "kind of an operation");
    }
}

static void walk_tile(const struct plan_shm *p, uint64_t i)
{
    const struct plan_tile *t = plan_tiles(p) + i;

    inside((uint64_t)t->part0 + t->parts <= p->parts.count, "parts");
    inside(t->span <= p->run.slot_bytes, "span");
    for (uint32_t k = 0; k < t->parts; k++) walk_part(p, t, plan_parts(p) + t->part0 + k);
    if (t->tier == TIER_HOST)
        inside((unsigned __int128)t->tier_off + t->span <= p->run.host_cache_bytes - p->run.expert_cache_bytes,
               "host tier");
    if (t->tier == TIER_DEVICE)
        inside((unsigned __int128)t->tier_off + t->span <= p->run.device_pin_bytes, "device tier");
}

uint64_t plan_walk(const struct plan_shm *p)
{
    struct stream s = {.last = p->spec.sweep_tiles};

    walked = 0;
    inside(p->spec.embed_matrix < p->matrices.count, "embedding");
    for (uint64_t i = 0; i < p->tiles.count; i++) walk_tile(p, i);
    for (uint64_t i = 0; i < p->vectors.count; i++) {
        const struct plan_vector *v = plan_vectors(p) + i;

        walked += strlen(plan_string(p, v->name));
        if (v->file == PLAN_NONE)
            inside(v->file_off + v->elements <= p->constants.count && v->at + v->elements <= p->spec.resident_floats,
                   "constants");
    }
    for (uint64_t i = 0; i < p->matrices.count; i++) walked += strlen(plan_string(p, plan_matrices(p)[i].name));
    for (uint64_t i = 0; i < p->ops.count; i++) walk_op(p, &s, plan_ops(p) + i);
    inside(s.part == s.end && s.tile == s.last, "rest of the sweep");
    return walked + strlen(p->spec.architecture);
}

/* ---- plans to walk ---- */

static const struct test_shape shapes[] = {
    {.layers = 2,
     .hidden = 48,
     .inter = 112,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 12,
     .vocab = 97,
     .context = 64,
     .form = FORM_BF16,
     .recurrent = true},
    {.layers = 2,
     .hidden = 48,
     .inter = 112,
     .heads = 4,
     .kv_heads = 4,
     .head_dim = 12,
     .vocab = 97,
     .context = 64,
     .form = FORM_F8_E4M3,
     .block = 16,
     .latent = true},
    {.layers = 2,
     .hidden = 64,
     .inter = 96,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 16,
     .vocab = 97,
     .context = 64,
     .form = FORM_MXFP4,
     .experts = 3,
     .top = 2,
     .fused = true,
     .biased = true},
    {.layers = 1,
     .hidden = 64,
     .inter = 96,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 16,
     .vocab = 97,
     .context = 64,
     .form = FORM_F32,
     .experts = 3,
     .top = 1,
     .transposed = true},
};
_Static_assert(sizeof shapes / sizeof *shapes == TEST_PLANS, "one plan of each shape");

struct plan_shm *test_plan(size_t shape, uint64_t *bytes)
{
    struct plan_settings s = test_settings(UINT64_C(1) << 30);
    struct error e = {0};
    struct plan_shm *plan, *p = test_image(&shapes[shape]);

    if (shape == 1) s.backend = BACKEND_CUDA, s.device_memory = UINT64_C(1) << 30, s.host_memory = UINT64_C(4) << 30;
    s.slot_bytes = 24576;
    if (plan_build(&plan, bytes, p, &s, &e)) {
        fprintf(stderr, "%s\n", e.text);
        abort();
    }
    free(p);
    return plan;
}
