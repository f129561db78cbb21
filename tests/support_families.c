#include "tests/support_families.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#define LAYERS 3u

static const char *layer_name(char *out, const char *prefix, uint32_t i, const char *name)
{
    snprintf(out, 256, "%s%u.%s", prefix, i, name);
    return out;
}

static void copy_layer(struct renamer *r, const char *to, const char *new_name, uint32_t i, const char *old_name)
{
    char a[256], b[256];

    renamer_copy(r, layer_name(a, to, i, new_name), layer_name(b, "model.layers.", i, old_name));
}

/* Rows of q, k and v one after the other; cols 0: their biases. */
static void concat_qkv(struct renamer *r, const char *to, const char *new_name, uint32_t i, const char *kind,
                       uint64_t q, uint64_t kv, uint64_t cols)
{
    char a[256], b[300];
    static const char *const part[3] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"};

    renamer_begin(r, layer_name(a, to, i, new_name));
    for (int k = 0; k < 3; k++) {
        snprintf(b, sizeof b, "model.layers.%u.%s.%s", i, part[k], kind);
        renamer_append(r, b, 0, k ? kv : q);
    }
    renamer_end(r, q + 2 * kv, cols);
}

static char *finish(struct renamer *r, char *source, const char *config)
{
    char *folder = scratch_make();

    scratch_write(folder, "config.json", config);
    renamer_close(r, folder);
    scratch_remove(source);
    return folder;
}

static char *make_internlm2(void)
{
    char *source = reference_make("llama"), a[256];
    static const char *const names[][2] = {
        {"attention.wo.weight", "self_attn.o_proj.weight"},  {"feed_forward.w1.weight", "mlp.gate_proj.weight"},
        {"feed_forward.w3.weight", "mlp.up_proj.weight"},    {"feed_forward.w2.weight", "mlp.down_proj.weight"},
        {"attention_norm.weight", "input_layernorm.weight"}, {"ffn_norm.weight", "post_attention_layernorm.weight"}};
    struct renamer r;

    renamer_open(&r, source);
    renamer_copy(&r, "model.tok_embeddings.weight", "model.embed_tokens.weight");
    renamer_copy(&r, "model.norm.weight", "model.norm.weight");
    renamer_copy(&r, "output.weight", "lm_head.weight");
    for (uint32_t i = 0; i < LAYERS; i++) {
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            copy_layer(&r, "model.layers.", names[k][0], i, names[k][1]);
        renamer_begin(&r, layer_name(a, "model.layers.", i, "attention.wqkv.weight"));
        for (uint32_t group = 0; group < 2; group++) { /* two heads of q, one of k, one of v */
            renamer_append(&r, layer_name(a, "model.layers.", i, "self_attn.q_proj.weight"), group * 40, 40);
            renamer_append(&r, layer_name(a, "model.layers.", i, "self_attn.k_proj.weight"), group * 20, 20);
            renamer_append(&r, layer_name(a, "model.layers.", i, "self_attn.v_proj.weight"), group * 20, 20);
        }
        renamer_end(&r, 160, 80);
    }
    return finish(
        &r, source,
        "{\"architectures\":[\"InternLM2ForCausalLM\"],\"bias\":false,\"hidden_act\":\"silu\",\"hidden_size\":80,"
        "\"intermediate_size\":176,\"max_position_embeddings\":512,\"num_attention_heads\":4,\"num_hidden_layers\":3,"
        "\"num_key_value_heads\":2,\"rms_norm_eps\":1e-6,\"rope_theta\":10000,\"vocab_size\":272,"
        "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0},\"eos_token_id\":2}");
}

static char *make_baichuan_7b(void)
{
    char *source = reference_make("llama");
    static const char *const same[] = {"self_attn.o_proj.weight", "mlp.gate_proj.weight",
                                       "mlp.up_proj.weight",      "mlp.down_proj.weight",
                                       "input_layernorm.weight",  "post_attention_layernorm.weight"};
    struct renamer r;

    renamer_open(&r, source);
    renamer_copy(&r, "model.embed_tokens.weight", "model.embed_tokens.weight");
    renamer_copy(&r, "model.norm.weight", "model.norm.weight");
    renamer_copy(&r, "lm_head.weight", "lm_head.weight");
    for (uint32_t i = 0; i < LAYERS; i++) {
        for (size_t k = 0; k < sizeof same / sizeof *same; k++) copy_layer(&r, "model.layers.", same[k], i, same[k]);
        concat_qkv(&r, "model.layers.", "self_attn.W_pack.weight", i, "weight", 80, 40, 80);
    }
    return finish(
        &r, source,
        "{\"architectures\":[\"BaiChuanForCausalLM\"],\"hidden_act\":\"silu\",\"hidden_size\":80,\"intermediate_size\":"
        "176,"
        "\"max_position_embeddings\":512,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"num_hidden_layers\":3,"
        "\"rms_norm_eps\":1e-6,\"vocab_size\":272}");
}

