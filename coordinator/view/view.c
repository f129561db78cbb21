#include "coordinator/view/view.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utf8proc.h>

#include "coordinator/engine/interrupt.h"
#include "coordinator/batch/session.h"
#include "coordinator/view/terminal.h"
#include "coordinator/view/trace.h"
#include "proto/base/clock.h"

struct view {
    bool terminal;  /* stdout is one */
    bool live;      /* stderr is a terminal */
    bool shared;    /* and stdout is one too: the answer stands above the line */
    bool dim;       /* the line is, where colours are wanted */
    bool shown;
    uint32_t column; /* of the answer's last line */
    uint64_t prompt, answer;
    uint64_t sweep_done, sweep_start_ns, window_ns, window_bytes;
    uint32_t sweep_positions;
    double rate;    /* bytes read per second, smoothed */
    char note[96];
    struct trace_writer *trace;
};

int view_open(struct view **out, bool quiet, const char *trace, struct error *e)
{
    struct view *v = calloc(1, sizeof *v);
    int rc = 0;

    if (!v) return error_set(e, ENOMEM, "out of memory");
    v->terminal = terminal_is(STDOUT_FILENO);
    v->live = !quiet && terminal_escapes(STDERR_FILENO);
    v->shared = v->live && v->terminal;
    v->dim = v->live && terminal_color(STDERR_FILENO);
    if (trace) rc = trace_open(&v->trace, trace, e);
    if (rc) free(v);
    else *out = v;
    return rc;
}

int view_close(struct view *v, struct error *e)
{
    int rc;

    if (!v) return 0;
    view_hide(v);
    rc = trace_close(v->trace, e);
    free(v);
    return rc;
}

void view_total(struct view *v, uint64_t prompt, uint64_t answer)
{
    v->prompt = prompt;
    v->answer = answer;
}

void view_note(struct view *v, const char *text)
{
    snprintf(v->note, sizeof v->note, "%s", text);
}

void view_sweep(struct view *v, const struct session *s, uint64_t done, uint32_t positions)
{
    (void)s;
    v->sweep_done = done;
    v->sweep_positions = positions;
    v->sweep_start_ns = clock_ns();
    v->note[0] = 0;
}

void view_trace(struct view *v, const struct trace_record *r, uint32_t n)
{
    trace_write(v->trace, r, n);
}

void view_swept(struct view *v, uint64_t start_ns, uint64_t end_ns, uint32_t positions)
{
    trace_sweep(v->trace, start_ns, end_ns, positions);
}

/* ---- the line ---- */

static uint32_t terminal_width(void)
{
    struct winsize w;

    return !ioctl(STDERR_FILENO, TIOCGWINSZ, &w) && w.ws_col > 10 ? w.ws_col : 80;
}

void view_hide(struct view *v)
{
    if (!v->shown) return;
    v->shown = false;
    fputs(v->shared ? "\033[J" : "\r\033[K", stderr);
    fflush(stderr);
}

static void draw(struct view *v, const char *line)
{
    const char *on = v->dim ? TERMINAL_DIM : "", *off = v->dim ? TERMINAL_PLAIN : "";
    uint32_t width = terminal_width();

    fflush(stdout);
    if (v->shared && v->column) /* below the answer, and back to where it goes on */
        fprintf(stderr, "\n\033[K%s%.*s%s\033[A\033[%uG", on, (int)width - 1, line, off, v->column % width + 1);
    else fprintf(stderr, "\r\033[K%s%.*s%s\r", on, (int)width - 1, line, off);
    fflush(stderr);
    v->shown = true;
}

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

    if (t >= 3600) snprintf(to, room, "%lu:%02lu:%02lu", t / 3600, t / 60 % 60, t % 60);
    else snprintf(to, room, "%lu:%02lu", t / 60, t % 60);
}

