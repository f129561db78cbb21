#include "proto/link.h"

#include <errno.h>
#include <stdatomic.h>

static uint64_t whole(uint64_t x)
{
    return (x + 63) / 64 * 64;
}

uint64_t link_slot_bytes(const struct plan_shm *p, const struct plan_run *r)
{
    uint64_t floats = (uint64_t)plan_hop_columns(plan_ops(p), p->ops.count) * r->max_positions;

    return sizeof(struct link_message) + whole(floats * sizeof(float));
}

uint64_t link_segment_bytes(const struct plan_shm *p, const struct plan_run *r)
{
    return sizeof(struct link_shm) + 2 * LINK_SLOTS * link_slot_bytes(p, r);
}

void link_init(struct link_shm *l, const struct plan_shm *p, uint64_t epoch, uint32_t rank, uint32_t ranks)
{
    *l = (struct link_shm){.magic = LINK_MAGIC,
                           .version = LINK_VERSION,
                           .bytes = link_segment_bytes(p, &p->run),
                           .epoch = epoch,
                           .slot_bytes = link_slot_bytes(p, &p->run),
                           .rank = rank,
                           .ranks = ranks};
}

int link_check(const struct link_shm *l, uint64_t map_bytes, uint64_t slot_bytes, struct error *e)
{
    if (map_bytes < sizeof *l || l->magic != LINK_MAGIC || l->version != LINK_VERSION || l->bytes > map_bytes ||
        l->slot_bytes < sizeof(struct link_message) || l->slot_bytes % 64 ||
        l->slot_bytes > (l->bytes - sizeof *l) / (2 * LINK_SLOTS) || (slot_bytes && l->slot_bytes != slot_bytes))
        return error_set(e, EPROTO, "link: not a segment of this program for this plan (%llu bytes)",
                         (unsigned long long)map_bytes);
    return 0;
}
