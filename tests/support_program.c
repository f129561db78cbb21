#include "tests/support_program.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct test_shape test_shape_small = {.layers = 3,
                                            .hidden = 48,
                                            .inter = 112,
                                            .heads = 4,
                                            .kv_heads = 2,
                                            .head_dim = 12,
                                            .vocab = 97,
                                            .context = 256,
                                            .form = FORM_BF16};

struct maker {
    struct program *p;
    const struct test_shape *s;
    uint32_t file, rope, layer;
    uint64_t at; /* next free byte of the file */
    uint16_t x, normed, q, k, v, o, gate, up, sum, chosen, logits, routes, wide;
};

static uint64_t take(struct maker *m, uint64_t bytes)
{
    uint64_t at = m->at;

    m->at += bytes + m->s->gap;
    return at;
}

static uint32_t matrix(struct maker *m, const char *name, uint64_t rows, uint64_t cols, uint32_t form)
{
    struct plan_matrix x = {
        .rows = rows, .cols = cols, .form = (uint16_t)form, .file = m->file, .scale_file = PLAN_NONE};
    const struct form_info *f = form_info(form);

    x.row_bytes = form_row_bytes(form, cols);
    x.file_off = take(m, rows * x.row_bytes);
    if (f->scales == FORM_SCALES_GRID) {
        x.block_rows = f->grid_rows ? f->grid_rows : m->s->block;
        x.block_cols = f->grid_cols ? f->grid_cols : m->s->block;
        x.scale_form = (uint16_t)__builtin_ctzll(f->scale_forms);
        x.scale_file = m->file;
        x.scale_row_bytes = form_row_bytes(x.scale_form, (cols + x.block_cols - 1) / x.block_cols);
        x.scale_off = take(m, (rows + x.block_rows - 1) / x.block_rows * x.scale_row_bytes);
    }
    return program_matrix(m->p, &x, name);
}

static uint32_t vector(struct maker *m, const char *name, uint64_t n)
{
    struct plan_vector v = {.elements = n, .file = m->file, .form = FORM_BF16, .file_off = take(m, n * 2)};

    return program_vector(m->p, &v, name);
}

static struct plan_op *op(struct maker *m, enum plan_op_kind kind)
{
    return program_op(m->p, kind, m->layer);
}

static struct plan_view view(uint16_t buf, uint32_t col)
{
    return (struct plan_view){.buf = buf, .col = col};
}

static void norm(struct maker *m, uint16_t src, uint16_t dst)
{
    uint32_t w = vector(m, "norm.weight", m->s->hidden);

    op(m, OP_NORM)->norm = (struct op_norm){.src = view(src, 0),
                                            .dst = view(dst, 0),
                                            .groups = 1,
                                            .width = m->s->hidden,
                                            .weight = w,
                                            .bias = PLAN_NONE,
                                            .eps = 1e-5f};
}

static void matmul(struct maker *m, const char *name, uint16_t src, uint32_t in, uint16_t dst, uint32_t out,
                   uint32_t form)
{
    uint32_t w = matrix(m, name, out, in, form);

    op(m, OP_MATMUL)->matmul =
        (struct op_matmul){.src = view(src, 0), .dst = view(dst, 0), .matrix = w, .bias = PLAN_NONE};
}

static void add(struct maker *m, uint16_t b)
{
    op(m, OP_ADD)->add = (struct op_add){
        .dst = view(m->x, 0), .a = view(m->x, 0), .b = view(b, 0), .width = m->s->hidden, .ca = 1, .cb = 1};
}

static void attention(struct maker *m)
{
    const struct test_shape *s = m->s;
    uint32_t kv = s->kv_heads * s->head_dim, q = s->heads * s->head_dim;

    norm(m, m->x, m->normed);
    matmul(m, "q_proj.weight", m->normed, s->hidden, m->q, q, s->form);
    matmul(m, "k_proj.weight", m->normed, s->hidden, m->k, kv, s->form);
    matmul(m, "v_proj.weight", m->normed, s->hidden, m->v, kv, s->form);
    op(m, OP_ROPE)->rope = (struct op_rope){
        .x = view(m->q, 0), .heads = s->heads, .head_stride = s->head_dim, .dim = s->head_dim, .rope = m->rope};
    op(m, OP_ATTENTION)->attention = (struct op_attention){.q = view(m->q, 0),
                                                           .k = view(m->k, 0),
                                                           .v = view(m->v, 0),
                                                           .dst = view(m->o, 0),
                                                           .heads = s->heads,
                                                           .kv_heads = s->kv_heads,
                                                           .dk = s->head_dim,
                                                           .dv = s->head_dim,
                                                           .sinks = PLAN_NONE,
                                                           .alibi = PLAN_NONE,
                                                           .cache = program_cache(m->p, kv, kv),
                                                           .scale = 0.25f};
    matmul(m, "o_proj.weight", m->o, q, m->sum, s->hidden, s->form);
    add(m, m->sum);
}

