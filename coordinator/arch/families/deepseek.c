/* DeepSeek V2, V3, R1 and Kimi K2, V3.2 and GLM-5, GLM-4.7-Flash, Mistral 4: latent attention (latent.h) and experts. Reference:
 * DeepSeek-V2 (arXiv 2405.04434), transformers, modeling_deepseek_v2.py, modeling_deepseek_v3.py, modeling_glm4_moe_lite.py,
 * modeling_mistral4.py. */
#include "coordinator/arch/families/deepseek.h"
#include "coordinator/arch/families/deepseek_index.h"
#include "coordinator/arch/families/latent.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/gguf_tell.h"

#include <stdlib.h>
#include <string.h>

struct deepseek {
    struct deepseek_moe experts; /* first: see deepseek_feed() */
    struct latent latent;
};

static void attend(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct deepseek *d = s->own;

    latent_attention(b, &d->latent, &s->attention, dst, src);
}

static struct moe shared_parts(struct build *b)
{
    struct moe m = moe_named(b);

    m.inter = config_size(b->c, "moe_intermediate_size", 1, 1u << 24, b->e);
    m.act = m.shared.act = build_activation(b, "hidden_act", ACT_SILU);
    m.shared.inter = moe_shared_inter(b, m.inter);
    m.scale = (float)config_number_or(b->c, "routed_scaling_factor", 1, b->e);
    return m;
}

static void read_groups(struct build *b, struct moe *m)
{
    m->groups = config_size_or(b->c, "n_group", 0, 65536, 0, b->e);
    m->top_groups = config_size_or(b->c, "topk_group", 0, 65536, m->groups, b->e);
    if (m->groups == 1) m->groups = m->top_groups = 0;
}

static uint32_t dense_layers(struct build *b)
{
    return config_size_or(b->c, "first_k_dense_replace", 0, 1u << 20, 0, b->e);
}

struct deepseek_moe deepseek_v3_moe(struct build *b)
{
    struct deepseek_moe d = {.moe = shared_parts(b), .dense_layers = dense_layers(b)};

    read_groups(b, &d.moe);
    d.moe.score = SCORE_SIGMOID;
    d.moe.flags = ROUTER_GROUP_TOP2;
    d.moe.norm_eps = 1e-20f;
    d.moe.correction = "mlp.gate.e_score_correction_bias";
    if (config_bool_or(b->c, "norm_topk_prob", true, b->e)) d.moe.flags |= ROUTER_NORMALIZE;
    return d;
}

static struct deepseek_moe deepseek_v2_moe(struct build *b)
{
    struct deepseek_moe d = {.moe = shared_parts(b), .dense_layers = dense_layers(b)};
    const char *method = config_string_or(b->c, "topk_method", "greedy", b->e);

    d.moe.shared.up_bias = d.moe.shared.down_bias = config_bool_or(b->c, "mlp_bias", false, b->e);
    d.moe.score = SCORE_SOFTMAX;
    if (!strcmp(method, "group_limited_greedy"))
        read_groups(b, &d.moe);
    else if (strcmp(method, "greedy"))
        config_fault(b->c, b->e, "topk_method", "\"%.40s\" is not known; greedy and group_limited_greedy are", method);
    return d;
}

