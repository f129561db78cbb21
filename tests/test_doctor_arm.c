/* ARM machines as files: processors told by numbers, cores of two speeds and what threads are made for, boards whose GPU is the
 * processor's neighbour. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "coordinator/doctor/doctor.h"
#include "coordinator/plan/machine.h"
#include "proto/base/cores.h"
#include "tests/support_temporary.h"

static char root[TEMPORARY_BYTES];

static int setup(void **state)
{
    (void)state;
    return temporary_make(root, NULL) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    temporary_remove(root);
    return 0;
}

/* A file of the machine, with the folders that lead to it. */
static void put(const char *path, const char *text)
{
    char full[512];
    FILE *f;

    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        mkdir(full, 0700);
        *p = '/';
    }
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* /proc/cpuinfo of so many cores of each kind, in this order. */
struct cores {
    unsigned n, implementer, part;
};

static void put_cores(const struct cores *c, size_t kinds)
{
    char text[8192];
    unsigned cpu = 0;
    size_t at = 0;

    for (size_t k = 0; k < kinds; k++)
        for (unsigned i = 0; i < c[k].n; i++)
            at += (size_t)snprintf(text + at, sizeof text - at,
                                   "processor\t: %u\nmodel name\t: ARMv8 Processor rev 0 (v8l)\nBogoMIPS\t: "
                                   "108.00\nFeatures\t: fp asimd evtstrm crc32\nCPU implementer\t: 0x%02x\nCPU "
                                   "architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0x%03x\nCPU revision\t: 0\n\n",
                                   cpu++, c[k].implementer, c[k].part);
    put("/proc/cpuinfo", text);
}

static void expect(const struct machine *m, const char *name, const char *state)
{
    struct doctor d = {.root = root};

    doctor_processor(&d, m);
    for (size_t i = 0; i < d.count; i++) {
        if (strcmp(d.at[i].name, name)) continue;
        if (strcmp(d.at[i].state, state)) fail_msg("%s: \"%s\", not \"%s\"", name, d.at[i].state, state);
        assert_int_equal(d.at[i].verdict, DOCTOR_GOOD);
        doctor_free(&d);
        return;
    }
    fail_msg("nothing was found about %s", name);
}

static void processors_by_number(void **state)
{
    static const struct {
        struct cores c[3];
        const char *name;
    } cases[] = {
        {{{4, 0x41, 0xd0b}}, "Cortex-A76"},                                             /* Raspberry Pi 5 */
        {{{4, 0x41, 0xd05}, {4, 0x41, 0xd0b}}, "4 x Cortex-A55, 4 x Cortex-A76"},       /* RK3588 */
        {{{6, 0x41, 0xd42}}, "Cortex-A78AE"},                                           /* Jetson Orin */
        {{{10, 0x41, 0xd85}, {10, 0x41, 0xd87}}, "10 x Cortex-X925, 10 x Cortex-A725"}, /* GB10 */
        {{{8, 0x41, 0xd4f}}, "Neoverse-V2"},                                            /* Grace, Graviton 4 */
        {{{4, 0x61, 0x022}, {4, 0x61, 0x023}}, "4 x Apple M1 (Icestorm), 4 x Apple M1 (Firestorm)"},
        {{{2, 0x99, 0x123}}, "implementer 0x99, part 0x123"},
        {{{1, 0x41, 0xd80}, {1, 0x41, 0xd81}, {2, 0x41, 0xd82}}, "1 x Cortex-A520, 1 x Cortex-A720, 2 x Cortex-X4"},
    };
    const struct machine m = {.cpus = 8, .cpus_online = 8, .cpus_big = 8};
    char want[200];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_cores(cases[i].c, 3);
        snprintf(want, sizeof want, "%s; the cpu backend uses its neon kernels", cases[i].name);
        expect(&m, "processor", want);
    }
}

