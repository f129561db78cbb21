#include "coordinator/view/trace.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

struct trace_writer {
    FILE *file;
    char *path;
    bool first;
    uint64_t start_ns; /* of the first record: times count from there */
    int failed;        /* errno of the first write that failed */
};

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
    t->path = (char *)path; /* of the command line, outlives us */
    t->first = true;
    fputs("[\n", t->file);
    *out = t;
    return 0;
}

/* pid: 1 reader, 2 transfer, 3 compute; tid: lane. */
static void event(struct trace_writer *t, const char *name, int pid, const struct trace_record *r, uint64_t from, uint64_t to)
{
    if (to < from || !from) return;
    if (!t->start_ns) t->start_ns = from;
    fprintf(t->file, "%s{\"name\":\"%s\",\"ph\":\"X\",\"pid\":%d,\"tid\":%u,\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"tile\":%d,\"sweep\":%llu,\"bytes\":%llu}}",
            t->first ? "" : ",\n", name, pid, r->lane, ((double)from - (double)t->start_ns) / 1e3, (double)(to - from) / 1e3,
            r->tile == UINT32_MAX ? -1 : (int)r->tile, (unsigned long long)r->sweep, (unsigned long long)r->bytes);
    t->first = false;
}

void trace_write(struct trace_writer *t, const struct trace_record *r, uint32_t n)
{
    if (!t || t->failed) return;
    for (uint32_t i = 0; i < n; i++) {
        event(t, r[i].ring ? "copy" : "read", r[i].ring ? 2 : 1, &r[i], r[i].fill_ns, r[i].ready_ns);
        event(t, r[i].ring ? "compute" : "hold", r[i].ring ? 3 : 2, &r[i], r[i].take_ns, r[i].free_ns);
    }
    if (ferror(t->file) || fflush(t->file)) t->failed = errno ? errno : EIO;
}

int trace_close(struct trace_writer *t, struct error *e)
{
    int rc = 0;

    if (!t) return 0;
    fputs("\n]\n", t->file);
    if (fclose(t->file) && !t->failed) t->failed = errno;
    if (t->failed) rc = error_set(e, t->failed, "the trace %s is incomplete: %s", t->path, error_name(t->failed));
    free(t);
    return rc;
}
