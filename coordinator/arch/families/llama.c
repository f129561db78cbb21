/* Llama 1 to 3.x and what is Llama in all but name (Yi, Mistral, Vicuna, Qwen 2 with biases, Qwen 3 with norms of q and
 * k): pre-norm, rotary by halves, gated silu. Reference: transformers, modeling_llama.py and its kin. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/stack.h"

static const struct build_defaults llama_defaults = {
    .hidden = 4096, .layers = 32, .vocab = 32000, .heads = 32, .inter = 11008};
static const struct build_defaults mistral_defaults = {
    .hidden = 4096, .layers = 32, .vocab = 32000, .heads = 32, .inter = 14336, .kv_heads = 8, .limit = 131072};
static const struct build_defaults qwen2_defaults = {.kv_heads = 32, .limit = 32768};
static const struct build_defaults qwen3_defaults = {.kv_heads = 32, .head_dim = 128, .limit = 32768};

/* Yi's first folders call the norms so. */
static void older_names(struct build *b, struct stack *s)
{
    build_layer(b, 0);
    if (build_has(b, "input_layernorm.weight") || !build_has(b, "ln1.weight")) return;
    s->before_attention = "ln1";
    s->before_mlp = "ln2";
}

void family_llama(struct build *b)
{
    struct rope_table rope;
    struct stack s;
    bool bias = config_bool_or(b->c, "attention_bias", false, b->e);

    build_sizes(b, &llama_defaults);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = s.attention.o_bias = bias;
    s.mlp.up_bias = s.mlp.down_bias = config_bool_or(b->c, "mlp_bias", false, b->e);
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b, false);
    older_names(b, &s);
    stack_build(b, &s);
}

void family_mistral(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b, &mistral_defaults);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.window = build_sliding(b, 4096); /* of the first Mistral */
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b, false);
    stack_build(b, &s);
}

static void qwen_window(struct build *b, struct stack *s, uint32_t i)
{
    s->attention.window = build_window(b, i);
}

static void qwen(struct build *b, struct stack *s)
{
    s->before_layer = qwen_window;
    s->mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s->tied = build_tied(b, false);
    stack_build(b, s);
}

void family_qwen2(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b, &qwen2_defaults);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = true;
    qwen(b, &s);
}

void family_qwen3(struct build *b)
{
    struct rope_table rope;
    struct stack s;
    bool bias = config_bool_or(b->c, "attention_bias", false, b->e);

    build_sizes(b, &qwen3_defaults);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = s.attention.o_bias = bias;
    s.attention.norm = QK_HEAD;
    qwen(b, &s);
}
