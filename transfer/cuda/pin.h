/* Host memory that the device may read by itself, in chunks: what is pinned is copied from asynchronously and at the link's
 * speed, what is not goes through a staging buffer of the driver's.
 *
 * Pinning takes the pages one by one and zeroes those that are not there yet, so a chunk is pinned when as many bytes have
 * been copied out of it as it has: it has been filled by then, and its pages have been put together to large ones. A thread
 * of its own does that, so that no copy waits for gigabytes of it.
 *
 *   FREE --pins_copied()--> FULL --thread--> PINNING --> PINNED
 *                                                   '--> REFUSED   (and what follows is not tried after a few of these)
 *
 * A copy may neither cross the end of a chunk (the runtime refuses one from memory of two registrations) nor be begun from a
 * chunk that is just being pinned. All calls but the thread's own come from one thread at a time. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/stage/stage.h"

struct pins;

struct pins_of {
    const struct stage *stage;
    uint8_t *base; /* whole pages; bytes 0: there is nothing to pin */
    uint64_t bytes;
    unsigned pieces;  /* chunks at least, where they would not be very small; at most they are some 0.1 s of pinning */
    const char *what; /* "the host cache" */
};

/* Nothing is pinned yet. */
int pins_open(struct pins **out, const struct pins_of *of, struct error *e);
void pins_close(struct pins *p); /* ends the thread and gives all of it back; NULL is allowed */

/* Pins all of it before it returns, as far as it can be. */
void pins_now(struct pins *p);
/* From here on the thread pins what was filled. */
int pins_start(struct pins *p, struct error *e);

/* Before copies from [at, at + bytes) are begun, and after the last of them: no part of it is taken up meanwhile. -EAGAIN:
 * one of its chunks is being pinned; ask again later. */
int pins_enter(struct pins *p, uint64_t at, uint64_t bytes);
void pins_leave(struct pins *p);
/* Of bytes from at on, those that one copy may take. */
uint64_t pins_together(const struct pins *p, uint64_t at, uint64_t bytes);
/* So many bytes were copied from there on. */
void pins_copied(struct pins *p, uint64_t at, uint64_t bytes);

bool pins_refused(const struct pins *p); /* any of it */
