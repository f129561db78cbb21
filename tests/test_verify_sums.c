/* `sluice verify` and checksums: those that were published beside the files, and manifests of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "coordinator/text/lfs.h"
#include "coordinator/verify/published.h"
#include "tests/support_model.h"
#include "tests/support_verify.h"

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

        if (strcmp(verify_text(x, "name"), name)) continue;
        if (!s || !strstr(verify_text(s, "source"), source))
            fail_msg("line %d: no sum from %s: %s", line, source, verify_last.out);
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
    verify_sum_of(folder, WEIGHTS, sum);
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
    file_patch(folder, WEIGHTS, tensor_in(folder, "model.norm.weight").offset, "\x11\x3f", 2);
    ONLY("checksum", "download it again", folder);
    scratch_remove(folder);
}

/* What huggingface_hub leaves in a folder: etags, the SHA-256 of large files and git's SHA-1 of small ones. */
static void the_hub_s_metadata(void **state)
{
    char *folder = reference_make_whole("llama"), sum[65], line[200];

    (void)state;
    verify_sum_of(folder, WEIGHTS, sum);
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
    file_append(folder, "notes.txt", "!");
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
    verify_sum_of(folder, WEIGHTS, sum);
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
        process_result_free(&verify_last);
        verify_last = process_run("/bin/sh", (const char *const[]){"-c", command, NULL}, NULL, 0, VERIFY_SECONDS);
        assert_int_equal(verify_last.status, 0);
    }
    scratch_write(folder, "notes.txt", "new, and no weights: a note\n");
    json_decref(VERIFY(0, folder, "--baseline", manifest));
    file_patch(folder, WEIGHTS, tensor_in(folder, "model.norm.weight").offset, "\x11\x3f", 2);
    ONLY("baseline", "has changed since", folder, "--baseline", manifest);
    file_append(folder, "config.json", " ");
    {
        json_t *o = VERIFY(1, folder, "--baseline", manifest), *f;

        assert_int_equal(json_array_size(json_object_get(o, "findings")), 2);
        f = json_array_get(json_object_get(o, "findings"), 1);
        assert_non_null(strstr(verify_text(f, "text"), "bytes now"));
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
    process_result_free(&verify_last);
    verify_last = process_run("sluice", (const char *const[]){"verify", folder, "--baseline", "/no/such", NULL}, NULL,
                              0, VERIFY_SECONDS);
    assert_int_equal(verify_last.status, 1);
    assert_non_null(strstr(verify_last.err, "/no/such"));
    process_result_free(&verify_last);
    verify_last = process_run(
        "sluice", (const char *const[]){"verify", folder, "--baseline", scratch_path(folder, "config.json"), NULL},
        NULL, 0, VERIFY_SECONDS);
    assert_int_equal(verify_last.status, 1);
    assert_non_null(strstr(verify_last.err, "no manifest"));
    process_result_free(&verify_last);
    verify_last = process_run("sluice", (const char *const[]){"verify", folder, "--out", "/no/such/manifest", NULL},
                              NULL, 0, VERIFY_SECONDS);
    assert_int_equal(verify_last.status, 1);
    assert_non_null(strstr(verify_last.err, "/no/such/manifest"));
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_lists),       cmocka_unit_test(lists_beside_the_files),
        cmocka_unit_test(the_hub_s_metadata), cmocka_unit_test(blobs_named_by_their_sums),
        cmocka_unit_test(manifests),          cmocka_unit_test(manifests_that_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
