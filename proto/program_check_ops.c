#include "proto/check.h"

#include <errno.h>

/* What is being looked at; the first fault stays in e. */
struct at {
    const struct plan_shm *p;
    const struct plan_op *op;
    uint64_t i;
    bool selected;                /* after OP_SELECT */
    const struct op_index *index; /* the last one */
    struct error *e;
};

#define OP_FAIL(fmt, ...)                                                                                              \
    return error_set(a->e, EPROTO, "plan: operation %llu (%s, layer %u): " fmt, ULL(a->i), plan_op_name(a->op->kind),  \
                     a->op->layer, __VA_ARGS__)

/* count blocks of width columns, stride apart, all inside of the view's buffer. what: how the operation calls them. */
static int blocks(const struct at *a, const char *what, struct plan_view v, uint64_t count, uint64_t width,
                  uint64_t stride)
{
    uint64_t have;

    if (v.buf >= a->p->buffers.count) OP_FAIL("%s: buffer %u of %llu", what, v.buf, ULL(a->p->buffers.count));
    have = plan_buffers(a->p)[v.buf];
    if (!count || !width || width > have || v.col > have - width || (count > 1 && stride < width) ||
        !check_fits(v.col + width, count - 1, stride, have))
        OP_FAIL("%s: %llu x %llu columns, %llu apart, from %u on in buffer %u of %llu", what, ULL(count), ULL(width),
                ULL(stride), v.col, v.buf, ULL(have));
    return 0;
}

static int columns(const struct at *a, const char *what, struct plan_view v, uint64_t width)
{
    return blocks(a, what, v, 1, width, 0);
}

/* A resident vector of so many elements, or PLAN_NONE. */
static int vector(const struct at *a, const char *what, uint32_t v, uint64_t elements)
{
    if (v == PLAN_NONE) return 0;
    if (v >= a->p->vectors.count || plan_vectors(a->p)[v].at == PLAN_STREAMED)
        OP_FAIL("%s: vector %u is not resident", what, v);
    if (plan_vectors(a->p)[v].elements != elements)
        OP_FAIL("%s: vector %u has %llu elements, not %llu", what, v, ULL(plan_vectors(a->p)[v].elements),
                ULL(elements));
    return 0;
}

static int needed_vector(const struct at *a, const char *what, uint32_t v, uint64_t elements)
{
    if (v == PLAN_NONE) OP_FAIL("%s: no vector of %llu elements", what, ULL(elements));
    return vector(a, what, v, elements);
}

static int matrix(const struct at *a, uint32_t m, const struct plan_matrix **out)
{
    if (m >= a->p->matrices.count) OP_FAIL("matrix %u of %llu", m, ULL(a->p->matrices.count));
    *out = plan_matrices(a->p) + m;
    return 0;
}

static int state(const struct at *a, uint32_t s, uint64_t x, uint64_t y, uint64_t z)
{
    uint64_t floats;

    if (s >= a->p->states.count) OP_FAIL("state %u of %llu", s, ULL(a->p->states.count));
    if (__builtin_mul_overflow(x, y, &floats) || __builtin_mul_overflow(floats, z, &floats) ||
        floats != plan_states(a->p)[s].floats)
        OP_FAIL("state %u has %llu floats, not %llu x %llu x %llu", s, ULL(plan_states(a->p)[s].floats), ULL(x), ULL(y),
                ULL(z));
    return 0;
}

/* Reads whole positions' rows of src while dst is being written: they must not be one. */
static int apart(const struct at *a, struct plan_view src, struct plan_view dst)
{
    if (src.buf == dst.buf) OP_FAIL("source and destination: writes buffer %u while it reads it", dst.buf);
    return 0;
}

static int embed_beside(const struct at *a, const struct op_embed *o)
{
    const struct plan_matrix *m;
    int rc = matrix(a, o->beside, &m);

    if (rc) return rc;
    if (o->flags != EMBED_BESIDE || a->i || !form_can_be_table(m->form) || !check_gathered(m) ||
        o->beside_width != m->cols)
        OP_FAIL("flags %x: matrix %u of %llu x %llu %s beside the embedding, of width %u", o->flags, o->beside,
                ULL(m->rows), ULL(m->cols), form_name(m->form), o->beside_width);
    return columns(a, "second destination", o->beside_dst, o->beside_width);
}

