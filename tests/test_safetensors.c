/* The headers of safetensors files: what is right is read, what is wrong is named. */
#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>
#include "coordinator/source/tensors.h"
#include "proto/base/clock.h"
#include "tests/mkmodel.h"
#include "tests/support_model.h"

/* A file of this header and data bytes of zeros. */
static void write_file(const char *folder, const char *name, const char *header, size_t data)
{
    size_t n = strlen(header);
    char *all = calloc(8 + n + data + 1, 1);
    struct error e;
    uint64_t length = n;

    memcpy(all, &length, 8);
    memcpy(all + 8, header, n);
    assert_int_equal(mkmodel_write_file(folder, name, all, 8 + n + data, &e), 0);
    free(all);
}

static void refuse(const char *folder, const char *words)
{
    struct tensors *t = NULL;
    struct error e = {0};

    assert_true(tensors_open(&t, folder, NULL, &e) < 0);
    assert_null(t);
    if (!strstr(e.text, words)) fail_msg("\"%s\" does not say \"%s\"", e.text, words);
    if (!strstr(e.text, folder)) fail_msg("\"%s\" does not name the file", e.text);
}

static void refuse_header(const char *header, size_t data, const char *words)
{
    char *folder = scratch_make();

    write_file(folder, "model.safetensors", header, data);
    refuse(folder, words);
    scratch_remove(folder);
}

static void reads_what_is_right(void **state)
{
    char *folder = scratch_make();
    struct tensors *t = NULL;
    struct error e = {0};
    const struct tensor *x;

    (void)state;
    write_file(folder, "model.safetensors",
               "{\"__metadata__\":{\"format\":\"pt\"},\"odd\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
               "\"a.b\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[3,15]},"
               "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[15,19]},"
               "\"none\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[7,7]}}   ",
               20);
    if (tensors_open(&t, folder, NULL, &e)) fail_msg("%s", e.text);
    assert_int_equal(t->count, 4);
    x = tensors_find(t, "a.b");
    assert_non_null(x);
    assert_int_equal(x->dims, 2);
    assert_int_equal(x->shape[1], 3);
    assert_int_equal(x->bytes, 12);
    assert_int_equal(x->dtype, TENSOR_BF16);
    assert_int_equal(x->offset % 2, (tensors_find(t, "odd")->offset + 3) % 2);
    assert_int_equal(tensors_find(t, "scalar")->dims, 0);
    assert_null(tensors_find(t, "a.c"));
    tensors_close(t);
    scratch_remove(folder);
}

#define T(name, dtype, shape, offsets)                                                                                 \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void refuses_bad_headers(void **state)
{
    (void)state;
    refuse_header("xxxxxxxxxxxxxxxx", 16, "header");
    refuse_header("[1, 2]", 0, "not a JSON object");
    refuse_header("{" T("a", "Q9", "[2]", "[0,8]") "}", 4, "cut short"); /* an unknown type is no excuse */
    refuse_header("{" T("a", "Q9", "[2]", "[0,8]") "," T("b", "U8", "[2]", "[7,9]") "}", 9, "overlap");
    refuse_header("{" T("a", "C64", "[2]", "[0,8]") "}", 8, "do not agree");
    refuse_header("{" T("a", "F6_E2M3", "[2]", "[0,2]") "}", 2, "do not agree");
    refuse_header("{" T("a", "F32", "[2]", "[0,4]") "}", 8, "do not agree");
    refuse_header("{" T("a", "F32", "[1099511627776,1099511627776]", "[0,4]") "}", 8, "do not agree");
    refuse_header("{" T("a", "F32", "[-1]", "[0,4]") "}", 8, "dimension");
    refuse_header("{" T("a", "F32", "[1.5]", "[0,4]") "}", 8, "dimension");
    refuse_header("{" T("a", "F32", "\"x\"", "[0,4]") "}", 8, "no shape");
    refuse_header("{" T("a", "F32", "[1]", "[4,0]") "}", 8, "end before they begin");
    refuse_header("{" T("a", "F32", "[1]", "[-8,-4]") "}", 8, "offsets");
    refuse_header("{" T("a", "F32", "[1]", "[0,4,8]") "}", 8, "offsets");
    refuse_header("{" T("a", "F32", "[1]", "[0,99999999999999999999]") "}", 8, "offsets");
    refuse_header("{" T("a", "F32", "[4]", "[0,16]") "}", 8, "cut short");
    refuse_header("{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[2]", "[4,12]") "}", 12, "overlap");
    refuse_header("{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", 8, "stands twice, \"a\"");
    refuse_header("{\"a\":3}", 8, "object");
    refuse_header("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 8, "dtype");
    refuse_header("{" T("a", "F4", "[3]", "[0,1]") "}", 8, "do not agree");
}

