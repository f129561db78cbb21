/* Which paths lead to a GGUF, and what a run and a plan say of files that are not whole, or that say too little. */
#include <setjmp.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "coordinator/arch/model.h"
#include "coordinator/source/source.h"
#include "tests/support_gguf.h"
#include "tests/support_gguf_model.h"
#include "tests/support_model.h"

static void same_logits(const char *reference, const char *folder, const char *path)
{
    struct golden g = golden_load(reference);
    double *want = golden_logits(&g, folder), *got = golden_logits(&g, path);

    for (size_t i = 0; i < (size_t)g.wanted * g.vocab; i++)
        if (want[i] != got[i]) fail_msg("%s: %g where %s has %g", path, got[i], folder, want[i]);
    free(want);
    free(got);
    golden_free(&g);
}

static void one_file_by_all_its_names(void **state)
{
    char *folder = reference_make("llama"), *out = scratch_make();
    struct source *s;
    struct error e = {0};

    (void)state;
    assert_true(gguf_model_write(folder, out, "m.gguf", true));
    same_logits("llama", folder, scratch_path(out, "m.gguf"));
    same_logits("llama", folder, out); /* the only one there */
    assert_int_equal(source_open(&s, out, &e), 0);
    assert_string_equal(source_path(s), scratch_path(out, "m.gguf"));
    source_close(s);
    scratch_remove(out);
    out = scratch_make();
    assert_true(gguf_model_write(folder, out, "sha256-0123abcd", true)); /* as ollama calls them */
    same_logits("llama", folder, scratch_path(out, "sha256-0123abcd"));
    /* a folder in Hugging Face's form stays one */
    assert_true(gguf_model_write(folder, folder, "m.gguf", true));
    assert_int_equal(source_open(&s, folder, &e), 0);
    assert_string_equal(source_path(s), folder);
    source_close(s);
    scratch_remove(out);
    scratch_remove(folder);
}

static void a_set_by_any_of_its_files(void **state)
{
    char *folder = reference_make("llama-tied-f32"), *out = scratch_make();
    struct model *m = NULL;
    struct error e = {0};

    (void)state;
    assert_true(gguf_model_write_set(folder, out, "m", false));
    same_logits("llama-tied-f32", folder, scratch_path(out, "m-00001-of-00003.gguf"));
    same_logits("llama-tied-f32", folder, scratch_path(out, "m-00003-of-00003.gguf"));
    same_logits("llama-tied-f32", folder, out);
    unlink(scratch_path(out, "m-00002-of-00003.gguf"));
    assert_true(model_open(&m, out, NULL, &e) < 0);
    assert_non_null(strstr(e.text, "m-00002-of-00003.gguf: No such file"));
    scratch_remove(out);
    scratch_remove(folder);
}

/* A download that goes on: what its header says is enough for a plan, and not for a run. */
static void a_plan_needs_the_header_alone(void **state)
{
    const struct model_options plan = {.allow_missing_weights = true};
    char *folder = reference_make("mixtral"), *out = scratch_make();
    struct model *m = NULL;
    struct error e = {0};
    char part[512];
    uint64_t whole;

    (void)state;
    assert_true(gguf_model_write(folder, out, "m.gguf", true));
    if (model_open(&m, out, NULL, &e)) fail_msg("%s", e.text);
    assert_false(model_weights_missing(m));
    whole = model_weight_bytes(m);
    model_close(m);
    assert_int_equal(truncate(scratch_path(out, "m.gguf"), 6000), 0);
    assert_true(model_open(&m, out, NULL, &e) < 0);
    assert_non_null(strstr(e.text, "m.gguf: cut short: its tensors end at byte "));
    e.code = 0;
    assert_int_equal(link(scratch_path(out, "m.gguf"), strcat(strcpy(part, scratch_path(out, "m.gguf")), "-split-a")),
                     0);
    assert_true(model_open(&m, part, NULL, &e) < 0);
    assert_non_null(strstr(e.text, "put its parts together first"));
    unlink(part);
    e.code = 0;
    if (model_open(&m, out, &plan, &e)) fail_msg("%s", e.text);
    assert_true(model_weights_missing(m));
    assert_int_equal(model_weight_bytes(m), whole);
    model_close(m);
    scratch_remove(out);
    scratch_remove(folder);
}

