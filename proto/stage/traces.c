#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "proto/base/log.h"
#include "proto/stage/private.h"

#define TRACES 16384u /* a power of two */

struct stage_trace {
    _Atomic uint64_t head, tail, dropped;
    _Atomic bool wanted;     /* who sends them sleeps, and is to be woken by the next one */
    uint64_t told[2][LANES]; /* [host, device] entries that were traced; in order, as they are freed */
    struct trace_record at[TRACES];
};

int stage_traces_open(struct stage *s, struct error *e)
{
    if (!s->plan->run.trace) return 0;
    s->traces = calloc(1, sizeof *s->traces);
    return s->traces ? 0 : error_set(e, ENOMEM, "out of memory");
}

void stage_traces_close(struct stage *s)
{
    free(s->traces);
}

static bool full(const struct stage_trace *t, uint64_t head)
{
    return head - atomic_load_explicit(&t->tail, memory_order_acquire) >= TRACES;
}

void stage_trace(struct stage *s, const struct trace_record *r)
{
    struct stage_trace *t = s->traces;
    uint64_t head;

    if (!t) return;
    head = atomic_load_explicit(&t->head, memory_order_relaxed);
    if (full(t, head) && !s->serving) stage_send_traces(s); /* nobody else does */
    if (full(t, head)) {
        atomic_fetch_add_explicit(&t->dropped, 1, memory_order_relaxed);
        return;
    }
    t->at[head % TRACES] = *r;
    /* seq_cst, as in stage_traces_wait(): either we see that it is wanted, or the other thread sees the record. */
    atomic_store(&t->head, head + 1);
    if (s->serving && atomic_load(&t->wanted) && atomic_exchange(&t->wanted, false)) control_wake(s->control);
}

bool stage_traces_wait(struct stage *s)
{
    struct stage_trace *t = s->traces;
    bool empty;

    if (!t) return false;
    atomic_store(&t->wanted, true);
    empty = atomic_load(&t->head) == atomic_load(&t->tail);
    if (!empty) atomic_store(&t->wanted, false);
    return !empty;
}

void stage_trace_entry(struct stage *s, int ring, enum lane_id lane, const struct ring_entry *x)
{
    struct trace_record r = {.sweep = x->sweep,
                             .bytes = x->bytes,
                             .fill_ns = x->fill_ns,
                             .ready_ns = x->ready_ns,
                             .take_ns = x->take_ns,
                             .free_ns = x->free_ns,
                             .tile = x->tile,
                             .rows = x->rows,
                             .entry = (uint32_t)(x->seq & (s->plan->run.entries[lane] - 1)),
                             .ring = (uint8_t)ring,
                             .lane = (uint8_t)lane};

    if (!s->traces) return;
    s->traces->told[ring][lane] = x->seq + 1;
    stage_trace(s, &r);
}

/* Entries that were under way at the end: each as far as it came. Times of its earlier rounds do not count. */
static void trace_rest(struct stage *s, int ring, enum lane_id lane)
{
    struct ring x;
    struct ring_counters c;

    ring_attach(&x, s->run, ring, lane, s->me);
    c = ring_look(x.shm);
    for (uint64_t i = s->traces->told[ring][lane]; i < c.reserved && c.reserved - i <= x.mask + 1; i++) {
        struct ring_entry y = *ring_at(&x, i);

        y.seq = i;
        if (i >= c.published) y.ready_ns = 0;
        if (i >= c.taken) y.take_ns = 0;
        if (i >= c.released) y.free_ns = 0;
        stage_trace_entry(s, ring, lane, &y);
    }
}

/* The producer of a ring tells of its entries. */
void stage_traces_end(struct stage *s)
{
    uint64_t dropped;

    if (!s->traces) return;
    for (int lane = 0; lane < LANES && s->me != STAGE_COMPUTE && s->run; lane++)
        trace_rest(s, s->me == STAGE_TRANSFER, (enum lane_id)lane);
    stage_send_traces(s);
    dropped = atomic_load(&s->traces->dropped);
    if (dropped)
        log_warn("the trace lacks %llu records that came faster than they could be sent", (unsigned long long)dropped);
}

void stage_send_traces(struct stage *s)
{
    struct stage_trace *t = s->traces;
    struct control_message m = {.type = CONTROL_TRACE};
    struct error ignored;
    uint64_t tail, head;

    if (!t) return;
    tail = atomic_load_explicit(&t->tail, memory_order_relaxed);
    head = atomic_load_explicit(&t->head, memory_order_acquire);
    while (tail < head) {
        uint64_t n = TRACES - tail % TRACES; /* up to the end of the buffer */

        if (n > head - tail) n = head - tail;
        if (n > CONTROL_TRACE_MAX) n = CONTROL_TRACE_MAX;
        m.trace.count = (uint32_t)n;
        m.trace.record = &t->at[tail % TRACES];
        control_send(s->control, 0, &m, &ignored);
        tail += n;
        atomic_store_explicit(&t->tail, tail, memory_order_release);
    }
}
