/* One stage alone, or all together, beside what the machine could do: rounds of the stage and rounds of its peak by
 * turns, since a disk's speed, for one, varies from minute to minute. Medians of the rounds; about ten seconds.
 *
 *   reader     from disk into nothing             peak: plain reads of the same files, block and depth the best of several
 *   transfer   from host slots to compute's       peak: memcpy on the cpu (which copies nothing), pinned copies with cuda
 *   compute    tiles that lie in memory already   peaks: reading memory with all threads, and multiply-adds in registers
 *   pipeline   sweeps of one position, all three  peak: the slowest lane's own, for the bytes that a sweep needs of it
 *
 * The stages are the executables of every run; those that are left out are stubbed (coordinator/profile/stub.h). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/cli/options.h"
#include "coordinator/plan/plan.h"
#include "coordinator/engine/engine.h"
#include "coordinator/engine/latency.h"
#include "proto/base/error.h"

enum profile_what { PROFILE_READER, PROFILE_TRANSFER, PROFILE_COMPUTE, PROFILE_PIPELINE, PROFILES };

const char *profile_name(enum profile_what what); /* "reader", ... */

/* One stage, seen over all rounds. */
struct profile_lane {
    bool seen;
    double bytes_per_second; /* median of the rounds */
    double peak;             /* the same of its peak, bytes per second; 0: not to be had */
    double share;            /* median of the rounds' own shares */
    double cpu_seconds_per_gb, busy, waiting;
    uint64_t bytes, tiles;
    struct latency latency;
    char about[128];   /* what the stage says of itself */
    char peak_of[128]; /* what the peak is */
};

struct profile {
    enum profile_what what;
    struct profile_lane lane[STAGES];                         /* those that were measured */
    double bytes_per_second, peak, share, cpu_seconds_per_gb; /* of what was asked for */
    double seconds;
    uint32_t rounds;
    /* reader: the best way of reading that was found, and whether it was used (flags were not given) */
    uint64_t io_block;
    uint32_t io_depth;
    /* compute: many positions at once */
    uint32_t positions;
    double flops, flops_peak;
    /* pipeline */
    double seconds_per_token;
    char bottleneck[64], advice[400];
};

/* 0, or -errno; -ECANCELED after Ctrl-C. */
int profile_run(struct profile *out, const struct options *o, enum profile_what what, struct error *e);
