/* Command R and R7B: attention and feed forward side by side from one layer norm, rotary in pairs, scaled logits, tied.
 * R7B rotates only in the layers that slide. Command A MoE: R7B with experts, after some layers without them. Reference:
 * transformers, modeling_cohere.py, modeling_cohere2.py, modeling_cohere2_moe.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

#include <string.h>

struct cohere2 {
    struct rope_table rope;
    uint32_t window, pattern;
};

static struct stack cohere(struct build *b, const struct rope_table *rope)
{
    struct stack s = stack_llama(b, rope);

    s.parallel = true;
    s.attention.rope_style = ROPE_PAIRS;
    stack_attention_biases(&s, config_bool_or(b->c, "attention_bias", false, b->e));
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.logit_mul = (float)config_number_or(b->c, "logit_scale", 0.0625, b->e);
    s.tied = build_tied(b);
    return s;
}

void family_cohere(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_LAYER, "layer_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = cohere(b, &rope);
    if (config_bool_or(b->c, "use_qk_norm", false, b->e)) s.attention.norm = QK_OWN;
    s.attention.qk_kind = NORM_LAYER;
    stack_build(b, &s);
}

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct cohere2 *o = s->own;
    bool slides = build_layer_is(b, i, "sliding_attention", (i + 1) % o->pattern);

    s->attention.window = slides ? o->window : 0;
    s->attention.rope = slides ? &o->rope : NULL;
}

void family_cohere2(struct build *b)
{
    struct cohere2 o;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_LAYER, "layer_norm_eps", 1e-5);
    o.rope = build_plain_rope(b);
    o.window = build_sliding(b);
    o.pattern = config_size_or(b->c, "sliding_window_pattern", 1, 10000, 4, b->e);
    s = cohere(b, &o.rope);
    s.own = &o;
    s.before_layer = before_layer;
    stack_build(b, &s);
}

struct cohere2_moe {
    struct cohere2 plain; /* pattern: of the layers after the first dense ones */
    struct moe moe;
    uint32_t dense, dense_pattern;
};

static bool is_sparse(struct build *b, const struct cohere2_moe *o, uint32_t i)
{
    return moe_layer_is_sparse(b, i, o->dense);
}

/* The first layers count their pattern from their own beginning, and so do the others. Those without experts rotate though
 * they see everything, where every one of them does. */
