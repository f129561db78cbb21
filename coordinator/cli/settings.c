#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "coordinator/cli/options.h"
#include "coordinator/plan/machine.h"
#include "coordinator/plan/plan.h"
#include "coordinator/plan/calibrate.h"
#include "coordinator/engine/device.h"
#include "coordinator/source/source.h"
#include "proto/base/log.h"

#define GUESSES_AUTO    64u /* at most: what two processors can check while a disk of some GB/s brings the weights */
#define LARGER_CONTEXTS (UINT64_C(512) << 20)
#define MARGIN_LEAST    (UINT64_C(128) << 20)

/* Free memory less a twelfth: others need some, and what is free changes. */
static uint64_t modest(uint64_t bytes)
{
    uint64_t margin = bytes / 12;

    if (margin < MARGIN_LEAST) margin = MARGIN_LEAST;
    return bytes > 2 * margin ? bytes - margin : bytes / 2;
}

/* Contexts of data centre's GPUs from Hopper on take more than the plan keeps for two of them (plan/cost.c): it is left out
 * of what is taken without being told to. */
static uint64_t larger_contexts(const struct device_facts *f)
{
    bool large = f->capability == 90 || f->capability == 100;

    return large && f->free_bytes > 4 * LARGER_CONTEXTS ? LARGER_CONTEXTS : 0;
}

/* Of a GPU that computes in the machine's own memory: what it takes is not there for the processes. Free is what the system says
 * is available: the driver counts what the page cache would give back as taken. A tile is best off where it is computed, so a
 * quarter is left to the host, whose tiles are copied, where nobody says otherwise. */
static int share_memory(struct plan_settings *s, const struct device_facts *f, const struct machine *m, struct error *e)
{
    const uint64_t both = m->free_bytes < f->total_bytes ? m->free_bytes : f->total_bytes, all = modest(both),
                   host = s->host_memory_given ? s->host_memory : 0,
                   device = s->device_memory_given ? s->device_memory : 0;

    if (host > both || device > both - host)
        return error_set(
            e, EINVAL,
            "--host-memory and --device-memory: %s computes in this machine's own memory, of which %.2f GB "
            "are free for both together",
            f->name, (double)both / 1e9);
    s->device_unified = true;
    if (s->host_memory_given && s->device_memory_given) return 0;
    if (s->host_memory_given) {
        s->device_memory = all > host ? all - host : 0;
        return 0;
    }
    if (!s->device_memory_given) s->device_memory = all / 4 * 3;
    s->host_memory = all > s->device_memory ? all - s->device_memory : 0;
    s->host_alone = modest(m->free_bytes);
    return 0;
}

static int device_budget(struct plan_settings *s, const struct device_facts *f, const struct machine *m,
                         struct error *e)
{
    snprintf(s->device_name, sizeof s->device_name, "%s", f->name);
    if (f->unified) return share_memory(s, f, m, e);
    if (!s->device_memory_given)
        s->device_memory = modest(f->free_bytes - larger_contexts(f));
    else if (s->device_memory > f->free_bytes)
        return error_set(e, EINVAL, "--device-memory: %s has %.2f GB, of which %.2f GB are free", f->name,
                         (double)f->total_bytes / 1e9, (double)f->free_bytes / 1e9);
    return 0;
}

/* The first time, also at how fast it is. */
static int look_at_device(struct device_facts *f, uint32_t device, struct error *e)
{
    struct device_speeds s;
    int rc;

    if (calibration_knows_device(device)) return device_look(f, device, e);
    if ((rc = device_try(f, &s, device, e))) return rc;
    calibration_keep_device(device, (double)s.link, (double)s.memory);
    return 0;
}

/* Automatic is the GPU, where the compute stage for it says that it can be used. */
static int choose_backend(struct plan_settings *s, const struct options *o, const struct machine *m, struct error *e)
{
    struct device_facts facts;
    struct error why;
    int rc;

    s->backend = BACKEND_CPU;
    s->backend_auto = o->backend == BACKEND_AUTO;
    if (o->backend == BACKEND_CPU || (s->backend_auto && !m->has_gpu)) return 0;
    rc = look_at_device(&facts, (uint32_t)o->device, &why);
    if (rc && (rc == -ECANCELED || !s->backend_auto)) {
        *e = why;
        return rc;
    }
    if (rc) {
        log_warn("the GPU is not used, the processor computes: %s", why.text);
        return 0;
    }
    s->backend = BACKEND_CUDA;
    return device_budget(s, &facts, m, e);
}

/* Of the coordinator itself, and what reading takes. */
static uint64_t guess_text(const struct options *o)
{
    return (o->source ? source_text_bytes(o->source) : 0) + (UINT64_C(8) << 20);
}

void plan_settings_leave(struct plan_settings *s, uint64_t bytes)
{
    if (!s->whole) s->whole = s->host_memory;
    s->beside += bytes;
    s->host_memory = s->host_memory > bytes ? s->host_memory - bytes : 0;
}

void plan_settings_speculate(struct plan_settings *s, const struct options *o)
{
    s->guesses_auto = o->speculate == OPTION_SPECULATE_AUTO;
    s->guesses = s->guesses_auto ? GUESSES_AUTO : (uint32_t)o->speculate;
}

int plan_settings_from_options(struct plan_settings *s, const struct options *o, struct error *e)
{
    struct machine m;
    int rc;

    machine_look(&m);
    *s = (struct plan_settings){.host_memory = o->host_memory,
                                .device_memory = o->device_memory,
                                .shm_free = m.shm_free,
                                .slot_bytes = o->slot_bytes,
                                .reader_depth = (uint32_t)o->reader_depth,
                                .transfer_depth = (uint32_t)o->transfer_depth,
                                .io_block = o->io_block,
                                .io_depth = (uint32_t)o->io_depth,
                                .io = o->io,
                                .engine = o->io_engine,
                                .device = (uint32_t)o->device,
                                .threads = (uint32_t)o->threads,
                                .kv_form = o->kv_form,
                                .context = (uint32_t)o->context,
                                .chunk = (uint32_t)o->batch_tokens,
                                .text_bytes = guess_text(o),
                                .trace = o->trace != NULL,
                                .log_level = (uint32_t)log_get_level()};
    s->host_memory_given = o->host_memory != UINT64_MAX;
    s->device_memory_given = o->device_memory != UINT64_MAX;
    if ((rc = choose_backend(s, o, &m, e))) return rc;
    if (!s->host_memory_given && !s->device_unified)
        s->host_memory = modest(m.free_bytes);
    else if (s->host_memory > m.memory_total)
        return error_set(e, EINVAL, "--host-memory is more than the %.1f GB that this machine has",
                         (double)m.memory_total / 1e9);
    if (!s->threads) s->threads = m.cpus_big;
    if (o->model && !o->io_block && !o->io_depth)
        s->io_find = calibration_reading(o->model, &s->io_block, &s->io_depth) ? IO_FIND_NOTHING : IO_FIND_FIRST;
    return 0;
}
