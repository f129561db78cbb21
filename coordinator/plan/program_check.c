#include "coordinator/plan/program.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What is being checked; the first fault stays. */
struct check {
    const struct program *p;
    const struct plan_op *op;
    size_t at;
    struct error *e;
    int rc;
};

static const char *op_label(uint32_t kind)
{
    static const char *const names[OP_KINDS] = {"embed",  "norm",    "matmul", "headmm",    "rope", "copy",
                                                "add",    "act",     "scale",  "attention", "conv", "delta",
                                                "router", "experts", "select", "logits"};
    return kind < OP_KINDS ? names[kind] : "unknown operation";
}

static void fault(struct check *c, const char *what, uint64_t have, uint64_t want)
{
    if (c->rc) return;
    c->rc = error_set(c->e, EPROTO, "operation %zu (%s, layer %u): %s: %" PRIu64 ", expected %" PRIu64, c->at,
                      op_label(c->op->kind), c->op->layer, what, have, want);
}

static void want_equal(struct check *c, const char *what, uint64_t have, uint64_t want)
{
    if (have != want) fault(c, what, have, want);
}

static bool want_index(struct check *c, const char *what, uint64_t i, const struct program_table *t)
{
    if (i < t->count) return true;
    fault(c, what, i, t->count);
    return false;
}

/* columns columns from the view on. */
static void want_view(struct check *c, const char *what, struct plan_view v, uint64_t columns)
{
    if (!want_index(c, what, v.buf, &c->p->buffers)) return;
    uint32_t width = *PROGRAM_AT(c->p, buffers, uint32_t, v.buf);
    if (v.col + columns > width || columns == 0) fault(c, what, v.col + columns, width);
}

/* count blocks of width columns, stride apart. */
static void want_blocks(struct check *c, const char *what, struct plan_view v, uint64_t count, uint64_t width,
                        uint64_t stride)
{
    if (count == 0) {
        fault(c, what, 0, 1);
        return;
    }
    if (count > 1 && stride < width) fault(c, what, stride, width);
    want_view(c, what, v, (count - 1) * stride + width);
}

static void want_vector(struct check *c, const char *what, uint32_t v, uint64_t elements)
{
    if (v == PLAN_NONE || !want_index(c, what, v, &c->p->vectors)) return;
    want_equal(c, what, PROGRAM_AT(c->p, vectors, struct plan_vector, v)->elements, elements);
}

static const struct plan_matrix *want_matrix(struct check *c, const char *what, uint32_t m)
{
    return want_index(c, what, m, &c->p->matrices) ? PROGRAM_AT(c->p, matrices, struct plan_matrix, m) : NULL;
}

static void want_apart(struct check *c, const char *what, struct plan_view a, struct plan_view b)
{
    if (a.buf == b.buf) fault(c, what, a.buf, b.buf);
}

static void check_norm(struct check *c, const struct op_norm *o)
{
    uint64_t elements = o->weight_stride ? (uint64_t)(o->groups - 1) * o->weight_stride + o->width : o->width;

    want_blocks(c, "source", o->src, o->groups, o->width, o->src_stride);
    want_blocks(c, "destination", o->dst, o->groups, o->width, o->dst_stride);
    want_vector(c, "weight", o->weight, elements);
    want_vector(c, "bias", o->bias, elements);
}

static void check_matmul(struct check *c, const struct op_matmul *o)
{
    const struct plan_matrix *m = want_matrix(c, "matrix", o->matrix);

    if (!m) return;
    want_view(c, "source", o->src, m->cols);
    want_view(c, "destination", o->dst, m->rows);
    want_vector(c, "bias", o->bias, m->rows);
    want_apart(c, "source and destination buffer", o->src, o->dst);
}

static void check_headmm(struct check *c, const struct op_headmm *o)
{
    const struct plan_matrix *m = want_matrix(c, "matrix", o->matrix);

    if (!m || !o->heads) return fault(c, "heads", o->heads, 1);
    want_blocks(c, "source", o->src, o->heads, o->transposed ? o->rows : m->cols, o->src_stride);
    want_blocks(c, "destination", o->dst, o->heads, o->transposed ? m->cols : o->rows, o->dst_stride);
    if ((uint64_t)(o->heads - 1) * o->row_stride + o->row_off + o->rows > m->rows)
        fault(c, "rows of the heads", o->rows, m->rows);
}

