/* The control protocol: msgpack arrays over ZeroMQ (ipc://, a ROUTER at the coordinator, a DEALER in each stage).
 *
 *   stage                          coordinator
 *   HELLO version, stage, pid  ->                      once, at start
 *                              <-  SETUP segments      the versions match; else ERROR and the end
 *   EXPORT handles             ->  (cuda) relayed to the other stage of the pair
 *   ATTACHED description       ->                      everything is mapped and allocated; when all have said so, the
 *                                                      epoch has begun
 *                              <-  SWEEP positions     to compute
 *   DONE sweep                 ->                      logits lie in the LOGITS segment until the next SWEEP
 *                              <-  MEASURE what        what this stage's hardware can do at most (profile), while no sweep
 *   MEASURED bytes, ns         ->                      is under way; ns 0: not to be had here
 *                              <-  COMPARE file        to the reader, while no sweep is under way: does the file still hold
 *   COMPARED code, text        ->                      what was read of it in this epoch? code 0: yes
 *   TRACE records              ->                      only where the run traces
 *   ERROR code, text           ->                      the stage ends after it
 *                              <-  STOP
 *
 * Nothing here is on the per-tile path. A message is [type, fields...]; every field is named in struct control_message
 * below, in wire order. Anything else that arrives is refused by control_decode() with -EPROTO and changes nothing. */
#pragma once
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "proto/base/error.h"
#include "proto/epoch.h"

#define CONTROL_VERSION   5u
#define CONTROL_NAME_MAX  64
#define CONTROL_TEXT_MAX  ERROR_TEXT_BYTES
#define CONTROL_BLOB_MAX  (1u << 16)
#define CONTROL_TRACE_MAX 512u

enum control_type {
    CONTROL_HELLO = 1,
    CONTROL_SETUP,
    CONTROL_EXPORT,
    CONTROL_ATTACHED,
    CONTROL_SWEEP,
    CONTROL_DONE,
    CONTROL_TRACE,
    CONTROL_ERROR,
    CONTROL_STOP,
    CONTROL_MEASURE,
    CONTROL_MEASURED,
    CONTROL_COMPARE,
    CONTROL_COMPARED
};

/* Ceilings, each measured in the stage that it bounds. */
enum control_measure {
    MEASURE_READ,   /* reader: reads of the plan's files one after the other, block_bytes each, depth in flight */
    MEASURE_COPY,   /* transfer: cpu copies memory to memory, cuda host slots to the device */
    MEASURE_MEMORY, /* compute: reads memory that no cache holds, all threads; bytes */
    MEASURE_FLOPS   /* compute: fused multiply-adds in registers, all threads; operations (bytes counts those) */
};

/* The code of an ERROR that a new epoch may mend: the device failed under the stage. */
#define CONTROL_DEVICE_LOST EREMOTEIO

#define POSITION_LOGITS 1u /* its logits are wanted */
#define POSITION_CHECK                                                                                                 \
    2u /* of the first position: this sweep shall name the first tensor or result that is not a number */
#define POSITION_KEEP                                                                                                  \
    4u /* recurrent states: the one after it is kept, and what follows it in this sweep goes on from a copy */
#define ROW_NONE UINT32_MAX

/* One position of a sweep. Its key and value go to KV row `row`; it sees itself and its ancestors: parent is the row of
 * the position before it (of an earlier sweep, or earlier in this one), ROW_NONE for the first of a sequence. position is
 * its number in the sequence, from 0. KV rows are given out by the coordinator. gather: which of the sweep's rows of the
 * gather table is its token's (coordinator/engine sets it). */
struct sweep_position {
    uint32_t token, sequence, position, row, parent, flags, gather;
};

/* One entry's way through a ring: times in ns of CLOCK_MONOTONIC, 0 what it did not come to. ring: 0 host, 1 device. entry:
 * its index in the ring; TRACE_KEPT: a tile that stays where compute finds it, which has no entry (take_ns and free_ns are
 * then when compute began and was done with it). */
#define TRACE_KEPT UINT32_MAX
struct trace_record {
    uint64_t sweep, bytes, fill_ns, ready_ns, take_ns, free_ns;
    uint32_t tile, rows, entry;
    uint8_t ring, lane, pad[2];
};
_Static_assert(sizeof(struct trace_record) == 64, "trace_record");

struct control_message {
    enum control_type type;
    union {
        struct {
            uint32_t version, stage;
            uint64_t pid;
            char build[CONTROL_NAME_MAX];
        } hello;
        struct {
            int32_t plan, run, arena, logits, cache,
                link; /* inherited descriptors; -1: a cache that is empty, no other machine */
        } setup;
        struct {
            uint32_t to, kind, bytes; /* stage that it is for; what it is, between the two */
            const uint8_t *data;      /* valid until the next receive */
        } export;
        struct {
            char text[CONTROL_TEXT_MAX]; /* "avx512, 2 threads" */
        } attached;
        struct control_sweep {
            uint64_t sweep;
            uint64_t first_row; /* rows of the gather table, numbered as in proto/rows.h: its range */
            uint32_t rows, count;
            const struct sweep_position *position; /* valid until the next receive */
        } sweep;
        struct {
            uint64_t sweep;
            uint32_t logits; /* rows of the LOGITS segment that are filled, in the order of the positions */
        } done;
        struct {
            uint32_t count, pad;
            const struct trace_record *record; /* valid until the next receive */
        } trace;
        struct {
            uint32_t code, pad;
            char text[CONTROL_TEXT_MAX];
        } error;
        struct {
            uint32_t what, depth;
            uint64_t block_bytes, limit_ns; /* how long it may take */
        } measure;
        struct {
            uint64_t bytes, ns, cpu_ns; /* cpu_ns: processor time of the process meanwhile */
        } measured;
        struct {
            uint32_t file; /* of the plan */
        } compare;
        struct {
            uint32_t file, code; /* code: an errno, and what happened */
            char text[CONTROL_TEXT_MAX];
        } compared;
    };
};

/* Encoding is private to both ends; these two are public for the tests. out: malloc'ed, the caller frees it. */
int control_encode(const struct control_message *m, void **out, size_t *bytes, struct error *e);
/* Copies of texts and names are in *m; data pointers lead into scratch (malloc'ed and grown as needed). */
struct control_scratch {
    void *data;
    size_t bytes;
};
int control_decode(struct control_message *m, const void *data, size_t bytes, struct control_scratch *s,
                   struct error *e);

struct control; /* one end */

/* Coordinator: binds address ("ipc://@name", abstract: no file is left behind); only the same user may connect, and a name
 * belongs to who came with it first. */
int control_bind(struct control **out, const char *address, struct error *e);
/* Stage: connects; its name is its identity. */
int control_connect(struct control **out, const char *address, enum stage_id me, struct error *e);
void control_close(struct control *c);
int control_fd(const struct control *c); /* readable when there may be something: then receive until -EAGAIN */

/* to: the stage (ignored by stages). */
int control_send(struct control *c, enum stage_id to, const struct control_message *m, struct error *e);
/* -EAGAIN after timeout_ms (-1: for ever). from may be NULL. A message that cannot be understood is -EPROTO. */
int control_receive(struct control *c, enum stage_id *from, struct control_message *m, int timeout_ms, struct error *e);
/* From any thread: control_receive() returns -EAGAIN at once, or the next time that it is called. */
void control_wake(struct control *c);
/* The process that sent what was received last, as the kernel knows it, whatever it calls itself; 0: that cannot be told. */
pid_t control_peer(const struct control *c);
