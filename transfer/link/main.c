/* sluice-link: the only program that links MPI. Started by mpirun, one on each machine:
 *
 *   sluice-link --coordinator NAME RANKS    rank 0: beside the coordinator, which listens at an abstract socket of this name
 *   sluice-link --node LEVEL RANKS          others: starts sluice-node beside itself
 *   sluice-link --about                     which MPI it was built with: "openmpi" or "mpich"
 *
 * It ends with mpirun, and what it has started ends with it. */
#include <errno.h>
#include <limits.h>
#include <mpi.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "transfer/link/carry.h"

#ifdef OPEN_MPI
#define BUILT_WITH "openmpi"
#else
#define BUILT_WITH "mpich"
#endif

/* Nobody else of this machine may listen there in the coordinator's place. */
static int connect_to(int *fd, const char *name, struct error *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    struct ucred who;
    socklen_t bytes = sizeof who;

    if (!n || n >= sizeof a.sun_path - 1) return error_set(e, EINVAL, "\"%s\" is no name of a coordinator", name);
    memcpy(a.sun_path + 1, name, n);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0 || connect(*fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)))
        return error_set(
            e, errno,
            "the coordinator is not here (%s): the first of --hosts must be the machine that sluice is started on",
            error_name(errno));
    if (getsockopt(*fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes) || who.uid != geteuid())
        return error_set(e, EPERM, "another user listens in the coordinator's place");
    return 0;
}

static void exec_node(int fd, char *level, pid_t parent)
{
    char path[PATH_MAX + 16], number[12];
    char *argv[] = {(char *)"sluice-node", (char *)"--beside", number, (char *)"--log", level, NULL};
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || n <= 0) _exit(127);
    path[n] = 0;
    strcpy(strrchr(path, '/') + 1, "sluice-node");
    snprintf(number, sizeof number, "%d", fd);
    execv(path, argv);
    log_warn("cannot start %s: %s", path, error_name(errno));
    _exit(127);
}

/* Before MPI is: nothing may be forked after that. */
static int start_node(int *fd, char *level, struct error *e)
{
    int pair[2];
    pid_t self = getpid(), child;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return error_set(e, errno, "no socket: %s", error_name(errno));
    child = fork();
    if (child < 0) return error_set(e, errno, "cannot start sluice-node: %s", error_name(errno));
    if (!child) {
        close(pair[0]);
        exec_node(pair[1], level, self);
    }
    close(pair[1]);
    *fd = pair[0];
    return 0;
}

static int check_ranks(const char *expected, struct error *e)
{
    int ranks;

    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (ranks == atoi(expected)) return 0;
    return error_set(e, EPROTO,
                     "this is one of %d ranks, and %s were started: mpirun is of another MPI than " BUILT_WITH
                     ", which sluice was built with",
                     ranks, expected);
}

static int serve(int argc, char **argv, struct error *e)
{
    struct frames beside;
    bool node = !strcmp(argv[1], "--node");
    int fd = -1, rc = node ? start_node(&fd, argv[2], e) : connect_to(&fd, argv[2], e);

    if (rc || (rc = frames_open(&beside, fd, e))) return rc;
    MPI_Init(&argc, &argv);
    rc = check_ranks(argv[3], e);
    if (!rc) rc = carry_meet(e);
    if (!rc) rc = carry(&beside, e);
    if (rc) return rc;
    frames_close(&beside);
    MPI_Finalize();
    return 0;
}

int main(int argc, char **argv)
{
    struct error e = {0};
    pid_t parent = getppid();

    if (argc == 2 && !strcmp(argv[1], "--about")) {
        puts(BUILT_WITH);
        return 0;
    }
    log_setup("sluice-link", LOG_WARN);
    if (argc != 4 || (strcmp(argv[1], "--node") && strcmp(argv[1], "--coordinator"))) {
        log_warn("this program is started by sluice MODEL --hosts a,b,c");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) return 1;
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (!serve(argc, argv, &e)) return 0;
    log_warn("%s", e.text);
    _exit(1); /* mpirun ends the others; MPI_Finalize would wait for them */
}
