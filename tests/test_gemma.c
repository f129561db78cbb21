/* Gemma 3n and 4 in the sizes that are published, opened by their config alone; and what a plan of them reads and keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include "coordinator/plan/calibrate.h"
#include "proto/footprint.h"
#include "tests/support_model.h"
#include "tests/support_plan.h"

static const struct model_options ANY = {.allow_missing_weights = true};

#define GEMMA4_ROPES                                                                                                   \
    "\"rope_parameters\":{\"full_attention\":{\"partial_rotary_factor\":0.25,\"rope_theta\":1000000.0,"                \
    "\"rope_type\":\"proportional\"},\"sliding_attention\":{\"rope_theta\":10000.0,\"rope_type\":\"default\"}},"       \
    "\"final_logit_softcapping\":30.0,\"vocab_size\":262144"

/* ---- published sizes ---- */

struct published {
    const char *name, *architecture, *text; /* text: the fields of text_config, but for layer_types */
    uint32_t layers, pattern;               /* every pattern-th layer sees all positions */
    uint64_t parameters;                    /* of the text part */
    uint32_t caches;                        /* layers with keys of their own */
};

static const struct published models[] = {
    {"Gemma 4 E2B", "Gemma4ForConditionalGeneration",
     "{\"model_type\":\"gemma4_text\",\"hidden_size\":1536,\"intermediate_size\":6144,\"num_attention_heads\":8,"
     "\"num_key_value_heads\":1,\"num_kv_shared_layers\":20,\"use_double_wide_mlp\":true,"
     "\"hidden_size_per_layer_input\":256," GEMMA4_ROPES "}",
     35, 5, 4628569379, 15},
    {"Gemma 4 E4B", "Gemma4ForConditionalGeneration",
     "{\"model_type\":\"gemma4_text\",\"hidden_size\":2560,\"intermediate_size\":10240,\"num_attention_heads\":8,"
     "\"num_key_value_heads\":2,\"num_kv_shared_layers\":18,\"hidden_size_per_layer_input\":256," GEMMA4_ROPES "}",
     42, 6, 7463013418, 24},
    {"Gemma 4 26B-A4B", "Gemma4ForConditionalGeneration",
     "{\"model_type\":\"gemma4_text\",\"hidden_size\":2816,\"intermediate_size\":2112,\"num_attention_heads\":16,"
     "\"num_key_value_heads\":8,\"num_global_key_value_heads\":2,\"attention_k_eq_v\":true,"
     "\"enable_moe_block\":true,\"num_experts\":128,\"top_k_experts\":8,\"moe_intermediate_size\":704,"
     "\"use_bidirectional_attention\":\"vision\",\"hidden_size_per_layer_input\":0," GEMMA4_ROPES "}",
     30, 6, 25233141790, 30},
    {"Gemma 4 31B", "Gemma4ForConditionalGeneration",
     "{\"model_type\":\"gemma4_text\",\"hidden_size\":5376,\"intermediate_size\":21504,\"num_attention_heads\":32,"
     "\"num_key_value_heads\":16,\"num_global_key_value_heads\":4,\"attention_k_eq_v\":true,"
     "\"use_bidirectional_attention\":\"vision\",\"hidden_size_per_layer_input\":0," GEMMA4_ROPES "}",
     60, 6, 30697345340, 60},
    {"Gemma 3n E2B", "Gemma3nForConditionalGeneration",
     "{\"model_type\":\"gemma3n_text\",\"hidden_size\":2048,\"intermediate_size\":8192,\"num_kv_shared_layers\":10,"
     "\"vocab_size\":262400,\"rope_scaling\":null,\"rope_theta\":1000000.0,\"rope_local_base_freq\":10000.0}",
     30, 5, 4435489888, 20},
    {"Gemma 3n E4B", "Gemma3nForConditionalGeneration",
     "{\"model_type\":\"gemma3n_text\",\"hidden_size\":2048,\"intermediate_size\":16384,\"num_kv_shared_layers\":15,"
     "\"vocab_size\":262400,\"rope_scaling\":null,\"rope_theta\":1000000.0,\"rope_local_base_freq\":10000.0}",
     35, 5, 6835593968, 20},
};

static json_t *config_of(const struct published *x)
{
    json_t *root = json_object(), *text = json_of(x->text), *types = json_array();

    for (uint32_t i = 0; i < x->layers; i++)
        json_array_append_new(types, json_string((i + 1) % x->pattern ? "sliding_attention" : "full_attention"));
    json_object_set_new(text, "layer_types", types);
    json_object_set_new(text, "num_hidden_layers", json_integer(x->layers));
    json_object_set_new(root, "architectures", json_pack("[s]", x->architecture));
    json_object_set_new(root, "text_config", text);
    return root;
}

