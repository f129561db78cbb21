/* OPT and Galactica: learned positions of which the first two are left out, layer norms before the blocks, or after them in
 * the 350M model, whose embedding is narrower than its layers. Reference: transformers, modeling_opt.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/stack.h"

#define OPT_OFFSET 2u

void family_opt(struct build *b)
{
    static const struct build_size_names size_names = {.hidden = {"hidden_size"},
                                                       .layers = {"num_hidden_layers"},
                                                       .heads = {"num_attention_heads"},
                                                       .inter = {"ffn_dim"},
                                                       .limit = {"max_position_embeddings"}};
    bool bias = config_bool_or(b->c, "enable_bias", true, b->e), before;
    struct stack s;

    build_names(b, "model.decoder.", "layers", "embed_tokens");
    build_sizes_named(b, &size_names);
    b->norm_kind = NORM_LAYER;
    b->eps = 1e-5f; /* no field says it */
    b->norm_bare = !config_bool_or(b->c, "layer_norm_elementwise_affine", true, b->e);
    b->norm_bias = !b->norm_bare;
    s = stack_llama(b, NULL);
    before = config_bool_or(b->c, "do_layer_norm_before", true, b->e);
    if (before) {
        s.before_attention = "self_attn_layer_norm";
        s.before_mlp = "final_layer_norm";
    } else {
        s.before_attention = s.before_mlp = NULL;
        s.after_attention = "self_attn_layer_norm";
        s.after_mlp = "final_layer_norm";
        s.sum_normed = true;
    }
    s.final_norm = before && !config_bool_or(b->c, "_remove_final_layer_norm", false, b->e) ? "final_layer_norm" : NULL;
    s.positions = "embed_positions";
    s.position_offset = OPT_OFFSET;
    s.embed_width = config_size_or(b->c, "word_embed_proj_dim", 1, 1u << 24, b->hidden, b->e);
    s.project_in = "project_in";
    s.project_out = "project_out";
    s.attention.o = "self_attn.out_proj";
    stack_attention_biases(&s, bias);
    s.mlp = (struct mlp){.up = "fc1", .down = "fc2", .up_bias = bias, .down_bias = bias, .inter = b->inter};
    s.mlp.act = build_activation(b, "activation_function", ACT_RELU);
    s.tied = build_tied(b);
    stack_build(b, &s);
}
