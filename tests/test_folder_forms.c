/* Folders as people have them: a head beside a config that ties it, two sets of rotary rules, positions that YaRN's factor
 * gives, fields that a class ignores, prefixes doubled or absent, norms under other names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include "tests/support_families.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define TOLERANCE 5e-5 /* of test_families.c: float64 against float64 */

static struct model *open_folder(const char *folder, const struct model_options *o)
{
    struct model *m = NULL;
    struct error e = {0};

    if (model_open(&m, folder, o, &e)) fail_msg("%s", e.text);
    return m;
}

/* The model in folder has the reference's logits, and says what (NULL: nothing). */
static void expect(const char *folder, const char *reference, const char *says)
{
    struct golden g = golden_load(reference);
    double d = golden_difference(&g, folder);
    struct model *m = open_folder(folder, NULL);
    const char *notice = model_notice(m);

    if (!(d < TOLERANCE)) fail_msg("%s is off by %g", reference, d);
    if (says && (!notice || !strstr(notice, says))) fail_msg("%s does not say %s", notice ? notice : "silence", says);
    if (!says && notice) fail_msg("%s: %s", reference, notice);
    model_close(m);
    golden_free(&g);
}

/* The reference with some fields of its config replaced: its logits must stay. */
static void expect_with(const char *reference, const char *const fields[][2], size_t n, const char *says)
{
    char *folder = reference_make(reference);
    json_t *c = reference_config(reference);

    for (size_t i = 0; i < n; i++) {
        if (fields[i][1])
            json_object_set_new(c, fields[i][0], json_of(fields[i][1]));
        else
            json_object_del(c, fields[i][0]);
    }
    scratch_write_json(folder, "config.json", c);
    expect(folder, reference, says);
    scratch_remove(folder);
}
#define EXPECT_WITH(reference, says, ...)                                                                              \
    do {                                                                                                               \
        static const char *const fields[][2] = {__VA_ARGS__};                                                          \
        expect_with(reference, fields, sizeof fields / sizeof *fields, says);                                          \
    } while (0)

/* ---- heads ---- */

static void a_head_goes_before_tying(void **state)
{
    (void)state;
    EXPECT_WITH("llama", "lm_head.weight is in the folder", {"tie_word_embeddings", "true"});
    EXPECT_WITH("qwen3", "lm_head.weight is in the folder", {"tie_word_embeddings", "true"});
    EXPECT_WITH("llama", NULL, {"tie_word_embeddings", NULL});
    EXPECT_WITH("qwen2-tied", NULL, {"tie_word_embeddings", NULL});
}

/* The same values twice, as some libraries store what is tied: no other answer, and it is said. */
static void a_head_beside_a_class_that_ties(void **state)
{
    char *source = reference_make("gemma"), *folder = scratch_make();
    json_t *c = reference_config("gemma");
    struct renamer r;

    (void)state;
    json_object_del(c, "tie_word_embeddings");
    scratch_write_json(folder, "config.json", c);
    renamer_open(&r, source);
    for (size_t i = 0; i < r.from->count; i++) renamer_copy(&r, r.from->at[i].name, r.from->at[i].name);
    renamer_copy(&r, "lm_head.weight", "model.embed_tokens.weight");
    renamer_close(&r, folder);
    expect(folder, "gemma", "lm_head.weight is in the folder");
    scratch_remove(folder);
    scratch_remove(source);
}

static void no_head_and_no_tying_is_refused(void **state)
{
    char *folder = reference_make("qwen2-tied");
    json_t *c = reference_config("qwen2-tied");
    struct model *m = NULL;
    struct error e = {0};

    (void)state;
    json_object_set_new(c, "tie_word_embeddings", json_false());
    scratch_write_json(folder, "config.json", c);
    assert_int_not_equal(model_open(&m, folder, NULL, &e), 0);
    assert_non_null(strstr(e.text, "lm_head.weight"));
    scratch_remove(folder);
}

