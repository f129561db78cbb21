/* Settings of a run: fixed by the coordinator before the stages start, read by all of them. All sizes are bytes. */
#pragma once
#include <stdint.h>

#define PLAN_PAGE 4096u /* what direct reads, slots and pins are multiples of */

/* The most that a stage has use for where it measures what a machine can do: probe_bytes and peak_bytes below. */
#define PLAN_PROBE_MOST (UINT64_C(64) << 20)
#define PLAN_PEAK_MOST  (UINT64_C(256) << 20)

enum plan_backend { BACKEND_CPU, BACKEND_CUDA };
enum plan_io { PLAN_IO_AUTO, PLAN_IO_DIRECT, PLAN_IO_BUFFERED };
enum plan_engine { ENGINE_AUTO, ENGINE_URING, ENGINE_THREADS, ENGINE_NULL };
enum plan_io_find {
    IO_FIND_NOTHING,
    IO_FIND_FIRST,  /* block and depth are a guess: the reader tries some before it begins (reader/tune.h) */
    IO_FIND_ON_WISH /* MEASURE_READ will be asked for */
};

/* Lanes: each has a ring, and slots of its own, between reader and transfer and between transfer and compute. */
enum lane_id {
    LANE_SWEEP,   /* tiles of the sweeps, in order, for ever */
    LANE_REQUEST, /* resident tiles, once; then the tiles that compute asks for */
    LANE_ROWS,    /* rows of the gather table, which the coordinator lists: proto/rows.h */
    LANES
};

/* Settings of this run, fixed before the stages start. */
struct plan_run {
    uint64_t slot_bytes;       /* of the slots for tiles; a multiple of PLAN_PAGE */
    uint64_t row_slot_bytes;   /* of the slots of LANE_ROWS, likewise; at most slot_bytes */
    uint64_t host_cache_bytes; /* host tier */
    uint64_t device_pin_bytes; /* device tier */
    uint64_t io_block_bytes;
    uint32_t reader_slots[LANES];   /* arena slots */
    uint32_t transfer_slots[LANES]; /* device slots; 0 where transfer hands host slots on */
    uint32_t entries[LANES];        /* entries of each lane's rings, a power of two */
    uint32_t io_depth;
    uint32_t threads, device, backend, io, engine;
    uint32_t kv_form;       /* of the KV cache: one that FORM_CACHE is said of */
    uint32_t kv_rows;       /* positions that the KV cache holds */
    uint32_t max_positions; /* of one sweep */
    uint32_t max_logits;    /* positions of one sweep that may want logits */
    uint32_t sequences;     /* at once */
    uint32_t trace;         /* stages report every slot's times */
    uint32_t log_level;
    uint32_t io_find;            /* enum plan_io_find */
    uint32_t guesses;            /* of the positions of one sweep, those that may be guesses at what follows */
    uint64_t expert_cache_bytes; /* host cache for requested tiles, behind the pins: [host_cache_bytes - this, ...) */
    /* Memory for measuring, a multiple of PLAN_PAGE. probe: of the reader's plain reads, with IO_FIND_FIRST taken and given
     * back before anything lies in the host cache, with ON_WISH kept beside all else. peak: of compute (and on the cpu of
     * transfer) while it answers MEASURE_MEMORY or MEASURE_COPY, on the device that it measures; 0: nobody will ask. */
    uint64_t probe_bytes, peak_bytes;
};

/* Recurrent states that are kept: one of each sequence, and one more where what follows it is guessed. */
static inline uint32_t plan_states_kept(const struct plan_run *run)
{
    return run->guesses ? 2 * run->sequences : run->sequences;
}

/* Slots lie lane after lane: bytes of those of the lanes before this one, in the arena (slots: reader_slots) or in the
 * device's memory (transfer_slots); lane LANES: of all. */
static inline uint64_t plan_slot_bytes(const struct plan_run *run, int lane)
{
    return lane == LANE_ROWS ? run->row_slot_bytes : run->slot_bytes;
}
static inline uint64_t plan_slots_before(const struct plan_run *run, const uint32_t *slots, int lane)
{
    uint64_t bytes = 0;

    for (int i = 0; i < lane; i++) bytes += slots[i] * plan_slot_bytes(run, i);
    return bytes;
}
static inline uint64_t plan_arena_bytes(const struct plan_run *run)
{
    return plan_slots_before(run, run->reader_slots, LANES);
}
/* Entries are numbered over all lanes, where one of each kind is needed for every entry: the first of a lane; LANES: all. */
static inline uint32_t plan_entries_before(const struct plan_run *run, int lane)
{
    uint32_t n = 0;

    for (int i = 0; i < lane; i++) n += run->entries[i];
    return n;
}
