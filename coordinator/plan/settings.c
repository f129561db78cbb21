#include <errno.h>
#include <stdio.h>

#include "coordinator/cli/options.h"
#include "coordinator/plan/machine.h"
#include "coordinator/plan/plan.h"
#include "proto/log.h"

#define MARGIN_LEAST (UINT64_C(128) << 20)

/* Free memory less a twelfth: others need some, and what is free changes. */
static uint64_t modest(uint64_t bytes)
{
    uint64_t margin = bytes / 12;

    if (margin < MARGIN_LEAST) margin = MARGIN_LEAST;
    return bytes > 2 * margin ? bytes - margin : bytes / 2;
}

static int choose_backend(struct plan_settings *s, const struct options *o, const struct machine *m, struct error *e)
{
    if (o->backend == BACKEND_CUDA && !m->has_gpu)
        return error_set(e, ENODEV, "--backend cuda: there is no NVIDIA GPU with a driver on this machine; use --backend cpu, or let it choose");
    /* Automatic means the processor until --device-memory says how much of the card may be used: the driver is asked by
     * compute alone. */
    s->backend = o->backend == BACKEND_AUTO ? BACKEND_CPU : (uint32_t)o->backend;
    if (o->backend == BACKEND_AUTO && m->has_gpu && o->device_memory != UINT64_MAX) s->backend = BACKEND_CUDA;
    return 0;
}

int plan_settings_from_options(struct plan_settings *s, const struct options *o, struct error *e)
{
    struct machine m;
    int rc;

    machine_look(&m);
    *s = (struct plan_settings){.host_memory = o->host_memory, .device_memory = o->device_memory, .shm_free = m.shm_free,
                                .slot_bytes = o->slot_bytes, .reader_depth = (uint32_t)o->reader_depth,
                                .transfer_depth = (uint32_t)o->transfer_depth, .io_block = o->io_block, .io_depth = (uint32_t)o->io_depth,
                                .io = o->io, .engine = o->io_engine, .device = (uint32_t)o->device, .threads = (uint32_t)o->threads,
                                .kv_type = o->kv_type, .context = (uint32_t)o->context, .chunk = (uint32_t)o->batch_tokens,
                                .trace = o->trace != NULL, .log_level = (uint32_t)log_get_level()};
    if ((rc = choose_backend(s, o, &m, e))) return rc;
    s->host_memory_given = o->host_memory != UINT64_MAX;
    s->device_memory_given = o->device_memory != UINT64_MAX;
    if (!s->host_memory_given) s->host_memory = modest(m.free_bytes);
    else if (s->host_memory > m.memory_total)
        return error_set(e, EINVAL, "--host-memory is more than the %.1f GB that this machine has", (double)m.memory_total / 1e9);
    if (!s->device_memory_given) s->device_memory = UINT64_C(3500) << 20;
    if (!s->threads) s->threads = m.cpus;
    return 0;
}
