/* Ernie 4.5: Llama that rotates in pairs, alone or with experts in some of its layers. Reference: transformers,
 * modeling_ernie4_5.py, modeling_ernie4_5_moe.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

static struct stack ernie(struct build *b, struct rope_table *rope)
{
    bool bias = config_bool_or(b->c, "use_bias", false, b->e);
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    *rope = build_plain_rope(b);
    s = stack_llama(b, rope);
    s.attention.rope_style = ROPE_PAIRS;
    stack_attention_biases(&s, bias);
    s.mlp.up_bias = s.mlp.down_bias = bias;
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    return s;
}

void family_ernie45(struct build *b)
{
    struct rope_table rope;
    struct stack s = ernie(b, &rope);

    stack_build(b, &s);
}

struct ernie_moe {
    struct moe moe;
    uint32_t first, last, interval; /* layers with experts */
};

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct ernie_moe *o = s->own;

    if ((b->layer + 1) % o->interval == 0 && b->layer >= o->first && b->layer <= o->last)
        stack_moe(b, &o->moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

static struct moe experts(struct build *b, const struct mlp *mlp)
{
    struct moe m = moe_named(b);

    m.correction = "mlp.moe_statics.e_score_correction_bias";
    m.flags = ROUTER_NORMALIZE | ROUTER_LEAST_SUM;
    m.act = m.shared.act = mlp->act;
    m.shared.up_bias = mlp->up_bias;
    m.shared.down_bias = mlp->down_bias;
    m.inter = config_size(b->c, "moe_intermediate_size", 1, 1u << 24, b->e);
    m.shared.inter = moe_shared_inter(b, m.inter);
    m.norm_eps = (float)config_number_or(b->c, "moe_norm_min", 1e-12, b->e);
    return m;
}

static uint32_t last_layer(struct build *b)
{
    const json_t *v = config_field(b->c, "moe_layer_end_index", false);
    int64_t n = -1;

    if (v && (!json_whole(v, &n) || n < -1 || n > UINT32_MAX))
        config_fault(b->c, b->e, "moe_layer_end_index", "it is neither a layer's number nor -1, which means the last");
    return n < 0 ? UINT32_MAX : (uint32_t)n;
}

void family_ernie45_moe(struct build *b)
{
    struct rope_table rope;
    struct stack s = ernie(b, &rope);
    struct ernie_moe o = {.moe = experts(b, &s.mlp)};

    o.first = config_size_or(b->c, "moe_layer_start_index", 0, 1u << 20, 1, b->e);
    o.interval = config_size_or(b->c, "moe_layer_interval", 1, 1u << 20, 1, b->e);
    o.last = last_layer(b);
    s.head_bias = s.mlp.up_bias;
    s.own = &o;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static void ernie_config(struct gguf_values *v)
{
    gguf_set_flag(v, "use_bias", gguf_layer_has(v, "attn_q.bias"));
}

const struct gguf_family gguf_ernie45 = {
    .architecture = "ernie4_5",
    .class = "Ernie4_5ForCausalLM",
    .type = "ernie4_5",
    .config = ernie_config,
};

static const struct gguf_name ernie_moe_names[] = {
    {"exp_probs_b", "mlp.moe_statics.e_score_correction_bias", GGUF_BARE},
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* The last layer has experts in every file. */
static void ernie_moe_config(struct gguf_values *v)
{
    const json_t *last = v->tells ? config_field(v->tells->config, "moe_layer_end_index", false) : NULL;

    if (json_integer_value(last) >= 0 && last && (uint64_t)json_integer_value(last) + 1 < v->layers)
        gguf_tell_cannot(v, "moe_layer_end_index", "layers without experts behind those that have them");
    ernie_config(v);
    gguf_field_int(v, "interleave_moe_layer_step", "moe_layer_interval", 1);
    gguf_field_int(v, "leading_dense_block_count", "moe_layer_start_index", 1);
    gguf_field_int(v, "expert_shared_count", "moe_num_shared_experts", 0);
    gguf_set(v, "moe_layer_end_index", json_integer(-1));
}

const struct gguf_family gguf_ernie45_moe = {
    .architecture = "ernie4_5-moe",
    .class = "Ernie4_5_MoeForCausalLM",
    .type = "ernie4_5_moe",
    .names = ernie_moe_names,
    .config = ernie_moe_config,
};
