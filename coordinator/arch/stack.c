#include "coordinator/arch/stack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "coordinator/arch/names.h"

struct stack stack_llama(struct build *b, const struct rope_table *rope)
{
    struct stack s = {
        .attention = {.q = "self_attn.q_proj",
                      .k = "self_attn.k_proj",
                      .v = "self_attn.v_proj",
                      .o = "self_attn.o_proj",
                      .q_norm = "self_attn.q_norm",
                      .k_norm = "self_attn.k_norm",
                      .rope = rope,
                      .rope_style = ROPE_HALVES,
                      .alibi = PLAN_NONE,
                      .scale = 1.0f / sqrtf((float)b->head_dim)},
        .mlp =
            {.gate = "mlp.gate_proj", .up = "mlp.up_proj", .down = "mlp.down_proj", .inter = b->inter, .act = ACT_SILU},
        .embed = "embed_tokens",
        .final_norm = "norm",
        .before_attention = "input_layernorm",
        .before_mlp = "post_attention_layernorm",
        .residual = 1,
        .embed_scale = 1,
        .logit_mul = 1,
    };

    return s;
}

void stack_attention_biases(struct stack *s, bool biased)
{
    s->attention.q_bias = s->attention.k_bias = s->attention.v_bias = s->attention.o_bias = biased;
}

uint32_t stack_alibi(struct build *b, double top, double mul)
{
    float *slope;
    uint32_t whole = 1, v;

    if (!build_ok(b)) return PLAN_NONE;
    slope = calloc(b->heads, sizeof *slope);
    if (!slope) {
        b->p->failed = true;
        return PLAN_NONE;
    }
    while (whole * 2 <= b->heads) whole *= 2;
    for (uint32_t h = 0; h < b->heads; h++)
        slope[h] =
            (float)(mul * (h < whole ? exp2(-top * (h + 1) / whole) : exp2(-top / 2 * (2 * (h - whole) + 1) / whole)));
    v = program_constants(b->p, slope, b->heads, "alibi slopes");
    free(slope);
    return v;
}

/* ---- attention ---- */

static void qk_norm(struct build *b, const struct attention *a, const char *name, struct plan_view dst,
                    struct plan_view src, uint32_t heads, uint32_t src_stride)
{
    struct op_norm o = {.src = src,
                        .dst = dst,
                        .groups = heads,
                        .width = b->head_dim,
                        .src_stride = src_stride,
                        .dst_stride = b->head_dim,
                        .kind = a->qk_kind,
                        .eps = b->eps,
                        .weight_add = b->weight_add,
                        .weight = PLAN_NONE,
                        .bias = PLAN_NONE};
    uint64_t elements = b->head_dim;
    char full[BUILD_NAME_BYTES];

    for (uint32_t h = 0; h < heads && a->norm == QK_LIST; h++) {
        o.groups = 1;
        o.src = view_at(src, (uint64_t)h * src_stride);
        o.dst = view_at(dst, (uint64_t)h * b->head_dim);
        snprintf(full, sizeof full, "%s.norms.%u.weight", name, h);
        o.weight = build_vector(b, full, elements);
        build_norm_op(b, &o);
    }
    if (a->norm == QK_LIST) return;
    if (a->norm == QK_FULL) {
        o.groups = 1;
        o.width = o.src_stride = o.dst_stride = heads * b->head_dim;
        elements = o.width;
    } else if (a->norm == QK_OWN) {
        o.weight_stride = b->head_dim;
        elements = (uint64_t)heads * b->head_dim;
    }
    snprintf(full, sizeof full, "%s.weight", name);
    if (!a->norm_bare) o.weight = build_vector(b, full, elements);
    build_norm_op(b, &o);
}

