/* Operations on whole positions: cut by position, one task for a few of them. */
#include <errno.h>
#include <string.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/scalar.h"

struct job {
    struct ops *o;
    const void *p; /* the operation's parameters */
    float *dst;
    const float *a, *b, *c;
    size_t ldd, lda, ldb;
    const void *bytes;
    const uint32_t *index;
    size_t width, stride;
    uint32_t form, n, each; /* each: positions of a task */
    float ca, cb;
    void (*row)(const struct job *j, uint32_t i);
};

static void rows_task(void *arg, uint32_t worker, uint32_t task)
{
    const struct job *j = arg;
    (void)worker;
    for (uint32_t i = task * j->each; i < j->n && i < (task + 1) * j->each; i++) j->row(j, i);
}

/* cost: of one position, in multiplications or so. */
static void run_rows(struct job *j, uint64_t cost)
{
    j->each = (j->n + 4 * j->o->threads - 1) / (4 * j->o->threads);
    if (j->n) cpu_run(j->o, rows_task, j, (j->n + j->each - 1) / j->each, cost * j->n);
}

static void embed_row(const struct job *j, uint32_t i)
{
    const struct ops_gather *g = j->p;
    const uint32_t k = g->index[i] - g->first;
    if (k < g->count)
        j->o->kernels->dequantize(j->dst + i * j->ldd, (const unsigned char *)g->rows + k * j->stride, g->form,
                                  j->width, j->ca);
}

/* Can rows of it stand alone, in whole blocks? An error of the backend otherwise. */
static bool known(struct ops *o, uint32_t form, uint64_t elements)
{
    const struct form_info *f = form_info(form);

    if (f && form_can_be_table(form) && elements % f->elements == 0) return true;
    error_set(&o->error, ENOTSUP, "rows of %llu elements of form %u (%s) cannot be dequantized by themselves",
              (unsigned long long)elements, form, form_name(form));
    return false;
}

void ops_embed(struct ops *o, float *dst, uint32_t ld, const struct ops_gather *g, uint32_t n, uint32_t width,
               float scale)
{
    struct job j = {.o = o, .p = g, .dst = dst, .ldd = ld, .n = n, .width = width, .ca = scale, .row = embed_row};

    j.stride = g->stride ? g->stride : form_row_bytes(g->form, width);
    if (known(o, g->form, width)) run_rows(&j, width);
}

void ops_dequantize(struct ops *o, float *dst, const void *src, uint32_t form, uint64_t elements)
{
    if (known(o, form, elements)) o->kernels->dequantize(dst, src, form, elements, 1.0f);
}

static void norm_row(const struct job *j, uint32_t i)
{
    j->o->kernels->norm(j->p, j->dst + i * j->ldd, j->a + i * j->lda, j->b, j->c);
}

void ops_norm(struct ops *o, const struct op_norm *p, float *y, uint32_t ldy, const float *x, uint32_t ldx,
              const float *weight, const float *bias, uint32_t n)
{
    struct job j = {
        .o = o, .p = p, .dst = y, .ldd = ldy, .a = x, .lda = ldx, .b = weight, .c = bias, .n = n, .row = norm_row};
    run_rows(&j, (uint64_t)p->groups * p->width);
}

static void rope_row(const struct job *j, uint32_t i)
{
    j->o->kernels->rope(j->p, j->dst + i * j->ldd, j->a + i * j->lda, (uint32_t)j->lda);
}

void ops_rope(struct ops *o, const struct op_rope *p, float *x, uint32_t ldx, const float *cs, uint32_t dim, uint32_t n)
{
    struct job j = {.o = o, .p = p, .dst = x, .ldd = ldx, .a = cs, .lda = dim, .n = n, .row = rope_row};
    run_rows(&j, (uint64_t)p->heads * p->dim);
}

