/* SmolLM 3: Llama of which every fourth layer does not rotate. Reference: transformers, modeling_smollm3.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

struct smollm {
    struct rope_table rope;
    uint32_t window, interval;
};

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct smollm *o = s->own;
    bool rotates = config_list_int(b->c, "no_rope_layers", i, (i + 1) % o->interval != 0, b->e) != 0;

    s->attention.rope = rotates ? &o->rope : NULL;
    s->attention.window = build_layer_is(b, i, "sliding_attention", !rotates) ? o->window : 0;
}

void family_smollm3(struct build *b)
{
    struct smollm o = {0};
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    o.rope = build_plain_rope(b);
    o.interval = config_size_or(b->c, "no_rope_layer_interval", 1, 10000, 4, b->e);
    if (config_bool_or(b->c, "use_sliding_window", false, b->e))
        o.window = config_size_or(b->c, "sliding_window", 1, CONFIG_SIZE_MAX, 0, b->e);
    s = stack_llama(b, &o.rope);
    stack_attention_biases(&s, config_bool_or(b->c, "attention_bias", false, b->e));
    s.mlp.up_bias = s.mlp.down_bias = config_bool_or(b->c, "mlp_bias", false, b->e);
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    s.own = &o;
    s.before_layer = before_layer;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

/* Which layers do not rotate is not in its files. */
static void smollm3_config(struct gguf_values *v)
{
    gguf_set_int(v, "no_rope_layer_interval", 4);
    gguf_set_flag(v, "use_sliding_window", false);
}

const struct gguf_family gguf_smollm3 = {
    .architecture = "smollm3",
    .class = "SmolLM3ForCausalLM",
    .type = "smollm3",
    .changes = {.qk_pairs = true},
    .config = smollm3_config,
};
