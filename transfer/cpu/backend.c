/* Device memory is host memory: compute reads the payload where the reader put it. A host entry stays in use until
 * compute has released the device entry made of it. */
#include <errno.h>
#include <stdlib.h>

#include "transfer/backend.h"

struct backend {
    uint32_t unused;
};

int backend_open(struct backend **out, struct stage *s, struct error *e)
{
    (void)s;
    *out = calloc(1, sizeof **out);
    return *out ? 0 : error_set(e, ENOMEM, "no memory for the backend");
}

void backend_close(struct backend *b)
{
    free(b);
}

const char *backend_describe(const struct backend *b)
{
    (void)b;
    return "cpu: hands host slots on";
}

bool backend_copies(const struct backend *b)
{
    (void)b;
    return false;
}

int backend_begin(struct backend *b, enum run_lane lane, const struct ring_entry *host, uint64_t device_released,
                  struct backend_place *place, struct error *e)
{
    (void)b;
    (void)lane;
    (void)device_released;
    (void)e;
    *place = (struct backend_place){.segment = host->segment, .offset = host->offset};
    return 0;
}

int backend_done(struct backend *b, enum run_lane lane, uint64_t seq, uint64_t device_released, struct error *e)
{
    (void)b;
    (void)lane;
    (void)e;
    return seq < device_released;
}

uint64_t backend_nap_ns(const struct backend *b)
{
    (void)b;
    return UINT64_MAX;
}
