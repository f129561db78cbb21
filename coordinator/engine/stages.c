#include "coordinator/engine/stages.h"

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
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

extern char **environ;

int child_path(char *path, size_t room, const char *name, struct error *e)
{
    static const char *const places[] = {"", "/../libexec/sluice"};
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);

    if (n < 0) return error_set(e, errno, "cannot tell where this program lies: %s", error_name(errno));
    own[n] = 0;
    *strrchr(own, '/') = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, room, "%s%s/%s", own, places[i], name);
        if (!access(path, X_OK)) return 0;
    }
    return error_set(e, ENOENT,
                     "%s is missing: it belongs beside sluice (%s) or in ../libexec/sluice; build it with make, "
                     "or use --backend cpu",
                     name, own);
}

static void stage_program(char *name, size_t room, enum stage_id stage, bool cuda)
{
    snprintf(name, room, stage == STAGE_READER ? "sluice-%s" : "sluice-%s-%s", stage_name(stage),
             cuda ? "cuda" : "cpu");
}

int child_find(char *path, size_t room, enum stage_id stage, bool cuda, struct error *e)
{
    char name[64];

    stage_program(name, sizeof name, stage, cuda);
    return child_path(path, room, name, e);
}

/* Processes that the kernel has killed for want of memory: anywhere on the machine, so a rise is a hint and no proof. */
static uint64_t oom_kills(void)
{
    FILE *f = fopen("/proc/vmstat", "re");
    unsigned long long n = 0;
    char line[128];

    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "oom_kill %llu", &n) == 1) break;
    fclose(f);
    return n;
}

static int spawn(struct child *c, const char *path, char **argv, const struct child_config *config)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int rc;

    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    /* First: its number may be one of those that are given to the segments. */
    if (config->err >= 0) posix_spawn_file_actions_adddup2(&actions, config->err, STDERR_FILENO);
    for (int i = 0; i < STAGE_FDS; i++)
        if (config->fd[i] >= 0) posix_spawn_file_actions_adddup2(&actions, config->fd[i], config->fd0 + i);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", 0, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", 1, 0);
    rc = posix_spawn(&c->pid, path, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return rc;
}

int child_start(struct child *c, const struct child_config *config, struct error *e)
{
    char path[2 * PATH_MAX], name[64], parent[24], log[12];
    char *argv[] = {name,
                    (char *)"--control",
                    (char *)config->address,
                    (char *)"--parent",
                    parent,
                    (char *)"--log",
                    log,
                    config->fault ? (char *)"--fault" : NULL,
                    (char *)config->fault,
                    NULL};
    const char *remedy = "";
    int rc;

    *c = (struct child){.pidfd = -1, .ended = true, .oom_kills = oom_kills()};
    stage_program(name, sizeof name, config->stage, config->cuda);
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    snprintf(log, sizeof log, "%d", config->log_level);
    if ((rc = child_path(path, sizeof path, name, e))) return rc;
    rc = spawn(c, path, argv, config);
    if (rc == EMFILE || rc == EBADF) remedy = "; raise the limit on open files (ulimit -n)";
    if (rc == EAGAIN) remedy = "; raise the limit on processes (ulimit -u)";
    if (rc) return error_set(e, rc, "cannot start %s: %s%s", path, error_name(rc), remedy);
    c->ended = false;
    c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
    return 0;
}

static pid_t parent_of(pid_t pid)
{
    char path[48], text[512] = "";
    const char *at;
    long parent = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    f = fopen(path, "re");
    if (!f) return 0;
    if (!fgets(text, sizeof text, f)) text[0] = 0;
    fclose(f);
    at = strrchr(text, ')'); /* a name may hold anything */
    return at && sscanf(at + 1, " %*c %ld", &parent) == 1 ? (pid_t)parent : 0;
}

bool child_is(const struct child *c, pid_t pid)
{
    for (int up = 0; up < 16 && pid > 1; up++, pid = parent_of(pid))
        if (pid == c->pid) return true;
    return false;
}

bool child_poll(struct child *c)
{
    struct rusage u = {0};
    pid_t got;

    if (c->ended) return true;
    while ((got = wait4(c->pid, &c->status, WNOHANG | WUNTRACED | WCONTINUED, &u)) == c->pid) {
        if (WIFSTOPPED(c->status))
            c->stopped_ns = clock_ns();
        else if (WIFCONTINUED(c->status))
            c->stopped_ns = 0;
        else
            break;
    }
    if (!got || (got < 0 && errno == EINTR)) return false;
    if (got < 0) c->status = -1; /* somebody else has waited for it */
    c->ended = true;
    c->cpu_ns = (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u +
                (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
    if (c->pidfd >= 0) close(c->pidfd);
    c->pidfd = -1;
    return true;
}

uint64_t child_cpu_ns(const struct child *c)
{
    struct timespec t;
    clockid_t clock;

    if (c->ended || clock_getcpuclockid(c->pid, &clock) || clock_gettime(clock, &t)) return c->cpu_ns;
    return clock_nanoseconds(t);
}

void child_kill(struct child *c, int signal)
{
    if (c->ended || c->pid <= 0) return;
    if (signal == SIGKILL) c->killed = true;
    kill(c->pid, signal);
}

static bool wait_until(struct child *c, uint64_t end_ns)
{
    struct pollfd p = {.fd = c->pidfd, .events = POLLIN};

    while (!child_poll(c)) {
        if (clock_ns() >= end_ns) return false;
        poll(&p, c->pidfd >= 0, 10);
    }
    return true;
}

void child_wait(struct child *c, int timeout_ms, int killed_ms)
{
    if (wait_until(c, clock_ns() + (uint64_t)timeout_ms * 1000000u)) return;
    child_kill(c, SIGKILL);
    if (wait_until(c, clock_ns() + (uint64_t)killed_ms * 1000000u)) return;
    log_warn("process %ld cannot be ended now: the kernel holds it, most likely in a read from a disk that hangs; it "
             "ends with that read",
             (long)c->pid);
    close(c->pidfd);
    *c = (struct child){.pid = c->pid, .pidfd = -1, .ended = true, .killed = true, .status = SIGKILL};
}

void child_describe(const struct child *c, char *text, size_t room)
{
    bool short_of_memory = c->ended && c->status == SIGKILL && !c->killed && oom_kills() > c->oom_kills;

    if (!c->ended)
        snprintf(text, room, "still there");
    else if (c->status == -1)
        snprintf(text, room, "nobody knows how");
    else if (WIFSIGNALED(c->status))
        snprintf(text, room, "killed by signal %d (%s)%s", WTERMSIG(c->status), strsignal(WTERMSIG(c->status)),
                 short_of_memory ? ": out of memory? Lower --host-memory, --context or --chunk, or end other programs"
                                 : "");
    else
        snprintf(text, room, "exit status %d", WEXITSTATUS(c->status));
}

bool child_crashed(const struct child *c)
{
    return c->ended && c->status != -1 && WIFSIGNALED(c->status) && !c->killed;
}
