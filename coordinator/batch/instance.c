#include "coordinator/batch/instance.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "coordinator/batch/draft_model.h"
#include "coordinator/batch/ends.h"
#include "coordinator/batch/machines.h"
#include "coordinator/engine/mps.h"
#include "coordinator/plan/machine.h"
#include "coordinator/plan/speculate.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define MEMORY_MATTERS 100000000u /* bytes of a sweep from which on its speed is worth some 0.05 s, once */
#define NEARLY         1.02       /* of two rates */
#define READ_LEAST     250000000u /* bytes of a first sweep that say what the disk gives */
/* A seed that nobody gave is read from the summary and given back with --seed: every JSON reader keeps 53 bits exactly. */
#define SEED_RANDOM_MASK ((UINT64_C(1) << 53) - 1)

struct instance {
    struct instance_config config;
    struct batch_observer observer;
    struct parts parts;
    struct ends ends;
    struct plan_shm *plan;
    uint64_t plan_bytes;
    uint64_t beside;           /* bytes of the budget that are left to who asks */
    struct machines *machines; /* of --hosts; NULL: this one alone */
    struct plan_summary summary;
    struct calibration speeds;       /* that it was predicted with */
    bool predicted_by_sweep;         /* nothing was known of the disk: the first sweep told */
    double predicted_prompt_seconds; /* 0: the prompt's length was not known */
    bool started;
    struct engine *engine;
    struct scheduler *scheduler;
    struct sampler_settings sampling;
    struct guesser guesser; /* guess NULL: nobody */
    struct drafter *drafter;
    struct draft_model *small; /* NULL: there is none */
    uint32_t positions;        /* of the sweep under way */
    uint64_t sweep_start_ns;
};

/* ---- loading ---- */

static int load(struct instance *i, struct error *e)
{
    const struct options *o = i->config.options;
    uint32_t prompt = i->config.prompt_tokens;
    struct parts_options po = {.model = {.context = (uint32_t)o->context},
                               .text = i->config.text,
                               .template = i->config.template,
                               .template_name = o->template_name};
    const struct source *source = o->source;
    struct source *own = NULL;
    const char *notice;
    int rc = source ? 0 : source_open(&own, o->model, e);

    if (rc) return rc;
    machine_own_reset();
    if (o->max_tokens > 0 && prompt) po.model.want_tokens = prompt + (uint32_t)o->max_tokens;
    if (!i->config.text && prompt) po.model.want_tokens = prompt;
    rc = parts_open(&i->parts, source ? source : own, &po, e);
    if (!rc && i->config.text && !o->ignore_eos)
        rc = ends_find(&i->ends, model_generation(i->parts.model), i->parts.tokenizer,
                       model_program(i->parts.model)->spec.vocab, e);
    if (!rc && o->draft)
        rc = draft_model_open(&i->small, o,
                              &(struct draft_model_of){.name = source_name(source ? source : own),
                                                       .program = model_program(i->parts.model),
                                                       .tokenizer = i->parts.tokenizer},
                              e);
    notice = i->parts.model ? model_notice(i->parts.model) : NULL;
    if (!rc && notice && !o->quiet) log_at(LOG_WARN, "%s", notice);
    source_close(own);
    return rc;
}

int instance_load(struct instance **out, const struct instance_config *c, struct error *e)
{
    struct instance *i = calloc(1, sizeof *i);
    int rc;

    if (!i) return error_set(e, ENOMEM, "out of memory");
    i->config = *c;
    if (c->observer) i->observer = *c->observer;
    if (c->guesser) i->guesser = *c->guesser;
    if ((rc = load(i, e)))
        instance_close(i);
    else
        *out = i;
    return rc;
}

static double given(double option, double model, double fallback)
{
    return !isnan(option) ? option : !isnan(model) ? model : fallback;
}

static void set_sampling(struct instance *i)
{
    const struct options *o = i->config.options;
    const struct model_generation *g = model_generation(i->parts.model);
    bool sample = g->has_do_sample ? g->do_sample : !isnan(g->temperature);
    struct sampler_settings *p = &i->sampling;

    p->temperature = !isnan(o->temperature) ? o->temperature : sample ? given(NAN, g->temperature, 1.0) : 0.0;
    p->top_p = given(o->top_p, g->top_p, 1.0);
    p->min_p = given(o->min_p, g->min_p, 0.0);
    p->repeat_penalty = given(o->repeat_penalty, g->repeat_penalty, 1.0);
    p->top_k = o->top_k >= 0 ? o->top_k : g->top_k > 0 ? (int)g->top_k : 0;
    p->seed = o->seed;
    if (!o->has_seed && getrandom(&p->seed, sizeof p->seed, GRND_NONBLOCK) < 0) p->seed = clock_ns();
    if (!o->has_seed) p->seed &= SEED_RANDOM_MASK;
}

