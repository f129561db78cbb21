#include "proto/epoch.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/pause.h"
#include "proto/ring.h"
#include "proto/rows.h"

/* About 2 us: long enough for a peer that is just now publishing, too short to starve it on a machine of two cores. */
#define SPINS      64
#define RUN_NAP_NS 100000000u

static long futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
    return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

void eventcount_notify(struct eventcount *b)
{
    /* seq_cst on both words, here and in eventcount_wait(): either the sleeper sees the new value, or we see the sleeper.
     * Release and acquire would not do: a load may pass a store before it, on x86 too. The addition releases as well: what was
     * written before the notice is there for whoever reads the new value. */
    atomic_fetch_add(&b->value, 1);
    if (atomic_load(&b->sleepers)) futex(&b->value, FUTEX_WAKE, INT_MAX, NULL);
}

uint32_t eventcount_read(struct eventcount *b)
{
    return atomic_load(&b->value);
}

void eventcount_wait(struct eventcount *b, uint32_t seen, uint64_t timeout_ns)
{
    struct timespec t = {.tv_sec = (time_t)(timeout_ns / 1000000000u), .tv_nsec = (long)(timeout_ns % 1000000000u)};

    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&b->value, memory_order_relaxed) != seen) {
            atomic_thread_fence(memory_order_acquire); /* for what was written before the notice */
            return;
        }
        pause_cpu();
    }
    if (!timeout_ns) return;
    atomic_fetch_add(&b->sleepers, 1);
    if (atomic_load(&b->value) == seen)
        futex(&b->value, FUTEX_WAIT, seen, timeout_ns == EVENTCOUNT_FOREVER ? NULL : &t);
    atomic_fetch_sub(&b->sleepers, 1);
    /* acquire, as above: that the kernel woke us orders nothing by C's rules */
    atomic_load_explicit(&b->value, memory_order_acquire);
}

/* relaxed: whoever was notified has acquired the store (epoch_stop, epoch_fail); anybody else may see it a moment later. */
int epoch_state(const struct epoch_shm *r)
{
    if (atomic_load_explicit(&r->failed, memory_order_relaxed)) return -EPIPE;
    return atomic_load_explicit(&r->stop, memory_order_relaxed) ? -ECANCELED : 0;
}

int epoch_wait(struct epoch_shm *r, enum stage_id me, uint32_t seen)
{
    struct epoch_stats *s = &r->stats[me];
    uint64_t t0 = clock_ns(), t1;
    int rc = epoch_state(r);

    if (rc) return rc;
    eventcount_wait(&r->eventcount[me], seen, epoch_rests(r) ? EVENTCOUNT_FOREVER : RUN_NAP_NS);
    t1 = clock_ns();
    atomic_fetch_add_explicit(&s->wait_ns, t1 - t0, memory_order_relaxed);
    return epoch_state(r);
}

static void ring_all(struct epoch_shm *r)
{
    for (int i = 0; i < STAGES; i++) eventcount_notify(&r->eventcount[i]);
}

bool epoch_rests(const struct epoch_shm *r)
{
    /* Who still sees the old value sleeps for a nap more; who sees it too early is notified by epoch_wake(). */
    return atomic_load_explicit(&r->resting, memory_order_relaxed);
}

void epoch_rest(struct epoch_shm *r)
{
    atomic_store(&r->resting, 1);
}

void epoch_wake(struct epoch_shm *r)
{
    atomic_store(&r->resting, 0);
    ring_all(r);
    eventcount_notify(&r->pulse);
}

void epoch_stop(struct epoch_shm *r)
{
    atomic_store(&r->stop, 1);
    ring_all(r);
}

void epoch_fail(struct epoch_shm *r, enum stage_id who)
{
    uint32_t none = 0;

    atomic_compare_exchange_strong(&r->failed, &none, 1u + (uint32_t)who);
    ring_all(r);
}

int request_push(struct epoch_shm *r, uint32_t tile)
{
    struct epoch_requests *s = &r->requests;
    uint64_t head = atomic_load_explicit(&s->head, memory_order_relaxed);

    /* acquire: the reader has copied the slot out before it moved tail */
    if (head - atomic_load_explicit(&s->tail, memory_order_acquire) >= EPOCH_REQUESTS) return -EAGAIN;
    s->tile[head % EPOCH_REQUESTS] = tile;
    atomic_store_explicit(&s->head, head + 1, memory_order_release);
    eventcount_notify(&r->eventcount[STAGE_READER]);
    return 0;
}