static int embed(const struct at *a, const struct op_embed *o)
{
    const struct plan_matrix *m;
    int rc = matrix(a, o->matrix, &m);

    if (rc) return rc;
    if (o->matrix != a->p->spec.embed_matrix || !form_can_be_table(m->form) || o->width != m->cols ||
        m->rows < a->p->spec.vocab)
        OP_FAIL("matrix %u of %llu x %llu %s for %u tokens of width %u", o->matrix, ULL(m->rows), ULL(m->cols),
                form_name(m->form), a->p->spec.vocab, o->width);
    rc = columns(a, "destination", o->dst, o->width);
    return rc || !o->flags ? rc : embed_beside(a, o);
}

static int norm(const struct at *a, const struct op_norm *o)
{
    int rc = blocks(a, "source", o->src, o->groups, o->width, o->src_stride);
    uint64_t elements;

    if (!rc) rc = blocks(a, "destination", o->dst, o->groups, o->kind == NORM_SIZE ? 1 : o->width, o->dst_stride);
    if (rc) return rc;
    if (o->kind > NORM_CUT) OP_FAIL("kind %u", o->kind);
    if ((o->kind == NORM_SIZE || o->kind == NORM_CUT) &&
        (o->weight != PLAN_NONE || o->bias != PLAN_NONE || o->eps != 0.0f))
        OP_FAIL("kind %u with weight %u, bias %u, eps %g", o->kind, o->weight, o->bias, (double)o->eps);
    elements = (uint64_t)(o->groups - 1) * o->weight_stride + o->width;
    rc = vector(a, "weight", o->weight, elements);
    if (!rc) rc = vector(a, "bias", o->bias, elements);
    return rc;
}

static int matmul(const struct at *a, const struct op_matmul *o)
{
    bool turned = o->flags & MATMUL_TRANSPOSED;
    const struct plan_matrix *m;
    int rc = matrix(a, o->matrix, &m);

    if (!rc) rc = columns(a, "source", o->src, turned ? plan_matrix_inputs(m) : m->cols);
    if (!rc) rc = columns(a, "destination", o->dst, turned ? m->cols : m->rows);
    if (!rc) rc = vector(a, "bias", o->bias, turned ? m->cols : m->rows);
    if (!rc) rc = apart(a, o->src, o->dst);
    if (rc) return rc;
    if ((o->flags & ~(MATMUL_ROW_NORM | MATMUL_TRANSPOSED)) || (turned && o->flags != MATMUL_TRANSPOSED))
        OP_FAIL("flags %x", o->flags);
    if (!turned && form_turned_pack(m->form))
        OP_FAIL("matrix %u in %s is not transposed", o->matrix, form_name(m->form));
    return 0;
}

static int headmm(const struct at *a, const struct op_headmm *o)
{
    const struct plan_matrix *m;
    int rc = matrix(a, o->matrix, &m);

    if (rc) return rc;
    if (form_turned_pack(m->form)) OP_FAIL("matrix %u in %s has no rows of heads", o->matrix, form_name(m->form));
    if (!o->heads || !o->rows || o->transposed > 1 ||
        !check_fits((uint64_t)o->row_off + o->rows, o->heads - 1, o->row_stride, m->rows))
        OP_FAIL("%u heads of %u rows, %u apart from %u on, of %llu", o->heads, o->rows, o->row_stride, o->row_off,
                ULL(m->rows));
    rc = blocks(a, "source", o->src, o->heads, o->transposed ? o->rows : m->cols, o->src_stride);
    if (!rc) rc = blocks(a, "destination", o->dst, o->heads, o->transposed ? m->cols : o->rows, o->dst_stride);
    if (!rc) rc = apart(a, o->src, o->dst);
    return rc;
}

static int rope(const struct at *a, const struct op_rope *o)
{
    if (o->rope >= a->p->ropes.count || plan_ropes(a->p)[o->rope].dim != o->dim || o->style > ROPE_PAIRS)
        OP_FAIL("rotary table %u, %u columns, style %u", o->rope, o->dim, o->style);
    return blocks(a, "columns", o->x, o->heads, o->dim, o->head_stride);
}

static int copy(const struct at *a, const struct op_copy *o)
{
    int rc = blocks(a, "source", o->src, o->blocks, o->width, o->src_stride);

    return rc ? rc : blocks(a, "destination", o->dst, o->blocks, o->width, o->dst_stride);
}

static int add(const struct at *a, const struct op_add *o)
{
    int rc = columns(a, "destination", o->dst, o->width);

    if (!rc) rc = columns(a, "first term", o->a, o->width);
    if (!rc) rc = columns(a, "second term", o->b, o->width);
    return rc;
}