/* kv_b of latent attention: for each head head_dim rows, the first half used the one way, the second the other. */
static void latent(struct maker *m)
{
    const struct test_shape *s = m->s;
    uint32_t w = matrix(m, "kv_b_proj.weight", (uint64_t)s->heads * s->head_dim, s->hidden, s->form),
             half = s->head_dim / 2;

    op(m, OP_HEADMM)->headmm = (struct op_headmm){.src = view(m->q, 0),
                                                  .dst = view(m->wide, 0),
                                                  .matrix = w,
                                                  .heads = s->heads,
                                                  .rows = half,
                                                  .row_stride = s->head_dim,
                                                  .src_stride = s->head_dim,
                                                  .dst_stride = s->hidden,
                                                  .transposed = 1};
    op(m, OP_HEADMM)->headmm = (struct op_headmm){.src = view(m->wide, 0),
                                                  .dst = view(m->o, 0),
                                                  .matrix = w,
                                                  .heads = s->heads,
                                                  .rows = s->head_dim - half,
                                                  .row_stride = s->head_dim,
                                                  .row_off = half,
                                                  .src_stride = s->hidden,
                                                  .dst_stride = s->head_dim};
}

static void recurrent(struct maker *m)
{
    const struct test_shape *s = m->s;
    uint32_t width = s->heads * s->head_dim, d = s->head_dim, taps = vector(m, "conv.weight", (uint64_t)width * 4);
    uint32_t a_log = vector(m, "a_log", s->heads), dt = vector(m, "dt_bias", s->heads);

    op(m, OP_CONV)->conv = (struct op_conv){.src = view(m->q, 0),
                                            .dst = view(m->o, 0),
                                            .width = width,
                                            .taps = 4,
                                            .weight = taps,
                                            .bias = PLAN_NONE,
                                            .state = program_state(m->p, 3ull * width),
                                            .act = ACT_SILU};
    op(m, OP_DELTA)->delta = (struct op_delta){.q = view(m->o, 0),
                                               .k = view(m->k, 0),
                                               .v = view(m->q, 0),
                                               .a = view(m->normed, 0),
                                               .b = view(m->normed, s->heads),
                                               .dst = view(m->o, 0),
                                               .heads = s->heads,
                                               .key_heads = s->kv_heads,
                                               .dk = d,
                                               .dv = d,
                                               .a_log = a_log,
                                               .dt_bias = dt,
                                               .state = program_state(m->p, (uint64_t)s->heads * d * d),
                                               .scale = 1};
    op(m, OP_SCAN)->scan = (struct op_scan){.x = view(m->q, 0),
                                            .dt = view(m->normed, 0),
                                            .b = view(m->k, 0),
                                            .c = view(m->k, 0),
                                            .dst = view(m->o, 0),
                                            .heads = s->heads,
                                            .width = d,
                                            .groups = s->kv_heads,
                                            .states = d,
                                            .a_log = a_log,
                                            .dt_bias = dt,
                                            .skip = a_log,
                                            .state = program_state(m->p, (uint64_t)s->heads * d * d),
                                            .dt_most = INFINITY};
}

static void mlp(struct maker *m)
{
    const struct test_shape *s = m->s;

    matmul(m, "gate_proj.weight", m->normed, s->hidden, m->gate, s->inter, s->form);
    matmul(m, "up_proj.weight", m->normed, s->hidden, m->up, s->inter, s->form);
    op(m, OP_ACT)->act = (struct op_act){
        .dst = view(m->gate, 0), .gate = view(m->gate, 0), .up = view(m->up, 0), .width = s->inter, .kind = ACT_SILU};
    matmul(m, "down_proj.weight", m->gate, s->inter, m->sum, s->hidden, s->form);
}

static uint32_t expert_matrix(struct maker *m, const char *name, uint64_t out, uint64_t in)
{
    return m->s->transposed ? matrix(m, name, in, out, m->s->form) : matrix(m, name, out, in, m->s->form);
}

