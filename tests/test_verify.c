/* `sluice verify` from outside: folders that are whole, and folders of which one thing is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "coordinator/text/lfs.h"
#include "coordinator/source/tensors.h"
#include "coordinator/verify/published.h"
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_terminal.h"

#define SECONDS 30
#define WEIGHTS "model.safetensors"

static struct process_result last;

static json_t *verify_with(const char *const *arg, int status, int line)
{
    json_error_t why;
    json_t *o;

    process_result_free(&last);
    last = process_run("sluice", arg, NULL, 0, SECONDS);
    if (last.status != status)
        fail_msg("line %d: exit %d, not %d: %s%s", line, last.status, status, last.err, last.out);
    o = json_loads(last.out, 0, &why);
    if (!o) fail_msg("line %d: no JSON: %s: %s", line, why.text, last.out);
    assert_int_equal(json_is_true(json_object_get(o, "ok")), status == 0);
    return o;
}
#define VERIFY(status, ...) verify_with((const char *const[]){"verify", "--json", __VA_ARGS__, NULL}, status, __LINE__)

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

/* The one finding, of this kind, that says so. The caller's. */
static json_t *only(json_t *report, const char *kind, const char *says, int line)
{
    json_t *list = json_object_get(report, "findings"), *f = json_array_get(list, 0);

    if (json_array_size(list) != 1)
        fail_msg("line %d: %zu findings, not one: %s", line, json_array_size(list), last.out);
    if (strcmp(text_of(f, "kind"), kind) || !strstr(text_of(f, "text"), says))
        fail_msg("line %d: a finding of kind %s that says '%s' was expected: %s", line, kind, says, last.out);
    json_incref(f);
    json_decref(report);
    return f;
}
#define ONLY(kind, says, ...) json_decref(only(VERIFY(1, __VA_ARGS__), kind, says, __LINE__))

static void clean_folder(const char *folder, int line)
{
    json_decref(verify_with((const char *const[]){"verify", "--json", folder, NULL}, 0, line));
}
#define CLEAN(folder) clean_folder(folder, __LINE__)

static void append(const char *folder, const char *name, const char *text)
{
    FILE *f = fopen(scratch_path(folder, name), "ab");

    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    assert_int_equal(fclose(f), 0);
}

static void patch(const char *folder, const char *name, uint64_t offset, const void *bytes, size_t n)
{
    int fd = open(scratch_path(folder, name), O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, (off_t)offset), n);
    close(fd);
}

/* Changes text within a file's header to another of the same length. */
static void patch_text(const char *folder, const char *name, const char *from, const char *to)
{
    char *text = calloc(1, 1 << 20), *at;
    FILE *f = fopen(scratch_path(folder, name), "rb");
    size_t n;

    assert_non_null(text);
    assert_non_null(f);
    n = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    assert_int_equal(strlen(from), strlen(to));
    at = memmem(text, n, from, strlen(from));
    assert_non_null(at);
    patch(folder, name, (uint64_t)(at - text), to, strlen(to));
    free(text);
}

static struct tensor tensor_of(const char *folder, const char *name)
{
    static uint64_t shape[8];
    struct tensors *t;
    const struct tensor *x;
    struct tensor out;

    assert_int_equal(tensors_open(&t, folder, NULL, NULL), 0);
    x = tensors_find(t, name);
    assert_non_null(x);
    out = *x;
    memcpy(shape, x->shape, x->dims * sizeof *shape);
    out.shape = shape;
    out.name = name;
    tensors_close(t);
    return out;
}

static void sum_of(const char *folder, const char *name, char hex[65])
{
    json_t *o = VERIFY(0, folder), *files = json_object_get(o, "files"), *x;
    size_t i;

    hex[0] = 0;
    json_array_foreach(files, i, x) if (!strcmp(text_of(x, "name"), name))
        snprintf(hex, 65, "%s", text_of(x, "sha256"));
    assert_int_equal(strlen(hex), 64);
    json_decref(o);
}

/* ---- whole folders ---- */

