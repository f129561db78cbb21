/* Fills nothing, at once. */
#include <errno.h>
#include <stdlib.h>

#include "reader/engine.h"

struct null {
    struct io_engine engine;
    uint32_t count, depth;
    struct io_done done[];
};

static int null_open(struct io_engine **out, const struct io_options *o, struct error *e)
{
    struct null *n = calloc(1, sizeof *n + o->depth * sizeof *n->done);

    if (!n) return error_set(e, ENOMEM, "no memory for %u reads", o->depth);
    n->engine.ops = &io_engine_null;
    n->depth = o->depth;
    *out = &n->engine;
    return 0;
}

static void null_add_file(struct io_engine *g, uint32_t file, int fd)
{
    (void)g;
    (void)file;
    (void)fd;
}

static void null_submit(struct io_engine *g, const struct io_read *r)
{
    struct null *n = (struct null *)g;

    n->done[n->count++] = (struct io_done){.tag = r->tag, .result = (int32_t)r->bytes};
}

static int null_reap(struct io_engine *g, struct io_done *done, uint32_t max, uint32_t min, uint64_t timeout_ns)
{
    struct null *n = (struct null *)g;
    uint32_t k = 0;

    (void)min;
    (void)timeout_ns;
    while (k < max && n->count) done[k++] = n->done[--n->count];
    return (int)k;
}

static const char *null_describe(const struct io_engine *g)
{
    (void)g;
    return "null engine: nothing is read";
}

static void null_close(struct io_engine *g)
{
    free(g);
}

const struct io_ops io_engine_null = {
    .name = "null",
    .open = null_open,
    .add_file = null_add_file,
    .submit = null_submit,
    .reap = null_reap,
    .describe = null_describe,
    .close = null_close,
};
