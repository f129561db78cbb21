/* Phi 1, 1.5 and 2: attention and feed forward side by side from one layer norm, biases everywhere, a part of a head rotates.
 * Reference: transformers, modeling_phi.py. Phi 3, 3.5 and 4: Llama with one matrix for q, k and v and one for gate and up; longrope, partial rotation. Reference:
 * transformers, modeling_phi3.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

void family_phi(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_LAYER, "layer_norm_eps", 1e-5);
    b->norm_bias = true;
    if (config_bool_or(b->c, "qk_layernorm", false, b->e))
        config_fault(b->c, b->e, "qk_layernorm", "true is not supported");
    rope = build_rotary(b, (struct rope_request){.partial = 0.5, .partial_key = true});
    s = stack_llama(b, &rope);
    s.final_norm = "final_layernorm";
    s.parallel = true;
    s.attention.o = "self_attn.dense";
    stack_attention_biases(&s, true);
    s.mlp = (struct mlp){.up = "mlp.fc1", .down = "mlp.fc2", .up_bias = true, .down_bias = true, .inter = b->inter};
    s.mlp.act = build_activation(b, "hidden_act", ACT_GELU_TANH);
    s.head_bias = true;
    s.tied = build_tied(b);
    stack_build(b, &s);
}

void family_phi3(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_rotary(b, (struct rope_request){.partial_key = true, .trained = 4096, .longrope = true});
    s = stack_llama(b, &rope);
    s.attention.qkv = "self_attn.qkv_proj";
    s.attention.window = build_sliding(b);
    s.mlp.gate_up = "mlp.gate_up_proj";
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name phi3_names[] = {
    {"attn_qkv", "self_attn.qkv_proj", GGUF_AS_IS},
    {"ffn_up", "mlp.gate_up_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* The window is its makers'; 0 means none. */
const struct gguf_family gguf_phi3 = {
    .architecture = "phi3",
    .class = "Phi3ForCausalLM",
    .type = "phi3",
    .names = phi3_names,
    .partial = true,
    .config = gguf_window,
};

static const struct gguf_name phi2_names[] = {
    {"attn_output", "self_attn.dense", GGUF_AS_IS},
    {"ffn_up", "mlp.fc1", GGUF_AS_IS},
    {"ffn_down", "mlp.fc2", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static void phi2_config(struct gguf_values *v)
{
    gguf_set_text(v, "hidden_act", "gelu_new");
}

const struct gguf_family gguf_phi2 = {
    .architecture = "phi2",
    .class = "PhiForCausalLM",
    .type = "phi",
    .names = phi2_names,
    .norm = "final_layernorm",
    .partial = true,
    .config = phi2_config,
};
