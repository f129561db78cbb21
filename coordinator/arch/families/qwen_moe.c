/* Qwen 2 and 3 with experts; Qwen 2's have a shared expert with a gate of its own. Reference: transformers,
 * modeling_qwen2_moe.py, modeling_qwen3_moe.py, modeling_qwen3_vl_moe.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/stack.h"

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    if (moe_qwen_layer(b, b->layer))
        stack_moe(b, s->own, dst, src);
    else
        stack_mlp(b, &s->mlp, dst, src);
}

static void before_layer(struct build *b, struct stack *s, uint32_t i)
{
    s->attention.window = build_window(b, i);
}

static void finish(struct build *b, struct stack *s, struct moe *m)
{
    s->mlp.act = m->act;
    s->tied = build_tied(b, false);
    s->own = m;
    s->feed = feed;
    s->before_layer = before_layer;
    stack_build(b, s);
}

void family_qwen2_moe(struct build *b)
{
    struct rope_table rope;
    struct stack s;
    struct moe m;

    build_sizes(b, NULL);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = config_bool_or(b->c, "qkv_bias", true, b->e);
    m = moe_qwen(b, false);
    moe_qwen_shared(b, &m);
    finish(b, &s, &m);
}

static void qwen3(struct build *b, bool always_normalized)
{
    struct rope_table rope;
    struct stack s;
    struct moe m;

    build_sizes(b, NULL);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = s.attention.o_bias =
        config_bool_or(b->c, "attention_bias", false, b->e);
    s.attention.norm = QK_HEAD;
    m = moe_qwen(b, false);
    if (always_normalized) m.flags = ROUTER_NORMALIZE;
    finish(b, &s, &m);
}

void family_qwen3_moe(struct build *b)
{
    qwen3(b, false);
}

/* Its class has no norm_topk_prob: the weights of the chosen always come to 1. */
void family_qwen3_vl_moe(struct build *b)
{
    qwen3(b, true);
}
