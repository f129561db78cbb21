#include "reader/engine.h"

#include <errno.h>

#include "proto/log.h"

int engine_open(struct engine **out, uint32_t kind, const struct engine_options *o, struct error *e)
{
    struct error why = {0};
    int rc;

    switch (kind) {
    case ENGINE_URING:
        rc = engine_uring.open(out, o, e);
        return rc == -ENOTSUP ? error_prefix(e, "use --engine threads or auto") : rc;
    case ENGINE_THREADS:
        return engine_threads.open(out, o, e);
    case ENGINE_NULL:
        return engine_null.open(out, o, e);
    case ENGINE_AUTO:
        rc = engine_uring.open(out, o, &why);
        if (!rc) return 0;
        log_debug("%s: reading with threads instead", why.text);
        return engine_threads.open(out, o, e);
    default:
        return error_set(e, EPROTO, "plan: unknown read engine %u", kind);
    }
}
