/* The reader into a sink, beside plain reads of the same files at the best block and depth of several. */
#include <stdio.h>
#include <string.h>

#include "coordinator/plan/calibrate_median.h"
#include "coordinator/plan/calibrate.h"
#include "coordinator/profile/run.h"

#define FIND_ROUNDS 2u
#define FIND_NS     UINT64_C(140000000)
#define ROUNDS      6u
#define ROUND_NS    UINT64_C(550000000)
#define MIB         (UINT64_C(1) << 20)

static const struct {
    uint64_t block;
    uint32_t depth;
} settings[] = {{MIB, 8}, {MIB, 32}, {2 * MIB, 16}, {4 * MIB, 8}, {4 * MIB, 16}, {8 * MIB, 8}, {16 * MIB, 4}};
#define SETTINGS (sizeof settings / sizeof *settings)

static int plain(struct profile_run *r, uint64_t block, uint32_t depth, uint64_t ns, double *rate, struct error *e)
{
    struct control_message ask = {
        .type = CONTROL_MEASURE,
        .measure = {.what = MEASURE_READ, .depth = depth, .block_bytes = block, .limit_ns = ns}};

    return profile_measure(r, STAGE_READER, &ask, rate, e);
}

/* Each setting that there is memory for in turn, several times; the best by its median. */
static int find(struct profile_run *r, double *best, struct error *e)
{
    double rate[SETTINGS][FIND_ROUNDS] = {{0}};
    int rc = 0;

    for (uint32_t round = 0; round < FIND_ROUNDS && !rc; round++)
        for (size_t i = 0; i < SETTINGS && !rc; i++)
            if (settings[i].block * settings[i].depth <= r->plan->run.probe_bytes)
                rc = plain(r, settings[i].block, settings[i].depth, profile_ns(r, FIND_NS), &rate[i][round], e);
    for (size_t i = 0; i < SETTINGS && !rc; i++) {
        double x = median(rate[i], FIND_ROUNDS);

        if (x <= *best) continue;
        *best = x;
        r->out->io_block = settings[i].block;
        r->out->io_depth = settings[i].depth;
    }
    return rc;
}

static int measure(struct profile_run *r, struct error *e)
{
    int rc = stub_open(&r->stub, STUB_SINK, r->engine, r->plan, e);
    double warm;

    if (!rc) rc = profile_round(r, STAGE_READER, profile_ns(r, ROUND_NS) / 4, &warm, e);
    r->span_ns = 0;
    r->cpu_ns[STAGE_READER] = r->busy_ns[STAGE_READER] = r->wait_ns[STAGE_READER] = 0;
    r->out->lane[STAGE_READER] = (struct profile_lane){0};
    for (r->rounds = 0; r->rounds < ROUNDS && !rc; r->rounds++) {
        rc = profile_round(r, STAGE_READER, profile_ns(r, ROUND_NS), &r->rate[r->rounds], e);
        if (!rc) rc = plain(r, r->out->io_block, r->out->io_depth, profile_ns(r, ROUND_NS), &r->peak[r->rounds], e);
    }
    return rc;
}

/* Of files in the page cache nothing can be learnt about the disk. */
static bool reads_direct(struct profile_run *r)
{
    struct engine_stats s;

    engine_stats(r->engine, &s);
    return s.io_ways == EPOCH_READS_DIRECT;
}

int profile_reader(struct profile_run *r, struct error *e)
{
    const struct options *o = r->options;
    struct profile_lane *l = &r->out->lane[STAGE_READER];
    double rate = 0;
    int rc = profile_plan(r, false, e);

    if (!rc) rc = profile_start(r, 1u << STAGE_READER, e);
    if (!rc) rc = find(r, &rate, e);
    if (rc) return rc;
    if (rate > 0 && r->plan->run.engine != ENGINE_NULL && reads_direct(r))
        calibration_keep_reading(o->model, r->out->io_block, r->out->io_depth, rate);
    if (!o->io_block || !o->io_depth) { /* what was found is what a run would be given */
        profile_stop(r);
        if (!o->io_block) r->settings.io_block = r->out->io_block;
        if (!o->io_depth) r->settings.io_depth = r->out->io_depth;
        if ((rc = profile_plan(r, false, e)) || (rc = profile_start(r, 1u << STAGE_READER, e))) return rc;
    }
    if ((rc = measure(r, e))) return rc;
    profile_conclude(r, STAGE_READER);
    if (r->plan->run.engine != ENGINE_NULL && reads_direct(r))
        calibration_keep(SPEEDS_DISK, o->model, NULL, l->bytes_per_second);
    snprintf(l->peak_of, sizeof l->peak_of, "plain reads of the same files, %u of %llu KiB in flight", r->out->io_depth,
             (unsigned long long)r->out->io_block >> 10);
    snprintf(r->out->bottleneck, sizeof r->out->bottleneck, "disk");
    return 0;
}
