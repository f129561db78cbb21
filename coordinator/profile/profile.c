#include "coordinator/profile/profile.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/plan/calibrate_median.h"
#include "coordinator/profile/run.h"
#include "proto/base/clock.h"

const char *profile_name(enum profile_what what)
{
    static const char *const names[PROFILES] = {"reader", "transfer", "compute", "pipeline"};

    return (unsigned)what < PROFILES ? names[what] : "";
}

uint64_t profile_ns(const struct profile_run *r, uint64_t ns)
{
    return (uint64_t)((double)ns * r->options->seconds / option_defaults.seconds) + 1;
}

/* ---- a plan and its stages ---- */

int profile_plan(struct profile_run *r, bool pins, struct error *e)
{
    free(r->plan);
    r->plan = NULL;
    r->settings.no_pins = !pins;
    return plan_build(&r->plan, &r->plan_bytes, model_program(r->model), &r->settings, e);
}

int profile_open(struct profile_run *r, uint32_t only, struct error *e)
{
    struct engine_config c = {.plan = r->plan, .plan_bytes = r->plan_bytes, .only = only};

    return engine_open(&r->engine, &c, e);
}

int profile_start(struct profile_run *r, uint32_t only, struct error *e)
{
    int rc = profile_open(r, only, e);

    return rc ? rc : engine_ready(r->engine, e);
}

int profile_start_with(struct profile_run *r, struct engine_config *c, struct error *e)
{
    int rc;

    c->plan = r->plan;
    c->plan_bytes = r->plan_bytes;
    rc = engine_open(&r->engine, c, e);
    return rc ? rc : engine_ready(r->engine, e);
}

void profile_stop(struct profile_run *r)
{
    stub_close(r->stub);
    sequence_close(r->sequence);
    scheduler_close(r->scheduler);
    engine_close(r->engine);
    r->stub = NULL;
    r->sequence = NULL;
    r->scheduler = NULL;
    r->engine = NULL;
}

/* ---- rounds ---- */

int profile_wait(struct profile_run *r, uint64_t ns, struct error *e)
{
    uint64_t end = clock_ns() + ns, now;
    int rc = 0;

    while (!rc && (now = clock_ns()) < end) {
        uint64_t ms = (end - now) / 1000000u + 1;

        rc = engine_poll(r->engine, ms < 50 ? (int)ms : 50, e);
    }
    return rc;
}

void profile_begin(struct profile_run *r)
{
    engine_stats(r->engine, &r->before);
    r->start_ns = clock_ns();
}

void profile_end(struct profile_run *r)
{
    engine_stats(r->engine, &r->after);
    r->end_ns = clock_ns();
    r->span_ns += r->end_ns - r->start_ns;
    for (int i = 0; i < STAGES; i++) {
        const struct engine_stage_stats *a = &r->before.stage[i], *b = &r->after.stage[i];

        r->cpu_ns[i] += b->cpu_ns - a->cpu_ns;
        r->busy_ns[i] += b->busy_ns - a->busy_ns;
        r->wait_ns[i] += b->wait_ns - a->wait_ns;
        r->out->lane[i].bytes += b->bytes - a->bytes;
        r->out->lane[i].tiles += b->tiles - a->tiles;
    }
}

double profile_rate(const struct profile_run *r, enum stage_id stage)
{
    return (double)(r->after.stage[stage].bytes - r->before.stage[stage].bytes) /
           ((double)(r->end_ns - r->start_ns) / 1e9);
}

static int on_row(void *arg, uint32_t position, const float *logits, struct error *e)
{
    struct profile_run *r = arg;

    (void)position;
    (void)logits;
    (void)e;
    r->sweeps++;
    return 0;
}

/* One sequence that grows by so many positions a sweep, and begins anew where its room ends. */
static int next_sweep(void *arg, struct error *e)
{
    struct profile_run *r = arg;
    struct sequence_want want = {.positions = &r->last, .position_count = 1, .listener = {.logits = on_row, .arg = r}};
    uint32_t n = r->positions, count = sequence_count(r->sequence);
    int rc = 0;

    if (sequence_ended(r->sequence) == SEQUENCE_RUNS || r->sweeps >= r->sweeps_most) return 0;
    if (n > 1 || count + n > sequence_limit(r->sequence)) {
        rc = sequence_truncate(r->sequence, 0, e);
        count = 0;
    }
    for (uint32_t i = 0; i < n && !rc; i++) {
        uint32_t token = (count + i) % r->plan->spec.vocab;

        rc = sequence_append(r->sequence, &token, 1, e);
    }
    if (rc) return rc;
    r->last = count + n - 1;
    sequence_ask(r->sequence, &want);
    return scheduler_join(r->scheduler, r->sequence, e);
}

static int open_scheduler(struct profile_run *r, struct error *e)
{
    struct scheduler_config c = {.engine = r->engine, .plan = r->plan, .boundary = next_sweep, .boundary_arg = r};
    int rc = scheduler_open(&r->scheduler, &c, e);

    return rc ? rc : scheduler_sequence(r->scheduler, &r->sequence, r->plan->run.kv_rows, e);
}

