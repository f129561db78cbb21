/* A ring of entries between two processes, single producer, single consumer, in the epoch segment.
 *
 *   host ring     reader   -> transfer     payload in ARENA or CACHE
 *   device ring   transfer -> compute      payload in DEVICE (cuda), or still in ARENA or CACHE (cpu: nothing is copied)
 *
 *      FREE --ring_reserve()--> FILLING --ring_publish()--> READY --ring_take()--> IN_USE --ring_release()--> FREE
 *             \________ producer ________/                         \________ consumer ________/
 *
 * Four counters describe all states; each is written by one side and never decreases:
 *      released <= taken <= published <= reserved <= released + depth
 *      entry i: IN_USE if released <= i < taken, READY if < published, FILLING if < reserved, else FREE
 * reserved and published belong to the producer, taken and released to the consumer. Publishing and releasing are in
 * order, reserving and taking several ahead is allowed. published is stored with release order after the entry's
 * producer line, and read with acquire order before it; released likewise for the consumer line.
 *
 * An entry is a message; where its payload lies is its segment and offset. Payload slots of the arena are managed by
 * the producer alone: a slot is free again when the entry that used it was released (ring_released()).
 *
 * Waiting is not here: the calls return NULL when there is nothing, and the caller sleeps on its eventcount (proto/epoch.h), which
 * ring_publish() and ring_release() ring. A dead peer is found by epoch_wait(). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/epoch.h"

#define RING_GATHER UINT32_MAX /* tile of an entry whose payload is rows of the gather table */

struct ring_entry {
    /* the producer's line */
    _Alignas(64) uint64_t seq; /* number of the entry since the epoch began */
    uint64_t sweep;      /* lane 0: sweep number from 0; lane 1: 0; lane 2: number of the first row (proto/rows.h) */
    uint64_t offset;     /* of the tile's first byte (slot_off 0) in the segment */
    uint64_t bytes;      /* payload bytes */
    uint32_t tile, rows; /* lane 2: RING_GATHER, and how many rows */
    uint32_t segment, pad;
    uint64_t fill_ns, ready_ns;
    /* the consumer's line */
    _Alignas(64) uint64_t take_ns;
    uint64_t free_ns;
    uint64_t pad2[6];
};
_Static_assert(sizeof(struct ring_entry) == 128, "ring_entry");

struct ring_shm {
    uint32_t depth, pad; /* a power of two */
    uint64_t epoch;
    _Alignas(64) _Atomic uint64_t reserved, published; /* producer */
    _Alignas(64) _Atomic uint64_t taken, released;     /* consumer */
    _Alignas(64) struct ring_entry entry[];
};

/* A process's handle on a ring: which side it is, whose eventcount it rings. Private, no ownership of the memory. */
struct ring {
    struct ring_shm *shm;
    struct eventcount *peer;
    uint64_t mask;
};

/* device: 0 the host ring, 1 the device ring; peer: the stage at the other end. r was checked by epoch_check(). */
void ring_attach(struct ring *ring, struct epoch_shm *r, int device, enum lane_id lane, enum stage_id peer);

/* Producer. The entry's seq and fill_ns are set by reserve, ready_ns by publish. */
struct ring_entry *ring_reserve(struct ring *ring); /* the next FREE entry, now FILLING; NULL: none */
void ring_publish(struct ring *ring);               /* the oldest FILLING entry becomes READY */

/* Consumer. */
struct ring_entry *ring_peek(struct ring *ring); /* the next READY entry, left READY; NULL: none */
struct ring_entry *ring_take(struct ring *ring); /* the next READY entry, now IN_USE; NULL: none */
void ring_release(struct ring *ring);            /* the oldest IN_USE entry becomes FREE */

/* Either side. Any entry by its seq while it is not free; for those who keep several. */
struct ring_entry *ring_at(const struct ring *ring, uint64_t seq);
uint64_t
ring_published(const struct ring *ring); /* entries published so far; each of them may be looked at until it is free */
uint64_t
ring_released(const struct ring *ring); /* entries released so far: seq below it are free, ring_at() of it is the
                                                     consumer's oldest */

/* All four counters, each at its own moment, in such an order that the invariants hold between them. */
struct ring_counters {
    uint64_t released, taken, published, reserved;
};
struct ring_counters ring_look(const struct ring_shm *s);

uint64_t ring_bytes(uint32_t depth);
void ring_init(struct ring_shm *s, uint32_t depth, uint64_t epoch);
/* The invariants above, and seq of every entry that is in use: 0 or -EPROTO. Safe while both sides work. */
int ring_check(const struct ring_shm *s, struct error *e);
