/* Machines that a model is dealt over: what people write, and the arithmetic of shares. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

#include "coordinator/hosts/deal.h"
#include "coordinator/hosts/hosts.h"
#include "tests/support_process.h"

/* ---- lists and files ---- */

static void expect_refused(const char *given, const char *text)
{
    struct hosts h;
    struct error e = {0};

    assert_int_not_equal(hosts_open(&h, given, &e), 0);
    if (!strstr(e.text, text)) fail_msg("\"%s\" is not in: %s", text, e.text);
    hosts_close(&h);
}

static void test_lists(void **state)
{
    struct hosts h;
    struct error e;

    (void)state;
    assert_int_equal(hosts_open(&h, "a,b.example-1.org,a", &e), 0);
    assert_int_equal(h.count, 3);
    assert_string_equal(h.host[1].name, "b.example-1.org");
    assert_string_equal(h.host[2].name, "a");
    assert_false(h.shares);
    hosts_close(&h);
    expect_refused("", "no name of a machine");
    expect_refused("a,,b", "no name of a machine");
    expect_refused("a,", "no name of a machine");
    expect_refused("a,-x", "\"-x\"");
    expect_refused("a b", "no name of a machine");
    expect_refused("@/nowhere/at/all", "/nowhere/at/all");
}

static void expect_file(const char *text, const char *refused, struct hosts *h)
{
    char path[] = "/tmp/test_hosts.XXXXXX", given[64];
    int fd = mkstemp(path);
    struct error e = {0};

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    snprintf(given, sizeof given, "@%s", path);
    if (refused)
        expect_refused(given, refused);
    else if (hosts_open(h, given, &e))
        fail_msg("%s", e.text);
    unlink(path);
}

static void test_files(void **state)
{
    struct hosts h;

    (void)state;
    expect_file("# ours\n\na disk=2G memory=12GiB compute=34G # fast\nb\n", NULL, &h);
    assert_int_equal(h.count, 2);
    assert_true(h.host[0].disk == 2e9 && h.host[0].compute == 34e9 && h.host[0].memory == UINT64_C(12) << 30);
    assert_true(h.host[1].disk == 0 && h.host[1].memory == 0);
    hosts_close(&h);
    expect_file("a share=1\nb share=2.5\n", NULL, &h);
    assert_true(h.shares && h.host[1].share == 2.5);
    hosts_close(&h);
    expect_file("a share=1\nb\n", "1 of 2 machines", NULL);
    expect_file("a disk=0\n", "line 1: \"disk=0\"", NULL);
    expect_file("a\nb speed=2G\n", "line 2: \"speed=2G\"", NULL);
    expect_file("a share=-1\n", "share=-1", NULL);
    expect_file("a share=nan\n", "share=nan", NULL);
    expect_file("\n# nobody\n", "names no machine", NULL);
}

/* ---- the arithmetic ---- */

struct shape {
    uint32_t layers;
    double bytes;
};
static const struct shape llama70 = {80, 141e9}, llama405 = {126, 812e9}, llama405q4 = {126, 245e9};

/* All of it in layers that are alike. */
static struct deal_work work_of(const struct shape *s)
{
    struct deal_work w = {.layers = s->layers,
                          .hidden = 8192,
                          .dense = calloc(s->layers, sizeof *w.dense),
                          .experts = calloc(s->layers, sizeof *w.experts),
                          .chosen = calloc(s->layers, sizeof *w.chosen),
                          .unit = calloc(s->layers, sizeof *w.unit)};

    for (uint32_t l = 0; l < s->layers; l++) {
        w.dense[l] = (uint64_t)(s->bytes / s->layers);
        w.unit[l] = l;
    }
    return w;
}

static struct deal deal_of(const struct shape *s, const struct deal_node *node, uint32_t n)
{
    struct deal_work w = work_of(s);
    struct deal d;
    struct error e;
    uint32_t layers = 0;

    assert_int_equal(deal_make(&d, &w, node, n, deal_hop(&w), &e), 0);
    for (uint32_t k = 0; k < n; k++) layers += d.share[k].layers;
    assert_int_equal(layers, s->layers);
    for (uint32_t l = 0; l < s->layers; l++) assert_true(d.owner[l] < n);
    deal_work_close(&w);
    return d;
}

static void expect_near(double x, double expected, double part)
{
    if (fabs(x - expected) > part * expected) fail_msg("%g, expected %g", x, expected);
}

