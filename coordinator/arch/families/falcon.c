/* Falcon and BLOOM. Falcon: one key for all heads (7B), groups of heads with one (40B, 180B, 11B), or one each with ALiBi (RW);
 * blocks side by side from one norm or two, or one after the other. BLOOM: ALiBi, and a norm of the embedding. Reference:
 * transformers, modeling_falcon.py, modeling_bloom.py; of Falcon's ALiBi the formula, which that code rounds to bfloat16. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/stack.h"

static struct stack fused(struct build *b, const struct rope_table *rope)
{
    struct stack s = stack_llama(b, rope);

    s.embed = "word_embeddings";
    s.final_norm = "ln_f";
    s.attention.qkv = "self_attention.query_key_value";
    s.attention.o = "self_attention.dense";
    s.mlp = (struct mlp){.up = "mlp.dense_h_to_4h", .down = "mlp.dense_4h_to_h", .inter = b->inter};
    s.tied = build_tied(b);
    return s;
}

static void biases(struct stack *s, bool bias)
{
    s->attention.q_bias = s->attention.o_bias = s->mlp.up_bias = s->mlp.down_bias = bias;
}

/* Keys, and how the rows of the one matrix lie. */
static bool falcon_grouped(struct build *b, bool groups)
{
    static const char *const kv_names[2] = {"num_kv_heads", "n_head_kv"};

    if (groups)
        b->kv_heads = config_size_or(b->c, build_given(b, kv_names), 1, 65536, b->heads, b->e);
    else
        b->kv_heads = config_bool_or(b->c, "multi_query", true, b->e) ? 1 : b->heads;
    if (build_ok(b) && b->heads % b->kv_heads)
        config_fault(b->c, b->e, kv_names[0], "%u does not divide num_attention_heads %u", b->kv_heads, b->heads);
    return !b->t->gguf && (groups || b->kv_heads != 1);
}

/* Which norms stand before the blocks; side by side where groups share keys, whatever parallel_attn says. */
static void falcon_norms(struct build *b, struct stack *s, bool groups)
{
    bool parallel = config_bool_or(b->c, "parallel_attn", true, b->e);
    uint32_t norms = config_size_or(b->c, "num_ln_in_parallel_attn", 1, 2, groups ? 2 : 1, b->e);

    if (groups && !parallel) config_fault(b->c, b->e, "parallel_attn", "false is not supported with groups of heads");
    s->parallel = parallel;
    s->parallel_norms = groups && norms == 2;
    if (s->parallel_norms) {
        s->before_attention = "ln_attn";
        /* GGUF files have one name for this norm and that of the older models */
        s->before_mlp = b->t->gguf ? "input_layernorm" : "ln_mlp";
    }
}

static void falcon(struct build *b, bool groups)
{
    static const struct build_size_names size_names = {.hidden = {"hidden_size", "n_embed"},
                                                       .layers = {"num_hidden_layers", "n_layer"},
                                                       .heads = {"num_attention_heads", "n_head"},
                                                       .inter = {"ffn_hidden_size"},
                                                       .limit = {"max_position_embeddings"}};
    bool alibi = config_bool_or(b->c, "alibi", false, b->e);
    struct rope_table rope;
    struct stack s;

    build_names(b, "transformer.", "h", "word_embeddings");
    build_sizes_named(b, &size_names);
    if (!b->inter) b->inter = 4 * b->hidden;
    build_norm_kind(b, NORM_LAYER, "layer_norm_epsilon", 1e-5);
    b->norm_bias = true;
    if (!alibi) rope = build_plain_rope(b);
    s = fused(b, alibi ? NULL : &rope);
    s.attention.grouped = falcon_grouped(b, groups);
    if (alibi) s.attention.alibi = stack_alibi(b, 8, (double)s.attention.scale);
    falcon_norms(b, &s, groups);
    biases(&s, config_bool_or(b->c, "bias", false, b->e));
    s.mlp.act = build_activation(b, "activation", ACT_GELU_ERF);
    stack_build(b, &s);
}

void family_falcon(struct build *b)
{
    falcon(b, config_bool_or(b->c, "new_decoder_architecture", false, b->e));
}

