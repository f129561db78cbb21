/* DeepSeek V2, V3, R1 and Kimi K2: latent attention and experts.
 *
 * Of each position one latent vector c and one rotated key r are cached, [kv_lora_rank + qk_rope_head_dim], and never the
 * heads' own keys and values. With W_uk, W_uv the two halves of a head's rows in kv_b_proj:
 *     score = q_nope . (W_uk c) + q_rope . r = [q_nope W_uk, q_rope] . [c, r]        head's output = W_uv (sum of p c)
 * so attention runs with one key head over the cached columns, of which the first kv_lora_rank are its values.
 * Reference: DeepSeek-V2 (arXiv 2405.04434), transformers, modeling_deepseek_v2.py, modeling_deepseek_v3.py. */
#include "coordinator/arch/families/deepseek.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"

#include <math.h>
#include <string.h>

#define LATENT_EPS 1e-6f /* of the norms inside attention, whatever rms_norm_eps says */

struct latent {
    struct deepseek_moe experts; /* first: see deepseek_feed() */
    struct rope_table rope;
    uint32_t q_rank, kv_rank, nope, rotated, value, style;
    bool bias;
};

static void latent_norm(struct build *b, struct plan_view x, const char *name, uint32_t width)
{
    struct op_norm o = {.src = x,
                        .dst = x,
                        .groups = 1,
                        .width = width,
                        .src_stride = width,
                        .dst_stride = width,
                        .kind = NORM_RMS,
                        .eps = LATENT_EPS,
                        .bias = PLAN_NONE};

    o.weight = build_vector(b, name, width);
    build_norm_op(b, &o);
}

/* [heads][nope + rotated] */
static struct plan_view make_q(struct build *b, const struct latent *l, struct plan_view src)
{
    uint64_t width = (uint64_t)b->heads * (l->nope + l->rotated);
    struct plan_view q = build_view(b, BUF_Q, width, 0), a;

    if (!l->q_rank) {
        build_linear(b, q, src, "self_attn.q_proj", width, b->hidden, false);
    } else {
        a = build_view(b, BUF_T1, l->q_rank, 0);
        build_linear(b, a, src, "self_attn.q_a_proj", l->q_rank, b->hidden, l->bias);
        latent_norm(b, a, "self_attn.q_a_layernorm.weight", l->q_rank);
        build_linear(b, q, a, "self_attn.q_b_proj", width, l->q_rank, false);
    }
    build_rope(b, view_at(q, l->nope), b->heads, l->nope + l->rotated, &l->rope, l->style);
    return q;
}

/* [kv_rank + rotated], as it is cached */
static struct plan_view make_kv(struct build *b, const struct latent *l, struct plan_view src)
{
    uint64_t width = (uint64_t)l->kv_rank + l->rotated;
    struct plan_view kv = build_view(b, BUF_K, width, 0);

    build_linear(b, kv, src, "self_attn.kv_a_proj_with_mqa", width, b->hidden, l->bias);
    latent_norm(b, kv, "self_attn.kv_a_layernorm.weight", l->kv_rank);
    build_rope(b, view_at(kv, l->kv_rank), 1, width, &l->rope, l->style);
    return kv;
}

static void head_product(struct build *b, const struct latent *l, uint32_t matrix, bool keys, struct plan_view dst,
                         uint32_t dst_stride, struct plan_view src, uint32_t src_stride)
{
    struct op_headmm o = {.src = src,
                          .dst = dst,
                          .matrix = matrix,
                          .heads = b->heads,
                          .rows = keys ? l->nope : l->value,
                          .row_stride = l->nope + l->value,
                          .row_off = keys ? 0 : l->nope,
                          .src_stride = src_stride,
                          .dst_stride = dst_stride,
                          .transposed = keys};

    if (build_ok(b)) program_op(b->p, OP_HEADMM, b->layer)->headmm = o;
}

/* W_uk and W_uv: halves of each head's rows in kv_b_proj, or matrices of their own, of which W_uk's heads are turned round
 * already (GGUF). A matrix that is built counts, so each is once. */
struct latent_weights {
    bool apart;
    uint32_t keys, values; /* the same where not apart */
};

static struct latent_weights latent_weights(struct build *b, const struct latent *l)
{
    struct latent_weights w = {0};

