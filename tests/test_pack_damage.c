/* Packed folders that are damaged, cut or mixed, what verify reports of them, and sources that change while they are packed. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/source/packed.h"
#include "coordinator/source/tensors.h"
#include "tests/support_model.h"
#include "tests/support_packs.h"
#include "tests/support_temporary.h"

static char *demo; /* a copy of the demo model, that may be changed */

static void same_keys(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *x;

    json_object_foreach((json_t *)(uintptr_t)a, key, x) if (!json_object_get(b, key)) fail_msg("%s is missing", key);
    assert_int_equal(json_object_size(a), json_object_size(b));
}

/* A program reads one form of report, packed or not: what is found, where, and the sums are the same, and so is the manifest. */
static void verify_reports(void **state)
{
    char *folder = reference_make_whole("qwen2-tied"), *scratch = scratch_make();
    const char *packed = strdup(packs_within(scratch, "packed")), *sums = strdup(packs_within(scratch, "sums"));
    static const char *const counts[] = {"nan", "infinite", "first_offset"};
    json_t *raw, *other, *a, *b;
    struct tensors *t;
    struct error e = {0};
    const struct tensor *x;
    uint64_t n;
    char *bytes;

    (void)state;
    packs_load(&bytes, &n, packs_within(folder, "model.safetensors"));
    assert_int_equal(tensors_open(&t, folder, NULL, &e), 0);
    x = tensors_find(t, "model.embed_tokens.weight");
    assert_non_null(x);
    memcpy(bytes + x->offset + 64, "\xc0\x7f\x80\xff", 4); /* NaN, infinite */
    packs_store(packs_within(folder, "model.safetensors"), bytes, n);
    packs_make(folder, packed, 0);
    assert_int_equal(SLUICE("verify", folder, "--json", "--out", sums), 1);
    raw = json_of(packs_last.out);
    assert_int_equal(SLUICE("verify", packed, "--json", "--baseline", sums), 1);
    other = json_of(packs_last.out);
    same_keys(raw, other);
    a = json_object_get(raw, "findings");
    b = json_object_get(other, "findings");
    assert_int_equal(json_array_size(a), 1);
    assert_int_equal(json_array_size(b), 1); /* so the sums are those of the manifest */
    same_keys(json_array_get(a, 0), json_array_get(b, 0));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        assert_true(json_equal(json_object_get(json_array_get(a, 0), counts[i]),
                               json_object_get(json_array_get(b, 0), counts[i])));
    a = json_array_get(json_object_get(raw, "files"), 0);
    b = json_array_get(json_object_get(other, "files"), 0);
    if (!json_equal(a, b)) fail_msg("%s", packs_last.out);
    json_decref(raw);
    json_decref(other);
    tensors_close(t);
    free(bytes);
    temporary_remove(packed);
    free((void *)(uintptr_t)packed);
    free((void *)(uintptr_t)sums);
    scratch_remove(folder);
    scratch_remove(scratch);
}

/* ---- damage ---- */

