#include "tests/interpret.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compute/cpu/reference.h"

struct run {
    const struct plan_shm *p;
    const uint8_t **file;
    size_t *file_bytes;
    double **buf;
    uint32_t n, rows; /* positions; rows of the operation: all, then the selected ones */
    const uint32_t *tokens, *positions;
    uint32_t wanted;
    double *logits;
    /* what the last router chose, [n][top] */
    uint32_t *chosen;
    double *weight;
    uint32_t top;
    double **cache; /* [caches] rows of k, then v, of each position */
};

/* ---- weights ---- */

static double element(const struct run *r, const struct plan_matrix *m, uint64_t row, uint64_t col)
{
    struct ops_weight w = {.matrix = m, .data = r->file[m->file] + m->file_off, .rows = m->rows};

    float *own[2] = {NULL, NULL};
    double x;

    if (m->scale_file != PLAN_NONE) w.scale = r->file[m->scale_file] + m->scale_off;
    if (m->zero_rows) w.zero = r->file[m->zero_file] + m->zero_off;
    for (uint32_t i = 0; i < (m->flags & MATRIX_NESTED                     ? 2u
                              : m->flags & (MATRIX_WHOLE | MATRIX_GROUPED) ? 1u
                                                                           : 0u);
         i++) {
        const struct plan_vector *v = &plan_vectors(r->p)[m->vector[i]];

        w.vector[i] = own[i] = malloc(v->elements * sizeof **own); /* in its file it may begin at any byte */
        if (!own[i]) abort();
        memcpy(own[i], r->file[v->file] + v->file_off, v->elements * sizeof **own);
    }
    x = (double)reference_weight(&w, row, col);
    free(own[0]);
    free(own[1]);
    return x;
}

static const struct plan_matrix *matrix(const struct run *r, uint32_t i)
{
    return &plan_matrices(r->p)[i];
}

static double vector(const struct run *r, uint32_t i, uint64_t k)
{
    const struct plan_vector *v = &plan_vectors(r->p)[i];

    if (v->file == PLAN_NONE) return (double)plan_constants(r->p)[v->file_off + k];
    return reference_stored(v->form, r->file[v->file] + v->file_off, k);
}

/* ---- activations ---- */

static double *at(const struct run *r, struct plan_view v, uint32_t row)
{
    return r->buf[v.buf] + (uint64_t)row * plan_buffers(r->p)[v.buf] + v.col;
}

static double act(uint32_t kind, double x)
{
    switch (kind) {
    case ACT_SILU: return x / (1 + exp(-x));
    case ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACT_GELU_ERF: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case ACT_RELU: return x > 0 ? x : 0;
    case ACT_SIGMOID: return 1 / (1 + exp(-x));
    case ACT_SOFTPLUS: return log1p(exp(x));
    case ACT_RELU2: return x > 0 ? x * x : 0;
    default: return x;
    }
}

static double gated(uint32_t kind, double gate, double up, double alpha, double limit, uint32_t flags)
{
    if (flags & ACT_CLAMP_BEFORE) return act(kind, fmin(gate, limit)) * fmax(-limit, fmin(up, limit));
    if (flags & ACT_CLAMP_AFTER) return fmin(act(kind, gate), limit) * fmax(-limit, fmin(up, limit));
    if (kind != ACT_SWIGLU_OAI) return act(kind, gate) * up;
    gate = gate < limit ? gate : limit;
    up = up < -limit ? -limit : up > limit ? limit : up;
    return gate / (1 + exp(-alpha * gate)) * (up + 1);
}

/* ---- operations ---- */

static void do_embed(const struct run *r, const struct op_embed *o)
{
    for (uint32_t i = 0; i < r->n; i++)
        for (uint32_t c = 0; c < o->width; c++)
            at(r, o->dst, i)[c] = (double)o->scale * element(r, matrix(r, o->matrix), r->tokens[i], c);
    if (!(o->flags & EMBED_BESIDE)) return;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct plan_matrix *m = matrix(r, o->beside);
        uint32_t row = r->tokens[i] < m->rows ? r->tokens[i] : 0;
        for (uint32_t c = 0; c < o->beside_width; c++)
            at(r, o->beside_dst, i)[c] = (double)o->beside_scale * element(r, m, row, c);
    }
}

static void norm_group(const struct run *r, const struct op_norm *o, const double *x, double *y, uint32_t g)
{
    double mean = 0, sum = 0, k;

    for (uint32_t c = 0; c < o->width && (o->kind == NORM_LAYER || o->kind == NORM_CUT); c++) mean += x[c] / o->width;
    for (uint32_t c = 0; c < o->width; c++) sum += (x[c] - mean) * (x[c] - mean);
    k = sqrt(sum / o->width);
    if (o->kind == NORM_SIZE) y[0] = k;
    for (uint32_t c = 0; c < o->width && o->kind == NORM_CUT; c++)
        y[c] = fmax(0, x[c] - mean - (double)o->deviations * k);
    if (o->kind == NORM_SIZE || o->kind == NORM_CUT) return;
    k = o->kind == NORM_LEAST ? 1 / sqrt(fmax(sum / o->width, (double)o->eps))
                              : 1 / sqrt((o->kind == NORM_L2 ? sum : sum / o->width) + (double)o->eps);
    for (uint32_t c = 0; c < o->width; c++) {
        uint64_t w = (uint64_t)g * o->weight_stride + c;
        y[c] = (x[c] - mean) * k;
        if (o->weight != PLAN_NONE) y[c] *= (double)o->weight_add + vector(r, o->weight, w);
        if (o->bias != PLAN_NONE) y[c] += vector(r, o->bias, w);
    }
}

