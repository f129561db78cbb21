/* Qwen3-Next and Qwen 3.5: three of four layers mix by a gated delta rule instead of attention (a short convolution, a
 * recurrent state for each head), the fourth has attention with a gate. Norms add 1 to their weights. Reference: Gated
 * Delta Networks (arXiv 2412.06464), transformers, modeling_qwen3_next.py, modeling_qwen3_5.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct next {
    struct moe moe;
    struct rope_table rope;
    uint32_t heads, key_heads, dk, dv, taps, interval, act;
    bool everywhere; /* all layers have experts */
    bool split;      /* q, k, v, z, a and b have matrices of their own (Qwen 3.5) */
};

struct mixer {
    struct plan_view qkv, z, b, a; /* [2 key + value], [value], [heads], [heads] */
};

/* Rows go by key head: [b, a]. */
static void project_ba(struct build *b, const struct next *n, const struct mixer *m, struct plan_view src)
{
    uint32_t group = n->heads / n->key_heads;
    struct plan_view ba = build_view(b, BUF_T2, 2 * (uint64_t)n->heads, 0);

    build_linear(b, ba, src, "linear_attn.in_proj_ba", 2 * (uint64_t)n->heads, b->hidden, false);
    build_copy(b, m->b, group, ba, 2 * group, n->key_heads, group);
    build_copy(b, m->a, group, view_at(ba, group), 2 * group, n->key_heads, group);
}

/* Rows go by key head: [q, k, its values, their z]. */
static void project_qkvz(struct build *b, const struct next *n, const struct mixer *m, struct plan_view src)
{
    uint32_t group = n->heads / n->key_heads, values = group * n->dv, stride = 2 * n->dk + 2 * values;
    uint64_t key = (uint64_t)n->key_heads * n->dk;
    struct plan_view all = build_view(b, BUF_T1, (uint64_t)n->key_heads * stride, 0);

    build_linear(b, all, src, "linear_attn.in_proj_qkvz", (uint64_t)n->key_heads * stride, b->hidden, false);
    build_copy(b, m->qkv, n->dk, all, stride, n->key_heads, n->dk);
    build_copy(b, view_at(m->qkv, key), n->dk, view_at(all, n->dk), stride, n->key_heads, n->dk);
    build_copy(b, view_at(m->qkv, 2 * key), values, view_at(all, 2 * n->dk), stride, n->key_heads, values);
    build_copy(b, m->z, values, view_at(all, 2 * n->dk + values), stride, n->key_heads, values);
}

static void project(struct build *b, const struct next *n, const struct mixer *m, struct plan_view src)
{
    uint64_t value = (uint64_t)n->heads * n->dv, key = (uint64_t)n->key_heads * n->dk;

    if (!n->split && !build_has(b, "linear_attn.in_proj_qkv.weight")) {
        project_qkvz(b, n, m, src);
    } else {
        build_linear(b, m->qkv, src, "linear_attn.in_proj_qkv", 2 * key + value, b->hidden, false);
        build_linear(b, m->z, src, "linear_attn.in_proj_z", value, b->hidden, false);
    }
    if (!n->split) {
        project_ba(b, n, m, src);
        return;
    }
    build_linear(b, m->b, src, "linear_attn.in_proj_b", n->heads, b->hidden, false);
    build_linear(b, m->a, src, "linear_attn.in_proj_a", n->heads, b->hidden, false);
}

static struct plan_view convolve(struct build *b, const struct next *n, struct plan_view src)
{
    uint32_t width = 2 * n->key_heads * n->dk + n->heads * n->dv;
    struct op_conv o = {.src = src,
                        .dst = build_view(b, BUF_T1, width, 0),
                        .width = width,
                        .taps = n->taps,
                        .bias = PLAN_NONE,
                        .act = n->act};

    o.weight = build_vector(b, "linear_attn.conv1d.weight", (uint64_t)width * n->taps);
    o.state = program_state(b->p, (uint64_t)(n->taps - 1) * width);
    if (build_ok(b)) program_op(b->p, OP_CONV, b->layer)->conv = o;
    return o.dst;
}

