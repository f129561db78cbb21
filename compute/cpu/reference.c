#include "compute/cpu/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void reference_matmul(float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct ops_weight *w,
                      const float *bias, uint32_t flags, uint32_t n, float *size)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint64_t r = 0; r < w->rows; r++) {
            double sum = 0, squares = 0, magnitude = 0;
            for (uint64_t k = 0; k < w->matrix->cols; k++) {
                const double weight = reference_weight(w, r, k), term = weight * x[(uint64_t)i * ldx + k];
                sum += term;
                magnitude += fabs(term);
                squares += weight * weight;
            }
            const double by = flags & MATMUL_ROW_NORM ? 1 / sqrt(squares) : 1;
            y[(uint64_t)i * ldy + r] = (float)(sum * by + (bias ? bias[r] : 0));
            if (size) size[(uint64_t)i * ldy + r] = (float)(magnitude * by + (bias ? fabs((double)bias[r]) : 0));
        }
}

void reference_matmul_t(float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct ops_weight *w,
                        const float *bias, bool init, uint32_t n, float *size)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint64_t c = 0; c < w->matrix->cols; c++) {
            double sum = !init ? y[(uint64_t)i * ldy + c] : bias ? bias[c] : 0, magnitude = fabs(sum);
            for (uint64_t r = 0; r < w->rows * form_deep(w->matrix->form); r++) {
                const double term = (double)reference_weight(w, r, c) * x[(uint64_t)i * ldx + r];
                sum += term;
                magnitude += fabs(term);
            }
            y[(uint64_t)i * ldy + c] = (float)sum;
            if (size) size[(uint64_t)i * ldy + c] = (float)magnitude;
        }
}

void reference_norm(const struct op_norm *p, float *y, uint32_t ldy, const float *x, uint32_t ldx, const float *weight,
                    const float *bias, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t g = 0; g < p->groups; g++) {
            const float *from = x + (uint64_t)i * ldx + (uint64_t)g * p->src_stride;
            float *to = y + (uint64_t)i * ldy + (uint64_t)g * p->dst_stride;
            double mean = 0, squares = 0;
            const bool centers = p->kind == NORM_LAYER || p->kind == NORM_CUT;
            for (uint32_t c = 0; c < p->width && centers; c++) mean += (double)from[c] / p->width;
            for (uint32_t c = 0; c < p->width; c++) squares += (from[c] - mean) * (from[c] - mean);
            const double deviation = sqrt(squares / p->width), cut = mean + p->deviations * deviation;
            const double by =
                1 / (p->kind == NORM_LEAST ? fmax(deviation, sqrt(p->eps))
                                           : sqrt((p->kind == NORM_L2 ? squares : squares / p->width) + p->eps));
            for (uint32_t c = 0; c < p->width && p->kind == NORM_CUT; c++) to[c] = (float)fmax(0, from[c] - cut);
            if (p->kind == NORM_SIZE) to[0] = (float)deviation;
            if (p->kind == NORM_SIZE || p->kind == NORM_CUT) continue;
            for (uint32_t c = 0; c < p->width; c++) {
                const uint32_t at = g * p->weight_stride + c;
                to[c] = (float)((from[c] - mean) * by * (weight ? (double)p->weight_add + weight[at] : 1) +
                                (bias ? bias[at] : 0));
            }
        }
}

void reference_rope(const struct op_rope *p, float *x, uint32_t ldx, const float *cs, uint32_t dim, uint32_t n)
{
    const uint32_t half = p->dim / 2;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t h = 0; h < p->heads; h++)
            for (uint32_t c = 0; c < half; c++) {
                float *head = x + (uint64_t)i * ldx + (uint64_t)h * p->head_stride;
                float *a = p->style == ROPE_PAIRS ? head + 2 * c : head + c,
                      *b = p->style == ROPE_PAIRS ? a + 1 : a + half;
                const double cosine = cs[(uint64_t)i * dim + c], sine = cs[(uint64_t)i * dim + dim / 2 + c], u = *a,
                             v = *b;
                *a = (float)(u * cosine - v * sine);
                *b = (float)(v * cosine + u * sine);
            }
}