static void do_norm(const struct run *r, const struct op_norm *o)
{
    for (uint32_t i = 0; i < r->rows; i++)
        for (uint32_t g = 0; g < o->groups; g++)
            norm_group(r, o, at(r, o->src, i) + (uint64_t)g * o->src_stride,
                       at(r, o->dst, i) + (uint64_t)g * o->dst_stride, g);
}

static double dot_row(const struct run *r, const struct plan_matrix *m, uint64_t row, const double *x)
{
    double sum = 0;

    for (uint64_t c = 0; c < m->cols; c++) sum += x[c] * element(r, m, row, c);
    return sum;
}

static void do_turned(const struct run *r, const struct op_matmul *o)
{
    const struct plan_matrix *m = matrix(r, o->matrix);

    for (uint32_t i = 0; i < r->rows; i++)
        for (uint64_t c = 0; c < m->cols; c++) {
            double sum = o->bias == PLAN_NONE ? 0 : vector(r, o->bias, c);
            for (uint64_t k = 0; k < plan_matrix_inputs(m); k++) sum += at(r, o->src, i)[k] * element(r, m, k, c);
            at(r, o->dst, i)[c] = sum;
        }
}

static void do_matmul(const struct run *r, const struct op_matmul *o)
{
    const struct plan_matrix *m = matrix(r, o->matrix);

    if (o->flags & MATMUL_TRANSPOSED) {
        do_turned(r, o);
        return;
    }

    for (uint64_t row = 0; row < m->rows; row++) {
        double length = 1;
        if (o->flags & MATMUL_ROW_NORM) {
            length = 0;
            for (uint64_t c = 0; c < m->cols; c++) length += pow(element(r, m, row, c), 2);
            length = sqrt(length);
        }
        for (uint32_t i = 0; i < r->rows; i++)
            at(r, o->dst, i)[row] =
                dot_row(r, m, row, at(r, o->src, i)) / length + (o->bias == PLAN_NONE ? 0 : vector(r, o->bias, row));
    }
}

static void head_row(const struct run *r, const struct op_headmm *o, const double *x, double *y, uint32_t h)
{
    const struct plan_matrix *m = matrix(r, o->matrix);
    uint64_t row0 = (uint64_t)h * o->row_stride + o->row_off;

    for (uint32_t k = 0; k < o->rows && !o->transposed; k++) y[k] = dot_row(r, m, row0 + k, x);
    for (uint64_t c = 0; c < m->cols && o->transposed; c++) {
        y[c] = 0;
        for (uint32_t k = 0; k < o->rows; k++) y[c] += x[k] * element(r, m, row0 + k, c);
    }
}

static void do_headmm(const struct run *r, const struct op_headmm *o)
{
    for (uint32_t i = 0; i < r->rows; i++)
        for (uint32_t h = 0; h < o->heads; h++)
            head_row(r, o, at(r, o->src, i) + (uint64_t)h * o->src_stride,
                     at(r, o->dst, i) + (uint64_t)h * o->dst_stride, h);
}

static void do_rope(const struct run *r, const struct op_rope *o)
{
    const struct plan_rope *t = &plan_ropes(r->p)[o->rope];
    uint32_t half = o->dim / 2;

    for (uint32_t i = 0; i < r->rows; i++) {
        for (uint32_t k = 0; k < half; k++) {
            double angle =
                (double)((float)(t->each > 1 ? i / t->each * t->each : i) * plan_constants(r->p)[t->inv_freq + k]);
            double c = cos(angle) * (double)t->scale, s = sin(angle) * (double)t->scale;
            uint32_t a = o->style == ROPE_PAIRS ? 2 * k : k, b = o->style == ROPE_PAIRS ? 2 * k + 1 : k + half;
            for (uint32_t h = 0; h < o->heads; h++) {
                double *x = at(r, o->x, i) + (uint64_t)h * o->head_stride, u = x[a], v = x[b];
                x[a] = u * c - v * s;
                x[b] = v * c + u * s;
            }
        }
    }
}

static void do_copy(const struct run *r, const struct op_copy *o)
{
    for (uint32_t i = 0; i < r->rows; i++)
        for (uint32_t k = 0; k < o->blocks; k++)
            memmove(at(r, o->dst, i) + (uint64_t)k * o->dst_stride, at(r, o->src, i) + (uint64_t)k * o->src_stride,
                    o->width * sizeof(double));
}

