#include "proto/footprint.h"

#include <stdbool.h>

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t round_up(uint64_t x, uint64_t to)
{
    return (x + to - 1) / to * to;
}

/* The offset of the next piece; *at goes on behind it. */
static uint64_t piece(uint64_t *at, uint64_t bytes)
{
    uint64_t here = *at;

    *at += round_up(bytes, FOOTPRINT_ALIGN);
    return here;
}

/* ---- scratch ---- */

uint64_t footprint_cpu_attention(uint32_t dk, uint32_t dv)
{
    uint64_t columns = round_up(dk, 16) + round_up(dv, 16), queries = FOOTPRINT_CPU_QUERIES;

    return (FOOTPRINT_CPU_ATTENTION + queries) * columns + queries * (FOOTPRINT_CPU_ATTENTION + 2);
}

uint64_t footprint_cpu_delta(uint32_t dk)
{
    return 3 * round_up(dk, 16);
}

uint64_t footprint_cpu_scan(uint32_t states)
{
    uint64_t positions = FOOTPRINT_CPU_SCAN;

    return positions * (FOOTPRINT_CPU_SCAN_COLUMNS + 16) + UINT64_C(16) * states;
}

uint64_t footprint_cpu_index(uint32_t heads, uint32_t dim)
{
    uint64_t queries = most(heads, FOOTPRINT_CPU_QUERIES);

    return (FOOTPRINT_CPU_ATTENTION + queries) * round_up(dim, 16) + queries * FOOTPRINT_CPU_ATTENTION;
}

/* Bytes of the scores of an index's positions: those of one at least, of as many as a sweep has up to worth. */
static uint64_t index_scores(const struct plan_shm *p, const struct plan_run *r, uint64_t worth)
{
    uint64_t all = 0;

    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *op = plan_ops(p) + i;
        uint64_t one = op->kind == OP_INDEX ? op->index.groups * round_up(r->kv_rows, 64) * sizeof(float) : 0;

        all = most(all, most(one, least(one * most(r->max_positions, 1), worth)));
    }
    return all;
}

/* The largest of all products with stored weights. A table's experts are alike. */
struct products {
    uint64_t cols, inputs, weights; /* columns of a matrix, inputs of a product, elements of a matrix */
};

static void widen(struct products *x, uint64_t rows, uint64_t cols, uint64_t inputs)
{
    x->cols = most(x->cols, cols);
    x->inputs = most(x->inputs, most(cols, inputs));
    x->weights = most(x->weights, rows * cols);
}

static struct products largest_products(const struct plan_shm *p)
{
    struct products x = {0};

    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *op = plan_ops(p) + i;
        uint32_t matrix = plan_op_matrix(op);

        if (matrix == PLAN_NONE) continue;
        widen(&x, plan_matrix_inputs(&plan_matrices(p)[matrix]), plan_matrices(p)[matrix].cols,
              op->kind == OP_HEADMM                  ? op->headmm.rows
              : op->matmul.flags & MATMUL_TRANSPOSED ? plan_matrix_inputs(&plan_matrices(p)[matrix])
                                                     : 0);
    }
    for (uint64_t i = 0; i < p->experts.count; i++) {
        const struct plan_experts *t = plan_experts(p) + i;
        uint64_t up = plan_expert_up(t);

        widen(&x, t->transposed ? t->hidden : up, t->transposed ? up : t->hidden, t->hidden);
        widen(&x, t->transposed ? t->inter : t->hidden, t->transposed ? t->hidden : t->inter, t->inter);
    }
    return x;
}

/* Of packed matrices, what a thread unpacks at a time. */
uint64_t footprint_cpu_panel(uint64_t row_bytes)
{
    return round_up(most(FOOTPRINT_CPU_PANEL, row_bytes), 64) + FOOTPRINT_CPU_CHUNKS;
}

static uint64_t cpu_panel(const struct plan_shm *p)
{
    uint64_t panel = 0;

    for (uint64_t i = 0; i < p->matrices.count; i++)
        if (plan_matrices(p)[i].unit_rows) panel = most(panel, footprint_cpu_panel(plan_matrices(p)[i].row_bytes));
    return panel;
}

