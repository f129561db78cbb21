#include "tests/support_model.h"
#include "tests/support_gguf_model.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "coordinator/source/tensors.h"
#include "tests/support_gguf.h"
#include "tests/support_gguf_arrays.h"
#include "tests/support_gguf_values.h"

#define F32  0u
#define BF16 30u
#define I32  26u

/* Numbers of a layer's activation, which are values in the file. */
static const char *const numbers[] = {"alpha_p", "alpha_n", "beta", "eps"};
#define NUMBERS (sizeof numbers / sizeof *numbers)

struct writing {
    struct gguf_writer w[GGUF_SET_FILES];
    unsigned files, tensors; /* of the set; written so far */
    unsigned forms;
    struct tensors *t;
    uint8_t **bytes; /* of its files */
    const struct conversion *c;
    const json_t *config;
    const char *prefix;     /* before the names of its tensors */
    float *number[NUMBERS]; /* of each layer */
    bool bf16;
    uint64_t heads, kv_heads, head_dim;
};

/* ---- numbers ---- */

static struct array load(const struct writing *w, const struct tensor *t)
{
    uint64_t shape[3] = {1, 1, 1};
    uint32_t each = t->dtype == TENSOR_F32 ? 4 : 2, dims = t->dims;
    struct array r;

    while (dims > 3 && t->shape[t->dims - dims] == 1) dims--;
    assert_true(dims <= 3);
    for (uint32_t i = 0; i < dims; i++) shape[3 - dims + i] = t->shape[t->dims - dims + i];
    r = array_make(shape[0], shape[1], shape[2], dims ? dims : 1);
    for (uint64_t i = 0; i < array_count(&r); i++)
        r.x[i] = array_widened(w->bytes[t->file] + t->offset + i * each, t->dtype);
    return r;
}

static struct gguf_writer *next_file(struct writing *w)
{
    return w->files == 1 ? &w->w[0] : &w->w[1 + w->tensors++ % (w->files - 1)];
}

static void put(struct writing *w, const char *name, const struct array *a)
{
    uint64_t dims[3], n = array_count(a);
    bool narrow = w->bf16 && a->dims > 1 && !strstr(name, "norm") && !strstr(name, "gate_inp") &&
                  !strstr(name, "conv1d") && !strstr(name, "ssm_a") && !strstr(name, "indexer.") &&
                  !strstr(name, "hc_") && !strstr(name, "_ape");
    uint16_t *short_x = calloc(n + 1, 2);

    assert_non_null(short_x);
    for (uint32_t i = 0; i < a->dims; i++) dims[i] = a->shape[2 - i];
    for (uint64_t i = 0; i < n; i++) memcpy(&short_x[i], (const uint8_t *)&a->x[i] + 2, 2); /* they were BF16 */
    gguf_write_tensor(next_file(w), name, narrow ? BF16 : F32, dims, a->dims, narrow ? (void *)short_x : (void *)a->x,
                      n * (narrow ? 2 : 4));
    free(short_x);
}

/* ---- what is changed ---- */

static void put_rows(struct writing *w, const char *name, const struct array *a, uint64_t first, uint64_t step,
                     uint64_t rows)
{
    struct array r = array_rows(a, first, step, rows);

    put(w, name, &r);
    free(r.x);
}

/* ---- of a layer ---- */

static uint64_t setting(const struct writing *w, const char *field)
{
    return (uint64_t)json_integer_value(json_object_get(w->config, field));
}

