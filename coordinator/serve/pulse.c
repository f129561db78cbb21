#include "coordinator/serve/pulse.h"

#include "coordinator/serve/out.h"
#include "proto/base/clock.h"
#include "proto/ring.h"

void pulse_open(struct pulse *p)
{
    *p = (struct pulse){0};
    pthread_mutex_init(&p->lock, NULL);
}

void pulse_close(struct pulse *p)
{
    pthread_mutex_destroy(&p->lock);
}

static struct pulse_ring look(const struct epoch_shm *e, int device)
{
    const struct ring_shm *s = (const struct ring_shm *)((const char *)e + e->ring_off[device][LANE_SWEEP]);
    struct ring_counters c = ring_look(s);

    return (struct pulse_ring){s->depth, (uint32_t)(c.reserved - c.published), (uint32_t)(c.published - c.taken),
                               (uint32_t)(c.taken - c.released)};
}

void pulse_take(struct pulse *p, const struct instance *i, const struct batch_progress *b, uint64_t sweeps)
{
    const struct epoch_shm *e = instance_engine(i) ? engine_epoch(instance_engine(i)) : NULL;
    struct pulse_now now = {.sweeps = sweeps,
                            .sweep_start_ns = b->sweep_start_ns,
                            .layer = (uint32_t)b->layer,
                            .layers = (uint32_t)b->layers,
                            .positions = b->positions};

    for (int s = 0; e && s < STAGES; s++) {
        now.bytes[s] = atomic_load(&e->stats[s].bytes);
        now.busy_ns[s] = atomic_load(&e->stats[s].busy_ns);
        now.wait_ns[s] = atomic_load(&e->stats[s].wait_ns);
    }
    for (int d = 0; e && d < 2; d++) now.ring[d] = look(e, d);
    pthread_mutex_lock(&p->lock);
    p->now = now;
    pthread_mutex_unlock(&p->lock);
}

static double rate(double bytes, double seconds)
{
    return seconds > 0 ? bytes / seconds : 0;
}

/* Bytes per second that each stage can reach, by the plan; 0: not known. */
static void ceilings(const struct instance *i, double out[STAGES])
{
    const struct plan_summary *z = instance_summary(i);

    out[STAGE_READER] = rate((double)z->sweep_bytes, z->disk_seconds);
    out[STAGE_TRANSFER] = rate((double)z->dense_bytes, z->link_seconds);
    out[STAGE_COMPUTE] = rate((double)z->active_bytes, z->device_seconds > 0 ? z->device_seconds : z->memory_seconds);
}

void pulse_write(struct pulse *p, struct buffer *b, const struct metrics *m, const struct instance *i)
{
    static const char *const stages[STAGES] = {"reader", "transfer", "compute"}, *const rings[] = {"host", "device"};
    double ceiling[STAGES];
    struct pulse_now n;
    bool busy = atomic_load(&m->running) > 0;

    pthread_mutex_lock(&p->lock);
    n = p->now;
    pthread_mutex_unlock(&p->lock);
    ceilings(i, ceiling);
    out_format(b,
               "{\"seconds\":%.3f,\"running\":%u,\"waiting\":%u,\"sweep\":%llu,\"layer\":%u,\"layers\":%u,"
               "\"positions\":%u,\"max_positions\":%u,\"elapsed\":%.3f,\"sweep_seconds\":%.4f,\"predicted\":%.4f",
               (double)clock_ns() / 1e9, atomic_load(&m->running), atomic_load(&m->waiting),
               (unsigned long long)n.sweeps, n.layer, n.layers, n.positions, instance_plan(i)->run.max_positions,
               busy && n.sweep_start_ns ? (double)(clock_ns() - n.sweep_start_ns) / 1e9 : 0,
               atomic_load(&m->sweep_seconds), m->predicted_seconds);
    buffer_append_text(b, ",\"stages\":[");
    for (int s = 0; s < STAGES; s++)
        out_format(b, "%s{\"name\":\"%s\",\"bytes\":%llu,\"busy\":%.4f,\"wait\":%.4f,\"ceiling\":%.0f}", s ? "," : "",
                   stages[s], (unsigned long long)n.bytes[s], (double)n.busy_ns[s] / 1e9, (double)n.wait_ns[s] / 1e9,
                   ceiling[s]);
    buffer_append_text(b, "],\"rings\":[");
    for (int d = 0; d < 2; d++)
        out_format(b, "%s{\"name\":\"%s\",\"depth\":%u,\"filling\":%u,\"ready\":%u,\"used\":%u}", d ? "," : "",
                   rings[d], n.ring[d].depth, n.ring[d].filling, n.ring[d].ready, n.ring[d].used);
    buffer_append_text(b, "]");
}
