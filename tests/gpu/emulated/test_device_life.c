/* A run's beginning and end on the cuda backend, as far as the emulated device shows it: another device than the first,
 * contexts that end slowly, more events than one message carries, a driver that does not share them, compute modes, daemons
 * whose clients fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/support_model.h"
#include "tests/support_process.h"

#define SECONDS            60
#define STAGES_THAT_USE_IT 2

static char *scratch, *model, *out, want[1 << 20], got[1 << 20];
static size_t want_bytes;

static const char *device_memory = "1G";

static struct process_result logits(const char *backend, const char *flag, const char *value)
{
    const char *const arg[] = {"logits",          model,         "--backend", backend, "--tokens",
                               "1 2 3",           "--positions", "2",         "--out", out,
                               "--device-memory", device_memory, flag,        value,   NULL};

    return process_run("sluice", arg, NULL, 0, SECONDS);
}

static size_t read_logits(char *to)
{
    FILE *f = fopen(out, "rb");
    size_t n;

    assert_non_null(f);
    n = fread(to, 1, sizeof want, f);
    fclose(f);
    assert_int_equal(unlink(out), 0);
    return n;
}

static void same_as_ever(const char *flag, const char *value)
{
    struct process_result r = logits("cuda", flag, value);
    size_t n;

    if (r.status || strstr(r.err, "cannot be ended")) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    n = read_logits(got);
    assert_true(n >= 64);
    if (!want_bytes) memcpy(want, got, want_bytes = n);
    assert_int_equal(n, want_bytes);
    assert_memory_equal(got, want, n);
}

/* In the place of NVIDIA's program. */
static const char daemon_script[] =
    "#!/bin/sh\nif [ \"$1\" = -f ]; then echo $$ >\"$CUDA_MPS_PIPE_DIRECTORY/control\"; exec sleep 60; fi\n"
    "read word; [ \"$word\" = quit ] && kill \"$(cat \"$CUDA_MPS_PIPE_DIRECTORY/control\")\"\n";
static char *old_path;

static void install_daemon(void)
{
    char path[8192];

    scratch_write(scratch, "nvidia-cuda-mps-control", daemon_script);
    assert_int_equal(chmod(scratch_path(scratch, "nvidia-cuda-mps-control"), 0700), 0);
    old_path = strdup(getenv("PATH"));
    snprintf(path, sizeof path, "%s:%s", scratch, old_path);
    setenv("PATH", path, 1);
}

static void remove_daemon(void)
{
    setenv("PATH", old_path, 1);
    free(old_path);
}

static void know_speeds(const char *json)
{
    mkdir(scratch_path(scratch, "sluice"), 0700);
    scratch_write(scratch, "sluice/speeds.json", json);
    setenv("XDG_CACHE_HOME", scratch, 1);
}

/* The least that is needed: then no weight stays on the device. */
static void stream_weights(void)
{
    static const char says[] = "the smallest that would do is ";
    static char least[32];
    struct process_result r;
    const char *at;

    device_memory = "1M";
    r = logits("cuda", NULL, NULL);
    at = strstr(r.err, says);
    if (r.status != 1 || !at) fail_msg("a refusal was expected: %s", r.err);
    snprintf(least, sizeof least, "%lluM", strtoull(at + sizeof says - 1, NULL, 10));
    device_memory = least;
    process_result_free(&r);
}

/* The lanes' thread is none that has chosen a device. */
static void another_device(void **state)
{
    struct process_result r;

    (void)state;
    same_as_ever(NULL, NULL);
    setenv("EMULATED_DEVICES", "2", 1);
    same_as_ever("--device", "1");
    r = logits("cuda", "--device", "2");
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "no device 2"));
    process_result_free(&r);
    unsetenv("EMULATED_DEVICES");
}

/* Both stages are let end, however long the driver takes. */
static void contexts_that_end_slowly(void **state)
{
    const char *file = scratch_path(scratch, "ended");
    struct stat st;

    (void)state;
    setenv("EMULATED_ENDED", file, 1);
    setenv("EMULATED_END_MS", "900", 1);
    same_as_ever(NULL, NULL);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_size, STAGES_THAT_USE_IT);
    unsetenv("EMULATED_ENDED");
    unsetenv("EMULATED_END_MS");
}

static void more_events_than_a_message_carries(void **state)
{
    (void)state;
    same_as_ever("--reader-depth", "600");
}