/* q, k and v from one matrix: their views. */
static void project_fused(struct build *b, const struct attention *a, struct plan_view src, struct plan_view out[3])
{
    uint32_t hd = b->head_dim, group = b->heads / b->kv_heads;
    uint64_t q = (uint64_t)b->heads * hd, kv = (uint64_t)b->kv_heads * hd, stride = (uint64_t)(group + 2) * hd;
    struct plan_view all = build_view(b, a->grouped ? BUF_T1 : BUF_Q, q + 2 * kv, 0);

    build_linear(b, all, src, a->qkv, q + 2 * kv, b->hidden, a->q_bias);
    if (!a->grouped) {
        out[0] = all;
        out[1] = view_at(all, q);
        out[2] = view_at(all, q + kv);
        return;
    }
    out[0] = build_view(b, BUF_Q, q, 0);
    out[1] = build_view(b, BUF_K, kv, 0);
    out[2] = build_view(b, BUF_V, kv, 0);
    build_copy(b, out[0], (uint64_t)group * hd, all, stride, b->kv_heads, (uint64_t)group * hd);
    build_copy(b, out[1], hd, view_at(all, (uint64_t)group * hd), stride, b->kv_heads, hd);
    build_copy(b, out[2], hd, view_at(all, (uint64_t)(group + 1) * hd), stride, b->kv_heads, hd);
}

/* dst, [heads][2][half], out of src, [heads][half][2]; between is as wide as both. */
static void part_pairs(struct build *b, struct plan_view dst, struct plan_view src, struct plan_view between,
                       uint32_t heads)
{
    uint32_t half = b->head_dim / 2;
    uint64_t n = (uint64_t)heads * half;

    for (uint32_t j = 0; j < 2; j++) build_copy(b, view_at(between, j * n), 1, view_at(src, j), 2, n, 1);
    for (uint32_t j = 0; j < 2; j++)
        build_copy(b, view_at(dst, (uint64_t)j * half), b->head_dim, view_at(between, j * n), half, heads, half);
}

/* q or k; where its rows alternate between the halves of a head, as its family has them. */
static void project_head(struct build *b, struct plan_view dst, struct plan_view src, const char *name, uint32_t heads,
                         bool bias)
{
    uint64_t rows = (uint64_t)heads * b->head_dim;
    struct plan_view pairs;

    if (!b->t->changes.qk_pairs || b->head_dim % 2) {
        build_linear(b, dst, src, name, rows, b->hidden, bias);
        return;
    }
    pairs = build_view(b, BUF_T1, rows, 0);
    build_linear(b, pairs, src, name, rows, b->hidden, bias);
    part_pairs(b, dst, pairs, build_view(b, BUF_T2, rows, 0), heads);
}

static uint32_t value_width(const struct build *b, const struct attention *a)
{
    return a->value ? a->value : b->head_dim;
}

static void project(struct build *b, const struct attention *a, struct plan_view src, struct plan_view out[3])
{
    uint64_t q = (uint64_t)b->heads * b->head_dim, kv = (uint64_t)b->kv_heads * b->head_dim;
    uint64_t value = (uint64_t)b->kv_heads * value_width(b, a);

    if (a->qkv) {
        project_fused(b, a, src, out);
        return;
    }
    out[0] = build_view(b, a->gated ? BUF_T1 : BUF_Q, a->gated ? 2 * q : q, 0);
    out[1] = build_view(b, BUF_K, kv, 0);
    out[2] = build_view(b, BUF_V, value, 0);
    if (a->gated)
        build_linear(b, out[0], src, a->q, 2 * q, b->hidden, a->q_bias);
    else
        project_head(b, out[0], src, a->q, b->heads, a->q_bias);
    project_head(b, out[1], src, a->k, b->kv_heads, a->k_bias);
    build_linear(b, out[2], src, a->v, value, b->hidden, a->v_bias);
    if (a->value_mul != 0) build_scale(b, out[2], value, a->value_mul, 0);
}