/* q, k, v, z of Qwen3-Next's one matrix, by kind instead of by key head. */
static void put_qkvz(struct writing *w, unsigned layer, const struct array *a)
{
    uint64_t keys = setting(w, "linear_num_key_heads"), dk = setting(w, "linear_key_head_dim");
    uint64_t values = setting(w, "linear_num_value_heads") / keys * setting(w, "linear_value_head_dim");
    uint64_t at[4] = {0, dk, 2 * dk, 2 * dk + values}, width[4] = {dk, dk, values, values}, n = 0,
             group = 2 * dk + 2 * values;
    struct array qkv = array_make(1, keys * (2 * dk + values), a->shape[2], 2),
                 z = array_make(1, keys * values, a->shape[2], 2);
    char name[64];

    for (int part = 0; part < 4; part++)
        for (uint64_t h = 0; h < keys; h++, n += width[part])
            memcpy(part < 3 ? qkv.x + n * a->shape[2] : z.x + h * values * a->shape[2],
                   a->x + (h * group + at[part]) * a->shape[2], width[part] * a->shape[2] * sizeof *a->x);
    snprintf(name, sizeof name, "blk.%u.attn_qkv.weight", layer);
    put(w, name, &qkv);
    snprintf(name, sizeof name, "blk.%u.attn_gate.weight", layer);
    put(w, name, &z);
    free(qkv.x);
    free(z.x);
}

/* Value heads of Qwen 3.5. */
static void tile(const struct writing *w, const char *rest, struct array *a)
{
    uint64_t keys = setting(w, "linear_num_key_heads"), dk = setting(w, "linear_key_head_dim");
    uint64_t each = setting(w, "linear_num_value_heads") / keys, dv = setting(w, "linear_value_head_dim");

    if (strstr(rest, "in_proj_qkv") || strstr(rest, "conv1d")) array_tile(a, 2 * keys * dk, keys, each, dv);
    if (strstr(rest, "in_proj_z")) array_tile(a, 0, keys, each, dv);
    if (strstr(rest, "in_proj_a") || strstr(rest, "in_proj_b") || strstr(rest, "A_log") || strstr(rest, "dt_bias"))
        array_tile(a, 0, keys, each, 1);
    if (!strstr(rest, "out_proj")) return;
    array_transpose(a);
    array_tile(a, 0, keys, each, dv);
    array_transpose(a);
}

/* Rows of each head of keys, its queries', its keys' and its values', become all queries', all keys' and all values'. */
static void by_kind(const struct writing *w, struct array *a)
{
    uint64_t cols = a->dims == 1 ? 1 : a->shape[2], each = w->head_dim * cols, group = w->heads / w->kv_heads, n = 0;
    uint64_t from[3] = {0, group, group + 1}, many[3] = {group, 1, 1};
    float *to = calloc(array_count(a), sizeof *to);

    assert_non_null(to);
    assert_int_equal(array_count(a), (w->heads + 2 * w->kv_heads) * each);
    for (int kind = 0; kind < 3; kind++)
        for (uint64_t h = 0; h < w->kv_heads; h++, n += many[kind])
            memcpy(to + n * each, a->x + (h * (group + 2) + from[kind]) * each, many[kind] * each * sizeof *to);
    free(a->x);
    a->x = to;
}

static void change(const struct writing *w, const char *rest, struct array *a)
{
    unsigned flags = w->c->flags;
    size_t n = strlen(rest);
    bool norm = n >= 11 && !strcmp(rest + n - 11, "norm.weight");

    if (flags & PERMUTED && strstr(rest, ".q_proj")) array_permute(a, w->heads);
    if (flags & PERMUTED && strstr(rest, ".k_proj")) array_permute(a, w->kv_heads);
    for (uint64_t i = 0; flags & PLUS_ONE && norm && !strstr(rest, "linear_attn.norm") && i < array_count(a); i++)
        a->x[i] += 1;
    for (uint64_t i = 0; strstr(rest, "A_log") && i < array_count(a); i++) a->x[i] = -expf(a->x[i]);
    if (flags & TURNED && a->dims == 2 && (strstr(rest, "attn.") || strstr(rest, "mlp."))) array_transpose(a);
    if (flags & GROUPED && strstr(rest, "query_key_value")) by_kind(w, a);
    if (strstr(rest, "conv1d") || strstr(rest, "conv.conv")) { /* [width][1][taps] */
        a->shape[1] = a->shape[0];
        a->shape[0] = 1;
        a->dims = 2;
    }
    if (flags & TILED && strstr(rest, "linear_attn.")) tile(w, rest, a);
}

