/* A GGUF file, and the model that it would be. The first four bytes, little-endian: how many bytes of a hole follow the rest, which is the file. */
#include "coordinator/source/gguf.h"

#include "coordinator/arch/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/source/gguf_types.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support_gguf.h"

static void look_at_value(const struct gguf *g, const struct gguf_value *v)
{
    struct error e = {0};
    uint64_t n = v->count < 64 ? v->count : 64, u;
    const char *s;
    size_t bytes;
    int64_t i;
    double d;
    bool b;

    if (v->type >= GGUF_TYPES || v->type == GGUF_ARRAY) fuzz_fail("a value of no type");
    if (!*v->key || gguf_find(g, v->key) != v) fuzz_fail("a value that is not found by its key");
    for (uint64_t k = 0; k < 2 * n; k++) {
        uint64_t at = k < n ? k : v->count - 1 - (k - n); /* the first ones and the last ones */

        if (v->type == GGUF_STRING) {
            s = gguf_text(v, at, &bytes);
            if (s[bytes] || strlen(s) > bytes) fuzz_fail("a string without its end");
        } else {
            (void)gguf_int(v, at);
            (void)gguf_float(v, at);
        }
    }
    if (gguf_u64(g, v->key, &u, &e) == -ENOENT || gguf_i64(g, v->key, &i, &e) == -ENOENT ||
        gguf_f64(g, v->key, &d, &e) == -ENOENT || gguf_bool(g, v->key, &b, &e) == -ENOENT ||
        gguf_string(g, v->key, &s, &bytes, &e) == -ENOENT)
        fuzz_fail("a value that is there and is not");
}

static void look_at_tensor(const struct gguf *g, const struct gguf_tensor *t, uint64_t file_bytes)
{
    const struct gguf_type *type = gguf_type(t->type);
    bool known = type && type->elements;
    uint64_t elements = 1;

    if (gguf_tensor(g, t->name) != t) fuzz_fail("a tensor that is not found by its name");
    for (uint32_t i = 0; i < GGUF_DIMS; i++) elements *= t->dims[i];
    if (known && elements / type->elements * type->bytes != t->bytes) fuzz_fail("a shape that does not fit its bytes");
    if (known && t->dims[0] % type->elements) fuzz_fail("a row of no whole blocks");
    if (!g->files[t->file].missing_bytes && t->bytes && t->offset + t->bytes > file_bytes)
        fuzz_fail("a tensor lies outside of its file");
}

static void look_at_model(const char *path)
{
    const struct model_options plan = {.allow_missing_weights = true};
    struct model *m = NULL;
    struct error e = {0};

    if (model_open(&m, path, &plan, &e) && strlen(e.text) < 10) fuzz_fail("an error without a message");
    model_close(m);
}

static void run(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"model.gguf", NULL};
    static struct fuzz_folder folder;
    static char path[TEMPORARY_BYTES + 32];
    struct error e = {0};
    struct gguf *g;
    uint32_t tail;

    if (bytes < 4) return;
    if (!folder.files) {
        fuzz_folder_make(&folder, names);
        snprintf(path, sizeof path, "%s/%s", folder.path, names[0]);
    }
    memcpy(&tail, data, 4);
    if (tail < 0xf0000000)
        tail &= 0xfffff; /* lists of nothing are read to the end of the hole: few inputs have seconds for that */
    fuzz_folder_fill(&folder, 0, data + 4, bytes - 4, tail);
    if (gguf_open(&g, path, &e)) {
        if (strlen(e.text) < 10) fuzz_fail("an error without a message");
        return;
    }
    look_at_model(path);
    for (size_t i = 0; i < g->value_count; i++) look_at_value(g, &g->values[i]);
    for (size_t i = 0; i < g->tensor_count; i++) look_at_tensor(g, &g->tensors[i], bytes - 4 + tail);
    gguf_close(g);
}

