/* mpirun: found, started with one sluice-link on each machine, listened to, ended. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/engine/stages.h"
#include "proto/base/error.h"

#define LAUNCH_WORDS 4096u

struct launch {
    struct child child;
    int words; /* its standard error and output; -1: none */
    char text[LAUNCH_WORDS];
    size_t bytes;
    char best[512]; /* of the lines that it has said, the one that tells most */
    int rank;       /* of the best line */
};

#define LAUNCH_NONE                                                                                                    \
    {                                                                                                                  \
        .child = {.pidfd = -1, .ended = true}, .words = -1                                                             \
    }

/* Could machines be run on at all? 0; -ENOENT: sluice-link was not built, or mpirun is missing, and what to install; -EPERM. */
int launch_possible(struct error *e);
/* name: of the socket that rank 0 is to connect to. host: of each rank. */
int launch_start(struct launch *l, const char *name, const char *const *host, uint32_t ranks, int log_level,
                 struct error *e);
/* Takes what it has said. Lines of sluice's own programs are logged, others kept for launch_words(). */
void launch_listen(struct launch *l);
/* The most telling of what it said, "" where that is nothing; call it once it has ended. */
const char *launch_words(struct launch *l);
/* patience_ms: how long it may take to end by itself; then it is told to, then killed. Nothing of it is left on this machine. */
void launch_end(struct launch *l, int patience_ms);