/* A plan from the config alone goes by what it says. */
static void tying_of_a_config_alone(void **state)
{
    struct model_options any = {.allow_missing_weights = true};
    uint64_t bytes[2];

    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        char *folder = scratch_make();
        json_t *c = reference_config("llama");
        struct model *m;

        json_object_set_new(c, "tie_word_embeddings", json_boolean(tied));
        scratch_write_json(folder, "config.json", c);
        m = open_folder(folder, &any);
        assert_null(model_notice(m));
        bytes[tied] = model_weight_bytes(m);
        model_close(m);
        scratch_remove(folder);
    }
    assert_int_equal(bytes[0] - bytes[1], 272 * 80 * 2);
}

/* ---- rotary rules ---- */

#define YARN "{\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":16}"

static void rope_scaling_beside_rope_parameters(void **state)
{
    (void)state;
    EXPECT_WITH("llama-rope-yarn", NULL, {"rope_parameters", "{\"rope_type\":\"default\",\"rope_theta\":10000.0}"});
    EXPECT_WITH("llama-rope-yarn", "rope_scaling beside rope_parameters", {"rope_theta", NULL},
                {"rope_parameters", "{\"rope_type\":\"linear\",\"factor\":2.0,\"rope_theta\":10000.0}"});
    EXPECT_WITH("llama-rope-linear", NULL, {"rope_parameters", YARN});
    EXPECT_WITH("llama-newconfig", NULL, {"rope_scaling", "{}"});
    EXPECT_WITH("llama-newconfig", NULL, {"rope_scaling", "null"});
    /* its rules speak of full attention, and add to those of its kind */
    EXPECT_WITH("gemma3", NULL, {"rope_theta", NULL}, {"rope_local_base_freq", NULL},
                {"rope_parameters", "{\"full_attention\":{\"rope_type\":\"default\",\"rope_theta\":1000000.0},"
                                    "\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":10000.0}}"});
}

static double frequency(const char *folder, uint32_t i)
{
    struct model_options any = {.allow_missing_weights = true};
    struct model *m = open_folder(folder, &any);
    const struct plan_shm *p = model_program(m);
    double f = (double)plan_constants(p)[plan_ropes(p)->inv_freq + i];

    model_close(m);
    return f;
}

/* Qwen3's instructions add a rope_scaling without theta: the one that the folder has must not be lost. */
static void theta_beside_rope_scaling(void **state)
{
    char *folder = scratch_make();
    json_t *c = reference_config("llama-newconfig");
    struct model_options any = {.allow_missing_weights = true};
    struct model *m;
    double f[2];

    (void)state;
    for (int given = 0; given < 2; given++) {
        json_t *rules = json_of(YARN), *copy = json_deep_copy(c);
        if (given) json_object_set_new(rules, "rope_theta", json_real(500000));
        json_object_set_new(copy, "rope_scaling", rules);
        scratch_write_json(folder, "config.json", copy);
        f[given] = frequency(folder, 9);
        m = open_folder(folder, &any);
        assert_int_equal(model_notice(m) != NULL, !given); /* said where it was not given there */
        model_close(m);
    }
    assert_true(f[0] == f[1] && f[0] < 1e-4);
    json_decref(c);
    scratch_remove(folder);
}

static void fields_that_a_class_ignores(void **state)
{
    (void)state;
    EXPECT_WITH("qwen3", NULL, {"partial_rotary_factor", "0.5"});
    EXPECT_WITH("llama", NULL, {"partial_rotary_factor", "0.25"});
    EXPECT_WITH("qwen2", NULL, {"rotary_dim", "4"}, {"rotary_pct", "0.5"});
    EXPECT_WITH("gemma3", NULL, {"partial_rotary_factor", "0.5"});
    EXPECT_WITH("deepseek-v3", NULL, {"partial_rotary_factor", "0.5"});
}

/* ---- positions ---- */

