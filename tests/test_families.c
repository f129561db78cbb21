/* Every family's program, run in float64 by the plainest code, against the logits of transformers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <dirent.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include "proto/plan.h"
#include "tests/mkmodel.h"
#include "tests/support_model.h"

#define TOLERANCE 5e-5 /* float64 against float64; the recurrent ones were computed in float32 inside */

static void check_reference(const char *name)
{
    struct golden g = golden_load(name);
    char *folder = reference_make(name);
    double d = golden_difference(&g, folder);

    if (!(d < TOLERANCE)) fail_msg("%s is off by %g", name, d);
    golden_free(&g);
    scratch_remove(folder);
}

static void every_reference_model(void **state)
{
    DIR *d = opendir(REFERENCE_MODELS);
    struct dirent *x;
    int n = 0;

    (void)state;
    assert_non_null(d);
    while ((x = readdir(d))) {
        if (x->d_name[0] == '.' || strstr(x->d_name, "README")) continue;
        check_reference(x->d_name);
        n++;
    }
    closedir(d);
    assert_int_equal(n, 48);
}

/* ---- originals without a library's reference: the weights of a family that has one, under their names ---- */

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

static void check_renamed(struct renamer *r, char *source, const char *golden, const char *config)
{
    struct golden g = golden_load(golden);
    char *folder = scratch_make();
    double d;

    scratch_write(folder, "config.json", config);
    renamer_close(r, folder);
    d = golden_difference(&g, folder);
    if (!(d < TOLERANCE)) fail_msg("%s renamed is off by %g", golden, d);
    golden_free(&g);
    scratch_remove(folder);
    scratch_remove(source);
}

static void internlm2_is_llama_with_grouped_rows(void **state)
{
    char *source = reference_make("llama"), a[256];
    static const char *const names[][2] = {
        {"attention.wo.weight", "self_attn.o_proj.weight"},  {"feed_forward.w1.weight", "mlp.gate_proj.weight"},
        {"feed_forward.w3.weight", "mlp.up_proj.weight"},    {"feed_forward.w2.weight", "mlp.down_proj.weight"},
        {"attention_norm.weight", "input_layernorm.weight"}, {"ffn_norm.weight", "post_attention_layernorm.weight"}};
    struct renamer r;

    (void)state;
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
    check_renamed(
        &r, source, "llama",
        "{\"architectures\":[\"InternLM2ForCausalLM\"],\"bias\":false,\"hidden_act\":\"silu\",\"hidden_size\":80,"
        "\"intermediate_size\":176,\"max_position_embeddings\":512,\"num_attention_heads\":4,\"num_hidden_layers\":3,"
        "\"num_key_value_heads\":2,\"rms_norm_eps\":1e-6,\"rope_theta\":10000,\"vocab_size\":272,"
        "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0},\"eos_token_id\":2}");
}

static void baichuan_7b_is_llama_with_w_pack(void **state)
{
    char *source = reference_make("llama");
    static const char *const same[] = {"self_attn.o_proj.weight", "mlp.gate_proj.weight",
                                       "mlp.up_proj.weight",      "mlp.down_proj.weight",
                                       "input_layernorm.weight",  "post_attention_layernorm.weight"};
    struct renamer r;

    (void)state;
    renamer_open(&r, source);
    renamer_copy(&r, "model.embed_tokens.weight", "model.embed_tokens.weight");
    renamer_copy(&r, "model.norm.weight", "model.norm.weight");
    renamer_copy(&r, "lm_head.weight", "lm_head.weight");
    for (uint32_t i = 0; i < LAYERS; i++) {
        for (size_t k = 0; k < sizeof same / sizeof *same; k++) copy_layer(&r, "model.layers.", same[k], i, same[k]);
        concat_qkv(&r, "model.layers.", "self_attn.W_pack.weight", i, "weight", 80, 40, 80);
    }
    check_renamed(
        &r, source, "llama",
        "{\"architectures\":[\"BaiChuanForCausalLM\"],\"hidden_act\":\"silu\",\"hidden_size\":80,\"intermediate_size\":"
        "176,"
        "\"max_position_embeddings\":512,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"num_hidden_layers\":3,"
        "\"rms_norm_eps\":1e-6,\"vocab_size\":272}");
}

