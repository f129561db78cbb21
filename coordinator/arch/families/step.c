/* Step 3.5 and 3.7: layers with a window have another number of heads and rotate otherwise, a gate on each head's output,
 * norms of 1 + weight, sigmoid scores with a correction, and limits of what goes through the feed forward of some layers.
 * Reference: transformers, modeling_step3p7.py; the fields of the published config.json. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct step {
    struct moe moe;
    struct rope_table rope;
    uint32_t heads, sliding_heads, kv_heads, sliding_kv_heads, window;
};

/* What the published folders call it, else what transformers does. */
static uint32_t either(struct build *b, const char *published, const char *key, uint32_t most)
{
    return config_size(b->c, config_gives(b->c, published) ? published : key, 1, most, b->e);
}

/* The i-th number of a list with one for each layer, or the number that stands in place of a list; otherwise where there is
 * neither, or null. */
static double each_layer(struct build *b, const char *key, uint32_t i, double otherwise)
{
    const json_t *list = config_field(b->c, key, false), *v = json_is_array(list) ? json_array_get(list, i) : list;

    if (!list || !build_ok(b) || (v && json_is_null(v))) return otherwise;
    if (!v || !json_is_number(v)) {
        config_fault(b->c, b->e, key, "no number for layer %u", i);
        return otherwise;
    }
    return json_number_value(v);
}

static uint32_t other_setting(struct build *b, const char *key, uint32_t otherwise)
{
    const json_t *o = config_field(b->c, "attention_other_setting", false);
    double n = config_object_number(b->c, o, "attention_other_setting", key, otherwise, b->e);

    if (!(n >= 1 && n <= 65536) || n != floor(n))
        config_fault(b->c, b->e, "attention_other_setting", "%s: %g is out of range", key, n);
    return build_ok(b) ? (uint32_t)n : 1;
}

static void read_sizes(struct build *b, struct step *o)
{
    build_sizes(b);
    o->heads = b->heads;
    o->kv_heads = b->kv_heads = either(b, "num_attention_groups", "num_key_value_heads", 65536);
    o->sliding_heads = config_size_or(b->c, "num_sliding_attention_heads", 1, 65536,
                                      other_setting(b, "num_attention_heads", b->heads), b->e);
    o->sliding_kv_heads = other_setting(b, "num_attention_groups", b->kv_heads);
    o->window = build_sliding(b);
}

/* Theta and the share that rotates may be lists. */
static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    bool slides = build_layer_is(b, i, "sliding_attention", false);
    double limit = each_layer(b, "swiglu_limits", i, 0), shared = each_layer(b, "swiglu_limits_shared", i, 0);
    struct step *o = s->own;

    b->heads = slides ? o->sliding_heads : o->heads;
    b->kv_heads = slides ? o->sliding_kv_heads : o->kv_heads;
    o->rope = build_rotary(b, (struct rope_request){.layer_type = slides ? "sliding_attention" : "full_attention",
                                                    .theta_key = "rope_theta_of_all",
                                                    .theta = each_layer(b, "rope_theta", i, 10000),
                                                    .partial = each_layer(b, "partial_rotary_factors", i, 1),
                                                    .partial_key = true});
    s->attention.window = slides ? o->window : 0;
    if (limit < 0) config_fault(b->c, b->e, "swiglu_limits", "%g is out of range", limit);
    if (shared < 0) config_fault(b->c, b->e, "swiglu_limits_shared", "%g is out of range", shared);
    o->moe.limit = (float)limit;
    o->moe.act_flags = limit != 0 ? EXPERTS_CLAMP_AFTER : 0;
    o->moe.shared.limit = s->mlp.limit = (float)shared;
}

