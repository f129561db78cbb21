/* Families with experts of 2025 and 2026: what is refused and how, tensors that are not there, what is left out and said, the two
 * forms of their fields, and the sizes of what is published. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include "tests/support_model.h"
#include "tests/support_verify.h"

static const struct model_options ANY = {.allow_missing_weights = true};

/* With a layer that has experts, and a tensor of it that only this family names so. */
static const struct {
    const char *name;
    int layer;
    const char *own;
} families[] = {
    {"dots1", 1, "self_attn.q_norm.weight"},
    {"ernie4.5-moe", 1, "mlp.moe_statics.e_score_correction_bias"},
    {"solar-open", 0, "mlp.shared_experts.up_proj.weight"},
    {"hy-v3", 1, "mlp.expert_bias"},
    {"glm4-moe-lite", 1, "self_attn.kv_a_proj_with_mqa.weight"},
    {"exaone-moe", 1, "mlp.e_score_correction_bias"},
    {"afmoe", 1, "self_attn.gate_proj.weight"},
    {"cohere2-moe", 1, "mlp.shared_experts.down_proj.weight"},
    {"phimoe", 1, "block_sparse_moe.gate.weight"},
    {"longcat-flash", 1, "mlp.router.classifier.weight"},
    {"mimo-v2-flash", 1, "self_attn.attention_sink_bias"},
    {"step3.7", 1, "self_attn.g_proj.weight"},
    {"mistral4", 1, "mlp.experts.gate_up_proj"},
    {"hunyuan-moe", 1, "self_attn.query_layernorm.weight"},
    {"deepseek-v4", 0, "ffn.gate.tid2eid"},
    {"deepseek-v4", 4, "attn.indexer.compressor.ape"},
};
#define FAMILIES (sizeof families / sizeof *families)

static char *folder;