static void qwen1_is_qwen2_under_other_names(void **state)
{
    char *source = reference_make("qwen2");
    static const char *const names[][2] = {
        {"attn.c_proj.weight", "self_attn.o_proj.weight"}, {"mlp.w2.weight", "mlp.gate_proj.weight"},
        {"mlp.w1.weight", "mlp.up_proj.weight"},           {"mlp.c_proj.weight", "mlp.down_proj.weight"},
        {"ln_1.weight", "input_layernorm.weight"},         {"ln_2.weight", "post_attention_layernorm.weight"}};
    struct renamer r;

    (void)state;
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
    check_renamed(
        &r, source, "qwen2",
        "{\"architectures\":[\"QWenLMHeadModel\"],\"hidden_size\":80,\"intermediate_size\":352,\"kv_channels\":20,"
        "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"num_hidden_layers\":3,\"layer_norm_epsilon\":1e-6,"
        "\"rotary_emb_base\":1000000,\"rotary_pct\":1.0,\"seq_length\":512,\"no_bias\":true,\"vocab_size\":272}");
}

static void chatglm_is_glm_under_other_names(void **state)
{
    char *source = reference_make("glm");
    static const char *const names[][2] = {{"self_attention.dense.weight", "self_attn.o_proj.weight"},
                                           {"mlp.dense_h_to_4h.weight", "mlp.gate_up_proj.weight"},
                                           {"mlp.dense_4h_to_h.weight", "mlp.down_proj.weight"},
                                           {"input_layernorm.weight", "input_layernorm.weight"},
                                           {"post_attention_layernorm.weight", "post_attention_layernorm.weight"}};
    struct renamer r;

    (void)state;
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
    check_renamed(
        &r, source, "glm",
        "{\"architectures\":[\"ChatGLMModel\"],\"model_type\":\"chatglm\",\"hidden_size\":80,\"ffn_hidden_size\":176,"
        "\"kv_channels\":24,\"num_attention_heads\":4,\"num_layers\":3,\"multi_query_attention\":true,"
        "\"multi_query_group_num\":2,\"padded_vocab_size\":272,\"seq_length\":512,\"layernorm_epsilon\":1.5625e-07,"
        "\"rmsnorm\":true,\"add_qkv_bias\":true,\"add_bias_linear\":false,\"rope_ratio\":1}");
}

/* ---- multimodal folders ---- */

static void copy_all(struct renamer *r, const char *prefix)
{
    char name[512];

    for (size_t i = 0; i < r->from->count; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, r->from->at[i].name);
        renamer_copy(r, name, r->from->at[i].name);
    }
}

/* The reference's config as the text_config of a folder that calls itself architecture. */
static void check_text_part(const char *reference, const char *architecture, const char *prefix)
{
    char *source = reference_make(reference), *folder = scratch_make(), *text;
    struct golden g = golden_load(reference);
    json_t *root = json_object(), *inner = json_load_file(scratch_path(source, "config.json"), 0, NULL);
    struct model *m = NULL;
    struct error e = {0};
    struct renamer r;

    json_object_del(inner, "architectures");
    json_object_set_new(root, "architectures", json_pack("[s]", architecture));
    json_object_set_new(root, "text_config", inner);
    json_object_set_new(root, "vision_config", json_pack("{s:i}", "hidden_size", 7));
    text = json_dumps(root, 0);
    scratch_write(folder, "config.json", text);
    renamer_open(&r, source);
    copy_all(&r, prefix);
    renamer_copy(&r, "vision_tower.patch.weight", "model.norm.weight");
    renamer_close(&r, folder);
    assert_true(golden_difference(&g, folder) < TOLERANCE);
    assert_int_equal(model_open(&m, folder, NULL, &e), 0);
    assert_non_null(model_notice(m));
    assert_non_null(strstr(model_notice(m), architecture));
    model_close(m);
    free(text);
    json_decref(root);
    golden_free(&g);
    scratch_remove(folder);
    scratch_remove(source);
}

