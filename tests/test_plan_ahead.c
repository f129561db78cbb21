/* Plans of folders whose weights are not there yet: from a list of tensors, from the index, from config.json alone. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

#include "coordinator/plan/plan.h"
#include "coordinator/plan/calibrate.h"
#include "tests/mkmodel.h"
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_program.h"

/* The sizes of the plan for this folder. The cache and the page-rounded memory depend on the offsets of the files to a
 * page, which a list does not know: they are left out. */
static struct plan_summary plan(const char *folder, const char *from)
{
    static const struct calibration speeds = {
        .disk = 1e9, .memory = 1e10, .link = 1e10, .device_memory = 1e11, .flops = 1e11};
    struct model_options o = {.allow_missing_weights = true, .context = 16};
    struct plan_settings s = test_settings(UINT64_C(4) << 30);
    struct plan_summary z;
    struct plan_shm *p = NULL;
    struct model *m = NULL;
    struct error e = {0};
    uint64_t bytes;

    if (model_open(&m, folder, &o, &e)) fail_msg("%s: %s", folder, e.text);
    assert_string_equal(model_weights_from(m), from);
    assert_int_equal(model_weights_missing(m), strcmp(from, "files") != 0);
    if (model_notice(m) && strstr(model_notice(m), " GB of weights")) fail_msg("%s: %s", folder, model_notice(m));
    if (plan_build(&p, &bytes, model_program(m), &s, &e)) fail_msg("%s: %s", folder, e.text);
    plan_summarize(&z, p, &speeds);
    assert_true(z.weight_bytes >= model_weight_bytes(m)); /* a block of scales that two tiles need counts twice */
    free(p);
    model_close(m);
    return z;
}

static void expect_equal(const char *name, const struct plan_summary *a, const struct plan_summary *b)
{
    /* how many experts a cache holds depends on how they lie to a page, and with it what is read for a token */
    bool dense = !a->expert_bytes;
    const uint64_t x[] = {a->weight_bytes, dense ? a->sweep_bytes : 0,
                          a->dense_bytes,  a->active_bytes,
                          a->disk_bytes,   a->host_bytes,
                          a->device_bytes, a->resident_bytes,
                          a->expert_bytes, a->expert_used_bytes,
                          a->kv_bytes,     a->state_bytes};
    const uint64_t y[] = {b->weight_bytes, dense ? b->sweep_bytes : 0,
                          b->dense_bytes,  b->active_bytes,
                          b->disk_bytes,   b->host_bytes,
                          b->device_bytes, b->resident_bytes,
                          b->expert_bytes, b->expert_used_bytes,
                          b->kv_bytes,     b->state_bytes};

    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        if (x[i] != y[i])
            fail_msg("%s: size %zu is %llu, with the weights %llu", name, i, (unsigned long long)y[i],
                     (unsigned long long)x[i]);
}

/* The index that a download of the listed tensors would bring. */
static void write_index(const char *list, const char *folder)
{
    json_t *map = json_object(), *o;
    char line[1024], file[256], name[512], form[32], shape[64], *text;
    uint64_t total = 0;
    FILE *f = fopen(list, "r");

    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        uint64_t dims[8], bytes;
        uint32_t n = 0;

        shape[0] = 0; /* of a scalar */
        assert_in_range(sscanf(line, "%255[^\t]\t%511[^\t]\t%31[^\t]\t%63[^\t]", file, name, form, shape), 3, 4);
        for (char *p = strtok(shape, "x"); p; p = strtok(NULL, "x")) dims[n++] = strtoull(p, NULL, 10);
        assert_int_equal(tensor_shape_bytes(tensor_dtype_of(form), dims, n, &bytes), 0);
        total += bytes;
        json_object_set_new(map, name, json_string("model-00001-of-00001.safetensors"));
    }
    fclose(f);
    o = json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    text = json_dumps(o, 0);
    scratch_write(folder, "model.safetensors.index.json", text);
    free(text);
    json_decref(o);
}

static char *config_only(const char *name)
{
    char *folder = scratch_make();

    scratch_write_json(folder, "config.json", reference_config(name));
    return folder;
}

