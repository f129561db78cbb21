#include "reader/lane.h"

#include <errno.h>
#include <stdlib.h>

int lane_open(struct lane *l, struct epoch_shm *r, const struct plan_run *p, enum lane_id id, struct error *e)
{
    *l = (struct lane){.id = id,
                       .slots = p->reader_slots[id],
                       .slot_bytes = plan_slot_bytes(p, id),
                       .slots_at = plan_slots_before(p, p->reader_slots, id)};
    ring_attach(&l->ring, r, 0, id, STAGE_TRANSFER);
    l->mask = l->ring.mask;
    l->job = calloc(l->mask + 1, sizeof *l->job);
    l->slot_user = calloc(l->slots + 1u, sizeof *l->slot_user);
    if (!l->job || !l->slot_user)
        return error_set(e, ENOMEM, "no memory for %llu ring entries", (unsigned long long)l->mask + 1);
    return 0;
}

void lane_close(struct lane *l)
{
    free(l->job);
    free(l->slot_user);
    l->job = NULL;
    l->slot_user = NULL;
}

void lane_tell_freed(struct lane *l)
{
    uint64_t released;

    if (!l->told) return;
    released = ring_released(&l->ring);
    for (; l->freed < released; l->freed++) l->told(l->told_arg, l->id, ring_at(&l->ring, l->freed));
}

struct ring_entry *lane_reserve(struct lane *l, uint64_t sweep, uint32_t tile, uint64_t bytes)
{
    struct ring_entry *x;

    lane_tell_freed(l); /* before one of them is written over */
    x = ring_reserve(&l->ring);
    l->reserved++;
    x->sweep = sweep;
    x->tile = tile;
    x->bytes = bytes;
    x->rows = 0;
    return x;
}

uint64_t lane_use_slot(struct lane *l, struct ring_entry *x)
{
    uint64_t offset = l->slots_at + l->next_slot * l->slot_bytes;

    l->slot_user[l->next_slot] = x->seq + 1;
    l->next_slot = (l->next_slot + 1) % l->slots;
    x->segment = SEGMENT_ARENA;
    x->offset = offset;
    return offset;
}

int lane_issue(struct lane *l, struct fetch *f, struct error *e)
{
    for (; l->issue < l->reserved; l->issue++) {
        int rc = fetch_issue(f, lane_job(l, l->issue), e);

        if (rc != 1) return rc;
    }
    return 1;
}

uint32_t lane_publish(struct lane *l)
{
    uint32_t n = 0;

    for (; l->published < l->issue && fetch_done(lane_job(l, l->published)); l->published++, n++) {
        if (l->filled) l->filled(l->filled_arg, l->id, ring_at(&l->ring, l->published));
        ring_publish(&l->ring);
    }
    return n;
}