static void check_rope(struct check *c, const struct op_rope *o)
{
    if (!want_index(c, "rope", o->rope, &c->p->ropes)) return;
    want_equal(c, "rotated columns", o->dim, PROGRAM_AT(c->p, ropes, struct plan_rope, o->rope)->dim);
    want_blocks(c, "heads", o->x, o->heads, o->dim, o->head_stride);
}

static void check_attention(struct check *c, const struct op_attention *o)
{
    bool shared = o->flags & ATTN_V_IN_K;

    if (!o->kv_heads || o->heads % o->kv_heads) return fault(c, "heads over key heads", o->heads, o->kv_heads);
    want_view(c, "q", o->q, (uint64_t)o->heads * o->dk);
    want_view(c, "k", o->k, (uint64_t)o->kv_heads * o->dk);
    if (!shared) want_view(c, "v", o->v, (uint64_t)o->kv_heads * o->dv);
    if (shared && o->dv > o->dk) fault(c, "value columns", o->dv, o->dk);
    want_view(c, "destination", o->dst, (uint64_t)o->heads * o->dv);
    want_vector(c, "sinks", o->sinks, o->heads);
    want_vector(c, "alibi", o->alibi, o->heads);
    if (!want_index(c, "cache", o->cache, &c->p->caches)) return;
    const struct plan_cache *k = PROGRAM_AT(c->p, caches, struct plan_cache, o->cache);
    want_equal(c, "cached key columns", k->k_width, (uint64_t)o->kv_heads * o->dk);
    want_equal(c, "cached value columns", k->v_width, shared ? 0 : (uint64_t)o->kv_heads * o->dv);
}

static void check_conv(struct check *c, const struct op_conv *o)
{
    want_view(c, "source", o->src, o->width);
    want_view(c, "destination", o->dst, o->width);
    want_vector(c, "weight", o->weight, (uint64_t)o->width * o->taps);
    want_vector(c, "bias", o->bias, o->width);
    if (want_index(c, "state", o->state, &c->p->states))
        want_equal(c, "state", PROGRAM_AT(c->p, states, struct plan_state, o->state)->floats,
                   (uint64_t)(o->taps - 1) * o->width);
}

static void check_delta(struct check *c, const struct op_delta *o)
{
    if (!o->key_heads || o->heads % o->key_heads) return fault(c, "heads over key heads", o->heads, o->key_heads);
    want_view(c, "q", o->q, (uint64_t)o->key_heads * o->dk);
    want_view(c, "k", o->k, (uint64_t)o->key_heads * o->dk);
    want_view(c, "v", o->v, (uint64_t)o->heads * o->dv);
    want_view(c, "a", o->a, o->heads);
    want_view(c, "b", o->b, o->heads);
    want_view(c, "destination", o->dst, (uint64_t)o->heads * o->dv);
    want_vector(c, "a_log", o->a_log, o->heads);
    want_vector(c, "dt_bias", o->dt_bias, o->heads);
    if (want_index(c, "state", o->state, &c->p->states))
        want_equal(c, "state", PROGRAM_AT(c->p, states, struct plan_state, o->state)->floats,
                   (uint64_t)o->heads * o->dk * o->dv);
}

static void check_act(struct check *c, const struct op_act *o)
{
    want_view(c, "destination", o->dst, o->width);
    if (o->flags & ACT_INTERLEAVED) return want_view(c, "gate", o->gate, 2 * (uint64_t)o->width);
    want_view(c, "gate", o->gate, o->flags & ACT_BROADCAST ? 1 : o->width);
    if (o->up.buf != PLAN_NOBUF) want_view(c, "up", o->up, o->width);
}

static void check_expert_matrix(struct check *c, const struct plan_experts *t, uint32_t m, uint64_t in, uint64_t out)
{
    const struct plan_matrix *w = want_matrix(c, "expert's matrix", m);

    if (!w) return;
    want_equal(c, "inputs of an expert's matrix", t->transposed ? w->rows : w->cols, in);
    want_equal(c, "outputs of an expert's matrix", t->transposed ? w->cols : w->rows, out);
    if (t->biased) want_vector(c, "an expert's bias", t->bias0 + (m - t->matrix0), out);
}

