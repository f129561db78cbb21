/* --trace and sluice trace: every transition is there, tracks are in order, the drawing stays small, damage is told. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

#include "coordinator/view/timeline_svg.h"
#include "coordinator/view/trace.h"
#include "proto/base/clock.h"
#include "tests/support_model.h"
#include "tests/support_process.h"

#define DEMO "tests/data/demo-model"

static struct process_result run_traced(const char *path, const char *memory)
{
    const char *arg[] = {"run", DEMO,        "-p", "Once upon",     "-n",   "8",       "--temperature",
                         "0",   "--context", "64", "--host-memory", memory, "--trace", path,
                         NULL};

    return process_run("sluice", arg, NULL, 0, 30);
}

static double value(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

/* Events of a name in a process; bytes of all of them. */
static size_t count(const json_t *trace, int pid, const char *name, double *bytes)
{
    size_t i, n = 0;
    json_t *x;

    *bytes = 0;
    json_array_foreach(trace, i, x)
    {
        const json_t *args = json_object_get(x, "args");

        if (strcmp(json_string_value(json_object_get(x, "ph")), "X") || value(x, "pid") != pid) continue;
        if (strcmp(json_string_value(json_object_get(x, "name")), name)) continue;
        n++;
        *bytes += value(args, "bytes");
    }
    return n;
}

static int by_time(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    double kx = value(x, "pid") * 1e7 + value(x, "tid"), ky = value(y, "pid") * 1e7 + value(y, "tid");

    if (kx != ky) return kx < ky ? -1 : 1;
    return value(x, "ts") < value(y, "ts") ? -1 : value(x, "ts") > value(y, "ts");
}

/* On one track nothing overlaps: otherwise viewers nest what is not nested. */
static void expect_tracks_in_order(const json_t *trace)
{
    json_t **list = calloc(json_array_size(trace), sizeof *list), *x;
    size_t i, n = 0;

    json_array_foreach(trace, i, x) if (!strcmp(json_string_value(json_object_get(x, "ph")), "X")) list[n++] = x;
    qsort(list, n, sizeof *list, by_time);
    for (i = 1; i < n; i++) {
        const json_t *a = list[i - 1], *b = list[i];

        if (value(a, "pid") != value(b, "pid") || value(a, "tid") != value(b, "tid")) continue;
        if (value(a, "ts") + value(a, "dur") > value(b, "ts") + 0.0021) /* three decimals each */
            fail_msg("track %g of process %g: %.3f + %.3f overlaps %.3f", value(a, "tid"), value(a, "pid"),
                     value(a, "ts"), value(a, "dur"), value(b, "ts"));
    }
    free(list);
}

/* All tiles of all sweeps, whether they lie in memory or come anew each time. */
static void complete_at(const char *memory, bool pinned)
{
    char *folder = scratch_make(), *path = strdup(scratch_path(folder, "t.json"));
    const char *arg[] = {"plan", DEMO, "--json", "--context", "64", "--host-memory", memory, NULL};
    struct process_result r = process_run("sluice", arg, NULL, 0, 20);
    json_t *plan = json_loads(r.out, 0, NULL), *trace;
    double tiles = value(plan, "sweep_tiles"), all = value(plan, "weight_bytes"),
           disk = value(json_object_get(plan, "homes"), "disk"), bytes;
    size_t sweeps;

    process_result_free(&r);
    assert_int_equal(disk == 0, pinned);
    r = run_traced(path, memory);
    assert_int_equal(r.status, 0);
    trace = json_load_file(path, 0, NULL);
    assert_true(json_is_array(trace));
    sweeps = count(trace, TRACE_SWEEPS, "sweep", &bytes);
    assert_int_equal(sweeps, 8);
    assert_true(count(trace, TRACE_COMPUTE, "compute", &bytes) >= (size_t)tiles * sweeps);
    assert_true(bytes >= all * 0.8 * (double)sweeps); /* all but the embedding table */
    assert_true(count(trace, TRACE_READER, "read", &bytes) >= (size_t)tiles);
    assert_true(bytes >= disk * (double)sweeps);
    if (pinned) assert_true(bytes < 2 * all);
    /* The same entries pass through both rings; those that were read ahead of the end do not get that far, and the end
     * can come before transfer has given back the last ones. */
    assert_true(count(trace, TRACE_READER, "ready", &bytes) >= count(trace, TRACE_TRANSFER, "compute", &bytes));
    assert_true(count(trace, TRACE_READER, "read", &bytes) >= count(trace, TRACE_READER, "ready", &bytes));
    assert_true(count(trace, TRACE_READER, "ready", &bytes) >= count(trace, TRACE_READER, "hand over", &bytes));
    expect_tracks_in_order(trace);
    json_decref(trace);
    json_decref(plan);
    process_result_free(&r);
    free(path);
    scratch_remove(folder);
}

static void complete_from_memory(void **state)
{
    (void)state;
    complete_at("400M", true);
}