/* ---- small files made by hand ---- */

static void write_layer(struct gguf_writer *w, unsigned layer)
{
    static const struct {
        const char *name;
        uint64_t dims[2];
        uint32_t n_dims;
    } tensors[] = {{"attn_norm", {8}, 1},   {"ffn_norm", {8}, 1},  {"attn_q", {8, 8}, 2},
                   {"attn_k", {8, 8}, 2},   {"attn_v", {8, 8}, 2}, {"attn_output", {8, 8}, 2},
                   {"ffn_gate", {8, 4}, 2}, {"ffn_up", {8, 4}, 2}, {"ffn_down", {4, 8}, 2}};
    char name[64];

    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        uint64_t n = tensors[i].dims[0] * (tensors[i].n_dims > 1 ? tensors[i].dims[1] : 1);

        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, tensors[i].name);
        gguf_write_tensor(w, name, 0, tensors[i].dims, tensors[i].n_dims, NULL, n * 4);
    }
}

/* A Llama of one layer; without leaves a value out. */
static void write_small(struct gguf_writer *w, const char *architecture, const char *without)
{
    static const struct {
        const char *key;
        uint32_t x;
    } numbers[] = {{"llama.embedding_length", 8},
                   {"llama.feed_forward_length", 4},
                   {"llama.attention.head_count", 2},
                   {"llama.context_length", 64}};
    static const uint64_t embed[2] = {8, 16}, norm[1] = {8};

    gguf_write_begin(w);
    if (architecture) gguf_write_string(w, "general.architecture", architecture);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!without || strcmp(without, numbers[i].key)) gguf_write_u32(w, numbers[i].key, numbers[i].x);
    if (!without || strcmp(without, "llama.attention.layer_norm_rms_epsilon"))
        gguf_write_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-6);
    gguf_write_tensor(w, "token_embd.weight", 0, embed, 2, NULL, 8 * 16 * 4);
    gguf_write_tensor(w, "output_norm.weight", 0, norm, 1, NULL, 32);
    write_layer(w, 0);
}

static void refuse(struct gguf_writer *w, const char *words)
{
    char *folder = scratch_make();
    struct model *m = NULL;
    struct error e = {0};

    gguf_write_file(w, folder, "m.gguf");
    assert_true(model_open(&m, folder, NULL, &e) < 0);
    if (!strstr(e.text, words) || !strstr(e.text, "m.gguf")) fail_msg("\"%s\" does not say \"%s\"", e.text, words);
    if (strlen(e.text) > 400 || strchr(e.text, '\n')) fail_msg("more than a line: \"%s\"", e.text);
    scratch_remove(folder);
}

