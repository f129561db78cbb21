/* Selective scans. A block of a head's state, some states of some columns, stays in registers while all positions that
 * continue one another go by, then the next block does: every element's chain is the same for one position as for many.
 * A column's output is one chain over its states in order, kept in dst between two blocks. */
#pragma once
#include "compute/cpu/body_rows.h"

/* What a task prepares of the positions [p0, p0 + n) of a call, in its work. */
struct scan_task {
    const struct op_scan *p;
    const struct ops_scan_args *x;
    const struct ops_chain *chain;
    float *dst, *states; /* at the task's first column */
    size_t ldd, state_floats, columns;
    const float *b, *c; /* of the head's group, position 0 */
    uint32_t p0, n;
    float *step, *decay; /* [SCAN_POSITIONS] of a head; [SCAN_POSITIONS][16] steps of channels */
    float *in;           /* [SCAN_POSITIONS][SCAN_COLUMNS] step * x */
    float *rates;        /* [states][16] of sixteen channels */
};

/* What is added to the state's decay and what is read from it: V vectors of columns from c on, states [r0, r0 + R), positions
 * [i0, i1) of the task, the first of which continues slot from. Channels: step has a column's own steps, 16 a position. */
INLINE void scan_block(const struct scan_task *t, const int V, const int R, const bool channels, size_t c, size_t r0,
                       uint32_t i0, uint32_t i1, uint32_t from, const size_t n[4])
{
    const size_t width = t->p->width;
    float *to = t->states + t->chain->to[t->p0 + i0] * t->state_floats + r0 * width + c;
    const float *old = from == UINT32_MAX ? NULL : t->states + from * t->state_floats + r0 * width + c;
    vf s[4][4], rate[4];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
        if (channels) rate[r] = vf_load(t->rates + (r0 + (size_t)r) * 16);
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) s[r][v] = old ? load_some(old + (size_t)r * width + 16 * v, n[v]) : vf_zero();
    }
    for (uint32_t i = i0; i < i1; i++) {
        const float *b = t->b + (size_t)(t->p0 + i) * t->x->ldb + r0, *z = t->c + (size_t)(t->p0 + i) * t->x->ldc + r0;
        const float *in = t->in + (size_t)i * SCAN_COLUMNS + c;
        float *y = t->dst + (size_t)(t->p0 + i) * t->ldd + c;
        const vf step = channels ? vf_load(t->step + (size_t)i * 16) : vf_zero();
        const vf decay = channels ? vf_zero() : vf_set1(t->decay[i]);
        vf out[4], x[4];
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) {
            x[v] = vf_load(in + 16 * v);
            out[v] = load_some(y + 16 * v, n[v]);
        }
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
            const vf g = channels ? vf_exp(vf_mul(step, rate[r])) : decay;
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) {
                s[r][v] = vf_fma(s[r][v], g, vf_mul(x[v], vf_set1(b[r])));
                out[v] = vf_fma(s[r][v], vf_set1(z[r]), out[v]);
            }
        }
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) store_some(y + 16 * v, out[v], n[v]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) store_some(to + (size_t)r * width + 16 * v, s[r][v], n[v]);
}

/* All states of V vectors of columns through the positions of the task, run by run: a run goes on in one slot. */
INLINE void scan_columns(const struct scan_task *t, const int V, const int R, const bool channels, size_t c,
                         const size_t n[4])
{
    const uint32_t *from = t->chain->from + t->p0, *to = t->chain->to + t->p0;
    for (uint32_t i = 0, end; i < t->n; i = end) {
        size_t r = 0;
        for (end = i + 1; end < t->n && from[end] == to[i] && to[end] == to[i]; end++) {
        }
        for (; r + (size_t)R <= t->p->states; r += (size_t)R) scan_block(t, V, R, channels, c, r, i, end, from[i], n);
        for (; r < t->p->states; r++) scan_block(t, V, 1, channels, c, r, i, end, from[i], n);
    }
}

/* y = skip * x, and x times its step to where the blocks look for it. */
INLINE void scan_in(const struct scan_task *t, uint32_t i, size_t c, size_t n, const float *x, vf step, vf skip)
{
    const vf v = load_some(x, n);
    vf_store(t->in + (size_t)i * SCAN_COLUMNS + c, vf_mul(v, step));
    store_some(t->dst + (size_t)(t->p0 + i) * t->ldd + c, vf_mul(v, skip), n);
}