static int act(const struct at *a, const struct op_act *o)
{
    bool interleaved = o->flags & ACT_INTERLEAVED, broadcast = o->flags & ACT_BROADCAST;
    uint32_t each = o->each ? o->each : o->width;
    int rc = columns(a, "destination", o->dst, o->width);

    if (each != o->width && (!broadcast || o->width % each))
        OP_FAIL("a gate for %u of %u columns, flags %x", o->each, o->width, o->flags);
    if (!rc) rc = columns(a, "gate", o->gate, broadcast ? o->width / each : (uint64_t)o->width * (interleaved ? 2 : 1));
    if (!rc && o->up.buf != PLAN_NOBUF) rc = columns(a, "up", o->up, o->width);
    if (rc) return rc;
    if (o->kind > ACT_SWIGLU_OAI ||
        (o->flags & ~(ACT_INTERLEAVED | ACT_BROADCAST | ACT_CLAMP_AFTER | ACT_CLAMP_BEFORE)) ||
        (interleaved && broadcast) || (o->flags & ACT_CLAMP_AFTER && o->flags & ACT_CLAMP_BEFORE))
        OP_FAIL("activation %u, flags %x", o->kind, o->flags);
    return 0;
}

static int scale(const struct at *a, const struct op_scale *o)
{
    const uint32_t flags = o->flags;
    bool one;

    if ((flags & ~(SCALE_BY_POSITION | SCALE_FROM_ZERO | SCALE_CLAMP | SCALE_BY_VECTOR)) ||
        ((flags & SCALE_FROM_ZERO) && !(flags & SCALE_BY_POSITION)) ||
        ((flags & SCALE_CLAMP) && (flags != SCALE_CLAMP || !(o->cap > 0))) ||
        ((flags & SCALE_BY_VECTOR) && (flags != SCALE_BY_VECTOR || o->mul != 1.0f || o->cap != 0.0f)))
        OP_FAIL("flags %x", flags);
    if (flags & SCALE_BY_VECTOR) {
        one = o->vector < a->p->vectors.count && plan_vectors(a->p)[o->vector].elements == 1;
        if (needed_vector(a, "factors", o->vector, one ? 1 : o->width)) return -EPROTO;
    }
    return columns(a, "columns", o->x, o->width);
}

/* Does an operation before this one append to the cache what it attends over, in heads of the same sizes? */
static int appended(const struct at *a, const struct op_attention *o)
{
    for (uint64_t i = 0; i < a->i; i++) {
        const struct op_attention *x = &plan_ops(a->p)[i].attention;

        if (plan_ops(a->p)[i].kind == OP_ATTENTION && x->cache == o->cache && !(x->flags & ATTN_REUSES) && !x->pooled &&
            x->kv_heads == o->kv_heads && x->dk == o->dk && x->dv == o->dv &&
            (x->flags & ATTN_V_IN_K) == (o->flags & ATTN_V_IN_K))
            return 0;
    }
    OP_FAIL("nothing was appended to cache %u before", o->cache);
}

/* The lists of the last index, in the buffer that it wrote them to. */
static int chosen(const struct at *a, const struct op_attention *o)
{
    const struct op_index *x = a->index;

    if (!o->chosen_top) return 0;
    if (!x || o->chosen.buf != x->dst.buf || o->chosen.col != x->dst.col || o->chosen_groups != x->groups ||
        o->chosen_top != x->top || o->chosen_block != x->block)
        OP_FAIL("no index listed %u blocks of %u for %u groups before", o->chosen_top, o->chosen_block,
                o->chosen_groups);
    if (o->kv_heads % o->chosen_groups || (o->window && !o->pooled) || o->chunk || o->alibi != PLAN_NONE ||
        (o->pooled != 0) != ((x->flags & INDEX_POOLED) != 0))
        OP_FAIL("chosen for %u groups of %u heads, window %u, chunk %u, alibi %u", o->chosen_groups, o->kv_heads,
                o->window, o->chunk, o->alibi);
    return 0;
}

/* Two keys a position: see struct op_attention. */
static int pooled(const struct at *a, const struct op_attention *o)
{
    if (!o->pooled) return 0;
    if (o->kv_heads != 1 || !o->window || o->chunk || o->alibi != PLAN_NONE || o->flags != ATTN_V_IN_K ||
        (o->chosen_top && o->chosen_block != o->pooled))
        OP_FAIL("pooled keys of %u positions: %u heads, window %u, chunk %u, alibi %u, flags %x, lists of blocks of %u",
                o->pooled, o->kv_heads, o->window, o->chunk, o->alibi, o->flags, o->chosen_block);
    return 0;
}