static void copy_row(const struct job *j, uint32_t i)
{
    float *dst = j->dst + i * j->ldd;
    const float *src = j->a + i * j->lda;
    if (j->width == 1) { /* q and k of files whose rows alternate: thousands of single numbers */
        for (uint32_t b = 0; b < j->form; b++) dst[b * j->ldb] = src[b * j->stride];
        return;
    }
    for (uint32_t b = 0; b < j->form; b++) memmove(dst + b * j->ldb, src + b * j->stride, j->width * sizeof *dst);
}

void ops_copy(struct ops *o, float *dst, uint32_t ldd, const float *src, uint32_t lds, uint32_t blocks, uint32_t width,
              uint32_t dst_stride, uint32_t src_stride, uint32_t n)
{
    struct job j = {.o = o,
                    .dst = dst,
                    .ldd = ldd,
                    .a = src,
                    .lda = lds,
                    .form = blocks,
                    .width = width,
                    .ldb = dst_stride,
                    .stride = src_stride,
                    .n = n,
                    .row = copy_row};
    run_rows(&j, (uint64_t)blocks * width / 4);
}

static void add_row(const struct job *j, uint32_t i)
{
    j->o->kernels->add(j->dst + i * j->ldd, j->a + i * j->lda, j->b + i * j->ldb, j->width, j->ca, j->cb);
}

void ops_add(struct ops *o, float *dst, uint32_t ldd, const float *a, uint32_t lda, const float *b, uint32_t ldb,
             uint32_t width, float ca, float cb, uint32_t n)
{
    struct job j = {.o = o,
                    .dst = dst,
                    .ldd = ldd,
                    .a = a,
                    .lda = lda,
                    .b = b,
                    .ldb = ldb,
                    .width = width,
                    .ca = ca,
                    .cb = cb,
                    .n = n,
                    .row = add_row};
    run_rows(&j, width);
}

static void act_row(const struct job *j, uint32_t i)
{
    const struct op_act *p = j->p;
    const float *gate = j->a + i * j->lda, *up = j->b ? j->b + i * j->ldb : NULL;
    float *dst = j->dst + i * j->ldd;
    struct op_act one = *p;

    if (!(p->flags & ACT_BROADCAST) || !p->each) {
        j->o->kernels->act(p, dst, gate, up);
        return;
    }
    one.width = p->each;
    for (uint32_t c = 0; c < p->width; c += p->each, gate++)
        j->o->kernels->act(&one, dst + c, gate, up ? up + c : NULL);
}

void ops_act(struct ops *o, const struct op_act *p, float *dst, uint32_t ldd, const float *gate, uint32_t ldg,
             const float *up, uint32_t ldu, uint32_t n)
{
    struct job j = {
        .o = o, .p = p, .dst = dst, .ldd = ldd, .a = gate, .lda = ldg, .b = up, .ldb = ldu, .n = n, .row = act_row};
    run_rows(&j, (uint64_t)p->width * 4);
}

static void scale_row(const struct job *j, uint32_t i)
{
    const struct op_scale *p = j->p;
    float *x = j->dst + i * j->ldd;
    if (p->flags & SCALE_BY_VECTOR) {
        if (j->form == 1)
            j->o->kernels->scale(x, p->width, j->a[0]);
        else
            j->o->kernels->act(&(struct op_act){.width = p->width, .kind = ACT_NONE}, x, j->a, x);
    } else if (p->flags & SCALE_BY_POSITION) {
        const float first = p->flags & SCALE_FROM_ZERO ? 0.0f : 1.0f;
        const float steps = (float)(int64_t)(((float)j->index[i] + first) / p->floor); /* rounded down: not negative */
        j->o->kernels->scale(x, p->width, (float)(1.0 + (double)p->mul * log_exact(1.0 + (double)steps)));
    } else if (p->flags & SCALE_CLAMP) {
        j->o->kernels->clamp(x, p->width, p->mul, p->cap);
    } else if (p->cap != 0.0f) {
        j->o->kernels->softcap(x, p->width, p->mul, p->cap);
    } else {
        j->o->kernels->scale(x, p->width, p->mul);
    }
}

