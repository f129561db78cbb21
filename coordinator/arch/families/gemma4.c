/* Gemma 4: attention with a scale of 1, q, k and v normed (v without weights), layers that see all positions with heads of
 * their own size and, where attention_k_eq_v says so, one projection for k and v; a number that each layer's output is
 * multiplied by. Its experts stand beside the dense feed forward, each with norms of their own, and their router sees the
 * residual. Late layers may attend over the keys and values of the last layer of their kind that has its own, and have twice
 * the feed forward there. Small models have a second embedding with columns for each layer, gated into the residual at its
 * end. Reference: transformers, modeling_gemma4.py, configuration_gemma4.py. */
#include "coordinator/arch/families/gemma_attend.h"
#include "coordinator/arch/families/layer_inputs.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATTERN       6u /* without layer_types every sixth layer sees all positions */
#define EXPERTS_LIMIT 65536u
#define SIZE_LIMIT    (1u << 24)

enum kind { SLIDING, FULL, KINDS };

struct gemma4 {
    struct rope_table rope[KINDS];
    uint32_t cache[KINDS]; /* of the last layer that has keys and values of its own; PLAN_NONE: none yet */
    uint32_t window, head_dim, kv_heads, inter, first_shared;
    uint32_t own; /* columns that each layer has in the second embedding; 0: there is none */
    bool k_is_v, wide;
    struct moe moe; /* experts 0: none */
};

static double positive(struct build *b, const char *key)
{
    double x = config_number_or(b->c, key, 0, b->e);

    if (x <= 0 && config_field(b->c, key, false))
        config_fault(b->c, b->e, key, "%g is out of range, it must be greater than 0", x);
    return x;
}

/* The last layer sees all positions whatever layer_types says of it, as in the reference. */
static enum kind kind_of(struct build *b, uint32_t i)
{
    bool slides = build_layer_is(b, i, "sliding_attention", (i + 1) % PATTERN);

    return slides && i + 1 < b->layers ? SLIDING : FULL;
}

/* ---- sizes of a layer ---- */

/* per_layer_config, as the class writes it: the object of layer i ("05"); NULL: it has none. */
static const json_t *override_of(struct build *b, uint32_t i)
{
    const json_t *all = config_field(b->c, "per_layer_config", false), *v;
    const char *key, *field;
    char *end;

    if (all && !json_is_members(all)) config_fault(b->c, b->e, "per_layer_config", "not an object");
    if (!all || !build_ok(b)) return NULL;
    json_object_foreach((json_t *)(uintptr_t)all, key, v)
    {
        const json_t *x;

        if (strtoul(key, &end, 10) != i || *end || end == key) continue;
        if (!json_is_members(v)) {
            config_fault(b->c, b->e, "per_layer_config", "\"%.20s\" is not an object", key);
            return NULL;
        }
        json_object_foreach((json_t *)(uintptr_t)v, field,
                            x) if (strcmp(field, "head_dim") && strcmp(field, "num_key_value_heads"))
            config_fault(b->c, b->e, "per_layer_config", "\"%.40s\" of layer %u is not known of this family", field, i);
        return v;
    }
    return NULL;
}

static uint32_t size_of(struct build *b, const json_t *override, const char *key, uint32_t otherwise)
{
    double x = config_object_number(b->c, override, "per_layer_config", key, otherwise, b->e);

    if (!(x >= 1 && x <= SIZE_LIMIT) || floor(x) != x)
        config_fault(b->c, b->e, "per_layer_config", "%s %g is out of range", key, x);
    return build_ok(b) ? (uint32_t)x : 1;
}

/* Heads of layer i become the build's. */
static void set_heads(struct build *b, const struct gemma4 *g, uint32_t i, enum kind kind)
{
    bool listed = config_field(b->c, "per_layer_config", false);
    const json_t *o = override_of(b, i);
    uint32_t head_dim = g->head_dim, kv_heads = g->kv_heads;

    if (!listed && kind == FULL) {
        head_dim = config_size_or(b->c, "global_head_dim", 1, SIZE_LIMIT, 512, b->e);
        if (g->k_is_v) kv_heads = config_size_or(b->c, "num_global_key_value_heads", 1, SIZE_LIMIT, kv_heads, b->e);
    }
    b->head_dim = size_of(b, o, "head_dim", head_dim);
    b->kv_heads = size_of(b, o, "num_key_value_heads", kv_heads);
    if (!build_ok(b)) return;
    if (b->heads % b->kv_heads)
        config_fault(b->c, b->e, "num_attention_heads", "%u is not divisible by the %u key heads of layer %u", b->heads,
                     b->kv_heads, i);
    if ((uint64_t)b->heads * b->head_dim > SIZE_LIMIT)
        config_fault(b->c, b->e, "head_dim", "%u is out of range", b->head_dim);
}