/* Whether a list has small vectors that are stored wider than config.json says: only files and lists tell. */
static bool has_wider_vectors(const char *list)
{
    char line[1024], name[512], form[32], shape[64];
    bool wide = false, narrow = false;
    FILE *f = fopen(list, "r");

    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "%*s %511s %31s %63s", name, form, shape) == 3) {
            const char *length = strncmp(shape, "1x", 2) ? shape : shape + 2; /* a vector all the same */

            wide |= !strcmp(form, "F32") && (strspn(length, "0123456789") == strlen(length) || strstr(name, "A_log"));
            narrow |= strcmp(form, "F32") != 0;
        }
    fclose(f);
    return wide && narrow;
}

static void every_model_three_ways(void **state)
{
    DIR *d = opendir(REFERENCE_MODELS);
    struct dirent *x;
    int models = 0;

    (void)state;
    assert_non_null(d);
    while ((x = readdir(d))) {
        char list[512], *real, *bare;
        struct plan_summary whole, part;

        snprintf(list, sizeof list, REFERENCE_MODELS "/%s/tensors.tsv", x->d_name);
        if (access(list, R_OK)) continue;
        real = reference_make(x->d_name);
        bare = config_only(x->d_name);
        whole = plan(real, "files");
        part = plan(bare, "config.json");
        if (!has_wider_vectors(list)) expect_equal(x->d_name, &whole, &part);
        write_index(list, bare);
        part = plan(bare, "model.safetensors.index.json");
        if (!has_wider_vectors(list)) expect_equal(x->d_name, &whole, &part);
        list[strlen(list) - strlen("/tensors.tsv")] = 0;
        part = plan(list, "tensors.tsv"); /* the reference folder itself: config.json, the list, no weights */
        expect_equal(x->d_name, &whole, &part);
        scratch_remove(real);
        scratch_remove(bare);
        models++;
    }
    closedir(d);
    assert_true(models >= 48);
}

/* Three columns, comments, and what the list says goes before what the config would have assumed. */
static void short_list(void **state)
{
    static const char text[] = "# one file\n\n"
                               "model.embed_tokens.weight\tF32\t272x80\r\n"
                               "model.norm.weight\tBF16\t80\n";
    struct tensors *t = NULL;
    struct error e = {0};
    char *folder = scratch_make();

    (void)state;
    scratch_write(folder, "tensors.tsv", text);
    assert_int_equal(tensors_open(&t, folder, &(struct tensors_options){.allow_missing = true}, &e), 0);
    assert_int_equal(t->count, 2);
    assert_int_equal(t->file_count, 1);
    assert_string_equal(t->files[0].name, "model.safetensors");
    assert_int_equal(tensors_find(t, "model.embed_tokens.weight")->bytes, 272 * 80 * 4);
    assert_int_equal(tensors_find(t, "model.norm.weight")->dims, 1);
    assert_int_equal(tensors_find(t, "model.norm.weight")->offset,
                     tensors_find(t, "model.embed_tokens.weight")->offset + 272 * 80 * 4);
    tensors_close(t);
    assert_int_equal(tensors_open(&t, folder, NULL, &e), -ENOENT); /* a list is nothing to run */
    scratch_remove(folder);
}

static void broken_lists(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "no tensors are listed"},
        {"a\tBF16\n", "line 1: too few words"},
        {"a\tBF16\t4x4\nb\tBF17\t4\n", "line 2: no dtype of safetensors: BF17"},
        {"a\tBF16\t4x\n", "no shape: 4x"},
        {"a\tBF16\t4,4\n", "no shape: 4,4"},
        {"a\tBF16\t-4\n", "no shape"},
        {"a\tBF16\t99999999999999999999999\n", "no shape"},
        {"a\tBF16\t4294967296x4294967296x2\n", "out of range"},
        {"a\tF4\t3\n", "out of range"},
        {"a\tU8\t9223372036854775807\n", "out of range"},
        {"a\tBF16\t4\na\tBF16\t4\n", "line 2: a tensor that was there already: a"},
        {"../x.safetensors\ta\tBF16\t4\tz\n", "no path inside of the folder"},
        {"\tBF16\t4\n", "too few words"},
    };
    struct tensors *t = NULL;
    char *folder = scratch_make();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error e = {0};

        scratch_write(folder, "tensors.tsv", cases[i].text);
        assert_int_equal(tensors_open(&t, folder, &(struct tensors_options){.allow_missing = true}, &e), -EINVAL);
        if (!strstr(e.text, cases[i].says)) fail_msg("%s does not say %s", e.text, cases[i].says);
        assert_non_null(strstr(e.text, "tensors.tsv"));
    }
    scratch_remove(folder);
}

