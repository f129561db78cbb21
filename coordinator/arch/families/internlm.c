/* InternLM 2: Llama under other names, q, k and v in one matrix whose rows go by key head. Reference: the model's own
 * modeling_internlm2.py, as published with its weights. InternLM 3: Llama with biases of its own; transformers,
 * configuration_internlm3.py, and modeling_internlm3.py, as published with its weights. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
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
    build_layer(b, 0);
    if (!build_has(b, "self_attn.q_proj.weight")) { /* GGUF files have them apart */
        s.attention.qkv = "attention.wqkv";
        s.attention.grouped = true;
    }
    s.attention.o = "attention.wo";
    stack_attention_biases(&s, bias);
    s.mlp.gate = "feed_forward.w1";
    s.mlp.up = "feed_forward.w3";
    s.mlp.down = "feed_forward.w2";
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    stack_build(b, &s);
}

/* qkv_bias is of q, k and v, bias of all other matrices; folders that transformers has saved say attention_bias and mlp_bias. */
void family_internlm3(struct build *b)
{
    bool all = config_bool_or(b->c, config_gives(b->c, "bias") ? "bias" : "mlp_bias", false, b->e);
    bool qkv = config_bool_or(b->c, config_gives(b->c, "qkv_bias") ? "qkv_bias" : "attention_bias", false, b->e);
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = qkv;
    s.attention.o_bias = s.mlp.up_bias = s.mlp.down_bias = all;
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name internlm2_names[] = {
    {"attn_norm", "attention_norm", GGUF_AS_IS},
    {"ffn_norm", "ffn_norm", GGUF_AS_IS},
    {"attn_output", "attention.wo", GGUF_AS_IS},
    {"ffn_gate", "feed_forward.w1", GGUF_AS_IS},
    {"ffn_up", "feed_forward.w3", GGUF_AS_IS},
    {"ffn_down", "feed_forward.w2", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static void internlm2_config(struct gguf_values *v)
{
    gguf_set_flag(v, "bias", gguf_layer_has(v, "attn_q.bias"));
}

/* InternLM 3's files say llama. */
const struct gguf_family gguf_internlm2 = {
    .architecture = "internlm2",
    .class = "InternLM2ForCausalLM",
    .type = "internlm2",
    .names = internlm2_names,
    .embed = "tok_embeddings",
    .head = "output",
    .changes = {.qk_pairs = true},
    .config = internlm2_config,
};
