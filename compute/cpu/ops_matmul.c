/* Products with stored weights: which kernel, cut into tasks of rows (or columns, where weights are transposed). The cut
 * decides nothing but who computes what. */
#include <errno.h>
#include <math.h>

#include "compute/cpu/cpu.h"

#define GEMV_BLOCK_TOKENS 48u
#define GEMV_BLOCK_BYTES  ((size_t)800 << 10) /* of them, most of a second cache of 1 MiB */
#define GEMV_PASS_BYTES   ((size_t)8 << 20)   /* of the tokens that one pass over the rows serves: in the third cache */
#define LINE_FLOATS       16u                 /* outputs of a cache line: no two tasks write the same line of y */

struct job {
    struct ops *o;
    struct cpu_product a;
    void (*gemv)(const struct cpu_product *a, size_t r0, size_t r1);
    size_t rows, grain;     /* of rows, or of columns */
    const float *norm_bias; /* MATMUL_ROW_NORM: the bias, added after the division */
    bool row_norm;
    const struct ops_weight *units; /* the weights, where they are packed; else NULL */
    const float *packed;
    float *pack_to;
    uint32_t t0, n; /* tokens of this block; few: of this pass */
    uint32_t block; /* few: of them at a time */
};

static struct cpu_product product_of(float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct ops_weight *w,
                                     const float *bias, uint32_t n)
{
    const struct plan_matrix *m = w->matrix;
    const bool grid = form_scales(m->form) == FORM_SCALES_GRID;
    return (struct cpu_product){.y = y,
                                .ldy = ldy,
                                .x = x,
                                .ldx = ldx,
                                .bias = bias,
                                .n = n,
                                .form = m->form,
                                .scale_form = m->scale_form,
                                .cols = m->cols,
                                .data = w->data,
                                .scale = w->scale,
                                .row_bytes = m->row_bytes,
                                .scale_row_bytes = m->scale_row_bytes,
                                .row0 = w->row0,
                                .scale_row0 = w->scale_row0,
                                .zero = m->zero_rows ? w->zero : NULL,
                                .zero_row_bytes = m->zero_row_bytes,
                                .zero_row0 = w->zero_row0,
                                .zero_rows = m->zero_rows,
                                .flags = m->flags,
                                .vector = {w->vector[0], w->vector[1]},
                                .offset = m->offset,
                                .groups = grid ? (uint32_t)plan_scale_rows(m, 0, m->rows).count : 0,
                                .block_rows = grid ? m->block_rows : 1,
                                .block_cols = grid ? m->block_cols : (uint32_t)-16};
}

/* Has this variant kernels for it? An error of the backend otherwise. */
static bool known(struct ops *o, const struct ops_weight *w, bool transposed)
{
    const struct plan_matrix *m = w->matrix;
    const bool grid = form_scales(m->form) == FORM_SCALES_GRID;
    if (m->form >= FORMS || !(o->kernels->gemv[m->form] || (transposed && form_turned_pack(m->form)))) {
        error_set(&o->error, ENOTSUP, "no kernel of %s multiplies with weights of form %u (%s)", o->kernels->name,
                  m->form, form_name(m->form));
        return false;
    }
    if (grid && (!w->scale || !form_scaled_by(m->form, m->scale_form) || !m->block_rows || !m->block_cols)) {
        error_set(&o->error, ENOTSUP,
                  "weights of %s without scales, or with scales of form %u (%s), which they cannot have",
                  form_name(m->form), m->scale_form, form_name(m->scale_form));
        return false;
    }
    if (grid && m->flags & MATRIX_GROUPED && plan_scale_rows(m, 0, m->rows).count > MATRIX_GROUPS) {
        error_set(&o->error, ENOTSUP, "inputs in more than %u groups", MATRIX_GROUPS);
        return false;
    }
    return true;
}

/* Some tasks for each thread, so that one that was held up costs little; whole cache lines of y. */
static size_t grain_of(const struct ops *o, size_t rows, size_t each, size_t least, size_t most)
{
    size_t grain = cpu_round_up((rows + o->threads * each - 1) / (o->threads * each), LINE_FLOATS);
    return grain < least ? least : grain > most ? most : grain;
}

