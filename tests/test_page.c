/* The page in a browser: tests/page_test.py clicks it through in headless Chromium. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support_process.h"

static void the_page_does_what_is_clicked(void **state)
{
    const char *const arg[] = {"python3", "tests/page_test.py", process_build(), NULL};
    struct process_result r = process_run("/usr/bin/env", arg, NULL, 0, 55);
    int status = r.status;

    (void)state;
    if (status == 77) print_message("%s", r.out);
    if (status && status != 77) fail_msg("%s%s", r.out, r.err);
    process_result_free(&r);
    if (status == 77) skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_page_does_what_is_clicked)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
