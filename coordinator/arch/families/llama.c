/* Llama 1 to 3.x and what is Llama in all but name (Yi, Mistral, Vicuna, Qwen 2 with biases, Qwen 3 with norms of q and
 * k): pre-norm, rotary by halves, gated silu. Reference: transformers, modeling_llama.py and its kin. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

/* Yi's first folders call the norms so. */
static void older_names(struct build *b, struct stack *s)
{
    build_layer(b, 0);
    if (build_has(b, "input_layernorm.weight") || !build_has(b, "ln1.weight")) return;
    s->before_attention = "ln1";
    s->before_mlp = "ln2";
}

void family_llama(struct build *b)
{
    struct rope_table rope;
    struct stack s;
    bool bias = config_bool_or(b->c, "attention_bias", false, b->e);

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    stack_attention_biases(&s, bias);
    s.mlp.up_bias = s.mlp.down_bias = config_bool_or(b->c, "mlp_bias", false, b->e);
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    older_names(b, &s);
    stack_build(b, &s);
}

void family_mistral(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.window = build_sliding(b);
    s.mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s.tied = build_tied(b);
    stack_build(b, &s);
}

static void qwen_window(struct build *b, struct stack *s, uint32_t i)
{
    s->attention.window = build_window(b, i);
}

static void qwen(struct build *b, struct stack *s)
{
    s->mlp.act = build_activation(b, "hidden_act", ACT_SILU);
    s->tied = build_tied(b);
    stack_build(b, s);
}

void family_qwen2(struct build *b)
{
    struct rope_table rope;
    struct stack s;

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    s.attention.q_bias = s.attention.k_bias = s.attention.v_bias = true;
    s.before_layer = qwen_window;
    qwen(b, &s);
}

static void qwen3(struct build *b, void (*before_layer)(struct build *b, struct stack *s, uint32_t i))
{
    struct rope_table rope;
    struct stack s;
    bool bias = config_bool_or(b->c, "attention_bias", false, b->e);

    build_sizes(b);
    build_norm_kind(b, NORM_RMS, "rms_norm_eps", 1e-6);
    rope = build_plain_rope(b);
    s = stack_llama(b, &rope);
    stack_attention_biases(&s, bias);
    s.attention.norm = QK_HEAD;
    s.before_layer = before_layer;
    qwen(b, &s);
}

void family_qwen3(struct build *b)
{
    qwen3(b, qwen_window);
}

/* Its layers never slide. */
void family_qwen3_vl(struct build *b)
{
    qwen3(b, NULL);
}

/* ---- as GGUF ---- */

/* Mixtral's files say llama too: what has experts is one. Mistral's window is not in them. */
static void llama_config(struct gguf_values *v)
{
    if (!v->experts) return;
    gguf_set(v, "architectures", json_pack("[s]", "MixtralForCausalLM"));
    gguf_set_text(v, "model_type", "mixtral");
    gguf_set_int(v, "intermediate_size", v->expert_inter);
}

static const struct gguf_name llama_names[] = {
    {"ffn_gate_inp", "block_sparse_moe.gate", GGUF_AS_IS},
    {"ffn_gate_exps", "block_sparse_moe.switch_mlp.gate_proj", GGUF_AS_IS},
    {"ffn_up_exps", "block_sparse_moe.switch_mlp.up_proj", GGUF_AS_IS},
    {"ffn_down_exps", "block_sparse_moe.switch_mlp.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* A window of Mistral's is not in such a file. */
static const char *const llama_also[] = {"MistralForCausalLM", "MixtralForCausalLM", NULL};

const struct gguf_family gguf_llama = {
    .architecture = "llama",
    .class = "LlamaForCausalLM",
    .also = llama_also,
    .type = "llama",
    .names = llama_names,
    .changes = {.qk_pairs = true},
    .config = llama_config,
};

/* Mistral Small 3.1 is Mistral; Ministral 3 lets q grow with the position. */
static void mistral3_config(struct gguf_values *v)
{
    gguf_whole_log_multiplier(v);
    gguf_window(v);
    gguf_plain_rotary(v);
    if (!gguf_tuning(v, NULL, 0)) return;
    gguf_set(v, "architectures", json_pack("[s]", "Ministral3ForCausalLM"));
    gguf_set_text(v, "model_type", "ministral3");
}

static const char *const mistral3_also[] = {"Ministral3ForCausalLM", NULL};

const struct gguf_family gguf_mistral3 = {
    .architecture = "mistral3",
    .class = "MistralForCausalLM",
    .also = mistral3_also,
    .type = "mistral",
    .changes = {.qk_pairs = true},
    .config = mistral3_config,
};

static void qwen_config(struct gguf_values *v)
{
    gguf_set_flag(v, "use_sliding_window", false);
}

const struct gguf_family gguf_qwen2 = {
    .architecture = "qwen2", .class = "Qwen2ForCausalLM", .type = "qwen2", .config = qwen_config};

/* The text of Qwen2-VL and 2.5-VL: its three kinds of positions are one and the same for text. */
const struct gguf_family gguf_qwen2_vl = {.architecture = "qwen2vl",
                                          .class = "Qwen2_5_VLForConditionalGeneration",
                                          .type = "qwen2_5_vl_text",
                                          .config = qwen_config};

const struct gguf_family gguf_qwen3 = {
    .architecture = "qwen3", .class = "Qwen3ForCausalLM", .type = "qwen3", .config = qwen_config};

/* That of Qwen3-VL. */
const struct gguf_family gguf_qwen3_vl = {
    .architecture = "qwen3vl", .class = "Qwen3VLForConditionalGeneration", .type = "qwen3_vl_text"};