static void do_add(const struct run *r, const struct op_add *o)
{
    for (uint32_t i = 0; i < r->rows; i++)
        for (uint32_t c = 0; c < o->width; c++)
            at(r, o->dst, i)[c] = (double)o->ca * at(r, o->a, i)[c] + (double)o->cb * at(r, o->b, i)[c];
}

static void do_act(const struct run *r, const struct op_act *o)
{
    for (uint32_t i = 0; i < r->rows; i++) {
        const double *gate = at(r, o->gate, i);
        double *dst = at(r, o->dst, i);
        for (uint32_t c = 0; c < o->width; c++) {
            bool pairs = o->flags & ACT_INTERLEAVED;
            double g = pairs ? gate[2 * c] : gate[o->flags & ACT_BROADCAST ? (o->each ? c / o->each : 0) : c];
            double up = pairs ? gate[2 * c + 1] : o->up.buf == PLAN_NOBUF ? 1 : at(r, o->up, i)[c];
            dst[c] = gated(o->kind, g, up, (double)o->alpha, (double)o->limit, o->flags);
        }
    }
}

static void do_scale(const struct run *r, const struct op_scale *o)
{
    for (uint32_t i = 0; i < r->rows; i++) {
        double mul = (double)o->mul, cap = (double)o->cap, *x = at(r, o->x, i);
        if (o->flags & SCALE_BY_POSITION)
            mul = 1 + mul * log1p(floor((i + (o->flags & SCALE_FROM_ZERO ? 0.0 : 1.0)) / (double)o->floor));
        for (uint32_t c = 0; c < o->width; c++) {
            if (o->flags & SCALE_BY_VECTOR)
                mul = vector(r, o->vector, plan_vectors(r->p)[o->vector].elements == 1 ? 0 : c);
            if (o->flags & SCALE_CLAMP)
                x[c] = fmax(-cap, fmin(cap, mul * x[c]));
            else
                x[c] = cap != 0 ? cap * tanh(mul * x[c] / cap) : mul * x[c];
        }
    }
}

/* Position j's keys, or values where they are their own, as they were appended. */
static const double *cached(const struct run *r, const struct op_attention *o, uint32_t j, bool v)
{
    const struct plan_cache *c = &plan_caches(r->p)[o->cache];

    return r->cache[o->cache] + (uint64_t)j * (c->k_width + c->v_width) + (v ? c->k_width : 0);
}

static void append(const struct run *r, const struct op_attention *o)
{
    const struct plan_cache *c = &plan_caches(r->p)[o->cache];
    double *to = r->cache[o->cache] = calloc(r->n, ((size_t)c->k_width + c->v_width) * sizeof *to);

    for (uint32_t i = 0; i < r->n && to; i++, to += c->k_width + c->v_width) {
        memcpy(to, at(r, o->k, i), c->k_width * sizeof *to);
        if (c->v_width) memcpy(to + c->k_width, at(r, o->v, i), c->v_width * sizeof *to);
    }
}

static void do_position(const struct run *r, const struct op_position *o)
{
    for (uint32_t i = 0; i < r->rows; i++)
        for (uint32_t c = 0; c < o->width; c++) {
            uint32_t row = i + o->offset;
            at(r, o->x, i)[c] +=
                vector(r, o->table + row / POSITION_ROWS, (uint64_t)(row % POSITION_ROWS) * o->width + c);
        }
}

static void do_xielu(const struct run *r, const struct op_xielu *o)
{
    double beta = vector(r, o->beta, 0), eps = vector(r, o->eps, 0), p = act(ACT_SOFTPLUS, vector(r, o->alpha_p, 0)),
           n = beta + act(ACT_SOFTPLUS, vector(r, o->alpha_n, 0));

    for (uint32_t i = 0; i < r->rows; i++)
        for (uint32_t c = 0; c < o->width; c++) {
            double x = at(r, o->src, i)[c];
            at(r, o->dst, i)[c] = x > 0 ? p * x * x + beta * x : n * (expm1(fmin(x, eps)) - x) + beta * x;
        }
}

/* What a position of a list was chosen of; everything where nothing is. */
static bool is_chosen(const struct run *r, const struct op_attention *o, uint32_t i, uint32_t g, uint32_t j)
{
    const double *list;

    if (!o->chosen_top) return true;
    list = at(r, o->chosen, i) + g / (o->kv_heads / o->chosen_groups) * (UINT64_C(1) + o->chosen_top);
    for (uint32_t k = 0; k < *list; k++)
        if (list[1 + k] == j / o->chosen_block) return true;
    return false;
}

