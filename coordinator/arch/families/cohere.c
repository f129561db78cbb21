/* Command R and R7B: attention and feed forward side by side from one layer norm, rotary in pairs, scaled logits, tied.
 * R7B rotates only in the layers that slide. Reference: transformers, modeling_cohere.py, modeling_cohere2.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

struct cohere2 {
    struct rope_table rope;
    uint32_t window, pattern;
};

static struct stack cohere(struct build *b, const struct rope_table *rope)
{
    struct stack s = stack_llama(b, rope);

    s.parallel = true;
    s.attention.rope_style = ROPE_PAIRS;
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = s.attention.o_bias =
        config_bool_or(b->c, "attention_bias", false, b->e);
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.logit_mul = (float)config_number_or(b->c, "logit_scale", 0.0625, b->e);
    s.tied = build_tied(b);
    return s;
}

void family_cohere(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_LAYER, "layer_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = cohere(b, &rope);
    if (config_bool_or(b->c, "use_qk_norm", false, b->e)) s.attention.norm = QK_OWN;
    s.attention.qk_kind = NORM_LAYER;
    stack_build(b, &s);
}

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct cohere2 *o = s->own;
    bool slides = build_layer_is(b, i, "sliding_attention", (i + 1) % o->pattern);

    s->attention.window = slides ? o->window : 0;
    s->attention.rope = slides ? &o->rope : NULL;
}

void family_cohere2(struct build *b)
{
    struct cohere2 o;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_LAYER, "layer_norm_eps", 1e-5);
    o.rope = build_plain_rope(b);
    o.window = build_sliding(b);
    o.pattern = config_size_or(b->c, "sliding_window_pattern", 1, 10000, 4, b->e);
    s = cohere(b, &o.rope);
    s.own = &o;
    s.before_layer = before_layer;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static void cohere_config(struct gguf_values *v)
{
    gguf_field_real(v, "logit_scale", "logit_scale", 0.0625);
    gguf_set_flag(v, "use_qk_norm", gguf_layer_has(v, "attn_q_norm.weight"));
}

const struct gguf_family gguf_cohere = {
    .architecture = "command-r",
    .class = "CohereForCausalLM",
    .type = "cohere",
    .config = cohere_config,
};

static void cohere2_config(struct gguf_values *v)
{
    gguf_field_real(v, "logit_scale", "logit_scale", 0.0625);
    gguf_field_int(v, "attention.sliding_window", "sliding_window", 4096);
    gguf_layer_types(v, "sliding_attention", 4);
}

const struct gguf_family gguf_cohere2 = {
    .architecture = "cohere2",
    .class = "Cohere2ForCausalLM",
    .type = "cohere2",
    .config = cohere2_config,
};
