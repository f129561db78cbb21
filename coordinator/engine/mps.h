/* A private MPS daemon for one run of the cuda backend.
 *
 * Without MPS the driver gives the device to one process at a time, so transfer's copies and compute's kernels may take
 * turns; under MPS both share one context and overlap (CUDA Multi-Process Service, NVIDIA). The daemon of this run has its
 * own pipe and log folders under a private temporary one, so a daemon of the machine's is neither used nor disturbed.
 *
 *   mps_start()   before the stages are started: they inherit CUDA_MPS_PIPE_DIRECTORY from this process's environment
 *   mps_stop()    after they ended
 *
 * A guard beside it, in a session of its own, holds the end of a pipe: when this process is gone without mps_stop() (kill -9),
 * it asks the daemon to quit, which ends its server too, and removes the folders. */
#pragma once
#include <stdbool.h>
#include <sys/types.h>
#include "proto/base/error.h"

struct mps {
    pid_t control, guard; /* 0: not running */
    int alive;            /* the guard's pipe, held open while this process lives; -1: none */
    char folder[64];
};

bool mps_available(void); /* is nvidia-cuda-mps-control on the PATH? */

/* 0; -ENOENT where the program is not installed; else -errno and why it did not come up. Changes the environment, so call
 * it before there are threads. m is filled either way and may be stopped. */
int mps_start(struct mps *m, struct error *e);
/* Ends the daemon, removes its folders, restores the environment. Harmless when it does not run. */
void mps_stop(struct mps *m);