void ops_scale(struct ops *o, const struct op_scale *p, float *x, uint32_t ldx, const struct ops_factors *f, uint32_t n)
{
    struct job j = {.o = o,
                    .p = p,
                    .dst = x,
                    .ldd = ldx,
                    .a = f->vector,
                    .form = f->vector_floats,
                    .index = f->positions,
                    .n = n,
                    .row = scale_row};
    run_rows(&j, (uint64_t)p->width * (p->cap != 0.0f ? 4 : 1));
}

static void position_row(const struct job *j, uint32_t i)
{
    const struct op_position *p = j->p;
    float *x = j->dst + i * j->ldd;
    j->o->kernels->add(x, x, j->a + ((size_t)j->index[i] + p->offset) * p->width, p->width, 1.0f, 1.0f);
}

void ops_position(struct ops *o, const struct op_position *p, float *x, uint32_t ldx, const float *table,
                  const uint32_t *positions, uint32_t n)
{
    struct job j = {.o = o, .p = p, .dst = x, .ldd = ldx, .a = table, .index = positions, .n = n, .row = position_row};
    run_rows(&j, p->width);
}

static void xielu_row(const struct job *j, uint32_t i)
{
    j->o->kernels->xielu(j->dst + i * j->ldd, j->a + i * j->lda, j->width, j->p);
}

void ops_xielu(struct ops *o, const struct op_xielu *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
               const struct ops_xielu_args *x, uint32_t n)
{
    struct job j = {
        .o = o, .p = x, .dst = dst, .ldd = ldd, .a = src, .lda = lds, .width = p->width, .n = n, .row = xielu_row};
    run_rows(&j, (uint64_t)p->width * 4);
}

static void gather_row(const struct job *j, uint32_t i)
{
    memcpy(j->dst + i * j->ldd, j->a + j->index[i] * j->lda, j->width * sizeof(float));
}

void ops_gather_rows(struct ops *o, float *dst, uint32_t ldd, const float *src, uint32_t lds, const uint32_t *index,
                     uint32_t width, uint32_t n)
{
    struct job j = {.o = o,
                    .dst = dst,
                    .ldd = ldd,
                    .a = src,
                    .lda = lds,
                    .index = index,
                    .width = width,
                    .n = n,
                    .row = gather_row};
    run_rows(&j, width / 4);
}

static void scatter_row(const struct job *j, uint32_t i)
{
    j->o->kernels->add_scaled(j->dst + j->index[i] * j->ldd, j->a + i * j->lda, j->width, j->b ? j->b[i] : 1.0f);
}

void ops_scatter_add_rows(struct ops *o, float *dst, uint32_t ldd, const float *src, uint32_t lds,
                          const uint32_t *index, const float *weight, uint32_t width, uint32_t n)
{
    struct job j = {.o = o,
                    .dst = dst,
                    .ldd = ldd,
                    .a = src,
                    .lda = lds,
                    .b = weight,
                    .index = index,
                    .width = width,
                    .n = n,
                    .row = scatter_row};
    run_rows(&j, width);
}

static void scale_by_row(const struct job *j, uint32_t i)
{
    j->o->kernels->scale(j->dst + i * j->ldd, j->width, j->a[i]);
}

void ops_scale_rows(struct ops *o, float *x, uint32_t ldx, const float *weight, uint32_t width, uint32_t n)
{
    struct job j = {.o = o, .dst = x, .ldd = ldx, .a = weight, .width = width, .n = n, .row = scale_by_row};
    run_rows(&j, width);
}

void ops_zero(struct ops *o, float *x, uint32_t ldx, uint32_t width, uint32_t n)
{
    (void)o;
    for (size_t i = 0; i < n; i++) memset(x + i * ldx, 0, width * sizeof *x);
}

/* ---- streams of the residual ---- */