/* ---- what is told to the observer ---- */

static struct batch_progress progress(struct instance *i)
{
    struct batch_progress p = {.positions = i->positions,
                               .max_positions = i->plan->run.max_positions,
                               .sweep_start_ns = i->sweep_start_ns,
                               .layers = i->plan->spec.layers,
                               .seconds_per_token = i->summary.predicted_seconds_per_token,
                               .seconds_per_prompt_token = i->summary.predicted_seconds_per_prompt_token};
    struct scheduler_counts c;
    struct drafter_stats d;
    struct engine_stats t;

    engine_stats(i->engine, &t);
    p.layer = t.layer;
    p.bytes_read = t.stage[STAGE_READER].bytes;
    if (!i->scheduler) return p;
    c = scheduler_counts(i->scheduler);
    p.sequences = scheduler_joined(i->scheduler);
    p.prompt_tokens = c.prompt_tokens;
    p.prompt_done = c.prompt_done;
    p.answered = c.answered;
    p.decode_ns = scheduler_times(i->scheduler)->decode_ns;
    p.decode_sweeps = scheduler_times(i->scheduler)->decode_sweeps;
    p.decode_tokens = scheduler_times(i->scheduler)->decode_tokens;
    p.guesses = scheduler_times(i->scheduler)->guesses;
    p.guess_ns = scheduler_times(i->scheduler)->guess_ns;
    if (!instance_guessing(i, &d)) return p;
    p.sought_sweeps = d.sweeps;
    p.sought_tokens = d.tokens;
    p.sought_expected = d.predicted;
    p.hits_ngram = d.hits_ngram;
    p.hits_recycled = d.hits_recycled;
    p.hits_draft = d.hits_neural;
    return p;
}

static void on_tick(void *arg)
{
    struct instance *i = arg;
    struct batch_progress p;

    if (!i->observer.tick || !i->engine) return;
    p = progress(i);
    i->observer.tick(i->observer.arg, &p);
}

static void on_trace(void *arg, enum stage_id from, const struct trace_record *r, uint32_t n)
{
    struct instance *i = arg;

    (void)from;
    if (i->observer.trace) i->observer.trace(i->observer.arg, r, n);
}

static void on_begins(void *arg, uint32_t positions)
{
    struct instance *i = arg;
    struct batch_progress p;

    i->positions = positions;
    i->sweep_start_ns = clock_ns();
    if (!i->observer.sweep) return;
    p = progress(i);
    i->observer.sweep(i->observer.arg, &p);
}

static void on_guessed(void *arg, uint64_t start_ns, uint64_t end_ns, uint32_t guesses)
{
    struct instance *i = arg;

    if (i->observer.guessed) i->observer.guessed(i->observer.arg, start_ns, end_ns, guesses);
}

static void on_note(void *arg, const char *text)
{
    struct instance *i = arg;

    if (i->observer.note) i->observer.note(i->observer.arg, text);
}

/* Is this one machine of several? What its lanes do then says little of a run on it alone, and the other way round. */
static bool is_spread(const struct instance *i)
{
    return i->machines && !machines_alone(i->machines);
}

static const struct plan_shm *program_of(const struct instance *i)
{
    return i->machines ? machines_program(i->machines) : model_program(i->parts.model);
}

/* Where nothing was known of the disk, the first sweep says what those to come will take. One that fills the host cache
 * waits for the system's pages too: then what the reader tried at its start says more. */
static void predict_again(struct instance *i, const struct sweep_record *first)
{
    struct engine_stats t;
    double rate = 0;

    if (i->speeds.disk_measured || !i->summary.sweep_bytes || is_spread(i)) return;
    engine_stats(i->engine, &t);
    if (t.io_block) rate = (double)t.io_rate;
    if ((!i->plan->run.host_cache_bytes || !(rate > 0)) && first->read_bytes >= READ_LEAST && first->read_busy_ns)
        rate = (double)first->read_bytes / ((double)first->read_busy_ns / 1e9);
    if (!(rate > 0)) return;
    i->speeds.disk = rate;
    i->predicted_by_sweep = true;
    plan_summarize(&i->summary, i->plan, &i->speeds);
}

