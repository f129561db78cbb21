#include "reader/fetch.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

#define BATCH        64u
#define HANG_HINT_NS UINT64_C(10000000000)
#define GAP_NS       UINT64_C(1000000000) /* between two looks: this process did not run meanwhile (Ctrl-Z) */

/* One read that is under way: [offset, offset + bytes) of the file to dest, of which the first need bytes matter. */
struct read {
    struct fetch_job *job;
    uint8_t *dest;
    uint64_t offset;
    uint32_t bytes, need, got;
    uint32_t file, tries;
    enum files_way way;
    uint64_t due_ns;    /* waits for its next try until then; 0: it is with the engine */
    uint32_t next_free; /* or next in the list of those that wait */
    bool active;
    struct fetch_then then;
};

struct fetch {
    const struct plan_shm *plan;
    struct epoch_stats *stats;
    struct io_engine *engine;
    struct files *files;
    uint32_t depth, limit, block, in_flight,
        free_head;               /* limit: of depth, how many are used; in_flight: of those, taken */
    uint32_t wait_head, waiting; /* of in_flight, those that wait for their next try, in no order */
    uint64_t busy_since_ns;
    uint64_t hang_ns, silent_ns, hinted_ns; /* silent: waited since a read has ended last */
    struct io_done done[BATCH];
    struct read read[];
};

#define NONE UINT32_MAX

static uint64_t page_down(uint64_t x)
{
    return x & ~(uint64_t)(PLAN_PAGE - 1);
}

static uint64_t page_up(uint64_t x)
{
    return page_down(x + PLAN_PAGE - 1);
}

uint32_t fetch_depth(const struct plan_run *p)
{
    uint32_t n = p->io_depth ? p->io_depth : FETCH_DEPTH_AUTO;

    return n < FETCH_DEPTH_MAX ? n : FETCH_DEPTH_MAX;
}

void fetch_set(struct fetch *f, uint64_t block_bytes, uint32_t depth)
{
    uint64_t block = page_up(block_bytes);

    f->block = (uint32_t)(block < FETCH_BLOCK_MAX ? block : FETCH_BLOCK_MAX);
    f->limit = depth < f->depth ? depth : f->depth;
}

static bool full(const struct fetch *f)
{
    return f->in_flight >= f->limit;
}

int fetch_open(struct fetch **out, const struct fetch_options *o, struct error *e)
{
    const struct plan_run *p = &o->plan->run;
    uint32_t depth = fetch_depth(p);
    struct fetch *f = calloc(1, sizeof *f + depth * sizeof *f->read);

    if (!f) return error_set(e, ENOMEM, "no memory for %u reads", depth);
    f->plan = o->plan;
    f->stats = o->stats;
    f->engine = o->engine;
    f->files = o->files;
    f->hang_ns = o->hang_ns ? o->hang_ns : FETCH_HANG_NS;
    f->depth = depth;
    f->wait_head = NONE;
    fetch_set(f, p->io_block_bytes ? p->io_block_bytes : FETCH_BLOCK_AUTO, depth);
    for (uint32_t i = 0; i < depth; i++) f->read[i].next_free = i + 1 < depth ? i + 1 : NONE;
    *out = f;
    return 0;
}

void fetch_close(struct fetch *f)
{
    free(f);
}

uint32_t fetch_in_flight(const struct fetch *f)
{
    return f->in_flight - f->waiting;
}

void fetch_tile(struct fetch_job *j, uint8_t *dest, const struct plan_part *part, uint32_t parts)
{
    *j = (struct fetch_job){.dest = dest, .part = part, .parts = parts};
}

void fetch_rows(struct fetch_job *j)
{
    *j = (struct fetch_job){.open = true};
}

/* ---- queueing ---- */

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    /* This process alone writes its counters. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Queues what is left of a read. */
static int queue(struct fetch *f, struct read *r, struct error *e)
{
    int fd = files_fd(f->files, r->file, r->way, e);
    struct io_read q = {.dest = r->dest + r->got,
                        .offset = r->offset + r->got,
                        .bytes = r->bytes - r->got,
                        .tag = (uint32_t)(r - f->read),
                        .file = files_number(r->file, r->way),
                        .fd = fd};

    if (fd < 0) return fd;
    io_engine_submit(f->engine, &q);
    add(&f->stats->calls, 1);
    return 0;
}

