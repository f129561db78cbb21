#include "coordinator/batch/session.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "coordinator/engine/experience.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/engine/mps.h"
#include "coordinator/plan/machine.h"
#include "coordinator/plan/calibrate.h"
#include "coordinator/view/view.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define DEATHS_MAX     3
#define MEMORY_MATTERS 100000000u /* bytes of a sweep from which on its speed is worth some 0.05 s, once */
#define READ_LEAST     250000000u /* bytes of a first sweep that say what the disk gives */

/* ---- opening ---- */

struct tokenizer_job {
    struct tokenizer **out;
    const char *folder;
    struct error error;
    int rc;
};

static void *open_tokenizer(void *p)
{
    struct tokenizer_job *j = p;

    j->rc = tokenizer_open(j->out, j->folder, &j->error);
    return NULL;
}

/* Models round their vocabularies up, by 2 % at most of what is published, and some tokenizers have special tokens that the
 * model has no rows for (Gemma 3's for pictures; an error where a text uses one). Anything else is a folder put together
 * from two models. */
static int compare_vocabularies(const struct session *s, const char *folder, struct error *e)
{
    uint32_t rows = model_program(s->model)->spec.vocab;
    const struct tokenizer *t = s->tokenizer;
    size_t tokens = tokenizer_vocab_size(t);

    while (tokens > rows && (!tokenizer_token_text(t, (uint32_t)tokens - 1) || tokenizer_is_special(t, (uint32_t)tokens - 1)))
        tokens--;
    if (tokens <= rows && tokens >= rows - rows / 10) return 0;
    return error_set(e, EINVAL,
                     "%s: the tokenizer has %zu tokens, and the model's vocabulary %u: they do not belong together",
                     folder, tokens, rows);
}

int session_load(struct session *s, const struct session_config *c, struct error *e)
{
    struct model_options mo = {.context = (uint32_t)c->options->context};
    struct tokenizer_job job = {.out = &s->tokenizer, .folder = c->options->model};
    pthread_t thread;
    bool threaded = c->text && !pthread_create(&thread, NULL, open_tokenizer, &job);
    int rc;

    machine_own_reset();
    if (c->options->max_tokens > 0 && c->prompt_tokens) mo.want_tokens = c->prompt_tokens + (uint32_t)c->options->max_tokens;
    if (!c->text && c->prompt_tokens) mo.want_tokens = c->prompt_tokens;
    rc = model_open(&s->model, c->options->model, &mo, e);
    if (threaded) pthread_join(thread, NULL);
    else if (c->text) open_tokenizer(&job);
    if (!rc && job.rc) {
        *e = job.error;
        rc = job.rc;
    }
    if (!rc && c->text) rc = compare_vocabularies(s, c->options->model, e);
    if (!rc && model_notice(s->model) && !c->options->quiet) log_at(LOG_WARN, "%s", model_notice(s->model));
    return rc;
}

static double given(double option, double model, double fallback)
{
    return !isnan(option) ? option : !isnan(model) ? model : fallback;
}

static int set_sampling(struct session *s, const struct options *o, struct error *e)
{
    const struct model_generation *g = model_generation(s->model);
    bool sample = g->has_do_sample ? g->do_sample : !isnan(g->temperature);
    struct sampler_settings *p = &s->sampling;

    p->temperature = !isnan(o->temperature) ? o->temperature : sample ? given(NAN, g->temperature, 1.0) : 0.0;
    p->top_p = given(o->top_p, g->top_p, 1.0);
    p->min_p = given(o->min_p, g->min_p, 0.0);
    p->repeat_penalty = given(o->repeat_penalty, g->repeat_penalty, 1.0);
    p->top_k = o->top_k >= 0 ? o->top_k : g->top_k > 0 ? (int)g->top_k : 0;
    p->seed = o->seed;
    if (!o->has_seed && getrandom(&p->seed, sizeof p->seed, GRND_NONBLOCK) < 0) p->seed = clock_ns();
    s->eos = g->eos;
    s->eos_count = g->eos_count;
    s->ignore_eos = o->ignore_eos;
    return sampler_open(&s->sampler, s->plan->spec.vocab, e);
}

static void on_tick(void *arg)
{
    struct session *s = arg;

    if (s->view) view_tick(s->view, s);
}

static void on_trace(void *arg, enum stage_id from, const struct trace_record *r, uint32_t n)
{
    struct session *s = arg;

    (void)from;
    if (s->view) view_trace(s->view, r, n);
}

static enum engine_mps choose_mps(const struct session *s, const struct options *o)
{
    bool streams = s->summary.disk_tiles || s->summary.host_tiles || s->summary.expert_tiles;

