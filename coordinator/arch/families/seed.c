/* Seed-OSS: Llama with biases on q, k and v, and a switch for the one after attention. Reference: transformers,
 * modeling_seed_oss.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

void family_seed_oss(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = config_bool_or(b->c, "attention_bias", true, b->e);
    s.attention.o_bias = config_bool_or(b->c, "attention_out_bias", false, b->e);
    s.mlp.up_bias = s.mlp.down_bias = config_bool_or(b->c, "mlp_bias", false, b->e);
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name seed_names[] = {
    {"post_attention_norm", "post_attention_layernorm", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static void seed_config(struct gguf_values *v)
{
    gguf_set_flag(v, "attention_out_bias", gguf_layer_has(v, "attn_output.bias"));
}

const struct gguf_family gguf_seed_oss = {
    .architecture = "seed_oss",
    .class = "SeedOssForCausalLM",
    .type = "seed_oss",
    .names = seed_names,
    .config = seed_config,
};