static void index_group(const struct run *r, const struct op_index *o, uint32_t i, uint32_t g, double *score)
{
    bool pooled = o->flags & INDEX_POOLED;
    uint32_t heads = o->heads / o->groups, blocks = pooled ? (i + 1) / o->block : i / o->block + 1;
    double *list = at(r, o->dst, i) + g * (UINT64_C(1) + o->top);

    for (uint32_t b = 0; b < blocks; b++) score[b] = -INFINITY;
    for (uint32_t j = 0; j <= i; j++) {
        double sum = 0;
        if (pooled && (j + 1) % o->block) continue;
        for (uint32_t h = g * heads; h < (g + 1) * heads; h++) {
            double s = 0;
            for (uint32_t c = 0; c < o->dim; c++) s += at(r, o->q, i)[(uint64_t)h * o->dim + c] * at(r, o->k, j)[c];
            s *= (double)o->scale;
            if (o->flags & INDEX_RELU) s = fmax(s, 0);
            sum += o->w.buf == PLAN_NOBUF ? s : s * at(r, o->w, i)[h];
        }
        score[j / o->block] = fmax(score[j / o->block], sum);
    }
    for (uint32_t k = 1; k <= o->local && k <= blocks; k++) score[blocks - k] = INFINITY;
    *list = 0;
    for (uint32_t b = 0; b < blocks; b++) {
        uint32_t before = 0;
        for (uint32_t c = 0; c < blocks; c++) before += score[c] > score[b] || (score[c] == score[b] && c < b);
        if (before < o->top) list[1 + (uint32_t)(*list)++] = b;
    }
}

static void do_index(const struct run *r, const struct op_index *o)
{
    double *score = calloc(r->n, sizeof *score);

    for (uint32_t i = 0; i < r->n; i++)
        for (uint32_t g = 0; g < o->groups; g++) index_group(r, o, i, g, score);
    free(score);
}

/* Over the second keys of whole blocks, all or those listed, and the first keys of the window. */
static void attend_pooled(const struct run *r, const struct op_attention *o, uint32_t i, uint32_t h, double *p)
{
    uint32_t first = i + 1 > o->window ? i + 1 - o->window : 0, blocks = (i + 1) / o->pooled, n = 0, all;
    const double **key = calloc((size_t)blocks + i + 1, sizeof *key), *q = at(r, o->q, i) + (uint64_t)h * o->dk;
    double *dst = at(r, o->dst, i) + (uint64_t)h * o->dv, top = -INFINITY, sum = 0;

    for (uint32_t b = 0; b < blocks; b++)
        if (is_chosen(r, o, i, 0, b * o->pooled)) key[n++] = cached(r, o, (b + 1) * o->pooled - 1, false) + o->dk;
    for (uint32_t j = first; j <= i; j++) key[n++] = cached(r, o, j, false);
    all = n;
    for (uint32_t k = 0; k < all; k++) {
        p[k] = 0;
        for (uint32_t c = 0; c < o->dk; c++) p[k] += q[c] * key[k][c];
        p[k] *= (double)o->scale;
        top = fmax(top, p[k]);
    }
    if (o->sinks != PLAN_NONE) top = fmax(top, vector(r, o->sinks, h));
    for (uint32_t k = 0; k < all; k++) sum += p[k] = exp(p[k] - top);
    if (o->sinks != PLAN_NONE) sum += exp(vector(r, o->sinks, h) - top);
    for (uint32_t c = 0; c < o->dv; c++) {
        dst[c] = 0;
        for (uint32_t k = 0; k < all; k++) dst[c] += p[k] / sum * key[k][c];
    }
    free(key);
}

static void attend_head(const struct run *r, const struct op_attention *o, uint32_t i, uint32_t h, double *p)
{
    uint32_t g = h / (o->heads / o->kv_heads), first = 0;
    const double *q = at(r, o->q, i) + (uint64_t)h * o->dk;
    double *dst = at(r, o->dst, i) + (uint64_t)h * o->dv, top = -INFINITY, sum = 0;

    if (o->window && i + 1 > o->window) first = i + 1 - o->window;
    if (o->chunk && i / o->chunk * o->chunk > first) first = i / o->chunk * o->chunk;
    for (uint32_t j = first; j <= i; j++) {
        p[j] = -INFINITY;
        if (!is_chosen(r, o, i, g, j)) continue;
        p[j] = 0;
        for (uint32_t c = 0; c < o->dk; c++) p[j] += q[c] * cached(r, o, j, false)[(uint64_t)g * o->dk + c];
        p[j] *= (double)o->scale;
        if (o->cap != 0) p[j] = (double)o->cap * tanh(p[j] / (double)o->cap);
        if (o->alibi != PLAN_NONE) p[j] += vector(r, o->alibi, h) * ((double)j - i);
        top = fmax(top, p[j]);
    }
    if (o->sinks != PLAN_NONE) top = fmax(top, vector(r, o->sinks, h));
    for (uint32_t j = first; j <= i; j++) sum += p[j] = exp(p[j] - top);
    if (o->sinks != PLAN_NONE) sum += exp(vector(r, o->sinks, h) - top);
    for (uint32_t c = 0; c < o->dv; c++) {
        dst[c] = 0;
        for (uint32_t j = first; j <= i; j++)
            dst[c] += p[j] / sum *
                      (o->flags & ATTN_V_IN_K ? cached(r, o, j, false)[(uint64_t)g * o->dk + c]
                                              : cached(r, o, j, true)[(uint64_t)g * o->dv + c]);
    }
}