/* Seconds to the end: sweeps to come, each as long as the last ones, or as planned while there was none. */
static double eta(const struct view *v, const struct session *s, const struct engine_stats *t, uint64_t now)
{
    double layers = s->plan->spec.layers ? (double)t->layer / s->plan->spec.layers : 0;
    double gone = (double)(now - v->sweep_start_ns) / 1e9, sweep = s->summary.predicted_seconds_per_token;
    uint64_t prompt_left = v->sweep_done < v->prompt ? v->prompt - v->sweep_done : 0;
    double answered = v->sweep_done > v->prompt ? (double)(v->sweep_done - v->prompt) : 0, rest;

    if (s->decode_sweeps) sweep = (double)s->decode_ns / 1e9 / (double)s->decode_sweeps;
    rest = ((double)v->answer - answered) * sweep;
    if (prompt_left) {
        uint64_t chunks = (prompt_left + s->plan->run.max_positions - 1) / s->plan->run.max_positions;
        double chunk = layers > 0.1 ? gone / layers : s->summary.predicted_seconds_per_prompt_token * v->sweep_positions;

        rest += (double)chunks * chunk;
    }
    rest -= gone;
    return rest > 0 ? rest : 0;
}

void view_tick(struct view *v, struct session *s)
{
    struct engine_stats t;
    uint64_t now = clock_ns();
    char line[256], left[32], what[64], speed[32] = "";

    if (!v->live || !s->engine) return;
    engine_stats(s->engine, &t);
    update_rate(v, t.stage[STAGE_READER].bytes, now);
    if (v->sweep_positions > 1 || v->sweep_done < v->prompt)
        snprintf(what, sizeof what, "prompt %llu/%llu", (unsigned long long)v->sweep_done, (unsigned long long)v->prompt);
    else snprintf(what, sizeof what, "token %llu", (unsigned long long)(v->sweep_done - v->prompt + 1));
    if (s->decode_sweeps) snprintf(speed, sizeof speed, "  %.3g tok/s", (double)s->decode_sweeps / ((double)s->decode_ns / 1e9));
    put_time(left, sizeof left, eta(v, s, &t, now));
    snprintf(line, sizeof line, "%s  layer %llu/%u  %.2f GB/s%s  ETA %s  %s", what, (unsigned long long)t.layer, s->plan->spec.layers,
             v->rate / 1e9, speed, left, v->note);
    draw(v, line);
}

void view_progress(struct view *v, const char *what, uint64_t done, uint64_t total)
{
    uint64_t now = clock_ns();
    char line[256], left[32];

    if (!v->live) return;
    update_rate(v, done, now);
    put_time(left, sizeof left, v->rate > 0 && total > done ? (double)(total - done) / v->rate : 0);
    snprintf(line, sizeof line, "%s %.1f/%.1f GB  %.0f%%  %.2f GB/s  ETA %s", what, (double)done / 1e9, (double)total / 1e9,
             total ? 100 * (double)done / (double)total : 100.0, v->rate / 1e9, left);
    draw(v, line);
}

/* ---- the answer ---- */

static void follow(struct view *v, const char *text, size_t bytes)
{
    utf8proc_ssize_t at = 0, n;
    utf8proc_int32_t c;

    while (at < (utf8proc_ssize_t)bytes && (n = utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)bytes - at, &c)) > 0) {
        at += n;
        if (c == '\n') v->column = 0;
        else if (terminal_control(text + at - n, (size_t)n)) v->column++; /* U+FFFD in its place */
        else if (c == '\t') v->column = (v->column | 7) + 1;
        else v->column += (uint32_t)utf8proc_charwidth(c);
    }
}

/* Once interrupted, nobody waits for a reader that takes no more (a pager, a stopped terminal). */
static bool would_block(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

    return interrupted() && !poll(&p, 1, 0);
}

int view_text(struct view *v, const char *text, size_t bytes, struct error *e)
{
    if (!bytes) return 0;
    if (would_block()) return error_set(e, ECANCELED, "interrupted");
    view_hide(v);
    if (!terminal_put(stdout, v->terminal, text, bytes) || fflush(stdout))
        return errno == EINTR && interrupted() ? error_set(e, ECANCELED, "interrupted")
                                               : error_set(e, errno, "cannot write the answer: %s", error_name(errno));
    follow(v, text, bytes);
    return 0;
}
