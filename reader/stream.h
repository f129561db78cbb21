/* The plan's order to ring entries. Three lanes, each filling its own ring and its own slots of the arena:
 *
 *   lane 0   tiles [0, sweep_tiles), sweep after sweep for ever, as far ahead as entries and slots allow
 *   lane 1   resident tiles, once; then the tiles on demand that compute asks for
 *   lane 2   rows of the gather table, as the coordinator lists them (reader/gather.h)
 *
 * Where a tile's payload lies, by its tier:
 *   disk     an arena slot, read each time
 *   host     its place in the cache, read at its first visit, from then on published without a read
 *   device   an arena slot at its first visit, never sent again (TILE_STAYS)
 *   on demand  a place in the cache behind the pins (reader/cache.h), or an arena slot
 *
 * Entries are reserved in order, filled at once with many others, and published in order. Reads of lane 2 go first, then
 * those of lane 1.
 * After stream_open() nothing is allocated. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"
#include "proto/ring.h"
#include "proto/epoch.h"
#include "reader/engine.h"

struct stream;

#define STREAM_LARGE_AHEAD                                                                                             \
    (UINT64_C(16) << 20) /* large pages under the cache are asked for up to so many bytes at a time */

struct stream_options {
    const struct plan_shm *plan; /* checked */
    struct epoch_shm *run;       /* checked */
    uint8_t *arena, *cache;      /* cache NULL where the plan has none */
    struct io_engine *engine;    /* opened with stream_engine_options() */
    /* Told of every entry that became free, before it is used again; NULL: nobody wants to know. */
    void (*freed)(void *arg, enum lane_id lane, const struct ring_entry *x);
    void *freed_arg;
    uint64_t hang_ns; /* a disk that does not answer is given up after this; 0: FETCH_HANG_NS */
};

/* What the engine has to be opened with for this plan. */
struct io_options stream_engine_options(const struct plan_shm *p, uint8_t *arena);

/* Opens and checks the plan's files. */
int stream_open(struct stream **out, const struct stream_options *o, struct error *e);
void stream_close(struct stream *s); /* NULL is allowed; the engine is closed before */

/* Where the plan's block and depth are a guess (io_find) and files are read from the disk itself: tries some for a quarter of
 * a second, goes on with the best, and tells the run's statistics. For the thread that then calls stream_run(). */
int stream_find(struct stream *s, struct error *e);
/* Works until the run stops (-ECANCELED), another stage fails (-EPIPE), or an error. */
int stream_run(struct stream *s, struct error *e);

/* Reads a file again and compares it with what was read of it before (reader/content.h). From another thread than
 * stream_run()'s, while no sweep is under way. */
int stream_compare(struct stream *s, uint32_t file, struct error *e);

/* "io_uring, 32 reads of 1 MiB, direct": one line, valid until the next call. */
const char *stream_describe(struct stream *s);