static void do_attention(const struct run *r, const struct op_attention *o)
{
    double *p = calloc(2 * (size_t)r->n, sizeof *p);

    if (!(o->flags & ATTN_REUSES)) append(r, o);
    for (uint32_t i = 0; i < r->n && p; i++)
        for (uint32_t h = 0; h < o->heads; h++) (o->pooled ? attend_pooled : attend_head)(r, o, i, h, p);
    free(p);
}

/* One column of the window that ends at position i. */
static double pool_column(const struct run *r, const struct op_pool *o, uint32_t i, uint32_t c)
{
    uint32_t n = o->parts == 2 && i + 1 >= 2 * o->every ? 2 * o->every : o->every, first = i + 1 - n;
    double top = -INFINITY, sum = 0, x = 0;

    for (int pass = 0; pass < 2; pass++)
        for (uint32_t j = first; j <= i; j++) {
            bool own = j + o->every > i;
            uint32_t col = o->parts == 2 && own ? o->width + c : c;
            double g =
                at(r, o->gate, j)[col] + vector(r, o->bias, (uint64_t)(j % o->every) * o->parts * o->width + col);
            if (!pass) top = fmax(top, g);
            if (!pass) continue;
            sum += exp(g - top);
            x += exp(g - top) * at(r, o->x, j)[col];
        }
    return x / sum;
}

static void do_pool(const struct run *r, const struct op_pool *o)
{
    for (uint32_t i = 0; i < r->n; i++)
        for (uint32_t c = 0; c < o->width; c++) at(r, o->dst, i)[c] = (i + 1) % o->every ? 0 : pool_column(r, o, i, c);
}

static void sinkhorn_sums(double *m, uint32_t n, uint32_t each, uint32_t step, double eps)
{
    for (uint32_t i = 0; i < n; i++) {
        double sum = eps;
        for (uint32_t j = 0; j < n; j++) sum += m[i * each + j * step];
        for (uint32_t j = 0; j < n; j++) m[i * each + j * step] /= sum;
    }
}

static void do_sinkhorn(const struct run *r, const struct op_sinkhorn *o)
{
    uint32_t n = o->streams;
    double eps = (double)o->eps;

    for (uint32_t i = 0; i < r->rows; i++) {
        double *x = at(r, o->x, i), *m = x + 2 * n;
        for (uint32_t k = 0; k < plan_sinkhorn_columns(o); k++)
            x[k] = x[k] * vector(r, o->scale, k < n ? 0 : k < 2 * n ? 1 : 2) + vector(r, o->base, k);
        for (uint32_t k = 0; k < n; k++) x[k] = act(ACT_SIGMOID, x[k]) + eps;
        if (!o->rounds) continue;
        for (uint32_t k = n; k < 2 * n; k++) x[k] = 2 * act(ACT_SIGMOID, x[k]);
        for (uint32_t a = 0; a < n; a++) {
            double sum = 0;
            for (uint32_t k = 0; k < n; k++) sum += exp(m[a * n + k]);
            for (uint32_t k = 0; k < n; k++) m[a * n + k] = exp(m[a * n + k]) / sum + eps;
        }
        sinkhorn_sums(m, n, 1, n, eps);
        for (uint32_t k = 1; k < o->rounds; k++) {
            sinkhorn_sums(m, n, n, 1, eps);
            sinkhorn_sums(m, n, 1, n, eps);
        }
    }
}

static void do_mix(const struct run *r, const struct op_mix *o)
{
    for (uint32_t i = 0; i < r->rows; i++)
        for (uint32_t j = 0; j < o->out; j++)
            for (uint32_t c = 0; c < o->width; c++) {
                double *y = at(r, o->dst, i) + (uint64_t)j * o->width + c, sum = o->flags & MIX_ADDS ? *y : 0;
                for (uint32_t k = 0; k < o->in; k++)
                    sum += at(r, o->weight, i)[k * o->in_stride + j * o->out_stride] *
                           at(r, o->src, i)[(uint64_t)k * o->width + c];
                *y = sum;
            }
}

static void do_conv(const struct run *r, const struct op_conv *o)
{
    for (uint32_t i = 0; i < r->n; i++) {
        for (uint32_t c = 0; c < o->width; c++) {
            double sum = o->bias == PLAN_NONE ? 0 : vector(r, o->bias, c);
            for (uint32_t t = 0; t < o->taps; t++)
                if (i + t + 1 >= o->taps)
                    sum += vector(r, o->weight, (uint64_t)c * o->taps + t) * at(r, o->src, i + t + 1 - o->taps)[c];
            at(r, o->dst, i)[c] = act(o->act, sum);
        }
    }
}

static double inverse_length(const double *x, uint32_t n)
{
    double sum = 0;

    for (uint32_t c = 0; c < n; c++) sum += x[c] * x[c];
    return 1 / sqrt(sum + 1e-6);
}

static double delta_decay(const struct run *r, const struct op_delta *o, uint32_t i, uint32_t h, uint32_t row)
{
    uint64_t own = o->flags & DELTA_CHANNELS ? (uint64_t)h * o->dk + row : h;
    double rate = o->flags & DELTA_RATES ? vector(r, o->a_log, h) : -exp(vector(r, o->a_log, h));
    double a = at(r, o->a, i)[own] + vector(r, o->dt_bias, own);

    return exp(o->flags & DELTA_BOUNDED ? (double)o->bound * act(ACT_SIGMOID, -rate * a) : rate * act(ACT_SOFTPLUS, a));
}

