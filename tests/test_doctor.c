/* sluice doctor: what it reads of a machine that is made of files, what it thinks of it, and the command itself. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

#include "compute/cpu/cpu.h"
#include "coordinator/doctor/doctor.h"
#include "proto/stage/device_facts.h"
#include "proto/stage/device_speeds.h"
#include "coordinator/plan/unpack.h"
#include "coordinator/plan/machine.h"
#include "tests/support_model.h"
#include "tests/support_process.h"
#include "tests/support_temporary.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

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

static const struct doctor_finding *finding(const struct doctor *d, const char *name)
{
    for (size_t i = 0; i < d->count; i++)
        if (!strcmp(d->at[i].name, name)) return &d->at[i];
    fail_msg("nothing was found about %s", name);
    return NULL;
}

/* What could be better says what it costs; what is good needs no mending. */
static void expect(struct doctor *d, const char *name, enum doctor_verdict v, const char *state)
{
    const struct doctor_finding *f = finding(d, name);

    if (f->verdict != v) fail_msg("%s is %s: %s", name, doctor_verdict_name(f->verdict), f->state);
    if (!strstr(f->state, state)) fail_msg("%s: \"%s\" does not say \"%s\"", name, f->state, state);
    if (v != DOCTOR_GOOD) assert_true(f->cost[0] != 0);
}

static void done(struct doctor *d)
{
    assert_false(d->failed);
    doctor_free(d);
}

/* ---- memory and cgroups ---- */

#define MEMINFO                                                                                                        \
    "MemTotal:       16777216 kB\nMemFree:  100 kB\nMemAvailable:   12582912 kB\nSwapTotal:  4194304 kB\nSwapFree: "   \
    "4194304 kB\n"

static void test_no_cgroup(void **state)
{
    struct doctor d = {.root = root};
    struct machine m;

    (void)state;
    put("/proc/meminfo", MEMINFO);
    machine_look_at(&m, root);
    assert_int_equal(m.memory_total, 16 * GIB);
    assert_int_equal(m.free_bytes, 12 * GIB);
    assert_int_equal(m.cgroup_limit, UINT64_MAX);
    assert_int_equal(m.swap_total, 4 * GIB);
    doctor_memory(&d, &m, 11 * GIB);
    expect(&d, "memory", DOCTOR_GOOD, "17.2 GB");
    expect(&d, "cgroup", DOCTOR_GOOD, "no limit");
    expect(&d, "swap", DOCTOR_GOOD, "0 bytes of it used");
    done(&d);
}

static void test_cgroup_v2(void **state)
{
    struct doctor d = {.root = root};
    struct machine m;

    (void)state;
    put("/proc/meminfo", MEMINFO);
    put("/proc/self/cgroup", "0::/user/run.scope\n");
    put("/sys/fs/cgroup/user/run.scope/memory.max", "max\n");
    put("/sys/fs/cgroup/user/memory.max", "4294967296\n"); /* the parent's limit holds for the child */
    put("/sys/fs/cgroup/user/memory.current", "2147483648\n");
    put("/sys/fs/cgroup/user/memory.stat", "anon 1\ninactive_file 1073741824\nactive_file 536870912\n");
    put("/sys/fs/cgroup/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/user/cpu.max", "50000 100000\n");
    machine_look_at(&m, root);
    assert_int_equal(m.cgroup_limit, 4 * GIB);
    assert_int_equal(m.cgroup_free, 4 * GIB - 512 * MIB); /* page cache gives way */
    assert_int_equal(m.free_bytes, m.cgroup_free);
    assert_int_equal(m.cpus, 1);
    doctor_memory(&d, &m, 3 * GIB);
    expect(&d, "cgroup", DOCTOR_BETTER, "/sys/fs/cgroup/user/memory.max");
    done(&d);
    put("/sys/fs/cgroup/user/memory.max", "2147483648\n");
    put("/sys/fs/cgroup/user/memory.stat", "anon 2147483648\n");
    machine_look_at(&m, root);
    assert_int_equal(m.free_bytes, 0);
    doctor_memory(&d, &m, 0);
    expect(&d, "cgroup", DOCTOR_IN_THE_WAY, "0 bytes of it free");
    assert_int_equal(doctor_worst(&d), DOCTOR_IN_THE_WAY);
    done(&d);
}