INLINE vf scan_step(const struct op_scan *p, vf x)
{
    return vf_min(vf_set1(p->dt_most), vf_max(vf_set1(p->dt_least), vf_softplus(x)));
}

/* One step and one decay a position: sixteen positions at once. */
INLINE void scan_head(const struct scan_task *t, uint32_t head, const float *x)
{
    static const size_t full[4] = {16, 16, 16, 16};
    const float bias = t->x->dt_bias[head], a = t->x->a_log[head];
    const float rate = t->p->flags & SCAN_RATES ? a : (float)-exp_exact(a), skip = t->x->skip ? t->x->skip[head] : 0.0f;
    size_t c = 0;
    for (uint32_t i = 0; i < t->n; i += 16) {
        float raw[16] = {0};
        for (uint32_t k = 0; k < 16 && i + k < t->n; k++)
            raw[k] = t->x->dt[(size_t)(t->p0 + i + k) * t->x->lddt + head] + bias;
        const vf step = scan_step(t->p, vf_load(raw));
        vf_store(t->step + i, step);
        vf_store(t->decay + i, vf_exp(vf_mul(step, vf_set1(rate))));
    }
    for (uint32_t i = 0; i < t->n; i++) FOR_VECS(k, n, t->columns)
    scan_in(t, i, k, n, x + (size_t)(t->p0 + i) * t->x->ldx + k, vf_set1(t->step[i]), vf_set1(skip));
    for (; c + 16 * SCAN_VECS <= t->columns; c += 16 * SCAN_VECS) scan_columns(t, SCAN_VECS, SCAN_ROWS, false, c, full);
    for (; c < t->columns; c += 16) {
        const size_t n[4] = {t->columns - c < 16 ? t->columns - c : 16};
        scan_columns(t, 1, SCAN_ROWS, false, c, n);
    }
}

/* A step a position and column, a rate a state and column: sixteen columns at once. channel: the first of them. */
INLINE void scan_channels(const struct scan_task *t, size_t channel, const float *x)
{
    FOR_VECS(c, k, t->columns)
    {
        const size_t at = channel + c, n[4] = {k};
        const vf bias = load_some(t->x->dt_bias + at, k), skip = t->x->skip ? load_some(t->x->skip + at, k) : vf_zero();
        for (size_t r = 0; r < t->p->states; r++) {
            float a[16] = {0};
            for (size_t i = 0; i < k; i++) a[i] = t->x->a_log[(at + i) * t->p->states + r];
            vf_store(t->rates + r * 16, t->p->flags & SCAN_RATES ? vf_load(a) : vf_sub(vf_zero(), vf_exp(vf_load(a))));
        }
        for (uint32_t i = 0; i < t->n; i++) {
            const float *dt = t->x->dt + (size_t)(t->p0 + i) * t->x->lddt + at;
            const vf step = scan_step(t->p, vf_add(load_some(dt, k), bias));
            vf_store(t->step + (size_t)i * 16, step);
            scan_in(t, i, c, k, x + (size_t)(t->p0 + i) * t->x->ldx + c, step, skip);
        }
        scan_columns(t, 1, SCAN_ROWS, true, c, n);
    }
}

static void kernel_scan(const struct op_scan *p, float *dst, size_t ldd, const struct ops_scan_args *x, float *states,
                        size_t state_floats, const struct ops_chain *chain, uint32_t head, size_t c0, size_t c1,
                        float *work)
{
    const size_t channel = (size_t)head * p->width + c0, group = head / (p->heads / p->groups) * (size_t)p->states;
    struct scan_task t = {.p = p,
                          .x = x,
                          .chain = chain,
                          .dst = dst + channel,
                          .states = states + (size_t)head * p->states * p->width + c0,
                          .ldd = ldd,
                          .state_floats = state_floats,
                          .columns = c1 - c0,
                          .b = x->b + group,
                          .c = x->c + group,
                          .in = work};

    t.step = work + SCAN_POSITIONS * SCAN_COLUMNS;
    t.decay = t.step + SCAN_POSITIONS; /* of a head; channels have sixteen steps a position instead */
    t.rates = t.step + (size_t)16 * SCAN_POSITIONS;
    for (t.p0 = 0; t.p0 < chain->n; t.p0 += t.n) {
        t.n = chain->n - t.p0 < SCAN_POSITIONS ? chain->n - t.p0 : SCAN_POSITIONS;
        if (p->flags & SCAN_CHANNELS)
            scan_channels(&t, channel, x->x + channel);
        else
            scan_head(&t, head, x->x + channel);
    }
}
