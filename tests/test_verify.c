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
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_terminal.h"
#include "tests/support_verify.h"

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
    process_result_free(&verify_last);
    verify_last = process_run("sluice", (const char *const[]){"verify", folder, NULL}, NULL, 0, VERIFY_SECONDS);
    assert_int_equal(verify_last.status, 0);
    assert_non_null(strstr(verify_last.out, "nothing is wrong"));
    assert_non_null(strstr(verify_last.out, WEIGHTS));
    assert_string_equal(verify_last.err, "");
    file_patch_text(folder, WEIGHTS, "model.norm.weight", "model.n\\u001b.wei");
    process_result_free(&verify_last);
    verify_last = process_run("sluice", (const char *const[]){"verify", "-v", folder, NULL}, NULL, 0, VERIFY_SECONDS);
    assert_int_equal(verify_last.status, 1);
    assert_non_null(strstr(verify_last.out, "WRONG: "));
    assert_null(strchr(verify_last.out, '\033'));
    assert_non_null(strstr(verify_last.err, "1 thing is wrong with it"));
    scratch_remove(folder);
}

static void no_folder(void **state)
{
    (void)state;
    process_result_free(&verify_last);
    verify_last =
        process_run("sluice", (const char *const[]){"verify", "/no/such/folder", NULL}, NULL, 0, VERIFY_SECONDS);
    assert_int_equal(verify_last.status, 1);
    assert_non_null(strstr(verify_last.err, "/no/such/folder"));
    assert_string_equal(verify_last.out, "");
}

/* ---- shapes ---- */

static void missing_and_extra(void **state)
{
    char *folder = reference_make_whole("llama");
    json_t *o, *f;

    (void)state;
    file_patch_text(folder, WEIGHTS, "model.norm.weight", "model.nurm.weight");
    file_patch_text(folder, WEIGHTS, "model.layers.1.mlp.up_proj.weight", "model.layers.1.mlp.op_proj.weight");
    o = VERIFY(1, folder);
    assert_int_equal(json_array_size(json_object_get(o, "findings")), 2); /* both, not the first alone */
    f = json_array_get(json_object_get(o, "findings"), 0);
    assert_string_equal(verify_text(f, "kind"), "tensor");
    assert_non_null(strstr(verify_text(f, "text"), "is missing"));
    assert_int_equal(json_array_size(json_object_get(o, "extra")), 2);
    json_decref(o);
    scratch_remove(folder);
}

/* A matrix turned round: as many bytes, another shape. */
static void odd_shapes(void **state)
{
    const char *name = "model.layers.0.mlp.down_proj.weight";
    char *folder = reference_make_whole("llama"), from[200], to[200];
    struct tensor t = tensor_in(folder, name);
    unsigned long long a = t.shape[0], b = t.shape[1];
    json_t *f;

    (void)state;
    assert_true(a != b);
    snprintf(from, sizeof from, "\"%s\":{\"dtype\":\"BF16\",\"shape\":[%llu,%llu]", name, a, b);
    snprintf(to, sizeof to, "\"%s\":{\"dtype\":\"BF16\",\"shape\":[%llu,%llu]", name, b, a);
    file_patch_text(folder, WEIGHTS, from, to);
    f = verify_only(VERIFY(1, folder), "tensor", "was expected", __LINE__);
    assert_string_equal(verify_text(f, "tensor"), name);
    assert_string_equal(verify_text(f, "file"), WEIGHTS);
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
    file_patch_text(folder, "config.json", from, "\"intermediate_size\": 999");
    o = VERIFY(1, folder);
    list = json_object_get(o, "findings");
    assert_int_equal(json_array_size(list), 3 * layers);
    json_array_foreach(list, i, f)
    {
        assert_string_equal(verify_text(f, "kind"), "tensor");
        assert_non_null(strstr(verify_text(f, "text"), "was expected"));
    }
    assert_string_equal(verify_text(o, "architecture"), "LlamaForCausalLM");
    json_decref(o);
    json_decref(config);
    scratch_remove(folder);
}

/* ---- numbers ---- */

static void planted(const char *model, const char *name, uint64_t at, const char *bytes, size_t n, int nan, int inf)
{
    char *folder = reference_make_whole(model);
    struct tensor t = tensor_in(folder, name);
    char file[64];
    json_t *f;

    assert_true(at + n <= t.bytes);
    snprintf(file, sizeof file, WEIGHTS);
    file_patch(folder, file, t.offset + at, bytes, n);
    f = verify_only(VERIFY(1, folder), "numbers", name, __LINE__);
    assert_string_equal(verify_text(f, "tensor"), name);
    assert_string_equal(verify_text(f, "file"), WEIGHTS);
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
    struct tensor t = tensor_in(folder, "model.layers.0.mlp.experts.down_proj_blocks");

    (void)state;
    file_patch(folder, WEIGHTS, t.offset, "\xff\xff\x7f\x80\x00\xff\xff\xff", 8);
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
    process_result_free(&verify_last);
    verify_last =
        process_run("sluice", (const char *const[]){"logits", folder, "--tokens", "1", "--out", "/dev/null", NULL},
                    NULL, 0, VERIFY_SECONDS);
    assert_int_equal(verify_last.status, 1);
    assert_non_null(strstr(verify_last.err, "git lfs pull"));
    scratch_write(folder, "tokenizer.json", pointer);
    process_result_free(&verify_last);
    verify_last = process_run("sluice", (const char *const[]){"tokenize", folder, NULL}, "x", 1, VERIFY_SECONDS);
    assert_int_equal(verify_last.status, 1);
    assert_non_null(strstr(verify_last.err, "git lfs pull"));
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
    process_result_free(&verify_last);
    verify_last = process_finish(&p, NULL, 0, VERIFY_SECONDS);
    assert_int_equal(verify_last.status, 130);
    assert_string_equal(verify_last.out, "");
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
    process_result_free(&verify_last);
    verify_last = process_run("sluice-verify", (const char *const[]){NULL}, NULL, 0, VERIFY_SECONDS);
    assert_int_equal(verify_last.status, 1);
    assert_non_null(strstr(verify_last.err, "sluice verify MODEL"));
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
        cmocka_unit_test(ends_at_once),
        cmocka_unit_test(a_progress_line),
        cmocka_unit_test(a_report_after_progress),
        cmocka_unit_test(the_worker_alone),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);

    process_result_free(&verify_last);
    return rc;
}
