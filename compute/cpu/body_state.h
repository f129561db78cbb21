/* Recurrences: a short causal convolution and the gated delta rule. Positions one after the other, in the order given; the
 * state goes from slot to slot as struct ops_chain says. */
#pragma once
#include "compute/cpu/body_rows.h"

/* Sixteen channels [c, c + n) through all positions. */
INLINE void conv_channels(const struct op_conv *p, float *dst, size_t ldd, const float *src, size_t lds,
                          const float *weight, const float *bias, float *states, size_t state_floats,
                          const struct ops_chain *chain, size_t c, size_t n)
{
    const uint32_t old = p->taps - 1; /* inputs that a state holds */
    for (uint32_t i = 0; i < chain->n; i++) {
        const float *from = chain->from[i] == UINT32_MAX ? NULL : states + chain->from[i] * state_floats + c;
        float *to = states + chain->to[i] * state_floats + c;
        const vf now = load_some(src + i * lds + c, n);
        vf sum = vf_zero();
        for (uint32_t t = 0; t < p->taps; t++) {
            float w[16] = {0};
            for (size_t k = 0; k < n; k++) w[k] = weight[(c + k) * p->taps + t];
            vf x = t == old ? now : from ? load_some(from + (size_t)t * p->width, n) : vf_zero();
            sum = vf_fma(vf_load(w), x, sum);
            if (t > 0) /* the state moves on by one; its oldest was read before */
                store_some(to + (size_t)(t - 1) * p->width, x, n);
        }
        if (bias) sum = vf_add(sum, load_some(bias + c, n));
        store_some(dst + i * ldd + c, act_vec(p->act, sum), n);
    }
}

/* The same for few taps: the weights are gathered once, and the inputs that a state holds stay in registers while positions
 * continue one another. */
INLINE void conv_few_taps(const uint32_t taps, const struct op_conv *p, float *dst, size_t ldd, const float *src,
                          size_t lds, const float *weight, const float *bias, float *states, size_t state_floats,
                          const struct ops_chain *chain, size_t c, size_t n)
{
    const uint32_t old = taps - 1;
    const vf b = bias ? load_some(bias + c, n) : vf_zero();
    uint32_t held = UINT32_MAX; /* the slot whose inputs are in past */
    vf w[4], past[4];
    for (uint32_t t = 0; t < taps; t++) {
        float one[16] = {0};
        for (size_t k = 0; k < n; k++) one[k] = weight[(c + k) * taps + t];
        w[t] = vf_load(one);
        past[t] = vf_zero();
    }
    for (uint32_t i = 0; i < chain->n; i++) {
        const uint32_t from = chain->from[i], to = chain->to[i];
        const vf now = load_some(src + i * lds + c, n);
        vf sum = vf_zero();
        if (from == UINT32_MAX || from != held)
#pragma GCC unroll 3
            for (uint32_t t = 0; t < old; t++)
                past[t] = from == UINT32_MAX ? vf_zero()
                                             : load_some(states + from * state_floats + (size_t)t * p->width + c, n);
#pragma GCC unroll 3
        for (uint32_t t = 0; t < old; t++) sum = vf_fma(w[t], past[t], sum);
        sum = vf_fma(w[old], now, sum);
#pragma GCC unroll 3
        for (uint32_t t = 0; t < old; t++) past[t] = t + 1 < old ? past[t + 1] : now;
        held = to;
        if (i + 1 == chain->n || chain->from[i + 1] != to || chain->to[i + 1] != to) /* else it is overwritten unread */
            for (uint32_t t = 0; t < old; t++)
                store_some(states + to * state_floats + (size_t)t * p->width + c, past[t], n);
        if (bias) sum = vf_add(sum, b);
        store_some(dst + i * ldd + c, act_vec(p->act, sum), n);
    }
}

static void kernel_conv(const struct op_conv *p, float *dst, size_t ldd, const float *src, size_t lds,
                        const float *weight, const float *bias, float *states, size_t state_floats,
                        const struct ops_chain *chain, size_t c0, size_t c1)
{
    for (size_t c = c0; c < c1; c += 16) {
        const size_t n = c1 - c < 16 ? c1 - c : 16;
        switch (p->taps) {
        case 4: conv_few_taps(4, p, dst, ldd, src, lds, weight, bias, states, state_floats, chain, c, n); break;
        case 3: conv_few_taps(3, p, dst, ldd, src, lds, weight, bias, states, state_floats, chain, c, n); break;
        case 2: conv_few_taps(2, p, dst, ldd, src, lds, weight, bias, states, state_floats, chain, c, n); break;
        default: conv_channels(p, dst, ldd, src, lds, weight, bias, states, state_floats, chain, c, n);
        }
    }
}