static void what_is_missing_is_named(void **state)
{
    static const uint32_t differ[2] = {2, 1};
    static const char *const keys[] = {"llama.embedding_length", "llama.attention.head_count",
                                       "llama.attention.layer_norm_rms_epsilon"};
    struct gguf_writer w;
    char words[200];

    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        write_small(&w, "llama", keys[i]);
        gguf_write_u32(&w, "llama.block_count", 1);
        snprintf(words, sizeof words, "%s: this value is missing", keys[i]);
        refuse(&w, words);
    }
    write_small(&w, NULL, NULL);
    refuse(&w, "general.architecture: it does not say what it is");
    write_small(&w, "lama", NULL);
    refuse(&w, "the architecture \"lama\" is not known; the nearest that is: llama");
    write_small(&w, "clip", NULL);
    refuse(&w, "what sees or hears beside a model");
    write_small(&w, "llama", NULL);
    gguf_write_u32(&w, "llama.block_count", 4000000000u);
    refuse(&w, "llama.block_count: 4000000000 is out of range");
    write_small(&w, "llama", NULL);
    gguf_write_f32(&w, "llama.block_count", 1);
    refuse(&w, "llama.block_count: a whole number was expected");
    write_small(&w, "llama", NULL);
    gguf_write_u32(&w, "llama.block_count", 1);
    gguf_write_u32s(&w, "llama.attention.head_count_kv", differ, 2);
    refuse(&w, "llama.attention.head_count_kv: it differs by the layer");
    write_small(&w, "llama", NULL);
    gguf_write_u32(&w, "llama.block_count", 2);
    refuse(&w, "model.layers.1.input_layernorm.weight of shape [8] is missing");
    write_small(&w, "llama", NULL);
    gguf_write_u32(&w, "llama.block_count", 1);
    gguf_write_u32(&w, "llama.attention.key_length", 6);
    refuse(&w, "tensor blk.0.attn_q.weight has shape [8, 8], and [12, 8] was expected");
    write_small(&w, "llama", NULL);
    gguf_write_u32(&w, "llama.block_count", 1);
    gguf_write_f32(&w, "llama.logit_scale", 0.5);
    refuse(&w, "llama.logit_scale: LlamaForCausalLM does not know it");
    write_small(&w, "llama", NULL);
    gguf_write_u32(&w, "llama.block_count", 1);
    gguf_write_bool(&w, "llama.attention.causal", 0);
    refuse(&w, "its tokens see those that follow");
    write_small(&w, "llama", NULL);
    gguf_write_string(&w, "general.type", "adapter");
    refuse(&w, "an adapter (LoRA), not a model");
    gguf_write_begin(&w);
    gguf_write_string(&w, "general.architecture", "llama");
    refuse(&w, "a vocabulary alone, without weights");
    write_small(&w, "llama", NULL);
    gguf_write_u32(&w, "llama.block_count", 1);
    gguf_write_string(&w, "llama.rope.scaling.type", "spiral");
    refuse(&w, "llama.rope.scaling.type: \"spiral\" is not known");
}

/* The values of an LFM2 of two layers, which say with list how many heads of keys each has, or how many all have. */
static void write_mixed(struct gguf_writer *w, const uint32_t *list, size_t n, uint32_t taps)
{
    static const uint64_t embed[2] = {8, 16};

    gguf_write_begin(w);
    gguf_write_string(w, "general.architecture", "lfm2");
    gguf_write_u32(w, "lfm2.block_count", 2);
    gguf_write_u32(w, "lfm2.embedding_length", 8);
    gguf_write_u32(w, "lfm2.feed_forward_length", 4);
    gguf_write_u32(w, "lfm2.attention.head_count", 2);
    gguf_write_f32(w, "lfm2.attention.layer_norm_rms_epsilon", 1e-6);
    if (n) gguf_write_u32s(w, "lfm2.attention.head_count_kv", list, n);
    if (taps) gguf_write_u32(w, "lfm2.shortconv.l_cache", taps);
    gguf_write_tensor(w, "token_embd.weight", 0, embed, 2, NULL, 8 * 16 * 4);
}

static void which_layers_attend_is_said(void **state)
{
    static const struct {
        uint32_t list[2];
        size_t n;
        uint32_t taps;
        const char *words;
    } bad[] = {{{0, 1}, 2, 0, "lfm2.shortconv.l_cache: this value is missing"},
               {{0}, 0, 3, "lfm2.attention.head_count_kv: a list of one number for each layer was expected"},
               {{1}, 1, 3, "lfm2.attention.head_count_kv: 1 entries for 2 layers"},
               {{0, 0}, 2, 3, "lfm2.attention.head_count_kv: no layer attends"},
               {{1, 2}, 2, 3, "lfm2.attention.head_count_kv: it differs between layers that have any"},
               {{0, 1}, 2, 3, "shape [8] is missing"}};
    struct gguf_writer w;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_mixed(&w, bad[i].list, bad[i].n, bad[i].taps);
        refuse(&w, bad[i].words);
    }
}

static void keys_of_each_head_are_refused(void **state)
{
    static const uint64_t embed[2] = {8, 16};
    struct gguf_writer w;

    (void)state;
    gguf_write_begin(&w);
    gguf_write_string(&w, "general.architecture", "starcoder");
    gguf_write_u32(&w, "starcoder.block_count", 1);
    gguf_write_u32(&w, "starcoder.embedding_length", 8);
    gguf_write_u32(&w, "starcoder.attention.head_count", 2);
    gguf_write_f32(&w, "starcoder.attention.layer_norm_epsilon", 1e-5);
    gguf_write_tensor(&w, "token_embd.weight", 0, embed, 2, NULL, 8 * 16 * 4);
    refuse(&w, "starcoder.attention.head_count_kv: 2, and this architecture has one key for all heads");
}