/* One step of one head: state [dk][dv]. */
static void delta_step(const struct run *r, const struct op_delta *o, uint32_t i, uint32_t h, double *state)
{
    uint32_t kh = h / (o->heads / o->key_heads);
    const double *q = at(r, o->q, i) + (uint64_t)kh * o->dk, *k = at(r, o->k, i) + (uint64_t)kh * o->dk;
    const double *v = at(r, o->v, i) + (uint64_t)h * o->dv;
    double *dst = at(r, o->dst, i) + (uint64_t)h * o->dv, ql = inverse_length(q, o->dk), kl = inverse_length(k, o->dk);
    double beta = act(ACT_SIGMOID, at(r, o->b, i)[h]);

    for (uint32_t a = 0; a < o->dk; a++) {
        double g = delta_decay(r, o, i, h, a);

        for (uint32_t c = 0; c < o->dv; c++) state[(uint64_t)a * o->dv + c] *= g;
    }
    for (uint32_t c = 0; c < o->dv; c++) {
        double seen = 0, out = 0, d;
        for (uint32_t a = 0; a < o->dk; a++) seen += state[(uint64_t)a * o->dv + c] * k[a] * kl;
        d = beta * (v[c] - seen);
        for (uint32_t a = 0; a < o->dk; a++) {
            double *s = &state[(uint64_t)a * o->dv + c];
            *s += k[a] * kl * d;
            out += *s * q[a] * ql;
        }
        dst[c] = out * (double)o->scale;
    }
}

/* One step of one column: its states, one after the other. */
static void scan_step(const struct run *r, const struct op_scan *o, uint32_t i, uint64_t channel, double *state)
{
    bool channels = o->flags & SCAN_CHANNELS;
    uint64_t head = channel / o->width, own = channels ? channel : head, group = head / (o->heads / o->groups);
    const double *b = at(r, o->b, i) + group * o->states, *c = at(r, o->c, i) + group * o->states;
    double x = at(r, o->x, i)[channel], d = log1p(exp(at(r, o->dt, i)[own] + vector(r, o->dt_bias, own)));
    double sum = o->skip == PLAN_NONE ? 0 : vector(r, o->skip, own) * x;

    d = fmin(fmax(d, (double)o->dt_least), (double)o->dt_most);
    for (uint32_t k = 0; k < o->states; k++) {
        double a = vector(r, o->a_log, channels ? channel * o->states + k : head);

        state[k] = exp((o->flags & SCAN_RATES ? a : -exp(a)) * d) * state[k] + d * x * b[k];
        sum += state[k] * c[k];
    }
    at(r, o->dst, i)[channel] = sum;
}

static void do_scan(const struct run *r, const struct op_scan *o)
{
    for (uint64_t c = 0; c < (uint64_t)o->heads * o->width; c++) {
        double *state = calloc(o->states, sizeof *state);

        for (uint32_t i = 0; i < r->n && state; i++) scan_step(r, o, i, c, state);
        free(state);
    }
}

static void do_delta(const struct run *r, const struct op_delta *o)
{
    for (uint32_t h = 0; h < o->heads; h++) {
        double *state = calloc((size_t)o->dk * o->dv, sizeof *state);
        for (uint32_t i = 0; i < r->n && state; i++) delta_step(r, o, i, h, state);
        free(state);
    }
}

/* ---- experts ---- */

/* The best of n scores that are not yet taken; taken ones are NaN. */
static uint32_t best(const double *s, uint32_t n)
{
    uint32_t k = 0;

    while (k < n && isnan(s[k])) k++;
    for (uint32_t i = k + 1; i < n; i++)
        if (!isnan(s[i]) && s[i] > s[k]) k = i;
    return k;
}

static void mask_groups(const struct op_router *o, double *choice)
{
    uint32_t each = o->experts / o->groups;
    double *group = calloc(o->groups, sizeof *group);

    for (uint32_t g = 0; g < o->groups; g++) {
        double a = -INFINITY, b = -INFINITY;
        for (uint32_t k = 0; k < each; k++) {
            double s = choice[g * each + k];
            if (s > a) {
                b = a;
                a = s;
            } else if (s > b) {
                b = s;
            }
        }
        group[g] = o->flags & ROUTER_GROUP_TOP2 ? a + b : a;
    }
    for (uint32_t t = 0; t < o->top_groups; t++) group[best(group, o->groups)] = NAN;
    for (uint32_t e = 0; e < o->experts; e++)
        if (!isnan(group[e / each])) choice[e] = NAN;
    free(group);
}

static double sum_with(const struct op_router *o, double sum)
{
    return o->flags & ROUTER_LEAST_SUM ? fmax(sum, (double)o->eps) : sum + (double)o->eps;
}

