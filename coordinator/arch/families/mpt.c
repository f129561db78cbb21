/* MPT: ALiBi, layer norms without biases, q, k and v in one matrix and perhaps clipped. Reference: transformers,
 * modeling_mpt.py; of alibi_bias_max, which that leaves at 8, the modeling_mpt.py published with the weights. */
#include "coordinator/arch/family.h"
#include "coordinator/arch/gguf.h"
#include "coordinator/arch/gguf_tell.h"
#include "coordinator/arch/stack.h"

#include <math.h>
#include <string.h>

static const json_t *attention_field(const struct build *b, const char *key)
{
    const json_t *o = config_field(b->c, "attn_config", false), *v = json_object_get(o, key);

    return json_is_null(v) ? NULL : v;
}

static double attention_number(const struct build *b, const char *key, double otherwise)
{
    return config_object_number(b->c, config_field(b->c, "attn_config", false), "attn_config", key, otherwise, b->e);
}

static void refuse(struct build *b)
{
    static const char *const never[] = {"prefix_lm", "qk_ln", "qk_gn", "rope"};
    const char *type = json_string_value(attention_field(b, "attn_type"));
    const char *norm = config_string_or(b->c, "norm_type", "low_precision_layernorm", b->e);

    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (json_is_true(attention_field(b, never[i])))
            config_fault(b->c, b->e, "attn_config", "%s true is not supported", never[i]);
    if (json_is_false(attention_field(b, "alibi")))
        config_fault(b->c, b->e, "attn_config", "alibi false is not supported");
    if (attention_field(b, "sliding_window_size") && attention_number(b, "sliding_window_size", -1) > 0)
        config_fault(b->c, b->e, "attn_config", "sliding_window_size is not supported");
    if (type && strcmp(type, "multihead_attention"))
        config_fault(b->c, b->e, "attn_config", "attn_type \"%.40s\" is not supported", type);
    if (strcmp(norm, "low_precision_layernorm") && strcmp(norm, "layernorm"))
        config_fault(b->c, b->e, "norm_type", "\"%.40s\" is not supported", norm);
    if (!config_bool_or(b->c, "no_bias", true, b->e)) config_fault(b->c, b->e, "no_bias", "false is not supported");
    if (config_field(b->c, "logit_scale", false))
        config_fault(b->c, b->e, "logit_scale", "logits that are scaled are not supported");
}

static float positive(struct build *b, const char *key, double otherwise)
{
    double x = attention_number(b, key, otherwise);

    if (attention_field(b, key) && !(x > 0))
        config_fault(b->c, b->e, "attn_config", "%s %g is out of range, it must be greater than 0", key, x);
    return (float)x;
}

void family_mpt(struct build *b)
{
    static const struct build_size_names size_names = {.hidden = {"d_model", "hidden_size"},
                                                       .layers = {"n_layers", "num_hidden_layers"},
                                                       .heads = {"n_heads", "num_attention_heads"},
                                                       .inter = {"ffn_hidden_size"},
                                                       .limit = {"max_seq_len"}};
    struct stack s;
    uint32_t ratio = config_size_or(b->c, "expansion_ratio", 1, 64, 4, b->e);

    build_names(b, "transformer.", "blocks", "wte");
    build_sizes_named(b, &size_names);
    if (!b->inter) b->inter = ratio * b->hidden;
    build_norm_kind(b, NORM_LAYER, "layer_norm_epsilon", 1e-5);
    refuse(b);
    s = stack_llama(b, NULL);
    s.embed = "wte";
    s.final_norm = "norm_f";
    s.before_attention = "norm_1";
    s.before_mlp = "norm_2";
    s.attention.qkv = "attn.Wqkv";
    s.attention.o = "attn.out_proj";
    s.attention.scale = positive(b, "softmax_scale", (double)s.attention.scale);
    s.attention.clip = positive(b, "clip_qkv", 0);
    s.attention.alibi = stack_alibi(b, (double)positive(b, "alibi_bias_max", 8), 1);
    s.mlp = (struct mlp){.up = "ffn.up_proj", .down = "ffn.down_proj", .inter = b->inter, .act = ACT_GELU_ERF};
    s.tied = build_tied(b);
    stack_build(b, &s);
}

/* ---- as GGUF ---- */

static const struct gguf_name mpt_names[] = {
    {"attn_norm", "norm_1", GGUF_AS_IS},
    {"ffn_norm", "norm_2", GGUF_AS_IS},
    {"attn_qkv", "attn.Wqkv", GGUF_AS_IS},
    {"attn_output", "attn.out_proj", GGUF_AS_IS},
    {"ffn_up", "ffn.up_proj", GGUF_AS_IS},
    {"ffn_down", "ffn.down_proj", GGUF_AS_IS},
    {NULL, NULL, 0},
};

static void mpt_tell(struct gguf_values *v)
{
    const json_t *o = config_field(v->tells->config, "attn_config", false),
                 *most = json_object_get(o, "alibi_bias_max"), *clip = json_object_get(o, "clip_qkv");

    gguf_tell_real(v, "attention.max_alibi_bias", json_is_number(most) ? json_number_value(most) : 8);
    if (json_is_number(clip)) gguf_tell_real(v, "attention.clamp_kqv", json_number_value(clip));
}

static void mpt_config(struct gguf_values *v)
{
    json_t *o = json_object();
    double most = 0, clip;

    if (v->tells) mpt_tell(v);
    gguf_value_real(v, "attention.max_alibi_bias", &most);
    json_object_set_new(o, "alibi", json_boolean(most > 0));
    json_object_set_new(o, "alibi_bias_max", json_real(most));
    if (gguf_value_real(v, "attention.clamp_kqv", &clip) && clip > 0)
        json_object_set_new(o, "clip_qkv", json_real(clip));
    gguf_set(v, "attn_config", o);
    if (!v->tells && v->kv_heads != v->heads)
        gguf_refuse(v, "attention.head_count_kv", "fewer heads of keys than of queries are not supported");
    gguf_field_int(v, "feed_forward_length", "ffn_hidden_size", 4 * v->hidden);
    gguf_field_int(v, "context_length", "max_seq_len", 2048);
}

const struct gguf_family gguf_mpt = {
    .architecture = "mpt",
    .class = "MptForCausalLM",
    .type = "mpt",
    .names = mpt_names,
    .prefix = "transformer.",
    .layers = "blocks",
    .embed = "wte",
    .norm = "norm_f",
    .config = mpt_config,
};
