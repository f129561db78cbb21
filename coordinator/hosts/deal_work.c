/* What a program streams, layer by layer, and which layers stay together. */
#include <errno.h>
#include <stdlib.h>

#include "coordinator/hosts/deal.h"
#include "coordinator/plan/tiling.h"

void deal_work_close(struct deal_work *w)
{
    free(w->dense);
    free(w->experts);
    free(w->chosen);
    free(w->unit);
    *w = (struct deal_work){0};
}

static uint32_t root(const struct deal_work *w, uint32_t layer)
{
    while (w->unit[layer] != layer) layer = w->unit[layer];
    return layer;
}

static void join(struct deal_work *w, uint32_t a, uint32_t b)
{
    a = root(w, a);
    b = root(w, b);
    w->unit[a > b ? a : b] = a < b ? a : b;
}

/* Whoever uses what an earlier layer has used first. first: [count], DEAL_NONE. */
static void use(struct deal_work *w, uint32_t *first, uint32_t i, uint32_t layer)
{
    if (first[i] == DEAL_NONE)
        first[i] = layer;
    else
        join(w, first[i], layer);
}

static uint32_t state_of(const struct plan_op *o)
{
    return o->kind == OP_CONV    ? o->conv.state
           : o->kind == OP_DELTA ? o->delta.state
           : o->kind == OP_SCAN  ? o->scan.state
           : o->kind == OP_POOL  ? o->pool.state
                                 : PLAN_NONE;
}

static void join_layers(struct deal_work *w, const struct plan_shm *p, uint32_t *cache, uint32_t *state)
{
    uint32_t listed = DEAL_NONE;

    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *o = &plan_ops(p)[i];

        if (o->kind == OP_SELECT) break;
        if (o->layer >= w->layers) continue;
        if (o->kind == OP_ATTENTION) use(w, cache, o->attention.cache, o->layer);
        if (o->kind == OP_INDEX) use(w, cache, o->index.cache, listed = o->layer);
        if (state_of(o) != PLAN_NONE) use(w, state, state_of(o), o->layer);
        /* a list goes nowhere else: who reads it, and all between */
        for (uint32_t l = listed; o->kind == OP_ATTENTION && o->attention.chosen_top && l < o->layer; l++)
            join(w, l, o->layer);
    }
    for (uint32_t l = 0; l < w->layers; l++) w->unit[l] = root(w, l);
}

static void count_experts(struct deal_work *w, const struct plan_shm *p, const struct op_experts *o, uint32_t layer)
{
    const struct plan_experts *x = &plan_experts(p)[o->table];
    uint64_t bytes = 0;

    for (uint64_t m = 0; m < plan_experts_matrices(x); m++)
        bytes += tiling_matrix_bytes(p, (uint32_t)(x->matrix0 + m), UINT64_MAX);
    w->experts[layer] += bytes;
    w->chosen[layer] += bytes / ((uint64_t)x->experts + x->identity) * x->max_used;
}

static void count_bytes(struct deal_work *w, const struct plan_shm *p)
{
    bool ends = false;

    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *o = &plan_ops(p)[i];
        uint64_t rows = o->kind == OP_HEADMM ? (uint64_t)o->headmm.heads * o->headmm.rows : UINT64_MAX, bytes = 0;

        if (o->kind == OP_SELECT) ends = true;
        if (plan_op_matrix(o) != PLAN_NONE) bytes = tiling_matrix_bytes(p, plan_op_matrix(o), rows);
        if (ends || o->layer >= w->layers)
            w->ends += bytes;
        else
            w->dense[o->layer] += bytes;
        if (o->kind == OP_EXPERTS && o->layer < w->layers) count_experts(w, p, &o->experts, o->layer);
    }
}

int deal_work_open(struct deal_work *w, const struct plan_shm *program, struct error *e)
{
    uint64_t n = program->spec.layers;
    uint32_t *cache = malloc((program->caches.count + 1) * sizeof *cache),
             *state = malloc((program->states.count + 1) * sizeof *state);
    int rc = 0;

    *w = (struct deal_work){.layers = program->spec.layers,
                            .hidden = program->spec.hidden,
                            .dense = calloc(n + 1, sizeof *w->dense),
                            .experts = calloc(n + 1, sizeof *w->experts),
                            .chosen = calloc(n + 1, sizeof *w->chosen),
                            .unit = calloc(n + 1, sizeof *w->unit)};
    if (!cache || !state || !w->dense || !w->experts || !w->chosen || !w->unit) {
        deal_work_close(w);
        rc = error_set(e, ENOMEM, "out of memory");
    }
    if (!rc) {
        for (uint32_t l = 0; l < n; l++) w->unit[l] = l;
        for (uint64_t i = 0; i < program->caches.count; i++) cache[i] = DEAL_NONE;
        for (uint64_t i = 0; i < program->states.count; i++) state[i] = DEAL_NONE;
        join_layers(w, program, cache, state);
        count_bytes(w, program);
    }
    free(cache);
    free(state);
    return rc;
}
