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
#include "tests/gpu/emulated/support_device.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define SECONDS 60

#define DEPTHS (int)(sizeof depths / sizeof *depths)

static const char *const depths[][4] = {{"--transfer-depth", "2"},
                                        {"--transfer-depth", "3", "--reader-depth", "2"},
                                        {"--transfer-depth", "8", "--reader-depth", "4"},
                                        {"--transfer-depth", "5", "--reader-depth", "8"}};

/* A model and its tokens at each of the depths, with the least memory for them. */
struct subject {
    char *folder;
    struct device_run run[DEPTHS];
    float *want;
    size_t bytes;
};
static struct subject dense, experts;

/* Does a run give what it should? A refusal is none that does. First with all weights in the host cache, so that the device's
 * slots are what is waited for; then with none there, so that the reader's are. */
static bool right(const struct subject *s, int i)
{
    struct device_run r = s->run[i % DEPTHS];
    float *got;
    size_t n;
    bool same;

    if (i < DEPTHS) snprintf(r.host, sizeof r.host, "8G");
    got = device_logits_or_null(&r, &n);
    same = got && n == s->bytes && !memcmp(got, s->want, n);
    free(got);
    return same;
}

static void late_and_in_pieces(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * DEPTHS; i++) {
        device_seed(i + 1);
        if (!right(&dense, i)) fail_msg("other bits with seed %d and depths %d", i + 1, i % DEPTHS);
        if (!right(&experts, i)) fail_msg("experts: other bits with seed %d and depths %d", i + 1, i % DEPTHS);
    }
    device_seed(0);
}

/* Tiles that stay on the device are computed together, several to a matrix: the bits of those that come one by one. */
static void kept_tiles_give_the_same(void **state)
{
    static const char *const slots[] = {"0.0157", "0.0314", "0.0625"};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct device_run r = dense.run[0];
        float *got;
        size_t n;

        snprintf(r.device, sizeof r.device, "1G");
        snprintf(r.host, sizeof r.host, "8G");
        r.flag[4] = "--slot-mib";
        r.flag[5] = slots[i];
        device_seed(i);
        got = device_logits_or_null(&r, &n);
        assert_non_null(got);
        assert_int_equal(n, dense.bytes);
        assert_memory_equal(got, dense.want, n);
        free(got);
    }
    device_seed(0);
}

/* One of the calls left out, of all lanes or of one: does any of the runs show it? */
static bool shows(const struct subject *s, const char *call, int lane)
{
    char text[8];
    bool seen = false;

    snprintf(text, sizeof text, "%d", lane);
    setenv("EMULATED_WITHOUT", call, 1);
    if (lane >= 0) setenv("EMULATED_LANE", text, 1);
    for (int i = 0; i < 6 * DEPTHS && !seen; i++) {
        device_seed(i + 1);
        seen = !right(s, i % (2 * DEPTHS));
    }
    device_seed(0);
    unsetenv("EMULATED_WITHOUT");
    unsetenv("EMULATED_LANE");
    if (!seen) print_message("a run without %s of lane %d gives the same bits\n", call, lane);
    return seen;
}

static void each_wait_and_record_counts(void **state)
{
    static const char *const call[] = {"compute-wait",    "compute-record", "transfer-wait",
                                       "transfer-record", "transfer-query", "compute-sync"};
    bool missed = false;

    (void)state;
    for (size_t k = 0; k < sizeof call / sizeof *call; k++) missed = !shows(&dense, call[k], -1) || missed;
    assert_false(missed);
}

/* Requested tiles have events of their own. */
static void those_of_requests_too(void **state)
{
    static const char *const call[] = {"compute-wait", "compute-record", "transfer-wait", "transfer-record",
                                       "transfer-query"};
    bool missed = false;

    (void)state;
    for (size_t k = 0; k < sizeof call / sizeof *call; k++) missed = !shows(&experts, call[k], 1) || missed;
    assert_false(missed);
}

/* Compute's own events guard the pinned memory that uploads pass through. */
static void staging_is_guarded(void **state)
{
    static const char *const call[] = {NULL, "test-own-wait", "test-own-record"};

    (void)state;
    for (int k = 0; k < 3; k++) {
        struct process_result r;

        device_seed(k + 1);
        if (call[k]) setenv("EMULATED_WITHOUT", call[k], 1);
        r = process_run("tests/test_cuda_uploads", (const char *const[]){NULL}, NULL, 0, SECONDS);
        if (!r.status != !call[k]) fail_msg("without %s: exit %d: %s", call[k] ? call[k] : "nothing", r.status, r.err);
        process_result_free(&r);
    }
    unsetenv("EMULATED_WITHOUT");
    device_seed(0);
}

/* An end in order: no signal, one line that says why. */
static void ends_with(const char *variable, const char *value, const char *says)
{
    struct process_result r;

    setenv(variable, value, 1);
    device_seed(1);
    r = device_logits(&dense.run[1], "/dev/null");
    if (r.status != 1 || !strstr(r.err, says)) fail_msg("%s=%s: exit %d: %s", variable, value, r.status, r.err);
    process_result_free(&r);
    unsetenv(variable);
    device_seed(0);
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

static void open_subject(struct subject *s, const char *model)
{
    s->folder = reference_make(model);
    for (int i = 0; i < DEPTHS; i++) {
        s->run[i] = (struct device_run){.model = s->folder, .tokens = "1 2 3 4 5 6", .flag = {"--chunk", "1"}};
        for (int k = 0; k < 4 && depths[i][k]; k++) s->run[i].flag[2 + k] = depths[i][k];
        device_least(&s->run[i]);
    }
    s->want = device_logits_or_null(&s->run[0], &s->bytes);
    if (!s->want) fail_msg("%s does not run", model);
}

static int setup(void **state)
{
    (void)state;
    open_subject(&dense, "llama");
    open_subject(&experts, "mixtral");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(dense.folder);
    scratch_remove(experts.folder);
    free(dense.want);
    free(experts.want);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_and_in_pieces),          cmocka_unit_test(kept_tiles_give_the_same),
        cmocka_unit_test(each_wait_and_record_counts), cmocka_unit_test(those_of_requests_too),
        cmocka_unit_test(staging_is_guarded),          cmocka_unit_test(a_device_that_is_lost),
        cmocka_unit_test(memory_that_is_refused)};

    if (argc == 2) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, setup, teardown);
}
