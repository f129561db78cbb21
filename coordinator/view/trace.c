#include "coordinator/view/trace.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

struct trace_writer {
    FILE *file;
    const char *path;
    uint64_t start_ns, sweeps;
    uint32_t named[2][LANES]; /* [host, device] entries whose tracks have names */
    int failed;               /* errno of the first write that failed */
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

int trace_open(struct trace_writer **out, const char *path, struct error *e)
{
    struct trace_writer *t = calloc(1, sizeof *t);

    if (!t) return error_set(e, ENOMEM, "out of memory");
    t->file = fopen(path, "we");
    if (!t->file) {
        int rc = error_set(e, errno, "cannot write the trace %s: %s", path, error_name(errno));
        free(t);
        return rc;
    }
    t->path = path; /* of the command line, outlives us */
    t->start_ns = clock_ns();
    fputs("[\n{\"name\":\"sluice\",\"ph\":\"M\",\"pid\":0,\"args\":{\"version\":\"" SLUICE_VERSION "\"}}", t->file);
    name_process(t, TRACE_SWEEPS, "sweeps");
    name_process(t, TRACE_READER, "reader: host slots");
    name_process(t, TRACE_TRANSFER, "transfer: device slots");
    name_process(t, TRACE_COMPUTE, "compute");
    name_track(t, TRACE_COMPUTE, 0, "sweep tiles", UINT32_MAX);
    name_track(t, TRACE_COMPUTE, TRACE_REQUESTS, "requests", UINT32_MAX);
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
    if (r)
        fprintf(t->file, ",\"args\":{\"tile\":%ld,\"sweep\":%llu,\"bytes\":%llu}",
                r->tile == UINT32_MAX ? -1L : (long)r->tile, (unsigned long long)r->sweep,
                (unsigned long long)r->bytes);
    fputc('}', t->file);
}

static void name_entries(struct trace_writer *t, const struct trace_record *r)
{
    uint32_t *named = &t->named[r->ring][r->lane];

    for (; *named <= r->entry; ++*named)
        name_track(t, r->ring ? TRACE_TRANSFER : TRACE_READER, *named + (r->lane ? TRACE_REQUESTS : 0),
                   r->lane ? "request" : "slot", *named);
}

static void write_record(struct trace_writer *t, const struct trace_record *r)
{
    uint32_t requests = r->lane ? TRACE_REQUESTS : 0;
    int pid = r->ring ? TRACE_TRANSFER : TRACE_READER;

    if (r->ring > 1 || r->lane >= LANES || (r->entry >= TRACE_REQUESTS && r->entry != TRACE_KEPT)) return;
    if (r->entry != TRACE_KEPT) {
        name_entries(t, r);
        event(t, r->ring ? "copy" : "read", pid, requests + r->entry, r->fill_ns, r->ready_ns, r);
        event(t, "ready", pid, requests + r->entry, r->ready_ns, r->take_ns, NULL);
        event(t, r->ring ? "compute" : "hand over", pid, requests + r->entry, r->take_ns, r->free_ns, NULL);
    }
    if (r->ring) event(t, "compute", TRACE_COMPUTE, requests, r->take_ns, r->free_ns, r);
}

/* errno is of the writes since it was cleared. */
static void settle(struct trace_writer *t)
{
    if (!ferror(t->file) && !fflush(t->file)) return;
    t->failed = errno ? errno : EIO;
    log_warn("the trace %s cannot be written (%s); the run goes on without it", t->path, error_name(t->failed));
}

void trace_write(struct trace_writer *t, const struct trace_record *r, uint32_t n)
{
    if (!t || t->failed) return;
    errno = 0;
    for (uint32_t i = 0; i < n; i++) write_record(t, &r[i]);
    settle(t);
}

void trace_sweep(struct trace_writer *t, uint64_t start_ns, uint64_t end_ns, uint32_t positions)
{
    if (!t || t->failed) return;
    errno = 0;
    fprintf(t->file,
            ",\n{\"name\":\"sweep\",\"ph\":\"X\",\"pid\":%d,\"tid\":0,\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"sweep\":%"
            "llu,\"positions\":%u}}",
            TRACE_SWEEPS, since_start(t, start_ns), (double)(end_ns - start_ns) / 1e3, (unsigned long long)t->sweeps++,
            positions);
    settle(t);
}

/* Half a trace is no trace; a device or a pipe is not ours to remove. */
static void remove_file(const char *path)
{
    struct stat st;

    if (!lstat(path, &st) && S_ISREG(st.st_mode)) unlink(path);
}

int trace_close(struct trace_writer *t, struct error *e)
{
    int rc = 0;

    if (!t) return 0;
    errno = 0;
    if (!t->failed && (fputs("\n]\n", t->file) < 0 || fflush(t->file))) t->failed = errno ? errno : EIO;
    if (fclose(t->file) && !t->failed) t->failed = errno ? errno : EIO;
    if (t->failed) {
        remove_file(t->path);
        rc = error_set(e, t->failed, "the trace %s could not be written: %s", t->path, error_name(t->failed));
    }
    free(t);
    return rc;
}
