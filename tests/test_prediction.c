/* What is predicted, and from which speeds: a file of measurements as earlier runs leave it, the median of a lane's last ones,
 * the prompt beside the tokens. No time is asserted but sums of the program's own. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>
#include <jansson.h>

#include "coordinator/arch/model.h"
#include "coordinator/plan/plan.h"
#include "coordinator/plan/calibrate.h"
#include "coordinator/plan/stored.h"
#include "coordinator/plan/calibrate_learn.h"
#include "proto/epoch.h"
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_program.h"

#define DEMO "tests/data/demo-model"

static char *folder;

static int setup(void **state)
{
    (void)state;
    folder = scratch_make();
    setenv("XDG_CACHE_HOME", folder, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unsetenv("XDG_CACHE_HOME");
    scratch_remove(folder);
    return 0;
}

/* The file as something else has written it; %llx stands for the folder's file system. */
static void write_file(const char *format)
{
    char path[300];
    struct stat st;
    FILE *f;

    assert_int_equal(stat(folder, &st), 0);
    snprintf(path, sizeof path, "%s/sluice", folder);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/sluice/speeds.json", folder);
    f = fopen(path, "w");
    assert_non_null(f);
    for (const char *c = format; *c; c++) {
        if (*c == '@')
            fprintf(f, "%llx", (unsigned long long)st.st_dev);
        else
            fputc(*c, f);
    }
    fclose(f);
}

static struct plan_shm *demo_plan(uint32_t threads, uint32_t io)
{
    struct plan_settings s = test_settings(UINT64_C(1) << 30);
    struct plan_shm *p = NULL;
    struct model *m = NULL;
    struct error e = {0};
    uint64_t bytes;

    s.threads = threads;
    s.io = io;
    if (model_open(&m, DEMO, NULL, &e) || plan_build(&p, &bytes, model_program(m), &s, &e)) fail_msg("%s", e.text);
    model_close(m);
    return p;
}

static double disk(void)
{
    struct calibration s;

    calibration_load(&s, folder, NULL);
    return s.disk_measured ? s.disk : 0;
}

static void one_bad_minute_changes_little(void **state)
{
    (void)state;
    write_file("{}");
    assert_true(disk() == 0);
    calibration_keep(SPEEDS_DISK, folder, NULL, 2e9);
    assert_true(disk() == 2e9);
    calibration_keep(SPEEDS_DISK, folder, NULL, 2.2e9);
    calibration_keep(SPEEDS_DISK, folder, NULL, 1e8);
    assert_true(disk() == 2e9);
    calibration_keep(SPEEDS_DISK, folder, NULL, 2.1e9);
    assert_true(disk() == 2.05e9);
    /* a disk that stays slow is believed, after some runs: the last five count */
    for (int i = 0; i < 3; i++) calibration_keep(SPEEDS_DISK, folder, NULL, 1e9);
    assert_true(disk() == 1e9);
    for (int i = 0; i < 3; i++) calibration_keep(SPEEDS_DISK, folder, NULL, NAN);
    for (int i = 0; i < 3; i++) calibration_keep(SPEEDS_DISK, folder, NULL, 0);
    assert_true(disk() == 1e9);
}