static int attention(const struct at *a, const struct op_attention *o)
{
    bool shared = o->flags & ATTN_V_IN_K, reuses = o->flags & ATTN_REUSES;
    const struct plan_cache *c;
    uint64_t k, v;
    int rc;

    if (!o->heads || !o->kv_heads || o->heads % o->kv_heads || !o->dk || !o->dv || (shared && o->dv > o->dk) ||
        (o->flags & ~(ATTN_V_IN_K | ATTN_REUSES)))
        OP_FAIL("%u heads over %u, %u and %u columns, flags %x", o->heads, o->kv_heads, o->dk, o->dv, o->flags);
    if (o->cache >= a->p->caches.count) OP_FAIL("cache %u of %llu", o->cache, ULL(a->p->caches.count));
    c = plan_caches(a->p) + o->cache;
    k = (uint64_t)o->kv_heads * o->dk * (o->pooled ? 2 : 1);
    v = shared ? 0 : (uint64_t)o->kv_heads * o->dv;
    if (c->k_width != k || c->v_width != v)
        OP_FAIL("cache of %u + %u columns, not %llu + %llu", c->k_width, c->v_width, ULL(k), ULL(v));
    rc = columns(a, "q", o->q, (uint64_t)o->heads * o->dk);
    if (!rc && !reuses) rc = columns(a, "k", o->k, k);
    if (!rc && !reuses && !shared) rc = columns(a, "v", o->v, v);
    if (!rc && reuses) rc = appended(a, o);
    if (!rc) rc = columns(a, "destination", o->dst, (uint64_t)o->heads * o->dv);
    if (!rc) rc = vector(a, "sinks", o->sinks, o->heads);
    if (!rc) rc = vector(a, "alibi", o->alibi, o->heads);
    if (!rc) rc = pooled(a, o);
    if (!rc) rc = chosen(a, o);
    return rc;
}

static int index_op(const struct at *a, const struct op_index *o)
{
    const struct plan_cache *c;
    int rc;

    if (!o->heads || !o->groups || o->heads % o->groups || !o->dim || !o->block || !o->top || o->local > o->top ||
        (uint64_t)o->block * o->top > UINT32_MAX || (o->flags & ~(INDEX_RELU | INDEX_POOLED)) ||
        (o->flags & INDEX_POOLED && o->local))
        OP_FAIL("%u heads of %u columns in %u groups, %u of blocks of %u and %u local ones, flags %x", o->heads, o->dim,
                o->groups, o->top, o->block, o->local, o->flags);
    if (a->index && a->index->dst.buf != o->dst.buf)
        OP_FAIL("lists in buffer %u, those before in %u", o->dst.buf, a->index->dst.buf);
    if (o->cache >= a->p->caches.count) OP_FAIL("cache %u of %llu", o->cache, ULL(a->p->caches.count));
    c = plan_caches(a->p) + o->cache;
    if (c->k_width != o->dim || c->v_width)
        OP_FAIL("cache of %u + %u columns, not %u + 0", c->k_width, c->v_width, o->dim);
    rc = columns(a, "q", o->q, (uint64_t)o->heads * o->dim);
    if (!rc) rc = columns(a, "k", o->k, o->dim);
    if (!rc && o->w.buf != PLAN_NOBUF) rc = columns(a, "w", o->w, o->heads);
    if (!rc) rc = columns(a, "destination", o->dst, o->groups * (UINT64_C(1) + o->top));
    if (!rc) rc = apart(a, o->q, o->dst);
    if (!rc) rc = apart(a, o->k, o->dst);
    if (!rc && o->w.buf != PLAN_NOBUF) rc = apart(a, o->w, o->dst);
    return rc;
}

static int conv(const struct at *a, const struct op_conv *o)
{
    int rc = columns(a, "source", o->src, o->width);

    if (!rc) rc = columns(a, "destination", o->dst, o->width);
    if (rc) return rc;
    if (!o->taps || o->taps > 1024 || o->act > ACT_SWIGLU_OAI) OP_FAIL("%u taps, activation %u", o->taps, o->act);
    rc = needed_vector(a, "weight", o->weight, (uint64_t)o->width * o->taps);
    if (!rc) rc = vector(a, "bias", o->bias, o->width);
    if (!rc) rc = state(a, o->state, o->taps - 1, o->width, 1);
    return rc;
}

