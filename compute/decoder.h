/* The executor: walks the plan's operations over a sweep's positions, taking tiles in the order in which they come. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "compute/ops.h"
#include "compute/positions.h"
#include "compute/stream.h"
#include "proto/footprint.h"
#include "proto/stage/stage.h"

struct experts; /* compute/experts.h */

struct decoder {
    struct stage *stage;
    const struct plan_shm *plan;
    struct ops *ops;
    struct positions positions;
    struct tiles sweep_tiles, request_tiles, row_tiles;
    struct experts *experts; /* NULL where the model has none */
    uint8_t *device;         /* cuda: device slots and pins */
    uint64_t device_bytes;
    uint8_t *activations, *memory; /* blocks: buffers and rotary tables; caches and states */
    uint64_t activation_bytes, memory_bytes, resident_bytes;
    float **buffers; /* [buffers.count] */
    uint32_t *buffer_rows;
    float *resident;
    void **k_cache, **v_cache;
    float **states;
    float **rope; /* [ropes.count] this sweep's tables, [max_positions][dim] */
    float *rope_host;
    float *logits_host; /* of a router */
    uint32_t rows;      /* positions that the current operation works on: all, or those selected */
    uint64_t sweep;
    uint64_t first_row, next_row, end_row; /* rows of the embedding: this sweep's, and the next one to come */
    bool checking;                         /* this sweep looks for what is not a number: compute/check.h */
};

/* Allocates everything; nothing is allocated later. */
int decoder_open(struct decoder *d, struct stage *s, struct ops *ops, struct error *e);
/* Receives the resident tensors (lane 1), once, before the first sweep. */
int decoder_load(struct decoder *d, struct error *e);
/* One sweep; its logits lie in the LOGITS segment afterwards, *logits rows of them. */
int decoder_sweep(struct decoder *d, const struct control_sweep *order, uint32_t *logits, struct error *e);
void decoder_close(struct decoder *d);

/* Used by compute/experts.c and compute/check.c. */
static inline float *decoder_at(const struct decoder *d, struct plan_view v)
{
    return d->buffers[v.buf] + v.col;
}
static inline uint32_t decoder_ld(const struct decoder *d, struct plan_view v)
{
    return plan_buffers(d->plan)[v.buf];
}
static inline const float *decoder_vector(const struct decoder *d, uint32_t v)
{
    return v == PLAN_NONE ? NULL : d->resident + plan_vectors(d->plan)[v].at;
}
/* The next part that is weights, with the scales and the bias that came before it. */
struct weight_part {
    struct ops_weight weight;
    const struct plan_part *part;
    const struct plan_part *bias_part; /* expert's bias, or NULL */
    const void *bias_data;
};
int decoder_weight(struct decoder *d, struct tiles *t, struct weight_part *out, struct error *e);
/* Unit i of packed weights, opened; *copy: of its bytes where they lie on a device, the caller's, after an error too. */
struct unit;
int decoder_unit(const struct decoder *d, const struct weight_part *w, uint64_t i, struct unit *u, void **copy,
                 struct error *e);
