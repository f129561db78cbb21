/* The real openai client against the server: tests/openai_client.py. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support_serve.h"

static void the_clients_own_checks(void **state)
{
    static const char *const find[] = {"python3", "-c", "import openai", NULL};
    struct process_result r = process_run("/usr/bin/env", find, NULL, 0, 30);
    int missing = r.status;
    struct server s;
    char port[8];

    (void)state;
    process_result_free(&r);
    if (missing) {
        print_message("skipped: python3 has no openai\n");
        skip();
    }
    s = server_start(NULL);
    snprintf(port, sizeof port, "%d", s.port);
    r = process_run("/usr/bin/env", (const char *const[]){"python3", "tests/openai_client.py", port, NULL}, NULL, 0,
                    50);
    if (r.status || strcmp(r.out, "ok\n")) fail_msg("%s%s", r.out, r.err);
    process_result_free(&r);
    assert_int_equal(server_stop(&s, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_clients_own_checks)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
