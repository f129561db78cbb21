/* What a config says with null, what a family cannot do (refused by its field's name), and what is left unused and said. What a
 * config leaves out: test_defaults.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include <jansson.h>
#include "tests/support_families.h"
#include "tests/support_model.h"

static const struct model_options ANY = {.allow_missing_weights = true};

/* The reference's config with a field replaced by this JSON, or taken out (NULL). */
static void put(json_t *config, const char *key, const char *value)
{
    if (!value)
        json_object_del(config, key);
    else
        json_object_set_new(config, key, json_of(value));
}

/* Heads that 2, 8 and 16 divide. */
static void sixteen_heads(json_t *config)
{
    put(config, "num_attention_heads", "16");
    put(config, "hidden_size", "256");
}

/* A folder with this config and no weights; takes the config. */
static char *folder_of(json_t *config)
{
    char *folder = scratch_make();

    scratch_write_json(folder, "config.json", config);
    return folder;
}

static struct model *open_config(json_t *config)
{
    char *folder = folder_of(config);
    struct model *m = NULL;
    struct error e = {0};

    if (model_open(&m, folder, &ANY, &e)) fail_msg("%s", e.text);
    scratch_remove(folder);
    return m;
}

static bool same_table(const void *a, const struct plan_table *x, const void *b, const struct plan_table *y,
                       size_t size)
{
    return x->count == y->count && !memcmp((const char *)a + x->offset, (const char *)b + y->offset, x->count * size);
}

/* The same operations on the same matrices with the same numbers. */
static bool same_program(struct model *a, struct model *b)
{
    const struct plan_shm *p = model_program(a), *q = model_program(b);

#define SAME(table, type) same_table(p, &p->table, q, &q->table, sizeof(type))
    return SAME(ops, struct plan_op) && SAME(matrices, struct plan_matrix) && SAME(constants, float) &&
           SAME(ropes, struct plan_rope) && SAME(caches, struct plan_cache) && p->spec.context == q->spec.context;
#undef SAME
}