/* Each thread's own work, and behind it what all share: packed tokens. */
static uint64_t cpu_scratch(const struct plan_shm *p, const struct plan_run *r)
{
    uint64_t smallest = FOOTPRINT_CPU_WORK * sizeof(float), each = smallest;
    uint64_t tokens = least(r->max_positions, FOOTPRINT_CPU_TOKENS), shared;

    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *op = plan_ops(p) + i;

        if (op->kind == OP_ATTENTION)
            each = most(each, sizeof(float) * footprint_cpu_attention(op->attention.dk, op->attention.dv));
        if (op->kind == OP_SCAN) each = most(each, sizeof(float) * footprint_cpu_scan(op->scan.states));
        if (op->kind == OP_DELTA) each = most(each, sizeof(float) * footprint_cpu_delta(op->delta.dk));
        if (op->kind == OP_INDEX)
            each = most(each, sizeof(float) * footprint_cpu_index(op->index.heads, op->index.dim));
    }
    shared =
        most(tokens * round_up(largest_products(p).cols, 16) * sizeof(float), index_scores(p, r, FOOTPRINT_CPU_SCORES));
    return cpu_panel(p) * r->threads + most(r->threads * round_up(each, 64) + shared, 2 * r->threads * smallest);
}

/* The same on a device. */
uint64_t footprint_cuda_panel(const struct plan_matrix *m)
{
    return most(least(m->rows * m->row_bytes, FOOTPRINT_CUDA_PANEL), m->row_bytes);
}

static uint64_t cuda_panels(const struct plan_shm *p)
{
    uint64_t all = 0;

    for (uint64_t i = 0; i < p->matrices.count; i++)
        if (plan_matrices(p)[i].unit_rows) all = most(all, footprint_cuda_panel(&plan_matrices(p)[i]) + 256);
    return all;
}

static uint64_t cuda_products(const struct plan_shm *p, const struct plan_run *r)
{
    struct products x = largest_products(p);
    uint64_t k = x.inputs + 64, tokens = most(least(r->max_positions, FOOTPRINT_CUDA_GEMM_TOKENS), 1);
    uint64_t norms = UINT64_C(65536) * sizeof(float) + 256;
    /* dequantized at once: at most a block of weights, at least one row */
    uint64_t weights = most(least(x.weights, FOOTPRINT_CUDA_GEMM_FLOATS), k);

    if (r->max_positions <= FOOTPRINT_CUDA_GEMV_TOKENS) return tokens * k * sizeof(float) + norms;
    return tokens * k * 3 * sizeof(uint16_t) + weights * sizeof(float) + norms + 4096;
}

static uint64_t cuda_attention(const struct plan_shm *p, const struct plan_run *r)
{
    uint64_t all = 0;

    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct op_attention *a = &plan_ops(p)[i].attention;
        uint64_t keys = (plan_ops(p)[i].kind == OP_ATTENTION && a->pooled ? 2 : 1) * (uint64_t)r->kv_rows;
        uint64_t one = (keys / FOOTPRINT_CUDA_SPAN + 1) * a->heads * (a->dv + UINT64_C(2)) * sizeof(float);

        if (plan_ops(p)[i].kind != OP_ATTENTION) continue;
        all = most(all, most(one, least(one * most(r->max_positions, 1), FOOTPRINT_CUDA_PARTIAL)) + 256);
    }
    return all;
}

uint64_t footprint_scratch(const struct plan_shm *p, const struct plan_run *r)
{
    uint64_t chains = 4 * (uint64_t)r->max_positions * sizeof(uint32_t) + 1024;

    if (r->backend == BACKEND_CPU) return cpu_scratch(p, r);
    return most(most(chains, most(65536, index_scores(p, r, FOOTPRINT_CUDA_PARTIAL) + 256)),
                most(cuda_panels(p) + cuda_products(p, r), cuda_attention(p, r)));
}

/* ---- activations ---- */

