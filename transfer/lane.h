/* Host entries to device entries, for both lanes, over a backend (transfer/backend.h says how). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"
#include "proto/ring.h"
#include "proto/epoch.h"
#include "transfer/backend.h"

struct lanes;

struct lanes_options {
    const struct plan_shm *plan; /* checked */
    struct epoch_shm *run;       /* checked */
    uint64_t arena_bytes, cache_bytes;
    struct backend *backend;
    /* Told of every device entry that became free, before it is used again; NULL: nobody wants to know. */
    void (*freed)(void *arg, enum lane_id lane, const struct ring_entry *x);
    void *freed_arg;
};

int lanes_open(struct lanes **out, const struct lanes_options *o, struct error *e);
void lanes_close(struct lanes *s); /* NULL is allowed */

/* Works until the run stops (-ECANCELED), another stage fails (-EPIPE), or an error. Allocates nothing. */
int lanes_run(struct lanes *s, struct error *e);
