/* OLMo 1 to 3 and OLMoE. OLMo 1: layer norms without weights, q, k and v clipped. OLMo 2: norms after the blocks instead of
 * before, and over all of q and k. OLMo 3: the same with layers that slide, whose rotation no rules stretch. Reference:
 * transformers, modeling_olmo.py, modeling_olmo2.py, modeling_olmo3.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

#define OLMO_EPS 1e-5f /* of its norms; no field says it */

static bool attention_bias(struct build *b)
{
    return config_bool_or(b->c, "attention_bias", false, b->e);
}

/* Of q, k and v; 0: they are not clipped. */
static float clip_of(struct build *b)
{
    double clip = config_number_or(b->c, "clip_qkv", 0, b->e);

    if (config_field(b->c, "clip_qkv", false) && !(clip > 0))
        config_fault(b->c, b->e, "clip_qkv", "%g is out of range, it must be greater than 0", clip);
    return (float)clip;
}

void family_olmo(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    b->norm_kind = NORM_LAYER;
    b->eps = OLMO_EPS;
    b->norm_bare = true;
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.clip = clip_of(b);
    stack_attention_biases(&s, attention_bias(b));
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    stack_build(b, &s);
}

struct olmo3 {
    struct rope_table full, sliding;
    uint32_t window;
};

static void olmo3_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct olmo3 *o = s->own;
    bool slides = build_layer_is(b, i, "sliding_attention", (i + 1) % 4);

    s->attention.window = slides ? o->window : 0;
    s->attention.rope = slides ? &o->sliding : &o->full;
}

static struct stack olmo2(struct build *b, const struct rope_table *rope)
{
    struct stack s = stack_llama(b, rope);

    s.before_attention = s.before_mlp = NULL;
    s.after_attention = "post_attention_layernorm";
    s.after_mlp = "post_feedforward_layernorm";
    s.attention.norm = QK_FULL;
    stack_attention_biases(&s, attention_bias(b));
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    return s;
}

void family_olmo2(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = olmo2(b, &rope);
    stack_build(b, &s);
}

void family_olmo3(struct build *b)
{
    struct olmo3 o;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    o.full = build_rotary(b, (struct rope_request){.layer_type = "full_attention"});
    o.sliding = build_rotary(b, (struct rope_request){.layer_type = "sliding_attention"});
    o.window = build_sliding(b);
    s = olmo2(b, &o.full);
    s.own = &o;
    s.before_layer = olmo3_layer;
    stack_build(b, &s);
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    stack_moe(b, s->own, dst, src);
}

/* OLMoE: Llama with experts, and norms over all of q and k. Reference: modeling_olmoe.py. */
void family_olmoe(struct build *b)
{
    struct rope_table rope;
    struct stack s;
    struct moe m = {.router = "mlp.gate",
                    .score = SCORE_SOFTMAX,
                    .scale = 1,
                    .list = "mlp.experts",
                    .gate = "gate_proj",
                    .up = "up_proj",
                    .down = "down_proj"};

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.norm = QK_FULL;
    stack_attention_biases(&s, attention_bias(b));
    s.tied = build_tied(b);
    if (config_field(b->c, "clip_qkv", false))
        config_fault(b->c, b->e, "clip_qkv", "clipping q, k and v behind their norms is not supported");
    m.experts = moe_experts(b);
    m.top = moe_experts_chosen(b);
    m.inter = b->inter;
    m.act = build_activation(b, "hidden_act", ACT_SILU);
    if (config_bool_or(b->c, "norm_topk_prob", false, b->e)) m.flags = ROUTER_NORMALIZE;
    s.own = &m;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static void olmo_config(struct gguf_values *v)
{
    double eps = (double)OLMO_EPS, clip;

    gguf_tell_real(v, "attention.layer_norm_epsilon", eps);
    gguf_value_real(v, "attention.layer_norm_epsilon", &eps);
    if ((float)eps != OLMO_EPS) gguf_refuse(v, "attention.layer_norm_epsilon", "%g is not that of OLMo, 1e-5", eps);
    gguf_tell_field(v, "attention.clamp_kqv", "clip_qkv");
    if (gguf_value_real(v, "attention.clamp_kqv", &clip) && clip != 0) gguf_set_real(v, "clip_qkv", clip);
}

const struct gguf_family gguf_olmo = {
    .architecture = "olmo",
    .class = "OlmoForCausalLM",
    .type = "olmo",
    .changes = {.qk_pairs = true},
    .config = olmo_config,
};

static const struct gguf_name olmo2_names[] = {
    {"post_attention_norm", "post_attention_layernorm", GGUF_AS_IS},
    {"post_ffw_norm", "post_feedforward_layernorm", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static const char *const olmo2_also[] = {"Olmo3ForCausalLM", NULL};

/* OLMo 3 says olmo2 too: it is the one that slides. */
static void olmo2_config(struct gguf_values *v)
{
    uint64_t window = 0;

    gguf_value_int(v, "attention.sliding_window", &window);
    if (!window && !gguf_tell_slides(v)) return;
    gguf_set(v, "architectures", json_pack("[s]", "Olmo3ForCausalLM"));
    gguf_set_text(v, "model_type", "olmo3");
    gguf_layer_types(v, "sliding_attention", 4);
    gguf_window(v);
}

const struct gguf_family gguf_olmo2 = {
    .architecture = "olmo2",
    .class = "Olmo2ForCausalLM",
    .type = "olmo2",
    .also = olmo2_also,
    .names = olmo2_names,
    .config = olmo2_config,
};

static void olmoe_config(struct gguf_values *v)
{
    double clip;

    gguf_set_int(v, "intermediate_size", v->expert_inter);
    gguf_set_flag(v, "norm_topk_prob", false);
    if (gguf_value_real(v, "attention.clamp_kqv", &clip)) gguf_set_real(v, "clip_qkv", clip);
}

const struct gguf_family gguf_olmoe = {
    .architecture = "olmoe",
    .class = "OlmoeForCausalLM",
    .type = "olmoe",
    .config = olmoe_config,
};
