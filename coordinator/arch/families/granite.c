/* Granite 3 and 4: Llama with four multipliers, and with experts in two tensors each layer. Reference: transformers,
 * modeling_granite.py, modeling_granitemoe.py, modeling_granitemoehybrid.py. */
#include "coordinator/arch/families/mamba.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

#include <math.h>
#include <string.h>

static struct stack granite(struct build *b, struct rope_table *rope, bool rotates)
{
    double logits;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    if (rotates) *rope = build_plain_rope(b);
    s = stack_llama(b, rotates ? rope : NULL);
    stack_attention_biases(&s, config_bool_or(b->c, "attention_bias", false, b->e));
    s.mlp.up_bias = s.mlp.down_bias = config_bool_or(b->c, "mlp_bias", false, b->e);
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.attention.scale = (float)config_number_or(b->c, "attention_multiplier", 1, b->e);
    s.embed_scale = (float)config_number_or(b->c, "embedding_multiplier", 1, b->e);
    s.residual = (float)config_number_or(b->c, "residual_multiplier", 1, b->e);
    logits = config_number_or(b->c, "logits_scaling", 1, b->e);
    if (!(fabs(logits) > 0)) config_fault(b->c, b->e, "logits_scaling", "0 is out of range");
    s.logit_mul = (float)(1 / logits);
    s.tied = build_tied(b);
    return s;
}

void family_granite(struct build *b)
{
    struct rope_table rope;
    struct stack s = granite(b, &rope, true);

    stack_build(b, &s);
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    stack_moe(b, s->own, dst, src);
}

static struct moe granite_experts(struct build *b, uint32_t act)
{
    return (struct moe){.inter = b->inter,
                        .router = "block_sparse_moe.router.layer",
                        .score = SCORE_TOPK_SOFTMAX,
                        .scale = 1,
                        .act = act,
                        .list = "block_sparse_moe.experts",
                        .fused_gate_up = "block_sparse_moe.input_linear.weight",
                        .fused_down = "block_sparse_moe.output_linear.weight"};
}