static int start(struct fetch *f, const struct read *what, struct error *e)
{
    struct read *r = &f->read[f->free_head];
    uint32_t next = r->next_free;

    *r = *what;
    r->active = true;
    f->free_head = next;
    if (!f->in_flight++) {
        f->busy_since_ns = clock_ns();
        f->silent_ns = f->hinted_ns = 0;
    }
    r->job->in_flight++;
    return queue(f, r, e);
}

/* Does the next part follow in the file and in memory alike, with no page between? */
static bool continues(const struct plan_part *p, const struct plan_part *next)
{
    return next->file == p->file && next->file_off - next->slot_off == p->file_off - p->slot_off &&
           next->file_off >= p->file_off && page_down(next->file_off) <= page_up(p->file_off + p->bytes);
}

int fetch_issue(struct fetch *f, struct fetch_job *j, struct error *e)
{
    while (j->parts) {
        const struct plan_part *p = j->part;
        uint64_t begin = page_down(p->file_off), end = p->file_off + p->bytes;
        uint32_t n = 1;

        for (; n < j->parts && continues(&j->part[n - 1], &j->part[n]); n++) {
            uint64_t last = j->part[n].file_off + j->part[n].bytes;

            if (last > end) end = last;
        }
        if (j->at < begin) j->at = begin;
        while (j->at < end) {
            /* An odd page at the end goes with the block before it. */
            uint64_t left = page_up(end) - j->at, bytes = left <= f->block + f->block / 4 ? left : f->block;
            struct read r = {.job = j,
                             .file = p->file,
                             .way = files_way(f->files, p->file),
                             .offset = j->at,
                             .dest = j->dest + page_down(p->slot_off) + (j->at - begin),
                             .bytes = (uint32_t)bytes,
                             .need = (uint32_t)(end - j->at < bytes ? end - j->at : bytes)};
            int rc;

            if (full(f)) return 0;
            j->at += bytes;
            if ((rc = start(f, &r, e))) return rc;
        }
        j->part += n;
        j->parts -= n;
        j->at = 0;
    }
    return 1;
}

int fetch_row(struct fetch *f, struct fetch_job *j, uint32_t file, uint64_t offset, uint32_t bytes, uint8_t *dest,
              struct fetch_then then, struct error *e)
{
    struct read r = {.job = j,
                     .file = file,
                     .way = FILES_ROWS,
                     .offset = offset,
                     .dest = dest,
                     .bytes = bytes,
                     .need = bytes,
                     .then = then};
    int rc;

    if (full(f)) return 0;
    rc = start(f, &r, e);
    return rc ? rc : 1;
}

/* ---- what comes back ---- */

static void finish(struct fetch *f, struct read *r)
{
    uint32_t i = (uint32_t)(r - f->read);

    r->active = false;
    r->job->in_flight--;
    f->in_flight--;
    r->next_free = f->free_head;
    f->free_head = i;
}

static int failed(const struct fetch *f, const struct read *r, int code, struct error *e)
{
    const char *remedy = "look into the system's log (dmesg)";
    uint64_t at = r->offset + r->got;

    if (code == EIO || code == EREMOTEIO)
        remedy = "the disk or its connection fails: look into the system's log (dmesg), copy the model to another disk";
    if (code == ENOMEM) remedy = "free some memory, or lower --io-depth";
    return error_set(e, code, "%s: %u bytes at offset %llu could not be read: %s (tried %u times); %s",
                     files_path(f->files, r->file), r->need - r->got, (unsigned long long)at, error_name(code),
                     r->tries + 1, remedy);
}

/* To be tried again a little later each time: after 1, 4, 16, 16, ... ms. False when the limit is reached. */
static bool again(struct fetch *f, struct read *r, uint32_t limit)
{
    if (r->tries >= limit) return false;
    r->due_ns = clock_ns() + (UINT64_C(1000000) << (r->tries < 2 ? 2 * r->tries : 4));
    r->next_free = f->wait_head;
    f->wait_head = (uint32_t)(r - f->read);
    f->waiting++;
    r->tries++;
    add(&f->stats->retries, 1);
    return true;
}

int fetch_retry(struct fetch *f, uint64_t *wait_ns, struct error *e)
{
    uint32_t *link = &f->wait_head;
    uint64_t now = f->waiting ? clock_ns() : 0, next = UINT64_MAX;
    int rc;

    while (*link != NONE) {
        struct read *r = &f->read[*link];

        if (r->due_ns > now) {
            if (r->due_ns - now < next) next = r->due_ns - now;
            link = &r->next_free;
            continue;
        }
        *link = r->next_free;
        f->waiting--;
        r->due_ns = 0;
        if ((rc = queue(f, r, e))) return rc;
    }
    *wait_ns = next;
    return 0;
}