static void every_reference_model_is_whole(void **state)
{
    DIR *d = opendir(REFERENCE_MODELS);
    struct dirent *x;
    int n = 0;

    (void)state;
    assert_non_null(d);
    while ((x = readdir(d))) {
        char *folder;
        json_t *o;

        if (*x->d_name == '.' || strchr(x->d_name, '.') == x->d_name || !strcmp(x->d_name, "README.md")) continue;
        folder = reference_make_whole(x->d_name);
        o = VERIFY(0, folder);
        assert_int_equal(json_array_size(json_object_get(o, "findings")), 0);
        assert_true(json_integer_value(json_object_get(o, "tensors")) > 5);
        json_decref(o);
        scratch_remove(folder);
        n++;
    }
    closedir(d);
    assert_true(n >= 40);
}

static void for_people(void **state)
{
    char *folder = reference_make_whole("llama");

    (void)state;
    process_result_free(&last);
    last = process_run("sluice", (const char *const[]){"verify", folder, NULL}, NULL, 0, SECONDS);
    assert_int_equal(last.status, 0);
    assert_non_null(strstr(last.out, "nothing is wrong"));
    assert_non_null(strstr(last.out, WEIGHTS));
    assert_string_equal(last.err, "");
    patch_text(folder, WEIGHTS, "model.norm.weight", "model.n\\u001b.wei");
    process_result_free(&last);
    last = process_run("sluice", (const char *const[]){"verify", "-v", folder, NULL}, NULL, 0, SECONDS);
    assert_int_equal(last.status, 1);
    assert_non_null(strstr(last.out, "WRONG: "));
    assert_null(strchr(last.out, '\033'));
    assert_non_null(strstr(last.err, "1 thing is wrong with it"));
    scratch_remove(folder);
}

static void no_folder(void **state)
{
    (void)state;
    process_result_free(&last);
    last = process_run("sluice", (const char *const[]){"verify", "/no/such/folder", NULL}, NULL, 0, SECONDS);
    assert_int_equal(last.status, 1);
    assert_non_null(strstr(last.err, "/no/such/folder"));
    assert_string_equal(last.out, "");
}

/* ---- shapes ---- */

static void missing_and_extra(void **state)
{
    char *folder = reference_make_whole("llama");
    json_t *o, *f;

    (void)state;
    patch_text(folder, WEIGHTS, "model.norm.weight", "model.nurm.weight");
    patch_text(folder, WEIGHTS, "model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.op_proj.weight");
    o = VERIFY(1, folder);
    assert_int_equal(json_array_size(json_object_get(o, "findings")), 2); /* both, not the first alone */
    f = json_array_get(json_object_get(o, "findings"), 0);
    assert_string_equal(text_of(f, "kind"), "tensor");
    assert_non_null(strstr(text_of(f, "text"), "is missing"));
    assert_int_equal(json_array_size(json_object_get(o, "extra")), 2);
    json_decref(o);
    scratch_remove(folder);
}

/* A matrix turned round: as many bytes, another shape. */
static void odd_shapes(void **state)
{
    const char *name = "model.layers.0.mlp.down_proj.weight";
    char *folder = reference_make_whole("llama"), from[200], to[200];
    struct tensor t = tensor_of(folder, name);
    unsigned long long a = t.shape[0], b = t.shape[1];
    json_t *f;

    (void)state;
    assert_true(a != b);
    snprintf(from, sizeof from, "\"%s\":{\"dtype\":\"BF16\",\"shape\":[%llu,%llu]", name, a, b);
    snprintf(to, sizeof to, "\"%s\":{\"dtype\":\"BF16\",\"shape\":[%llu,%llu]", name, b, a);
    patch_text(folder, WEIGHTS, from, to);
    f = only(VERIFY(1, folder), "tensor", "was expected", __LINE__);
    assert_string_equal(text_of(f, "tensor"), name);
    assert_string_equal(text_of(f, "file"), WEIGHTS);
    json_decref(f);
    scratch_remove(folder);
}

