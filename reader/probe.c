#include "reader/probe.h"

#include <errno.h>
#include <sys/mman.h>

#include "proto/base/clock.h"
#include "reader/engine.h"
#include "reader/files.h"

#define BATCH  64u
#define NAP_NS 100000000u

/* A read under way: by the time it ends the probe has gone on, maybe to another file. */
struct sent {
    uint64_t offset;
    uint32_t file;
    enum files_way way;
};

/* One call of probe_read(). */
struct run {
    struct probe *probe;
    const struct probe_setting *setting;
    uint32_t in_flight;
    struct sent sent[PROBE_DEPTH]; /* by tag */
};

static int open_parts(struct probe *p, struct error *e)
{
    struct io_options o = {.depth = PROBE_DEPTH,
                           .files = files_number((uint32_t)p->plan->files.count, 0),
                           .arena_bytes = p->plan->run.probe_bytes,
                           .slot_bytes = p->plan->run.probe_bytes};
    uint64_t bytes = p->plan->run.probe_bytes;
    uint32_t engine;
    void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int rc;

    if (m == MAP_FAILED) return error_set(e, ENOMEM, "no memory for plain reads");
    madvise(m, bytes, MADV_HUGEPAGE); /* as the slots are */
    o.arena = p->memory = m;
    if ((rc = files_engine(p->plan, &engine, e)) || (rc = io_engine_open(&p->engine, engine, &o, e)) ||
        (rc = files_open(&p->files, p->plan, p->engine, e)))
        return rc;
    io_engine_seal(p->engine); /* where it cannot be, the stream's own cannot be either, and that is told */
    return 0;
}

int probe_open(struct probe *p, const struct plan_shm *plan, struct error *e)
{
    int rc;

    *p = (struct probe){.plan = plan};
    if ((rc = open_parts(p, e))) probe_close(p);
    return rc;
}

void probe_close(struct probe *p)
{
    io_engine_close(p->engine);
    files_close(p->files);
    if (p->memory) munmap(p->memory, p->plan->run.probe_bytes);
    *p = (struct probe){0};
}

/* Moves on to the next block, over file ends; false where all files together hold no byte. */
static bool find(struct probe *p)
{
    for (uint64_t tried = 0; tried <= p->plan->files.count; tried++) {
        if (p->file < p->plan->files.count && p->offset < plan_files(p->plan)[p->file].bytes) return true;
        p->offset = 0;
        p->file = p->file + 1 < p->plan->files.count ? p->file + 1 : 0;
    }
    return false;
}

static int submit(struct run *r, uint32_t tag, struct error *e)
{
    struct probe *p = r->probe;
    uint64_t left, bytes;
    enum files_way way;
    int fd;

    if (!find(p)) return 0;
    left = (plan_files(p->plan)[p->file].bytes - p->offset + PLAN_PAGE - 1) / PLAN_PAGE * PLAN_PAGE;
    bytes = left < r->setting->block_bytes ? left : r->setting->block_bytes;
    way = files_way(r->probe->files, p->file);
    fd = files_fd(r->probe->files, p->file, way, e);
    if (fd < 0) return fd;
    struct io_read q = {.dest = r->probe->memory + tag * r->setting->block_bytes,
                        .offset = p->offset,
                        .bytes = (uint32_t)bytes,
                        .tag = tag,
                        .file = files_number(p->file, way),
                        .fd = fd};

    r->sent[tag] = (struct sent){.offset = p->offset, .file = p->file, .way = way};
    p->offset += bytes;
    io_engine_submit(r->probe->engine, &q);
    r->in_flight++;
    return 1;
}

/* 0 where the probe can go on. */
static int judge(struct run *r, const struct io_done *d, struct error *e)
{
    const struct sent *x = &r->sent[d->tag];

    if (d->result >= 0 || d->result == -EAGAIN) return 0;
    if (d->result == -EINVAL && x->way == FILES_DIRECT) {
        files_refuse_direct(r->probe->files, x->file); /* and the next ones go another way */
        return 0;
    }
    return error_set(e, -d->result, "%s: a read at offset %llu failed: %s", files_path(r->probe->files, x->file),
                     (unsigned long long)x->offset, error_name(-d->result));
}

/* What ended: counted, and another block read in its place. */
static int reap(struct run *r, struct probe_result *out, bool more, struct error *e)
{
    struct io_done done[BATCH];
    int n = io_engine_reap(r->probe->engine, done, BATCH, 1, NAP_NS), rc = 0;

    if (n < 0) return error_set(e, -n, "reading failed: %s", error_name(-n));
    r->in_flight -= (uint32_t)n;
    for (int i = 0; i < n && rc >= 0; i++) {
        if ((rc = judge(r, &done[i], e))) break;
        if (done[i].result > 0) out->bytes += (uint32_t)done[i].result;
        if (more) rc = submit(r, done[i].tag, e);
    }
    return rc < 0 ? rc : 0;
}

/* After an error: what is under way ends, so that the next call does not take it for its own. */
static void settle(struct run *r)
{
    struct io_done done[BATCH];
    int n = 0;

    while (r->in_flight && n >= 0) {
        n = io_engine_reap(r->probe->engine, done, BATCH, 1, NAP_NS);
        if (n > 0) r->in_flight -= (uint32_t)n;
    }
}

static int read_on(struct run *r, uint64_t limit_ns, struct probe_result *out, struct error *e)
{
    uint64_t start = clock_ns();
    struct probe_result late = {0};
    int rc = 1;

    for (uint32_t i = 0; i < r->setting->depth && rc == 1; i++) rc = submit(r, i, e);
    while (rc >= 0 && r->in_flight && (out->ns = clock_ns() - start) < limit_ns) rc = reap(r, out, true, e);
    out->ns = clock_ns() - start;
    /* The rest is waited for, so that nothing lands in memory that is gone, and not counted. */
    while (rc >= 0 && r->in_flight) rc = reap(r, &late, false, e);
    settle(r);
    out->all_bytes = out->bytes + late.bytes;
    out->all_ns = clock_ns() - start;
    return rc < 0 ? rc : 0;
}

int probe_read(struct probe *p, const struct probe_setting *s, uint64_t limit_ns, struct probe_result *out,
               struct error *e)
{
    struct run r = {.probe = p, .setting = s};

    *out = (struct probe_result){0};
    if (!s->depth || s->depth > PROBE_DEPTH || !s->block_bytes || s->block_bytes % PLAN_PAGE ||
        s->block_bytes > p->plan->run.probe_bytes / s->depth)
        return error_set(e, EINVAL, "%u reads of %llu bytes cannot be tried", s->depth,
                         (unsigned long long)s->block_bytes);
    return read_on(&r, limit_ns, out, e);
}
