/* Copies from pinned host slots into compute's device slots, each lane on a stream of its own, so that a requested tile
 * does not queue behind the sweep's.
 *
 * No processor waits for a copy or for a kernel: a slot's former user has left a "freed" event for which the stream waits,
 * and every copy leaves a "ready" event for which compute's stream waits. Only the host slot's release asks whether its
 * copy has ended. */
#include "transfer/backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "transfer/cuda/device.h"
#include "transfer/cuda/pin.h"

#define NO_USER UINT64_MAX
/* How often copies under way are asked for: a tile takes a few hundred microseconds, and several are in flight. */
#define NAP_NS       UINT64_C(100000)
#define CACHE_PIECES 16u /* a small cache is pinned in steps too */

struct slots {
    uint64_t *user;       /* [count] seq of the entry that used the slot last */
    uint32_t count, next; /* next: round, since entries are released in order */
    uint64_t at, bytes;   /* of slot 0 in the device's memory; of each */
};

struct backend {
    struct stage *stage;
    struct device_area device;
    cudaStream_t stream[LANES];
    struct slots slots[LANES];
    uint64_t begun[LANES], done[LANES]; /* entries: copies started, and seen to have ended */
    struct pins *arena, *cache;         /* host memory that copies are made from */
    bool held[LANES];                   /* the next copy waits for a chunk of it that is being pinned */
    char description[400];
};

/* ---- opening ---- */

static int open_slots(struct slots *s, const struct plan_run *run, int lane, struct error *e)
{
    uint32_t count = run->transfer_slots[lane];

    if (!count) return error_set(e, EPROTO, "plan: the cuda backend needs device slots on every lane");
    *s = (struct slots){.user = calloc(count, sizeof *s->user),
                        .count = count,
                        .bytes = plan_slot_bytes(run, lane),
                        .at = plan_slots_before(run, run->transfer_slots, lane)};
    if (!s->user) return error_set(e, ENOMEM, "no memory for %u slots", count);
    for (uint32_t i = 0; i < count; i++) s->user[i] = NO_USER;
    return 0;
}

static int open_streams(struct backend *b, struct error *e)
{
    int least = 0, greatest = 0;
    cudaError_t rc = cudaDeviceGetStreamPriorityRange(&least, &greatest);

    if (rc == cudaSuccess) rc = cudaStreamCreateWithPriority(&b->stream[LANE_SWEEP], cudaStreamNonBlocking, least);
    if (rc == cudaSuccess) rc = cudaStreamCreateWithPriority(&b->stream[LANE_REQUEST], cudaStreamNonBlocking, greatest);
    if (rc == cudaSuccess) rc = cudaStreamCreateWithPriority(&b->stream[LANE_ROWS], cudaStreamNonBlocking, greatest);
    return rc == cudaSuccess ? 0 : device_error(rc, "making a stream", e);
}

static int open_pins(struct backend *b, struct error *e)
{
    struct stage *s = b->stage;
    struct pins_of arena = {
        .stage = s, .base = s->arena, .bytes = s->arena_bytes, .pieces = 1, .what = "the host slots"};
    struct pins_of cache = {.stage = s,
                            .base = s->cache,
                            .bytes = s->cache ? s->cache_bytes : 0,
                            .pieces = CACHE_PIECES,
                            .what = "the host cache"};
    int rc = pins_open(&b->arena, &arena, e);

    if (!rc) rc = pins_open(&b->cache, &cache, e);
    if (rc) return rc;
    pins_now(b->arena);
    return pins_start(b->cache, e);
}

static void describe(struct backend *b)
{
    struct cudaDeviceProp d = {0};

    cudaGetDeviceProperties(&d, (int)b->stage->plan->run.device);
    snprintf(b->description, sizeof b->description, "%s, %u + %u device slots, %s", d.name, b->slots[0].count,
             b->slots[1].count, pins_refused(b->arena) ? "NOT pinned" : "pinned");
}

int backend_open(struct backend **out, struct stage *s, struct error *e)
{
    struct backend *b = calloc(1, sizeof *b);
    int rc = 0;

    *out = NULL;
    if (!b) return error_set(e, ENOMEM, "no memory");
    b->stage = s;
    for (int lane = 0; lane < LANES && !rc; lane++) rc = open_slots(&b->slots[lane], &s->plan->run, lane, e);
    if (rc || (rc = device_open(&b->device, s, e)) || (rc = open_streams(b, e)) || (rc = open_pins(b, e))) {
        backend_close(b);
        return rc;
    }
    describe(b);
    *out = b;
    return 0;
}

