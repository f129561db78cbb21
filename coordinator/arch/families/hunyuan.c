/* Hunyuan: Llama that norms the heads of q and k once they are rotated, with a theta stretched by alpha; dense, or with experts
 * beside a shared feed forward, as many of them for a token as the layer says. Reference: transformers,
 * modeling_hunyuan_v1_dense.py, modeling_hunyuan_v1_moe.py; the fields of the published config.json. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

static struct stack hunyuan(struct build *b, struct rope_table *rope)
{
    bool bias = config_bool_or(b->c, "attention_bias", false, b->e);
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    if (!config_bool_or(b->c, "use_qk_norm", true, b->e))
        config_fault(b->c, b->e, "use_qk_norm", "false is not supported");
    *rope = build_rotary(b, (struct rope_request){.alpha = true});
    s = stack_llama(b, rope);
    stack_attention_biases(&s, bias);
    s.attention.norm = QK_HEAD;
    s.attention.norm_last = true;
    s.attention.q_norm = "self_attn.query_layernorm";
    s.attention.k_norm = "self_attn.key_layernorm";
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    return s;
}

void family_hunyuan_dense(struct build *b)
{
    struct rope_table rope;
    struct stack s = hunyuan(b, &rope);

    stack_build(b, &s);
}

/* A size that may be a list with one for each layer; otherwise where there is none. */
static uint32_t layer_size(struct build *b, const char *key, uint32_t i, uint32_t least, uint32_t most,
                           uint32_t otherwise)
{
    int64_t n;

    if (!json_is_array(config_field(b->c, key, false))) return config_size_or(b->c, key, least, most, otherwise, b->e);
    n = config_list_int(b->c, key, i, -1, b->e);
    if (n < least || n > most)
        config_fault(b->c, b->e, key, "no size for layer %u, %u to %u make sense", i, least, most);
    return build_ok(b) ? (uint32_t)n : least;
}

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    struct moe m = *(const struct moe *)s->own;
    uint64_t shared;

    if (b->layer < config_size_or(b->c, "moe_layer_num_skipped", 0, 10000, 0, b->e)) {
        stack_mlp(b, &s->mlp, dst, src);
        return;
    }
    m.experts = layer_size(b, "num_experts", b->layer, 1, 65536, 1);
    m.top = layer_size(b, "moe_topk", b->layer, 1, 65536, 1);
    m.inter = layer_size(b, "moe_intermediate_size", b->layer, 1, 1u << 24, b->inter);
    shared = (uint64_t)layer_size(b, "num_shared_expert", b->layer, 0, 1024, 1) * m.inter;
    if (shared > 1u << 24)
        config_fault(b->c, b->e, "num_shared_expert", "%llu columns are out of range", (unsigned long long)shared);
    if (config_bool_or(b->c, "use_mixed_mlp_moe", true, b->e)) m.shared.inter = (uint32_t)shared;
    stack_moe(b, &m, dst, src);
}

void family_hunyuan_moe(struct build *b)
{
    struct rope_table rope;
    struct stack s = hunyuan(b, &rope);
    struct moe m = {.router = "mlp.gate.wg",
                    .score = SCORE_SOFTMAX,
                    .flags = ROUTER_NORMALIZE,
                    .scale = 1,
                    .act = s.mlp.act,
                    .list = "mlp.experts",
                    .gate = "gate_proj",
                    .up = "up_proj",
                    .down = "down_proj",
                    .shared = {.gate = "mlp.shared_mlp.gate_proj",
                               .up = "mlp.shared_mlp.up_proj",
                               .down = "mlp.shared_mlp.down_proj",
                               .act = s.mlp.act}};

    if (config_bool_or(b->c, "use_cla", false, b->e))
        config_fault(b->c, b->e, "use_cla", "layers that share keys and values are not supported in this family");
    s.own = &m;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name hunyuan_moe_names[] = {
    {"attn_q_norm", "self_attn.query_layernorm", GGUF_AS_IS},
    {"attn_k_norm", "self_attn.key_layernorm", GGUF_AS_IS},
    {"ffn_gate_inp", "mlp.gate.wg", GGUF_AS_IS},
    {"ffn_gate_shexp", "mlp.shared_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "mlp.shared_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "mlp.shared_mlp.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* Of the shared experts of the first layer, together. */
static uint64_t shared_columns(const struct gguf_values *v)
{
    const json_t *n = v->tells ? config_field(v->tells->config, "num_shared_expert", false) : NULL;

    if (json_is_array(n)) n = json_array_get(n, 0);
    return v->expert_inter * (json_is_integer(n) ? (uint64_t)json_integer_value(n) : 1);
}

/* One number of experts for all layers; and theta is stretched already. */
static void tell_hunyuan_moe(struct gguf_values *v)
{
    const struct plan_shm *p = v->tells->program;
    uint32_t top = 0;

    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct plan_op *op = &plan_ops(p)[i];

        if (op->kind != OP_ROUTER) continue;
        if (top && top != op->router.top)
            gguf_tell_cannot(v, "moe_topk", "layers that choose differently many experts");
        top = op->router.top;
    }
    if (json_is_number(json_object_get(config_field(v->tells->config, "rope_scaling", false), "alpha")))
        gguf_tell_cannot(v, "rope_scaling", "a theta that alpha stretches");
}

static void hunyuan_moe_config(struct gguf_values *v)
{
    uint64_t shared = 0;

    if (v->tells) tell_hunyuan_moe(v);
    gguf_value_int(v, "expert_shared_feed_forward_length", &shared);
    gguf_set_int(v, "num_experts", v->experts);
    gguf_set_int(v, "moe_topk", gguf_value_needed(v, "expert_used_count"));
    gguf_set_int(v, "num_shared_expert", v->expert_inter ? shared / v->expert_inter : 0);
    gguf_tell_int(v, "expert_shared_feed_forward_length", shared_columns(v));
}

const struct gguf_family gguf_hunyuan_moe = {
    .architecture = "hunyuan-moe",
    .class = "HunYuanMoEV1ForCausalLM",
    .type = "hunyuan_v1_moe",
    .names = hunyuan_moe_names,
    .config = hunyuan_moe_config,
};

/* Theta is stretched already. */
static void hunyuan_dense_config(struct gguf_values *v)
{
    if (v->tells && json_is_number(json_object_get(config_field(v->tells->config, "rope_scaling", false), "alpha")))
        gguf_tell_cannot(v, "rope_scaling", "a theta that alpha stretches");
}

const struct gguf_family gguf_hunyuan_dense = {
    .architecture = "hunyuan-dense",
    .class = "HunYuanDenseV1ForCausalLM",
    .type = "hunyuan_v1_dense",
    .names = hunyuan_moe_names,
    .config = hunyuan_dense_config,
};
