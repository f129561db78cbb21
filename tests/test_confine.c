/* What stages give up: the filter itself in a process of its own, a ring bound to reads, and every stage of a run. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/base/sandbox.h"
#include "reader/engine.h"
#include "tests/support_process.h"

#define DEMO "tests/data/demo-model"

/* ---- the filter; numbers of checks become exit statuses ---- */

enum { SKIPPED = 77 };

/* What a library's thread does first: ZeroMQ aborts where it cannot. Returns p where all of it can be done. */
static void *settle(void *p)
{
    struct sched_param param;
    int policy;

    if (pthread_getschedparam(pthread_self(), &policy, &param) || pthread_setschedparam(pthread_self(), policy, &param))
        return NULL;
    return pthread_setname_np(pthread_self(), "settled") ? NULL : p;
}

static bool thread_starts(void)
{
    void *settled = NULL;
    pthread_t t;

    return !pthread_create(&t, NULL, settle, &settled) && !pthread_join(t, &settled) && settled;
}

/* True where the call fails with EPERM. */
#define REFUSED(call) (errno = 0, (long)(call) == -1 && errno == EPERM)

static int check_closed(enum sandbox what, int file)
{
    char *const none[] = {NULL};
    char byte;
    void *p;
    int fds[2];

    if (!REFUSED(open("/dev/null", O_RDONLY))) return 1;
    if (!REFUSED(syscall(SYS_openat2, AT_FDCWD, "/dev/null", NULL, 0))) return 2;
    if (!REFUSED(socket(AF_UNIX, SOCK_STREAM, 0)) || !REFUSED(socket(AF_INET, SOCK_STREAM, 0))) return 3;
    if (!REFUSED(socketpair(AF_UNIX, SOCK_STREAM, 0, fds))) return 4;
    if (!REFUSED(execve("/bin/true", none, none))) return 5;
    if (!REFUSED(fork()) || !REFUSED(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))) return 6;
    if (!REFUSED(ptrace(PTRACE_TRACEME, 0, NULL, NULL))) return 7;
    if (!REFUSED(kill(getppid(), 0))) return 8;
    if (!REFUSED(unlink("/tmp/none")) || !REFUSED(syscall(SYS_io_uring_setup, 1, NULL))) return 9;
    if (!REFUSED((intptr_t)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) return 10;
    p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || !REFUSED(mprotect(p, 4096, PROT_READ | PROT_EXEC))) return 11;
    if (!thread_starts()) return 12;
    if (pread(file, &byte, 1, 0) != 1 || lseek(file, 0, SEEK_CUR) != 0) return 13;
    if (what == CONFINE_WORK && !REFUSED(posix_fadvise(file, 0, 0, 0) ? -1 : 0) &&
        !REFUSED(syscall(SYS_io_uring_enter, 0, 0, 0, 0, NULL)))
        return 14;
    free(malloc(64 << 20));
    return 0;
}

static int check_device(void)
{
    char *const none[] = {NULL};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);

    if (!REFUSED(execve("/bin/true", none, none))) return 1;
    if (!REFUSED(ptrace(PTRACE_TRACEME, 0, NULL, NULL))) return 2;
    if (s < 0 || !REFUSED(listen(s, 1))) return 3;
    return open("/dev/null", O_RDONLY) >= 0 && thread_starts() ? 0 : 4;
}

static void in_a_process(enum sandbox what)
{
    int status = 0;
    pid_t child = fork();

    if (!child) {
        struct error e = {0};
        int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

        if (sandbox(what, &e)) {
            fprintf(stderr, "skipped: %s\n", e.text);
            _exit(SKIPPED);
        }
        _exit(what == CONFINE_DEVICE ? check_device() : check_closed(what, file));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void work_opens_nothing(void **state)
{
    (void)state;
    in_a_process(CONFINE_WORK);
}
static void read_opens_nothing(void **state)
{
    (void)state;
    in_a_process(CONFINE_READ);
}
static void device_starts_no_program(void **state)
{
    (void)state;
    in_a_process(CONFINE_DEVICE);
}

/* ---- io_uring ---- */

static int32_t one_read(struct io_engine *g, uint32_t file, int fd, void *dest)
{
    struct io_read q = {.dest = dest, .bytes = 4, .file = file, .fd = fd};
    struct io_done done[1] = {{0}};

    io_engine_submit(g, &q);
    assert_int_equal(io_engine_reap(g, done, 1, 1, 1000000000u), 1);
    return done[0].result;
}

static void sealed_ring_reads_its_files_only(void **state)
{
    struct io_options o = {.depth = 4, .files = 2};
    struct io_engine *g;
    struct error e = {0};
    char bytes[4] = "";
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), other = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), rc;

    (void)state;
    if (io_engine_open(&g, ENGINE_URING, &o, &e)) {
        print_message("skipped: %s\n", e.text);
        skip();
    }
    io_engine_add_file(g, 0, fd);
    rc = io_engine_seal(g);
    if (rc) {
        print_message("skipped: this kernel restricts no rings (%s)\n", error_name(-rc));
        io_engine_close(g);
        skip();
    }
    assert_int_equal(one_read(g, 0, fd, bytes), 4);
    assert_memory_equal(bytes, "\177ELF", 4);
    assert_int_equal(one_read(g, 9, other, bytes), -EACCES); /* not one that was added */
    assert_int_equal(one_read(g, 0, fd, bytes), 4);
    io_engine_close(g);
    close(fd);
    close(other);
}

