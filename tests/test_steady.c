/* The steady path: once the stages run, tiles cost no allocation and no system call but their reads and a futex now and then,
 * and nothing of ZeroMQ. Allocations are counted by tests/preload/count_calls.c, system calls by strace. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/cli/options.h"
#include "coordinator/plan/plan.h"
#include "coordinator/engine/engine.h"
#include "proto/base/clock.h"
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_program.h"
#include "tests/support_victims.h"

#define SWEEPS 60u

static const char *const programs[STAGES] = {"sluice-reader", "sluice-transfer-cpu", "sluice-compute-cpu"};

struct pipe {
    char *folder, *counts;
    struct model *model;
    struct plan_shm *plan;
    struct engine *engine;
    uint32_t position;
};

static void pipe_open(struct pipe *p, const char *name, uint64_t slot_bytes)
{
    struct options o = option_defaults;
    struct plan_settings s;
    struct engine_config c = {0};
    struct error e = {0};
    int rc;

    *p = (struct pipe){.folder = reference_make(name), .counts = scratch_make()};
    rc = model_open(&p->model, p->folder, NULL, &e);
    o.threads = 2;
    if (!rc) rc = plan_settings_from_options(&s, &o, &e);
    s.slot_bytes = slot_bytes;
    s.context = 512;
    if (!rc) rc = plan_build(&p->plan, &c.plan_bytes, model_program(p->model), &s, &e);
    if (rc) fail_msg("%s", e.text);
    test_stream_all(p->plan);
    c.plan = p->plan;
    setenv("COUNT_CALLS", p->counts, 1);
#ifndef __SANITIZE_ADDRESS__
    char object[4096];
    snprintf(object, sizeof object, "%s/tests/count_calls.so", process_build());
    setenv("LD_PRELOAD", object, 1);
#endif
    rc = engine_open(&p->engine, &c, &e);
    unsetenv("LD_PRELOAD");
    if (!rc) rc = engine_ready(p->engine, &e);
    if (rc) fail_msg("%s", e.text);
}

static void pipe_close(struct pipe *p)
{
    engine_close(p->engine);
    free(p->plan);
    model_close(p->model);
    scratch_remove(p->folder);
    scratch_remove(p->counts);
}

static void sweeps(struct pipe *p, uint32_t n)
{
    const float *logits;
    uint32_t rows;
    struct error e = {0};

    for (uint32_t i = 0; i < n; i++, p->position++) {
        struct sweep_position s = {.token = 6 + p->position % 200,
                                   .position = p->position,
                                   .row = p->position,
                                   .flags = POSITION_LOGITS,
                                   .parent = p->position ? p->position - 1 : ROW_NONE};

        if (engine_sweep(p->engine, &s, 1, &logits, &rows, &e)) fail_msg("%s", e.text);
    }
}

#ifdef __SANITIZE_ADDRESS__
static void no_allocation(void **state)
{
    (void)state;
    print_message("SKIP: the sanitizer's allocator cannot be counted\n");
    skip();
}
#else
static uint64_t allocations(const struct pipe *p, int stage)
{
    uint64_t n = 0;
    FILE *f = fopen(scratch_path(p->counts, programs[stage]), "re");

    assert_non_null(f);
    assert_int_equal(fread(&n, sizeof n, 1, f), 1);
    fclose(f);
    return n;
}

static void no_allocation(void **state)
{
    static const char *const names[] = {"llama", "mixtral"};
    static const uint64_t slots[] = {64 << 10, 1 << 20};
    uint64_t before[STAGES], each[2];
    struct pipe p;

    (void)state;
    for (size_t m = 0; m < 2; m++) {
        for (size_t i = 0; i < 2; i++) {
            pipe_open(&p, names[m], slots[i]);
            sweeps(&p, 5);
            for (int s = 0; s < STAGES; s++) assert_true((before[s] = allocations(&p, s)) > 0);
            sweeps(&p, SWEEPS);
            assert_int_equal(allocations(&p, STAGE_READER) - before[STAGE_READER], 0);
            assert_int_equal(allocations(&p, STAGE_TRANSFER) - before[STAGE_TRANSFER], 0);
            each[i] = (allocations(&p, STAGE_COMPUTE) - before[STAGE_COMPUTE]) / SWEEPS;
            print_message("%s, %llu tiles: compute's two messages of a sweep cost %llu allocations\n", names[m],
                          (unsigned long long)p.plan->spec.sweep_tiles, (unsigned long long)each[i]);
            pipe_close(&p);
        }
        /* The message that orders a sweep and the one that it is done; nothing that grows with the tiles. */
        assert_true(each[0] <= 24);
        assert_int_equal(each[0], each[1]);
    }
}
#endif

/* ---- system calls ---- */