/* A config of larger matrices than the file has room for: each of them is named, and nothing else is. */
static void shapes_beyond_the_end(void **state)
{
    char *folder = reference_make_whole("llama"), from[60];
    json_t *config = json_load_file(scratch_path(folder, "config.json"), 0, NULL), *o, *list, *f;
    json_int_t inter = json_integer_value(json_object_get(config, "intermediate_size")),
               layers = json_integer_value(json_object_get(config, "num_hidden_layers"));
    size_t i;

    (void)state;
    assert_in_range(inter, 100, 998);
    snprintf(from, sizeof from, "\"intermediate_size\": %d", (int)inter);
    patch_text(folder, "config.json", from, "\"intermediate_size\": 999");
    o = VERIFY(1, folder);
    list = json_object_get(o, "findings");
    assert_int_equal(json_array_size(list), 3 * layers);
    json_array_foreach(list, i, f)
    {
        assert_string_equal(text_of(f, "kind"), "tensor");
        assert_non_null(strstr(text_of(f, "text"), "was expected"));
    }
    assert_string_equal(text_of(o, "architecture"), "LlamaForCausalLM");
    json_decref(o);
    json_decref(config);
    scratch_remove(folder);
}

/* ---- numbers ---- */

static void planted(const char *model, const char *name, uint64_t at, const char *bytes, size_t n, int nan, int inf)
{
    char *folder = reference_make_whole(model);
    struct tensor t = tensor_of(folder, name);
    char file[64];
    json_t *f;

    assert_true(at + n <= t.bytes);
    snprintf(file, sizeof file, WEIGHTS);
    patch(folder, file, t.offset + at, bytes, n);
    f = only(VERIFY(1, folder), "numbers", name, __LINE__);
    assert_string_equal(text_of(f, "tensor"), name);
    assert_string_equal(text_of(f, "file"), WEIGHTS);
    assert_int_equal(json_integer_value(json_object_get(f, "nan")), nan);
    assert_int_equal(json_integer_value(json_object_get(f, "infinite")), inf);
    assert_int_equal(json_integer_value(json_object_get(f, "first_offset")), t.offset + at);
    json_decref(f);
    scratch_remove(folder);
}

static void numbers_that_are_none(void **state)
{
    (void)state;
    planted("llama", "model.layers.1.mlp.up_proj.weight", 46, "\xc0\x7f\x80\xff\x81\x7f", 6, 2, 1);  /* BF16 */
    planted("llama-tied-f32", "model.norm.weight", 8, "\x00\x00\x80\x7f\x01\x00\x80\xff", 8, 1, 1);  /* F32 */
    planted("qwen3-fp8", "model.layers.0.mlp.up_proj.weight", 3, "\x7f\x7e\xff", 3, 2, 0);           /* F8_E4M3 */
    planted("gpt-oss-mxfp4", "model.layers.0.mlp.experts.down_proj_scales", 5, "\xff\xfe", 2, 1, 0); /* E8M0 in U8 */
}

/* Every code of MXFP4 is a number. */
static void four_bits_are_always_numbers(void **state)
{
    char *folder = reference_make_whole("gpt-oss-mxfp4");
    struct tensor t = tensor_of(folder, "model.layers.0.mlp.experts.down_proj_blocks");

    (void)state;
    patch(folder, WEIGHTS, t.offset, "\xff\xff\x7f\x80\x00\xff\xff\xff", 8);
    CLEAN(folder);
    scratch_remove(folder);
}

/* ---- files ---- */

static void damaged_files(void **state)
{
    char *folder = reference_make_whole("llama-bias-f16-sharded");
    const char *shard = "model-00002-of-00005.safetensors";
    struct stat st;

    (void)state;
    assert_int_equal(stat(scratch_path(folder, shard), &st), 0);
    assert_int_equal(truncate(scratch_path(folder, shard), st.st_size - 10), 0);
    ONLY("file", "cut short", folder);
    assert_int_equal(truncate(scratch_path(folder, shard), 5), 0);
    ONLY("file", shard, folder);
    scratch_write(folder, shard,
                  "version https://git-lfs.github.com/spec/v1\noid sha256:"
                  "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n");
    ONLY("file", "git LFS pointer", folder);
    assert_int_equal(unlink(scratch_path(folder, shard)), 0);
    ONLY("file", "1 is not there", folder);
    scratch_remove(folder);

    folder = reference_make_whole("llama");
    scratch_write(folder, "config.json", "{");
    ONLY("model", "config.json", folder);
    assert_int_equal(unlink(scratch_path(folder, "config.json")), 0);
    ONLY("model", "config.json", folder);
    scratch_remove(folder);
}

