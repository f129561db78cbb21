/* What machines tell each other beside the numbers of their hops (proto/link.h).
 *
 *   coordinator --socket-- sluice-link of rank 0 ==MPI== sluice-link of rank k --socket-- sluice-node of rank k
 *
 *   node                              coordinator
 *   HELLO what the machine has    ->                   once, at start
 *                                 <-  PLAN             the versions match: its share; else STOP
 *   READY                         ->                   its stages are attached; when all have said so, the epoch has begun
 *                                 <-  SWEEP positions
 *   PULSE counters                ->                   four times a second while nobody rests
 *                                 <-  REST, WAKE       no sweep for a while: no pulse either
 *                                 <-  COMPARE          while no sweep is under way: are the files still what was planned?
 *   COMPARED code, text           ->                   code 0: yes
 *   ERROR code, text              ->                   its epoch has ended
 *                                 <-  STOP             the node ends
 *
 * A frame is a header and its bytes. On a socket it goes to the sluice-link beside, which sends it to the rank that the header
 * names, where the rank that it came from stands in its place. SEGMENTS is for that link itself: with it come the descriptors of
 * the RUN and the LINK segment. LOST is the link's own: the process beside rank k has ended without a word. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/control.h"

#define FRAMES_VERSION 1u
#define FRAME_MAGIC    0x6d617266u         /* "fram" */
#define FRAME_MOST     (UINT64_C(1) << 30) /* bytes of one */
#define FRAME_PULSE_NS UINT64_C(250000000)

enum frame_type {
    FRAME_SEGMENTS = 1,
    FRAME_HELLO,
    FRAME_PLAN,
    FRAME_READY,
    FRAME_SWEEP,
    FRAME_PULSE,
    FRAME_REST,
    FRAME_WAKE,
    FRAME_COMPARE,
    FRAME_COMPARED,
    FRAME_ERROR,
    FRAME_LOST,
    FRAME_STOP
};

struct frame {
    uint32_t magic, type;
    uint32_t rank, pad; /* that it goes to; once it has come: that it comes from */
    uint64_t bytes;     /* that follow */
};
_Static_assert(sizeof(struct frame) == 24, "frame");

struct frame_hello {
    uint32_t version, cpus;
    uint64_t memory, shm; /* that a run may take; in /dev/shm */
    char build[CONTROL_NAME_MAX];
};

/* Then the folder's path, NUL-terminated, padded to a multiple of 64 bytes, and the plan. */
struct frame_plan {
    uint64_t epoch, path_bytes, plan_bytes;
    uint32_t rank, ranks;
};

/* Then struct sweep_position[count]. */
struct frame_sweep {
    uint64_t sweep;
    uint32_t count, pad;
};

struct frame_pulse {
    uint64_t read_bytes, compute_busy_ns, peak_bytes;
};

/* ERROR and COMPARED; recoverable: another epoch may mend it. */
struct frame_error {
    uint32_t code, recoverable;
    char text[ERROR_TEXT_BYTES];
};

struct frame_out;

/* One end of a stream socket that never makes its owner wait. */
struct frames {
    int fd;
    struct frame_out *first, **last; /* what has not been taken yet */
    uint64_t waiting;                /* bytes of it */
    uint8_t *in;
    size_t have, room, taken; /* taken: of the frame that was given last */
    int passed[2];            /* descriptors that came; -1: none */
    bool closed;
};

/* Takes fd over. */
int frames_open(struct frames *f, int fd, struct error *e);
void frames_close(struct frames *f);
/* Copies data, and sends what the socket takes; the rest goes with later calls. pass: two descriptors, or NULL. A peer that is
 * gone is seen by frames_next(). -ENOMEM, -E2BIG. */
int frames_send(struct frames *f, enum frame_type type, uint32_t rank, const void *data, uint64_t bytes,
                const int *pass);
void frames_flush(struct frames *f);
/* The next frame, its bytes behind it, valid until the next call; NULL: none yet, or f->closed, or -EPROTO in *rc. */
const struct frame *frames_next(struct frames *f, int *rc);

/* The bytes behind a frame. */
static inline const void *frame_data(const struct frame *h)
{
    return h + 1;
}
