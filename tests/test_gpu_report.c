/* bench/gpu_report.sh where there is no card: every step is gone through, and the table says of each claim that it was not
 * measured, and why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "proto/base/file.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define CLAIMS_LEAST 12

static char *folder;

static struct process_result report(const char *flag, const char *value)
{
    char out[256];
    const char *arg[] = {"bench/gpu_report.sh", "--quick", "--out", out, "--programs",
                         process_build(),       flag,      value,   NULL};

    snprintf(out, sizeof out, "%s", scratch_path(folder, "report.md"));
    return process_run("/bin/bash", arg, NULL, 0, 120);
}

static void nothing_is_claimed_without_a_card(void **state)
{
    struct process_result r = report(NULL, NULL);
    char *text = NULL;
    uint64_t bytes;
    struct error e = {0};
    int claims = 0;

    (void)state;
    if (!access("/dev/nvidia0", F_OK)) skip(); /* there is a card: make gpu-bundle, and the report itself */
    if (r.status) fail_msg("exit %d: %s%s", r.status, r.out, r.err);
    for (const char *line = strtok(r.out, "\n"); line; line = strtok(NULL, "\n")) {
        const char *verdict = strstr(line, "| not measured | ");

        if (line[0] != '|' || !strncmp(line, "| claim", 7) || !strncmp(line, "|---", 4)) continue;
        claims++;
        if (!verdict || strlen(verdict) < 30) fail_msg("\"%s\" has no reason", line);
    }
    assert_true(claims >= CLAIMS_LEAST);
    if (file_load(&text, &bytes, scratch_path(folder, "report.md"), 1 << 20, &e)) fail_msg("%s", e.text);
    assert_non_null(strstr(text, "## Machine"));
    assert_non_null(strstr(text, "## Doctor"));
    assert_non_null(strstr(text, "bottleneck")); /* the plan of the demo model */
    assert_non_null(strstr(text, "0 of "));
    assert_non_null(strstr(strstr(text, "## Claims"), "| not measured |"));
    free(text);
    process_result_free(&r);
}

/* What make gpu-bundle packs finds its libraries and models by itself, wherever it is unpacked. */
static void a_bundle_runs_where_it_is_unpacked(void **state)
{
    char archive[256], unpack[600];
    struct process_result r;

    (void)state;
    snprintf(archive, sizeof archive, "%s", scratch_path(folder, "bundle.tar.gz"));
    r = process_run("/bin/bash", (const char *const[]){"bench/gpu_bundle.sh", process_build(), archive, NULL}, NULL, 0,
                    120);
    if (r.status) fail_msg("exit %d: %s%s", r.status, r.out, r.err);
    process_result_free(&r);
    snprintf(unpack, sizeof unpack,
             "cd '%s' && tar xzf bundle.tar.gz && rm bundle.tar.gz && cd / && '%s/sluice-gpu/sluice' run "
             "'%s/sluice-gpu/tests/data/demo-model' -p Once -n 3 --temperature 0 --backend cpu",
             folder, folder, folder);
    r = process_run("/bin/sh", (const char *const[]){"-c", unpack, NULL}, NULL, 0, 120);
    if (r.status || !r.out_bytes) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    snprintf(unpack, sizeof unpack, "'%s/sluice-gpu/gpu_report.sh' --quick --out '%s/report.md'", folder, folder);
    r = process_run("/bin/bash", (const char *const[]){"-c", unpack, NULL}, NULL, 0, 120);
    if (!strstr(r.out, "| claim |")) fail_msg("exit %d: %s%s", r.status, r.out, r.err);
    process_result_free(&r);
    snprintf(unpack, sizeof unpack, "rm -rf '%s/sluice-gpu'", folder);
    assert_int_equal(system(unpack), 0);
}

static void flags_are_looked_at(void **state)
{
    struct process_result r = report("--device", "first");

    (void)state;
    assert_int_equal(r.status, 2);
    assert_non_null(strstr(r.err, "--device first"));
    process_result_free(&r);
    r = report("--programs", "/nonexistent");
    assert_int_equal(r.status, 2);
    assert_non_null(strstr(r.err, "build first"));
    process_result_free(&r);
    r = report("--nothing", NULL);
    assert_int_equal(r.status, 2);
    process_result_free(&r);
}

static int setup(void **state)
{
    (void)state;
    folder = scratch_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_claimed_without_a_card),
                                       cmocka_unit_test(a_bundle_runs_where_it_is_unpacked),
                                       cmocka_unit_test(flags_are_looked_at)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