/* The same message where somebody just wants to run it. */
static void pointers_in_other_commands(void **state)
{
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:"
                                  "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    char *folder = reference_make_whole("llama");
    struct lfs_pointer p;

    (void)state;
    assert_true(lfs_pointer_parse(&p, pointer, sizeof pointer - 1));
    assert_int_equal(p.bytes, 12345);
    assert_string_equal(p.sha256, "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393");
    assert_false(lfs_pointer_parse(&p, "version 1", 9));
    scratch_write(folder, WEIGHTS, pointer);
    process_result_free(&last);
    last = process_run("sluice", (const char *const[]){"logits", folder, "--tokens", "1", "--out", "/dev/null", NULL},
                       NULL, 0, SECONDS);
    assert_int_equal(last.status, 1);
    assert_non_null(strstr(last.err, "git lfs pull"));
    scratch_write(folder, "tokenizer.json", pointer);
    process_result_free(&last);
    last = process_run("sluice", (const char *const[]){"tokenize", folder, NULL}, "x", 1, SECONDS);
    assert_int_equal(last.status, 1);
    assert_non_null(strstr(last.err, "git lfs pull"));
    scratch_remove(folder);
}

/* ---- published sums ---- */

static void parses_lists(void **state)
{
#define HEX "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    static const struct {
        const char *line, *name; /* NULL: no line of a list */
    } lines[] = {
        {HEX "  model.safetensors\n", "model.safetensors"},
        {HEX " *model.safetensors\r\n", "model.safetensors"},
        {HEX "  ./a b\n", "a b"},
        {HEX "   *a", " *a"},
        {HEX " \ta", "a"},
        {"2C26B46B68FFC68FF99B453C1D30413413422D706483BFA0F98A5E886266E7AE  x", "x"},
        {"SHA256 (x (1).bin) = " HEX, "x (1).bin"},
        {"\\" HEX "  a\\nb\\\\c", "a\nb\\c"},
        {HEX, ""},
        {HEX "0  x", NULL},
        {"# " HEX "  x", NULL},
        {"2c26  x", NULL},
        {"SHA1 (x) = " HEX, NULL},
        {"", NULL},
    };
    char line[256], hex[65], *name;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        snprintf(line, sizeof line, "%s", lines[i].line);
        assert_int_equal(published_parse(line, hex, &name), lines[i].name != NULL);
        if (!lines[i].name) continue;
        assert_string_equal(name, lines[i].name);
        assert_string_equal(hex, HEX);
    }
    assert_true(published_is_list("SHA256SUMS"));
    assert_true(published_is_list("x.safetensors.sha256"));
    assert_false(published_is_list("config.json"));
    assert_false(published_is_list(".sha256"));
}

static const char wrong_sum[] = "0000000000000000000000000000000000000000000000000000000000000001";

static void as_published(const char *folder, const char *name, const char *source, int line)
{
    json_t *o = verify_with((const char *const[]){"verify", "--json", folder, NULL}, 0, line), *x;
    size_t i;
    int seen = 0;

    json_array_foreach(json_object_get(o, "files"), i, x)
    {
        json_t *s = json_array_get(json_object_get(x, "published"), 0);

        if (strcmp(text_of(x, "name"), name)) continue;
        if (!s || !strstr(text_of(s, "source"), source))
            fail_msg("line %d: no sum from %s: %s", line, source, last.out);
        assert_true(json_is_true(json_object_get(s, "equal")));
        seen++;
    }
    assert_int_equal(seen, 1);
    json_decref(o);
}

