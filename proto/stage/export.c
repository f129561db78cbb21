#include "proto/stage/export.h"

#include <errno.h>
#include <string.h>

static uint32_t piece(uint64_t left)
{
    return left < CONTROL_BLOB_MAX ? (uint32_t)left : CONTROL_BLOB_MAX;
}

int stage_send_export(struct stage *s, enum stage_id to, uint32_t kind, const void *data, uint64_t bytes,
                      struct error *e)
{
    const uint8_t *from = data;
    int rc = 0;

    for (uint64_t at = 0; at < bytes && !rc; at += piece(bytes - at)) {
        struct control_message m = {.type = CONTROL_EXPORT,
                                    .export = {.to = to, .kind = kind, .bytes = piece(bytes - at), .data = from + at}};

        rc = stage_send(s, &m, e);
    }
    return rc;
}

int stage_receive_export(struct stage *s, uint32_t kind, void *out, uint64_t bytes, struct error *e)
{
    struct control_message m;
    int rc;

    for (uint64_t at = 0; at < bytes; at += m.export.bytes) {
        do rc = stage_receive(s, &m, 100, e);
        while (rc == -EAGAIN);
        if (rc) return rc;
        if (m.type != CONTROL_EXPORT || m.export.kind != kind || m.export.bytes != piece(bytes - at))
            return error_set(e, EPROTO, "control: expected export %u of %llu bytes, got message %d", kind,
                             (unsigned long long)bytes, (int)m.type);
        memcpy((uint8_t *)out + at, m.export.data, m.export.bytes);
    }
    return 0;
}
