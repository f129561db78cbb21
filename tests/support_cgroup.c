#include "tests/support_cgroup.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <setjmp.h>
#include <cmocka.h>

struct group {
    char path[1024];
    bool v2;
};

static bool has(const struct group *g, const char *file)
{
    char path[1200];

    snprintf(path, sizeof path, "%s/%s", g->path, file);
    return !access(path, W_OK);
}

static bool put(const struct group *g, const char *file, uint64_t value)
{
    char path[1200];
    FILE *f;
    bool ok;

    snprintf(path, sizeof path, "%s/%s", g->path, file);
    f = fopen(path, "we");
    if (!f) return false;
    ok = fprintf(f, "%llu", (unsigned long long)value) > 0;
    return !fclose(f) && ok;
}

/* The number behind key in a file of lines "key number"; key NULL: the file is a number. 0: not there. */
static uint64_t get(const struct group *g, const char *file, const char *key)
{
    unsigned long long v = 0, found = 0;
    char path[1200], name[64];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", g->path, file);
    f = fopen(path, "re");
    if (!f) return 0;
    if (!key && fscanf(f, "%llu", &v) == 1) found = v;
    while (key && fscanf(f, "%63s %llu", name, &v) == 2)
        if (!strcmp(name, key)) found = v;
    fclose(f);
    return found;
}

static bool try_in(struct group *g, const char *parent, bool v2)
{
    static unsigned serial;

    g->v2 = v2;
    snprintf(g->path, sizeof g->path, "%s/sluice-test-%ld-%u", parent, (long)getpid(), serial++);
    if (mkdir(g->path, 0755)) return false;
    if (has(g, v2 ? "memory.max" : "memory.limit_in_bytes")) return true;
    rmdir(g->path);
    return false;
}

/* Below the own group, or below the root. */
static bool make(struct group *g)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[700], parent[900];
    bool made = false;

    while (f && !made && fgets(line, sizeof line, f)) {
        char *kind = strchr(line, ':'), *own = kind ? strchr(kind + 1, ':') : NULL;

        if (!own) continue;
        line[strcspn(line, "\n")] = 0;
        *own++ = 0;
        if (strcmp(kind + 1, "memory") && kind[1]) continue;
        snprintf(parent, sizeof parent, "/sys/fs/cgroup%s%s", kind[1] ? "/memory" : "", own);
        made = try_in(g, parent, !kind[1]);
    }
    if (f) fclose(f);
    return made || try_in(g, "/sys/fs/cgroup", true) || try_in(g, "/sys/fs/cgroup/memory", false);
}

static void unmake(const struct group *g)
{
    for (int i = 0; i < 100 && rmdir(g->path) && errno == EBUSY; i++)
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

const char *cgroup_refused(void)
{
    struct group g;

    if (!make(&g)) return "no memory cgroup can be made here (that takes root and a writable /sys/fs/cgroup)";
    unmake(&g);
    return NULL;
}

/* ---- measuring ---- */

struct watch {
    const struct group *group;
    _Atomic bool end;
    uint64_t held;
};

static uint64_t held(const struct group *g)
{
    if (!g->v2)
        return get(g, "memory.stat", "total_rss") + get(g, "memory.stat", "total_shmem") +
               get(g, "memory.kmem.usage_in_bytes", NULL);
    return get(g, "memory.stat", "anon") + get(g, "memory.stat", "shmem") + get(g, "memory.stat", "kernel_stack") +
           get(g, "memory.stat", "pagetables") + get(g, "memory.stat", "slab_unreclaimable");
}

static void *watch(void *arg)
{
    struct watch *w = arg;

    while (!atomic_load(&w->end)) {
        uint64_t now = held(w->group);

        if (now > w->held) w->held = now;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return NULL;
}

struct process_result cgroup_run(const char *program, const char *const *arg, uint64_t limit, int seconds,
                                 struct cgroup_peak *peak)
{
    const char *shell[64] = {"-c", NULL, "sh"};
    char script[1300], path[4096];
    struct group g;
    struct watch w = {.group = &g};
    struct process_result r;
    pthread_t thread;
    int n = 3;

    assert_true(make(&g));
    assert_true(put(&g, g.v2 ? "memory.max" : "memory.limit_in_bytes", limit));
    put(&g, g.v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes", g.v2 ? 0 : limit);
    snprintf(script, sizeof script, "echo $$ >%s/cgroup.procs && exec \"$@\"", g.path);
    snprintf(path, sizeof path, "%s/%s", process_build(), program);
    shell[1] = script;
    shell[n++] = path;
    while (*arg && n < 62) shell[n++] = *arg++;
    assert_int_equal(pthread_create(&thread, NULL, watch, &w), 0);
    r = process_run("/bin/sh", shell, NULL, 0, seconds);
    atomic_store(&w.end, true);
    pthread_join(thread, NULL);
    *peak = (struct cgroup_peak){.held = w.held,
                                 .oom_kills = get(&g, g.v2 ? "memory.events" : "memory.oom_control", "oom_kill"),
                                 .total = get(&g, g.v2 ? "memory.peak" : "memory.max_usage_in_bytes", NULL)};
    unmake(&g);
    return r;
}
