#include "coordinator/arch/families/latent.h"

#include <math.h>
#include <stdio.h>

#define LATENT_EPS 1e-6f /* of the norms inside attention, whatever rms_norm_eps says */

/* A tensor of this attention, into out of BUILD_NAME_BYTES. */
static const char *named(const struct latent *l, char *out, const char *name)
{
    snprintf(out, BUILD_NAME_BYTES, "%s.%s", l->at, name);
    return out;
}

static void linear(struct build *b, const struct latent *l, struct plan_view dst, struct plan_view src,
                   const char *name, uint64_t rows, uint64_t cols, bool bias)
{
    char full[BUILD_NAME_BYTES];

    build_linear(b, dst, src, named(l, full, name), rows, cols, bias);
}

static void latent_norm(struct build *b, const struct latent *l, struct plan_view x, const char *name, uint32_t width,
                        float times)
{
    struct op_norm o = {.src = x,
                        .dst = x,
                        .groups = 1,
                        .width = width,
                        .src_stride = width,
                        .dst_stride = width,
                        .kind = NORM_RMS,
                        .eps = l->eps,
                        .bias = PLAN_NONE};
    char full[BUILD_NAME_BYTES];

    o.weight = build_vector(b, named(l, full, name), width);
    build_norm_op(b, &o);
    if (times != 1) build_scale(b, x, width, times, 0);
}

static void rotate(struct build *b, const struct latent *l, struct plan_view x, uint64_t heads, uint64_t stride)
{
    if (l->rope.index != PLAN_NONE) build_rope(b, x, heads, stride, &l->rope, l->style);
}

/* [heads][nope + rotated] */
static struct plan_view make_q(struct build *b, const struct latent *l, struct plan_view src)
{
    uint64_t width = (uint64_t)b->heads * (l->nope + l->rotated);
    struct plan_view q = build_view(b, BUF_Q, width, 0), a;

    if (!l->q_rank) {
        linear(b, l, q, src, "q_proj", width, b->hidden, false);
    } else {
        a = build_view(b, BUF_T1, l->q_rank, 0);
        linear(b, l, a, src, "q_a_proj", l->q_rank, b->hidden, l->bias);
        latent_norm(b, l, a, "q_a_layernorm.weight", l->q_rank, 1);
        linear(b, l, q, a, "q_b_proj", width, l->q_rank, false);
    }
    if (l->q_mul != 1) build_scale(b, q, width, l->q_mul, 0);
    rotate(b, l, view_at(q, l->nope), b->heads, l->nope + l->rotated);
    return q;
}

/* [kv_rank + rotated], as it is cached */
static struct plan_view make_kv(struct build *b, const struct latent *l, struct plan_view src)
{
    uint64_t width = (uint64_t)l->kv_rank + l->rotated;
    struct plan_view kv = build_view(b, BUF_K, width, 0);

    linear(b, l, kv, src, "kv_a_proj_with_mqa", width, b->hidden, l->bias);
    latent_norm(b, l, kv, "kv_a_layernorm.weight", l->kv_rank, l->kv_mul);
    rotate(b, l, view_at(kv, l->kv_rank), 1, width);
    return kv;
}

static void head_product(struct build *b, const struct latent *l, uint32_t matrix, bool keys, struct plan_view dst,
                         uint32_t dst_stride, struct plan_view src, uint32_t src_stride)
{
    struct op_headmm o = {.src = src,
                          .dst = dst,
                          .matrix = matrix,
                          .heads = b->heads,
                          .rows = keys ? l->nope : l->value,
                          .row_stride = l->nope + l->value,
                          .row_off = keys ? 0 : l->nope,
                          .src_stride = src_stride,
                          .dst_stride = dst_stride,
                          .transposed = keys};

    if (build_ok(b)) program_op(b->p, OP_HEADMM, b->layer)->headmm = o;
}

/* W_uk and W_uv: halves of each head's rows in kv_b_proj, or matrices of their own, of which W_uk's heads are turned round
 * already (GGUF). A matrix that is built counts, so each is once. */
struct latent_weights {
    bool apart;
    uint32_t keys, values; /* the same where not apart */
};

static struct latent_weights latent_weights(struct build *b, const struct latent *l)
{
    char both[BUILD_NAME_BYTES], k[BUILD_NAME_BYTES], full[BUILD_NAME_BYTES];
    struct latent_weights w = {0};

    w.apart = !build_has(b, named(l, both, "kv_b_proj.weight")) && build_has(b, named(l, k, "k_b_proj.weight"));
    if (w.apart) {
        w.keys = build_matrix(b, named(l, full, "k_b_proj"), (uint64_t)b->heads * l->kv_rank, l->nope);
        w.values = build_matrix(b, named(l, full, "v_b_proj"), (uint64_t)b->heads * l->value, l->kv_rank);
    } else {
        w.keys = w.values =
            build_matrix(b, named(l, full, "kv_b_proj"), (uint64_t)b->heads * (l->nope + l->value), l->kv_rank);
    }
    return w;
}

