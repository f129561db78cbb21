/* Weights that are not numbers (FP8's 0x7f and 0xff, e8m0's 0xff, NaN and infinity elsewhere): no text is printed, and the
 * error names file and tensor. And numbers that are merely large give the right logits. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_model.h"
#include "tests/support_process.h"

#define TOKENS "1 17 33 5 91 200 44 12 77 150 8 63 29 180 99 3 250 121 74 60"

struct damage {
    const char *model, *tensor;
    uint64_t at; /* byte of the tensor */
    uint8_t bytes[4];
    size_t n;
    const char *words; /* that the error says beside file and tensor */
};

static const struct damage damages[] = {
    /* FP8 weights, dense and of an expert, and the scales of both */
    {"deepseek-v3-fp8",
     "model.layers.0.mlp.up_proj.weight",
     144 * 7 + 3,
     {0x7f},
     1,
     "row 7, column 3 is not a finite number (F8_E4M3 code 0x7f"},
    {"qwen3-fp8", "model.layers.1.mlp.down_proj.weight", 5, {0xff}, 1, "row 0, column 5"},
    {"deepseek-v3-fp8", "model.layers.1.mlp.experts.5.up_proj.weight", 144, {0xff}, 1, "row 1, column 0"},
    {"qwen3-fp8",
     "model.layers.2.self_attn.k_proj.weight_scale_inv",
     0,
     {0, 0, 0xc0, 0x7f},
     4,
     "row 0, column 0 is not a finite number"},
    {"deepseek-v3-fp8", "model.layers.0.mlp.down_proj.weight_scale_inv", 12, {0, 0, 0x80, 0x7f}, 4, "row 1, column 1"},
    /* transposed half of latent attention */
    {"deepseek-v3-fp8", "model.layers.2.self_attn.kv_b_proj.weight", 32 * 60 + 1, {0x7f}, 1, "row 60, column 1"},
    /* MXFP4's scales: gate, and down */
    {"gpt-oss-mxfp4", "model.layers.0.mlp.experts.gate_up_proj_scales", 3 * 128 * 2, {0xff}, 1, "F8_E8M0 code 0xff"},
    {"gpt-oss-mxfp4",
     "model.layers.1.mlp.experts.down_proj_scales",
     3,
     {0xff},
     1,
     "row 1, column 1 is not a finite number (F8_E8M0 code 0xff"},
    /* an expert's bias, a norm, rows of the embedding, a router, its correction, the head */
    {"gpt-oss-mxfp4", "model.layers.0.mlp.experts.down_proj_bias", 0, {0xc0, 0x7f}, 2, "element 0"},
    {"llama", "model.layers.1.input_layernorm.weight", 8, {0xc0, 0x7f}, 2, "not finite numbers"},
    {"llama", "model.embed_tokens.weight", 17 * 80 * 2, {0x80, 0x7f}, 2, "row 17"},
    {"deepseek-v3", "model.layers.1.mlp.gate.weight", 2, {0xff, 0xff}, 2, "row 0, column 1"},
    {"deepseek-v3", "model.layers.1.mlp.gate.e_score_correction_bias", 0, {0, 0, 0xc0, 0x7f}, 4, "not finite numbers"},
    {"llama-bias-f16-sharded",
     "lm_head.weight",
     6,
     {0x00, 0x7e},
     2,
     "row 0, column 3 is not a finite number (F16 code 0x7e00"},
    {"qwen3-next", "model.layers.0.linear_attn.A_log", 0, {0xc0, 0x7f}, 2, "not finite numbers"},
    /* numbers all of them, but too large */
    {"qwen3-fp8", "model.layers.1.mlp.gate_proj.weight_scale_inv", 0, {0, 0, 0, 0x7f}, 4, "exceed float32"},
    {"llama-tied-f32", "model.layers.0.mlp.gate_proj.weight", 4, {0, 0, 0xc0, 0xff}, 4, "row 0, column 1"},
};

/* Returns the damaged file's path; the caller frees it. */
static char *spoil(const char *folder, const struct damage *d)
{
    struct tensors *t = NULL;
    const struct tensor *x;
    struct error e = {0};
    char *path;
    int fd;

    if (tensors_open(&t, folder, NULL, &e)) fail_msg("%s", e.text);
    x = tensors_find(t, d->tensor);
    if (!x) fail_msg("%s has no tensor %s", d->model, d->tensor);
    path = strdup(tensors_path(t, x));
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0 && d->at + d->n <= x->bytes);
    assert_int_equal(pwrite(fd, d->bytes, d->n, (off_t)(x->offset + d->at)), (ssize_t)d->n);
    close(fd);
    tensors_close(t);
    return path;
}

static void expect(const struct process_result *r, const struct damage *d, const char *path)
{
    char tensor[256], *end;

    snprintf(tensor, sizeof tensor, "%s", d->tensor);
    if ((end = strstr(tensor, "_scale"))) *end = 0; /* it is told as "scales of tensor" */
    if (r->status != 1 || !strstr(r->err, tensor) || !strstr(r->err, path) || !strstr(r->err, d->words))
        fail_msg("%s, %s: exit %d, \"%s\"", d->model, d->tensor, r->status, r->err);
    if (end && !strstr(d->words, "exceed") && !strstr(r->err, "scales of tensor"))
        fail_msg("%s: \"%s\"", d->tensor, r->err);
}

static void logits_name_the_tensor(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        const struct damage *d = &damages[i];
        char *folder = reference_make(d->model), *path = spoil(folder, d),
             *out = strdup(scratch_path(folder, "logits.f32"));
        const char *arg[] = {"logits", folder, "--tokens", TOKENS, "--out", out, "--quiet", NULL};
        struct process_result r = process_run("sluice", arg, NULL, 0, 60);

        expect(&r, d, path);
        process_result_free(&r);
        scratch_remove(folder);
        free(path);
        free(out);
    }
}