/* All experts of one kind of a layer. */
static struct array load_experts(const struct writing *w, unsigned layer, const char *list, const char *kind)
{
    char name[300];
    struct array all = {0};
    uint64_t n = 0;

    for (const struct tensor *t;; n++) {
        struct array one;

        snprintf(name, sizeof name, "%slayers.%u.%s.%llu.%s.weight", w->prefix, layer, list, (unsigned long long)n,
                 kind);
        if (!(t = tensors_find(w->t, name))) break;
        one = load(w, t);
        all.x = realloc(all.x, (n + 1) * array_count(&one) * sizeof *all.x);
        assert_non_null(all.x);
        memcpy(all.x + n * array_count(&one), one.x, array_count(&one) * sizeof *all.x);
        memcpy(all.shape, one.shape, sizeof all.shape);
        free(one.x);
    }
    all.shape[0] = n;
    all.dims = 3;
    return all;
}

/* kind's rows, and then those of and, of each expert. */
static void put_fused_experts(struct writing *w, unsigned layer, const char *list, const char *kind, const char *and)
{
    struct array gate = load_experts(w, layer, list, kind), up = load_experts(w, layer, list, and), both;
    uint64_t each = gate.shape[1] * gate.shape[2];
    char name[64];

    both = array_make(gate.shape[0], 2 * gate.shape[1], gate.shape[2], 3);
    for (uint64_t e = 0; e < gate.shape[0]; e++) {
        memcpy(both.x + 2 * e * each, gate.x + e * each, each * sizeof *gate.x);
        memcpy(both.x + (2 * e + 1) * each, up.x + e * each, each * sizeof *gate.x);
    }
    snprintf(name, sizeof name, "blk.%u.ffn_gate_up_exps.weight", layer);
    put(w, name, &both);
    free(gate.x);
    free(up.x);
    free(both.x);
}

/* When its first is met. */
static void put_experts(struct writing *w, unsigned layer, const char *list, const char *const *kind, int way,
                        const char *const *and)
{
    struct array all;
    char name[300];

    if (w->forms & GGUF_FUSED_EXPERTS && and) {
        if (!strcmp(kind[2], "ffn_gate_exps")) put_fused_experts(w, layer, list, kind[way], and[way]);
        if (strcmp(kind[2], "ffn_down_exps")) return;
    }
    all = load_experts(w, layer, list, kind[way]);
    snprintf(name, sizeof name, "blk.%u.%s.weight", layer, kind[2]);
    if (!(w->forms & GGUF_EXPERTS_APART)) put(w, name, &all);
    for (uint64_t e = 0; e < all.shape[0] && w->forms & GGUF_EXPERTS_APART; e++) {
        struct array one = all;

        one.x += e * all.shape[1] * all.shape[2];
        one.shape[0] = 1;
        one.dims = 2;
        snprintf(name, sizeof name, "blk.%u.%.*s.%llu.weight", layer, (int)(strlen(kind[2]) - strlen("_exps")), kind[2],
                 (unsigned long long)e);
        put(w, name, &one);
    }
    free(all.x);
}

static bool is_expert(struct writing *w, unsigned layer, const char *rest)
{
    static const char *const kinds[][3] = {
        {"gate_proj", "w1", "ffn_gate_exps"}, {"up_proj", "w3", "ffn_up_exps"}, {"down_proj", "w2", "ffn_down_exps"}};
    static const char *const lists[] = {"mlp.experts", "block_sparse_moe.experts", "feed_forward.experts",
                                        "mixer.experts", "ffn.experts"};
    const int count = sizeof lists / sizeof *lists;

    for (int l = 0; l < count; l++)
        for (int k = 0; k < 3; k++)
            for (int way = 0; way < 2; way++) {
                char first[64];

                snprintf(first, sizeof first, "%s.0.%s.weight", lists[l], kinds[k][way]);
                if (!strcmp(rest, first)) put_experts(w, layer, lists[l], kinds[k], way, kinds[1]);
            }
    for (int l = 0; l < count; l++) {
        size_t n = strlen(lists[l]);

        if (!strncmp(rest, lists[l], n) && rest[n] == '.' && rest[n + 1] >= '0' && rest[n + 1] <= '9') return true;
    }
    return false;
}

