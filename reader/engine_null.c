/* Fills nothing, at once. */
#include <errno.h>
#include <stdlib.h>

#include "reader/engine.h"

struct null {
    struct engine engine;
    uint32_t count, depth;
    struct engine_done done[];
};

static int null_open(struct engine **out, const struct engine_options *o, struct error *e)
{
    struct null *n = calloc(1, sizeof *n + o->depth * sizeof *n->done);

    if (!n) return error_set(e, ENOMEM, "no memory for %u reads", o->depth);
    n->engine.ops = &engine_null;
    n->depth = o->depth;
    *out = &n->engine;
    return 0;
}

static void null_add_file(struct engine *g, uint32_t file, int fd)
{
    (void)g;
    (void)file;
    (void)fd;
}

static void null_submit(struct engine *g, const struct engine_read *r)
{
    struct null *n = (struct null *)g;

    n->done[n->count++] = (struct engine_done){.tag = r->tag, .result = (int32_t)r->bytes};
}

static int null_reap(struct engine *g, struct engine_done *done, uint32_t max, uint32_t min, uint64_t timeout_ns)
{
    struct null *n = (struct null *)g;
    uint32_t k = 0;

    (void)min;
    (void)timeout_ns;
    while (k < max && n->count) done[k++] = n->done[--n->count];
    return (int)k;
}

static const char *null_describe(const struct engine *g)
{
    (void)g;
    return "null engine: nothing is read";
}

static void null_close(struct engine *g)
{
    free(g);
}

const struct engine_ops engine_null = {
    .name = "null", .open = null_open, .add_file = null_add_file, .submit = null_submit, .reap = null_reap,
    .describe = null_describe, .close = null_close,
};