void family_granite_moe(struct build *b)
{
    struct rope_table rope;
    struct stack s = granite(b, &rope, true);
    struct moe m = granite_experts(b, s.mlp.act);

    m.experts = config_size(b->c, "num_local_experts", 1, 65536, b->e);
    m.top = config_size(b->c, "num_experts_per_tok", 1, 65536, b->e);
    s.own = &m;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- Granite 4: layers of Mamba-2 beside those with attention, and a shared feed forward in every layer ---- */

struct hybrid {
    struct moe moe; /* experts 0: the shared feed forward alone */
    struct mamba2 mixer;
};

static void hybrid_mix(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct hybrid *h = s->own;

    mamba2_mix(b, &h->mixer, dst, src);
}

static void hybrid_layer(struct build *b, struct stack *s, uint32_t i)
{
    s->attend = mamba_layer(b, i) ? hybrid_mix : NULL;
}

static void hybrid_feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct hybrid *h = s->own;

    if (h->moe.experts)
        stack_moe(b, &h->moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

void family_granite_hybrid(struct build *b)
{
    const char *positions = config_string_or(b->c, "position_embedding_type", "nope", b->e);
    struct rope_table rope;
    struct stack s = granite(b, &rope, !strcmp(positions, "rope"));
    struct hybrid h = {.mixer =
                           mamba2_sizes(b, (uint64_t)config_size_or(b->c, "mamba_expand", 1, 64, 2, b->e) * b->hidden)};

    if (strcmp(positions, "rope") && strcmp(positions, "nope"))
        config_fault(b->c, b->e, "position_embedding_type", "\"%.40s\" is not known", positions);
    s.mlp = (struct mlp){.gate_up = "shared_mlp.input_linear",
                         .down = "shared_mlp.output_linear",
                         .inter = config_size(b->c, "shared_intermediate_size", 1, 1u << 24, b->e),
                         .act = s.mlp.act};
    if (b->t->gguf) {
        s.mlp.gate_up = NULL;
        s.mlp.gate = "shared_mlp.gate_proj";
        s.mlp.up = "shared_mlp.up_proj";
    }
    h.moe = granite_experts(b, s.mlp.act);
    h.moe.experts = config_size_or(b->c, "num_local_experts", 0, 65536, 0, b->e);
    if (h.moe.experts) h.moe.top = config_size(b->c, "num_experts_per_tok", 1, 65536, b->e);
    h.moe.shared = s.mlp;
    s.own = &h;
    s.before_layer = hybrid_layer;
    s.feed = hybrid_feed;
    if (build_ok(b)) stack_build(b, &s);
}

/* ---- as GGUF ---- */

static void granite_config(struct gguf_values *v)
{
    gguf_ask(v, "ssm.conv_kernel"); /* Granite 4 without layers that would have any */
    gguf_field_real(v, "attention.scale", "attention_multiplier", 1 / sqrt((double)v->head_dim));
    gguf_field_real(v, "embedding_scale", "embedding_multiplier", 1);
    gguf_field_real(v, "residual_scale", "residual_multiplier", 1);
    gguf_field_real(v, "logit_scale", "logits_scaling", 1);
}

const struct gguf_family gguf_granite = {
    .architecture = "granite",
    .class = "GraniteForCausalLM",
    .type = "granite",
    .changes = {.qk_pairs = true},
    .config = granite_config,
};

static const struct gguf_name granite_moe_names[] = {
    {"ffn_gate_inp", "block_sparse_moe.router.layer", GGUF_AS_IS},
    {"ffn_gate_exps", "block_sparse_moe.switch_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "block_sparse_moe.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "block_sparse_moe.switch_mlp.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static void granite_moe_config(struct gguf_values *v)
{
    uint64_t shared = 0;

    granite_config(v);
    gguf_set_int(v, "intermediate_size", v->expert_inter);
    gguf_value_int(v, "expert_shared_feed_forward_length", &shared);
    if (shared) gguf_refuse(v, "expert_shared_feed_forward_length", "shared experts of Granite are not supported");
}

const struct gguf_family gguf_granite_moe = {
    .architecture = "granitemoe",
    .class = "GraniteMoeForCausalLM",
    .type = "granitemoe",
    .names = granite_moe_names,
    .changes = {.qk_pairs = true},
    .config = granite_moe_config,
};

static const struct gguf_name hybrid_names[] = {
    {"ffn_gate_inp", "block_sparse_moe.router.layer", GGUF_AS_IS},
    {"ffn_gate_exps", "block_sparse_moe.switch_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "block_sparse_moe.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "block_sparse_moe.switch_mlp.down_proj", GGUF_AS_IS},
    {"ffn_gate_shexp", "shared_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "shared_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "shared_mlp.output_linear", GGUF_AS_IS},
    {"ffn_gate", "shared_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up", "shared_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down", "shared_mlp.output_linear", GGUF_AS_IS},
    MAMBA_NAMES("mamba"),
    {NULL, NULL, 0},
};

/* The feed forward that all layers have is one expert more where there are some, and the only one else. */
static void hybrid_config(struct gguf_values *v)
{
    static const struct mamba2_fields fields = {"mamba_n_heads", "mamba_d_head",    "mamba_n_groups",  "mamba_d_state",
                                                "mamba_d_conv",  "mamba_conv_bias", "mamba_proj_bias", "mamba_expand"};
    bool turns = true;
    uint64_t shared = 0;

    granite_config(v);
    mamba2_config(v, &fields);
    gguf_mixed_layers(v, "mamba");
    gguf_value_flag(v, "rope.scaling.finetuned", &turns);
    gguf_set_text(v, "position_embedding_type", turns ? "rope" : "nope");
    for (uint64_t i = 0; i < v->layers && turns && !v->tells && !v->e->code; i++)
        if (!gguf_mixed_has(v, "attention.head_count_kv", i))
            gguf_refuse(v, "rope.scaling.finetuned",
                        "positions that rotate beside recurrent layers: this is Bamba, take its folder");
    gguf_value_int(v, v->experts ? "expert_shared_feed_forward_length" : "feed_forward_length", &shared);
    gguf_set_int(v, "shared_intermediate_size", shared);
    gguf_set_int(v, "num_local_experts", v->experts);
    if (v->experts) gguf_set_int(v, "intermediate_size", v->expert_inter);
    if (!v->tells) return;
    gguf_tell_flag(v, "rope.scaling.finetuned", v->rope_dim != 0);
    gguf_tell_field(v, v->experts ? "expert_shared_feed_forward_length" : "feed_forward_length",
                    "shared_intermediate_size");
}

const struct gguf_family gguf_granite_hybrid = {
    .architecture = "granitehybrid",
    .class = "GraniteMoeHybridForCausalLM",
    .type = "granitemoehybrid",
    .names = hybrid_names,
    .changes = {.qk_pairs = true, .decay = true},
    .mixed = true,
    .scans = true,
    .config = hybrid_config,
};