static int make_folder(void **state)
{
    (void)state;
    folder = scratch_make();
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static void write_config(json_t *config) /* takes it */
{
    scratch_write_json(folder, "config.json", config);
}

/* The fields of the language model, of a multimodal config too. */
static json_t *fields(json_t *config)
{
    json_t *part = json_object_get(config, "text_config");

    return part ? part : config;
}

static char *list_of(const char *name)
{
    char path[512], *list = NULL;
    size_t n = 0;
    FILE *f;

    snprintf(path, sizeof path, REFERENCE_MODELS "/%s/tensors.tsv", name);
    f = fopen(path, "re");
    assert_non_null(f);
    assert_true(getdelim(&list, &n, 0, f) > 0);
    fclose(f);
    return list;
}

/* The model in the folder is refused, in one line that says so. */
static void refused(const char *what, const char *word, const char *further)
{
    struct model *m = NULL;
    struct error e = {0};

    if (!model_open(&m, folder, &ANY, &e)) fail_msg("%s is accepted", what);
    if (!strstr(e.text, word) || !strstr(e.text, further) || strchr(e.text, '\n'))
        fail_msg("%s: \"%s\" does not say \"%s\" and \"%s\"", what, e.text, word, further);
}

/* ---- bad fields ---- */

struct bad {
    const char *model, *key, *value, *word; /* value NULL: without the field */
};

static const struct bad bad[] = {
    {"dots1", "num_experts_per_tok", "9", "contradict"},
    {"dots1", "num_experts_per_tok", NULL, "num_experts_per_tok"},
    {"dots1", "n_routed_experts", "7", "experts.7.gate_proj.weight is there"},
    {"dots1", "n_shared_experts", "1025", "n_shared_experts"},
    {"dots1", "layer_types", "[\"full_attention\"]", "layer_types"},
    {"dots1", "layer_types", "[\"full_attention\",\"full_attention\",\"linear_attention\"]", "linear_attention"},
    {"dots1", "n_group", "3", "contradict"},
    {"dots1", "first_k_dense_replace", "2", "layers.1.mlp.gate_proj.weight"},
    {"ernie4.5-moe", "moe_k", "0", "moe_k"},
    {"ernie4.5-moe", "moe_num_experts", "\"8\"", "moe_num_experts"},
    {"ernie4.5-moe", "moe_layer_interval", "0", "moe_layer_interval"},
    {"ernie4.5-moe", "moe_layer_end_index", "-2", "moe_layer_end_index"},
    {"ernie4.5-moe", "moe_layer_end_index", "\"last\"", "moe_layer_end_index"},
    {"ernie4.5-moe", "moe_layer_start_index", "0", "layers.0.mlp."},
    {"ernie4.5-moe", "moe_norm_min", "\"tiny\"", "moe_norm_min"},
    {"ernie4.5-moe", "use_bias", "true", ".bias"},
    {"solar-open", "moe_intermediate_size", "47", "[48, 80]"},
    {"solar-open", "attention_bias", "true", "q_proj.bias"},
    {"hy-v3", "num_shared_experts", "-1", "num_shared_experts"},
    {"hy-v3", "router_scaling_factor", "[2]", "router_scaling_factor"},
    {"hy-v3", "mlp_layer_types", "[\"dense\",\"sparse\"]", "no entry for layer 2"},
    {"hy-v3", "mlp_layer_types", "[\"dense\",\"sparse\",\"mixed\"]", "mixed"},
    {"hy-v3", "mlp_layer_types", "\"dense\"", "mlp_layer_types"},
    {"hy-v3", "mlp_bias", "true", "mlp.up_proj.bias|mlp.gate_proj.bias"},
    {"glm4-moe-lite", "kv_lora_rank", "31", "[48, 80]"},
    {"glm4-moe-lite", "qk_rope_head_dim", "15", "qk_rope_head_dim|even|columns"},
    {"glm4-moe-lite", "v_head_dim", "0", "v_head_dim"},
    {"glm4-moe-lite", "q_lora_rank", "null", "self_attn.q_proj.weight"},
    {"exaone-moe", "is_moe_layer", "[false,true]", "is_moe_layer"},
    {"exaone-moe", "is_moe_layer", "[false,true,true,\"x\"]", "is_moe_layer"},
    {"exaone-moe", "num_shared_experts", "2", "[96, 80]"},
    {"exaone-moe", "sliding_window", "0", "sliding_window"},
    {"afmoe", "score_func", "\"softmax\"", "score_func"},
    {"afmoe", "n_group", "2", "n_group"},
    {"afmoe", "num_dense_layers", "0", "layers.0.mlp."},
    {"afmoe", "global_attn_every_n_layers", "0", "global_attn_every_n_layers"},
    {"cohere2-moe", "expert_selection_fn", "\"top\"", "expert_selection_fn"},
    {"cohere2-moe", "shared_expert_combination_strategy", "\"max\"", "shared_expert_combination_strategy"},
    {"cohere2-moe", "prefix_dense_intermediate_size", "97", "[96, 80]"},
    {"cohere2-moe", "rms_norm_eps", "2", "rms_norm_eps"},
    {"phimoe", "num_experts_per_tok", "1", "the mixer chooses 2"},
    {"phimoe", "router_jitter_noise", "-0.1", "router_jitter_noise"},
    {"longcat-flash", "num_layers", "3", "model.layers.2."},
    {"longcat-flash", "num_layers", "0", "num_layers"},
    {"longcat-flash", "moe_topk", "7", "contradict"},
    {"longcat-flash", "zero_expert_num", "2", "experts.8.gate_proj.weight is there|[8, 80]"},
    {"longcat-flash", "zero_expert_num", "70000", "zero_expert_num"},
    {"longcat-flash", "zero_expert_type", "\"noise\"", "zero_expert_type"},
    {"longcat-flash", "attention_method", "\"MHA\"", "attention_method"},
    {"longcat-flash", "router_bias", "true", "mlp.router.classifier.bias"},
    {"longcat-flash", "ffn_hidden_size", "0", "ffn_hidden_size"},
    {"mimo-v2-flash", "hybrid_layer_pattern", "[0,1,1]", "hybrid_layer_pattern"},
    {"mimo-v2-flash", "hybrid_layer_pattern", "[0,1,2,0]", "hybrid_layer_pattern"},
    {"mimo-v2-flash", "moe_layer_freq", "[0,1,1]", "moe_layer_freq"},
    {"mimo-v2-flash", "swa_num_key_value_heads", "3", "num_key_value_heads"},
    {"mimo-v2-flash", "v_head_dim", "15", "[16, 80]"},
    {"mimo-v2-flash", "scoring_func", "\"softmax\"", "scoring_func"},
    {"mimo-v2-flash", "topk_method", "\"greedy\"", "topk_method"},
    {"mimo-v2-flash", "add_full_attention_sink_bias", "true", "attention_sink_bias"},
    {"step3.7", "moe_layers_enum", "\"1;2\"", "moe_layers_enum"},
    {"step3.7", "moe_layers_enum", "7", "moe_layers_enum"},
    {"step3.7", "moe_router_activation", "\"softmax\"", "moe_router_activation"},
    {"step3.7", "zero_centered", "false", "zero_centered"},
    {"step3.7", "rope_theta", "[5000000.0]", "rope_theta"},
    {"step3.7", "swiglu_limits", "[0, 0, -1, 2]", "swiglu_limits"},
    {"step3.7", "swiglu_limits_shared", "[0, 0, 0, \"x\"]", "swiglu_limits_shared"},
    {"step3.7", "partial_rotary_factors", "[0.3,1,1,1]", "cannot rotate"},
    {"step3.7", "attention_other_setting", "{\"num_attention_heads\":0}", "attention_other_setting"},
    {"step3.7", "attention_other_setting", "{\"num_attention_heads\":5}", "divisible"},
    {"step3.7", "moe_top_k", "100", "contradict"},
    {"mistral4", "n_routed_experts", "9", "[8, 96, 80]"},
    {"mistral4", "kv_lora_rank", NULL, "kv_a_proj_with_mqa.weight"},
    {"mistral4", "qk_nope_head_dim", "\"24\"", "qk_nope_head_dim"},
    {"hunyuan-moe", "moe_topk", "[2,2]", "moe_topk"},
    {"hunyuan-moe", "moe_topk", "[2,2,7]", "contradict"},
    {"hunyuan-moe", "moe_intermediate_size", "[176,176,0]", "moe_intermediate_size"},
    {"hunyuan-moe", "num_shared_expert", "[1,1,2000]", "num_shared_expert"},
    {"hunyuan-moe", "use_cla", "true", "use_cla"},
    {"hunyuan-moe", "use_qk_norm", "false", "use_qk_norm"},
    {"deepseek-v4", "compress_ratios", "[0,128,4]", "no entry for layer 3"},
    {"deepseek-v4", "compress_ratios", "[0,128,4,64,4]", "layer 3: 64 is not known"},
    {"deepseek-v4", "compress_ratios", "\"4\"", "compress_ratios"},
    {"deepseek-v4", "layer_types", "[\"sliding_attention\",\"full_attention\"]", "full_attention"},
    {"deepseek-v4", "mlp_layer_types", "[\"hash_moe\",\"dense\"]", "layer 1 is neither hash_moe nor moe"},
    {"deepseek-v4", "num_hash_layers", "3", "layers.2.ffn.gate.tid2eid"},
    {"deepseek-v4", "num_hash_layers", "1", "layers.1.ffn.gate.bias"},
    {"deepseek-v4", "num_experts_per_tok", "4", "[272, 3]"},
    {"deepseek-v4", "compress_rate_csa", "0", "compress_rate_csa"},
    {"deepseek-v4", "compress_rate_hca", "70000", "compress_rate_hca"},
    {"deepseek-v4", "compress_rates", "{\"compressed_sparse_attention\":2.5}", "compress_rates"},
    {"deepseek-v4", "compress_rates", "{\"compressed_sparse_attention\":8}", "[4, 64]"},
    {"deepseek-v4", "sliding_window", "0", "sliding_window"},
    {"deepseek-v4", "hc_mult", "9", "hc_mult"},
    {"deepseek-v4", "hc_mult", "3", "[24, 320]"},
    {"deepseek-v4", "hc_sinkhorn_iters", "0", "hc_sinkhorn_iters"},
    {"deepseek-v4", "o_groups", "3", "3 groups of 4 heads"},
    {"deepseek-v4", "o_lora_rank", "23", "[48, 64]"},
    {"deepseek-v4", "num_key_value_heads", "2", "num_key_value_heads"},
    {"deepseek-v4", "index_head_dim", "15", "index_head_dim"},
    {"deepseek-v4", "index_n_heads", "7", "indexer.wq_b.weight"},
    {"deepseek-v4", "index_topk", "0", "index_topk"},
    {"deepseek-v4", "scoring_func", "\"sigmoid\"", "scoring_func"},
    {"deepseek-v4", "topk_method", "\"greedy\"", "topk_method"},
    {"deepseek-v4", "norm_topk_prob", "false", "norm_topk_prob"},
    {"deepseek-v4", "attention_bias", "true", "attention_bias"},
    {"deepseek-v4", "swiglu_limit", "0", "swiglu_limit"},
    {"deepseek-v4", "n_shared_experts", "2", "n_shared_experts"},
    {"deepseek-v4-fp4", "n_routed_experts", "7", "experts.7.w1.weight is there"},
    {"deepseek-v4-fp4", "moe_intermediate_size", "48", "[64, 48]"},
    {"deepseek-v4-fp4", "quantization_config", "{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\"}", "e5m2"},
};

/* One of the words between bars. */
static const char *said_of(const char *text, const char *words, char *word, size_t room)
{
    while (*words) {
        size_t n = strcspn(words, "|");

        snprintf(word, room, "%.*s", (int)n, words);
        if (strstr(text, word)) return word;
        words += n + (words[n] == '|');
    }
    return NULL;
}

static void fields_that_make_no_sense(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *config;
        struct model *m = NULL;
        struct error e = {0};
        char word[200], *list;

        config = reference_config(bad[i].model);
        list = list_of(bad[i].model);
        if (bad[i].value)
            json_object_set_new(fields(config), bad[i].key, json_of(bad[i].value));
        else
            json_object_del(fields(config), bad[i].key);
        write_config(config);
        scratch_write(folder, "tensors.tsv", list);
        free(list);
        if (!model_open(&m, folder, &ANY, &e))
            fail_msg("%s: %s %s is accepted", bad[i].model, bad[i].key, bad[i].value);
        if (!said_of(e.text, bad[i].word, word, sizeof word) || strchr(e.text, '\n'))
            fail_msg("%s: %s: \"%s\" does not say \"%s\"", bad[i].model, bad[i].key, e.text, bad[i].word);
    }
}