static void a_driver_that_does_not_share(void **state)
{
    struct process_result r;

    (void)state;
    setenv("EMULATED_NO_SHARING", "1", 1);
    r = logits("cuda", NULL, NULL);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "shares no events between processes"));
    process_result_free(&r);
    unsetenv("EMULATED_NO_SHARING");
}

/* A device that computes in the machine's own memory is planned for as such, and gives the same bytes. */
static void memory_that_is_the_machines(void **state)
{
    struct process_result r;

    (void)state;
    same_as_ever(NULL, NULL);
    setenv("EMULATED_UNIFIED", "1", 1);
    same_as_ever(NULL, NULL);
    r = process_run("sluice", (const char *const[]){"plan", model, "--backend", "cuda", NULL}, NULL, 0, SECONDS);
    if (r.status) fail_msg("%s", r.err);
    assert_non_null(strstr(r.out, "emulated device computes in this machine's own memory"));
    process_result_free(&r);
    unsetenv("EMULATED_UNIFIED");
}

/* What an administrator has set: nobody; one process, which the stages are two too many for, unless a daemon stands between. */
static void compute_modes(void **state)
{
    const char *lock = scratch_path(scratch, "device");
    struct process_result r;

    (void)state;
    setenv("EMULATED_PROHIBITED", "1", 1);
    r = logits("cuda", NULL, NULL);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "PROHIBITED"));
    assert_non_null(strstr(r.err, "nvidia-smi -i 0 -c DEFAULT"));
    process_result_free(&r);
    unsetenv("EMULATED_PROHIBITED");
    fclose(fopen(lock, "w"));
    setenv("EMULATED_EXCLUSIVE", lock, 1);
    r = logits("cuda", "--mps", "off");
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "EXCLUSIVE_PROCESS"));
    assert_non_null(strstr(r.err, "--mps on"));
    process_result_free(&r);
    r = process_run("sluice", (const char *const[]){"doctor", "--json", NULL}, NULL, 0, SECONDS);
    assert_non_null(strstr(r.out, "EXCLUSIVE_PROCESS"));
    process_result_free(&r);
    install_daemon();
    same_as_ever("--mps", "on");
    unsetenv("EMULATED_EXCLUSIVE");
    remove_daemon();
}

/* A daemon is started where runs were faster with one; where its clients fail, the run goes on without. */
static void a_daemon_whose_clients_fail(void **state)
{
    struct process_result r;

    (void)state;
    install_daemon();
    setenv("EMULATED_MPS_FAILS", "1", 1);
    same_as_ever("--mps", "auto"); /* nothing is known of it: none is started */
    r = logits("cuda", "--mps", "on");
    assert_int_equal(r.status, 1);
    process_result_free(&r);
    know_speeds("{\"link-gpu0\":[1e9],\"link-mps-gpu0\":[2e9]}");
    stream_weights();
    r = logits("cuda", "--mps", "auto");
    if (r.status || !strstr(r.err, "trying again without MPS")) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    assert_int_equal(unlink(out), 0);
    unsetenv("EMULATED_MPS_FAILS");
    r = logits("cuda", "--mps", "auto");
    if (r.status || strstr(r.err, "trying again")) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    assert_int_equal(unlink(out), 0);
    know_speeds("{\"link-gpu0\":[1e9],\"link-mps-gpu0\":[1.02e9]}"); /* within what runs differ by */
    setenv("EMULATED_MPS_FAILS", "1", 1);
    r = logits("cuda", "--mps", "auto");
    if (r.status || strstr(r.err, "trying again")) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    assert_int_equal(unlink(out), 0);
    unsetenv("EMULATED_MPS_FAILS");
    unsetenv("XDG_CACHE_HOME");
    remove_daemon();
}

static int setup(void **state)
{
    (void)state;
    scratch = scratch_make();
    if (asprintf(&out, "%s/logits", scratch) < 0) return -1;
    model = reference_make("llama");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(model);
    scratch_remove(scratch);
    free(out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(another_device),
                                       cmocka_unit_test(contexts_that_end_slowly),
                                       cmocka_unit_test(more_events_than_a_message_carries),
                                       cmocka_unit_test(a_driver_that_does_not_share),
                                       cmocka_unit_test(memory_that_is_the_machines),
                                       cmocka_unit_test(compute_modes),
                                       cmocka_unit_test(a_daemon_whose_clients_fail)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
