/* StableLM 3B, 2 1.6B and 2 12B: layer norms with biases, a quarter of a head rotates; the 12B norms each head of q and k
 * and puts its blocks side by side. Reference: transformers, modeling_stablelm.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

void family_stablelm(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_LAYER, "layer_norm_eps", 1e-5);
    b->norm_bias = true;
    rope = build_rotary(b, (struct rope_request){.partial = 0.25, .partial_key = true});
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = config_bool_or(b->c, "use_qkv_bias", false, b->e);
    if (config_bool_or(b->c, "qk_layernorm", false, b->e)) s.attention.norm = QK_LIST;
    s.attention.qk_kind = NORM_LAYER;
    s.attention.q_norm = "self_attn.q_layernorm";
    s.attention.k_norm = "self_attn.k_layernorm";
    s.parallel = config_bool_or(b->c, "use_parallel_residual", false, b->e);
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name stablelm_names[] = {
    {"attn_q_norm", "self_attn.q_layernorm", GGUF_BY_HEAD},
    {"attn_k_norm", "self_attn.k_layernorm", GGUF_BY_HEAD},
    {NULL, NULL, 0},
};

static void stablelm_config(struct gguf_values *v)
{
    gguf_set_flag(v, "use_qkv_bias", gguf_layer_has(v, "attn_q.bias"));
    gguf_set_flag(v, "qk_layernorm", gguf_layer_has(v, "attn_q_norm.weight"));
    gguf_field_flag(v, "use_parallel_residual", "use_parallel_residual", !gguf_layer_has(v, "ffn_norm.weight"));
}

const struct gguf_family gguf_stablelm = {
    .architecture = "stablelm",
    .class = "StableLmForCausalLM",
    .type = "stablelm",
    .names = stablelm_names,
    .partial = true,
    .config = stablelm_config,
};
