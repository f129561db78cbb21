/* Phi 3.5 MoE: layer norms, biases, longrope, and two experts a token, which a sparse mixer chooses one after the other.
 * Reference: transformers, modeling_phimoe.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    stack_moe(b, s->own, dst, src);
}

static struct moe experts(struct build *b)
{
    double noise = config_number_or(b->c, "router_jitter_noise", 0.01, b->e);
    struct moe m = {.experts = moe_experts(b),
                    .top = moe_experts_chosen(b),
                    .inter = b->inter,
                    .router = "block_sparse_moe.gate",
                    .score = SCORE_MIXER,
                    .scale = 1,
                    .norm_eps = (float)(2 * noise),
                    .act = build_activation(b, "hidden_act", ACT_SILU),
                    .list = "block_sparse_moe.experts",
                    .gate = "w1",
                    .up = "w3",
                    .down = "w2"};

    if (!(noise >= 0)) config_fault(b->c, b->e, "router_jitter_noise", "%g is out of range", noise);
    if (m.top != 2) config_fault(b->c, b->e, "num_experts_per_tok", "%u: the mixer chooses 2", m.top);
    return m;
}

void family_phimoe(struct build *b)
{
    bool bias = config_bool_or(b->c, "attention_bias", false, b->e);
    struct rope_table rope;
    struct stack s;
    struct moe m;

    build_sizes(b);
    build_norm_kind(b, NORM_LAYER, "rms_norm_eps", 1e-5);
    b->norm_bias = true;
    rope = build_rotary(b, (struct rope_request){.theta = 1e6, .longrope = true});
    s = stack_llama(b, &rope);
    stack_attention_biases(&s, bias);
    s.attention.window = build_sliding(b);
    s.head_bias = config_bool_or(b->c, "lm_head_bias", false, b->e);
    s.tied = build_tied(b);
    m = experts(b);
    s.own = &m;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name names[] = {
    {"ffn_gate_inp", "block_sparse_moe.gate", GGUF_AS_IS},
    {"ffn_gate_exps", "block_sparse_moe.switch_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "block_sparse_moe.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "block_sparse_moe.switch_mlp.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

#define MSCALE 1.243163121016122 /* of both lists of factors in Phi 3.5 MoE */

/* The mixer's noise is its makers', and so is what its rotation is multiplied by: no file says them. */
static void config(struct gguf_values *v)
{
    json_t *rules = json_object_get(v->out, "rope_scaling");

    if (json_object_get(rules, "long_factor")) {
        json_object_del(rules, "attention_factor");
        json_object_set_new(rules, "short_mscale", json_real(MSCALE));
        json_object_set_new(rules, "long_mscale", json_real(MSCALE));
    }
    gguf_set_int(v, "intermediate_size", v->expert_inter);
    gguf_set_flag(v, "lm_head_bias", gguf_tensor(v->g, "output.bias"));
    gguf_window(v);
}

const struct gguf_family gguf_phimoe = {
    .architecture = "phimoe",
    .class = "PhimoeForCausalLM",
    .type = "phimoe",
    .names = names,
    .unwritten = true,
    .config = config,
};
