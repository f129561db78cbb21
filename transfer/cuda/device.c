#include "transfer/cuda/device.h"

#include <errno.h>
#include <stdlib.h>

#include "proto/base/export.h"
#include "proto/stage/export.h"

_Static_assert(sizeof(cudaIpcMemHandle_t) == EXPORT_HANDLE_BYTES, "memory handle");
_Static_assert(sizeof(cudaIpcEventHandle_t) == EXPORT_HANDLE_BYTES, "event handle");

int device_error(cudaError_t rc, const char *what, struct error *e)
{
    return error_set(e, rc == cudaErrorMemoryAllocation ? ENOMEM : CONTROL_DEVICE_LOST, "cuda: %s: %s (%s)", what,
                     cudaGetErrorString(rc), cudaGetErrorName(rc));
}

static int shared_error(cudaError_t rc, const char *what, struct error *e)
{
    return error_set(
        e, rc == cudaErrorMemoryAllocation ? ENOMEM : EIO,
        "cuda: %s: %s (%s); device memory is shared between processes here, which needs Linux on the bare machine or a "
        "container that allows it (--ipc=host); --backend cpu does without",
        what, cudaGetErrorString(rc), cudaGetErrorName(rc));
}

static int open_freed(struct device_area *a, const cudaIpcEventHandle_t *handles, struct error *e)
{
    cudaError_t rc;

    for (uint32_t i = 0; i < a->entries; i++)
        if ((rc = cudaIpcOpenEventHandle(&a->freed[i], handles[i])) != cudaSuccess)
            return shared_error(rc, "opening compute's event", e);
    return 0;
}

static int make_ready(struct device_area *a, cudaIpcEventHandle_t *handles, struct error *e)
{
    for (uint32_t i = 0; i < a->entries; i++) {
        cudaError_t rc = cudaEventCreateWithFlags(&a->ready[i], cudaEventDisableTiming | cudaEventInterprocess);

        if (rc == cudaSuccess) rc = cudaIpcGetEventHandle(&handles[i], a->ready[i]);
        if (rc != cudaSuccess) return shared_error(rc, "making an interprocess event", e);
    }
    return 0;
}

static int exchange(struct device_area *a, struct stage *s, cudaIpcEventHandle_t *handles, struct error *e)
{
    uint64_t bytes = (uint64_t)a->entries * EXPORT_HANDLE_BYTES;
    cudaIpcMemHandle_t memory;
    cudaError_t error;
    int rc;

    if ((rc = stage_receive_export(s, EXPORT_MEMORY, &memory, sizeof memory, e))) return rc;
    error = cudaIpcOpenMemHandle((void **)&a->base, memory, cudaIpcMemLazyEnablePeerAccess);
    if (error != cudaSuccess) return shared_error(error, "opening compute's memory", e);
    if ((rc = stage_receive_export(s, EXPORT_FREED_EVENTS, handles, bytes, e)) || (rc = open_freed(a, handles, e)))
        return rc;
    if ((rc = make_ready(a, handles, e))) return rc;
    return stage_send_export(s, STAGE_COMPUTE, EXPORT_READY_EVENTS, handles, bytes, e);
}

static int choose_device(uint32_t device, struct error *e)
{
    int count = 0;
    cudaError_t rc = cudaGetDeviceCount(&count);

    if (rc != cudaSuccess || device >= (uint32_t)count)
        return error_set(e, ENODEV, "cuda: no device %u: %s; see nvidia-smi and --device, or use --backend cpu", device,
                         rc == cudaSuccess ? "this machine has fewer" : cudaGetErrorString(rc));
    if ((rc = cudaSetDevice((int)device)) != cudaSuccess ||
        (rc = cudaSetDeviceFlags(cudaDeviceScheduleBlockingSync)) != cudaSuccess ||
        (rc = cudaFree(NULL)) != cudaSuccess) /* makes the context now */
        return rc == cudaErrorDevicesUnavailable
                   ? error_set(
                         e, EBUSY,
                         "cuda: device %u takes one process only (compute mode EXCLUSIVE_PROCESS), and sluice has "
                         "two: sudo nvidia-smi -i %u -c DEFAULT, or --mps on",
                         device, device)
                   : device_error(rc, "opening the device", e);
    return 0;
}

int device_enter(const struct stage *s, struct error *e)
{
    cudaError_t rc = cudaSetDevice((int)s->plan->run.device);

    return rc == cudaSuccess ? 0 : device_error(rc, "choosing the device for a thread", e);
}

int device_open(struct device_area *a, struct stage *s, struct error *e)
{
    const struct plan_run *run = &s->plan->run;
    cudaIpcEventHandle_t *handles;
    int rc;

    *a = (struct device_area){.entries = plan_entries_before(run, LANES)};
    if ((rc = choose_device(run->device, e))) return rc;
    a->ready = calloc(a->entries, sizeof *a->ready);
    a->freed = calloc(a->entries, sizeof *a->freed);
    handles = calloc(a->entries, sizeof *handles);
    if (!a->ready || !a->freed || !handles)
        rc = error_set(e, ENOMEM, "cuda: no memory for %u events", a->entries);
    else
        rc = exchange(a, s, handles, e);
    free(handles);
    return rc;
}

void device_close(struct device_area *a)
{
    for (uint32_t i = 0; i < a->entries; i++) {
        if (a->ready && a->ready[i]) cudaEventDestroy(a->ready[i]);
        if (a->freed && a->freed[i]) cudaEventDestroy(a->freed[i]);
    }
    if (a->base) cudaIpcCloseMemHandle(a->base);
    free(a->ready);
    free(a->freed);
    *a = (struct device_area){0};
}
