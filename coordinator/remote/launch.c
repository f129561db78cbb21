#include "coordinator/remote/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

#define TOLD_MS   3000 /* from SIGTERM on: it tells its ranks first */
#define KILLED_MS 2000
#define ARGUMENTS 10u /* of each rank, at most */

struct kind {
    const char *name; /* as sluice-link --about says it */
    const char *program[4];
    const char *package;
    const char *before[20]; /* arguments for all ranks */
    const char *host;       /* before each rank's; NULL: it takes one list of all, a place a rank */
};

/* Nothing binds: on a machine of few processors the threads of all stages would get one. Nothing in shared memory: a job that
 * is killed leaves no names, and ranks that share a machine are for trying out. Sockets are looked at in every call: sluice-link
 * makes few, and never waits in one. ssh asks nobody, and gives up on a machine that does not answer. */
static const struct kind kinds[] = {
    {.name = "openmpi",
     .program = {"mpirun.openmpi", "mpirun"},
     .package = "openmpi-bin",
     .before = {"--bind-to", "none", "--oversubscribe", "--mca", "btl", "^vader,sm", "--mca", "mpi_event_tick_rate",
                "1", "--mca", "mpi_yield_when_idle", "0", "--mca", "plm_rsh_args",
                "-o BatchMode=yes -o ConnectTimeout=10"},
     .host = "--host"},
    {.name = "mpich",
     .program = {"mpiexec.hydra", "mpiexec.mpich", "mpiexec"},
     .package = "mpich",
     .before = {"-bind-to", "none"}},
};

/* ---- what is there ---- */

static int find_link(char *path, size_t room, struct error *e)
{
    struct error why;

    if (!child_path(path, room, "sluice-link", &why)) return 0;
    return error_set(
        e, ENOENT,
        "--hosts: sluice-link, which goes over MPI, is not there: install libopenmpi-dev and openmpi-bin (or "
        "mpich) on each machine and build with make MPI=1");
}

static int find_kind(const struct kind **kind, const char *link, struct error *e)
{
    char command[2 * PATH_MAX + 32], name[32] = "";
    FILE *f;

    for (const char *at = link; *at; at++)
        if (*at == '\'') return error_set(e, EINVAL, "%s: a quote in the place of sluice-link", link);
    snprintf(command, sizeof command, "'%s' --about", link);
    f = popen(command, "re");
    if (!f || !fgets(name, sizeof name, f)) name[0] = 0;
    if (f) pclose(f);
    name[strcspn(name, "\n")] = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].name, name)) {
            *kind = &kinds[i];
            return 0;
        }
    return error_set(e, ENOENT,
                     "--hosts: %s does not run: are the libraries of the MPI that it was built with installed "
                     "(openmpi-bin or mpich)?",
                     link);
}

static bool in_path(char *path, size_t room, const char *name)
{
    const char *at = getenv("PATH");

    while (at && *at) {
        size_t n = strcspn(at, ":");

        snprintf(path, room, "%.*s/%s", (int)n, at, name);
        if (n && !access(path, X_OK)) return true;
        at += n + (at[n] == ':');
    }
    return false;
}

static int find_program(char *path, size_t room, const struct kind *k, struct error *e)
{
    for (size_t i = 0; i < sizeof k->program / sizeof *k->program && k->program[i]; i++)
        if (in_path(path, room, k->program[i])) return 0;
    return error_set(e, ENOENT, "--hosts: there is no mpirun of %s here: install %s", k->name, k->package);
}