static void expert_mlp(struct maker *m)
{
    const struct test_shape *s = m->s;
    struct plan_experts x = {.experts = s->experts,
                             .hidden = s->hidden,
                             .inter = s->inter,
                             .fused = s->fused,
                             .transposed = s->transposed,
                             .biased = s->biased,
                             .max_used = s->top};
    uint32_t table;

    matmul(m, "router.weight", m->normed, s->hidden, m->routes, s->experts, FORM_F32);
    x.matrix0 = (uint32_t)m->p->matrices.count;
    x.bias0 = (uint32_t)m->p->vectors.count;
    for (uint32_t e = 0; e < s->experts; e++) {
        uint32_t gates = s->fused ? 1 : 2, gate = s->fused ? 2 * s->inter : s->inter;

        for (uint32_t i = 0; i < gates; i++) expert_matrix(m, "experts.gate.weight", gate, s->hidden);
        expert_matrix(m, "experts.down.weight", s->hidden, s->inter);
        for (uint32_t i = 0; s->biased && i < gates; i++) vector(m, "experts.gate.bias", gate);
        if (s->biased) vector(m, "experts.down.bias", s->hidden);
    }
    table = program_experts(m->p, &x);
    op(m, OP_ROUTER)->router = (struct op_router){
        .src = view(m->routes, 0), .experts = s->experts, .top = s->top, .bias = PLAN_NONE, .table = table, .scale = 1};
    op(m, OP_EXPERTS)->experts =
        (struct op_experts){.src = view(m->normed, 0), .dst = view(m->sum, 0), .table = table, .act = ACT_SILU};
}

static void buffers(struct maker *m)
{
    const struct test_shape *s = m->s;
    uint32_t kv = s->kv_heads * s->head_dim, q = s->heads * s->head_dim;

    m->x = program_buffer(m->p, s->hidden);
    m->normed = program_buffer(m->p, s->hidden);
    m->q = program_buffer(m->p, q);
    m->k = program_buffer(m->p, kv);
    m->v = program_buffer(m->p, kv);
    m->o = program_buffer(m->p, q);
    m->gate = program_buffer(m->p, s->inter);
    m->up = program_buffer(m->p, s->inter);
    m->sum = program_buffer(m->p, s->hidden);
    m->chosen = program_buffer(m->p, s->hidden);
    m->logits = program_buffer(m->p, s->vocab);
    if (s->experts) m->routes = program_buffer(m->p, s->experts);
    if (s->latent) m->wide = program_buffer(m->p, s->heads * s->hidden);
}

void test_program(struct program *p, const struct test_shape *s)
{
    struct maker m = {.p = p, .s = s, .at = 1003};
    struct plan_file file = {.bytes = UINT64_C(1) << 49};
    uint32_t table;
    float freq[4096];

    program_init(p);
    p->spec = (struct plan_spec){.layers = s->layers, .hidden = s->hidden, .vocab = s->vocab, .context = s->context};
    snprintf(p->spec.architecture, sizeof p->spec.architecture, "Test");
    m.file = program_file(p, &file, "/nowhere/model.safetensors");
    for (uint32_t i = 0; i < s->head_dim / 2 && i < 4096; i++) freq[i] = 1.0f / (float)(i + 1);
    m.rope = program_rope(p, freq, s->head_dim, 1.0f);
    buffers(&m);
    table = matrix(&m, "embed_tokens.weight", s->vocab, s->hidden, FORM_BF16);
    p->spec.embed_matrix = table;
    op(&m, OP_EMBED)->embed = (struct op_embed){.dst = view(m.x, 0), .matrix = table, .width = s->hidden, .scale = 1};
    for (m.layer = 0; m.layer < s->layers; m.layer++) {
        attention(&m);
        if (s->latent) latent(&m);
        if (s->recurrent) recurrent(&m);
        norm(&m, m.x, m.normed);
        if (s->experts)
            expert_mlp(&m);
        else
            mlp(&m);
        add(&m, m.sum);
    }
    op(&m, OP_SELECT)->select = (struct op_select){.src = view(m.x, 0), .dst = view(m.chosen, 0), .width = s->hidden};
    norm(&m, m.chosen, m.chosen);
    matmul(&m, "lm_head.weight", m.chosen, s->hidden, m.logits, s->vocab, FORM_BF16);
    op(&m, OP_LOGITS)->logits = (struct op_logits){.src = view(m.logits, 0), .width = s->vocab};
    PROGRAM_AT(p, files, struct plan_file, m.file)->bytes = m.at;
}

struct plan_shm *test_image(const struct test_shape *s)
{
    struct plan_shm *image;
    struct error e = {0};
    struct program p;

    test_program(&p, s);
    if (program_image(&image, &p, &e)) {
        fprintf(stderr, "%s\n", e.text);
        abort();
    }
    program_free(&p);
    return image;
}

struct plan_settings test_settings(uint64_t host_memory)
{
    return (struct plan_settings){.host_memory = host_memory,
                                  .device_memory = 0,
                                  .host_memory_given = true,
                                  .shm_free = UINT64_MAX,
                                  .text_bytes = 1 << 20,
                                  .threads = 1};
}

void test_stream_all(struct plan_shm *p)
{
    struct plan_tile *t = (struct plan_tile *)(void *)((char *)p + p->tiles.offset);

    for (uint64_t i = 0; i < p->tiles.count; i++) t[i].tier = t[i].flags = 0, t[i].tier_off = 0;
    p->run.host_cache_bytes = p->run.expert_cache_bytes = 0;
}
