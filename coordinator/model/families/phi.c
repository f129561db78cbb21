/* Phi 3, 3.5 and 4: Llama with one matrix for q, k and v and one for gate and up; longrope, partial rotation. Reference:
 * transformers, modeling_phi3.py. */
#include "coordinator/model/family.h"
#include "coordinator/model/stack.h"

void family_phi3(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b, NULL);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.qkv = "self_attn.qkv_proj";
    s.attention.window = config_size_or(b->c, "sliding_window", 1, CONFIG_SIZE_MAX, 0, b->e);
    s.mlp.gate_up = "mlp.gate_up_proj";
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b, false);
    stack_build(b, &s);
}
