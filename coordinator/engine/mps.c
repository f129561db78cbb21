#include "coordinator/engine/mps.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM  "nvidia-cuda-mps-control"
#define PIPES    "CUDA_MPS_PIPE_DIRECTORY"
#define LOGS     "CUDA_MPS_LOG_DIRECTORY"
#define START_MS 3000
#define QUIT_MS  3000
#define STEP_MS  20

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
}

/* Looked up as execvp() would, so that one that is missing is told from one that fails. */
bool mps_available(void)
{
    const char *path = getenv("PATH"), *end;
    char file[PATH_MAX];

    for (; path && *path; path = *end ? end + 1 : end) {
        end = strchrnul(path, ':');
        if (snprintf(file, sizeof file, "%.*s/%s", (int)(end - path), path, PROGRAM) < (int)sizeof file &&
            !access(file, X_OK))
            return true;
    }
    return false;
}

static void path_in(const struct mps *m, const char *name, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/%s", m->folder, name);
}

static int make_folders(struct mps *m, struct error *e)
{
    const char *base = getenv("TMPDIR");
    char path[PATH_MAX];

    /* Kept short: the daemon makes sockets in there, whose names are limited to about 100 characters. */
    if (!base || strlen(base) > 32) base = "/tmp";
    snprintf(m->folder, sizeof m->folder, "%s/sluice-mps-XXXXXX", base);
    if (!mkdtemp(m->folder)) {
        int code = errno;

        m->folder[0] = 0;
        return error_set(e, code, "no folder for MPS under %s: %s", base, error_name(code));
    }
    for (int i = 0; i < 2; i++) {
        path_in(m, i ? "log" : "pipe", path);
        if (mkdir(path, 0700)) return error_set(e, errno, "%s: %s", path, error_name(errno));
        if (setenv(i ? LOGS : PIPES, path, 1)) return error_set(e, errno, "no memory for the environment");
    }
    return 0;
}

static void remove_folder(const char *path)
{
    char file[PATH_MAX];
    DIR *d = opendir(path);
    struct dirent *x;

    while (d && (x = readdir(d)))
        if (strcmp(x->d_name, ".") && strcmp(x->d_name, "..") &&
            snprintf(file, sizeof file, "%s/%s", path, x->d_name) < (int)sizeof file)
            unlink(file);
    if (d) closedir(d);
    rmdir(path);
}

/* Starts the program with input as its standard input (NULL: none) and its output thrown away; in a session of its own, so
 * that what a terminal sends goes to sluice alone. Who outlives it is ended by the guard. */
static pid_t start(const char *option, const char *input)
{
    int pipe_fd[2] = {-1, -1}, null;
    pid_t child;

    if (input && pipe2(pipe_fd, O_CLOEXEC)) return -1;
    child = fork();
    if (!child) {
        setsid();
        null = open("/dev/null", O_RDWR);
        dup2(input ? pipe_fd[0] : null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execlp(PROGRAM, PROGRAM, option, (char *)NULL);
        _exit(127);
    }
    if (input) {
        ssize_t written = child > 0 ? write(pipe_fd[1], input, strlen(input)) : 0;

        (void)written; /* less than a pipe holds; a child that died is found by waiting for it */
        close(pipe_fd[0]);
        close(pipe_fd[1]);
    }
    return child;
}

/* Waits for the end of its input, then does what mps_stop() would have done; a shell, so that nothing of this process runs
 * on in it. $1: the daemon, $2: the folder. */
static const char guard_script[] =
    "trap '' INT TERM HUP QUIT; cat; echo quit | timeout 3 " PROGRAM "\n"
    "n=0; while kill -0 $1 2>/dev/null && [ $n -lt 30 ]; do sleep 0.1; n=$((n + 1)); done\n"
    "kill -KILL $1 2>/dev/null; rm -rf \"$2\"";

static int start_guard(struct mps *m)
{
    int ends[2], null;
    char pid[16];

    if (pipe2(ends, O_CLOEXEC)) return -errno;
    snprintf(pid, sizeof pid, "%ld", (long)m->control);
    m->guard = fork();
    if (!m->guard) {
        setsid();
        null = open("/dev/null", O_RDWR);
        dup2(ends[0], 0);
        dup2(null, 1);
        dup2(null, 2);
        execl("/bin/sh", "sh", "-c", guard_script, "sluice-mps-guard", pid, m->folder, (char *)NULL);
        _exit(127);
    }
    close(ends[0]);
    m->alive = ends[1];
    return m->guard < 0 ? -EAGAIN : 0;
}

static void stop_guard(struct mps *m)
{
    if (m->guard > 0) {
        kill(-m->guard, SIGKILL); /* and what it runs */
        kill(m->guard, SIGKILL);  /* where it has not come to its session yet */
        waitpid(m->guard, NULL, 0);
    }
    if (m->alive >= 0) close(m->alive);
}

/* Waits at most ms for the child's end. */
static bool ended(pid_t child, int ms)
{
    for (;; ms -= STEP_MS) {
        pid_t x = waitpid(child, NULL, WNOHANG);

        if (x == child || (x < 0 && errno == ECHILD)) return true;
        if (ms <= 0) return false;
        nap();
    }
}

int mps_start(struct mps *m, struct error *e)
{
    char ready[PATH_MAX];
    int rc;

    *m = (struct mps){.alive = -1};
    if (!mps_available())
        return error_set(e, ENOENT,
                         "%s is not installed: copies and kernels of two processes may take turns on the device",
                         PROGRAM);
    if ((rc = make_folders(m, e))) return rc;
    m->control = start("-f", NULL); /* in the foreground: it stays our child, and goes when we go */
    if (m->control < 0) {
        rc = errno;
        m->control = 0;
        return error_set(e, rc, "%s: %s", PROGRAM, error_name(rc));
    }
    if ((rc = start_guard(m))) return error_set(e, -rc, "no guard for %s: %s", PROGRAM, error_name(-rc));
    path_in(m, "pipe/control", ready);
    for (int ms = 0; ms < START_MS; ms += STEP_MS) {
        if (!access(ready, F_OK)) return 0;
        if (ended(m->control, 0)) {
            m->control = 0;
            return error_set(e, EIO, "%s ended at once; see nvidia-smi, and whether another user's MPS runs", PROGRAM);
        }
        nap();
    }
    return error_set(e, ETIMEDOUT, "%s did not come up in %d ms", PROGRAM, START_MS);
}

void mps_stop(struct mps *m)
{
    char path[PATH_MAX];
    pid_t quit;

    if (!m->folder[0]) return; /* also one that was never started */
    stop_guard(m);
    if (m->control > 0) {
        quit = start(NULL, "quit\n");
        if (quit > 0 && !ended(quit, QUIT_MS)) {
            kill(quit, SIGKILL);
            waitpid(quit, NULL, 0);
        }
        if (!ended(m->control, QUIT_MS)) {
            kill(m->control, SIGTERM);
            if (!ended(m->control, QUIT_MS)) {
                kill(m->control, SIGKILL);
                waitpid(m->control, NULL, 0);
            }
        }
    }
    unsetenv(PIPES);
    unsetenv(LOGS);
    path_in(m, "pipe", path);
    remove_folder(path);
    path_in(m, "log", path);
    remove_folder(path);
    rmdir(m->folder);
    *m = (struct mps){.alive = -1};
}
