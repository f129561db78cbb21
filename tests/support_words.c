#include "tests/support_words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/mkmodel.h"
#include "tests/support_model.h"

#define MODEL "qwen3-moe"
#define GROUP 16u

const struct words_kind words_kinds[WORDS_KINDS] = {{"AWQ", true, false, 4, NULL},
                                                    {"GPTQ", false, false, 4, NULL},
                                                    {"GPTQ, act-order", false, true, 4, NULL},
                                                    {"GPTQ of 8 bits", false, false, 8, NULL}};

/* The lines of one expert's matrix in place of its own. */
static void put_words(FILE *f, const struct words_kind *k, const char *name, uint32_t out, uint32_t in)
{
    const uint32_t pack = 32 / k->bits, groups = in / GROUP;
    const char *start = "model.safetensors\t", *scale = k->bits == 8 ? "0.000976562 0.000488281" : "0.015625 0.0078125";

    fprintf(f, "%s%s.qweight\tI32\t%ux%u\tnib 0 16\n", start, name, k->awq ? in : in / pack, k->awq ? out / pack : out);
    fprintf(f, "%s%s.qzeros\tI32\t%ux%u\tnib 4 8\n", start, name, groups, out / pack);
    fprintf(f, "%s%s.scales\tF16\t%ux%u\tlin %s\n", start, name, groups, out, scale);
    if (k->by_input) fprintf(f, "%s%s.g_idx\tI32\t%u\tperm %u 37 %u\n", start, name, in, in, GROUP);
}

static char *list_with_words(const struct words_kind *k)
{
    char *text = NULL, *line = NULL;
    size_t n = 0, room = 0;
    FILE *in = fopen(REFERENCE_MODELS "/" MODEL "/tensors.tsv", "re"), *out = open_memstream(&text, &n);

    assert_non_null(in);
    assert_non_null(out);
    while (getline(&line, &room, in) > 0) {
        char name[200];
        unsigned rows, cols;

        if (strstr(line, ".experts.") && !(k->left && strstr(line, k->left)) &&
            sscanf(line, "model.safetensors %199s BF16 %ux%u", name, &rows, &cols) == 3) {
            name[strlen(name) - strlen(".weight")] = 0;
            put_words(out, k, name, rows, cols);
        } else {
            fputs(line, out);
        }
    }
    fclose(in);
    fclose(out);
    free(line);
    return text;
}

static void write_config(const struct words_kind *k, const char *folder, bool plain)
{
    json_t *c = reference_config(MODEL);

    if (!plain)
        json_object_set_new(c, "quantization_config",
                            k->awq ? json_pack("{s:s,s:i,s:i,s:b,s:s}", "quant_method", "awq", "bits", 4, "group_size",
                                               GROUP, "zero_point", 1, "version", "gemm")
                                   : json_pack("{s:s,s:i,s:i,s:b,s:b}", "quant_method", "gptq", "bits", (int)k->bits,
                                               "group_size", GROUP, "desc_act", k->by_input, "sym", 0));
    scratch_write_json(folder, "config.json", c);
}

/* ---- as float32 ---- */

static const void *bytes_of(const struct renamer *r, const char *name, const char *end)
{
    char full[256];
    const struct tensor *t;

    snprintf(full, sizeof full, "%s%s", name, end);
    t = tensors_find(r->from, full);
    if (!t) fail_msg("no tensor %s", full);
    return r->bytes[t->file] + t->offset;
}

static uint32_t word(const void *words, uint64_t i)
{
    uint32_t x;

    memcpy(&x, (const char *)words + 4 * i, 4);
    return x;
}

static float half(const void *halves, uint64_t i)
{
    _Float16 x;

    memcpy(&x, (const char *)halves + 2 * i, 2);
    return (float)x;
}

static const uint8_t awq_order[8] = {0, 2, 4, 6, 1, 3, 5, 7}; /* outputs of a word, lowest bits first */

/* Output o of row i of words of outputs. */
static uint32_t across(const struct words_kind *k, const void *words, uint64_t i, uint32_t o, uint32_t out)
{
    const uint32_t pack = 32 / k->bits, x = word(words, (i * out + o) / pack);
    uint32_t at = o % pack;

    for (uint32_t j = 0; k->awq && j < 8; j++)
        if (awq_order[j] == o % pack) at = j;
    return x >> at * k->bits & ((1u << k->bits) - 1);
}

static float *widened;

static float take(uint64_t i, float value)
{
    (void)value;
    return widened[i];
}

static void widen(const struct words_kind *k, const struct renamer *r, const char *name, uint32_t out, uint32_t in)
{
    const void *q = bytes_of(r, name, ".qweight"), *z = bytes_of(r, name, ".qzeros"), *s = bytes_of(r, name, ".scales"),
               *g = k->by_input ? bytes_of(r, name, ".g_idx") : NULL;
    const uint32_t pack = 32 / k->bits, mask = (1u << k->bits) - 1;

    for (uint32_t i = 0; i < in; i++)
        for (uint32_t o = 0; o < out; o++) {
            const uint32_t group = g ? word(g, i) : i / GROUP;
            const uint32_t x =
                k->awq ? across(k, q, i, o, out) : word(q, (uint64_t)(i / pack) * out + o) >> i % pack * k->bits & mask;
            const int zero = (int)across(k, z, group, o, out) + (k->awq ? 0 : 1);

            widened[(uint64_t)o * in + i] = (float)((int)x - zero) * half(s, (uint64_t)group * out + o);
        }
}

static void write_plain(const struct words_kind *k, const char *words, const char *folder)
{
    char *source = reference_make(MODEL);
    struct renamer from, r;

    renamer_open(&from, words);
    renamer_open(&r, source);
    for (size_t i = 0; i < r.from->count; i++) {
        const struct tensor *t = &r.from->at[i];
        char name[256];

        snprintf(name, sizeof name, "%.*s", (int)(strlen(t->name) - strlen(".weight")), t->name);
        if (!strstr(t->name, ".experts.")) {
            renamer_copy(&r, t->name, t->name);
            continue;
        }
        widened = malloc(t->shape[0] * t->shape[1] * sizeof *widened);
        assert_non_null(widened);
        widen(k, &from, name, (uint32_t)t->shape[0], (uint32_t)t->shape[1]);
        renamer_change(&r, t->name, t->name, t->shape, 2, take);
        free(widened);
    }
    renamer_close(&from, source); /* its weights have served */
    renamer_close(&r, folder);
    scratch_remove(source);
}

char *words_make(const struct words_kind *k, bool plain)
{
    char *words = scratch_make(), *text = list_with_words(k), *folder;
    struct error e = {0};

    if (mkmodel_from_text(text, words, &e)) fail_msg("%s", e.text);
    write_config(k, words, false);
    free(text);
    if (!plain) return words;
    folder = scratch_make();
    write_config(k, folder, true);
    write_plain(k, words, folder);
    scratch_remove(words);
    return folder;
}
