/* Shared by remote.c and plan.c; nobody else includes it. */
#pragma once
#include "coordinator/remote/remote.h"

#include "coordinator/remote/launch.h"
#include "proto/frames.h"

struct peer {
    bool said_hello, ready, compared;
    uint64_t heard_ns;
    struct frame_pulse pulse;
};

struct remote {
    struct remote_config config; /* its arrays are copies of our own */
    struct plan_settings settings;
    struct engine_peers engine;
    char folder[4096];   /* absolute, in which the model lies here */
    uint64_t read_bytes; /* of epochs that have ended */
    /* of the epoch */
    struct launch launch;
    struct frames frames; /* to sluice-link of rank 0; fd -1: it has not come yet */
    int listener;
    int run_fd, link_fd; /* the engine's */
    uint64_t epoch, begun_ns, look_ns;
    bool all_ready, resting, recoverable, failed;
    struct peer peer[]; /* [ranks] */
};

/* plan.c: the share of this rank as it goes over the wire, the caller's: struct frame_plan and what follows it. */
int remote_plan(void **out, uint64_t *bytes, const struct remote *p, uint32_t rank, const struct frame_hello *h,
                struct error *e);