static void damaged_folders(void **state)
{
    char *scratch = scratch_make();
    const char *out = strdup(packs_within(scratch, "out")),
               *file = strdup(packs_within(out, "model.safetensors.packed"));
    struct error e = {0};
    uint64_t n;
    char *bytes;

    (void)state;
    packs_make(demo, out, 8192);
    packs_load(&bytes, &n, file);

    packs_flip(file, n - 5000); /* in a unit: the run that meets it names file, tensor and place */
    packs_assert_told(SLUICE("logits", out, "--tokens", "1", "--out", "/dev/null"),
                      "model.safetensors.packed: tensor ");
    assert_non_null(strstr(packs_last.err, "damaged"));
    packs_assert_found(SLUICE("verify", out), "model.safetensors.packed: offset ");
    assert_int_equal(packs_unpack(out, packs_within(scratch, "back"), &e), -EBADMSG);
    assert_int_not_equal(access(packs_within(scratch, "back/model.safetensors"), F_OK), 0);
    temporary_remove(packs_within(scratch, "back"));

    packs_store(file, bytes, n);
    packs_flip(file, 200); /* in the front */
    packs_assert_told(SLUICE("logits", out, "--tokens", "1", "--out", "/dev/null"),
                      "its front is not what was written");
    packs_assert_found(SLUICE("verify", out), "its front is not what was written");
    packs_store(file, bytes, n - 4096);
    packs_assert_told(SLUICE("logits", out, "--tokens", "1", "--out", "/dev/null"), "cut short");
    packs_store(file, "no packed file", 14);
    packs_assert_told(SLUICE("logits", out, "--tokens", "1", "--out", "/dev/null"), "it is no packed file");
    assert_int_equal(unlink(file), 0);
    packs_assert_told(SLUICE("logits", out, "--tokens", "1", "--out", "/dev/null"), "model.safetensors.packed");
    packs_store(file, bytes, n);
    assert_int_equal(SLUICE("verify", out), 0);

    /* whole, and what would the sums be? */
    assert_int_equal(SLUICE("verify", out, "--out", packs_within(scratch, "sums")), 0);
    {
        uint64_t m;
        char *sums, *index, *line;

        packs_load(&sums, &m, packs_within(scratch, "sums"));
        packs_load(&index, &m, packs_within(out, PACKED_INDEX));
        assert_non_null(strstr(sums, "  tokenizer.json\n"));
        line = strstr(sums, "  model.safetensors\n");
        assert_non_null(line);
        *line = 0;
        assert_non_null(strstr(index, line - 64));
        free(sums);
        free(index);
    }
    packs_flip(packs_within(out, "tokenizer.json"), 100);
    packs_assert_found(SLUICE("verify", out), "tokenizer.json: it is not what was packed");
    /* one file's fault does not hide another's */
    packs_flip(file, n - 5000);
    packs_assert_found(SLUICE("verify", out), "tokenizer.json: it is not what was packed");
    assert_non_null(strstr(packs_last.out, "model.safetensors.packed: offset "));
    packs_flip(file, n - 5000);
    packs_flip(packs_within(out, "tokenizer.json"), 100);
    scratch_write(out, PACKED_INDEX, "{\"format\": \"sluice-pack 9\"}");
    packs_assert_told(SLUICE("logits", out, "--tokens", "1", "--out", "/dev/null"), PACKED_INDEX);
    assert_int_equal(unlink(packs_within(out, PACKED_INDEX)), 0);
    packs_assert_told(SLUICE("logits", out, "--tokens", "1", "--out", "/dev/null"), PACKED_INDEX " is not there");
    free(bytes);
    temporary_remove(out);
    free((void *)(uintptr_t)out);
    free((void *)(uintptr_t)file);
    scratch_remove(scratch);
}

/* Two models of the same shapes, their files exchanged. */
static void mixed_folders(void **state)
{
    char *one = reference_make_whole("llama"), *other = reference_make_whole("llama"), *scratch = scratch_make();
    const char *a = strdup(packs_within(scratch, "a")), *b = strdup(packs_within(scratch, "b"));
    struct stat st;

    (void)state;
    assert_int_equal(stat(packs_within(other, "model.safetensors"), &st), 0);
    packs_flip(packs_within(other, "model.safetensors"), (uint64_t)st.st_size - 1);
    packs_make(one, a, 4096);
    packs_make(other, b, 4096);
    packs_copy(packs_within(b, "model.safetensors.packed"), packs_within(a, "model.safetensors.packed"));
    packs_assert_told(SLUICE("logits", a, "--tokens", "1", "--out", "/dev/null"), "files of two packed models");
    packs_assert_found(SLUICE("verify", a), "speaks of");
    temporary_remove(a);
    temporary_remove(b);
    free((void *)(uintptr_t)a);
    free((void *)(uintptr_t)b);
    scratch_remove(scratch);
    scratch_remove(one);
    scratch_remove(other);
}

static void touch_it(void *arg, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    assert_int_equal(utimensat(AT_FDCWD, arg, NULL, 0), 0);
}

static void source_that_changes(void **state)
{
    char *scratch = scratch_make();
    struct pack_options o = packs_options(packs_within(scratch, "out"), 0);
    struct pack_result r;
    struct error e = {0};
    char path[300];

    (void)state;
    snprintf(path, sizeof path, "%s/model.safetensors", demo);
    o.progress = touch_it;
    o.arg = path;
    assert_int_equal(packs_try(demo, &o, &r, &e), -ESTALE);
    assert_non_null(strstr(e.text, "changed while it was packed"));
    assert_int_not_equal(access(packs_within(o.out, PACKED_INDEX), F_OK), 0);
    /* it is not the model that the partial folder is of any more */
    o.progress = NULL;
    e = (struct error){0};
    assert_int_equal(packs_try(demo, &o, &r, &e), -EEXIST);
    assert_non_null(strstr(e.text, "the model has changed since"));
    temporary_remove(packs_within(scratch, "out"));
    scratch_remove(scratch);
}

static int setup(void **state)
{
    (void)state;
    demo = packs_demo();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    process_result_free(&packs_last);
    scratch_remove(demo);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verify_reports), cmocka_unit_test(damaged_folders), cmocka_unit_test(mixed_folders),
        cmocka_unit_test(source_that_changes), /* the last: it changes the model */
    };

    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("pack_damage", tests, setup, teardown);
}
