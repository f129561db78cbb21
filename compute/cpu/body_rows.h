/* Operations on one position's columns: norms, rotary embedding, activations, sums. Reductions are a vector of sums over the
 * columns in steps of 16, as in a product; everything else is the same few roundings for every column. */
#pragma once
#include "compute/cpu/cpu.h"
#include "compute/cpu/scalar.h"

/* f(c, n): columns [c, c + n), n = 16 but for the last. */
#define FOR_VECS(c, n, width)                                                                                          \
    for (size_t c = 0, n = (width) < 16 ? (width) : 16; c < (width); c += 16, n = (width)-c < 16 ? (width)-c : 16)

INLINE vf load_some(const float *p, size_t n)
{
    return n == 16 ? vf_load(p) : vf_load_n(p, (unsigned)n);
}
INLINE void store_some(float *p, vf x, size_t n)
{
    if (n == 16)
        vf_store(p, x);
    else
        vf_store_n(p, x, (unsigned)n);
}

INLINE float sum_of_squares(const float *x, size_t width, float mean)
{
    vf sum = vf_zero(), m = vf_set1(mean);
    FOR_VECS(c, n, width)
    {
        vf d = vf_sub(load_some(x + c, n), m);
        if (n < 16) d = vf_sel(vm_first((unsigned)n), d, vf_zero());
        sum = vf_fma(d, d, sum);
    }
    return vf_sum(sum);
}

INLINE float sum_of(const float *x, size_t width)
{
    vf sum = vf_zero();
    FOR_VECS(c, n, width)
    sum = vf_add(sum, load_some(x + c, n));
    return vf_sum(sum);
}

/* y = (x - mean) * by * (weight_add + weight) + bias */
INLINE void norm_write(float *y, const float *x, size_t width, float mean, float by, const float *weight,
                       float weight_add, const float *bias)
{
    const vf m = vf_set1(mean), s = vf_set1(by), one = vf_set1(weight_add);
    FOR_VECS(c, n, width)
    {
        vf v = vf_mul(vf_sub(load_some(x + c, n), m), s);
        if (weight) v = vf_mul(v, vf_add(load_some(weight + c, n), one));
        if (bias) v = vf_add(v, load_some(bias + c, n));
        store_some(y + c, v, n);
    }
}

/* Sums that exceed float32 though what is summed does not: then everything is computed of values that are NORM_SMALLER times
 * as large (compute/ops.h). */
#define FITS(sum) ((sum) < __builtin_inff())

INLINE vf smaller(const float *x, size_t n, vf mean)
{
    const vf d = vf_sub(vf_mul(load_some(x, n), vf_set1(NORM_SMALLER)), mean);
    return n < 16 ? vf_sel(vm_first((unsigned)n), d, vf_zero()) : d;
}

/* As norm_write() with the mean and the length of x itself. False: x is not finite. */
INLINE bool norm_large(float *y, const float *x, size_t width, uint32_t kind, const float *weight, float weight_add,
                       const float *bias)
{
    const vf one = vf_set1(weight_add);
    vf total = vf_zero(), sum = vf_zero(), mean = vf_zero();
    if (kind == NORM_LAYER) {
        FOR_VECS(c, n, width)
        total = vf_add(total, smaller(x + c, n, mean));
        mean = vf_set1(vf_sum(total) / (float)width);
    }
    FOR_VECS(c, n, width)
    {
        const vf d = smaller(x + c, n, mean);
        sum = vf_fma(d, d, sum);
    }
    const float squares = vf_sum(sum);
    if (!FITS(squares)) return false;
    const float length = __builtin_sqrtf(kind == NORM_L2 ? squares : squares / (float)width);
    const vf by = vf_set1(length > 0.0f ? 1.0f / length : 0.0f);
    FOR_VECS(c, n, width)
    {
        vf v = vf_mul(smaller(x + c, n, mean), by);
        if (weight) v = vf_mul(v, vf_add(load_some(weight + c, n), one));
        if (bias) v = vf_add(v, load_some(bias + c, n));
        store_some(y + c, v, n);
    }
    return true;
}