/* Where value head h goes with key head h % key_heads, q and k as often as there are values to them; *key_heads says how
 * many there are then. */
static void repeat_keys(struct build *b, const struct next *n, struct plan_view qkv, struct op_delta *o)
{
    uint64_t key = (uint64_t)n->key_heads * n->dk, all = (uint64_t)n->heads * n->dk;
    struct plan_view wide = build_view(b, BUF_Q, 2 * all, 0);

    for (uint64_t at = 0; at < all; at += key) {
        build_copy(b, view_at(wide, at), key, qkv, key, 1, key);
        build_copy(b, view_at(wide, all + at), key, view_at(qkv, key), key, 1, key);
    }
    o->q = wide;
    o->k = view_at(wide, all);
    o->key_heads = n->heads;
}

static void delta(struct build *b, const struct next *n, const struct mixer *m, struct plan_view qkv,
                  struct plan_view out)
{
    uint64_t key = (uint64_t)n->key_heads * n->dk;
    struct op_delta o = {.q = qkv,
                         .k = view_at(qkv, key),
                         .v = view_at(qkv, 2 * key),
                         .a = m->a,
                         .b = m->b,
                         .dst = out,
                         .heads = n->heads,
                         .key_heads = n->key_heads,
                         .dk = n->dk,
                         .dv = n->dv,
                         .scale = (float)(1 / sqrt((double)n->dk))};

    if (b->t->changes.tiled && n->heads != n->key_heads) repeat_keys(b, n, qkv, &o);
    if (b->t->changes.decay) o.flags = DELTA_RATES;
    o.a_log = build_vector(b, "linear_attn.A_log", n->heads);
    o.dt_bias = build_vector(b, "linear_attn.dt_bias", n->heads);
    o.state = program_state(b->p, (uint64_t)n->heads * n->dk * n->dv);
    if (build_ok(b)) program_op(b->p, OP_DELTA, b->layer)->delta = o;
}

