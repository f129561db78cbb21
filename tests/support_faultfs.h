/* A real file system that fails: the files of a folder, read-only, served by a process of its own over /dev/fuse. What
 * --fault only pretends comes from the kernel here, a read that nobody can kill among it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "tests/support_temporary.h"

enum faultfs_mode {
    FAULTFS_NONE,
    FAULTFS_EIO,  /* reads that cover `at` fail, `times` times */
    FAULTFS_HANG, /* reads that cover `at` are never answered */
    FAULTFS_SHORT /* a read brings `at` bytes at most */
};

struct faultfs_control { /* shared with the server */
    _Atomic uint32_t mode;
    _Atomic uint64_t at, times;
    _Atomic uint64_t met; /* faults so far */
};

struct faultfs {
    struct faultfs_control *control;
    char path[TEMPORARY_BYTES]; /* where it is mounted */
    pid_t server;
    const char *why; /* it cannot be mounted */
};

/* Mounts it, seen by this process and its children alone. false where the system does not allow that (f->why). Call it
 * while there are no threads. */
bool faultfs_mount(struct faultfs *f, const char *source);
void faultfs_set(struct faultfs *f, enum faultfs_mode mode, uint64_t at, uint64_t times);
void faultfs_kill(struct faultfs *f); /* the server: every read fails from now on, those that hang too */
void faultfs_unmount(struct faultfs *f);