INLINE bool norm_centers(uint32_t kind)
{
    return kind == NORM_LAYER || kind == NORM_CUT;
}

/* NORM_SIZE and NORM_CUT: what they want is no factor. */
INLINE void norm_statistic(const struct op_norm *p, float *y, const float *x)
{
    const float width = (float)p->width;
    const bool centers = norm_centers(p->kind);
    float mean = centers ? sum_of(x, p->width) / width : 0.0f, sum = sum_of_squares(x, p->width, mean), grow = 1.0f;
    const bool large = !FITS(sum);
    if (large) {
        vf total = vf_zero(), squares = vf_zero();
        grow = 1.0f / NORM_SMALLER;
        FOR_VECS(c, n, p->width)
        total = vf_add(total, smaller(x + c, n, vf_zero()));
        mean = centers ? vf_sum(total) / width : 0.0f;
        FOR_VECS(c, n, p->width)
        {
            const vf d = smaller(x + c, n, vf_set1(mean));
            squares = vf_fma(d, d, squares);
        }
        sum = vf_sum(squares);
    }
    const float deviation = __builtin_sqrtf(sum / width);
    if (p->kind == NORM_SIZE) {
        *y = deviation * grow;
        return;
    }
    const vf cut = vf_set1(mean + p->deviations * deviation), back = vf_set1(grow),
             small = vf_set1(large ? NORM_SMALLER : 1.0f);
    FOR_VECS(c, n, p->width)
    store_some(y + c, vf_mul(vf_max(vf_zero(), vf_sub(vf_mul(load_some(x + c, n), small), cut)), back), n);
}

static void kernel_norm(const struct op_norm *p, float *y, const float *x, const float *weight, const float *bias)
{
    for (uint32_t g = 0; g < p->groups; g++) {
        const float *xg = x + (size_t)g * p->src_stride, width = (float)p->width;
        const float *wg = weight ? weight + (size_t)g * p->weight_stride : NULL;
        const float *bg = bias ? bias + (size_t)g * p->weight_stride : NULL;
        float *yg = y + (size_t)g * p->dst_stride;
        if (p->kind == NORM_SIZE || p->kind == NORM_CUT) {
            norm_statistic(p, yg, xg);
            continue;
        }
        float mean = p->kind == NORM_LAYER ? sum_of(xg, p->width) / width : 0.0f;
        float sum = sum_of_squares(xg, p->width, mean);
        if (!FITS(sum) && norm_large(yg, xg, p->width, p->kind, wg, p->weight_add, bg)) continue;
        float by = 1.0f / __builtin_sqrtf(p->kind == NORM_L2      ? sum + p->eps
                                          : p->kind == NORM_LEAST ? (sum / width < p->eps ? p->eps : sum / width)
                                                                  : sum / width + p->eps);
        norm_write(yg, xg, p->width, mean, by, wg, p->weight_add, bg);
    }
}

static void kernel_rope(const struct op_rope *p, float *x, const float *cs, uint32_t dim)
{
    const size_t half = p->dim / 2;
    const float *cosines = cs, *sines = cs + dim / 2;
    for (uint32_t h = 0; h < p->heads; h++, x += p->head_stride) {
        if (p->style == ROPE_PAIRS) {
            for (size_t i = 0; i < half; i++) {
                float a = x[2 * i], b = x[2 * i + 1];
                x[2 * i] = a * cosines[i] - b * sines[i];
                x[2 * i + 1] = b * cosines[i] + a * sines[i];
            }
            continue;
        }
        FOR_VECS(i, n, half)
        {
            vf a = load_some(x + i, n), b = load_some(x + half + i, n);
            vf c = load_some(cosines + i, n), s = load_some(sines + i, n);
            store_some(x + i, vf_sub(vf_mul(a, c), vf_mul(b, s)), n);
            store_some(x + half + i, vf_add(vf_mul(b, c), vf_mul(a, s)), n);
        }
    }
}