static void check_positions(const char *reference, const char *rules, uint32_t max, uint32_t context, uint32_t most)
{
    struct model_options any = {.allow_missing_weights = true};
    char *folder = scratch_make();
    json_t *c = reference_config(reference);
    struct error e = {0};
    struct model *m;

    json_object_del(c, "rope_parameters");
    json_object_set_new(c, "rope_scaling", json_of(rules));
    json_object_set_new(c, "max_position_embeddings", json_integer(max));
    scratch_write_json(folder, "config.json", c);
    m = open_folder(folder, &any);
    if (model_program(m)->spec.context != context || model_positions(m) != most)
        fail_msg("%s: %u and %u positions, not %u and %u", rules, model_program(m)->spec.context, model_positions(m),
                 context, most);
    model_close(m);
    any.context = most;
    m = open_folder(folder, &any);
    assert_int_equal(model_program(m)->spec.context, most);
    model_close(m);
    any.context = most + 1;
    assert_int_not_equal(model_open(&m, folder, &any, &e), 0);
    snprintf(e.text, sizeof e.text, "%s", strstr(e.text, "--context ") ? strstr(e.text, "--context ") : "");
    assert_int_equal(strtoul(e.text + strlen("--context "), NULL, 10), most); /* what it advises */
    scratch_remove(folder);
}

static void positions_that_rules_give(void **state)
{
    (void)state;
    check_positions("qwen3", YARN, 40, 64, 64);
    check_positions("qwen3", "{\"type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32}", 40, 128,
                    128);
    check_positions("qwen3", "{\"type\":\"yarn\",\"factor\":2.5}", 40, 100, 100); /* no original: the full number */
    check_positions("llama", "{\"type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32}", 512, 512,
                    512);
    check_positions("deepseek-v3", YARN, 40, 64, 64);
    /* published folders of these count the factor, or do not: it is there for who asks for it */
    check_positions("llama", "{\"type\":\"linear\",\"factor\":4.0}", 40, 40, 160);
    check_positions("llama", "{\"type\":\"dynamic\",\"factor\":2.0}", 40, 40, 80);
    check_positions("llama", "{\"type\":\"llama3\",\"factor\":8.0,\"original_max_position_embeddings\":16}", 40, 40,
                    40);
    check_positions("llama", "{\"type\":\"yarn\",\"factor\":1e300}", 40, 40, 40);
}

static void advice_for_long_prompts(void **state)
{
    char *folder = reference_make("llama"), text[128];
    struct model *m = open_folder(folder, NULL);

    (void)state;
    assert_non_null(strstr(model_longer_context(m, 500, text, sizeof text), "--context 500"));
    assert_non_null(strstr(model_longer_context(m, 512, text, sizeof text), "--context 512"));
    assert_null(strstr(model_longer_context(m, 513, text, sizeof text), "--context"));
    assert_non_null(strstr(text, "512"));
    model_close(m);
    scratch_remove(folder);
}

/* sluice logits of so many tokens, as a user runs it. */
static struct process_result run_logits(const char *folder, uint32_t tokens, const char *context)
{
    const char *arg[] = {"logits", folder, "--tokens", NULL, "--out", "/dev/null", context ? "--context" : NULL,
                         context,  NULL};
    char *list = malloc(tokens * 2 + 1);
    struct process_result r;

    assert_non_null(list);
    for (uint32_t i = 0; i < tokens; i++) memcpy(list + 2 * i, "7 ", 3);
    arg[3] = list;
    r = process_run("sluice", arg, NULL, 0, 60);
    free(list);
    return r;
}

/* The KV cache of an automatic context holds fewer positions than such a model takes. */
static void more_positions_than_the_cache_holds(void **state)
{
    char *folder = reference_make("llama");
    json_t *c = reference_config("llama");
    struct process_result r;

    (void)state;
    json_object_set_new(c, "max_position_embeddings", json_integer(50000000));
    scratch_write_json(folder, "config.json", c);
    r = run_logits(folder, 5, NULL);
    if (r.status) fail_msg("%s", r.err);
    process_result_free(&r);
    scratch_remove(folder);
}

