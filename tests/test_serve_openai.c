/* Real clients against the server: tests/openai_client.py, tests/lm_eval_client.py. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support_serve.h"

static void run_client(const char *module, const char *script)
{
    char import[64], port[8], sluice[4200];
    const char *const find[] = {"python3", "-c", import, NULL};
    const char *const run[] = {"python3", script, port, sluice, NULL};
    struct process_result r;
    struct server s;
    int missing;

    snprintf(import, sizeof import, "import %s", module);
    r = process_run("/usr/bin/env", find, NULL, 0, 30);
    missing = r.status;
    process_result_free(&r);
    if (missing) {
        print_message("skipped: python3 has no %s\n", module);
        skip();
    }
    s = server_start(NULL);
    snprintf(port, sizeof port, "%d", s.port);
    snprintf(sluice, sizeof sluice, "%s/sluice", process_build());
    r = process_run("/usr/bin/env", run, NULL, 0, 50);
    if (r.status || !strstr(r.out, "ok\n")) fail_msg("%s%s", r.out, r.err);
    process_result_free(&r);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

static void openai_and_its_own_checks(void **state)
{
    (void)state;
    run_client("openai", "tests/openai_client.py");
}

/* Scores by echo and logarithms are those of sluice logits. */
static void lm_eval_scores_as_logits_do(void **state)
{
    (void)state;
    run_client("lm_eval", "tests/lm_eval_client.py");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(openai_and_its_own_checks),
                                       cmocka_unit_test(lm_eval_scores_as_logits_do)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
