/* A system that has no more to give: full disks and a full /dev/shm, no descriptors, no locked memory, nobody who reads.
 * Each is an error that names what is missing, at once, or no hindrance at all. */
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_process.h"
#include "tests/support_victims.h"

#define DEMO "tests/data/demo-model"
#define RUN  "$SLUICE run " DEMO " -p 'Once upon a time' --temperature 0 -n 60 --ignore-eos"

static char *want;

/* A line for the shell, in which $SLUICE is the program. It may take ten seconds, and leaves nothing. */
static struct process_result shell(const char *line)
{
    char script[PATH_MAX + 1024], left[256];
    const char *const args[] = {"-c", script, NULL};
    struct process_result r;
    struct process p;

    snprintf(script, sizeof script, "SLUICE=%s/sluice; %s", process_build(), line);
    p = process_start("/bin/sh", args);
    r = process_finish(&p, NULL, 0, 10);
    if (victim_leftovers(p.pid, NULL, 0, 1000, left, sizeof left)) fail_msg("%s: left behind: %s", line, left);
    return r;
}

/* text: it must print all of the answer. */
static void expect(const char *line, int status, const char *words, bool text)
{
    struct process_result r = shell(line);

    if (r.status != status || !strstr(r.err, words) || (text && strcmp(r.out, want)))
        fail_msg("%s: status %d, \"%s\", %s", line, r.status, r.out, r.err);
    process_result_free(&r);
}

static int setup(void **state)
{
    struct process_result r = shell(RUN);

    (void)state;
    if (r.status) fail_msg("%s", r.err);
    want = r.out;
    free(r.err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(want);
    return 0;
}

/* ---- output ---- */

static void nobody_reads(void **state)
{
    (void)state;
    expect(RUN " | true; exit 0", 0, "", false);
    expect("{ " RUN "; echo status $? >&2; } | true", 0, "status 1", false);
    expect(RUN " >&-", 1, "cannot write the answer: Bad file descriptor", false);
    expect(RUN " <&-", 0, "", true);
    expect(RUN " 2>&-", 0, "", true);
    expect(RUN " --json <&- >&- 2>&-", 1, "", false);
    expect("$SLUICE plan " DEMO " >&-", 1, "cannot write to standard output", false);
}

static void full_disks(void **state)
{
    (void)state;
    expect(RUN " >/dev/full", 1, "cannot write the answer: No space left on device", false);
    expect(RUN " --json >/dev/full", 1, "No space left on device", false);
    expect(RUN " --trace /dev/full", 1, "the trace: cannot write /dev/full: No space left on device", true);
    expect("$SLUICE logits " DEMO " --tokens '1 2 3' --out /dev/full", 1, "/dev/full: No space left on device", false);
    expect("$SLUICE plan " DEMO " >/dev/full", 1, "No space left on device", false);
    expect(RUN " --trace /nowhere/trace", 1, "/nowhere/trace", false);
}

/* ---- file systems that are too small: in a mount name space of their own ---- */

#define APART "unshare -m sh -c '"

static bool may_mount(void)
{
    struct process_result r = shell("unshare -m mount -t tmpfs none /mnt");
    bool may = !r.status;

    process_result_free(&r);
    if (!may) print_message("skipped: file systems cannot be mounted here (needs root, mount and unshare)\n");
    return may;
}

static void a_small_dev_shm(void **state)
{
    static const char *const run = "$SLUICE run " DEMO " -p \"Once upon a time\" --temperature 0 -n 60 --ignore-eos";
    static const char *const sizes[] = {"4k", "64k", "200k", "500k", "1m", "2m", "4m"};
    char line[1024];
    bool worked = false;

    (void)state;
    if (!may_mount()) skip();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct process_result r;

        snprintf(line, sizeof line, "export SLUICE; " APART "mount -t tmpfs -o size=%s none /dev/shm && exec %s'",
                 sizes[i], run);
        r = shell(line);
        if (r.status ? r.status != 1 || !strstr(r.err, "/dev/shm") || worked : strcmp(r.out, want) != 0)
            fail_msg("/dev/shm of %s: status %d, \"%s\", %s", sizes[i], r.status, r.out, r.err);
        worked |= !r.status;
        if (!i) assert_int_equal(r.status, 1);
        process_result_free(&r);
    }
    assert_true(worked);
    /* full of what others have put there */
    snprintf(line, sizeof line,
             "export SLUICE; " APART
             "mount -t tmpfs -o size=8m none /dev/shm && head -c 8388608 /dev/zero >/dev/shm/others; exec %s'",
             run);
    expect(line, 1, "/dev/shm has 0", false);
}