/* What the message of a refusal advises is done, and works. */
static void advice_that_is_followed(void **state)
{
    char *folder = reference_make("llama-rope-linear"), context[16], *at;
    json_t *c = reference_config("llama-rope-linear");
    struct process_result r;

    (void)state;
    json_object_set_new(c, "max_position_embeddings", json_integer(40));
    scratch_write_json(folder, "config.json", c);
    r = run_logits(folder, 60, NULL);
    assert_int_equal(r.status, 1);
    if (!(at = strstr(r.err, "--context "))) fail_msg("%s", r.err);
    snprintf(context, sizeof context, "%lu", strtoul(at + strlen("--context "), NULL, 10));
    process_result_free(&r);
    r = run_logits(folder, 60, context);
    if (r.status) fail_msg("--context %s: %s", context, r.err);
    process_result_free(&r);
    r = run_logits(folder, 161, NULL); /* more than there is room for, whatever flag is given */
    assert_int_equal(r.status, 1);
    assert_null(strstr(r.err, "--context"));
    process_result_free(&r);
    r = run_logits(folder, 4, "100000");
    assert_int_equal(r.status, 1);
    if (!(at = strstr(r.err, "--context "))) fail_msg("%s", r.err);
    snprintf(context, sizeof context, "%lu", strtoul(at + strlen("--context "), NULL, 10));
    process_result_free(&r);
    r = run_logits(folder, 4, context);
    if (r.status) fail_msg("--context %s: %s", context, r.err);
    process_result_free(&r);
    scratch_remove(folder);
}

/* ---- names ---- */

/* The reference with each name's from (where it begins so) replaced by to. */
static char *renamed(const char *reference, const char *const pairs[][2], size_t n)
{
    char *source = reference_make(reference), *folder = scratch_make(), name[512];
    struct renamer r;

    scratch_write_json(folder, "config.json", reference_config(reference));
    renamer_open(&r, source);
    for (size_t i = 0; i < r.from->count; i++) {
        const char *old = r.from->at[i].name;
        snprintf(name, sizeof name, "%s", old);
        for (size_t k = 0; k < n; k++) {
            const char *at = strstr(old, pairs[k][0]);
            if (at)
                snprintf(name, sizeof name, "%.*s%s%s", (int)(at - old), old, pairs[k][1], at + strlen(pairs[k][0]));
        }
        renamer_copy(&r, name, old);
    }
    renamer_close(&r, folder);
    scratch_remove(source);
    return folder;
}

static void expect_renamed(const char *reference, const char *const pairs[][2], size_t n)
{
    char *folder = renamed(reference, pairs, n);

    expect(folder, reference, NULL);
    scratch_remove(folder);
}
#define EXPECT_RENAMED(reference, ...)                                                                                 \
    do {                                                                                                               \
        static const char *const pairs[][2] = {__VA_ARGS__};                                                           \
        expect_renamed(reference, pairs, sizeof pairs / sizeof *pairs);                                                \
    } while (0)

static void prefixes_doubled_or_absent(void **state)
{
    static const char *const references[] = {"llama", "qwen3-moe", "gemma3", "deepseek-v3", "qwen3-next", "gpt-oss"};
    static const char *const prefixes[] = {"model.model.",
                                           "",
                                           "language_model.model.",
                                           "model.language_model.",
                                           "language_model.model.model.",
                                           "base_model.model.model.",
                                           "thinker.model."};

    (void)state;
    for (size_t i = 0; i < sizeof references / sizeof *references; i++)
        for (size_t k = 0; k < sizeof prefixes / sizeof *prefixes; k++) {
            const char *const pairs[][2] = {{"model.", prefixes[k]}};
            expect_renamed(references[i], pairs, 1);
        }
}

static void heads_under_prefixes(void **state)
{
    (void)state;
    EXPECT_RENAMED("llama", {"model.", "model.model."}, {"lm_head", "model.lm_head"});
    EXPECT_RENAMED("llama", {"model.", "language_model.model."}, {"lm_head", "language_model.lm_head"});
    EXPECT_RENAMED("llama", {"model.", "base_model.model.model."}, {"lm_head", "base_model.model.lm_head"});
    EXPECT_RENAMED("llama", {"model.", ""}, {"lm_head", "model.lm_head"});
}