/* A file may hold what the model does not need, in whatever type: those of the format, and those that it will have. */
static void types_that_are_not_needed(void **state)
{
    static const struct {
        const char *dtype;
        uint64_t elements, bytes;
        bool known;
    } types[] = {{"C64", 2, 16, true},       {"F8_E4M3FNUZ", 3, 3, true}, {"F8_E5M2FNUZ", 3, 3, true},
                 {"F6_E2M3", 4, 3, true},    {"F6_E3M2", 8, 6, true},     {"F4", 4, 2, true},
                 {"Q9", 3, 11, false},       {"", 1, 1, false},           {"f32", 1, 4, false},
                 {"\\u001b[2J", 0, 0, false}};

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char *folder = scratch_make(), header[400];
        struct tensors *t = NULL;
        struct error e = {0};
        const struct tensor *x;

        snprintf(
            header, sizeof header,
            "{" T("b", "BF16", "[2]", "[0,4]") ",\"a\":{\"dtype\":\"%s\",\"shape\":[%llu],\"data_offsets\":[4,%llu]}}",
            types[i].dtype, (unsigned long long)types[i].elements, (unsigned long long)(4 + types[i].bytes));
        write_file(folder, "model.safetensors", header, 4 + types[i].bytes);
        if (tensors_open(&t, folder, NULL, &e)) fail_msg("%s: %s", types[i].dtype, e.text);
        x = tensors_find(t, "a");
        assert_non_null(x);
        assert_int_equal(x->bytes, types[i].bytes);
        assert_int_equal(x->dtype < TENSOR_DTYPES, types[i].known);
        assert_int_equal(x->dtype_text == NULL, types[i].known);
        if (*types[i].dtype != '\\') assert_string_equal(tensor_stored_as(x), types[i].dtype);
        assert_int_equal(tensors_find(t, "b")->dtype, TENSOR_BF16);
        tensors_close(t);
        scratch_remove(folder);
    }
}

/* What the model needs is refused by name. */
static void types_that_are_needed(void **state)
{
    static const char from[] = "\"model.norm.weight\":{\"dtype\":\"BF16\"";
    static const char *const to[] = {"\"model.norm.weight\":{\"dtype\":\"XF16\"",
                                     "\"model.norm.weight\":{\"dtype\":\"I16\" "};
    static const char *const says[] = {"stored as XF16", "stored as I16"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        char *folder = reference_make("llama"), *text = calloc(1, 1 << 16), *at;
        struct model *m = NULL;
        struct error e = {0};
        FILE *f = fopen(scratch_path(folder, "model.safetensors"), "r+b");
        size_t n = fread(text, 1, 1 << 16, f);

        at = memmem(text, n, from, sizeof from - 1);
        assert_non_null(at);
        assert_int_equal(fseek(f, at - text, SEEK_SET), 0);
        fwrite(to[i], 1, sizeof from - 1, f);
        fclose(f);
        assert_int_equal(model_open(&m, folder, NULL, &e), -EINVAL);
        if (!strstr(e.text, says[i]) || !strstr(e.text, "model.norm.weight")) fail_msg("%s", e.text);
        free(text);
        scratch_remove(folder);
    }
}