static void put_part(struct writing *w, unsigned layer, const char *stored, const char *suffix, const struct array *a,
                     uint64_t first, uint64_t step, uint64_t rows)
{
    char name[128];

    snprintf(name, sizeof name, "blk.%u.%s%s", layer, stored, suffix);
    put_rows(w, name, a, first, step, rows);
}

/* Tensors of which two or three are made; false: it is none. */
static bool is_split(struct writing *w, unsigned layer, const char *rest, struct array *a)
{
    bool halves =
        strstr(rest, "input_linear") || (strstr(rest, "mlp.experts.gate_up_proj") && !(w->c->flags & ALTERNATING));
    uint64_t rows, nope, value;

    if (strstr(rest, "experts.gate_up_proj_bias") || strstr(rest, "experts.down_proj_bias")) {
        bool both = strstr(rest, "gate_up") != NULL;

        rows = a->shape[2] / 2;
        array_transpose(a); /* a bias of an expert is a column now, so that its parts are rows */
        if (both) {
            struct array gate = array_rows(a, 0, 2, rows), up = array_rows(a, 1, 2, rows);

            array_transpose(&gate);
            array_transpose(&up);
            put_part(w, layer, "ffn_gate_exps", ".bias", &gate, 0, 1, gate.shape[1]);
            put_part(w, layer, "ffn_up_exps", ".bias", &up, 0, 1, up.shape[1]);
            free(gate.x);
            free(up.x);
            return true;
        }
        array_transpose(a);
        put_part(w, layer, "ffn_down_exps", ".bias", a, 0, 1, a->shape[1]);
        return true;
    }
    if (strstr(rest, "experts.gate_up_proj") || halves) {
        uint64_t step = w->c->flags & ALTERNATING ? 2 : 1;

        if (w->c->flags & TRANSPOSED) array_transpose(a);
        rows = a->shape[1] / 2;
        put_part(w, layer, "ffn_gate_exps", ".weight", a, 0, step, rows);
        put_part(w, layer, "ffn_up_exps", ".weight", a, step == 2 ? 1 : rows, step, rows);
        return true;
    }
    if (strstr(rest, ".experts.down_proj") || strstr(rest, "output_linear")) {
        if (w->c->flags & TRANSPOSED) array_transpose(a);
        put_part(w, layer, "ffn_down_exps", ".weight", a, 0, 1, a->shape[1]);
        return true;
    }
    if (strstr(rest, "in_proj_qkvz")) {
        put_qkvz(w, layer, a);
        return true;
    }
    if (!strstr(rest, "kv_b_proj") || !(w->c->flags & LATENT)) return false;
    if (w->forms & GGUF_KV_B_TOO) put_part(w, layer, "attn_kv_b", ".weight", a, 0, 1, a->shape[1]);
    nope = setting(w, "qk_nope_head_dim");
    value = setting(w, "v_head_dim");
    a->shape[0] = w->heads;
    a->shape[1] /= w->heads;
    a->dims = 3;
    put_part(w, layer, "attn_v_b", ".weight", a, nope, 1, value);
    struct array keys = array_rows(a, 0, 1, nope);
    array_transpose(&keys);
    put_part(w, layer, "attn_k_b", ".weight", &keys, 0, 1, keys.shape[1]);
    free(keys.x);
    return true;
}

