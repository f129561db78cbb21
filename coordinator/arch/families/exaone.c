/* EXAONE 4: norms after the blocks, q and k normed by head; where layers slide, the others do not rotate. K-EXAONE: the same
 * attention with norms before the blocks, and DeepSeek V3's experts. Reference: transformers, modeling_exaone4.py,
 * modeling_exaone_moe.py. */
#include "coordinator/arch/families/deepseek.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#include <string.h>

struct exaone {
    struct deepseek_moe experts; /* first: see deepseek_feed() */
    struct rope_table rope;
    uint32_t window, pattern;
    const char *letters; /* "LLLG": which layers are local */
};

static bool slides_by_rule(const struct exaone *o, uint32_t i)
{
    if (o->letters && *o->letters) return o->letters[i % strlen(o->letters)] == 'L';
    return o->pattern && (i + 1) % o->pattern;
}

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct exaone *o = s->own;
    bool slides = build_layer_is(b, i, "sliding_attention", o->window && slides_by_rule(o, i));

    s->attention.window = slides ? o->window : 0;
    s->attention.rope = slides || !o->window ? &o->rope : NULL;
}

static struct stack exaone(struct build *b, struct exaone *o)
{
    struct stack s;

    *o = (struct exaone){.pattern = 4};
    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    o->rope = build_plain_rope(b);
    o->window = build_sliding(b);
    if (json_is_string(config_field(b->c, "sliding_window_pattern", false)))
        o->letters = config_string_or(b->c, "sliding_window_pattern", NULL, b->e);
    else
        o->pattern = config_size_or(b->c, "sliding_window_pattern", 0, 10000, 4, b->e);
    s = stack_llama(b, &o->rope);
    s.attention.norm = QK_HEAD;
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    s.own = o;
    s.before_layer = before_layer;
    return s;
}

void family_exaone4(struct build *b)
{
    struct exaone o;
    struct stack s = exaone(b, &o);

    s.before_attention = s.before_mlp = NULL;
    s.after_attention = "post_attention_layernorm";
    s.after_mlp = "post_feedforward_layernorm";
    stack_build(b, &s);
}

/* Its first folders say of each layer whether it has experts in is_moe_layer. */
static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct exaone *o = s->own;
    bool listed = config_field(b->c, "is_moe_layer", false) && !config_field(b->c, "mlp_layer_types", false);
    int64_t sparse = listed ? config_list_int(b->c, "is_moe_layer", b->layer, -1, b->e) : 0;

    if (sparse < 0) config_fault(b->c, b->e, "is_moe_layer", "no entry for layer %u", b->layer);
    if (!listed)
        deepseek_feed(b, s, dst, src);
    else if (sparse)
        stack_moe(b, &o->experts.moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

void family_exaone_moe(struct build *b)
{
    struct exaone o;
    struct stack s = exaone(b, &o);

    o.experts = deepseek_v3_moe(b);
    o.experts.moe.correction = "mlp.e_score_correction_bias";
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name exaone4_names[] = {
    {"post_attention_norm", "post_attention_layernorm", GGUF_AS_IS},
    {"post_ffw_norm", "post_feedforward_layernorm", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* The 32B model slides, whatever its file says; the others do where they have a window. */
static void exaone4_config(struct gguf_values *v)
{
    uint64_t window = v->layers == 64 ? 4096 : 0;

    gguf_value_int(v, "attention.sliding_window", &window);
    if (window)
        gguf_set_int(v, "sliding_window", window);
    else
        gguf_set_none(v, "sliding_window");
    gguf_layer_types(v, "sliding_attention", window ? 4 : 0);
}

const struct gguf_family gguf_exaone4 = {
    .architecture = "exaone4",
    .class = "Exaone4ForCausalLM",
    .type = "exaone4",
    .names = exaone4_names,
    .config = exaone4_config,
};

static const struct gguf_name exaone_moe_names[] = {
    {"exp_probs_b", "mlp.e_score_correction_bias", GGUF_BARE},
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static void exaone_moe_config(struct gguf_values *v)
{
    gguf_deepseek_experts(v);
    gguf_field_int(v, "expert_shared_count", "num_shared_experts", 0);
    gguf_tell_int(v, "expert_gating_func", 2);
    gguf_window(v);
    gguf_layer_types(v, "sliding_attention", 4);
}

static const char *const exaone_moe_also[] = {"ExaoneMoEForCausalLM", NULL};

const struct gguf_family gguf_exaone_moe = {
    .architecture = "exaone-moe",
    .class = "ExaoneMoeForCausalLM",
    .type = "exaone_moe",
    .also = exaone_moe_also,
    .names = exaone_moe_names,
    .config = exaone_moe_config,
};
