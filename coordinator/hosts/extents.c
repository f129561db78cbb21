#include "coordinator/hosts/extents.h"

static void reads(struct extents *x, struct plan_view v, uint64_t count, uint64_t width, uint64_t stride)
{
    x->read[x->reads++] = (struct extent){v, count, width, stride};
}

static void writes(struct extents *x, struct plan_view v, uint64_t count, uint64_t width, uint64_t stride)
{
    x->write[x->writes++] = (struct extent){v, count, width, stride};
}

static void in_place(struct extents *x, struct plan_view v, uint64_t count, uint64_t width, uint64_t stride)
{
    reads(x, v, count, width, stride);
    writes(x, v, count, width, stride);
}

static void of_product(struct extents *x, const struct plan_shm *p, const struct plan_op *o)
{
    const struct plan_matrix *m = &plan_matrices(p)[plan_op_matrix(o)];
    bool turned = o->kind == OP_MATMUL ? (o->matmul.flags & MATMUL_TRANSPOSED) != 0 : o->headmm.transposed != 0;

    if (o->kind == OP_MATMUL) {
        reads(x, o->matmul.src, 1, turned ? m->rows : m->cols, 0);
        writes(x, o->matmul.dst, 1, turned ? m->cols : m->rows, 0);
    } else {
        reads(x, o->headmm.src, o->headmm.heads, turned ? o->headmm.rows : m->cols, o->headmm.src_stride);
        writes(x, o->headmm.dst, o->headmm.heads, turned ? m->cols : o->headmm.rows, o->headmm.dst_stride);
    }
}

static void of_attention(struct extents *x, const struct op_attention *o)
{
    bool reuses = o->flags & ATTN_REUSES;

    reads(x, o->q, 1, (uint64_t)o->heads * o->dk, 0);
    if (!reuses) reads(x, o->k, 1, (uint64_t)o->kv_heads * o->dk * (o->pooled ? 2 : 1), 0);
    if (!reuses && !(o->flags & ATTN_V_IN_K)) reads(x, o->v, 1, (uint64_t)o->kv_heads * o->dv, 0);
    if (o->chosen_top) reads(x, o->chosen, 1, o->chosen_groups * (UINT64_C(1) + o->chosen_top), 0);
    writes(x, o->dst, 1, (uint64_t)o->heads * o->dv, 0);
}

static void of_index(struct extents *x, const struct op_index *o)
{
    reads(x, o->q, 1, (uint64_t)o->heads * o->dim, 0);
    reads(x, o->k, 1, o->dim, 0);
    if (o->w.buf != PLAN_NOBUF) reads(x, o->w, 1, o->heads, 0);
    writes(x, o->dst, 1, o->groups * (UINT64_C(1) + o->top), 0);
}

static void of_act(struct extents *x, const struct op_act *o)
{
    uint64_t each = o->each ? o->each : o->width;
    uint64_t gates = o->flags & ACT_BROADCAST     ? o->width / each
                     : o->flags & ACT_INTERLEAVED ? UINT64_C(2) * o->width
                                                  : o->width;

    reads(x, o->gate, 1, gates, 0);
    if (o->up.buf != PLAN_NOBUF) reads(x, o->up, 1, o->width, 0);
    writes(x, o->dst, 1, o->width, 0);
}

static void of_delta(struct extents *x, const struct op_delta *o)
{
    reads(x, o->q, 1, (uint64_t)o->key_heads * o->dk, 0);
    reads(x, o->k, 1, (uint64_t)o->key_heads * o->dk, 0);
    reads(x, o->v, 1, (uint64_t)o->heads * o->dv, 0);
    reads(x, o->a, 1, o->flags & DELTA_CHANNELS ? (uint64_t)o->heads * o->dk : o->heads, 0);
    reads(x, o->b, 1, o->heads, 0);
    writes(x, o->dst, 1, (uint64_t)o->heads * o->dv, 0);
}

static void of_scan(struct extents *x, const struct op_scan *o)
{
    uint64_t channels = (uint64_t)o->heads * o->width;

    reads(x, o->x, 1, channels, 0);
    reads(x, o->dt, 1, o->flags & SCAN_CHANNELS ? channels : o->heads, 0);
    reads(x, o->b, 1, (uint64_t)o->groups * o->states, 0);
    reads(x, o->c, 1, (uint64_t)o->groups * o->states, 0);
    writes(x, o->dst, 1, channels, 0);
}

