/* LFM2: most layers mix by a short convolution between two gates, B, C and x from one projection, C * conv(B * x); the
 * others by attention with norms on q and k. Its MoE has experts in all layers but the first ones. Reference: transformers,
 * modeling_lfm2.py, modeling_lfm2_moe.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#include <string.h>

struct lfm2 {
    struct rope_table rope;
    struct moe moe;
    uint32_t taps, dense; /* dense: layers without experts, from the first on */
    bool bias;            /* of the convolution and its projections */
};

static void mix(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct lfm2 *f = s->own;
    uint32_t h = b->hidden;
    struct plan_view bcx = build_view(b, BUF_Q, 3 * (uint64_t)h, 0), x = view_at(bcx, 2 * (uint64_t)h),
                     out = build_view(b, BUF_A, h, 0);
    struct op_conv o = {.src = out, .dst = x, .width = h, .taps = f->taps, .bias = PLAN_NONE, .act = ACT_NONE};

    build_linear(b, bcx, src, "conv.in_proj", 3 * (uint64_t)h, h, f->bias);
    build_act(b, out, bcx, x, h, ACT_NONE, 0);
    o.weight = build_vector(b, "conv.conv.weight", (uint64_t)h * f->taps);
    if (f->bias) o.bias = build_vector(b, "conv.conv.bias", h);
    o.state = program_state(b->p, (uint64_t)(f->taps - 1) * h);
    if (build_ok(b)) program_op(b->p, OP_CONV, b->layer)->conv = o;
    build_act(b, out, view_at(bcx, h), x, h, ACT_NONE, 0);
    build_linear(b, dst, out, "conv.out_proj", h, h, f->bias);
}

/* Which layers attend: layer_types, or an older list of their numbers, without which all do. */
static bool attends(struct build *b, uint32_t i)
{
    size_t n = json_array_size(config_field(b->c, "full_attn_idxs", false));

    if (config_field(b->c, "layer_types", false)) return !build_layer_is(b, i, "conv", false);
    if (!config_field(b->c, "full_attn_idxs", false)) return true;
    for (size_t k = 0; k < n; k++)
        if (config_list_int(b->c, "full_attn_idxs", k, -1, b->e) == i) return true;
    return false;
}

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    s->attend = attends(b, i) ? NULL : mix;
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct lfm2 *f = s->own;

    if (b->layer < f->dense)
        stack_mlp(b, &s->mlp, dst, src);
    else
        stack_moe(b, &f->moe, dst, src);
}

/* The config's width is that of a plain feed forward: two thirds of it, times a number, rounded up. */
static uint32_t adjusted_inter(struct build *b, uint32_t inter)
{
    double times = config_number_or(b->c, "block_ffn_dim_multiplier", 0, b->e), scaled;
    uint32_t multiple = config_size_or(b->c, "block_multiple_of", 1, 1u << 24, 256, b->e);

    if (!config_bool_or(b->c, "block_auto_adjust_ff_dim", true, b->e)) return inter;
    inter = (uint32_t)((uint64_t)2 * inter / 3);
    if (!config_field(b->c, "block_ffn_dim_multiplier", false)) return inter;
    scaled = times * inter;
    if (!(scaled >= 1 && scaled < (1 << 24))) {
        config_fault(b->c, b->e, "block_ffn_dim_multiplier", "%g is out of range", times);
        return inter;
    }
    return ((uint32_t)scaled + multiple - 1) / multiple * multiple;
}

static struct stack lfm2(struct build *b, struct lfm2 *f)
{
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "norm_eps", 1e-5);
    f->rope = build_rotary(b, (struct rope_request){.theta = 1e6});
    f->taps = config_size_or(b->c, "conv_L_cache", 2, 64, 3, b->e);
    f->bias = config_bool_or(b->c, "conv_bias", false, b->e);
    s = stack_llama(b, &f->rope);
    s.attention.o = "self_attn.out_proj";
    s.attention.q_norm = "self_attn.q_layernorm";
    s.attention.k_norm = "self_attn.k_layernorm";
    s.attention.norm = QK_HEAD;
    s.mlp.gate = "feed_forward.w1";
    s.mlp.up = "feed_forward.w3";
    s.mlp.down = "feed_forward.w2";
    s.before_attention = "operator_norm";
    s.before_mlp = "ffn_norm";
    s.final_norm = "embedding_norm";
    s.tied = build_tied(b);
    if (config_gives(b->c, "tie_embedding")) {
        s.tied = config_bool_or(b->c, "tie_embedding", true, b->e);
        b->tie_silent = false;
    }
    s.own = f;
    s.before_layer = before_layer;
    return s;
}