static int delta(const struct at *a, const struct op_delta *o)
{
    uint64_t decays = o->flags & DELTA_CHANNELS ? (uint64_t)o->heads * o->dk : o->heads;
    int rc;

    if (!o->heads || !o->key_heads || o->heads % o->key_heads || !o->dk || !o->dv)
        OP_FAIL("%u heads over %u, %u and %u columns", o->heads, o->key_heads, o->dk, o->dv);
    if ((o->flags & ~(DELTA_RATES | DELTA_CHANNELS | DELTA_BOUNDED)) || !(o->bound <= 0))
        OP_FAIL("flags %u, bound %g", o->flags, (double)o->bound);
    rc = columns(a, "q", o->q, (uint64_t)o->key_heads * o->dk);
    if (!rc) rc = columns(a, "k", o->k, (uint64_t)o->key_heads * o->dk);
    if (!rc) rc = columns(a, "v", o->v, (uint64_t)o->heads * o->dv);
    if (!rc) rc = columns(a, "a", o->a, decays);
    if (!rc) rc = columns(a, "b", o->b, o->heads);
    if (!rc) rc = columns(a, "destination", o->dst, (uint64_t)o->heads * o->dv);
    if (!rc) rc = needed_vector(a, "a_log", o->a_log, o->heads);
    if (!rc) rc = needed_vector(a, "dt_bias", o->dt_bias, decays);
    if (!rc) rc = state(a, o->state, o->heads, o->dk, o->dv);
    return rc;
}

static int scan(const struct at *a, const struct op_scan *o)
{
    uint64_t channels = (uint64_t)o->heads * o->width, each = o->flags & SCAN_CHANNELS ? channels : o->heads,
             rates = each;
    const struct plan_view sources[] = {o->x, o->dt, o->b, o->c};
    int rc;

    if (!o->heads || !o->width || !o->groups || !o->states || o->heads % o->groups)
        OP_FAIL("%u heads of %u columns in %u groups of %u states", o->heads, o->width, o->groups, o->states);
    if ((o->flags & ~(SCAN_CHANNELS | SCAN_RATES)) || !(o->dt_least >= 0 && o->dt_least <= o->dt_most))
        OP_FAIL("flags %x, steps from %g to %g", o->flags, (double)o->dt_least, (double)o->dt_most);
    if (o->flags & SCAN_CHANNELS && __builtin_mul_overflow(channels, o->states, &rates))
        OP_FAIL("%llu columns of %u states", ULL(channels), o->states);
    rc = columns(a, "x", o->x, channels);
    if (!rc) rc = columns(a, "dt", o->dt, each);
    if (!rc) rc = columns(a, "b", o->b, (uint64_t)o->groups * o->states);
    if (!rc) rc = columns(a, "c", o->c, (uint64_t)o->groups * o->states);
    if (!rc) rc = columns(a, "destination", o->dst, channels);
    if (!rc) rc = needed_vector(a, "a_log", o->a_log, rates);
    if (!rc) rc = needed_vector(a, "dt_bias", o->dt_bias, each);
    if (!rc) rc = vector(a, "skip", o->skip, each);
    if (!rc) rc = state(a, o->state, o->heads, o->states, o->width);
    for (size_t i = 0; !rc && i < sizeof sources / sizeof *sources; i++) rc = apart(a, sources[i], o->dst);
    return rc;
}

static int pool(const struct at *a, const struct op_pool *o)
{
    uint64_t columns_in = (uint64_t)o->parts * o->width;
    int rc;

    if (!o->width || o->parts < 1 || o->parts > 2 || !o->every || o->every > 65536)
        OP_FAIL("%u x %u columns of windows of %u", o->parts, o->width, o->every);
    rc = columns(a, "source", o->x, columns_in);
    if (!rc) rc = columns(a, "gate", o->gate, columns_in);
    if (!rc) rc = columns(a, "destination", o->dst, o->width);
    if (!rc) rc = needed_vector(a, "bias", o->bias, o->every * columns_in);
    if (!rc) rc = state(a, o->state, plan_pool_sets(o), 3, o->width);
    if (!rc) rc = apart(a, o->x, o->dst);
    if (!rc) rc = apart(a, o->gate, o->dst);
    return rc;
}

static int sinkhorn(const struct at *a, const struct op_sinkhorn *o)
{
    uint64_t n = plan_sinkhorn_columns(o);
    int rc;

    if (!o->streams || o->streams > SINKHORN_STREAMS || o->rounds > 1000 || !(o->eps >= 0))
        OP_FAIL("%u streams, %u rounds, eps %g", o->streams, o->rounds, (double)o->eps);
    rc = columns(a, "columns", o->x, n);
    if (!rc) rc = needed_vector(a, "scale", o->scale, o->rounds ? 3 : 1);
    if (!rc) rc = needed_vector(a, "base", o->base, n);
    return rc;
}

