/* Dense families by table: what they cannot do is refused by the field's name, what a layer lacks by the tensor's, and a family
 * that another one contains makes the same program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include <jansson.h>
#include "tests/support_model.h"

static const struct model_options ANY = {.allow_missing_weights = true};

static const char *const models[] = {"ministral3",  "ministral3-fp8",    "olmo",          "olmo3",    "arcee",
                                     "nemotron",    "internlm3",         "hunyuan-dense", "apertus",  "gpt2",
                                     "gpt-bigcode", "gpt-bigcode-heads", "opt",           "opt-post", "gpt-neox",
                                     "falcon-7b",   "falcon-40b",        "falcon-serial", "bloom",    "mpt",
                                     "phi2",        "minicpm3"};
#define MODELS (sizeof models / sizeof *models)

/* PATH, "a.b" for a field of an object, becomes this JSON, or is taken out (NULL). */
static void put(json_t *config, const char *path, const char *value)
{
    const char *dot = strchr(path, '.');
    char outer[64];

    if (dot) {
        snprintf(outer, sizeof outer, "%.*s", (int)(dot - path), path);
        put(json_object_get(config, outer), dot + 1, value);
    } else if (value) {
        json_object_set_new(config, path, json_of(value));
    } else {
        json_object_del(config, path);
    }
}

/* Opens a folder with this config alone; takes it. NULL: *e says why not. */
static struct model *open_config(json_t *config, struct error *e)
{
    char *folder = scratch_make();
    struct model *m = NULL;

    scratch_write_json(folder, "config.json", config);
    *e = (struct error){0};
    model_open(&m, folder, &ANY, e);
    scratch_remove(folder);
    return m;
}

