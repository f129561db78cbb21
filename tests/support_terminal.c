#include "tests/support_terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support_process.h"

#define ARGS_MAX 32
#define SECONDS  20

static void child(const char *program, const char *const *arg, const char *const *env)
{
    char path[PATH_MAX];
    char *argv[ARGS_MAX + 2] = {path};
    int n = 1;

    snprintf(path, sizeof path, "%s/%s", process_build(), program);
    for (; *arg && n <= ARGS_MAX; arg++) argv[n++] = (char *)*arg;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    for (; *env; env++) putenv((char *)*env);
    execv(path, argv);
    _exit(127);
}

struct terminal terminal_start(const char *program, const char *const *arg, const char *const *env)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    struct terminal t = {.text = calloc(1, 1), .raw = calloc(1, 1)};

    assert_true(t.text && t.raw);
    fflush(NULL);
    t.pid = forkpty(&t.fd, NULL, NULL, &size);
    assert_true(t.pid >= 0);
    if (!t.pid) child(program, arg, env);
    fcntl(t.fd, F_SETFD, FD_CLOEXEC);
    return t;
}

/* States: 0 text, 1 after ESC, 2 in a sequence that ends with a letter. */
static void show(struct terminal *t, char c)
{
    if (t->escape == 1)
        t->escape = c == '[' ? 2 : 0;
    else if (t->escape == 2)
        t->escape = c >= '@' && c <= '~' ? 0 : 2;
    else if (c == 27)
        t->escape = 1;
    else if (c != '\r')
        t->text[t->bytes++] = c;
}

static int read_some(struct terminal *t, int milliseconds)
{
    struct pollfd p = {.fd = t->fd, .events = POLLIN};
    char part[4096];
    ssize_t n;

    if (poll(&p, 1, milliseconds) <= 0) return 0;
    n = read(t->fd, part, sizeof part);
    if (n <= 0) return -1; /* EIO: nobody has the terminal any more */
    t->text = realloc(t->text, t->bytes + (size_t)n + 1);
    t->raw = realloc(t->raw, t->raw_bytes + (size_t)n + 1);
    assert_true(t->text && t->raw);
    for (ssize_t i = 0; i < n; i++) show(t, part[i]);
    t->text[t->bytes] = 0;
    memcpy(t->raw + t->raw_bytes, part, (size_t)n);
    t->raw_bytes += (size_t)n;
    t->raw[t->raw_bytes] = 0;
    return 1;
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void terminal_type(struct terminal *t, const char *keys)
{
    size_t n = strlen(keys);

    while (n) {
        ssize_t w = write(t->fd, keys, n);

        if (w < 0 && errno == EINTR) continue;
        assert_true(w > 0);
        keys += w;
        n -= (size_t)w;
    }
}

void terminal_wait(struct terminal *t, const char *text)
{
    int64_t end = now_ms() + SECONDS * 1000;
    const char *at;
    int rc = 1;

    while (!(at = strstr(t->text + t->seen, text)) && rc >= 0 && now_ms() < end) rc = read_some(t, 100);
    if (!at) {
        kill(t->pid, SIGKILL);
        fail_msg("'%s' was not shown; shown was:\n%s", text, t->text + t->seen);
    }
    t->seen = (size_t)(at - t->text) + strlen(text);
}

const char *terminal_peek(struct terminal *t, int milliseconds)
{
    int64_t end = now_ms() + milliseconds;

    while (now_ms() < end && read_some(t, 20) >= 0) {
    }
    return t->text + t->seen;
}

int terminal_end(struct terminal *t)
{
    int64_t end = now_ms() + SECONDS * 1000;
    int status = 0;

    while (now_ms() < end && read_some(t, 100) >= 0) {
    }
    if (now_ms() >= end) {
        kill(t->pid, SIGKILL);
        print_message("did not end; shown was:\n%s\n", t->text);
    }
    while (waitpid(t->pid, &status, 0) < 0 && errno == EINTR) {
    }
    close(t->fd);
    free(t->text);
    free(t->raw);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static pid_t find_child(const struct terminal *t, const char *name)
{
    char path[64], comm[64];
    pid_t found = 0;
    int pid;
    FILE *f, *g;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", t->pid, t->pid);
    f = fopen(path, "r");
    while (f && !found && fscanf(f, "%d", &pid) == 1) {
        snprintf(path, sizeof path, "/proc/%d/comm", pid);
        g = fopen(path, "r");
        if (g && fgets(comm, sizeof comm, g) && !strncmp(comm, name, strlen(name))) found = pid;
        if (g) fclose(g);
    }
    if (f) fclose(f);
    return found;
}

pid_t terminal_child(const struct terminal *t, const char *name)
{
    int64_t end = now_ms() + SECONDS * 1000;
    pid_t found;

    while (!(found = find_child(t, name)) && now_ms() < end) usleep(10000);
    return found;
}
