#include "tests/support_baichuan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/mkmodel.h"

enum {
    TOKENS = 20,
    GREEDY = 8,
    MOST = TOKENS + GREEDY,
    HIDDEN = 48,
    HEADS = 6,
    DIM = 8,
    INTER = 64,
    VOCAB = 40,
    LAYERS = 2
};

/* Elements of the tensors as float64. */
struct weights {
    struct tensors *t;
    uint8_t *bytes;
};

static double weight(const struct weights *w, const char *name, uint64_t i)
{
    const struct tensor *t = tensors_find(w->t, name);
    uint32_t bits;
    float f;

    assert_non_null(t);
    bits = (uint32_t)w->bytes[t->offset + 2 * i] << 16 | (uint32_t)w->bytes[t->offset + 2 * i + 1] << 24;
    memcpy(&f, &bits, 4);
    return (double)f;
}

static void product(const struct weights *w, const char *name, const double *x, int rows, int cols, double *y)
{
    for (int r = 0; r < rows; r++) {
        y[r] = 0;
        for (int c = 0; c < cols; c++) y[r] += x[c] * weight(w, name, (uint64_t)(r * cols + c));
    }
}

static void rms(const struct weights *w, const char *name, const double *x, double *y)
{
    double sum = 0;

    for (int c = 0; c < HIDDEN; c++) sum += x[c] * x[c];
    for (int c = 0; c < HIDDEN; c++) y[c] = x[c] / sqrt(sum / HIDDEN + 1e-6) * weight(w, name, (uint64_t)c);
}

/* Six heads: four slopes of the series for four, then the first and third of the series for eight. */
static const double slopes[HEADS] = {0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125};

static void attend(double qkv[MOST][3 * HIDDEN], int i, double *out)
{
    for (int h = 0; h < HEADS; h++) {
        double p[MOST], sum = 0;
        for (int j = 0; j <= i; j++) {
            p[j] = slopes[h] * j;
            for (int c = 0; c < DIM; c++) p[j] += qkv[i][h * DIM + c] * qkv[j][HIDDEN + h * DIM + c] / sqrt(DIM);
            sum += p[j] = exp(p[j]);
        }
        for (int c = 0; c < DIM; c++) {
            out[h * DIM + c] = 0;
            for (int j = 0; j <= i; j++) out[h * DIM + c] += p[j] / sum * qkv[j][2 * HIDDEN + h * DIM + c];
        }
    }
}

static const char *in_layer(char *out, int layer, const char *name)
{
    snprintf(out, 128, "model.layers.%d.%s.weight", layer, name);
    return out;
}

static void block(const struct weights *w, int layer, double x[MOST][HIDDEN], int n)
{
    static double qkv[MOST][3 * HIDDEN];
    double z[HIDDEN], y[HIDDEN], gate[INTER], up[INTER];
    char a[128];

    for (int i = 0; i < n; i++) {
        rms(w, in_layer(a, layer, "input_layernorm"), x[i], z);
        product(w, in_layer(a, layer, "self_attn.W_pack"), z, 3 * HIDDEN, HIDDEN, qkv[i]);
    }
    for (int i = 0; i < n; i++) {
        attend(qkv, i, z);
        product(w, in_layer(a, layer, "self_attn.o_proj"), z, HIDDEN, HIDDEN, y);
        for (int c = 0; c < HIDDEN; c++) x[i][c] += y[c];
        rms(w, in_layer(a, layer, "post_attention_layernorm"), x[i], z);
        product(w, in_layer(a, layer, "mlp.gate_proj"), z, INTER, HIDDEN, gate);
        product(w, in_layer(a, layer, "mlp.up_proj"), z, INTER, HIDDEN, up);
        for (int c = 0; c < INTER; c++) gate[c] = gate[c] / (1 + exp(-gate[c])) * up[c];
        product(w, in_layer(a, layer, "mlp.down_proj"), gate, HIDDEN, INTER, y);
        for (int c = 0; c < HIDDEN; c++) x[i][c] += y[c];
    }
}

/* Logits of the last of n tokens. */
static void by_formula(const struct weights *w, const uint32_t *tokens, int n, double *logits)
{
    static double x[MOST][HIDDEN];
    double z[HIDDEN];

    for (int i = 0; i < n; i++)
        for (int c = 0; c < HIDDEN; c++)
            x[i][c] = weight(w, "model.embed_tokens.weight", (uint64_t)tokens[i] * HIDDEN + (uint64_t)c);
    for (int l = 0; l < LAYERS; l++) block(w, l, x, n);
    rms(w, "model.norm.weight", x[n - 1], z);
    for (int v = 0; v < VOCAB; v++) {
        double sum = 0, length = 0;
        for (int c = 0; c < HIDDEN; c++) {
            double e = weight(w, "lm_head.weight", (uint64_t)(v * HIDDEN + c));
            sum += z[c] * e;
            length += e * e;
        }
        logits[v] = sum / sqrt(length);
    }
}