static void refused_by_name(void **state)
{
    static const struct {
        const char *reference, *key, *value, *word;
    } cases[] = {
        {"llama-rope-yarn", "rope_scaling.llama_4_scaling_beta", "0.1", "llama_4_scaling_beta"},
        {"llama-rope-linear", "rope_scaling.wobble", "2.0", "wobble"},
        {"internlm3", "rope_scaling.alpha", "1000.0", "alpha"},
        {"ministral3", "text_config.model_type", "\"ministral9\"", "ministral9"},
        {"ministral3", "text_config.num_attention_heads", "0", "num_attention_heads"},
        {"hunyuan-dense", "use_qk_norm", "false", "use_qk_norm"},
        {"hunyuan-dense", "rope_scaling.alpha", "-1.0", "alpha"},
        {"olmo", "clip_qkv", "0", "clip_qkv"},
        {"olmoe", "clip_qkv", "8", "clip_qkv"},
        {"olmo", "clip_qkv", "\"much\"", "clip_qkv"},
        {"olmo3", "layer_types", "[\"sliding_attention\"]", "layer_types"},
        {"olmo3", "layer_types", "[\"linear_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]",
         "linear_attention"},
        {"arcee", "hidden_act", "\"wobble\"", "hidden_act"},
        {"nemotron", "partial_rotary_factor", "0.01", "partial_rotary_factor"},
        {"nemotron", "norm_eps", "7", "norm_eps"},
        {"apertus", "hidden_act", "\"wobble\"", "hidden_act"},
        {"apertus", "rope_scaling.factor", "0", "factor"},
        {"gpt2", "add_cross_attention", "true", "add_cross_attention"},
        {"gpt2", "n_head", "7", "n_head"},
        {"gpt2", "n_layer", "-1", "n_layer"},
        {"gpt2", "n_positions", "0", "n_positions"},
        {"gpt2", "activation_function", "\"wobble\"", "activation_function"},
        {"gpt-bigcode", "multi_query", "\"yes\"", "multi_query"},
        {"opt", "ffn_dim", "0", "ffn_dim"},
        {"opt", "word_embed_proj_dim", "-3", "word_embed_proj_dim"},
        {"opt", "max_position_embeddings", "1e30", "max_position_embeddings"},
        {"gpt-neox", "rotary_pct", "1.5", "cannot rotate"},
        {"gpt-neox", "rotary_emb_base", "0", "rope_theta"},
        {"falcon-40b", "num_kv_heads", "3", "num_kv_heads"},
        {"falcon-40b", "parallel_attn", "false", "parallel_attn"},
        {"falcon-40b", "num_ln_in_parallel_attn", "3", "num_ln_in_parallel_attn"},
        {"bloom", "apply_residual_connection_post_layernorm", "true", "apply_residual_connection_post_layernorm"},
        {"bloom", "n_head", "7", "n_head"},
        {"mpt", "attn_config.alibi", "false", "alibi"},
        {"mpt", "attn_config.qk_ln", "true", "qk_ln"},
        {"mpt", "attn_config.prefix_lm", "true", "prefix_lm"},
        {"mpt", "attn_config.clip_qkv", "-1", "clip_qkv"},
        {"mpt", "attn_config.attn_type", "\"multiquery_attention\"", "multiquery_attention"},
        {"mpt", "norm_type", "\"rmsnorm\"", "norm_type"},
        {"mpt", "logit_scale", "\"inv_sqrt_d_model\"", "logit_scale"},
        {"mpt", "no_bias", "false", "no_bias"},
        {"phi2", "qk_layernorm", "true", "qk_layernorm"},
        {"phi2", "intermediate_size", "null", "intermediate_size"},
        {"minicpm3", "dim_model_base", "0", "dim_model_base"},
        {"minicpm3", "kv_lora_rank", "0", "kv_lora_rank"},
        {"minicpm3", "rope_scaling.short_factor", "[1.0]", "short_factor"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *config = reference_config(cases[i].reference);
        struct error e;

        put(config, cases[i].key, cases[i].value);
        if (open_config(config, &e))
            fail_msg("%s: %s %s is accepted", cases[i].reference, cases[i].key, cases[i].value);
        if (!strstr(e.text, cases[i].word) || !strstr(e.text, "config.json"))
            fail_msg("%s, %s: \"%s\" does not say \"%s\"", cases[i].reference, cases[i].key, e.text, cases[i].word);
    }
}

/* What published models count as their parameters, from the fields of their configs that the classes do not have anyway. */
static void published_sizes(void **state)
{
    static const struct {
        const char *name, *config;
        uint64_t parameters;
    } cases[] = {
        {"GPT-2", "{\"model_type\":\"gpt2\",\"n_ctx\":1024}", 124439808},
        {"OPT 350M",
         "{\"model_type\":\"opt\",\"do_layer_norm_before\":false,\"ffn_dim\":4096,\"hidden_size\":1024,"
         "\"num_attention_heads\":16,\"num_hidden_layers\":24,\"word_embed_proj_dim\":512}",
         331196416},
        {"BLOOM 560M",
         "{\"model_type\":\"bloom\",\"n_embed\":1024,\"n_inner\":null,\"n_layer\":24,\"num_attention_heads\":16,"
         "\"seq_length\":2048}",
         559214592},
        {"Falcon 7B", "{\"model_type\":\"falcon\"}", 6921720704},
        {"MPT 7B",
         "{\"architectures\":[\"MPTForCausalLM\"],\"model_type\":\"mpt\",\"d_model\":4096,\"n_heads\":32,"
         "\"n_layers\":32,\"vocab_size\":50432}",
         6649286656},
        {"Phi 2",
         "{\"model_type\":\"phi\",\"hidden_size\":2560,\"intermediate_size\":10240,\"num_hidden_layers\":32,"
         "\"partial_rotary_factor\":0.4}",
         2779683840},
        {"Pythia 12B",
         "{\"model_type\":\"gpt_neox\",\"hidden_size\":5120,\"intermediate_size\":20480,"
         "\"num_attention_heads\":40,\"num_hidden_layers\":36,\"vocab_size\":50688}",
         11846072320},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error e;
        struct model *m = open_config(json_of(cases[i].config), &e);

        if (!m) fail_msg("%s: %s", cases[i].name, e.text);
        if (model_parameters(m) != cases[i].parameters)
            fail_msg("%s has %llu parameters, not %llu", cases[i].name, (unsigned long long)model_parameters(m),
                     (unsigned long long)cases[i].parameters);
        model_close(m);
    }
}

/* ---- tensors ---- */

/* The list of a model's tensors, and the one of them that is left out: FOLDER/tensors.tsv. */
static void write_list_without(const char *model, const char *folder, const char *without)
{
    char path[256], *line = NULL, *list = NULL, *name;
    size_t room = 0, bytes = 0;
    FILE *in, *out = open_memstream(&list, &bytes);

    snprintf(path, sizeof path, REFERENCE_MODELS "/%s/tensors.tsv", model);
    in = fopen(path, "re");
    assert_non_null(in);
    while (getline(&line, &room, in) > 0) {
        name = strchr(line, '\t') + 1;
        if (strncmp(name, without, strlen(without)) || name[strlen(without)] != '\t') fputs(line, out);
    }
    fclose(in);
    fclose(out);
    scratch_write(folder, "tensors.tsv", list);
    free(list);
    free(line);
}

static void check_without(const char *model, const char *tensor)
{
    char *folder = scratch_make();
    struct model *m = NULL;
    struct error e = {0};

    scratch_write_json(folder, "config.json", reference_config(model));
    write_list_without(model, folder, tensor);
    if (!model_open(&m, folder, &ANY, &e)) fail_msg("%s opens without %s", model, tensor);
    if (!strstr(e.text, tensor)) fail_msg("%s without %s: \"%s\"", model, tensor, e.text);
    scratch_remove(folder);
}

/* Every tensor of the second layer that the program reads, left out in turn. */
static void a_layer_that_is_not_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        char path[256], *line = NULL, *name;
        size_t room = 0, tried = 0;
        struct model *m = NULL;
        struct error e = {0};
        FILE *f;

        snprintf(path, sizeof path, REFERENCE_MODELS "/%s", models[i]);
        if (model_open(&m, path, &ANY, &e)) fail_msg("%s: %s", models[i], e.text);
        snprintf(path, sizeof path, REFERENCE_MODELS "/%s/tensors.tsv", models[i]);
        f = fopen(path, "re");
        assert_non_null(f);
        while (getline(&line, &room, f) > 0) {
            name = strchr(line, '\t') + 1;
            name[strcspn(name, "\t")] = 0;
            if (!strstr(name, ".1.") && strncmp(name, "h.1.", 4)) continue;
            if (!model_uses(m, name)) continue;
            check_without(models[i], name);
            tried++;
        }
        if (tried < 6) fail_msg("%s has only %zu tensors in its second layer", models[i], tried);
        fclose(f);
        free(line);
        model_close(m);
    }
}

