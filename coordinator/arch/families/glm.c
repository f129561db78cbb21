/* GLM-4.5 (below), and GLM-4-9b and GLM-4-0414 in the layout of transformers: half of a head rotates, in pairs; one matrix for gate and up;
 * the later one norms the outputs of its blocks too. Reference: transformers, modeling_glm.py, modeling_glm4.py. */
#include "coordinator/arch/families/deepseek.h"
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

static struct stack glm(struct build *b, struct rope_table *rope)
{
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1.5625e-7);
    *rope = build_rotary(b, (struct rope_request){.partial = 0.5, .partial_key = true});
    s = stack_llama(b, rope);
    s.attention.rope_style = ROPE_PAIRS;
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = config_bool_or(b->c, "attention_bias", true, b->e);
    s.mlp.gate_up = "mlp.gate_up_proj";
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    return s;
}

void family_glm(struct build *b)
{
    struct rope_table rope;
    struct stack s = glm(b, &rope);

    stack_build(b, &s);
}

void family_glm4(struct build *b)
{
    struct rope_table rope;
    struct stack s = glm(b, &rope);

    s.after_attention = "post_self_attn_layernorm";
    s.after_mlp = "post_mlp_layernorm";
    stack_build(b, &s);
}

/* GLM-4.5 and 4.6: Llama whose heads rotate by halves, in part, with DeepSeek V3's experts. Reference:
 * modeling_glm4_moe.py. */
void family_glm4_moe(struct build *b)
{
    struct rope_table rope;
    struct deepseek_moe d;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-5);
    rope = build_rotary(b, (struct rope_request){.partial = 0.5, .partial_key = true});
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = config_bool_or(b->c, "attention_bias", false, b->e);
    if (config_bool_or(b->c, "use_qk_norm", false, b->e)) s.attention.norm = QK_HEAD;
    d = deepseek_v3_moe(b);
    s.mlp.act = d.moe.act;
    s.tied = build_tied(b);
    s.own = &d;
    s.feed = deepseek_feed;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name glm_names[] = {
    {"ffn_up", "mlp.gate_up_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* ChatGLM 2 and 3 and GLM-4-9b: what their first layout fuses is cut, so that both read alike. */
const struct gguf_family gguf_chatglm = {
    .architecture = "chatglm",
    .class = "GlmForCausalLM",
    .type = "glm",
    .names = glm_names,
    .partial = true,
};

static const struct gguf_name glm4_names[] = {
    {"ffn_up", "mlp.gate_up_proj", GGUF_AS_IS},
    {"post_attention_norm", "post_self_attn_layernorm", GGUF_AS_IS},
    {"post_ffw_norm", "post_mlp_layernorm", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* Those that see pictures too have their rows in another order. */
static void glm4_config(struct gguf_values *v)
{
    if (gguf_find(v->g, "glm4.rope.dimension_sections"))
        gguf_refuse(v, "rope.dimension_sections", "GLM-4 models for pictures are not supported");
}

const struct gguf_family gguf_glm4 = {
    .architecture = "glm4",
    .class = "Glm4ForCausalLM",
    .type = "glm4",
    .names = glm4_names,
    .partial = true,
    .config = glm4_config,
};

static const struct gguf_name glm4_moe_names[] = {
    {"post_attention_norm", "post_attention_layernorm", GGUF_AS_IS},
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj", GGUF_AS_IS},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj", GGUF_AS_IS},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static void glm4_moe_config(struct gguf_values *v)
{
    gguf_set_flag(v, "use_qk_norm", gguf_layer_has(v, "attn_q_norm.weight"));
    gguf_deepseek_experts(v);
}

const struct gguf_family gguf_glm4_moe = {
    .architecture = "glm4moe",
    .class = "Glm4MoeForCausalLM",
    .type = "glm4_moe",
    .names = glm4_moe_names,
    .partial = true,
    .config = glm4_moe_config,
};