static void a_full_disk_for_the_trace(void **state)
{
    (void)state;
    if (!may_mount()) skip();
    expect("export SLUICE; " APART
           "mount -t tmpfs -o size=4k none /mnt && head -c 9999 /dev/zero >/mnt/others; exec $SLUICE run " DEMO
           " -p \"Once upon a time\" --temperature 0 -n 60 --ignore-eos --trace /mnt/trace'",
           1, "the trace: cannot write /mnt/trace: No space left on device", true);
}

/* ---- limits of the process ---- */

static void few_descriptors(void **state)
{
    bool worked = false;

    (void)state;
    for (int n = 5; n <= 64; n += n < 48 ? 3 : 16) {
        char line[512];
        struct process_result r;

        snprintf(line, sizeof line, "ulimit -n %d; exec " RUN, n);
        r = shell(line);
        if (r.status ? r.status != 1 || (!strstr(r.err, "ulimit -n") && !strstr(r.err, "Too many open files")) || worked
                     : strcmp(r.out, want) != 0)
            fail_msg("%d descriptors: status %d, \"%s\", %s", n, r.status, r.out, r.err);
        worked |= !r.status;
        process_result_free(&r);
    }
    assert_true(worked);
}

/* Registered buffers and pinned slots are a gain and no condition. */
static void no_locked_memory(void **state)
{
    static const char *const without = "ulimit -l 0; drop=; setpriv --bounding-set -ipc_lock true 2>/dev/null && "
                                       "drop='setpriv --bounding-set -ipc_lock'; exec $drop " RUN;
    struct process_result r;
    char line[1024];

    (void)state;
    expect(without, 0, "", true);
    /* io_uring itself needs some on newer kernels: who insists on it is told */
    snprintf(line, sizeof line, "%s --io-engine uring", without);
    r = shell(line);
    if (r.status ? !strstr(r.err, "io_uring") : strcmp(r.out, want) != 0) fail_msg("status %d, %s", r.status, r.err);
    process_result_free(&r);
}

/* ---- system calls that a filter refuses ---- */

/* `test_limits --refuse NUMBER ERRNO PROGRAM ARG...`: the program, in which that call fails so. */
static int refuse(char **argv)
{
    uint32_t call = (uint32_t)atoi(argv[0]), code = (uint32_t)atoi(argv[1]);
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (code & SECCOMP_RET_DATA)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) _exit(99);
    execv(argv[2], argv + 2);
    _exit(98);
}

/* words NULL: the answer is as ever. */
static void refused(long call, int code, const char *flags, const char *words)
{
    char line[1024], out[256];
    struct process_result r;

    snprintf(line, sizeof line, "exec $SLUICE_TEST_SELF --refuse %ld %d %s %s", call, code, RUN, flags);
    r = shell(line);
    snprintf(out, sizeof out, "%s", r.err);
    if (r.status == 99) {
        print_message("skipped: system calls cannot be filtered here\n");
        process_result_free(&r);
        skip();
    }
    if (r.status != (words ? 1 : 0) || !strstr(r.err, words ? words : "") ||
        (!words && (*r.err || strcmp(r.out, want))))
        fail_msg("%s: status %d, \"%s\", %s", line, r.status, r.out, r.err);
    process_result_free(&r);
}