void deepseek_feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct deepseek_moe *d = s->own;

    if (moe_layer_is_sparse(b, b->layer, d->dense_layers))
        stack_moe(b, &d->moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

static void deepseek(struct build *b, struct deepseek_moe (*experts)(struct build *), uint32_t style, double eps,
                     bool tunes, struct deepseek_index *index)
{
    struct deepseek d;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", eps);
    d.latent = latent_read_as(b, "self_attn", style, (struct rope_request){.tunes = tunes});
    if (index) deepseek_index_use(b, index, &d.latent);
    d.experts = experts(b);
    s = stack_llama(b, NULL);
    s.attention.scale = d.latent.scale;
    s.attention.tune_mul = d.latent.rope.tune_mul;
    s.attention.tune_floor = d.latent.rope.tune_floor;
    s.attention.tune_zero = true;
    s.mlp.act = d.experts.moe.act;
    s.mlp.up_bias = s.mlp.down_bias = d.experts.moe.shared.up_bias;
    s.tied = build_tied(b);
    s.own = &d;
    s.attend = attend;
    s.feed = deepseek_feed;
    stack_build(b, &s);
}

static uint32_t style_of(struct build *b)
{
    return config_bool_or(b->c, "rope_interleave", true, b->e) ? ROPE_PAIRS : ROPE_HALVES;
}

void family_deepseek_v2(struct build *b)
{
    deepseek(b, deepseek_v2_moe, ROPE_PAIRS, 1e-6, false, NULL);
}

void family_deepseek_v3(struct build *b)
{
    deepseek(b, deepseek_v3_moe, style_of(b), 1e-6, false, NULL);
}

/* Without a list of its layers, the first has no experts. */
static struct deepseek_moe glm4_lite_moe(struct build *b)
{
    struct deepseek_moe d = deepseek_v3_moe(b);

    d.dense_layers = config_size_or(b->c, "first_k_dense_replace", 0, 1u << 20, 1, b->e);
    return d;
}

void family_glm4_moe_lite(struct build *b)
{
    deepseek(b, glm4_lite_moe, style_of(b), 1e-5, false, NULL);
}

static struct deepseek_moe mistral4_moe(struct build *b)
{
    struct deepseek_moe d = deepseek_v3_moe(b);

    d.moe.score = SCORE_SOFTMAX;
    d.moe.correction = NULL;
    if (build_ok(b) && d.dense_layers < b->layers) moe_find_fused(b, &d.moe, d.dense_layers);
    return d;
}

void family_mistral4(struct build *b)
{
    deepseek(b, mistral4_moe, style_of(b), 1e-6, true, NULL);
}

/* Keys that say what everybody does; another value would be another model. */
static struct deepseek_moe indexed_moe(struct build *b)
{
    static const char *const rules[][2] = {{"scoring_func", "sigmoid"}, {"topk_method", "noaux_tc"}};
    struct deepseek_moe d = deepseek_v3_moe(b);

    d.dense_layers = config_size_or(b->c, "first_k_dense_replace", 0, 1u << 20, 3, b->e);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const char *value = config_string_or(b->c, rules[i][0], rules[i][1], b->e);

        if (build_ok(b) && strcmp(value, rules[i][1]))
            config_fault(b->c, b->e, rules[i][0], "\"%.40s\" is not supported, %s is", value, rules[i][1]);
    }
    return d;
}

/* The index rotates by halves, attention in pairs. */
void family_deepseek_v32(struct build *b)
{
    struct deepseek_index x = {.style = ROPE_HALVES};

    deepseek(b, indexed_moe, ROPE_PAIRS, 1e-6, false, &x);
}

void family_glm_moe_dsa(struct build *b)
{
    struct deepseek_index x = {.style = ROPE_PAIRS, .can_share = true};

    deepseek(b, indexed_moe, ROPE_PAIRS, 1e-5, false, &x);
}

/* ---- as GGUF ---- */

/* Where they count: of V2's folders, some have numbers that its method does not read. */
static void tell_groups(struct gguf_values *v)
{
    const struct plan_shm *p = v->tells ? v->tells->program : NULL;

    for (uint64_t i = 0; p && i < p->ops.count; i++) {
        const struct plan_op *op = &plan_ops(p)[i];

        if (op->kind != OP_ROUTER || op->router.groups < 2) continue;
        gguf_tell_int(v, "expert_group_count", op->router.groups);
        gguf_tell_int(v, "expert_group_used_count", op->router.top_groups);
    }
}