/* |W_r| * mul: mul is not 1 where the squares exceed float32. */
static float length_of(const struct job *j, size_t r, float sum, float *mul)
{
    *mul = 1.0f;
    if (!(sum < INFINITY)) {
        *mul = NORM_SMALLER;
        j->o->kernels->row_squares(&j->a, r, r + 1, NORM_SMALLER, &sum);
    }
    return sqrtf(sum) < 1e-12f && *mul == 1.0f ? 1e-12f : sqrtf(sum);
}

/* y = y / |W_r| + bias: the lengths are summed like every product. */
static void divide_by_length(const struct job *j, uint32_t t0, uint32_t n, size_t r0, size_t r1)
{
    float sums[LINE_FLOATS];
    for (size_t r = r0; r < r1; r += LINE_FLOATS) {
        const size_t end = r1 - r < LINE_FLOATS ? r1 : r + LINE_FLOATS;
        j->o->kernels->row_squares(&j->a, r, end, 1.0f, sums);
        for (size_t i = r; i < end; i++) {
            float mul, length = length_of(j, i, sums[i - r], &mul);
            for (uint32_t t = t0; t < t0 + n; t++) {
                float *y = j->a.y + t * j->a.ldy + i;
                *y = j->norm_bias ? *y * mul / length + j->norm_bias[i] : *y * mul / length;
            }
        }
    }
}

static void gemv_some(const struct job *j, size_t r0, size_t r1)
{
    for (uint32_t t = 0; t < j->n; t += j->block) {
        struct cpu_product a = j->a;
        a.x += (j->t0 + t) * a.ldx;
        a.y += (j->t0 + t) * a.ldy;
        a.n = j->n - t < j->block ? j->n - t : j->block;
        j->gemv(&a, r0, r1);
    }
    if (j->row_norm) divide_by_length(j, j->t0, j->n, r0, r1);
}

static size_t panel_bytes(const struct job *j)
{
    return footprint_cpu_panel(j->a.row_bytes);
}

/* The same of packed rows: a panel of them after the other, as if each were the whole. */
static void gemv_packed(const struct job *j, void *scratch, size_t r0, size_t r1)
{
    for (size_t r = r0; r < r1;) {
        const struct cpu_rows p = cpu_unpack(j->o, j->units, r, r1 - r, scratch, panel_bytes(j));
        struct job panel = *j;
        if (!p.rows) return;
        panel.a.data = p.data;
        panel.a.row0 += r;
        panel.a.y += r;
        if (j->a.bias) panel.a.bias += r;
        if (j->norm_bias) panel.norm_bias += r;
        gemv_some(&panel, 0, p.rows);
        r += p.rows;
    }
}

static void gemv_task(void *arg, uint32_t worker, uint32_t task)
{
    const struct job *j = arg;
    const size_t r0 = task * j->grain, r1 = j->rows - r0 < j->grain ? j->rows : r0 + j->grain;
    if (j->units)
        gemv_packed(j, cpu_worker_scratch(j->o, worker, panel_bytes(j)), r0, r1);
    else
        gemv_some(j, r0, r1);
}

static void pack_task(void *arg, uint32_t worker, uint32_t task)
{
    const struct job *j = arg;
    (void)worker;
    j->o->kernels->pack(j->pack_to, j->a.x + j->t0 * j->a.ldx, j->a.ldx, j->n, j->a.cols, task);
}

static void gemm_task(void *arg, uint32_t worker, uint32_t task)
{
    const struct job *j = arg;
    float *work = cpu_worker_scratch(j->o, worker, MATMUL_WORK_FLOATS * sizeof(float));
    const size_t r0 = task * j->grain, r1 = j->rows - r0 < j->grain ? j->rows : r0 + j->grain;
    j->o->kernels->gemm(&j->a, j->packed, j->t0, j->n, r0, r1, work);
    if (j->row_norm) divide_by_length(j, j->t0, j->n, r0, r1);
}

static uint32_t tasks_of(const struct job *j)
{
    return (uint32_t)((j->rows + j->grain - 1) / j->grain);
}

