/* Device memory is host memory: compute reads the payload where the reader put it. A host entry stays in use until
 * compute has released the device entry made of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "transfer/backend.h"

struct backend {
    uint64_t peak_bytes; /* memory for measuring */
};

int backend_open(struct backend **out, struct stage *s, struct error *e)
{
    *out = calloc(1, sizeof **out);
    if (!*out) return error_set(e, ENOMEM, "no memory for the backend");
    (*out)->peak_bytes = s->plan->run.peak_bytes;
    return 0;
}

void backend_close(struct backend *b)
{
    free(b);
}

int backend_enter(struct backend *b, struct error *e)
{
    (void)b, (void)e;
    return 0;
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

int backend_begin(struct backend *b, enum lane_id lane, const struct ring_entry *host, uint64_t device_released,
                  struct backend_place *place, struct error *e)
{
    (void)b;
    (void)lane;
    (void)device_released;
    (void)e;
    *place = (struct backend_place){.segment = host->segment, .offset = host->offset};
    return 0;
}

int backend_done(struct backend *b, enum lane_id lane, uint64_t seq, uint64_t device_released, struct error *e)
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

#define PEAK_BYTES (UINT64_C(64) << 20) /* of each of the two: more than a core's own caches hold */

int backend_peak(struct backend *b, uint64_t limit_ns, uint64_t *bytes, uint64_t *ns, struct error *e)
{
    uint64_t each = b->peak_bytes / 2 < PEAK_BYTES ? b->peak_bytes / 2 : PEAK_BYTES, start;
    char *memory;

    *bytes = *ns = 0;
    if (!each) return 0;
    memory = malloc(2 * each);
    if (!memory) return error_set(e, ENOMEM, "no memory to measure copies with");
    memset(memory, 1, 2 * each); /* so that no page is given while the time runs */
    start = clock_ns();
    for (bool back = false; (*ns = clock_ns() - start) < limit_ns || !*bytes; back = !back, *bytes += each)
        memcpy(memory + (back ? 0 : each), memory + (back ? each : 0), each);
    free(memory);
    return 0;
}