bool request_pop(struct epoch_shm *r, uint32_t *tile)
{
    struct epoch_requests *s = &r->requests;
    uint64_t tail = atomic_load_explicit(&s->tail, memory_order_relaxed);

    /* acquire: the request was written before head */
    if (tail == atomic_load_explicit(&s->head, memory_order_acquire)) return false;
    *tile = s->tile[tail % EPOCH_REQUESTS];
    atomic_store_explicit(&s->tail, tail + 1, memory_order_release);
    eventcount_notify(&r->eventcount[STAGE_COMPUTE]);
    return true;
}

const char *stage_name(enum stage_id s)
{
    static const char *const names[STAGES] = {"reader", "transfer", "compute"};

    return (unsigned)s < STAGES ? names[s] : "unknown stage";
}

/* ---- layout ---- */

static uint64_t up64(uint64_t x)
{
    return (x + 63) & ~UINT64_C(63);
}

uint64_t epoch_bytes(const struct plan_run *p)
{
    uint64_t n = up64(sizeof(struct epoch_shm));

    for (int lane = 0; lane < LANES; lane++) n += 2 * up64(ring_bytes(p->entries[lane]));
    return n + up64(rows_bytes(rows_capacity(p->max_positions)));
}

void epoch_init(struct epoch_shm *r, const struct plan_run *p, uint64_t epoch)
{
    uint64_t at = up64(sizeof *r);

    r->magic = EPOCH_MAGIC;
    r->version = EPOCH_VERSION;
    r->epoch = epoch;
    /* All of a run's memory is there from the start: a queue that is touched page by page looks like a leak. */
    memset(r->requests.tile, 0, sizeof r->requests.tile);
    for (int d = 0; d < 2; d++) {
        for (int lane = 0; lane < LANES; lane++) {
            r->ring_off[d][lane] = at;
            ring_init((struct ring_shm *)(void *)((char *)r + at), p->entries[lane], epoch);
            at += up64(ring_bytes(p->entries[lane]));
        }
    }
    r->rows_off = at;
    rows_init((struct rows_shm *)(void *)((char *)r + at), rows_capacity(p->max_positions));
    r->bytes = at + up64(rows_bytes(rows_capacity(p->max_positions)));
}

static int check_rows(const struct epoch_shm *r, uint64_t map_bytes, struct error *e)
{
    const struct rows_shm *s;

    if (r->rows_off % 64 || r->rows_off < sizeof *r || r->rows_off > map_bytes || map_bytes - r->rows_off < sizeof *s)
        return error_set(e, EPROTO, "epoch segment: the list of rows lies outside");
    s = (const struct rows_shm *)(const void *)((const char *)r + r->rows_off);
    if (!s->capacity || (s->capacity & (s->capacity - 1)) || rows_bytes(s->capacity) > map_bytes - r->rows_off)
        return error_set(e, EPROTO, "epoch segment: a list of %u rows", s->capacity);
    return 0;
}

int epoch_check(const struct epoch_shm *r, uint64_t map_bytes, struct error *e)
{
    if (map_bytes < sizeof *r || r->magic != EPOCH_MAGIC)
        return error_set(e, EPROTO, "epoch segment: not one of this program's (%llu bytes)",
                         (unsigned long long)map_bytes);
    if (r->version != EPOCH_VERSION)
        return error_set(e, EPROTO,
                         "epoch segment: version %u, this stage speaks %u; all executables must be of one build",
                         r->version, EPOCH_VERSION);
    if (r->bytes > map_bytes) return error_set(e, EPROTO, "epoch segment: shorter than it says");
    for (int d = 0; d < 2; d++) {
        for (int lane = 0; lane < LANES; lane++) {
            uint64_t off = r->ring_off[d][lane];
            const struct ring_shm *s;

            if (off % 64 || off < sizeof *r || off > map_bytes || map_bytes - off < sizeof *s)
                return error_set(e, EPROTO, "epoch segment: ring %d of lane %d lies outside", d, lane);
            s = (const struct ring_shm *)(const void *)((const char *)r + off);
            if (!s->depth || (s->depth & (s->depth - 1)) || s->depth > (1u << 20) ||
                ring_bytes(s->depth) > map_bytes - off)
                return error_set(e, EPROTO, "epoch segment: ring %d of lane %d has a depth of %u", d, lane, s->depth);
            if (s->epoch != r->epoch) return error_set(e, EPROTO, "epoch segment: ring of another epoch");
        }
    }
    return check_rows(r, map_bytes, e);
}
