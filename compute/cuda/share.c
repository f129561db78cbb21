/* Device memory and events that the transfer process opens. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cuda/backend.h"

_Static_assert(sizeof(cudaIpcMemHandle_t) == OPS_HANDLE_BYTES, "memory handle");
_Static_assert(sizeof(cudaIpcEventHandle_t) == OPS_HANDLE_BYTES, "event handle");

static int refused(const char *what, cudaError_t rc, struct error *e)
{
    return error_set(e, rc == cudaErrorNotSupported ? ENOTSUP : EIO,
                     "cuda: %s: %s (%s); sharing device memory between processes needs "
                     "Linux on the bare machine or a container that allows it (--ipc=host); --backend cpu does without",
                     what, cudaGetErrorString(rc), cudaGetErrorName(rc));
}

int ops_export_memory(struct ops *o, void *p, uint8_t handle[OPS_HANDLE_BYTES], struct error *e)
{
    cudaIpcMemHandle_t h;
    cudaError_t rc = cudaIpcGetMemHandle(&h, p);

    (void)o;
    if (rc != cudaSuccess) return refused("exporting device memory", rc, e);
    memcpy(handle, &h, sizeof h);
    return 0;
}

int ops_events_open(struct ops *o, uint32_t entries, uint8_t (*freed_handles)[OPS_HANDLE_BYTES], struct error *e)
{
    cudaIpcEventHandle_t h;
    cudaError_t rc;

    if (o->freed) return error_set(e, EALREADY, "cuda: events are open already");
    o->freed = calloc(entries ? entries : 1, sizeof *o->freed);
    o->ready = calloc(entries ? entries : 1, sizeof *o->ready);
    if (!o->freed || !o->ready) return error_set(e, ENOMEM, "cuda: out of memory for %u events", entries);
    o->entries = entries;
    for (uint32_t i = 0; i < entries; i++) {
        rc = cudaEventCreateWithFlags(&o->freed[i], cudaEventDisableTiming | cudaEventInterprocess);
        if (rc == cudaSuccess) rc = cudaIpcGetEventHandle(&h, o->freed[i]);
        if (rc != cudaSuccess) return refused("making an interprocess event", rc, e);
        memcpy(freed_handles[i], &h, sizeof h);
    }
    return 0;
}

int ops_events_import(struct ops *o, uint32_t entries, const uint8_t (*ready_handles)[OPS_HANDLE_BYTES],
                      struct error *e)
{
    cudaIpcEventHandle_t h;
    cudaError_t rc;

    if (entries != o->entries) return error_set(e, EPROTO, "cuda: %u events where %u were opened", entries, o->entries);
    for (uint32_t i = 0; i < entries; i++) {
        memcpy(&h, ready_handles[i], sizeof h);
        if ((rc = cudaIpcOpenEventHandle(&o->ready[i], h)) != cudaSuccess)
            return refused("opening transfer's event", rc, e);
    }
    return 0;
}

void ops_slot_wait(struct ops *o, uint32_t entry)
{
    if (entry >= o->entries || !o->ready[entry]) {
        backend_fail(o, EPROTO, "waiting for an entry that has no event");
        return;
    }
    backend_check(o, cudaStreamWaitEvent(o->stream, o->ready[entry], 0), "waiting for a slot's event");
}

void ops_slot_release(struct ops *o, uint32_t entry)
{
    if (entry >= o->entries) {
        backend_fail(o, EPROTO, "releasing an entry that has no event");
        return;
    }
    backend_check(o, cudaEventRecord(o->freed[entry], o->stream), "recording a slot's event");
}