static bool touched_before_select(const struct plan_shm *p, uint64_t buffer)
{
    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *op = plan_ops(p) + i;
        struct plan_view views[PLAN_OP_VIEWS];
        uint32_t n = plan_op_views(op, views);
        bool select = op->kind == OP_SELECT;

        for (uint32_t v = 0; v < n; v++)
            if (views[v].buf == buffer && !(select && v == 1)) return true;
        if (select) return false;
    }
    return true;
}

uint32_t footprint_buffer_rows(const struct plan_shm *p, const struct plan_run *r, uint64_t buffer)
{
    return touched_before_select(p, buffer) ? r->max_positions : r->max_logits;
}

uint64_t footprint_activations(const struct plan_shm *p, const struct plan_run *r, uint64_t *buffers, uint64_t *ropes)
{
    uint64_t at = 0, offset;

    for (uint64_t i = 0; i < p->buffers.count; i++) {
        offset = piece(&at, (uint64_t)footprint_buffer_rows(p, r, i) * plan_buffers(p)[i] * sizeof(float));
        if (buffers) buffers[i] = offset;
    }
    for (uint64_t i = 0; i < p->ropes.count; i++) {
        offset = piece(&at, (uint64_t)r->max_positions * plan_ropes(p)[i].dim * sizeof(float));
        if (ropes) ropes[i] = offset;
    }
    return at;
}

uint64_t footprint_angles(const struct plan_shm *p, const struct plan_run *r)
{
    uint64_t widest = 0;

    for (uint64_t i = 0; i < p->ropes.count; i++) widest = most(widest, plan_ropes(p)[i].dim);
    return r->max_positions * widest;
}

/* ---- caches and states ---- */

uint64_t footprint_kv_position(const struct plan_shm *p, uint32_t kv_form)
{
    uint64_t width = 0;

    for (uint64_t i = 0; i < p->caches.count; i++)
        width += (uint64_t)plan_caches(p)[i].k_width + plan_caches(p)[i].v_width;
    return width * form_bytes(kv_form);
}

static uint64_t cut_caches(const struct plan_shm *p, const struct plan_run *r, uint64_t *k, uint64_t *v)
{
    uint64_t at = 0, row = r->kv_rows * form_bytes(r->kv_form), offset;

    for (uint64_t i = 0; i < p->caches.count; i++) {
        offset = piece(&at, row * plan_caches(p)[i].k_width);
        if (k) k[i] = offset;
        offset = piece(&at, row * plan_caches(p)[i].v_width);
        if (v) v[i] = offset;
    }
    return at;
}

uint64_t footprint_memory(const struct plan_shm *p, const struct plan_run *r, uint64_t *k, uint64_t *v,
                          uint64_t *states)
{
    uint64_t at = cut_caches(p, r, k, v), offset;

    for (uint64_t i = 0; i < p->states.count; i++) {
        offset = piece(&at, plan_states(p)[i].floats * sizeof(float) * plan_states_kept(r));
        if (states) states[i] = offset;
    }
    return at;
}

/* ---- positions ---- */

/* Every position of a sweep may have a long broken chain in theory; this many runs are enough for each. */
#define RUNS_PER_POSITION 16u
#define RUNS_LEAST        4096u

void footprint_positions(struct footprint_positions *f, const struct plan_shm *p, const struct plan_run *r)
{
    uint64_t n = r->max_positions, word = sizeof(uint32_t), at = 0;

    *f = (struct footprint_positions){.runs_most = n * RUNS_PER_POSITION + RUNS_LEAST};
    f->rows = piece(&at, (uint64_t)r->kv_rows * FOOTPRINT_KV_ROW);
    f->token = piece(&at, n * word);
    f->row = piece(&at, n * word);
    f->position = piece(&at, n * word);
    f->first = piece(&at, (n + 1) * word);
    f->select = piece(&at, n * word);
    f->gather = piece(&at, n * word);
    f->from = piece(&at, n * word);
    f->to = piece(&at, n * word);
    f->runs = piece(&at, f->runs_most * FOOTPRINT_RUN);
    if (p->states.count) {
        f->state_of_row = piece(&at, r->kv_rows * word);
        f->row_of_state = piece(&at, plan_states_kept(r) * word);
        f->state_used = piece(&at, plan_states_kept(r) * sizeof(uint64_t));
        f->state_sequence = piece(&at, plan_states_kept(r) * word);
    }
    f->host_bytes = at;
    at = 0;
    f->d_row = piece(&at, n * word);
    f->d_position = piece(&at, n * word);
    f->d_first = piece(&at, (n + 1) * word);
    f->d_select = piece(&at, n * word);
    f->d_gather = piece(&at, n * word);
    f->d_runs = piece(&at, f->runs_most * FOOTPRINT_RUN);
    f->device_bytes = at;
}

