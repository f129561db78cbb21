#include "tests/support_machines.h"

#include <dirent.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "coordinator/remote/launch.h"
#include "tests/support_process.h"
#include "tests/support_victims.h"

#define PROCESSES 256
#define WAIT_NS   UINT64_C(30000000000)

const char *machines_refused(void)
{
    static struct error e;
    char path[4096];

    snprintf(path, sizeof path, "%s/sluice-link", process_build());
    if (access(path, X_OK)) return "sluice-link was not built: there is no MPI here";
    if (!geteuid()) {
        setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
        setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    }
    return launch_possible(&e) ? e.text : NULL;
}

static pid_t parent_of(pid_t pid)
{
    char path[64], text[512] = "";
    const char *at;
    long parent = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    if (!(f = fopen(path, "re"))) return 0;
    if (!fgets(text, sizeof text, f)) text[0] = 0;
    fclose(f);
    at = strrchr(text, ')');
    return at && sscanf(at + 1, " %*c %ld", &parent) == 1 ? (pid_t)parent : 0;
}

static bool is_below(pid_t pid, pid_t root)
{
    for (int up = 0; up < 8 && pid > 1; up++)
        if ((pid = parent_of(pid)) == root) return true;
    return false;
}

int machines_below(pid_t root, pid_t *pid, int n)
{
    DIR *d = opendir("/proc");
    struct dirent *x;
    int found = 0;

    assert_non_null(d);
    while ((x = readdir(d)) && found < n) {
        pid_t p = (pid_t)atol(x->d_name);

        if (p > 0 && is_below(p, root)) pid[found++] = p;
    }
    closedir(d);
    return found;
}

/* Its arguments, each ended by NUL. */
static bool is_named(pid_t pid, const char *name, const char *arg)
{
    char path[64], text[8192];
    size_t n = 0;
    bool has = !arg;
    const char *base;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%ld/cmdline", (long)pid);
    if (!(f = fopen(path, "re"))) return false;
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    base = strrchr(text, '/') ? strrchr(text, '/') + 1 : text;
    if (strncmp(base, name, strlen(name))) return false;
    for (size_t at = 0; arg && at < n; at += strlen(text + at) + 1) has = has || !strcmp(text + at, arg);
    return has;
}

pid_t machines_process(pid_t root, const char *name, const char *arg)
{
    uint64_t end = now_ns() + WAIT_NS;
    pid_t pid[PROCESSES];

    do {
        int n = machines_below(root, pid, PROCESSES);

        for (int i = 0; i < n; i++)
            if (is_named(pid[i], name, arg)) return pid[i];
        nap_ms(10);
    } while (now_ns() < end && !kill(root, 0));
    return 0;
}