static int find_all(char *link, char *program, size_t room, const struct kind **k, struct error *e)
{
    int rc = find_link(link, room, e);

    if (rc || (rc = find_kind(k, link, e)) || (rc = find_program(program, room, *k, e))) return rc;
    if (geteuid() || strcmp((*k)->name, "openmpi") ||
        (getenv("OMPI_ALLOW_RUN_AS_ROOT") && getenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")))
        return 0;
    return error_set(e, EPERM,
                     "--hosts: Open MPI does not run as root: run sluice as another user, or set "
                     "OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1");
}

int launch_possible(struct error *e)
{
    char link[2 * PATH_MAX], program[2 * PATH_MAX];
    const struct kind *k;

    return find_all(link, program, sizeof link, &k, e);
}

/* ---- starting ---- */

/* "a:1,b:1" */
static char *list_of(const char *const *host, uint32_t ranks)
{
    size_t room = 1, n = 0;
    char *list;

    for (uint32_t r = 0; r < ranks; r++) room += strlen(host[r]) + 3;
    list = malloc(room);
    if (!list) return NULL;
    for (uint32_t r = 0; r < ranks; r++) n += (size_t)snprintf(list + n, room - n, "%s%s:1", r ? "," : "", host[r]);
    return list;
}

static char **arguments(const struct kind *k, const char *program, const char *link, const char *name,
                        const char *const *host, const char *list, uint32_t ranks, const char *level,
                        const char *number)
{
    char **argv = calloc(sizeof k->before / sizeof *k->before + (size_t)ranks * ARGUMENTS + 4, sizeof *argv);
    size_t n = 0;

    if (!argv) return NULL;
    argv[n++] = (char *)program;
    for (size_t i = 0; i < sizeof k->before / sizeof *k->before && k->before[i]; i++) argv[n++] = (char *)k->before[i];
    if (!k->host) argv[n++] = (char *)"-hosts", argv[n++] = (char *)list;
    for (uint32_t r = 0; r < ranks; r++) {
        if (r) argv[n++] = (char *)":";
        argv[n++] = (char *)"-n";
        argv[n++] = (char *)"1";
        if (k->host) argv[n++] = (char *)k->host, argv[n++] = (char *)host[r];
        argv[n++] = (char *)link;
        argv[n++] = (char *)(r ? "--node" : "--coordinator");
        argv[n++] = (char *)(r ? level : name);
        argv[n++] = (char *)number;
    }
    return argv;
}

/* Between fork and exec: nothing that takes a lock. Ctrl-C is the coordinator's. With the coordinator ends sluice-link of rank 0, and
 * with that the job: a parent-death signal would come once for each thread, and mpirun cleans up only after a single one. */
static void become(char **argv, int words)
{
    int null = open("/dev/null", O_RDONLY);
    sigset_t none;

    setpgid(0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_IGN); /* it cleans up even where nobody listens any more */
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(words, STDOUT_FILENO) < 0 || dup2(words, STDERR_FILENO) < 0)
        _exit(127);
    execv(argv[0], argv);
    _exit(127);
}

static int start(struct launch *l, char **argv, struct error *e)
{
    pid_t pid;
    int fd[2];

    if (pipe2(fd, O_CLOEXEC)) return error_set(e, errno, "no pipe: %s", error_name(errno));
    pid = fork();
    if (!pid) become(argv, fd[1]);
    close(fd[1]);
    if (pid < 0) {
        int code = errno;

        close(fd[0]);
        return error_set(e, code, "cannot start %s: %s", argv[0], error_name(code));
    }
    fcntl(fd[0], F_SETFL, O_NONBLOCK);
    l->words = fd[0];
    l->child = (struct child){.pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0)};
    return 0;
}

int launch_start(struct launch *l, const char *name, const char *const *host, uint32_t ranks, int log_level,
                 struct error *e)
{
    char link[2 * PATH_MAX], program[2 * PATH_MAX], level[12], number[12], *list, **argv;
    const struct kind *k;
    int rc;

    *l = (struct launch)LAUNCH_NONE;
    l->rank = -1;
    if ((rc = find_all(link, program, sizeof link, &k, e))) return rc;
    snprintf(level, sizeof level, "%d", log_level);
    snprintf(number, sizeof number, "%u", ranks);
    list = list_of(host, ranks);
    argv = list ? arguments(k, program, link, name, host, list, ranks, level, number) : NULL;
    rc = argv ? start(l, argv, e) : error_set(e, ENOMEM, "out of memory");
    free(argv);
    free(list);
    return rc;
}

