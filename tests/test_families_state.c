/* Families with recurrent states: configs that contradict themselves or ask for what is not computed are refused by the field's
 * name, and a layer without one of its tensors by the tensor's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include "coordinator/arch/model.h"
#include "tests/support_model.h"

static const struct model_options ANY = {.allow_missing_weights = true};

struct bad {
    const char *reference, *key, *value, *word; /* value NULL: taken out */
};

static void check_bad(const struct bad *x)
{
    json_t *config = reference_config(x->reference);
    char *folder = scratch_make();
    struct model *m = NULL;
    struct error e = {0};

    if (x->value)
        json_object_set_new(config, x->key, json_of(x->value));
    else
        json_object_del(config, x->key);
    scratch_write_json(folder, "config.json", config);
    if (!model_open(&m, folder, &ANY, &e)) fail_msg("%s: %s %s is accepted", x->reference, x->key, x->value);
    if (!strstr(e.text, x->word) || !strstr(e.text, "config.json") || strchr(e.text, '\n'))
        fail_msg("%s: \"%s\" does not say \"%s\"", x->reference, e.text, x->word);
    scratch_remove(folder);
}

static void fields_that_contradict(void **state)
{
    static const struct bad cases[] = {
        {"lfm2", "block_ffn_dim_multiplier", "1e30", "block_ffn_dim_multiplier"},
        {"lfm2", "conv_L_cache", "0", "conv_L_cache"},
        {"lfm2-moe", "layer_types", "[\"conv\"]", "layer_types"},
        {"lfm2-moe", "layer_types", "[\"conv\",\"conv\",\"mamba\",\"conv\"]", "layer_types"},
        {"lfm2-moe", "num_experts_per_tok", "7", "contradict"},
        {"mamba2", "num_heads", "11", "num_heads"},
        {"mamba2", "n_groups", "3", "num_heads"},
        {"mamba2", "conv_kernel", "1000", "conv_kernel"},
        {"mamba2", "time_step_limit", "[1, 0]", "time_step_limit"},
        {"mamba2", "time_step_limit", "[0.1]", "time_step_limit"},
        {"mamba2", "hidden_act", "\"wobble\"", "hidden_act"},
        {"mamba2", "state_size", "-1", "state_size"},
        {"nemotron-h", "hybrid_override_pattern", "\"MEM*EX\"", "hybrid_override_pattern"},
        {"nemotron-h", "hybrid_override_pattern", "\"MEM*E\"", "hybrid_override_pattern"},
        {"nemotron-h", "hybrid_override_pattern", "\"\"", "hybrid_override_pattern"},
        {"nemotron-h", "layers_block_type", "[\"mamba\",\"moe\",7,\"mlp\",\"mlp\",\"mlp\"]", "layers_block_type"},
        {"nemotron-h", "time_step_min", "-1", "time_step_min"},
        {"nemotron-h-latent", "moe_latent_size", "-3", "moe_latent_size"},
        {"nemotron-h-latent", "num_experts_per_tok", "9", "contradict"},
        {"granite-hybrid", "layer_types", "[\"mamba\",\"mamba\",\"window\",\"mamba\"]", "layer_types"},
        {"granite-hybrid", "position_embedding_type", "\"alibi\"", "position_embedding_type"},
        {"granite-hybrid", "mamba_d_head", "17", "mamba_n_heads"},
        {"granite-hybrid", "logits_scaling", "0", "logits_scaling"},
        {"falcon-h1", "ssm_multipliers", "[1, 2]", "ssm_multipliers"},
        {"falcon-h1", "mlp_multipliers", "[1, \"x\"]", "mlp_multipliers"},
        {"falcon-h1", "mamba_d_ssm", "97", "mamba_n_heads"},
        {"bamba", "mamba_n_groups", "3", "mamba_n_heads"},
        {"bamba", "mamba_expand", "1000", "mamba_expand"},
        {"jamba", "attn_layer_offset", "4", "attn_layer_offset"},
        {"jamba", "expert_layer_offset", "2", "expert_layer_offset"},
        {"jamba", "mamba_dt_rank", "\"some\"", "mamba_dt_rank"},
        {"kimi-linear", "mla_use_nope", "false", "mla_use_nope"},
        {"kimi-linear", "moe_router_activation_func", "\"softmax\"", "moe_router_activation_func"},
        {"kimi-linear", "moe_layer_freq", "2", "moe_layer_freq"},
        {"kimi-linear", "linear_attn_config",
         "{\"full_attn_layers\":[4],\"kda_layers\":[1,2,3,4,5],\"head_dim\":16,\"num_heads\":4}", "kda_layers"},
        {"kimi-linear", "linear_attn_config", "{\"head_dim\":1.5,\"num_heads\":4}", "linear_attn_config.head_dim"},
        {"bailing-hybrid", "kda_lower_bound", "1", "kda_lower_bound"},
        {"bailing-hybrid", "num_expert_group", "3", "contradict"},
        {"bailing-hybrid", "layer_types", "[\"linear_attention\"]", "layer_types"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_bad(&cases[i]);
}

/* The weights' header, with one tensor under another name of the same length. */
static void hide(const char *folder, const char *tensor)
{
    const char *path = scratch_path(folder, "model.safetensors");
    FILE *f = fopen(path, "r+be");
    static char head[1 << 20];
    size_t n;
    char *at;

    assert_non_null(f);
    n = fread(head, 1, sizeof head - 1, f);
    for (at = head; at < head + n - strlen(tensor) && memcmp(at, tensor, strlen(tensor)); at++) continue;
    if (memcmp(at, tensor, strlen(tensor))) fail_msg("%s: no tensor %s", path, tensor);
    at[strlen(tensor) - 1] ^= 1;
    assert_int_equal(fseek(f, 0, SEEK_SET), 0);
    assert_int_equal(fwrite(head, 1, n, f), n);
    fclose(f);
}

static void layers_without_a_tensor(void **state)
{
    static const char *const cases[][2] = {
        {"lfm2", "model.layers.1.conv.conv.weight"},
        {"mamba2", "backbone.layers.1.mixer.A_log"},
        {"nemotron-h", "backbone.layers.2.mixer.dt_bias"},
        {"nemotron-h-latent", "backbone.layers.1.mixer.fc2_latent_proj.weight"},
        {"granite-hybrid", "model.layers.1.mamba.norm.weight"},
        {"falcon-h1", "model.layers.2.mamba.conv1d.bias"},
        {"bamba", "model.layers.3.mamba.D"},
        {"jamba", "model.layers.1.mamba.b_layernorm.weight"},
        {"kimi-linear", "model.layers.2.self_attn.k_conv1d.weight"},
        {"bailing-hybrid", "model.layers.3.attention.g_proj.weight"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = reference_make(cases[i][0]);
        struct model *m = NULL;
        struct error e = {0};

        hide(folder, cases[i][1]);
        if (!model_open(&m, folder, NULL, &e)) fail_msg("%s: %s is not missed", cases[i][0], cases[i][1]);
        if (!strstr(e.text, cases[i][1])) fail_msg("\"%s\" does not name %s", e.text, cases[i][1]);
        scratch_remove(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_that_contradict),
        cmocka_unit_test(layers_without_a_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
