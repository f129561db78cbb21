#include "coordinator/serve/batch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/engine/interrupt.h"
#include "coordinator/serve/batch_lines.h"
#include "coordinator/serve/serve.h"
#include "coordinator/serve/work.h"
#include "coordinator/view/live.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define TELL_NS UINT64_C(10000000000) /* between lines of progress where there is no terminal */

struct item { /* a request under way */
    struct batch_line line;
    struct job *job;
};

struct run {
    const struct options *options;
    struct facts facts;
    struct metrics metrics;
    struct work *work;
    struct batch_input in;
    struct batch_output out;
    struct item *item; /* [room] */
    uint32_t items, room;
    bool end; /* of the input */
    struct batch_extent extent;
    uint64_t had, done, refused; /* of an earlier run; of this one */
    uint64_t begin_ns, told_ns;
    struct live live;
    struct error error; /* what ended it from within more() */
    int rc;
};

/* ---- progress ---- */

static void put_time(char *to, size_t room, double seconds)
{
    unsigned long t = (unsigned long)(seconds + 0.5);

    snprintf(to, room, "%lu:%02lu:%02lu", t / 3600, t / 60 % 60, t % 60);
}

static void describe(const struct run *r, char *line, size_t room)
{
    double seconds = (double)(clock_ns() - r->begin_ns) / 1e9;
    uint64_t left = r->extent.requests - r->had - r->done;
    uint64_t tokens = atomic_load(&r->metrics.generation_tokens);
    char eta[32] = "?";

    if (r->done) put_time(eta, sizeof eta, seconds / (double)r->done * (double)left);
    snprintf(line, room, "%llu/%llu answered  %u running  %.3g tok/s  ETA %s", (unsigned long long)(r->had + r->done),
             (unsigned long long)r->extent.requests, r->items, seconds > 0 ? (double)tokens / seconds : 0, eta);
}

static void tell(struct run *r)
{
    uint64_t now = clock_ns();
    char line[160];

    if (r->options->quiet || (!r->live.wanted && now - r->told_ns < TELL_NS)) return;
    r->told_ns = now;
    describe(r, line, sizeof line);
    if (r->live.wanted)
        live_draw(&r->live, line);
    else
        fprintf(stderr, "sluice: %s\n", line);
}

static void on_tick(void *arg, const struct batch_progress *p)
{
    (void)p;
    tell(arg);
}

static void on_swept(void *arg, uint64_t start_ns, uint64_t end_ns, uint32_t positions)
{
    struct run *r = arg;

    (void)start_ns;
    (void)end_ns;
    atomic_fetch_add(&r->metrics.sweeps, 1);
    atomic_fetch_add(&r->metrics.positions, positions);
}

static void on_guessed(void *arg, uint64_t start_ns, uint64_t end_ns, uint32_t guesses)
{
    struct metrics *m = &((struct run *)arg)->metrics;

    atomic_fetch_add(&m->guesses, guesses);
    atomic_fetch_add(&m->draft_ns, end_ns - start_ns);
}

/* ---- results ---- */

static int write_fault(struct run *r, const struct batch_line *l, const struct fault *f, struct error *e)
{
    struct buffer b = {0};
    int rc;

    fault_write(&b, f);
    r->refused++;
    rc = batch_output_write(&r->out, l, f->status, "", b.data ? b.data : "{}", b.data ? b.bytes : 2, e);
    buffer_free(&b);
    return rc;
}

static void forget(struct run *r, uint32_t i)
{
    job_release(r->item[i].job);
    batch_line_free(&r->item[i].line);
    r->item[i] = r->item[--r->items];
}

/* Those that have ended. Where a stage is beyond help, or all was interrupted, nothing is written of what did not end. */
static int collect(struct run *r, struct error *e)
{
    int rc = 0;

    for (uint32_t i = r->items; i-- > 0 && !rc;) {
        struct item *x = &r->item[i];
        struct job *j = x->job;

        if (!j->done) continue;
        if (j->fault.status >= 500) {
            rc = error_set(e, EIO, "%.500s", j->fault.text);
        } else {
            rc = j->fault.status ? write_fault(r, &x->line, &j->fault, e)
                                 : batch_output_write(&r->out, &x->line, 200, j->id, j->out.data, j->out.bytes, e);
            r->done++;
        }
        forget(r, i);
    }
    return rc;
}

