#include "coordinator/view/timeline.h"

#include <errno.h>
#include <stdlib.h>

#include "coordinator/view/trace_read.h"

#define FINE      (TIMELINE_BINS * TIMELINE_FINE)
#define MARK_BINS 4     /* shorter events would be a blur of marks */
#define COPY_MOST 400e9 /* bytes per second that no link moves: nothing was copied then */

struct making {
    struct timeline *t;
    int32_t (*cover)[FINE + 1]; /* [ROWS] events that begin less those that end at this part */
    bool any[ROWS];
    double copy_seconds;
};

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

/* ---- first reading: when ---- */

static int see_times(void *arg, const struct trace_event *x, struct error *e)
{
    struct timeline *t = arg;

    (void)e;
    if (!t->events++) {
        t->start = x->from;
        t->end = x->to;
    }
    t->start = smaller(t->start, x->from);
    t->end = larger(t->end, x->to);
    if (x->phase == PHASE_DRAFT) t->draft = x->to - x->from;
    if (x->phase != PHASE_SWEEP) return 0;
    if (!t->sweeps) t->work_start = x->from;
    t->work_end = x->to;
    if (t->sweeps < TIMELINE_SWEEPS)
        t->sweep[t->sweeps] = (struct timeline_sweep){x->from, x->to, x->positions, x->guesses, t->draft};
    t->draft = 0;
    t->sweeps++;
    return 0;
}

/* ---- second reading: what ---- */

static int row_of(const struct trace_event *x)
{
    if (x->process == TRACE_READER && x->phase == PHASE_READ) return x->request ? ROW_READ_REQUEST : ROW_READ;
    if (x->process == TRACE_TRANSFER && x->phase == PHASE_COPY) return x->request ? ROW_COPY_REQUEST : ROW_COPY;
    if (x->process == TRACE_COMPUTE) return x->request ? ROW_COMPUTE_REQUEST : ROW_COMPUTE;
    return -1;
}

static int fine_part(const struct timeline *t, double at)
{
    double part = (at - t->start) / t->bin * TIMELINE_FINE;

    return part <= 0 ? 0 : part >= FINE ? FINE : (int)part;
}

/* Adds amount to the bins of [from, to), to each its share. */
static void spread(const struct timeline *t, double *bins, double from, double to, double amount)
{
    double a = (from - t->start) / t->bin, b = (to - t->start) / t->bin, length = b - a;
    int first = a < 0 ? 0 : (int)a;

    if (first >= TIMELINE_BINS) first = TIMELINE_BINS - 1;
    if (length <= 1e-9) {
        bins[first] += amount;
        return;
    }
    for (int i = first; i < TIMELINE_BINS && i < b; i++)
        bins[i] += amount * (smaller(b, i + 1) - larger(a, i)) / length;
}

static void count_ring(struct timeline *t, const struct trace_event *x)
{
    enum timeline_ring state = x->phase == PHASE_READ    ? RING_FILLING
                               : x->phase == PHASE_READY ? RING_READY
                                                         : RING_IN_USE;

    if (x->process == TRACE_READER && !x->request)
        spread(t, t->ring[state], x->from, x->to, (x->to - x->from) / t->bin);
}

static int see_work(void *arg, const struct trace_event *x, struct error *e)
{
    struct making *m = arg;
    struct timeline *t = m->t;
    int row = row_of(x), from, to;

    (void)e;
    count_ring(t, x);
    if (row < 0) return 0;
    from = fine_part(t, x->from);
    to = fine_part(t, x->to);
    if (to == from && to < FINE) to++; /* too short to be seen, and there all the same */
    m->any[row] = true;
    m->cover[row][from]++;
    m->cover[row][to]--;
    t->share[row] += larger(0, smaller(x->to, t->work_end) - larger(x->from, t->work_start));
    if (x->process == TRACE_READER) spread(t, t->disk, x->from, x->to, x->bytes), t->disk_bytes += x->bytes;
    if (x->process == TRACE_TRANSFER) {
        spread(t, t->link, x->from, x->to, x->bytes);
        t->link_bytes += x->bytes;
        m->copy_seconds += x->to - x->from;
    }
    if (x->process == TRACE_COMPUTE) spread(t, t->compute, x->from, x->to, x->bytes), t->compute_bytes += x->bytes;
    if (row == ROW_COMPUTE && x->to - x->from > MARK_BINS * t->bin && t->marks < TIMELINE_MARKS)
        t->mark[t->marks++] = x->from;
    return 0;
}

/* Overlapping events cover their time once. */
static void close_row(struct timeline *t, enum timeline_row row, int32_t *cover, double work)
{
    int from = fine_part(t, t->work_start), to = fine_part(t, t->work_end), covered = 0;
    int32_t depth = 0;

    for (int i = 0; i < FINE; i++) {
        depth += cover[i];
        cover[i] = depth > 0;
    }
    for (int bin = 0; bin < TIMELINE_BINS; bin++) {
        int32_t n = 0;

        for (int i = 0; i < TIMELINE_FINE; i++) n += cover[bin * TIMELINE_FINE + i];
        t->busy[row][bin] = (double)n / TIMELINE_FINE;
    }
    for (int i = from; i < to; i++) covered += cover[i];
    /* events shorter than a part seem longer there; where none overlap, their own sum is the truth */
    t->share[row] = smaller(work > 0 ? t->share[row] / work : 0, to > from ? (double)covered / (double)(to - from) : 0);
}

int timeline_make(struct timeline **out, const char *path, struct error *e)
{
    struct making m = {.t = calloc(1, sizeof *m.t), .cover = calloc(ROWS, sizeof *m.cover)};
    int rc =
        !m.t || !m.cover ? error_set(e, ENOMEM, "no memory for the timeline") : trace_read(path, see_times, m.t, e);

    if (!rc && !m.t->events)
        rc = error_set(e, EINVAL, "%s: there are no events in it: the run ended before its first tile", path);
    if (!rc) {
        if (!m.t->sweeps) m.t->work_start = m.t->start, m.t->work_end = m.t->end;
        m.t->bin = larger((m.t->end - m.t->start) / TIMELINE_BINS, 1e-9);
        rc = trace_read(path, see_work, &m, e);
    }
    if (!rc) {
        for (enum timeline_row row = 0; row < ROWS; row++) /* most traces have no requests, many no copies */
            if (m.any[row]) close_row(m.t, row, m.cover[row], m.t->work_end - m.t->work_start);
        m.t->copies = m.copy_seconds > 0 && m.t->link_bytes / m.copy_seconds < COPY_MOST;
    }
    free(m.cover);
    if (rc)
        free(m.t);
    else
        *out = m.t;
    return rc;
}