static double act(const struct op_act *p, uint32_t kind, double x)
{
    switch (kind) {
    case ACT_SILU: return x / (1 + exp(-x));
    case ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACT_GELU_ERF: return 0.5 * x * erfc(-x / sqrt(2));
    case ACT_RELU: return x > 0 ? x : 0;
    case ACT_RELU2: return x > 0 ? x * x : 0;
    case ACT_SIGMOID: return 1 / (1 + exp(-x));
    case ACT_SOFTPLUS: return x > 20 ? x : log1p(exp(x));
    case ACT_SWIGLU_OAI: return x / (1 + exp(-(double)p->alpha * x));
    default: return x;
    }
}

void reference_act(const struct op_act *p, float *dst, uint32_t ldd, const float *gate, uint32_t ldg, const float *up,
                   uint32_t ldu, uint32_t n)
{
    const bool pairs = p->flags & ACT_INTERLEAVED;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < p->width; c++) {
            const uint32_t shared = p->each ? c / p->each : 0;
            const uint32_t at = p->flags & ACT_BROADCAST ? shared : pairs ? 2 * c : c;
            double g = gate[(uint64_t)i * ldg + at], u = 1;
            if (pairs || up) u = pairs ? gate[(uint64_t)i * ldg + at + 1] : up[(uint64_t)i * ldu + c];
            if (p->kind == ACT_SWIGLU_OAI) {
                g = fmin(g, p->limit);
                u = fmax(-(double)p->limit, fmin(u, p->limit)) + 1;
            }
            if (p->flags & ACT_CLAMP_BEFORE) g = fmin(g, p->limit);
            g = act(p, p->kind, g);
            if (p->flags & ACT_CLAMP_BEFORE) u = pairs || up ? fmax(-(double)p->limit, fmin(u, p->limit)) : 1;
            if (p->flags & ACT_CLAMP_AFTER) {
                g = fmin(g, p->limit);
                u = pairs || up ? fmax(-(double)p->limit, fmin(u, p->limit)) : 1;
            }
            dst[(uint64_t)i * ldd + c] = (float)(g * u);
        }
}

void reference_xielu(const struct op_xielu *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
                     const struct ops_xielu_args *x, uint32_t n)
{
    const double beta = *x->beta, ap = log1p(exp(*x->alpha_p)), an = beta + log1p(exp(*x->alpha_n));
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < p->width; c++) {
            const double v = src[(uint64_t)i * lds + c];
            dst[(uint64_t)i * ldd + c] =
                (float)(v > 0 ? ap * v * v + beta * v : (expm1(fmin(v, *x->eps)) - v) * an + beta * v);
        }
}

void reference_scale(const struct op_scale *p, float *x, uint32_t ldx, const struct ops_factors *f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < p->width; c++) {
            float *at = x + (uint64_t)i * ldx + c;
            double mul = p->mul;
            const double first = p->flags & SCALE_FROM_ZERO ? 0 : 1;
            if (p->flags & SCALE_BY_POSITION) mul = 1 + mul * log(1 + floor((f->positions[i] + first) / p->floor));
            if (p->flags & SCALE_BY_VECTOR) mul = f->vector[f->vector_floats == 1 ? 0 : c];
            if (p->flags & SCALE_CLAMP) {
                *at = (float)fmax(-p->cap, fmin(p->cap, mul * *at));
                continue;
            }
            *at = (float)(p->cap != 0 ? p->cap * tanh(mul * *at / p->cap) : mul * *at);
        }
}

static double cached(uint32_t kv_form, const void *cache, uint64_t at)
{
    return reference_stored(kv_form, cache, at);
}

static uint32_t row_of_place(const struct ops_rows *r, uint32_t i, uint32_t position)
{
    const struct ops_run *run = r->runs + r->first[i];
    for (; position >= run->length; run++) position -= run->length;
    return run->row + position;
}

static bool sees(const struct op_attention *p, uint32_t position, uint32_t other)
{
    return !(p->window && position - other >= p->window) && !(p->chunk && position / p->chunk != other / p->chunk);
}