int profile_sweeps(struct profile_run *r, uint32_t n, uint64_t ns, struct error *e)
{
    int rc = r->scheduler ? 0 : open_scheduler(r, e);

    r->positions = n;
    r->sweeps_most = UINT64_MAX;
    return rc ? rc : scheduler_run_for(r->scheduler, ns, e);
}

int profile_one_sweep(struct profile_run *r, uint32_t n, uint64_t ns, uint64_t *taken_ns, struct error *e)
{
    uint64_t start = clock_ns();
    int rc = r->scheduler ? 0 : open_scheduler(r, e);

    *taken_ns = 0;
    r->positions = n;
    r->sweeps_most = r->sweeps + 1;
    if (!rc) rc = scheduler_run_for(r->scheduler, ns, e);
    if (!rc && r->sweeps == r->sweeps_most) *taken_ns = clock_ns() - start;
    return rc;
}

bool profile_idle(struct profile_run *r)
{
    struct error ignored;

    if (!engine_sweep_done(r->engine)) return false;
    if (!r->scheduler || !scheduler_under_way(r->scheduler)) return true;
    r->sweeps_most = r->sweeps; /* it is done, and no other begins */
    return !scheduler_run_for(r->scheduler, 1, &ignored);
}

/* Until the stage has come to rest: its ring is full, nothing is under way. */
static int settle(struct profile_run *r, enum stage_id stage, struct error *e)
{
    uint64_t had = UINT64_MAX, now;
    int rc = 0;

    for (int i = 0; i < 60 && !rc; i++) {
        now = atomic_load(&engine_epoch(r->engine)->stats[stage].bytes);
        if (now == had) break;
        had = now;
        rc = profile_wait(r, 25000000u, e);
    }
    return rc;
}

int profile_round(struct profile_run *r, enum stage_id stage, uint64_t ns, double *rate, struct error *e)
{
    int rc = settle(r, stage, e);

    if (rc) return rc;
    stub_go(r->stub);
    profile_begin(r);
    rc = profile_wait(r, ns, e);
    profile_end(r);
    stub_pause(r->stub);
    if (rc) return rc;
    latency_merge(&r->out->lane[stage].latency, stub_latency(r->stub));
    *rate = profile_rate(r, stage);
    return settle(r, stage, e);
}

int profile_measure(struct profile_run *r, enum stage_id stage, const struct control_message *ask, double *rate,
                    struct error *e)
{
    struct control_message a;
    int rc = engine_measure(r->engine, stage, ask, &a, e);

    *rate = !rc && a.measured.ns ? (double)a.measured.bytes / ((double)a.measured.ns / 1e9) : 0;
    return rc;
}

void profile_conclude(struct profile_run *r, enum stage_id stage)
{
    struct profile_lane *l = &r->out->lane[stage];
    double share[PROFILE_ROUNDS_MAX], span = r->span_ns ? (double)r->span_ns : 1;
    struct engine_stats s;

    for (uint32_t i = 0; i < r->rounds; i++) share[i] = r->peak[i] > 0 ? r->rate[i] / r->peak[i] : 0;
    engine_stats(r->engine, &s);
    l->seen = true;
    l->bytes_per_second = median(r->rate, r->rounds);
    l->peak = median(r->peak, r->rounds);
    l->share = median(share, r->rounds);
    l->cpu_seconds_per_gb = l->bytes ? (double)r->cpu_ns[stage] / 1e9 / ((double)l->bytes / 1e9) : 0;
    l->busy = (double)r->busy_ns[stage] / span;
    l->waiting = (double)r->wait_ns[stage] / span;
    snprintf(l->about, sizeof l->about, "%s", s.about[stage]);
    r->out->rounds = r->rounds;
}

/* ---- the whole ---- */

static int (*const runs[PROFILES])(struct profile_run *, struct error *) = {profile_reader, profile_transfer,
                                                                            profile_compute, profile_pipeline};

/* One stage's own figures are those of the profile; a pipeline says its own. */
static void own_figures(struct profile *out)
{
    const struct profile_lane *l;

    if (out->what == PROFILE_PIPELINE) return;
    l = &out->lane[out->what];
    out->bytes_per_second = l->bytes_per_second;
    out->peak = l->peak;
    out->share = l->share;
    out->cpu_seconds_per_gb = l->cpu_seconds_per_gb;
}

int profile_run(struct profile *out, const struct options *o, enum profile_what what, struct error *e)
{
    struct model_options mo = {.context = (uint32_t)o->context};
    struct profile_run r = {.options = o, .out = out};
    uint64_t start = clock_ns();
    int rc;

    memset(out, 0, sizeof *out);
    out->what = what;
    rc = model_open_source(&r.model, o->source, &mo, e);
    if (!rc) rc = plan_settings_from_options(&r.settings, o, e);
    r.settings.measures = what != PROFILE_READER;
    r.settings.io_find = what == PROFILE_READER || what == PROFILE_PIPELINE ? IO_FIND_ON_WISH : IO_FIND_NOTHING;
    if (!rc) rc = runs[what](&r, e);
    if (!rc) own_figures(out);
    profile_stop(&r);
    free(r.plan);
    model_close(r.model);
    out->seconds = (double)(clock_ns() - start) / 1e9;
    return rc;
}