static void text_parts_of_multimodal_folders(void **state)
{
    (void)state;
    check_text_part("gemma3", "Gemma3ForConditionalGeneration", "language_model.");
    check_text_part("llama", "LlavaForConditionalGeneration", "language_model.");
    check_text_part("mistral", "Mistral3ForConditionalGeneration", "language_model.");
    check_text_part("qwen2", "Qwen2_5_VLForConditionalGeneration", "");
    check_text_part("qwen3", "Qwen3VLForConditionalGeneration", "");
    check_text_part("llama4", "Llama4ForConditionalGeneration", "language_model.");
}

/* ---- what a program says of itself ---- */

static void sizes_of_a_model(void **state)
{
    char *folder = reference_make("llama");
    struct model *m = NULL;
    struct error e = {0};

    (void)state;
    assert_int_equal(model_open(&m, folder, NULL, &e), 0);
    assert_int_equal(model_weight_bytes(m), 456800);
    assert_int_equal(model_parameters(m), 228400);
    assert_null(model_notice(m));
    assert_int_equal(model_program(m)->spec.context, 512);
    assert_int_equal(model_generation(m)->eos_count, 1);
    assert_int_equal(model_generation(m)->eos[0], 2);
    assert_int_equal(model_generation(m)->bos, 1);
    assert_true(isnan(model_generation(m)->temperature));
    model_close(m);
    scratch_remove(folder);
}

/* Longrope's factors follow the length that is wanted, and the short ones bound the context. */
static void context_follows_longrope(void **state)
{
    char *folder = reference_make("phi3-longrope");
    struct model_options o = {0};
    struct model *m = NULL;
    struct error e = {0};

    (void)state;
    assert_int_equal(model_open(&m, folder, &o, &e), 0);
    assert_int_equal(model_program(m)->spec.context, 16);
    model_close(m);
    o.want_tokens = 17;
    assert_int_equal(model_open(&m, folder, &o, &e), 0);
    assert_int_equal(model_program(m)->spec.context, 512);
    model_close(m);
    o.context = 513;
    assert_int_not_equal(model_open(&m, folder, &o, &e), 0);
    assert_non_null(strstr(e.text, "513"));
    scratch_remove(folder);
}

/* A folder of which only the config is there, or the config and the index, can be planned: same program, same sizes. */
static void plans_without_weights(void **state)
{
    static const char *const names[] = {"llama-bias-f16-sharded", "deepseek-v3", "gpt-oss-mxfp4", "qwen3-next"};
    struct model_options o = {.allow_missing_weights = true};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *folder = reference_make(names[i]);
        struct model *whole = NULL, *part = NULL;
        struct error e = {0};
        assert_int_equal(model_open(&whole, folder, NULL, &e), 0);
        for (uint32_t k = 0; k < model_program(whole)->files.count; k++)
            remove(PROGRAM_AT(model_program(whole), strings, char,
                              PROGRAM_AT(model_program(whole), files, struct plan_file, k)->name));
        assert_int_not_equal(model_open(&part, folder, NULL, &e), 0);
        if (model_open(&part, folder, &o, &e)) fail_msg("%s: %s", names[i], e.text);
        assert_int_equal(model_program(part)->ops.count, model_program(whole)->ops.count);
        assert_int_equal(model_weight_bytes(part), model_weight_bytes(whole));
        model_close(part);
        model_close(whole);
        scratch_remove(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reference_model),
        cmocka_unit_test(internlm2_is_llama_with_grouped_rows),
        cmocka_unit_test(baichuan_7b_is_llama_with_w_pack),
        cmocka_unit_test(qwen1_is_qwen2_under_other_names),
        cmocka_unit_test(chatglm_is_glm_under_other_names),
        cmocka_unit_test(text_parts_of_multimodal_folders),
        cmocka_unit_test(sizes_of_a_model),
        cmocka_unit_test(context_follows_longrope),
        cmocka_unit_test(plans_without_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