/* More kinds than are told apart, numbers that are none, an endless line. */
static void nonsense_is_survived(void **state)
{
    struct doctor d = {.root = root};
    struct cores many[12];
    char out[24], *line = malloc(20000);

    (void)state;
    for (unsigned i = 0; i < 12; i++) many[i] = (struct cores){1, 0x41, 0xe00 + i};
    put_cores(many, 12);
    doctor_arm_cores(&d, out, sizeof out);
    assert_true(strlen(out) < sizeof out);
    put("/proc/cpuinfo", "CPU part\nCPU part\t: many\nCPU implementer : -1\n");
    doctor_arm_cores(&d, out, sizeof out);
    assert_true(strlen(out) < sizeof out);
    memset(line, 'x', 19999);
    line[19999] = 0;
    put("/proc/cpuinfo", line);
    doctor_arm_cores(&d, out, sizeof out);
    assert_string_equal(out, "");
    free(line);
}

static void threads_for_the_big_cores(void **state)
{
    struct machine m = {.cpus = 8, .cpus_online = 8, .cpus_big = 4};
    cpu_set_t set;

    (void)state;
    put_cores(&(struct cores){8, 0x41, 0xd0b}, 1);
    expect(&m, "cores", "8 of 8 may be used; 4 of these are big ones: --threads auto takes them");
    m.cpus_big = 8;
    expect(&m, "cores", "8 of 8 may be used; --threads auto takes 8");
    /* a small one and two big ones */
    put("/sys/devices/system/cpu/cpu0/cpu_capacity", "414\n");
    put("/sys/devices/system/cpu/cpu1/cpu_capacity", "871\n");
    put("/sys/devices/system/cpu/cpu2/cpu_capacity", "1024\n");
    CPU_ZERO(&set);
    for (size_t c = 0; c < 3; c++) CPU_SET(c, &set);
    cores_keep_big(&set, root);
    assert_int_equal(CPU_COUNT(&set), 2);
    assert_false(CPU_ISSET(0, &set));
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    cores_keep_big(&set, root); /* the only one that may be used */
    assert_int_equal(CPU_COUNT(&set), 1);
    for (size_t c = 1; c < 4; c++) CPU_SET(c, &set);
    cores_keep_big(&set, root); /* one whose capacity is not told: all of them */
    assert_int_equal(CPU_COUNT(&set), 4);
}

/* What a run without --threads takes, of the processors that this process has: the first of them small, the others big; then all
 * of one speed; then a quota of one. */
static void a_machine_of_two_speeds(void **state)
{
    struct machine m;
    cpu_set_t mine;
    unsigned all, first = CPU_SETSIZE;
    char path[96];

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    all = (unsigned)CPU_COUNT(&mine);
    if (all < 2) {
        print_message("skipped: one processor is neither big nor small\n");
        skip();
    }
    put("/proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n");
    for (unsigned c = 0; c < CPU_SETSIZE; c++) {
        if (!CPU_ISSET(c, &mine)) continue;
        if (first == CPU_SETSIZE) first = c;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/cpu_capacity", c);
        put(path, c == first ? "446\n" : "1024\n");
    }
    machine_look_at(&m, root);
    assert_int_equal(m.cpus, all);
    assert_int_equal(m.cpus_big, all - 1);
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/cpu_capacity", first);
    put(path, "1024\n");
    machine_look_at(&m, root);
    assert_int_equal(m.cpus_big, all);
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/cpu.max", "100000 100000\n");
    machine_look_at(&m, root);
    assert_int_equal(m.cpus, 1);
    assert_int_equal(m.cpus_big, 1);
}

static void a_board_with_a_gpu(void **state)
{
    struct doctor d = {.root = root};
    struct machine m;

    (void)state;
    machine_look_at(&m, root);
    assert_false(m.has_gpu);
    put("/dev/nvhost-gpu", "");
    put("/proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit");
    machine_look_at(&m, root);
    assert_true(m.has_gpu);
    doctor_gpu(&d, false, true);
    assert_string_equal(d.at[0].name, "GPU");
    assert_string_equal(d.at[0].state, "NVIDIA Jetson Orin Nano Developer Kit, in the processor's own memory");
    assert_string_equal(d.at[1].name, "cuda stages");
    assert_int_equal(doctor_worst(&d), DOCTOR_GOOD);
    doctor_free(&d);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(processors_by_number),    TEST(nonsense_is_survived), TEST(threads_for_the_big_cores),
        TEST(a_machine_of_two_speeds), TEST(a_board_with_a_gpu),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
