#include "coordinator/view/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/engine/interrupt.h"
#include "coordinator/view/live.h"
#include "coordinator/view/trace.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

struct view {
    struct live live;
    uint64_t prompt, answer;
    uint64_t window_ns, window_bytes;
    double rate; /* bytes read per second, smoothed */
    char note[96];
    struct trace_writer *trace;
};

static void on_log(void *arg, const char *line, size_t bytes);

int view_open(struct view **out, bool quiet, const char *trace, const struct output_options *keep, struct error *e)
{
    struct view *v = calloc(1, sizeof *v);
    int rc = 0;

    if (!v) return error_set(e, ENOMEM, "out of memory");
    live_open(&v->live, quiet);
    if (trace) rc = trace_open(&v->trace, trace, keep, e);
    if (rc) {
        live_close(&v->live);
        free(v);
        return rc;
    }
    if (v->live.shared) log_divert(on_log, v);
    *out = v;
    return 0;
}

int view_close(struct view *v, struct error *e)
{
    int rc;

    if (!v) return 0;
    log_divert(NULL, NULL);
    live_close(&v->live);
    rc = trace_close(v->trace, e);
    free(v);
    return rc;
}

void view_total(struct view *v, uint64_t prompt, uint64_t answer)
{
    v->prompt = prompt;
    v->answer = answer;
}

static void on_note(void *arg, const char *text)
{
    struct view *v = arg;

    snprintf(v->note, sizeof v->note, "%s", text);
}

static void on_sweep(void *arg, const struct batch_progress *p)
{
    struct view *v = arg;

    (void)p;
    v->note[0] = 0;
}

static void on_trace(void *arg, const struct trace_record *r, uint32_t n)
{
    struct view *v = arg;

    trace_write(v->trace, r, n);
}

static void on_swept(void *arg, uint64_t start_ns, uint64_t end_ns, uint32_t positions)
{
    struct view *v = arg;

    trace_sweep(v->trace, start_ns, end_ns, positions);
}

static void on_guessed(void *arg, uint64_t start_ns, uint64_t end_ns, uint32_t guesses)
{
    struct view *v = arg;

    trace_draft(v->trace, start_ns, end_ns, guesses);
}

static void on_tick(void *arg, const struct batch_progress *p);

/* A message amid an answer begins a line, and the answer goes on below it. */
static void on_log(void *arg, const char *line, size_t bytes)
{
    struct view *v = arg;

    live_interrupt(&v->live);
    fwrite(line, 1, bytes, stderr);
}

struct batch_observer view_observer(struct view *v)
{
    return (struct batch_observer){.arg = v,
                                   .sweep = on_sweep,
                                   .swept = on_swept,
                                   .guessed = on_guessed,
                                   .tick = on_tick,
                                   .note = on_note,
                                   .log = v->live.shared ? on_log : NULL,
                                   .trace = on_trace};
}

/* ---- the line ---- */

static void update_rate(struct view *v, uint64_t bytes, uint64_t now)
{
    double dt = (double)(now - v->window_ns) / 1e9;

    if (!v->window_ns) {
        v->window_ns = now;
        v->window_bytes = bytes;
    } else if (dt > 0.5) {
        double r = (double)(bytes - v->window_bytes) / dt;

        v->rate = v->rate > 0 ? 0.5 * v->rate + 0.5 * r : r;
        v->window_ns = now;
        v->window_bytes = bytes;
    }
}

static void put_time(char *to, size_t room, double seconds)
{
    unsigned long t = (unsigned long)(seconds + 0.5);

    if (t >= 3600)
        snprintf(to, room, "%lu:%02lu:%02lu", t / 3600, t / 60 % 60, t % 60);
    else
        snprintf(to, room, "%lu:%02lu", t / 60, t % 60);
}