/* q out of [q, gate] pairs, normed on the way where it is to be. */
static void take_gated_q(struct build *b, const struct attention *a, struct plan_view *q)
{
    struct plan_view pairs = *q;

    *q = build_view(b, BUF_Q, (uint64_t)b->heads * b->head_dim, 0);
    if (a->norm != QK_NONE)
        qk_norm(b, a, a->q_norm, *q, pairs, b->heads, 2 * b->head_dim);
    else
        build_copy(b, *q, b->head_dim, pairs, 2 * b->head_dim, b->heads, b->head_dim);
}

static struct op_attention attention_op(const struct attention *a, uint32_t heads, uint32_t kv_heads, uint32_t dk,
                                        uint32_t dv, struct plan_view dst, struct plan_view q)
{
    return (struct op_attention){.q = q,
                                 .dst = dst,
                                 .heads = heads,
                                 .kv_heads = kv_heads,
                                 .dk = dk,
                                 .dv = dv,
                                 .window = a->window,
                                 .chunk = a->chunk,
                                 .sinks = PLAN_NONE,
                                 .alibi = a->alibi,
                                 .scale = a->scale,
                                 .cap = a->cap};
}

void stack_attend(struct build *b, const struct attention *a, uint32_t heads, uint32_t kv_heads, uint32_t dk,
                  uint32_t dv, struct plan_view dst, struct plan_view q, struct plan_view k, struct plan_view v,
                  uint32_t flags)
{
    struct op_attention o = attention_op(a, heads, kv_heads, dk, dv, dst, q);
    o.chosen = a->chosen;
    o.chosen_groups = a->chosen_groups;
    o.chosen_top = a->chosen_top;
    o.chosen_block = a->chosen_block;

    o.k = k;
    o.v = v;
    o.flags = flags;
    if (a->sinks) o.sinks = build_vector(b, a->sinks, heads);
    o.cache = program_cache(b->p, kv_heads * dk, flags & ATTN_V_IN_K ? 0 : kv_heads * dv);
    if (build_ok(b)) program_op(b->p, OP_ATTENTION, b->layer)->attention = o;
}

void stack_attend_again(struct build *b, const struct attention *a, uint32_t heads, uint32_t kv_heads, uint32_t width,
                        struct plan_view dst, struct plan_view q, uint32_t cache)
{
    struct op_attention o = attention_op(a, heads, kv_heads, width, width, dst, q);

    o.k = o.v = VIEW_NONE;
    o.flags = ATTN_REUSES;
    o.cache = cache;
    if (build_ok(b)) program_op(b->p, OP_ATTENTION, b->layer)->attention = o;
}

static void rotate(struct build *b, const struct attention *a, struct plan_view q, struct plan_view k)
{
    if (!a->rope) return;
    build_rope(b, q, b->heads, b->head_dim, a->rope, a->rope_style);
    build_rope(b, k, b->kv_heads, b->head_dim, a->rope, a->rope_style);
}

static void norm_q_and_k(struct build *b, const struct attention *a, struct plan_view q, struct plan_view k)
{
    if (a->norm == QK_NONE) return;
    if (!a->gated) qk_norm(b, a, a->q_norm, q, q, b->heads, b->head_dim);
    qk_norm(b, a, a->k_norm, k, k, b->kv_heads, b->head_dim);
}

void stack_tune(struct build *b, const struct attention *a, struct plan_view q, uint64_t width)
{
    if (a->tune_mul != 0 && build_ok(b))
        program_op(b->p, OP_SCALE, b->layer)->scale =
            (struct op_scale){.x = q,
                              .width = (uint32_t)width,
                              .flags = SCALE_BY_POSITION | (a->tune_zero ? SCALE_FROM_ZERO : 0),
                              .mul = a->tune_mul,
                              .floor = a->tune_floor};
}

static void clip(struct build *b, const struct attention *a, const struct plan_view at[3])
{
    uint32_t heads[3] = {b->heads * (a->gated ? 2 : 1), b->kv_heads, b->kv_heads};

    for (int i = 0; i < 3 && build_ok(b); i++)
        program_op(b->p, OP_SCALE, b->layer)->scale = (struct op_scale){
            .x = at[i], .width = heads[i] * b->head_dim, .flags = SCALE_CLAMP, .mul = 1, .cap = a->clip};
}