static void of_pool(struct extents *x, const struct op_pool *o)
{
    reads(x, o->x, 1, (uint64_t)o->parts * o->width, 0);
    reads(x, o->gate, 1, (uint64_t)o->parts * o->width, 0);
    writes(x, o->dst, 1, o->width, 0);
}

static void of_mix(struct extents *x, const struct op_mix *o)
{
    uint64_t last = (o->in - UINT64_C(1)) * o->in_stride + (o->out - UINT64_C(1)) * o->out_stride;

    reads(x, o->src, 1, (uint64_t)o->in * o->width, 0);
    reads(x, o->weight, 1, last + 1, 0);
    if (o->flags & MIX_ADDS) reads(x, o->dst, 1, (uint64_t)o->out * o->width, 0);
    writes(x, o->dst, 1, (uint64_t)o->out * o->width, 0);
}

void extents_of(struct extents *x, const struct plan_shm *p, const struct plan_op *o)
{
    *x = (struct extents){.reads = 0};
    switch (o->kind) {
    case OP_EMBED:
        if (o->embed.flags & EMBED_BESIDE) writes(x, o->embed.beside_dst, 1, o->embed.beside_width, 0);
        writes(x, o->embed.dst, 1, o->embed.width, 0);
        break;
    case OP_NORM:
        reads(x, o->norm.src, o->norm.groups, o->norm.width, o->norm.src_stride);
        writes(x, o->norm.dst, o->norm.groups, o->norm.kind == NORM_SIZE ? 1 : o->norm.width, o->norm.dst_stride);
        break;
    case OP_MATMUL:
    case OP_HEADMM: of_product(x, p, o); break;
    case OP_ROPE: in_place(x, o->rope.x, o->rope.heads, o->rope.dim, o->rope.head_stride); break;
    case OP_COPY:
        reads(x, o->copy.src, o->copy.blocks, o->copy.width, o->copy.src_stride);
        writes(x, o->copy.dst, o->copy.blocks, o->copy.width, o->copy.dst_stride);
        break;
    case OP_ADD:
        reads(x, o->add.a, 1, o->add.width, 0);
        reads(x, o->add.b, 1, o->add.width, 0);
        writes(x, o->add.dst, 1, o->add.width, 0);
        break;
    case OP_ACT: of_act(x, &o->act); break;
    case OP_SCALE: in_place(x, o->scale.x, 1, o->scale.width, 0); break;
    case OP_ATTENTION: of_attention(x, &o->attention); break;
    case OP_INDEX: of_index(x, &o->index); break;
    case OP_CONV:
        reads(x, o->conv.src, 1, o->conv.width, 0);
        writes(x, o->conv.dst, 1, o->conv.width, 0);
        break;
    case OP_DELTA: of_delta(x, &o->delta); break;
    case OP_SCAN: of_scan(x, &o->scan); break;
    case OP_ROUTER: reads(x, o->router.src, 1, o->router.experts, 0); break;
    case OP_EXPERTS:
        reads(x, o->experts.src, 1, plan_experts(p)[o->experts.table].hidden, 0);
        writes(x, o->experts.dst, 1, plan_experts(p)[o->experts.table].hidden, 0);
        break;
    case OP_SELECT:
        reads(x, o->select.src, 1, o->select.width, 0);
        writes(x, o->select.dst, 1, o->select.width, 0);
        break;
    case OP_LOGITS: reads(x, o->logits.src, 1, o->logits.width, 0); break;
    case OP_POSITION: in_place(x, o->position.x, 1, o->position.width, 0); break;
    case OP_XIELU:
        reads(x, o->xielu.src, 1, o->xielu.width, 0);
        writes(x, o->xielu.dst, 1, o->xielu.width, 0);
        break;
    case OP_POOL: of_pool(x, &o->pool); break;
    case OP_SINKHORN: in_place(x, o->sinkhorn.x, 1, plan_sinkhorn_columns(&o->sinkhorn), 0); break;
    case OP_MIX: of_mix(x, &o->mix); break;
    case OP_SEND: reads(x, o->hop.x, 1, o->hop.width, 0); break;
    case OP_RECEIVE: writes(x, o->hop.x, 1, o->hop.width, 0); break;
    default: break;
    }
}