/* How many tokens these bytes hold: whole multiples of step, one at least. */
static uint32_t tokens_in(const struct job *j, size_t bytes, uint32_t step, uint32_t most)
{
    const size_t n = bytes / sizeof(float) / (j->a.cols + 1) / step * step;
    return n > most ? most : n ? (uint32_t)n : step;
}

static void gemv(struct job *j)
{
    const size_t bytes = j->a.row_bytes ? j->a.row_bytes : 1,
                 most = cpu_round_up(((size_t)512 << 10) / bytes + 1, LINE_FLOATS);
    j->grain = grain_of(j->o, j->rows, j->units ? 4 : 32, LINE_FLOATS, most); /* cuts cost packed rows some unpacking */
    /* Blocks of tokens, so that these stay in the second cache while a task's rows pass; passes, so that all of them stay
     * in the third. */
    j->block = tokens_in(j, GEMV_BLOCK_BYTES, 12, GEMV_BLOCK_TOKENS);
    const uint32_t pass = tokens_in(j, GEMV_PASS_BYTES, j->block, UINT32_MAX);
    for (j->t0 = 0; j->t0 < j->a.n; j->t0 += pass) {
        j->n = j->a.n - j->t0 < pass ? j->a.n - j->t0 : pass;
        cpu_run(j->o, gemv_task, j, tasks_of(j), (uint64_t)j->rows * j->a.cols * j->n);
    }
}

static void gemm(struct job *j)
{
    uint64_t left;
    const size_t width = cpu_round_up(j->a.cols, 16);
    j->pack_to = cpu_shared_scratch(j->o, MATMUL_WORK_FLOATS * sizeof(float), &left);
    j->packed = j->pack_to;
    size_t block = width ? left / (width * sizeof(float)) : BLOCK_TOKENS;
    block = block > BLOCK_TOKENS ? BLOCK_TOKENS : block;
    if (block == 0) {
        error_set(&j->o->error, ENOMEM, "scratch of %llu bytes is too small for a product with %llu columns",
                  (unsigned long long)j->o->scratch_bytes, (unsigned long long)j->a.cols);
        return;
    }
    /* Blocks as even as can be: 100 tokens are 50 and 50. */
    const uint32_t blocks = (j->a.n + (uint32_t)block - 1) / (uint32_t)block;
    j->grain = grain_of(j->o, j->rows, 2, BLOCK_ROWS, 4 * BLOCK_ROWS);
    for (uint32_t i = 0; i < blocks; i++) {
        j->t0 = (uint32_t)((uint64_t)j->a.n * i / blocks);
        j->n = (uint32_t)((uint64_t)j->a.n * (i + 1) / blocks) - j->t0;
        cpu_run(j->o, pack_task, j, j->o->kernels->groups(j->n), (uint64_t)j->n * j->a.cols);
        cpu_run(j->o, gemm_task, j, tasks_of(j), (uint64_t)j->rows * j->a.cols * j->n);
    }
}

void ops_matmul(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct ops_weight *w,
                const float *bias, uint32_t flags, uint32_t n)
{
    if (n == 0 || w->rows == 0 || !known(o, w, false)) return;
    struct job j = {.o = o, .a = product_of(y, ldy, x, ldx, w, bias, n), .rows = w->rows, .units = w->unit ? w : NULL};
    j.gemv = o->kernels->gemv[j.a.form];
    if (flags & MATMUL_ROW_NORM) {
        j.row_norm = true;
        j.norm_bias = bias;
        j.a.bias = NULL;
    }
    const bool halves =
        form_scales(j.a.form) == FORM_SCALES_NONE && form_bytes(j.a.form) == 2 * form_elements(j.a.form);
    const uint32_t few =
        form_scales(j.a.form) == FORM_SCALES_INSIDE ? o->kernels->block_tokens : o->kernels->gemv_tokens;
    if (halves || (n <= few && j.a.block_cols % 16 == 0))
        gemv(&j);
    else
        gemm(&j);
    if (j.units) cpu_unpack_failed(o, w);
}

