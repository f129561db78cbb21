/* What the settings of a run cost in memory, byte by byte, before anything is allocated.
 *
 * Mirrors what the stages allocate: compute/decoder.c (activations, caches, states, resident floats), compute/experts.c,
 * compute/positions.c, the backends' scratch, proto/epoch.c. Where it cannot be told exactly it is rounded up. */
#pragma once
#include <stdint.h>
#include "proto/plan.h"

/* What a model asks for, for each unit of a setting. */
struct cost_shape {
    uint64_t kv_width;        /* cached columns of a position, all layers */
    uint64_t state_floats;    /* recurrent state of a sequence */
    uint64_t position_floats; /* activations of a position of a sweep */
    uint64_t logit_floats;    /* activations of a position that wants logits */
    uint64_t fixed_bytes;     /* of compute, whatever the settings */
    uint64_t device_pieces;   /* allocations on the device, each rounded up to the driver's pages */
    uint64_t resident_floats;
    uint64_t vocab;
    uint64_t widest;          /* columns of the widest matrix, or rows of the longest */
    uint64_t attention_width; /* heads * (dv + 2), the most of any attention */
    uint64_t heads;
    uint64_t table_bytes;     /* the plan's tables but tiles and parts */
};
void cost_shape_of(struct cost_shape *z, const struct plan_shm *p); /* of a program alone, or of a plan */

struct cost {
    uint64_t arena, cache, kv, state, activation, scratch, resident, logits, plan, run, tables, process;
    uint64_t device_slots, device_pins;
    uint64_t device_context; /* and what rounding of allocations may take */
    uint64_t shm;          /* what is named in /dev/shm */
    uint64_t host, device; /* totals; kv, state, activation, scratch and resident belong to the device with cuda */
};
/* text_bytes: of the coordinator's tokenizer and templates; 0: a guess. */
void cost_count(struct cost *c, const struct cost_shape *z, const struct plan_run *r, uint64_t plan_bytes,
                uint64_t text_bytes);

/* Bytes of one position of the KV cache. */
uint64_t cost_kv_position(const struct cost_shape *z, uint32_t kv_type);
