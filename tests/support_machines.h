/* Runs over several machines that are all this one. */
#pragma once
#include <sys/types.h>

/* NULL: they are possible; else why not, and a test that needs one skips. Lets Open MPI run as root, for the test's programs. */
const char *machines_refused(void);
/* A process of this name below root, waiting for it; arg: one that stands among its arguments, or NULL. 0: none came. */
pid_t machines_process(pid_t root, const char *name, const char *arg);
/* Processes below root, at most n. */
int machines_below(pid_t root, pid_t *pid, int n);
