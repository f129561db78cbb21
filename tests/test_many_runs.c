/* Fifty runs at once, each with a seed of its own: none mixes with another, each says what it says alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/shm.h"
#include "tests/support_process.h"

#define DEMO        "tests/data/demo-model"
#define RUNS        50
#define EPOCH_BYTES (UINT64_C(4) << 20) /* of /dev/shm, with the flags below */

static struct process start(int seed)
{
    char text[16];
    const char *arg[] = {"run",
                         DEMO,
                         "--prompt",
                         "Once upon a time",
                         "--temperature",
                         "1",
                         "--seed",
                         text,
                         "--max-tokens",
                         "12",
                         "--threads",
                         "1",
                         "--reader-depth",
                         "2",
                         "--slot-mib",
                         "1",
                         "--context",
                         "64",
                         NULL};

    snprintf(text, sizeof text, "%d", seed);
    return process_start("sluice", arg);
}

static struct process_result finish(struct process *p)
{
    struct process_result r = process_finish(p, NULL, 0, 50);

    if (r.status) fail_msg("status %d: %s", r.status, r.err);
    assert_true(r.out_bytes > 10);
    return r;
}

static void fifty_at_once(void **state)
{
    struct process p[RUNS];
    struct process_result together[RUNS];
    int different = 0;

    (void)state;
    if (shm_free_bytes() < RUNS * EPOCH_BYTES) {
        print_message("skipped: /dev/shm has room for less than %d runs\n", RUNS);
        skip();
    }
    for (int i = 0; i < RUNS; i++) p[i] = start(i);
    for (int i = 0; i < RUNS; i++) together[i] = finish(&p[i]);
    for (int i = 0; i < RUNS; i++) {
        struct process one = start(i);
        struct process_result alone = finish(&one);

        if (strcmp(alone.out, together[i].out))
            fail_msg("seed %d: alone \"%s\", among others \"%s\"", i, alone.out, together[i].out);
        different += i && strcmp(together[i].out, together[i - 1].out);
        process_result_free(&alone);
    }
    assert_true(different > RUNS / 2); /* else it would not show much */
    for (int i = 0; i < RUNS; i++) process_result_free(&together[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fifty_at_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