static void lists_beside_the_files(void **state)
{
    static const char *const lists[] = {"SHA256SUMS", "sha256sums.txt", "checksums.sha256", WEIGHTS ".sha256"};
    char *folder = reference_make_whole("llama"), sum[65], line[200];

    (void)state;
    sum_of(folder, WEIGHTS, sum);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        snprintf(line, sizeof line, "%s  somewhere/else\n%s  %s\n", wrong_sum, sum, WEIGHTS);
        scratch_write(folder, lists[i], line);
        as_published(folder, WEIGHTS, lists[i], __LINE__);
        snprintf(line, sizeof line, "SHA256 (%s) = %s\n", WEIGHTS, wrong_sum);
        scratch_write(folder, lists[i], line);
        ONLY("checksum", wrong_sum, folder);
        assert_int_equal(unlink(scratch_path(folder, lists[i])), 0);
    }
    scratch_write(folder, WEIGHTS ".sha256", sum); /* the sum alone */
    as_published(folder, WEIGHTS, WEIGHTS ".sha256", __LINE__);
    snprintf(line, sizeof line, "%s  -\n", sum); /* as sha256sum sums a pipe */
    scratch_write(folder, WEIGHTS ".sha256", line);
    as_published(folder, WEIGHTS, WEIGHTS ".sha256", __LINE__);
    patch(folder, WEIGHTS, tensor_of(folder, "model.norm.weight").offset, "\x11\x3f", 2);
    ONLY("checksum", "download it again", folder);
    scratch_remove(folder);
}

/* What huggingface_hub leaves in a folder: etags, the SHA-256 of large files and git's SHA-1 of small ones. */
static void the_hub_s_metadata(void **state)
{
    char *folder = reference_make_whole("llama"), sum[65], line[200];

    (void)state;
    sum_of(folder, WEIGHTS, sum);
    assert_int_equal(mkdir(scratch_path(folder, ".cache"), 0700), 0);
    assert_int_equal(mkdir(scratch_path(folder, ".cache/huggingface"), 0700), 0);
    assert_int_equal(mkdir(scratch_path(folder, ".cache/huggingface/download"), 0700), 0);
    snprintf(line, sizeof line, "9d1c5b2f\n%s\n1700000000.5\n", sum);
    scratch_write(folder, ".cache/huggingface/download/" WEIGHTS ".metadata", line);
    as_published(folder, WEIGHTS, "huggingface", __LINE__);
    scratch_write(folder, "notes.txt", "hello\n");
    scratch_write(folder, ".cache/huggingface/download/notes.txt.metadata",
                  "9d1c5b2f\nce013625030ba8dba906f756967f9e9ca394464a\n1700000000.5\n");
    as_published(folder, "notes.txt", "huggingface", __LINE__);
    append(folder, "notes.txt", "!");
    ONLY("checksum", "git SHA-1", folder);
    unlink(scratch_path(folder, ".cache/huggingface/download/" WEIGHTS ".metadata"));
    unlink(scratch_path(folder, ".cache/huggingface/download/notes.txt.metadata"));
    rmdir(scratch_path(folder, ".cache/huggingface/download"));
    rmdir(scratch_path(folder, ".cache/huggingface"));
    scratch_remove(folder);
}

/* The hub's cache: the snapshot's names lead to blobs that are named by their sums. */
static void blobs_named_by_their_sums(void **state)
{
    char *folder = reference_make_whole("llama"), sum[65], blob[128], target[128];

    (void)state;
    sum_of(folder, WEIGHTS, sum);
    assert_int_equal(mkdir(scratch_path(folder, "blobs"), 0700), 0);
    snprintf(blob, sizeof blob, "blobs/%s", sum);
    for (int wrong = 0; wrong < 2; wrong++) {
        char from[512];

        snprintf(target, sizeof target, "blobs/%s", wrong ? wrong_sum : sum);
        snprintf(from, sizeof from, "%s", scratch_path(folder, wrong ? blob : WEIGHTS));
        assert_int_equal(rename(from, scratch_path(folder, target)), 0);
        unlink(scratch_path(folder, WEIGHTS));
        snprintf(from, sizeof from, "../%s/%s", strrchr(folder, '/') + 1, target);
        assert_int_equal(symlink(from, scratch_path(folder, WEIGHTS)), 0);
        if (wrong)
            ONLY("checksum", "the name of its blob", folder);
        else
            as_published(folder, WEIGHTS, "blob", __LINE__);
    }
    unlink(scratch_path(folder, target));
    scratch_remove(folder);
}