static void check_experts(struct check *c, const struct op_experts *o)
{
    if (!want_index(c, "experts", o->table, &c->p->experts)) return;
    const struct plan_experts *t = PROGRAM_AT(c->p, experts, struct plan_experts, o->table);

    want_view(c, "source", o->src, t->hidden);
    want_view(c, "destination", o->dst, t->hidden);
    want_apart(c, "source and destination buffer", o->src, o->dst);
    for (uint32_t e = 0; e < t->experts && !c->rc; e++) {
        if (t->fused) {
            check_expert_matrix(c, t, t->matrix0 + e * 2, t->hidden, 2 * (uint64_t)t->inter);
            check_expert_matrix(c, t, t->matrix0 + e * 2 + 1, t->inter, t->hidden);
            continue;
        }
        check_expert_matrix(c, t, t->matrix0 + e * 3, t->hidden, t->inter);
        check_expert_matrix(c, t, t->matrix0 + e * 3 + 1, t->hidden, t->inter);
        check_expert_matrix(c, t, t->matrix0 + e * 3 + 2, t->inter, t->hidden);
    }
}

static void check_router(struct check *c, const struct op_router *o)
{
    if (!want_index(c, "experts", o->table, &c->p->experts)) return;
    const struct plan_experts *t = PROGRAM_AT(c->p, experts, struct plan_experts, o->table);

    want_view(c, "source", o->src, o->experts);
    want_equal(c, "experts", o->experts, t->experts);
    want_equal(c, "experts chosen", o->top, t->max_used);
    want_vector(c, "bias", o->bias, o->experts);
    if (o->groups && (o->experts % o->groups || o->top_groups > o->groups || !o->top_groups))
        fault(c, "groups of experts", o->groups, o->experts);
    if (!o->top || o->top > (o->groups ? o->experts / o->groups * o->top_groups : o->experts))
        fault(c, "experts chosen", o->top, o->experts);
}

static void check_embed(struct check *c, const struct op_embed *o)
{
    const struct plan_matrix *m = want_matrix(c, "matrix", o->matrix);

    if (!m) return;
    want_equal(c, "width", o->width, m->cols);
    want_view(c, "destination", o->dst, o->width);
}

static void check_op(struct check *c)
{
    const struct plan_op *op = c->op;

    switch (op->kind) {
    case OP_EMBED: return check_embed(c, &op->embed);
    case OP_NORM: return check_norm(c, &op->norm);
    case OP_MATMUL: return check_matmul(c, &op->matmul);
    case OP_HEADMM: return check_headmm(c, &op->headmm);
    case OP_ROPE: return check_rope(c, &op->rope);
    case OP_COPY:
        want_blocks(c, "source", op->copy.src, op->copy.blocks, op->copy.width, op->copy.src_stride);
        return want_blocks(c, "destination", op->copy.dst, op->copy.blocks, op->copy.width, op->copy.dst_stride);
    case OP_ADD:
        want_view(c, "destination", op->add.dst, op->add.width);
        want_view(c, "first term", op->add.a, op->add.width);
        return want_view(c, "second term", op->add.b, op->add.width);
    case OP_ACT: return check_act(c, &op->act);
    case OP_SCALE: return want_view(c, "columns", op->scale.x, op->scale.width);
    case OP_ATTENTION: return check_attention(c, &op->attention);
    case OP_CONV: return check_conv(c, &op->conv);
    case OP_DELTA: return check_delta(c, &op->delta);
    case OP_ROUTER: return check_router(c, &op->router);
    case OP_EXPERTS: return check_experts(c, &op->experts);
    case OP_SELECT:
        want_view(c, "source", op->select.src, op->select.width);
        want_view(c, "destination", op->select.dst, op->select.width);
        return want_apart(c, "source and destination buffer", op->select.src, op->select.dst);
    case OP_LOGITS:
        want_equal(c, "vocabulary", op->logits.width, c->p->spec.vocab);
        return want_view(c, "source", op->logits.src, op->logits.width);
    default: fault(c, "kind", op->kind, OP_KINDS);
    }
}

int program_check(const struct program *p, struct error *e)
{
    struct check c = {.p = p, .e = e};

    for (c.at = 0; c.at < p->ops.count && !c.rc; c.at++) {
        c.op = PROGRAM_AT(p, ops, struct plan_op, c.at);
        check_op(&c);
    }
    return c.rc;
}