static void on_swept(void *arg, uint64_t start_ns, const struct sweep_record *r)
{
    struct instance *i = arg;

    if (scheduler_times(i->scheduler)->sweeps == 1) predict_again(i, r);
    if (i->observer.swept) i->observer.swept(i->observer.arg, start_ns, start_ns + r->ns, r->positions);
}

/* ---- starting ---- */

static enum engine_mps choose_mps(const struct instance *i)
{
    bool streams = i->summary.disk_tiles || i->summary.host_tiles || i->summary.expert_tiles;
    const struct options *o = i->config.options;

    if (o->mps != OPTION_MPS_AUTO) return o->mps == OPTION_MPS_ON ? ENGINE_MPS_MUST : ENGINE_MPS_OFF;
    /* Transfer launches no kernels and copies have engines of their own, so that two processes may do as well as one: a
     * daemon is started where runs with --mps on were faster. Whoever chose one for this process knows better. */
    return streams && !getenv("CUDA_MPS_PIPE_DIRECTORY") && mps_available() && calibration_mps_pays((uint32_t)o->device)
               ? ENGINE_MPS_TRY
               : ENGINE_MPS_OFF;
}

static int start_engine(struct instance *i, const struct plan_settings *settings, enum engine_mps mps, struct error *e)
{
    struct engine_config config = {.plan = i->plan,
                                   .plan_bytes = i->plan_bytes,
                                   .tick = on_tick,
                                   .tick_arg = i,
                                   .trace = on_trace,
                                   .trace_arg = i,
                                   .log = i->observer.log,
                                   .log_arg = i->observer.arg,
                                   .fault = i->config.options->fault,
                                   .mps = mps};
    int rc = i->machines ? machines_start(i->machines, &config.peers, i->plan, settings, e) : 0;

    return rc ? rc : engine_open(&i->engine, &config, e);
}

static int make_plan(struct instance *i, const struct plan_settings *settings, const struct instance_load *l,
                     struct error *e)
{
    const char *folder = i->config.options->model;
    uint32_t answer = i->config.text && i->config.options->max_tokens != 0; /* tokens that must fit at least */
    char advice[128];
    int rc;

    free(i->plan);
    i->plan = NULL;
    if ((rc = plan_build(&i->plan, &i->plan_bytes, program_of(i), settings, e))) return rc;
    if (l->prompt_tokens && (uint64_t)l->prompt_tokens + answer > i->plan->spec.context)
        return error_set(
            e, E2BIG, "the prompt has %u tokens, the context %u%s: %s", l->prompt_tokens, i->plan->spec.context,
            l->prompt_tokens == i->plan->spec.context ? ", so that no room is left for an answer" : "",
            model_longer_context(i->parts.model, (uint64_t)l->prompt_tokens + answer, advice, sizeof advice));
    calibration_load(&i->speeds, folder, i->plan);
    plan_summarize(&i->summary, i->plan, &i->speeds);
    if (!i->speeds.memory_measured && i->summary.dense_bytes >= MEMORY_MATTERS) {
        calibration_measure_memory(&i->speeds, i->plan, settings->host_memory);
        plan_summarize(&i->summary, i->plan, &i->speeds);
    }
    if (is_spread(i)) i->summary.predicted_seconds_per_token = machines_seconds_per_token(i->machines);
    if (l->prompt_tokens)
        i->predicted_prompt_seconds =
            plan_prompt_seconds(&i->summary, i->plan, &i->speeds, l->all_tokens ? l->all_tokens : l->prompt_tokens);
    return 0;
}

/* Waits for stages that use the GPU. Where MPS was only tried, they get a second chance without it; where the GPU was
 * sluice's choice, one that does not come up is no reason to fail: the processor computes. */
static int prove_device(struct instance *i, const struct instance_load *l, struct plan_settings *settings,
                        enum engine_mps mps, struct error *e)
{
    int rc = engine_ready(i->engine, e);