static void keys_of_heads(struct build *b, const struct latent *l, const struct latent_weights *w, struct plan_view dst,
                          uint32_t dst_stride, struct plan_view src, uint32_t src_stride)
{
    struct op_headmm o = {.src = src,
                          .dst = dst,
                          .heads = b->heads,
                          .rows = l->kv_rank,
                          .row_stride = l->kv_rank,
                          .src_stride = src_stride,
                          .dst_stride = dst_stride};

    if (!w->apart) {
        head_product(b, l, w->keys, true, dst, dst_stride, src, src_stride);
        return;
    }
    o.matrix = w->keys;
    if (build_ok(b)) program_op(b->p, OP_HEADMM, b->layer)->headmm = o;
}

static void values_of_heads(struct build *b, const struct latent *l, const struct latent_weights *w,
                            struct plan_view dst, struct plan_view src)
{
    struct op_headmm o = {.src = src,
                          .dst = dst,
                          .heads = b->heads,
                          .rows = l->value,
                          .row_stride = l->value,
                          .src_stride = l->kv_rank,
                          .dst_stride = l->value};

    if (!w->apart) {
        head_product(b, l, w->values, false, dst, l->value, src, l->kv_rank);
        return;
    }
    o.matrix = w->values;
    if (build_ok(b)) program_op(b->p, OP_HEADMM, b->layer)->headmm = o;
}

static void gate_heads(struct build *b, const struct latent *l, struct plan_view out, struct plan_view src)
{
    struct op_act o = {.dst = out,
                       .gate = build_view(b, BUF_T1, b->heads, 0),
                       .up = out,
                       .width = b->heads * l->value,
                       .kind = ACT_SIGMOID,
                       .flags = ACT_BROADCAST,
                       .each = l->value};

    linear(b, l, o.gate, src, l->gate, b->heads, b->hidden, false);
    if (build_ok(b)) program_op(b->p, OP_ACT, b->layer)->act = o;
}

void latent_attention(struct build *b, const struct latent *l, const struct attention *a, struct plan_view dst,
                      struct plan_view src)
{
    uint32_t cached = l->kv_rank + l->rotated, qk = l->nope + l->rotated;
    struct plan_view q = make_q(b, l, src), kv = make_kv(b, l, src);
    struct plan_view wide = build_view(b, BUF_T2, (uint64_t)b->heads * cached, 0);
    struct plan_view mixed = build_view(b, BUF_T1, (uint64_t)b->heads * l->kv_rank, 0);
    struct plan_view out = build_view(b, BUF_A, (uint64_t)b->heads * l->value, 0);
    struct latent_weights w = latent_weights(b, l);
    struct attention chosen = *a;

    if (l->choose) l->choose(b, l, &chosen, build_view(b, BUF_T1, l->q_rank, 0), src); /* where make_q() left it */
    stack_tune(b, a, q, (uint64_t)b->heads * qk);
    keys_of_heads(b, l, &w, wide, cached, q, qk);
    build_copy(b, view_at(wide, l->kv_rank), cached, view_at(q, l->nope), qk, b->heads, l->rotated);
    stack_attend(b, &chosen, b->heads, 1, cached, l->kv_rank, mixed, wide, kv, kv, ATTN_V_IN_K);
    values_of_heads(b, l, &w, out, mixed);
    if (l->gate) gate_heads(b, l, out, src);
    linear(b, l, dst, out, l->out, b->hidden, (uint64_t)b->heads * l->value, l->bias);
}

/* value: columns of a head's values where the config does not say it; 0: it must. */
static struct latent read_sizes(struct build *b, const char *at, uint32_t value)
{
    struct latent l = {.at = at, .out = "o_proj", .eps = LATENT_EPS, .q_mul = 1, .kv_mul = 1};

    l.q_rank = config_size_or(b->c, "q_lora_rank", 1, 1u << 20, 0, b->e);
    l.kv_rank = config_size(b->c, "kv_lora_rank", 1, 1u << 20, b->e);
    l.nope = config_size(b->c, "qk_nope_head_dim", 1, 1u << 16, b->e);
    l.rotated = config_size(b->c, "qk_rope_head_dim", 2, 1u << 16, b->e);
    l.value = value ? config_size_or(b->c, "v_head_dim", 1, 1u << 16, value, b->e)
                    : config_size(b->c, "v_head_dim", 1, 1u << 16, b->e);
    l.bias = config_bool_or(b->c, "attention_bias", false, b->e);
    l.rope.index = PLAN_NONE;
    l.scale = (float)(1 / sqrt((double)l.nope + l.rotated));
    return l;
}

static void read_rotation(struct build *b, struct latent *l, uint32_t style, struct rope_request q)
{
    l->style = style;
    q.head_dim = l->rotated;
    l->rope = build_rotary(b, q);
    l->scale = (float)(l->rope.attention_mul / sqrt((double)l->nope + l->rotated));
}

struct latent latent_read_unrotated(struct build *b, const char *at)
{
    return read_sizes(b, at, 0);
}

struct latent latent_read(struct build *b, const char *at, uint32_t style)
{
    return latent_read_as(b, at, style, (struct rope_request){0});
}

struct latent latent_read_as(struct build *b, const char *at, uint32_t style, struct rope_request q)
{
    struct latent l = read_sizes(b, at, 0);

    read_rotation(b, &l, style, q);
    return l;
}

struct latent latent_read_value(struct build *b, const char *at, uint32_t style, uint32_t value)
{
    struct latent l = read_sizes(b, at, value);

    read_rotation(b, &l, style, (struct rope_request){0});
    return l;
}
