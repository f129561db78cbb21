/* Pinning of the host cache: when its parts have been filled, while copies go on, piece by piece where the machine refuses;
 * the bits are those of any other run. The emulated runtime refuses copies that cross what was pinned together, as the real
 * one does. */
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

static char *scratch, *record;
static struct device_run run = {.tokens = "1 2 3 4 5 6", .flag = {"--chunk", "1", "--transfer-depth", "2"}};
static float *want;
static size_t want_bytes;

struct pinning {
    int pinned, refused;
    unsigned long long bytes, first; /* pinned; the first part of all, which are the slots */
};

static struct pinning pinning(void)
{
    struct pinning p = {0};
    unsigned long long bytes;
    FILE *f = fopen(record, "r");
    char what;

    assert_non_null(f);
    while (fscanf(f, " %c %llu", &what, &bytes) == 2) {
        if (what == '+' && !p.pinned) p.first = bytes;
        p.pinned += what == '+';
        p.refused += what == '-';
        p.bytes += what == '+' ? bytes : 0;
    }
    fclose(f);
    fclose(fopen(record, "w"));
    return p;
}

static void same_bits(void)
{
    size_t n;
    float *got = device_logits_or_null(&run, &n);

    assert_non_null(got);
    assert_int_equal(n, want_bytes);
    assert_memory_equal(got, want, n);
    free(got);
}

/* The first sweep fills the cache: what it has filled is pinned in steps, after the slots. */
static void in_steps_once_filled(void **state)
{
    struct pinning p, one;

    (void)state;
    run.tokens = "1";
    device_logits_or_null(&run, &want_bytes);
    one = pinning();
    run.tokens = "1 2 3 4 5 6";
    want = device_logits_or_null(&run, &want_bytes);
    assert_non_null(want);
    p = pinning();
    assert_true(p.pinned > 4);
    assert_int_equal(p.refused, 0);
    assert_true(p.bytes > p.first);
    assert_true(one.pinned >= 1);
    assert_true(one.pinned <= p.pinned);
}

static void copies_go_on_meanwhile(void **state)
{
    (void)state;
    setenv("EMULATED_PIN_MS", "7", 1);
    for (int seed = 1; seed < 4; seed++) {
        device_seed(seed);
        same_bits();
    }
    device_seed(0);
    unsetenv("EMULATED_PIN_MS");
    pinning();
}

/* Nothing, the slots alone, the slots and some of the cache can be pinned. */
static void refused_piece_by_piece(void **state)
{
    const struct pinning all = (same_bits(), pinning());
    const unsigned long long most[] = {0, all.first, all.first + (all.bytes - all.first) / 2};
    char text[32];

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct process_result r;
        struct pinning p;

        snprintf(text, sizeof text, "%llu", most[i]);
        setenv("EMULATED_PIN_MOST", text, 1);
        device_seed(i + 1);
        same_bits();
        p = pinning();
        assert_true(p.refused > 0);
        assert_true(p.bytes <= most[i]);
        assert_int_equal(p.pinned > 0, i > 0);
        assert_int_equal(p.pinned > 1, i > 1);
        r = device_logits(&run, "/dev/null");
        assert_int_equal(r.status, 0);
        assert_non_null(strstr(r.err, "cannot be pinned"));
        assert_non_null(strstr(r.err, "--host-memory"));
        process_result_free(&r);
        pinning();
    }
    device_seed(0);
    unsetenv("EMULATED_PIN_MOST");
}

static int setup(void **state)
{
    (void)state;
    scratch = scratch_make();
    if (asprintf(&record, "%s/pinned", scratch) < 0) return -1;
    fclose(fopen(record, "w"));
    run.model = reference_make("llama");
    device_least_of_device(&run, "8G");
    setenv("EMULATED_PINNED", record, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unsetenv("EMULATED_PINNED");
    scratch_remove((char *)(uintptr_t)run.model);
    scratch_remove(scratch);
    free(record);
    free(want);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_steps_once_filled), cmocka_unit_test(copies_go_on_meanwhile),
                                       cmocka_unit_test(refused_piece_by_piece)};

    return cmocka_run_group_tests(tests, setup, teardown);
}