    while (rc && rc != -ECANCELED && engine_failed_stage(i->engine) != STAGE_READER &&
           i->plan->run.backend == BACKEND_CUDA) {
        if (mps != ENGINE_MPS_TRY && !settings->backend_auto) return rc;
        engine_close(i->engine);
        i->engine = NULL;
        if (mps == ENGINE_MPS_TRY) {
            mps = ENGINE_MPS_OFF;
            log_warn("%s; trying again without MPS", e->text);
        } else {
            log_warn("the GPU cannot be used, the processor computes: %s", e->text);
            plan_settings_to_processor(settings);
            if ((rc = make_plan(i, settings, l, e))) return rc;
        }
        if ((rc = start_engine(i, settings, mps, e))) return rc;
        if (i->plan->run.backend == BACKEND_CUDA) rc = engine_ready(i->engine, e);
    }
    return rc;
}

/* Everything that the coordinator keeps is there by now. */
static void measure_text(struct plan_settings *s)
{
    struct machine_own own;

    malloc_trim(0); /* what reading has left is not ours to keep */
    own = machine_own_look();
    s->load_peak = own.peak;
    if (own.now <= s->text_bytes) return; /* so that `sluice plan`, which reads no tokenizer, says what a run does */
    s->text_bytes = own.now;
    s->text_measured = true;
}

/* Of several sequences, each has room for what is known to be wanted; one has more, for turns to come. */
static int plan_so_many(struct instance *i, struct plan_settings *settings, const struct instance_load *l, uint32_t n,
                        struct error *e)
{
    const struct options *o = i->config.options;
    uint32_t model = model_program(i->parts.model)->spec.context;

    settings->sequences = n;
    settings->max_logits = l->max_logits > n ? l->max_logits : n;
    settings->context = (uint32_t)o->context;
    if (n > 1 && !o->context && settings->want_tokens)
        settings->context = settings->want_tokens < model ? settings->want_tokens : model;
    return make_plan(i, settings, l, e);
}

/* Plans for so many sequences, or for as many of them as there is room for, or as give the most tokens per second; of
 * numbers that give nearly as many, the fewest. */
static int plan_sequences(struct instance *i, struct plan_settings *settings, const struct instance_load *l,
                          struct error *e)
{
    uint32_t best = 0, last = 0;
    double most = 0;
    int rc;

    for (uint32_t n = l->sequences ? l->sequences : 1;; n /= 2) {
        rc = plan_so_many(i, settings, l, n, e);
        if (!rc) {
            double rate = n / plan_sweep_seconds(&i->summary, i->plan, &i->speeds, n);

            last = n;
            if (!best || rate * NEARLY >= most) best = n;
            if (rate > most) most = rate;
        }
        if (n == 1 || !l->fewer || (!rc && !l->fastest) || (rc && rc != -ENOMEM && rc != -EINVAL)) break;
    }
    if (!best) return rc;
    *e = (struct error){0};
    return last == best ? 0 : plan_so_many(i, settings, l, best, e);
}

static int plan_with(struct instance *i, const struct plan_settings *settings, const struct instance_load *l,
                     uint64_t beside, struct plan_settings *out, struct error *e)
{
    *out = *settings;
    i->beside = beside;
    plan_settings_leave(out, beside);
    return plan_sequences(i, out, l, e);
}

/* With what is kept for others; with the least of that where there is no memory for a run with more. */
static int plan_beside(struct instance *i, struct plan_settings *settings, const struct instance_load *l,
                       struct error *e)
{
    const struct instance_beside *b = &l->beside;
    uint64_t bytes = b->share ? settings->host_memory / b->share : 0;
    struct plan_settings left;
    int rc;

    if (b->share) bytes = bytes < b->least ? b->least : bytes > b->most ? b->most : bytes;
    rc = plan_with(i, settings, l, bytes, &left, e);
    if (rc == -ENOMEM && bytes != b->least) rc = plan_with(i, settings, l, b->least, &left, e);
    *settings = left;
    return rc;
}

/* What the reader can read ahead between two sweeps takes so long. */
static double read_ahead(const struct instance *i, const struct plan_costs *c)
{
    const struct plan_run *r = &i->plan->run;

    return c->read > c->first ? (double)r->reader_slots[LANE_SWEEP] * (double)r->slot_bytes / i->speeds.disk : 0;
}

