/* Transfer between memory: on the cpu the coordinator is both ends; with cuda compute is there too, since device slots are
 * its own, and sweeps of one position let it take what comes. */
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/profile/run.h"
#include "proto/base/clock.h"

#define ROUNDS   6u
#define ROUND_NS UINT64_C(600000000)

static int cuda_round(struct profile_run *r, double *rate, struct error *e)
{
    int rc;

    stub_go(r->stub);
    profile_begin(r);
    rc = profile_sweeps(r, 1, profile_ns(r, ROUND_NS), e);
    profile_end(r);
    stub_pause(r->stub);
    latency_merge(&r->out->lane[STAGE_TRANSFER].latency, stub_latency(r->stub));
    *rate = profile_rate(r, STAGE_TRANSFER);
    return rc;
}

int profile_transfer(struct profile_run *r, struct error *e)
{
    struct profile_lane *l = &r->out->lane[STAGE_TRANSFER];
    struct control_message ask = {.type = CONTROL_MEASURE,
                                  .measure = {.what = MEASURE_COPY, .limit_ns = profile_ns(r, ROUND_NS)}};
    bool cuda;
    int rc = profile_plan(r, false, e);

    if (rc) return rc;
    cuda = r->plan->run.backend == BACKEND_CUDA;
    rc = profile_start(r, cuda ? 1u << STAGE_TRANSFER | 1u << STAGE_COMPUTE : 1u << STAGE_TRANSFER, e);
    if (!rc) rc = stub_open(&r->stub, cuda ? STUB_SOURCE : STUB_HAND_ON, r->engine, r->plan, e);
    for (; r->rounds < ROUNDS && !rc; r->rounds++) {
        rc = cuda ? cuda_round(r, &r->rate[r->rounds], e)
                  : profile_round(r, STAGE_TRANSFER, profile_ns(r, ROUND_NS), &r->rate[r->rounds], e);
        if (!rc && profile_idle(r)) rc = profile_measure(r, STAGE_TRANSFER, &ask, &r->peak[r->rounds], e);
    }
    if (rc) return rc;
    profile_conclude(r, STAGE_TRANSFER);
    snprintf(l->peak_of, sizeof l->peak_of,
             cuda ? "plain copies from the host slots to the device"
                  : "memcpy by one thread; transfer hands slots on and copies nothing");
    snprintf(r->out->bottleneck, sizeof r->out->bottleneck, cuda ? "link" : "hand-overs");
    return 0;
}
