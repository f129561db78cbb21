/* Commands on a GGUF from outside: logits to the byte those of the folder, a plan from a header, what verify finds. */
#include <setjmp.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "compute/cpu/reference.h"
#include "coordinator/source/gguf.h"
#include "coordinator/source/gguf_types.h"
#include "proto/form.h"
#include "tests/support_forms.h"
#include "tests/support_gguf.h"
#include "tests/support_gguf_model.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define SECONDS 30
#define TOKENS  "5 17 3 200 41 7 7 90"

static struct process_result run(const char *const *argv, int status, int line)
{
    struct process_result r = process_run("sluice", argv, NULL, 0, SECONDS);

    if (r.status != status) fail_msg("line %d: exit %d, not %d: %s%s", line, r.status, status, r.err, r.out);
    return r;
}
#define RUN(status, ...) run((const char *const[]){__VA_ARGS__, NULL}, status, __LINE__)

static void says(struct process_result r, const char *words)
{
    if (!strstr(r.out, words) && !strstr(r.err, words)) fail_msg("\"%s\" is not said: %s%s", words, r.out, r.err);
    process_result_free(&r);
}

static char *bytes_of(const char *path, size_t *n)
{
    FILE *f = fopen(path, "re");
    char *x = malloc(1 << 20);

    assert_non_null(f);
    assert_non_null(x);
    *n = fread(x, 1, 1 << 20, f);
    fclose(f);
    return x;
}

/* By the engine, in several ways of cutting the work. */
static void logits_are_the_folders_bytes(void **state)
{
    static const char *const names[] = {"llama", "mixtral", "gemma3", "qwen3-moe", "phi3-longrope"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *folder = reference_make(names[i]), *out = scratch_make();
        char model[512], a[512], b[512], *x, *y;
        json_t *config = reference_config(names[i]);
        size_t n, m;

        if (!strcmp(names[i], "gemma3")) json_object_set_new(config, "query_pre_attn_scalar", json_integer(24));
        scratch_write_json(folder, "config.json", config);
        assert_true(gguf_model_write(folder, out, "m.gguf", true));
        snprintf(model, sizeof model, "%s/m.gguf", out);
        snprintf(a, sizeof a, "%s/a", out);
        snprintf(b, sizeof b, "%s/b", out);
        struct process_result r = RUN(0, "logits", folder, "--tokens", TOKENS, "--out", a);
        process_result_free(&r);
        r = RUN(0, "logits", model, "--tokens", TOKENS, "--out", b, "--slot-mib", "1", "--threads", "1");
        process_result_free(&r);
        x = bytes_of(a, &n);
        y = bytes_of(b, &m);
        assert_int_equal(n, m);
        if (memcmp(x, y, n)) fail_msg("%s: other logits than those of its folder", names[i]);
        free(x);
        free(y);
        scratch_remove(out);
        scratch_remove(folder);
    }
}

static void a_cut_file_is_planned_and_not_run(void **state)
{
    char *folder = reference_make("qwen3"), *out = scratch_make(), model[512], to[512];

    (void)state;
    assert_true(gguf_model_write(folder, out, "m.gguf", true));
    snprintf(model, sizeof model, "%s/m.gguf", out);
    snprintf(to, sizeof to, "%s/logits", out);
    assert_int_equal(truncate(model, 8000), 0);
    says(RUN(0, "plan", model), "their sizes come from the file's header");
    says(RUN(1, "logits", model, "--tokens", TOKENS, "--out", to), "m.gguf: cut short: its tensors end at byte");
    says(RUN(1, "verify", model), "m.gguf: cut short: its tensors end at byte");
    scratch_remove(out);
    scratch_remove(folder);
}

static void what_is_no_number_is_named_as_the_file_does(void **state)
{
    static const uint8_t nan[2] = {0xc0, 0x7f};
    char *folder = reference_make("llama"), *out = scratch_make(), model[512], to[512];
    const struct gguf_tensor *t;
    struct error e = {0};
    struct gguf *g;
    int fd;

    (void)state;
    assert_true(gguf_model_write(folder, out, "m.gguf", true));
    snprintf(model, sizeof model, "%s/m.gguf", out);
    snprintf(to, sizeof to, "%s/logits", out);
    assert_int_equal(gguf_open(&g, model, &e), 0);
    t = gguf_tensor(g, "blk.1.attn_v.weight");
    assert_non_null(t);
    fd = open(model, O_WRONLY);
    assert_int_equal(pwrite(fd, nan, sizeof nan, (off_t)t->offset + 10), sizeof nan);
    close(fd);
    gguf_close(g);
    says(RUN(1, "verify", model), "tensor blk.1.attn_v.weight (BF16): 1 NaN");
    says(RUN(1, "logits", model, "--tokens", TOKENS, "--out", to), "blk.1.attn_v.weight");
    scratch_remove(out);
    scratch_remove(folder);
}

