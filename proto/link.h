/* Between machines: what compute hands to sluice-link, which carries it over MPI, and what comes from there.
 *
 *   compute --OP_SEND--> out ring --> sluice-link ==MPI==> sluice-link of the peer --> in ring --OP_RECEIVE--> its compute
 *
 * The LINK segment has two rings of LINK_SLOTS slots, each a message: a header and its numbers. Of a ring one side writes
 * `published`, the other `taken`, and neither ever decreases:
 *      taken <= published <= taken + LINK_SLOTS
 *      out: published by compute when a slot is filled, taken by the link when it was sent
 *      in:  published by the link when a message has come, taken by compute when it was read
 * published is stored with release order after the slot, and read with acquire order before it; taken likewise. Who publishes or takes
 * notifies the other side's eventcount: the link's in this segment, compute's in the epoch's. Who carries the messages is no
 * part of this: whatever puts each one into the peer's ring as it was.
 *
 * A sweep's messages follow each other: a machine sends only after it has received what was sent to it before, so there is
 * never more than one on its way, and no ring order can deadlock. */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/epoch.h"

#define LINK_MAGIC   UINT64_C(0x6b6e696c5f637573) /* "suc_link" */
#define LINK_VERSION 1u
#define LINK_SLOTS   2u

/* Numbers follow: for each hop operation [positions][width], float32 as they lie in memory. */
struct link_message {
    uint64_t epoch, sweep;
    uint64_t bytes;    /* of the numbers */
    uint64_t checksum; /* of the numbers: proto/base/checksum.h */
    uint32_t hop, layer, group, positions;
    uint32_t from, to; /* ranks */
    uint64_t pad;
};
_Static_assert(sizeof(struct link_message) == 64, "link_message");

struct link_ring {
    _Alignas(64) _Atomic uint64_t published;
    _Alignas(64) _Atomic uint64_t taken;
};

struct link_shm {
    uint64_t magic;
    uint32_t version, pad;
    uint64_t bytes, epoch, slot_bytes; /* of a slot: its header too */
    uint32_t rank, ranks;
    struct eventcount wakes; /* what the link sleeps on */
    struct link_ring out, in;
};

/* Of a plan with hops: a slot's bytes, its header too; of the segment. */
uint64_t link_slot_bytes(const struct plan_shm *p, const struct plan_run *r);
uint64_t link_segment_bytes(const struct plan_shm *p, const struct plan_run *r);
void link_init(struct link_shm *l, const struct plan_shm *p, uint64_t epoch, uint32_t rank, uint32_t ranks);
/* slot_bytes 0: any. -EPROTO. */
int link_check(const struct link_shm *l, uint64_t map_bytes, uint64_t slot_bytes, struct error *e);

static inline struct link_message *link_slot(struct link_shm *l, const struct link_ring *r, uint64_t n)
{
    uint64_t k = n % LINK_SLOTS + (r == &l->in ? LINK_SLOTS : 0);

    return (struct link_message *)(void *)((uint8_t *)l + sizeof *l + k * l->slot_bytes);
}
