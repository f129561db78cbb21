/* Which files a model's tensors are taken from: an index that is right, one that is wrong in parts, and none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "coordinator/source/shards.h"
#include "coordinator/source/tensors.h"
#include "tests/mkmodel.h"
#include "tests/support_model.h"

#define INDEX   "model.safetensors.index.json"
#define SHARDED "llama-bias-f16-sharded" /* five files */

/* A file of one-element tensors, each filled with the byte that follows its name: "a1 b2". */
static void put(const char *folder, const char *name, const char *tensors)
{
    char header[1000] = "{", data[64];
    uint64_t n, k = 0;
    uint8_t all[1100];
    struct error e;

    for (const char *p = tensors; *p; p += p[2] ? 3 : 2, k++) {
        snprintf(header + strlen(header), sizeof header - strlen(header),
                 "%s\"%c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", k ? "," : "", p[0], (int)k,
                 (int)k + 1);
        data[k] = p[1];
    }
    strcat(header, "}");
    n = strlen(header);
    memcpy(all, &n, 8);
    memcpy(all + 8, header, n);
    memcpy(all + 8 + n, data, k);
    assert_int_equal(mkmodel_write_file(folder, name, all, 8 + n + k, &e), 0);
}

static struct tensors *open_it(const char *folder)
{
    struct tensors *t = NULL;
    struct error e = {0};

    if (tensors_open(&t, folder, NULL, &e)) fail_msg("%s", e.text);
    return t;
}

/* The tensor is the copy of that file. */
static void expect(const struct tensors *t, const char *tensor, const char *file, int line)
{
    const struct tensor *x = tensors_find(t, tensor);

    if (!x) fail_msg("line %d: no tensor %s", line, tensor);
    if (strcmp(t->files[x->file].name, file))
        fail_msg("line %d: %s comes from %s, not from %s", line, tensor, t->files[x->file].name, file);
}
#define EXPECT(t, tensor, file) expect(t, tensor, file, __LINE__)

static void refuse_line(const char *folder, const char *words, int line)
{
    struct tensors *t = NULL;
    struct error e = {0};

    assert_true(tensors_open(&t, folder, NULL, &e) < 0);
    assert_null(t);
    if (!strstr(e.text, words)) fail_msg("line %d: \"%s\" does not say \"%s\"", line, e.text, words);
    if (!strstr(e.text, folder)) fail_msg("line %d: \"%s\" does not name the folder", line, e.text);
}
#define REFUSE(folder, words) refuse_line(folder, words, __LINE__)

/* ---- with an index ---- */

static void bad_indexes(void **state)
{
    static const char *const outside[] = {"../a",   "/etc/passwd", "..",     "sub/../../a",
                                          "./../a", "sub/..",      "a/../b", "",
                                          ".",      "./",          "//a",    "../../../../etc/passwd"};
    char *folder = scratch_make(), text[200], inner[TENSORS_NAME_BYTES], *deep;

    (void)state;
    REFUSE(folder, "no weights");
    scratch_write(folder, "pytorch_model.bin", "x");
    REFUSE(folder, "pytorch_model.bin");
    scratch_write(folder, INDEX, "{}");
    REFUSE(folder, "weight_map");
    scratch_write(folder, INDEX, "{\"weight_map\":{}}");
    REFUSE(folder, "weight_map");
    scratch_write(folder, INDEX, "{\"weight_map\":{\"a\":7}}");
    REFUSE(folder, "names no file");
    scratch_write(folder, INDEX, "{\"weight_map\":{\"a\":\"gone.safetensors\"}}");
    REFUSE(folder, "gone.safetensors: No such file");
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        snprintf(text, sizeof text, "{\"weight_map\":{\"a\":\"%s\"}}", outside[i]);
        scratch_write(folder, INDEX, text);
        REFUSE(folder, "no path inside of the folder");
        assert_false(tensors_inner_name(inner, outside[i]));
    }
    deep = malloc(5001);
    memset(deep, 'a', 5000);
    deep[5000] = 0;
    assert_false(tensors_inner_name(inner, deep));
    free(deep);
    assert_true(tensors_inner_name(inner, ".//a/./..b//c."));
    assert_string_equal(inner, "a/..b/c.");
    scratch_remove(folder);
}