/* ---- attention ---- */

static void attend(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    struct gemma4 *g = s->own;
    enum kind kind = kind_of(b, b->layer);
    struct gemma_attend a = {.attention = &s->attention,
                             .cache = &g->cache[kind],
                             .reuses = b->layer >= g->first_shared,
                             .k_is_v = g->k_is_v && kind == FULL};

    gemma_attend(b, &a, dst, src);
}

/* ---- feed forward ---- */

/* The router sees the residual, normed and times a vector over the root of its length. */
static uint32_t route(struct build *b, const struct gemma4 *g)
{
    struct plan_view in = build_view(b, BUF_T1, b->hidden, 0);
    struct op_norm o = {.src = build_x(b),
                        .dst = in,
                        .groups = 1,
                        .width = b->hidden,
                        .src_stride = b->hidden,
                        .dst_stride = b->hidden,
                        .kind = NORM_RMS,
                        .eps = b->eps,
                        .bias = PLAN_NONE};

    o.weight = build_vector(b, "router.scale", b->hidden);
    build_norm_op(b, &o);
    build_scale(b, in, b->hidden, 1.0f / sqrtf((float)b->hidden), 0);
    return stack_route(b, &g->moe, in);
}

/* The chosen experts are asked for, and on their way while the dense part is computed. */
static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct gemma4 *g = s->own;
    struct plan_view out2, in2;
    uint32_t table;

    if (!g->moe.experts) {
        stack_mlp(b, &s->mlp, dst, src);
        return;
    }
    out2 = build_view(b, BUF_OUT2, b->hidden, 0);
    in2 = build_view(b, BUF_T1, b->hidden, 0);
    table = route(b, g);
    stack_mlp(b, &s->mlp, dst, src);
    build_norm(b, dst, dst, "post_feedforward_layernorm_1");
    build_norm(b, in2, build_x(b), "pre_feedforward_layernorm_2");
    stack_experts(b, &g->moe, table, out2, in2);
    build_norm(b, out2, out2, "post_feedforward_layernorm_2");
    build_add(b, dst, dst, out2, b->hidden, 1, 1);
}

/* ---- the stack ---- */

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct gemma4 *g = s->own;
    enum kind kind = kind_of(b, i);

    set_heads(b, g, i, kind);
    s->attention.window = kind == SLIDING ? g->window : 0;
    s->attention.rope = &g->rope[kind];
    s->mlp.inter = g->inter * (g->wide && i >= g->first_shared ? 2 : 1);
    if (build_ok(b) && b->head_dim != g->rope[kind].dim)
        config_fault(b->c, b->e, "per_layer_config", "layer %u has heads of %u columns, an earlier one of its kind %u",
                     i, b->head_dim, g->rope[kind].dim);
    if (build_ok(b) && i >= g->first_shared && g->cache[kind] == PLAN_NONE)
        config_fault(b->c, b->e, "num_kv_shared_layers",
                     "layer %u takes the keys of an earlier layer of its kind, and none of those has any", i);
}

static void after_embedding(struct build *b, struct stack *s)
{
    const struct gemma4 *g = s->own;

    if (g->own) layer_inputs_make(b, g->own);
}

static void after_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct gemma4 *g = s->own;
    struct plan_view out = build_view(b, BUF_OUT, b->hidden, 0);

    if (g->own) {
        layer_inputs_gate(b, g->own, i, s->mlp.act, out, build_x(b));
        build_add(b, build_x(b), build_x(b), out, b->hidden, 1, 1);
    }
    build_scale_by(b, build_x(b), b->hidden, "layer_scalar", 1);
}