/* Sizes that are nothing, odd or not numbers: a message that names config.json, whatever the key. */
static void absurd_values(void **state)
{
    static const char *const values[] = {"-1", "0", "1e300", "\"x\"", "[]", "{}", "null", "true", "0.5"};

    (void)state;
    for (size_t i = 0; i < MODELS; i++) {
        json_t *config = reference_config(models[i]), *o = json_object_get(config, "text_config"), *v;
        const char *key;

        json_object_foreach(o ? o : config, key, v)
        {
            for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
                json_t *other = json_deep_copy(config);
                struct model *m;
                struct error e;

                json_object_set_new(o ? json_object_get(other, "text_config") : other, key, json_of(values[k]));
                m = open_config(other, &e);
                if (!m && strlen(e.text) < 20) fail_msg("%s, %s %s: \"%s\"", models[i], key, values[k], e.text);
                if (m) model_close(m);
            }
        }
        json_decref(config);
    }
}

/* ---- one family as another ---- */

static bool same_table(const void *a, const struct plan_table *x, const void *b, const struct plan_table *y,
                       size_t size)
{
    return x->count == y->count && !memcmp((const char *)a + x->offset, (const char *)b + y->offset, x->count * size);
}

/* MiniCPM's three scales are three of Granite's four, the fourth being that of the heads. */
static void minicpm_is_a_granite(void **state)
{
    json_t *mini = json_of("{\"architectures\":[\"MiniCPMForCausalLM\"],\"vocab_size\":97,\"hidden_size\":64,"
                           "\"intermediate_size\":96,\"num_hidden_layers\":4,\"num_attention_heads\":4,"
                           "\"num_key_value_heads\":2,\"rms_norm_eps\":1e-5,\"max_position_embeddings\":64,"
                           "\"hidden_act\":\"silu\",\"scale_emb\":12,\"scale_depth\":1.5,\"dim_model_base\":16}"),
           *granite = json_of("{\"architectures\":[\"GraniteForCausalLM\"],\"vocab_size\":97,\"hidden_size\":64,"
                              "\"intermediate_size\":96,\"num_hidden_layers\":4,\"num_attention_heads\":4,"
                              "\"num_key_value_heads\":2,\"rms_norm_eps\":1e-5,\"max_position_embeddings\":64,"
                              "\"hidden_act\":\"silu\",\"embedding_multiplier\":12,\"residual_multiplier\":0.75,"
                              "\"logits_scaling\":4,\"attention_multiplier\":0.25,\"tie_word_embeddings\":true}");
    struct error e;
    struct model *a = open_config(mini, &e), *b = open_config(granite, &e);
    const struct plan_shm *p, *q;

    (void)state;
    if (!a || !b) fail_msg("%s", e.text);
    p = model_program(a);
    q = model_program(b);
    assert_true(same_table(p, &p->ops, q, &q->ops, sizeof(struct plan_op)));
    assert_true(same_table(p, &p->matrices, q, &q->matrices, sizeof(struct plan_matrix)));
    assert_true(same_table(p, &p->constants, q, &q->constants, sizeof(float)));
    model_close(a);
    model_close(b);
}

