/* HY 3: Qwen 3's attention and DeepSeek V3's choice of experts, under names of its own; its first layer has none.
 * Reference: transformers, modeling_hy_v3.py. */
#include "coordinator/arch/families/deepseek.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf_tell.h"

static struct deepseek_moe experts(struct build *b)
{
    struct deepseek_moe d = deepseek_v3_moe(b);

    d.dense_layers = config_size_or(b->c, "first_k_dense_replace", 0, 1u << 20, 1, b->e);
    d.moe.router = "mlp.router.gate";
    d.moe.correction = "mlp.expert_bias";
    d.moe.flags = ROUTER_NORMALIZE;
    d.moe.groups = d.moe.top_groups = 0;
    d.moe.scale = (float)config_number_or(b->c, "router_scaling_factor", 1, b->e);
    d.moe.shared.gate = "mlp.shared_mlp.gate_proj";
    d.moe.shared.up = "mlp.shared_mlp.up_proj";
    d.moe.shared.down = "mlp.shared_mlp.down_proj";
    d.moe.shared.up_bias = d.moe.shared.down_bias = config_bool_or(b->c, "mlp_bias", false, b->e);
    return d;
}

void family_hy_v3(struct build *b)
{
    struct rope_table rope;
    struct deepseek_moe d;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    stack_attention_biases(&s, config_bool_or(b->c, "attention_bias", false, b->e));
    s.attention.norm = QK_HEAD;
    d = experts(b);
    s.mlp.act = d.moe.act;
    s.mlp.up_bias = s.mlp.down_bias = d.moe.shared.up_bias;
    s.tied = build_tied(b);
    s.own = &d;
    s.feed = deepseek_feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name hy_names[] = {
    {"ffn_gate_inp", "mlp.router.gate", GGUF_AS_IS},
    {"exp_probs_b", "mlp.expert_bias", GGUF_AS_IS},
    {"ffn_gate_shexp", "mlp.shared_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "mlp.shared_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "mlp.shared_mlp.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* How many shared ones there are is in the width of them all. */
static void hy_config(struct gguf_values *v)
{
    uint64_t shared = 0;

    if (v->tells) {
        struct error unread = {0};

        shared = config_size_or(v->tells->config, "num_shared_experts", 0, 1024, 0, &unread);
        gguf_tell_int(v, "expert_shared_feed_forward_length", shared * v->expert_inter);
        gguf_tell_flag(v, "expert_weights_norm", true);
        gguf_tell_int(v, "expert_gating_func", 2);
    }
    gguf_value_int(v, "expert_shared_feed_forward_length", &shared);
    gguf_set_int(v, "num_shared_experts", v->expert_inter ? shared / v->expert_inter : 0);
    gguf_field_real(v, "expert_weights_scale", "router_scaling_factor", 1);
    gguf_field_int(v, "leading_dense_block_count", "first_k_dense_replace", 1);
}

const struct gguf_family gguf_hy_v3 = {
    .architecture = "hy_v3",
    .class = "HYV3ForCausalLM",
    .type = "hy_v3",
    .names = hy_names,
    .config = hy_config,
};
