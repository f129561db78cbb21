/* What the pipeline does just now, for whoever looks: copied by the computing thread about ten times a second while a sweep is
 * under way, so that looking disturbs nobody. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include "coordinator/batch/instance.h"
#include "coordinator/serve/metrics.h"

struct pulse_ring {
    uint32_t depth, filling, ready, used;
};

struct pulse_now {
    uint64_t sweeps, sweep_start_ns;
    uint32_t layer, layers, positions;
    uint64_t bytes[STAGES], busy_ns[STAGES], wait_ns[STAGES]; /* of this epoch */
    struct pulse_ring ring[2];                                /* host, device */
};

struct pulse {
    pthread_mutex_t lock;
    struct pulse_now now;
    atomic_bool ending;  /* who looks stops looking */
    atomic_uint watched; /* by so many */
};

void pulse_open(struct pulse *p);
void pulse_close(struct pulse *p);
/* The computing thread: a sweep begins, or goes on. */
void pulse_take(struct pulse *p, const struct instance *i, const struct batch_progress *b, uint64_t sweeps);
/* One line of JSON without its end: all of it, and what the counters say. */
void pulse_write(struct pulse *p, struct buffer *b, const struct metrics *m, const struct instance *i);
