#include "coordinator/serve/work.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator/batch/prefix.h"
#include "coordinator/engine/interrupt.h"
#include "coordinator/serve/choice.h"
#include "coordinator/serve/reply.h"
#include "coordinator/serve/work_slots.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define SECOND    UINT64_C(1000000000)
#define KEPT_EACH 4             /* sequences that are kept for others to begin with, for each that may run */
#define WEIGH_NS  (SECOND / 20) /* between two looks at what answers hold */
#define GONE_NS   (10 * SECOND) /* how long one whose client is gone keeps its place in the queue */

struct work {
    struct work_config config;
    struct scheduler *scheduler;
    struct choice_scratch scratch;
    struct slots slots;
    /* the computing thread's own */
    struct prefixes *prefixes;
    struct choice **active; /* [parallel] */
    struct sequence **live; /* [parallel] theirs */
    uint32_t actives;
    uint64_t weighed_ns;
    struct job *waiting; /* in order; begun, or yet to begin */
    struct job *running; /* all choices have begun */
    /* with the lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job *incoming, **incoming_end;
    uint32_t queued; /* requests that wait: incoming, and waiting ones whose clients are there */
    bool draining;
    uint64_t until_ns; /* when what still runs is ended; 0: it is not */
    char failure[256]; /* of the last sweep; empty: it was good */
};

int work_open(struct work **out, const struct work_config *c, struct error *e)
{
    struct work *w = calloc(1, sizeof *w);
    pthread_condattr_t attr;
    int rc;

    if (!w) return error_set(e, ENOMEM, "out of memory");
    w->config = *c;
    w->scheduler = instance_scheduler(c->facts->instance);
    w->incoming_end = &w->incoming;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &attr);
    pthread_condattr_destroy(&attr);
    slots_open(&w->slots);
    w->active = calloc(c->facts->parallel, sizeof(*w->active));
    w->live = calloc(c->facts->parallel, sizeof(*w->live));
    w->scratch.logits = calloc(c->facts->vocab, sizeof *w->scratch.logits);
    w->scratch.seen = calloc(c->facts->vocab, 1);
    rc = w->active && w->live && w->scratch.logits && w->scratch.seen ? 0 : error_set(e, ENOMEM, "out of memory");
    if (!rc)
        rc = prefixes_open(&w->prefixes, w->scheduler, instance_plan(c->facts->instance)->states.count > 0,
                           KEPT_EACH * c->facts->parallel, e);
    if (rc)
        work_close(w);
    else
        *out = w;
    return rc;
}

/* ---- handing in ---- */

static void append(struct job **list, struct job *j)
{
    while (*list) list = &(*list)->next;
    j->next = NULL;
    *list = j;
}

uint32_t work_eta(struct work *w)
{
    struct metrics *m = w->config.metrics;
    double seconds = atomic_load(&m->sweep_seconds) * 20 * (1 + atomic_load(&m->waiting) / w->config.facts->parallel);

    return seconds < 1 ? 1 : seconds > 3600 ? 3600 : (uint32_t)seconds;
}