/* Seconds that a simulation of readers, rings, computing and hops found, event by event. */
static void test_alike(void **state)
{
    static const struct {
        const struct shape *shape;
        double disk, memory;
        uint32_t n;
        double one, contiguous, cyclic;
    } rows[] = {
        {&llama70, 2e9, 12e9, 2, 64.7, 58.5, 29.7}, {&llama70, 2e9, 12e9, 4, 64.7, 46.6, 12.3},
        {&llama70, 3.5e9, 28e9, 4, 32.3, 8.3, 4.2}, {&llama405, 2e9, 12e9, 4, 400, 382, 100},
        {&llama405, 2e9, 12e9, 8, 400, 359, 48.7},  {&llama405, 7e9, 28e9, 4, 112, 100, 26.1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct deal_node node[8];
        struct deal d;

        for (uint32_t k = 0; k < rows[i].n; k++)
            node[k] = (struct deal_node){.disk = rows[i].disk, .compute = 34e9, .memory = rows[i].memory};
        d = deal_of(rows[i].shape, node, rows[i].n);
        expect_near(d.one, rows[i].one, 0.03);
        expect_near(d.contiguous, rows[i].contiguous, 0.05);
        expect_near(d.cyclic, rows[i].cyclic, 0.06);
        for (uint32_t l = 0; l + 1 < d.nodes * 2; l++) assert_int_not_equal(d.owner[l], d.owner[l + 1]);
        deal_close(&d);
    }
}

static void test_unlike(void **state)
{
    const struct deal_node four[] = {{7e9, 34e9, 28e9, 0},
                                     {3.5e9, 34e9, 12e9, 0},
                                     {2e9, 34e9, 12e9, 0},
                                     {2e9, 34e9, 12e9, 0}},
                           two[] = {{7e9, 34e9, 28e9, 0}, {2e9, 34e9, 12e9, 0}};
    struct deal d = deal_of(&llama70, four, 4);

    (void)state;
    expect_near(d.cyclic, 6.3, 0.06);
    expect_near(d.share[0].layers, 38, 0.06);
    expect_near(d.share[1].layers, 18, 0.12);
    expect_near(d.share[3].layers, 12, 0.12);
    deal_close(&d);
    d = deal_of(&llama405q4, two, 2);
    expect_near(d.one, 31, 0.03);
    expect_near(d.cyclic, 23.4, 0.06);
    deal_close(&d);
}

/* One whose memory does not hold a layer makes all wait for its disk; one that has nothing to read for others is
 * no help where all of the model lies in memory. */
static void test_left_out(void **state)
{
    const struct deal_node weak[] = {{7e9, 34e9, 28e9, 0}, {0.5e9, 34e9, 4e9, 0}},
                           large[] = {{2e9, 34e9, 200e9, 0}, {2e9, 34e9, 200e9, 0}};
    struct deal d = deal_of(&llama405, weak, 2);

    (void)state;
    assert_int_equal(d.share[1].layers, 0);
    assert_true(d.cyclic == d.one);
    deal_close(&d);
    d = deal_of(&llama70, large, 2);
    assert_int_equal(d.share[1].layers, 0);
    deal_close(&d);
}

/* Shares that were given are kept, whether they pay or not; what stays together does. */
static void test_given(void **state)
{
    const struct deal_node node[] = {{2e9, 34e9, 200e9, 1}, {2e9, 34e9, 200e9, 3}};
    const struct shape eight = {8, 8e9};
    struct deal_work w = work_of(&eight);
    struct deal d;
    struct error e;

    (void)state;
    assert_int_equal(deal_make(&d, &w, node, 2, deal_hop(&w), &e), 0);
    assert_int_equal(d.share[0].layers, 2);
    assert_int_equal(d.share[1].layers, 6);
    deal_close(&d);
    for (uint32_t l = 4; l < 8; l++) w.unit[l] = 4 + l % 2; /* as where layers attend over two others' caches */
    assert_int_equal(deal_make(&d, &w, node, 2, deal_hop(&w), &e), 0);
    for (uint32_t l = 6; l < 8; l++) assert_int_equal(d.owner[l], d.owner[l - 2]);
    deal_close(&d);
    deal_work_close(&w);
}

/* ---- the command ---- */

#define DEMO "tests/data/demo-model"

static void test_command(void **state)
{
    static const char *const arg[] = {"plan", DEMO, "--backend", "cpu", "--hosts", "here,there", "--json", NULL},
                             *const wrong[] = {"plan", DEMO, "--hosts", "here,,there", NULL};
    struct process_result r = process_run("sluice", arg, NULL, 0, 20);
    json_t *o, *hosts, *nodes;
    double one;

    (void)state;
    if (r.status) fail_msg("exit %d: %s", r.status, r.err);
    assert_non_null(o = json_loads(r.out, 0, NULL));
    assert_non_null(hosts = json_object_get(o, "hosts"));
    assert_int_equal(json_array_size(nodes = json_object_get(hosts, "nodes")), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(nodes, 1), "name")), "there");
    one = json_number_value(json_object_get(hosts, "one_machine_seconds_per_token"));
    assert_true(one > 0);
    assert_true(json_number_value(json_object_get(hosts, "cyclic_seconds_per_token")) <= one / 0.995);
    json_decref(o);
    process_result_free(&r);
    r = process_run("sluice", wrong, NULL, 0, 20);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.err, "no name of a machine"));
    process_result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),   cmocka_unit_test(test_files),    cmocka_unit_test(test_alike),
        cmocka_unit_test(test_unlike),  cmocka_unit_test(test_left_out), cmocka_unit_test(test_given),
        cmocka_unit_test(test_command),
    };

    return cmocka_run_group_tests_name("hosts", tests, NULL, NULL);
}