/* Multiplies all of a bf16 tensor by 2^by, which is exact. */
static void scale(const char *folder, const char *tensor, int by)
{
    struct tensors *t = NULL;
    const struct tensor *x;
    struct error e = {0};
    uint16_t *p;
    int fd;

    if (tensors_open(&t, folder, NULL, &e)) fail_msg("%s", e.text);
    x = tensors_find(t, tensor);
    assert_non_null(x);
    assert_int_equal(x->dtype, TENSOR_BF16);
    p = malloc(x->bytes);
    fd = open(tensors_path(t, x), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && p);
    assert_int_equal(pread(fd, p, x->bytes, (off_t)x->offset), x->bytes);
    for (uint64_t i = 0; i < x->bytes / 2; i++)
        if (p[i] & 0x7f80) p[i] = (uint16_t)(p[i] + by * 128); /* the exponent */
    assert_int_equal(pwrite(fd, p, x->bytes, (off_t)x->offset), x->bytes);
    close(fd);
    free(p);
    tensors_close(t);
}

static float *logits_of(const char *folder, size_t *bytes)
{
    const char *out = scratch_path(folder, "logits.f32");
    const char *arg[] = {"logits", folder, "--tokens", "1 17 33 5 91", "--out", out, "--quiet", NULL};
    struct process_result r = process_run("sluice", arg, NULL, 0, 60);
    float *x;
    FILE *f;

    if (r.status) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    f = fopen(scratch_path(folder, "logits.f32"), "re");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *bytes = (size_t)ftell(f);
    rewind(f);
    x = malloc(*bytes);
    assert_int_equal(fread(x, 1, *bytes, f), *bytes);
    fclose(f);
    return x;
}

/* A residual stream so large that its squares exceed float32. What the layers add to it vanishes beside it, and norms do not
 * see how long it is: from 1e16 on, where no square exceeds anything, up to 1e30 not one bit of the logits may change. */
static void large_values_keep_their_logits(void **state)
{
    static const char *const models[] = {"llama", "stablelm", "stablelm-12b", "glm4", "deepseek-v2"};
    static const int powers[] = {60, 70, 90, 110};

    (void)state;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        char *folder = reference_make(models[m]);
        float *base = NULL, *now;
        size_t bytes, n;
        int had = 0;

        for (size_t i = 0; i < sizeof powers / sizeof *powers; i++) {
            scale(folder, "model.embed_tokens.weight", powers[i] - had);
            had = powers[i];
            now = logits_of(folder, &n);
            if (!base) {
                bool zero = true;

                base = now;
                bytes = n;
                for (size_t k = 0; k < n / 4; k++) zero &= base[k] == 0;
                assert_false(zero);
                continue;
            }
            assert_int_equal(n, bytes);
            if (memcmp(now, base, n)) fail_msg("%s: other logits at 2^%d", models[m], powers[i]);
            free(now);
        }
        free(base);
        scratch_remove(folder);
    }
}

/* A model without a norm before its products gets values that float32 does not hold: an error that names the layer. */
static void too_large_to_compute(void **state)
{
    char *folder = reference_make("olmo2");
    const char *arg[] = {"logits", folder, "--tokens", "1 17 33 5 91", "--out", "/dev/null", NULL};
    struct process_result r;

    (void)state;
    scale(folder, "model.embed_tokens.weight", 90);
    r = process_run("sluice", arg, NULL, 0, 60);
    if (r.status != 1 || !strstr(r.err, "layer 0: ") || !strstr(r.err, "exceed float32"))
        fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    scratch_remove(folder);
}

/* Keys that float16 cannot hold: told, with what to do. */
static void too_large_for_the_cache(void **state)
{
    char *folder = reference_make("llama");
    const char *arg[] = {"logits", folder, "--tokens", "1 17 33 5 91", "--out", "/dev/null", "--kv-type", "f16", NULL};
    struct process_result r;

    (void)state;
    scale(folder, "model.layers.1.self_attn.k_proj.weight", 20);
    r = process_run("sluice", arg, NULL, 0, 60);
    if (r.status != 1 || !strstr(r.err, "layer 1: keys or values exceed what float16 holds") ||
        !strstr(r.err, "--kv-type bf16"))
        fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    arg[7] = "bf16";
    r = process_run("sluice", arg, NULL, 0, 60);
    if (r.status) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    scratch_remove(folder);
}

/* A prompt in chunks, and a fault that only a later token meets: nothing of the answer is made up. */
static void run_prints_no_garbage(void **state)
{
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json"};
    struct damage d = {"demo-model", "model.layers.1.self_attn.v_proj.weight", 2, {0xc0, 0x7f}, 2, "row 0, column 1"};
    char *folder = scratch_make(), *path, command[4096];
    struct process_result r;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        snprintf(command, sizeof command, "cp tests/data/demo-model/%s '%s/'", files[i], folder);
        assert_int_equal(system(command), 0);
    }
    path = spoil(folder, &d);
    r = process_run(
        "sluice",
        (const char *[]){"run", folder, "-p", "Once upon a time there was", "--temperature", "0", "--chunk", "2", NULL},
        NULL, 0, 60);
    expect(&r, &d, path);
    assert_int_equal(r.out_bytes, 0);
    process_result_free(&r);
    scratch_remove(folder);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_name_the_tensor), cmocka_unit_test(run_prints_no_garbage),
        cmocka_unit_test(large_values_keep_their_logits), cmocka_unit_test(too_large_to_compute),
        cmocka_unit_test(too_large_for_the_cache)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