void backend_close(struct backend *b)
{
    if (!b) return;
    for (int lane = 0; lane < LANES; lane++) {
        if (!b->stream[lane]) continue;
        cudaStreamSynchronize(b->stream[lane]);
        cudaStreamDestroy(b->stream[lane]);
    }
    pins_close(b->cache);
    pins_close(b->arena);
    device_close(&b->device);
    for (int lane = 0; lane < LANES; lane++) free(b->slots[lane].user);
    free(b);
}

int backend_enter(struct backend *b, struct error *e)
{
    return device_enter(b->stage, e);
}

const char *backend_describe(const struct backend *b)
{
    return b->description;
}

bool backend_copies(const struct backend *b)
{
    (void)b;
    return true;
}

/* ---- an entry's copy ---- */

static uint32_t entry_event(const struct backend *b, enum lane_id lane, uint64_t seq)
{
    const struct plan_run *run = &b->stage->plan->run;

    return plan_entries_before(run, lane) + (uint32_t)(seq & (run->entries[lane] - 1));
}

/* Bytes from a place of the host's memory: no copy crosses the end of what is pinned together. */
static cudaError_t copy_bytes(struct backend *b, enum lane_id lane, uint8_t *dst, const struct ring_entry *host,
                              uint64_t from, uint64_t bytes)
{
    bool cached = host->segment == SEGMENT_CACHE;
    const uint8_t *base = cached ? b->stage->cache : b->stage->arena;
    struct pins *pins = cached ? b->cache : b->arena;
    cudaError_t rc = cudaSuccess;

    for (uint64_t at = host->offset + from, n; bytes && rc == cudaSuccess; at += n, dst += n, bytes -= n) {
        n = pins_together(pins, at, bytes);
        rc = cudaMemcpyAsync(dst, base + at, n, cudaMemcpyHostToDevice, b->stream[lane]);
    }
    return rc;
}

/* The parts of a tile move down to multiples of 256 bytes; neighbours that move by the same distance go in one copy. */
static cudaError_t copy_tile(struct backend *b, enum lane_id lane, uint8_t *dst, const struct ring_entry *host,
                             const struct plan_tile *tile)
{
    const struct plan_part *part = plan_parts(b->stage->plan) + tile->part0;

    for (uint32_t i = 0, next; i < tile->parts; i = next) {
        uint32_t to = plan_device_offset(&part[i]), shift = part[i].slot_off - to;
        uint64_t end = part[i].slot_off + part[i].bytes;
        cudaError_t rc;

        for (next = i + 1; next < tile->parts && part[next].slot_off >= end &&
                           part[next].slot_off - plan_device_offset(&part[next]) == shift;
             next++)
            end = part[next].slot_off + part[next].bytes;
        rc = copy_bytes(b, lane, dst + to, host, part[i].slot_off, end - part[i].slot_off);
        if (rc != cudaSuccess) return rc;
    }
    return cudaSuccess;
}

/* A slot for the entry: the stream waits for its former user. -EAGAIN while compute has not released that one. */
static int take_slot(struct backend *b, enum lane_id lane, uint64_t seq, uint64_t device_released,
                     struct backend_place *place, struct error *e)
{
    struct slots *s = &b->slots[lane];
    uint64_t user = s->user[s->next];
    cudaError_t rc;

    if (user != NO_USER) {
        if (user >= device_released) return -EAGAIN;
        rc = cudaStreamWaitEvent(b->stream[lane], b->device.freed[entry_event(b, lane, user)], 0);
        if (rc != cudaSuccess) return device_error(rc, "waiting for a slot to be free", e);
    }
    s->user[s->next] = seq;
    place->offset = s->at + s->next * s->bytes;
    s->next = (s->next + 1) % s->count;
    return 0;
}

/* What is begun is begun whole: no chunk of the memory that it comes from is pinned meanwhile. */
static int begin_copy(struct backend *b, enum lane_id lane, const struct ring_entry *host, uint64_t device_released,
                      struct backend_place *place, struct error *e)
{
    const struct plan_shm *plan = b->stage->plan;
    const struct plan_tile *tile = host->tile == RING_GATHER ? NULL : &plan_tiles(plan)[host->tile];
    cudaError_t rc;
    int taken;

