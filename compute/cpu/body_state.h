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

static void kernel_conv(const struct op_conv *p, float *dst, size_t ldd, const float *src, size_t lds,
                        const float *weight, const float *bias, float *states, size_t state_floats,
                        const struct ops_chain *chain, size_t c0, size_t c1)
{
    for (size_t c = c0; c < c1; c += 16)
        conv_channels(p, dst, ldd, src, lds, weight, bias, states, state_floats, chain, c, c1 - c < 16 ? c1 - c : 16);
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
