#include "tests/support_model.h"
#include "tests/support_temporary.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/interpret.h"
#include "tests/mkmodel.h"

const char *scratch_path(const char *folder, const char *name)
{
    static char path[4096];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

char *scratch_make(void)
{
    char *path = malloc(TEMPORARY_BYTES);

    assert_non_null(path);
    assert_true(temporary_make(path, NULL));
    return path;
}

void scratch_remove(char *path)
{
    temporary_remove(path);
    free(path);
}

void scratch_write(const char *folder, const char *name, const char *text)
{
    struct error e;

    assert_int_equal(mkmodel_write_file(folder, name, text, strlen(text), &e), 0);
}

json_t *json_of(const char *text)
{
    json_t *o = json_loads(text, JSON_DECODE_ANY, NULL);

    if (!o) fail_msg("%s is no JSON", text);
    return o;
}

double json_number_of(const json_t *o, const char *key)
{
    if (!json_is_number(json_object_get(o, key))) fail_msg("no \"%s\"", key);
    return json_number_value(json_object_get(o, key));
}

void scratch_write_json(const char *folder, const char *name, json_t *o)
{
    char *text = json_dumps(o, 0);

    assert_non_null(text);
    scratch_write(folder, name, text);
    free(text);
    json_decref(o);
}

json_t *config_read(const char *path)
{
    static const char word[] = "Infinity", number[] = "1e300   ";
    char text[16384], *at = text;
    FILE *f = fopen(path, "re");
    size_t n;

    if (!f) return NULL;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    while ((at = strstr(at, word))) memcpy(at, number, strlen(word));
    return json_loads(text, 0, NULL);
}

json_t *reference_config(const char *name)
{
    char path[512];
    json_t *o;

    snprintf(path, sizeof path, REFERENCE_MODELS "/%s/config.json", name);
    o = config_read(path);
    if (!o) fail_msg("%s cannot be read", path);
    return o;
}

char *reference_make(const char *name)
{
    char *path = scratch_make(), from[512];
    struct error e = {0};

    snprintf(from, sizeof from, "%s/%s", REFERENCE_MODELS, name);
    if (mkmodel_reference(from, path, &e)) fail_msg("%s: %s", name, e.text);
    return path;
}

char *reference_make_whole(const char *name)
{
    char *folder = reference_make(name), path[512];
    json_t *golden;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s/golden.json", REFERENCE_MODELS, name);
    golden = json_load_file(path, 0, NULL);
    f = fopen(scratch_path(folder, "tokenizer.json"), "w");
    assert_non_null(golden);
    assert_non_null(f);
    fputs("{\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"w0\","
          "\"vocab\":{",
          f);
    for (json_int_t i = 0; i < json_integer_value(json_object_get(golden, "vocab")); i++)
        fprintf(f, "%s\"w%lld\":%lld", i ? "," : "", (long long)i, (long long)i);
    fputs("}}}", f);
    assert_int_equal(fclose(f), 0);
    json_decref(golden);
    return folder;
}

static uint32_t *numbers(const json_t *list, uint32_t *n)
{
    uint32_t *x = calloc(json_array_size(list) + 1, sizeof *x);

    assert_non_null(x);
    *n = (uint32_t)json_array_size(list);
    for (uint32_t i = 0; i < *n; i++) x[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    return x;
}

struct golden golden_load(const char *name)
{
    struct golden g = {0};
    char path[512];
    json_t *o;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s/golden.json", REFERENCE_MODELS, name);
    o = json_load_file(path, 0, NULL);
    assert_non_null(o);
    g.tokens = numbers(json_object_get(o, "prompt"), &g.n);
    g.positions = numbers(json_object_get(o, "positions"), &g.wanted);
    g.vocab = (uint32_t)json_integer_value(json_object_get(o, "vocab"));
    g.greedy = numbers(json_object_get(o, "greedy"), &g.greedies);
    snprintf(g.source, sizeof g.source, "%s", json_string_value(json_object_get(o, "source")));
    json_decref(o);
    g.logits = calloc((size_t)g.wanted * g.vocab, sizeof *g.logits);
    snprintf(path, sizeof path, "%s/%s/logits.f32", REFERENCE_MODELS, name);
    f = fopen(path, "re");
    assert_non_null(f);
    assert_int_equal(fread(g.logits, sizeof *g.logits, (size_t)g.wanted * g.vocab, f), (size_t)g.wanted * g.vocab);
    fclose(f);
    return g;
}

void golden_free(struct golden *g)
{
    free(g->tokens);
    free(g->positions);
    free(g->logits);
    free(g->greedy);
}

double *golden_logits(const struct golden *g, const char *folder)
{
    struct model_options o = {.want_tokens = g->n + 24};
    double *got = calloc((size_t)g->wanted * g->vocab, sizeof *got);
    struct model *m = NULL;
    struct error e = {0};

    if (model_open(&m, folder, &o, &e)) fail_msg("%s", e.text);
    assert_int_equal(model_program(m)->spec.vocab, g->vocab);
    if (interpret(model_program(m), g->tokens, g->n, g->positions, g->wanted, got, &e)) fail_msg("%s", e.text);
    model_close(m);
    return got;
}

double golden_difference(const struct golden *g, const char *folder)
{
    double *got = golden_logits(g, folder), worst = 0;

    for (size_t i = 0; i < (size_t)g->wanted * g->vocab; i++) {
        double d = fabs(got[i] - (double)g->logits[i]);
        if (!(d <= worst)) worst = d; /* a NaN is the worst there is */
    }
    free(got);
    return worst;
}

/* ---- renaming ---- */

void renamer_open(struct renamer *r, const char *folder)
{
    struct error e = {0};

    *r = (struct renamer){0};
    if (tensors_open(&r->from, folder, NULL, &e)) fail_msg("%s", e.text);
    r->bytes = calloc(r->from->file_count, sizeof *r->bytes);
    for (uint32_t i = 0; i < r->from->file_count; i++) {
        uint64_t n = r->from->files[i].info.bytes;
        FILE *f = fopen(r->from->files[i].path, "re");
        r->bytes[i] = malloc(n);
        assert_non_null(f);
        assert_int_equal(fread(r->bytes[i], 1, n, f), n);
        fclose(f);
    }
    r->header = strdup("{");
    r->header_bytes = 1;
}

static void add_header(struct renamer *r, const char *text)
{
    size_t n = strlen(text);

    r->header = realloc(r->header, r->header_bytes + n + 1);
    memcpy(r->header + r->header_bytes, text, n + 1);
    r->header_bytes += n;
}

static void begin(struct renamer *r, const char *name, const char *dtype)
{
    char text[600];

    snprintf(text, sizeof text, "%s\"%s\":{\"dtype\":\"%s\",\"data_offsets\":[%zu,", r->count++ ? "," : "", name, dtype,
             r->data_bytes);
    add_header(r, text);
}

void renamer_begin(struct renamer *r, const char *name)
{
    begin(r, name, "BF16");
}

void renamer_append(struct renamer *r, const char *source, uint64_t row0, uint64_t rows)
{
    const struct tensor *t = tensors_find(r->from, source);
    uint64_t row;

    if (!t) fail_msg("no tensor %s", source);
    assert_int_equal(t->dtype, TENSOR_BF16);
    row = t->bytes / t->shape[0];
    assert_true(row0 + rows <= t->shape[0]);
    r->data = realloc(r->data, r->data_bytes + rows * row);
    memcpy(r->data + r->data_bytes, r->bytes[t->file] + t->offset + row0 * row, rows * row);
    r->data_bytes += rows * row;
}

void renamer_end_shape(struct renamer *r, const uint64_t *shape, uint32_t dims)
{
    char text[64];

    snprintf(text, sizeof text, "%zu],\"shape\":[", r->data_bytes);
    add_header(r, text);
    for (uint32_t i = 0; i < dims; i++) {
        snprintf(text, sizeof text, "%s%llu", i ? "," : "", (unsigned long long)shape[i]);
        add_header(r, text);
    }
    add_header(r, "]}");
}

void renamer_end(struct renamer *r, uint64_t rows, uint64_t cols)
{
    uint64_t shape[2] = {rows, cols};

    renamer_end_shape(r, shape, cols ? 2 : 1);
}

void renamer_copy(struct renamer *r, const char *name, const char *source)
{
    const struct tensor *t = tensors_find(r->from, source);

    if (!t) fail_msg("no tensor %s", source);
    renamer_begin(r, name);
    renamer_append(r, source, 0, t->shape[0]);
    renamer_end_shape(r, t->shape, t->dims);
}

void renamer_change(struct renamer *r, const char *name, const char *source, const uint64_t *shape, uint32_t dims,
                    float (*change)(uint64_t i, float value))
{
    const struct tensor *t = tensors_find(r->from, source);
    uint64_t n;

    if (!t) fail_msg("no tensor %s", source);
    assert_int_equal(t->dtype, TENSOR_BF16);
    n = t->bytes / 2;
    begin(r, name, "F32");
    r->data = realloc(r->data, r->data_bytes + n * 4);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        float x;
        memcpy((uint8_t *)&bits + 2, r->bytes[t->file] + t->offset + 2 * i, 2);
        memcpy(&x, &bits, 4);
        x = change(i, x);
        memcpy(r->data + r->data_bytes + 4 * i, &x, 4);
    }
    r->data_bytes += n * 4;
    renamer_end_shape(r, shape, dims);
}

void renamer_close(struct renamer *r, const char *folder)
{
    FILE *f = fopen(scratch_path(folder, "model.safetensors"), "we");
    uint64_t n;

    assert_non_null(f);
    add_header(r, "}");
    n = r->header_bytes;
    fwrite(&n, 8, 1, f);
    fwrite(r->header, 1, n, f);
    fwrite(r->data, 1, r->data_bytes, f);
    fclose(f);
    for (uint32_t i = 0; i < r->from->file_count; i++) free(r->bytes[i]);
    tensors_close(r->from);
    free(r->bytes);
    free(r->header);
    free(r->data);
}
