/* Engines: ways of having many reads in flight. One thread uses an engine, but it may be opened by another one before, and
 * closed by another one after.
 *
 *   io_engine_submit()   queues a read; the caller keeps at most `depth` of them under way
 *   io_engine_reap()     hands queued reads to the kernel, waits for min of all that are under way, returns what ended
 *   io_engine_finish()   waits until none is under way; the last call of the thread that used the engine
 *
 *   uring     io_uring; containers often forbid it: io_engine_open(ENGINE_AUTO) then takes threads
 *   threads   a pool of preads
 *   null      every read succeeds at once and fills nothing: for measuring what comes after the reader
 *
 * An engine reports what the kernel said of each read: short reads, errors and retries are the caller's business
 * (reader/fetch.h). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

struct io_read {
    void *dest;
    uint64_t offset;
    uint32_t bytes;
    uint32_t tag;  /* comes back in io_done */
    uint32_t file; /* the number under which fd was added */
    int fd;
};

struct io_done {
    uint32_t tag;
    int32_t result; /* bytes read, 0 at the file's end, -errno */
};

struct io_options {
    uint32_t depth; /* reads under way, at most; at least 1 */
    uint32_t files; /* numbers for io_engine_add_file() are below it */
    void *arena;    /* most reads land here, none crosses a multiple of slot_bytes in it; NULL: unknown */
    uint64_t arena_bytes, slot_bytes;
};

struct io_engine;

struct io_ops {
    const char *name;
    /* -ENOTSUP where the system does not allow this engine. */
    int (*open)(struct io_engine **out, const struct io_options *o, struct error *e);
    void (*add_file)(struct io_engine *g, uint32_t file, int fd);
    void (*submit)(struct io_engine *g, const struct io_read *r);
    /* Returns how many of done[max] were filled, 0 after timeout_ns; -errno only when the engine itself is broken. */
    int (*reap)(struct io_engine *g, struct io_done *done, uint32_t max, uint32_t min, uint64_t timeout_ns);
    const char *(*describe)(const struct io_engine *g);
    /* From here on nothing but reads; only of files that were added, where all could be. After it no file is added.
     * -errno where that cannot be had. */
    int (*seal)(struct io_engine *g);
    /* From the thread that submitted them: reads under way land before this returns, or after limit_ns. What ended is not
     * told any more. NULL: close() can do it from any thread. */
    void (*finish)(struct io_engine *g, uint64_t limit_ns);
    void (*close)(
        struct io_engine *g); /* waits for reads that are still under way where it can, but a second at most */
};

struct io_engine {
    const struct io_ops *ops; /* first member of every engine */
};

extern const struct io_ops io_engine_uring, io_engine_threads, io_engine_null;

/* kind: enum plan_engine. */
int io_engine_open(struct io_engine **out, uint32_t kind, const struct io_options *o, struct error *e);

static inline void io_engine_add_file(struct io_engine *g, uint32_t file, int fd)
{
    g->ops->add_file(g, file, fd);
}
static inline void io_engine_submit(struct io_engine *g, const struct io_read *r)
{
    g->ops->submit(g, r);
}
static inline int io_engine_reap(struct io_engine *g, struct io_done *done, uint32_t max, uint32_t min,
                                 uint64_t timeout_ns)
{
    return g->ops->reap(g, done, max, min, timeout_ns);
}
static inline const char *io_engine_describe(const struct io_engine *g)
{
    return g->ops->describe(g);
}
static inline int io_engine_seal(struct io_engine *g)
{
    return g->ops->seal ? g->ops->seal(g) : 0;
}
static inline void io_engine_finish(struct io_engine *g, uint64_t limit_ns)
{
    if (g->ops->finish) g->ops->finish(g, limit_ns);
}
static inline void io_engine_close(struct io_engine *g)
{
    if (g) g->ops->close(g);
}