/* ---- tensors that are not there ---- */

/* The list without this line. */
static char *without(const char *list, const char *line, size_t n)
{
    char *out = malloc(strlen(list) + 1);

    assert_non_null(out);
    memcpy(out, list, (size_t)(line - list));
    strcpy(out + (line - list), line + n);
    return out;
}

/* Every tensor of the layer in turn, of the experts one; returns how many. */
static int each_missing(const char *list, const char *layer)
{
    int n = 0;

    for (const char *line = list, *end; *line; line = end + 1) {
        char name[200], *rest;

        end = strchr(line, '\n');
        assert_int_equal(sscanf(line, "%*s %199s", name), 1);
        if (!strstr(name, layer)) continue;
        if (strstr(name, ".experts.") && !strstr(name, ".experts.5.") && !strstr(name, "_proj\t") &&
            strpbrk(strstr(name, ".experts.") + 9, "0123456789") == strstr(name, ".experts.") + 9)
            continue;
        rest = without(list, line, (size_t)(end + 1 - line));
        scratch_write(folder, "tensors.tsv", rest);
        free(rest);
        refused(name, name, "is missing");
        n++;
    }
    return n;
}

static void tensors_of_one_layer_missing(void **state)
{
    (void)state;
    for (size_t i = 0; i < FAMILIES; i++) {
        char layer[32], *list = list_of(families[i].name), own[200];
        struct model *m = NULL;
        struct error e = {0};
        int n;

        snprintf(layer, sizeof layer, "layers.%d.", families[i].layer);
        snprintf(own, sizeof own, "%s%s", layer, families[i].own);
        assert_non_null(strstr(list, own));
        write_config(reference_config(families[i].name));
        n = each_missing(list, layer);
        if (n < 12) fail_msg("%s: %d tensors of layer %d", families[i].name, n, families[i].layer);
        scratch_write(folder, "tensors.tsv", list);
        if (model_open(&m, folder, &ANY, &e)) fail_msg("%s: %s", families[i].name, e.text);
        model_close(m);
        free(list);
    }
}

