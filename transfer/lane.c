#include "transfer/lane.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proto/base/clock.h"

#define NAP_NS UINT64_C(100000000)

struct lane {
    enum lane_id id;
    struct ring host, device;
    struct ring_entry *next; /* device entry, reserved, not yet published; NULL: none */
    uint64_t begun, done;    /* seq: [done, begun) are with the backend */
    uint64_t freed;          /* device entries told of so far */
    uint64_t *done_ns;       /* [entries] when backend_done() was first true */
};

struct lanes {
    struct lanes_options o;
    struct epoch_stats *stats;
    bool copies;
    struct lane lane[LANES];
};

int lanes_open(struct lanes **out, const struct lanes_options *o, struct error *e)
{
    struct lanes *s = calloc(1, sizeof *s);

    if (!s) return error_set(e, ENOMEM, "no memory for the rings");
    s->o = *o;
    s->stats = &o->run->stats[STAGE_TRANSFER];
    s->copies = backend_copies(o->backend);
    for (int i = 0; i < LANES; i++) {
        struct lane *l = &s->lane[i];

        l->id = (enum lane_id)i;
        ring_attach(&l->host, o->run, 0, l->id, STAGE_READER);
        ring_attach(&l->device, o->run, 1, l->id, STAGE_COMPUTE);
        if (!(l->done_ns = calloc(l->device.mask + 1, sizeof *l->done_ns))) {
            lanes_close(s);
            return error_set(e, ENOMEM, "no memory for the ring entries");
        }
    }
    *out = s;
    return 0;
}

void lanes_close(struct lanes *s)
{
    if (!s) return;
    for (int i = 0; i < LANES; i++) free(s->lane[i].done_ns);
    free(s);
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    /* This process alone writes its counters. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static void tell_freed(struct lanes *s, struct lane *l)
{
    uint64_t released;

    if (!s->o.freed) return;
    released = ring_released(&l->device);
    for (; l->freed < released; l->freed++) {
        struct ring_entry x = *ring_at(&l->device, l->freed);
        uint64_t done_ns = l->done_ns[l->freed & l->device.mask];

        if (s->copies && done_ns > x.ready_ns && done_ns < x.free_ns) x.ready_ns = done_ns;
        s->o.freed(s->o.freed_arg, l->id, &x);
    }
}

/* What the reader says of its entry is believed only after this. */
static int check_entry(const struct lanes *s, const struct lane *l, const struct ring_entry *x, struct error *e)
{
    const struct plan_shm *p = s->o.plan;
    uint64_t bytes = x->bytes, limit;

    if ((x->tile == RING_GATHER) != (l->id == LANE_ROWS))
        return error_set(e, EPROTO, "host ring: tile %u on lane %d", x->tile, (int)l->id);
    if (x->tile != RING_GATHER) {
        if (x->tile >= p->tiles.count) return error_set(e, EPROTO, "host ring: there is no tile %u", x->tile);
        bytes = plan_tiles(p)[x->tile].span;
    }
    if (x->segment != SEGMENT_ARENA && x->segment != SEGMENT_CACHE)
        return error_set(e, EPROTO, "host ring: unknown segment %u", x->segment);
    limit = x->segment == SEGMENT_ARENA ? s->o.arena_bytes : s->o.cache_bytes;
    if (bytes > plan_slot_bytes(&p->run, l->id))
        return error_set(e, EPROTO, "host ring: %llu bytes of rows, a slot has %llu", (unsigned long long)bytes,
                         (unsigned long long)plan_slot_bytes(&p->run, l->id));
    if (x->offset > limit || bytes > limit - x->offset)
        return error_set(e, EPROTO, "host ring: %llu bytes at %llu lie outside of their segment",
                         (unsigned long long)bytes, (unsigned long long)x->offset);
    return 0;
}

/* Begins the next host entry. 1: done, 0: nothing to begin, or no room. */
static int begin(struct lanes *s, struct lane *l, struct error *e)
{
    struct ring_entry *x = ring_peek(&l->host), *y;
    struct backend_place place = {0};
    int rc;

    if (!x) return 0;
    tell_freed(s, l);
    if (!l->next && !(l->next = ring_reserve(&l->device))) return 0;
    if ((rc = check_entry(s, l, x, e))) return rc;
    rc = backend_begin(s->o.backend, l->id, x, ring_released(&l->device), &place, e);
    if (rc) return rc == -EAGAIN ? 0 : rc;
    ring_take(&l->host);
    y = l->next;
    l->next = NULL;
    l->done_ns[y->seq & l->device.mask] = 0;
    y->fill_ns = x->take_ns; /* it was reserved early */
    y->sweep = x->sweep;
    y->bytes = x->bytes;
    y->tile = x->tile;
    y->rows = x->rows;
    y->segment = place.segment;
    y->offset = place.offset;
    ring_publish(&l->device);
    l->begun++;
    add(&s->stats->bytes, x->bytes);
    add(&s->stats->tiles, 1);
    if (!atomic_load_explicit(&s->stats->first_ns, memory_order_relaxed))
        atomic_store_explicit(&s->stats->first_ns, x->take_ns, memory_order_relaxed);
    return 1;
}

/* Gives back the oldest host entry if the backend is done with it. 1, 0, -errno. */
static int end(struct lanes *s, struct lane *l, struct error *e)
{
    int rc;

    if (l->done == l->begun) return 0;
    rc = backend_done(s->o.backend, l->id, l->done, ring_released(&l->device), e);
    if (rc != 1) return rc;
    if (s->copies) l->done_ns[l->done & l->device.mask] = clock_ns();
    ring_release(&l->host);
    l->done++;
    return 1;
}

/* All that can be done now on one lane. *did grows with it. */
static int work(struct lanes *s, struct lane *l, uint32_t *did, struct error *e)
{
    int ended, begun;

    do {
        if ((ended = end(s, l, e)) < 0) return ended;
        if ((begun = begin(s, l, e)) < 0) return begun;
        *did += (uint32_t)(ended + begun);
    } while (ended || begun);
    tell_freed(s, l);
    return 0;
}

static bool copying(const struct lanes *s)
{
    for (int i = 0; s->copies && i < LANES; i++)
        if (s->lane[i].done < s->lane[i].begun) return true;
    return false;
}

/* Until the eventcount rings, or it is time to ask the backend. Time with copies under way is not waiting. */
static int wait(struct lanes *s, uint32_t seen)
{
    uint64_t nap = backend_nap_ns(s->o.backend), t0;

    if (nap >= NAP_NS && !copying(s)) return epoch_wait(s->o.run, STAGE_TRANSFER, seen);
    t0 = clock_ns();
    eventcount_wait(&s->o.run->eventcount[STAGE_TRANSFER], seen, nap < NAP_NS ? nap : NAP_NS);
    add(copying(s) ? &s->stats->busy_ns : &s->stats->wait_ns, clock_ns() - t0);
    return epoch_state(s->o.run);
}

int lanes_run(struct lanes *s, struct error *e)
{
    struct epoch_shm *r = s->o.run;
    int rc = backend_enter(s->o.backend, e);

    if (rc) return rc;
    while (!(rc = epoch_state(r))) {
        uint32_t seen = eventcount_read(&r->eventcount[STAGE_TRANSFER]), did = 0;
        uint64_t t0 = clock_ns();

        for (int i = 0; i < LANES && !rc; i++) rc = work(s, &s->lane[i], &did, e);
        if (did) add(&s->stats->busy_ns, clock_ns() - t0);
        if (!rc && !did) rc = wait(s, seen);
        if (rc) break;
    }
    return rc;
}
