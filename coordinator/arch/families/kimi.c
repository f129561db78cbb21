/* Kimi Linear and Ling's hybrids: three of four layers, or five of six, mix by a delta rule whose decay differs by channel, the
 * others by latent attention, without positions in Kimi Linear, with a gate for each head in Ling. Reference: Kimi Linear
 * (arXiv 2510.26692), transformers, modeling_kimi_linear.py, modeling_bailing_hybrid.py. */
#include "coordinator/arch/families/latent.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct kimi {
    struct latent latent;
    struct moe moe;
    const char *at,
        *out; /* of the delta rule's layers: what stands before its tensors' names, and the last projection */
    uint32_t heads, width; /* of them: keys and values of a head are alike */
    uint32_t taps, act, dense;
    bool low; /* decays and gates come from two matrices, of few columns between them */
    bool bounded;
    float bound;
    bool (*attends)(struct build *b, const struct kimi *k, uint32_t layer);
    uint32_t group; /* of so many layers the last attends; Kimi Linear without a list: of four, but not the first */
};

static const char *named(char out[BUILD_NAME_BYTES], const struct kimi *k, const char *tensor)
{
    snprintf(out, BUILD_NAME_BYTES, "%s.%s", k->at, tensor);
    return out;
}

/* One of q, k and v through its own short convolution: columns [part * width, ...) of from to those of to. */
static void project(struct build *b, const struct kimi *k, struct plan_view to, struct plan_view from,
                    struct plan_view src, uint32_t part)
{
    static const char *const matrix[3] = {"q_proj", "k_proj", "v_proj"};
    static const char *const taps[3] = {"q_conv1d.weight", "k_conv1d.weight", "v_conv1d.weight"};
    uint32_t width = k->heads * k->width;
    struct op_conv o = {.src = view_at(from, (uint64_t)part * width),
                        .dst = view_at(to, (uint64_t)part * width),
                        .width = width,
                        .taps = k->taps,
                        .bias = PLAN_NONE,
                        .act = k->act};
    char name[BUILD_NAME_BYTES];

    build_linear(b, o.src, src, named(name, k, matrix[part]), width, b->hidden, false);
    o.weight = build_vector(b, named(name, k, taps[part]), (uint64_t)width * k->taps);
    o.state = program_state(b->p, (uint64_t)(k->taps - 1) * width);
    if (build_ok(b)) program_op(b->p, OP_CONV, b->layer)->conv = o;
}

/* All columns of the heads, by one matrix (f_proj) or two (f_a_proj, f_b_proj). */
static void gates(struct build *b, const struct kimi *k, struct plan_view dst, struct plan_view src, char letter)
{
    uint64_t width = (uint64_t)k->heads * k->width;
    struct plan_view low = build_view(b, BUF_T2, k->width, 0);
    char name[BUILD_NAME_BYTES], tensor[16];

    if (!k->low) {
        snprintf(tensor, sizeof tensor, "%c_proj", letter);
        build_linear(b, dst, src, named(name, k, tensor), width, b->hidden, false);
        return;
    }
    snprintf(tensor, sizeof tensor, "%c_a_proj", letter);
    build_linear(b, low, src, named(name, k, tensor), k->width, b->hidden, false);
    snprintf(tensor, sizeof tensor, "%c_b_proj", letter);
    build_linear(b, dst, low, named(name, k, tensor), width, k->width, false);
}

static void delta(struct build *b, const struct kimi *k, struct plan_view out, struct plan_view qkv,
                  struct plan_view src)
{
    uint64_t width = (uint64_t)k->heads * k->width;
    struct op_delta o = {.q = qkv,
                         .k = view_at(qkv, width),
                         .v = view_at(qkv, 2 * width),
                         .a = build_view(b, BUF_V, width, 0),
                         .b = build_view(b, BUF_K, k->heads, 0),
                         .dst = out,
                         .heads = k->heads,
                         .key_heads = k->heads,
                         .dk = k->width,
                         .dv = k->width,
                         .flags = DELTA_CHANNELS | (k->bounded ? DELTA_BOUNDED : 0) |
                                  (b->t->changes.decay ? DELTA_RATES : 0),
                         .scale = (float)(1 / sqrt((double)k->width)),
                         .bound = k->bounded ? k->bound : 0};
    char name[BUILD_NAME_BYTES];

