/* GPT-NeoX (Pythia, Dolly): the rows of each head's q, k and v together, a part of a head rotates, attention and feed forward
 * side by side, each with a norm of its own. Reference: transformers, modeling_gpt_neox.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

void family_gpt_neox(struct build *b)
{
    bool bias = config_bool_or(b->c, "attention_bias", true, b->e);
    struct rope_table rope;
    struct stack s;

    build_names(b, "gpt_neox.", "layers", "embed_in");
    build_sizes(b);
    b->kv_heads = b->heads;
    build_norm_kind(b, NORM_LAYER, "layer_norm_eps", 1e-5);
    b->norm_bias = true;
    rope = build_rotary(
        b, (struct rope_request){
               .theta_key = "rotary_emb_base", .partial = 0.25, .partial_key = true, .share_key = "rotary_pct"});
    s = stack_llama(b, &rope);
    s.embed = "embed_in";
    s.final_norm = "final_layer_norm";
    s.head = "embed_out";
    s.parallel = s.parallel_norms = config_bool_or(b->c, "use_parallel_residual", true, b->e);
    s.attention.qkv = "attention.query_key_value";
    s.attention.grouped = !b->t->gguf;
    s.attention.o = "attention.dense";
    s.attention.q_bias = s.attention.o_bias = bias;
    s.mlp = (struct mlp){
        .up = "mlp.dense_h_to_4h", .down = "mlp.dense_4h_to_h", .up_bias = true, .down_bias = true, .inter = b->inter};
    s.mlp.act = build_activation(b, "hidden_act", ACT_GELU_ERF);
    s.tied = build_tied(b);
    stack_build(b, &s);
}

/* ---- as GGUF: q, k and v by kind instead of by head ---- */

static const struct gguf_name neox_names[] = {
    {"attn_qkv", "attention.query_key_value", GGUF_AS_IS},
    {"attn_output", "attention.dense", GGUF_AS_IS},
    {"ffn_up", "mlp.dense_h_to_4h", GGUF_AS_IS},
    {"ffn_down", "mlp.dense_4h_to_h", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static void neox_config(struct gguf_values *v)
{
    double theta = 10000;

    gguf_set_text(v, "hidden_act", "gelu");
    gguf_value_real(v, "rope.freq_base", &theta);
    gguf_set_real(v, "rotary_emb_base", theta);
    if (v->head_dim) gguf_set_real(v, "rotary_pct", ((double)v->rope_dim + 0.5) / (double)v->head_dim);
    gguf_field_flag(v, "use_parallel_residual", "use_parallel_residual", true);
}

const struct gguf_family gguf_gpt_neox = {
    .architecture = "gptneox",
    .class = "GPTNeoXForCausalLM",
    .type = "gpt_neox",
    .names = neox_names,
    .prefix = "gpt_neox.",
    .embed = "embed_in",
    .norm = "final_layer_norm",
    .head = "embed_out",
    .partial = true,
    .config = neox_config,
};