static void kernel_add(float *dst, const float *a, const float *b, size_t width, float ca, float cb)
{
    const vf fa = vf_set1(ca), fb = vf_set1(cb);
    FOR_VECS(c, n, width)
    store_some(dst + c, vf_add(vf_mul(load_some(a + c, n), fa), vf_mul(load_some(b + c, n), fb)), n);
}

static void kernel_scale(float *x, size_t width, float mul)
{
    const vf m = vf_set1(mul);
    FOR_VECS(c, n, width)
    store_some(x + c, vf_mul(load_some(x + c, n), m), n);
}

INLINE vf soft_cap(vf x, vf cap)
{
    return vf_mul(cap, vf_tanh(vf_div(x, cap)));
}

static void kernel_softcap(float *x, size_t width, float mul, float cap)
{
    const vf m = vf_set1(mul), top = vf_set1(cap);
    FOR_VECS(c, n, width)
    store_some(x + c, soft_cap(vf_mul(load_some(x + c, n), m), top), n);
}

/* Keeps what is not a number. */
static void kernel_clamp(float *x, size_t width, float mul, float cap)
{
    const vf m = vf_set1(mul), top = vf_set1(cap), bottom = vf_set1(-cap);
    FOR_VECS(c, n, width)
    store_some(x + c, vf_max(bottom, vf_min(top, vf_mul(load_some(x + c, n), m))), n);
}

static void kernel_add_scaled(float *dst, const float *src, size_t width, float weight)
{
    const vf w = vf_set1(weight);
    FOR_VECS(c, n, width)
    store_some(dst + c, vf_add(load_some(dst + c, n), vf_mul(load_some(src + c, n), w)), n);
}

/* What is too large for the cache's form becomes not a number, and not infinite: a score of minus infinity would be taken
 * for a position that is not seen, and nobody would notice. limit: the smallest that would be rounded to infinity. */
INLINE vf below_or_nan(vf x, float limit)
{
    return vf_sel(vf_lt(vf_and_bits(x, 0x7fffffffu), vf_set1(limit)), x, vf_set1(__builtin_nanf("")));
}

static void kernel_narrow(void *dst, const float *src, uint32_t kv_form, size_t width)
{
    uint16_t h[16];
    switch (kv_form) { /* those that are FORM_CACHE */
    case FORM_F32: memcpy(dst, src, width * sizeof *src); return;
    case FORM_BF16:
        FOR_VECS(c, n, width)
        {
            vf_store_bf16(h, below_or_nan(load_some(src + c, n), 0x1.ffp127f));
            memcpy((uint16_t *)dst + c, h, n * sizeof *h);
        }
        return;
    case FORM_F16:
        FOR_VECS(c, n, width)
        {
            vf_store_f16(h, below_or_nan(load_some(src + c, n), 65520.0f));
            memcpy((uint16_t *)dst + c, h, n * sizeof *h);
        }
        return;
    }
}

/* ---- activations ---- */

INLINE vf softplus_vec(vf x)
{
    float f[16];
    vf_store(f, x);
    for (int i = 0; i < 16; i++) f[i] = softplus(f[i]);
    return vf_load(f);
}

INLINE vf act_vec(uint32_t kind, vf x)
{
    vf positive = vf_max(vf_zero(), x); /* keeps a not-a-number */
    switch (kind) {
    case ACT_SILU: return vf_mul(x, vf_sigmoid(x));
    case ACT_GELU_TANH: return vf_gelu_tanh(x);
    case ACT_GELU_ERF: return vf_gelu_erf(x);
    case ACT_RELU: return positive;
    case ACT_RELU2: return vf_mul(positive, positive);
    case ACT_SIGMOID: return vf_sigmoid(x);
    case ACT_SOFTPLUS: return softplus_vec(x);
    default: return x;
    }
}

