/* The recurrences of reference.h with a state of more than a few inputs. */
#include "compute/cpu/reference.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* One position of one head; s: the state after decay and before the update, in place. */
static void delta(const struct op_delta *p, float *dst, const float *q, const float *k, const float *v,
                  const double *decay, double beta, float *s)
{
    double q_by = 1e-6, k_by = 1e-6;
    for (uint32_t r = 0; r < p->dk; r++) {
        q_by += (double)q[r] * q[r];
        k_by += (double)k[r] * k[r];
    }
    q_by = p->scale / sqrt(q_by);
    k_by = 1 / sqrt(k_by);
    for (uint32_t c = 0; c < p->dv; c++) {
        double found = 0, out = 0;
        for (uint32_t r = 0; r < p->dk; r++) found += decay[r] * s[(uint64_t)r * p->dv + c] * k[r] * k_by;
        for (uint32_t r = 0; r < p->dk; r++) {
            double now = decay[r] * s[(uint64_t)r * p->dv + c] + k[r] * k_by * beta * (v[c] - found);
            s[(uint64_t)r * p->dv + c] = (float)now;
            out += now * q[r] * q_by;
        }
        dst[c] = (float)out;
    }
}

static void delta_decays(const struct op_delta *p, const struct ops_delta_args *x, uint32_t i, uint32_t h,
                         double *decay)
{
    const bool channels = p->flags & DELTA_CHANNELS;
    const double rate = p->flags & DELTA_RATES ? (double)x->a_log[h] : -exp((double)x->a_log[h]);
    for (uint32_t r = 0; r < p->dk; r++) {
        const uint64_t at = channels ? (uint64_t)h * p->dk + r : h;
        const double a = (double)x->a[(uint64_t)i * x->lda + at] + x->dt_bias[at];
        decay[r] = exp(p->flags & DELTA_BOUNDED ? (double)p->bound / (1 + exp(rate * a))
                                                : rate * (a > 20 ? a : log1p(exp(a))));
    }
}

void reference_delta(const struct op_delta *p, float *dst, uint32_t ldd, const struct ops_delta_args *x, float *states,
                     uint64_t state_floats, const struct ops_chain *c)
{
    const uint64_t each = (uint64_t)p->dk * p->dv;
    for (uint32_t i = 0; i < c->n; i++)
        for (uint32_t h = 0; h < p->heads; h++) {
            const uint64_t key = h / (p->heads / p->key_heads) * (uint64_t)p->dk;
            float *s = states + c->to[i] * state_floats + h * each;
            if (c->from[i] == UINT32_MAX)
                memset(s, 0, each * sizeof *s);
            else if (c->from[i] != c->to[i])
                memcpy(s, states + c->from[i] * state_floats + h * each, each * sizeof *s);
            double *decay = calloc(p->dk, sizeof *decay);
            if (!decay) abort();
            delta_decays(p, x, i, h, decay);
            delta(p, dst + (uint64_t)i * ldd + (uint64_t)h * p->dv, x->q + (uint64_t)i * x->ldq + key,
                  x->k + (uint64_t)i * x->ldk + key, x->v + (uint64_t)i * x->ldv + (uint64_t)h * p->dv, decay,
                  1 / (1 + exp(-(double)x->b[(uint64_t)i * x->ldb + h])), s);
            free(decay);
        }
}

/* One column of one position; s: its states, stride apart. */
static double scan_column(const struct op_scan *p, const struct ops_scan_args *x, uint32_t i, uint32_t head,
                          uint32_t column, float *s)
{
    const uint64_t channel = (uint64_t)head * p->width + column, group = head / (p->heads / p->groups);
    const bool channels = p->flags & SCAN_CHANNELS;
    const uint64_t own = channels ? channel : head;
    const float *b = x->b + (uint64_t)i * x->ldb + group * p->states,
                *c = x->c + (uint64_t)i * x->ldc + group * p->states;
    const double in = x->x[(uint64_t)i * x->ldx + channel],
                 raw = (double)x->dt[(uint64_t)i * x->lddt + own] + x->dt_bias[own];
    double d = raw > 20 ? raw : log1p(exp(raw)), sum = x->skip ? x->skip[own] * in : 0;

    d = fmin(fmax(d, (double)p->dt_least), (double)p->dt_most);
    for (uint32_t r = 0; r < p->states; r++) {
        const double a = x->a_log[channels ? channel * p->states + r : head],
                     rate = p->flags & SCAN_RATES ? a : -exp(a);
        const double now = exp(rate * d) * s[(uint64_t)r * p->width] + d * in * b[r];

        s[(uint64_t)r * p->width] = (float)now;
        sum += now * c[r];
    }
    return sum;
}

void reference_scan(const struct op_scan *p, float *dst, uint32_t ldd, const struct ops_scan_args *x, float *states,
                    uint64_t state_floats, const struct ops_chain *c)
{
    const uint64_t each = (uint64_t)p->states * p->width, all = p->heads * each;
    for (uint32_t i = 0; i < c->n; i++) {
        float *s = states + c->to[i] * state_floats;
        if (c->from[i] == UINT32_MAX)
            memset(s, 0, all * sizeof *s);
        else if (c->from[i] != c->to[i])
            memcpy(s, states + c->from[i] * state_floats, all * sizeof *s);
        for (uint32_t h = 0; h < p->heads; h++)
            for (uint32_t w = 0; w < p->width; w++)
                dst[(uint64_t)i * ldd + (uint64_t)h * p->width + w] =
                    (float)scan_column(p, x, i, h, w, s + h * each + w);
    }
}
