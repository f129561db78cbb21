/* GPT-NeoX (Pythia, Dolly): the rows of each head's q, k and v together, a part of a head rotates, attention and feed forward
 * side by side, each with a norm of its own. Reference: transformers, modeling_gpt_neox.py. */
#include "coordinator/arch/family.h"
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
    s.attention.grouped = true;
    s.attention.o = "attention.dense";
    s.attention.q_bias = s.attention.o_bias = bias;
    s.mlp = (struct mlp){
        .up = "mlp.dense_h_to_4h", .down = "mlp.dense_4h_to_h", .up_bias = true, .down_bias = true, .inter = b->inter};
    s.mlp.act = build_activation(b, "hidden_act", ACT_GELU_ERF);
    s.tied = build_tied(b);
    stack_build(b, &s);
}