    w.apart = !build_has(b, "self_attn.kv_b_proj.weight") && build_has(b, "self_attn.k_b_proj.weight");
    if (w.apart) {
        w.keys = build_matrix(b, "self_attn.k_b_proj", (uint64_t)b->heads * l->kv_rank, l->nope);
        w.values = build_matrix(b, "self_attn.v_b_proj", (uint64_t)b->heads * l->value, l->kv_rank);
    } else {
        w.keys = w.values =
            build_matrix(b, "self_attn.kv_b_proj", (uint64_t)b->heads * (l->nope + l->value), l->kv_rank);
    }
    return w;
}

static void keys_of_heads(struct build *b, const struct latent *l, const struct latent_weights *w, struct plan_view dst,
                          uint32_t dst_stride, struct plan_view src, uint32_t src_stride)
{
    struct op_headmm o = {.src = src,
                          .dst = dst,
                          .heads = b->heads,
                          .rows = l->kv_rank,
                          .row_stride = l->kv_rank,
                          .src_stride = src_stride,
                          .dst_stride = dst_stride};

    if (!w->apart) {
        head_product(b, l, w->keys, true, dst, dst_stride, src, src_stride);
        return;
    }
    o.matrix = w->keys;
    if (build_ok(b)) program_op(b->p, OP_HEADMM, b->layer)->headmm = o;
}

static void values_of_heads(struct build *b, const struct latent *l, const struct latent_weights *w,
                            struct plan_view dst, struct plan_view src)
{
    struct op_headmm o = {.src = src,
                          .dst = dst,
                          .heads = b->heads,
                          .rows = l->value,
                          .row_stride = l->value,
                          .src_stride = l->kv_rank,
                          .dst_stride = l->value};

    if (!w->apart) {
        head_product(b, l, w->values, false, dst, l->value, src, l->kv_rank);
        return;
    }
    o.matrix = w->values;
    if (build_ok(b)) program_op(b->p, OP_HEADMM, b->layer)->headmm = o;
}

static void attend(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    const struct latent *l = s->own;
    uint32_t cached = l->kv_rank + l->rotated, qk = l->nope + l->rotated;
    struct plan_view q = make_q(b, l, src), kv = make_kv(b, l, src);
    struct plan_view wide = build_view(b, BUF_T2, (uint64_t)b->heads * cached, 0);
    struct plan_view mixed = build_view(b, BUF_T1, (uint64_t)b->heads * l->kv_rank, 0);
    struct plan_view out = build_view(b, BUF_A, (uint64_t)b->heads * l->value, 0);
    struct latent_weights w = latent_weights(b, l);

    keys_of_heads(b, l, &w, wide, cached, q, qk);
    build_copy(b, view_at(wide, l->kv_rank), cached, view_at(q, l->nope), qk, b->heads, l->rotated);
    stack_attend(b, &s->attention, b->heads, 1, cached, l->kv_rank, mixed, wide, kv, kv, ATTN_V_IN_K);
    values_of_heads(b, l, &w, out, mixed);
    build_linear(b, dst, out, "self_attn.o_proj", b->hidden, (uint64_t)b->heads * l->value, l->bias);
}

static struct moe shared_parts(struct build *b)
{
    struct moe m = {.experts = moe_experts(b),
                    .top = moe_experts_chosen(b),
                    .router = "mlp.gate",
                    .list = "mlp.experts",
                    .gate = "gate_proj",
                    .up = "up_proj",
                    .down = "down_proj",
                    .shared = {.gate = "mlp.shared_experts.gate_proj",
                               .up = "mlp.shared_experts.up_proj",
                               .down = "mlp.shared_experts.down_proj"}};
    uint32_t n = config_size_or(b->c, "n_shared_experts", 0, 1024, 0, b->e);

    m.inter = config_size(b->c, "moe_intermediate_size", 1, 1u << 24, b->e);
    m.act = m.shared.act = build_activation(b, "hidden_act", ACT_SILU);
    m.shared.inter = m.inter * n;
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

