#include "tests/support_victims.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"

const char *const victim_stage[VICTIM_STAGES] = {"reader", "transfer", "compute"};

void nap_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

uint64_t now_ns(void)
{
    return clock_ns();
}

static bool first_line(const char *path, char *line, size_t room)
{
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(line, (int)room, f);

    if (f) fclose(f);
    if (ok) line[strcspn(line, "\n")] = 0;
    return ok;
}

static pid_t find(pid_t coordinator, int stage, bool last)
{
    char path[96], list[256], comm[32], name[32];
    pid_t found = 0;

    snprintf(name, sizeof name, "sluice-%s", victim_stage[stage]);
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", coordinator, coordinator);
    if (!first_line(path, list, sizeof list)) return 0;
    for (char *at = list, *end; *at; at = end) {
        pid_t pid = (pid_t)strtol(at, &end, 10);

        if (end == at) break;
        snprintf(path, sizeof path, "/proc/%d/comm", pid);
        if (first_line(path, comm, sizeof comm) && !strncmp(comm, name, strlen(name)) && !victim_gone(pid)) {
            found = pid;
            if (!last) break;
        }
    }
    return found;
}

pid_t victim_find(pid_t coordinator, int stage)
{
    return find(coordinator, stage, false);
}

pid_t victim_last(pid_t coordinator, int stage)
{
    return find(coordinator, stage, true);
}

pid_t victim_wait(pid_t coordinator, int stage, int limit_ms)
{
    pid_t pid;

    while (!(pid = victim_find(coordinator, stage)) && limit_ms-- > 0) nap_ms(1);
    return pid;
}

bool victim_gone(pid_t pid)
{
    char path[64], line[512], *state;

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (!first_line(path, line, sizeof line)) return true;
    state = strrchr(line, ')');
    return !state || strchr("ZX", state[2]);
}

/* Names in a folder that begin or go on with "sluice-PID". */
static bool named_in(const char *folder, const char *name, char *text, size_t room)
{
    DIR *d = opendir(folder);
    struct dirent *x;
    bool found = false;

    while (d && !found && (x = readdir(d)))
        if (strstr(x->d_name, name)) {
            snprintf(text, room, "%s/%.100s", folder, x->d_name);
            found = true;
        }
    if (d) closedir(d);
    return found;
}

static bool socket_named(const char *name, char *text, size_t room)
{
    FILE *f = fopen("/proc/net/unix", "re");
    char line[512];
    bool found = false;

    while (f && !found && fgets(line, sizeof line, f))
        if (strstr(line, name)) {
            line[strcspn(line, "\n")] = 0;
            snprintf(text, room, "socket %.200s", line);
            found = true;
        }
    if (f) fclose(f);
    return found;
}

/* A process of this group, which the coordinator's stages belong to. */
static pid_t of_group(pid_t group)
{
    DIR *d = opendir("/proc");
    struct dirent *x;
    pid_t found = 0;

    while (d && !found && (x = readdir(d))) {
        pid_t pid = (pid_t)atoi(x->d_name);

        if (pid > 0 && getpgid(pid) == group && !victim_gone(pid)) found = pid;
    }
    if (d) closedir(d);
    return found;
}

static bool look(pid_t coordinator, const pid_t *pid, int n, char *text, size_t room)
{
    const char *folders[] = {"/dev/shm", "/tmp", getenv("TMPDIR"), getenv("XDG_RUNTIME_DIR")};
    char name[32];
    pid_t member = of_group(coordinator);

    if (member) {
        snprintf(text, room, "process %d", member);
        return true;
    }
    for (int i = 0; i < n; i++)
        if (pid[i] > 0 && !victim_gone(pid[i])) {
            snprintf(text, room, "process %d", pid[i]);
            return true;
        }
    snprintf(name, sizeof name, "sluice-%d-", coordinator);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (folders[i] && named_in(folders[i], name, text, room)) return true;
    return socket_named(name, text, room);
}

bool victim_leftovers(pid_t coordinator, const pid_t *pid, int n, int limit_ms, char *text, size_t room)
{
    uint64_t end = clock_ns() + (uint64_t)limit_ms * 1000000u;

    while (look(coordinator, pid, n, text, room)) {
        if (clock_ns() > end) return true;
        nap_ms(10);
    }
    return false;
}
