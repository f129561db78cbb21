#include "coordinator/plan/machine.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/base/cores.h"
#include "proto/base/shm.h"

static uint64_t read_number(const char *path)
{
    FILE *f = fopen(path, "re");
    unsigned long long v = 0;
    bool ok = f && fscanf(f, "%llu", &v) == 1;

    if (f) fclose(f);
    return ok ? v : UINT64_MAX; /* "max" too */
}

static FILE *open_at(const char *root, const char *path)
{
    char full[600];

    return snprintf(full, sizeof full, "%s%s", root, path) < (int)sizeof full ? fopen(full, "re") : NULL;
}

static void look_meminfo(struct machine *m, const char *root)
{
    FILE *f = open_at(root, "/proc/meminfo");
    char line[128];
    unsigned long long kb;

    m->memory_total = m->memory_available = UINT64_MAX;
    m->swap_total = m->swap_free = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "MemTotal: %llu", &kb) == 1) m->memory_total = kb * 1024;
        if (sscanf(line, "MemAvailable: %llu", &kb) == 1) m->memory_available = kb * 1024;
        if (sscanf(line, "SwapTotal: %llu", &kb) == 1) m->swap_total = kb * 1024;
        if (sscanf(line, "SwapFree: %llu", &kb) == 1) m->swap_free = kb * 1024;
    }
    if (f) fclose(f);
}

/* Page cache counts as used in a cgroup, but gives way. */
static uint64_t reclaimable(const char *folder, bool v2)
{
    char path[600], key[64];
    unsigned long long v;
    uint64_t sum = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/memory.stat", folder);
    f = fopen(path, "re");
    while (f && fscanf(f, "%63s %llu", key, &v) == 2) {
        if (!strcmp(key, v2 ? "inactive_file" : "total_inactive_file")) sum += v;
        if (!strcmp(key, v2 ? "active_file" : "total_active_file")) sum += v;
    }
    if (f) fclose(f);
    return sum;
}

static void look_folder(struct machine *m, const char *folder, bool v2)
{
    char path[600];
    uint64_t limit, used, free_bytes;

    snprintf(path, sizeof path, "%s/%s", folder, v2 ? "memory.max" : "memory.limit_in_bytes");
    limit = read_number(path);
    if (limit >= UINT64_C(1) << 60) return;
    snprintf(path, sizeof path, "%s/%s", folder, v2 ? "memory.current" : "memory.usage_in_bytes");
    used = read_number(path);
    if (used == UINT64_MAX) used = 0;
    free_bytes = reclaimable(folder, v2);
    used = used > free_bytes ? used - free_bytes : 0;
    free_bytes = limit > used ? limit - used : 0;
    if (limit < m->cgroup_limit) m->cgroup_limit = limit;
    if (free_bytes >= m->cgroup_free) return;
    m->cgroup_free = free_bytes;
    snprintf(m->cgroup_file, sizeof m->cgroup_file, "%s/%s", folder, v2 ? "memory.max" : "memory.limit_in_bytes");
}

/* Processors that a quota is worth, rounded up; v1 keeps it in two files. */
static void look_quota(struct machine *m, const char *folder, bool v2)
{
    unsigned long long quota = 0, period = 0;
    char path[600];
    FILE *f;

    if (v2) {
        snprintf(path, sizeof path, "%s/cpu.max", folder);
        f = fopen(path, "re");
        if (f && fscanf(f, "%llu %llu", &quota, &period) != 2) period = 0; /* "max" */
        if (f) fclose(f);
    } else {
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
        quota = read_number(path);
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
        period = read_number(path);
        if (quota > INT32_MAX || period > INT32_MAX) return; /* -1: none */
    }
    if (period && quota && (quota + period - 1) / period < m->cpus) m->cpus = (uint32_t)((quota + period - 1) / period);
}

typedef void look_fn(struct machine *m, const char *folder, bool v2);

/* The own group and all above it: the tightest limit holds. */
static void climb(struct machine *m, const char *root, const char *tree, const char *group, bool v2, look_fn *look)
{
    char folder[512];
    size_t base = strlen(root) + strlen(tree);

    if (snprintf(folder, sizeof folder, "%s%s%s", root, tree, group) >= (int)sizeof folder) return;
    for (;;) {
        char *slash;

        look(m, folder, v2);
        slash = strrchr(folder, '/');
        if (strlen(folder) <= base || !slash) return;
        *slash = 0;
    }
}

