/* Settings of a run: fixed by the coordinator before the stages start, read by all of them. All sizes are bytes. */
#pragma once
#include <stdint.h>

#define PLAN_PAGE 4096u /* what direct reads, slots and pins are multiples of */

enum plan_backend { BACKEND_CPU, BACKEND_CUDA };
enum plan_io { PLAN_IO_AUTO, PLAN_IO_DIRECT, PLAN_IO_BUFFERED };
enum plan_engine { ENGINE_AUTO, ENGINE_URING, ENGINE_THREADS, ENGINE_NULL };
enum plan_io_find {
    IO_FIND_NOTHING,
    IO_FIND_FIRST,  /* block and depth are a guess: the reader tries some before it begins (reader/tune.h) */
    IO_FIND_ON_WISH /* MEASURE_READ will be asked for */
};
enum plan_kv { KV_F32, KV_BF16, KV_F16 };

/* Settings of this run, fixed before the stages start. */
struct plan_run {
    uint64_t slot_bytes;        /* of every arena slot, both lanes; a multiple of PLAN_PAGE */
    uint64_t host_cache_bytes;  /* host tier */
    uint64_t device_pin_bytes;  /* device tier */
    uint64_t io_block_bytes;
    uint32_t reader_slots[2];   /* arena slots of lane 0 and lane 1 */
    uint32_t transfer_slots[2]; /* device slots; 0 where transfer hands host slots on */
    uint32_t entries[2];        /* entries of each lane's rings, a power of two */
    uint32_t io_depth;
    uint32_t threads, device, backend, io, engine, kv_type;
    uint32_t kv_rows;           /* positions that the KV cache holds */
    uint32_t max_positions;     /* of one sweep */
    uint32_t max_logits;        /* positions of one sweep that may want logits */
    uint32_t sequences;         /* recurrent states kept */
    uint32_t trace;             /* stages report every slot's times */
    uint32_t log_level;
    uint32_t io_find;           /* enum plan_io_find */
    uint64_t expert_cache_bytes; /* host cache for requested tiles, behind the pins: [host_cache_bytes - this, ...) */
};
