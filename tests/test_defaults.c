/* A config that leaves a key out means what its class has: held against tests/data/defaults.tsv, which tests/defaults.py makes of
 * the published classes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <dirent.h>
#include <jansson.h>
#include "coordinator/arch/defaults.h"
#include "tests/support_model.h"

#define TABLE "tests/data/defaults.tsv"

/* {model type: {key: default}} */
static json_t *table;
static char *folder;

static int load_table(void **state)
{
    char line[1024], *field[4], *rest;
    FILE *f = fopen(TABLE, "re");

    (void)state;
    assert_non_null(f);
    table = json_object();
    while (fgets(line, sizeof line, f)) {
        json_t *class;
        if (line[0] == '#') continue;
        rest = line;
        for (int i = 0; i < 4; i++) field[i] = strsep(&rest, "\t\n");
        assert_non_null(field[3]);
        class = json_object_get(table, field[0]);
        if (!class) json_object_set_new(table, field[0], class = json_object());
        json_object_set_new(class, field[2], json_of(field[3]));
    }
    fclose(f);
    assert_true(json_object_size(table) > 40);
    folder = scratch_make();
    return 0;
}

static int drop_table(void **state)
{
    (void)state;
    json_decref(table);
    scratch_remove(folder);
    return 0;
}

/* ---- what the program takes ---- */

/* The program of a config without weights, or why there is none. */
struct outcome {
    struct model *model;
    struct error e;
};

static struct outcome open_config(const json_t *config)
{
    static const struct model_options any = {.allow_missing_weights = true};
    struct outcome x = {0};

    scratch_write_json(folder, "config.json", json_deep_copy(config));
    model_open(&x.model, folder, &any, &x.e);
    return x;
}

static void outcome_close(struct outcome *x)
{
    model_close(x->model);
    x->model = NULL;
}

static bool same(const struct outcome *a, const struct outcome *b)
{
    const struct plan_shm *p, *q;

    if (!a->model || !b->model) return !a->model && !b->model && !strcmp(a->e.text, b->e.text);
    p = model_program(a->model);
    q = model_program(b->model);
    return p->bytes == q->bytes && !memcmp(p, q, p->bytes) && model_positions(a->model) == model_positions(b->model);
}

/* What config makes with key set to value (NULL: left out) beside what it makes as x. */
static bool same_with(const json_t *config, const char *key, json_t *value, const struct outcome *x)
{
    json_t *other = json_deep_copy(config);
    struct outcome y;
    bool equal;

    if (value)
        json_object_set(other, key, value);
    else
        json_object_del(other, key);
    y = open_config(other);
    equal = same(x, &y);
    outcome_close(&y);
    json_decref(other);
    return equal;
}

/* Other values that the class might have had; NULL after the last. */
static json_t *another(const json_t *value, int which)
{
    json_int_t n = json_integer_value(value);

    if (json_is_integer(value))
        return which == 0 ? json_integer(n ? 2 * n : 1) : which == 1 && n ? json_integer(n - 1) : NULL;
    if (which) return NULL;
    if (json_is_boolean(value)) return json_boolean(!json_is_true(value));
    if (json_is_real(value)) return json_real(json_real_value(value) / 2);
    if (json_is_object(value)) return json_of("{\"rope_type\":\"default\"}");
    if (json_is_string(value) && !strcmp(json_string_value(value), "relu")) return json_string("silu");
    if (json_is_string(value))
        return json_string(strcmp(json_string_value(value), "greedy") ? "relu" : "group_limited_greedy");
    return json_integer(3);
}

/* Under another name the config has it already: which of the two holds is no question of defaults. */
static bool is_given_otherwise(const json_t *config, const char *key)
{
    static const char *const names[][5] = {{"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"},
                                           {"n_head", "n_heads", "num_attention_heads"},
                                           {"n_layer", "n_layers", "num_hidden_layers"},
                                           {"n_embd", "n_embed", "d_model", "hidden_size"},
                                           {"n_inner", "ffn_dim", "intermediate_size"},
                                           {"n_positions", "max_seq_len", "max_position_embeddings"}};

    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        bool is_one = false, given = false;

        for (size_t i = 0; i < 5 && names[k][i]; i++) {
            is_one |= !strcmp(key, names[k][i]);
            given |= strcmp(key, names[k][i]) && json_object_get(config, names[k][i]);
        }
        if (is_one) return given;
    }
    return false;
}

