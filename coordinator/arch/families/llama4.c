/* Llama 4: three of four layers rotate in pairs, norm q and k afterwards and attend within chunks; the fourth does none
 * of it and grows q with the position. Experts take their input times the router's weight, beside a shared one.
 * Reference: transformers, modeling_llama4.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

struct llama4 {
    struct moe moe;
    struct rope_table rope;
    uint32_t chunk, interval, step;
    float tune_mul, tune_floor; /* of layers that do not rotate */
    bool normed;
};

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct llama4 *l = s->own;
    bool rotates = config_list_int(b->c, "no_rope_layers", i, (i + 1) % l->interval != 0, b->e) != 0;

    s->attention.rope = rotates ? &l->rope : NULL;
    s->attention.norm = rotates && l->normed ? QK_HEAD : QK_NONE;
    s->attention.chunk = build_layer_is(b, i, "chunked_attention", rotates) ? l->chunk : 0;
    s->attention.tune_mul = rotates ? 0 : l->tune_mul;
    s->attention.tune_floor = l->tune_floor;
}

static bool is_sparse(struct build *b, const struct llama4 *l, uint32_t i)
{
    const json_t *list = config_field(b->c, "moe_layers", false);

    if (!json_is_array(list)) return (i + 1) % l->step == 0;
    for (size_t k = 0; k < json_array_size(list); k++)
        if (config_list_int(b->c, "moe_layers", k, -1, b->e) == i) return true;
    return false;
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct llama4 *l = s->own;

    if (is_sparse(b, l, b->layer))
        stack_moe(b, &l->moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

static struct moe experts(struct build *b)
{
    struct moe m = {.experts = moe_experts(b),
                    .top = moe_experts_chosen(b),
                    .inter = b->inter,
                    .router = "feed_forward.router",
                    .score = SCORE_SIGMOID,
                    .scale = 1,
                    .act_flags = EXPERTS_SCALE_INPUT,
                    .list = "feed_forward.experts",
                    .fused_gate_up = "feed_forward.experts.gate_up_proj",
                    .fused_down = "feed_forward.experts.down_proj",
                    .transposed = true,
                    .shared = {.gate = "feed_forward.shared_expert.gate_proj",
                               .up = "feed_forward.shared_expert.up_proj",
                               .down = "feed_forward.shared_expert.down_proj",
                               .inter = b->inter}};

    m.act = m.shared.act = build_activation(b, "hidden_act", ACT_SILU);
    return m;
}

static void read_switches(struct build *b, struct llama4 *l)
{
    l->chunk = config_size_or(b->c, "attention_chunk_size", 1, CONFIG_SIZE_MAX, 0, b->e);
    l->interval = config_size_or(b->c, "no_rope_layer_interval", 1, 65536, 4, b->e);
    l->step = config_size_or(b->c, "interleave_moe_layer_step", 1, 65536, 1, b->e);
    l->normed = config_bool_or(b->c, "use_qk_norm", true, b->e);
    l->tune_floor = (float)config_number_or(b->c, "floor_scale", 8192, b->e);
    if (config_bool_or(b->c, "attn_temperature_tuning", true, b->e))
        l->tune_mul = (float)config_number_or(b->c, "attn_scale", 0.1, b->e);
    if (!(l->tune_floor >= 1)) config_fault(b->c, b->e, "floor_scale", "%g is out of range", (double)l->tune_floor);
}

void family_llama4(struct build *b)
{
    struct llama4 l = {0};
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    l.rope = build_plain_rope(b);
    read_switches(b, &l);
    l.moe = experts(b);
    s = stack_llama(b, &l.rope);
    s.attention.rope_style = ROPE_PAIRS;
    s.attention.norm_last = s.attention.norm_bare = true;
    stack_attention_biases(&s, config_bool_or(b->c, "attention_bias", false, b->e));
    s.mlp.gate = "feed_forward.gate_proj";
    s.mlp.up = "feed_forward.up_proj";
    s.mlp.down = "feed_forward.down_proj";
    s.mlp.act = l.moe.act;
    s.mlp.inter = config_size_or(b->c, "intermediate_size_mlp", 1, 1u << 24, 16384, b->e);
    s.tied = build_tied(b);
    s.own = &l;
    s.before_layer = before_layer;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name llama4_names[] = {
    {"ffn_gate", "feed_forward.gate_proj", GGUF_AS_IS},
    {"ffn_up", "feed_forward.up_proj", GGUF_AS_IS},
    {"ffn_down", "feed_forward.down_proj", GGUF_AS_IS},
    {"ffn_gate_inp", "feed_forward.router", GGUF_AS_IS},
    {"ffn_gate_shexp", "feed_forward.shared_expert.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "feed_forward.shared_expert.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "feed_forward.shared_expert.down_proj", GGUF_AS_IS},
    {"ffn_gate_exps", "feed_forward.switch_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "feed_forward.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "feed_forward.switch_mlp.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* Chunks, layers without rotation and queries that grow are not in its files; only Scout, of 16 experts, norms q and k. */
static void llama4_config(struct gguf_values *v)
{
    gguf_field_int(v, "feed_forward_length", "intermediate_size_mlp", 0);
    gguf_set_int(v, "intermediate_size", v->expert_inter);
    gguf_field_int(v, "interleave_moe_layer_step", "interleave_moe_layer_step", 1);
    gguf_set_int(v, "attention_chunk_size", 8192);
    gguf_set_int(v, "no_rope_layer_interval", 4);
    gguf_set_flag(v, "use_qk_norm", v->experts != 128);
    gguf_set_flag(v, "attn_temperature_tuning", true);
    gguf_set_int(v, "floor_scale", 8192);
    gguf_set_real(v, "attn_scale", 0.1);
}

const struct gguf_family gguf_llama4 = {
    .architecture = "llama4",
    .class = "Llama4ForCausalLM",
    .type = "llama4_text",
    .names = llama4_names,
    .config = llama4_config,
};
