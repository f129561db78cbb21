/* All stages, sweeps of one position: which lane is busy all the time, and what would move it. */
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/plan/calibrate.h"
#include "coordinator/profile/run.h"
#include "proto/base/clock.h"

#define ROUNDS      3u
#define ROUND_NS    UINT64_C(1000000000)
#define WARM_NS     UINT64_C(2000000000)
#define PEAK_NS     UINT64_C(400000000)
#define PLAIN_DEPTH 64u
#define HELD        0.85 /* a lane that is busy for longer than this holds the others up */

static void on_trace(void *arg, enum stage_id from, const struct trace_record *t, uint32_t n)
{
    struct profile_run *r = arg;

    (void)from;
    for (uint32_t i = 0; i < n; i++) {
        if (t[i].fill_ns < r->start_ns) continue; /* of the first sweep */
        latency_add(&r->out->lane[t[i].ring ? STAGE_TRANSFER : STAGE_READER].latency, t[i].ready_ns - t[i].fill_ns);
        if (t[i].ring) latency_add(&r->out->lane[STAGE_COMPUTE].latency, t[i].free_ns - t[i].take_ns);
    }
}

/* ---- what each lane could do ---- */

static int peaks(struct profile_run *r, double rate[STAGES], struct error *e)
{
    const struct plan_run *p = &r->plan->run;
    struct control_message ask[STAGES] = {
        {.type = CONTROL_MEASURE,
         .measure = {.what = MEASURE_READ, .depth = p->io_depth, .block_bytes = p->io_block_bytes}},
        {.type = CONTROL_MEASURE, .measure = {.what = MEASURE_COPY}},
        {.type = CONTROL_MEASURE, .measure = {.what = MEASURE_MEMORY}}};
    int rc = 0;

    /* plain reads have no more than so much in flight (reader/probe.h) */
    while (ask[STAGE_READER].measure.depth > 1 && ask[STAGE_READER].measure.depth * p->io_block_bytes > p->probe_bytes)
        ask[STAGE_READER].measure.depth--;
    if (p->io_block_bytes > p->probe_bytes) ask[STAGE_READER].measure.block_bytes = p->probe_bytes;
    if (ask[STAGE_READER].measure.depth > PLAIN_DEPTH) ask[STAGE_READER].measure.depth = PLAIN_DEPTH;
    for (int i = 0; i < STAGES && !rc; i++) {
        double now = 0;

        if (i == STAGE_TRANSFER && p->backend == BACKEND_CPU) continue; /* copies nothing, so nothing bounds it */
        ask[i].measure.limit_ns = profile_ns(r, PEAK_NS);
        rc = profile_measure(r, (enum stage_id)i, &ask[i], &now, e);
        rate[i] = rate[i] > 0 && now > 0 ? (rate[i] + now) / 2 : now > 0 ? now : rate[i];
    }
    return rc;
}

/* ---- what holds it ---- */

static void advise_disk(struct profile_run *r, const struct plan_summary *s, double seconds)
{
    struct profile *out = r->out;

    if (out->seconds_per_token > 0 && s->host_gain > 0)
        snprintf(out->advice, sizeof out->advice,
                 "the disk holds it: each further GB of --host-memory (now %.1f GB in use) saves %.3g s of %.3g s a "
                 "token; beyond that a "
                 "faster disk, or two side by side",
                 (double)s->host_total_bytes / 1e9, s->host_gain, seconds);
    else
        snprintf(out->advice, sizeof out->advice,
                 "the disk holds it: more --host-memory, then a faster disk, or two side by side");
}