/* Whether the list of position i for a kv head holds the block of position j. */
static bool is_chosen(const struct op_attention *p, const struct ops_rows *r, uint32_t i, uint32_t kv_head, uint32_t j)
{
    const uint32_t *list =
        r->chosen + (uint64_t)i * r->ld_chosen + kv_head / (p->kv_heads / p->chosen_groups) * (1ull + p->chosen_top);
    for (uint32_t k = 0; k < *list; k++)
        if (list[1 + k] == j / p->chosen_block) return true;
    return false;
}

/* One head of one position; weights: room for every position. */
static void attend(const struct op_attention *p, float *dst, const float *q, const void *k_cache, const void *v_cache,
                   uint32_t kv_form, uint32_t head, const float *sinks, const float *alibi, const struct ops_rows *r,
                   uint32_t i, double *weights)
{
    const uint32_t kv_head = head / (p->heads / p->kv_heads), position = r->position[i];
    const bool v_in_k = p->flags & ATTN_V_IN_K;
    double top = sinks ? sinks[head] : -INFINITY, sum = 0;
    for (uint32_t j = 0; j <= position; j++) {
        const uint64_t row = row_of_place(r, i, j);
        double s = 0;
        if (!sees(p, position, j) || (p->chosen_top && !is_chosen(p, r, i, kv_head, j))) {
            weights[j] = -INFINITY;
            continue;
        }
        for (uint32_t c = 0; c < p->dk; c++)
            s += q[c] * cached(kv_form, k_cache, (row * p->kv_heads + kv_head) * p->dk + c);
        s *= p->scale;
        if (p->cap != 0) s = p->cap * tanh(s / p->cap);
        weights[j] = s + (alibi ? alibi[head] * ((double)j - position) : 0);
        top = fmax(top, weights[j]);
    }
    for (uint32_t j = 0; j <= position; j++) sum += weights[j] = exp(weights[j] - top);
    if (sinks) sum += exp(sinks[head] - top);
    for (uint32_t c = 0; c < p->dv; c++) {
        double out = 0;
        for (uint32_t j = 0; j <= position; j++) {
            const uint64_t row = row_of_place(r, i, j);
            if (weights[j] > 0)
                out += weights[j] * cached(kv_form, v_in_k ? k_cache : v_cache,
                                           (row * p->kv_heads + kv_head) * (v_in_k ? p->dk : p->dv) + c);
        }
        dst[c] = (float)(out / sum);
    }
}

void reference_attention(const struct op_attention *p, float *dst, uint32_t ldd, const float *q, uint32_t ldq,
                         const void *k_cache, const void *v_cache, uint32_t kv_form, const float *sinks,
                         const float *alibi, const struct ops_rows *r)
{
    double *weights = p->pooled ? NULL : calloc((size_t)r->max_position + 1, sizeof *weights);
    if (p->pooled) reference_attention_pooled(p, dst, ldd, q, ldq, k_cache, kv_form, sinks, r);
    for (uint32_t i = 0; i < r->n && weights; i++)
        for (uint32_t h = 0; h < p->heads; h++)
            attend(p, dst + (uint64_t)i * ldd + (uint64_t)h * p->dv, q + (uint64_t)i * ldq + (uint64_t)h * p->dk,
                   k_cache, v_cache, kv_form, h, sinks, alibi, r, i, weights);
    free(weights);
}

void reference_conv(const struct op_conv *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
                    const float *weight, const float *bias, float *states, uint64_t state_floats,
                    const struct ops_chain *c)
{
    const struct op_act a = {.kind = p->act};
    for (uint32_t i = 0; i < c->n; i++)
        for (uint32_t ch = 0; ch < p->width; ch++) {
            float *to = states + c->to[i] * state_floats + ch;
            const float *from = states + c->from[i] * state_floats + ch, now = src[(uint64_t)i * lds + ch];
            double sum = bias ? bias[ch] : 0;
            for (uint32_t t = 0; t < p->taps; t++) {
                float x = t + 1 == p->taps ? now : c->from[i] == UINT32_MAX ? 0 : from[(uint64_t)t * p->width];
                sum += (double)weight[(uint64_t)ch * p->taps + t] * x;
                if (t > 0) to[(uint64_t)(t - 1) * p->width] = x;
            }
            dst[(uint64_t)i * ldd + ch] = (float)act(&a, p->act, sum);
        }
}