    if (o->mps != OPTION_MPS_AUTO) return o->mps == OPTION_MPS_ON ? ENGINE_MPS_MUST : ENGINE_MPS_OFF;
    /* Whoever chose a daemon for this process knows better. */
    return streams && !getenv("CUDA_MPS_PIPE_DIRECTORY") && mps_available() ? ENGINE_MPS_TRY : ENGINE_MPS_OFF;
}

static int start_engine(struct session *s, const struct options *o, enum engine_mps mps, struct error *e)
{
    struct engine_config config = {.plan = s->plan, .plan_bytes = s->plan_bytes, .tick = on_tick, .tick_arg = s, .trace = on_trace,
                                   .trace_arg = s, .fault = o->fault, .mps = mps};

    return engine_open(&s->engine, &config, e);
}

static int make_plan(struct session *s, const struct session_config *c, const struct plan_settings *settings, struct error *e)
{
    int rc;

    free(s->plan);
    if ((rc = plan_build(&s->plan, &s->plan_bytes, model_program(s->model), settings, e))) return rc;
    if (c->prompt_tokens > s->plan->spec.context)
        return error_set(e, E2BIG, "the prompt has %u tokens, the context %u: shorten it, or raise --context (the model was made for its own limit)",
                         c->prompt_tokens, s->plan->spec.context);
    calibration_load(&s->speeds, c->options->model, s->plan);
    plan_summarize(&s->summary, s->plan, &s->speeds);
    if (!s->speeds.memory_measured && s->summary.dense_bytes >= MEMORY_MATTERS) {
        calibration_measure_memory(&s->speeds, s->plan);
        plan_summarize(&s->summary, s->plan, &s->speeds);
    }
    if (c->prompt_tokens) s->predicted_prompt_seconds = plan_prompt_seconds(&s->summary, s->plan, &s->speeds, c->prompt_tokens);
    return 0;
}

/* Waits for stages that use the GPU. Where it was sluice's choice, one that does not come up is no reason to fail: without
 * MPS perhaps, else the processor computes. */