static int mix(const struct at *a, const struct op_mix *o)
{
    uint64_t last;
    int rc;

    if (!o->in || !o->out || !o->width || (o->flags & ~MIX_ADDS))
        OP_FAIL("%u of %u times %u columns, flags %x", o->out, o->in, o->width, o->flags);
    last = (o->in - UINT64_C(1)) * o->in_stride + (o->out - UINT64_C(1)) * o->out_stride;
    rc = blocks(a, "source", o->src, o->in, o->width, o->width);
    if (!rc) rc = blocks(a, "destination", o->dst, o->out, o->width, o->width);
    if (!rc) rc = columns(a, "weights", o->weight, last + 1);
    if (!rc) rc = apart(a, o->src, o->dst);
    if (!rc) rc = apart(a, o->weight, o->dst);
    return rc;
}

/* The table of who chooses by the token: whole numbers that are experts, for each token. */
static int fixed_choice(const struct at *a, const struct op_router *o)
{
    const uint64_t n = (uint64_t)a->p->spec.vocab * o->top;

    if (!(o->flags & ROUTER_BY_TOKEN)) return 0;
    if (o->groups || o->bias != PLAN_NONE || o->score == SCORE_MIXER || !n ||
        !check_fits(o->fixed, 1, n, a->p->constants.count))
        OP_FAIL("a table of %u of %u experts for each of %u tokens, %u groups, bias %u", o->top, o->experts,
                a->p->spec.vocab, o->groups, o->bias);
    for (uint64_t i = 0; i < n; i++) {
        float x = plan_constants(a->p)[o->fixed + i];

        if (!(x >= 0 && x < (float)o->experts && x == (float)(uint32_t)x))
            OP_FAIL("token %llu: %g is none of %u experts", ULL(i / o->top), (double)x, o->experts);
    }
    return 0;
}

static int router(const struct at *a, const struct op_router *o)
{
    const struct plan_experts *x;
    uint64_t eligible = o->experts;

    if (o->table >= a->p->experts.count) OP_FAIL("experts %u of %llu", o->table, ULL(a->p->experts.count));
    x = plan_experts(a->p) + o->table;
    if (o->groups) {
        if (o->experts % o->groups || !o->top_groups || o->top_groups > o->groups)
            OP_FAIL("%u of %u groups of %u experts", o->top_groups, o->groups, o->experts);
        eligible = (uint64_t)o->experts / o->groups * o->top_groups;
    }
    if (o->experts != (uint64_t)x->experts + x->identity || !o->top || o->top > eligible || o->top != x->max_used)
        OP_FAIL("%u of %u experts, the table has %u of %u and %u more", o->top, o->experts, x->max_used, x->experts,
                x->identity);
    if (o->score == SCORE_MIXER && (o->groups || o->bias != PLAN_NONE || o->flags))
        OP_FAIL("a mixer with %u groups, bias %u, flags %x", o->groups, o->bias, o->flags);
    if (o->score > SCORE_SQRT_SOFTPLUS ||
        (o->flags & ~(ROUTER_NORMALIZE | ROUTER_GROUP_TOP2 | ROUTER_LEAST_SUM | ROUTER_SCALE_EACH | ROUTER_BY_TOKEN)))
        OP_FAIL("score %u, flags %x", o->score, o->flags);
    if ((o->flags & ROUTER_GROUP_TOP2) && o->groups && o->experts / o->groups < 2)
        OP_FAIL("%u groups of %u experts have no best two", o->groups, o->experts);
    if (fixed_choice(a, o) || vector(a, "bias", o->bias, o->experts)) return -EPROTO;
    if ((o->flags & ROUTER_SCALE_EACH) && needed_vector(a, "factors", o->each, o->experts)) return -EPROTO;
    return columns(a, "source", o->src, o->experts);
}