/* ---- what it says ---- */

/* How much a line tells of what went wrong: our own words most, then what became of a rank, then anything. */
static int worth(const char *line)
{
    if (!strncmp(line, "sluice-", 7)) return 4;
    if (strstr(line, "exited on signal") || strstr(line, "KILLED BY SIGNAL") || strstr(line, "EXIT CODE")) return 3;
    if (strstr(line, "could not") || strstr(line, "ot found") || strstr(line, "denied") || strstr(line, "nable to") ||
        strstr(line, "refused") || strstr(line, "ssh:"))
        return 2;
    return *line && *line != '-' && *line != '=' && *line != '*';
}

static void take_line(struct launch *l, char *line)
{
    const char *at;

    while (*line == ' ') line++;
    if (!strncmp(line, "sluice-", 7))
        log_warn("%s", line);
    else
        log_debug("mpirun: %s", line);
    if (worth(line) <= worth(l->best)) return;
    snprintf(l->best, sizeof l->best, "%.500s", line);
    at = strstr(line, "rank ");
    l->rank = at ? atoi(at + 5) : -1;
}

void launch_listen(struct launch *l)
{
    ssize_t n;
    char *end;

    if (l->words < 0) return;
    while ((n = read(l->words, l->text + l->bytes, sizeof l->text - 1 - l->bytes)) > 0) {
        char *from = l->text;

        l->bytes += (size_t)n;
        l->text[l->bytes] = 0;
        while ((end = strchr(from, '\n'))) {
            *end = 0;
            take_line(l, from);
            from = end + 1;
        }
        l->bytes -= (size_t)(from - l->text);
        memmove(l->text, from, l->bytes);
        if (l->bytes == sizeof l->text - 1) l->bytes = 0; /* no line of ours is so long */
    }
}

const char *launch_words(struct launch *l)
{
    launch_listen(l);
    return l->best;
}

/* ---- its end ---- */

static bool ended_within(struct launch *l, int ms)
{
    uint64_t end = clock_ns() + (uint64_t)ms * 1000000u;

    while (!child_poll(&l->child) && clock_ns() < end) {
        launch_listen(l); /* a full pipe would keep it from ending */
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return l->child.ended;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

/* Open MPI keeps a folder for each job, which a mpirun that was killed has left. */
static void remove_session(pid_t pid)
{
    const char *tmp = getenv("TMPDIR");
    char pattern[PATH_MAX];
    glob_t found;

    snprintf(pattern, sizeof pattern, "%.3000s/ompi.*.%ld/pid.%ld", tmp && *tmp ? tmp : "/tmp", (long)geteuid(),
             (long)pid);
    if (glob(pattern, GLOB_NOSORT, NULL, &found)) return;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        nftw(found.gl_pathv[i], remove_one, 16, FTW_DEPTH | FTW_PHYS);
        *strrchr(found.gl_pathv[i], '/') = 0;
        rmdir(found.gl_pathv[i]); /* where no other job has one in it */
    }
    globfree(&found);
}

void launch_end(struct launch *l, int patience_ms)
{
    bool started = l->child.pid > 0;

    if (!l->child.ended && !ended_within(l, patience_ms)) {
        child_kill(&l->child, SIGTERM);
        child_kill(&l->child, SIGCONT);
        if (!ended_within(l, TOLD_MS)) {
            kill(-l->child.pid, SIGKILL);
            child_wait(&l->child, 0, KILLED_MS);
        }
    }
    if (started && (l->child.killed || child_crashed(&l->child))) remove_session(l->child.pid);
    launch_listen(l);
    if (l->words >= 0) close(l->words);
    l->words = -1;
}
