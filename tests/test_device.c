/* The choice between GPU and processor, with scripts in the place of the cuda backend's stages: what --probe says is
 * believed or told, and a device that does not come up gives way to the processor where the user left the choice open. */
#include <errno.h>
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

#include "proto/stage/device_facts.h"
#include "tests/support_process.h"
#include "tests/support_temporary.h"

#define DEMO    "tests/data/demo-model"
#define SECONDS 20
#define CARD    "sluice-device 2 0 1 86 0 4294967296 4000000000 Test Card 4000"
#define BOARD   "sluice-device 2 0 1 121 1 4294967296 4000000000 Test Board 10"

static char folder[TEMPORARY_BYTES], program[TEMPORARY_BYTES + 16];
static struct process_result last;

static void install(const char *stage, const char *script)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/sluice-%s-cuda", folder, stage);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", script);
    fclose(f);
    assert_int_equal(chmod(path, 0700), 0);
}

static int setup(void **state)
{
    char command[1024], preload[512];

    (void)state;
    if (!temporary_make(folder, NULL)) return -1;
    snprintf(program, sizeof program, "%s/sluice", folder);
    snprintf(command, sizeof command, "cp %s/sluice %s/sluice-reader %s/sluice-transfer-cpu %s/sluice-compute-cpu %s",
             process_build(), process_build(), process_build(), process_build(), folder);
    /* A machine with a driver, as far as the coordinator looks. */
    snprintf(preload, sizeof preload, "%s/tests/pretend.so", process_build());
    setenv("LD_PRELOAD", preload, 1);
    setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 0);
    return system(command);
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    process_result_free(&last);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void sluice(const char *const *arg)
{
    process_result_free(&last);
    last = process_run(program, arg, NULL, 0, SECONDS);
}

#define SLUICE(...) sluice((const char *const[]){__VA_ARGS__, NULL})
#define STORY       "run", DEMO, "-p", "Once upon a time", "--temperature", "0", "-n", "8"

static void facts_go_through_one_line(void **state)
{
    struct device_facts f = {.device = 1,
                             .devices = 2,
                             .capability = 90,
                             .unified = true,
                             .total_bytes = 80000000000u,
                             .free_bytes = 79000000000u,
                             .name = "NVIDIA H100 80GB HBM3"},
                        g;
    char line[256] = "";
    FILE *out = fmemopen(line, sizeof line, "w");

    (void)state;
    device_facts_print(&f, out);
    fclose(out);
    assert_int_equal(device_facts_parse(&g, line), 0);
    assert_int_equal(g.device, 1);
    assert_int_equal(g.devices, 2);
    assert_int_equal(g.capability, 90);
    assert_true(g.unified);
    assert_int_equal(g.total_bytes, f.total_bytes);
    assert_int_equal(g.free_bytes, f.free_bytes);
    assert_string_equal(g.name, f.name);
    assert_int_equal(device_facts_parse(&g, "sluice-device 3 0 1 86 0 10 5 new"), -EPROTO);
    assert_int_equal(device_facts_parse(&g, "sluice-device 2 1 1 86 0 10 5 outside"), -EPROTO);
    assert_int_equal(device_facts_parse(&g, "sluice-device 2 0 1 86 0 10 50 more free than there is"), -EPROTO);
    assert_int_equal(device_facts_parse(&g, "sluice-device 2 0 1 86 0 ten 5 x"), -EPROTO);
    assert_int_equal(device_facts_parse(&g, "sluice-device 2 0 1 86 2 10 5 neither"), -EPROTO);
    assert_int_equal(device_facts_parse(&g, ""), -EPROTO);
}

/* Its free memory becomes the budget: the little model is planned onto the card. */
static void a_card_is_planned_for(void **state)
{
    json_t *o;

    (void)state;
    install("compute", "echo '" CARD "'");
    SLUICE("plan", DEMO, "--json");
    if (last.status) fail_msg("%s", last.err);
    o = json_loads(last.out, 0, NULL);
    assert_non_null(o);
    assert_true(json_integer_value(json_object_get(json_object_get(o, "homes"), "device")) > 1000000);
    json_decref(o);
    install("transfer", "exit 1");
    SLUICE("doctor", "--json");
    assert_non_null(strstr(last.out, "Test Card 4000, 4.00 of 4.29 GB free"));
    SLUICE("plan", DEMO, "--json", "--backend", "cpu");
    assert_int_equal(last.status, 0);
    assert_null(strstr(last.out, "Test Card"));
}

static void more_than_the_card_has_is_refused(void **state)
{
    (void)state;
    install("compute", "echo '" CARD "'");
    SLUICE("plan", DEMO, "--device-memory", "5G");
    assert_int_equal(last.status, 1);
    assert_non_null(strstr(last.err, "Test Card 4000"));
}