/* ---- every type ---- */

#define WIDTH 256u /* of everything */
#define WORDS 64u

/* A matrix of numbers of this form under name, and in the other file the numbers that it stands for. */
static void write_both(struct gguf_writer *stored, struct gguf_writer *plain, const char *name, uint32_t type,
                       uint32_t rows, uint64_t seed)
{
    const struct form_shape shape = {.form = (uint32_t)form_of_ggml_type(type), .rows = rows, .cols = WIDTH};
    const uint64_t dims[2] = {WIDTH, rows};
    float *x = calloc((size_t)rows * WIDTH, sizeof *x);
    struct stored s;

    assert_non_null(x);
    stored_make(&s, &shape, seed);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < WIDTH; c++)
            x[r * WIDTH + c] = (float)reference_stored(shape.form, s.data + r * s.m.row_bytes, c);
    gguf_write_tensor(stored, name, type, dims, 2, s.data, rows * s.m.row_bytes);
    gguf_write_tensor(plain, name, 0, dims, 2, x, (size_t)rows * WIDTH * sizeof *x);
    stored_free(&s);
    free(x);
}

static void write_values(struct gguf_writer *w)
{
    static const struct {
        const char *key;
        uint32_t x;
    } numbers[] = {{"llama.block_count", 1},
                   {"llama.embedding_length", WIDTH},
                   {"llama.feed_forward_length", WIDTH},
                   {"llama.attention.head_count", 4},
                   {"llama.context_length", 64}};
    static const char *const norms[] = {"output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"};
    static const uint64_t dims[1] = {WIDTH};
    float one[WIDTH];

    gguf_write_begin(w);
    gguf_write_string(w, "general.architecture", "llama");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) gguf_write_u32(w, numbers[i].key, numbers[i].x);
    gguf_write_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-6);
    for (size_t i = 0; i < WIDTH; i++) one[i] = 1;
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
        gguf_write_tensor(w, norms[i], 0, dims, 1, one, sizeof one);
}

static void every_type_stands_for_its_numbers(void **state)
{
    static const char *const names[] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
    unsigned types = 0;

    (void)state;
    for (uint32_t type = 0; type < 64; type++) {
        struct gguf_writer stored, plain;
        char *out, a[512], b[512], model[512], name[64], *x, *y;
        size_t n, m;

        if (form_of_ggml_type(type) < 0 || form_scales((uint32_t)form_of_ggml_type(type)) != FORM_SCALES_INSIDE)
            continue;
        types++;
        out = scratch_make();
        write_values(&stored);
        write_values(&plain);
        write_both(&stored, &plain, "token_embd.weight", type, WORDS, type);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            snprintf(name, sizeof name, "blk.0.%s.weight", names[i]);
            write_both(&stored, &plain, name, type, WIDTH, 100 * type + i);
        }
        gguf_write_file(&stored, out, "stored.gguf");
        gguf_write_file(&plain, out, "plain.gguf");
        snprintf(a, sizeof a, "%s/a", out);
        snprintf(b, sizeof b, "%s/b", out);
        snprintf(model, sizeof model, "%s/stored.gguf", out);
        struct process_result r = RUN(0, "logits", model, "--tokens", "5 17 3 60 41 7 7", "--out", a);
        process_result_free(&r);
        snprintf(model, sizeof model, "%s/plain.gguf", out);
        r = RUN(0, "logits", model, "--tokens", "5 17 3 60 41 7 7", "--out", b);
        process_result_free(&r);
        x = bytes_of(a, &n);
        y = bytes_of(b, &m);
        assert_int_equal(n, 7 * WORDS * 4);
        assert_int_equal(m, n);
        if (memcmp(x, y, n)) fail_msg("%s: other logits than those of its numbers in F32", gguf_type_name(type));
        free(x);
        free(y);
        scratch_remove(out);
    }
    assert_true(types >= 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_the_folders_bytes),
        cmocka_unit_test(a_cut_file_is_planned_and_not_run),
        cmocka_unit_test(what_is_no_number_is_named_as_the_file_does),
        cmocka_unit_test(every_type_stands_for_its_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