/* Folders with names of their own: as published, doubled, and without the prefix. */
static void prefixes_of_other_layouts(void **state)
{
    static const char *const prefixes[RENAMED_FAMILIES] = {"model.", "model.", "transformer.", "transformer."};

    (void)state;
    for (int i = 0; i < RENAMED_FAMILIES; i++) {
        for (int doubled = 0; doubled < 2; doubled++) {
            char *source = renamed_families[i].make(), *folder = scratch_make(), name[512];
            struct golden g = golden_load(renamed_families[i].golden);
            size_t n = strlen(prefixes[i]);
            struct renamer r;

            scratch_write_json(folder, "config.json", json_load_file(scratch_path(source, "config.json"), 0, NULL));
            renamer_open(&r, source);
            for (size_t k = 0; k < r.from->count; k++) {
                const char *old = r.from->at[k].name;
                bool has = !strncmp(old, prefixes[i], n);
                snprintf(name, sizeof name, "%s%s", has && doubled ? prefixes[i] : "", has && !doubled ? old + n : old);
                renamer_copy(&r, name, old);
            }
            renamer_close(&r, folder);
            if (!(golden_difference(&g, folder) < TOLERANCE)) fail_msg("%s differs", renamed_families[i].name);
            golden_free(&g);
            scratch_remove(folder);
            scratch_remove(source);
        }
    }
}

static void norms_of_the_first_yi(void **state)
{
    (void)state;
    EXPECT_RENAMED("llama", {"input_layernorm", "ln1"}, {"post_attention_layernorm", "ln2"});
}

/* ---- mlx ---- */

static float plus_one(uint64_t i, float value)
{
    (void)i;
    return value + 1;
}

static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);

    return n >= k && !strcmp(name + n - k, end);
}

/* As mlx-lm converts it: 1 added to these norms, the taps of the convolution last but one. */
static void copy_as_mlx(struct renamer *r, const struct tensor *t)
{
    static const char *const norms[] = {".input_layernorm.weight", ".post_attention_layernorm.weight",
                                        "model.norm.weight", ".q_norm.weight", ".k_norm.weight"};
    uint64_t shape[3];

    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        if (!ends(t->name, norms[i])) continue;
        renamer_change(r, t->name, t->name, t->shape, t->dims, plus_one);
        return;
    }
    if (!ends(t->name, "conv1d.weight")) {
        renamer_copy(r, t->name, t->name);
        return;
    }
    assert_int_equal(t->dims, 3);
    assert_int_equal(t->shape[1], 1);
    shape[0] = t->shape[0];
    shape[1] = t->shape[2];
    shape[2] = 1;
    renamer_begin(r, t->name);
    renamer_append(r, t->name, 0, t->shape[0]);
    renamer_end_shape(r, shape, 3);
}

/* Experts of one layer become three tensors. */
static bool copy_as_stacked(struct renamer *r, const char *name, const char *gate, const char *up, const char *down)
{
    const char *const from[3] = {gate, up, down}, *at = strstr(name, ".experts.");
    static const char *const to[3] = {"gate_proj", "up_proj", "down_proj"};
    char full[300];

    if (!at) return false;
    for (int k = 0; k < 3; k++) {
        const struct tensor *t = NULL;
        uint64_t shape[3] = {0};
        uint32_t e;
        snprintf(full, sizeof full, ".experts.0.%s.weight", from[k]);
        if (!ends(name, full)) continue;
        snprintf(full, sizeof full, "%.*s.switch_mlp.%s.weight", (int)(at - name), name, to[k]);
        renamer_begin(r, full);
        for (e = 0;; e++) {
            snprintf(full, sizeof full, "%.*s.experts.%u.%s.weight", (int)(at - name), name, e, from[k]);
            if (!tensors_find(r->from, full)) break;
            t = tensors_find(r->from, full);
            renamer_append(r, full, 0, t->shape[0]);
            shape[1] = t->shape[0];
            shape[2] = t->shape[1];
        }
        shape[0] = e;
        renamer_end_shape(r, shape, 3);
    }
    return true;
}