/* ---- two forms of the same fields ---- */

static struct plan_shm *program_of(json_t *config, struct model **m)
{
    struct error e = {0};

    write_config(config);
    if (model_open(m, folder, &ANY, &e)) fail_msg("%s", e.text);
    return (struct plan_shm *)(uintptr_t)model_program(*m);
}

/* The reference's config with fields taken out and others put in makes the same program. */
static void expect_same(const char *name, const char *const *out, const char *in)
{
    json_t *given = reference_config(name), *other = json_deep_copy(given), *more = json_of(in);
    struct model *a, *b;
    struct plan_shm *p, *q;
    char *list = list_of(name);

    scratch_write(folder, "tensors.tsv", list);
    free(list);
    for (; *out; out++) assert_int_equal(json_object_del(fields(other), *out), 0);
    json_object_update(fields(other), more);
    json_decref(more);
    p = program_of(given, &a);
    q = program_of(other, &b);
    if (p->bytes != q->bytes || memcmp(p, q, p->bytes)) fail_msg("%s: with %s it is another program", name, in);
    model_close(a);
    model_close(b);
}

#define LIST(...)                                                                                                      \
    (const char *const[])                                                                                              \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }

static void published_fields_and_those_of_the_library(void **state)
{
    (void)state;
    expect_same(
        "mimo-v2-flash",
        LIST("hybrid_layer_pattern", "moe_layer_freq", "rope_theta", "swa_rope_theta", "partial_rotary_factor",
             "swa_num_attention_heads", "swa_num_key_value_heads", "swa_head_dim", "swa_v_head_dim",
             "sliding_window_size", "add_swa_attention_sink_bias", "layernorm_epsilon"),
        "{\"layer_types\":[\"full_attention\",\"sliding_attention\",\"sliding_attention\",\"full_attention\"],"
        "\"mlp_layer_types\":[\"dense\",\"sparse\",\"sparse\",\"sparse\"],\"sliding_window\":9,"
        "\"rms_norm_eps\":1e-5,\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\",\"rope_theta\""
        ":5000000.0,\"partial_rotary_factor\":0.334},\"sliding_attention\":{\"rope_type\":\"default\","
        "\"rope_theta\":10000.0,\"partial_rotary_factor\":0.334}}}");
    expect_same(
        "step3.7",
        LIST("moe_layers_enum", "rope_theta", "partial_rotary_factors", "num_attention_groups", "moe_num_experts",
             "moe_top_k", "attention_other_setting"),
        "{\"mlp_layer_types\":[\"dense\",\"sparse\",\"sparse\",\"sparse\"],\"num_key_value_heads\":2,"
        "\"n_routed_experts\":8,\"num_experts_per_tok\":3,\"num_sliding_attention_heads\":6,"
        "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\",\"rope_theta\":5000000.0,"
        "\"partial_rotary_factor\":0.5},\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":10000.0,"
        "\"partial_rotary_factor\":1.0}}}");
    expect_same("step3.7", LIST("moe_layers_enum"), "{\"moe_layers_enum\":[1,2,3]}");
    expect_same("exaone-moe", LIST("first_k_dense_replace"), "{\"is_moe_layer\":[false,true,true,true]}");
    expect_same("exaone-moe", LIST("first_k_dense_replace"),
                "{\"mlp_layer_types\":[\"dense\",\"sparse\",\"sparse\",\"sparse\"]}");
    expect_same("exaone-moe", LIST("layer_types"), "{\"sliding_window_pattern\":\"LLLG\"}");
    expect_same("afmoe", LIST("layer_types", "score_func", "route_norm"), "{}");
    expect_same("cohere2-moe", LIST("first_k_dense_replace"),
                "{\"mlp_layer_types\":[\"dense\",\"sparse\",\"sparse\",\"sparse\"],\"layer_types\":[\"full_attention\","
                "\"sliding_attention\",\"sliding_attention\",\"sliding_attention\"]}");
    expect_same("hunyuan-moe", LIST("moe_intermediate_size", "num_shared_expert"), "{}");
    expect_same("ernie4.5-moe", LIST("moe_layer_end_index"), "{\"moe_layer_end_index\":-1}");
    expect_same("glm4-moe-lite", LIST("first_k_dense_replace"), "{}");
    expect_same("deepseek-v4",
                LIST("compress_ratios", "num_hash_layers", "rope_scaling", "rope_theta", "compress_rope_theta",
                     "qk_rope_head_dim"),
                "{\"layer_types\":[\"sliding_attention\",\"heavily_compressed_attention\","
                "\"compressed_sparse_attention\",\"heavily_compressed_attention\",\"compressed_sparse_attention\"],"
                "\"mlp_layer_types\":[\"hash_moe\",\"hash_moe\",\"moe\",\"moe\",\"moe\"],\"compress_rates\":"
                "{\"compressed_sparse_attention\":4,\"heavily_compressed_attention\":128},"
                "\"rope_parameters\":{\"main\":{\"rope_type\":\"default\",\"rope_theta\":10000.0,"
                "\"partial_rotary_factor\":0.5},\"compress\":{\"rope_type\":\"yarn\",\"rope_theta\":160000.0,"
                "\"partial_rotary_factor\":0.5,\"factor\":16.0,\"original_max_position_embeddings\":64,"
                "\"beta_fast\":32.0,\"beta_slow\":1.0,\"attention_factor\":1.0}}}");
    expect_same("deepseek-v4", LIST("compress_ratios"), "{\"compress_ratios\":[0,128,4,128,4,0,0]}");
    expect_same("hy-v3", LIST("first_k_dense_replace"), "{\"mlp_layer_types\":[\"dense\",\"sparse\",\"sparse\"]}");
}