/* The smallest budget that works here leaves no room for the weights. */
static void complete_from_disk(void **state)
{
    const char *arg[] = {"plan", DEMO, "--context", "64", "--host-memory", "1M", NULL};
    struct process_result r = process_run("sluice", arg, NULL, 0, 20);
    const char *named = strstr(r.err, "would do is ");
    char memory[32];

    (void)state;
    assert_int_equal(r.status, 1);
    assert_non_null(named);
    snprintf(memory, sizeof memory, "%dM", atoi(named + strlen("would do is ")));
    process_result_free(&r);
    complete_at(memory, false);
}

/* ---- the drawing ---- */

static char *draw(const char *trace, struct process_result *r)
{
    char *out = malloc(strlen(trace) + 5);
    const char *arg[] = {"trace", trace, "--svg", out, NULL};

    sprintf(out, "%s.svg", trace);
    *r = process_run("sluice", arg, NULL, 0, 30);
    return out;
}

static char *slurp(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "r");
    char *text = malloc(4 << 20);

    assert_non_null(f);
    *bytes = fread(text, 1, (4 << 20) - 1, f);
    text[*bytes] = 0;
    fclose(f);
    return text;
}

static void expect_drawing(const char *svg, size_t bytes)
{
    static const char *const words[] = {
        "reader", "transfer", "compute", "host slots", "GB/s", "since the command began", "sweeps"};
    size_t open = 0, closed = 0;

    assert_int_equal(strncmp(svg, "<svg ", 5), 0);
    assert_string_equal(svg + bytes - 7, "</svg>\n");
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strstr(svg, words[i])) fail_msg("the drawing does not say %s", words[i]);
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf\""));
    for (const char *p = svg; (p = strchr(p, '<')); p++) {
        if (p[1] == '/')
            closed++;
        else if (*(strchr(p, '>') - 1) != '/')
            open++;
    }
    assert_int_equal(open, closed);
}

static void drawn(void **state)
{
    char *folder = scratch_make(), *path = strdup(scratch_path(folder, "a<b&c.json")), *out, *svg;
    struct process_result r = run_traced(path, "400M");
    size_t bytes;

    (void)state;
    assert_int_equal(r.status, 0);
    process_result_free(&r);
    out = draw(path, &r);
    assert_int_equal(r.status, 0);
    assert_true(strstr(r.err, "bottleneck") || strstr(r.err, "no stage"));
    process_result_free(&r);
    svg = slurp(out, &bytes);
    expect_drawing(svg, bytes);
    assert_non_null(strstr(svg, "a&lt;b&amp;c.json"));
    free(svg);
    free(out);
    free(path);
    scratch_remove(folder);
}

/* n tiles of 8 MB through both rings, tiles_each of them in a sweep. */
static void write_trace(const char *path, uint32_t n, uint32_t tiles_each)
{
    struct trace_writer *t = NULL;
    struct error e = {0};
    uint64_t begin;

    assert_int_equal(trace_open(&t, path, NULL, &e), 0);
    begin = clock_ns();
    for (uint32_t i = 0; i < n; i++) {
        uint64_t at = begin + i * UINT64_C(4000000);
        struct trace_record r = {.sweep = i / tiles_each,
                                 .bytes = 8000000,
                                 .fill_ns = at,
                                 .ready_ns = at + 4000000,
                                 .take_ns = at + 4001000,
                                 .free_ns = at + 5000000,
                                 .tile = i % tiles_each,
                                 .entry = i % 8};

        trace_write(t, &r, 1);
        r.fill_ns = r.take_ns, r.ready_ns = r.take_ns + 500, r.take_ns += 1000, r.ring = 1;
        trace_write(t, &r, 1);
        if (i % tiles_each + 1 == tiles_each)
            trace_sweep(t, at - (tiles_each - 1) * UINT64_C(4000000), at + 5000000, 1);
    }
    assert_int_equal(trace_close(t, &e), 0);
}

static void long_trace_is_bounded(void **state)
{
    char *folder = scratch_make(), *path = strdup(scratch_path(folder, "long.json")), *out, *svg;
    struct process_result r;
    struct timeline *t;
    struct error e = {0};
    size_t bytes;

    (void)state;
    write_trace(path, 20000, 20); /* 1000 sweeps */
    assert_int_equal(timeline_make(&t, path, &e), 0);
    assert_int_equal(t->sweeps, 1000);
    assert_true(fabs(t->disk_bytes - 20000 * 8e6) < 1);
    assert_true(t->share[ROW_READ] > 0.97 && t->share[ROW_READ] <= 1);
    assert_true(t->share[ROW_COMPUTE] > 0.23 && t->share[ROW_COMPUTE] < 0.27);
    free(t);
    out = draw(path, &r);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(r.err, "bottleneck: the disk"));
    process_result_free(&r);
    svg = slurp(out, &bytes);
    assert_true(bytes < 300000);
    expect_drawing(svg, bytes);
    free(svg);
    free(out);
    free(path);
    scratch_remove(folder);
}

