/* Scores of an index: of a few positions that share their cached rows, one block of 64 of them after the other.
 *
 *      s_j = sum over a group's heads h, in order, of w_h f(scale q_h.k_j)      q.k as in a product
 *
 * A score is made of the position's query and of the row alone, so that nothing else in the sweep changes it. */
#pragma once
#include "compute/cpu/body_attention.h"

/* Keys of the positions [0, n) of a block, as tiles want them. */
static void load_keys(const struct cpu_index *x, float *k, const uint32_t *row, uint32_t n)
{
    dequantize_fn *const dequantize = dequantize_of[x->kv_form];
    const size_t dim = x->p->dim, dim16 = cpu_round_up(dim, STEP);
    const struct cpu_product keys = {
        .form = x->kv_form, .data = x->k, .row_bytes = dim / form_elements(x->kv_form) * form_bytes(x->kv_form)};
    for (uint32_t j = 0; j < n; j++)
        dequantize(&keys, row[j], 0, dim, k + j / TILE_ROWS * TILE_ROWS * dim16 + j % TILE_ROWS * STEP,
                   TILE_ROWS * STEP);
}

/* to[j] of a block's 64 positions, from s [heads of the group][64]. */
INLINE void sum_heads(const struct op_index *p, const float *s, const float *w, float *to)
{
    const vf scale = vf_set1(p->scale);
    for (uint32_t j = 0; j < ATTENTION_BLOCK; j += STEP) {
        vf sum = vf_zero();
        for (uint32_t h = 0; h < p->heads / p->groups; h++) {
            vf x = vf_mul(vf_load(s + (size_t)h * ATTENTION_BLOCK + j), scale);
            if (p->flags & INDEX_RELU) x = vf_max(vf_zero(), x);
            sum = w ? vf_fma(vf_set1(w[h]), x, sum) : vf_add(sum, x);
        }
        vf_store(to + j, sum);
    }
}

static void index_run(const struct cpu_index *x, const struct attend *t, uint32_t b0, uint32_t b1)
{
    const struct op_index *p = x->p;
    const struct ops_rows *r = x->rows;
    const bool pooled = p->flags & INDEX_POOLED;
    const uint32_t last = t->i1 - 1, heads = p->heads / p->groups,
                   end = pooled ? cpu_index_blocks(p, r->position[last]) : r->position[last] + 1;
    struct row_walk walk = {r->runs + r->first[last], r->runs + r->first[last + 1], 0};
    uint32_t row[ATTENTION_BLOCK];
    pack_queries(t, 0, t->q);
    for (uint32_t b = b0; b < b1 && b * ATTENTION_BLOCK < end; b++) {
        const uint32_t n = pooled ? rows_of_ends(&walk, p->block, b * ATTENTION_BLOCK, end, row)
                                  : rows_of_block(&walk, b * ATTENTION_BLOCK, end, row);
        load_keys(x, t->k, row, n);
        score_block(t, t->q, 0, n);
        for (uint32_t i = t->i0; i < t->i1; i++)
            for (uint32_t g = 0; g < p->groups; g++)
                sum_heads(p, t->s + ((i - t->i0) * (size_t)p->heads + g * heads) * ATTENTION_BLOCK,
                          x->w ? x->w + i * x->ldw + g * heads : NULL,
                          x->scores + ((i - x->first) * (size_t)p->groups + g) * x->ld + b * ATTENTION_BLOCK);
    }
}

/* work: footprint_cpu_index(), which this must agree with. */
static void kernel_index(const struct cpu_index *x, const struct cpu_index_task *task, float *work)
{
    const struct op_index *p = x->p;
    const uint32_t queries = p->heads > ATTENTION_QUERIES ? p->heads : ATTENTION_QUERIES, together = queries / p->heads;
    const struct cpu_attention a = {.q = x->q, .ldq = x->ldq};
    struct attend t = {.a = &a, .heads = p->heads, .group = p->heads, .dk = p->dim, .dk16 = cpu_round_up(p->dim, STEP)};
    t.k = work;
    t.q = t.k + ATTENTION_BLOCK * t.dk16;
    t.s = t.q + queries * t.dk16;
    for (t.i0 = task->i0; t.i0 < task->i1; t.i0 = t.i1) {
        t.i1 = t.i0 + 1;
        if (cpu_index_blocks(p, x->rows->position[t.i0]) <= p->top) continue;
        while (t.i1 < task->i1 && t.i1 - t.i0 < together && extends(x->rows, t.i1 - 1, t.i1)) t.i1++;
        t.queries = (t.i1 - t.i0) * p->heads;
        index_run(x, &t, task->b0, task->b1);
    }
}