static int experts(const struct at *a, const struct op_experts *o)
{
    const struct plan_op *ops = plan_ops(a->p);
    const struct plan_experts *x;
    uint64_t i = a->i;
    int rc;

    if (o->table >= a->p->experts.count) OP_FAIL("experts %u of %llu", o->table, ULL(a->p->experts.count));
    if (o->act > ACT_SWIGLU_OAI || (o->flags & ~(EXPERTS_SCALE_INPUT | EXPERTS_CLAMP_AFTER | EXPERTS_CLAMP_BEFORE)) ||
        (o->flags & EXPERTS_CLAMP_AFTER && o->flags & EXPERTS_CLAMP_BEFORE))
        OP_FAIL("activation %u, flags %x", o->act, o->flags);
    /* the choice of experts is the one made last: it must be this table's */
    while (i && ops[i - 1].kind != OP_ROUTER) i--;
    if (!i || ops[i - 1].router.table != o->table) OP_FAIL("no router chose among experts %u before", o->table);
    x = plan_experts(a->p) + o->table;
    if (x->identity && (o->flags & EXPERTS_SCALE_INPUT)) OP_FAIL("flags %x where experts give back", o->flags);
    rc = columns(a, "source", o->src, x->hidden);
    if (!rc) rc = columns(a, "destination", o->dst, x->hidden);
    if (!rc) rc = apart(a, o->src, o->dst);
    return rc;
}

/* The table's vectors: whole but the last, each where the one before ends. */
static int position(const struct at *a, const struct op_position *o)
{
    const struct plan_vector *v = plan_vectors(a->p) + o->table;
    uint64_t parts = ((uint64_t)o->rows + POSITION_ROWS - 1) / POSITION_ROWS;
    int rc = columns(a, "columns", o->x, o->width);

    if (rc) return rc;
    if (!parts || !check_fits(o->table, 1, parts, a->p->vectors.count))
        OP_FAIL("%u rows from vector %u of %llu on", o->rows, o->table, ULL(a->p->vectors.count));
    if ((uint64_t)a->p->spec.context + o->offset > o->rows)
        OP_FAIL("%u rows for %u positions from row %u on", o->rows, a->p->spec.context, o->offset);
    for (uint64_t i = 0; i < parts && !rc; i++) {
        uint64_t first = i * POSITION_ROWS, n = o->rows - first < POSITION_ROWS ? o->rows - first : POSITION_ROWS;

        rc = needed_vector(a, "table", o->table + (uint32_t)i, n * o->width);
        if (!rc && v[i].at != v->at + first * o->width) OP_FAIL("vector %llu is not behind the one before", ULL(i));
    }
    return rc;
}

static int xielu(const struct at *a, const struct op_xielu *o)
{
    int rc = columns(a, "source", o->src, o->width);

    if (!rc) rc = columns(a, "destination", o->dst, o->width);
    if (!rc) rc = needed_vector(a, "alpha_p", o->alpha_p, 1);
    if (!rc) rc = needed_vector(a, "alpha_n", o->alpha_n, 1);
    if (!rc) rc = needed_vector(a, "beta", o->beta, 1);
    if (!rc) rc = needed_vector(a, "eps", o->eps, 1);
    return rc;
}

static int select_rows(const struct at *a, const struct op_select *o)
{
    int rc = columns(a, "source", o->src, o->width);

    if (!rc) rc = columns(a, "destination", o->dst, o->width);
    if (!rc) rc = apart(a, o->src, o->dst);
    return rc;
}

static int logits(const struct at *a, const struct op_logits *o)
{
    if (!a->selected || o->width != a->p->spec.vocab || a->i + 1 != a->p->ops.count)
        OP_FAIL("%u columns of a vocabulary of %u, %s", o->width, a->p->spec.vocab,
                a->selected ? "not at the end" : "before positions were selected");
    return columns(a, "source", o->src, o->width);
}

/* Messages are whole: the hop before this one goes on with it, or has ended. */
static int hop(const struct at *a, const struct op_hop *o)
{
    const struct plan_op *before = a->i ? a->op - 1 : NULL;
    const struct op_hop *b = before && before->kind == a->op->kind ? &before->hop : NULL;
    bool open = before && (before->kind == OP_SEND || before->kind == OP_RECEIVE) &&
                before->hop.at + before->hop.width != before->hop.total;
    bool goes_on =
        open && b && b->at + b->width == o->at && b->total == o->total && b->hop == o->hop && b->peer == o->peer;

    if (!a->p->spec.share || a->selected)
        OP_FAIL("%s", a->selected ? "after positions were selected" : "in a whole model");
    if (!o->width || o->total > CHECK_WIDTH || !check_fits(o->at, 1, o->width, o->total) || (o->at ? !goes_on : open))
        OP_FAIL("columns %u to %u of a message of %u", o->at, o->at + o->width, o->total);
    return columns(a, "columns", o->x, o->width);
}