static void what_others_wrote_is_looked_at(void **state)
{
    static const struct {
        const char *text;
        double disk;
    } files[] = {
        {"{\"disk-@\": 2e9}", 2e9}, /* as it was kept once */
        {"{\"disk-@\": [1e9, 3e9, 2e9]}", 2e9},
        {"{\"disk-@\": [1e9, 9e9, 9e9, 9e9, 2e9, 3e9, 4e9, 5e9]}", 4e9}, /* longer than it is kept: the last five */
        {"{\"disk-@\": [-1, \"fast\", 0, null, 1e300, 2e9]}", 2e9},
        {"{\"disk-@\": [-1, 0]}", 0},
        {"{\"disk-@\": {\"a\": 1}}", 0},
        {"{\"disk-@\": []}", 0},
        {"{\"probe-disk-@\": 3e9}", 3e9},
        {"{\"probe-disk-@\": 3e9, \"disk-@\": [2e9]}", 2e9}, /* runs know better than a probe */
        {"[", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_file(files[i].text);
        if (disk() != files[i].disk) fail_msg("%s gives %g", files[i].text, disk());
    }
    /* one more measurement beside a single number of old */
    write_file("{\"disk-@\": 2e9}");
    calibration_keep(SPEEDS_DISK, folder, NULL, 3e9);
    assert_true(disk() == 2.5e9);
    calibration_keep_reading(folder, 1 << 20, 8, 9e9);
    assert_true(disk() == 2.5e9);
}

/* Kernels differ by stored form, and a run on one thread says nothing of one on two. */
static void memory_is_known_by_form_and_threads(void **state)
{
    struct plan_shm *one = demo_plan(1, PLAN_IO_DIRECT), *two = demo_plan(2, PLAN_IO_DIRECT);
    struct calibration s;

    (void)state;
    write_file("{}");
    calibration_keep(SPEEDS_MEMORY, NULL, one, 1e10);
    calibration_keep(SPEEDS_FLOPS, NULL, two, 2e11);
    calibration_load(&s, folder, one);
    assert_true(s.memory_measured && s.memory == 1e10 && !s.flops_measured);
    calibration_load(&s, folder, two);
    assert_true(!s.memory_measured && s.flops_measured && s.flops == 2e11);
    write_file("{\"memory-F8_E4M3-1\": [5e9]}");
    calibration_load(&s, folder, one);
    assert_false(s.memory_measured);
    free(one);
    free(two);
}

/* What is slow to unpack is no faster than its kernels, until a run has measured it. */
static void slow_forms_are_known(void **state)
{
    struct plan_shm *p = demo_plan(2, PLAN_IO_DIRECT);
    struct plan_matrix *m = (struct plan_matrix *)(void *)((char *)p + p->matrices.offset);
    struct plan_stored x[FORMS];
    struct calibration s;
    uint64_t slow = 0, all = 0;
    double first;

    (void)state;
    write_file("{}");
    calibration_load(&s, folder, p);
    first = s.memory;
    assert_int_equal(plan_stored(p, x), 1);
    assert_true(plan_stored_speed(p, 2, 15e9) == 15e9 && first == 15e9 && plan_stored_speed(NULL, 2, 9e9) == 9e9);
    for (uint64_t i = 0; i < p->matrices.count; i++) {
        if (i % 3 == 0) m[i].form = FORM_IQ2_XXS, m[i].row_bytes = 66;
        all += m[i].rows * m[i].row_bytes;
        if (i % 3 == 0) slow += m[i].rows * m[i].row_bytes;
    }
    assert_int_equal(plan_stored(p, x), 2);
    assert_true(x[0].bytes >= x[1].bytes);
    assert_int_equal(x[0].bytes + x[1].bytes, all);
    assert_int_equal(x[x[1].form == FORM_IQ2_XXS].bytes, slow);
    calibration_load(&s, folder, p);
    assert_true(s.memory < first && s.memory > plan_stored_speed(p, 1, 15e9));
    assert_true(fabs((double)all / s.memory - (double)(all - slow) / first - (double)slow / 5.2e9) < 1e-9);
    calibration_keep(SPEEDS_MEMORY, NULL, p, 1e10);
    calibration_load(&s, folder, p);
    assert_true(s.memory == 1e10);
    free(p);
}

static void plan_says_how_it_is_stored(void **state)
{
    const char *const text[] = {"plan", DEMO, NULL}, *const json[] = {"plan", DEMO, "--json", NULL};
    struct process_result r = process_run("sluice", text, NULL, 0, 30);

    (void)state;
    if (r.status || !strstr(r.out, " MB in BF16\n")) fail_msg("%s%s", r.out, r.err);
    process_result_free(&r);
    r = process_run("sluice", json, NULL, 0, 30);
    if (r.status || !strstr(r.out, "\"stored\": {\n    \"BF16\": ")) fail_msg("%s%s", r.out, r.err);
    process_result_free(&r);
}

/* Files that the page cache holds are read at another speed than the disk's, unless reads are to be direct. */
static void page_cache_is_another_lane(void **state)
{
    struct plan_shm *direct = demo_plan(1, PLAN_IO_DIRECT), *any = demo_plan(1, PLAN_IO_AUTO);
    struct calibration s;

    (void)state;
    assert_int_equal(system("cat " DEMO "/*.safetensors >/dev/null"), 0);
    write_file("{\"disk-@\": [2e9], \"page-cache\": [7e9]}");
    calibration_load(&s, folder, direct);
    assert_true(!s.page_cache && s.disk == 2e9);
    calibration_load(&s, folder, any);
    if (s.page_cache) {
        const char *const plan[] = {"plan", DEMO, NULL};
        struct process_result r = process_run("sluice", plan, NULL, 0, 30);

        assert_true(s.disk == 7e9);
        if (r.status || !strstr(r.out, "from the page cache at 7.00 GB/s (measured)")) fail_msg("%s%s", r.out, r.err);
        process_result_free(&r);
    } else {
        print_message("skipped: the page cache does not keep, or does not tell of, the demo model\n");
    }
    free(direct);
    free(any);
}

/* The prompt: its first sweep reads all, later ones what stays on the disk; many positions cost operations. */
static void prompts_are_predicted(void **state)
{
    struct calibration v = {.disk = 1e6, .memory = 1e12, .flops = 1e15};
    struct plan_shm *p = demo_plan(2, PLAN_IO_DIRECT);
    struct plan_summary z;
    uint32_t n;

    (void)state;
    plan_summarize(&z, p, &v);
    n = z.max_positions;
    assert_true(z.flops_per_position > 0 && z.flops_per_position <= 2.0 * (double)z.dense_bytes);
    assert_int_equal(z.sweep_bytes, 0); /* all of it fits */
    assert_true(fabs(plan_prompt_seconds(&z, p, &v, 1) - (double)(z.dense_bytes + z.resident_bytes) / v.disk) < 1e-6);
    assert_true(plan_prompt_seconds(&z, p, &v, n) == plan_prompt_seconds(&z, p, &v, 1));
    assert_true(plan_prompt_seconds(&z, p, &v, 0) == 0);
    /* a second sweep reads nothing */
    assert_true(plan_prompt_seconds(&z, p, &v, n + 1) - plan_prompt_seconds(&z, p, &v, n) < 1e-2);
    v.fill = 5e5; /* pins that come slower than the disk reads */
    assert_true(fabs(plan_prompt_seconds(&z, p, &v, 1) - (double)z.host_bytes / v.fill) < 1e-6);
    v = (struct calibration){.disk = 1e15, .memory = 1e15, .flops = 1e6};
    plan_summarize(&z, p, &v);
    assert_true(fabs(plan_prompt_seconds(&z, p, &v, n) - n * z.flops_per_position / v.flops) < 1e-3);
    assert_true(fabs(z.predicted_seconds_per_prompt_token - z.flops_per_position / v.flops) < 1e-6);
    free(p);
}

/* Of a run's own sweeps: the first, and those of a prompt, say nothing of a token; one slow one of five changes nothing. */
static void own_sweeps_give_own_speeds(void **state)
{
    static const uint64_t ns[] = {900, 10, 11, 80, 12, 13, 100};
    struct sweep_record sweep[sizeof ns / sizeof *ns];
    struct plan_summary summary = {.dense_bytes = 1000, .sweep_bytes = 600};
    const struct calibration known = {.disk = 1, .memory = 2, .flops = 3};
    struct calibration_run s = {.summary = &summary, .speeds = &known, .sweep = sweep};
    struct calibration v;

    (void)state;
    calibration_lanes(&s, &v);
    assert_true(v.disk == 1 && v.memory == 2 && v.flops == 3); /* nothing seen: what was known */
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
        sweep[s.sweeps++] =
            (struct sweep_record){i == 6 ? 4 : 1, i && i != 6, ns[i] * 1000, 600, ns[i] * 1000, ns[i] * 500};
    calibration_lanes(&s, &v);
    assert_true(fabs(v.disk - 600 / 12e-6) < 1 && fabs(v.memory - 1000 / 6e-6) < 1 && v.flops == 3);
    summary.sweep_bytes = 0; /* reads of a row of the embedding are no measure of the disk */
    calibration_lanes(&s, &v);
    assert_true(v.disk == 1);
}

/* Direct reads tell of the disk, buffered ones of the page cache where all files are in it, some of each of neither. */
static void reads_tell_of_what_they_passed(void **state)
{
    static const struct {
        uint64_t ways;
        bool page_cache, disk, cache;
    } cases[] = {
        {EPOCH_READS_DIRECT, false, true, false},
        {EPOCH_READS_DIRECT, true, false, false},
        {EPOCH_READS_BUFFERED, true, false, true},
        {EPOCH_READS_BUFFERED, false, false, false},
        {EPOCH_READS_DIRECT | EPOCH_READS_BUFFERED, false, false, false},
        {EPOCH_READS_DIRECT | EPOCH_READS_BUFFERED, true, false, false},
        {0, true, false, false},
    };
    struct sweep_record sweep[2];
    struct plan_summary summary = {.dense_bytes = 1000, .sweep_bytes = 600};
    static const struct plan_shm plan;

    (void)state;
    for (size_t i = 0; i < 2; i++) sweep[i] = (struct sweep_record){1, false, 1000000000, 2000000000, 1000000000, 0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct calibration known = {.page_cache = cases[i].page_cache};
        struct calibration_run run = {
            .plan = &plan, .summary = &summary, .speeds = &known, .sweep = sweep, .sweeps = 2};
        json_t *file;

        write_file("{}");
        run.io_ways = cases[i].ways;
        calibration_learn(&run, folder);
        file = json_load_file(scratch_path(folder, "sluice/speeds.json"), 0, NULL);
        assert_non_null(file);
        assert_int_equal(json_object_get(file, "page-cache") != NULL, cases[i].cache);
        assert_true(disk() == (cases[i].disk ? 2e9 : 0));
        json_decref(file);
    }
}

/* What a run saw of the memory while others had the processor is not kept; nor does a small model's run speak for a large one. */
static void crowded_runs_and_small_models_teach_little(void **state)
{
    static const struct plan_shm plan = {.run = {.threads = 2, .backend = BACKEND_CPU}};
    const struct plan_summary summary = {.dense_bytes = 400000000};
    const struct calibration known = {0};
    struct sweep_record sweep[6];
    struct calibration_run run = {.plan = &plan, .summary = &summary, .speeds = &known, .sweep = sweep, .sweeps = 6};

    (void)state;
    for (size_t i = 0; i < 6; i++) sweep[i] = (struct sweep_record){1, true, 40000000, 0, 0, 40000000};
    for (uint64_t percent = 50; percent <= 100; percent += 50) {
        json_t *file;

        write_file("{}");
        run.compute_busy_ns = 240000000;
        run.compute_cpu_ns = 2 * run.compute_busy_ns * percent / 100;
        calibration_learn(&run, folder);
        assert_non_null(file = json_load_file(scratch_path(folder, "sluice/speeds.json"), 0, NULL));
        assert_int_equal(json_object_get(file, "memory-BF16-2-small") != NULL, percent == 100);
        assert_null(json_object_get(file, "memory-BF16-2"));
        json_decref(file);
    }
}

static json_t *run_json(const char *prompt, const char *tokens)
{
    const char *const ask[] = {"run", DEMO,           "-p",     prompt, "-n",     tokens,        "--temperature",
                               "0",   "--ignore-eos", "--json", "--io", "direct", "--speculate", "off",
                               NULL};
    struct process_result r = process_run("sluice", ask, NULL, 0, 30);
    json_t *o;

    if (r.status) fail_msg("%s", r.err);
    o = json_loads(r.out, 0, NULL);
    assert_non_null(o);
    process_result_free(&r);
    return o;
}

/* The first sweep fills the memory: it is the prompt's, also where the prompt is one token. */
static void first_sweep_is_no_token(void **state)
{
    static const char *const prompts[] = {"a", "Once upon a time there was a little girl who liked to play"};

    (void)state;
    write_file("{}");
    for (size_t i = 0; i < 2; i++) {
        json_t *o = run_json(prompts[i], "4"), *sweeps = json_object_get(o, "sweeps");
        double sum = 0, tokens = json_number_of(o, "prompt_tokens");

        assert_int_equal(json_array_size(sweeps), 4); /* what the last token says is not computed */
        for (size_t k = 1; k < 4; k++) sum += json_number_of(json_array_get(sweeps, k), "seconds");
        assert_true(fabs(json_number_of(o, "seconds_per_token") - sum / 3) < 1e-8);
        assert_true(fabs(json_number_of(o, "prompt_seconds") - json_number_of(json_array_get(sweeps, 0), "seconds")) <
                    1e-8);
        assert_true(json_number_of(o, "first_sweep_seconds") == json_number_of(json_array_get(sweeps, 0), "seconds"));
        assert_true(fabs(json_number_of(o, "seconds_per_prompt_token") * tokens - json_number_of(o, "prompt_seconds")) <
                    1e-8);
        assert_true(fabs(json_number_of(o, "predicted_seconds_per_prompt_token") * tokens -
                         json_number_of(o, "predicted_prompt_seconds")) < 1e-8);
        assert_true(json_number_of(o, "seconds_per_token_by_lanes") > 0);
        json_decref(o);
    }
}

/* What earlier runs have left is what both plan and run predict from: memory that gives 200 kB/s. */
static void earlier_runs_are_believed(void **state)
{
    const char *const plan[] = {"plan", DEMO, "--json", "--threads", "1", NULL};
    const char *const run[] = {"run", DEMO, "-p", "a", "-n", "2", "--json", "--threads", "1", NULL};
    const char *const *argv[] = {plan, run};
    struct plan_shm *p = demo_plan(1, PLAN_IO_AUTO);
    struct calibration v;
    struct plan_summary z;

    (void)state;
    write_file("{}");
    calibration_keep(SPEEDS_MEMORY, NULL, p, 2e5);
    calibration_load(&v, folder, p);
    plan_summarize(&z, p, &v);
    assert_true(z.dense_bytes > 0 && fabs(z.predicted_seconds_per_token - (double)z.dense_bytes / 2e5) < 1e-6);
    for (int i = 0; i < 2; i++) {
        struct process_result r = process_run("sluice", argv[i], NULL, 0, 30);
        json_t *o;

        if (r.status) fail_msg("%s", r.err);
        o = json_loads(r.out, 0, NULL);
        assert_true(fabs(json_number_of(o, "predicted_seconds_per_token") - z.predicted_seconds_per_token) < 1e-6);
        assert_string_equal(json_string_value(json_object_get(o, "bottleneck")), "memory");
        if (i) assert_string_equal(json_string_value(json_object_get(o, "predicted_from")), "measured before");
        json_decref(o);
        process_result_free(&r);
    }
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_bad_minute_changes_little),
        cmocka_unit_test(what_others_wrote_is_looked_at),
        cmocka_unit_test(memory_is_known_by_form_and_threads),
        cmocka_unit_test(slow_forms_are_known),
        cmocka_unit_test(plan_says_how_it_is_stored),
        cmocka_unit_test(page_cache_is_another_lane),
        cmocka_unit_test(prompts_are_predicted),
        cmocka_unit_test(first_sweep_is_no_token),
        cmocka_unit_test(earlier_runs_are_believed),
        cmocka_unit_test(own_sweeps_give_own_speeds),
        cmocka_unit_test(reads_tell_of_what_they_passed),
        cmocka_unit_test(crowded_runs_and_small_models_teach_little),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