static void seed(fuzz_emit *emit, void *arg, uint32_t version)
{
    static const char *const words[] = {"<unk>", "a", "", "\xe2\x96\x81the"};
    static const uint32_t numbers[] = {1, 2, 3, 4};
    static const uint64_t dims[][4] = {{32, 4}, {256, 2, 3}, {8}, {0, 4}};
    struct gguf_writer w;
    uint8_t *file, *whole;
    size_t bytes;

    gguf_write_begin(&w);
    w.version = version;
    gguf_write_string(&w, "general.architecture", "llama");
    gguf_write_u32(&w, "general.alignment", 32);
    gguf_write_u16(&w, "split.count", 1);
    gguf_write_f32(&w, "llama.rope.freq_base", 10000);
    gguf_write_bool(&w, "tokenizer.ggml.add_bos_token", 1);
    gguf_write_u32s(&w, "llama.attention.head_count_kv", numbers, 4);
    gguf_write_bools(&w, "llama.pattern", (const uint8_t *)"\1\0\1\1", 4);
    gguf_write_strings(&w, "tokenizer.ggml.tokens", words, 4);
    gguf_write_tensor(&w, "token_embd.weight", 8, dims[0], 2, NULL, 136);         /* Q8_0 */
    gguf_write_tensor(&w, "blk.0.ffn_up_exps.weight", 12, dims[1], 3, NULL, 864); /* Q4_K */
    gguf_write_tensor(&w, "output_norm.weight", 0, dims[2], 1, NULL, 32);
    gguf_write_tensor(&w, "nothing", 0, dims[3], 2, NULL, 0);
    file = gguf_write_end(&w, &bytes);
    whole = calloc(1, bytes + 4);
    if (!whole) abort();
    memcpy(whole + 4, file, bytes);
    emit(arg, whole, bytes + 4);
    free(whole);
    free(file);
}

/* What some architectures say besides: one number, or a list with one. */
static void add_values(struct gguf_writer *w, const char *architecture)
{
    enum { NUMBER, LIST, REAL };
    static const struct {
        const char *architecture, *key;
        int kind;
        uint32_t x;
    } more[] = {{"lfm2moe", "attention.head_count_kv", LIST, 2},
                {"lfm2moe", "shortconv.l_cache", NUMBER, 3},
                {"deepseek32", "attention.kv_lora_rank", NUMBER, 4},
                {"deepseek32", "attention.q_lora_rank", NUMBER, 4},
                {"deepseek32", "attention.key_length_mla", NUMBER, 6},
                {"deepseek32", "attention.value_length_mla", NUMBER, 4},
                {"deepseek32", "rope.dimension_count", NUMBER, 2},
                {"deepseek32", "attention.indexer.head_count", NUMBER, 2},
                {"deepseek32", "attention.indexer.key_length", NUMBER, 4},
                {"deepseek32", "attention.indexer.top_k", NUMBER, 3},
                {"glm-dsa", "attention.indexer.types", LIST, 1},
                {"kimi-linear", "attention.head_count_kv", LIST, 0},
                {"kimi-linear", "attention.kv_lora_rank", NUMBER, 4},
                {"kimi-linear", "attention.key_length_mla", NUMBER, 6},
                {"kimi-linear", "attention.value_length_mla", NUMBER, 4},
                {"kimi-linear", "rope.dimension_count", NUMBER, 2},
                {"kimi-linear", "kda.head_dim", NUMBER, 4},
                {"kimi-linear", "ssm.conv_kernel", NUMBER, 4},
                {"jamba", "attention.head_count_kv", LIST, 0},
                {"jamba", "ssm.inner_size", NUMBER, 16},
                {"jamba", "ssm.conv_kernel", NUMBER, 4},
                {"jamba", "ssm.state_size", NUMBER, 4},
                {"jamba", "ssm.time_step_rank", NUMBER, 2},
                {"minimax-m3", "attention.indexer.head_count", NUMBER, 2},
                {"minimax-m3", "attention.indexer.key_length", NUMBER, 4},
                {"minimax-m3", "attention.indexer.top_k", NUMBER, 3},
                {"minimax-m3", "attention.indexer.block_size", NUMBER, 4},
                {"minimax-m3", "attention.indexer.local_blocks", NUMBER, 1},
                {"step35", "attention.key_length", NUMBER, 4},
                {"step35", "expert_shared_feed_forward_length", NUMBER, 4},
                {"step35", "attention.sliding_window_pattern", LIST, 1},
                {"mimo2", "attention.key_length", NUMBER, 4},
                {"mimo2", "attention.value_length", NUMBER, 4},
                {"mimo2", "attention.sliding_window", NUMBER, 4},
                {"gemma3n", "attention.key_length", NUMBER, 4},
                {"gemma3n", "altup.num_inputs", NUMBER, 2},
                {"gemma3n", "altup.active_idx", NUMBER, 0},
                {"gemma3n", "embedding_length_per_layer_input", NUMBER, 4},
                {"gemma3n", "activation_sparsity_scale", REAL, 1},
                {"mistral3", "attention.temperature_scale", REAL, 1}};
    char key[128];

    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        const float real = (float)more[i].x;

        if (strcmp(more[i].architecture, architecture)) continue;
        snprintf(key, sizeof key, "%s.%s", architecture, more[i].key);
        if (more[i].kind == NUMBER) gguf_write_u32(w, key, more[i].x);
        if (more[i].kind == LIST) gguf_write_u32s(w, key, &more[i].x, 1);
        if (more[i].kind == REAL) gguf_write_f32s(w, key, &real, 1);
    }
    for (size_t i = 0; i < 4 && !strcmp(architecture, "apertus"); i++) {
        static const char *const numbers[] = {"xielu.alpha_p", "xielu.alpha_n", "xielu.beta", "xielu.eps"};
        const float one = 1;

        gguf_write_f32s(w, numbers[i], &one, 1);
    }
}