/* ---- manifests ---- */

static void manifests(void **state)
{
    char *folder = reference_make_whole("llama"), *outside = scratch_make(), manifest[512], command[1400];
    struct stat st;

    (void)state;
    snprintf(manifest, sizeof manifest, "%s", scratch_path(outside, "manifest"));
    json_decref(VERIFY(0, folder, "--out", manifest));
    json_decref(VERIFY(0, folder, "--baseline", manifest));
    if (!access("/usr/bin/sha256sum", X_OK)) { /* others read it too */
        snprintf(command, sizeof command, "cd %s && exec sha256sum --strict --status -c %s", folder, manifest);
        process_result_free(&last);
        last = process_run("/bin/sh", (const char *const[]){"-c", command, NULL}, NULL, 0, SECONDS);
        assert_int_equal(last.status, 0);
    }
    scratch_write(folder, "notes.txt", "new, and no weights: a note\n");
    json_decref(VERIFY(0, folder, "--baseline", manifest));
    patch(folder, WEIGHTS, tensor_of(folder, "model.norm.weight").offset, "\x11\x3f", 2);
    ONLY("baseline", "has changed since", folder, "--baseline", manifest);
    append(folder, "config.json", " ");
    {
        json_t *o = VERIFY(1, folder, "--baseline", manifest), *f;

        assert_int_equal(json_array_size(json_object_get(o, "findings")), 2);
        f = json_array_get(json_object_get(o, "findings"), 1);
        assert_non_null(strstr(text_of(f, "text"), "bytes now"));
        json_decref(o);
    }
    json_decref(VERIFY(0, folder, "--out", manifest)); /* as it is now, in the place of the old one */
    json_decref(VERIFY(0, folder, "--baseline", manifest));
    assert_int_equal(unlink(scratch_path(folder, "notes.txt")), 0);
    ONLY("baseline", "is gone", folder, "--baseline", manifest);
    assert_true(stat(scratch_path(outside, "manifest.new"), &st));
    scratch_remove(folder);
    scratch_remove(outside);
}

static void manifests_that_are_none(void **state)
{
    char *folder = reference_make_whole("llama");

    (void)state;
    process_result_free(&last);
    last = process_run("sluice", (const char *const[]){"verify", folder, "--baseline", "/no/such", NULL}, NULL, 0,
                       SECONDS);
    assert_int_equal(last.status, 1);
    assert_non_null(strstr(last.err, "/no/such"));
    process_result_free(&last);
    last = process_run("sluice",
                       (const char *const[]){"verify", folder, "--baseline", scratch_path(folder, "config.json"), NULL},
                       NULL, 0, SECONDS);
    assert_int_equal(last.status, 1);
    assert_non_null(strstr(last.err, "no manifest"));
    process_result_free(&last);
    last = process_run("sluice", (const char *const[]){"verify", folder, "--out", "/no/such/manifest", NULL}, NULL, 0,
                       SECONDS);
    assert_int_equal(last.status, 1);
    assert_non_null(strstr(last.err, "/no/such/manifest"));
    scratch_remove(folder);
}

/* ---- being interrupted ---- */

static bool has_child(pid_t pid)
{
    char path[64], text[64] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)pid, (long)pid);
    f = fopen(path, "r");
    if (!f) return false;
    if (!fgets(text, sizeof text, f)) text[0] = 0;
    fclose(f);
    return text[0] != 0;
}

/* A hole of many gigabytes takes longer than anybody waits here. */
static void ends_at_once(void **state)
{
    char *folder = reference_make_whole("llama");
    struct process p;

    (void)state;
    assert_int_equal(truncate(scratch_path(folder, WEIGHTS), (off_t)200 << 30), 0);
    p = process_start("sluice", (const char *const[]){"verify", folder, NULL});
    for (int i = 0; i < 1000 && !has_child(p.pid); i++) nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_true(has_child(p.pid));
    kill(p.pid, SIGINT); /* to the coordinator alone, which ends the other one */
    process_result_free(&last);
    last = process_finish(&p, NULL, 0, SECONDS);
    assert_int_equal(last.status, 130);
    assert_string_equal(last.out, "");
    scratch_remove(folder);
}