static void damaged_traces(void **state)
{
    static const char event[] =
        "{\"name\":\"read\",\"ph\":\"X\",\"pid\":2,\"tid\":0,\"ts\":1,\"dur\":2,\"args\":{\"bytes\":3}}";
    static const struct {
        const char *text, *says; /* NULL: it can be drawn */
    } cases[] = {
        {"", "empty"},
        {"[\n]\n", "no events"},
        {"hello\n", "line 1"},
        {"{\"traceEvents\":[]}\n", "line 1"},
        {"[\n%s,\nwhat?\n]\n", "line 3"},
        {"[\n%s,\n{\"name\":\"re", NULL}, /* the run was killed */
        {"[\n%s\n]\n", NULL},
        {"[\n{\"name\":\"read\",\"ph\":\"X\",\"pid\":99,\"tid\":0,\"ts\":1,\"dur\":2}\n]\n", "unknown event"},
        {"[\n{\"name\":\"read\",\"ph\":\"X\",\"pid\":2,\"tid\":0,\"ts\":1e300,\"dur\":2}\n]\n", "out of range"},
        {"[\n{\"name\":\"read\",\"ph\":\"X\",\"pid\":2,\"tid\":0,\"ts\":1,\"dur\":-2}\n]\n", "out of range"},
        {"[\n{\"name\":\"sweep\",\"ph\":\"X\",\"pid\":2,\"tid\":0,\"ts\":1,\"dur\":2}\n]\n", "unknown event"},
        {"[\n{\"pid\":2}\n]\n", "no event"},
    };
    char *folder = scratch_make(), text[512];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct timeline *t;
        struct error e = {0};

        snprintf(text, sizeof text, cases[i].text, event);
        scratch_write(folder, "t.json", text);
        if (!cases[i].says) {
            assert_int_equal(timeline_make(&t, scratch_path(folder, "t.json"), &e), 0);
            assert_int_equal(t->events, 1);
            free(t);
            continue;
        }
        assert_int_equal(timeline_make(&t, scratch_path(folder, "t.json"), &e), -EINVAL);
        if (!strstr(e.text, cases[i].says)) fail_msg("%s does not say %s", e.text, cases[i].says);
    }
    scratch_remove(folder);
}

/* ---- where it cannot be written ---- */

static void unwritable(void **state)
{
    const char *svg[] = {"trace", "/nonexistent/t.json", "--svg", "/tmp/x.svg", NULL};
    struct process_result r = run_traced("/nonexistent/t.json", "400M"), whole;
    char *folder = scratch_make(), *path = strdup(scratch_path(folder, "t.json"));
    const char *full[] = {"trace", path, "--svg", "/dev/full", NULL};

    (void)state;
    assert_int_equal(r.status, 1); /* before anything started */
    assert_int_equal(r.out_bytes, 0);
    assert_non_null(strstr(r.err, "the trace: cannot write /nonexistent/t.json"));
    process_result_free(&r);
    r = run_traced("/dev/full", "400M");
    whole = run_traced(path, "400M");
    assert_int_equal(whole.status, 0);
    assert_int_equal(r.status, 1); /* the text is all there */
    assert_string_equal(r.out, whole.out);
    assert_non_null(strstr(r.err, "the trace: cannot write /dev/full: No space"));
    process_result_free(&r);
    process_result_free(&whole);
    r = process_run("sluice", svg, NULL, 0, 20);
    assert_int_equal(r.status, 1);
    assert_int_not_equal(access("/tmp/x.svg", F_OK), 0);
    process_result_free(&r);
    r = process_run("sluice", full, NULL, 0, 20);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "cannot write /dev/full"));
    process_result_free(&r);
    free(path);
    scratch_remove(folder);
}

/* A file that can grow to 64 KiB and no further: told, and no part of it is left. */
static void full_disk(void **state)
{
    char *folder = scratch_make(), *path = strdup(scratch_path(folder, "t.json"));
    pid_t child = fork();
    int status;

    (void)state;
    if (!child) {
        struct rlimit l = {.rlim_cur = 65536, .rlim_max = 65536};
        struct trace_record r = {.fill_ns = 1, .ready_ns = 2, .take_ns = 3, .free_ns = 4};
        struct trace_writer *t = NULL;
        struct error e = {0};

        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &l);
        if (trace_open(&t, path, NULL, &e)) _exit(2);
        for (int i = 0; i < 2000; i++) trace_write(t, &r, 1);
        _exit(trace_close(t, &e) == -EFBIG && strstr(e.text, path) && access(path, F_OK) ? 0 : 3);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    free(path);
    scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(complete_from_memory),
        cmocka_unit_test(complete_from_disk),
        cmocka_unit_test(drawn),
        cmocka_unit_test(long_trace_is_bounded),
        cmocka_unit_test(damaged_traces),
        cmocka_unit_test(unwritable),
        cmocka_unit_test(full_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
