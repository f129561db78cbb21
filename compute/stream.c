#include "compute/stream.h"

#include <errno.h>
#include <stdatomic.h>

#include "proto/base/clock.h"

static struct epoch_stats *stats(struct tiles *t)
{
    return &t->stage->run->stats[STAGE_COMPUTE];
}

void tiles_open(struct tiles *t, struct stage *s, struct ops *o, enum lane_id lane, uint8_t *device)
{
    *t = (struct tiles){.stage = s, .ops = o, .lane = lane, .device = device};
    ring_attach(&t->ring, s->run, 1, lane, STAGE_TRANSFER);
}

void tiles_range(struct tiles *t, uint64_t sweep, uint64_t first, uint64_t count)
{
    tiles_done(t);
    t->sweep = sweep;
    t->tile = first;
    t->last = first + count;
}

/* Events are numbered over all lanes' entries. */
static uint32_t entry_event(const struct tiles *t, const struct ring_entry *x)
{
    return plan_entries_before(&t->stage->plan->run, t->lane) + (uint32_t)(x->seq & t->ring.mask);
}

static int wait_entry(struct tiles *t, struct ring_entry **x)
{
    struct epoch_shm *r = t->stage->run;
    uint32_t seen;
    int rc;

    for (;;) {
        seen = eventcount_read(&r->eventcount[STAGE_COMPUTE]);
        if (t->idle && (rc = t->idle(t->idle_arg))) return rc;
        if ((*x = ring_take(&t->ring))) return 0;
        if ((rc = epoch_wait(r, STAGE_COMPUTE, seen))) return rc;
    }
}

/* A segment that this stage reads payloads from: all of them lie on the device (cuda), or none does. */
static const uint8_t *segment_of(const struct tiles *t, uint32_t segment, uint64_t *bytes)
{
    const struct stage *s = t->stage;

    *bytes = 0;
    if (t->device) {
        if (segment != SEGMENT_DEVICE) return NULL;
        *bytes = plan_device_bytes(&s->plan->run);
        return t->device;
    }
    if (segment == SEGMENT_ARENA) *bytes = s->arena_bytes;
    if (segment == SEGMENT_CACHE) *bytes = s->cache_bytes;
    return segment == SEGMENT_ARENA ? s->arena : segment == SEGMENT_CACHE ? s->cache : NULL;
}

/* Where an entry's payload of span bytes begins: it is believed only after this. */
static int entry_base(struct tiles *t, const struct ring_entry *x, uint64_t span, const uint8_t **base, struct error *e)
{
    uint64_t bytes;
    const uint8_t *segment = segment_of(t, x->segment, &bytes);

    if (!segment || x->offset > bytes || bytes - x->offset < span)
        return error_set(e, EPROTO, "device ring: %llu bytes of tile %u at %llu of segment %u, which has %llu",
                         (unsigned long long)span, x->tile, (unsigned long long)x->offset, x->segment,
                         (unsigned long long)bytes);
    *base = segment + x->offset;
    if (t->device) ops_slot_wait(t->ops, entry_event(t, x));
    return 0;
}

static void release_entry(struct tiles *t)
{
    if (t->device) ops_slot_release(t->ops, entry_event(t, ring_at(&t->ring, ring_released(&t->ring))));
    ring_release(&t->ring);
}

/* A tile that stayed where compute can read it: no entry is sent for it any more. */
static const uint8_t *kept(const struct tiles *t, const struct plan_tile *tile)
{
    const struct plan_run *run = &t->stage->plan->run;

    if (tile->tier == TIER_HOST) return t->stage->cache + tile->tier_off;
    return t->device + plan_device_pins_offset(run) + tile->tier_off;
}

static int open_tile(struct tiles *t, struct error *e)
{
    const struct plan_tile *tile = &plan_tiles(t->stage->plan)[t->tile];
    struct ring_entry *x;
    int rc;

    if (t->lane == LANE_SWEEP && (tile->flags & TILE_STAYS) && t->sweep > 0) {
        t->base = kept(t, tile);
        t->held = false;
        t->kept_ns = t->stage->traces ? clock_ns() : 0;
    } else {
        if ((rc = wait_entry(t, &x))) return rc;
        t->held = true;
        if (x->tile != t->tile || (t->lane == LANE_SWEEP && x->sweep != t->sweep))
            return error_set(e, EPROTO, "expected tile %llu of sweep %llu, got tile %u of sweep %llu",
                             (unsigned long long)t->tile, (unsigned long long)t->sweep, x->tile,
                             (unsigned long long)x->sweep);
        if ((rc = entry_base(t, x, tile->span, &t->base, e))) return rc;
    }
    t->open = true;
    t->part = tile->part0;
    t->part_end = tile->part0 + tile->parts;
    t->tile++;
    atomic_fetch_add_explicit(&stats(t)->tiles, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&stats(t)->bytes, tile->bytes, memory_order_relaxed);
    return 0;
}

static void trace_kept(struct tiles *t)
{
    const struct plan_tile *tile = &plan_tiles(t->stage->plan)[t->tile - 1];
    struct trace_record r = {.sweep = t->sweep,
                             .bytes = tile->bytes,
                             .take_ns = t->kept_ns,
                             .free_ns = clock_ns(),
                             .tile = (uint32_t)(t->tile - 1),
                             .entry = TRACE_KEPT,
                             .ring = 1,
                             .lane = (uint8_t)t->lane};

    stage_trace(t->stage, &r);
}

void tiles_done(struct tiles *t)
{
    if (t->open && t->held)
        release_entry(t);
    else if (t->open && t->kept_ns)
        trace_kept(t);
    t->open = t->held = false;
}

int tiles_next(struct tiles *t, struct tile_part *out, struct error *e)
{
    const struct plan_shm *plan = t->stage->plan;
    int rc;

    if (t->open && t->part == t->part_end) tiles_done(t);
    if (!t->open) {
        if (t->tile == t->last) return -ENODATA;
        if ((rc = epoch_state(t->stage->run)) || (rc = open_tile(t, e))) return rc;
    }
    out->part = &plan_parts(plan)[t->part++];
    out->data = t->base + (t->device ? plan_device_offset(out->part) : out->part->slot_off);
    return 0;
}

int tiles_gather(struct tiles *t, struct tiles_rows *out, struct error *e)
{
    uint64_t row_bytes = plan_row_stride(t->stage->plan);
    struct ring_entry *x;
    const uint8_t *base = NULL;
    int rc;

    tiles_done(t);
    if ((rc = wait_entry(t, &x))) return rc;
    t->held = t->open = true;
    if (x->tile != RING_GATHER || !x->rows)
        return error_set(e, EPROTO, "expected rows of the embedding, got %u of tile %u", x->rows, x->tile);
    if ((rc = entry_base(t, x, x->rows * row_bytes, &base, e))) return rc;
    *out = (struct tiles_rows){base, x->sweep, x->rows};
    return 0;
}