static void calls_refused(void **state)
{
    static const int codes[] = {EPERM, ENOSYS, EACCES};

    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        refused(SYS_io_uring_setup, codes[i], "", NULL);
        refused(SYS_io_uring_enter, codes[i], "", NULL);
        refused(SYS_io_uring_register, codes[i], "", NULL);
        refused(SYS_io_uring_enter, codes[i], "--io-engine uring", "use --io-engine threads or auto");
        refused(SYS_eventfd2, codes[i], "", "eventfd cannot be had");
        refused(SYS_memfd_create, codes[i], "", "allow it there");
        refused(SYS_pidfd_open, codes[i], "", NULL);
    }
    refused(SYS_memfd_create, EMFILE, "", "ulimit -n");
}

/* ---- processes ---- */

/* A group of processes of its own, of at most %d, for what follows; 97 where there can be none. */
#define GROUP                                                                                                          \
    "for g in /sys/fs/cgroup/pids$(sed -n s/^[0-9]*:pids://p /proc/self/cgroup) /sys/fs/cgroup/pids "                  \
    "/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup); do g=$g/sluice-test-$$; mkdir $g 2>/dev/null || continue; "  \
    "[ -w $g/pids.max ] && break; rmdir $g; done; [ -w $g/pids.max ] || exit 97; "                                     \
    "(echo %d >$g/pids.max && echo 0 >$g/cgroup.procs || exit 97; exec %s); s=$?; "                                    \
    "for i in 1 2 3 4 5 6 7 8 9; do rmdir $g 2>/dev/null && break; sleep .1; done; exit $s"

/* One message with the remedy, and nothing of a library that gave up; from some number on, what is wanted. What ends counts
 * until the kernel has taken it away, so one more try is given where fewer sufficed. */
static void few_processes_for(const char *command, const char *out)
{
    static const int limits[] = {1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 19, 20, 24, 28, 40, 80};
    bool worked = false;

    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        char line[2048];
        struct process_result r;

        snprintf(line, sizeof line, GROUP, limits[i], command);
        r = shell(line);
        if (r.status == 1 && worked && strstr(r.err, "ulimit -u")) {
            process_result_free(&r);
            r = shell(line);
        }
        if (r.status == 97) {
            print_message("skipped: no cgroup can be made here that counts processes\n");
            process_result_free(&r);
            skip();
        }
        if (r.status ? r.status != 1 || worked || !strstr(r.err, "ulimit -u") || strstr(r.err, "src/") ||
                           strchr(r.err, '\n')[1]
                     : !strstr(r.out, out))
            fail_msg("%d processes: status %d, \"%s\", %s", limits[i], r.status, r.out, r.err);
        worked |= !r.status;
        process_result_free(&r);
    }
    assert_true(worked);
}

static void few_processes(void **state)
{
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    print_message("skipped: the search for leaks needs a process of its own\n");
    skip();
#endif
    few_processes_for(RUN " --threads 2", want);
    few_processes_for("$SLUICE verify " DEMO, "nothing is wrong");
}

static void small_files(void **state)
{
    (void)state;
    /* shared memory is made of files too */
    expect("ulimit -f 1; exec " RUN, 1, "ulimit -f", false);
    expect("ulimit -f 1; exec $SLUICE completion bash >$TMPDIR/big; exit 9", 1, "standard output: File too large",
           false);
    expect("rm $TMPDIR/big", 0, "", false);
}

int main(int argc, char **argv)
{
    char self[PATH_MAX] = "";

    if (argc > 4 && !strcmp(argv[1], "--refuse")) return refuse(argv + 2);
    if (readlink("/proc/self/exe", self, sizeof self - 1) > 0) setenv("SLUICE_TEST_SELF", self, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_reads),    cmocka_unit_test(full_disks),
        cmocka_unit_test(a_small_dev_shm), cmocka_unit_test(a_full_disk_for_the_trace),
        cmocka_unit_test(few_descriptors), cmocka_unit_test(no_locked_memory),
        cmocka_unit_test(calls_refused),   cmocka_unit_test(few_processes),
        cmocka_unit_test(small_files),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
