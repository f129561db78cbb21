/* Hunyuan, dense: Llama that norms the heads of q and k once they are rotated, with a theta stretched by alpha. Reference:
 * transformers, modeling_hunyuan_v1_dense.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/stack.h"

void family_hunyuan_dense(struct build *b)
{
    bool bias = config_bool_or(b->c, "attention_bias", false, b->e);
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    if (!config_bool_or(b->c, "use_qk_norm", true, b->e))
        config_fault(b->c, b->e, "use_qk_norm", "false is not supported");
    rope = build_rotary(b, (struct rope_request){.alpha = true});
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = s.attention.o_bias = bias;
    s.attention.norm = QK_HEAD;
    s.attention.norm_last = true;
    s.attention.q_norm = "self_attn.query_layernorm";
    s.attention.k_norm = "self_attn.key_layernorm";
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    stack_build(b, &s);
}