/* x / sqrt(sum x^2 + 1e-6) * scale */
INLINE void unit_length(float *y, const float *x, size_t width, float scale)
{
    const float sum = sum_of_squares(x, width, 0.0f);
    if (FITS(sum) || !norm_large(y, x, width, NORM_L2, NULL, 0.0f, NULL))
        norm_write(y, x, width, 0.0f, 1.0f / __builtin_sqrtf(sum + 1e-6f), NULL, 0.0f, NULL);
    kernel_scale(y, width, scale);
}

/* Up to 64 columns [c, c + 16 * V) of one head's state through one position; row r decays by decay[r * each]. Two walks over the rows: what k finds in the
 * decayed state, then the update and what q finds in it. */
INLINE void delta_columns(const int V, const float *from, float *to, size_t dk, size_t dv, const float *q,
                          const float *k, const float *v, const float *decay, size_t each, float beta, float *dst,
                          const size_t n[4])
{
    vf found[4], out[4], change[4];
#pragma GCC unroll 4
    for (int i = 0; i < V; i++) found[i] = out[i] = vf_zero();
    for (size_t r = 0; from && r < dk; r++)
#pragma GCC unroll 4
        for (int i = 0; i < V; i++)
            found[i] = vf_fma(vf_mul(load_some(from + r * dv + 16 * i, n[i]), vf_set1(decay[r * each])), vf_set1(k[r]),
                              found[i]);
#pragma GCC unroll 4
    for (int i = 0; i < V; i++) change[i] = vf_mul(vf_sub(load_some(v + 16 * i, n[i]), found[i]), vf_set1(beta));
    for (size_t r = 0; r < dk; r++)
#pragma GCC unroll 4
        for (int i = 0; i < V; i++) {
            vf s = from ? vf_mul(load_some(from + r * dv + 16 * i, n[i]), vf_set1(decay[r * each])) : vf_zero();
            s = vf_fma(vf_set1(k[r]), change[i], s);
            store_some(to + r * dv + 16 * i, s, n[i]);
            out[i] = vf_fma(s, vf_set1(q[r]), out[i]);
        }
#pragma GCC unroll 4
    for (int i = 0; i < V; i++) store_some(dst + 16 * i, out[i], n[i]);
}

INLINE void delta_position(const float *from, float *to, size_t dk, size_t dv, const float *q, const float *k,
                           const float *v, const float *decay, size_t each, float beta, float *dst)
{
    static const size_t full[4] = {16, 16, 16, 16};
    size_t c = 0;
    for (; c + 64 <= dv; c += 64)
        delta_columns(4, from ? from + c : NULL, to + c, dk, dv, q, k, v + c, decay, each, beta, dst + c, full);
    for (; c < dv; c += 16) {
        const size_t n[4] = {dv - c < 16 ? dv - c : 16};
        delta_columns(1, from ? from + c : NULL, to + c, dk, dv, q, k, v + c, decay, each, beta, dst + c, n);
    }
}

/* The decays of a head's rows: sixteen at a time. */
INLINE void row_decays(float *g, const struct op_delta *p, const float *a, const float *bias, float speed)
{
    FOR_VECS(r, n, p->dk)
    {
        const vf x = vf_add(load_some(a + r, n), load_some(bias + r, n));
        if (p->flags & DELTA_BOUNDED)
            store_some(g + r, vf_exp(vf_mul(vf_set1(p->bound), vf_sigmoid(vf_mul(vf_set1(speed), x)))), n);
        else
            store_some(g + r, vf_exp(vf_mul(vf_set1(-speed), vf_softplus(x))), n);
    }
}

/* work: q, k and decays of a position: footprint_cpu_delta(). */
static void kernel_delta(const struct op_delta *p, float *dst, size_t ldd, const struct ops_delta_args *x,
                         float *states, size_t state_floats, const struct ops_chain *chain, uint32_t head, float *work)
{
    const size_t dk = p->dk, dv = p->dv, key_head = head / (p->heads / p->key_heads);
    float *q = work, *k = q + cpu_round_up(dk, 16), *decays = k + cpu_round_up(dk, 16);
    const size_t each = p->flags & DELTA_CHANNELS ? 1 : 0;
    for (uint32_t i = 0; i < chain->n; i++) {
        const float *from =
            chain->from[i] == UINT32_MAX ? NULL : states + chain->from[i] * state_floats + head * dk * dv;
        float *to = states + chain->to[i] * state_floats + head * dk * dv;
        const double speed = p->flags & DELTA_RATES ? -(double)x->a_log[head] : exp_exact(x->a_log[head]);
        const float beta = sigmoid_exact(x->b[(size_t)i * x->ldb + head]);
        if (each) {
            row_decays(decays, p, x->a + (size_t)i * x->lda + head * dk, x->dt_bias + head * dk, (float)speed);
        } else {
            const float raw = x->a[(size_t)i * x->lda + head] + x->dt_bias[head];
            *decays = (float)exp_exact(p->flags & DELTA_BOUNDED
                                           ? (double)p->bound * (double)sigmoid_exact((float)(speed * (double)raw))
                                           : -(speed * (double)softplus(raw)));
        }
        unit_length(q, x->q + (size_t)i * x->ldq + key_head * dk, dk, p->scale);
        unit_length(k, x->k + (size_t)i * x->ldk + key_head * dk, dk, 1.0f);
        delta_position(from, to, dk, dv, q, k, x->v + (size_t)i * x->ldv + head * dv, decays, each, beta,
                       dst + i * ldd + head * dv);
    }
}

