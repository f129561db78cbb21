/* Llama 1 to 3.x and what is Llama in all but name (Yi, Mistral, Vicuna, Qwen 2 with biases, Qwen 3 with norms of q and
 * k): pre-norm, rotary by halves, gated silu. Reference: transformers, modeling_llama.py and its kin. */
#include "coordinator/model/family.h"
#include "coordinator/model/stack.h"

static const struct build_defaults llama_defaults = {4096, 32, 32000, 32, 0, 0, 11008, 2048};
static const struct build_defaults mistral_defaults = {4096, 32, 32000, 32, 8, 0, 14336, 131072};

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
    /* null is none; a config that does not speak of it has the window of the first Mistral (configuration_mistral.py) */
    if (!json_object_get(b->c->text, "sliding_window")) s.attention.window = 4096;
    else s.attention.window = config_size_or(b->c, "sliding_window", 1, CONFIG_SIZE_MAX, 0, b->e);
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

    build_sizes(b, NULL);
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

    build_sizes(b, NULL);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = s.attention.o_bias = bias;
    s.attention.norm = QK_HEAD;
    qwen(b, &s);
}