/* One expert after the other: the best of those left, by the softmax over them without those that are far below it. */
static void route_mixer(struct run *r, const struct op_router *o, uint32_t i, double *left)
{
    const double *x = at(r, o->src, i);

    memcpy(left, x, o->experts * sizeof *x);
    for (uint32_t t = 0; t < o->top; t++) {
        uint32_t e = best(left, o->experts);
        double sum = 0;

        for (uint32_t k = 0; k < o->experts; k++)
            if (!isnan(left[k]) && !((x[e] - x[k]) / fmax(fabs(x[k]), x[e]) > (double)o->eps)) sum += exp(x[k] - x[e]);
        r->chosen[i * o->top + t] = e;
        r->weight[i * o->top + t] = (double)o->scale / sum;
        left[e] = NAN;
    }
}

static void route(struct run *r, const struct op_router *o, uint32_t i, double *score, double *choice)
{
    const double *x = at(r, o->src, i);
    double top = -INFINITY, sum = 0;

    if (o->score == SCORE_MIXER) {
        route_mixer(r, o, i, choice);
        return;
    }
    for (uint32_t e = 0; e < o->experts; e++) top = fmax(top, x[e]);
    for (uint32_t e = 0; e < o->experts; e++) sum += exp(x[e] - top);
    for (uint32_t e = 0; e < o->experts; e++) {
        score[e] = o->score == SCORE_SIGMOID         ? act(ACT_SIGMOID, x[e])
                   : o->score == SCORE_SOFTMAX       ? exp(x[e] - top) / sum
                   : o->score == SCORE_SQRT_SOFTPLUS ? sqrt(log1p(exp(x[e])))
                                                     : exp(x[e] - top);
        choice[e] = score[e] + (o->bias == PLAN_NONE ? 0 : vector(r, o->bias, e));
    }
    if (o->groups) mask_groups(o, choice);
    sum = 0;
    for (uint32_t t = 0; t < o->top; t++) {
        uint32_t e = o->flags & ROUTER_BY_TOKEN
                         ? (uint32_t)plan_constants(r->p)[o->fixed + (uint64_t)r->tokens[i] * o->top + t]
                         : best(choice, o->experts);
        r->chosen[i * o->top + t] = e;
        sum += r->weight[i * o->top + t] = score[e];
        choice[e] = NAN;
    }
    for (uint32_t t = 0; t < o->top; t++) {
        double *w = &r->weight[i * o->top + t];
        if (o->flags & ROUTER_NORMALIZE || o->score == SCORE_TOPK_SOFTMAX) *w /= sum_with(o, sum);
        *w *= (double)o->scale;
        if (o->flags & ROUTER_SCALE_EACH) *w *= vector(r, o->each, r->chosen[i * o->top + t]);
    }
}

static void do_router(struct run *r, const struct op_router *o)
{
    double *score = calloc(2 * (size_t)o->experts, sizeof *score);

    free(r->chosen);
    free(r->weight);
    r->top = o->top;
    r->chosen = calloc((size_t)r->n * o->top, sizeof *r->chosen);
    r->weight = calloc((size_t)r->n * o->top, sizeof *r->weight);
    for (uint32_t i = 0; i < r->n; i++) route(r, o, i, score, score + o->experts);
    free(score);
}

static void expert_product(const struct run *r, const struct plan_experts *t, uint32_t m, const double *x, uint64_t in,
                           uint64_t out, double *y)
{
    const struct plan_matrix *w = matrix(r, m);

    for (uint64_t k = 0; k < out; k++) {
        y[k] = t->biased ? vector(r, t->bias0 + (m - t->matrix0), k) : 0;
        for (uint64_t c = 0; c < in; c++) y[k] += x[c] * (t->transposed ? element(r, w, c, k) : element(r, w, k, c));
    }
}

/* y += weight * expert(x); room: hidden + 3 * inter */
static void run_expert(const struct run *r, const struct op_experts *o, const struct plan_experts *t, uint32_t e,
                       double weight, const double *src, double *dst, double *room)
{
    double *x = room, *gate = x + t->hidden, *up = gate + t->inter, *mid = up + t->inter, *y = mid + t->inter;
    uint32_t m = t->matrix0 + e * (t->fused ? 2 : 3);
    bool pre = o->flags & EXPERTS_SCALE_INPUT;

    if (e >= t->experts) {
        for (uint32_t c = 0; c < t->hidden; c++) dst[c] += src[c] * weight;
        return;
    }
    for (uint32_t c = 0; c < t->hidden; c++) x[c] = src[c] * (pre ? weight : 1);
    expert_product(r, t, m, x, t->hidden, plan_expert_up(t), gate);
    if (!t->fused) expert_product(r, t, m + 1, x, t->hidden, t->inter, up);
    for (uint32_t c = 0; c < t->inter; c++)
        mid[c] = t->fused == EXPERTS_UNGATED
                     ? act(o->act, gate[c])
                     : gated(o->act, gate[t->interleaved ? 2 * c : c], t->interleaved ? gate[2 * c + 1] : up[c],
                             (double)o->alpha, (double)o->limit,
                             (o->flags & EXPERTS_CLAMP_AFTER ? ACT_CLAMP_AFTER : 0) |
                                 (o->flags & EXPERTS_CLAMP_BEFORE ? ACT_CLAMP_BEFORE : 0));
    expert_product(r, t, m + (t->fused ? 1 : 2), mid, t->inter, t->hidden, y);
    for (uint32_t c = 0; c < t->hidden; c++) dst[c] += y[c] * (pre ? 1 : weight);
}