/* ---- what is left out, and said ---- */

static size_t left_out_of(const char *name, const char *tensor)
{
    char *whole = reference_make_whole(name);
    json_t *o = VERIFY(0, whole), *list = json_object_get(o, "left_out"), *x;
    size_t i, n = json_array_size(list), found = 0;

    assert_int_equal(json_array_size(json_object_get(o, "extra")), 0);
    json_array_foreach(list, i, x) found += !strcmp(json_string_value(x), tensor);
    assert_int_equal(found, 1);
    json_decref(o);
    scratch_remove(whole);
    return n;
}

static void predictors_and_empty_experts_are_known(void **state)
{
    (void)state;
    assert_int_equal(left_out_of("glm4-moe-lite", "model.layers.3.eh_proj.weight"), 2);
    assert_true(left_out_of("longcat-flash", "model.layers.1.mlp.experts.8.up_proj.weight") >= 6);
}

/* Without a word of the config that there is such a layer, its tensors are not known. */
static void a_layer_too_many_is_not_known(void **state)
{
    char *made = reference_make("glm4-moe-lite");
    json_t *config = reference_config("glm4-moe-lite");
    struct model *m = NULL;
    struct error e = {0};

    (void)state;
    assert_int_equal(model_open(&m, made, NULL, &e), 0);
    assert_true(model_leaves_out(m, "model.layers.3.enorm.weight"));
    assert_false(model_leaves_out(m, "model.layers.2.input_layernorm.weight"));
    assert_false(model_leaves_out(m, "none"));
    assert_null(model_notice(m));
    model_close(m);
    json_object_del(config, "num_nextn_predict_layers");
    scratch_write_json(made, "config.json", config);
    assert_int_equal(model_open(&m, made, NULL, &e), 0);
    assert_false(model_leaves_out(m, "model.layers.3.enorm.weight"));
    model_close(m);
    scratch_remove(made);
}

