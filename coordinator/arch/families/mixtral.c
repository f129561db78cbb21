/* Mixtral and MiniMax-M2: Mistral with experts under the names w1 (gate), w3 (up), w2 (down). Reference: transformers,
 * modeling_mixtral.py, modeling_minimax_m2.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

static void feed(struct build *b, struct stack *s, struct plan_view dst, struct plan_view src)
{
    stack_moe(b, s->own, dst, src);
}

static struct moe experts(struct build *b)
{
    struct moe m = {.experts = moe_experts(b),
                    .top = moe_experts_chosen(b),
                    .inter = b->inter,
                    .router = "block_sparse_moe.gate",
                    .score = SCORE_SOFTMAX,
                    .flags = ROUTER_NORMALIZE,
                    .scale = 1,
                    .act = build_activation(b, "hidden_act", ACT_SILU),
                    .list = "block_sparse_moe.experts",
                    .gate = "w1",
                    .up = "w3",
                    .down = "w2"};

    return m;
}

void family_mixtral(struct build *b)
{
    struct rope_table rope;
    struct stack s;
    struct moe m;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.window = config_size_or(b->c, "sliding_window", 1, CONFIG_SIZE_MAX, 0, b->e);
    s.tied = build_tied(b);
    m = experts(b);
    s.own = &m;
    s.feed = feed;
    stack_build(b, &s);
}

/* Published folders give rotary_dim instead of a share. */
static struct rope_table minimax_rope(struct build *b)
{
    uint32_t dim = config_size_or(b->c, "rotary_dim", 2, 65536, b->head_dim, b->e);

    return build_rotary(b, (struct rope_request){.partial = (double)dim / b->head_dim, .partial_key = true});
}

void family_minimax_m2(struct build *b)
{
    struct rope_table rope;
    struct stack s;
    struct moe m;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = minimax_rope(b);
    s = stack_llama(b, &rope);
    s.attention.norm = QK_FULL;
    s.tied = build_tied(b);
    m = experts(b);
    m.score = SCORE_SIGMOID;
    m.correction = "block_sparse_moe.e_score_correction_bias";
    s.own = &m;
    s.feed = feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

/* Mixtral itself: llama.c. */
static const struct gguf_name minimax_names[] = {
    {"ffn_gate_inp", "block_sparse_moe.gate", GGUF_AS_IS},
    {"exp_probs_b", "block_sparse_moe.e_score_correction_bias", GGUF_BARE},
    {"ffn_gate_exps", "block_sparse_moe.switch_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "block_sparse_moe.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "block_sparse_moe.switch_mlp.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static void minimax_config(struct gguf_values *v)
{
    gguf_set_int(v, "intermediate_size", v->expert_inter);
    gguf_set_int(v, "rotary_dim", v->rope_dim);
}

const struct gguf_family gguf_minimax_m2 = {
    .architecture = "minimax-m2",
    .class = "MiniMaxM2ForCausalLM",
    .type = "minimax_m2",
    .names = minimax_names,
    .partial = true,
    .config = minimax_config,
};
