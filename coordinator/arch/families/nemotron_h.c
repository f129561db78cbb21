/* Nemotron-H and Nemotron 3: every layer is one block, of Mamba-2, of attention without positions, of a feed forward without
 * gate, or of experts of the same kind, which may stand in a space of fewer columns between two projections. Reference:
 * transformers, modeling_nemotron_h.py. */
#include "coordinator/arch/families/mamba.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct nemotron {
    struct mamba2 mixer;
    struct moe moe;
};

static void mix(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct nemotron *f = s->own;

    mamba2_mix(b, &f->mixer, dst, src);
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    stack_mlp(b, &s->mlp, dst, src);
}

static void experts(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct nemotron *f = s->own;
    uint32_t low = f->moe.hidden, table;
    struct plan_view beside, in, out;

    if (!low) {
        stack_moe(b, &f->moe, dst, src);
        return;
    }
    table = stack_route(b, &f->moe, src);
    beside = build_view(b, BUF_OUT2, b->hidden, 0);
    in = build_view(b, BUF_T1, low, 0);
    out = build_view(b, BUF_T2, low, 0);
    build_linear(b, in, src, "mixer.fc1_latent_proj", low, b->hidden, s->mlp.up_bias);
    stack_mlp(b, &f->moe.shared, beside, src);
    stack_experts(b, &f->moe, table, out, in);
    build_linear(b, dst, out, "mixer.fc2_latent_proj", b->hidden, low, s->mlp.up_bias);
    build_add(b, dst, dst, beside, b->hidden, 1, 1);
}

/* ---- which block a layer is: a letter each, or a list of names ---- */

static const char *pattern(struct build *b)
{
    return config_string_or(b->c, "hybrid_override_pattern", "ME*-", b->e); /* its class's, where nothing is said */
}

static const json_t *list_of(struct build *b)
{
    const json_t *list = config_field(b->c, "layers_block_type", false);

    return list ? list : config_field(b->c, "layer_types", false);
}

static uint32_t count_layers(struct build *b)
{
    const json_t *list = list_of(b);
    size_t n = list ? json_array_size(list) : build_ok(b) ? strlen(pattern(b)) : 0;
    const char *key = list ? "layers_block_type" : "hybrid_override_pattern";

    if (n < 1 || n > 10000) config_fault(b->c, b->e, key, "%zu layers are out of range", n);
    if (config_size_or(b->c, "num_hidden_layers", 1, 10000, (uint32_t)n, b->e) != n)
        config_fault(b->c, b->e, key, "it is of %zu layers, and num_hidden_layers is another number", n);
    return build_ok(b) ? (uint32_t)n : 1;
}

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    static const struct {
        char letter;
        const char *name, *older;
        void (*attend)(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src);
    } kinds[] = {{'M', "linear_attention", "mamba", mix},
                 {'*', "full_attention", "attention", NULL},
                 {'-', "mlp", "mlp", feed},
                 {'E', "moe", "moe", experts}};
    const json_t *list = list_of(b);
    const char *name = list ? json_string_value(json_array_get(list, i)) : NULL, *letters = list ? NULL : pattern(b);

    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (name ? !strcmp(kinds[k].name, name) || !strcmp(kinds[k].older, name)
                 : letters && kinds[k].letter == letters[i]) {
            s->attend = kinds[k].attend;
            return;
        }
    config_fault(b->c, b->e, list ? "layers_block_type" : "hybrid_override_pattern", "layer %u is of no known kind", i);
}

static uint32_t size_of(struct build *b, const char *key, const char *older, uint32_t least, uint32_t most,
                        uint32_t usual)
{
    return config_size_or(b->c, config_gives(b->c, older) ? older : key, least, most, usual, b->e);
}

static void read_mixer(struct build *b, struct mamba2 *m)
{
    const char *floor = config_gives(b->c, "mamba_dt_min") ? "mamba_dt_min" : "time_step_min";

    *m = (struct mamba2){.name = "mixer", .in = 1, .times = {1, 1, 1, 1, 1}, .out = 1};
    m->heads = config_size_or(b->c, "mamba_num_heads", 1, 65536, 128, b->e);
    m->width = config_size_or(b->c, "mamba_head_dim", 1, 1u << 16, 64, b->e);
    m->groups = size_of(b, "n_groups", "mamba_n_groups", 1, 65536, 8);
    m->states = config_size_or(b->c, "ssm_state_size", 1, 4096, 128, b->e);
    m->taps = size_of(b, "conv_kernel", "mamba_d_conv", 2, 64, 4);
    m->conv_bias =
        config_bool_or(b->c, config_gives(b->c, "mamba_conv_bias") ? "mamba_conv_bias" : "use_conv_bias", true, b->e);
    m->in_bias = m->out_bias = config_bool_or(b->c, "use_bias", false, b->e);
    m->act = build_activation(b, "mamba_hidden_act", ACT_SILU);
    m->dt_least = (float)config_number_or(b->c, floor, 0.001, b->e);
    m->dt_most = INFINITY;
    if (!(m->dt_least >= 0)) config_fault(b->c, b->e, floor, "%g is out of range", (double)m->dt_least);
    mamba2_check(b, m, (uint64_t)m->heads * m->width, "mamba_num_heads");
}