/* moe_layers_enum: numbers of layers, "3,4,5" or a list. Without it the first three have no experts. */
static bool is_sparse(struct build *b, uint32_t i)
{
    const json_t *list = config_field(b->c, "moe_layers_enum", false);
    const char *s = json_string_value(list);

    if (config_field(b->c, "mlp_layer_types", false) || !list) return moe_layer_is_sparse(b, i, 3);
    for (size_t k = 0; !s && k < json_array_size(list); k++)
        if (config_list_int(b->c, "moe_layers_enum", k, -1, b->e) == i) return true;
    if (!s && !json_is_array(list))
        config_fault(b->c, b->e, "moe_layers_enum", "neither numbers with commas nor a list");
    while (s && *s) {
        char *end;
        unsigned long n = strtoul(s, &end, 10);

        if (end == s || (*end && *end != ',')) {
            config_fault(b->c, b->e, "moe_layers_enum", "\"%.40s\" is no list of layers", json_string_value(list));
            return false;
        }
        if (n == i) return true;
        s = *end ? end + 1 : end;
    }
    return false;
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct step *o = s->own;

    if (is_sparse(b, b->layer))
        stack_moe(b, &o->moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

static struct moe experts(struct build *b, bool bias)
{
    const char *score = config_string_or(b->c, "moe_router_activation", "sigmoid", b->e);
    struct moe m = {.experts = either(b, "moe_num_experts", "n_routed_experts", 65536),
                    .top = either(b, "moe_top_k", "num_experts_per_tok", 65536),
                    .inter = config_size(b->c, "moe_intermediate_size", 1, 1u << 24, b->e),
                    .router = "moe.gate",
                    .score = SCORE_SIGMOID,
                    .flags = ROUTER_NORMALIZE,
                    .scale = (float)config_number_or(b->c, "moe_router_scaling_factor", 1, b->e),
                    .act = ACT_SILU,
                    .stacks = "moe",
                    .shared = {.gate = "share_expert.gate_proj",
                               .up = "share_expert.up_proj",
                               .down = "share_expert.down_proj",
                               .up_bias = bias,
                               .down_bias = bias,
                               .act = ACT_SILU}};

    m.shared.inter = either(b, "share_expert_dims", "share_expert_dim", 1u << 24);
    if (config_bool_or(b->c, "use_moe_router_bias", true, b->e)) m.correction = "moe.router_bias";
    if (strcmp(score, "sigmoid"))
        config_fault(b->c, b->e, "moe_router_activation", "\"%.40s\" is not supported, sigmoid is", score);
    return m;
}

void family_step3p5(struct build *b)
{
    bool bias = config_bool_or(b->c, "attention_bias", false, b->e),
         mlp = config_bool_or(b->c, "mlp_bias", false, b->e);
    struct step o = {0};
    struct stack s;

    read_sizes(b, &o);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    b->weight_add = b->t->changes.norms_whole ? 0 : 1;
    if (!config_bool_or(b->c, "zero_centered", true, b->e))
        config_fault(b->c, b->e, "zero_centered", "false is not supported");
    o.moe = experts(b, mlp);
    s = stack_llama(b, &o.rope);
    stack_attention_biases(&s, bias);
    s.attention.norm = QK_HEAD;
    s.attention.scale = (float)(1 / sqrt(config_number_or(b->c, "query_pre_attn_scalar", b->head_dim, b->e)));
    if (config_bool_or(b->c, "use_head_wise_attn_gate", true, b->e)) s.attention.gate = "self_attn.g_proj";
    s.attention.gate_heads = true;
    s.mlp.up_bias = s.mlp.down_bias = mlp;
    s.tied = build_tied(b);
    s.own = &o;
    s.before_layer = before_layer;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name names[] = {
    {"attn_gate", "self_attn.g_proj", GGUF_AS_IS},
    {"ffn_gate_inp", "moe.gate", GGUF_AS_IS},
    {"exp_probs_b", "moe.router_bias", GGUF_BARE},
    {"ffn_gate_exps", "moe.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "moe.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "moe.down_proj", GGUF_AS_IS},
    {"ffn_gate_shexp", "share_expert.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "share_expert.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "share_expert.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static bool slides(const json_t *types, uint64_t i)
{
    const char *type = json_string_value(json_array_get(types, i));

    return type && !strcmp(type, "sliding_attention");
}

/* Layers that see all positions rotate half of what the file says, and factors are theirs alone. */
static void ropes(struct gguf_values *v, const json_t *types)
{
    json_t *rules = json_object_get(v->out, "rope_scaling"), *longer = json_object_get(rules, "long_factor"),
           *share = json_array();
    double full = 10000, sliding;
    size_t n;

    gguf_value_real(v, "rope.freq_base", &full);
    sliding = full;
    gguf_value_real(v, "rope.freq_base_swa", &sliding);
    for (uint64_t i = 0; i < v->layers; i++) json_array_append_new(share, json_real(slides(types, i) ? 1 : 0.5));
    gguf_set(v, "partial_rotary_factors", share);
    for (n = json_array_size(longer); n > v->head_dim / 4; n--) json_array_remove(longer, n - 1); /* 1 each */
    rules = rules ? json_deep_copy(rules) : json_pack("{s:s}", "rope_type", "default");
    json_object_set_new(rules, "rope_theta", json_real(full));
    gguf_set(v, "rope_parameters",
             json_pack("{s:o,s:{s:s,s:f}}", "full_attention", rules, "sliding_attention", "rope_type", "default",
                       "rope_theta", sliding));
    json_object_del(v->out, "rope_scaling");
    json_object_del(v->out, "rope_theta");
}

/* The first layer of each kind tells the heads of all. */
static void heads(struct gguf_values *v, const json_t *types)
{
    uint64_t of[2][2] = {{0, 0}, {0, 0}};

    for (uint64_t i = 0; i < v->layers && !v->e->code; i++) {
        uint64_t *kind = of[slides(types, i)], q = gguf_layer_int(v, "attention.head_count", i),
                 kv = gguf_layer_int(v, "attention.head_count_kv", i);

        if (kind[0] && (kind[0] != q || kind[1] != kv))
            gguf_refuse(v, "attention.head_count", "layers of one kind have different heads, which is not supported");
        kind[0] = q;
        kind[1] = kv;
    }
    for (int k = 0; k < 2; k++)
        if (!of[k][0]) memcpy(of[k], of[!k], sizeof *of);
    gguf_set_int(v, "num_attention_heads", of[0][0]);
    gguf_set_int(v, "num_attention_groups", of[0][1]);
    gguf_set(v, "attention_other_setting",
             json_pack("{s:I,s:I}", "num_attention_heads", (json_int_t)of[1][0], "num_attention_groups",
                       (json_int_t)of[1][1]));
}

static void experts_config(struct gguf_values *v)
{
    json_t *list = json_array();
    uint64_t scored = 2;
    bool normed = true;

    gguf_value_int(v, "expert_gating_func", &scored);
    gguf_value_flag(v, "expert_weights_norm", &normed);
    gguf_ask(v, "moe_every_n_layers"); /* which have experts is seen by their tensors */
    if (scored != 2) gguf_refuse(v, "expert_gating_func", "only 2 (sigmoid) is supported for this architecture");
    if (!normed) gguf_refuse(v, "expert_weights_norm", "false is not supported for this architecture");
    for (uint64_t i = 0; i < v->layers; i++)
        if (gguf_this_layer_has(v, i, "ffn_gate_inp.weight")) json_array_append_new(list, json_integer((json_int_t)i));
    gguf_set(v, "moe_layers_enum", list);
    gguf_set_int(v, "moe_num_experts", v->experts);
    gguf_set_int(v, "moe_top_k", gguf_value_needed(v, "expert_used_count"));
    gguf_set_int(v, "share_expert_dim", gguf_value_needed(v, "expert_shared_feed_forward_length"));
    gguf_field_real(v, "expert_weights_scale", "moe_router_scaling_factor", 1);
    gguf_set_flag(v, "use_moe_router_bias", gguf_layer_has(v, "exp_probs_b.bias"));
    gguf_layer_reals(v, "swiglu_clamp_exp", "swiglu_limits");
    gguf_layer_reals(v, "swiglu_clamp_shexp", "swiglu_limits_shared");
}

static void step_config(struct gguf_values *v)
{
    const json_t *types;

    v->head_dim = gguf_value_needed(v, "attention.key_length");
    gguf_set_int(v, "head_dim", v->head_dim);
    gguf_layer_types(v, "sliding_attention", 0);
    gguf_window(v);
    types = json_object_get(v->out, "layer_types");
    heads(v, types);
    ropes(v, types);
    experts_config(v);
    gguf_set_flag(v, "use_head_wise_attn_gate", gguf_layer_has(v, "attn_gate.weight"));
}

const struct gguf_family gguf_step35 = {
    .architecture = "step35",
    .class = "Step3p5ForCausalLM",
    .type = "step3p5",
    .names = names,
    .changes = {.norms_whole = true},
    .by_layer = true,
    .unwritten = true,
    .config = step_config,
};