/* NAME.norms.0 stands for all of them. */
static bool is_norm_of_a_head(struct writing *w, unsigned layer, const char *rest)
{
    const char *norms = strstr(rest, ".norms.");
    char name[300];
    struct array all = {0};
    uint64_t n = 0;

    if (!norms) return false;
    if (strcmp(norms, ".norms.0.weight")) return true;
    for (const struct tensor *t;; n++) {
        snprintf(name, sizeof name, "model.layers.%u.%.*s.norms.%llu.weight", layer, (int)(norms - rest), rest,
                 (unsigned long long)n);
        if (!(t = tensors_find(w->t, name))) break;
        struct array one = load(w, t);
        all.x = realloc(all.x, (n + 1) * array_count(&one) * sizeof *all.x);
        assert_non_null(all.x);
        memcpy(all.x + n * array_count(&one), one.x, array_count(&one) * sizeof *all.x);
        all.shape[2] = one.shape[2];
        free(one.x);
    }
    all.shape[0] = 1;
    all.shape[1] = n;
    all.dims = 2;
    snprintf(name, sizeof name, "blk.%u.attn_%c_norm.weight", layer, strstr(rest, "q_layernorm") ? 'q' : 'k');
    put(w, name, &all);
    free(all.x);
    return true;
}

/* A number of xIELU: they are written together, behind the tensors. */
static bool is_number(struct writing *w, const struct tensor *t, unsigned layer, const char *rest)
{
    for (size_t i = 0; i < NUMBERS && !strncmp(rest, "mlp.act_fn.", 11); i++) {
        if (strcmp(rest + 11, numbers[i])) continue;
        struct array a = load(w, t);

        w->number[i] = realloc(w->number[i], setting(w, "num_hidden_layers") * sizeof **w->number);
        assert_non_null(w->number[i]);
        w->number[i][layer] = a.x[0];
        free(a.x);
        return true;
    }
    return false;
}

/* Experts by the token's number, as whole numbers of 32 bits. */
static bool is_choice(struct writing *w, const struct tensor *t, unsigned layer, const char *rest)
{
    uint64_t dims[2] = {t->shape[t->dims - 1], t->shape[0]}, n = dims[0] * dims[1];
    int32_t *x;
    char name[64];

    if (strcmp(rest, "ffn.gate.tid2eid")) return false;
    assert_int_equal(t->dtype, TENSOR_I64);
    x = calloc(n, sizeof *x);
    assert_non_null(x);
    for (uint64_t i = 0; i < n; i++) memcpy(&x[i], w->bytes[t->file] + t->offset + i * 8, sizeof *x);
    snprintf(name, sizeof name, "blk.%u.ffn_gate_tid2eid.weight", layer);
    gguf_write_tensor(next_file(w), name, I32, dims, 2, x, n * sizeof *x);
    free(x);
    return true;
}

static void put_numbers(struct writing *w)
{
    uint64_t n = setting(w, "num_hidden_layers");
    char key[64];

    for (size_t i = 0; i < NUMBERS; i++) {
        if (!w->number[i]) continue;
        snprintf(key, sizeof key, "xielu.%s", numbers[i]);
        gguf_write_f32s(&w->w[0], key, w->number[i], n);
        free(w->number[i]);
    }
}

/* "altup_projections.0.weight" stands for all of them. */
static bool is_stack(struct writing *w, const char *rest)
{
    static const char *const stacks[][2] = {{"altup_projections", "altup_proj"},
                                            {"altup_unembed_projections", "altup_unembd_proj"}};
    char name[300];

    for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++) {
        size_t n = strlen(stacks[i][0]), of = 0;
        struct array all = {0};

        if (strncmp(rest, stacks[i][0], n) || rest[n] != '.') continue;
        if (rest[n + 1] != '0') return true;
        for (const struct tensor *t;; of++) {
            snprintf(name, sizeof name, "%s%s.%zu.weight", w->prefix, stacks[i][0], of);
            if (!(t = tensors_find(w->t, name))) break;
            struct array one = load(w, t);
            all.x = realloc(all.x, (of + 1) * array_count(&one) * sizeof *all.x);
            assert_non_null(all.x);
            memcpy(all.x + of * array_count(&one), one.x, array_count(&one) * sizeof *all.x);
            memcpy(all.shape, one.shape, sizeof all.shape);
            free(one.x);
        }
        all.shape[0] = of;
        all.dims = 3;
        snprintf(name, sizeof name, "%s.weight", stacks[i][1]);
        put(w, name, &all);
        free(all.x);
        return true;
    }
    return false;
}