/* gpt-oss: (up + 1) * gate * sigmoid(alpha * gate), both clamped before. */
INLINE vf swiglu_oai(vf gate, vf up, float alpha, float limit)
{
    const vf top = vf_set1(limit);
    gate = vf_min(top, gate);
    up = vf_max(vf_set1(-limit), vf_min(top, up));
    return vf_mul(vf_mul(gate, vf_sigmoid(vf_mul(gate, vf_set1(alpha)))), vf_add(up, vf_set1(1.0f)));
}

/* [g0, u0, g1, u1, ...] */
INLINE void load_pairs(const float *p, size_t n, vf *gate, vf *up)
{
    float g[16] = {0}, u[16] = {0};
    for (size_t i = 0; i < n; i++) {
        g[i] = p[2 * i];
        u[i] = p[2 * i + 1];
    }
    *gate = vf_load(g);
    *up = vf_load(u);
}

INLINE void act_columns(const struct op_act *p, const uint32_t kind, float *dst, const float *gate, const float *up)
{
    const bool pairs = p->flags & ACT_INTERLEAVED, two = pairs || up;
    const vf shared = vf_set1(p->flags & ACT_BROADCAST ? gate[0] : 0.0f);
    FOR_VECS(c, n, p->width)
    {
        vf g, u = vf_zero();
        if (pairs) {
            load_pairs(gate + 2 * c, n, &g, &u);
        } else {
            g = p->flags & ACT_BROADCAST ? shared : load_some(gate + c, n);
            if (up) u = load_some(up + c, n);
        }
        vf y;
        if (kind == ACT_SWIGLU_OAI)
            y = swiglu_oai(g, u, p->alpha, p->limit);
        else if (p->flags & ACT_CLAMP_BEFORE)
            y = vf_mul(act_vec(kind, vf_min(vf_set1(p->limit), g)),
                       two ? vf_max(vf_set1(-p->limit), vf_min(vf_set1(p->limit), u)) : vf_set1(1.0f));
        else if (p->flags & ACT_CLAMP_AFTER)
            y = vf_mul(vf_min(vf_set1(p->limit), act_vec(kind, g)),
                       two ? vf_max(vf_set1(-p->limit), vf_min(vf_set1(p->limit), u)) : vf_set1(1.0f));
        else
            y = two ? vf_mul(act_vec(kind, g), u) : act_vec(kind, g);
        store_some(dst + c, y, n);
    }
}

static void kernel_act(const struct op_act *p, float *dst, const float *gate, const float *up)
{
    switch (p->kind) {
    case ACT_SILU: act_columns(p, ACT_SILU, dst, gate, up); break;
    case ACT_GELU_TANH: act_columns(p, ACT_GELU_TANH, dst, gate, up); break;
    case ACT_GELU_ERF: act_columns(p, ACT_GELU_ERF, dst, gate, up); break;
    default: act_columns(p, p->kind, dst, gate, up); break;
    }
}

/* expm1 of what is below eps as exp - 1: what is lost of it is lost to the difference anyway. */
static void kernel_xielu(float *dst, const float *src, size_t width, const struct ops_xielu_args *x)
{
    const vf p = vf_set1(softplus(*x->alpha_p)), m = vf_set1(*x->beta + softplus(*x->alpha_n)),
             beta = vf_set1(*x->beta);
    const vf eps = vf_set1(*x->eps), one = vf_set1(1.0f);
    FOR_VECS(c, n, width)
    {
        const vf v = load_some(src + c, n), line = vf_mul(beta, v);
        const vf below = vf_sub(vf_sub(vf_exp(vf_min(eps, v)), one), v); /* keeps what is not a number */
        const vf yes = vf_add(vf_mul(vf_mul(p, v), v), line), no = vf_add(vf_mul(below, m), line);
        store_some(dst + c, vf_sel(vf_lt(vf_zero(), v), yes, no), n);
    }
}
