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
#include "tests/support_families.h"
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
    assert_true(n > 60);
}

/* ---- originals without a library's reference: the weights of a family that has one, under their names ---- */

static void originals_are_others_under_other_names(void **state)
{
    (void)state;
    for (int i = 0; i < RENAMED_FAMILIES; i++) {
        const struct renamed_family *x = &renamed_families[i];
        struct golden g = golden_load(x->golden);
        char *folder = x->make();
        double d = golden_difference(&g, folder);

        if (!(d < TOLERANCE)) fail_msg("%s (%s renamed) is off by %g", x->name, x->golden, d);
        golden_free(&g);
        scratch_remove(folder);
    }
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
            remove(plan_string(model_program(whole), plan_files(model_program(whole))[k].name));
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
        cmocka_unit_test(originals_are_others_under_other_names),

        cmocka_unit_test(text_parts_of_multimodal_folders),
        cmocka_unit_test(sizes_of_a_model),
        cmocka_unit_test(context_follows_longrope),
        cmocka_unit_test(plans_without_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