static void convert_layer(struct writing *w, const struct tensor *t, unsigned layer, const char *rest)
{
    char name[128];
    struct array a;

    if (is_expert(w, layer, rest) || is_norm_of_a_head(w, layer, rest) || is_number(w, t, layer, rest) ||
        is_choice(w, t, layer, rest))
        return;
    if (!strcmp(rest, "attn.bias") || !strcmp(rest, "attn.masked_bias")) return; /* GPT-2's mask */
    a = load(w, t);
    change(w, rest, &a);
    if (!is_split(w, layer, rest, &a)) {
        if (!conversion_name(w->c, rest, name, sizeof name)) fail_msg("%s has no name in GGUF", t->name);
        char full[160];

        snprintf(full, sizeof full, "blk.%u.%s", layer, name);
        put(w, full, &a);
    }
    free(a.x);
}

static void convert(struct writing *w, const struct tensor *t)
{
    static const char *const top[][2] = {{"embed_tokens", "token_embd"},
                                         {"wte", "token_embd"},
                                         {"embed", "token_embd"},
                                         {"head", "output"},
                                         {"hc_head_fn", "output_hc_fn.weight"},
                                         {"hc_head_base", "output_hc_base.weight"},
                                         {"hc_head_scale", "output_hc_scale.weight"},
                                         {"embeddings", "token_embd"},
                                         {"word_embeddings", "token_embd"},
                                         {"embed_in", "token_embd"},
                                         {"wpe", "position_embd"},
                                         {"word_embeddings_layernorm", "token_embd_norm"},
                                         {"embedding_norm", "token_embd_norm"},
                                         {"norm", "output_norm"},
                                         {"ln_f", "output_norm"},
                                         {"norm_f", "output_norm"},
                                         {"final_layernorm", "output_norm"},
                                         {"final_layer_norm", "output_norm"},
                                         {"embed_tokens_per_layer", "per_layer_token_embd"},
                                         {"per_layer_model_projection", "per_layer_model_proj"},
                                         {"per_layer_projection_norm", "per_layer_proj_norm"},
                                         {"lm_head", "output"},
                                         {"embed_out", "output"}};
    static const char text[] = "language_model.";
    const char *layers = w->c->layers ? w->c->layers : "layers", *rest = t->name, *dot;
    size_t m = strlen(layers);
    char name[128];

    if (!strncmp(rest, w->prefix, strlen(w->prefix)))
        rest += strlen(w->prefix);
    else if (!strncmp(rest, text, strlen(text)))
        rest += strlen(text);
    if (is_stack(w, rest)) return;
    if (!strncmp(rest, layers, m) && rest[m] == '.') {
        char *end;
        unsigned long layer = strtoul(rest + m + 1, &end, 10);

        if (layer < setting(w, "num_hidden_layers")) convert_layer(w, t, (unsigned)layer, end + 1);
        return;
    }
    dot = strchr(rest, '.');
    if (!dot) dot = rest + strlen(rest);
    for (size_t i = 0; i < sizeof top / sizeof *top; i++) {
        if (strlen(top[i][0]) != (size_t)(dot - rest) || strncmp(rest, top[i][0], (size_t)(dot - rest))) continue;
        struct array a = load(w, t);

        change(w, rest, &a);
        snprintf(name, sizeof name, "%s%s", top[i][1], dot);
        put(w, name, &a);
        free(a.x);
        return;
    }
    if (!json_object_get(w->config, "text_config")) fail_msg("%s has no name in GGUF", t->name);
}