/* Who guesses, where there is room for guesses: n-grams, recycled logits, the small model. */
static int open_drafter(struct instance *i, struct error *e)
{
    const struct plan_run *r = &i->plan->run;
    struct plan_costs costs;
    struct drafter_config c = {.most = r->guesses,
                               .fixed = i->config.options->speculate != OPTION_SPECULATE_AUTO,
                               .roots = r->sequences,
                               .tokens = r->kv_rows,
                               .vocab = i->plan->spec.vocab};
    double *experts = NULL;
    int rc;

    if (i->config.guesser || !r->guesses) return 0;
    plan_costs(&costs, &i->summary, i->plan, &i->speeds);
    c.costs =
        (struct budget_costs){.read = costs.read, .first = costs.first, .position = costs.position, .row = costs.row};
    if (i->small) {
        c.neural = draft_model_neural(i->small);
        c.width = draft_model_width(i->small);
        c.hidden = read_ahead(i, &costs);
    }
    if (i->summary.expert_bytes) {
        c.costs.most = r->guesses + r->sequences;
        experts = calloc(c.costs.most + UINT64_C(1), sizeof *experts);
        if (!experts) return error_set(e, ENOMEM, "out of memory");
        for (uint32_t n = 1; n <= c.costs.most; n++)
            experts[n] = plan_expert_seconds(&i->summary, i->plan, &i->speeds, n);
        c.costs.experts = experts;
    }
    rc = drafter_open(&i->drafter, &c, e);
    free(experts);
    if (!rc) i->guesser = drafter_guesser(i->drafter);
    return rc;
}

static int open_scheduler(struct instance *i, struct error *e)
{
    struct scheduler_config c = {.engine = i->engine,
                                 .plan = i->plan,
                                 .guesser = i->guesser,
                                 .begins = on_begins,
                                 .swept = on_swept,
                                 .guessed = on_guessed,
                                 .note = on_note,
                                 .arg = i};

    return scheduler_open(&i->scheduler, &c, e);
}

/* Its stages read while the model's do. */
static int start_small(struct instance *i, struct error *e)
{
    struct draft_model_watch w = {.tick = on_tick, .tick_arg = i, .log = i->observer.log, .log_arg = i->observer.arg};

    if (i->plan->run.guesses) return draft_model_start(i->small, &i->plan->run, &w, e);
    log_warn("there is no memory for guesses, so that the draft model has nothing to do");
    draft_model_close(i->small);
    i->small = NULL;
    return 0;
}

int instance_start(struct instance *i, const struct instance_load *l, struct error *e)
{
    const struct options *o = i->config.options;
    struct plan_settings settings;
    enum engine_mps mps;
    int rc = plan_settings_from_options(&settings, o, e);

    if (rc) return rc;
    if (i->config.guesser)
        settings.guesses = i->config.guesses;
    else if (i->config.text || i->small)
        plan_settings_speculate(&settings, o);
    measure_text(&settings);
    settings.prompt_tokens = l->all_tokens ? l->all_tokens : l->prompt_tokens;
    if (l->prompt_tokens)
        settings.want_tokens = l->prompt_tokens + (uint32_t)(o->max_tokens > 0 ? o->max_tokens
                                                             : i->config.text  ? 1024
                                                                               : 0);
    if (l->want_tokens > settings.want_tokens) settings.want_tokens = l->want_tokens;
    if (i->small) {
        settings.sequences = l->sequences;
        if ((rc = draft_model_plan(i->small, &settings, e))) return rc;
    }
    if (o->hosts && (rc = machines_deal(&i->machines, o, model_program(i->parts.model), &settings, e))) return rc;
    if ((rc = plan_beside(i, &settings, l, e))) return rc;
    i->started = true;
    mps = choose_mps(i);
    rc = start_engine(i, &settings, mps, e);
    if (!rc && i->small) rc = start_small(i, e);
    if (!rc && i->plan->run.backend == BACKEND_CUDA && (settings.backend_auto || mps == ENGINE_MPS_TRY))
        rc = prove_device(i, l, &settings, mps, e);
    if (rc) return rc;
    set_sampling(i);
    if ((rc = open_drafter(i, e))) return rc;
    return open_scheduler(i, e);
}

/* What the reader found out about the disk is known to the next run. */
static void keep_reading(const struct instance *i)
{
    struct engine_stats t;

    if (!i->engine || !i->started || i->plan->run.io_find != IO_FIND_FIRST) return;
    engine_stats(i->engine, &t);
    if (t.io_block)
        calibration_keep_reading(i->config.options->model, t.io_block, (uint32_t)t.io_depth, (double)t.io_rate);
}

