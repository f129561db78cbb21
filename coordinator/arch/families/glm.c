/* GLM-4.5 (below), and GLM-4-9b and GLM-4-0414 in the layout of transformers: half of a head rotates, in pairs; one matrix for gate and up;
 * the later one norms the outputs of its blocks too. Reference: transformers, modeling_glm.py, modeling_glm4.py. */
#include "coordinator/arch/families/deepseek.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/stack.h"

static struct stack glm(struct build *b, struct rope_table *rope)
{
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1.5625e-7);
    *rope = build_rotary(b, (struct rope_request){.partial = 0.5, .partial_key = true});
    s = stack_llama(b, rope);
    s.attention.rope_style = ROPE_PAIRS;
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = config_bool_or(b->c, "attention_bias", true, b->e);
    s.mlp.gate_up = "mlp.gate_up_proj";
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    return s;
}

void family_glm(struct build *b)
{
    struct rope_table rope;
    struct stack s = glm(b, &rope);

    stack_build(b, &s);
}

void family_glm4(struct build *b)
{
    struct rope_table rope;
    struct stack s = glm(b, &rope);

    s.after_attention = "post_self_attn_layernorm";
    s.after_mlp = "post_mlp_layernorm";
    stack_build(b, &s);
}

/* GLM-4.5 and 4.6: Llama whose heads rotate by halves, in part, with DeepSeek V3's experts. Reference:
 * modeling_glm4_moe.py. */
void family_glm4_moe(struct build *b)
{
    struct rope_table rope;
    struct deepseek_moe d;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_rotary(b, (struct rope_request){.partial = 0.5, .partial_key = true});
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = config_bool_or(b->c, "attention_bias", false, b->e);
    if (config_bool_or(b->c, "use_qk_norm", false, b->e)) s.attention.norm = QK_HEAD;
    d = deepseek_v3_moe(b);
    s.mlp.act = d.moe.act;
    s.tied = build_tied(b);
    s.own = &d;
    s.feed = deepseek_feed;
    stack_build(b, &s);
}