void family_bloom(struct build *b)
{
    static const struct build_size_names size_names = {.hidden = {"hidden_size", "n_embed"},
                                                       .layers = {"n_layer", "num_hidden_layers"},
                                                       .heads = {"n_head", "num_attention_heads"},
                                                       .inter = {"n_inner"},
                                                       .limit = {"seq_length"}};
    struct stack s;

    build_names(b, "transformer.", "h", "word_embeddings");
    build_sizes_named(b, &size_names);
    if (!b->inter) b->inter = 4 * b->hidden;
    build_norm_kind(b, NORM_LAYER, "layer_norm_epsilon", 1e-5);
    b->norm_bias = true;
    if (config_bool_or(b->c, "apply_residual_connection_post_layernorm", false, b->e))
        config_fault(b->c, b->e, "apply_residual_connection_post_layernorm", "true is not supported");
    s = fused(b, NULL);
    s.embed_norm = "word_embeddings_layernorm";
    s.attention.grouped = !b->t->gguf;
    s.attention.alibi = stack_alibi(b, 8, 1);
    biases(&s, true);
    s.mlp.act = ACT_GELU_TANH;
    stack_build(b, &s);
}

/* ---- as GGUF: q, k and v by kind instead of by head ---- */

static const struct gguf_name falcon_names[] = {
    {"attn_qkv", "self_attention.query_key_value", GGUF_AS_IS},
    {"attn_output", "self_attention.dense", GGUF_AS_IS},
    {"ffn_up", "mlp.dense_h_to_4h", GGUF_AS_IS},
    {"ffn_down", "mlp.dense_4h_to_h", GGUF_AS_IS},
    {"attn_norm_2", "ln_attn", GGUF_AS_IS},
    {"attn_norm", "input_layernorm", GGUF_AS_IS},
    {"attn_norm", "ln_mlp", GGUF_AS_IS},
    {NULL, NULL, 0},
};

/* Blocks stand side by side, and positions rotate, in all such files. */
static void falcon_config(struct gguf_values *v)
{
    bool two = gguf_layer_has(v, "attn_norm_2.weight");

    gguf_set_int(v, "num_kv_heads", v->kv_heads);
    gguf_set_flag(v, "multi_query", true);
    gguf_set_flag(v, "new_decoder_architecture", two || v->kv_heads != 1);
    gguf_set_int(v, "num_ln_in_parallel_attn", two ? 2 : 1);
    gguf_set_flag(v, "parallel_attn", true);
    gguf_set_flag(v, "alibi", false);
    gguf_set_flag(v, "bias", false);
    gguf_set_text(v, "activation", "gelu");
    gguf_field_int(v, "feed_forward_length", "ffn_hidden_size", 4 * v->hidden);
}

const struct gguf_family gguf_falcon = {
    .architecture = "falcon",
    .class = "FalconForCausalLM",
    .type = "falcon",
    .names = falcon_names,
    .prefix = "transformer.",
    .layers = "h",
    .embed = "word_embeddings",
    .norm = "ln_f",
    .config = falcon_config,
};

static const struct gguf_name bloom_names[] = {
    {"attn_qkv", "self_attention.query_key_value", GGUF_AS_IS},
    {"attn_output", "self_attention.dense", GGUF_AS_IS},
    {"ffn_up", "mlp.dense_h_to_4h", GGUF_AS_IS},
    {"ffn_down", "mlp.dense_4h_to_h", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static const struct gguf_name bloom_top[] = {{"token_embd_norm", "word_embeddings_layernorm", GGUF_AS_IS},
                                             {NULL, NULL, 0}};

static void bloom_config(struct gguf_values *v)
{
    if (!v->tells && v->kv_heads != v->heads)
        gguf_refuse(v, "attention.head_count_kv", "%llu, and this architecture has keys for each head",
                    (unsigned long long)v->kv_heads);
    gguf_field_int(v, "feed_forward_length", "n_inner", 4 * v->hidden);
    gguf_field_int(v, "context_length", "seq_length", 2048);
}

const struct gguf_family gguf_bloom = {
    .architecture = "bloom",
    .class = "BloomForCausalLM",
    .type = "bloom",
    .names = bloom_names,
    .top = bloom_top,
    .prefix = "transformer.",
    .layers = "h",
    .embed = "word_embeddings",
    .norm = "ln_f",
    .config = bloom_config,
};