static void published_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char *folder = scratch_make();
        struct model *m = NULL;
        struct error e = {0};

        scratch_write_json(folder, "config.json", config_of(&models[i]));
        if (model_open(&m, folder, &ANY, &e)) fail_msg("%s: %s", models[i].name, e.text);
        if (model_parameters(m) != models[i].parameters)
            fail_msg("%s: %llu parameters", models[i].name, (unsigned long long)model_parameters(m));
        assert_int_equal(model_program(m)->caches.count, models[i].caches);
        assert_non_null(strstr(model_notice(m), "only its language model runs"));
        model_close(m);
        scratch_remove(folder);
    }
}

/* ---- what is read, and what is kept ---- */

static struct plan_shm *plan_of_reference(const char *name)
{
    struct plan_settings s = test_settings(UINT64_C(1) << 30);
    char *folder = reference_make(name);
    struct model *m = NULL;
    struct error e = {0};
    struct plan_shm *p;

    if (model_open(&m, folder, NULL, &e)) fail_msg("%s: %s", name, e.text);
    p = plan_with(model_program(m), &s);
    model_close(m);
    scratch_remove(folder);
    return p;
}

/* The second table is in no tile: a token costs its row of it. */
static void layers_embeddings_are_read_by_rows(void **state)
{
    static const struct calibration speeds = {
        .disk = 2e9, .memory = 2e10, .link = 1e10, .device_memory = 1e12, .flops = 1e12};
    static const char *const names[] = {"gemma4-e2b", "gemma3n"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct plan_shm *p = plan_of_reference(names[i]);
        const struct plan_matrix *m = &plan_matrices(p)[plan_beside_matrix(p)];
        uint64_t end = m->file_off + m->rows * m->row_bytes, streamed = 0;
        struct plan_summary summary;

        assert_int_equal(p->beside.rows, m->rows);
        assert_int_equal(plan_row_stride(p), 160 + 256);
        for (uint64_t k = 0; k < p->parts.count; k++) {
            const struct plan_part *x = plan_parts(p) + k;

            assert_true(x->file != m->file || x->file_off >= end || x->file_off + x->bytes <= m->file_off);
            streamed += x->bytes;
        }
        plan_summarize(&summary, p, &speeds);
        assert_int_equal(summary.weight_bytes, streamed + m->rows * m->row_bytes);
        assert_int_equal(summary.active_bytes, streamed + 160 + m->row_bytes);
        free(p);
    }
}

/* Late layers attend over the cache of the last layer of their kind that has one. */
static void late_layers_have_no_cache(void **state)
{
    static const char *const names[] = {"gemma4-e2b", "gemma3n"};
    static const uint32_t cache[8] = {0, 1, 2, 3, 2, 2, 2, 3};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct plan_shm *p = plan_of_reference(names[i]);
        uint32_t seen = 0;

        assert_int_equal(p->caches.count, 4);
        for (uint64_t k = 0; k < p->ops.count; k++) {
            const struct plan_op *op = plan_ops(p) + k;

            if (op->kind != OP_ATTENTION) continue;
            assert_int_equal(op->attention.cache, cache[op->layer]);
            assert_int_equal(op->attention.flags & ATTN_REUSES ? 1 : 0, op->layer >= 4);
            seen++;
        }
        assert_int_equal(seen, 8);
        /* k and v of two heads of 16 columns, float32; of Gemma 4's global layer of 32 */
        assert_int_equal(footprint_kv_position(p, FORM_F32), (i ? 4 * 64 : 3 * 64 + 128) * sizeof(float));
        free(p);
    }
}

/* The folder has a projection of keys in a layer that reuses those of an earlier one, as published ones do: nothing is said
 * of it. */
static void projections_that_are_reused_are_known(void **state)
{
    char *folder = reference_make("gemma4-e2b");
    struct model *m = NULL;
    struct error e = {0};

    (void)state;
    if (model_open(&m, folder, NULL, &e)) fail_msg("%s", e.text);
    assert_true(model_leaves_out(m, "model.language_model.layers.4.self_attn.k_proj.weight"));
    assert_null(strstr(model_notice(m), "k_proj"));
    model_close(m);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_sizes),
        cmocka_unit_test(layers_embeddings_are_read_by_rows),
        cmocka_unit_test(late_layers_have_no_cache),
        cmocka_unit_test(projections_that_are_reused_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