static bool among(const char *list, const char *word)
{
    for (size_t n = strlen(word); list; list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL)
        if (!strncmp(list, word, n) && (!list[n] || list[n] == ',')) return true;
    return false;
}

static void look_cgroups(struct machine *m, const char *root)
{
    FILE *f = open_at(root, "/proc/self/cgroup");
    char line[512];

    m->cgroup_limit = m->cgroup_free = UINT64_MAX;
    m->cgroup_file[0] = 0;
    while (f && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;

        if (!path) continue;
        *path++ = 0;
        controllers++;
        path[strcspn(path, "\n")] = 0;
        if (!strcmp(path, "/")) path[0] = 0;
        if (!*controllers) {
            climb(m, root, "/sys/fs/cgroup", path, true, look_folder);
            climb(m, root, "/sys/fs/cgroup/unified", path, true, look_folder);
            climb(m, root, "/sys/fs/cgroup", path, true, look_quota);
        }
        if (among(controllers, "memory")) {
            climb(m, root, "/sys/fs/cgroup/memory", path, false, look_folder);
            climb(m, root, "/sys/fs/cgroup/memory", "", false,
                  look_folder); /* a container sees its own group as the root */
        }
        if (among(controllers, "cpu")) {
            climb(m, root, "/sys/fs/cgroup/cpu", path, false, look_quota);
            climb(m, root, "/sys/fs/cgroup/cpu", "", false, look_quota);
        }
    }
    if (f) fclose(f);
}

static void count_cpus(struct machine *m, const char *root)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    cpu_set_t set;

    m->cpus_online = n > 0 ? (uint32_t)n : 1;
    m->cpus = m->cpus_online;
    m->cpus_big = m->cpus;
    if (sched_getaffinity(0, sizeof set, &set) || !CPU_COUNT(&set)) return;
    m->cpus = (uint32_t)CPU_COUNT(&set);
    cores_keep_big(&set, root);
    m->cpus_big = (uint32_t)CPU_COUNT(&set);
}

static bool is_there(const char *root, const char *path)
{
    char full[600];

    return snprintf(full, sizeof full, "%s%s", root, path) < (int)sizeof full && !access(full, F_OK);
}

/* The GPU of a Tegra has a driver of its own, which shows itself by its devices alone. */
static bool find_gpu(const char *root)
{
    if (is_there(root, "/dev/nvhost-gpu") || is_there(root, "/dev/nvgpu/igpu0")) return true;
    return is_there(root, "/proc/driver/nvidia/version") &&
           (is_there(root, "/dev/nvidia0") || is_there(root, "/dev/nvidiactl"));
}

void machine_look_at(struct machine *m, const char *root)
{
    struct rlimit l;

    look_meminfo(m, root);
    count_cpus(m, root);
    look_cgroups(m, root);
    if (m->cpus_big > m->cpus) m->cpus_big = m->cpus;
    m->free_bytes = m->memory_available < m->cgroup_free ? m->memory_available : m->cgroup_free;
    m->shm_free = shm_free_bytes();
    m->memlock = !getrlimit(RLIMIT_MEMLOCK, &l) ? l.rlim_cur : 0;
    m->has_gpu = find_gpu(root);
}

void machine_look(struct machine *m)
{
    machine_look_at(m, "");
}

void machine_own_reset(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "we");

    if (!f) return; /* then the peak is that of the whole life */
    fputs("5", f);
    fclose(f);
}

struct machine_own machine_own_look(void)
{
    unsigned long long kb, anon = 0, high = 0, file = 0, shmem = 0;
    struct machine_own own = {0};
    char line[128];
    FILE *f;

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    return own;
#endif
    f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmHWM: %llu", &kb) == 1) high = kb;
        if (sscanf(line, "RssAnon: %llu", &kb) == 1) anon = kb;
        if (sscanf(line, "RssFile: %llu", &kb) == 1) file = kb;
        if (sscanf(line, "RssShmem: %llu", &kb) == 1) shmem = kb;
    }
    if (f) fclose(f);
    own.now = anon * 1024;
    own.peak = high > file + shmem ? (high - file - shmem) * 1024 : own.now;
    return own;
}
