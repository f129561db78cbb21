/* A model in each type of GGUF answers as the same one with its numbers as float32: the same bytes, whatever the slots cut. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "compute/cpu/reference.h"
#include "coordinator/source/gguf_types.h"
#include "proto/base/file.h"
#include "tests/support_forms.h"
#include "tests/support_gguf.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define WIDTH  256u
#define INNER  512u
#define HEADS  4u
#define VOCAB  160u
#define LAYERS 2u

struct pair { /* the model in blocks, and in float32 */
    struct gguf_writer blocks, floats;
    uint32_t type, form;
    uint64_t seed;
};

static void put_vector(struct pair *p, const char *name)
{
    float x[WIDTH];
    const uint64_t dims[1] = {WIDTH};

    for (uint32_t i = 0; i < WIDTH; i++) x[i] = 0.5f + (float)(i * 37 % 11) / 11;
    gguf_write_tensor(&p->blocks, name, 0, dims, 1, x, sizeof x);
    gguf_write_tensor(&p->floats, name, 0, dims, 1, x, sizeof x);
}

static void put_matrix(struct pair *p, const char *name, uint32_t rows, uint32_t cols)
{
    const struct form_shape h = form_shape_of(p->form, rows, cols, 0, 0);
    const uint64_t dims[2] = {cols, rows};
    float *x = malloc((size_t)rows * cols * sizeof *x);
    struct stored s;

    assert_non_null(x);
    stored_make(&s, &h, ++p->seed);
    for (uint64_t i = 0; i < (uint64_t)rows * cols; i++) x[i] = reference_weight(&s.w, i / cols, i % cols);
    gguf_write_tensor(&p->blocks, name, p->type, dims, 2, s.data, s.data_bytes);
    gguf_write_tensor(&p->floats, name, 0, dims, 2, x, (size_t)rows * cols * sizeof *x);
    stored_free(&s);
    free(x);
}

static void put_values(struct gguf_writer *w)
{
    gguf_write_begin(w);
    gguf_write_string(w, "general.architecture", "llama");
    gguf_write_u32(w, "llama.block_count", LAYERS);
    gguf_write_u32(w, "llama.context_length", 64);
    gguf_write_u32(w, "llama.embedding_length", WIDTH);
    gguf_write_u32(w, "llama.feed_forward_length", INNER);
    gguf_write_u32(w, "llama.attention.head_count", HEADS);
    gguf_write_u32(w, "llama.attention.head_count_kv", HEADS / 2);
    gguf_write_u32(w, "llama.rope.dimension_count", WIDTH / HEADS);
    gguf_write_u32(w, "llama.vocab_size", VOCAB);
    gguf_write_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5);
}

static void put_layer(struct pair *p, uint32_t layer)
{
    static const struct {
        const char *name;
        uint32_t rows, cols;
    } matrices[] = {{"attn_q", WIDTH, WIDTH},      {"attn_k", WIDTH / 2, WIDTH}, {"attn_v", WIDTH / 2, WIDTH},
                    {"attn_output", WIDTH, WIDTH}, {"ffn_gate", INNER, WIDTH},   {"ffn_up", INNER, WIDTH},
                    {"ffn_down", WIDTH, INNER}};
    char name[64];

    snprintf(name, sizeof name, "blk.%u.attn_norm.weight", layer);
    put_vector(p, name);
    snprintf(name, sizeof name, "blk.%u.ffn_norm.weight", layer);
    put_vector(p, name);
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, matrices[i].name);
        put_matrix(p, name, matrices[i].rows, matrices[i].cols);
    }
}

/* Of positions 0 to 6: a prompt's many tokens, and one by one where chunks are of one. */
static float *logits(const char *folder, const char *name, const char *chunk, const char *type)
{
    char model[512], out[512];
    const char *const args[] = {
        "logits", model,       "--tokens", "1 5 9 150 2 77 8", "--positions", "0 1 2 3 4 5 6", "--out", out, "--chunk",
        chunk,    "--context", "64",       "--host-memory",    "200M",        "--slot-mib",    "1",     NULL};
    struct process_result r;
    struct error e;
    uint64_t bytes;
    char *text;

    snprintf(model, sizeof model, "%s/%s", folder, name);
    snprintf(out, sizeof out, "%s/logits", folder);
    r = process_run("sluice", args, NULL, 0, 60);
    if (r.status) fail_msg("%s: %s%s", type, r.out, r.err);
    process_result_free(&r);
    assert_int_equal(file_load(&text, &bytes, out, 1 << 20, &e), 0);
    assert_int_equal(bytes, 7 * VOCAB * sizeof(float));
    return (float *)(void *)text;
}

static void check(uint32_t type, uint32_t form)
{
    static const char *const chunks[] = {"7", "1", "3"};
    struct pair p = {.type = type, .form = form, .seed = type};
    char *folder = scratch_make();

    put_values(&p.blocks);
    put_values(&p.floats);
    put_matrix(&p, "token_embd.weight", VOCAB, WIDTH);
    for (uint32_t i = 0; i < LAYERS; i++) put_layer(&p, i);
    put_vector(&p, "output_norm.weight");
    put_matrix(&p, "output.weight", VOCAB, WIDTH);
    gguf_write_file(&p.blocks, folder, "blocks.gguf");
    gguf_write_file(&p.floats, folder, "floats.gguf");
    float *want = logits(folder, "floats.gguf", "7", "F32");
    for (size_t i = 0; i < (type % 4 ? 1 : 3); i++) { /* all ways for some */
        float *got = logits(folder, "blocks.gguf", chunks[(i + type) % 3], gguf_type_name(type));

        for (uint32_t k = 0; k < 7 * VOCAB; k++)
            if (!isfinite(want[k]) || memcmp(got + k, want + k, sizeof *got))
                fail_msg("%s, chunks of %s: logit %u of position %u is %.9g, in float32 %.9g", gguf_type_name(type),
                         chunks[(i + type) % 3], k % VOCAB, k / VOCAB, (double)got[k], (double)want[k]);
        free(got);
    }
    free(want);
    scratch_remove(folder);
}

static void every_type_answers_as_its_numbers(void **state)
{
    uint32_t n = 0;

    (void)state;
    for (uint32_t type = 0; type < 100; type++) {
        const int form = form_of_ggml_type(type);

        if (form < 0 || form_scales((uint32_t)form) != FORM_SCALES_INSIDE) continue;
        check(type, (uint32_t)form);
        n++;
    }
    assert_true(n >= 23);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_type_answers_as_its_numbers)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