void gguf_deepseek_experts(struct gguf_values *v)
{
    uint64_t groups = 1, chosen = 1;

    gguf_set_int(v, "n_routed_experts", v->experts);
    gguf_field_int(v, "expert_shared_count", "n_shared_experts", 0);
    gguf_field_int(v, "leading_dense_block_count", "first_k_dense_replace", 0);
    gguf_field_real(v, "expert_weights_scale", "routed_scaling_factor", 1);
    gguf_field_flag(v, "expert_weights_norm", "norm_topk_prob", false);
    tell_groups(v);
    gguf_value_int(v, "expert_group_count", &groups);
    gguf_value_int(v, "expert_group_used_count", &chosen);
    gguf_set_int(v, "n_group", groups ? groups : 1);
    gguf_set_int(v, "topk_group", chosen ? chosen : 1);
    gguf_set_text(v, "topk_method", groups > 1 ? "group_limited_greedy" : "greedy");
}

/* Heads as they are meant: files since 2025 give those of the latent vector as attention.key_length. */
void gguf_latent_sizes(struct gguf_values *v)
{
    uint64_t key = 0, value = 0, rank = 0;

    if (!gguf_value_int(v, "attention.key_length_mla", &key)) key = gguf_value_needed(v, "attention.key_length");
    if (!gguf_value_int(v, "attention.value_length_mla", &value))
        value = gguf_value_needed(v, "attention.value_length");
    if (key <= v->rope_dim)
        gguf_refuse(v, "rope.dimension_count", "%llu of %llu columns of a key", (unsigned long long)v->rope_dim,
                    (unsigned long long)key);
    if (gguf_value_int(v, "attention.q_lora_rank", &rank) && rank)
        gguf_set_int(v, "q_lora_rank", rank);
    else
        gguf_set_none(v, "q_lora_rank");
    gguf_set_int(v, "kv_lora_rank", gguf_value_needed(v, "attention.kv_lora_rank"));
    gguf_set_int(v, "qk_nope_head_dim", key - v->rope_dim);
    gguf_set_int(v, "qk_rope_head_dim", v->rope_dim);
    gguf_set_int(v, "v_head_dim", value);
    gguf_set_int(v, "num_key_value_heads", v->heads);
    gguf_set_none(v, "head_dim");
}

/* The same sizes for a file: as llama.cpp has them, keys of which are the latent vector and what rotates. */
static void tell_latent_sizes(struct gguf_values *v)
{
    const struct config *c = v->tells->config;
    struct error unread = {0};
    uint32_t rank = config_size_or(c, "kv_lora_rank", 1, 1u << 20, 0, &unread);
    uint32_t nope = config_size_or(c, "qk_nope_head_dim", 1, 1u << 16, 0, &unread);
    uint32_t rotated = config_size_or(c, "qk_rope_head_dim", 1, 1u << 16, 0, &unread);

    gguf_tell_int(v, "attention.head_count_kv", 1);
    gguf_tell_int(v, "attention.key_length", rank + rotated);
    gguf_tell_int(v, "attention.value_length", rank);
    gguf_tell_int(v, "attention.key_length_mla", nope + rotated);
    gguf_tell_field(v, "attention.value_length_mla", "v_head_dim");
    gguf_tell_field(v, "attention.q_lora_rank", "q_lora_rank");
    gguf_tell_int(v, "attention.kv_lora_rank", rank);
    gguf_tell_int(v, "rope.dimension_count", rotated);
}

static void tell_scores(struct gguf_values *v)
{
    for (uint64_t i = 0; v->tells && i < v->tells->program->ops.count; i++) {
        const struct plan_op *op = &plan_ops(v->tells->program)[i];

        if (op->kind == OP_ROUTER) gguf_tell_int(v, "expert_gating_func", op->router.score == SCORE_SIGMOID ? 2 : 1);
    }
}