int work_submit(struct work *w, struct job *j, struct fault *f)
{
    uint32_t eta = work_eta(w);
    bool draining, full;

    pthread_mutex_lock(&w->lock);
    draining = w->draining;
    full = w->config.queue && w->queued >= w->config.queue;
    if (!draining && !full) {
        *w->incoming_end = job_hold(j);
        w->incoming_end = &j->next;
        w->queued++;
        atomic_store(&j->ahead, w->queued - 1);
        pthread_cond_signal(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    atomic_fetch_add(draining || full ? &w->config.metrics->refused : &w->config.metrics->requests, 1);
    if (draining) fault_set(f, 503, NULL, "shutting_down", "the server is ending and takes no new requests");
    if (!draining && full)
        fault_set(f, 429, NULL, "queue_full", "%u requests wait already, and --queue allows no more", w->config.queue);
    if (draining || full) f->retry_after = eta;
    return draining || full ? -1 : 0;
}

static bool same(const struct job *j, const char *path, const struct buffer *body, const char *key)
{
    size_t n = strlen(path);

    return j->key.bytes == n + strlen(key) && !memcmp(j->key.data, path, n) &&
           !memcmp(j->key.data + n, key, strlen(key)) && j->body.bytes == body->bytes && body->bytes &&
           !memcmp(j->body.data, body->data, body->bytes);
}

struct job *work_attach(struct work *w, const char *path, const struct buffer *body, const char *key, bool kept)
{
    struct job *found = NULL, *lists[2];

    pthread_mutex_lock(&w->lock);
    lists[0] = w->waiting;
    lists[1] = w->incoming;
    for (int i = 0; i < 2; i++)
        for (struct job *j = lists[i]; j && !found; j = j->next)
            if (atomic_load(&j->gone) && !j->begun && same(j, path, body, key)) found = job_hold(j);
    if (found) {
        found->kept |= kept;
        atomic_store(&found->gone, false);
        w->queued++;
    }
    pthread_mutex_unlock(&w->lock);
    return found;
}

void work_drain(struct work *w, double seconds)
{
    pthread_mutex_lock(&w->lock);
    w->draining = true;
    w->until_ns = clock_ns() + (uint64_t)(seconds * 1e9);
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

bool work_healthy(struct work *w, char *why, size_t room)
{
    bool good;

    pthread_mutex_lock(&w->lock);
    good = !w->failure[0];
    snprintf(why, room, "%s", w->failure);
    pthread_mutex_unlock(&w->lock);
    return good;
}

void work_slots(struct work *w, struct buffer *out)
{
    slots_write(&w->slots, out, w->config.facts->parallel);
}

/* ---- leaving ---- */

/* Its sequence leaves; what the cache holds of it may serve others. */
static void retire(struct work *w, struct choice *c)
{
    if (!c->sequence) return;
    scheduler_leave(w->scheduler, c->sequence);
    choice_remember(c);
    prefixes_keep(w->prefixes, c->sequence);
    c->sequence = NULL;
    for (uint32_t i = 0; i < w->actives; i++)
        if (w->active[i] == c) {
            memmove(&w->active[i], &w->active[i + 1], (w->actives - i - 1) * sizeof(*w->active));
            w->actives--;
            return;
        }
}

static void take_out(struct job **list, struct job *j)
{
    while (*list && *list != j) list = &(*list)->next;
    if (*list) *list = j->next;
}

/* It is no longer under way. The lists are read by work_attach(). */
static void let_go(struct work *w, struct job *j)
{
    for (uint32_t i = 0; i < j->choices; i++) retire(w, &j->choice[i]);
    pthread_mutex_lock(&w->lock);
    take_out(&w->waiting, j);
    take_out(&w->running, j);
    pthread_mutex_unlock(&w->lock);
    job_release(j);
}

static void count_end(struct work *w, const struct job *j, enum metrics_finish how)
{
    atomic_fetch_add(&w->config.metrics->finished[how], 1);
    metrics_observe(&w->config.metrics->whole, clock_ns() - j->arrived_ns);
}

static void fail(struct work *w, struct job *j, const struct fault *f, enum metrics_finish how)
{
    count_end(w, j, how);
    job_fail(j, f);
    let_go(w, j);
}

static void fail_all(struct work *w, const struct fault *f)
{
    while (w->waiting) fail(w, w->waiting, f, METRICS_ERROR);
    while (w->running) fail(w, w->running, f, METRICS_ERROR);
}

/* Those that took part. */
static void fail_begun(struct work *w, const struct fault *f)
{
    while (w->actives) fail(w, w->active[0]->job, f, METRICS_ERROR);
}

void work_end(struct work *w)
{
    struct job *incoming, *j;
    struct fault f;

    fault_set(&f, 503, NULL, "shutting_down", "the server has ended");
    pthread_mutex_lock(&w->lock);
    w->draining = true;
    incoming = w->incoming;
    w->incoming = NULL;
    w->incoming_end = &w->incoming;
    pthread_mutex_unlock(&w->lock);
    while ((j = incoming)) {
        incoming = j->next;
        job_fail(j, &f);
        job_release(j);
    }
    fail_all(w, &f);
}

void work_close(struct work *w)
{
    if (!w) return;
    work_end(w);
    prefixes_close(w->prefixes);
    slots_close(&w->slots);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    free(w->active);
    free(w->live);
    free(w->scratch.logits);
    free(w->scratch.seen);
    free(w);
}

/* ---- at the boundary of a sweep ---- */

/* What has come joins those who wait; returns whether nothing new is taken any more. */
static bool take_incoming(struct work *w, bool *over)
{
    bool draining;
    uint64_t until;

    pthread_mutex_lock(&w->lock);
    while (w->incoming) {
        struct job *j = w->incoming;

        w->incoming = j->next;
        append(&w->waiting, j);
    }
    w->incoming_end = &w->incoming;
    draining = w->draining;
    until = w->until_ns;
    pthread_mutex_unlock(&w->lock);
    *over = draining && clock_ns() >= until;
    return draining;
}

/* Clients that are gone: what runs ends; what waits keeps its place for a while, for a client that tries again. */
static void sweep_gone(struct work *w, struct job *list)
{
    uint64_t now = clock_ns();
    struct job *next;
    struct fault f;

    for (struct job *j = list; j; j = next) {
        bool gone = atomic_load(&j->gone);

        next = j->next;
        if (gone && (j->begun || now - atomic_load(&j->gone_ns) > GONE_NS)) {
            fault_set(&f, 499, NULL, "client_gone", "the client has left");
            fail(w, j, &f, METRICS_ABORT);
        } else if (j->ask->timeout_s > 0 && (double)(now - j->arrived_ns) / 1e9 > j->ask->timeout_s && !j->begun) {
            fault_set(&f, 408, "timeout_s", "timeout", "the answer had not begun after %g s", j->ask->timeout_s);
            fail(w, j, &f, METRICS_ERROR);
        }
    }
}

/* Its time is over: what was said stands, as if the length were reached. */
static void end_late(struct work *w)
{
    uint64_t now = clock_ns();

    for (uint32_t i = 0; i < w->actives; i++) {
        struct choice *c = w->active[i];
        double limit = c->job->ask->timeout_s;

        if (!(limit > 0) || c->state != CHOICE_SPEAKS || (double)(now - c->job->arrived_ns) / 1e9 <= limit) continue;
        scheduler_leave(w->scheduler, c->sequence);
        c->late = true;
    }
}

static struct choice *next_choice(const struct work *w)
{
    for (struct job *j = w->waiting; j; j = j->next)
        if (j->begun < j->choices && !atomic_load(&j->gone)) return &j->choice[j->begun];
    return NULL;
}

/* Choices of one prompt read it once: the others wait for the first one where that saves a sweep. */
static bool waits_for_first(const struct work *w, const struct choice *c)
{
    const struct ask *a = c->job->ask;
    const struct choice *first = c - c->index % a->n;

    return first != c && first->sequence && !first->made &&
           choice_prompt(c)->count * (a->n - 1) > instance_plan(w->config.facts->instance)->run.max_positions;
}

static void note_begin(struct work *w, struct choice *c)
{
    struct metrics *m = w->config.metrics;
    uint32_t n = (uint32_t)choice_prompt(c)->count;
    struct job *j = c->job;

    if (!j->begun) {
        j->began_ns = clock_ns();
        metrics_observe(&m->queued, j->began_ns - j->arrived_ns);
    }
    j->begun++;
    w->active[w->actives++] = c;
    if (c->index % j->ask->n) return;
    j->prompt_tokens += n;
    j->cached_tokens += c->cached;
    atomic_fetch_add(&m->prompt_tokens, n);
    atomic_fetch_add(&m->cached_tokens, c->cached);
    atomic_fetch_add(&j->prompt_total, n);
    if (c->index || !j->ask->progress || !j->ask->stream) return;
    /* where it begins: what the cache held is done */
    atomic_store(&j->prompt_done, c->cached);
    reply_progress(j);
}

static int begin(struct work *w, struct choice *c, struct error *e)
{
    const struct token_ids *p = choice_prompt(c);
    const struct ask *a = c->job->ask;
    struct prefix_ask ask = {.token = p->id,
                             .tokens = (uint32_t)p->count,
                             .limit = choice_limit(c),
                             .alone = a->echo && a->logprobs >= 0,
                             .live = w->live,
                             .lives = w->actives};
    int rc;

    for (uint32_t i = 0; i < w->actives; i++) w->live[i] = w->active[i]->sequence;
    if ((rc = prefixes_sequence(w->prefixes, &c->sequence, &ask, e))) return rc;
    c->cached = sequence_computed(c->sequence);
    note_begin(w, c);
    return choice_begin(c, w->scheduler, &w->scratch, e);
}

/* All of a request's choices have begun: others may be begun before they end. */
static void note_begun(struct work *w, struct job *j)
{
    pthread_mutex_lock(&w->lock);
    if (j->begun == 1) job_forget_body(j);
    atomic_store(&j->runs, true);
    if (j->begun == j->choices) {
        take_out(&w->waiting, j);
        append(&w->running, j);
    }
    pthread_mutex_unlock(&w->lock);
}

static void fail_with(struct work *w, struct job *j, const struct error *e)
{
    struct fault f;

    fault_set(&f, 500, NULL, NULL, "%.480s", e->text);
    fail(w, j, &f, METRICS_ERROR);
}

static int admit(struct work *w)
{
    struct error e = {0};
    struct choice *c;
    int rc;

    while (w->actives < w->config.facts->parallel && (c = next_choice(w))) {
        if (waits_for_first(w, c)) return 0;
        rc = begin(w, c, &e);
        if (rc == -ENOSPC && w->actives) return 0; /* not while the others hold the cache */
        if (rc)
            fail_with(w, c->job, &e);
        else
            note_begun(w, c->job);
    }
    return 0;
}

/* For those who wait: how many come before them, how far their prompts are. */
static void tell(struct work *w)
{
    struct metrics *m = w->config.metrics;
    uint32_t ahead = 0;

    pthread_mutex_lock(&w->lock);
    w->queued = 0;
    for (struct job *j = w->waiting; j; j = j->next) {
        atomic_store(&j->ahead, ahead);
        if (atomic_load(&j->gone)) continue;
        ahead += j->choices - j->begun;
        w->queued += !j->begun;
    }
    for (struct job *j = w->incoming; j; j = j->next) w->queued += !atomic_load(&j->gone);
    pthread_mutex_unlock(&w->lock);
    atomic_store(&m->waiting, ahead);
    atomic_store(&m->running, w->actives);
    atomic_store(&m->kv_free, scheduler_rows_free(w->scheduler));
}

/* ---- after a sweep ---- */

static int conclude(struct work *w, struct choice *c, struct error *e)
{
    struct metrics *m = w->config.metrics;
    struct job *j = c->job;
    int rc = choice_conclude(c, w->scheduler, e);

    if (rc || c->state != CHOICE_ENDED) return rc;
    j->tokens += c->made;
    j->ended++;
    atomic_fetch_add(&m->generation_tokens, c->made);
    if (j->ended == j->choices) {
        count_end(w, j, !strcmp(c->finish, "stop") ? METRICS_STOP : METRICS_LENGTH);
        reply_end(j);
        job_weigh(j); /* it is there, and who reads it will soon be done */
        let_go(w, j);
    } else {
        retire(w, c);
    }
    return 0;
}

static bool has_ended(const struct choice *c)
{
    return c->late || sequence_ended(c->sequence) != SEQUENCE_RUNS;
}

/* Before an answer is called good the files of the weights are looked at: are they what was planned? */
static int conclude_ended(struct work *w, struct error *e)
{
    bool any = false;
    int rc;

    for (uint32_t i = 0; i < w->actives; i++) any |= has_ended(w->active[i]);
    if (!any) return 0;
    if ((rc = engine_weights_unchanged(instance_engine(w->config.facts->instance), e))) return rc;
    for (uint32_t i = w->actives; i-- > 0;) {
        struct choice *c;

        if (i >= w->actives || !has_ended(c = w->active[i])) continue;
        if ((rc = conclude(w, c, e))) fail_with(w, c->job, e);
    }
    return 0;
}

static void note_progress(struct work *w)
{
    struct metrics *m = w->config.metrics;

    for (uint32_t i = 0; i < w->actives; i++) {
        struct choice *c = w->active[i];
        struct job *j = c->job;
        uint32_t done = sequence_computed(c->sequence), all = (uint32_t)choice_prompt(c)->count;

        if (done > all) done = all;
        if (!c->made) choice_progress(c, done);
        if (c->made == 1 && c->seen != 1 && c->index == 0) metrics_observe(&m->first_token, c->last_ns - j->arrived_ns);
        if (c->made > 1 && c->seen != c->made) metrics_observe(&m->between_tokens, c->last_ns - c->before_ns);
        if (c->seen != c->made) c->before_ns = c->last_ns;
        c->seen = c->made;
    }
}

/* What answers have grown by. One that finds no room for more ends. */
static void weigh(struct work *w)
{
    uint64_t now = clock_ns();
    struct fault f;

    if (now - w->weighed_ns < WEIGH_NS) return;
    w->weighed_ns = now;
    for (uint32_t i = 0; i < w->actives;) {
        struct job *j = w->active[i]->job;

        if (i && w->active[i - 1]->job == j)
            i++; /* with the one before */
        else if (job_weigh(j))
            i++;
        else {
            job_too_much(j, &f);
            fail(w, j, &f, METRICS_ERROR);
            i = 0;
        }
    }
}

static void note_sweep(struct work *w, uint64_t start_ns)
{
    struct metrics *m = w->config.metrics;
    struct engine_stats t;

    instance_stats(w->config.facts->instance, &t);
    atomic_store(&m->sweep_seconds, (double)(clock_ns() - start_ns) / 1e9);
    atomic_store(&m->bytes_read, t.stage[STAGE_READER].bytes);
    for (int i = 0; i < STAGES && i < 3; i++) {
        atomic_store(&m->busy_ns[i], t.stage[i].busy_ns);
        atomic_store(&m->wait_ns[i], t.stage[i].wait_ns);
    }
    slots_update(&w->slots, w->active, w->actives);
}

static void set_failure(struct work *w, const char *text)
{
    pthread_mutex_lock(&w->lock);
    snprintf(w->failure, sizeof w->failure, "%.250s", text);
    pthread_mutex_unlock(&w->lock);
}

/* One sweep. A failure is told to all whose answers were under way; those to come may do better. */
static int sweep(struct work *w, struct error *e)
{
    uint64_t start = clock_ns();
    struct fault f;
    int rc;

    slots_update(&w->slots, w->active, w->actives); /* a sweep may take minutes: who is in it is told before */
    rc = scheduler_step(w->scheduler, e);

    if (!rc) rc = conclude_ended(w, e);
    if (rc == -ECANCELED) return rc;
    set_failure(w, rc ? e->text : "");
    if (rc) {
        log_warn("%s", e->text);
        fault_set(&f, 500, NULL, NULL, "%.480s", e->text);
        fail_begun(w, &f);
        *e = (struct error){0};
    }
    note_progress(w);
    weigh(w);
    note_sweep(w, start);
    return 0;
}

/* Nothing is to be done: until something comes, or for a while. */
static void rest(struct work *w)
{
    struct timespec until;

    instance_rest(w->config.facts->instance);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    pthread_mutex_lock(&w->lock);
    if (!w->incoming && !w->draining) pthread_cond_timedwait(&w->changed, &w->lock, &until);
    pthread_mutex_unlock(&w->lock);
}

int work_run(struct work *w, struct error *e)
{
    struct fault f;
    int rc = 0;

    while (!rc) {
        bool over, last = w->config.more ? !w->config.more(w->config.arg) : false;

        if (interrupted()) return error_set(e, ECANCELED, "interrupted");
        last |= take_incoming(w, &over);
        sweep_gone(w, w->waiting);
        sweep_gone(w, w->running);
        fault_set(&f, 503, NULL, "shutting_down", "the server is ending");
        if (over) fail_all(w, &f);
        end_late(w);
        admit(w);
        rc = conclude_ended(w, e); /* what had nothing to say */
        tell(w);
        if (rc) break;
        if (w->actives)
            rc = sweep(w, e);
        else if (last && !w->waiting)
            break;
        else if (!w->waiting)
            rest(w);
    }
    return rc;
}
