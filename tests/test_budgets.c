/* --host-memory: the same text at every split between disk and memory, dense and with experts; what fits is read once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "tests/support_model.h"
#include "tests/support_process.h"

#define TOKENS "3 17 40 5 9 200 31 8"

/* Logits of every position at a budget, in MB; NULL where the budget is refused. The caller's. */
static char *logits(const char *folder, const char *out, unsigned budget, size_t *bytes, unsigned *named)
{
    char memory[32];
    const char *arg[] = {"logits", folder,          "--tokens", TOKENS,  "--context", "16", "--chunk",
                         "3",      "--host-memory", memory,     "--out", out,         NULL};
    struct process_result r;
    const char *would;
    char *data = NULL;
    FILE *f;

    snprintf(memory, sizeof memory, "%uk", budget);
    r = process_run("sluice", arg, NULL, 0, 30);
    would = strstr(r.err, "would do is ");
    if (r.status) {
        assert_non_null(would);
        *named = (unsigned)atoi(would + strlen("would do is "));
    } else {
        f = fopen(out, "r");
        assert_non_null(f);
        data = malloc(1 << 20);
        *bytes = fread(data, 1, 1 << 20, f);
        fclose(f);
    }
    process_result_free(&r);
    return data;
}

/* How many bytes of the sweep lie on the disk then. */
static double on_disk(const char *folder, unsigned budget)
{
    char memory[32];
    const char *arg[] = {"plan", folder, "--json", "--context", "16", "--chunk", "3", "--host-memory", memory, NULL};
    struct process_result r;
    double disk;
    json_t *o;

    snprintf(memory, sizeof memory, "%uk", budget);
    r = process_run("sluice", arg, NULL, 0, 30);
    o = json_loads(r.out, 0, NULL);
    assert_non_null(o);
    disk = json_number_value(json_object_get(json_object_get(o, "homes"), "disk"));
    json_decref(o);
    process_result_free(&r);
    return disk;
}

static void same_at_every_split(const char *name)
{
    char *folder = reference_make(name), *out = strdup(scratch_path(folder, "logits.f32")), *first, *other;
    unsigned least = 0, unused, splits = 0;
    size_t bytes = 0, more;
    double last = -1;

    assert_null(logits(folder, out, 1000, &bytes, &least));
    least *= 1000;
    first = logits(folder, out, least, &bytes, &unused);
    assert_non_null(first);
    assert_true(bytes > 0 && bytes % 32 == 0);
    for (unsigned budget = least; budget <= least + 2048; budget += 128) {
        double disk = on_disk(folder, budget);

        if (disk == last) continue;
        last = disk;
        splits++;
        other = logits(folder, out, budget, &more, &unused);
        assert_non_null(other);
        assert_int_equal(more, bytes);
        assert_memory_equal(other, first, bytes);
        free(other);
    }
    other = logits(folder, out, 2000000, &more, &unused);
    assert_non_null(other);
    assert_memory_equal(other, first, bytes);
    free(other);
    assert_true(splits >= 2);
    free(first);
    free(out);
    scratch_remove(folder);
}

static void dense(void **state)
{
    (void)state;
    same_at_every_split("llama");
}

static void experts(void **state)
{
    (void)state;
    same_at_every_split("qwen3-moe");
}

/* More tokens, no more bytes: from the second sweep on nothing but embedding rows comes from the disk. */
static void what_fits_is_read_once(void **state)
{
    double read[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        const char *arg[] = {"run",          "tests/data/demo-model", "-p",   "Once",         "-n",
                             i ? "24" : "2", "--temperature",         "0",    "--ignore-eos", "--context",
                             "64",           "--host-memory",         "400M", "--json",       NULL};
        struct process_result r = process_run("sluice", arg, NULL, 0, 30);
        json_t *o = json_loads(r.out, 0, NULL);

        assert_int_equal(r.status, 0);
        read[i] = json_number_value(json_object_get(o, "bytes_read"));
        json_decref(o);
        process_result_free(&r);
    }
    assert_true(read[0] > 3e6);
    assert_true(read[1] - read[0] < 24 * 16384.0); /* rows of the embedding, in whole pages */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(dense), cmocka_unit_test(experts),
                                       cmocka_unit_test(what_fits_is_read_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
