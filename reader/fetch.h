/* Jobs to reads: the extents of a tile, cut into blocks, many in flight over several jobs; short reads continued,
 * transient errors tried again.
 *
 *   fetch_tile()   begins a job: all parts of a tile          fetch_rows()   begins a job that rows are added to
 *   fetch_issue()  queues as many of its reads as fit         fetch_row()    adds one, queued at once
 *                                                             job->open = false: no more rows will come
 *   fetch_retry()  queues again what failed and is due
 *   fetch_reap()   waits; jobs whose last read ended are fetch_done()
 *
 * An extent is a run of whole pages of a file that lands in a run of whole pages of memory. Payload that ends inside
 * the file's last page is complete when the file is. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"
#include "proto/epoch.h"
#include "reader/engine.h"
#include "reader/files.h"

#define FETCH_DEPTH_AUTO 16u
#define FETCH_DEPTH_MAX  4096u
#define FETCH_BLOCK_AUTO (4u << 20)
#define FETCH_BLOCK_MAX  (1u << 28)
/* Of one read that makes no progress: a disk's errors, after 1, 4 and 16 ms; a system that is short of something for now
 * (EAGAIN, EBUSY, ENOMEM), after 1, 4, 16, 16, ... ms, so for about three seconds. Nobody sleeps meanwhile: other reads go
 * on, and whoever waits is told how long at most (fetch_retry()). */
#define FETCH_RETRIES      3u
#define FETCH_BUSY_RETRIES 200u
#define FETCH_HANG_NS      UINT64_C(120000000000) /* without any read ending: given up */

struct fetch_job {
    uint8_t *dest; /* the tile's first byte (slot_off 0) */
    const struct plan_part *part;
    uint32_t parts;     /* still to be queued, part[0] maybe in part */
    uint32_t in_flight; /* reads */
    uint64_t at;        /* file offset where part[0]'s extent goes on; 0: not begun */
    bool open;          /* more rows may come */
};

struct fetch;

struct fetch_options {
    const struct plan_shm *plan;
    struct epoch_stats *stats; /* bytes, calls, retries, busy_ns, first_ns are counted here */
    struct io_engine *engine;  /* opened for at least fetch_depth() reads */
    struct files *files;
    uint64_t hang_ns; /* 0: FETCH_HANG_NS */
};

uint32_t fetch_depth(const struct plan_run *p); /* reads in flight that these settings mean */

int fetch_open(struct fetch **out, const struct fetch_options *o, struct error *e);
void fetch_close(struct fetch *f); /* NULL is allowed; the engine is closed before */

void fetch_tile(struct fetch_job *j, uint8_t *dest, const struct plan_part *part, uint32_t parts);
void fetch_rows(struct fetch_job *j);
static inline bool fetch_done(const struct fetch_job *j)
{
    return !j->parts && !j->in_flight && !j->open;
}

/* 1: all reads of the job are queued; 0: no room, call again after fetch_reap(); -errno. */
int fetch_issue(struct fetch *f, struct fetch_job *j, struct error *e);
/* What is done when all bytes of a row are there, before its job counts it as read: 0, or -errno that ends the run. */
struct fetch_then {
    int (*fn)(void *arg, uint32_t number, struct error *e); /* NULL: nothing */
    void *arg;
    uint32_t number;
};
/* bytes at offset of a file to dest, as they are, through the page cache. 1, 0 or -errno as above. */
int fetch_row(struct fetch *f, struct fetch_job *j, uint32_t file, uint64_t offset, uint32_t bytes, uint8_t *dest,
              struct fetch_then then, struct error *e);

/* Other settings from now on; depth is at most what it was opened with. */
void fetch_set(struct fetch *f, uint64_t block_bytes, uint32_t depth);

uint32_t
fetch_in_flight(const struct fetch *f); /* reads that are with the engine: those that fetch_reap() can wait for */
/* Queues again the reads whose time has come. *wait_ns: until the next one's, UINT64_MAX where none waits for its time. */
int fetch_retry(struct fetch *f, uint64_t *wait_ns, struct error *e);
/* Hands queued reads to the kernel and waits until min of those in flight have ended, timeout_ns at most. Returns how
 * many ended. Errors name file, offset and remedy. */
int fetch_reap(struct fetch *f, uint32_t min, uint64_t timeout_ns, struct error *e);