static void mix(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct next *n = s->own;
    uint64_t value = (uint64_t)n->heads * n->dv, key = (uint64_t)n->key_heads * n->dk;
    struct mixer m = {.qkv = build_view(b, BUF_Q, 2 * key + value, 0),
                      .z = build_view(b, BUF_V, value, 0),
                      .b = build_view(b, BUF_K, 2 * (uint64_t)n->heads, 0)};
    struct plan_view out = build_view(b, BUF_A, value, 0);
    struct op_norm norm = {.src = out,
                           .dst = out,
                           .groups = n->heads,
                           .width = n->dv,
                           .src_stride = n->dv,
                           .dst_stride = n->dv,
                           .kind = NORM_RMS,
                           .eps = b->eps,
                           .bias = PLAN_NONE};

    m.a = view_at(m.b, n->heads);
    project(b, n, &m, src);
    delta(b, n, &m, convolve(b, n, m.qkv), out);
    norm.weight = build_vector(b, "linear_attn.norm.weight", n->dv);
    build_norm_op(b, &norm);
    build_act(b, out, m.z, out, value, ACT_SILU, 0);
    build_linear(b, dst, out, "linear_attn.out_proj", b->hidden, value, false);
}

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct next *n = s->own;

    s->attend = build_layer_is(b, i, "linear_attention", (i + 1) % n->interval) ? mix : NULL;
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    struct next *n = s->own;

    if (n->moe.experts && (n->everywhere || moe_qwen_layer(b, b->layer)))
        stack_moe(b, &n->moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

static void read_mixer(struct build *b, struct next *n)
{
    n->heads = config_size(b->c, "linear_num_value_heads", 1, 65536, b->e);
    n->key_heads = config_size(b->c, "linear_num_key_heads", 1, 65536, b->e);
    n->dk = config_size(b->c, "linear_key_head_dim", 1, 65536, b->e);
    n->dv = config_size(b->c, "linear_value_head_dim", 1, 65536, b->e);
    n->taps = config_size_or(b->c, "linear_conv_kernel_dim", 2, 64, 4, b->e);
    n->interval = config_size_or(b->c, "full_attention_interval", 1, 65536, 4, b->e);
    if (build_ok(b) && n->heads % n->key_heads)
        config_fault(b->c, b->e, "linear_num_value_heads", "%u is not divisible by linear_num_key_heads %u", n->heads,
                     n->key_heads);
}

/* mlx's conversions store the taps last but one, [width][taps][1] instead of [width][1][taps], and in that case norms with
 * the 1 added already (mlx-lm, sanitize() of qwen3_next.py and qwen3_5.py). */
static bool norms_have_their_one(struct build *b, const struct next *n)
{
    if (b->t->changes.norms_whole) return true;
    for (uint32_t i = 0; i < b->layers; i++) {
        const struct tensor *t;
        build_layer(b, i);
        if ((t = build_find(b, "linear_attn.conv1d.weight")))
            return t->dims == 3 && t->shape[1] == n->taps && t->shape[2] == 1;
    }
    return false;
}

static void next(struct build *b, bool split, bool sparse)
{
    struct next n = {.split = split};
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    read_mixer(b, &n);
    if (build_ok(b)) b->weight_add = norms_have_their_one(b, &n) ? 0 : 1;
    n.rope = build_rotary(b, (struct rope_request){.partial = 0.25, .partial_key = true});
    if (sparse) {
        n.moe = moe_qwen(b);
        if (split) n.moe.flags = ROUTER_NORMALIZE; /* Qwen 3.5 has no choice, and experts in all layers */
        n.everywhere = split;
        moe_qwen_shared(b, &n.moe);
    }
    s = stack_llama(b, &n.rope);
    stack_attention_biases(&s, config_bool_or(b->c, "attention_bias", false, b->e));
    s.attention.norm = QK_HEAD;
    s.attention.gated = true;
    s.mlp.act = n.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    s.own = &n;
    s.before_layer = before_layer;
    s.feed = feed;
    stack_build(b, &s);
}

void family_qwen3_next(struct build *b)
{
    next(b, false, true);
}

void family_qwen35(struct build *b)
{
    next(b, true, false);
}

void family_qwen35_moe(struct build *b)
{
    next(b, true, true);
}

/* ---- as GGUF ---- */

static const struct gguf_name next_names[] = {
    {"post_attention_norm", "post_attention_layernorm", GGUF_AS_IS},
    {"attn_qkv", "linear_attn.in_proj_qkv", GGUF_AS_IS},
    {"attn_gate", "linear_attn.in_proj_z", GGUF_AS_IS},
    {"ssm_in", "linear_attn.in_proj_qkvz", GGUF_AS_IS},
    {"ssm_ba", "linear_attn.in_proj_ba", GGUF_AS_IS},
    {"ssm_alpha", "linear_attn.in_proj_a", GGUF_AS_IS},
    {"ssm_beta", "linear_attn.in_proj_b", GGUF_AS_IS},
    {"ssm_conv1d", "linear_attn.conv1d", GGUF_AS_IS},
    {"ssm_a", "linear_attn.A_log", GGUF_BARE},
    {"ssm_dt", "linear_attn.dt_bias", GGUF_BARE},
    {"ssm_norm", "linear_attn.norm", GGUF_AS_IS},
    {"ssm_out", "linear_attn.out_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* Which layers are recurrent: a list of booleans in newer files, else all but each n-th. */
static void next_layers(struct gguf_values *v, uint64_t interval)
{
    static const char key[] = "attention.recurrent_layers";
    char full[128];
    const struct gguf_value *x;
    json_t *list = json_array();

    snprintf(full, sizeof full, "%s.%s", v->architecture, key);
    x = gguf_find(v->g, full);
    if (x && (!x->array || !gguf_is_kind(x, GGUF_BOOLS) || x->count < v->layers))
        gguf_refuse(v, key, "a boolean for each layer was expected");
    for (uint64_t i = 0; i < v->layers && !v->e->code; i++) {
        bool recurrent = x ? gguf_truth(x, i) : (i + 1) % interval != 0;

        if (json_array_append_new(list, json_string(recurrent ? "linear_attention" : "full_attention"))) break;
    }
    gguf_set(v, "layer_types", list);
}

/* What next_config() reads. */
static void tell_next(struct gguf_values *v)
{
    const struct config *c = v->tells->config;
    struct error unread = {0};
    uint32_t heads = config_size_or(c, "linear_num_value_heads", 1, 65536, 0, &unread);
    uint32_t width = config_size_or(c, "linear_value_head_dim", 1, 65536, 0, &unread);
    uint8_t *recurrent = calloc(v->layers + 1, 1);
    char key[128];

    gguf_tell_int(v, "ssm.time_step_rank", heads);
    gguf_tell_int(v, "ssm.inner_size", (uint64_t)heads * width);
    gguf_tell_field(v, "ssm.group_count", "linear_num_key_heads");
    gguf_tell_field(v, "ssm.state_size", "linear_key_head_dim");
    gguf_tell_field(v, "ssm.conv_kernel", "linear_conv_kernel_dim");
    gguf_tell_field(v, "full_attention_interval", "full_attention_interval");
    gguf_tell_int(v, "full_attention_interval", 4);
    gguf_tell_field(v, "expert_shared_feed_forward_length", "shared_expert_intermediate_size");
    for (uint64_t i = 0; i < v->tells->program->ops.count && recurrent; i++) {
        const struct plan_op *op = &plan_ops(v->tells->program)[i];

        if (op->kind == OP_DELTA && op->layer < v->layers) recurrent[op->layer] = 1;
    }
    snprintf(key, sizeof key, "%s.attention.recurrent_layers", v->architecture);
    gguf_out_array(v->tells->out, key, GGUF_BOOL, recurrent ? v->layers : 0);
    gguf_out_element(v->tells->out, recurrent, recurrent ? v->layers : 0);
    v->tells->failed |= !recurrent;
    free(recurrent);
}

static void next_config(struct gguf_values *v)
{
    if (v->tells) {
        tell_next(v);
        return;
    }
    uint64_t heads = gguf_value_needed(v, "ssm.time_step_rank"), inner = gguf_value_needed(v, "ssm.inner_size"), n = 4;

    gguf_value_int(v, "full_attention_interval", &n);
    if (!heads || inner % heads || !n)
        gguf_refuse(v, "ssm.inner_size", "%llu columns of %llu heads", (unsigned long long)inner,
                    (unsigned long long)heads);
    if (v->e->code || !heads || !n) return;
    gguf_set_int(v, "linear_num_value_heads", heads);
    gguf_set_int(v, "linear_num_key_heads", gguf_value_needed(v, "ssm.group_count"));
    gguf_set_int(v, "linear_key_head_dim", gguf_value_needed(v, "ssm.state_size"));
    gguf_set_int(v, "linear_value_head_dim", inner / heads);
    gguf_set_int(v, "linear_conv_kernel_dim", gguf_value_needed(v, "ssm.conv_kernel"));
    next_layers(v, n);
    gguf_set_flag(v, "norm_topk_prob", true);
    gguf_set_int(v, "decoder_sparse_step", 1);
    gguf_set(v, "mlp_only_layers", json_array());
    if (v->experts)
        gguf_field_int(v, "expert_shared_feed_forward_length", "shared_expert_intermediate_size", v->expert_inter);
}

const struct gguf_family gguf_qwen3_next = {
    .architecture = "qwen3next",
    .class = "Qwen3NextForCausalLM",
    .type = "qwen3_next",
    .names = next_names,
    .changes = {.norms_whole = true, .decay = true},
    .partial = true,
    .config = next_config,
};

const struct gguf_family gguf_qwen35 = {
    .architecture = "qwen35",
    .class = "Qwen3_5ForCausalLM",
    .type = "qwen3_5_text",
    .names = next_names,
    .changes = {.norms_whole = true, .decay = true, .tiled = true},
    .partial = true,
    .config = next_config,
};

const struct gguf_family gguf_qwen35_moe = {
    .architecture = "qwen35moe",
    .class = "Qwen3_5MoeForCausalLM",
    .type = "qwen3_5_moe_text",
    .names = next_names,
    .changes = {.norms_whole = true, .decay = true, .tiled = true},
    .partial = true,
    .config = next_config,
};
