/* sluice profile, as a user runs it, and the percentiles that it shows. How fast anything is decides nothing here. */
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/engine/latency.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define DEMO "tests/data/demo-model"

static void percentiles_are_close_and_never_too_small(void **state)
{
    static struct latency l, twice;
    static const double shares[] = {0.01, 0.5, 0.9, 0.99, 1.0};

    (void)state;
    assert_int_equal(latency_at(&l, 0.5), 0);
    for (uint64_t i = 1; i <= 100000; i++) latency_add(&l, i * 17);
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        double exact = 100000 * shares[i] * 17, got = (double)latency_at(&l, shares[i]);

        assert_true(got >= exact * 0.999 && got <= exact * 1.04);
    }
    assert_int_equal(latency_at(&l, 1.0), l.max_ns);
    latency_merge(&twice, &l);
    latency_merge(&twice, &l);
    assert_int_equal(twice.count, 200000);
    assert_int_equal(latency_at(&twice, 0.9), latency_at(&l, 0.9));
    latency_add(&l, UINT64_MAX); /* the last bucket holds it */
    assert_int_equal(l.max_ns, UINT64_MAX);
}

/* Runs it and checks what every profile has. The caller's: the object under the stage's name. */
static json_t *profile(const char *what, const char *model, const char *seconds)
{
    const char *arg[] = {"profile", what, model, "--json", "--seconds", seconds, "--threads", "2", NULL};
    struct process_result r = process_run("sluice", arg, NULL, 0, 50);
    json_error_t e;
    json_t *o, *x;

    if (r.status) fail_msg("profile %s %s: %d\n%s", what, model, r.status, r.err);
    o = json_loads(r.out, 0, &e);
    if (!o) fail_msg("profile %s %s: %s\n%s", what, model, e.text, r.out);
    x = json_incref(json_object_get(o, what));
    assert_non_null(x);
    json_decref(o);
    if (!(json_number_of(x, "bytes_per_second") > 0)) fail_msg("profile %s %s: no bytes\n%s", what, model, r.out);
    assert_true(json_number_of(x, "ceiling_bytes_per_second") > 0);
    assert_true(json_number_of(x, "cpu_seconds_per_gb") > 0);
    assert_true(json_number_of(x, "share") > 0);
    process_result_free(&r);
    return x;
}

static void check_lane(const json_t *x)
{
    const json_t *t = json_object_get(x, "tile_seconds");

    assert_true(json_number_of(x, "tiles") > 0);
    assert_true(json_number_of(x, "busy") >= 0 && json_number_of(x, "waiting") >= 0);
    assert_true(json_number_of(t, "p50") <= json_number_of(t, "p90") &&
                json_number_of(t, "p90") <= json_number_of(t, "p99") &&
                json_number_of(t, "p99") <= json_number_of(t, "max"));
    assert_true(json_number_of(t, "max") > 0);
    assert_true(json_string_length(json_object_get(x, "about")) > 0);
}

static void every_stage_of_the_demo_model(void **state)
{
    static const char *const stages[] = {"reader", "transfer", "compute"};
    json_t *x;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        x = profile(stages[i], DEMO, "0.5");
        check_lane(x);
        if (i == 0) assert_true(json_number_of(x, "io_block") >= 4096 && json_number_of(x, "io_depth") >= 1);
        if (i == 2) assert_true(json_number_of(x, "positions") >= 16 && json_number_of(x, "flops") > 0);
        json_decref(x);
    }
    x = profile("pipeline", DEMO, "0.5");
    for (size_t i = 0; i < 3; i++) {
        assert_non_null(json_object_get(x, stages[i]));
        assert_true(json_number_of(json_object_get(x, stages[i]), "waiting") >= 0);
    }
    check_lane(json_object_get(x, "compute"));
    assert_true(json_string_length(json_object_get(x, "bottleneck")) > 0);
    assert_true(json_string_length(json_object_get(x, "advice")) > 0);
    assert_true(json_number_of(x, "seconds_per_token") > 0);
    json_decref(x);
}

/* Experts that are asked for, scales, rows of recurrent states: what a played reader and transfer have to serve. */
static void models_of_every_kind(void **state)
{
    static const char *const names[] = {"mixtral", "gpt-oss-mxfp4", "deepseek-v3-fp8", "qwen3-next",
                                        "llama-bias-f16-sharded"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *folder = reference_make(names[i]);

        json_decref(profile("reader", folder, "0.2"));
        json_decref(profile("compute", folder, "0.2"));
        if (!i) json_decref(profile("transfer", folder, "0.2"));
        if (!i) json_decref(profile("pipeline", folder, "0.2"));
        scratch_remove(folder);
    }
}

static void people_get_a_table(void **state)
{
    const char *arg[] = {"profile", "transfer", DEMO, "--seconds", "0.2", NULL};
    struct process_result r = process_run("sluice", arg, NULL, 0, 50);

    (void)state;
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.out, "GB/s"));
    assert_non_null(strstr(r.out, "p99"));
    assert_non_null(strstr(r.out, "transfer: "));
    process_result_free(&r);
}

static void ctrl_c_ends_it(void **state)
{
    static const char *const stages[] = {"reader", "transfer", "compute", "pipeline"};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        const char *arg[] = {"profile", stages[i], DEMO, "--seconds", "600", NULL};
        struct process p = process_start("sluice", arg);
        struct process_result r;

        usleep(300000);
        kill(p.pid, SIGINT);
        r = process_finish(&p, NULL, 0, 20);
        if (r.status != 130) fail_msg("profile %s: %d\n%s%s", stages[i], r.status, r.out, r.err);
        process_result_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_close_and_never_too_small),
        cmocka_unit_test(every_stage_of_the_demo_model),
        cmocka_unit_test(models_of_every_kind),
        cmocka_unit_test(people_get_a_table),
        cmocka_unit_test(ctrl_c_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
