#include "tests/support_process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
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
#include <setjmp.h>
#include <cmocka.h>

#define ARGS_MAX 64

const char *process_build(void)
{
    static char folder[PATH_MAX];
    const char *given = getenv("SLUICE_BUILD");
    ssize_t n;
    char *slash;

    if (given) return given;
    n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    assert_true(n > 0);
    folder[n] = 0;
    for (int i = 0; i < 2; i++) {
        slash = strrchr(folder, '/');
        assert_non_null(slash);
        *slash = 0;
    }
    return folder;
}

static void child(char *const *argv, const int *in, const int *out, const int *err)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(in[0], 0) >= 0 && dup2(out[1], 1) >= 0 && dup2(err[1], 2) >= 0) execv(argv[0], argv);
    _exit(127);
}

struct process process_start(const char *program, const char *const *arg)
{
    char path[PATH_MAX];
    char *argv[ARGS_MAX + 2] = {path};
    struct process p;
    int in[2], out[2], err[2], n = 1;

    snprintf(path, sizeof path, "%s%s%s", *program == '/' ? "" : process_build(), *program == '/' ? "" : "/", program);
    for (; *arg; arg++) {
        assert_true(n < ARGS_MAX);
        argv[n++] = (char *)*arg;
    }
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
    fflush(NULL);
    p.pid = fork();
    assert_true(p.pid >= 0);
    if (!p.pid) child(argv, in, out, err);
    setpgid(p.pid, p.pid); /* by both, since either may be first */
    close(in[0]);
    close(out[1]);
    close(err[1]);
    p.in = in[1];
    p.out = out[0];
    p.err = err[0];
    return p;
}

/* Reads what there is; closes *fd at its end. */
static void gather(int *fd, char **text, size_t *bytes)
{
    char *grown = realloc(*text, *bytes + 65536 + 1);
    ssize_t n;

    assert_non_null(grown);
    *text = grown;
    n = read(*fd, grown + *bytes, 65536);
    if (n > 0) *bytes += (size_t)n;
    grown[*bytes] = 0;
    if (n > 0 || (n < 0 && errno == EINTR)) return;
    close(*fd);
    *fd = -1;
}

/* Writes on; closes *fd when all is written or nobody reads. */
static void feed(int *fd, const char **text, size_t *bytes)
{
    ssize_t n = *bytes ? write(*fd, *text, *bytes) : 0;

    if (n > 0) {
        *text += n;
        *bytes -= (size_t)n;
    }
    if (*bytes && (n > 0 || errno == EINTR || errno == EAGAIN)) return;
    close(*fd);
    *fd = -1;
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct process_result process_finish(struct process *p, const char *text, size_t bytes, int seconds)
{
    struct process_result r = {0};
    int64_t end = now_ms() + (int64_t)seconds * 1000, left;
    void (*had)(int) = signal(SIGPIPE, SIG_IGN);
    int status = 0;

    fcntl(p->in, F_SETFL, O_NONBLOCK);
    while (p->in >= 0 || p->out >= 0 || p->err >= 0) {
        struct pollfd f[3] = {{p->in, POLLOUT, 0}, {p->out, POLLIN, 0}, {p->err, POLLIN, 0}};
        left = end - now_ms();
        if (left <= 0 || (poll(f, 3, (int)left) < 0 && errno != EINTR)) {
            kill(-p->pid, SIGKILL);
            end = INT64_MAX / 2; /* its outputs end now */
            continue;
        }
        if (f[0].revents) feed(&p->in, &text, &bytes);
        if (f[1].revents) gather(&p->out, &r.out, &r.out_bytes);
        if (f[2].revents) gather(&p->err, &r.err, &r.err_bytes);
    }
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR) {
    }
    signal(SIGPIPE, had);
    r.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return r;
}

struct process_result process_run(const char *program, const char *const *arg, const char *text, size_t bytes,
                                  int seconds)
{
    struct process p = process_start(program, arg);

    return process_finish(&p, text, bytes, seconds);
}

void process_result_free(struct process_result *r)
{
    free(r->out);
    free(r->err);
    *r = (struct process_result){0};
}
