/* OLMo 2: norms after the blocks instead of before, and over all of q and k. Reference: transformers, modeling_olmo2.py. */
#include "coordinator/model/family.h"
#include "coordinator/model/stack.h"

void family_olmo2(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b, NULL);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.before_attention = s.before_mlp = NULL;
    s.after_attention = "post_attention_layernorm";
    s.after_mlp = "post_feedforward_layernorm";
    s.attention.norm = QK_FULL;
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = s.attention.o_bias = config_bool_or(b->c, "attention_bias", false, b->e);
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b, false);
    stack_build(b, &s);
}