/* Attention's output times the sigmoid of gates of its own. */
static void gate_output(struct build *b, const struct attention *a, struct plan_view out, struct plan_view src)
{
    uint64_t width = (uint64_t)b->heads * value_width(b, a), gates = a->gate_heads ? b->heads : width;
    struct plan_view gate = build_view(b, BUF_Q, gates, 0); /* q is not needed any more */
    struct op_act o = {.dst = out, .gate = gate, .up = out, .width = (uint32_t)width, .kind = ACT_SIGMOID};

    build_linear(b, gate, src, a->gate, gates, b->hidden, false);
    if (a->gate_heads) {
        o.flags = ACT_BROADCAST;
        o.each = value_width(b, a);
    }
    if (build_ok(b)) program_op(b->p, OP_ACT, b->layer)->act = o;
}

void stack_attention(struct build *b, const struct attention *a, struct plan_view dst, struct plan_view src)
{
    uint64_t width = (uint64_t)b->heads * b->head_dim, value = (uint64_t)b->heads * value_width(b, a);
    struct plan_view out = build_view(b, BUF_A, value, 0), at[3], pairs;

    if (build_ok(b) && b->heads % b->kv_heads)
        config_fault(b->c, b->e, "num_attention_heads", "%u is not divisible by num_key_value_heads %u", b->heads,
                     b->kv_heads);
    project(b, a, src, at);
    if (a->clip != 0) clip(b, a, at);
    pairs = at[0];
    if (a->gated) take_gated_q(b, a, &at[0]);
    if (!a->norm_last) norm_q_and_k(b, a, at[0], at[1]);
    rotate(b, a, at[0], at[1]);
    if (a->norm_last) norm_q_and_k(b, a, at[0], at[1]);
    stack_tune(b, a, at[0], width);
    stack_attend(b, a, b->heads, b->kv_heads, b->head_dim, value_width(b, a), out, at[0], at[1], at[2], 0);
    if (a->gated) { /* q is not needed any more: its place takes the gates */
        build_copy(b, at[0], b->head_dim, view_at(pairs, b->head_dim), 2 * b->head_dim, b->heads, b->head_dim);
        build_act(b, out, at[0], out, width, ACT_SIGMOID, 0);
    }
    if (a->gate) gate_output(b, a, out, src);
    build_linear(b, dst, out, a->o, b->hidden, value, a->o_bias);
}

/* ---- feed forward ---- */

static uint32_t xielu_number(struct build *b, const char *of, const char *name)
{
    char full[BUILD_NAME_BYTES];

    snprintf(full, sizeof full, "%s.%s", of, name);
    return build_vector(b, full, 1);
}

static void xielu(struct build *b, const struct mlp *m, struct plan_view x)
{
    struct op_xielu o = {.src = x,
                         .dst = x,
                         .width = m->inter,
                         .alpha_p = xielu_number(b, m->xielu, "alpha_p"),
                         .alpha_n = xielu_number(b, m->xielu, "alpha_n"),
                         .beta = xielu_number(b, m->xielu, "beta"),
                         .eps = xielu_number(b, m->xielu, "eps")};

    if (build_ok(b)) program_op(b->p, OP_XIELU, b->layer)->xielu = o;
}

