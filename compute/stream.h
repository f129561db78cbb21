/* The lanes as compute sees them: parts of tiles in plan order, whatever way their bytes came, and rows of the embedding.
 *
 * A part's payload may be used until the next call of tiles_next() on the same lane; work queued on it before that call
 * is ordered before the slot's reuse. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "compute/ops.h"
#include "proto/stage/stage.h"

struct tiles {
    struct stage *stage;
    struct ops *ops;
    struct ring ring;
    enum lane_id lane;
    uint64_t sweep;      /* lane 0: current sweep */
    uint64_t tile, last; /* next tile to open, first one after the range */
    uint32_t part, part_end;
    bool open, held; /* a tile is open; it holds a ring entry */
    const uint8_t *base;
    uint8_t *device;        /* cuda: base of the device area (slots, then pinned tiles) */
    int (*idle)(void *arg); /* called while waiting; may make requests */
    void *idle_arg;
    uint64_t kept_ns; /* when the open tile, which holds no entry, was opened; 0: the run does not trace */
};

struct tile_part {
    const struct plan_part *part;
    const void *data;
};

void tiles_open(struct tiles *t, struct stage *s, struct ops *o, enum lane_id lane, uint8_t *device);
/* From here on tiles first .. first + count of this sweep, in order. The range before must be finished. */
void tiles_range(struct tiles *t, uint64_t sweep, uint64_t first, uint64_t count);
/* The next part. -ENODATA at the end of the range (everything released), -ECANCELED, -EPIPE, -EPROTO. */
int tiles_next(struct tiles *t, struct tile_part *out, struct error *e);
/* Gives back the tile that is open, all of whose parts were used. */
void tiles_done(struct tiles *t);

/* LANE_ROWS: the next entry of gathered rows, given back by tiles_done() or the next call. Results as tiles_next(). */
struct tiles_rows {
    const void *data;
    uint64_t first; /* number of the first one: proto/rows.h */
    uint32_t count;
};
int tiles_gather(struct tiles *t, struct tiles_rows *out, struct error *e);