static void before_moe_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct cohere2_moe *o = s->own;
    bool by_rule = i < o->dense ? (i + 1) % o->dense_pattern : (i - o->dense + 1) % o->plain.pattern;
    bool slides = build_layer_is(b, i, "sliding_attention", by_rule);

    s->attention.window = slides ? o->plain.window : 0;
    s->attention.rope = s->attention.window || (o->dense_pattern == 1 && !is_sparse(b, o, i)) ? &o->plain.rope : NULL;
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct cohere2_moe *o = s->own;

    if (is_sparse(b, o, b->layer))
        stack_moe(b, &o->moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

static struct moe experts(struct build *b)
{
    const char *score = config_string_or(b->c, "expert_selection_fn", "softmax", b->e);
    const char *joined = config_string_or(b->c, "shared_expert_combination_strategy", "average", b->e);
    struct moe m = moe_named(b);

    m.inter = b->inter;
    m.score = SCORE_TOPK_SOFTMAX;
    m.act = build_activation(b, "hidden_act", ACT_SILU);
    m.shared.inter = moe_shared_inter(b, m.inter);
    m.shared.act = m.act;
    m.averaged = !strcmp(joined, "average");
    if (strcmp(joined, "average") && strcmp(joined, "sum"))
        config_fault(b->c, b->e, "shared_expert_combination_strategy", "\"%.40s\" is not known; average and sum are",
                     joined);
    if (strcmp(score, "softmax") && strcmp(score, "sigmoid"))
        config_fault(b->c, b->e, "expert_selection_fn", "\"%.40s\" is not known; softmax and sigmoid are", score);
    if (!strcmp(score, "sigmoid")) {
        m.score = SCORE_SIGMOID;
        if (config_bool_or(b->c, "norm_topk_prob", true, b->e)) m.flags = ROUTER_NORMALIZE;
    }
    return m;
}

void family_cohere2_moe(struct build *b)
{
    struct cohere2_moe o;
    struct stack s;
    bool rms = config_field(b->c, "rms_norm_eps", false) != NULL;

    build_sizes(b);
    build_norm_kind(b, rms ? NORM_RMS : NORM_LAYER, rms ? "rms_norm_eps" : "layer_norm_eps", 1e-5);
    o.plain.rope = build_plain_rope(b);
    o.plain.window = build_sliding(b);
    o.plain.pattern = config_size_or(b->c, "sliding_window_pattern", 1, 10000, 4, b->e);
    o.dense = config_size_or(b->c, "first_k_dense_replace", 0, 1u << 20, 0, b->e);
    o.dense_pattern = config_size_or(b->c, "prefix_dense_sliding_window_pattern", 1, 10000, 1, b->e);
    o.moe = experts(b);
    s = cohere(b, &o.plain.rope);
    s.mlp.inter = config_size_or(b->c, "prefix_dense_intermediate_size", 1, 1u << 24, b->inter, b->e);
    s.own = &o;
    s.before_layer = before_moe_layer;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static void cohere_config(struct gguf_values *v)
{
    gguf_field_real(v, "logit_scale", "logit_scale", 0.0625);
    gguf_set_flag(v, "use_qk_norm", gguf_layer_has(v, "attn_q_norm.weight"));
}

const struct gguf_family gguf_cohere = {
    .architecture = "command-r",
    .class = "CohereForCausalLM",
    .type = "cohere",
    .config = cohere_config,
};

static void cohere2_config(struct gguf_values *v)
{
    gguf_field_real(v, "logit_scale", "logit_scale", 0.0625);
    gguf_field_int(v, "attention.sliding_window", "sliding_window", 4096);
    gguf_layer_types(v, "sliding_attention", 4);
}

const struct gguf_family gguf_cohere2 = {
    .architecture = "cohere2",
    .class = "Cohere2ForCausalLM",
    .type = "cohere2",
    .config = cohere2_config,
};

static const struct gguf_name cohere2_moe_names[] = {
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static void tell_cohere2_moe(struct gguf_values *v)
{
    const struct config *c = v->tells->config;
    struct error unread = {0};
    const char *joined = config_string_or(c, "shared_expert_combination_strategy", "average", &unread);
    const char *score = config_string_or(c, "expert_selection_fn", "softmax", &unread);

    if (config_size_or(c, "num_shared_experts", 0, 1024, 0, &unread) && strcmp(joined, "average"))
        gguf_tell_cannot(v, "shared_expert_combination_strategy", "a sum of the chosen and the shared experts");
    if (strcmp(score, "sigmoid")) gguf_tell_cannot(v, "expert_selection_fn", "experts chosen by softmax");
    gguf_tell_int(v, "expert_gating_func", 2);
}

/* feed_forward_length is that of the first layers; norms are of the kind whose eps the file has. */
static void cohere2_moe_config(struct gguf_values *v)
{
    double eps;

    if (v->tells) tell_cohere2_moe(v);
    gguf_field_real(v, "logit_scale", "logit_scale", 0.0625);
    gguf_field_int(v, "leading_dense_block_count", "first_k_dense_replace", 0);
    gguf_field_int(v, "expert_shared_count", "num_shared_experts", 0);
    gguf_field_flag(v, "expert_weights_norm", "norm_topk_prob", false);
    gguf_field_int(v, "feed_forward_length", "prefix_dense_intermediate_size", 0);
    if (!gguf_value_real(v, "attention.layer_norm_rms_epsilon", &eps)) gguf_set_none(v, "rms_norm_eps");
    gguf_set_int(v, "intermediate_size", v->expert_inter);
    gguf_set_text(v, "expert_selection_fn", "sigmoid");
    gguf_window(v);
    gguf_layer_types(v, "sliding_attention", 4);
}

const struct gguf_family gguf_cohere2_moe = {
    .architecture = "cohere2moe",
    .class = "Cohere2MoeForCausalLM",
    .type = "cohere2_moe",
    .names = cohere2_moe_names,
    .config = cohere2_moe_config,
};
