/* Ministral 3: Mistral whose q grows with the position, by 1 + beta log(1 + floor(position / original positions)).
 * Reference: transformers, modeling_ministral3.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/stack.h"

void family_ministral3(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_rotary(b, (struct rope_request){.tunes = true});
    s = stack_llama(b, &rope);
    s.attention.window = build_sliding(b);
    s.attention.tune_mul = rope.tune_mul;
    s.attention.tune_floor = rope.tune_floor;
    s.attention.tune_zero = true;
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    stack_build(b, &s);
}