static void do_experts(const struct run *r, const struct op_experts *o)
{
    const struct plan_experts *t = &plan_experts(r->p)[o->table];
    double *room = calloc(2 * (size_t)t->hidden + 3 * (size_t)t->inter, sizeof *room);

    for (uint32_t i = 0; i < r->n; i++) {
        memset(at(r, o->dst, i), 0, t->hidden * sizeof(double));
        for (uint32_t k = 0; k < r->top; k++)
            run_expert(r, o, t, r->chosen[i * r->top + k], r->weight[i * r->top + k], at(r, o->src, i),
                       at(r, o->dst, i), room);
    }
    free(room);
}

/* ---- the whole ---- */

static void do_select(struct run *r, const struct op_select *o)
{
    for (uint32_t i = 0; i < r->wanted; i++)
        memcpy(at(r, o->dst, i), at(r, o->src, r->positions[i]), o->width * sizeof(double));
    r->rows = r->wanted;
}

static void step(struct run *r, const struct plan_op *op)
{
    switch (op->kind) {
    case OP_EMBED: return do_embed(r, &op->embed);
    case OP_NORM: return do_norm(r, &op->norm);
    case OP_MATMUL: return do_matmul(r, &op->matmul);
    case OP_HEADMM: return do_headmm(r, &op->headmm);
    case OP_ROPE: return do_rope(r, &op->rope);
    case OP_COPY: return do_copy(r, &op->copy);
    case OP_ADD: return do_add(r, &op->add);
    case OP_ACT: return do_act(r, &op->act);
    case OP_SCALE: return do_scale(r, &op->scale);
    case OP_POSITION: return do_position(r, &op->position);
    case OP_XIELU: return do_xielu(r, &op->xielu);
    case OP_ATTENTION: return do_attention(r, &op->attention);
    case OP_INDEX: return do_index(r, &op->index);
    case OP_CONV: return do_conv(r, &op->conv);
    case OP_POOL: return do_pool(r, &op->pool);
    case OP_SINKHORN: return do_sinkhorn(r, &op->sinkhorn);
    case OP_MIX: return do_mix(r, &op->mix);
    case OP_DELTA: return do_delta(r, &op->delta);
    case OP_SCAN: return do_scan(r, &op->scan);
    case OP_ROUTER: return do_router(r, &op->router);
    case OP_EXPERTS: return do_experts(r, &op->experts);
    case OP_SELECT: return do_select(r, &op->select);
    case OP_LOGITS:
        for (uint32_t i = 0; i < r->rows; i++)
            memcpy(r->logits + (uint64_t)i * op->logits.width, at(r, op->logits.src, i),
                   op->logits.width * sizeof(double));
        return;
    default: return;
    }
}

static int map_files(struct run *r, struct error *e)
{
    for (size_t i = 0; i < r->p->files.count; i++) {
        const char *path = plan_string(r->p, plan_files(r->p)[i].name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;
        void *base = MAP_FAILED;
        if (fd >= 0 && !fstat(fd, &st)) base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (fd >= 0) close(fd);
        if (base == MAP_FAILED) return error_set(e, EIO, "%s: cannot be mapped", path);
        r->file[i] = base;
        r->file_bytes[i] = (size_t)st.st_size;
    }
    return 0;
}

int interpret(const struct plan_shm *p, const uint32_t *tokens, uint32_t n, const uint32_t *positions, uint32_t wanted,
              double *logits, struct error *e)
{
    struct run r = {
        .p = p, .n = n, .rows = n, .tokens = tokens, .positions = positions, .wanted = wanted, .logits = logits};
    int rc;

    r.file = calloc(p->files.count + 1, sizeof *r.file);
    r.file_bytes = calloc(p->files.count + 1, sizeof *r.file_bytes);
    r.buf = calloc(p->buffers.count + 1, sizeof *r.buf);
    r.cache = calloc(p->caches.count + 1, sizeof *r.cache);
    for (size_t i = 0; i < p->buffers.count; i++) r.buf[i] = calloc((size_t)n * plan_buffers(p)[i], sizeof(double));
    rc = map_files(&r, e);
    for (size_t i = 0; i < p->ops.count && !rc; i++) step(&r, &plan_ops(p)[i]);
    for (size_t i = 0; i < p->files.count; i++)
        if (r.file[i]) munmap((void *)(uintptr_t)r.file[i], r.file_bytes[i]);
    for (size_t i = 0; i < p->buffers.count; i++) free(r.buf[i]);
    for (size_t i = 0; i < p->caches.count; i++) free(r.cache[i]);
    free(r.cache);
    free(r.buf);
    free(r.file);
    free(r.file_bytes);
    free(r.chosen);
    free(r.weight);
    return rc;
}
