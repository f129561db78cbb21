/* gpt-oss: attention with sinks and biases, every other layer slides; experts fused, with biases, in MXFP4 as published
 * or in bfloat16. Reference: transformers, modeling_gpt_oss.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

struct gpt_oss {
    struct moe moe;
    uint32_t window;
};

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct gpt_oss *g = s->own;

    s->attention.window = build_layer_is(b, i, "sliding_attention", i % 2 == 0) ? g->window : 0;
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    stack_moe(b, &((struct gpt_oss *)s->own)->moe, dst, src);
}

static struct moe experts(struct build *b)
{
    struct moe m = {.experts = moe_experts(b),
                    .top = moe_experts_chosen(b),
                    .inter = b->inter,
                    .router = "mlp.router",
                    .router_bias = true,
                    .score = SCORE_TOPK_SOFTMAX,
                    .scale = 1,
                    .act = ACT_SWIGLU_OAI,
                    .list = "mlp.experts",
                    .fused_gate_up = "mlp.experts.gate_up_proj",
                    .fused_down = "mlp.experts.down_proj",
                    .fused_gate_up_bias = "mlp.experts.gate_up_proj_bias",
                    .fused_down_bias = "mlp.experts.down_proj_bias",
                    .transposed = true,
                    .interleaved = true,
                    .mxfp4 = b->quant.kind == QUANT_MXFP4};

    m.alpha = (float)config_number_or(b->c, "swiglu_alpha", 1.702, b->e);
    m.limit = (float)config_number_or(b->c, "swiglu_limit", 7, b->e);
    return m;
}

void family_gpt_oss(struct build *b)
{
    bool bias = config_bool_or(b->c, "attention_bias", true, b->e);
    struct rope_table rope;
    struct gpt_oss g = {0};
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    stack_attention_biases(&s, bias);
    s.attention.sinks = "self_attn.sinks";
    s.tied = build_tied(b);
    g.window = config_size_or(b->c, "sliding_window", 1, CONFIG_SIZE_MAX, 0, b->e);
    g.moe = experts(b);
    s.own = &g;
    s.before_layer = before_layer;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name gpt_oss_names[] = {
    {"post_attention_norm", "post_attention_layernorm", GGUF_AS_IS},
    {"attn_sinks", "self_attn.sinks", GGUF_BARE},
    {"ffn_gate_inp", "mlp.router", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* Every other layer slides, and its frequencies are between whole numbers: neither is in its files. */
static void gpt_oss_config(struct gguf_values *v)
{
    json_t *rules = json_object_get(v->out, "rope_scaling");

    if (rules) json_object_set_new(rules, "truncate", json_false());
    gguf_set_int(v, "intermediate_size", v->expert_inter);
    gguf_window(v);
    gguf_layer_types(v, "sliding_attention", 2);
}

const struct gguf_family gguf_gpt_oss = {
    .architecture = "gpt-oss",
    .class = "GptOssForCausalLM",
    .type = "gpt_oss",
    .names = gpt_oss_names,
    .config = gpt_oss_config,
};