static void check_mlx(const char *reference, const char *gate, const char *up, const char *down)
{
    char *source = reference_make(reference), *folder = scratch_make();
    struct renamer r;

    scratch_write_json(folder, "config.json", reference_config(reference));
    renamer_open(&r, source);
    for (size_t i = 0; i < r.from->count; i++)
        if (!copy_as_stacked(&r, r.from->at[i].name, gate, up, down)) copy_as_mlx(&r, &r.from->at[i]);
    renamer_close(&r, folder);
    expect(folder, reference, NULL);
    scratch_remove(folder);
    scratch_remove(source);
}

static void norms_of_mlx(void **state)
{
    (void)state;
    check_mlx("qwen3-next", "gate_proj", "up_proj", "down_proj");
    check_mlx("qwen3.5", "gate_proj", "up_proj", "down_proj");
}

static void experts_of_mlx(void **state)
{
    static const char *const references[] = {"qwen2-moe", "qwen3-moe", "deepseek-v2", "glm4-moe", "olmoe"};

    (void)state;
    for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
        char *source = reference_make(references[i]), *folder = scratch_make();
        struct renamer r;

        scratch_write_json(folder, "config.json", reference_config(references[i]));
        renamer_open(&r, source);
        for (size_t k = 0; k < r.from->count; k++) {
            const char *name = r.from->at[k].name;
            if (!copy_as_stacked(&r, name, "gate_proj", "up_proj", "down_proj")) renamer_copy(&r, name, name);
        }
        renamer_close(&r, folder);
        expect(folder, references[i], NULL);
        scratch_remove(folder);
        scratch_remove(source);
    }
}

/* ---- Qwen3-VL with experts ---- */

static void experts_that_always_come_to_one(void **state)
{
    static const char *const given[] = {NULL, "false", "true"};
    struct model_options any = {.allow_missing_weights = true};
    struct model *m[4];

    (void)state;
    for (int i = 0; i < 4; i++) {
        char *folder = scratch_make();
        json_t *inner = reference_config("qwen3-moe"), *root = json_object();

        json_object_del(inner, "norm_topk_prob");
        if (i == 3)
            json_object_set_new(inner, "norm_topk_prob", json_true()); /* of Qwen3's own class */
        else if (given[i])
            json_object_set_new(inner, "norm_topk_prob", json_of(given[i]));
        json_object_del(inner, "architectures");
        json_object_set_new(inner, "model_type", json_string(i == 3 ? "qwen3_moe" : "qwen3_vl_moe_text"));
        json_object_set_new(root, "architectures", json_pack("[s]", "Qwen3VLMoeForConditionalGeneration"));
        json_object_set_new(root, "text_config", inner);
        scratch_write_json(folder, "config.json", root);
        m[i] = open_folder(folder, &any);
        scratch_remove(folder);
    }
    for (int i = 1; i < 4; i++) {
        const struct plan_shm *p = model_program(m[i]), *q = model_program(m[0]);

        assert_int_equal(p->ops.count, q->ops.count);
        assert_memory_equal(plan_ops(p), plan_ops(q), p->ops.count * sizeof(struct plan_op));
    }
    for (int i = 0; i < 4; i++) model_close(m[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_goes_before_tying),
        cmocka_unit_test(a_head_beside_a_class_that_ties),
        cmocka_unit_test(no_head_and_no_tying_is_refused),
        cmocka_unit_test(tying_of_a_config_alone),
        cmocka_unit_test(rope_scaling_beside_rope_parameters),
        cmocka_unit_test(theta_beside_rope_scaling),
        cmocka_unit_test(fields_that_a_class_ignores),
        cmocka_unit_test(positions_that_rules_give),
        cmocka_unit_test(advice_for_long_prompts),
        cmocka_unit_test(more_positions_than_the_cache_holds),
        cmocka_unit_test(advice_that_is_followed),
        cmocka_unit_test(prefixes_doubled_or_absent),
        cmocka_unit_test(heads_under_prefixes),
        cmocka_unit_test(prefixes_of_other_layouts),
        cmocka_unit_test(norms_of_the_first_yi),
        cmocka_unit_test(norms_of_mlx),
        cmocka_unit_test(experts_of_mlx),
        cmocka_unit_test(experts_that_always_come_to_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