/* Nothing comes between the parts of a message. */
static int whole_message(const struct at *a)
{
    const struct plan_op *before = a->i ? a->op - 1 : a->op;

    if ((before->kind == OP_SEND || before->kind == OP_RECEIVE) && before->kind != a->op->kind &&
        before->hop.at + before->hop.width != before->hop.total)
        OP_FAIL("in the middle of hop %u", before->hop.hop);
    return 0;
}

static int check_op(const struct at *a)
{
    const struct plan_op *o = a->op;

    switch (o->kind) {
    case OP_EMBED: return embed(a, &o->embed);
    case OP_NORM: return norm(a, &o->norm);
    case OP_MATMUL: return matmul(a, &o->matmul);
    case OP_HEADMM: return headmm(a, &o->headmm);
    case OP_ROPE: return rope(a, &o->rope);
    case OP_COPY: return copy(a, &o->copy);
    case OP_ADD: return add(a, &o->add);
    case OP_ACT: return act(a, &o->act);
    case OP_SCALE: return scale(a, &o->scale);
    case OP_ATTENTION: return attention(a, &o->attention);
    case OP_CONV: return conv(a, &o->conv);
    case OP_DELTA: return delta(a, &o->delta);
    case OP_SCAN: return scan(a, &o->scan);
    case OP_ROUTER: return router(a, &o->router);
    case OP_EXPERTS: return experts(a, &o->experts);
    case OP_SELECT: return select_rows(a, &o->select);
    case OP_LOGITS: return logits(a, &o->logits);
    case OP_POSITION: return position(a, &o->position);
    case OP_XIELU: return xielu(a, &o->xielu);
    case OP_INDEX: return index_op(a, &o->index);
    case OP_SEND:
    case OP_RECEIVE: return hop(a, &o->hop);
    case OP_POOL: return pool(a, &o->pool);
    case OP_SINKHORN: return sinkhorn(a, &o->sinkhorn);
    case OP_MIX: return mix(a, &o->mix);
    default: OP_FAIL("unknown kind %u", o->kind);
    }
}

/* After OP_SELECT rows are chosen positions: what looks at places, caches or states would take the wrong ones. */
static bool needs_all_positions(uint32_t kind)
{
    return kind == OP_EMBED || kind == OP_ROPE || kind == OP_ATTENTION || kind == OP_CONV || kind == OP_DELTA ||
           kind == OP_SCAN || kind == OP_SELECT || kind == OP_POSITION || kind == OP_INDEX || kind == OP_POOL;
}

/* What attention finds there is believed: nothing but an index writes to the buffer of lists. */
static int spare_lists(const struct at *a)
{
    struct plan_view views[PLAN_OP_VIEWS];
    uint32_t n = plan_op_views(a->op, views);

    if (!a->index || a->op->kind == OP_INDEX) return 0;
    if (a->op->kind == OP_ATTENTION && a->op->attention.chosen_top) {
        views[n - 2] = views[n - 1]; /* the lists themselves, before the destination */
        n--;
    }
    for (uint32_t i = 0; i < n; i++)
        if (views[i].buf == a->index->dst.buf) OP_FAIL("uses buffer %u, which holds lists", views[i].buf);
    return 0;
}

static bool begins(const struct plan_shm *p, const struct plan_op *o)
{
    return o->kind == OP_EMBED || (p->spec.share && o->kind == OP_RECEIVE);
}

static bool ends(const struct plan_shm *p, const struct plan_op *o)
{
    return o->kind == OP_LOGITS || (p->spec.share && o->kind == OP_SEND && o->hop.at + o->hop.width == o->hop.total);
}

int check_ops(const struct plan_shm *p, struct error *e)
{
    struct at at = {.p = p, .e = e}, *a = &at;

    if (!p->ops.count || !begins(p, plan_ops(p)) || !ends(p, plan_ops(p) + p->ops.count - 1))
        CHECK_FAIL("%llu operations that do not lead from the embedding to logits", ULL(p->ops.count));
    for (; a->i < p->ops.count; a->i++) {
        int rc;

        a->op = plan_ops(p) + a->i;
        if (a->selected && needs_all_positions(a->op->kind)) OP_FAIL("%s", "after positions were selected");
        rc = check_op(a);
        if (!rc) rc = whole_message(a);
        if (!rc) rc = spare_lists(a);
        if (rc) return rc;
        if (a->op->kind == OP_INDEX) a->index = &a->op->index;
        if (a->op->kind == OP_SELECT) a->selected = true;
    }
    return 0;
}