    gates(b, k, o.a, src, 'f');
    build_linear(b, o.b, src, named(name, k, "b_proj"), k->heads, b->hidden, false);
    o.a_log = build_vector(b, named(name, k, "A_log"), k->heads);
    o.dt_bias = build_vector(b, named(name, k, "dt_bias"), width);
    o.state = program_state(b->p, width * k->width);
    if (build_ok(b)) program_op(b->p, OP_DELTA, b->layer)->delta = o;
}

static void mix(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct kimi *k = s->own;
    uint64_t width = (uint64_t)k->heads * k->width;
    struct plan_view raw = build_view(b, BUF_Q, 3 * width, 0), qkv = build_view(b, BUF_T1, 3 * width, 0),
                     out = build_view(b, BUF_A, width, 0);
    char name[BUILD_NAME_BYTES];

    for (uint32_t part = 0; part < 3; part++) project(b, k, qkv, raw, src, part);
    delta(b, k, out, qkv, src);
    build_head_norm(b, out, out, k->heads, k->width, named(name, k, "o_norm"));
    gates(b, k, raw, src, 'g');
    build_act(b, out, raw, out, width, ACT_SIGMOID, 0);
    build_linear(b, dst, out, named(name, k, k->out), b->hidden, width, false);
}

static void attend(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct kimi *k = s->own;

    latent_attention(b, &k->latent, &s->attention, dst, src);
}

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct kimi *k = s->own;

    s->attend = k->attends(b, k, i) ? attend : mix;
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct kimi *k = s->own;

    if (moe_layer_is_sparse(b, b->layer, k->dense))
        stack_moe(b, &k->moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

/* ---- the config ---- */

/* Of a field's two names, the one that the config gives. */
static const char *either(const struct build *b, const char *name, const char *other)
{
    return config_gives(b->c, other) ? other : name;
}

static void read_experts(struct build *b, struct kimi *k, uint32_t usual_groups, uint32_t usual_chosen)
{
    const char *chosen = either(b, "num_experts_per_tok", "num_experts_per_token");
    uint32_t groups = config_size_or(b->c, either(b, "n_group", "num_expert_group"), 1, 65536, usual_groups, b->e);
    uint32_t shared = config_size_or(b->c, either(b, "n_shared_experts", "num_shared_experts"), 0, 64, 1, b->e);

    k->moe = (struct moe){.experts = moe_experts(b),
                          .top = config_size(b->c, chosen, 1, 65536, b->e),
                          .inter = config_size(b->c, "moe_intermediate_size", 1, 1u << 18, b->e),
                          .score = SCORE_SIGMOID,
                          .scale = (float)config_number_or(b->c, "routed_scaling_factor", 1, b->e),
                          .norm_eps = 1e-20f,
                          .act = k->act};
    k->moe.shared = (struct mlp){.inter = shared * k->moe.inter, .act = k->act};
    if (config_bool_or(b->c, either(b, "norm_topk_prob", "moe_renormalize"), true, b->e))
        k->moe.flags |= ROUTER_NORMALIZE;
    if (groups > 1) {
        k->moe.flags |= ROUTER_GROUP_TOP2;
        k->moe.groups = groups;
        k->moe.top_groups = config_size_or(b->c, "topk_group", 1, 65536, usual_chosen, b->e);
    }
}

static struct stack kimi(struct build *b, struct kimi *k, double eps)
{
    struct stack s;

    build_sizes(b);
    if (config_gives(b->c, "model_max_length")) /* another name of max_position_embeddings */
        b->limit = config_length_or(b->c, "model_max_length", b->limit, b->e);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", eps);
    k->act = build_activation(b, "hidden_act", ACT_SILU);
    s = stack_llama(b, NULL);
    s.mlp.act = k->act;
    s.tied = build_tied(b);
    s.own = k;
    s.before_layer = before_layer;
    s.feed = feed;
    return s;
}

static void check_width(struct build *b, const struct kimi *k, const char *key)
{
    if (build_ok(b) && (uint64_t)k->heads * k->width > 1u << 22)
        config_fault(b->c, b->e, key, "%u heads of %u columns are out of range", k->heads, k->width);
}

/* ---- Kimi Linear ---- */

/* A size of linear_attn_config, or under the name that a saved config has. */
static uint32_t linear_size(struct build *b, const char *key, const char *saved, uint32_t least, uint32_t most)
{
    const json_t *own = config_field(b->c, "linear_attn_config", false);
    char where[80];
    double x;

    if (!own || !json_object_get(own, key)) return config_size(b->c, saved, least, most, b->e);
    x = config_object_number(b->c, own, "linear_attn_config", key, 0, b->e);
    snprintf(where, sizeof where, "linear_attn_config.%s", key);
    if (build_ok(b) && !(x >= least && x <= most && x == floor(x)))
        config_fault(b->c, b->e, where, "%g is not a whole number from %u to %u", x, least, most);
    return build_ok(b) ? (uint32_t)x : least;
}

/* Whether a list of layers, which counts from 1, has layer i. */
static bool lists(const json_t *list, uint32_t i)
{
    for (size_t n = 0; n < json_array_size(list); n++)
        if (json_integer_value(json_array_get(list, n)) == (json_int_t)i + 1) return true;
    return false;
}

static bool kimi_attends(struct build *b, const struct kimi *k, uint32_t i)
{
    const json_t *own = config_field(b->c, "linear_attn_config", false);
    const json_t *full = json_object_get(own, "full_attn_layers"), *linear = json_object_get(own, "kda_layers");

    (void)k;
    if (config_field(b->c, "layer_types", false)) return !build_layer_is(b, i, "linear_attention", false);
    if (!full || !linear) return i && i % 4 == 0;
    if (lists(full, i) == lists(linear, i))
        config_fault(b->c, b->e, "linear_attn_config",
                     "layer %u, counted from 1, is in %s of kda_layers and full_attn_layers", i + 1,
                     lists(full, i) ? "both" : "neither");
    return lists(full, i);
}

void family_kimi_linear(struct build *b)
{
    struct kimi k = {.at = "self_attn", .out = "o_proj", .low = true, .attends = kimi_attends};
    struct stack s = kimi(b, &k, 1e-5);
    const char *score = config_string_or(b->c, "moe_router_activation_func", "sigmoid", b->e);

    k.latent = latent_read_unrotated(b, "self_attn");
    if (!config_bool_or(b->c, "mla_use_nope", true, b->e))
        config_fault(b->c, b->e, "mla_use_nope", "false is not supported: its attention has no positions");
    if (strcmp(score, "sigmoid"))
        config_fault(b->c, b->e, "moe_router_activation_func", "\"%.40s\" is not supported", score);
    if (config_size_or(b->c, "moe_layer_freq", 1, 65536, 1, b->e) != 1)
        config_fault(b->c, b->e, "moe_layer_freq", "only 1 is supported");
    k.width = linear_size(b, "head_dim", "linear_head_dim", 1, 1u << 16);
    k.heads = linear_size(b, "num_heads", "linear_num_heads", 1, 65536);
    k.taps = linear_size(b, "short_conv_kernel_size", "linear_conv_kernel_dim", 2, 64);
    k.dense = config_size_or(b->c, "first_k_dense_replace", 0, 10000, 1, b->e);
    check_width(b, &k, "linear_attn_config");
    read_experts(b, &k, 1, 1);
    k.moe.router = "block_sparse_moe.gate";
    k.moe.correction = "block_sparse_moe.gate.e_score_correction_bias";
    k.moe.list = "block_sparse_moe.experts";
    k.moe.gate = "w1";
    k.moe.up = "w3";
    k.moe.down = "w2";
    k.moe.shared.gate = "block_sparse_moe.shared_experts.gate_proj";
    k.moe.shared.up = "block_sparse_moe.shared_experts.up_proj";
    k.moe.shared.down = "block_sparse_moe.shared_experts.down_proj";
    s.attention.scale = k.latent.scale;
    if (build_ok(b)) stack_build(b, &s);
}

/* As GGUF. */
static const struct gguf_name kimi_names[] = {
    {"attn_q_a", "self_attn.q_a_proj", GGUF_AS_IS},
    {"attn_q_a_norm", "self_attn.q_a_layernorm", GGUF_AS_IS},
    {"attn_q_b", "self_attn.q_b_proj", GGUF_AS_IS},
    {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa", GGUF_AS_IS},
    {"attn_kv_a_norm", "self_attn.kv_a_layernorm", GGUF_AS_IS},
    {"attn_kv_b", "self_attn.kv_b_proj", GGUF_AS_IS},
    {"attn_k_b", "self_attn.k_b_proj", GGUF_HALF},
    {"attn_v_b", "self_attn.v_b_proj", GGUF_HALF},
    {"ssm_conv1d_q", "self_attn.q_conv1d", GGUF_AS_IS},
    {"ssm_conv1d_k", "self_attn.k_conv1d", GGUF_AS_IS},
    {"ssm_conv1d_v", "self_attn.v_conv1d", GGUF_AS_IS},
    {"ssm_f_a", "self_attn.f_a_proj", GGUF_AS_IS},
    {"ssm_f_b", "self_attn.f_b_proj", GGUF_AS_IS},
    {"ssm_g_a", "self_attn.g_a_proj", GGUF_AS_IS},
    {"ssm_g_b", "self_attn.g_b_proj", GGUF_AS_IS},
    {"ssm_beta", "self_attn.b_proj", GGUF_AS_IS},
    {"ssm_a", "self_attn.A_log", GGUF_AS_IS},
    {"ssm_dt", "self_attn.dt_bias", GGUF_BARE},
    {"ssm_norm", "self_attn.o_norm", GGUF_AS_IS},
    {"ffn_gate_inp", "block_sparse_moe.gate", GGUF_AS_IS},
    {"exp_probs_b", "block_sparse_moe.gate.e_score_correction_bias", GGUF_BARE},
    {"ffn_gate_exps", "block_sparse_moe.switch_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "block_sparse_moe.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "block_sparse_moe.switch_mlp.down_proj", GGUF_AS_IS},
    {"ffn_gate_shexp", "block_sparse_moe.shared_experts.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "block_sparse_moe.shared_experts.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "block_sparse_moe.shared_experts.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* llama.cpp weighs the chosen experts 1 together, whatever a file says. */
static void kimi_config(struct gguf_values *v)
{
    uint64_t scored = 2;

    gguf_value_int(v, "expert_gating_func", &scored);
    if (scored != 2)
        gguf_refuse(v, "expert_gating_func", "%llu is not supported, 2 (sigmoid) is", (unsigned long long)scored);
    gguf_mixed_layers(v, "linear_attention");
    gguf_latent_sizes(v);
    gguf_deepseek_experts(v);
    gguf_set_flag(v, "norm_topk_prob", true);
    gguf_set_int(v, "linear_num_heads", v->heads);
    gguf_set_int(v, "linear_head_dim", gguf_value_needed(v, "kda.head_dim"));
    gguf_set_int(v, "linear_conv_kernel_dim", gguf_value_needed(v, "ssm.conv_kernel"));
}

const struct gguf_family gguf_kimi_linear = {
    .architecture = "kimi-linear",
    .class = "KimiLinearForCausalLM",
    .type = "kimi_linear",
    .names = kimi_names,
    .changes = {.decay = true},
    .latent = true,
    .mixed = true,
    .unwritten = true,
    .config = kimi_config,
};

/* ---- Ling ---- */

static bool ling_attends(struct build *b, const struct kimi *k, uint32_t i)
{
    return !build_layer_is(b, i, "linear_attention", (i + 1) % k->group != 0);
}

void family_bailing_hybrid(struct build *b)
{
    struct kimi k = {.at = "attention", .out = "dense", .attends = ling_attends};
    struct stack s;

    build_names(b, "model.", "layers", "word_embeddings");
    s = kimi(b, &k, 1e-6);
    k.latent = latent_read(b, "attention", ROPE_PAIRS);
    k.latent.out = "dense";
    k.latent.gate = "g_proj";
    k.width = config_size(b->c, either(b, "head_dim", "linear_head_dim"), 1, 1u << 16, b->e);
    k.heads = config_size(b->c, either(b, "num_attention_heads", "linear_num_heads"), 1, 65536, b->e);
    k.taps = config_size_or(b->c, either(b, "short_conv_kernel_size", "linear_conv_kernel_dim"), 2, 64, 4, b->e);
    k.group = config_size_or(b->c, "layer_group_size", 1, 10000, 6, b->e);
    k.dense = config_size_or(b->c, "first_k_dense_replace", 0, 10000, 2, b->e);
    k.bounded = config_bool_or(b->c, "kda_safe_gate", true, b->e);
    k.bound = (float)config_number_or(b->c, "kda_lower_bound", -5, b->e);
    if (!(k.bound <= 0)) config_fault(b->c, b->e, "kda_lower_bound", "%g is above 0", (double)k.bound);
    check_width(b, &k, "head_dim");
    read_experts(b, &k, 8, 4);
    k.moe.router = "mlp.gate";
    k.moe.correction = "mlp.gate.expert_bias";
    k.moe.list = "mlp.experts";
    k.moe.gate = "gate_proj";
    k.moe.up = "up_proj";
    k.moe.down = "down_proj";
    k.moe.shared.gate = "mlp.shared_experts.gate_proj";
    k.moe.shared.up = "mlp.shared_experts.up_proj";
    k.moe.shared.down = "mlp.shared_experts.down_proj";
    s.embed = "word_embeddings";
    s.attention.scale = k.latent.scale;
    if (build_ok(b)) stack_build(b, &s);
}
