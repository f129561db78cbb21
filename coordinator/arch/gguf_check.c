/* Is what a GGUF file says the model that it is made from? Both programs are held against each other, operation by operation. How
 * matrices are cut and columns moved about differs, and so do names; what is computed may not. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "coordinator/arch/gguf_make.h"

#define NEAR 2e-5 /* of a frequency that was rounded once more */

struct walk {
    const struct plan_shm *p;
    uint64_t at;
};

/* Those that move columns or multiply with a matrix are left to the tensors' shapes. */
static const struct plan_op *next(struct walk *w)
{
    while (w->at < w->p->ops.count) {
        const struct plan_op *op = &plan_ops(w->p)[w->at++];

        if (op->kind != OP_COPY && op->kind != OP_MATMUL && op->kind != OP_HEADMM) return op;
    }
    return NULL;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= NEAR * fmax(fabs(a), fabs(b));
}

static bool same_rope(const struct plan_shm *p, const struct op_rope *a, const struct plan_shm *q,
                      const struct op_rope *b)
{
    const struct plan_rope *x = &plan_ropes(p)[a->rope], *y = &plan_ropes(q)[b->rope];

    if (a->dim != b->dim || a->style != b->style || a->heads != b->heads || x->dim != y->dim ||
        !near((double)x->scale, (double)y->scale))
        return false;
    for (uint32_t i = 0; i < x->dim / 2; i++)
        if (!near((double)plan_constants(p)[x->inv_freq + i], (double)plan_constants(q)[y->inv_freq + i])) return false;
    return true;
}

static bool same_vector(const struct plan_shm *p, uint32_t a, const struct plan_shm *q, uint32_t b)
{
    return (a == PLAN_NONE) == (b == PLAN_NONE) &&
           (a == PLAN_NONE || plan_vectors(p)[a].elements == plan_vectors(q)[b].elements);
}

/* What of it differs; NULL: nothing. */
static const char *attention(const struct plan_shm *p, const struct op_attention *a, const struct plan_shm *q,
                             const struct op_attention *b)
{
    if (a->heads != b->heads || a->kv_heads != b->kv_heads || a->dk != b->dk || a->dv != b->dv) return "heads";
    if (a->chunk != b->chunk) return "attention_chunk_size";
    if (!near((double)a->scale, (double)b->scale)) return "the scale of attention";
    if (a->cap != b->cap) return "the cap of attention";
    return same_vector(p, a->sinks, q, b->sinks) && same_vector(p, a->alibi, q, b->alibi) ? NULL : "sinks or slopes";
}

static bool same_router(const struct op_router *a, const struct op_router *b)
{
    uint32_t ga = a->groups > 1 ? a->groups : 1, gb = b->groups > 1 ? b->groups : 1;

    return a->experts == b->experts && a->top == b->top && ga == gb && (ga == 1 || a->top_groups == b->top_groups) &&
           a->score == b->score && a->flags == b->flags && near((double)a->scale, (double)b->scale) &&
           (a->bias == PLAN_NONE) == (b->bias == PLAN_NONE);
}

static const char *differs(const struct plan_shm *p, const struct plan_op *a, const struct plan_shm *q,
                           const struct plan_op *b)
{
    if (a->kind != b->kind || a->layer != b->layer) return "the order of operations";
    switch (a->kind) {
    case OP_EMBED: return near((double)a->embed.scale, (double)b->embed.scale) ? NULL : "the embedding's factor";
    case OP_NORM:
        if (a->norm.kind != b->norm.kind || a->norm.width != b->norm.width || a->norm.groups != b->norm.groups)
            return "norms";
        return near((double)a->norm.eps, (double)b->norm.eps) && same_vector(p, a->norm.bias, q, b->norm.bias)
                   ? NULL
                   : "the epsilon of norms";
    case OP_ROPE: return same_rope(p, &a->rope, q, &b->rope) ? NULL : "rotary angles";
    case OP_ADD:
        return near((double)a->add.ca, (double)b->add.ca) && near((double)a->add.cb, (double)b->add.cb)
                   ? NULL
                   : "the factor of the residual stream";
    case OP_ACT:
        return a->act.kind == b->act.kind && a->act.alpha == b->act.alpha && a->act.limit == b->act.limit
                   ? NULL
                   : "hidden_act";
    case OP_SCALE:
        return a->scale.flags == b->scale.flags && near((double)a->scale.mul, (double)b->scale.mul) &&
                       a->scale.cap == b->scale.cap && a->scale.floor == b->scale.floor
                   ? NULL
                   : "a factor";
    case OP_ATTENTION: return attention(p, &a->attention, q, &b->attention);
    case OP_CONV: return a->conv.taps == b->conv.taps && a->conv.act == b->conv.act ? NULL : "convolutions";
    case OP_DELTA:
        return a->delta.heads == b->delta.heads && a->delta.dk == b->delta.dk && a->delta.dv == b->delta.dv &&
                       near((double)a->delta.scale, (double)b->delta.scale)
                   ? NULL
                   : "recurrent layers";
    case OP_SCAN:
        return a->scan.heads == b->scan.heads && a->scan.width == b->scan.width && a->scan.groups == b->scan.groups &&
                       a->scan.states == b->scan.states && a->scan.dt_least == b->scan.dt_least &&
                       a->scan.dt_most == b->scan.dt_most
                   ? NULL
                   : "recurrent layers";
    case OP_ROUTER: return same_router(&a->router, &b->router) ? NULL : "how experts are chosen";
    case OP_EXPERTS:
        return a->experts.act == b->experts.act && a->experts.flags == b->experts.flags &&
                       a->experts.alpha == b->experts.alpha && a->experts.limit == b->experts.limit
                   ? NULL
                   : "experts";
    default: return NULL;
    }
}

int gguf_check(const struct plan_shm *is, const struct model *m, uint32_t *window, struct error *e)
{
    const struct plan_shm *p = model_program(m);
    struct walk a = {.p = p}, b = {.p = is};
    const struct plan_op *x, *y;
    const char *what = p->spec.vocab != is->spec.vocab ? "vocab_size" : NULL;

    *window = 0;
    do {
        x = next(&a);
        y = next(&b);
        if (!what && (x == NULL) != (y == NULL)) what = "the number of operations";
        if (!what && x && y) what = differs(p, x, is, y);
        if (!what && x && y && x->kind == OP_ATTENTION && x->attention.window != y->attention.window) {
            if (!x->attention.window || y->attention.window) what = "sliding_window";
            *window = x->attention.window;
        }
    } while (!what && x && y);
    if (!what) return 0;
    return error_set(
        e, ENOTSUP,
        "%s: a GGUF file of its architecture cannot say what it does: %s would differ: `sluice pack` without "
        "--to keeps all its bits in fewer bytes",
        model_config(m)->path, what);
}