/* Small models of some architectures. */
static void seed_model(fuzz_emit *emit, void *arg, const char *architecture)
{
    static const struct {
        const char *key;
        uint32_t x;
    } numbers[] = {{"block_count", 1},      {"embedding_length", 8},     {"feed_forward_length", 4},
                   {"context_length", 64},  {"attention.head_count", 2}, {"expert_count", 2},
                   {"expert_used_count", 1}};
    static const struct {
        const char *name;
        uint64_t dims[3];
        uint32_t n_dims;
    } tensors[] = {{"token_embd.weight", {8, 16, 1}, 2},        {"output_norm.weight", {8, 1, 1}, 1},
                   {"blk.0.attn_norm.weight", {8, 1, 1}, 1},    {"blk.0.ffn_norm.weight", {8, 1, 1}, 1},
                   {"blk.0.attn_q.weight", {8, 8, 1}, 2},       {"blk.0.attn_k.weight", {8, 8, 1}, 2},
                   {"blk.0.attn_v.weight", {8, 8, 1}, 2},       {"blk.0.attn_output.weight", {8, 8, 1}, 2},
                   {"blk.0.ffn_gate_inp.weight", {8, 2, 1}, 2}, {"blk.0.ffn_gate_exps.weight", {8, 4, 2}, 3},
                   {"blk.0.ffn_up_exps.weight", {8, 4, 2}, 3},  {"blk.0.ffn_down_exps.weight", {4, 8, 2}, 3},
                   {"rope_freqs.weight", {2, 1, 1}, 1}};
    struct gguf_writer w;
    uint8_t *file, *whole;
    char key[128];
    size_t bytes;

    gguf_write_begin(&w);
    gguf_write_string(&w, "general.architecture", architecture);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(key, sizeof key, "%s.%s", architecture, numbers[i].key);
        gguf_write_u32(&w, key, numbers[i].x);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", architecture);
    gguf_write_f32(&w, key, 1e-6);
    add_values(&w, architecture);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        gguf_write_tensor(&w, tensors[i].name, 0, tensors[i].dims, tensors[i].n_dims, NULL,
                          4 * tensors[i].dims[0] * tensors[i].dims[1] * tensors[i].dims[2]);
    file = gguf_write_end(&w, &bytes);
    whole = calloc(1, bytes + 4);
    if (!whole) abort();
    memcpy(whole + 4, file, bytes);
    emit(arg, whole, bytes + 4);
    free(whole);
    free(file);
}

static void seeds(fuzz_emit *emit, void *arg)
{
    static const char *const architectures[] = {
        "llama",          "qwen3moe", "deepseek2", "gemma3",     "lfm2moe",   "falcon",      "gpt2",   "granitehybrid",
        "nemotron_h_moe", "mamba2",   "gemma4",    "deepseek32", "glm-dsa",   "kimi-linear", "jamba",  "apertus",
        "minimax-m3",     "step35",   "mimo2",     "gemma3n",    "deepseek4", "mistral3",    "phimoe", "minicpm3"};

    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) seed_model(emit, arg, architectures[i]);
    seed(emit, arg, 3);
    seed(emit, arg, 2);
    emit(arg, "\0\0\0\0GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 28);
}

const struct fuzz_target fuzz_gguf = {"gguf", run, seeds, -1};
