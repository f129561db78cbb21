#include "compute/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/export.h"

static int send_export(struct stage *s, uint32_t kind, const void *data, uint32_t bytes, struct error *e)
{
    struct control_message m = {.type = CONTROL_EXPORT,
                                .export = {.to = STAGE_TRANSFER, .kind = kind, .bytes = bytes, .data = data}};

    return stage_send(s, &m, e);
}

int exchange_compute(struct stage *s, struct decoder *d, struct error *e)
{
    uint32_t entries = plan_entries_before(&s->plan->run, LANES);
    uint8_t(*handles)[OPS_HANDLE_BYTES], memory[OPS_HANDLE_BYTES];
    struct control_message m;
    int rc;

    if (!d->device) return 0;
    handles = calloc(entries, sizeof *handles);
    if (!handles) return error_set(e, ENOMEM, "no memory for event handles");
    rc = ops_export_memory(d->ops, d->device, memory, e);
    if (!rc) rc = send_export(s, EXPORT_MEMORY, memory, sizeof memory, e);
    if (!rc) rc = ops_events_open(d->ops, entries, handles, e);
    if (!rc) rc = send_export(s, EXPORT_FREED_EVENTS, handles, entries * OPS_HANDLE_BYTES, e);
    if (!rc) {
        do rc = stage_receive(s, &m, 100, e);
        while (rc == -EAGAIN);
    }
    if (!rc && (m.type != CONTROL_EXPORT || m.export.kind != EXPORT_READY_EVENTS ||
                m.export.bytes != entries * OPS_HANDLE_BYTES))
        rc = error_set(e, EPROTO, "control: expected transfer's events, got type %d", (int)m.type);
    if (!rc) {
        memcpy(handles, m.export.data, m.export.bytes);
        rc = ops_events_import(d->ops, entries, (const uint8_t(*)[OPS_HANDLE_BYTES])handles, e);
    }
    free(handles);
    return rc;
}