/* An index whose sum is another type's: the plan says that it may be off. */
static void index_of_another_type(void **state)
{
    struct model_options o = {.allow_missing_weights = true};
    struct model *m = NULL;
    struct error e = {0};
    char *folder = config_only("llama"), *text;
    json_t *index;

    (void)state;
    write_index(REFERENCE_MODELS "/llama/tensors.tsv", folder);
    index = json_load_file(scratch_path(folder, "model.safetensors.index.json"), 0, NULL);
    json_object_set_new(json_object_get(index, "metadata"), "total_size", json_integer(4000000));
    text = json_dumps(index, 0);
    scratch_write(folder, "model.safetensors.index.json", text);
    assert_int_equal(model_open(&m, folder, &o, &e), 0);
    assert_non_null(strstr(model_notice(m), "0.004 GB"));
    model_close(m);
    free(text);
    json_decref(index);
    scratch_remove(folder);
}

/* A git LFS pointer to a file of so many bytes. */
static void write_pointer(const char *folder, const char *name, uint64_t bytes)
{
    char text[300];

    snprintf(text, sizeof text,
             "version https://git-lfs.github.com/spec/v1\noid sha256:"
             "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize %llu\n",
             (unsigned long long)bytes);
    scratch_write(folder, name, text);
}

/* Pointers in the place of all weights of a folder: the plan is that of the weights. */
static void pointers(const char *model, bool indexed)
{
    char *real = reference_make(model), *bare = config_only(model);
    struct plan_summary whole = plan(real, "files"), part;
    DIR *d = opendir(real);
    struct dirent *x;

    assert_non_null(d);
    while ((x = readdir(d))) {
        struct stat st;

        if (!strstr(x->d_name, ".safetensors") || strstr(x->d_name, ".json")) continue;
        assert_int_equal(stat(scratch_path(real, x->d_name), &st), 0);
        write_pointer(bare, x->d_name, (uint64_t)st.st_size);
    }
    closedir(d);
    if (indexed) {
        char *text = calloc(1, 1 << 20);
        FILE *f = fopen(scratch_path(real, "model.safetensors.index.json"), "r");

        assert_non_null(f);
        assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
        fclose(f);
        scratch_write(bare, "model.safetensors.index.json", text);
        free(text);
    }
    part = plan(bare, indexed ? "model.safetensors.index.json" : "config.json");
    expect_equal(model, &whole, &part);
    scratch_remove(real);
    scratch_remove(bare);
}

static void git_lfs_pointers(void **state)
{
    struct model_options o = {.allow_missing_weights = true};
    struct model *m = NULL;
    struct error e = {0};
    char *folder;

    (void)state;
    pointers("llama", false);
    pointers("qwen3-moe", false);
    pointers("deepseek-v3-fp8", false);
    pointers("llama-bias-f16-sharded", true);
    pointers("llama-bias-f16-sharded", false); /* the index was not cloned */
    /* a size that config.json's shapes do not come to is told */
    folder = config_only("llama");
    write_pointer(folder, "model.safetensors", UINT64_C(5368709120));
    assert_int_equal(model_open(&m, folder, &o, &e), 0);
    assert_non_null(strstr(model_notice(m), "git LFS pointers say 5.369 GB of weights"));
    model_close(m);
    /* a run has nothing to read */
    assert_int_equal(model_open(&m, folder, NULL, &e), -ENODATA);
    assert_non_null(strstr(e.text, "git lfs pull"));
    /* weights that are not all there */
    scratch_remove(folder);
    folder = reference_make("llama-bias-f16-sharded");
    write_pointer(folder, "model-00003-of-00005.safetensors", 20000);
    assert_int_equal(model_open(&m, folder, &o, &e), 0);
    assert_true(model_weights_missing(m));
    model_close(m);
    scratch_remove(folder);
}

