/* The protocol of slots and events between transfer and compute, on a device whose streams run late, in pieces and in
 * threads of their own (streams.h): the same bits as on one that does all at once, whatever the depths; an event that is not
 * waited for or not recorded shows; a device that is lost and memory that is refused end a run in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/support_model.h"
#include "tests/support_process.h"

#define SECONDS 60
#define ROOM    (1 << 20)

static char *scratch, *model, *out, want[ROOM], got[ROOM];
static size_t want_bytes;

static const char *const depths[][4] = {{"--transfer-depth", "2"},
                                        {"--transfer-depth", "3", "--reader-depth", "2"},
                                        {"--transfer-depth", "8", "--reader-depth", "4"},
                                        {"--transfer-depth", "5", "--reader-depth", "32"}};
#define DEPTHS (int)(sizeof depths / sizeof *depths)

/* Nothing of the weights stays on the device or in the host cache with these. */
static char device_memory[DEPTHS][32], host_memory[DEPTHS][32];

static struct process_result logits(int depth, const char *device, const char *host)
{
    const char *arg[32] = {"logits",          model,  "--backend",     "cuda", "--tokens", "1 2 3 4 5 6",
                           "--positions",     "5",    "--out",         out,    "--chunk",  "1",
                           "--device-memory", device, "--host-memory", host};

    for (int i = 0; i < 4 && depths[depth][i]; i++) arg[16 + i] = depths[depth][i];
    return process_run("sluice", arg, NULL, 0, SECONDS);
}

static size_t read_logits(char *to)
{
    FILE *f = fopen(out, "rb");
    size_t n;

    if (!f) return 0;
    n = fread(to, 1, ROOM, f);
    fclose(f);
    assert_int_equal(unlink(out), 0);
    return n;
}

/* Does a run give what it should? A refusal is none that does. First with all weights in the host cache, so that the device's
 * slots are what is waited for; then with none there, so that the reader's are. */
static bool right(int i)
{
    int depth = i % DEPTHS;
    struct process_result r = logits(depth, device_memory[depth], i < DEPTHS ? "8G" : host_memory[depth]);
    bool ended = !r.status;

    if (!ended) print_message("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    return read_logits(got) == want_bytes && ended && !memcmp(got, want, want_bytes);
}

static void seed(int n)
{
    char text[16];

    snprintf(text, sizeof text, "%d", n);
    setenv("EMULATED_ASYNC", text, 1);
}

static void late_and_in_pieces(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * DEPTHS; i++) {
        seed(i + 1);
        if (!right(i)) fail_msg("other bits with seed %d and depths %d", i + 1, i % DEPTHS);
    }
    unsetenv("EMULATED_ASYNC");
}

static void each_wait_and_record_counts(void **state)
{
    static const char *const call[] = {"compute-wait", "compute-record", "transfer-wait", "transfer-record",
                                       "transfer-query"};
    bool missed = false;

    (void)state;
    for (size_t k = 0; k < sizeof call / sizeof *call; k++) {
        bool seen = false;

        setenv("EMULATED_WITHOUT", call[k], 1);
        for (int i = 0; i < 2 * DEPTHS && !seen; i++) {
            seed(i + 1);
            seen = !right(i);
        }
        if (!seen) print_message("a run without %s gives the same bits\n", call[k]);
        missed = missed || !seen;
    }
    unsetenv("EMULATED_WITHOUT");
    unsetenv("EMULATED_ASYNC");
    assert_false(missed);
}

/* An end in order: no signal, one line that says why. */
static void ends_with(const char *variable, const char *value, const char *says)
{
    struct process_result r;

    setenv(variable, value, 1);
    seed(1);
    r = logits(1, device_memory[1], host_memory[1]);
    if (r.status != 1 || !strstr(r.err, says)) fail_msg("%s=%s: exit %d: %s", variable, value, r.status, r.err);
    process_result_free(&r);
    read_logits(got);
    unsetenv(variable);
    unsetenv("EMULATED_ASYNC");
}

static void a_device_that_is_lost(void **state)
{
    (void)state;
    ends_with("EMULATED_LOST", "20", "cuda: ");
    ends_with("EMULATED_LOST", "60", "cuda: ");
}

static void memory_that_is_refused(void **state)
{
    static const char *const nth[] = {"1", "2", "3", "4"};

    (void)state;
    for (size_t i = 0; i < sizeof nth / sizeof *nth; i++) ends_with("EMULATED_NO_MEMORY", nth[i], "out of memory");
}

/* The number that a refusal names. */
static void smallest(char text[32], const struct process_result *r)
{
    static const char says[] = "the smallest that would do is ";
    const char *at = strstr(r->err, says);

    if (r->status != 1 || !at) fail_msg("a refusal was expected: %s", r->err);
    snprintf(text, 32, "%lluM", strtoull(at + sizeof says - 1, NULL, 10));
}

static void smallest_budgets(int depth)
{
    struct process_result r = logits(depth, "1M", "8G");

    smallest(device_memory[depth], &r);
    process_result_free(&r);
    r = logits(depth, device_memory[depth], "1M");
    smallest(host_memory[depth], &r);
    process_result_free(&r);
}

static int setup(void **state)
{
    struct process_result r;

    (void)state;
    scratch = scratch_make();
    model = reference_make("llama");
    if (asprintf(&out, "%s/logits", scratch) < 0) return -1;
    for (int i = 0; i < DEPTHS; i++) smallest_budgets(i);
    r = logits(0, device_memory[0], host_memory[0]);
    if (r.status) fail_msg("exit %d: %s", r.status, r.err);
    process_result_free(&r);
    want_bytes = read_logits(want);
    return want_bytes ? 0 : -1;
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_and_in_pieces), cmocka_unit_test(each_wait_and_record_counts),
        cmocka_unit_test(a_device_that_is_lost), cmocka_unit_test(memory_that_is_refused)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