/* Attention and experts, of whatever class. scored: how experts are, where no value says it; returns what holds. */
static uint64_t latent_config(struct gguf_values *v, uint64_t scored)
{
    if (v->tells) {
        tell_latent_sizes(v);
        gguf_deepseek_experts(v);
        tell_scores(v);
        return scored;
    }
    gguf_value_int(v, "expert_gating_func", &scored);
    if (scored != 1 && scored != 2)
        gguf_refuse(v, "expert_gating_func", "%llu is not supported; 1 (softmax) and 2 (sigmoid) are",
                    (unsigned long long)scored);
    gguf_set_flag(v, "rope_interleave", true);
    gguf_set_flag(v, "attention_bias", gguf_layer_has(v, "attn_kv_a_mqa.bias"));
    gguf_set_flag(v, "mlp_bias", gguf_layer_has(v, "ffn_down.bias") || gguf_layer_has(v, "ffn_down_shexp.bias"));
    gguf_latent_sizes(v);
    gguf_deepseek_experts(v);
    return scored;
}

/* How experts are scored tells V3 and its kin from V2; where no value says it, the bias of the choice, which V2 has not. Those
 * that softmax scores and that weigh 1 together are Mistral's (Large 3, Small 4), under this name or their own. */
static void deepseek_config(struct gguf_values *v)
{
    static const char *const classes[][2] = {{"DeepseekV2ForCausalLM", "deepseek_v2"},
                                             {"DeepseekV3ForCausalLM", "deepseek_v3"},
                                             {"Mistral4ForCausalLM", "mistral4"}};
    int class = latent_config(v, gguf_layer_has(v, "exp_probs_b.bias") ? 2 : 1) == 2;

    if (!class && json_is_true(json_object_get(v->out, "norm_topk_prob"))) class = 2;
    gguf_set(v, "architectures", json_pack("[s]", classes[class][0]));
    gguf_set_text(v, "model_type", classes[class][1]);
    if (class < 2) return;
    gguf_plain_rotary(v);
    gguf_tuning(v, "attention.temperature_length", 0);
}

#define GROWS_BY 0.1 /* of all that was published; llama.cpp's converter does not write it of these */

static void mistral4_config(struct gguf_values *v)
{
    latent_config(v, 1);
    gguf_plain_rotary(v);
    gguf_tuning(v, "attention.temperature_length", GROWS_BY);
}

/* The index that chooses what attention looks at. */
static void index_config(struct gguf_values *v)
{
    static const char *const fields[][2] = {{"attention.indexer.head_count", "index_n_heads"},
                                            {"attention.indexer.key_length", "index_head_dim"},
                                            {"attention.indexer.top_k", "index_topk"}};

    if (latent_config(v, 2) != 2)
        gguf_refuse(v, "expert_gating_func", "1 is not supported for this architecture; 2 (sigmoid) is");
    gguf_set_text(v, "topk_method", "noaux_tc");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        gguf_tell_field(v, fields[i][0], fields[i][1]);
        if (!v->tells) gguf_set_int(v, fields[i][1], gguf_value_needed(v, fields[i][0]));
    }
}

#define LONG_CONTEXT 1048576u /* GLM-5.2's; those before it have an index in each layer */

/* Files of GLM-5.2 that do not say it: layers 0 to 2 have an index, and then each fourth. */
static bool has_index(struct gguf_values *v, const struct gguf_value *types, uint64_t layer)
{
    uint64_t context = 0;

    gguf_value_int(v, "context_length", &context);
    if (types) return gguf_truth(types, layer);
    return context < LONG_CONTEXT || layer < 2 || (layer - 2) % 4 == 0;
}

static void tell_index_layers(struct gguf_values *v, const char *key)
{
    const struct plan_shm *p = v->tells->program;
    uint8_t *has = calloc(v->layers + 1, 1);

    for (uint64_t i = 0; has && i < p->ops.count; i++)
        if (plan_ops(p)[i].kind == OP_INDEX && plan_ops(p)[i].layer < v->layers) has[plan_ops(p)[i].layer] = 1;
    gguf_tell_flags(v, key, has, v->layers);
    free(has);
}

