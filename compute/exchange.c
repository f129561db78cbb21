#include "compute/exchange.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/base/export.h"
#include "proto/stage/export.h"

int exchange_compute(struct stage *s, struct decoder *d, struct error *e)
{
    uint32_t entries = plan_entries_before(&s->plan->run, LANES);
    uint64_t bytes = (uint64_t)entries * OPS_HANDLE_BYTES;
    uint8_t(*handles)[OPS_HANDLE_BYTES], memory[OPS_HANDLE_BYTES];
    int rc;

    if (!d->device) return 0;
    handles = calloc(entries, sizeof *handles);
    if (!handles) return error_set(e, ENOMEM, "no memory for event handles");
    rc = ops_export_memory(d->ops, d->device, memory, e);
    if (!rc) rc = stage_send_export(s, STAGE_TRANSFER, EXPORT_MEMORY, memory, sizeof memory, e);
    if (!rc) rc = ops_events_open(d->ops, entries, handles, e);
    if (!rc) rc = stage_send_export(s, STAGE_TRANSFER, EXPORT_FREED_EVENTS, handles, bytes, e);
    if (!rc) rc = stage_receive_export(s, EXPORT_READY_EVENTS, handles, bytes, e);
    if (!rc) rc = ops_events_import(d->ops, entries, (const uint8_t(*)[OPS_HANDLE_BYTES])handles, e);
    free(handles);
    return rc;
}
