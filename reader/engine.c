#include "reader/engine.h"

#include <errno.h>

#include "proto/base/log.h"

int io_engine_open(struct io_engine **out, uint32_t kind, const struct io_options *o, struct error *e)
{
    struct error why = {0};
    int rc;

    switch (kind) {
    case ENGINE_URING:
        rc = io_engine_uring.open(out, o, e);
        return rc == -ENOTSUP ? error_prefix(e, "use --io-engine threads or auto") : rc;
    case ENGINE_THREADS: return io_engine_threads.open(out, o, e);
    case ENGINE_NULL: return io_engine_null.open(out, o, e);
    case ENGINE_AUTO:
        rc = io_engine_uring.open(out, o, &why);
        if (!rc) return 0;
        log_debug("%s: reading with threads instead", why.text);
        return io_engine_threads.open(out, o, e);
    default: return error_set(e, EPROTO, "plan: unknown read engine %u", kind);
    }
}
