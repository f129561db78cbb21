/* The stages' processes: found, started, watched, ended. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "proto/error.h"
#include "proto/run.h"

/* Descriptors a stage inherits get these numbers in it, in the order of SETUP. */
#define STAGE_FD0 200
#define STAGE_FDS 5

struct child {
    pid_t pid;
    int pidfd;
    bool ended;
    int status; /* of waitpid, when ended */
    uint64_t cpu_ns;
};

/* fds: STAGE_FDS descriptors, -1 for none. The executable is looked for beside this one, then in ../libexec/sluice. */
int child_start(struct child *c, enum run_stage stage, bool cuda, const char *address, int log_level, const int *fds, struct error *e);
/* 0 where child_start() would find its executable; else -ENOENT and where it belongs. */
int child_find(enum run_stage stage, bool cuda, struct error *e);
bool child_poll(struct child *c);                 /* has it ended? */
void child_kill(struct child *c, int signal);
void child_wait(struct child *c, int timeout_ms); /* then SIGKILL, and waits for that */
void child_describe(const struct child *c, char *text, size_t room); /* "killed by signal 9 (Killed)" */
bool child_crashed(const struct child *c);        /* by a signal */
