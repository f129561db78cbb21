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
#include "proto/base/log.h"
#include "transfer/cuda/device.h"

#define NO_USER UINT64_MAX
/* How often copies under way are asked for: a tile takes a few hundred microseconds, and several are in flight. */
#define NAP_NS UINT64_C(100000)

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
    void *pinned[2];                    /* host memory that was registered */
    char description[400];
};

/* ---- opening ---- */

/* Pinned memory is what makes copies asynchronous and fast; without it all still works, slowly. */
static bool pin(struct backend *b, int which, void *base, uint64_t bytes, const char *what)
{
    int read_only = 0;
    uint64_t start = clock_ns();
    cudaError_t rc;

    if (!base || !bytes) return true;
    cudaDeviceGetAttribute(&read_only, cudaDevAttrHostRegisterReadOnlySupported, (int)b->stage->plan->run.device);
    rc = cudaHostRegister(base, bytes, cudaHostRegisterPortable | (read_only ? cudaHostRegisterReadOnly : 0));
    if (rc != cudaSuccess && read_only) rc = cudaHostRegister(base, bytes, cudaHostRegisterPortable);
    if (rc != cudaSuccess) {
        cudaGetLastError();
        log_warn("%s (%llu MiB) cannot be pinned: %s (%s). Copies to the device go through a staging buffer and are "
                 "several times "
                 "slower; raise the limit of locked memory (ulimit -l) or lower --host-memory",
                 what, (unsigned long long)(bytes >> 20), cudaGetErrorString(rc), cudaGetErrorName(rc));
        return false;
    }
    b->pinned[which] = base;
    log_debug("pinned %s, %llu MiB in %llu ms", what, (unsigned long long)(bytes >> 20),
              (unsigned long long)((clock_ns() - start) / 1000000));
    return true;
}

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

static void describe(struct backend *b, bool pinned)
{
    struct cudaDeviceProp d = {0};

    cudaGetDeviceProperties(&d, (int)b->stage->plan->run.device);
    snprintf(b->description, sizeof b->description, "%s, %u + %u device slots, %s", d.name, b->slots[0].count,
             b->slots[1].count, pinned ? "pinned" : "NOT pinned");
}

int backend_open(struct backend **out, struct stage *s, struct error *e)
{
    struct backend *b = calloc(1, sizeof *b);
    bool pinned;
    int rc = 0;

    *out = NULL;
    if (!b) return error_set(e, ENOMEM, "no memory");
    b->stage = s;
    for (int lane = 0; lane < LANES && !rc; lane++) rc = open_slots(&b->slots[lane], &s->plan->run, lane, e);
    if (rc || (rc = device_open(&b->device, s, e)) || (rc = open_streams(b, e))) {
        backend_close(b);
        return rc;
    }
    pinned = pin(b, 0, s->arena, s->arena_bytes, "the host slots");
    pinned = pin(b, 1, s->cache, s->cache_bytes, "the host cache") && pinned;
    describe(b, pinned);
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
    for (int i = 0; i < 2; i++)
        if (b->pinned[i]) cudaHostUnregister(b->pinned[i]);
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

/* The parts of a tile move down to multiples of 256 bytes; neighbours that move by the same distance go in one copy. */
static cudaError_t copy_tile(struct backend *b, enum lane_id lane, uint8_t *dst, const uint8_t *src,
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
        rc = cudaMemcpyAsync(dst + to, src + part[i].slot_off, end - part[i].slot_off, cudaMemcpyHostToDevice,
                             b->stream[lane]);
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

int backend_begin(struct backend *b, enum lane_id lane, const struct ring_entry *host, uint64_t device_released,
                  struct backend_place *place, struct error *e)
{
    const struct plan_shm *plan = b->stage->plan;
    const struct plan_tile *tile = host->tile == RING_GATHER ? NULL : &plan_tiles(plan)[host->tile];
    const uint8_t *src = (host->segment == SEGMENT_CACHE ? b->stage->cache : b->stage->arena) + host->offset;
    cudaError_t rc;
    int taken;

    *place = (struct backend_place){.segment = SEGMENT_DEVICE};
    if (tile && tile->tier == TIER_DEVICE)
        place->offset = plan_device_pins_offset(&plan->run) + tile->tier_off;
    else if ((taken = take_slot(b, lane, host->seq, device_released, place, e)))
        return taken;
    if (tile)
        rc = copy_tile(b, lane, b->device.base + place->offset, src, tile);
    else
        rc = cudaMemcpyAsync(b->device.base + place->offset, src, host->bytes, cudaMemcpyHostToDevice, b->stream[lane]);
    if (rc != cudaSuccess) return device_error(rc, "copying a tile to the device", e);
    rc = cudaEventRecord(b->device.ready[entry_event(b, lane, host->seq)], b->stream[lane]);
    if (rc != cudaSuccess) return device_error(rc, "recording a copy", e);
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
    return UINT64_MAX;
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
