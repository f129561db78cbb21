/* The run segment: what the processes of one epoch share besides the plan and the payloads.
 *
 *   coordinator   creates it, watches the stages, sets stop or failed, unlinks its name once all are attached
 *   each stage    rings the others' bells, writes its own stats block and nobody else's
 *
 * Payload segments (struct run_segments) are mapped by those who need them:
 *   ARENA   slots of lane 0, then slots of lane 1, slot_bytes each     reader writes, transfer (and compute, cpu) reads
 *   CACHE   tiles whose home is the host                                reader writes, transfer (and compute, cpu) reads
 *   LOGITS  float32 [max_logits][vocab]                                 compute writes, coordinator reads after DONE
 *   DEVICE  not host memory: device slots and pinned tiles              transfer writes, compute reads (cuda only)
 *
 * A bell is what a process sleeps on: everybody who changes something that the process may be waiting for (a slot made
 * ready, a slot freed, a request, stop) rings it. Reading the bell before looking for work makes a lost wake-up
 * impossible:
 *      seen = bell_read(b);  if (work()) continue;  bell_wait(b, seen, timeout);  */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

#define RUN_MAGIC   UINT64_C(0x6e75725f63756c73) /* "sluc_run" */
#define RUN_VERSION 1u

enum run_stage { STAGE_READER, STAGE_TRANSFER, STAGE_COMPUTE, STAGES };
enum run_segment { SEGMENT_ARENA, SEGMENT_CACHE, SEGMENT_DEVICE, SEGMENTS };
enum run_lane { LANE_SWEEP, LANE_REQUEST, LANES };

struct bell {
    _Alignas(64) _Atomic uint32_t value; /* anybody adds 1 */
    _Atomic uint32_t sleepers;           /* processes in the futex */
};
_Static_assert(sizeof(struct bell) == 64, "bell");

/* Counters of one stage, written by it alone, read by the coordinator at any time. Times in ns. */
struct run_stats {
    _Alignas(64) _Atomic uint64_t bytes;  /* payload bytes that passed (reader: read from disk) */
    _Atomic uint64_t tiles;               /* tiles that passed */
    _Atomic uint64_t busy_ns, wait_ns;    /* working; waiting for a slot or for data */
    _Atomic uint64_t first_ns;            /* when the first byte was there (reader: first read completed) */
    _Atomic uint64_t sweep, layer;        /* compute: where it is */
    _Atomic uint64_t heartbeat_ns;        /* last sign of life of the process (proto/stage/stage.c) */
    _Atomic uint64_t calls;               /* reader: reads; transfer: copies; compute: kernels */
    _Atomic uint64_t hit_bytes;           /* reader: requested bytes that were in the host cache */
    _Atomic uint64_t miss_bytes;
    _Atomic uint64_t retries;
    _Atomic uint64_t io_block, io_depth;  /* reader: what it found to be best, where the plan asked it to (io_find); else 0 */
    _Atomic uint64_t io_rate;             /* and the bytes per second that it read so */
    uint64_t pad;
};
_Static_assert(sizeof(struct run_stats) == 128, "run_stats");

/* What compute asks of the reader; single producer, single consumer, answered in order on lane 1. */
enum run_request_kind { REQUEST_TILE, REQUEST_GATHER };
struct run_request {
    uint32_t kind;
    uint32_t index; /* tile, or row of the embedding matrix */
    uint32_t last;  /* GATHER: 1 ends the batch; rows of a batch share slots, as many as fit each, contiguous */
    uint32_t pad;
};
#define RUN_REQUESTS 8192u /* a power of two */

struct run_requests {
    _Alignas(64) _Atomic uint64_t head; /* compute: requests made */
    _Alignas(64) _Atomic uint64_t tail; /* reader: requests taken */
    _Alignas(64) struct run_request at[RUN_REQUESTS];
};

struct run_shm {
    uint64_t magic;
    uint32_t version, pad;
    uint64_t bytes, epoch;
    uint64_t ring_off[2][LANES];         /* [host, device][lane]: offset of struct ring_shm in this segment */
    _Alignas(64) _Atomic uint32_t stop;  /* coordinator: all stages end */
    _Atomic uint32_t failed;             /* a stage or the coordinator: 1 + the stage that failed; then stop follows */
    _Alignas(64) struct bell bell[STAGES];
    struct run_stats stats[STAGES];
    struct run_requests requests;
};

void bell_ring(struct bell *b);
uint32_t bell_read(struct bell *b);
/* Returns when the bell was rung since seen was read, or after timeout_ns (0: looks once). Spins briefly, then sleeps. */
void bell_wait(struct bell *b, uint32_t seen, uint64_t timeout_ns);

/* The usual wait: until rung or 100 ms. -ECANCELED once the run is stopping, -EPIPE once a stage failed, else 0. Adds the
 * time spent to stats->wait_ns. */
int run_wait(struct run_shm *r, enum run_stage me, uint32_t seen);
int run_state(const struct run_shm *r); /* 0, -ECANCELED or -EPIPE, at once */
void run_stop(struct run_shm *r);       /* sets stop and rings every bell */
void run_fail(struct run_shm *r, enum run_stage who); /* sets failed and rings every bell */

/* Requests. push: compute; -EAGAIN when full. pop: reader; false when there is none. Both ring the other's bell. */
int request_push(struct run_shm *r, const struct run_request *q);
bool request_pop(struct run_shm *r, struct run_request *q);

const char *stage_name(enum run_stage s); /* "reader", "transfer", "compute" */

/* Bytes of a run segment for these settings; run_init() lays it out (rings included) in zeroed memory. */
uint64_t run_bytes(const struct plan_run *p);
void run_init(struct run_shm *r, const struct plan_run *p, uint64_t epoch);
int run_check(const struct run_shm *r, uint64_t map_bytes, struct error *e);