/* Seconds to the end: sweeps to come, each as long as the last ones, or as planned while there was none. */
static double eta(const struct view *v, const struct batch_progress *p, uint64_t now)
{
    double layers = p->layers ? (double)p->layer / (double)p->layers : 0;
    double gone = (double)(now - p->sweep_start_ns) / 1e9, sweep = p->seconds_per_token, rest;
    uint64_t prompt_left = p->prompt_done < v->prompt ? v->prompt - p->prompt_done : 0;
    uint64_t answer_left = p->answered < v->answer ? v->answer - p->answered : 0;

    rest = (double)answer_left / (p->sequences > 1 ? p->sequences : 1) * sweep;
    if (p->decode_tokens) rest = (double)answer_left * (double)p->decode_ns / 1e9 / (double)p->decode_tokens;
    if (prompt_left) {
        uint64_t chunks = (prompt_left + p->max_positions - 1) / p->max_positions;
        double chunk = layers > 0.1 ? gone / layers : p->seconds_per_prompt_token * p->positions;

        rest += (double)chunks * chunk;
    }
    rest -= gone;
    return rest > 0 ? rest : 0;
}

/* What comes of guesses; last in the line, where a narrow terminal cuts it off. */
static void put_guessing(char *to, size_t room, const struct batch_progress *p)
{
    int n = 0;

    *to = 0;
    if (!p->sought_sweeps || !p->guesses) return;
    n = snprintf(to, room, "  %.3g a sweep (%.3g expected)", (double)p->sought_tokens / (double)p->sought_sweeps,
                 p->sought_expected / (double)p->sought_sweeps);
    if (p->decode_sweeps && p->guess_ns > p->decode_ns / 50)
        snprintf(to + n, room - (size_t)n, "  %.2g s guessing", (double)p->guess_ns / 1e9 / (double)p->decode_sweeps);
}

static void on_tick(void *arg, const struct batch_progress *p)
{
    struct view *v = arg;
    uint64_t now = clock_ns();
    char line[384], left[32], what[96], speed[32] = "", guessing[96];
    bool reads = p->prompt_done < v->prompt;

    if (!v->live.wanted) return;
    update_rate(v, p->bytes_read, now);
    if (p->sequences > 1)
        snprintf(what, sizeof what, "%u answers  %llu tokens", p->sequences, (unsigned long long)p->answered);
    else if (reads)
        snprintf(what, sizeof what, "prompt %llu/%llu", (unsigned long long)p->prompt_done,
                 (unsigned long long)v->prompt);
    else
        snprintf(what, sizeof what, "token %llu", (unsigned long long)p->answered + 1);
    if (p->decode_sweeps)
        snprintf(speed, sizeof speed, "  %.3g tok/s", (double)p->decode_tokens / ((double)p->decode_ns / 1e9));
    put_guessing(guessing, sizeof guessing, p);
    put_time(left, sizeof left, eta(v, p, now));
    snprintf(line, sizeof line, "%s  layer %llu/%llu  %.2f GB/s%s  ETA %s%s%s%s", what, (unsigned long long)p->layer,
             (unsigned long long)p->layers, v->rate / 1e9, speed, left, v->note[0] ? "  " : "", v->note, guessing);
    live_draw(&v->live, line);
}

void view_progress(struct view *v, const char *what, uint64_t done, uint64_t total)
{
    uint64_t now = clock_ns();
    char line[256], left[32];

    if (!v->live.wanted) return;
    update_rate(v, done, now);
    put_time(left, sizeof left, v->rate > 0 && total > done ? (double)(total - done) / v->rate : 0);
    snprintf(line, sizeof line, "%s %.1f/%.1f GB  %.0f%%  %.2f GB/s  ETA %s", what, (double)done / 1e9,
             (double)total / 1e9, total ? 100 * (double)done / (double)total : 100.0, v->rate / 1e9, left);
    live_draw(&v->live, line);
}

/* ---- the answer ---- */

int view_text(struct view *v, const char *text, size_t bytes, struct error *e)
{
    int rc = bytes ? live_text(&v->live, text, bytes) : 0;

    if (!rc) return 0;
    return interrupted() ? error_set(e, ECANCELED, "interrupted")
                         : error_set(e, -rc, "cannot write the answer: %s", error_name(-rc));
}

void view_echoed(struct view *v, const char *text, size_t bytes)
{
    live_echoed(&v->live, text, bytes);
}

void view_hide(struct view *v)
{
    live_hide(&v->live);
}

void view_interrupt(struct view *v)
{
    live_interrupt(&v->live);
}
