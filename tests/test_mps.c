/* coordinator/engine/mps: the private daemon's coming and going, with a script in the place of NVIDIA's program. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "coordinator/engine/mps.h"
#include "tests/support_temporary.h"
#include "tests/support_victims.h"

static char folder[TEMPORARY_BYTES], old_path[4096];

static void install(const char *script)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/nvidia-cuda-mps-control", folder);
    unlink(path);
    if (!script) return;
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", script);
    fclose(f);
    assert_int_equal(chmod(path, 0700), 0);
}

static int setup(void **state)
{
    char path[8192];

    (void)state;
    if (!temporary_make(folder, NULL)) return -1;
    snprintf(old_path, sizeof old_path, "%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
    snprintf(path, sizeof path, "%s:/usr/bin:/bin", folder);
    return setenv("PATH", path, 1);
}

static int teardown(void **state)
{
    (void)state;
    install(NULL);
    setenv("PATH", old_path, 1);
    return rmdir(folder);
}

static const char *daemon_script =
    "if [ \"$1\" = -f ]; then echo x >\"$CUDA_MPS_LOG_DIRECTORY/control.log\"; echo $$ "
    ">\"$CUDA_MPS_PIPE_DIRECTORY/control\"; exec sleep 60; fi\n"
    "read word; [ \"$word\" = quit ] && kill \"$(cat \"$CUDA_MPS_PIPE_DIRECTORY/control\")\"";

static void test_comes_and_goes(void **state)
{
    struct mps m;
    struct error e = {0};
    char kept[64];
    pid_t control;

    (void)state;
    install(daemon_script);
    assert_true(mps_available());
    assert_int_equal(mps_start(&m, &e), 0);
    assert_non_null(getenv("CUDA_MPS_PIPE_DIRECTORY"));
    assert_int_equal(strncmp(getenv("CUDA_MPS_PIPE_DIRECTORY"), m.folder, strlen(m.folder)), 0);
    snprintf(kept, sizeof kept, "%s", m.folder);
    control = m.control;
    mps_stop(&m);
    assert_int_equal(m.control, 0);
    assert_null(getenv("CUDA_MPS_PIPE_DIRECTORY"));
    assert_int_equal(access(kept, F_OK), -1);
    assert_int_equal(kill(control, 0), -1);
    mps_stop(&m); /* harmless */
}

static bool gone_within(int ms, const char *path, pid_t pid)
{
    for (; ms > 0; ms -= 20, nap_ms(20))
        if (access(path, F_OK) && victim_gone(pid)) return true;
    return false;
}

/* A process that is killed cannot stop its daemon. */
static void test_killed(void **state)
{
    struct mps m = {0};
    int ends[2];
    pid_t child;

    (void)state;
    install(daemon_script);
    assert_int_equal(pipe(ends), 0);
    child = fork();
    if (!child) {
        struct error e;

        if (mps_start(&m, &e) || write(ends[1], &m, sizeof m) != sizeof m) _exit(1);
        for (;;) pause();
    }
    assert_int_equal(read(ends[0], &m, sizeof m), sizeof m);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(access(m.folder, F_OK), 0);
    assert_false(victim_gone(m.control));
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(gone_within(5000, m.folder, m.control));
    assert_true(gone_within(5000, m.folder, m.guard));
}

/* What a terminal sends to its foreground group does not reach the daemon. */
static void test_own_session(void **state)
{
    struct mps m;
    struct error e = {0};

    (void)state;
    install(daemon_script);
    assert_int_equal(mps_start(&m, &e), 0);
    assert_int_not_equal(getpgid(m.control), getpgid(0));
    mps_stop(&m);
}

static void test_absent(void **state)
{
    struct mps m;
    struct error e = {0};

    (void)state;
    install(NULL);
    if (mps_available()) skip(); /* the real one is installed in /usr/bin */
    assert_int_equal(mps_start(&m, &e), -ENOENT);
    assert_non_null(strstr(e.text, "not installed"));
    mps_stop(&m);
}

static void test_fails_at_once(void **state)
{
    struct mps m;
    struct error e = {0};
    char kept[64];

    (void)state;
    install("exit 1");
    assert_int_equal(mps_start(&m, &e), -EIO);
    snprintf(kept, sizeof kept, "%s", m.folder);
    mps_stop(&m);
    assert_int_equal(access(kept, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comes_and_goes), cmocka_unit_test(test_killed),        cmocka_unit_test(test_own_session),
        cmocka_unit_test(test_absent),         cmocka_unit_test(test_fails_at_once),
    };

    return cmocka_run_group_tests_name("mps", tests, setup, teardown);
}
