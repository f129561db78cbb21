#include "coordinator/plan/machine.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proto/shm.h"

static uint64_t read_number(const char *path)
{
    FILE *f = fopen(path, "re");
    unsigned long long v = 0;
    bool ok = f && fscanf(f, "%llu", &v) == 1;

    if (f) fclose(f);
    return ok ? v : UINT64_MAX; /* "max" too */
}

static void look_meminfo(struct machine *m)
{
    FILE *f = fopen("/proc/meminfo", "re");
    char line[128];
    unsigned long long kb;

    m->memory_total = m->memory_available = UINT64_MAX;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "MemTotal: %llu", &kb) == 1) m->memory_total = kb * 1024;
        if (sscanf(line, "MemAvailable: %llu", &kb) == 1) m->memory_available = kb * 1024;
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
    if (free_bytes < m->cgroup_free) m->cgroup_free = free_bytes;
}

static void climb(struct machine *m, const char *root, const char *group, bool v2)
{
    char folder[512];
    size_t base = strlen(root);

    snprintf(folder, sizeof folder, "%s%s", root, group);
    for (;;) {
        char *slash;

        look_folder(m, folder, v2);
        slash = strrchr(folder, '/');
        if (strlen(folder) <= base || !slash) return;
        *slash = 0;
    }
}

static void look_cgroups(struct machine *m)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[512];

    m->cgroup_limit = m->cgroup_free = UINT64_MAX;
    while (f && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;

        if (!path) continue;
        *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        if (!strcmp(path, "/")) path[0] = 0;
        if (!controllers[1]) {
            climb(m, "/sys/fs/cgroup", path, true);
            climb(m, "/sys/fs/cgroup/unified", path, true);
        } else if (strstr(controllers, "memory")) {
            climb(m, "/sys/fs/cgroup/memory", path, false);
            look_folder(m, "/sys/fs/cgroup/memory", false); /* a container sees its own group as the root */
        }
    }
    if (f) fclose(f);
}

static uint32_t count_cpus(void)
{
    cpu_set_t set;
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned long long quota, period;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");

    if (!sched_getaffinity(0, sizeof set, &set)) n = CPU_COUNT(&set);
    if (f && fscanf(f, "%llu %llu", &quota, &period) == 2 && period && (long)((quota + period - 1) / period) < n)
        n = (long)((quota + period - 1) / period);
    if (f) fclose(f);
    return n > 0 ? (uint32_t)n : 1;
}

static bool find_gpu(void)
{
    return !access("/proc/driver/nvidia/version", F_OK) && (!access("/dev/nvidia0", F_OK) || !access("/dev/nvidiactl", F_OK));
}

void machine_look(struct machine *m)
{
    struct rlimit l;

    look_meminfo(m);
    look_cgroups(m);
    m->free_bytes = m->memory_available < m->cgroup_free ? m->memory_available : m->cgroup_free;
    m->shm_free = shm_free_bytes();
    m->memlock = !getrlimit(RLIMIT_MEMLOCK, &l) ? l.rlim_cur : 0;
    m->cpus = count_cpus();
    m->has_gpu = find_gpu();
}
