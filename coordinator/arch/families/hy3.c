/* HY 3: Qwen 3's attention and DeepSeek V3's choice of experts, under names of its own; its first layer has none.
 * Reference: transformers, modeling_hy_v3.py. */
#include "coordinator/arch/families/deepseek.h"
#include "coordinator/arch/family.h"

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
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = s.attention.o_bias =
        config_bool_or(b->c, "attention_bias", false, b->e);
    s.attention.norm = QK_HEAD;
    d = experts(b);
    s.mlp.act = d.moe.act;
    s.mlp.up_bias = s.mlp.down_bias = d.moe.shared.up_bias;
    s.tied = build_tied(b);
    s.own = &d;
    s.feed = deepseek_feed;
    stack_build(b, &s);
}
