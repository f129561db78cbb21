/* A trace seen from afar: how busy each stage was, what the rings held and how many bytes passed, in equal bins of time.
 * Its size does not depend on the trace's. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"

#define TIMELINE_BINS   1200
#define TIMELINE_FINE   16   /* parts of a bin in which coverage is told */
#define TIMELINE_MARKS  2048 /* events of compute that are marked one by one, where they are long enough */
#define TIMELINE_SWEEPS 512

enum timeline_row { ROW_READ, ROW_READ_REQUEST, ROW_COPY, ROW_COPY_REQUEST, ROW_COMPUTE, ROW_COMPUTE_REQUEST, ROWS };
enum timeline_ring { RING_FILLING, RING_READY, RING_IN_USE, RING_STATES };

struct timeline_sweep {
    double from, to;
    uint32_t positions, guesses;
    double draft; /* seconds of seeking these, before it */
};

struct timeline {
    double start, end; /* seconds, of all events */
    double bin;        /* seconds of a bin */
    uint64_t events, sweeps;
    double draft;                            /* of the sweep that comes next */
    double work_start, work_end;             /* from the first sweep's order to the last one's logits */
    double busy[ROWS][TIMELINE_BINS];        /* share of the bin with at least one such event */
    double share[ROWS];                      /* the same of [work_start, work_end] */
    double ring[RING_STATES][TIMELINE_BINS]; /* entries of the host ring, sweep lane, on the average */
    double disk[TIMELINE_BINS], link[TIMELINE_BINS], compute[TIMELINE_BINS]; /* bytes */
    double disk_bytes, link_bytes, compute_bytes;
    bool copies;                                  /* transfer copied, and did not only hand on */
    struct timeline_sweep sweep[TIMELINE_SWEEPS]; /* the first ones, all where sweeps <= TIMELINE_SWEEPS */
    uint32_t marks;
    double mark[TIMELINE_MARKS]; /* where an event of compute that is some bins long begins */
};

/* malloc'ed. -EINVAL where the file is no trace of ours, or has no events. */
int timeline_make(struct timeline **out, const char *path, struct error *e);
