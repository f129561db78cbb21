/* Qwen 2 and 3 with experts; Qwen 2's have a shared expert with a gate of its own. Reference: transformers,
 * modeling_qwen2_moe.py, modeling_qwen3_moe.py, modeling_qwen3_vl_moe.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    if (moe_qwen_layer(b, b->layer))
        stack_moe(b, s->own, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

/* The window of layers that slide; 0: none does. */
static uint32_t window(struct build *b)
{
    return config_bool_or(b->c, "use_sliding_window", false, b->e) ? build_sliding(b) : 0;
}

/* Of Qwen 2's, every other one of the first layers slides where there is no list. */
static void qwen2_window(struct build *b, struct stack *s, uint32_t i)
{
    uint32_t below = config_size_or(b->c, "max_window_layers", 0, CONFIG_SIZE_MAX, 0, b->e);

    s->attention.window = build_layer_is(b, i, "sliding_attention", i % 2 == 0 && i < below) ? window(b) : 0;
}

static void finish(struct build *b, struct stack *s, struct moe *m)
{
    s->mlp.act = m->act;
    s->tied = build_tied(b);
    s->own = m;
    s->feed = feed;
    stack_build(b, s);
}

void family_qwen2_moe(struct build *b)
{
    struct rope_table rope;
    struct stack s;
    struct moe m;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = config_bool_or(b->c, "qkv_bias", true, b->e);
    m = moe_qwen(b);
    moe_qwen_shared(b, &m);
    s.before_layer = qwen2_window;
    finish(b, &s, &m);
}

static void qwen3(struct build *b, bool vision)
{
    struct rope_table rope;
    struct stack s;
    struct moe m;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    stack_attention_biases(&s, config_bool_or(b->c, "attention_bias", false, b->e));
    s.attention.norm = QK_HEAD;
    m = moe_qwen(b);
    if (vision)
        m.flags = ROUTER_NORMALIZE;
    else
        s.attention.window = window(b);
    finish(b, &s, &m);
}

void family_qwen3_moe(struct build *b)
{
    qwen3(b, false);
}

/* Its class has no norm_topk_prob: the weights of the chosen always come to 1. Nor do its layers slide. */
void family_qwen3_vl_moe(struct build *b)
{
    qwen3(b, true);
}

/* ---- as GGUF ---- */

/* Weights of the chosen ones come to 1 in Qwen 3's, and not in Qwen 2's; no file slides. */
static void config(struct gguf_values *v, bool normed)
{
    const struct gguf_tensor *shared = gguf_tensor(v->g, "blk.0.ffn_up_shexp.weight");

    gguf_set_flag(v, "norm_topk_prob", normed);
    gguf_set_flag(v, "use_sliding_window", false);
    gguf_set_flag(v, "qkv_bias", gguf_layer_has(v, "attn_q.bias"));
    gguf_set_int(v, "decoder_sparse_step", 1);
    gguf_set(v, "mlp_only_layers", json_array());
    gguf_field_int(v, "expert_shared_feed_forward_length", "shared_expert_intermediate_size",
                   shared ? shared->dims[1] : v->expert_inter);
}

static void qwen2_moe_config(struct gguf_values *v)
{
    config(v, false);
}

static void qwen3_moe_config(struct gguf_values *v)
{
    config(v, true);
}

const struct gguf_family gguf_qwen2_moe = {
    .architecture = "qwen2moe",
    .class = "Qwen2MoeForCausalLM",
    .type = "qwen2_moe",
    .config = qwen2_moe_config,
};

const struct gguf_family gguf_qwen3_moe = {
    .architecture = "qwen3moe",
    .class = "Qwen3MoeForCausalLM",
    .type = "qwen3_moe",
    .config = qwen3_moe_config,
};

const struct gguf_family gguf_qwen3_vl_moe = {
    .architecture = "qwen3vlmoe",
    .class = "Qwen3VLMoeForConditionalGeneration",
    .type = "qwen3_vl_moe_text",
    .config = qwen3_moe_config,
};
