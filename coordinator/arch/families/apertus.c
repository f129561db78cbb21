/* Apertus: Llama without a gate, xIELU as its activation, the heads of q and k normed. Reference: transformers,
 * modeling_apertus.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#include <string.h>

void family_apertus(struct build *b)
{
    bool bias = config_bool_or(b->c, "attention_bias", false, b->e);
    const char *act = config_string_or(b->c, "hidden_act", "xielu", b->e);
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.before_attention = "attention_layernorm";
    s.before_mlp = "feedforward_layernorm";
    stack_attention_biases(&s, bias);
    s.attention.norm = QK_HEAD;
    s.mlp.gate = NULL;
    if (!strcmp(act, "xielu"))
        s.mlp.xielu = "mlp.act_fn";
    else
        s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    stack_build(b, &s);
}

/* ---- as GGUF: the numbers of its activation are values there, a list with one for each layer ---- */

static const struct gguf_name names[] = {
    {"attn_norm", "attention_layernorm", GGUF_AS_IS},
    {"ffn_norm", "feedforward_layernorm", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static const struct gguf_name numbers[] = {
    {"xielu.alpha_p", "mlp.act_fn.alpha_p", GGUF_BARE},
    {"xielu.alpha_n", "mlp.act_fn.alpha_n", GGUF_BARE},
    {"xielu.beta", "mlp.act_fn.beta", GGUF_BARE},
    {"xielu.eps", "mlp.act_fn.eps", GGUF_BARE},
    {NULL, NULL, 0},
};

static void apertus_config(struct gguf_values *v)
{
    gguf_set_text(v, "hidden_act", "xielu");
    gguf_plain_rotary(v);
}

const struct gguf_family gguf_apertus = {
    .architecture = "apertus",
    .class = "ApertusForCausalLM",
    .type = "apertus",
    .names = names,
    .numbers = numbers,
    .unwritten = true,
    .config = apertus_config,
};