static void read_experts(struct build *b, const struct stack *s, struct moe *m)
{
    uint32_t groups = config_size_or(b->c, "n_group", 1, 65536, 1, b->e);

    *m = (struct moe){.experts = moe_experts(b),
                      .top = moe_experts_chosen(b),
                      .inter = config_size(b->c, "moe_intermediate_size", 1, 1u << 24, b->e),
                      .router = "mixer.gate",
                      .correction = "mixer.gate.e_score_correction_bias",
                      .score = SCORE_SIGMOID,
                      .scale = (float)config_number_or(b->c, "routed_scaling_factor", 1, b->e),
                      .norm_eps = 1e-20f,
                      .act = s->mlp.act,
                      .list = "mixer.experts",
                      .up = "up_proj",
                      .down = "down_proj",
                      .shared = s->mlp,
                      .hidden = config_size_or(b->c, "moe_latent_size", 1, 1u << 24, 0, b->e)};
    m->shared.up = "mixer.shared_experts.up_proj";
    m->shared.down = "mixer.shared_experts.down_proj";
    m->shared.inter = config_size(b->c, "moe_shared_expert_intermediate_size", 1, 1u << 24, b->e);
    if (config_bool_or(b->c, "norm_topk_prob", true, b->e)) m->flags |= ROUTER_NORMALIZE;
    if (groups > 1) {
        m->flags |= ROUTER_GROUP_TOP2;
        m->groups = groups;
        m->top_groups = config_size_or(b->c, "topk_group", 1, 65536, 1, b->e);
    }
}