/* One table for each kind, of the heads of its first layer. */
static void make_ropes(struct build *b, struct gemma4 *g)
{
    static const struct rope_request usual[KINDS] = {
        [SLIDING] = {.layer_type = "sliding_attention", .theta_key = "rope_local_base_freq", .theta = 10000},
        [FULL] = {.layer_type = "full_attention", .theta = 1e6, .type = "proportional", .share = 0.25},
    };

    for (int kind = 0; kind < KINDS && build_ok(b); kind++) {
        struct rope_request q = usual[kind];
        uint32_t i = 0;

        while (i < b->layers && build_ok(b) && kind_of(b, i) != (enum kind)kind) i++;
        if (i == b->layers) continue;
        set_heads(b, g, i, (enum kind)kind);
        q.head_dim = b->head_dim;
        if (build_ok(b)) g->rope[kind] = build_rotary(b, q);
    }
}

static struct moe experts_of(struct build *b)
{
    struct moe m = {.router = "router.proj",
                    .each = "router.per_expert_scale",
                    .score = SCORE_SOFTMAX,
                    .flags = ROUTER_NORMALIZE,
                    .scale = 1,
                    .fused_gate_up = "experts.gate_up_proj",
                    .fused_down = "experts.down_proj",
                    .act = build_activation(b, "hidden_activation", ACT_GELU_TANH)};

    if (!config_bool_or(b->c, "enable_moe_block", false, b->e)) return m;
    m.experts = config_size(b->c, "num_experts", 1, EXPERTS_LIMIT, b->e);
    m.top = config_size(b->c, "top_k_experts", 1, EXPERTS_LIMIT, b->e);
    m.inter = config_size(b->c, "moe_intermediate_size", 1, SIZE_LIMIT, b->e);
    return m;
}

static void read_switches(struct build *b, struct gemma4 *g)
{
    uint32_t shared = config_size_or(b->c, "num_kv_shared_layers", 0, SIZE_LIMIT, 0, b->e);

    if (build_ok(b) && shared && shared >= b->layers)
        config_fault(b->c, b->e, "num_kv_shared_layers", "%u of %u layers: none is left that has keys of its own",
                     shared, b->layers);
    g->first_shared = build_ok(b) ? b->layers - shared : 0;
    g->window = build_sliding(b);
    g->k_is_v = config_bool_or(b->c, "attention_k_eq_v", false, b->e);
    g->wide = config_bool_or(b->c, "use_double_wide_mlp", false, b->e);
    g->head_dim = b->head_dim;
    g->kv_heads = b->kv_heads;
    g->inter = b->inter;
    g->moe = experts_of(b);
    g->own = config_size_or(b->c, "hidden_size_per_layer_input", 0, SIZE_LIMIT, 0, b->e);
    if (build_ok(b) && (uint64_t)g->own * b->layers > SIZE_LIMIT)
        config_fault(b->c, b->e, "hidden_size_per_layer_input", "%u columns for each of %u layers are out of range",
                     g->own, b->layers);
}

void family_gemma4(struct build *b)
{
    struct gemma4 g = {.cache = {PLAN_NONE, PLAN_NONE}};
    struct stack s;
    bool bias;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    read_switches(b, &g);
    if (build_ok(b)) make_ropes(b, &g);
    s = stack_llama(b, &g.rope[FULL]);
    bias = config_bool_or(b->c, "attention_bias", false, b->e);
    stack_attention_biases(&s, bias);
    s.attention.scale = 1;
    s.mlp.act = g.moe.act;
    s.embed_scale = (float)sqrt(b->hidden);
    s.tied = build_tied(b);
    s.logit_cap = (float)positive(b, "final_logit_softcapping");
    s.after_attention = "post_attention_layernorm";
    s.before_mlp = "pre_feedforward_layernorm";
    s.after_mlp = "post_feedforward_layernorm";
    s.after_embedding = after_embedding;
    s.before_layer = before_layer;
    s.after_layer = after_layer;
    s.attend = attend;
    s.feed = feed;
    s.own = &g;
    if (g.own) {
        layer_inputs_table(b, &s, g.own);
        if (build_ok(b) && s.beside_rows < b->vocab)
            config_fault(b->c, b->e, "vocab_size_per_layer_input", "%u rows for a vocabulary of %u", s.beside_rows,
                         b->vocab);
    }
    if (build_ok(b)) stack_build(b, &s);
}