static void only_the_text_of_multimodal_folders(void **state)
{
    static const char *const names[][2] = {{"step3.7", "Step3p7ForConditionalGeneration"},
                                           {"mistral4", "Mistral3ForConditionalGeneration"}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char *made = reference_make(names[i][0]);
        struct model *m = NULL;
        struct error e = {0};

        assert_int_equal(model_open(&m, made, NULL, &e), 0);
        assert_non_null(model_notice(m));
        assert_non_null(strstr(model_notice(m), names[i][1]));
        assert_non_null(strstr(model_notice(m), "only its language model runs"));
        model_close(m);
        scratch_remove(made);
    }
}

/* ---- what is published ---- */

#define V4(sizes)                                                                                                      \
    "{\"architectures\":[\"DeepseekV4ForCausalLM\"],\"model_type\":\"deepseek_v4\",\"num_hash_layers\":3,"             \
    "\"num_nextn_predict_layers\":1,\"topk_method\":\"noaux_tc\",\"qk_rope_head_dim\":64,\"expert_dtype\":\"fp4\","    \
    "\"rope_scaling\":{\"beta_fast\":32,\"beta_slow\":1,\"factor\":16,\"original_max_position_embeddings\":65536,"     \
    "\"type\":\"yarn\"},\"quantization_config\":{\"activation_scheme\":\"dynamic\",\"fmt\":\"e4m3\",\"quant_method\":" \
    "\"fp8\",\"scale_fmt\":\"ue8m0\",\"weight_block_size\":[128,128]}," sizes "}"

