/* StarCoder 2: layer norms and biases everywhere, a plain feed forward with gelu. Reference: transformers,
 * modeling_starcoder2.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

void family_starcoder2(struct build *b)
{
    struct rope_table rope;
    struct stack s;
    bool bias = config_bool_or(b->c, "use_bias", true, b->e);

    build_sizes(b);
    build_norm_kind(b, NORM_LAYER, "norm_epsilon", 1e-5);
    b->norm_bias = true;
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    stack_attention_biases(&s, bias);
    s.attention.window = build_sliding(b);
    s.mlp = (struct mlp){.up = "mlp.c_fc", .down = "mlp.c_proj", .up_bias = bias, .down_bias = bias, .inter = b->inter};
    s.mlp.act = build_activation(b, "hidden_act", ACT_GELU_TANH);
    s.tied = build_tied(b);
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name starcoder2_names[] = {
    {"ffn_up", "mlp.c_fc", GGUF_AS_IS},
    {"ffn_down", "mlp.c_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* The window is not in its files. */
static void starcoder2_config(struct gguf_values *v)
{
    gguf_field_real(v, "attention.layer_norm_epsilon", "norm_epsilon", 1e-5);
    gguf_set_flag(v, "use_bias", gguf_layer_has(v, "attn_output.bias"));
    gguf_set_text(v, "hidden_act", "gelu_pytorch_tanh");
}

const struct gguf_family gguf_starcoder2 = {
    .architecture = "starcoder2",
    .class = "Starcoder2ForCausalLM",
    .type = "starcoder2",
    .names = starcoder2_names,
    .config = starcoder2_config,
};
