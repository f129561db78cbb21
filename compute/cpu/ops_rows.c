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
