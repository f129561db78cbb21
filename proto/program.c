#include "proto/program.h"

#include <errno.h>

const char *plan_op_name(uint32_t kind)
{
    static const char *const names[OP_KINDS] = {
        "embed",     "norm",  "matmul", "headmm",  "rope",    "copy",     "add",    "act",  "scale",
        "attention", "conv",  "delta",  "router",  "experts", "select",   "logits", "scan", "position",
        "xielu",     "index", "send",   "receive", "pool",    "sinkhorn", "mix",
    };

    return kind < OP_KINDS ? names[kind] : "unknown";
}

uint32_t plan_op_views(const struct plan_op *op, struct plan_view out[PLAN_OP_VIEWS])
{
    uint32_t n = 0;

    switch (op->kind) {
    case OP_EMBED:
        if (op->embed.flags & EMBED_BESIDE) out[n++] = op->embed.beside_dst;
        out[n++] = op->embed.dst;
        break;
    case OP_NORM:
        out[n++] = op->norm.src;
        out[n++] = op->norm.dst;
        break;
    case OP_MATMUL:
        out[n++] = op->matmul.src;
        out[n++] = op->matmul.dst;
        break;
    case OP_HEADMM:
        out[n++] = op->headmm.src;
        out[n++] = op->headmm.dst;
        break;
    case OP_ROPE: out[n++] = op->rope.x; break;
    case OP_COPY:
        out[n++] = op->copy.src;
        out[n++] = op->copy.dst;
        break;
    case OP_ADD:
        out[n++] = op->add.a;
        out[n++] = op->add.b;
        out[n++] = op->add.dst;
        break;
    case OP_ACT:
        out[n++] = op->act.gate;
        if (op->act.up.buf != PLAN_NOBUF) out[n++] = op->act.up;
        out[n++] = op->act.dst;
        break;
    case OP_SCALE: out[n++] = op->scale.x; break;
    case OP_ATTENTION:
        out[n++] = op->attention.q;
        if (!(op->attention.flags & ATTN_REUSES)) out[n++] = op->attention.k;
        if (!(op->attention.flags & (ATTN_V_IN_K | ATTN_REUSES))) out[n++] = op->attention.v;
        if (op->attention.chosen_top) out[n++] = op->attention.chosen;
        out[n++] = op->attention.dst;
        break;
    case OP_CONV:
        out[n++] = op->conv.src;
        out[n++] = op->conv.dst;
        break;
    case OP_DELTA:
        out[n++] = op->delta.q;
        out[n++] = op->delta.k;
        out[n++] = op->delta.v;
        out[n++] = op->delta.a;
        out[n++] = op->delta.b;
        out[n++] = op->delta.dst;
        break;
    case OP_ROUTER: out[n++] = op->router.src; break;
    case OP_EXPERTS:
        out[n++] = op->experts.src;
        out[n++] = op->experts.dst;
        break;
    case OP_POSITION: out[n++] = op->position.x; break;
    case OP_XIELU:
        out[n++] = op->xielu.src;
        out[n++] = op->xielu.dst;
        break;
    case OP_SELECT:
        out[n++] = op->select.src;
        out[n++] = op->select.dst;
        break;
    case OP_LOGITS: out[n++] = op->logits.src; break;
    case OP_SCAN:
        out[n++] = op->scan.x;
        out[n++] = op->scan.dt;
        out[n++] = op->scan.b;
        out[n++] = op->scan.c;
        out[n++] = op->scan.dst;
        break;
    case OP_INDEX:
        out[n++] = op->index.q;
        out[n++] = op->index.k;
        if (op->index.w.buf != PLAN_NOBUF) out[n++] = op->index.w;
        out[n++] = op->index.dst;
        break;
    case OP_SEND:
    case OP_RECEIVE: out[n++] = op->hop.x; break;
    case OP_POOL:
        out[n++] = op->pool.x;
        out[n++] = op->pool.gate;
        out[n++] = op->pool.dst;
        break;
    case OP_SINKHORN: out[n++] = op->sinkhorn.x; break;
    case OP_MIX:
        out[n++] = op->mix.src;
        out[n++] = op->mix.weight;
        out[n++] = op->mix.dst;
        break;
    default: break;
    }
    return n;
}

uint32_t plan_hop_columns(const struct plan_op *op, uint64_t ops)
{
    uint32_t most = 0;

    for (uint64_t i = 0; i < ops; i++)
        if ((op[i].kind == OP_SEND || op[i].kind == OP_RECEIVE) && op[i].hop.total > most) most = op[i].hop.total;
    return most;
}
