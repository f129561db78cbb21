/* What a run learns of the machine for the next plan: how fast the disk and the memory were. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "coordinator/plan/calibrate.h"
#include "coordinator/plan/plan.h"

/* One sweep, and what the stages did meanwhile. The reader is ahead, also in the first: what it read before counts there. */
struct sweep_record {
    uint32_t positions;
    bool decode; /* nothing but tokens after prompts, one of each sequence */
    uint64_t ns, read_bytes, read_busy_ns, compute_busy_ns;
};

/* A run as it was: its first sweeps, in order, and what it was planned with. */
struct calibration_run {
    const struct plan_shm *plan;
    const struct plan_summary *summary;
    const struct calibration *speeds;
    uint64_t io_ways; /* how the reader read: EPOCH_READS_* bits */
    const struct sweep_record *sweep;
    uint32_t sweeps;
    uint64_t compute_busy_ns, compute_cpu_ns;     /* of the whole run: at work, and processor time of all its threads */
    uint64_t copy_bytes, copy_busy_ns, sweeps_ns; /* of the whole run: transfer's, and the time of all its sweeps */
    bool mps;
};

/* Keeps them where the run was long enough, and bound by them, so that they are speeds of the machine and not of the run.
 * path: the model's folder. */
void calibration_learn(const struct calibration_run *r, const char *path);

/* What the stages themselves took in this run's sweeps of one token: a prediction with these speeds is off by what the plan
 * leaves out, and not by what the machine does differently from one run to the next. */
void calibration_lanes(const struct calibration_run *r, struct calibration *out);
