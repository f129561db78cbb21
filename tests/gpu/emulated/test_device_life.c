/* A run's beginning and end on the cuda backend, as far as the emulated device shows it: another device than the first,
 * contexts that end slowly, more events than one message carries, a driver that does not share them. */
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

static struct process_result logits(const char *backend, const char *flag, const char *value)
{
    const char *const arg[] = {"logits", model, "--backend",       backend, "--tokens", "1 2 3", "--positions", "2",
                               "--out",  out,   "--device-memory", "1G",    flag,       value,   NULL};

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
    const struct CMUnitTest tests[] = {cmocka_unit_test(another_device), cmocka_unit_test(contexts_that_end_slowly),
                                       cmocka_unit_test(more_events_than_a_message_carries),
                                       cmocka_unit_test(a_driver_that_does_not_share),
                                       cmocka_unit_test(memory_that_is_the_machines)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