/* ---- pooled windows ---- */

/* Softmax of one column, sixteen columns beside each other, as far as its positions have come. */
struct pooled {
    vf top, sum, x;
};

INLINE struct pooled pool_none(void)
{
    return (struct pooled){vf_set1(-__builtin_inff()), vf_zero(), vf_zero()};
}

INLINE struct pooled pool_load(const float *set, size_t width, size_t n)
{
    return (struct pooled){load_some(set, n), load_some(set + width, n), load_some(set + 2 * width, n)};
}

INLINE void pool_store(float *set, size_t width, struct pooled s, size_t n)
{
    store_some(set, s.top, n);
    store_some(set + width, s.sum, n);
    store_some(set + 2 * width, s.x, n);
}

INLINE struct pooled pool_add(struct pooled s, vf gate, vf x)
{
    const vf top = vf_max(s.top, gate), keep = vf_exp(vf_sub(s.top, top)), e = vf_exp(vf_sub(gate, top));
    return (struct pooled){top, vf_fma(s.sum, keep, e), vf_fma(s.x, keep, vf_mul(e, x))};
}

/* Of two windows' positions together; a has none in the first window. */
INLINE vf pool_both(struct pooled a, struct pooled b)
{
    const vf top = vf_max(a.top, b.top), ka = vf_exp(vf_sub(a.top, top)), kb = vf_exp(vf_sub(b.top, top));
    return vf_div(vf_fma(a.x, ka, vf_mul(b.x, kb)), vf_fma(a.sum, ka, vf_mul(b.sum, kb)));
}

/* Sets of a state: the open window; with two parts: what the window before left for it, what it leaves for the next one, and
 * its own. */
INLINE void pool_columns(const struct op_pool *p, float *dst, size_t ldd, const struct ops_pool_args *x, float *states,
                         size_t state_floats, const struct ops_chain *chain, size_t c, size_t n)
{
    const size_t width = p->width, set = 3 * width, columns = p->parts * width;
    const bool two = p->parts == 2;
    for (uint32_t i = 0; i < chain->n; i++) {
        const uint32_t place = x->positions[i] % p->every;
        const float *from = chain->from[i] == UINT32_MAX ? NULL : states + chain->from[i] * state_floats + c;
        float *to = states + chain->to[i] * state_floats + c;
        const float *xi = x->x + i * (size_t)x->ldx + c, *gate = x->gate + i * (size_t)x->ldg + c,
                    *bias = x->bias + place * columns + c;
        struct pooled before = pool_none(), next = pool_none(), own = pool_none();
        if (from && two) before = pool_load(place ? from : from + set, width, n);
        if (from && place && two) next = pool_load(from + set, width, n);
        if (from && place) own = pool_load(from + (two ? 2 * set : 0), width, n);
        if (two) {
            next = pool_add(next, vf_add(load_some(gate, n), load_some(bias, n)), load_some(xi, n));
            gate += width;
            bias += width;
            xi += width;
        }
        own = pool_add(own, vf_add(load_some(gate, n), load_some(bias, n)), load_some(xi, n));
        if (two) {
            pool_store(to, width, before, n);
            pool_store(to + set, width, next, n);
        }
        pool_store(to + (two ? 2 * set : 0), width, own, n);
        store_some(dst + i * ldd + c, place + 1 == p->every ? pool_both(before, own) : vf_zero(), n);
    }
}

static void kernel_pool(const struct op_pool *p, float *dst, size_t ldd, const struct ops_pool_args *x, float *states,
                        size_t state_floats, const struct ops_chain *chain, size_t c0, size_t c1)
{
    for (size_t c = c0; c < c1; c += 16)
        pool_columns(p, dst, ldd, x, states, state_floats, chain, c, c1 - c < 16 ? c1 - c : 16);
}
