/* bench/gpu_report.sh on the emulated device: all that it does on a card but for what is a matter of speed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "tests/support_model.h"
#include "tests/support_process.h"

/* The row of a claim. */
static const char *row(const char *text, const char *claim, char out[600])
{
    const char *at = strstr(text, claim);

    if (!at) fail_msg("there is no claim \"%s\": %s", claim, text);
    snprintf(out, 600, "%.*s", (int)strcspn(at, "\n"), at);
    return out;
}

static void right_and_without_leftovers(void **state)
{
    static const char *const met[] = {"the demo model's text is the processor's", "processes, folders and names left"};
    static const char *const unknown[] = {"bytes over the link", "4096 columns", "28672 columns", "70B shape",
                                          "start to first byte"};
    char *folder = scratch_make(), out[256], line[600];
    const char *const arg[] = {"bench/gpu_report.sh", "--quick", "--out", out, "--programs", process_build(), NULL};
    struct process_result r;

    (void)state;
    snprintf(out, sizeof out, "%s", scratch_path(folder, "report.md"));
    r = process_run("/bin/bash", arg, NULL, 0, 900);
    if (r.status) fail_msg("exit %d: %s%s", r.status, r.out, r.err);
    for (int i = 0; i < 2; i++)
        if (!strstr(row(r.out, met[i], line), "| met |")) fail_msg("%s", line);
    for (int i = 0; i < 5; i++)
        if (!strstr(row(r.out, unknown[i], line), "| not measured | the device is emulated")) fail_msg("%s", line);
    assert_non_null(strstr(r.out, "Card: emulated device"));
    process_result_free(&r);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(right_and_without_leftovers)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