static void folders_below(void **state)
{
    char *folder = scratch_make();
    struct tensors *t;

    (void)state;
    assert_int_equal(mkdir(scratch_path(folder, "sub"), 0777), 0);
    put(folder, "one.safetensors", "a1 b1");
    put(folder, "sub/two.safetensors", "c2");
    scratch_write(
        folder, INDEX,
        "{\"weight_map\":{\"a\":\"./one.safetensors\",\"b\":\"one.safetensors\",\"c\":\"sub//two.safetensors\"}}");
    t = open_it(folder);
    assert_int_equal(t->file_count, 2); /* "./one" and "one" are the same */
    EXPECT(t, "a", "one.safetensors");
    EXPECT(t, "b", "one.safetensors");
    EXPECT(t, "c", "sub/two.safetensors");
    assert_int_equal(t->claim_count, 0);
    tensors_close(t);
    scratch_remove(folder);
}

static void stale_and_wrong_entries(void **state)
{
    char *folder = scratch_make();
    struct tensors *t;

    (void)state;
    put(folder, "one.safetensors", "a1 x1");
    put(folder, "two.safetensors", "b2");
    scratch_write(
        folder, INDEX,
        "{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\",\"gone\":\"two.safetensors\"}}");
    t = open_it(folder);
    EXPECT(t, "a", "one.safetensors"); /* as the files say */
    EXPECT(t, "b", "two.safetensors");
    EXPECT(t, "x", "one.safetensors"); /* not in the index */
    assert_null(tensors_find(t, "gone"));
    assert_non_null(tensors_claimed(t, "gone"));
    assert_string_equal(tensors_claimed(t, "gone")->name, "two.safetensors");
    assert_null(tensors_claimed(t, "a"));
    assert_null(tensors_claimed(t, "nobody"));
    tensors_close(t);
    scratch_remove(folder);
}

static void tensors_in_two_files(void **state)
{
    char *folder = scratch_make();
    struct tensors *t;
    uint32_t disputed = 0;

    (void)state;
    put(folder, "one.safetensors", "a1 b1 c1 d1");
    put(folder, "two.safetensors", "a2 b2 c2 d2");
    put(folder, "two2.safetensors", "x3");
    scratch_write(folder, INDEX,
                  "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\",\"c\":\"two2.safetensors\","
                  "\"x\":\"two2.safetensors\"}}");
    t = open_it(folder);
    EXPECT(t, "a", "one.safetensors"); /* the index decides */
    EXPECT(t, "b", "two.safetensors");
    EXPECT(t, "c", "two.safetensors"); /* where it errs, the last file */
    EXPECT(t, "d", "two.safetensors");
    assert_int_equal(t->copy_count, 4);
    for (size_t i = 0; i < t->copy_count; i++) {
        const struct tensors_copy *c = &t->copies[i];

        assert_int_equal(t->at[c->tensor].file + c->file, 1); /* one of each */
        assert_int_equal(c->disputed, *t->at[c->tensor].name > 'b');
        disputed += c->disputed;
    }
    assert_int_equal(disputed, 2);
    tensors_close(t);
    scratch_remove(folder);
}

struct told {
    char text[4000];
    int count;
};

static void on_fault(void *arg, const char *file, const char *text)
{
    struct told *x = arg;

    x->count++;
    snprintf(x->text + strlen(x->text), sizeof x->text - strlen(x->text), "[%s] %s\n", file, text);
}

static void files_that_are_not_there(void **state)
{
    char *folder = scratch_make();
    struct told told = {0};
    struct tensors_options all = {.file_fault = on_fault, .arg = &told};
    struct tensors *t;
    struct error e = {0};

    (void)state;
    put(folder, "one.safetensors", "a1 b1");
    assert_int_equal(symlink("../blobs/01", scratch_path(folder, "dangling.safetensors")), 0);
    scratch_write(folder, "pointer.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n");
    scratch_write(folder, "damaged.safetensors", "{\"a\"");
    scratch_write(folder, INDEX,
                  "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"gone.safetensors\",\"x\":\"gone.safetensors\","
                  "\"y\":\"pointer.safetensors\",\"z\":\"dangling.safetensors\"}}");
    t = open_it(folder);
    EXPECT(t, "b", "one.safetensors");
    assert_non_null(strstr(tensors_claimed(t, "x")->fault, "gone.safetensors: No such file"));
    assert_non_null(strstr(tensors_claimed(t, "x")->fault, "of its 4 files 3 are not there"));
    assert_non_null(strstr(tensors_claimed(t, "y")->fault, "git LFS pointer"));
    assert_non_null(strstr(tensors_claimed(t, "z")->fault, "../blobs/01"));
    tensors_close(t);
    /* for who wants all of it, the damaged one too */
    scratch_write(
        folder, INDEX,
        "{\"weight_map\":{\"a\":\"one.safetensors\",\"x\":\"gone.safetensors\",\"w\":\"damaged.safetensors\"}}");
    REFUSE(folder, "damaged.safetensors");
    assert_int_equal(tensors_open(&t, folder, &all, &e), 0);
    assert_int_equal(told.count, 2);
    assert_non_null(strstr(told.text, "[gone.safetensors]"));
    assert_non_null(strstr(told.text, "[damaged.safetensors]"));
    assert_int_equal(t->count, 2);
    tensors_close(t);
    /* nothing there at all */
    scratch_write(folder, INDEX, "{\"weight_map\":{\"x\":\"gone.safetensors\",\"y\":\"gone2.safetensors\"}}");
    REFUSE(folder, "gone.safetensors: No such file");
    scratch_remove(folder);
}

