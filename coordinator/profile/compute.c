/* Compute from tiles that are in memory already: one position at a time, bound by memory, and many, bound by arithmetic.
 *
 * cpu: nothing but compute runs; its tiles are stubbed (coordinator/profile/stub.h). cuda: tiles are pinned on the device as far as
 * --device-memory reaches, and come over the link where it does not. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/profile/stub_source.h"
#include "coordinator/profile/run.h"
#include "proto/base/clock.h"

#define ROUNDS     4u
#define ROUND_NS   UINT64_C(800000000)
#define PEAK_NS    UINT64_C(400000000)
#define MANY_NS    UINT64_C(2500000000)
#define LEAST_MANY 16u

static int peak(struct profile_run *r, uint32_t what, double *rate, struct error *e)
{
    struct control_message ask = {.type = CONTROL_MEASURE,
                                  .measure = {.what = what, .limit_ns = profile_ns(r, PEAK_NS)}};

    return profile_measure(r, STAGE_COMPUTE, &ask, rate, e);
}

static int few(struct profile_run *r, struct error *e)
{
    int rc = 0;

    for (; r->rounds < ROUNDS && !rc; r->rounds++) {
        /* A sweep that is longer than a round goes on through the next: then the peak of the round before stands. */
        r->peak[r->rounds] = r->rounds ? r->peak[r->rounds - 1] : 0;
        if (profile_idle(r)) rc = peak(r, MEASURE_MEMORY, &r->peak[r->rounds], e);
        if (rc) break;
        if (r->stub) stub_go(r->stub);
        profile_begin(r);
        rc = profile_sweeps(r, 1, profile_ns(r, ROUND_NS), e);
        profile_end(r);
        if (r->stub) {
            stub_pause(r->stub);
            latency_merge(&r->out->lane[STAGE_COMPUTE].latency, stub_latency(r->stub));
        }
        r->rate[r->rounds] = profile_rate(r, STAGE_COMPUTE);
    }
    return rc;
}

/* As many positions as may be done in the time at half of what the units can do. */
static int many(struct profile_run *r, struct error *e)
{
    double each = plan_flops(r->plan, 1, 0), fits; /* of a sweep only the last position wants logits */
    uint64_t taken, most = r->plan->run.max_positions;
    int rc;

    if (!profile_idle(r) || !(each > 0)) return 0;
    if ((rc = peak(r, MEASURE_FLOPS, &r->out->flops_peak, e)) || !(r->out->flops_peak > 0)) return rc;
    fits = (double)profile_ns(r, MANY_NS) / 1e9 * r->out->flops_peak / 2 / each;
    if (fits < (double)most) most = (uint64_t)fits;
    if (most > 512) most = 512;
    if (most < LEAST_MANY) return 0;
    if (r->stub) stub_go(r->stub);
    rc = profile_one_sweep(r, (uint32_t)most, 2 * profile_ns(r, MANY_NS), &taken, e);
    if (!rc && taken) {
        r->out->positions = (uint32_t)most;
        r->out->flops = plan_flops(r->plan, (double)most, 1) / ((double)taken / 1e9);
    }
    if (r->stub) stub_pause(r->stub);
    return rc;
}

static int start_cpu(struct profile_run *r, struct error *e)
{
    int rc;

    stub_source_plan(r->plan);
    if ((rc = profile_open(r, 1u << STAGE_COMPUTE, e)) ||
        (rc = stub_open(&r->stub, STUB_SOURCE, r->engine, r->plan, e)))
        return rc;
    stub_go(r->stub); /* resident tiles are waited for before it is ready */
    rc = engine_ready(r->engine, e);
    return rc ? rc : profile_sweeps(r, 1, 1, e);
}

int profile_compute(struct profile_run *r, struct error *e)
{
    struct profile_lane *l = &r->out->lane[STAGE_COMPUTE];
    bool cuda = r->settings.backend == BACKEND_CUDA;
    int rc;

    if (!cuda) r->settings.cache_slots = STUB_SOURCE_SLOTS;
    rc = profile_plan(r, cuda, e);

    if (!rc) rc = cuda ? profile_start(r, 0, e) : start_cpu(r, e);
    if (!rc && cuda) rc = profile_sweeps(r, 1, profile_ns(r, ROUND_NS), e);
    if (!rc) rc = few(r, e);
    if (rc) return rc;
    profile_conclude(r, STAGE_COMPUTE);
    snprintf(l->peak_of, sizeof l->peak_of, "reading memory with all threads");
    snprintf(r->out->bottleneck, sizeof r->out->bottleneck, cuda ? "device memory" : "memory");
    return many(r, e);
}