static void sums_task(void *arg, uint32_t worker, uint32_t task)
{
    const struct job *j = arg;
    float *work = cpu_worker_scratch(j->o, worker, MATMUL_WORK_FLOATS * sizeof(float));
    const size_t c0 = task * j->grain, c1 = j->a.cols - c0 < j->grain ? j->a.cols : c0 + j->grain;
    (form_turned_pack(j->a.form) ? j->o->kernels->turned : j->o->kernels->matmul_t)(&j->a, j->rows, c0, c1, work);
}

static void sums(struct job *j)
{
    j->grain = j->a.n == 1 ? grain_of(j->o, j->a.cols, 1, 4 * LINE_FLOATS, 4 * SUM_COLS)
                           : grain_of(j->o, j->a.cols, 2, 4 * LINE_FLOATS, SUM_COLS);
    j->grain = cpu_round_up(j->grain, form_elements(j->a.form)); /* blocks are not cut */
    cpu_run(j->o, sums_task, j, (uint32_t)((j->a.cols + j->grain - 1) / j->grain),
            (uint64_t)j->rows * form_deep(j->a.form) * j->a.cols * j->a.n);
}

/* Packed rows of which every column needs all: as many panels as there are threads are unpacked at a time. */
#define PANELS_MOST 64u
struct panels {
    struct job *j;
    const struct ops_weight *w;
    unsigned char *scratch; /* panel_bytes() for each */
    size_t row[PANELS_MOST], rows[PANELS_MOST];
    struct cpu_rows got[PANELS_MOST];
    uint32_t count;
};

static void unpack_task(void *arg, uint32_t worker, uint32_t task)
{
    struct panels *p = arg;
    (void)worker;
    p->got[task] = cpu_unpack(p->j->o, p->w, p->row[task], p->rows[task], p->scratch + task * panel_bytes(p->j),
                              panel_bytes(p->j));
}

/* The next panels from row r on, none of them beyond its unit. Returns the row behind them. */
static size_t next_panels(struct panels *p, size_t r, uint32_t most)
{
    const size_t unit = p->w->matrix->unit_rows,
                 each = (panel_bytes(p->j) - FOOTPRINT_CPU_CHUNKS) / p->w->matrix->row_bytes;
    for (p->count = 0; p->count < most && r < p->w->rows; p->count++) {
        size_t n = unit - r % unit < each ? unit - r % unit : each;
        if (n > p->w->rows - r) n = p->w->rows - r;
        p->row[p->count] = r;
        p->rows[p->count] = n;
        r += n;
    }
    return r;
}

/* The panels lie behind the threads' own scratch; the sums go on from one to the next. */
static void sums_packed(struct job *j, const struct ops_weight *w)
{
    uint64_t left;
    struct panels p = {.j = j, .w = w};
    const float *x = j->a.x;
    p.scratch = cpu_shared_scratch(j->o, MATMUL_WORK_FLOATS * sizeof(float), &left);
    uint32_t most = j->o->threads < PANELS_MOST ? j->o->threads : PANELS_MOST;
    if (most > left / panel_bytes(j)) most = (uint32_t)(left / panel_bytes(j));
    if (!most) {
        error_set(&j->o->error, ENOMEM, "scratch of %llu bytes is too small to unpack %llu columns",
                  (unsigned long long)j->o->scratch_bytes, (unsigned long long)j->a.cols);
        return;
    }
    for (size_t r = 0, end; r < w->rows; r = end) {
        end = next_panels(&p, r, most);
        cpu_run(j->o, unpack_task, &p, p.count, (uint64_t)(end - r) * j->a.cols);
        for (uint32_t i = 0; i < p.count && p.got[i].rows; i++) {
            j->a.data = p.got[i].data;
            j->a.x = x + p.row[i];
            j->rows = p.rows[i];
            sums(j);
            j->a.init = false;
            j->a.bias = NULL;
        }
    }
    cpu_unpack_failed(j->o, w);
}

void ops_matmul_t(struct ops *o, float *y, uint32_t ldy, const float *x, uint32_t ldx, const struct ops_weight *w,
                  const float *bias, bool init, uint32_t n)
{
    if (n == 0 || !known(o, w, true)) return;
    struct job j = {.o = o, .a = product_of(y, ldy, x, ldx, w, bias, n), .rows = w->rows};
    j.a.init = init;
    if (w->unit) {
        sums_packed(&j, w);
        return;
    }
    sums(&j);
}
