#include "coordinator/run/stages.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int find(char *path, size_t room, const char *name, struct error *e)
{
    static const char *const places[] = {"%s/%s", "%s/../libexec/sluice/%s"};
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);

    if (n < 0) return error_set(e, errno, "cannot tell where this program lies: %s", error_name(errno));
    own[n] = 0;
    *strrchr(own, '/') = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, room, i ? "%s/../libexec/sluice/%s" : "%s/%s", own, name);
        if (!access(path, X_OK)) return 0;
    }
    /* tests lie one level below the executables */
    snprintf(path, room, "%s/../%s", own, name);
    if (!access(path, X_OK)) return 0;
    return error_set(e, ENOENT, "%s is missing: it belongs beside sluice (%s) or in ../libexec/sluice; build it with make, "
                     "or use --backend cpu", name, own);
}

static void stage_program(char *name, size_t room, enum run_stage stage, bool cuda)
{
    snprintf(name, room, stage == STAGE_READER ? "sluice-%s" : "sluice-%s-%s", stage_name(stage), cuda ? "cuda" : "cpu");
}

int child_find(enum run_stage stage, bool cuda, struct error *e)
{
    char path[2 * PATH_MAX], name[64];

    stage_program(name, sizeof name, stage, cuda);
    return find(path, sizeof path, name, e);
}

int child_start(struct child *c, enum run_stage stage, bool cuda, const char *address, int log_level, const int *fds, struct error *e)
{
    char path[2 * PATH_MAX], name[64], parent[24], log[12];
    char *argv[] = {name, (char *)"--control", (char *)address, (char *)"--parent", parent, (char *)"--log", log, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int rc;

    *c = (struct child){.pidfd = -1, .ended = true};
    stage_program(name, sizeof name, stage, cuda);
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    snprintf(log, sizeof log, "%d", log_level);
    if ((rc = find(path, sizeof path, name, e))) return rc;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    for (int i = 0; i < STAGE_FDS; i++)
        if (fds[i] >= 0) posix_spawn_file_actions_adddup2(&actions, fds[i], STAGE_FD0 + i);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", 0, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", 1, 0);
    rc = posix_spawn(&c->pid, path, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (rc) return error_set(e, rc, "cannot start %s: %s", path, error_name(rc));
    c->ended = false;
    c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
    return 0;
}

bool child_poll(struct child *c)
{
    struct rusage u;

    if (c->ended) return true;
    if (wait4(c->pid, &c->status, WNOHANG, &u) != c->pid) return false;
    c->ended = true;
    c->cpu_ns = (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u + (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
    if (c->pidfd >= 0) close(c->pidfd);
    c->pidfd = -1;
    return true;
}

void child_kill(struct child *c, int signal)
{
    if (!c->ended && c->pid > 0) kill(c->pid, signal);
}

void child_wait(struct child *c, int timeout_ms)
{
    struct pollfd p = {.fd = c->pidfd, .events = POLLIN};

    for (int waited = 0; !child_poll(c) && waited < timeout_ms; waited += 10) poll(&p, c->pidfd >= 0, 10);
    child_kill(c, SIGKILL);
    while (!child_poll(c)) poll(&p, c->pidfd >= 0, 5);
}

void child_describe(const struct child *c, char *text, size_t room)
{
    if (!c->ended) snprintf(text, room, "still there");
    else if (WIFSIGNALED(c->status))
        snprintf(text, room, "killed by signal %d (%s)", WTERMSIG(c->status), strsignal(WTERMSIG(c->status)));
    else snprintf(text, room, "exit status %d", WEXITSTATUS(c->status));
}

bool child_crashed(const struct child *c)
{
    return c->ended && WIFSIGNALED(c->status);
}