static void test_cgroup_v1(void **state)
{
    struct machine m;

    (void)state;
    put("/proc/meminfo", MEMINFO);
    put("/proc/self/cgroup", "9:name=systemd:/\n4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n3:cpuset:/\n0::/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"); /* no limit */
    put("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "3221225472\n");
    put("/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/docker/abc/memory.stat",
        "inactive_file 5\ntotal_inactive_file 1073741824\ntotal_active_file 0\n");
    put("/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000\n");
    machine_look_at(&m, root);
    assert_int_equal(m.cgroup_limit, 3 * GIB);
    assert_int_equal(m.cgroup_free, 3 * GIB);
    assert_true(m.cpus >= 1);
    put("/sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "60000\n");
    machine_look_at(&m, root);
    assert_int_equal(m.cpus, 1);
}

/* In a container the path of /proc/self/cgroup is the host's, and its own group is mounted as the root. */
static void test_cgroup_of_container(void **state)
{
    struct machine m;

    (void)state;
    put("/proc/meminfo", MEMINFO);
    put("/proc/self/cgroup", "4:memory:/docker/abc\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n");
    machine_look_at(&m, root);
    assert_int_equal(m.free_bytes, GIB);
}

static void test_short_of_memory(void **state)
{
    struct doctor d = {.root = root};
    struct machine m;

    (void)state;
    put("/proc/meminfo",
        "MemTotal: 4194304 kB\nMemAvailable: 1048576 kB\nSwapTotal: 4194304 kB\nSwapFree: 1048576 kB\n");
    machine_look_at(&m, root);
    doctor_memory(&d, &m, 0);
    expect(&d, "memory", DOCTOR_BETTER, "1.07 GB free");
    expect(&d, "swap", DOCTOR_BETTER, "3.22 GB of it used");
    done(&d);
    put("/proc/meminfo", "MemTotal: 4194304 kB\nMemAvailable: 65536 kB\n");
    machine_look_at(&m, root);
    doctor_memory(&d, &m, 0);
    expect(&d, "memory", DOCTOR_IN_THE_WAY, "67.1 MB free");
    done(&d);
}

/* ---- limits ---- */

static void test_uring(void **state)
{
    static const struct {
        struct doctor_uring t;
        const char *disabled;
        enum doctor_verdict ring, lock;
        const char *mend;
    } cases[] = {
        {{0, 0}, "0\n", DOCTOR_GOOD, DOCTOR_GOOD, ""},
        {{EPERM, 0}, "2\n", DOCTOR_BETTER, DOCTOR_GOOD, "kernel.io_uring_disabled=0 (it is 2)"},
        {{EPERM, 0}, "0\n", DOCTOR_BETTER, DOCTOR_GOOD, "seccomp"},
        {{ENOSYS, 0}, NULL, DOCTOR_BETTER, DOCTOR_GOOD, "5.11"},
        {{0, ENOMEM}, "0\n", DOCTOR_GOOD, DOCTOR_BETTER, "memlock"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct doctor d = {.root = root};

        if (cases[i].disabled) put("/proc/sys/kernel/io_uring_disabled", cases[i].disabled);
        doctor_uring(&d, &cases[i].t, 65536);
        expect(&d, "io_uring", cases[i].ring, cases[i].ring == DOCTOR_GOOD ? "allowed" : "not allowed");
        expect(&d, "locked memory", cases[i].lock, "65.5");
        assert_non_null(
            strstr(finding(&d, cases[i].lock == DOCTOR_BETTER ? "locked memory" : "io_uring")->mend, cases[i].mend));
        done(&d);
    }
}

static void test_shm_and_files(void **state)
{
    struct doctor d = {.root = root};

    (void)state;
    doctor_shm(&d, GIB);
    expect(&d, "/dev/shm", DOCTOR_GOOD, "1.07 GB free");
    done(&d);
    doctor_shm(&d, 64 * MIB); /* what docker gives */
    expect(&d, "/dev/shm", DOCTOR_BETTER, "67.1 MB free");
    assert_non_null(strstr(d.at[0].mend, "--shm-size"));
    done(&d);
    doctor_shm(&d, MIB);
    expect(&d, "/dev/shm", DOCTOR_IN_THE_WAY, "1.05 MB free");
    done(&d);
    doctor_shm(&d, UINT64_MAX);
    expect(&d, "/dev/shm", DOCTOR_IN_THE_WAY, "not there");
    done(&d);
    doctor_open_files(&d, 1024, 4096, 400);
    expect(&d, "open files", DOCTOR_GOOD, "1024");
    done(&d);
    doctor_open_files(&d, 256, 4096, 400);
    expect(&d, "open files", DOCTOR_GOOD, "raised as needed");
    done(&d);
    doctor_open_files(&d, 256, 256, 400);
    expect(&d, "open files", DOCTOR_IN_THE_WAY, "256");
    done(&d);
}

static void test_huge_pages(void **state)
{
    struct doctor d = {.root = root};

    (void)state;
    doctor_huge_pages(&d, false); /* a kernel without them */
    expect(&d, "huge pages", DOCTOR_BETTER, "unknown");
    done(&d);
    put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size [advise] never deny force\n");
    doctor_huge_pages(&d, false);
    expect(&d, "huge pages", DOCTOR_GOOD, "madvise; in shared memory: advise");
    done(&d);
    put("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size advise [never] deny force\n");
    doctor_huge_pages(&d, false);
    expect(&d, "huge pages", DOCTOR_BETTER, "in shared memory: never");
    doctor_huge_pages(&d, true);
    assert_string_equal(d.at[d.count - 1].state, "madvise; in shared memory: never, and given when asked for");
    assert_int_equal(d.at[d.count - 1].verdict, DOCTOR_GOOD);
    assert_non_null(strstr(d.at[0].mend, "shmem_enabled"));
    assert_null(strstr(d.at[0].mend, "/enabled"));
    done(&d);
}

/* ---- processor ---- */

static void test_kernels(void **state)
{
#if defined(__x86_64__)
    static const char *const names[] = {
        [CPU_PLAIN] = "plain", [CPU_AVX2] = "avx2", [CPU_AVX512] = "avx512", [CPU_AVX512_VBMI] = "avx512 vbmi"};
    const char *best = "plain";
#endif
    struct doctor d = {.root = ""};
    struct machine m;

    (void)state;
    assert_string_equal(doctor_kernels(""), "plain");
    assert_string_equal(doctor_kernels("fpu avx2 fma f16c"), "avx2");
    assert_string_equal(doctor_kernels("avx2 f16c fma4 avx512f"), "plain"); /* fma4 is not fma */
    assert_string_equal(doctor_kernels("fma avx avx2 f16c avx512f avx512dq avx512cd avx512bw avx512vl"), "avx512");
    assert_string_equal(doctor_kernels("fma avx2 f16c avx512f avx512dq avx512bw avx512vl avx512vbmi avx512_vbmi2"),
                        "avx512 vbmi");
    assert_string_equal(doctor_kernels("fma avx2 f16c avx512f avx512cd avx512er avx512pf"), "avx2");
#if defined(__x86_64__)
    /* and of this machine what the backend chooses */
    for (int v = CPU_PLAIN; v < CPU_VARIANTS; v++)
        if (cpu_variant_kernels((enum cpu_variant)v)) best = names[v];
    machine_look(&m);
    doctor_processor(&d, &m);
    assert_non_null(strstr(finding(&d, "processor")->state, best));
    done(&d);
#endif
    d.root = root;
    put("/proc/cpuinfo", "processor\t: 0\nmodel name\t: Old Processor\nflags\t\t: fpu sse2\n\nprocessor\t: 1\n");
    put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
    m = (struct machine){.cpus = 2, .cpus_online = 8, .cpus_big = 2};
    doctor_processor(&d, &m);
    expect(&d, "processor", DOCTOR_BETTER, "Old Processor; the cpu backend uses its plain kernels");
    expect(&d, "cores", DOCTOR_BETTER, "2 of 8");
    expect(&d, "governor", DOCTOR_BETTER, "powersave");
    done(&d);
}

static void test_unpacking(void **state)
{
    struct doctor d = {.root = ""};

    (void)state;
    doctor_unpacking(&d, 10e9, "avx2", 2, 7e9);
    expect(&d, "unpacking", DOCTOR_GOOD, "10.0 GB/s a thread");
    done(&d);
    doctor_unpacking(&d, 10e9, "avx2", 2, 0); /* a disk that was not measured slows nothing down */
    expect(&d, "unpacking", DOCTOR_GOOD, "avx2");
    done(&d);
    doctor_unpacking(&d, 0.5e9, "plain", 2, 3e9);
    expect(&d, "unpacking", DOCTOR_BETTER, "0.5 GB/s a thread");
    done(&d);
    doctor_unpacking(&d, 0, "plain", 2, 3e9);
    assert_int_equal(d.count, 0);
    assert_true(unpack_speed() > 0);
}

/* ---- storage ---- */

static void test_file_systems(void **state)
{
    static const struct {
        uint64_t magic;
        enum doctor_verdict v;
        const char *name;
    } cases[] = {
        {0xef53, DOCTOR_GOOD, "ext4"},        {0x58465342, DOCTOR_GOOD, "xfs"},
        {0x9123683e, DOCTOR_GOOD, "btrfs"},   {0x01021994, DOCTOR_GOOD, "tmpfs"},
        {0x794c7630, DOCTOR_GOOD, "overlay"}, {0x6969, DOCTOR_BETTER, "nfs, over the network"},
        {0xff534d42, DOCTOR_BETTER, "cifs"},  {0x65735546, DOCTOR_BETTER, "fuse"},
        {0x01021997, DOCTOR_BETTER, "9p"},    {0x12345678, DOCTOR_GOOD, "type 0x12345678"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct doctor_file t = {.magic = cases[i].magic, .direct_errno = i % 2 ? EINVAL : 0};
        struct doctor d = {.root = root};

        doctor_storage(&d, &t, 0);
        expect(&d, "file system", cases[i].v, cases[i].name);
        expect(&d, "direct reads", i % 2 ? DOCTOR_BETTER : DOCTOR_GOOD, i % 2 ? "do not work" : "work");
        done(&d);
    }
}

static void test_drives(void **state)
{
    struct doctor_file t = {.magic = 0xef53, .major = 8, .minor = 1};
    struct doctor d = {.root = root};

    (void)state;
    put("/sys/dev/block/8:0/queue/rotational", "1\n");
    put("/sys/dev/block/8:0/uevent", "MAJOR=8\nMINOR=0\nDEVNAME=sda\nDEVTYPE=disk\n");
    t.minor = 0;
    doctor_storage(&d, &t, 150e6);
    expect(&d, "drive", DOCTOR_BETTER, "sda, a spinning disk");
    done(&d);
    doctor_storage(&d, &t, 1.5e9); /* it says so, and cannot be one */
    expect(&d, "drive", DOCTOR_GOOD, "sda");
    done(&d);
    put("/sys/dev/block/254:0/queue/rotational", "1\n");
    put("/sys/dev/block/254:0/uevent", "DEVNAME=vda\n");
    t.major = 254;
    doctor_storage(&d, &t, 0);
    expect(&d, "drive", DOCTOR_GOOD, "virtual");
    done(&d);
    put("/sys/dev/block/253:7/queue/rotational", "0\n");
    put("/sys/dev/block/253:7/dm/uuid", "CRYPT-LUKS2-0123\n");
    t.major = 253, t.minor = 7;
    doctor_storage(&d, &t, 0);
    expect(&d, "encryption", DOCTOR_BETTER, "encrypted");
    done(&d);
    doctor_disk_speed(&d, 0.2e9, 20e9);
    expect(&d, "disk speed", DOCTOR_BETTER, "0.20 GB/s");
    expect(&d, "memory speed", DOCTOR_GOOD, "20.0 GB/s");
    done(&d);
}

static void test_direct_read_tried(void **state)
{
    struct doctor_file t;
    char *folder = scratch_make(), text[8192];

    (void)state;
    assert_false(doctor_try_file(&t, folder));
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    scratch_write(folder, "config.json", "{}");
    scratch_write(folder, "model.safetensors", text);
    assert_true(doctor_try_file(&t, folder));
    assert_string_equal(strrchr(t.path, '/'), "/model.safetensors");
    assert_true(t.direct_errno == 0 || t.direct_errno == EINVAL);
    assert_true(t.magic != 0);
    free((void *)(uintptr_t)t.path);
    scratch_remove(folder);
}

/* ---- GPU ---- */

static void put_gpu(const char *device, const char *speed, const char *width)
{
    static const char *const name[] = {
        "vendor", "class", "device", "max_link_speed", "max_link_width", "current_link_speed", "current_link_width"};
    const char *value[] = {"0x10de\n", "0x030000\n", "0x2684\n", "16.0 GT/s PCIe\n", "16\n", speed, width};
    char path[256];

    for (int i = 0; i < 7; i++) {
        snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/%s", device, name[i]);
        put(path, value[i]);
    }
}

static void test_no_gpu(void **state)
{
    struct doctor d = {.root = root};

    (void)state;
    doctor_gpu(&d, false, false);
    expect(&d, "GPU", DOCTOR_GOOD, "none");
    assert_int_equal(d.count, 1);
    done(&d);
    put("/sys/bus/pci/devices/0000:00:02.0/vendor", "0x8086\n"); /* another maker's */
    put("/sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n");
    put("/sys/bus/pci/devices/0000:01:00.1/vendor", "0x10de\n"); /* a GPU's sound device */
    put("/sys/bus/pci/devices/0000:01:00.1/class", "0x040300\n");
    doctor_gpu(&d, false, false);
    expect(&d, "GPU", DOCTOR_GOOD, "none");
    done(&d);
    put("/proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n");
    doctor_gpu(&d, false, false);
    expect(&d, "GPU", DOCTOR_BETTER, "driver 570.86.15, and no device");
    done(&d);
}

static void test_gpu(void **state)
{
    struct doctor d = {.root = root};

    (void)state;
    put_gpu("0000:01:00.0", "2.5 GT/s PCIe\n", "16\n");
    doctor_gpu(&d, true, true);
    expect(&d, "GPU", DOCTOR_BETTER, "no NVIDIA driver");
    done(&d);
    put("/proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC version:\n");
    put("/proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ: 1\n");
    doctor_gpu(&d, true, true);
    expect(&d, "GPU", DOCTOR_BETTER, "NVIDIA GeForce RTX 4090 at 0000:01:00.0, driver 550.54.14");
    assert_non_null(strstr(finding(&d, "GPU")->cost, "/dev/nvidiactl"));
    done(&d);
    put("/dev/nvidiactl", "");
    doctor_gpu(&d, true, true);
    expect(&d, "GPU", DOCTOR_GOOD, "550.54.14");
    expect(&d, "GPU link", DOCTOR_GOOD, "PCIe 1 x16 while idle, PCIe 4 under load (31.5 GB/s at most)");
    expect(&d, "cuda stages", DOCTOR_GOOD, "built");
    expect(&d, "MPS", DOCTOR_GOOD, "can be started");
    done(&d);
    put_gpu("0000:01:00.0", "16.0 GT/s PCIe\n", "4\n");
    doctor_gpu(&d, false, false);
    expect(&d, "GPU link", DOCTOR_BETTER, "PCIe 4 x4 (7.9 GB/s at most)");
    assert_non_null(strstr(finding(&d, "GPU link")->cost, "75%"));
    expect(&d, "cuda stages", DOCTOR_BETTER, "not built");
    expect(&d, "MPS", DOCTOR_BETTER, "not on the PATH");
    done(&d);
    put("/tmp/nvidia-mps/control", "");
    doctor_gpu(&d, false, true);
    expect(&d, "MPS", DOCTOR_GOOD, "a daemon of this machine");
    done(&d);
}

/* A container that was not given the device sees it on the bus, and the driver in /proc. */
static void test_gpu_in_container(void **state)
{
    struct doctor d = {.root = root};

    (void)state;
    put("/.dockerenv", "");
    put_gpu("0000:01:00.0", "16.0 GT/s PCIe\n", "16\n");
    doctor_gpu(&d, false, true);
    expect(&d, "GPU", DOCTOR_BETTER, "no NVIDIA driver");
    assert_non_null(strstr(finding(&d, "GPU")->mend, "on the machine itself"));
    done(&d);
    put("/proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n");
    doctor_gpu(&d, false, true);
    expect(&d, "GPU", DOCTOR_BETTER, "550.54.14");
    assert_non_null(strstr(finding(&d, "GPU")->mend, "docker run --gpus all"));
    assert_non_null(strstr(finding(&d, "MPS")->mend, "NVIDIA_DRIVER_CAPABILITIES"));
    done(&d);
}

static void test_gpu_under_windows(void **state)
{
    struct doctor d = {.root = root};

    (void)state;
    put("/proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n");
    doctor_gpu(&d, false, true);
    expect(&d, "GPU", DOCTOR_GOOD, "no GPU");
    done(&d);
    put("/dev/dxg", "");
    doctor_gpu(&d, false, true);
    expect(&d, "GPU", DOCTOR_BETTER, "Windows' subsystem for Linux with a GPU");
    assert_non_null(strstr(finding(&d, "GPU")->mend, "bare machine"));
    assert_int_equal(d.count, 1);
    done(&d);
}

/* What the compute stage said, and what a person has to do about it. */
static void test_device(void **state)
{
    static const struct {
        const char *words, *mend;
    } troubles[] = {
        {"cuda: the NVIDIA driver serves CUDA up to 12.4 and this build needs 13.0: install driver 580.65.06 or "
         "newer, or use --backend cpu",
         "newer driver"},
        {"cuda: device 0 is set to be used by nobody (compute mode PROHIBITED): ...", "nvidia-smi -c DEFAULT"},
        {"cuda: no NVIDIA driver is loaded on this machine (no CUDA-capable device is detected)",
         "install NVIDIA's driver"},
        {"cuda: Card (sm_75) cannot run this build's kernels: no kernel image", "make on this machine"}};
    const struct device_facts facts = {
        .devices = 1, .capability = 89, .total_bytes = 24000000000u, .free_bytes = 23000000000u, .name = "Card 4090"};
    const struct device_speeds slow = {0}, fast = {25000000000u, 900000000000u, 0}, one = {0, 0, 1};
    struct doctor d = {.root = root};

    (void)state;
    for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++) {
        doctor_device(&d, NULL, NULL, troubles[i].words);
        expect(&d, "CUDA", DOCTOR_BETTER, troubles[i].words);
        assert_non_null(strstr(finding(&d, "CUDA")->mend, troubles[i].mend));
        done(&d);
    }
    doctor_device(&d, &facts, &slow, NULL);
    expect(&d, "CUDA", DOCTOR_GOOD, "Card 4090, 23.00 of 24.00 GB free");
    assert_int_equal(d.count, 1);
    done(&d);
    doctor_device(&d, &facts, &fast, NULL);
    expect(&d, "CUDA", DOCTOR_GOOD, "link 25.0 GB/s, its memory 900 GB/s");
    done(&d);
    doctor_device(&d, &facts, &one, NULL);
    expect(&d, "compute mode", DOCTOR_BETTER, "EXCLUSIVE_PROCESS");
    assert_non_null(strstr(finding(&d, "compute mode")->mend, "-c DEFAULT"));
    done(&d);
}

/* ---- the command ---- */

static struct process_result doctor(const char *a, const char *b)
{
    const char *arg[] = {"doctor", a, b, NULL};

    return process_run("sluice", arg, NULL, 0, 20);
}

static void test_command(void **state)
{
    struct process_result r = doctor("--json", "tests/data/demo-model");
    json_t *o = json_loads(r.out, 0, NULL), *list = json_object_get(o, "findings"), *x;
    size_t i;

    (void)state;
    assert_non_null(o);
    assert_true(json_array_size(list) > 10);
    json_array_foreach(list, i, x)
    {
        const char *v = json_string_value(json_object_get(x, "verdict"));

        assert_true(!strcmp(v, "good") || !strcmp(v, "could be better") || !strcmp(v, "in the way"));
        assert_true(json_string_length(json_object_get(x, "state")) > 0);
        if (strcmp(v, "good")) assert_true(json_string_length(json_object_get(x, "cost")) > 0);
    }
    assert_int_equal(r.status, !strcmp(json_string_value(json_object_get(o, "verdict")), "in the way"));
    json_decref(o);
    process_result_free(&r);
    r = doctor("tests/data/demo-model", NULL);
    assert_non_null(strstr(r.out, "LlamaForCausalLM"));
    assert_non_null(strstr(r.out, "could be better, "));
    process_result_free(&r);
}

static void test_command_in_the_way(void **state)
{
    char *folder = scratch_make();
    struct process_result r = doctor(folder, NULL);

    (void)state;
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(r.out, "in the way"));
    assert_non_null(strstr(r.out, "config.json"));
    assert_non_null(strstr(r.err, "in the way of a run"));
    process_result_free(&r);
    scratch_remove(folder);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_cgroup),         TEST(test_cgroup_v2), TEST(test_cgroup_v1),     TEST(test_cgroup_of_container),
        TEST(test_short_of_memory),   TEST(test_uring),     TEST(test_shm_and_files), TEST(test_huge_pages),
        TEST(test_kernels),           TEST(test_unpacking), TEST(test_file_systems),  TEST(test_drives),
        TEST(test_direct_read_tried), TEST(test_no_gpu),    TEST(test_gpu),           TEST(test_gpu_in_container),
        TEST(test_gpu_under_windows), TEST(test_device),    TEST(test_command),       TEST(test_command_in_the_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
