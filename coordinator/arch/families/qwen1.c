/* Qwen 1: Llama under GPT-2's names; intermediate_size counts gate and up together. Its longer contexts, by a theta that
 * grows with the text and q scaled by logarithms, are not offered: a sequence ends at seq_length. Reference: the model's
 * own modeling_qwen.py, as published with its weights. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#include <stdio.h>

void family_qwen1(struct build *b)
{
    struct rope_request q = {0};
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "layer_norm_epsilon", 1e-6);
    b->head_dim = config_size_or(b->c, "kv_channels", 1, 65536, b->head_dim, b->e);
    b->limit = config_size_or(b->c, "seq_length", 1, CONFIG_SIZE_MAX, b->limit, b->e);
    if (b->inter % 2)
        config_fault(b->c, b->e, "intermediate_size", "%u is odd, and counts gate and up together", b->inter);
    b->inter /= 2;
    build_names(b, "transformer.", "h", "wte");
    q.theta_key = "rotary_emb_base";
    q.partial = config_number_or(b->c, "rotary_pct", 1, b->e);
    rope = build_rotary(b, q);
    s = stack_llama(b, &rope);
    s.embed = "wte";
    s.final_norm = "ln_f";
    s.before_attention = "ln_1";
    s.before_mlp = "ln_2";
    s.attention.qkv = "attn.c_attn";
    s.attention.q_bias = true;
    s.attention.o = "attn.c_proj";
    s.mlp.gate = "mlp.w2";
    s.mlp.up = "mlp.w1";
    s.mlp.down = "mlp.c_proj";
    s.attention.o_bias = s.mlp.up_bias = s.mlp.down_bias = !config_bool_or(b->c, "no_bias", true, b->e);
    s.tied = build_tied(b);
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name qwen1_names[] = {
    {"attn_norm", "ln_1", GGUF_AS_IS},       {"ffn_norm", "ln_2", GGUF_AS_IS},
    {"attn_qkv", "attn.c_attn", GGUF_AS_IS}, {"attn_output", "attn.c_proj", GGUF_AS_IS},
    {"ffn_gate", "mlp.w2", GGUF_AS_IS},      {"ffn_up", "mlp.w1", GGUF_AS_IS},
    {"ffn_down", "mlp.c_proj", GGUF_AS_IS},  {NULL, NULL, 0},
};

static void qwen1_config(struct gguf_values *v)
{
    gguf_field_real(v, "attention.layer_norm_rms_epsilon", "layer_norm_epsilon", 1e-6);
    gguf_field_real(v, "rope.freq_base", "rotary_emb_base", 10000);
    gguf_field_int(v, "context_length", "seq_length", 2048);
    gguf_set_int(v, "kv_channels", v->head_dim);
    gguf_set_flag(v, "no_bias", true);
}

const struct gguf_family gguf_qwen1 = {
    .architecture = "qwen",
    .class = "QWenLMHeadModel",
    .type = "qwen",
    .names = qwen1_names,
    .prefix = "transformer.",
    .layers = "h",
    .embed = "wte",
    .norm = "ln_f",
    .config = qwen1_config,
};
