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
    return process_run("/bin/bash", arg, NULL, 0, 60);
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
                                       cmocka_unit_test(flags_are_looked_at)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