void stack_mlp(struct build *b, const struct mlp *m, struct plan_view dst, struct plan_view src)
{
    struct plan_view gate = build_view(b, BUF_GATE, m->gate_up ? 2 * (uint64_t)m->inter : m->inter, 0), up = VIEW_NONE;
    bool clamped = m->limit != 0 && m->act != ACT_SWIGLU_OAI;

    if (!m->inter)
        build_fault(b, "%s: intermediate_size: this field is missing, and the model cannot be understood without it",
                    b->c->path);
    if (m->gate_up) {
        build_linear(b, gate, src, m->gate_up, 2 * (uint64_t)m->inter, b->hidden, m->up_bias);
        up = view_at(gate, m->inter);
    } else if (m->gate) {
        up = build_view(b, BUF_UP, m->inter, 0);
        build_linear(b, gate, src, m->gate, m->inter, b->hidden, m->up_bias);
        build_linear(b, up, src, m->up, m->inter, b->hidden, m->up_bias);
    } else {
        build_linear(b, gate, src, m->up, m->inter, b->hidden, m->up_bias);
    }
    if (m->xielu)
        xielu(b, m, gate);
    else if (build_ok(b))
        program_op(b->p, OP_ACT, b->layer)->act = (struct op_act){.dst = gate,
                                                                  .gate = gate,
                                                                  .up = up,
                                                                  .width = m->inter,
                                                                  .kind = m->act,
                                                                  .flags = !clamped          ? 0
                                                                           : m->clamp_before ? ACT_CLAMP_BEFORE
                                                                                             : ACT_CLAMP_AFTER,
                                                                  .alpha = m->alpha,
                                                                  .limit = m->limit};
    build_linear(b, dst, gate, m->down, b->hidden, m->inter, m->down_bias);
}

/* ---- the stack ---- */

static uint32_t embed_width(const struct build *b, const struct stack *s)
{
    return s->embed_width ? s->embed_width : b->hidden;
}

static void positions(struct build *b, const struct stack *s)
{
    struct op_position o = {
        .x = build_x(b), .rows = b->limit + s->position_offset, .width = b->hidden, .offset = s->position_offset};

    o.table = build_table(b, s->positions, o.rows, o.width);
    if (build_ok(b)) program_op(b->p, OP_POSITION, 0)->position = o;
}

static uint32_t embedding(struct build *b, const struct stack *s)
{
    bool narrow = s->embed_width && s->embed_width != b->hidden;
    struct op_embed o = {.width = embed_width(b, s), .scale = s->embed_scale};

    build_top(b);
    o.matrix = build_matrix(b, s->embed, b->vocab, o.width);
    o.dst = narrow ? build_view(b, BUF_T1, o.width, 0) : build_x(b);
    if (s->beside) {
        o.flags = EMBED_BESIDE;
        o.beside = build_matrix(b, s->beside, s->beside_rows, s->beside_width);
        o.beside_dst = build_view(b, BUF_BESIDE, s->beside_width, 0);
        o.beside_width = s->beside_width;
        o.beside_scale = s->beside_scale;
    }
    if (build_ok(b)) program_op(b->p, OP_EMBED, 0)->embed = o;
    b->p->spec.embed_matrix = o.matrix;
    if (narrow) build_linear(b, build_x(b), o.dst, s->project_in, b->hidden, o.width, false);
    if (s->positions) positions(b, s);
    if (s->embed_norm) build_norm(b, build_x(b), build_x(b), s->embed_norm);
    return o.matrix;
}

static void run_attention(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    if (s->attend)
        s->attend(b, s, dst, src);
    else
        stack_attention(b, &s->attention, dst, src);
}

