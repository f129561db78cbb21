/* One lane of the reader: ring entries, the arena's slots that they use, and the jobs that fill them. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"
#include "proto/ring.h"
#include "reader/fetch.h"

/* Entries [published, reserved) are being filled; of those, all below `issue` have all their reads queued. */
struct lane {
    struct ring ring;
    enum lane_id id;
    uint64_t reserved, published, issue, freed; /* freed: told of so far */
    uint64_t mask;
    struct fetch_job *job;         /* [entries] */
    uint64_t slot_bytes, slots_at; /* where its slots begin in the arena */
    uint64_t *slot_user;           /* [slots] 1 + seq of the last entry that used it */
    uint32_t slots, next_slot;
    void (*filled)(void *arg, enum lane_id lane,
                   const struct ring_entry *x); /* before an entry is published; may be NULL */
    void *filled_arg;
    void (*told)(void *arg, enum lane_id lane, const struct ring_entry *x); /* of every freed entry; may be NULL */
    void *told_arg;
};

int lane_open(struct lane *l, struct epoch_shm *r, const struct plan_run *p, enum lane_id id, struct error *e);
void lane_close(struct lane *l); /* harmless where it was not opened */

static inline uint64_t lane_room(const struct lane *l) /* entries that may be reserved now */
{
    return l->mask + 1 - (l->reserved - ring_released(&l->ring));
}
/* Slots are used in turn, and entries are released in order: if this one is not free, none is. */
static inline bool lane_slot_free(const struct lane *l)
{
    return l->slots && l->slot_user[l->next_slot] <= ring_released(&l->ring);
}
static inline struct fetch_job *lane_job(const struct lane *l, uint64_t seq)
{
    return &l->job[seq & l->mask];
}

/* The next entry (there must be room), its tile, sweep (see struct ring_entry) and bytes set; its job is still the caller's to
 * begin. */
struct ring_entry *lane_reserve(struct lane *l, uint64_t sweep, uint32_t tile, uint64_t bytes);
/* Gives the entry the next slot (which must be free); returns its offset in the arena. */
uint64_t lane_use_slot(struct lane *l, struct ring_entry *x);

void lane_tell_freed(struct lane *l);

/* Queues reads of the jobs, in order. 1: all are queued, 0: no room, -errno. */
int lane_issue(struct lane *l, struct fetch *f, struct error *e);
/* Publishes the entries whose jobs are done, in order. Returns how many. */
uint32_t lane_publish(struct lane *l);