    if (b->layer >= d->dense_layers)
        stack_moe(b, &d->moe, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

static void read_latent(struct build *b, struct latent *l)
{
    l->q_rank = config_size_or(b->c, "q_lora_rank", 1, 1u << 20, 0, b->e);
    l->kv_rank = config_size(b->c, "kv_lora_rank", 1, 1u << 20, b->e);
    l->nope = config_size(b->c, "qk_nope_head_dim", 1, 1u << 16, b->e);
    l->rotated = config_size(b->c, "qk_rope_head_dim", 2, 1u << 16, b->e);
    l->value = config_size(b->c, "v_head_dim", 1, 1u << 16, b->e);
    l->bias = config_bool_or(b->c, "attention_bias", false, b->e);
    l->rope = build_rotary(b, (struct rope_request){.head_dim = l->rotated});
}

static void deepseek(struct build *b, struct deepseek_moe (*experts)(struct build *), uint32_t style)
{
    struct latent l = {.style = style};
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    read_latent(b, &l);
    l.experts = experts(b);
    s = stack_llama(b, &l.rope);
    s.attention.scale = (float)(l.rope.attention_mul / sqrt((double)l.nope + l.rotated));
    s.mlp.act = l.experts.moe.act;
    s.mlp.up_bias = s.mlp.down_bias = l.experts.moe.shared.up_bias;
    s.tied = build_tied(b);
    s.own = &l;
    s.attend = attend;
    s.feed = deepseek_feed;
    stack_build(b, &s);
}

void family_deepseek_v2(struct build *b)
{
    deepseek(b, deepseek_v2_moe, ROPE_PAIRS);
}

void family_deepseek_v3(struct build *b)
{
    deepseek(b, deepseek_v3_moe, config_bool_or(b->c, "rope_interleave", true, b->e) ? ROPE_PAIRS : ROPE_HALVES);
}

/* ---- as GGUF ---- */

void gguf_deepseek_experts(struct gguf_values *v)
{
    uint64_t groups = 1, chosen = 1;

    gguf_set_int(v, "n_routed_experts", v->experts);
    gguf_field_int(v, "expert_shared_count", "n_shared_experts", 0);
    gguf_field_int(v, "leading_dense_block_count", "first_k_dense_replace", 0);
    gguf_field_real(v, "expert_weights_scale", "routed_scaling_factor", 1);
    gguf_field_flag(v, "expert_weights_norm", "norm_topk_prob", false);
    gguf_value_int(v, "expert_group_count", &groups);
    gguf_value_int(v, "expert_group_used_count", &chosen);
    gguf_set_int(v, "n_group", groups ? groups : 1);
    gguf_set_int(v, "topk_group", chosen ? chosen : 1);
    gguf_set_text(v, "topk_method", groups > 1 ? "group_limited_greedy" : "greedy");
}

/* Heads as they are meant: files since 2025 give those of the latent vector as attention.key_length. */
static void latent_sizes(struct gguf_values *v)
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

/* How experts are scored tells V3 and its kin from V2; where no value says it, the bias of the choice, which V2 has not. */
static void deepseek_config(struct gguf_values *v)
{
    uint64_t scored = gguf_layer_has(v, "exp_probs_b.bias") ? 2 : 1;

    gguf_value_int(v, "expert_gating_func", &scored);
    if (scored != 1 && scored != 2)
        gguf_refuse(v, "expert_gating_func", "%llu is not supported; 1 (softmax) and 2 (sigmoid) are",
                    (unsigned long long)scored);
    gguf_set(v, "architectures", json_pack("[s]", scored == 2 ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM"));
    gguf_set_text(v, "model_type", scored == 2 ? "deepseek_v3" : "deepseek_v2");
    gguf_set_flag(v, "rope_interleave", true);
    gguf_set_flag(v, "attention_bias", gguf_layer_has(v, "attn_kv_a_mqa.bias"));
    gguf_set_flag(v, "mlp_bias", gguf_layer_has(v, "ffn_down.bias") || gguf_layer_has(v, "ffn_down_shexp.bias"));
    latent_sizes(v);
    gguf_deepseek_experts(v);
}

static const struct gguf_name deepseek_names[] = {
    {"attn_q_a", "self_attn.q_a_proj", GGUF_AS_IS},
    {"attn_q_a_norm", "self_attn.q_a_layernorm", GGUF_AS_IS},
    {"attn_q_b", "self_attn.q_b_proj", GGUF_AS_IS},
    {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa", GGUF_AS_IS},
    {"attn_kv_a_norm", "self_attn.kv_a_layernorm", GGUF_AS_IS},
    {"attn_kv_b", "self_attn.kv_b_proj", GGUF_AS_IS},
    {"attn_k_b", "self_attn.k_b_proj", GGUF_HALF},
    {"attn_v_b", "self_attn.v_b_proj", GGUF_HALF},
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

const struct gguf_family gguf_deepseek2 = {
    .architecture = "deepseek2",
    .class = "DeepseekV3ForCausalLM",
    .type = "deepseek_v3",
    .names = deepseek_names,
    .latent = true,
    .config = deepseek_config,
};