/* What the run saw of its lanes. */
static bool lanes_seen(const struct instance *i, struct calibration_run *out)
{
    struct engine_stats stats;

    if (!i->engine || !i->plan || !i->scheduler) return false;
    engine_stats(i->engine, &stats);
    *out = (struct calibration_run){.plan = i->plan,
                                    .summary = &i->summary,
                                    .speeds = &i->speeds,
                                    .io_ways = stats.io_ways,
                                    .sweep = scheduler_times(i->scheduler)->sweep,
                                    .sweeps = scheduler_times(i->scheduler)->sweeps,
                                    .compute_busy_ns = stats.stage[STAGE_COMPUTE].busy_ns,
                                    .compute_cpu_ns = stats.stage[STAGE_COMPUTE].cpu_ns,
                                    .copy_bytes = stats.stage[STAGE_TRANSFER].bytes,
                                    .copy_busy_ns = stats.stage[STAGE_TRANSFER].busy_ns,
                                    .sweeps_ns = scheduler_times(i->scheduler)->prompt_ns +
                                                 scheduler_times(i->scheduler)->decode_ns,
                                    .mps = stats.mps};
    return true;
}

void instance_close(struct instance *i)
{
    struct calibration_run run;

    if (!i) return;
    keep_reading(i);
    /* what the whole run saw weighs more */
    if (i->started && !is_spread(i) && lanes_seen(i, &run)) calibration_learn(&run, i->config.options->model);
    scheduler_close(i->scheduler);
    drafter_close(i->drafter);
    draft_model_close(i->small);
    engine_close(i->engine);
    machines_close(i->machines);
    free(i->plan);
    ends_free(&i->ends);
    parts_close(&i->parts);
    free(i);
}

/* ---- looking ---- */

struct model *instance_model(const struct instance *i)
{
    return i->parts.model;
}

const struct tokenizer *instance_tokenizer(const struct instance *i)
{
    return i->parts.tokenizer;
}

struct template *instance_template(const struct instance *i)
{
    return i->parts.template;
}

const struct options *instance_options(const struct instance *i)
{
    return i->config.options;
}

uint64_t instance_beside(const struct instance *i)
{
    return i->beside;
}

struct scheduler *instance_scheduler(const struct instance *i)
{
    return i->scheduler;
}

uint32_t instance_context(const struct instance *i)
{
    const struct plan_run *r = &i->plan->run;
    uint32_t rows = (r->kv_rows - plan_guess_rows(r->guesses)) / (r->sequences ? r->sequences : 1);

    return rows < i->plan->spec.context ? rows : i->plan->spec.context;
}

struct sampler_settings instance_sampling(const struct instance *i)
{
    return i->sampling;
}

void instance_end_tokens(const struct instance *i, const uint32_t **eos, size_t *count)
{
    *eos = i->ends.id;
    *count = i->ends.count;
}

const struct plan_shm *instance_plan(const struct instance *i)
{
    return i->plan;
}

const struct plan_summary *instance_summary(const struct instance *i)
{
    return &i->summary;
}

const struct scheduler_times *instance_times(const struct instance *i)
{
    return scheduler_times(i->scheduler);
}

void instance_stats(const struct instance *i, struct engine_stats *out)
{
    engine_stats(i->engine, out);
    if (i->small && draft_model_neural(i->small))
        out->peak_host_bytes += neural_stats(draft_model_neural(i->small)).peak_bytes;
}

void instance_rest(struct instance *i)
{
    if (i->small && draft_model_neural(i->small)) neural_rest(draft_model_neural(i->small));
    if (i->engine) engine_rest(i->engine);
}

struct engine *instance_engine(const struct instance *i)
{
    return i->engine;
}

const char *instance_predicted_from(const struct instance *i)
{
    bool disk = i->summary.sweep_bytes > 0, known = disk ? i->speeds.disk_measured : i->speeds.memory_measured;

    return i->predicted_by_sweep ? "first sweep" : known ? "measured before" : "assumed";
}

double instance_predicted_prompt_seconds(const struct instance *i)
{
    return i->predicted_prompt_seconds;
}

const struct draft_model *instance_small(const struct instance *i)
{
    return i->small;
}

bool instance_guessing(const struct instance *i, struct drafter_stats *out)
{
    if (i->drafter) *out = drafter_stats(i->drafter);
    return i->drafter != NULL;
}

double instance_seconds_by_lanes(const struct instance *i)
{
    struct calibration_run run;
    struct plan_summary z;
    struct calibration v;

    if (!i->scheduler || !scheduler_times(i->scheduler)->decode_sweeps || !lanes_seen(i, &run)) return 0;
    calibration_lanes(&run, &v);
    plan_summarize(&z, i->plan, &v);
    return z.predicted_seconds_per_token;
}
