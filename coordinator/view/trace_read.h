/* Reads what trace.c has written, event by event, in bounded memory. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/view/trace.h"
#include "proto/base/error.h"

enum trace_phase {
    PHASE_SWEEP,
    PHASE_READ,
    PHASE_READY,
    PHASE_HAND_OVER,
    PHASE_COPY,
    PHASE_COMPUTE,
    PHASE_DRAFT,
    PHASES
};

struct trace_event {
    enum trace_process process;
    enum trace_phase phase;
    bool request; /* of lanes 1 and 2: an expert, a resident tile, rows of the embedding */
    uint32_t track;
    double from, to;    /* seconds */
    double bytes;       /* 0 where it is told of elsewhere */
    uint32_t positions; /* of a sweep */
    uint32_t guesses;   /* among them */
};

/* Non-zero ends the reading and is returned. */
typedef int trace_visit(void *arg, const struct trace_event *x, struct error *e);

/* Calls visit for every event. -EINVAL names the line that is none. A trace that ends in the middle of a line (its run was
 * killed) is read up to there. */
int trace_read(const char *path, trace_visit *visit, void *arg, struct error *e);