/* ---- without an index ---- */

static void by_their_names(void **state)
{
    char *folder = scratch_make();
    struct tensors *t;

    (void)state;
    put(folder, "model-00001-of-00003.safetensors", "a1");
    put(folder, "model-00003-of-00003.safetensors", "c3");
    REFUSE(folder, "model-*-of-3 number 2 is not there");
    put(folder, "model-00002-of-00003.safetensors", "b2");
    put(folder, "consolidated.safetensors", "a9");
    put(folder, "adapter_model.safetensors", "a8");
    put(folder, "extra.safetensors", "a7"); /* beside a set: none of it */
    scratch_write(folder, ".hidden.safetensors", "?");
    t = open_it(folder);
    assert_int_equal(t->file_count, 3);
    EXPECT(t, "a", "model-00001-of-00003.safetensors");
    EXPECT(t, "c", "model-00003-of-00003.safetensors");
    tensors_close(t);
    put(folder, "other-1-of-1.safetensors", "a1");
    REFUSE(folder, "two sets of shards");
    scratch_remove(folder);

    folder = scratch_make(); /* numbered from 0 */
    put(folder, "m-00000-of-00002.safetensors", "a1");
    REFUSE(folder, "number 1 is not there");
    put(folder, "m-00001-of-00002.safetensors", "b1");
    t = open_it(folder);
    assert_int_equal(t->count, 2);
    tensors_close(t);
    scratch_remove(folder);
}

static void by_their_headers(void **state)
{
    char *folder = scratch_make();
    struct tensors *t;

    (void)state;
    put(folder, "adapter_model.safetensors", "z1");
    REFUSE(folder, "an adapter");
    put(folder, "consolidated.safetensors", "a1");
    t = open_it(folder);
    EXPECT(t, "a", "consolidated.safetensors");
    tensors_close(t);
    put(folder, "gptq_model-4bit-128g.safetensors", "a2");
    t = open_it(folder);
    EXPECT(t, "a", "gptq_model-4bit-128g.safetensors");
    tensors_close(t);
    put(folder, "more.safetensors", "b3");
    t = open_it(folder);
    EXPECT(t, "a", "gptq_model-4bit-128g.safetensors");
    EXPECT(t, "b", "more.safetensors");
    tensors_close(t);
    put(folder, "zz.safetensors", "b4");
    REFUSE(folder, "tensor b is in more.safetensors already");
    put(folder, "model.safetensors", "c1"); /* the usual name goes before all others */
    t = open_it(folder);
    assert_int_equal(t->count, 1);
    tensors_close(t);
    scratch_remove(folder);
}

static void numbers_in_names(void **state)
{
    static const struct {
        const char *name;
        unsigned number, of;
        size_t stem;
    } good[] = {{"model-00002-of-00005.safetensors", 2, 5, 5},
                {"model.safetensors-00001-of-00001.safetensors", 1, 1, 17},
                {"a-0-of-2.safetensors", 0, 2, 1}};
    static const char *const bad[] = {"model.safetensors",
                                      "model-00001-of-00002.bin",
                                      "-1-of-2.safetensors",
                                      "model-3-of-2.safetensors",
                                      "model-1-of-0.safetensors",
                                      "model-x-of-2.safetensors",
                                      "model-1-of-.safetensors",
                                      "model-of-2.safetensors",
                                      "model-1-of-99999999999999999999.safetensors",
                                      "model-1-of-4294967298.safetensors",
                                      "1-of-2.safetensors",
                                      ".safetensors",
                                      ""};
    unsigned number, of;
    size_t stem;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(shards_parse(good[i].name, &number, &of, &stem));
        assert_int_equal(number, good[i].number);
        assert_int_equal(of, good[i].of);
        assert_int_equal(stem, good[i].stem);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (shards_parse(bad[i], &number, &of, &stem)) fail_msg("\"%s\" is taken for a shard", bad[i]);
}