static char *make_qwen1(void)
{
    char *source = reference_make("qwen2");
    static const char *const names[][2] = {
        {"attn.c_proj.weight", "self_attn.o_proj.weight"}, {"mlp.w2.weight", "mlp.gate_proj.weight"},
        {"mlp.w1.weight", "mlp.up_proj.weight"},           {"mlp.c_proj.weight", "mlp.down_proj.weight"},
        {"ln_1.weight", "input_layernorm.weight"},         {"ln_2.weight", "post_attention_layernorm.weight"}};
    struct renamer r;

    renamer_open(&r, source);
    renamer_copy(&r, "transformer.wte.weight", "model.embed_tokens.weight");
    renamer_copy(&r, "transformer.ln_f.weight", "model.norm.weight");
    renamer_copy(&r, "lm_head.weight", "lm_head.weight");
    for (uint32_t i = 0; i < LAYERS; i++) {
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            copy_layer(&r, "transformer.h.", names[k][0], i, names[k][1]);
        concat_qkv(&r, "transformer.h.", "attn.c_attn.weight", i, "weight", 80, 40, 80);
        concat_qkv(&r, "transformer.h.", "attn.c_attn.bias", i, "bias", 80, 40, 0);
    }
    return finish(
        &r, source,
        "{\"architectures\":[\"QWenLMHeadModel\"],\"hidden_size\":80,\"intermediate_size\":352,\"kv_channels\":20,"
        "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"num_hidden_layers\":3,\"layer_norm_epsilon\":1e-6,"
        "\"rotary_emb_base\":1000000,\"rotary_pct\":1.0,\"seq_length\":512,\"no_bias\":true,\"vocab_size\":272}");
}

static char *make_chatglm(void)
{
    char *source = reference_make("glm");
    static const char *const names[][2] = {{"self_attention.dense.weight", "self_attn.o_proj.weight"},
                                           {"mlp.dense_h_to_4h.weight", "mlp.gate_up_proj.weight"},
                                           {"mlp.dense_4h_to_h.weight", "mlp.down_proj.weight"},
                                           {"input_layernorm.weight", "input_layernorm.weight"},
                                           {"post_attention_layernorm.weight", "post_attention_layernorm.weight"}};
    struct renamer r;

    renamer_open(&r, source);
    renamer_copy(&r, "transformer.embedding.word_embeddings.weight", "model.embed_tokens.weight");
    renamer_copy(&r, "transformer.encoder.final_layernorm.weight", "model.norm.weight");
    renamer_copy(&r, "transformer.output_layer.weight", "lm_head.weight");
    for (uint32_t i = 0; i < LAYERS; i++) {
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            copy_layer(&r, "transformer.encoder.layers.", names[k][0], i, names[k][1]);
        concat_qkv(&r, "transformer.encoder.layers.", "self_attention.query_key_value.weight", i, "weight", 96, 48, 80);
        concat_qkv(&r, "transformer.encoder.layers.", "self_attention.query_key_value.bias", i, "bias", 96, 48, 0);
    }
    return finish(
        &r, source,
        "{\"architectures\":[\"ChatGLMModel\"],\"model_type\":\"chatglm\",\"hidden_size\":80,\"ffn_hidden_size\":176,"
        "\"kv_channels\":24,\"num_attention_heads\":4,\"num_layers\":3,\"multi_query_attention\":true,"
        "\"multi_query_group_num\":2,\"padded_vocab_size\":272,\"seq_length\":512,\"layernorm_epsilon\":1.5625e-07,"
        "\"rmsnorm\":true,\"add_qkv_bias\":true,\"add_bias_linear\":false,\"rope_ratio\":1}");
}

/* ---- all of them ---- */

const struct renamed_family renamed_families[RENAMED_FAMILIES] = {
    {"InternLM 2", "llama", "rows of q, k and v in groups, other names", make_internlm2},
    {"Baichuan 7B", "llama", "q, k and v in W_pack", make_baichuan_7b},
    {"Qwen 1", "qwen2", "transformer.h.*, c_attn", make_qwen1},
    {"ChatGLM 2/3, GLM-4-9b (original layout)", "glm", "transformer.encoder.*, query_key_value", make_chatglm},
};
