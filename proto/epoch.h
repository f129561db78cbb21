/* The epoch segment: what the processes of one epoch share besides the plan and the payloads.
 *
 *   coordinator   creates it, watches the stages, sets stop or failed, unlinks its name once all are attached
 *   each stage    rings the others' eventcounts, writes its own stats block and nobody else's
 *
 * Payload segments (struct epoch_segments) are mapped by those who need them:
 *   ARENA   the lanes' slots                                           reader writes, transfer (and compute, cpu) reads
 *   CACHE   tiles whose tier is the host                                reader writes, transfer (and compute, cpu) reads
 *   LOGITS  float32 [max_logits][vocab]                                 compute writes, coordinator reads after DONE
 *   DEVICE  not host memory: device slots and pinned tiles              transfer writes, compute reads (cuda only)
 *
 * A eventcount is what a process sleeps on: everybody who changes something that the process may be waiting for (a slot made
 * ready, a slot freed, a request, stop) rings it. Reading the eventcount before looking for work makes a lost wake-up
 * impossible:
 *      seen = eventcount_read(b);  if (work()) continue;  eventcount_wait(b, seen, timeout);  */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

#define EPOCH_MAGIC   UINT64_C(0x6e75725f63756c73) /* "sluc_run" */
#define EPOCH_VERSION 2u

enum stage_id { STAGE_READER, STAGE_TRANSFER, STAGE_COMPUTE, STAGES };
enum segment_id { SEGMENT_ARENA, SEGMENT_CACHE, SEGMENT_DEVICE, SEGMENTS };

struct eventcount {
    _Alignas(64) _Atomic uint32_t value; /* anybody adds 1 */
    _Atomic uint32_t sleepers;           /* processes in the futex */
};
_Static_assert(sizeof(struct eventcount) == 64, "eventcount");

/* Past the page cache, and through it; the rows of an embedding always go through it, and do not count. */
#define EPOCH_READS_DIRECT   1u
#define EPOCH_READS_BUFFERED 2u

/* Counters of one stage, written by it alone, read by the coordinator at any time. Times in ns. */
struct epoch_stats {
    _Alignas(64) _Atomic uint64_t bytes; /* payload bytes that passed (reader: read from disk) */
    _Atomic uint64_t tiles;              /* tiles that passed */
    _Atomic uint64_t busy_ns, wait_ns;   /* working; waiting for a slot or for data */
    _Atomic uint64_t first_ns;           /* when the first byte was there (reader: first read completed) */
    _Atomic uint64_t sweep, layer;       /* compute: where it is */
    _Atomic uint64_t heartbeat_ns;       /* last sign of life of the process (proto/stage/stage.c) */
    _Atomic uint64_t calls;              /* reader: reads; transfer: copies; compute: kernels */
    _Atomic uint64_t hit_bytes;          /* reader: requested bytes that were in the host cache */
    _Atomic uint64_t miss_bytes;
    _Atomic uint64_t retries;
    _Atomic uint64_t io_block,
        io_depth;             /* reader: what it found to be best, where the plan asked it to (io_find); else 0 */
    _Atomic uint64_t io_rate; /* and the bytes per second that it read so */
    _Atomic uint64_t io_ways; /* reader: how it reads the files, EPOCH_READS_* bits */
};
_Static_assert(sizeof(struct epoch_stats) == 128, "epoch_stats");

/* Tiles that compute asks of the reader; single producer, single consumer, answered in order on lane 1. */
#define EPOCH_REQUESTS 8192u /* a power of two */

struct epoch_requests {
    _Alignas(64) _Atomic uint64_t head; /* compute: requests made */
    _Alignas(64) _Atomic uint64_t tail; /* reader: requests taken */
    _Alignas(64) uint32_t tile[EPOCH_REQUESTS];
};

struct epoch_shm {
    uint64_t magic;
    uint32_t version, pad;
    uint64_t bytes, epoch;
    uint64_t ring_off[2][LANES];        /* [host, device][lane]: offset of struct ring_shm in this segment */
    uint64_t rows_off;                  /* of struct rows_shm */
    _Alignas(64) _Atomic uint32_t stop; /* coordinator: all stages end */
    _Atomic uint32_t failed;            /* a stage or the coordinator: 1 + the stage that failed; then stop follows */
    _Atomic uint32_t resting;           /* coordinator: no sweep is under way and nobody watches, see epoch_rest() */
    _Alignas(64) struct eventcount eventcount[STAGES];
    struct eventcount pulse; /* what the heartbeats sleep on */
    struct epoch_stats stats[STAGES];
    struct epoch_requests requests;
};

void eventcount_notify(struct eventcount *b);
uint32_t eventcount_read(struct eventcount *b);
/* Returns when the eventcount was rung since seen was read, or after timeout_ns (0: looks once; EVENTCOUNT_FOREVER: never
 * by itself). Spins briefly, then sleeps. */
#define EVENTCOUNT_FOREVER UINT64_MAX
void eventcount_wait(struct eventcount *b, uint32_t seen, uint64_t timeout_ns);

/* The usual wait: until rung or 100 ms, while resting until rung. -ECANCELED once the run is stopping, -EPIPE once a stage failed, else 0. Adds the
 * time spent to stats->wait_ns. */
int epoch_wait(struct epoch_shm *r, enum stage_id me, uint32_t seen);
int epoch_state(const struct epoch_shm *r); /* 0, -ECANCELED or -EPIPE, at once */
/* A chat that waits for its user takes no processor: while an epoch rests its stages sleep until they are notified, whoever
 * waits for something being notified of it anyway, and give no signs of life, which nobody looks at. What becomes of a stage
 * meanwhile is seen by its pidfd, and by its silence after epoch_wake(), from which on it must beat again. */
void epoch_rest(struct epoch_shm *r); /* coordinator */
void epoch_wake(struct epoch_shm *r); /* and notifies every eventcount */
bool epoch_rests(const struct epoch_shm *r);
void epoch_stop(struct epoch_shm *r);                    /* sets stop and rings every eventcount */
void epoch_fail(struct epoch_shm *r, enum stage_id who); /* sets failed and rings every eventcount */

/* Requests. push: compute; -EAGAIN when full. pop: reader; false when there is none. Both ring the other's eventcount. */
int request_push(struct epoch_shm *r, uint32_t tile);
bool request_pop(struct epoch_shm *r, uint32_t *tile);

const char *stage_name(enum stage_id s); /* "reader", "transfer", "compute" */

/* Bytes of a epoch segment for these settings; epoch_init() lays it out (rings included) in zeroed memory. */
uint64_t epoch_bytes(const struct plan_run *p);
void epoch_init(struct epoch_shm *r, const struct plan_run *p, uint64_t epoch);
int epoch_check(const struct epoch_shm *r, uint64_t map_bytes, struct error *e);