/* Blocks that guess ahead do not run; what only sees or hears is left out, and said once. */
static void what_does_not_run_is_left_out(void **state)
{
    static const uint64_t vector[1] = {8};
    char *folder = scratch_make();
    struct model *m = NULL;
    struct error e = {0};
    struct gguf_writer w;

    (void)state;
    write_small(&w, "llama", NULL);
    gguf_write_u32(&w, "llama.block_count", 2);
    gguf_write_u32(&w, "llama.nextn_predict_layers", 1);
    gguf_write_u32(&w, "llama.pooling_type", 3);
    gguf_write_f32(&w, "llama.logit_scale", 0); /* as if it were not there */
    write_layer(&w, 1);
    gguf_write_tensor(&w, "blk.1.nextn.enorm.weight", 0, vector, 1, NULL, 32);
    gguf_write_tensor(&w, "v.patch_embd.weight", 0, vector, 1, NULL, 32);
    gguf_write_tensor(&w, "mm.0.weight", 0, vector, 1, NULL, 32);
    gguf_write_file(&w, folder, "m.gguf");
    if (model_open(&m, folder, NULL, &e)) fail_msg("%s", e.text);
    assert_int_equal(model_program(m)->spec.layers, 1);
    assert_non_null(strstr(model_notice(m), "2 tensors for pictures or sound (mm.0.weight, ...) are left out"));
    assert_non_null(strstr(model_notice(m), "llama.pooling_type says that it makes embeddings"));
    assert_true(model_uses(m, "blk.0.attn_q.weight"));
    assert_false(model_uses(m, "blk.1.attn_q.weight"));
    model_close(m);
    scratch_remove(folder);
}

/* A number beside a matrix multiplies its product; one for each expert is refused by name. */
static void a_scale_of_all_is_an_operation(void **state)
{
    static const uint64_t one[1] = {1}, two[1] = {2};
    const float scales[2] = {0.25f, 0.5f};
    char *folder = scratch_make();
    struct model *m = NULL;
    struct error e = {0};
    struct gguf_writer w;
    unsigned n = 0;

    (void)state;
    write_small(&w, "llama", NULL);
    gguf_write_u32(&w, "llama.block_count", 1);
    gguf_write_tensor(&w, "blk.0.ffn_up.scale", 0, one, 1, scales, 4);
    gguf_write_tensor(&w, "blk.0.ffn_up.input_scale", 0, one, 1, scales, 4);
    gguf_write_file(&w, folder, "m.gguf");
    if (model_open(&m, folder, NULL, &e)) fail_msg("%s", e.text);
    for (uint64_t i = 0; i < model_program(m)->ops.count; i++) {
        const struct plan_op *op = plan_ops(model_program(m)) + i;

        if (op->kind != OP_SCALE) continue;
        n++;
        assert_true(op->scale.mul == 0.25f && op->scale.cap == 0);
        assert_int_equal(op->scale.width, 4);
    }
    assert_int_equal(n, 1);
    model_close(m);
    scratch_remove(folder);
    write_small(&w, "llama", NULL);
    gguf_write_u32(&w, "llama.block_count", 1);
    gguf_write_tensor(&w, "blk.0.ffn_up.scale", 0, two, 1, scales, 8);
    refuse(&w, "tensor blk.0.ffn_up.weight: a scale of all of it is not supported here");
    write_small(&w, "llama", NULL);
    gguf_write_u32(&w, "llama.block_count", 1);
    gguf_write_tensor(&w, "token_embd.scale", 0, one, 1, scales, 4);
    refuse(&w, "tensor token_embd.weight: a scale of all of it is not supported here");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_file_by_all_its_names),     cmocka_unit_test(a_set_by_any_of_its_files),
        cmocka_unit_test(a_plan_needs_the_header_alone), cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(which_layers_attend_is_said),   cmocka_unit_test(keys_of_each_head_are_refused),
        cmocka_unit_test(what_does_not_run_is_left_out), cmocka_unit_test(a_scale_of_all_is_an_operation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
