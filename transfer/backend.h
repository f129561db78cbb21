/* How tiles get from host slots to where compute reads them. One implementation is linked into each executable:
 *
 *   transfer/cpu    device memory is host memory: the entry is handed on, nothing is copied
 *   transfer/cuda   asynchronous copies into device slots that compute exported
 *
 * lane.c does the same for both, for each lane by itself, so that neither waits for the other:
 *
 *   host entry   READY --ring_take--> IN_USE ------------------------------------ backend_done() --ring_release--> FREE
 *                           | backend_begin()
 *   device entry       FREE --ring_reserve--> FILLING --ring_publish--> READY ... (compute) ... FREE
 *
 * Every host entry makes exactly one device entry, so both have the same seq. lane.c copies seq, sweep, bytes, tile and
 * rows, the backend fills in where the payload will lie, and the device entry is published at once: that a copy has
 * ended is told to compute by the backend's own means (interprocess events), not by the ring.
 *
 * Host entries of a lane are released in order, each as soon as backend_done() says so for it and all before it.
 * All calls come from one thread, except backend_open(), which may come from another one before all others. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/ring.h"
#include "proto/stage/stage.h"

#ifdef __cplusplus
extern "C" {
#endif

struct backend;

/* Where the payload of an entry will lie for compute. */
struct backend_place {
    uint64_t offset;  /* of the tile's first byte in the segment */
    uint32_t segment; /* enum segment_id */
};

/* Before ATTACHED is sent. s: plan, run, arena and cache are mapped and checked; s->control may be used for EXPORT
 * messages of the pair (stage_receive(), stage_send()), in this call only. Everything that is ever allocated is
 * allocated here. */
int backend_open(struct backend **out, struct stage *s, struct error *e);
void backend_close(struct backend *b);                 /* NULL is allowed; waits for copies that run */
const char *backend_describe(const struct backend *b); /* for ATTACHED, one short line */

/* Called first by a thread other than the one that opened the backend. */
int backend_enter(struct backend *b, struct error *e);

/* Does backend_begin() copy? Then an entry's time of readiness is when backend_done() was first true, and time with
 * copies under way counts as busy. */
bool backend_copies(const struct backend *b);

/* Starts what is to be done for a host entry that was checked: its segment is ARENA or CACHE, and offset with the tile's
 * span (or a gather's bytes) lies inside of it. Never blocks.
 * device_released: device entries of this lane with a seq below it have been released by compute.
 * 0: *place is filled; -EAGAIN: no place is free yet, ask again later (nothing was changed). */
int backend_begin(struct backend *b, enum lane_id lane, const struct ring_entry *host, uint64_t device_released,
                  struct backend_place *place, struct error *e);

/* May the host entry with this seq be released? Asked in order, the oldest that is in use first. 1, 0, or -errno where a
 * copy failed. Never blocks. */
int backend_done(struct backend *b, enum lane_id lane, uint64_t seq, uint64_t device_released, struct error *e);

/* The longest sleep that does not delay anything, without this process's eventcount being rung: UINT64_MAX where eventcounts tell
 * all; a few microseconds while there are copies that only a query can tell of. (Who lets a callback ring
 * &run->eventcount[STAGE_TRANSFER] when a copy ends may say UINT64_MAX too.) */
uint64_t backend_nap_ns(const struct backend *b);

/* What copies to where compute reads can reach at most, by plain copies for limit_ns (cpu, which copies nothing: memory to
 * memory). From the thread that opened the backend. *ns 0: not to be had. */
int backend_peak(struct backend *b, uint64_t limit_ns, uint64_t *bytes, uint64_t *ns, struct error *e);

#ifdef __cplusplus
}
#endif
