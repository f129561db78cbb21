/* InternLM 2: Llama under other names, q, k and v in one matrix whose rows go by key head. Reference: the model's own
 * modeling_internlm2.py, as published with its weights. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/stack.h"

void family_internlm2(struct build *b)
{
    bool bias = config_bool_or(b->c, "bias", false, b->e);
    struct rope_table rope;
    struct stack s;

    build_names(b, "model.", "layers", "tok_embeddings");
    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.embed = "tok_embeddings";
    s.head = "output";
    s.before_attention = "attention_norm";
    s.before_mlp = "ffn_norm";
    s.attention.qkv = "attention.wqkv";
    s.attention.grouped = true;
    s.attention.o = "attention.wo";
    s.attention.q_bias = s.attention.o_bias = bias;
    s.mlp.gate = "feed_forward.w1";
    s.mlp.up = "feed_forward.w3";
    s.mlp.down = "feed_forward.w2";
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    stack_build(b, &s);
}