/* ---- the progress line ---- */

#define TERMINAL(...)                                                                                                  \
    terminal_start("sluice", (const char *const[]){"verify", __VA_ARGS__, NULL}, (const char *const[]){NULL})

/* Waits for the next whole line of progress. Its numbers: GB read, GB in all, percent. */
static void next_progress(struct terminal *t, double number[3])
{
    const char *at = NULL;

    terminal_wait(t, "ETA ");
    for (const char *p = t->text; (p = strstr(p, "verify ")) && p < t->text + t->seen; p++) at = p;
    assert_non_null(at);
    if (sscanf(at, "verify %lf/%lf GB %lf%%", number, number + 1, number + 2) != 3) fail_msg("no progress: %.100s", at);
}

static void a_progress_line(void **state)
{
    char *folder = reference_make_whole("llama");
    double first[3], now[3];
    struct terminal t;
    const char *line = NULL;

    (void)state;
    assert_int_equal(truncate(scratch_path(folder, WEIGHTS), (off_t)200 << 30), 0);
    t = TERMINAL(folder);
    next_progress(&t, first);
    assert_true(first[1] > 214.6 && first[1] < 214.9);
    do { /* it goes on, and says so */
        next_progress(&t, now);
        assert_true(now[0] >= first[0] && now[0] <= now[1] && now[2] >= first[2]);
    } while (now[0] <= first[0]);
    terminal_type(&t, "\003");
    terminal_peek(&t, 5000); /* until it ends */
    for (const char *p = t.raw; (p = strstr(p, "verify ")); p++) line = p;
    assert_non_null(line);
    assert_non_null(strstr(line, "\033[K")); /* nothing of it stays */
    assert_null(strstr(t.text, "nothing is wrong"));
    assert_int_equal(terminal_end(&t), 130);

    t = TERMINAL(folder, "-q");
    assert_true(terminal_child(&t, "sluice-verify") > 0);
    assert_null(strstr(terminal_peek(&t, 300), "ETA"));
    terminal_type(&t, "\003");
    assert_int_equal(terminal_end(&t), 130);
    scratch_remove(folder);
}

/* The report stands where the line was. */
static void a_report_after_progress(void **state)
{
    struct terminal t = TERMINAL("tests/data/demo-model");
    double number[3];
    const char *erased = NULL, *report;

    (void)state;
    next_progress(&t, number);
    terminal_wait(&t, "nothing is wrong");
    report = strstr(t.raw, "nothing is wrong");
    assert_non_null(report);
    for (const char *p = t.raw; (p = strstr(p, "\033[K")) && p < report; p++) erased = p;
    assert_non_null(erased);
    assert_null(strstr(erased, "ETA"));
    assert_int_equal(terminal_end(&t), 0);
}

/* Nobody starts it but sluice; a job that is none is refused. */
static void the_worker_alone(void **state)
{
    (void)state;
    process_result_free(&last);
    last = process_run("sluice-verify", (const char *const[]){NULL}, NULL, 0, SECONDS);
    assert_int_equal(last.status, 1);
    assert_non_null(strstr(last.err, "sluice verify MODEL"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reference_model_is_whole),
        cmocka_unit_test(for_people),
        cmocka_unit_test(no_folder),
        cmocka_unit_test(missing_and_extra),
        cmocka_unit_test(odd_shapes),
        cmocka_unit_test(shapes_beyond_the_end),
        cmocka_unit_test(numbers_that_are_none),
        cmocka_unit_test(four_bits_are_always_numbers),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(pointers_in_other_commands),
        cmocka_unit_test(parses_lists),
        cmocka_unit_test(lists_beside_the_files),
        cmocka_unit_test(the_hub_s_metadata),
        cmocka_unit_test(blobs_named_by_their_sums),
        cmocka_unit_test(manifests),
        cmocka_unit_test(manifests_that_are_none),
        cmocka_unit_test(ends_at_once),
        cmocka_unit_test(a_progress_line),
        cmocka_unit_test(a_report_after_progress),
        cmocka_unit_test(the_worker_alone),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);

    process_result_free(&last);
    return rc;
}
