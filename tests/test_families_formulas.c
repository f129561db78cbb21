/* Families and stored forms that no library's reference covers: held against the published formulas in plain code, or
 * against the same weights stored otherwise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "tests/mkmodel.h"
#include "tests/support_model.h"

/* ---- Baichuan 2 13B: ALiBi, W_pack, a head whose rows have length 1 ---- */

enum { TOKENS = 20, HIDDEN = 48, HEADS = 6, DIM = 8, INTER = 64, VOCAB = 40, LAYERS = 2 };

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

static void attend(double qkv[TOKENS][3 * HIDDEN], int i, double *out)
{
    for (int h = 0; h < HEADS; h++) {
        double p[TOKENS], sum = 0;
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

static void block(const struct weights *w, int layer, double x[TOKENS][HIDDEN])
{
    static double qkv[TOKENS][3 * HIDDEN];
    double n[HIDDEN], y[HIDDEN], gate[INTER], up[INTER];
    char a[128];

    for (int i = 0; i < TOKENS; i++) {
        rms(w, in_layer(a, layer, "input_layernorm"), x[i], n);
        product(w, in_layer(a, layer, "self_attn.W_pack"), n, 3 * HIDDEN, HIDDEN, qkv[i]);
    }
    for (int i = 0; i < TOKENS; i++) {
        attend(qkv, i, n);
        product(w, in_layer(a, layer, "self_attn.o_proj"), n, HIDDEN, HIDDEN, y);
        for (int c = 0; c < HIDDEN; c++) x[i][c] += y[c];
        rms(w, in_layer(a, layer, "post_attention_layernorm"), x[i], n);
        product(w, in_layer(a, layer, "mlp.gate_proj"), n, INTER, HIDDEN, gate);
        product(w, in_layer(a, layer, "mlp.up_proj"), n, INTER, HIDDEN, up);
        for (int c = 0; c < INTER; c++) gate[c] = gate[c] / (1 + exp(-gate[c])) * up[c];
        product(w, in_layer(a, layer, "mlp.down_proj"), gate, HIDDEN, INTER, y);
        for (int c = 0; c < HIDDEN; c++) x[i][c] += y[c];
    }
}

static void baichuan_by_formula(const struct weights *w, const struct golden *g, double *logits)
{
    static double x[TOKENS][HIDDEN];
    double n[HIDDEN];

    for (int i = 0; i < TOKENS; i++)
        for (int c = 0; c < HIDDEN; c++)
            x[i][c] = weight(w, "model.embed_tokens.weight", (uint64_t)g->tokens[i] * HIDDEN + (uint64_t)c);
    for (int l = 0; l < LAYERS; l++) block(w, l, x);
    for (uint32_t k = 0; k < g->wanted; k++) {
        rms(w, "model.norm.weight", x[g->positions[k]], n);
        for (int v = 0; v < VOCAB; v++) {
            double sum = 0, length = 0;
            for (int c = 0; c < HIDDEN; c++) {
                double e = weight(w, "lm_head.weight", (uint64_t)(v * HIDDEN + c));
                sum += n[c] * e;
                length += e * e;
            }
            logits[k * VOCAB + (uint32_t)v] = sum / sqrt(length);
        }
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

static void baichuan2_13b_follows_its_formulas(void **state)
{
    uint32_t tokens[TOKENS], positions[3] = {0, 7, TOKENS - 1};
    struct golden g = {.tokens = tokens, .n = TOKENS, .positions = positions, .wanted = 3, .vocab = VOCAB};
    double want[3 * VOCAB], *got;
    char *folder = scratch_make();
    struct weights w = {0};
    struct error e = {0};
    FILE *f;

    (void)state;
    for (uint32_t i = 0; i < TOKENS; i++) tokens[i] = i * 7 % VOCAB;
    write_baichuan(folder);
    assert_int_equal(tensors_open(&w.t, folder, false, &e), 0);
    w.bytes = malloc(w.t->files[0].info.bytes);
    f = fopen(w.t->files[0].path, "re");
    assert_int_equal(fread(w.bytes, 1, w.t->files[0].info.bytes, f), w.t->files[0].info.bytes);
    fclose(f);
    baichuan_by_formula(&w, &g, want);
    got = golden_logits(&g, folder);
    for (int i = 0; i < 3 * VOCAB; i++)
        if (!(fabs(got[i] - want[i]) < 1e-6)) fail_msg("logit %d: %g is not %g", i, got[i], want[i]);
    free(got);
    free(w.bytes);
    tensors_close(w.t);
    scratch_remove(folder);
}

/* ---- stored forms ---- */

/* The list of a reference model with lines changed by edit(), in a folder of its own. */
static char *edited(const char *model, const char *config, void (*edit)(FILE *out, char *line, int form), int form)
{
    char path[256], *line = NULL, *list = NULL, *folder = reference_make(model);
    size_t n = 0, bytes = 0;
    FILE *in, *out = open_memstream(&list, &bytes);
    struct error e = {0};

    snprintf(path, sizeof path, REFERENCE_MODELS "/%s/tensors.tsv", model);
    in = fopen(path, "re");
    assert_non_null(in);
    while (getline(&line, &n, in) > 0) edit(out, line, form);
    fclose(in);
    fclose(out);
    if (mkmodel_from_text(list, folder, &e)) fail_msg("%s", e.text);
    if (config) scratch_write(folder, "config.json", config);
    free(list);
    free(line);
    return folder;
}

/* Scales that are all the same: for blocks (0), one for the matrix (1), one for each row (2). */
static void same_scales(FILE *out, char *line, int form)
{
    char *scale = strstr(line, "_scale_inv"), *weight_rows, name[200];
    static int rows;

    if (!scale) {
        weight_rows = strstr(line, "F8_E4M3\t");
        if (weight_rows) rows = atoi(weight_rows + 8);
        fputs(line, out);
        return;
    }
    if (form == 0) {
        *strstr(line, "lin ") = 0;
        fprintf(out, "%slin 0.125 0\n", line);
        return;
    }
    snprintf(name, sizeof name, "%.*s", (int)(scale - line), line);
    fprintf(out, "%s_scale\tBF16\t%dx1\tlin 0.125 0\n", name, form == 1 ? 1 : rows);
}

static void scales_of_blocks_rows_and_matrices(void **state)
{
    struct golden g = golden_load("qwen3-fp8");
    char *config = NULL, *at;
    double *want = NULL;
    size_t n = 0;
    FILE *f = fopen(REFERENCE_MODELS "/qwen3-fp8/config.json", "re");

    (void)state;
    assert_true(getdelim(&config, &n, 0, f) > 0);
    fclose(f);
    at = strstr(config, "weight_block_size"); /* absent where scales cover more */
    assert_non_null(at);
    for (int form = 0; form < 3; form++) {
        char *folder;
        double *got;
        if (form == 1) memcpy(at, "ignored", 7);
        folder = edited("qwen3-fp8", config, same_scales, form);
        got = golden_logits(&g, folder);
        for (uint32_t i = 0; i < g.wanted * g.vocab && want; i++) assert_true(fabs(got[i] - want[i]) < 1e-9);
        if (form)
            free(got);
        else
            want = got;
        scratch_remove(folder);
    }
    free(want);
    free(config);
    golden_free(&g);
}

/* Experts as one tensor of all, instead of a matrix each. */
static void fused_experts_are_the_listed_ones(void **state)
{
    struct golden g = golden_load("qwen3-moe");
    char *source = reference_make("qwen3-moe"), *folder = scratch_make(), name[256], *config = NULL;
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    struct renamer r;
    size_t n = 0;
    FILE *f = fopen(scratch_path(source, "config.json"), "re");

    (void)state;
    assert_true(getdelim(&config, &n, 0, f) > 0);
    fclose(f);
    scratch_write(folder, "config.json", config);
    renamer_open(&r, source);
    for (size_t i = 0; i < r.from->count; i++)
        if (!strstr(r.from->at[i].name, ".experts.")) renamer_copy(&r, r.from->at[i].name, r.from->at[i].name);
    for (uint32_t i = 0; i < 3; i++) {
        for (int down = 0; down < 2; down++) {
            uint64_t shape[3] = {6, down ? 80 : 96, down ? 48 : 80};
            snprintf(name, sizeof name, "model.layers.%u.mlp.experts.%s", i, down ? "down_proj" : "gate_up_proj");
            renamer_begin(&r, name);
            for (uint32_t e = 0; e < 6; e++) {
                for (int k = down ? 2 : 0; k < (down ? 3 : 2); k++) {
                    snprintf(name, sizeof name, "model.layers.%u.mlp.experts.%u.%s.weight", i, e, parts[k]);
                    renamer_append(&r, name, 0, down ? 80 : 48);
                }
            }
            renamer_end_shape(&r, shape, 3);
        }
    }
    renamer_close(&r, folder);
    assert_true(golden_difference(&g, folder) < 5e-5);
    golden_free(&g);
    free(config);
    scratch_remove(folder);
    scratch_remove(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(baichuan2_13b_follows_its_formulas),
        cmocka_unit_test(scales_of_blocks_rows_and_matrices),
        cmocka_unit_test(fused_experts_are_the_listed_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
