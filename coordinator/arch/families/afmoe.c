/* AFMoE (Trinity): norms before and after both blocks, q and k normed by head, a gate on attention's output, layers that see
 * everything without rotation, and experts chosen by sigmoid scores. Reference: transformers, modeling_afmoe.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

#include <math.h>
#include <string.h>

struct afmoe {
    struct rope_table rope;
    struct moe moe;
    uint32_t window, every, dense;
};

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct afmoe *o = s->own;
    bool slides = build_layer_is(b, i, "sliding_attention", (i + 1) % o->every);

    s->attention.window = slides ? o->window : 0;
    s->attention.rope = slides ? &o->rope : NULL;
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct afmoe *o = s->own;

    if (b->layer >= o->dense)
        stack_moe(b, &o->moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

static struct moe experts(struct build *b)
{
    const char *score = config_string_or(b->c, "score_func", "sigmoid", b->e);
    struct moe m = moe_named(b);

    m.router = "mlp.router.gate";
    m.correction = "mlp.expert_bias";
    m.score = SCORE_SIGMOID;
    m.norm_eps = 1e-20f;
    m.act = build_activation(b, "hidden_act", ACT_SILU);
    m.inter = config_size(b->c, "moe_intermediate_size", 1, 1u << 24, b->e);
    m.scale = (float)config_number_or(b->c, "route_scale", 1, b->e);
    m.shared.inter = moe_shared_inter(b, m.inter);
    m.shared.act = m.act;
    if (config_bool_or(b->c, "route_norm", true, b->e)) m.flags = ROUTER_NORMALIZE;
    if (strcmp(score, "sigmoid"))
        config_fault(b->c, b->e, "score_func", "\"%.40s\" is not supported, sigmoid is", score);
    if (config_size_or(b->c, "n_group", 0, 65536, 1, b->e) > 1)
        config_fault(b->c, b->e, "n_group", "experts in groups are not supported in this family");
    return m;
}

void family_afmoe(struct build *b)
{
    struct afmoe o;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    o.rope = build_plain_rope(b);
    o.window = build_sliding(b);
    o.every = config_size_or(b->c, "global_attn_every_n_layers", 1, 10000, 4, b->e);
    o.dense = config_size_or(b->c, "num_dense_layers", 0, 1u << 20, 0, b->e);
    o.moe = experts(b);
    s = stack_llama(b, &o.rope);
    stack_attention_biases(&s, config_bool_or(b->c, "attention_bias", false, b->e));
    s.attention.norm = QK_HEAD;
    s.attention.gate = "self_attn.gate_proj";
    s.mlp.act = o.moe.act;
    s.after_attention = "post_attention_layernorm";
    s.before_mlp = "pre_mlp_layernorm";
    s.after_mlp = "post_mlp_layernorm";
    if (config_bool_or(b->c, "mup_enabled", false, b->e)) s.embed_scale = (float)sqrt(b->hidden);
    s.tied = build_tied(b);
    s.own = &o;
    s.before_layer = before_layer;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name afmoe_names[] = {
    {"post_attention_norm", "post_attention_layernorm", GGUF_AS_IS},
    {"ffn_norm", "pre_mlp_layernorm", GGUF_AS_IS},
    {"post_ffw_norm", "post_mlp_layernorm", GGUF_AS_IS},
    {"attn_gate", "self_attn.gate_proj", GGUF_AS_IS},
    {"ffn_gate_inp", "mlp.router.gate", GGUF_AS_IS},
    {"exp_probs_b", "mlp.expert_bias", GGUF_BARE},
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* llama.cpp scales the embedding always, and each fourth layer sees everything, whatever a file says. */
static void afmoe_config(struct gguf_values *v)
{
    if (v->tells) {
        struct error unread = {0};

        if (!config_bool_or(v->tells->config, "mup_enabled", false, &unread))
            gguf_tell_cannot(v, "mup_enabled", "an embedding that is not scaled");
        for (uint64_t i = 0; i < v->layers; i++)
            if (v->tells->slides[i] != ((i + 1) % 4 != 0))
                gguf_tell_cannot(v, "layer_types", "another order of layers than three with a window and one without");
    }
    gguf_field_int(v, "leading_dense_block_count", "num_dense_layers", 0);
    gguf_field_int(v, "expert_shared_count", "num_shared_experts", 0);
    gguf_field_flag(v, "expert_weights_norm", "route_norm", true);
    gguf_tell_flag(v, "expert_weights_norm", true);
    gguf_field_real(v, "expert_weights_scale", "route_scale", 1);
    gguf_tell_int(v, "expert_gating_func", 2);
    gguf_set_flag(v, "mup_enabled", true);
    gguf_window(v);
    gguf_layer_types(v, "sliding_attention", 4);
}

const struct gguf_family gguf_afmoe = {
    .architecture = "afmoe",
    .class = "AfmoeForCausalLM",
    .type = "afmoe",
    .names = afmoe_names,
    .config = afmoe_config,
};