static int prove_device(struct session *s, const struct session_config *c, struct plan_settings *settings, enum engine_mps mps, struct error *e)
{
    int rc = engine_ready(s->engine, e);

    while (rc && rc != -ECANCELED && engine_failed_stage(s->engine) != STAGE_READER && s->plan->run.backend == BACKEND_CUDA) {
        engine_close(s->engine);
        s->engine = NULL;
        if (mps == ENGINE_MPS_TRY) {
            mps = ENGINE_MPS_OFF;
            log_info("%s; trying again without MPS", e->text);
        } else {
            log_warn("the GPU cannot be used, the processor computes: %s", e->text);
            settings->backend = BACKEND_CPU;
            if ((rc = make_plan(s, c, settings, e))) return rc;
        }
        if ((rc = start_engine(s, c->options, mps, e))) return rc;
        if (s->plan->run.backend == BACKEND_CUDA) rc = engine_ready(s->engine, e);
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

int session_start(struct session *s, const struct session_config *c, struct error *e)
{
    struct plan_settings settings;
    enum engine_mps mps;
    int rc = plan_settings_from_options(&settings, c->options, e);

    if (rc) return rc;
    measure_text(&settings);
    settings.max_logits = c->max_logits;
    settings.prompt_tokens = c->prompt_tokens;
    if (c->prompt_tokens)
        settings.want_tokens = c->prompt_tokens + (uint32_t)(c->options->max_tokens > 0 ? c->options->max_tokens : c->text ? 1024 : 0);
    if ((rc = make_plan(s, c, &settings, e))) return rc;
    s->folder = c->options->model;
    mps = choose_mps(s, c->options);
    rc = start_engine(s, c->options, mps, e);
    if (!rc && s->plan->run.backend == BACKEND_CUDA && settings.backend_auto) rc = prove_device(s, c, &settings, mps, e);
    if (rc) return rc;
    return set_sampling(s, c->options, e);
}

/* What the reader found out about the disk is known to the next run. */
static void keep_reading(const struct session *s)
{
    struct engine_stats t;

    if (!s->engine || !s->plan || !s->folder || s->plan->run.io_find != IO_FIND_FIRST) return;
    engine_stats(s->engine, &t);
    if (t.io_block) calibration_keep_reading(s->folder, t.io_block, (uint32_t)t.io_depth, (double)t.io_rate);
}

void session_close(struct session *s)
{
    keep_reading(s);
    if (s->folder) calibration_learn(s, s->folder); /* what the whole run saw weighs more */
    engine_close(s->engine);
    sampler_close(s->sampler);
    free(s->plan);
    tokenizer_close(s->tokenizer);
    model_close(s->model);
    token_ids_free(&s->tokens);
    memset(s, 0, sizeof *s);
}

/* ---- the sequence ---- */

uint32_t session_context(const struct session *s)
{
    return s->plan->spec.context;
}

int session_append(struct session *s, const uint32_t *id, size_t n, struct error *e)
{
    if (s->tokens.count + n > session_context(s))
        return error_set(e, E2BIG, "%zu tokens do not fit the context of %u: shorten the prompt, or raise --context", s->tokens.count + n,
                         session_context(s));
    for (size_t i = 0; i < n; i++) {
        if (id[i] >= s->plan->spec.vocab)
            return error_set(e, EINVAL, "token %u is outside of the model's vocabulary of %u: tokenizer and model do not belong together",
                             id[i], s->plan->spec.vocab);
        if (token_ids_push(&s->tokens, id[i])) return error_set(e, ENOMEM, "out of memory");
    }
    return 0;
}

/* A recurrent state cannot be taken back; attention just forgets the later rows. */
static void forget_rows(struct session *s, uint64_t n)
{
    if (s->cached > n) s->cached = s->plan->states.count ? 0 : n;
}

void session_truncate(struct session *s, uint64_t n)
{
    if (n < s->tokens.count) s->tokens.count = n;
    forget_rows(s, n);
}

/* ---- sweeps ---- */

/* What to do about a failed sweep: 0 to try again in a new epoch. */
static int recover(struct session *s, int rc, struct error *e)
{
    struct error first = *e;

    if (rc != -EPIPE || !engine_recoverable(s->engine)) return rc;
    if (++s->deaths >= DEATHS_MAX) return error_prefix(e, "gave up after %u failures in a row without a new token", s->deaths);
    log_info("%s; starting the stages again", first.text);
    if (s->view) view_note(s->view, "a stage ended, starting again");
    s->cached = 0;
    return engine_restart(s->engine, e);
}

static void fill(const struct session *s, struct sweep_position *p, uint64_t from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t position = (uint32_t)from + i;

        p[i] = (struct sweep_position){.token = s->tokens.id[position], .position = position, .row = position, .parent = position ? position - 1 : ROW_NONE};
    }
}

/* After -EDOM: computes the first n tokens once more, with an eye on every weight and every result, so that the error
 * names the tensor that is to blame. */
static int find_fault(struct session *s, uint64_t n, struct error *e)
{
    uint32_t most = s->plan->run.max_positions, rows;
    struct sweep_position *p = malloc(most * sizeof *p);
    struct error found = {0};
    const float *logits;
    int rc = 0;

    if (!p) return -e->code;
    if (s->view) view_note(s->view, "the logits are not numbers, looking for the reason");
    for (uint64_t at = 0; at < n && !rc; at += most) {
        uint32_t count = n - at < most ? (uint32_t)(n - at) : most;

        fill(s, p, at, count);
        p[0].flags = POSITION_CHECK;
        if (at + count == n) p[count - 1].flags |= POSITION_LOGITS;
        rc = engine_sweep(s->engine, p, count, &logits, &rows, &found);
    }
    free(p);
    s->cached = 0;
    if (rc == -ECANCELED || (rc == -EPIPE && !engine_recoverable(s->engine))) *e = found;
    return rc == -ECANCELED ? rc : -e->code;
}

/* What the stages have done so far, of this epoch. */
static struct session_sweep counted(struct session *s)
{
    const struct epoch_shm *run = engine_epoch(s->engine);

    if (!run) return (struct session_sweep){0};
    return (struct session_sweep){.read_bytes = atomic_load(&run->stats[STAGE_READER].bytes),
                                  .read_busy_ns = atomic_load(&run->stats[STAGE_READER].busy_ns),
                                  .compute_busy_ns = atomic_load(&run->stats[STAGE_COMPUTE].busy_ns)};
}

/* Where nothing was known of the disk, the first sweep says what those to come will take. One that fills the host cache
 * waits for the system's pages too: then what the reader tried at its start says more. */
static void predict_again(struct session *s, const struct session_sweep *first)
{
    struct engine_stats t;
    double rate = 0;

    if (s->speeds.disk_measured || !s->summary.sweep_bytes) return;
    engine_stats(s->engine, &t);
    if (t.io_block) rate = (double)t.io_rate;
    if ((!s->plan->run.host_cache_bytes || !(rate > 0)) && first->read_bytes >= READ_LEAST && first->read_busy_ns)
        rate = (double)first->read_bytes / ((double)first->read_busy_ns / 1e9);
    if (!(rate > 0)) return;
    s->speeds.disk = rate;
    s->predicted_by_sweep = true;
    plan_summarize(&s->summary, s->plan, &s->speeds);
}

static void note_sweep(struct session *s, uint32_t positions, uint64_t ns, const struct session_sweep *before)
{
    struct session_sweep now = counted(s);

    if (s->sweeps >= SESSION_SWEEPS) return;
    now.read_bytes -= before->read_bytes;
    now.read_busy_ns -= before->read_busy_ns;
    now.compute_busy_ns -= before->compute_busy_ns;
    now.positions = positions;
    now.ns = ns;
    s->sweep[s->sweeps++] = now;
    if (s->sweeps == 1) predict_again(s, &now);
}

int session_logits(struct session *s, const float **logits, struct error *e)
{
    struct session_sweep before = {0};
    uint32_t most = s->plan->run.max_positions, rows = 0;
    struct sweep_position *p = malloc(most * sizeof *p);
    int rc = 0;

    if (!p) return error_set(e, ENOMEM, "out of memory");
    if (s->cached == s->tokens.count) forget_rows(s, s->tokens.count - 1);
    while (s->cached < s->tokens.count) {
        uint64_t left = s->tokens.count - s->cached, t0 = clock_ns(), t;
        uint32_t n = left < most ? (uint32_t)left : most;
        bool first = !s->positions;

        fill(s, p, s->cached, n);
        if (n == left) p[n - 1].flags = POSITION_LOGITS;
        if (s->view) view_sweep(s->view, s, s->cached, n);
        if (!first) before = counted(s);
        else if (!(rc = engine_ready(s->engine, e))) t0 = clock_ns(); /* starting is no part of the sweep */
        if (!rc) rc = engine_sweep(s->engine, p, n, logits, &rows, e);
        t = clock_ns() - t0;
        if (rc == -EDOM) {
            rc = find_fault(s, s->cached + n, e);
            break;
        }
        if (rc) {
            /* what was interrupted moves recurrent states on all the same */
            if (rc == -ECANCELED && s->plan->states.count) s->cached = 0;
            if ((rc = recover(s, rc, e))) break;
            continue;
        }
        note_sweep(s, n, t, &before);
        if (s->view) view_swept(s->view, t0, t0 + t, n);
        if (n == 1 && left == 1 && !first) {
            s->decode_ns += t;
            s->decode_sweeps++;
        } else {
            s->prompt_ns += t;
        }
        s->cached += n;
        s->positions += n;
    }
    free(p);
    if (!rc && rows != 1) return error_set(e, EPROTO, "the last sweep gave %u rows of logits", rows);
    return rc;
}

int session_next(struct session *s, uint32_t *token, bool *end, struct error *e)
{
    const float *logits = NULL;
    int rc = session_logits(s, &logits, e);

    if (rc) return rc;
    rc = sampler_choose(s->sampler, &s->sampling, logits, s->tokens.id, s->tokens.count, 0, s->tokens.count, token, e);
    if (rc) return rc;
    if (token_ids_push(&s->tokens, *token)) return error_set(e, ENOMEM, "out of memory");
    s->deaths = 0;
    *end = false;
    for (size_t i = 0; i < s->eos_count && !s->ignore_eos; i++) *end |= *token == s->eos[i];
    return 0;
}

int session_logits_at(struct session *s, const uint32_t *position, size_t n, int (*row)(void *arg, const float *logits, struct error *e),
                      void *arg, struct error *e)
{
    uint32_t most = s->plan->run.max_positions, most_logits = s->plan->run.max_logits, vocab = s->plan->spec.vocab;
    struct sweep_position *p = malloc(most * sizeof *p);
    const float *logits;
    uint64_t t0;
    size_t next = 0;
    int rc = 0;

    if (!p) return error_set(e, ENOMEM, "out of memory");
    while (next < n && !rc) {
        uint64_t left = position[n - 1] + 1 - s->cached;
        uint32_t count = left < most ? (uint32_t)left : most, wanted = 0, rows;

        t0 = clock_ns();
        fill(s, p, s->cached, count);
        for (uint32_t i = 0; i < count && next + wanted < n; i++) {
            if (position[next + wanted] != s->cached + i) continue;
            p[i].flags = POSITION_LOGITS;
            if (++wanted == most_logits) count = i + 1;
        }
        rc = engine_sweep(s->engine, p, count, &logits, &rows, e);
        if (rc == -EDOM) {
            rc = find_fault(s, s->cached + count, e);
            break;
        }
        if (rc) {
            uint64_t had = s->cached;
            if ((rc = recover(s, rc, e))) break;
            /* rows that were handed out already are computed again without asking for logits */
            for (s->cached = 0; s->cached < had && !rc; s->cached += count) {
                count = had - s->cached < most ? (uint32_t)(had - s->cached) : most;
                fill(s, p, s->cached, count);
                rc = engine_sweep(s->engine, p, count, &logits, &rows, e);
            }
            continue;
        }
        if (s->view) view_swept(s->view, t0, clock_ns(), count);
        s->deaths = 0;
        s->cached += count;
        for (uint32_t i = 0; i < rows && !rc; i++) rc = row(arg, logits + (uint64_t)i * vocab, e);
        next += wanted;
    }
    free(p);
    return rc;
}