/* The cache of a download that has come to config.json only: links whose blobs are not there. */
static void a_hub_cache(void **state)
{
    char *cache = scratch_make(), path[400], snapshot[300], from[400];
    const char *arg[] = {"plan", "--json", cache, NULL};
    struct process_result r;
    json_t *o;

    (void)state;
    snprintf(snapshot, sizeof snapshot, "%s/snapshots", cache);
    assert_int_equal(mkdir(snapshot, 0777), 0);
    snprintf(snapshot, sizeof snapshot, "%s/snapshots/0123", cache);
    assert_int_equal(mkdir(snapshot, 0777), 0);
    assert_non_null(realpath(REFERENCE_MODELS "/llama/config.json", from));
    snprintf(path, sizeof path, "%s/config.json", snapshot);
    assert_int_equal(symlink(from, path), 0);
    snprintf(path, sizeof path, "%s/model.safetensors", snapshot);
    assert_int_equal(symlink("../../blobs/4567", path), 0);
    r = process_run("sluice", arg, NULL, 0, 20);
    if (r.status) fail_msg("%s", r.err);
    o = json_loads(r.out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(o, "weights_from")), "config.json");
    json_decref(o);
    process_result_free(&r);
    scratch_remove(cache);
}

/* What a tokenizer will take counts before it is there too. */
static void a_tokenizer_to_come(void **state)
{
    static const char *const files[] = {"tokenizer.json", "model.safetensors"};
    char *folder = scratch_make(), from[400], to[400];
    const char *arg[2][7] = {{"plan", "--json", "tests/data/demo-model", "--host-memory", "1G", NULL},
                             {"plan", "--json", folder, "--host-memory", "1G", NULL}};
    json_int_t bytes[2];

    (void)state;
    assert_non_null(realpath("tests/data/demo-model/config.json", from));
    snprintf(to, sizeof to, "%s/config.json", folder);
    assert_int_equal(symlink(from, to), 0);
    for (int i = 0; i < 2; i++) {
        struct stat st;

        snprintf(from, sizeof from, "tests/data/demo-model/%s", files[i]);
        assert_int_equal(stat(from, &st), 0);
        write_pointer(folder, files[i], (uint64_t)st.st_size);
    }
    for (int i = 0; i < 2; i++) {
        struct process_result r = process_run("sluice", arg[i], NULL, 0, 20);
        json_t *o = json_loads(r.out, 0, NULL);

        if (r.status) fail_msg("%s", r.err);
        bytes[i] = json_integer_value(json_object_get(o, "host_total_bytes"));
        json_decref(o);
        process_result_free(&r);
    }
    assert_true(bytes[0] - bytes[1] < 50000 && bytes[1] - bytes[0] < 50000); /* three times the tokenizer's is 120000 */
    scratch_remove(folder);
}

static void as_a_user(void **state)
{
    const char *plan_arg[] = {"plan", "--json", REFERENCE_MODELS "/deepseek-v3-fp8", NULL};
    const char *table_arg[] = {"plan", REFERENCE_MODELS "/deepseek-v3-fp8", NULL};
    const char *run_arg[] = {"run", REFERENCE_MODELS "/deepseek-v3-fp8", "-p", "x", NULL};
    struct process_result r = process_run("sluice", plan_arg, NULL, 0, 20);
    json_t *o = json_loads(r.out, 0, NULL);

    (void)state;
    assert_int_equal(r.status, 0);
    assert_string_equal(json_string_value(json_object_get(o, "weights_from")), "tensors.tsv");
    assert_true(json_integer_value(json_object_get(o, "weight_bytes")) > 100000);
    json_decref(o);
    process_result_free(&r);
    r = process_run("sluice", table_arg, NULL, 0, 20);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "The weights are not there: their sizes come from tensors.tsv."));
    process_result_free(&r);
    r = process_run("sluice", run_arg, NULL, 0, 20);
    assert_int_equal(r.status, 1);
    assert_int_equal(r.out_bytes, 0);
    assert_non_null(strstr(r.err, "no weights"));
    process_result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_three_ways), cmocka_unit_test(short_list),       cmocka_unit_test(broken_lists),
        cmocka_unit_test(index_of_another_type),  cmocka_unit_test(git_lfs_pointers), cmocka_unit_test(a_hub_cache),
        cmocka_unit_test(a_tokenizer_to_come),    cmocka_unit_test(as_a_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
