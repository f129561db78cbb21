/* What the profiles of the stages have in common. Private to coordinator/run/profile*.c. */
#pragma once
#include "coordinator/arch/model.h"
#include "coordinator/batch/scheduler.h"
#include "coordinator/profile/stub.h"
#include "coordinator/profile/profile.h"

#define PROFILE_ROUNDS_MAX 32u /* up to MEDIAN_MOST */

/* A model planned, and stages of it running. */
struct profile_run {
    const struct options *options;
    struct model *model;
    struct plan_settings settings;
    struct plan_shm *plan;
    uint64_t plan_bytes;
    struct engine *engine;
    struct stub *stub;
    struct scheduler *scheduler; /* where sweeps are measured */
    struct sequence *sequence;
    uint32_t positions, last; /* of each sweep; the last one of it */
    struct profile *out;
    double rate[PROFILE_ROUNDS_MAX], peak[PROFILE_ROUNDS_MAX];
    uint32_t rounds;
    struct engine_stats before, after; /* of the round under way */
    uint64_t start_ns, end_ns;
    uint64_t sweeps, sweeps_most;                                       /* ended so far; that may begin */
    uint64_t cpu_ns[STAGES], busy_ns[STAGES], wait_ns[STAGES], span_ns; /* over the rounds */
};

/* A length of time as it is by default, for the time that the user gives. */
uint64_t profile_ns(const struct profile_run *r, uint64_t ns);

/* Plans with r->settings, with tiles pinned or not. Replaces the plan that was. */
int profile_plan(struct profile_run *r, bool pins, struct error *e);
/* Starts these stages (bits of enum stage_id; 0: all), which are still starting when it returns. */
int profile_open(struct profile_run *r, uint32_t only, struct error *e);
int profile_start_with(struct profile_run *r, struct engine_config *c,
                       struct error *e); /* the same and waits for them */
/* Starts these stages (bits of enum stage_id; 0: all) and waits for them. */
int profile_start(struct profile_run *r, uint32_t only, struct error *e);
/* The stages' end; the plan stays. */
void profile_stop(struct profile_run *r);

/* A round of the stubbed stage; *rate: bytes of its counter a second. */
int profile_round(struct profile_run *r, enum stage_id stage, uint64_t ns, double *rate, struct error *e);
/* Around something else that is measured: counters before and after, added to the sums. */
void profile_begin(struct profile_run *r);
void profile_end(struct profile_run *r);
/* Of one of them, bytes a second between profile_begin() and profile_end(). */
double profile_rate(const struct profile_run *r, enum stage_id stage);
/* Sweeps of n positions one after the other until ns have passed (at least one is begun); the one that is under way then is
 * waited for, at most as long again, and gone on with by the next call. */
int profile_sweeps(struct profile_run *r, uint32_t n, uint64_t ns, struct error *e);
/* One sweep of n positions, waited for twice ns at most; *taken_ns 0: it is not done yet. */
int profile_one_sweep(struct profile_run *r, uint32_t n, uint64_t ns, uint64_t *taken_ns, struct error *e);
bool profile_idle(struct profile_run *r); /* no sweep is under way */
/* Listens and watches meanwhile. */
int profile_wait(struct profile_run *r, uint64_t ns, struct error *e);
/* Asks a stage for a peak; *rate 0: not to be had. */
int profile_measure(struct profile_run *r, enum stage_id stage, const struct control_message *ask, double *rate,
                    struct error *e);
/* Sums and medians to out->lane[stage]; r->rate and r->peak hold r->rounds rounds. */
void profile_conclude(struct profile_run *r, enum stage_id stage);

int profile_reader(struct profile_run *r, struct error *e);
int profile_transfer(struct profile_run *r, struct error *e);
int profile_compute(struct profile_run *r, struct error *e);
int profile_pipeline(struct profile_run *r, struct error *e);
