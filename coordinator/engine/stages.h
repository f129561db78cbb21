/* The stages' processes: found, started, watched, ended. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "proto/base/error.h"
#include "proto/epoch.h"

#define STAGE_FDS 6

struct child {
    pid_t pid;
    int pidfd;
    bool ended;
    int status; /* of waitpid, when ended; -1: unknown */
    uint64_t cpu_ns;
    bool killed;         /* by us */
    uint64_t stopped_ns; /* since when it is stopped (SIGSTOP and the like); 0: it runs */
    uint64_t oom_kills;  /* of the whole machine, when it was started */
};

struct child_config {
    enum stage_id stage;
    bool cuda;
    const char *address; /* of the control socket */
    int log_level;
    int fd[STAGE_FDS]; /* to be inherited, -1 for none */
    int err;           /* their standard error; -1: ours */
    int fd0;           /* their numbers in the stage: fd0, fd0 + 1, ...; above every fd[i] */
    const char *fault; /* faults to inject, NULL: none (reader/engine_faults.h) */
};

/* The path of an executable of this build: beside this one, or in ../libexec/sluice, and nowhere else. */
int child_path(char *path, size_t room, const char *name, struct error *e);
/* The executable is looked for beside this one, then in ../libexec/sluice. */
int child_start(struct child *c, const struct child_config *config, struct error *e);
/* The executable that child_start() would take; else -ENOENT and where it belongs. path: 2 * PATH_MAX bytes do. */
int child_find(char *path, size_t room, enum stage_id stage, bool cuda, struct error *e);
/* Is that process the child, or one that it has started (a wrapper's)? One that is no more cannot be told from a stranger. */
bool child_is(const struct child *c, pid_t pid);
bool child_poll(struct child *c);             /* has it ended? Notes also whether it is stopped. */
uint64_t child_cpu_ns(const struct child *c); /* processor time so far */
void child_kill(struct child *c, int signal);
/* Waits, then SIGKILL, then waits for that. One that even so does not end (the kernel holds it in a read that hangs) is
 * left behind: it ends with that read. */
void child_wait(struct child *c, int timeout_ms, int killed_ms);
/* "killed by signal 9 (Killed)", with a guess and a remedy where the system was short of memory */
void child_describe(const struct child *c, char *text, size_t room);
bool child_crashed(const struct child *c); /* by a signal that was not ours */