/* 4.1's sparse attention begins beyond a length, and texts end there. */
static void minicpm_ends_where_it_would_choose(void **state)
{
    static const char text[] = "{\"architectures\":[\"MiniCPMForCausalLM\"],\"vocab_size\":97,\"hidden_size\":64,"
                               "\"intermediate_size\":96,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
                               "\"max_position_embeddings\":64,\"sparse_config\":{\"dense_len\":48,\"topk\":8}}";
    json_t *config = json_of(text);
    struct error e;
    struct model *m = open_config(config, &e);

    (void)state;
    if (!m) fail_msg("%s", e.text);
    assert_int_equal(model_positions(m), 48);
    assert_non_null(strstr(model_notice(m), "48"));
    model_close(m);
    config = json_of(text);
    put(config, "sparse_config.dense_len", NULL);
    assert_null(open_config(config, &e));
    assert_non_null(strstr(e.text, "dense_len"));
    config = json_of(text);
    put(config, "num_experts", "8");
    assert_null(open_config(config, &e));
    assert_non_null(strstr(e.text, "num_experts"));
}

/* ALiBi of heads that are no power of two, as the formula says it; Falcon's is scaled as its products are. */
static void slopes(void **state)
{
    json_t *config = reference_config("falcon-serial");
    struct error e;
    struct model *m;
    const struct plan_shm *p;

    (void)state;
    put(config, "alibi", "true");
    put(config, "num_attention_heads", "5");
    m = open_config(config, &e);
    if (!m) fail_msg("%s", e.text);
    p = model_program(m);
    for (uint64_t i = 0; i < p->ops.count; i++) {
        static const double slope[5] = {0.25, 0.0625, 0.015625, 0.00390625, 0.5};
        const struct plan_op *op = plan_ops(p) + i;

        assert_int_not_equal(op->kind, OP_ROPE);
        if (op->kind != OP_ATTENTION) continue;
        for (uint32_t h = 0; h < 5; h++)
            assert_true(fabs((double)plan_constants(p)[plan_vectors(p)[op->attention.alibi].file_off + h] -
                             slope[h] * 0.25) < 1e-9);
    }
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_by_name),
        cmocka_unit_test(published_sizes),
        cmocka_unit_test(a_layer_that_is_not_whole),
        cmocka_unit_test(absurd_values),
        cmocka_unit_test(minicpm_is_a_granite),
        cmocka_unit_test(minicpm_ends_where_it_would_choose),
        cmocka_unit_test(slopes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