void family_nemotron_h(struct build *b)
{
    struct nemotron f = {0};
    struct stack s;

    build_names(b, "backbone.", "layers", "embeddings");
    b->layers = count_layers(b);
    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "layer_norm_epsilon", 1e-5);
    s = stack_llama(b, NULL);
    s.attention.q = "mixer.q_proj";
    s.attention.k = "mixer.k_proj";
    s.attention.v = "mixer.v_proj";
    s.attention.o = "mixer.o_proj";
    s.mlp = (struct mlp){.up = "mixer.up_proj",
                         .down = "mixer.down_proj",
                         .inter = b->inter,
                         .act = build_activation(b, "mlp_hidden_act", ACT_RELU2)};
    s.mlp.up_bias = s.mlp.down_bias = config_bool_or(b->c, "mlp_bias", false, b->e);
    s.embed = "embeddings";
    s.final_norm = "norm_f";
    s.before_attention = "norm";
    s.one_block = true;
    s.tied = build_tied(b);
    s.own = &f;
    read_mixer(b, &f.mixer);
    read_experts(b, &s, &f.moe);
    s.before_layer = before_layer;
    if (build_ok(b)) stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name names[] = {
    {"attn_norm", "norm", GGUF_AS_IS},
    {"attn_q", "mixer.q_proj", GGUF_AS_IS},
    {"attn_k", "mixer.k_proj", GGUF_AS_IS},
    {"attn_v", "mixer.v_proj", GGUF_AS_IS},
    {"attn_output", "mixer.o_proj", GGUF_AS_IS},
    {"ffn_up", "mixer.up_proj", GGUF_AS_IS},
    {"ffn_down", "mixer.down_proj", GGUF_AS_IS},
    {"ffn_gate_inp", "mixer.gate", GGUF_AS_IS},
    {"exp_probs_b", "mixer.gate.e_score_correction_bias", GGUF_BARE},
    {"ffn_up_exps", "mixer.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "mixer.switch_mlp.down_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "mixer.shared_experts.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "mixer.shared_experts.down_proj", GGUF_AS_IS},
    {"ffn_latent_down", "mixer.fc1_latent_proj", GGUF_AS_IS},
    {"ffn_latent_up", "mixer.fc2_latent_proj", GGUF_AS_IS},
    MAMBA_NAMES("mixer"),
    {NULL, NULL, 0},
};

/* What a layer is shows in what it has. */
static void blocks(struct gguf_values *v)
{
    static const char *const kinds[][2] = {
        {"ssm_in", "linear_attention"}, {"attn_q", "full_attention"}, {"ffn_gate_inp", "moe"}, {"ffn_up", "mlp"}};
    const size_t count = sizeof kinds / sizeof *kinds;
    json_t *list = json_array();

    for (uint64_t i = 0; i < v->layers && !v->e->code; i++) {
        const struct gguf_tensor *t = NULL;
        char name[64];
        size_t k = 0;

        for (; k < count && !t; k += !t) {
            snprintf(name, sizeof name, "blk.%llu.%s.weight", (unsigned long long)i, kinds[k][0]);
            t = gguf_tensor(v->g, name);
        }
        if (!t) gguf_refuse(v, "block_count", "layer %llu has no tensors of any known kind", (unsigned long long)i);
        if (!t || json_array_append_new(list, json_string(kinds[k][1]))) break;
        if (!strcmp(kinds[k][1], "mlp")) gguf_set_int(v, "intermediate_size", t->dims[1]);
    }
    gguf_set(v, "layers_block_type", list);
}

/* Columns that a layer's feed forward has, its experts' too; which layers are of what kind shows in it. */
static void tell_layers(struct gguf_values *v)
{
    const struct plan_shm *p = v->tells->program;
    uint32_t *width = calloc(v->layers + 1, sizeof *width);
    bool experts = false;
    double eps = 0;

    for (uint64_t i = 0; width && i < p->ops.count; i++) {
        const struct plan_op *op = &plan_ops(p)[i];

        if (op->kind == OP_EXPERTS) width[op->layer] = plan_experts(p)[op->experts.table].inter;
        experts |= op->kind == OP_EXPERTS;
        if (op->kind == OP_NORM && eps == 0) eps = (double)op->norm.eps;
        if (op->kind == OP_ACT && op->act.kind == ACT_RELU2 && !width[op->layer]) width[op->layer] = op->act.width;
    }
    for (uint64_t i = 0; width && experts && i < v->layers; i++) /* one number for all that have any */
        if (width[i]) width[i] = plan_experts(p)[0].inter;
    gguf_tell_ints(v, "feed_forward_length", width, v->layers);
    free(width);
    gguf_tell_mixed(v, "attention.head_count_kv");
    gguf_tell_real(v, "attention.layer_norm_epsilon", eps); /* llama.cpp asks for this one too */
    if (!experts) return;
    gguf_tell_field(v, "expert_shared_feed_forward_length", "moe_shared_expert_intermediate_size");
    gguf_tell_int(v, "expert_shared_count", 1);
    gguf_tell_field(v, "moe_latent_size", "moe_latent_size");
}

static void nemotron_config(struct gguf_values *v)
{
    static const struct mamba2_fields fields = {"mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size",
                                                "conv_kernel",     "use_conv_bias",  "use_bias", NULL};
    uint64_t shared = 1;

    mamba2_config(v, &fields);
    if (v->tells) tell_layers(v);
    blocks(v);
    gguf_value_int(v, "expert_shared_feed_forward_length", &shared);
    gguf_set_int(v, "moe_shared_expert_intermediate_size", shared);
    if (!v->experts) { /* the family asks for experts whether a layer has some or not */
        gguf_set_int(v, "n_routed_experts", 1);
        gguf_set_int(v, "num_experts_per_tok", 1);
        gguf_set_int(v, "moe_intermediate_size", 1);
        return;
    }
    gguf_set_int(v, "n_routed_experts", v->experts);
    gguf_field_real(v, "expert_weights_scale", "routed_scaling_factor", 1);
    gguf_field_flag(v, "expert_weights_norm", "norm_topk_prob", false);
    gguf_field_int(v, "expert_group_count", "n_group", 1);
    gguf_field_int(v, "expert_group_used_count", "topk_group", 1);
    if (gguf_value_int(v, "moe_latent_size", &shared)) gguf_set_int(v, "moe_latent_size", shared);
}

/* Files without experts and with them. */
#define NEMOTRON(name, of)                                                                                             \
    {                                                                                                                  \
        .architecture = name, .class = "NemotronHForCausalLM", .type = "nemotron_h", .names = names,                   \
        .prefix = "backbone.", .embed = "embeddings", .norm = "norm_f", .changes = {.qk_pairs = true, .decay = true},  \
        .partial = true, /* nothing rotates, whatever the file says */                                                 \
            .mixed = true, .scans = true, .written_of = of, .config = nemotron_config,                                 \
    }

const struct gguf_family gguf_nemotron_h = NEMOTRON("nemotron_h", GGUF_DENSE);
const struct gguf_family gguf_nemotron_h_moe = NEMOTRON("nemotron_h_moe", GGUF_EXPERTS);