static double number_of(json_t *o, const char *name)
{
    return json_number_value(json_object_get(o, name));
}

/* A board whose GPU has no memory of its own: the budgets are parts of one, whoever gives which. */
static void memory_of_a_board_is_divided(void **state)
{
    static const struct {
        const char *flag[4];
        bool fits;
    } cases[] = {{{NULL}, true},
                 {{"--device-memory", "900M"}, true},
                 {{"--host-memory", "1G"}, true},
                 {{"--host-memory", "1G", "--device-memory", "900M"}, true},
                 {{"--host-memory", "2G", "--device-memory", "2500M"}, false},
                 {{"--device-memory", "4400M"}, false}};

    (void)state;
    install("compute", "echo '" BOARD "'");
    install("transfer", "exit 1");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *f = cases[i].flag;
        json_t *o;

        SLUICE("plan", DEMO, "--json", "--backend", "cuda", f[0], f[1], f[2], f[3]);
        if (!cases[i].fits) {
            assert_int_equal(last.status, 1);
            assert_non_null(strstr(last.err, "Test Board 10"));
            continue;
        }
        if (last.status) fail_msg("case %zu: %s", i, last.err);
        o = json_loads(last.out, 0, NULL);
        assert_non_null(o);
        assert_true(json_is_true(json_object_get(o, "device_memory_is_the_hosts")));
        assert_true(number_of(o, "host_total_bytes") + number_of(o, "device_total_bytes") <= 4e9);
        json_decref(o);
    }
    SLUICE("plan", DEMO);
    if (last.status) fail_msg("%s", last.err);
    assert_non_null(strstr(last.out, "Test Board 10 computes in this machine's own memory"));
    SLUICE("doctor", "--json");
    assert_non_null(strstr(last.out, "this machine's own: what is free is divided"));
    install("compute", "echo '" CARD "'");
    SLUICE("plan", DEMO);
    assert_null(strstr(last.out, "own memory"));
    SLUICE("doctor", "--json");
    assert_null(strstr(last.out, "this machine's own"));
}

static void a_probe_that_fails_leaves_the_processor(void **state)
{
    (void)state;
    install("compute", "echo 'cuda: the NVIDIA driver is too old' >&2; exit 1");
    SLUICE(STORY);
    if (last.status) fail_msg("%s", last.err);
    assert_true(last.out_bytes > 8);
    assert_non_null(
        strstr(last.err, "the GPU is not used, the processor computes: cuda: the NVIDIA driver is too old"));
    install("transfer", "exit 1");
    SLUICE("doctor", DEMO, "--json");
    assert_non_null(strstr(last.out, "driver is too old"));
    SLUICE(STORY, "--backend", "cuda");
    assert_int_equal(last.status, 1);
    assert_int_equal(last.out_bytes, 0);
    assert_non_null(strstr(last.err, "driver is too old"));
}

static void a_card_that_is_too_small_leaves_the_processor(void **state)
{
    (void)state;
    install("compute", "echo 'sluice-device 2 0 1 50 0 134217728 100000000 Tiny Card'");
    SLUICE(STORY);
    if (last.status) fail_msg("%s", last.err);
    assert_true(last.out_bytes > 8);
    SLUICE(STORY, "--backend", "cuda");
    assert_int_equal(last.status, 1);
    assert_non_null(strstr(last.err, "device memory"));
}

static void stages_that_do_not_come_up_leave_the_processor(void **state)
{
    char *want;

    (void)state;
    install("compute", "[ \"$1\" = --probe ] && echo '" CARD "'; exit 1");
    install("transfer", "exit 1");
    SLUICE(STORY, "--backend", "cpu");
    assert_int_equal(last.status, 0);
    want = strdup(last.out);
    SLUICE(STORY);
    if (last.status) fail_msg("%s", last.err);
    assert_string_equal(last.out, want);
    assert_non_null(strstr(last.err, "the processor computes"));
    free(want);
    SLUICE(STORY, "--backend", "cuda");
    assert_int_equal(last.status, 1);
    assert_int_equal(last.out_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(facts_go_through_one_line),
                                       cmocka_unit_test(a_card_is_planned_for),
                                       cmocka_unit_test(more_than_the_card_has_is_refused),
                                       cmocka_unit_test(memory_of_a_board_is_divided),
                                       cmocka_unit_test(a_probe_that_fails_leaves_the_processor),
                                       cmocka_unit_test(a_card_that_is_too_small_leaves_the_processor),
                                       cmocka_unit_test(stages_that_do_not_come_up_leave_the_processor)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