/* ---- a model ---- */

static char *model_folder(void)
{
    return reference_make(SHARDED);
}

static void same_numbers(const char *folder)
{
    struct golden g = golden_load(SHARDED);

    assert_true(golden_difference(&g, folder) < 2e-4);
    golden_free(&g);
}

/* The index with one text replaced by another. */
static void edit_index(const char *folder, const char *from, const char *to)
{
    char *text = calloc(1, 1 << 20), *at;
    FILE *f = fopen(scratch_path(folder, INDEX), "r");
    char *path = strdup(scratch_path(folder, INDEX));

    assert_non_null(f);
    assert_true(fread(text, 1, 1 << 19, f) > 0);
    fclose(f);
    at = strstr(text, from);
    assert_non_null(at);
    f = fopen(path, "w");
    fprintf(f, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    fclose(f);
    free(path);
    free(text);
}

static void refuse_model(const char *folder, const char *words)
{
    struct model *m = NULL;
    struct error e = {0};

    assert_true(model_open(&m, folder, NULL, &e) < 0);
    if (!strstr(e.text, words)) fail_msg("\"%s\" does not say \"%s\"", e.text, words);
}

static void a_model_of_shards(void **state)
{
    char *folder = model_folder(), *from, *to;

    (void)state;
    same_numbers(folder);
    edit_index(folder, "\"weight_map\"",
               "\"weight_map\":{\"mtp.fc.weight\":\"model-00009-of-00009.safetensors\"},\"w\"");
    refuse_model(folder, "model-00009-of-00009.safetensors"); /* nothing at all is there */
    scratch_remove(folder);

    folder = model_folder();
    edit_index(folder, "\"model.norm.weight\"",
               "\"mtp.fc.weight\":\"model-00009-of-00009.safetensors\",\"model.norm.weight\"");
    same_numbers(folder); /* a file that is not there, with what the model does not need */
    edit_index(folder, "\"model.norm.weight\"",
               "\"mtp.fc2.weight\":\"./model-00001-of-00005.safetensors\",\"model.norm.weight\"");
    same_numbers(folder); /* a tensor that is nowhere */
    from = strdup(scratch_path(folder, "model-00003-of-00005.safetensors"));
    to = strdup(scratch_path(folder, "away"));
    assert_int_equal(rename(from, to), 0);
    refuse_model(folder, "model-00003-of-00005.safetensors: No such file");
    assert_int_equal(rename(to, from), 0);
    assert_int_equal(unlink(scratch_path(folder, INDEX)), 0);
    same_numbers(folder); /* no index */
    free(from);
    free(to);
    scratch_remove(folder);
}

/* A tensor that the model needs, that the index places in a file, and that no file has. */
static void a_needed_one_is_nowhere(void **state)
{
    char *folder = reference_make("llama"), *from = strdup(scratch_path(folder, "model.safetensors"));
    struct tensors *t = open_it(folder);
    FILE *f = fopen(scratch_path(folder, INDEX), "w");

    (void)state;
    fputs("{\"weight_map\":{", f);
    for (size_t i = 0; i < t->count; i++) fprintf(f, "\"%s\":\"all.safetensors\",", t->at[i].name);
    fputs("\"x\":\"all.safetensors\"}}", f);
    fclose(f);
    tensors_close(t);
    assert_int_equal(rename(from, scratch_path(folder, "all.safetensors")), 0);
    f = fopen(scratch_path(folder, "all.safetensors"), "r+b");
    for (int c = 0; c != EOF && !feof(f);) { /* model.norm.weight becomes model.nurm.weight */
        static const char name[] = "\"model.norm.weight\"";
        size_t k = 0;

        while ((c = fgetc(f)) != EOF && c == name[k] && name[++k]) continue;
        if (name[k]) continue;
        fseek(f, -(long)strlen("orm.weight\""), SEEK_CUR);
        fputc('u', f);
        break;
    }
    fclose(f);
    refuse_model(folder,
                 "all.safetensors: tensor model.norm.weight of shape [80] is not in it, though " INDEX " says so");
    free(from);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_indexes),
        cmocka_unit_test(folders_below),
        cmocka_unit_test(stale_and_wrong_entries),
        cmocka_unit_test(tensors_in_two_files),
        cmocka_unit_test(files_that_are_not_there),
        cmocka_unit_test(by_their_names),
        cmocka_unit_test(by_their_headers),
        cmocka_unit_test(numbers_in_names),
        cmocka_unit_test(a_model_of_shards),
        cmocka_unit_test(a_needed_one_is_nowhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
