/* A process of a run over machines dies or stops: the text is the same, and nothing is left. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/support_machines.h"
#include "tests/support_process.h"
#include "tests/support_victims.h"

#define BELOW   256
#define SECONDS 90
#define STORY                                                                                                          \
    "run", "tests/data/demo-model", "-p", "Once upon a time", "-n", "300", "--ignore-eos", "--temperature", "0",       \
        "--speculate", "off"

static const char *const alone[] = {STORY, NULL};
static const char *const spread[] = {STORY, "--hosts", "localhost,localhost", NULL};
static const char *refused;

static void need_mpi(void)
{
    if (!refused) return;
    print_message("skipped: %s\n", refused);
    skip();
}

static void expect_nothing_left(const pid_t *pid, int n)
{
    for (int i = 0; i < n; i++) {
        for (int wait = 0; wait < 100 && !victim_gone(pid[i]); wait++) nap_ms(20);
        if (!victim_gone(pid[i])) fail_msg("process %ld is left", (long)pid[i]);
    }
}

/* The blow falls once the second machine's compute is there; status: how the run ends then. */
static void blow(const char *name, const char *arg, int signal, int status)
{
    struct process_result want = process_run("sluice", alone, NULL, 0, SECONDS), got;
    struct process p = process_start("sluice", spread);
    pid_t node = machines_process(p.pid, "sluice-node", NULL), compute, victim, below[BELOW];
    int n;

    assert_int_equal(want.status, 0);
    if (!node || !(compute = machines_process(node, "sluice-compute", NULL)))
        fail_msg("the second machine did not start: %s", process_finish(&p, NULL, 0, 1).err);
    victim = name ? machines_process(p.pid, name, arg) : p.pid;
    assert_true(victim > 0);
    nap_ms(300);
    n = machines_below(p.pid, below, BELOW);
    kill(victim, signal);
    got = process_finish(&p, NULL, 0, SECONDS);
    if (got.status != status) fail_msg("exit %d: %s", got.status, got.err);
    if (!status && strcmp(got.out, want.out)) fail_msg("another text: %s", got.out);
    expect_nothing_left(below, n);
    process_result_free(&want);
    process_result_free(&got);
}

static void test_link(void **state)
{
    (void)state;
    need_mpi();
    blow("sluice-link", "--node", SIGKILL, 0);
}

static void test_node_stopped(void **state)
{
    (void)state;
    need_mpi();
    blow("sluice-node", NULL, SIGSTOP, 0);
}

static void test_mpirun(void **state)
{
    (void)state;
    need_mpi();
    blow("mpirun", NULL, SIGKILL, 0);
}

static void test_coordinator(void **state)
{
    (void)state;
    need_mpi();
    blow(NULL, NULL, SIGKILL, 128 + SIGKILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_link),
        cmocka_unit_test(test_node_stopped),
        cmocka_unit_test(test_mpirun),
        cmocka_unit_test(test_coordinator),
    };

    refused = machines_refused();
    return cmocka_run_group_tests_name("machines_kill", tests, NULL, NULL);
}