static double sigmoid_double(double x)
{
    return 1.0 / (1.0 + exp_exact(-x));
}

/* Rows or columns of m [n][n] divided by eps + their sums. */
static void divide_by_sums(double *m, uint32_t n, bool rows, double eps)
{
    const uint32_t each = rows ? n : 1, step = rows ? 1 : n;
    for (uint32_t i = 0; i < n; i++) {
        double sum = eps;
        for (uint32_t j = 0; j < n; j++) sum += m[i * each + j * step];
        for (uint32_t j = 0; j < n; j++) m[i * each + j * step] /= sum;
    }
}

static void soften_row(double *m, uint32_t n, double eps)
{
    double top = m[0], sum = 0;
    for (uint32_t j = 1; j < n; j++) top = m[j] > top ? m[j] : top;
    for (uint32_t j = 0; j < n; j++) sum += m[j] = exp_exact(m[j] - top);
    for (uint32_t j = 0; j < n; j++) m[j] = m[j] / sum + eps;
}

static void sinkhorn_row(const struct job *j, uint32_t i)
{
    const struct op_sinkhorn *p = j->p;
    const float *scale = j->a, *base = j->b;
    const uint32_t n = p->streams;
    const double eps = (double)p->eps;
    float *x = j->dst + i * j->ldd;
    double m[SINKHORN_STREAMS * SINKHORN_STREAMS];
    for (uint32_t k = 0; k < n; k++)
        x[k] = (float)(sigmoid_double((double)x[k] * (double)scale[0] + (double)base[k]) + eps);
    if (!p->rounds) return;
    for (uint32_t k = n; k < 2 * n; k++)
        x[k] = (float)(2.0 * sigmoid_double((double)x[k] * (double)scale[1] + (double)base[k]));
    for (uint32_t k = 0; k < n * n; k++) m[k] = (double)x[2 * n + k] * (double)scale[2] + (double)base[2 * n + k];
    for (uint32_t k = 0; k < n; k++) soften_row(m + k * n, n, eps);
    divide_by_sums(m, n, false, eps);
    for (uint32_t r = 1; r < p->rounds; r++) {
        divide_by_sums(m, n, true, eps);
        divide_by_sums(m, n, false, eps);
    }
    for (uint32_t k = 0; k < n * n; k++) x[2 * n + k] = (float)m[k];
}

void ops_sinkhorn(struct ops *o, const struct op_sinkhorn *p, float *x, uint32_t ldx, const float *scale,
                  const float *base, uint32_t n)
{
    struct job j = {.o = o, .p = p, .dst = x, .ldd = ldx, .a = scale, .b = base, .n = n, .row = sinkhorn_row};
    run_rows(&j, (uint64_t)p->streams * p->streams * (20 + 4 * (uint64_t)p->rounds));
}

static void mix_row(const struct job *j, uint32_t i)
{
    const struct op_mix *p = j->p;
    const float *src = j->a + i * j->lda, *weight = j->b + i * j->ldb;
    float *dst = j->dst + i * j->ldd;
    for (uint32_t to = 0; to < p->out; to++, dst += p->width) {
        if (!(p->flags & MIX_ADDS)) memset(dst, 0, p->width * sizeof *dst);
        for (uint32_t from = 0; from < p->in; from++)
            j->o->kernels->add_scaled(dst, src + (size_t)from * p->width, p->width,
                                      weight[(size_t)from * p->in_stride + (size_t)to * p->out_stride]);
    }
}

void ops_mix(struct ops *o, const struct op_mix *p, float *dst, uint32_t ldd, const float *src, uint32_t lds,
             const float *weight, uint32_t ldw, uint32_t n)
{
    struct job j = {
        .o = o, .p = p, .dst = dst, .ldd = ldd, .a = src, .lda = lds, .b = weight, .ldb = ldw, .n = n, .row = mix_row};
    run_rows(&j, (uint64_t)p->width * p->in * p->out);
}