/* Sizes of the published models; where they are those of the class, nothing but what that lacks. */
static const struct {
    const char *config;
    double billions;
} published[] = {
    {"{\"architectures\":[\"Dots1ForCausalLM\"],\"model_type\":\"dots1\",\"n_routed_experts\":128,\"n_shared_experts\":"
     "2,"
     "\"num_experts_per_tok\":6,\"first_k_dense_replace\":1,\"norm_topk_prob\":true,\"routed_scaling_factor\":2.5,"
     "\"sliding_window\":null,\"head_dim\":128,\"hidden_size\":4096,\"max_position_embeddings\":32768}",
     142},
    {"{\"architectures\":[\"Ernie4_5_MoeForCausalLM\"],\"model_type\":\"ernie4_5_moe\",\"head_dim\":128}", 21.8},
    {"{\"architectures\":[\"SolarOpenForCausalLM\"],\"model_type\":\"solar_open\"}", 102},
    {"{\"architectures\":[\"HYV3ForCausalLM\"],\"model_type\":\"hy_v3\"}", 295},
    {"{\"architectures\":[\"Glm4MoeLiteForCausalLM\"],\"model_type\":\"glm4_moe_lite\",\"num_nextn_predict_layers\":1}",
     30},
    {"{\"architectures\":[\"ExaoneMoEForCausalLM\"],\"model_type\":\"exaone_moe\",\"hidden_size\":6144,"
     "\"num_hidden_layers\":48,\"num_attention_heads\":64,\"num_key_value_heads\":8,\"head_dim\":128,\"num_experts\":"
     "128,"
     "\"moe_intermediate_size\":2048,\"intermediate_size\":18432,\"vocab_size\":153600,\"sliding_window\":128,"
     "\"max_position_embeddings\":262144}",
     236},
    {"{\"architectures\":[\"AfmoeForCausalLM\"],\"model_type\":\"afmoe\",\"hidden_size\":2048,\"num_attention_heads\":"
     "32,"
     "\"num_key_value_heads\":4,\"num_dense_layers\":2,\"num_experts\":128,\"num_experts_per_tok\":8,"
     "\"num_shared_experts\":1,\"moe_intermediate_size\":1024,\"mup_enabled\":true,\"route_scale\":2.826}",
     26},
    {"{\"architectures\":[\"PhiMoEForCausalLM\"],\"model_type\":\"phimoe\",\"attention_bias\":true,\"lm_head_bias\":"
     "true}",
     41.9},
    {"{\"architectures\":[\"LongcatFlashForCausalLM\"],\"model_type\":\"longcat_flash\"}", 560},
    {"{\"architectures\":[\"MiMoV2FlashForCausalLM\"],\"model_type\":\"mimo_v2_flash\",\"sliding_window_size\":128}",
     309},
    {"{\"architectures\":[\"Step3p5ForCausalLM\"],\"model_type\":\"step3p5\",\"num_attention_groups\":8,"
     "\"num_sliding_attention_heads\":96,\"layer_types\":[F S S S F S S S F S S S F S S S F S S S F S S S F S S S F S "
     "S S F "
     "S S S F S S S F S S S F],\"sliding_window\":512}",
     196},
    {"{\"architectures\":[\"Mistral3ForConditionalGeneration\"],\"text_config\":{\"model_type\":\"mistral4\"}}", 119},
    {"{\"architectures\":[\"HunYuanMoEV1ForCausalLM\"],\"model_type\":\"hunyuan_v1_moe\",\"intermediate_size\":3072,"
     "\"moe_intermediate_size\":3072,\"num_experts\":64,\"moe_topk\":8,\"num_shared_expert\":1,\"head_dim\":128,"
     "\"num_key_value_heads\":8,\"vocab_size\":128167,\"tie_word_embeddings\":true,\"rope_scaling\":{\"alpha\":1000.0,"
     "\"beta_fast\":32,\"beta_slow\":1,\"factor\":1.0,\"mscale\":1.0,\"mscale_all_dim\":1.0,\"type\":\"dynamic\"}}",
     80},
    {V4("\"compress_ratios\":[0,0,4,128,4,128,4,128,4,128,4,128,4,128,4,128,4,128,4,128,4,128,4,128,4,128,4,128,4,128,"
        "4,"
        "128,4,128,4,128,4,128,4,128,4,128,4,0]"),
     284},
    {V4("\"hidden_size\":7168,\"num_hidden_layers\":61,\"num_attention_heads\":128,\"q_lora_rank\":1536,\"o_groups\":"
        "16,"
        "\"n_routed_experts\":384,\"moe_intermediate_size\":3072,\"index_topk\":1024,\"routed_scaling_factor\":2.5"),
     1600},
};