static int submit(struct run *r, struct batch_line *l, struct error *e)
{
    struct fault f = {0};
    struct ask *a;
    struct job *j;
    int rc = strstr(l->url, "chat") ? ask_chat(&a, &r->facts, l->body, &f) : ask_completion(&a, &r->facts, l->body, &f);

    if (rc) {
        rc = write_fault(r, l, &f, e);
        r->done++;
        batch_line_free(l);
        return rc;
    }
    json_decref(l->body);
    l->body = NULL;
    if (!(j = job_new(&r->facts, a, l->url, (struct buffer){0}, 0, ""))) return error_set(e, ENOMEM, "out of memory");
    if (work_submit(r->work, j, &f)) {
        job_release(j);
        return error_set(e, EIO, "%.500s", f.text);
    }
    r->item[r->items++] = (struct item){*l, j};
    *l = (struct batch_line){0};
    return 0;
}

/* The next line of the input. */
static int take(struct run *r, struct error *e)
{
    struct batch_line l;
    int rc = batch_input_next(&r->in, &l, e);

    if (rc <= 0) {
        r->end = true;
        return rc;
    }
    rc = 0;
    if (batch_output_has(&r->out, &l)) {
        r->had++;
    } else if (!l.body) {
        rc = batch_output_write(&r->out, &l, 0, "", "", 0, e);
        r->done++;
        r->refused++;
    } else {
        rc = submit(r, &l, e);
    }
    batch_line_free(&l);
    return rc;
}

static bool more(void *arg)
{
    struct run *r = arg;

    if (!r->rc) r->rc = collect(r, &r->error);
    while (!r->rc && !r->end && r->items < r->room) r->rc = take(r, &r->error);
    tell(r);
    if (r->rc) work_drain(r->work, 0);
    return !r->rc && !r->end;
}

/* ---- its life ---- */

static int start(struct run *r, struct instance **i, struct error *e)
{
    const struct options *o = r->options;
    struct batch_observer observer = {.arg = r, .tick = on_tick, .swept = on_swept, .guessed = on_guessed};
    struct instance_config c = {.options = o, .text = true, .template = PARTS_TEMPLATE_IF_ANY, .observer = &observer};
    uint32_t most = o->parallel                                ? (uint32_t)o->parallel
                    : r->extent.requests < SERVE_PARALLEL_MOST ? (uint32_t)r->extent.requests
                                                               : SERVE_PARALLEL_MOST;
    struct instance_load load = {.sequences = most,
                                 .max_logits = SERVE_PARALLEL_MOST,
                                 .want_tokens = r->extent.tokens < UINT32_MAX ? (uint32_t)r->extent.tokens : UINT32_MAX,
                                 .fewer = !o->parallel,
                                 .fastest = true};
    int rc = instance_load(i, &c, e);

    if (!rc) rc = instance_start(*i, &load, e);
    if (rc) return rc;
    if ((rc = facts_open(&r->facts, *i, e))) return rc;
    r->room = 2 * r->facts.parallel; /* those that wait are there when one ends */
    if (!(r->item = calloc(r->room, sizeof *r->item))) return error_set(e, ENOMEM, "out of memory");
    return work_open(&r->work,
                     &(struct work_config){.facts = &r->facts, .metrics = &r->metrics, .more = more, .arg = r}, e);
}

static void say_end(struct run *r)
{
    char line[160];

    live_hide(&r->live);
    if (r->options->quiet) return;
    describe(r, line, sizeof line);
    fprintf(stderr, "sluice: %s; %llu refused\n", line, (unsigned long long)r->refused);
}

static int answer_all(struct run *r, struct error *e)
{
    int rc = work_run(r->work, e), last;

    if (r->rc && rc != -ECANCELED) {
        *e = r->error;
        return r->rc;
    }
    if (!rc && (rc = collect(r, e))) return rc;
    say_end(r);
    last = rc == -ECANCELED ? collect(r, &r->error) : 0; /* what had ended */
    return rc ? rc : last;
}

int batch(const struct options *o, struct error *e)
{
    struct run r = {.options = o, .out = {.fd = -1}};
    struct instance *i = NULL;
    struct error second;
    int rc, rc2;

    interrupt_setup();
    live_open(&r.live, o->quiet);
    r.begin_ns = r.told_ns = clock_ns();
    rc = batch_input_check(&r.extent, o->prompt_file, facts_max_tokens(o), e);
    if (!rc) rc = batch_output_open(&r.out, o, e);
    if (!rc) rc = batch_input_open(&r.in, o->prompt_file, e);
    if (!rc) rc = start(&r, &i, e);
    if (!rc) rc = answer_all(&r, e);
    if (r.work) work_end(r.work);
    while (r.items) forget(&r, r.items - 1);
    work_close(r.work);
    facts_close(&r.facts);
    instance_close(i);
    live_close(&r.live);
    free(r.item);
    batch_input_close(&r.in);
    rc2 = batch_output_close(&r.out, &second);
    if (!rc && rc2) *e = second;
    return rc ? rc : rc2;
}