    if (tile && tile->tier == TIER_DEVICE)
        place->offset = plan_device_pins_offset(&plan->run) + tile->tier_off;
    else if ((taken = take_slot(b, lane, host->seq, device_released, place, e)))
        return taken;
    if (tile)
        rc = copy_tile(b, lane, b->device.base + place->offset, host, tile);
    else
        rc = copy_bytes(b, lane, b->device.base + place->offset, host, 0, host->bytes);
    return rc == cudaSuccess ? 0 : device_error(rc, "copying a tile to the device", e);
}

int backend_begin(struct backend *b, enum lane_id lane, const struct ring_entry *host, uint64_t device_released,
                  struct backend_place *place, struct error *e)
{
    struct pins *pins = host->segment == SEGMENT_CACHE ? b->cache : b->arena;
    uint64_t span = host->tile == RING_GATHER ? host->bytes : plan_tiles(b->stage->plan)[host->tile].span;
    cudaError_t error;
    int rc;

    *place = (struct backend_place){.segment = SEGMENT_DEVICE};
    if ((rc = pins_enter(pins, host->offset, span))) {
        b->held[lane] = true;
        return rc;
    }
    b->held[lane] = false;
    rc = begin_copy(b, lane, host, device_released, place, e);
    if (!rc) pins_copied(pins, host->offset, span);
    pins_leave(pins);
    if (rc) return rc;
    error = cudaEventRecord(b->device.ready[entry_event(b, lane, host->seq)], b->stream[lane]);
    if (error != cudaSuccess) return device_error(error, "recording a copy", e);
    b->begun[lane]++;
    return 0;
}

int backend_done(struct backend *b, enum lane_id lane, uint64_t seq, uint64_t device_released, struct error *e)
{
    cudaError_t rc = cudaEventQuery(b->device.ready[entry_event(b, lane, seq)]);

    (void)device_released;
    if (rc == cudaErrorNotReady) return 0;
    if (rc != cudaSuccess) return device_error(rc, "a copy to the device", e);
    if (b->done[lane] <= seq) b->done[lane] = seq + 1;
    return 1;
}

uint64_t backend_nap_ns(const struct backend *b)
{
    for (int lane = 0; lane < LANES; lane++)
        if (b->begun[lane] != b->done[lane]) return NAP_NS;
    /* what is being pinned holds copies up */
    return b->held[LANE_SWEEP] || b->held[LANE_REQUEST] || b->held[LANE_ROWS] ? NAP_NS : UINT64_MAX;
}

/* ---- a peak ---- */

#define PEAK_BYTES (UINT64_C(64) << 20)

/* Copies of up to PEAK_BYTES, and no more than the plan allows for measuring, from the pinned slots to memory of its own,
 * two at a time: what is in the slots is read only. */
int backend_peak(struct backend *b, uint64_t limit_ns, uint64_t *bytes, uint64_t *ns, struct error *e)
{
    uint64_t each = b->stage->arena_bytes < PEAK_BYTES ? b->stage->arena_bytes : PEAK_BYTES, start = 0;
    uint64_t most = b->stage->plan->run.peak_bytes;
    cudaStream_t stream = NULL;
    void *to = NULL;
    cudaError_t rc;

    *bytes = *ns = 0;
    if (each > most) each = most;
    each = pins_together(b->arena, 0, each);
    if (!each) return 0;
    rc = cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0);
    if (rc == cudaSuccess) rc = cudaMalloc(&to, each);
    for (bool warm = false; rc == cudaSuccess && (!warm || *ns < limit_ns); warm = true) {
        if (warm && !start) start = clock_ns();
        for (int i = 0; i < 2 && rc == cudaSuccess; i++)
            rc = cudaMemcpyAsync(to, b->stage->arena, each, cudaMemcpyHostToDevice, stream);
        if (rc == cudaSuccess) rc = cudaStreamSynchronize(stream);
        if (!start) continue;
        *bytes += 2 * each;
        *ns = clock_ns() - start;
    }
    if (to) cudaFree(to);
    if (stream) cudaStreamDestroy(stream);
    return rc == cudaSuccess ? 0 : device_error(rc, "measuring copies to the device", e);
}
