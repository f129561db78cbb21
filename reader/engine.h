/* Engines: ways of having many reads in flight. One thread uses an engine, but it may be opened by another one before.
 *
 *   engine_submit()   queues a read                            the caller keeps at most `depth` of them under way
 *   engine_reap()     hands queued reads to the kernel, waits for min of all that are under way, and returns what ended
 *
 *   uring     io_uring; containers often forbid it: engine_open(ENGINE_AUTO) then takes threads
 *   threads   a pool of preads
 *   null      every read succeeds at once and fills nothing: for measuring what comes after the reader
 *
 * An engine reports what the kernel said of each read: short reads, errors and retries are the caller's business
 * (reader/fetch.h). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/error.h"
#include "proto/plan.h"

struct engine_read {
    void *dest;
    uint64_t offset;
    uint32_t bytes;
    uint32_t tag;  /* comes back in engine_done */
    uint32_t file; /* the number under which fd was added */
    int fd;
};

struct engine_done {
    uint32_t tag;
    int32_t result; /* bytes read, 0 at the file's end, -errno */
};

struct engine_options {
    uint32_t depth; /* reads under way, at most; at least 1 */
    uint32_t files; /* numbers for engine_add_file() are below it */
    void *arena;    /* most reads land here, none crosses a multiple of slot_bytes in it; NULL: unknown */
    uint64_t arena_bytes, slot_bytes;
};

struct engine;

struct engine_ops {
    const char *name;
    /* -ENOTSUP where the system does not allow this engine. */
    int (*open)(struct engine **out, const struct engine_options *o, struct error *e);
    void (*add_file)(struct engine *g, uint32_t file, int fd);
    void (*submit)(struct engine *g, const struct engine_read *r);
    /* Returns how many of done[max] were filled, 0 after timeout_ns; -errno only when the engine itself is broken. */
    int (*reap)(struct engine *g, struct engine_done *done, uint32_t max, uint32_t min, uint64_t timeout_ns);
    const char *(*describe)(const struct engine *g);
    void (*close)(struct engine *g); /* waits for reads under way, but a second at most */
};

struct engine {
    const struct engine_ops *ops; /* first member of every engine */
};

extern const struct engine_ops engine_uring, engine_threads, engine_null;

/* kind: enum plan_engine. */
int engine_open(struct engine **out, uint32_t kind, const struct engine_options *o, struct error *e);

static inline void engine_add_file(struct engine *g, uint32_t file, int fd)
{
    g->ops->add_file(g, file, fd);
}
static inline void engine_submit(struct engine *g, const struct engine_read *r)
{
    g->ops->submit(g, r);
}
static inline int engine_reap(struct engine *g, struct engine_done *done, uint32_t max, uint32_t min, uint64_t timeout_ns)
{
    return g->ops->reap(g, done, max, min, timeout_ns);
}
static inline const char *engine_describe(const struct engine *g)
{
    return g->ops->describe(g);
}
static inline void engine_close(struct engine *g)
{
    if (g) g->ops->close(g);
}
