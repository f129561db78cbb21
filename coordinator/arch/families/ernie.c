/* Ernie 4.5: Llama that rotates in pairs. Reference: transformers, modeling_ernie4_5.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

void family_ernie45(struct build *b)
{
    struct rope_table rope;
    struct stack s;
    bool bias = config_bool_or(b->c, "use_bias", false, b->e);

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.rope_style = ROPE_PAIRS;
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = s.attention.o_bias = bias;
    s.mlp.up_bias = s.mlp.down_bias = bias;
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
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
