/* GPT-2 and GPTBigCode (StarCoder 1, SantaCoder): learned positions, layer norms and biases everywhere, q, k and v in one
 * matrix. GPT-2 stores its matrices [in][out]; GPTBigCode has one key for all heads, or else the rows of each head's q, k and v
 * together. Reference: transformers, modeling_gpt2.py, modeling_gpt_bigcode.py. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

static const struct build_size_names size_names = {.hidden = {"n_embd", "hidden_size"},
                                                   .layers = {"n_layer", "num_hidden_layers"},
                                                   .heads = {"n_head", "num_attention_heads"},
                                                   .inter = {"n_inner", "intermediate_size"},
                                                   .limit = {"n_positions", "max_position_embeddings"}};

static struct stack gpt2(struct build *b)
{
    struct stack s;

    build_names(b, "transformer.", "h", "wte");
    build_sizes_named(b, &size_names);
    if (!b->inter) b->inter = 4 * b->hidden;
    build_norm_kind(b, NORM_LAYER, "layer_norm_epsilon", 1e-5);
    b->norm_bias = true;
    if (config_bool_or(b->c, "add_cross_attention", false, b->e))
        config_fault(b->c, b->e, "add_cross_attention", "true: an encoder belongs to it, which is not supported");
    s = stack_llama(b, NULL);
    s.embed = "wte";
    s.positions = "wpe";
    s.final_norm = "ln_f";
    s.before_attention = "ln_1";
    s.before_mlp = "ln_2";
    s.attention.qkv = "attn.c_attn";
    s.attention.o = "attn.c_proj";
    s.attention.q_bias = s.attention.o_bias = true;
    if (!config_bool_or(b->c, "scale_attn_weights", true, b->e)) s.attention.scale = 1;
    s.mlp = (struct mlp){.up = "mlp.c_fc", .down = "mlp.c_proj", .up_bias = true, .down_bias = true, .inter = b->inter};
    s.mlp.act = build_activation(b, "activation_function", ACT_GELU_TANH);
    s.tied = build_tied(b);
    return s;
}

struct by_layer {
    float scale;
};

static void scale_of_layer(struct build *b, struct stack *s, uint32_t i)
{
    const struct by_layer *o = s->own;

    (void)b;
    s->attention.scale = o->scale / (float)(i + 1);
}

void family_gpt2(struct build *b)
{
    struct stack s = gpt2(b);
    struct by_layer o = {.scale = s.attention.scale};

    b->transposed = !b->t->gguf;
    s.own = &o;
    if (config_bool_or(b->c, "scale_attn_by_inverse_layer_idx", false, b->e)) s.before_layer = scale_of_layer;
    stack_build(b, &s);
}

void family_gpt_bigcode(struct build *b)
{
    struct stack s = gpt2(b);

    if (config_bool_or(b->c, "multi_query", true, b->e))
        b->kv_heads = 1;
    else
        s.attention.grouped = true;
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name gpt2_names[] = {
    {"attn_norm", "ln_1", GGUF_AS_IS},
    {"ffn_norm", "ln_2", GGUF_AS_IS},
    {"attn_qkv", "attn.c_attn", GGUF_AS_IS},
    {"attn_output", "attn.c_proj", GGUF_AS_IS},
    {"ffn_up", "mlp.c_fc", GGUF_AS_IS},
    {"ffn_down", "mlp.c_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static const struct gguf_name gpt2_top[] = {{"position_embd", "wpe", GGUF_AS_IS}, {NULL, NULL, 0}};

static void gpt2_config(struct gguf_values *v)
{
    gguf_set_text(v, "activation_function", "gelu_pytorch_tanh");
}

const struct gguf_family gguf_gpt2 = {
    .architecture = "gpt2",
    .class = "GPT2LMHeadModel",
    .type = "gpt2",
    .names = gpt2_names,
    .top = gpt2_top,
    .prefix = "transformer.",
    .layers = "h",
    .embed = "wte",
    .norm = "ln_f",
    .turned = true,
    .config = gpt2_config,
};

/* Files have one key for all heads, as all that were published do. */
static void starcoder_config(struct gguf_values *v)
{
    gpt2_config(v);
    gguf_set_flag(v, "multi_query", true);
    if (v->tells && v->kv_heads != 1) gguf_tell_cannot(v, "multi_query", "keys for each head");
    if (!v->tells && v->kv_heads != 1)
        gguf_refuse(v, "attention.head_count_kv", "%llu, and this architecture has one key for all heads",
                    (unsigned long long)v->kv_heads);
}

const struct gguf_family gguf_starcoder = {
    .architecture = "starcoder",
    .class = "GPTBigCodeForCausalLM",
    .type = "gpt_bigcode",
    .names = gpt2_names,
    .top = gpt2_top,
    .prefix = "transformer.",
    .layers = "h",
    .embed = "wte",
    .norm = "ln_f",
    .config = starcoder_config,
};
