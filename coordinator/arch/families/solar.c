/* Solar Open: Llama with DeepSeek V3's experts in every layer. Reference: transformers, modeling_solar_open.py. */
#include "coordinator/arch/families/deepseek.h"
#include "coordinator/arch/family.h"

void family_solar_open(struct build *b)
{
    struct rope_table rope;
    struct deepseek_moe d;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = config_bool_or(b->c, "attention_bias", false, b->e);
    d = deepseek_v3_moe(b);
    d.dense_layers = 0;
    s.tied = build_tied(b);
    s.own = &d;
    s.feed = deepseek_feed;
    stack_build(b, &s);
}