/* Attached to a process when this returns; 0 where that is not allowed. */
static pid_t trace(pid_t pid, const char *out)
{
    char number[24], path[64], line[128];
    pid_t tracer;
    long who = 0;

    snprintf(number, sizeof number, "%ld", (long)pid);
    tracer = fork();
    if (!tracer) {
        if (freopen("/dev/null", "w", stderr))
            execlp("strace", "strace", "-f", "-c", "-U", "calls,name", "-o", out, "-p", number, (char *)NULL);
        _exit(127);
    }
    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    for (int i = 0; i < 100 && !who; i++) {
        FILE *f = fopen(path, "re");

        while (f && fgets(line, sizeof line, f)) sscanf(line, "TracerPid: %ld", &who);
        if (f) fclose(f);
        if (waitpid(tracer, NULL, WNOHANG) == tracer) return 0;
        usleep(20000);
    }
    usleep(200000); /* its other threads too */
    if (who) return tracer;
    kill(tracer, SIGKILL);
    waitpid(tracer, NULL, 0);
    return 0;
}

/* What a stage may call: waiting, and its reads. */
static bool allowed(int stage, const char *name)
{
    static const char *const all[] = {"futex",           "poll",      "ppoll",       "epoll_wait", "clock_nanosleep",
                                      "restart_syscall", "nanosleep", "sched_yield", "getpid"};
    static const char *const reads[] = {"io_uring_enter", "pread64"};
    static const char *const messages[] = {"read", "write", "sendto", "recvfrom", "epoll_ctl", "getpid"};

#ifdef __SANITIZE_ADDRESS__ /* its allocator's own */
    if (!strcmp(name, "mmap") || !strcmp(name, "munmap") || !strcmp(name, "madvise")) return true;
#endif
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(name, all[i])) return true;
    for (size_t i = 0; stage == STAGE_READER && i < 2; i++)
        if (!strcmp(name, reads[i])) return true;
    for (size_t i = 0; stage == STAGE_COMPUTE && i < sizeof messages / sizeof *messages; i++)
        if (!strcmp(name, messages[i])) return true;
    return false;
}

/* Once a second the reader looks at its files, by name and by descriptor (three at most), however many tiles pass. */
static bool is_review(int stage, const char *name, unsigned long calls, uint64_t elapsed_ns, uint64_t files)
{
    if (stage != STAGE_READER || (strcmp(name, "newfstatat") && strcmp(name, "fstat") && strcmp(name, "stat")))
        return false;
    return calls <= 4 * files * (elapsed_ns / 1000000000u + 2);
}

static void no_other_call(void **state)
{
    pid_t tracer[STAGES] = {0}, stage;
    char out[STAGES][4096], line[256], name[64];
    unsigned long calls, reads[STAGES] = {0}, futexes[STAGES] = {0}, tiles;
    uint64_t elapsed;
    struct pipe p;
    bool may = true;

    (void)state;
    pipe_open(&p, "llama", 64 << 10);
    sweeps(&p, 5);
    elapsed = clock_ns();
    for (int s = 0; s < STAGES && may; s++) {
        snprintf(out[s], sizeof out[s], "%s", scratch_path(p.counts, programs[s]));
        strcat(out[s], ".calls");
        stage = victim_find(getpid(), s);
        assert_true(stage > 0);
        may = (tracer[s] = trace(stage, out[s])) > 0;
    }
    if (may) sweeps(&p, SWEEPS);
    tiles = (unsigned long)(SWEEPS * p.plan->spec.sweep_tiles);
    for (int s = 0; s < STAGES; s++) {
        if (!tracer[s]) continue;
        kill(tracer[s], SIGINT);
        waitpid(tracer[s], NULL, 0);
    }
    elapsed = clock_ns() - elapsed;
    for (int s = 0; s < STAGES && may; s++) {
        FILE *f = fopen(out[s], "re");

        assert_non_null(f);
        while (fgets(line, sizeof line, f)) {
            if (sscanf(line, " %lu %63s", &calls, name) != 2 || !strcmp(name, "total")) continue;
            if (!strcmp(name, "futex")) futexes[s] = calls;
            if (!strcmp(name, "io_uring_enter") || !strcmp(name, "pread64")) reads[s] = calls;
            if (!allowed(s, name) && !is_review(s, name, calls, elapsed, p.plan->files.count))
                fail_msg("%s: %lu calls of %s while %lu tiles passed", programs[s], calls, name, tiles);
        }
        fclose(f);
        print_message("%s: %lu tiles, %lu calls to read, %lu of futex\n", programs[s], tiles, reads[s], futexes[s]);
        /* A tile may find its neighbour asleep on either side: that wakes once and sleeps once each. */
        assert_true(futexes[s] <= 6 * tiles + 2000);
        assert_true(reads[s] <= 2 * tiles + 2000);
    }
    pipe_close(&p);
    if (!may) {
        print_message("SKIP: strace is missing, or may not look at other processes here\n");
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_allocation), cmocka_unit_test(no_other_call)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
