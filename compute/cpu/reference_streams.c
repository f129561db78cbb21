#include <math.h>
#include <stdlib.h>

#include "compute/cpu/reference.h"

/* ---- streams of the residual ---- */

/* m [n][n] divided by eps + its sums over the index whose step is step; each: step of the other one. */
static void divide(double *m, uint32_t n, uint32_t each, uint32_t step, double eps)
{
    for (uint32_t i = 0; i < n; i++) {
        double sum = eps;
        for (uint32_t j = 0; j < n; j++) sum += m[i * each + j * step];
        for (uint32_t j = 0; j < n; j++) m[i * each + j * step] /= sum;
    }
}

static void sinkhorn(const struct op_sinkhorn *p, float *x, const float *scale, const float *base)
{
    const uint32_t n = p->streams;
    const double eps = (double)p->eps;
    double m[SINKHORN_STREAMS * SINKHORN_STREAMS];
    for (uint32_t k = 0; k < (p->rounds ? 2 * n : n); k++) {
        const double s = 1 / (1 + exp(-((double)x[k] * (double)scale[k / n] + (double)base[k])));
        x[k] = (float)(k < n ? s + eps : 2 * s);
    }
    if (!p->rounds) return;
    for (uint32_t i = 0; i < n; i++) {
        double sum = 0;
        for (uint32_t j = 0; j < n; j++)
            sum += m[i * n + j] =
                exp((double)x[2 * n + i * n + j] * (double)scale[2] + (double)base[2 * n + i * n + j]);
        for (uint32_t j = 0; j < n; j++) m[i * n + j] = m[i * n + j] / sum + eps;
    }
    divide(m, n, 1, n, eps);
    for (uint32_t r = 1; r < p->rounds; r++) {
        divide(m, n, n, 1, eps);
        divide(m, n, 1, n, eps);
    }
    for (uint32_t k = 0; k < n * n; k++) x[2 * n + k] = (float)m[k];
}

void reference_sinkhorn(const struct op_sinkhorn *p, float *x, uint32_t ldx, const float *scale, const float *base,
                        uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) sinkhorn(p, x + (uint64_t)i * ldx, scale, base);
}

void reference_mix(const struct op_mix *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
                   const float *weight, uint32_t ldw, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < p->out * p->width; c++) {
            float *to = dst + (uint64_t)i * ldd + c;
            double sum = p->flags & MIX_ADDS ? (double)*to : 0;
            for (uint32_t k = 0; k < p->in; k++)
                sum += (double)weight[(uint64_t)i * ldw + k * p->in_stride + c / p->width * p->out_stride] *
                       (double)src[(uint64_t)i * lds + k * p->width + c % p->width];
            *to = (float)sum;
        }
}

/* ---- pooled windows ---- */

void reference_pool(const struct op_pool *p, float *dst, uint32_t ldd, const struct ops_pool_args *x, uint32_t n)
{
    const uint32_t columns = p->parts * p->width;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t seen = p->parts == 2 && i + 1 >= 2 * p->every ? 2 * p->every : p->every;
        for (uint32_t c = 0; c < p->width; c++) {
            double sum = 0, all = 0;
            dst[(uint64_t)i * ldd + c] = 0;
            if ((i + 1) % p->every) continue;
            for (uint32_t j = i + 1 - seen; j <= i; j++) {
                const uint32_t col = p->parts == 2 && j + p->every > i ? p->width + c : c;
                const double e = exp((double)x->gate[(uint64_t)j * x->ldg + col] +
                                     (double)x->bias[(uint64_t)(j % p->every) * columns + col]);
                sum += e;
                all += e * (double)x->x[(uint64_t)j * x->ldx + col];
            }
            dst[(uint64_t)i * ldd + c] = (float)(all / sum);
        }
    }
}

/* ---- attention over two keys a row ---- */

static uint64_t row_of_place(const struct ops_rows *r, uint32_t i, uint32_t position)
{
    const struct ops_run *run = r->runs + r->first[i];
    for (; position >= run->length; run++) position -= run->length;
    return run->row + position;
}

/* Index of the first element of the key of number v: pooled blocks, of which there are blocks, then the window. */
static uint64_t key_of(const struct op_attention *p, const struct ops_rows *r, uint32_t i, uint32_t v, uint32_t blocks,
                       uint32_t first)
{
    const uint32_t *list = p->chosen_top ? r->chosen + (uint64_t)i * r->ld_chosen : NULL;
    if (v >= blocks) return row_of_place(r, i, first + v - blocks) * 2 * p->dk;
    return row_of_place(r, i, ((list ? list[1 + v] : v) + 1) * p->pooled - 1) * 2 * p->dk + p->dk;
}

void reference_attention_pooled(const struct op_attention *p, float *dst, uint32_t ldd, const float *q, uint32_t ldq,
                                const void *k_cache, uint32_t kv_form, const float *sinks, const struct ops_rows *r)
{
    double *out = calloc(p->dk, sizeof *out);
    for (uint32_t i = 0; i < r->n && out; i++) {
        const uint32_t position = r->position[i], first = position + 1 > p->window ? position + 1 - p->window : 0,
                       blocks = p->chosen_top ? r->chosen[(uint64_t)i * r->ld_chosen] : (position + 1) / p->pooled;
        for (uint32_t h = 0; h < p->heads; h++) {
            double sum = sinks ? exp((double)sinks[h]) : 0;
            for (uint32_t c = 0; c < p->dk; c++) out[c] = 0;
            for (uint32_t v = 0; v < blocks + position + 1 - first; v++) {
                const uint64_t key = key_of(p, r, i, v, blocks, first);
                double s = 0;
                for (uint32_t c = 0; c < p->dk; c++)
                    s += (double)q[(uint64_t)i * ldq + h * p->dk + c] * reference_stored(kv_form, k_cache, key + c);
                s = exp((double)p->scale * s);
                sum += s;
                for (uint32_t c = 0; c < p->dk; c++) out[c] += s * reference_stored(kv_form, k_cache, key + c);
            }
            for (uint32_t c = 0; c < p->dk; c++) dst[(uint64_t)i * ldd + h * p->dk + c] = (float)(out[c] / sum);
        }
    }
    free(out);
}
