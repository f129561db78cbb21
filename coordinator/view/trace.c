#include "coordinator/view/trace.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

struct trace_writer {
    struct output *output;
    FILE *file; /* of the output */
    uint64_t start_ns, sweeps;
    uint32_t guesses;         /* of the sweep under way */
    uint32_t named[2][LANES]; /* [host, device] entries whose tracks have names */
    bool failed;              /* to write, which has been told */
};

static void name_process(struct trace_writer *t, int pid, const char *name)
{
    fprintf(t->file, ",\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,\"args\":{\"name\":\"%s\"}}", pid, name);
    fprintf(t->file, ",\n{\"name\":\"process_sort_index\",\"ph\":\"M\",\"pid\":%d,\"args\":{\"sort_index\":%d}}", pid,
            pid);
}

static void name_track(struct trace_writer *t, int pid, uint32_t tid, const char *name, uint32_t number)
{
    fprintf(t->file, ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":%u,\"args\":{\"name\":\"%s", pid,
            tid, name);
    if (number != UINT32_MAX) fprintf(t->file, " %u", number);
    fputs("\"}}", t->file);
}

int trace_open(struct trace_writer **out, const char *path, const struct output_options *keep, struct error *e)
{
    struct trace_writer *t = calloc(1, sizeof *t);
    int rc;

    if (!t) return error_set(e, ENOMEM, "out of memory");
    if ((rc = output_open(&t->output, path, keep, e))) {
        free(t);
        return error_prefix(e, "the trace");
    }
    t->file = output_file(t->output);
    t->start_ns = clock_ns();
    fputs("[\n{\"name\":\"sluice\",\"ph\":\"M\",\"pid\":0,\"args\":{\"version\":\"" SLUICE_VERSION "\"}}", t->file);
    name_process(t, TRACE_SWEEPS, "sweeps");
    name_track(t, TRACE_SWEEPS, 0, "sweeps", UINT32_MAX);
    name_track(t, TRACE_SWEEPS, 1, "guessing", UINT32_MAX);
    name_process(t, TRACE_READER, "reader: host slots");
    name_process(t, TRACE_TRANSFER, "transfer: device slots");
    name_process(t, TRACE_COMPUTE, "compute");
    name_track(t, TRACE_COMPUTE, 0, "sweep tiles", UINT32_MAX);
    name_track(t, TRACE_COMPUTE, TRACE_REQUESTS, "requests", UINT32_MAX);
    name_track(t, TRACE_COMPUTE, 2 * TRACE_REQUESTS, "rows of the embedding", UINT32_MAX);
    *out = t;
    return 0;
}

static double since_start(const struct trace_writer *t, uint64_t ns)
{
    return ((double)ns - (double)t->start_ns) / 1e3;
}

/* r: says what of, NULL on the later phases of what has been told of already. */
static void event(struct trace_writer *t, const char *name, int pid, uint32_t tid, uint64_t from, uint64_t to,
                  const struct trace_record *r)
{
    if (!from || to < from) return; /* it did not come to that */
    fprintf(t->file, ",\n{\"name\":\"%s\",\"ph\":\"X\",\"pid\":%d,\"tid\":%u,\"ts\":%.3f,\"dur\":%.3f", name, pid, tid,
            since_start(t, from), (double)(to - from) / 1e3);
    if (r && r->lane == LANE_ROWS)
        fprintf(t->file, ",\"args\":{\"rows\":%u,\"bytes\":%llu}", r->rows, (unsigned long long)r->bytes);
    else if (r)
        fprintf(t->file, ",\"args\":{\"tile\":%ld,\"sweep\":%llu,\"bytes\":%llu}",
                r->tile == UINT32_MAX ? -1L : (long)r->tile, (unsigned long long)r->sweep,
                (unsigned long long)r->bytes);
    fputc('}', t->file);
}

static void name_entries(struct trace_writer *t, const struct trace_record *r)
{
    static const char *const names[LANES] = {"slot", "request", "rows"};
    uint32_t *named = &t->named[r->ring][r->lane];

    for (; *named <= r->entry; ++*named)
        name_track(t, r->ring ? TRACE_TRANSFER : TRACE_READER, *named + r->lane * TRACE_REQUESTS, names[r->lane],
                   *named);
}

static void write_record(struct trace_writer *t, const struct trace_record *r)
{
    uint32_t first = r->lane * TRACE_REQUESTS;
    int pid = r->ring ? TRACE_TRANSFER : TRACE_READER;

    if (r->ring > 1 || r->lane >= LANES || (r->entry >= TRACE_REQUESTS && r->entry != TRACE_KEPT)) return;
    if (r->entry != TRACE_KEPT) {
        name_entries(t, r);
        event(t, r->ring ? "copy" : "read", pid, first + r->entry, r->fill_ns, r->ready_ns, r);
        event(t, "ready", pid, first + r->entry, r->ready_ns, r->take_ns, NULL);
        event(t, r->ring ? "compute" : "hand over", pid, first + r->entry, r->take_ns, r->free_ns, NULL);
    }
    if (r->ring) event(t, "compute", TRACE_COMPUTE, first, r->take_ns, r->free_ns, r);
}

/* Told once; nothing more is written then. */
static void settle(struct trace_writer *t)
{
    struct error e;

    if (!ferror(t->file) && !fflush(t->file)) return;
    t->failed = true;
    if (output_failed(t->output, &e)) log_warn("the trace: %s; the run goes on without it", e.text);
}

void trace_write(struct trace_writer *t, const struct trace_record *r, uint32_t n)
{
    if (!t || t->failed) return;
    for (uint32_t i = 0; i < n; i++) write_record(t, &r[i]);
    settle(t);
}

void trace_sweep(struct trace_writer *t, uint64_t start_ns, uint64_t end_ns, uint32_t positions)
{
    if (!t || t->failed) return;
    fprintf(t->file,
            ",\n{\"name\":\"sweep\",\"ph\":\"X\",\"pid\":%d,\"tid\":0,\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"sweep\":%"
            "llu,\"positions\":%u,\"guesses\":%u}}",
            TRACE_SWEEPS, since_start(t, start_ns), (double)(end_ns - start_ns) / 1e3, (unsigned long long)t->sweeps++,
            positions, t->guesses);
    t->guesses = 0;
    settle(t);
}

void trace_draft(struct trace_writer *t, uint64_t start_ns, uint64_t end_ns, uint32_t guesses)
{
    if (!t || t->failed) return;
    event(t, "draft", TRACE_SWEEPS, 1, start_ns, end_ns, NULL);
    t->guesses = guesses;
    settle(t);
}

int trace_close(struct trace_writer *t, struct error *e)
{
    int rc;

    if (!t) return 0;
    fputs("\n]\n", t->file);
    rc = output_close(t->output, true, e);
    free(t);
    return rc ? error_prefix(e, "the trace") : 0;
}