/* F and S of a list of layers in full. */
static char *spelled(const char *text)
{
    char *out = calloc(1, 16384), *at = out;
    bool in_list = false;

    assert_non_null(out);
    for (; *text; text++) {
        if (*text == '[' && text[1] == 'F') in_list = true;
        if (*text == ']') in_list = false;
        if (in_list && (*text == 'F' || *text == 'S'))
            at += sprintf(at, "\"%s\"%s", *text == 'F' ? "full_attention" : "sliding_attention",
                          text[1] == ' ' ? "," : "");
        else if (!in_list || *text != ' ')
            *at++ = *text;
    }
    return out;
}

static void published_sizes(void **state)
{
    (void)state;
    remove(scratch_path(folder, "tensors.tsv"));
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        char *text = spelled(published[i].config);
        struct model *m = NULL;
        struct error e = {0};
        double billions;

        scratch_write(folder, "config.json", text);
        if (model_open(&m, folder, &ANY, &e)) fail_msg("%s: %s", text, e.text);
        billions = (double)model_parameters(m) / 1e9;
        if (billions < published[i].billions * 0.96 || billions > published[i].billions * 1.04)
            fail_msg("%s: %.1f billion numbers, not %.1f", text, billions, published[i].billions);
        model_close(m);
        free(text);
    }
}

/* Experts in 4 bits, other products in 8, the rest in 16: what config.json says of a folder without weights. */
static void bytes_of_a_config_alone(void **state)
{
    struct model *m = NULL;
    struct error e = {0};
    double bytes;

    (void)state;
    remove(scratch_path(folder, "tensors.tsv"));
    scratch_write(folder, "config.json", V4("\"torch_dtype\":\"bfloat16\""));
    if (model_open(&m, folder, &ANY, &e)) fail_msg("%s", e.text);
    bytes = (double)model_weight_bytes(m);
    if (bytes < 153e9 || bytes > 160e9) fail_msg("%.1f GB", bytes / 1e9);
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_that_make_no_sense),
        cmocka_unit_test(tensors_of_one_layer_missing),
        cmocka_unit_test(published_fields_and_those_of_the_library),
        cmocka_unit_test(predictors_and_empty_experts_are_known),
        cmocka_unit_test(a_layer_too_many_is_not_known),
        cmocka_unit_test(only_the_text_of_multimodal_folders),
        cmocka_unit_test(published_sizes),
        cmocka_unit_test(bytes_of_a_config_alone),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