static void run_feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    if (s->feed)
        s->feed(b, s, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

static struct plan_view normed(struct build *b, const char *name, struct plan_view x)
{
    struct plan_view n = build_view(b, BUF_NORM, b->hidden, 0);

    if (!name) return x;
    build_norm(b, n, x, name);
    return n;
}

static void add_branch(struct build *b, const struct stack *s, struct plan_view x, struct plan_view out,
                       const char *after)
{
    if (after && !s->sum_normed) build_norm(b, out, out, after);
    build_add(b, x, x, out, b->hidden, 1, s->residual);
    if (after && s->sum_normed) build_norm(b, x, x, after);
}

static void layer(struct build *b, struct stack *s)
{
    struct plan_view x = build_x(b), out = build_view(b, BUF_OUT, b->hidden, 0), n;

    n = normed(b, s->before_attention, x);
    run_attention(b, s, out, n);
    if (s->parallel) {
        struct plan_view out2 = build_view(b, BUF_OUT2, b->hidden, 0);
        if (s->parallel_norms) n = normed(b, s->before_mlp, x);
        run_feed(b, s, out2, n);
        add_branch(b, s, x, out, NULL);
        add_branch(b, s, x, out2, NULL);
        return;
    }
    add_branch(b, s, x, out, s->after_attention);
    if (s->one_block) return;
    n = normed(b, s->before_mlp, x);
    run_feed(b, s, out, n);
    add_branch(b, s, x, out, s->after_mlp);
}

/* The matrix that makes logits. A head that lies in the folder is one that was trained: it is used whatever the config says
 * of tying, as
 * the reference does; where there is none and the config is silent, it is the embedding. */
static uint32_t head_matrix(struct build *b, const struct stack *s, uint32_t embed)
{
    const char *name = s->head ? s->head : "lm_head";
    bool names_known = !b->t->assumed || b->t->names_known;
    char before[sizeof b->prefix] = "";

    if (!names_head(b->t, b->prefix, name, before, sizeof before)) {
        if (s->tied || (b->tie_silent && names_known)) return embed;
    } else if (s->tied) {
        build_notice(b,
                     "the head is tied to the embedding by config.json%s, but %s%s.weight is in the folder: it is used",
                     b->tie_silent ? "'s class" : "", before, name);
    }
    snprintf(b->base, sizeof b->base, "%s", before);
    return build_matrix_either(b, name, b->vocab, embed_width(b, s));
}

static void head(struct build *b, const struct stack *s, uint32_t embed)
{
    struct plan_view x = build_x(b), last = build_view(b, BUF_LAST, b->hidden, 0),
                     logits = build_view(b, BUF_LOGITS, b->vocab, 0), narrow;
    struct op_matmul o = {.src = last, .dst = logits, .bias = PLAN_NONE, .flags = s->head_flags};

    build_top(b);
    if (build_ok(b))
        program_op(b->p, OP_SELECT, b->layer)->select = (struct op_select){.src = x, .dst = last, .width = b->hidden};
    if (s->final_norm) build_norm(b, last, last, s->final_norm);
    if (s->embed_width && s->embed_width != b->hidden) {
        narrow = build_view(b, BUF_NARROW, s->embed_width, 0);
        build_linear(b, narrow, last, s->project_out, s->embed_width, b->hidden, false);
        o.src = narrow;
    }
    o.matrix = head_matrix(b, s, embed);
    if (build_ok(b) && build_is_turned(b, o.matrix)) {
        if (o.flags) build_fault(b, "%s: a head quantized by AWQ or GPTQ is not supported here", b->t->folder);
        o.flags |= MATMUL_TRANSPOSED;
    }
    if (s->head_bias) o.bias = build_vector(b, "lm_head.bias", b->vocab);
    if (build_ok(b)) program_op(b->p, OP_MATMUL, b->layer)->matmul = o;
    if (s->logit_mul != 1 || s->logit_cap != 0) build_scale(b, logits, b->vocab, s->logit_mul, s->logit_cap);
    if (build_ok(b))
        program_op(b->p, OP_LOGITS, b->layer)->logits = (struct op_logits){.src = logits, .width = b->vocab};
}

void stack_build(struct build *b, struct stack *s)
{
    uint32_t embed = embedding(b, s);

    if (s->after_embedding) s->after_embedding(b, s);
    for (uint32_t i = 0; i < b->layers && build_ok(b); i++) {
        build_layer(b, i);
        if (s->before_layer) s->before_layer(b, s, i);
        (s->whole_layer ? s->whole_layer : layer)(b, s);
        if (s->after_layer) s->after_layer(b, s, i);
    }
    b->layer = b->layers;
    head(b, s, embed);
}