/* A key of the class, which config does not have, given as the class has it: x, what config makes, stays. And given otherwise:
 * where that makes a difference, the key is added to felt. */
static void check_key(const char *type, const json_t *config, const char *key, json_t *value, const struct outcome *x,
                      json_t *felt)
{
    json_t *other;

    if (!same_with(config, key, value, x)) {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        fail_msg("%s: %s is not %s where it is left out (%s)", type, key, text, x->e.text);
    }
    for (int i = 0; !json_object_get(felt, key) && (other = another(value, i)); i++) {
        if (!same_with(config, key, other, x)) json_object_set_new(felt, key, json_true());
        json_decref(other);
    }
}

/* All keys of the class in turn left out of config, and given. */
static void check_config(const char *type, const json_t *config, const json_t *class, json_t *felt)
{
    struct outcome all = open_config(config);
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t) class, key, value)
    {
        json_t *without;
        struct outcome x;

        if (is_given_otherwise(config, key)) continue;
        if (!json_object_get(config, key)) {
            check_key(type, config, key, value, &all, felt);
            continue;
        }
        without = json_deep_copy(config);
        json_object_del(without, key);
        x = open_config(without);
        check_key(type, without, key, value, &x, felt);
        outcome_close(&x);
        json_decref(without);
    }
    outcome_close(&all);
}

/* Models of the type, or of one that is described alike. */
static bool is_of_type(const json_t *config, const char *type)
{
    static const char *const alike[][2] = {
        {"Yi", "llama"},
        {"qwen2_vl_text", "qwen2"},
        {"qwen2_5_vl_text", "qwen2"},
        {"qwen3_vl_text", "qwen3"},
        {"qwen3_vl_moe_text", "qwen3_moe"},
        {"qwen3_5_moe_text", "qwen3_next"},
    };
    const char *own = json_string_value(json_object_get(config, "model_type"));

    for (size_t i = 0; own && i < sizeof alike / sizeof *alike; i++)
        if (!strcmp(alike[i][0], type)) return !strcmp(alike[i][1], own);
    return own && !strcmp(own, type);
}

/* The config of a reference model, of a multimodal one the part that writes. */
static json_t *language_part(const char *name)
{
    json_t *config = reference_config(name), *part = json_incref(json_object_get(config, "text_config"));

    if (!part) return config;
    json_decref(config);
    return part;
}

/* Small numbers under which everything is one: for types of which no reference model is here. */
static json_t *small_config(void)
{
    return json_of(
        "{\"hidden_size\":64,\"num_hidden_layers\":3,\"num_attention_heads\":4,\"intermediate_size\":96,"
        "\"vocab_size\":97,\"num_layers\":3,\"ffn_hidden_size\":96,\"kv_channels\":16,"
        "\"padded_vocab_size\":97,\"moe_layers_enum\":[1,2],\"num_key_value_heads\":2,\"max_position_embeddings\":64}");
}

static void put_all(json_t *config, const char *const pairs[][2], size_t n)
{
    for (size_t i = 0; i < n; i++) json_object_set_new(config, pairs[i][0], json_of(pairs[i][1]));
}