/* How often a read that ended so is tried again. */
static uint32_t retries(int code)
{
    switch (code) {
    case EINTR:
    case EAGAIN:
    case EBUSY:
    case ENOMEM: return FETCH_BUSY_RETRIES;
    case EIO:
    case ETIMEDOUT: return FETCH_RETRIES;
    default: return 0;
    }
}

static int end_with_error(struct fetch *f, struct read *r, int code, struct error *e)
{
    int rc;

    if (code == EINVAL && r->way == FILES_DIRECT) {
        files_refuse_direct(f->files, r->file);
        r->way = FILES_BUFFERED;
        return queue(f, r, e);
    }
    if (again(f, r, retries(code))) return 0;
    if ((rc = files_unchanged(f->files, r->file, e))) return rc; /* the reason behind it */
    return failed(f, r, code, e);
}

/* Fewer bytes came than asked for, and some that matter are missing. */
static int go_on(struct fetch *f, struct read *r, uint32_t came, struct error *e)
{
    uint32_t got = r->got + came;
    uint64_t end = r->offset + got;
    int rc;

    if (r->way == FILES_DIRECT) got = (uint32_t)page_down(got); /* direct reads begin at a page */
    if (got > r->got) {
        r->got = got;
        r->tries = 0;
        return queue(f, r, e);
    }
    if ((rc = files_unchanged(f->files, r->file, e))) return rc; /* it ends here: truncated */
    if (again(f, r, FETCH_RETRIES)) return 0;
    return error_set(e, EIO, "%s: ends at offset %llu, though its size says otherwise; copy the model again",
                     files_path(f->files, r->file), (unsigned long long)end);
}

static int handle(struct fetch *f, const struct io_done *d, struct error *e)
{
    struct read *r = d->tag < f->depth ? &f->read[d->tag] : NULL;
    int rc = 0;

    if (!r || !r->active) return error_set(e, EPROTO, "the read engine reported a read that was never made");
    if (d->result < 0) return end_with_error(f, r, -d->result, e);
    if (d->result > 0) {
        add(&f->stats->bytes, (uint64_t)d->result);
        if (!atomic_load_explicit(&f->stats->first_ns, memory_order_relaxed))
            atomic_store_explicit(&f->stats->first_ns, clock_ns(), memory_order_relaxed);
    }
    if ((uint64_t)r->got + (uint32_t)d->result < r->need) return go_on(f, r, (uint32_t)d->result, e);
    if (r->then.fn) rc = r->then.fn(r->then.arg, r->then.number, e);
    finish(f, r);
    return rc;
}

/* Nothing came back for a while. */
static int watch(struct fetch *f, uint64_t now, struct error *e)
{
    const struct read *r = f->read;

    f->silent_ns += now - f->busy_since_ns < GAP_NS ? now - f->busy_since_ns : 0;
    if (f->silent_ns < HANG_HINT_NS && f->silent_ns < f->hang_ns) return 0;
    while (!r->active || r->due_ns) r++;
    if (f->silent_ns >= f->hang_ns)
        return error_set(e, ETIMEDOUT,
                         "%s: no answer from the disk for %llu s (%u reads wait, one at offset %llu); see whether "
                         "the disk or the network file system hangs",
                         files_path(f->files, r->file), (unsigned long long)(f->silent_ns / 1000000000u),
                         fetch_in_flight(f), (unsigned long long)r->offset);
    if (f->silent_ns - f->hinted_ns >= HANG_HINT_NS) {
        f->hinted_ns = f->silent_ns;
        log_warn("%s: no answer from the disk for %llu s", files_path(f->files, r->file),
                 (unsigned long long)(f->silent_ns / 1000000000u));
    }
    return 0;
}

int fetch_reap(struct fetch *f, uint32_t min, uint64_t timeout_ns, struct error *e)
{
    int n = io_engine_reap(f->engine, f->done, BATCH, min < BATCH ? min : BATCH, timeout_ns), rc = 0;
    uint64_t now = clock_ns();

    if (n < 0)
        return error_set(e, -n, "reading with %s failed: %s; try --io-engine threads", f->engine->ops->name,
                         error_name(-n));
    add(&f->stats->busy_ns, now - f->busy_since_ns);
    if (n)
        f->silent_ns = f->hinted_ns = 0;
    else if (min)
        rc = watch(f, now, e);
    f->busy_since_ns = now;
    if (rc) return rc;
    for (int i = 0; i < n && !rc; i++) rc = handle(f, &f->done[i], e);
    return rc ? rc : n;
}