static void glm_dsa_config(struct gguf_values *v)
{
    static const char key[] = "attention.indexer.types";
    const struct gguf_value *types = gguf_ask(v, key);
    json_t *list;

    index_config(v);
    if (v->tells) {
        tell_index_layers(v, key);
        return;
    }
    if (types && (!types->array || !gguf_is_kind(types, GGUF_BOOLS) || types->count < v->layers)) {
        gguf_refuse(v, key, "a list of one boolean for each of %llu layers was expected",
                    (unsigned long long)v->layers);
        return;
    }
    list = json_array();
    for (uint64_t i = 0; i < v->layers && !v->e->code; i++)
        if (json_array_append_new(list, json_string(has_index(v, types, i) ? "full" : "shared"))) break;
    gguf_set(v, "indexer_types", list);
}

#define LATENT_NAMES                                                                                                   \
    {"attn_q_a", "self_attn.q_a_proj", GGUF_AS_IS}, {"attn_q_a_norm", "self_attn.q_a_layernorm", GGUF_AS_IS},          \
        {"attn_q_b", "self_attn.q_b_proj", GGUF_AS_IS}, {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa", GGUF_AS_IS}, \
        {"attn_kv_a_norm", "self_attn.kv_a_layernorm", GGUF_AS_IS}, {"attn_kv_b", "self_attn.kv_b_proj", GGUF_AS_IS},  \
        {"attn_k_b", "self_attn.k_b_proj", GGUF_HALF}, {"attn_v_b", "self_attn.v_b_proj", GGUF_HALF},                  \
        {"ffn_gate_shexp", "mlp.shared_experts.gate_proj", GGUF_AS_IS},                                                \
        {"ffn_up_shexp", "mlp.shared_experts.up_proj", GGUF_AS_IS},                                                    \
    {                                                                                                                  \
        "ffn_down_shexp", "mlp.shared_experts.down_proj", GGUF_AS_IS                                                   \
    }

static const struct gguf_name index_names[] = {
    LATENT_NAMES,
    {"indexer.attn_q_b", "self_attn.indexer.wq_b", GGUF_AS_IS},
    {"indexer.attn_k", "self_attn.indexer.wk", GGUF_AS_IS},
    {"indexer.k_norm", "self_attn.indexer.k_norm", GGUF_AS_IS},
    {"indexer.proj", "self_attn.indexer.weights_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static const struct gguf_name deepseek_names[] = {
    LATENT_NAMES,
    {NULL, NULL, 0},
};

static const char *const deepseek_also[] = {"DeepseekV2ForCausalLM", "Glm4MoeLiteForCausalLM", NULL};

const struct gguf_family gguf_deepseek2 = {
    .architecture = "deepseek2",
    .class = "DeepseekV3ForCausalLM",
    .also = deepseek_also,
    .type = "deepseek_v3",
    .names = deepseek_names,
    .latent = true,
    .config = deepseek_config,
};

const struct gguf_family gguf_mistral4 = {
    .architecture = "mistral4",
    .class = "Mistral4ForCausalLM",
    .type = "mistral4",
    .names = deepseek_names,
    .latent = true,
    .config = mistral4_config,
};

const struct gguf_family gguf_deepseek32 = {
    .architecture = "deepseek32",
    .class = "DeepseekV32ForCausalLM",
    .type = "deepseek_v32",
    .names = index_names,
    .latent = true,
    .config = index_config,
};

const struct gguf_family gguf_glm_dsa = {
    .architecture = "glm-dsa",
    .class = "GlmMoeDsaForCausalLM",
    .type = "glm_moe_dsa",
    .names = index_names,
    .latent = true,
    .config = glm_dsa_config,
};