/* ---- a run ---- */

static long status_number(const char *path, const char *name)
{
    char line[256];
    long value = -1;
    FILE *f = fopen(path, "re");

    if (!f) return -1;
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':') value = atol(line + strlen(name) + 1);
    fclose(f);
    return value;
}

/* Pids of its children; how many. */
static int children_of(pid_t parent, pid_t *out, int most)
{
    char path[64];
    FILE *f;
    int n = 0;

    snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)parent, (long)parent);
    f = fopen(path, "re");
    while (f && n < most && fscanf(f, "%d", &out[n]) == 1) n++;
    if (f) fclose(f);
    return n;
}

/* Every thread of the process has this in its status. */
static bool all_threads(pid_t pid, const char *name, long value)
{
    char path[320];
    struct dirent *d;
    bool all = true;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%ld/task", (long)pid);
    dir = opendir(path);
    if (!dir) return false;
    while ((d = readdir(dir))) {
        if (*d->d_name == '.') continue;
        snprintf(path, sizeof path, "/proc/%ld/task/%.64s/status", (long)pid, d->d_name);
        all = all && status_number(path, name) == value;
    }
    closedir(dir);
    return all;
}

/* Without a filter, which takes the other threads along, it is the main thread that gave its privileges up. */
static bool gave_up(pid_t pid, long seccomp)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    if (seccomp != 2) return status_number(path, "NoNewPrivs") == 1;
    return all_threads(pid, "NoNewPrivs", 1) && all_threads(pid, "Seccomp", seccomp);
}

static bool sandboxed(const pid_t *pid, int n, long seccomp)
{
    for (int i = 0; i < n; i++)
        if (!gave_up(pid[i], seccomp)) return false;
    return n == 3;
}

/* 2 where this build and system filter, else what it is without. */
static long expected_mode(void)
{
    int status = 0;
    pid_t child = fork();

    if (!child) {
        struct error e = {0};

        _exit(sandbox(CONFINE_DEVICE, &e) ? 1 : 0);
    }
    waitpid(child, &status, 0);
    if (!status) return 2;
    print_message("skipped: the filter, which cannot be had here; privileges alone are looked at\n");
    return status_number("/proc/self/status", "Seccomp");
}

static void every_stage_is_sandboxed(void **state)
{
    static const char *const arg[] = {"chat", DEMO, "--temperature", "0", "--max-tokens", "8", NULL};
    const struct timespec nap = {.tv_nsec = 10000000};
    struct process p = process_start("sluice", arg);
    long seccomp = expected_mode();
    struct process_result r;
    pid_t stage[8];
    bool ok = false;

    (void)state;
    assert_int_equal(write(p.in, "Hello\n", 6), 6); /* the stages attach for the first question */
    for (int i = 0; i < 1500 && !ok; i++) {
        nanosleep(&nap, NULL);
        ok = sandboxed(stage, children_of(p.pid, stage, 8), seccomp);
    }
    r = process_finish(&p, "Bye\n", 4, 20);
    assert_true(ok);
    assert_int_equal(r.status, 0);
    assert_true(r.out_bytes > 0);
    process_result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_opens_nothing),       cmocka_unit_test(read_opens_nothing),
        cmocka_unit_test(device_starts_no_program), cmocka_unit_test(sealed_ring_reads_its_files_only),
        cmocka_unit_test(every_stage_is_sandboxed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