/* ---- as GGUF: norms are as in the folder ---- */

static const struct gguf_name names[] = {
    {"post_attention_norm", "post_attention_layernorm", GGUF_AS_IS},
    {"ffn_norm", "pre_feedforward_layernorm", GGUF_AS_IS},
    {"post_ffw_norm", "post_feedforward_layernorm", GGUF_AS_IS},
    {"pre_ffw_norm_2", "pre_feedforward_layernorm_2", GGUF_AS_IS},
    {"post_ffw_norm_1", "post_feedforward_layernorm_1", GGUF_AS_IS},
    {"post_ffw_norm_2", "post_feedforward_layernorm_2", GGUF_AS_IS},
    {"layer_output_scale", "layer_scalar", GGUF_BARE},
    {"inp_gate", "per_layer_input_gate", GGUF_AS_IS},
    {"proj", "per_layer_projection", GGUF_AS_IS},
    {"post_norm", "post_per_layer_input_norm", GGUF_AS_IS},
    {"ffn_gate_inp", "router.proj", GGUF_AS_IS},
    {"ffn_gate_inp.scale", "router.scale", GGUF_AS_IS},
    {"ffn_gate_up_exps", "experts.gate_up_proj", GGUF_BARE},
    {"ffn_down_exps", "experts.down_proj", GGUF_BARE},
    {"ffn_down_exps.scale", "router.per_expert_scale", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static const struct gguf_name top[] = {
    {"per_layer_token_embd", "embed_tokens_per_layer", GGUF_AS_IS},
    {"per_layer_model_proj", "per_layer_model_projection", GGUF_AS_IS},
    {"per_layer_proj_norm", "per_layer_projection_norm", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* Columns of heads that see all positions rotate where the factor of their frequency is not beyond all measure. */
static double share(struct gguf_values *v)
{
    const json_t *list = json_object_get(json_object_get(v->out, "rope_scaling"), "long_factor");
    size_t n = json_array_size(list), turns = 0;

    for (size_t i = 0; i < n; i++) turns += json_number_value(json_array_get(list, i)) < 1e20;
    return n ? (double)turns / (double)n : 0.25;
}

static void turning(struct gguf_values *v)
{
    double full = 1e6, sliding = 10000;

    gguf_value_real(v, "rope.freq_base", &full);
    gguf_value_real(v, "rope.freq_base_swa", &sliding);
    gguf_set(v, "rope_parameters",
             json_pack("{s:{s:s,s:f,s:f},s:{s:s,s:f}}", "full_attention", "rope_type", "proportional", "rope_theta",
                       full, "partial_rotary_factor", share(v), "sliding_attention", "rope_type", "default",
                       "rope_theta", sliding));
    json_object_del(v->out, "rope_scaling");
    json_object_del(v->out, "rope_theta");
}

/* Heads of layers that see all positions: their own columns, and their own number of keys. */
static void full_layers(struct gguf_values *v, uint64_t full, uint64_t sliding)
{
    const json_t *types = json_object_get(v->out, "layer_types");
    json_t *all = json_object();
    char layer[24], value[64];
    bool shares = false;

    for (uint64_t i = 0; i < v->layers && !v->e->code; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        bool slides = type && !strcmp(type, "sliding_attention") && i + 1 < v->layers;

        snprintf(layer, sizeof layer, "%" PRIu64, i);
        snprintf(value, sizeof value, "blk.%" PRIu64 ".attn_v.weight", i);
        if (!slides && !gguf_tensor(v->g, value)) {
            snprintf(value, sizeof value, "blk.%" PRIu64 ".attn_k.weight", i);
            shares |= gguf_tensor(v->g, value) != NULL;
        }
        json_object_set_new(all, layer,
                            json_pack("{s:I,s:I}", "head_dim", (json_int_t)(slides ? sliding : full),
                                      "num_key_value_heads",
                                      (json_int_t)gguf_layer_int(v, "attention.head_count_kv", i)));
    }
    gguf_set(v, "per_layer_config", all);
    gguf_set_flag(v, "attention_k_eq_v", shares);
}

/* What a layer's attention is: its heads' columns and key heads, and how wide its feed forward. */
static void tell_layers(struct gguf_values *v)
{
    const struct plan_shm *p = v->tells->program;
    uint32_t *kv = calloc(v->layers + 1, sizeof *kv), *width = calloc(v->layers + 1, sizeof *width), full = 0,
             sliding = 0;

    for (uint64_t i = 0; kv && width && i < p->ops.count; i++) {
        const struct plan_op *op = &plan_ops(p)[i];

        if (op->kind == OP_ATTENTION) kv[op->layer] = op->attention.kv_heads;
        if (op->kind == OP_ATTENTION) *(v->tells->slides[op->layer] ? &sliding : &full) = op->attention.dk;
        if (op->kind == OP_ACT && op->act.kind == ACT_GELU_TANH && !width[op->layer]) width[op->layer] = op->act.width;
    }
    gguf_tell_ints(v, "attention.head_count_kv", kv, v->layers);
    gguf_tell_ints(v, "feed_forward_length", width, v->layers);
    gguf_tell_int(v, "attention.key_length", full);
    gguf_tell_int(v, "attention.value_length", full);
    gguf_tell_int(v, "attention.key_length_swa", sliding ? sliding : full);
    gguf_tell_int(v, "attention.value_length_swa", sliding ? sliding : full);
    gguf_tell_int(v, "rope.dimension_count", full);
    gguf_tell_int(v, "rope.dimension_count_swa", sliding ? sliding : full);
    gguf_tell_flags(v, "attention.sliding_window_pattern", v->tells->slides, v->layers);
    free(kv);
    free(width);
}

static void tell(struct gguf_values *v)
{
    gguf_tell_field(v, "attention.shared_kv_layers", "num_kv_shared_layers");
    gguf_tell_int(v, "attention.shared_kv_layers", 0);
    gguf_tell_field(v, "embedding_length_per_layer_input", "hidden_size_per_layer_input");
    gguf_tell_int(v, "embedding_length_per_layer_input", 0); /* llama.cpp asks for it */
    gguf_tell_field(v, "final_logit_softcapping", "final_logit_softcapping");
    gguf_tell_field(v, "rope.freq_base_swa", "rope_local_base_freq");
    tell_layers(v);
}

static void gemma4_config(struct gguf_values *v)
{
    const struct gguf_tensor *own = gguf_tensor(v->g, "per_layer_token_embd.weight");
    uint64_t full, sliding, shared = 0, width;

    if (v->tells) {
        tell(v);
        return;
    }
    full = sliding = gguf_value_needed(v, "attention.key_length");
    gguf_value_int(v, "attention.key_length_swa", &sliding);
    if (full > INT32_MAX || sliding > INT32_MAX) gguf_refuse(v, "attention.key_length", "it is out of range");
    gguf_set_int(v, "head_dim", sliding);
    gguf_layer_types(v, "sliding_attention", PATTERN);
    gguf_window(v);
    full_layers(v, full, sliding);
    turning(v);
    gguf_value_int(v, "attention.shared_kv_layers", &shared);
    gguf_set_int(v, "num_kv_shared_layers", shared);
    width = v->layers ? gguf_layer_int(v, "feed_forward_length", 0) : 0;
    gguf_set_flag(v, "use_double_wide_mlp",
                  shared && v->layers && gguf_layer_int(v, "feed_forward_length", v->layers - 1) == 2 * width);
    gguf_field_int(v, "embedding_length_per_layer_input", "hidden_size_per_layer_input", 0);
    if (own) gguf_set_int(v, "vocab_size_per_layer_input", own->dims[1]);
    gguf_field_real(v, "final_logit_softcapping", "final_logit_softcapping", 0);
    if (json_number_value(json_object_get(v->out, "final_logit_softcapping")) == 0)
        gguf_set_none(v, "final_logit_softcapping");
    gguf_set_text(v, "hidden_activation", "gelu_pytorch_tanh");
    gguf_set_flag(v, "enable_moe_block", v->experts);
    if (!v->experts) return;
    gguf_set_int(v, "num_experts", v->experts);
    gguf_set_int(v, "top_k_experts", gguf_value_needed(v, "expert_used_count"));
}

const struct gguf_family gguf_gemma4 = {
    .architecture = "gemma4",
    .class = "Gemma4ForCausalLM",
    .type = "gemma4_text",
    .names = names,
    .top = top,
    .by_layer = true,
    .config = gemma4_config,
};
