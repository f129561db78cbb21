#include "coordinator/engine/device.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "coordinator/engine/interrupt.h"
#include "coordinator/engine/stages.h"
#include "proto/base/clock.h"

#define PROGRAM  "sluice-compute-cuda"
#define LIMIT_NS UINT64_C(20000000000) /* a first context on a cold machine takes seconds */

extern char **environ;

static int start(const char *path, uint32_t device, bool speeds, int output, pid_t *pid)
{
    char number[16];
    char *argv[] = {(char *)PROGRAM, (char *)"--probe", number, speeds ? (char *)"--speeds" : NULL, NULL};
    posix_spawn_file_actions_t actions;
    int rc;

    snprintf(number, sizeof number, "%u", device);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    rc = posix_spawn(pid, path, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* Everything that the program says, until it ends: 0, -ETIMEDOUT or -ECANCELED. What does not fit is dropped. */
static int listen_to(int fd, char *text, size_t room)
{
    struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = interrupt_fd(), .events = POLLIN}};
    uint64_t end = clock_ns() + LIMIT_NS;
    char spill[256];
    size_t n = 0;

    for (;;) {
        ssize_t got;

        text[n] = 0;
        if (interrupted()) return -ECANCELED;
        if (clock_ns() > end) return -ETIMEDOUT;
        if (poll(p, 2, 100) <= 0 || !p[0].revents) continue;
        got = n + 1 < room ? read(fd, text + n, room - 1 - n) : read(fd, spill, sizeof spill);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        if (n + 1 < room) n += (size_t)got;
    }
}

/* The last line that says something: a program's error, or the loader's of a missing library. */
static const char *last_line(char *text)
{
    char *line;

    for (size_t n = strlen(text); n && (text[n - 1] == '\n' || text[n - 1] == '\r'); n--) text[n - 1] = 0;
    line = strrchr(text, '\n');
    return line ? line + 1 : text;
}

static int understand(struct device_facts *f, struct device_speeds *s, char *text, struct error *e)
{
    char *line = strstr(text, DEVICE_FACTS_WORD " "), *more = strstr(text, DEVICE_SPEEDS_WORD);

    *s = (struct device_speeds){0};
    if (more) device_speeds_parse(s, more);
    if (line && !device_facts_parse(f, line)) return 0;
    if (!*text) return error_set(e, ENODEV, PROGRAM " ended without a word about the device; use --backend cpu");
    return error_set(e, ENODEV, "%.900s", last_line(text));
}

static int ask(struct device_facts *f, struct device_speeds *s, bool speeds, uint32_t device, struct error *e)
{
    char path[2 * PATH_MAX], text[4096];
    int ends[2], rc;
    pid_t pid;

    if ((rc = child_find(path, sizeof path, STAGE_COMPUTE, true, e))) return rc;
    if (pipe2(ends, O_CLOEXEC)) return error_set(e, errno, "no pipe to " PROGRAM ": %s", error_name(errno));
    rc = start(path, device, speeds, ends[1], &pid);
    close(ends[1]);
    if (rc) {
        close(ends[0]);
        return error_set(e, rc, "cannot start %s: %s", path, error_name(rc));
    }
    rc = listen_to(ends[0], text, sizeof text);
    close(ends[0]);
    if (rc) kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (rc == -ECANCELED) return error_set(e, ECANCELED, "interrupted");
    if (rc)
        return error_set(e, ETIMEDOUT, "the GPU's driver gave no answer in %d s; see nvidia-smi, or use --backend cpu",
                         (int)(LIMIT_NS / 1000000000u));
    return understand(f, s, text, e);
}

int device_look(struct device_facts *f, uint32_t device, struct error *e)
{
    struct device_speeds unknown;

    return ask(f, &unknown, false, device, e);
}

int device_try(struct device_facts *f, struct device_speeds *s, uint32_t device, struct error *e)
{
    return ask(f, s, true, device, e);
}