static void advise(struct profile_run *r)
{
    struct profile *out = r->out;
    const struct profile_lane *l = out->lane;
    bool cuda = r->plan->run.backend == BACKEND_CUDA;
    struct calibration v;
    struct plan_summary s;

    calibration_load(&v, r->options->model, r->plan);
    if (l[STAGE_READER].peak > 0) v.disk = l[STAGE_READER].peak;
    plan_summarize(&s, r->plan, &v);
    if (l[STAGE_READER].busy >= HELD && l[STAGE_READER].busy >= l[STAGE_COMPUTE].busy) {
        snprintf(out->bottleneck, sizeof out->bottleneck, "disk");
        advise_disk(r, &s, out->seconds_per_token);
    } else if (cuda && l[STAGE_TRANSFER].busy >= HELD) {
        snprintf(out->bottleneck, sizeof out->bottleneck, "link");
        snprintf(out->advice, sizeof out->advice,
                 "the link to the device holds it: each further GB of --device-memory saves %.3g s a token; "
                 "beyond that a wider link",
                 s.device_gain);
    } else if (l[STAGE_COMPUTE].busy >= HELD) {
        snprintf(out->bottleneck, sizeof out->bottleneck,
                 cuda                            ? "device"
                 : l[STAGE_COMPUTE].share >= 0.6 ? "memory"
                                                 : "compute");
        if (cuda)
            snprintf(out->advice, sizeof out->advice,
                     "the device holds it: nothing but a faster one, or a smaller model, would help");
        else
            snprintf(out->advice, sizeof out->advice,
                     "the processor holds it, at %.0f%% of its memory's read speed with %u threads: more "
                     "--threads where there are cores, more memory channels, or a GPU",
                     100 * l[STAGE_COMPUTE].share, r->plan->run.threads);
    } else {
        snprintf(out->bottleneck, sizeof out->bottleneck, "hand-overs");
        snprintf(out->advice, sizeof out->advice,
                 "no lane is busy all the time (reader %.0f%%, compute %.0f%%): tiles are small or the ring "
                 "is short; try a larger --slot-mib (now %.3g) or --reader-depth (now %u)",
                 100 * l[STAGE_READER].busy, 100 * l[STAGE_COMPUTE].busy, (double)r->plan->run.slot_bytes / 1048576,
                 r->plan->run.reader_slots[0]);
    }
}

/* ---- figures ---- */

static void lane(struct profile_run *r, enum stage_id stage, const double *rate, double peak, const char *of)
{
    struct profile_lane *l = &r->out->lane[stage];

    for (uint32_t i = 0; i < r->rounds; i++) {
        r->rate[i] = rate[i];
        r->peak[i] = peak;
    }
    profile_conclude(r, stage);
    if (peak > 0) snprintf(l->peak_of, sizeof l->peak_of, "%s", of);
}

/* The slowest lane's own time for what a round moved, against the time that it took. */
static void conclude(struct profile_run *r, double rates[STAGES][PROFILE_ROUNDS_MAX], const double *peak,
                     uint64_t sweeps)
{
    static const char *const of[STAGES] = {"plain reads of the same files", "plain copies to the device",
                                           "reading memory with all threads"};
    struct profile *out = r->out;
    double slowest = 0, cpu = 0;

    for (int i = 0; i < STAGES; i++) lane(r, (enum stage_id)i, rates[i], peak[i], of[i]);
    for (int i = 0; i < STAGES; i++) {
        if (out->lane[i].share > slowest) slowest = out->lane[i].share;
        cpu += (double)r->cpu_ns[i] / 1e9;
    }
    out->bytes_per_second = out->lane[STAGE_COMPUTE].bytes_per_second;
    out->share = slowest;
    out->peak = slowest > 0 ? out->bytes_per_second / slowest : 0;
    out->cpu_seconds_per_gb = out->lane[STAGE_COMPUTE].bytes ? cpu / ((double)out->lane[STAGE_COMPUTE].bytes / 1e9) : 0;
    if (sweeps) out->seconds_per_token = (double)r->span_ns / 1e9 / (double)sweeps;
    advise(r);
}

int profile_pipeline(struct profile_run *r, struct error *e)
{
    struct engine_config c = {.trace = on_trace, .trace_arg = r};
    double rates[STAGES][PROFILE_ROUNDS_MAX] = {{0}}, peak[STAGES] = {0};
    uint64_t sweeps;
    int rc;

    r->settings.trace = 1;
    r->settings.want_tokens = 512;
    if ((rc = profile_plan(r, true, e))) return rc;
    r->start_ns = UINT64_MAX;
    if ((rc = profile_start_with(r, &c, e)) || (rc = profile_wait(r, 200000000u, e)) || (rc = peaks(r, peak, e)))
        return rc;
    if ((rc = profile_sweeps(r, 1, profile_ns(r, WARM_NS), e))) return rc; /* pins are filled in the first sweep */
    sweeps = r->sweeps;
    for (; r->rounds < ROUNDS && !rc; r->rounds++) {
        profile_begin(r);
        rc = profile_sweeps(r, 1, profile_ns(r, ROUND_NS), e);
        profile_end(r);
        for (int i = 0; i < STAGES; i++) rates[i][r->rounds] = profile_rate(r, (enum stage_id)i);
    }
    sweeps = r->sweeps - sweeps;
    if (!rc && profile_idle(r)) rc = peaks(r, peak, e);
    if (!rc) conclude(r, rates, peak, sweeps);
    return rc;
}