static void put_factors(struct writing *w, const char *name, const float *x, size_t n)
{
    uint64_t dims[1] = {n};

    if (n) gguf_write_tensor(next_file(w), name, F32, dims, 1, x, n * sizeof *x);
}

static void open_files(struct writing *w, const char *folder)
{
    struct error e = {0};

    if (tensors_open(&w->t, folder, NULL, &e)) fail_msg("%s", e.text);
    w->bytes = calloc(w->t->file_count, sizeof *w->bytes);
    for (uint32_t i = 0; i < w->t->file_count; i++) {
        uint64_t n = w->t->files[i].info.bytes;
        FILE *file = fopen(w->t->files[i].path, "re");

        w->bytes[i] = malloc(n);
        assert_non_null(file);
        assert_int_equal(fread(w->bytes[i], 1, n, file), n);
        fclose(file);
    }
}

static void close_files(struct writing *w)
{
    for (uint32_t i = 0; i < w->t->file_count; i++) free(w->bytes[i]);
    free(w->bytes);
    tensors_close(w->t);
}

static void write_all(struct writing *w)
{
    struct conversion_factors f = {0};

    for (unsigned i = 0; i < w->files; i++) gguf_write_begin(&w->w[i]);
    conversion_values(w->c, w->config, &w->w[0], &w->heads, &w->kv_heads, &w->head_dim, &f);
    put_factors(w, "rope_freqs.weight", f.divide, f.divides);
    put_factors(w, "rope_factors_long.weight", f.longer, f.longs);
    put_factors(w, "rope_factors_short.weight", f.shorter, f.shorts);
    for (size_t i = 0; i < w->t->count; i++) convert(w, &w->t->at[i]);
    put_numbers(w);
}

static bool convert_model(struct writing *w, const char *folder)
{
    char path[4096];
    json_t *config;

    snprintf(path, sizeof path, "%s/config.json", folder);
    config = config_read(path);
    assert_non_null(config);
    conversion_words(config);
    w->config = config;
    w->c = conversion_of(config);
    if (w->c) {
        open_files(w, folder);
        w->prefix = w->c->prefix ? w->c->prefix : "model.";
        if (tensors_find(w->t, "language_model.model.embed_tokens.weight")) w->prefix = "language_model.model.";
        write_all(w);
        close_files(w);
    }
    json_decref(config);
    return w->c != NULL;
}

bool gguf_model_write(const char *folder, const char *out, const char *name, bool bf16)
{
    struct writing w = {.bf16 = bf16, .files = 1};

    if (!convert_model(&w, folder)) return false;
    gguf_write_file(&w.w[0], out, name);
    return true;
}

bool gguf_model_write_as(const char *folder, const char *out, const char *name, unsigned forms)
{
    struct writing w = {.files = 1, .forms = forms};

    if (!convert_model(&w, folder)) return false;
    gguf_write_file(&w.w[0], out, name);
    return true;
}

bool gguf_model_write_set(const char *folder, const char *out, const char *stem, bool bf16)
{
    struct writing w = {.bf16 = bf16, .files = GGUF_SET_FILES};
    char name[256];

    if (!convert_model(&w, folder)) return false;
    for (unsigned i = 0; i < GGUF_SET_FILES; i++) {
        gguf_write_u16(&w.w[i], "split.no", i);
        gguf_write_u16(&w.w[i], "split.count", GGUF_SET_FILES);
        gguf_write_u32(&w.w[i], "split.tensors.count", w.tensors);
        snprintf(name, sizeof name, "%s-%05u-of-%05u.gguf", stem, i + 1, GGUF_SET_FILES);
        gguf_write_file(&w.w[i], out, name);
    }
    return true;
}
