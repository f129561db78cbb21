/* The machines that a model is dealt over: a list of names, or a file that knows more of them.
 *
 *   a,b,c    each as fast as this machine; a name may stand several times
 *   @FILE    one machine a line, "NAME [disk=2G] [memory=12G] [compute=34G] [share=X] [model=PATH]"; # begins a comment
 *
 * disk: bytes per second that it reads; memory: bytes that a run may use there; compute: bytes of weights per second
 * that it computes with for one token; share: its part of the layers, by weight, in place of what the speeds say:
 * either all machines have one or none has; model: where the model lies there, if not in the same place as here.
 *
 * The first one is the machine that the command was given on. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"

#define HOSTS_MOST 64u
#define HOST_NAME  256u

struct host {
    char name[HOST_NAME];
    double disk, compute; /* bytes per second; 0: as this machine */
    uint64_t memory;      /* 0: as this machine */
    double share;         /* 0: by the speeds */
    char *model;          /* NULL: in the same place as here */
};

struct hosts {
    struct host *host;
    uint32_t count;
    bool shares; /* all of them have one */
};

/* given: what --hosts was given. -EINVAL and the like name the place and what would be right. hosts_close(h) in
 * every case. */
int hosts_open(struct hosts *h, const char *given, struct error *e);
void hosts_close(struct hosts *h);