static void write_baichuan(const char *folder)
{
    char *list = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&list, &n);
    struct error e = {0};

    fprintf(f, "model.safetensors\tmodel.embed_tokens.weight\tBF16\t%dx%d\tlin 0 1\n", VOCAB, HIDDEN);
    fprintf(f, "model.safetensors\tmodel.norm.weight\tBF16\t%d\tlin 1 0.25\n", HIDDEN);
    fprintf(f, "model.safetensors\tlm_head.weight\tBF16\t%dx%d\tlin 0 0.25\n", VOCAB, HIDDEN);
    for (int i = 0; i < LAYERS; i++) {
        fprintf(f, "model.safetensors\tmodel.layers.%d.input_layernorm.weight\tBF16\t%d\tlin 1 0.25\n", i, HIDDEN);
        fprintf(f, "model.safetensors\tmodel.layers.%d.post_attention_layernorm.weight\tBF16\t%d\tlin 1 0.25\n", i,
                HIDDEN);
        fprintf(f, "model.safetensors\tmodel.layers.%d.self_attn.W_pack.weight\tBF16\t%dx%d\tlin 0 0.25\n", i,
                3 * HIDDEN, HIDDEN);
        fprintf(f, "model.safetensors\tmodel.layers.%d.self_attn.o_proj.weight\tBF16\t%dx%d\tlin 0 0.25\n", i, HIDDEN,
                HIDDEN);
        fprintf(f, "model.safetensors\tmodel.layers.%d.mlp.gate_proj.weight\tBF16\t%dx%d\tlin 0 0.25\n", i, INTER,
                HIDDEN);
        fprintf(f, "model.safetensors\tmodel.layers.%d.mlp.up_proj.weight\tBF16\t%dx%d\tlin 0 0.25\n", i, INTER,
                HIDDEN);
        fprintf(f, "model.safetensors\tmodel.layers.%d.mlp.down_proj.weight\tBF16\t%dx%d\tlin 0 0.25\n", i, HIDDEN,
                INTER);
    }
    fclose(f);
    assert_int_equal(mkmodel_from_text(list, folder, &e), 0);
    free(list);
    scratch_write(folder, "config.json",
                  "{\"architectures\":[\"BaichuanForCausalLM\"],\"hidden_act\":\"silu\",\"hidden_size\":48,"
                  "\"intermediate_size\":64,"
                  "\"model_max_length\":64,\"num_attention_heads\":6,\"num_hidden_layers\":2,\"rms_norm_eps\":1e-6,"
                  "\"vocab_size\":40,\"z_loss_weight\":0}");
}

/* What the formulas give: logits of three positions, and the likeliest tokens that follow. */
static void compute(const struct weights *w, struct golden *g)
{
    static const uint32_t positions[] = {0, 7, TOKENS - 1};
    uint32_t tokens[MOST];
    double logits[VOCAB];

    for (uint32_t i = 0; i < TOKENS; i++) g->tokens[i] = tokens[i] = i * 7 % VOCAB;
    for (uint32_t k = 0; k < g->wanted; k++) {
        g->positions[k] = positions[k];
        by_formula(w, tokens, (int)positions[k] + 1, logits);
        for (uint32_t v = 0; v < VOCAB; v++) g->logits[k * VOCAB + v] = (float)logits[v];
    }
    for (int i = 0; i < GREEDY; i++) {
        uint32_t best = 0;
        by_formula(w, tokens, TOKENS + i, logits);
        for (uint32_t v = 1; v < VOCAB; v++)
            if (logits[v] > logits[best]) best = v;
        g->greedy[i] = tokens[TOKENS + i] = best;
    }
}

struct golden baichuan_make(const char *folder)
{
    struct golden g = {.n = TOKENS, .wanted = 3, .vocab = VOCAB, .greedies = GREEDY};
    struct weights w = {0};
    struct error e = {0};
    FILE *f;

    g.tokens = calloc(TOKENS, sizeof *g.tokens);
    g.positions = calloc(g.wanted, sizeof *g.positions);
    g.greedy = calloc(GREEDY, sizeof *g.greedy);
    g.logits = calloc((size_t)g.wanted * VOCAB, sizeof *g.logits);
    write_baichuan(folder);
    assert_int_equal(tensors_open(&w.t, folder, NULL, &e), 0);
    w.bytes = malloc(w.t->files[0].info.bytes);
    f = fopen(w.t->files[0].path, "re");
    assert_non_null(f);
    assert_int_equal(fread(w.bytes, 1, w.t->files[0].info.bytes, f), w.t->files[0].info.bytes);
    fclose(f);
    compute(&w, &g);
    free(w.bytes);
    tensors_close(w.t);
    return g;
}
