#include "proto/rows.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

static struct rows_shm *rows_of(const struct epoch_shm *r)
{
    return (struct rows_shm *)(void *)((char *)(uintptr_t)r + r->rows_off);
}

int rows_list(struct epoch_shm *r, uint64_t keep, const uint32_t *row, uint32_t n)
{
    struct rows_shm *s = rows_of(r);
    uint64_t at = atomic_load_explicit(&s->listed, memory_order_relaxed); /* ours */
    /* acquire: the reader has read a place before we write it again */
    uint64_t taken = atomic_load_explicit(&s->taken, memory_order_acquire);

    if (keep > taken) keep = taken; /* what nobody has read is in use, too */
    if (at - keep + n > s->capacity) return -EAGAIN;
    for (uint32_t i = 0; i < n; i++) s->row[(at + i) & (s->capacity - 1)] = row[i] | (i + 1 == n ? ROWS_LAST : 0);
    /* release: the rows are there for whoever sees the new count */
    atomic_store_explicit(&s->listed, at + n, memory_order_release);
    eventcount_notify(&r->eventcount[STAGE_READER]);
    return 0;
}

bool rows_next(struct epoch_shm *r, uint32_t *row, bool *last)
{
    struct rows_shm *s = rows_of(r);
    uint64_t at = atomic_load_explicit(&s->taken, memory_order_relaxed); /* ours */

    /* acquire: pairs with the release in rows_list() */
    uint64_t ahead = atomic_load_explicit(&s->listed, memory_order_acquire) - at;

    if (!ahead || ahead > s->capacity)
        return false; /* more than there is room for: no list that rows_list() has made */
    *row = s->row[at & (s->capacity - 1)];
    *last = *row & ROWS_LAST;
    *row &= ~ROWS_LAST;
    /* release: the place was read before it may be written again */
    atomic_store_explicit(&s->taken, at + 1, memory_order_release);
    return true;
}

bool rows_at(const struct epoch_shm *r, uint64_t number, uint32_t *row)
{
    const struct rows_shm *s = rows_of(r);
    uint64_t listed = atomic_load_explicit(&s->listed, memory_order_acquire);

    if (number >= listed || listed - number > s->capacity) return false;
    *row = s->row[number & (s->capacity - 1)] & ~ROWS_LAST;
    return true;
}

uint32_t rows_capacity(uint32_t max_positions)
{
    uint32_t n = 16;

    while (n < 3 * (uint64_t)max_positions) n *= 2;
    return n;
}

uint64_t rows_bytes(uint32_t capacity)
{
    return sizeof(struct rows_shm) + (uint64_t)capacity * sizeof(uint32_t);
}

void rows_init(struct rows_shm *s, uint32_t capacity)
{
    s->capacity = capacity;
    atomic_init(&s->listed, 0);
    atomic_init(&s->taken, 0);
    memset(s->row, 0, capacity * sizeof *s->row); /* as with the requests: memory that is there from the start */
}