void family_lfm2(struct build *b)
{
    struct lfm2 f = {0};
    struct stack s = lfm2(b, &f);

    s.mlp.inter = config_size_or(b->c, "block_ff_dim", 1, 1u << 24, s.mlp.inter, b->e);
    s.mlp.inter = adjusted_inter(b, s.mlp.inter);
    stack_build(b, &s);
}

void family_lfm2_moe(struct build *b)
{
    struct lfm2 f = {0};
    struct stack s = lfm2(b, &f);

    f.dense = config_size_or(b->c, "num_dense_layers", 0, 10000, 2, b->e);
    f.moe = (struct moe){.experts = moe_experts(b),
                         .top = moe_experts_chosen(b),
                         .inter = config_size(b->c, "moe_intermediate_size", 1, 1u << 24, b->e),
                         .router = "feed_forward.gate",
                         .score = SCORE_SIGMOID,
                         .scale = (float)config_number_or(b->c, "routed_scaling_factor", 1, b->e),
                         .norm_eps = 1e-6f,
                         .act = ACT_SILU,
                         .list = "feed_forward.experts",
                         .gate = "w1",
                         .up = "w3",
                         .down = "w2"};
    if (config_bool_or(b->c, "norm_topk_prob", true, b->e)) f.moe.flags = ROUTER_NORMALIZE;
    if (config_bool_or(b->c, "use_expert_bias", true, b->e)) f.moe.correction = "feed_forward.expert_bias";
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name lfm2_names[] = {
    {"attn_norm", "operator_norm", GGUF_AS_IS},
    {"ffn_norm", "ffn_norm", GGUF_AS_IS},
    {"attn_output", "self_attn.out_proj", GGUF_AS_IS},
    {"attn_q_norm", "self_attn.q_layernorm", GGUF_AS_IS},
    {"attn_k_norm", "self_attn.k_layernorm", GGUF_AS_IS},
    {"ffn_gate", "feed_forward.w1", GGUF_AS_IS},
    {"ffn_up", "feed_forward.w3", GGUF_AS_IS},
    {"ffn_down", "feed_forward.w2", GGUF_AS_IS},
    {"ffn_gate_inp", "feed_forward.gate", GGUF_AS_IS},
    {"exp_probs_b", "feed_forward.expert_bias", GGUF_BARE},
    {"ffn_gate_exps", "feed_forward.switch_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "feed_forward.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "feed_forward.switch_mlp.down_proj", GGUF_AS_IS},
    {"shortconv.conv", "conv.conv", GGUF_AS_IS},
    {"shortconv.in_proj", "conv.in_proj", GGUF_AS_IS},
    {"shortconv.out_proj", "conv.out_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* The last norm is called by the embedding in files of today, by what it is in others. */
static const struct gguf_name lfm2_top[] = {{"token_embd_norm", "embedding_norm", GGUF_AS_IS}, {NULL, NULL, 0}};

static void lfm2_config(struct gguf_values *v)
{
    double eps = 0;

    gguf_tell_field(v, "shortconv.l_cache", "conv_L_cache");
    if (!v->tells) gguf_set_int(v, "conv_L_cache", gguf_value_needed(v, "shortconv.l_cache"));
    if (gguf_value_real(v, "attention.layer_norm_rms_epsilon", &eps)) gguf_set_real(v, "norm_eps", eps);
    gguf_set_flag(v, "conv_bias", gguf_layer_has(v, "shortconv.in_proj.bias"));
    gguf_set_flag(v, "block_auto_adjust_ff_dim", false);
    gguf_mixed_layers(v, "conv");
}

static void lfm2_moe_config(struct gguf_values *v)
{
    lfm2_config(v);
    gguf_field_int(v, "leading_dense_block_count", "num_dense_layers", 0);
    gguf_field_real(v, "expert_weights_scale", "routed_scaling_factor", 1);
    gguf_set_flag(v, "norm_topk_prob", true);
    gguf_set_flag(v, "use_expert_bias", gguf_layer_has(v, "exp_probs_b.bias"));
    gguf_tell_int(v, "expert_gating_func", 2);
}

const struct gguf_family gguf_lfm2 = {
    .architecture = "lfm2",
    .class = "Lfm2ForCausalLM",
    .type = "lfm2",
    .names = lfm2_names,
    .top = lfm2_top,
    .norm = "embedding_norm",
    .mixed = true,
    .config = lfm2_config,
};

const struct gguf_family gguf_lfm2_moe = {
    .architecture = "lfm2moe",
    .class = "Lfm2MoeForCausalLM",
    .type = "lfm2_moe",
    .names = lfm2_names,
    .top = lfm2_top,
    .norm = "embedding_norm",
    .mixed = true,
    .config = lfm2_moe_config,
};