/* What one switch hides from another comes to light under different ones. Takes the config. */
static void check_all_ways(const char *type, json_t *config, const json_t *class, json_t *felt)
{
    static const char *const lists[] = {"layer_types",    "no_rope_layers",          "moe_layers",   "rope_parameters",
                                        "moe_layer_freq", "sparse_attention_config", "rope_scaling", "compress_ratios"};
    static const char *const on[][2] = {
        {"use_sliding_window", "true"},       {"max_window_layers", "1"}, {"decoder_sparse_step", "2"},
        {"multi_query_attention", "true"},    {"n_group", "2"},           {"topk_group", "1"},
        {"max_position_embeddings", "131072"}};
    static const char *const deep[][2] = {
        {"num_hidden_layers", "90"}, {"max_window_layers", "80"}, {"use_sliding_window", "true"}};

    json_t *layers;

    json_object_del(config, "architectures");
    json_object_set_new(config, "model_type", json_string(type));
    check_config(type, config, class, felt);
    put_all(config, on, sizeof on / sizeof *on);
    check_config(type, config, class, felt);
    if (json_object_get(config, "sliding_window")) json_object_set_new(config, "sliding_window", json_integer(7));
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) json_object_del(config, lists[i]);
    check_config(type, config, class, felt);
    json_object_del(config, "use_sliding_window");
    json_object_set_new(config, "topk_method", json_string("group_limited_greedy"));
    check_config(type, config, class, felt);
    if ((layers = json_object_get(class, "max_window_layers"))) { /* more layers than it counts */
        json_t *only = json_object();
        json_object_set(only, "max_window_layers", layers);
        put_all(config, deep, sizeof deep / sizeof *deep);
        check_config(type, config, only, felt);
        json_decref(only);
    }
    json_decref(config);
}

/* Under a few reference models of the type, and a small config of no model. */
static void check_type(const char *type, const json_t *class, json_t *felt)
{
    struct dirent **d;
    int n = scandir(REFERENCE_MODELS, &d, NULL, alphasort), tried = 0;

    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        json_t *config = NULL;
        if (d[i]->d_name[0] != '.' && !strstr(d[i]->d_name, "README")) config = language_part(d[i]->d_name);
        if (config && is_of_type(config, type) && tried++ < 3) check_all_ways(type, json_incref(config), class, felt);
        json_decref(config);
        free(d[i]);
    }
    free(d);
    check_all_ways(type, small_config(), class, felt);
}

static void what_is_left_out_is_what_the_class_has(void **state)
{
    const char *type, *key;
    json_t *class, *value;

    (void)state;
    json_object_foreach(table, type, class)
    {
        json_t *felt = json_object(), *ours;
        bool known;

        check_type(type, class, felt);
        ours = defaults_of(type, &known); /* nothing stands in the code that nothing reads */
        json_object_foreach(ours, key, value) if (!json_object_get(felt, key))
            fail_msg("%s: %s makes no difference", type, key);
        json_decref(ours);
        json_decref(felt);
    }
}

/* The table of the code has nothing that the class has not. */
static void values_of_the_code(void **state)
{
    const char *type, *key;
    json_t *class, *value;

    (void)state;
    json_object_foreach(table, type, class)
    {
        bool known;
        json_t *ours = defaults_of(type, &known);

        if (!ours) fail_msg("%s has no defaults in the code", type);
        json_object_foreach(ours, key, value)
        {
            const json_t *want = json_object_get(class, key);
            if (!want) fail_msg("%s: the class has no %s", type, key);
            if (json_is_number(value) ? json_number_value(value) != json_number_value(want)
                                      : !json_equal(value, (json_t *)(uintptr_t)want))
                fail_msg("%s: %s is not that of the class", type, key);
        }
        json_decref(ours);
    }
}

/* A config that says nothing at all is one that says everything that its class has. */
static void nothing_is_everything(void **state)
{
    const char *type;
    json_t *class;

    (void)state;
    json_object_foreach(table, type, class)
    {
        json_t *nothing = json_pack("{s:s}", "model_type", type), *everything = json_deep_copy(nothing);
        struct outcome a, b;

        json_object_update(everything, class);
        a = open_config(nothing);
        b = open_config(everything);
        if (!same(&a, &b)) fail_msg("%s: \"%s\", \"%s\"", type, a.e.text, b.e.text);
        outcome_close(&a);
        outcome_close(&b);
        json_decref(nothing);
        json_decref(everything);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_the_code),
        cmocka_unit_test(what_is_left_out_is_what_the_class_has),
        cmocka_unit_test(nothing_is_everything),
    };
    return cmocka_run_group_tests(tests, load_table, drop_table);
}
