/* The whole program over a real file system that fails (tests/support_faultfs.h). */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_faultfs.h"
#include "tests/support_process.h"
#include "tests/support_victims.h"

#define DEMO  "tests/data/demo-model"
#define PLACE 1000000u /* in the weights, beyond their header */

static struct faultfs disk;
static char *want;
static bool has_uring;

static const char *const engines[] = {"uring", "threads"};
static const char *const ways[] = {"direct", "buffered"};

static struct process start(const char *folder, const char *engine, const char *io)
{
    const char *const args[] = {"run", folder, "-p",           "Once upon a time", "--temperature", "0",
                                "-n",  "60",   "--ignore-eos", "--io-engine",      engine,          "--io",
                                io,    NULL};

    return process_start("sluice", args);
}

static void expect(struct process *p, int status, const char *const *words)
{
    struct process_result r = process_finish(p, NULL, 0, 10);
    char left[256];

    for (; words && *words; words++)
        if (!strstr(r.err, *words)) fail_msg("status %d, does not say \"%s\": %s", r.status, *words, r.err);
    if (r.status != status || (!status && strcmp(r.out, want)))
        fail_msg("status %d, \"%s\", %s", r.status, r.out, r.err);
    process_result_free(&r);
    if (victim_leftovers(p->pid, NULL, 0, 1000, left, sizeof left)) fail_msg("left behind: %s", left);
}

static int setup(void **state)
{
    struct process p;
    struct process_result r;

    (void)state;
    p = start(DEMO, "auto", "auto");
    r = process_finish(&p, NULL, 0, 10);
    if (r.status) fail_msg("%s", r.err);
    want = r.out;
    free(r.err);
    p = start(DEMO, "uring", "auto");
    r = process_finish(&p, NULL, 0, 10);
    has_uring = !r.status;
    process_result_free(&r);
    if (!has_uring) print_message("skipped: there is no io_uring here\n");
    if (!faultfs_mount(&disk, DEMO)) print_message("skipped: no file system that fails: %s\n", disk.why);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (!disk.why) faultfs_unmount(&disk);
    free(want);
    return 0;
}

/* For every engine and way that this machine has; short reads with those that can tell them (see reader/files.h). */
static void each(enum faultfs_mode mode, uint64_t at, uint64_t times, int status, const char *const *words)
{
    if (disk.why) skip();
    for (size_t e = 0; e < 2; e++)
        for (size_t w = 0; w < 2; w++) {
            struct process p;

            faultfs_set(&disk, mode, at, times);
            p = start(disk.path, e ? "threads" : mode == FAULTFS_SHORT || !has_uring ? "auto" : "uring", ways[w]);
            expect(&p, status, words);
            if (mode == FAULTFS_EIO) assert_true(atomic_load(&disk.control->met) > 0);
        }
}

static void a_good_disk(void **state)
{
    (void)state;
    each(FAULTFS_NONE, 0, 0, 0, NULL);
}

static void short_reads(void **state)
{
    (void)state;
    each(FAULTFS_SHORT, 65536, 0, 0, NULL);
}

static void an_error_that_passes(void **state)
{
    (void)state;
    each(FAULTFS_EIO, PLACE, 3, 0, NULL);
}

static void an_error_that_stays(void **state)
{
    static const char *const words[] = {"model.safetensors: ", "bytes at offset ",
                                        "could not be read: ", "tried 4 times", NULL};

    (void)state;
    each(FAULTFS_EIO, PLACE, UINT64_MAX, 1, words);
}

/* waitpid() for a while; -1: it is still there. */
static int ended(pid_t pid, int limit_ms)
{
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) != pid) {
        if (limit_ms-- <= 0) return -1;
        nap_ms(1);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A read that the kernel holds: whoever waits in it cannot be killed. Ctrl-C ends the program all the same, and the
 * process that is held ends when its read does. */
static void a_read_that_nobody_can_kill(void **state)
{
    (void)state;
    if (disk.why) skip();
    for (size_t e = !has_uring; e < 2; e++) {
        char left[256];
        struct process p;
        int status;

        faultfs_set(&disk, FAULTFS_HANG, PLACE, 0);
        p = start(disk.path, engines[e], "direct");
        for (int i = 0; i < 500 && !atomic_load(&disk.control->met); i++) nap_ms(10);
        assert_true(atomic_load(&disk.control->met) > 0);
        nap_ms(100);
        kill(p.pid, SIGINT);
        status = ended(p.pid, 5000);
        faultfs_kill(&disk); /* its reads end with an error */
        if (victim_leftovers(p.pid, NULL, 0, 5000, left, sizeof left)) fail_msg("left behind: %s", left);
        assert_int_equal(status, 130);
        faultfs_unmount(&disk);
        assert_true(faultfs_mount(&disk, DEMO));
        close(p.in);
        close(p.out);
        close(p.err);
    }
}

/* The disk is gone, with everything on it. */
static void a_disk_that_is_pulled_out(void **state)
{
    struct process p;
    struct process_result r;

    (void)state;
    if (disk.why) skip();
    faultfs_kill(&disk);
    p = start(disk.path, "auto", "auto");
    r = process_finish(&p, NULL, 0, 10);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, disk.path));
    process_result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_disk),
        cmocka_unit_test(short_reads),
        cmocka_unit_test(an_error_that_passes),
        cmocka_unit_test(an_error_that_stays),
        cmocka_unit_test(a_read_that_nobody_can_kill),
        cmocka_unit_test(a_disk_that_is_pulled_out),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