/* Null is said, and is not the default of the class. */
static void null_is_none(void **state)
{
    static const struct {
        const char *reference, *key;
    } cases[] = {{"gemma2", "attn_logit_softcapping"},
                 {"gemma2", "final_logit_softcapping"},
                 {"mistral", "sliding_window"},
                 {"exaone4", "sliding_window"},
                 {"mistral", "num_key_value_heads"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *null = reference_config(cases[i].reference), *silent = json_deep_copy(null);
        struct model *a, *b;

        sixteen_heads(null);
        sixteen_heads(silent);
        put(null, "layer_types", NULL);
        put(silent, "layer_types", NULL);
        put(null, cases[i].key, "null");
        put(silent, cases[i].key, NULL);
        a = open_config(null);
        b = open_config(silent);
        if (same_program(a, b)) fail_msg("%s: %s: null is taken for silence", cases[i].reference, cases[i].key);
        model_close(a);
        model_close(b);
    }
}

/* ---- what cannot be done ---- */

static void refused_by_name(void **state)
{
    static const struct {
        const char *reference, *key, *value, *word;
    } cases[] = {
        {"qwen2", "is_causal", "false", "is_causal"},
        {"gemma3", "use_bidirectional_attention", "true", "use_bidirectional_attention"},
        {"llama", "architectures", "[\"LlamaForSequenceClassification\"]", "LlamaForSequenceClassification"},
        {"gemma", "architectures", "[\"PaliGemmaForConditionalGeneration\"]", "PaliGemma"},
        {"gemma2", "hidden_activation", "\"wobble\"", "hidden_activation"},
        {"gemma", "hidden_act", "\"wobble\"", "hidden_act"},
        {"cohere2", "layer_types", "[\"sliding_attention\",\"full_attention\",\"linear_attention\",\"full_attention\"]",
         "linear_attention"},
        {"exaone4", "layer_types", "[\"sliding_attention\"]", "layer_types"},
        {"olmo2", "rope_parameters",
         "{\"full_attention\":{\"rope_type\":\"default\"},\"sliding_attention\":{\"rope_type\":\"default\"}}",
         "rope_parameters"},
        {"gemma3n", "num_kv_shared_layers", "8", "num_kv_shared_layers"},
        {"gemma3n", "num_kv_shared_layers", "5", "num_kv_shared_layers"},
        {"gemma3n", "altup_active_idx", "4", "altup_active_idx"},
        {"gemma3n", "altup_num_inputs", "0", "altup_num_inputs"},
        {"gemma3n", "intermediate_size", "[176,176]", "intermediate_size"},
        {"gemma3n", "intermediate_size", "[176,176,176,176,176,176,176,-1]", "intermediate_size"},
        {"gemma3n", "activation_sparsity_pattern", "[0.95]", "activation_sparsity_pattern"},
        {"gemma3n", "activation_sparsity_pattern", "[0,0,0,0,0,0,0,1]", "activation_sparsity_pattern"},
        {"gemma3n", "activation_sparsity_pattern", "0.95", "activation_sparsity_pattern"},
        {"gemma3n", "laurel_rank", "0", "laurel_rank"},
        {"gemma4", "num_kv_shared_layers", "6", "num_kv_shared_layers"},
        {"gemma4", "num_kv_shared_layers", "1", "num_kv_shared_layers"},
        {"gemma4", "per_layer_config", "{\"05\":{\"wobble\":1}}", "wobble"},
        {"gemma4", "per_layer_config", "{\"05\":{\"head_dim\":0.5}}", "per_layer_config"},
        {"gemma4", "per_layer_config", "{\"1\":{\"head_dim\":48}}", "per_layer_config"},
        {"gemma4", "global_head_dim", "0", "global_head_dim"},
        {"gemma4", "num_global_key_value_heads", "3", "num_attention_heads"},
        {"gemma4", "final_logit_softcapping", "-1", "final_logit_softcapping"},
        {"llama", "block_configs", "[{\"attention\":{\"n_heads_in_group\":4}}]", "block_configs"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *config = reference_config(cases[i].reference);
        struct model *m = NULL;
        struct error e = {0};
        char *folder;

        put(config, cases[i].key, cases[i].value);
        folder = folder_of(config);
        if (!model_open(&m, folder, &ANY, &e)) fail_msg("%s: %s is accepted", cases[i].reference, cases[i].key);
        if (!strstr(e.text, cases[i].word) || !strstr(e.text, "config.json"))
            fail_msg("\"%s\" does not say \"%s\"", e.text, cases[i].word);
        scratch_remove(folder);
    }
}

/* The names that longrope had in the first folders of Phi 3. */
static void longrope_by_its_older_names(void **state)
{
    static const char *const names[] = {"su", "yarn"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        json_t *now = reference_config("phi3-longrope"), *old = json_deep_copy(now), *rules;
        struct model *a, *b;

        rules = json_object_get(old, "rope_scaling");
        json_object_del(rules, "rope_type");
        json_object_set_new(rules, "type", json_string(names[i]));
        a = open_config(now);
        b = open_config(old);
        assert_true(same_program(a, b));
        model_close(a);
        model_close(b);
    }
}

/* ---- ChatGLM ---- */

static json_t *chatglm_config(void)
{
    char *folder = renamed_families[3].make();
    json_t *o = json_load_file(scratch_path(folder, "config.json"), 0, NULL);

    assert_non_null(o);
    scratch_remove(folder);
    return o;
}

static double second_frequency(const json_t *config, const char *code, struct error *e)
{
    char *folder = folder_of(json_deep_copy(config));
    struct model *m = NULL;
    double f = 0;

    if (code) scratch_write(folder, "modeling_chatglm.py", code);
    e->code = 0;
    if (!model_open(&m, folder, &ANY, e)) {
        const struct plan_shm *p = model_program(m);

        f = (double)plan_constants(p)[plan_ropes(p)->inv_freq + 1];
        model_close(m);
    }
    scratch_remove(folder);
    return f;
}

/* rope_ratio means two things, and the config looks the same. 12 columns rotate: the second frequency is theta^(-1/6). */
static void rope_ratio_of_three_generations(void **state)
{
    static const char divides[] = "seq_idx = torch.arange(seq_len) / self.rope_ratio\n",
                      multiplies[] = "base = base * self.rope_ratio\n";
    json_t *c = chatglm_config();
    double stretched = pow(10000, -1.0 / 6) / 4, grown = pow(40000, -1.0 / 6);
    struct error e = {0};

    (void)state;
    put(c, "rope_ratio", "4");
    assert_true(fabs(second_frequency(c, NULL, &e) - grown) < 1e-6); /* no vocabulary of the second and third */
    assert_true(fabs(second_frequency(c, divides, &e) - stretched) < 1e-6);
    put(c, "padded_vocab_size", "65024");
    second_frequency(c, NULL, &e);
    assert_int_not_equal(e.code, 0);
    assert_non_null(strstr(e.text, "rope_ratio"));
    assert_non_null(strstr(e.text, "modeling_chatglm.py"));
    assert_true(fabs(second_frequency(c, multiplies, &e) - grown) < 1e-6);
    put(c, "_name_or_path", "\"THUDM/chatglm2-6b-32k\"");
    assert_true(fabs(second_frequency(c, NULL, &e) - stretched) < 1e-6);
    put(c, "_name_or_path", "\"THUDM/chatglm3-6b-32k\"");
    assert_true(fabs(second_frequency(c, NULL, &e) - grown) < 1e-6);
    put(c, "rope_ratio", "1");
    put(c, "_name_or_path", NULL);
    assert_true(fabs(second_frequency(c, NULL, &e) - pow(10000, -1.0 / 6)) < 1e-6);
    json_decref(c);
}

static void chatglm_switches(void **state)
{
    static const char *const cases[][2] = {{"post_layer_norm", "false"},
                                           {"interleaved_qkv", "true"},
                                           {"pre_seq_len", "128"},
                                           {"apply_residual_connection_post_layernorm", "true"},
                                           {"rope_ratio", "0"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *c = chatglm_config();
        struct error e = {0};

        put(c, cases[i][0], cases[i][1]);
        second_frequency(c, NULL, &e);
        if (!e.code || !strstr(e.text, cases[i][0])) fail_msg("%s: \"%s\"", cases[i][0], e.text);
        json_decref(c);
    }
}

/* ---- what is said ---- */

static void expect_notice(const char *folder, const char *word, const char *more)
{
    struct model *m = NULL;
    struct error e = {0};

    if (model_open(&m, folder, NULL, &e)) fail_msg("%s", e.text);
    assert_non_null(model_notice(m));
    if (!strstr(model_notice(m), word) || !strstr(model_notice(m), more))
        fail_msg("\"%s\" does not say \"%s\" and \"%s\"", model_notice(m), word, more);
    model_close(m);
}

/* A reference model that calls itself something else. */
static void expect_notice_under(const char *architecture, const char *reference, const char *word, const char *more)
{
    char *folder = reference_make(reference), *text;
    json_t *c = reference_config(reference);

    json_object_set_new(c, "architectures", json_pack("[s]", architecture));
    text = json_dumps(c, 0);
    scratch_write(folder, "config.json", text);
    expect_notice(folder, word, more);
    free(text);
    json_decref(c);
    scratch_remove(folder);
}

/* Biases of which the config does not speak: transformers ignores them, and so does this; but not in silence. */
static void tensors_of_layers_that_nothing_uses(void **state)
{
    (void)state;
    expect_notice_under("LlamaForCausalLM", "qwen2", "model.layers.0.self_attn.", "LlamaForCausalLM does not use them");
}

static void architectures_known_by_their_type_only(void **state)
{
    (void)state;
    expect_notice_under("SomeLlamaThing", "llama", "SomeLlamaThing", "LlamaForCausalLM");
}

/* InternVL: InternLM 2's own names, inside a multimodal folder. */
static void internlm2_inside_internvl(void **state)
{
    char *source = renamed_families[0].make(), *folder = scratch_make(), *text, name[512];
    struct golden g = golden_load("llama");
    json_t *root = json_object();
    struct renamer r;

    (void)state;
    json_object_set_new(root, "architectures", json_pack("[s]", "InternVLChatModel"));
    json_object_set_new(root, "llm_config", json_load_file(scratch_path(source, "config.json"), 0, NULL));
    text = json_dumps(root, 0);
    scratch_write(folder, "config.json", text);
    renamer_open(&r, source);
    for (size_t i = 0; i < r.from->count; i++) {
        snprintf(name, sizeof name, "language_model.%s", r.from->at[i].name);
        renamer_copy(&r, name, r.from->at[i].name);
    }
    renamer_close(&r, folder);
    assert_true(golden_difference(&g, folder) < 5e-5);
    expect_notice(folder, "InternVLChatModel", "multimodal");
    free(text);
    json_decref(root);
    golden_free(&g);
    scratch_remove(folder);
    scratch_remove(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_is_none),
        cmocka_unit_test(refused_by_name),
        cmocka_unit_test(longrope_by_its_older_names),
        cmocka_unit_test(rope_ratio_of_three_generations),
        cmocka_unit_test(chatglm_switches),
        cmocka_unit_test(tensors_of_layers_that_nothing_uses),
        cmocka_unit_test(architectures_known_by_their_type_only),
        cmocka_unit_test(internlm2_inside_internvl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