/* Gaps, a tail and marks are no faults of a run, and told to who verifies. */
static void bytes_of_no_tensor(void **state)
{
    char *folder = scratch_make();
    struct tensors *t = NULL;
    struct error e = {0};
    const struct safetensors_file *f;

    (void)state;
    write_file(
        folder, "model.safetensors",
        "{\"__metadata__\":{\"format\":\"mlx\"}," T("b", "F32", "[1]", "[12,16]") "," T("a", "F32", "[1]", "[4,8]") "}",
        30);
    if (tensors_open(&t, folder, NULL, &e)) fail_msg("%s", e.text);
    f = &t->files[0].info;
    assert_string_equal(f->format, "mlx");
    assert_int_equal(f->gap_bytes, 8);
    assert_int_equal(f->gap_offset + 4, tensors_find(t, "a")->offset);
    assert_int_equal(f->tensors_end, tensors_find(t, "b")->offset + 4);
    assert_int_equal(f->bytes - f->tensors_end, 14);
    tensors_close(t);
    write_file(folder, "model.safetensors", "{}", 3);
    if (tensors_open(&t, folder, NULL, &e)) fail_msg("%s", e.text);
    assert_int_equal(t->files[0].info.tensors_end, 10);
    assert_int_equal(t->files[0].info.gap_bytes, 0);
    assert_string_equal(t->files[0].info.format, "");
    tensors_close(t);
    scratch_remove(folder);
}

static void refuses_bad_lengths(void **state)
{
    char *folder = scratch_make(), *deep;
    struct error e;
    uint64_t huge = UINT64_C(1) << 60, zero = 0;

    (void)state;
    mkmodel_write_file(folder, "model.safetensors", "", 0, &e);
    refuse(folder, "is empty");
    mkmodel_write_file(folder, "model.safetensors", "abc", 3, &e);
    refuse(folder, "no safetensors file");
    mkmodel_write_file(folder, "model.safetensors", &zero, 8, &e);
    refuse(folder, "begins with zeros");
    mkmodel_write_file(folder, "model.safetensors", &huge, 8, &e);
    refuse(folder, "claims 1152921504606846976 bytes");
    deep = malloc(200001);
    memset(deep, '[', 200000);
    deep[200000] = 0;
    write_file(folder, "model.safetensors", deep, 0);
    refuse(folder, "depth");
    free(deep);
    remove(scratch_path(folder, "model.safetensors"));
    mkdir(scratch_path(folder, "model.safetensors"), 0777);
    refuse(folder, "not a file but a folder");
    scratch_remove(folder);
}

/* The largest models have a hundred thousand tensors in two hundred files: opening them is a matter of a moment. */
static void opens_many_tensors_quickly(void **state)
{
    enum { FILES = 50, EACH = 1000 };
    char *folder = scratch_make(), *text = NULL;
    struct tensors *t = NULL;
    struct error e = {0};
    uint64_t start;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    (void)state;
    for (int i = 0; i < FILES; i++)
        for (int k = 0; k < EACH; k++)
            fprintf(f, "m-%d.safetensors\tmodel.layers.%d.mlp.experts.%d.down_proj.weight\tBF16\t2x1\tsparse\n", i, i,
                    k);
    fclose(f);
    if (mkmodel_from_text(text, folder, &e)) fail_msg("%s", e.text);
    free(text);
    start = clock_ns();
    if (tensors_open(&t, folder, NULL, &e)) fail_msg("%s", e.text);
    assert_int_equal(t->count, FILES * EACH);
    assert_non_null(tensors_find(t, "model.layers.49.mlp.experts.999.down_proj.weight"));
    print_message("%d tensors in %d files: %.0f ms\n", FILES * EACH, FILES, (double)(clock_ns() - start) / 1e6);
    assert_true(clock_ns() - start < UINT64_C(5000000000));
    tensors_close(t);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_is_right),        cmocka_unit_test(refuses_bad_headers),
        cmocka_unit_test(types_that_are_not_needed),  cmocka_unit_test(types_that_are_needed),
        cmocka_unit_test(bytes_of_no_tensor),         cmocka_unit_test(refuses_bad_lengths),
        cmocka_unit_test(opens_many_tensors_quickly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
