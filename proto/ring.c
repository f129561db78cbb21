#include "proto/ring.h"

#include <errno.h>
#include <stdatomic.h>

#include "proto/base/clock.h"

/* Orders are the weakest that hold under ARM's rules, by which a processor may let any two accesses pass each other that
 * nothing keeps in order; on x86 they cost nothing but keep the compiler in order. */

uint64_t ring_bytes(uint32_t depth)
{
    return sizeof(struct ring_shm) + (uint64_t)depth * sizeof(struct ring_entry);
}

void ring_init(struct ring_shm *s, uint32_t depth, uint64_t epoch)
{
    s->depth = depth;
    s->epoch = epoch;
    atomic_init(&s->reserved, 0);
    atomic_init(&s->published, 0);
    atomic_init(&s->taken, 0);
    atomic_init(&s->released, 0);
}

void ring_attach(struct ring *ring, struct epoch_shm *r, int device, enum lane_id lane, enum stage_id peer)
{
    ring->shm = (struct ring_shm *)(void *)((char *)r + r->ring_off[device][lane]);
    ring->peer = &r->eventcount[peer];
    ring->mask = ring->shm->depth - 1;
}

struct ring_entry *ring_reserve(struct ring *ring)
{
    struct ring_shm *s = ring->shm;
    uint64_t n = atomic_load_explicit(&s->reserved, memory_order_relaxed); /* ours */
    struct ring_entry *x;

    /* acquire: the consumer is done with the entry's payload and line before we write them again */
    if (n - atomic_load_explicit(&s->released, memory_order_acquire) > ring->mask) return NULL;
    x = &s->entry[n & ring->mask];
    __atomic_store_n(&x->seq, n, __ATOMIC_RELAXED); /* ring_check() may be looking */
    x->fill_ns = clock_ns();
    /* release: whoever looks on (ring_look, then released) sees as much released as this reservation was allowed by */
    atomic_store_explicit(&s->reserved, n + 1, memory_order_release);
    return x;
}

void ring_publish(struct ring *ring)
{
    struct ring_shm *s = ring->shm;
    uint64_t n = atomic_load_explicit(&s->published, memory_order_relaxed); /* ours */

    s->entry[n & ring->mask].ready_ns = clock_ns();
    /* release: line and payload are visible to whoever sees the new count */
    atomic_store_explicit(&s->published, n + 1, memory_order_release);
    eventcount_notify(ring->peer);
}

uint64_t ring_published(const struct ring *ring)
{
    return atomic_load_explicit(&ring->shm->published, memory_order_acquire);
}

uint64_t ring_released(const struct ring *ring)
{
    return atomic_load_explicit(&ring->shm->released, memory_order_acquire);
}

struct ring_entry *ring_peek(struct ring *ring)
{
    struct ring_shm *s = ring->shm;
    uint64_t n = atomic_load_explicit(&s->taken, memory_order_relaxed); /* ours */

    /* acquire: pairs with the release in ring_publish() */
    if (n == atomic_load_explicit(&s->published, memory_order_acquire)) return NULL;
    return &s->entry[n & ring->mask];
}

struct ring_entry *ring_take(struct ring *ring)
{
    struct ring_entry *x = ring_peek(ring);

    if (x) {
        x->take_ns = clock_ns();
        /* release: whoever looks on (ring_look) sees as much published as taken */
        atomic_store_explicit(&ring->shm->taken, x->seq + 1, memory_order_release);
    }
    return x;
}

void ring_release(struct ring *ring)
{
    struct ring_shm *s = ring->shm;
    uint64_t n = atomic_load_explicit(&s->released, memory_order_relaxed); /* ours */

    s->entry[n & ring->mask].free_ns = clock_ns();
    /* release: our reads of the payload happen before the producer may overwrite it */
    atomic_store_explicit(&s->released, n + 1, memory_order_release);
    eventcount_notify(ring->peer);
}

struct ring_entry *ring_at(const struct ring *ring, uint64_t seq)
{
    return &ring->shm->entry[seq & ring->mask];
}

struct ring_counters ring_look(const struct ring_shm *s)
{
    /* From the oldest to the newest: each can only have grown since, so the order still holds. Loads that acquire are not
     * passed by those behind them, and what stored a counter had seen the one before it. */
    struct ring_counters c = {.released = atomic_load(&s->released)};

    c.taken = atomic_load(&s->taken);
    c.published = atomic_load(&s->published);
    c.reserved = atomic_load(&s->reserved);
    return c;
}

int ring_check(const struct ring_shm *s, struct error *e)
{
    struct ring_counters c = ring_look(s);
    uint64_t now;

    if (!s->depth || (s->depth & (s->depth - 1))) return error_set(e, EPROTO, "ring: depth %u", s->depth);
    if (c.released > c.taken || c.taken > c.published || c.published > c.reserved)
        return error_set(e, EPROTO, "ring: released %llu, taken %llu, published %llu, reserved %llu are out of order",
                         (unsigned long long)c.released, (unsigned long long)c.taken, (unsigned long long)c.published,
                         (unsigned long long)c.reserved);
    now = atomic_load(&s->released);
    if (c.reserved - now > s->depth && c.reserved > now)
        return error_set(e, EPROTO, "ring: %llu entries in use, depth %u", (unsigned long long)(c.reserved - now),
                         s->depth);
    for (uint64_t i = c.taken; i < c.published; i++) {
        uint64_t seq = __atomic_load_n(&s->entry[i & (s->depth - 1)].seq, __ATOMIC_RELAXED);

        /* acquire fence: the entry is read before the counter that tells whether it was still this one. A load that acquires
         * would not do: those before it may still come after it. */
        atomic_thread_fence(memory_order_acquire);
        if (seq != i && atomic_load(&s->released) <= i)
            return error_set(e, EPROTO, "ring: entry %llu says it is %llu", (unsigned long long)i,
                             (unsigned long long)seq);
    }
    return 0;
}
