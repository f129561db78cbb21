/* dots.llm1: Qwen 3's attention, some layers with a window, and DeepSeek V3's experts. Reference: transformers,
 * modeling_dots1.py. */
#include "coordinator/arch/families/deepseek.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf_tell.h"

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    uint32_t from = config_size_or(b->c, "max_window_layers", 0, CONFIG_SIZE_MAX, 0, b->e);
    bool slides = build_layer_is(b, i, "sliding_attention", i >= from);

    s->attention.window = slides ? build_sliding(b) : 0;
}

void family_dots1(struct build *b)
{
    struct rope_table rope;
    struct deepseek_moe d;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    stack_attention_biases(&s, config_bool_or(b->c, "attention_bias", false, b->e));
    s.attention.norm = QK_HEAD;
    d = deepseek_v3_moe(b);
    s.mlp.act = d.moe.act;
    s.tied = build_tied(b);
    s.own = &d;
    s.before_layer = before_layer;
    s.feed = deepseek_feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name dots_names[] = {
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* llama.cpp has no window for it. */
static void dots_config(struct gguf_values *v)
{
    gguf_deepseek_experts(v);
    for (uint64_t i = 0; v->tells && i < v->layers; i++)
        if (v->tells->slides[i]) gguf_tell_cannot(v, "layer_types", "layers with a window");
}

const struct gguf_family gguf_dots1 = {
    .architecture = "dots1",
    .class = "Dots1ForCausalLM",
    .type = "dots1",
    .names = dots_names,
    .config = dots_config,
};