/* ---- experts ---- */

static void widest_experts(struct footprint_experts *f, const struct plan_shm *p)
{
    for (uint64_t i = 0; i < p->experts.count; i++) {
        const struct plan_experts *x = plan_experts(p) + i;

        f->experts = (uint32_t)most(f->experts, (uint64_t)x->experts + x->identity);
        f->hidden = (uint32_t)most(f->hidden, x->hidden);
        f->inter = (uint32_t)most(f->inter, x->inter);
        f->top = (uint32_t)most(f->top, x->max_used);
    }
}

void footprint_experts(struct footprint_experts *f, const struct plan_shm *p, const struct plan_run *r)
{
    uint64_t n = r->max_positions, word = sizeof(float), at = 0;

    *f = (struct footprint_experts){0};
    if (!p->experts.count) return;
    widest_experts(f, p);
    f->id = piece(&at, n * f->top * word);
    f->weight = piece(&at, n * f->top * word);
    f->logits = piece(&at, n * f->experts * word);
    f->scratch = piece(&at, (UINT64_C(3) * f->experts + 1) * word);
    f->members = piece(&at, n * f->top * word);
    f->member_weight = piece(&at, n * f->top * word);
    f->chosen = piece(&at, f->experts);
    f->bias = piece(&at, f->experts * word);
    f->host_bytes = at;
    at = 0;
    f->d_members = piece(&at, n * f->top * word);
    f->d_weight = piece(&at, n * f->top * word);
    f->d_in = piece(&at, n * f->hidden * word);
    f->d_up = piece(&at, n * 2 * f->inter * word);
    f->d_act = piece(&at, n * f->inter * word);
    f->d_out = piece(&at, n * f->hidden * word);
    f->d_bias = piece(&at, most(UINT64_C(2) * f->inter, f->hidden) * word);
    f->device_bytes = at;
}

/* ---- all of it ---- */

void footprint_count(struct footprint *f, const struct plan_shm *p, const struct plan_run *r)
{
    bool cuda = r->backend == BACKEND_CUDA;
    struct footprint_positions positions;
    struct footprint_experts experts;
    uint64_t memory = footprint_memory(p, r, NULL, NULL, NULL);

    footprint_positions(&positions, p, r);
    footprint_experts(&experts, p, r);
    *f = (struct footprint){
        .activations = footprint_activations(p, r, NULL, NULL),
        .kv = cut_caches(p, r, NULL, NULL),
        .resident = p->spec.resident_floats * sizeof(float),
        .scratch = footprint_scratch(p, r),
        .tiles = cuda ? plan_device_bytes(r) : 0,
        .positions = positions.device_bytes,
        .experts = experts.device_bytes,
        .workspace = cuda ? FOOTPRINT_CUDA_WORKSPACE : 0,
        .host_positions = positions.host_bytes,
        .host_experts = experts.host_bytes,
        .angles = footprint_angles(p, r) * sizeof(float),
        .staging = cuda ? FOOTPRINT_CUDA_STAGING : 0,
    };
    f->states = memory - f->kv;
    f->host = f->host_positions + f->host_experts + f->angles + f->staging;
    f->device =
        f->activations + memory + f->resident + f->scratch + f->tiles + f->positions + f->experts + f->workspace;
    /* activations, memory, resident, scratch, positions; those that a program or a backend has beside them */
    f->device_blocks = 5 + (experts.device_bytes > 0) + 2 * cuda;
}
