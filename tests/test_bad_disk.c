/* The whole program over a real file system that fails (tests/support_faultfs.h). */
#include <errno.h>
#include <fcntl.h>
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

#include "reader/engine.h"
#include "tests/support_faultfs.h"
#include "tests/support_process.h"
#include "tests/support_victims.h"

#define DEMO  "tests/data/demo-model"
#define PLACE 1000000u /* in the weights, beyond their header */

static struct faultfs disk;
static char *want;

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

/* With direct reads and buffered ones. */
static void each(enum faultfs_mode mode, uint64_t at, uint64_t times, int status, const char *const *words)
{
    if (disk.why) skip();
    for (size_t w = 0; w < 2; w++) {
        struct process p;

        faultfs_set(&disk, mode, at, times);
        p = start(disk.path, "auto", ways[w]);
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

/* Wrong bytes are no price for insisting on io_uring (see reader/files.h): it is refused, and nothing is read. */
static void io_uring_by_name_is_refused(void **state)
{
    static const char *const words[] = {"model.safetensors: ", "FUSE", "--io-engine threads or auto", NULL};

    (void)state;
    if (disk.why) skip();
    for (size_t w = 0; w < 2; w++) {
        struct process p;

        faultfs_set(&disk, FAULTFS_SHORT, 65536, 0);
        p = start(disk.path, "uring", ways[w]);
        expect(&p, 1, words);
    }
}

/* One read of the weights at PLACE by the engine itself; its result, or -ENOTSUP where there is no io_uring. */
static int32_t read_with_uring(uint8_t *dest, uint32_t bytes)
{
    struct io_options o = {.depth = 1};
    struct io_engine *g;
    struct io_done done = {0};
    char path[TEMPORARY_BYTES + 32];
    int fd;

    if (io_engine_open(&g, ENGINE_URING, &o, NULL)) return -ENOTSUP;
    snprintf(path, sizeof path, "%s/model.safetensors", disk.path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    io_engine_submit(g, &(struct io_read){.dest = dest, .offset = PLACE, .bytes = bytes, .fd = fd});
    assert_int_equal(io_engine_reap(g, &done, 1, 1, 5000000000u), 1);
    io_engine_close(g);
    close(fd);
    return done.result;
}

/* The program takes threads on this file system; what the kernel says of an error must come through io_uring as well. */
static void an_error_through_io_uring(void **state)
{
    uint8_t got[512], good[512];
    FILE *f = fopen(DEMO "/model.safetensors", "rb");
    int32_t n;

    (void)state;
    assert_non_null(f);
    assert_int_equal(fseek(f, PLACE, SEEK_SET), 0);
    assert_int_equal(fread(good, 1, sizeof good, f), sizeof good);
    fclose(f);
    if (disk.why) skip();
    faultfs_set(&disk, FAULTFS_EIO, PLACE, 1);
    n = read_with_uring(got, sizeof got);
    if (n == -ENOTSUP) {
        print_message("skipped: there is no io_uring here\n");
        skip();
    }
    assert_int_equal(n, -EIO);
    assert_int_equal(read_with_uring(got, sizeof got), sizeof got); /* it passes after one */
    assert_memory_equal(got, good, sizeof got);
}

/* A read that the kernel holds: whoever waits in it cannot be killed. Ctrl-C ends the program all the same, and the
 * process that is held ends when its read does. */
static void a_read_that_nobody_can_kill(void **state)
{
    char left[256];
    struct process p;
    int status;

    (void)state;
    if (disk.why) skip();
    faultfs_set(&disk, FAULTFS_HANG, PLACE, 0);
    p = start(disk.path, "auto", "direct");
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
        cmocka_unit_test(io_uring_by_name_is_refused),
        cmocka_unit_test(an_error_through_io_uring),
        cmocka_unit_test(a_read_that_nobody_can_kill),
        cmocka_unit_test(a_disk_that_is_pulled_out),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
