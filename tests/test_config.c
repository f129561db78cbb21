/* config.json with every kind of fault: the field is named, nothing hangs, nothing leaks. And rope tables by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include <jansson.h>
#include "coordinator/arch/rope.h"
#include "tests/mkmodel.h"
#include "tests/support_model.h"

static char *folder; /* of the plain Llama, whose config the tests change */

static int setup(void **state)
{
    (void)state;
    folder = reference_make("llama");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static void refuse(const char *const *words)
{
    struct model *m = NULL;
    struct error e = {0};

    assert_true(model_open(&m, folder, NULL, &e) < 0);
    assert_null(m);
    assert_int_not_equal(e.code, 0);
    for (; *words; words++)
        if (!strstr(e.text, *words)) fail_msg("\"%s\" does not say \"%s\"", e.text, *words);
}
#define REFUSE(...) refuse((const char *const[]){__VA_ARGS__, NULL})

/* The reference's config with a field replaced by this JSON, or taken out (NULL). */
static void change(const char *key, const char *value)
{
    json_t *o = json_load_file(REFERENCE_MODELS "/llama/config.json", 0, NULL);
    char *text;

    if (value)
        json_object_set_new(o, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(o, key);
    text = json_dumps(o, 0);
    scratch_write(folder, "config.json", text);
    free(text);
    json_decref(o);
}

static void files_that_are_no_config(void **state)
{
    char *deep = malloc(200001);
    struct model *m = NULL;
    struct error e = {0};

    (void)state;
    scratch_write(folder, "config.json", "");
    REFUSE("config.json", "is empty");
    scratch_write(folder, "config.json", "{nope");
    REFUSE("config.json", "line 1");
    scratch_write(folder, "config.json", "[]");
    REFUSE("config.json", "object");
    memset(deep, '[', 200000);
    deep[200000] = 0;
    scratch_write(folder, "config.json", deep);
    REFUSE("config.json", "depth");
    free(deep);
    remove(scratch_path(folder, "config.json"));
    REFUSE("config.json", "no such file");
    assert_true(model_open(&m, "/no-such-folder", NULL, &e) < 0);
    assert_non_null(strstr(e.text, "/no-such-folder"));
    assert_true(model_open(&m, "/etc/passwd", NULL, &e) < 0);
    assert_non_null(strstr(e.text, "not a folder"));
}

static void fields_that_make_no_sense(void **state)
{
    static const struct {
        const char *key, *value, *word;
    } cases[] = {
        {"num_attention_heads", "0", "num_attention_heads"},
        {"num_attention_heads", "3", "divisible"},
        {"num_attention_heads", "null", "missing"},
        {"num_key_value_heads", "3", "divisible"},
        {"num_hidden_layers", "1000000000", "num_hidden_layers"},
        {"num_hidden_layers", NULL, "missing"},
        {"num_hidden_layers", "4", "model.layers.3."},
        {"hidden_size", "\"80\"", "hidden_size"},
        {"hidden_size", "80.5", "whole number"},
        {"hidden_size", "1e300", "out of range"},
        {"hidden_size", "9007199254740993.0", "out of range"},
        {"intermediate_size", "-4", "intermediate_size"},
        {"intermediate_size", "null", "intermediate_size"},
        {"intermediate_size", NULL, "[11008, 80]"}, /* what its class has */
        {"vocab_size", "300", "[272, 80]"},
        {"vocab_size", "[272]", "vocab_size"},
        {"rms_norm_eps", "\"small\"", "rms_norm_eps"},
        {"rms_norm_eps", "-1", "rms_norm_eps"},
        {"tie_word_embeddings", "3", "tie_word_embeddings"},
        {"attention_bias", "true", "q_proj.bias"},
        {"hidden_act", "\"wobble\"", "wobble"},
        {"head_dim", "22", "shape"},
        {"head_dim", "21", "even number"},
        {"rope_theta", "-1", "rope_theta"},
        {"rope_theta", "true", "rope_theta"},
        {"rope_scaling", "{\"rope_type\":\"weird\",\"factor\":2.0}", "weird"},
        {"rope_scaling", "[1]", "rope_scaling"},
        {"rope_scaling", "{\"type\":\"linear\",\"factor\":0}", "factor"},
        {"rope_scaling", "{\"type\":\"longrope\",\"short_factor\":[1],\"long_factor\":[1]}", "short_factor"},
        {"rope_scaling", "{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4}",
         "high_freq_factor"},
        {"quantization_config", "{\"quant_method\":\"aqlm\",\"bits\":4}", "aqlm"},
        {"quantization_config", "{\"quant_method\":\"awq\",\"bits\":3}", "3 bits quantized by AWQ"},
        {"quantization_config", "{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\"}",
         "pack-quantized"},
        {"quantization_config", "{\"quant_method\":\"fp8\",\"weight_block_size\":[0,128]}", "weight_block_size"},
        {"eos_token_id", "\"</s>\"", "eos_token_id"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        change(cases[i].key, cases[i].value);
        REFUSE(cases[i].word);
    }
    change("architectures", "[\"FooForCausalLM\"]");
    {
        json_t *o = json_load_file(scratch_path(folder, "config.json"), 0, NULL);
        char *text;
        json_object_set_new(o, "model_type", json_string("foo"));
        text = json_dumps(o, 0);
        scratch_write(folder, "config.json", text);
        free(text);
        json_decref(o);
    }
    REFUSE("FooForCausalLM", "not known");
}

/* Every size of every reference model, in turn made absurd: its field is named. */
static void sizes_of_every_family(void **state)
{
    static const char *const keys[] = {
        "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "hidden_size",
        "intermediate_size",   "vocab_size",          "head_dim",          "max_position_embeddings"};
    static const char *const values[] = {"-3", "\"x\"", "[1]", "0", "2.5", "1e300"};
    struct model_options any = {.allow_missing_weights = true};
    struct dirent *d;
    DIR *models = opendir(REFERENCE_MODELS);
    size_t tried = 0;

    (void)state;
    assert_non_null(models);
    remove(scratch_path(folder, "model.safetensors"));
    while ((d = readdir(models))) {
        char path[600];
        json_t *o;

        snprintf(path, sizeof path, REFERENCE_MODELS "/%s/config.json", d->d_name);
        if (!(o = config_read(path))) continue;
        for (size_t i = 0; i < sizeof keys / sizeof *keys * (sizeof values / sizeof *values); i++) {
            const char *key = keys[i / (sizeof values / sizeof *values)],
                       *value = values[i % (sizeof values / sizeof *values)];
            json_t *had = json_incref(json_object_get(o, key));
            struct model *m = NULL;
            struct error e = {0};
            char *text;

            if (!json_is_integer(had)) {
                json_decref(had);
                continue;
            }
            json_object_set_new(o, key, json_loads(value, JSON_DECODE_ANY, NULL));
            text = json_dumps(o, 0);
            scratch_write(folder, "config.json", text);
            free(text);
            if (!model_open(&m, folder, &any, &e)) fail_msg("%s: %s %s is accepted", d->d_name, key, value);
            if (!strstr(e.text, key)) fail_msg("%s: %s %s: \"%s\"", d->d_name, key, value, e.text);
            json_object_set_new(o, key, had);
            tried++;
        }
        json_decref(o);
    }
    closedir(models);
    assert_true(tried > 1000);
}

/* What the second Gemma takes a root of or divides by. */
static void gemma_scalars(void **state)
{
    static const char *const keys[] = {"query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"};
    struct model_options any = {.allow_missing_weights = true};

    (void)state;
    remove(scratch_path(folder, "model.safetensors"));
    for (size_t i = 0; i < 3; i++) {
        json_t *o = json_load_file(REFERENCE_MODELS "/gemma2/config.json", 0, NULL);
        struct model *m = NULL;
        struct error e = {0};
        char *text;

        json_object_set_new(o, keys[i], json_integer(-3));
        text = json_dumps(o, 0);
        scratch_write(folder, "config.json", text);
        free(text);
        json_decref(o);
        assert_true(model_open(&m, folder, &any, &e) < 0);
        assert_non_null(strstr(e.text, keys[i]));
    }
}

/* Weights that do not fit their config: tensor, file and both shapes are named. So are values that sampling cannot have. */
static void weights_that_do_not_fit(void **state)
{
    static const char *const bad[] = {"{\"temperature\":-0.1}",
                                      "{\"temperature\":1e400}",
                                      "{\"temperature\":100.5}",
                                      "{\"top_p\":1.01}",
                                      "{\"top_p\":-1}",
                                      "{\"min_p\":2}",
                                      "{\"repetition_penalty\":0}",
                                      "{\"repetition_penalty\":-1.1}",
                                      "{\"top_k\":-2}",
                                      "{\"top_k\":2.5}",
                                      "{\"top_k\":1e300}",
                                      "{\"top_k\":\"all\"}",
                                      "{\"temperature\":Infinity}"};
    static const char *const good[] = {"{\"temperature\":0,\"top_p\":1.0,\"min_p\":0,\"top_k\":50.0}", "{\"top_k\":-1}",
                                       "{\"temperature\":NaN,\"top_k\":null,\"repetition_penalty\":100}",
                                       "{\"top_k\":0}"};
    struct model *m;
    char *list = NULL, *cut;
    size_t n = 0;
    FILE *f = fopen(REFERENCE_MODELS "/llama/tensors.tsv", "re");
    struct error e = {0};

    (void)state;
    change("bos_token_id", "1");
    assert_true(getdelim(&list, &n, 0, f) > 0);
    fclose(f);
    cut = strstr(list, "layers.1.mlp.up_proj.weight\tBF16\t176x80");
    assert_non_null(cut);
    memcpy(strstr(cut, "176x80"), "80x176", 6);
    assert_int_equal(mkmodel_from_text(list, folder, &e), 0);
    REFUSE("model.safetensors", "layers.1.mlp.up_proj.weight", "[80, 176]", "[176, 80]");
    memcpy(strstr(cut, "80x176"), "176x80", 6);
    memcpy(cut, "layers.9", 8);
    assert_int_equal(mkmodel_from_text(list, folder, &e), 0);
    REFUSE("layers.1.mlp.up_proj.weight", "missing", "[176, 80]");
    free(list);
    scratch_write(folder, "generation_config.json", "{\"temperature\":\"hot\"}");
    assert_int_equal(mkmodel_from_list(REFERENCE_MODELS "/llama/tensors.tsv", folder, &e), 0);
    REFUSE("generation_config.json", "temperature");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char key[32];

        snprintf(key, sizeof key, "%.*s", (int)strcspn(bad[i] + 2, "\""), bad[i] + 2);
        scratch_write(folder, "generation_config.json", bad[i]);
        REFUSE("generation_config.json", key);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        scratch_write(folder, "generation_config.json", good[i]);
        assert_int_equal(model_open(&m, folder, NULL, &e), 0);
        model_close(m);
    }
    remove(scratch_path(folder, "generation_config.json"));
}

/* Scales and experts that are not there, or not of the right shape. */
static void parts_of_quantized_and_sparse_models(void **state)
{
    static const struct {
        const char *model, *from, *to, *word;
    } cases[] = {
        {"qwen3-fp8", "layers.1.mlp.up_proj.weight_scale_inv\tF32\t2x2",
         "layers.1.mlp.up_proj.weight_scale_inv\tF32\t3x2", "up_proj.weight_scale_inv"},
        {"qwen3-fp8", "layers.1.mlp.up_proj.weight_scale_inv", "layers.1.mlp.up_proj.weight_scale_xyz",
         "up_proj.weight_scale_inv"},
        {"qwen3-fp8", "layers.1.mlp.up_proj.weight_scale_inv\tF32\t2x2\tlin 0.125 0.0625",
         "layers.1.mlp.up_proj.weight_scale_inv\tI32\t2x2\tval 1 2 3 4     ", "stored as I32"},
        {"qwen3-fp8", "layers.1.self_attn.k_proj.weight_scale_inv\tF32\t1x2",
         "layers.1.self_attn.k_proj.weight_scale_inv\tF32\t2x1",
         "k_proj.weight_scale_inv has shape [2, 1], and [1, 2]"},
        {"mixtral", "layers.1.block_sparse_moe.experts.3.w2.", "layers.1.block_sparse_moe.experts.9.w2.",
         "layers.1.block_sparse_moe.experts.3.w2.weight"},
        {"gpt-oss-mxfp4", "layers.2.mlp.experts.down_proj_scales\tU8\t6x96x2",
         "layers.2.mlp.experts.down_proj_scales\tU8\t6x48x4", "down_proj_scales"},
        {"gpt-oss", "layers.2.mlp.experts.down_proj_bias\tBF16\t6x80",
         "layers.2.mlp.experts.down_proj_bias\tBF16\t6x81", "down_proj_bias"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *list = NULL, *at, path[256], *saved = folder;
        size_t n = 0;
        struct error e = {0};
        FILE *f;
        snprintf(path, sizeof path, REFERENCE_MODELS "/%s/tensors.tsv", cases[i].model);
        f = fopen(path, "re");
        assert_true(getdelim(&list, &n, 0, f) > 0);
        fclose(f);
        at = strstr(list, cases[i].from);
        assert_non_null(at);
        assert_int_equal(strlen(cases[i].from), strlen(cases[i].to));
        memcpy(at, cases[i].to, strlen(cases[i].to));
        folder = reference_make(cases[i].model);
        if (mkmodel_from_text(list, folder, &e)) fail_msg("%s", e.text);
        REFUSE(cases[i].word);
        scratch_remove(folder);
        folder = saved;
        free(list);
    }
}

/* A field of this model's config replaced. */
static void refuse_value(const char *model, const char *key, json_t *value, const char *word)
{
    char *saved = folder, *text;
    json_t *o, *part;

    folder = reference_make(model);
    o = json_load_file(scratch_path(folder, "config.json"), 0, NULL);
    part = json_object_get(o, "text_config");
    json_object_set_new(part ? part : o, key, value);
    text = json_dumps(o, 0);
    scratch_write(folder, "config.json", text);
    REFUSE("config.json", word);
    free(text);
    json_decref(o);
    scratch_remove(folder);
    folder = saved;
}

static void refuse_number(const char *model, const char *key, int value, const char *word)
{
    refuse_value(model, key, json_integer(value), word);
}

/* MiniMax-M3's sparse_attention_config with one number of it replaced. */
static json_t *sparse_with(const char *key, json_t *value)
{
    json_t *o = json_pack("{s:i,s:i,s:i,s:i,s:i,s:[i,i,i,i]}", "sparse_num_index_heads", 2, "sparse_index_dim", 32,
                          "sparse_block_size", 4, "sparse_topk_blocks", 3, "sparse_local_block", 1,
                          "sparse_attention_freq", 0, 1, 1, 1);

    json_object_set_new(o, key, value);
    return o;
}

static void refuse_sparse(const char *key, json_t *value, const char *word)
{
    refuse_value("minimax-m3", "sparse_attention_config", sparse_with(key, value), word);
}

static void sizes_of_an_index(void **state)
{
    (void)state;
    refuse_sparse("sparse_num_index_heads", json_integer(3), "3 heads of the index cannot choose for 2 key heads");
    refuse_sparse("sparse_num_index_heads", json_string("2"), "sparse_num_index_heads");
    refuse_sparse("sparse_index_dim", json_integer(8), "8 columns of the index, of which the 16");
    refuse_sparse("sparse_index_dim", json_integer(40), "index_q_proj.weight");
    refuse_sparse("sparse_block_size", json_real(0.5), "sparse_block_size 0.5 is no whole number");
    refuse_sparse("sparse_topk_blocks", json_integer(0), "sparse_topk_blocks 0");
    refuse_sparse("sparse_local_block", json_integer(4), "4 local blocks of 3 in all");
    refuse_sparse("sparse_init_block", json_integer(1), "sparse_init_block");
    refuse_sparse("sparse_score_type", json_string("sum"), "sparse_score_type");
    refuse_sparse("use_sparse_attention", json_false(), "use_sparse_attention");
    refuse_sparse("sparse_attention_freq", json_pack("[i,i,i]", 0, 1, 1), "no 0 or 1 for layer 3");
    refuse_sparse("sparse_attention_freq", json_pack("[i,i,i,i]", 1, 1, 1, 1), "layers.0.self_attn.index_q_proj");
    refuse_value("minimax-m3", "moe_layer_freq", json_pack("[i,i,i,i]", 0, 1, 1, 2), "no 0 or 1 for layer 3");
    refuse_value("minimax-m3", "use_gemma_norm", json_false(), "use_gemma_norm: false");
    refuse_value("minimax-m3", "scoring_func", json_string("softmax"), "scoring_func: \"softmax\"");
    refuse_number("minimax-m3", "dense_intermediate_size", 0, "dense_intermediate_size");
    refuse_number("minimax-m3", "num_local_experts", 5, "experts.5.w1.weight is there");
    refuse_number("deepseek-v32", "index_topk", 0, "index_topk");
    refuse_number("deepseek-v32", "index_n_heads", 9, "indexer.wq_b.weight");
    refuse_number("deepseek-v32", "index_head_dim", 15, "index_head_dim: 15 columns, of which the 16");
    refuse_number("deepseek-v32", "index_head_dim", 40, "indexer.wq_b.weight");
    refuse_value("deepseek-v32", "q_lora_rank", json_null(), "q_lora_rank: none");
    refuse_value("deepseek-v32", "scoring_func", json_string("softmax"), "scoring_func: \"softmax\"");
    refuse_value("glm-moe-dsa", "topk_method", json_string("greedy"), "topk_method: \"greedy\"");
    refuse_value("glm-moe-dsa", "indexer_types", json_pack("[s,s]", "full", "half"), "layer 1 is neither full nor");
    refuse_value("glm-moe-dsa", "indexer_types", json_pack("[s,s]", "shared", "full"), "layer 0 is to use the choice");
    refuse_value("glm-moe-dsa", "index_topk_pattern", json_string("FSX"), "does not say F or S of layer 2");
    refuse_value("glm-moe-dsa", "index_topk_pattern", json_string("FSF"), "does not say F or S of layer 3");
    refuse_number("glm-moe-dsa-shared", "index_topk_freq", 1, "indexer.");
}

static void routing_sizes_that_contradict(void **state)
{
    (void)state;
    refuse_number("deepseek-v3", "num_experts_per_tok", 5, "8 experts in 4 groups");
    refuse_number("deepseek-v3", "num_experts_per_tok", 0, "num_experts_per_tok");
    refuse_number("deepseek-v3", "n_group", 3, "contradict");
    refuse_number("deepseek-v3", "topk_group", 5, "contradict");
    refuse_number("deepseek-v3", "topk_group", 0, "contradict");
    refuse_number("mixtral", "num_experts_per_tok", 9, "contradict");
    refuse_number("gpt-oss-mxfp4", "num_experts_per_tok", 7, "contradict");
    /* more or fewer experts than the file has */
    refuse_number("mixtral", "num_local_experts", 3, "experts.3.w1.weight is there");
    refuse_number("mixtral", "num_local_experts", 9, "experts.6.w1.weight");
    refuse_number("deepseek-v3", "n_routed_experts", 12, "experts.8.gate_proj.weight");
    refuse_number("gpt-oss-mxfp4", "num_local_experts", 5, "shape");
    refuse_number("llama4", "num_local_experts", 9, "shape");
}

static void several_ends_and_defaults(void **state)
{
    struct model *m = NULL;
    struct error e = {0};
    const struct model_generation *g;

    (void)state;
    change("eos_token_id", "[2, 5]");
    assert_int_equal(model_open(&m, folder, NULL, &e), 0);
    assert_int_equal(model_generation(m)->eos_count, 2);
    model_close(m);
    scratch_write(folder, "generation_config.json",
                  "{\"eos_token_id\":[7,8,9],\"temperature\":0.6,\"top_p\":0.9,\"top_k\":20,\"do_sample\":true,"
                  "\"repetition_penalty\":1.05}");
    assert_int_equal(model_open(&m, folder, NULL, &e), 0);
    g = model_generation(m);
    assert_int_equal(g->eos_count, 5); /* those of both files */
    assert_int_equal(g->eos[2], 9);
    assert_int_equal(g->eos[4], 5);
    assert_int_equal(g->bos, 1);
    assert_int_equal(g->top_k, 20);
    assert_true(g->has_do_sample && g->do_sample);
    assert_true(fabs(g->temperature - 0.6) < 1e-12 && fabs(g->top_p - 0.9) < 1e-12 &&
                fabs(g->repeat_penalty - 1.05) < 1e-12);
    assert_true(isnan(g->min_p));
    model_close(m);
    remove(scratch_path(folder, "generation_config.json"));
}

/* ---- rope ---- */

static struct rope_table make(const char *config, struct program *p, const struct rope_request *q)
{
    struct config c = {.path = (char *)(uintptr_t) "test"};
    struct error e = {0};
    struct rope_table t;

    c.root = c.text = json_loads(config, 0, NULL);
    assert_non_null(c.root);
    program_init(p);
    t = rope_make(p, &c, q, &e);
    if (e.code) fail_msg("%s", e.text);
    json_decref(c.root);
    return t;
}

static double frequency(const struct program *p, uint32_t i)
{
    return (double)*PROGRAM_AT(p, constants, float, i);
}

static void near(double have, double want)
{
    if (!(fabs(have - want) <= fabs(want) * 1e-6)) fail_msg("%.9g is not %.9g", have, want);
}

static void rope_tables(void **state)
{
    struct rope_request q = {.head_dim = 8}, part = {.head_dim = 8, .partial_key = true};
    struct rope_table t;
    struct program p;

    (void)state;
    make("{\"rope_theta\":10000.0}", &p, &q);
    near(frequency(&p, 0), 1);
    near(frequency(&p, 1), 0.1);
    near(frequency(&p, 3), 0.001);
    program_free(&p);
    make("{\"rope_parameters\":{\"rope_type\":\"linear\",\"rope_theta\":10000.0,\"factor\":4}}", &p, &q);
    near(frequency(&p, 1), 0.025);
    program_free(&p);
    t = make("{\"rope_theta\":10000.0,\"partial_rotary_factor\":0.5}", &p, &part);
    assert_int_equal(t.dim, 4);
    near(frequency(&p, 1), 0.01);
    program_free(&p);
    t = make("{\"rope_theta\":10000.0,\"partial_rotary_factor\":0.5}", &p, &q); /* a class that does not read it */
    assert_int_equal(t.dim, 8);
    program_free(&p);
    /* yarn keeps fast frequencies and divides slow ones; cos and sin grow by 0.1 ln factor + 1 */
    t = make(
        "{\"rope_theta\":10000.0,\"max_position_embeddings\":16384,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,"
        "\"original_max_position_embeddings\":4096}}",
        &p, &q);
    near(frequency(&p, 0), 1);
    near(frequency(&p, 2), 0.01 / 4 * 0.5 + 0.01 * 0.5); /* the ramp goes from 1 to 3 */
    near(frequency(&p, 3), 0.001 / 4);
    near((double)PROGRAM_AT(&p, ropes, struct plan_rope, t.index)->scale, 0.1 * log(4) + 1);
    program_free(&p);
    /* NTK: nothing within the trained length, a larger theta beyond it */
    make(
        "{\"rope_theta\":10000.0,\"max_position_embeddings\":100,\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}",
        &p, &q);
    near(frequency(&p, 1), 0.1);
    program_free(&p);
    q.length = 200;
    make(
        "{\"rope_theta\":10000.0,\"max_position_embeddings\":100,\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}}",
        &p, &q);
    near(frequency(&p, 1), pow(10000.0 * pow(3, 8.0 / 6), -0.25));
    program_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_that_are_no_config, setup, teardown),
        cmocka_unit_test_setup_teardown(fields_that_make_no_sense, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_of_every_family, setup, teardown),
        cmocka_unit_test_setup_teardown(gemma_scalars, setup, teardown),
        cmocka_unit_test_setup_teardown(weights_that_do_not_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(parts_of_quantized_and_sparse_models, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_of_an_index, setup, teardown),
        cmocka_unit_test_setup_teardown(routing_sizes_that_contradict, setup, teardown),
        cmocka_unit_test_setup_teardown(several_ends_and_defaults, setup, teardown),
        cmocka_unit_test(rope_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
