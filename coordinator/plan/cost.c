#include "coordinator/plan/cost.h"

#include "proto/ring.h"
#include "proto/epoch.h"

/* Measured resident sizes (private pages), rounded up: libraries, heap, stacks, the trace and request queues. */
#define COORDINATOR_BYTES (UINT64_C(14) << 20)
#define STAGE_BYTES       (UINT64_C(7) << 20)  /* each of the three, cpu backend */
#define CUDA_STAGE_BYTES  (UINT64_C(320) << 20) /* transfer and compute: the driver's host side */
#define TEXT_BYTES        (UINT64_C(64) << 20) /* a tokenizer of 128k entries while it is being read */
#define DEVICE_CONTEXT    (UINT64_C(640) << 20) /* two contexts and the libraries' workspace */
#define DEVICE_PAGE       (UINT64_C(2) << 20)   /* the driver hands out whole ones */
#define DEVICE_PIECES     10u                   /* decoder: four, positions.c: five, scratch; cuBLAS's workspace is whole pages */
#define EXPERT_PIECES     7u                    /* compute/experts.c */
#define SAMPLER_BYTES     16u                   /* of a token of the vocabulary: coordinator/batch/sampling.c */
#define THREAD_BYTES      (UINT64_C(48) << 10)  /* a thread's touched stack, and the kernel's one */
#define RUNS_PER_POSITION 16u /* compute/positions.c */

/* Buffers that no operation touches before OP_SELECT has chosen positions hold those positions only. */
static bool used_before_select(const struct plan_shm *p, uint64_t buffer)
{
    for (uint64_t i = 0; i < p->ops.count; i++) {
        struct plan_view views[PLAN_OP_VIEWS];
        bool select = plan_ops(p)[i].kind == OP_SELECT;
        uint32_t n = plan_op_views(plan_ops(p) + i, views);

        for (uint32_t v = 0; v < n; v++)
            if (views[v].buf == buffer && !(select && v == 1)) return true;
        if (select) return false;
    }
    return true;
}

static void count_buffers(struct cost_shape *z, const struct plan_shm *p)
{
    for (uint64_t b = 0; b < p->buffers.count; b++) {
        if (used_before_select(p, b)) z->position_floats += plan_buffers(p)[b];
        else z->logit_floats += plan_buffers(p)[b];
    }
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void count_experts(struct cost_shape *z, const struct plan_shm *p)
{
    uint64_t hidden = 0, inter = 0, experts = 0, top = 0, tiles = 0;

    for (uint64_t i = 0; i < p->experts.count; i++) {
        const struct plan_experts *x = plan_experts(p) + i;

        hidden = most(hidden, x->hidden);
        inter = most(inter, x->inter);
        experts = most(experts, x->experts);
        top = most(top, x->max_used);
        tiles = most(tiles, (uint64_t)x->experts * most(p->expert_tiles.count ? plan_expert_tiles(p)[i].each : 0, 8));
    }
    if (!experts) return;
    z->position_floats += 2 * hidden + 3 * inter + 2 * top + experts + 4;
    z->fixed_bytes += 4 * (most(2 * inter, hidden) + 5 * experts + tiles);
}

static void count_attention(struct cost_shape *z, const struct plan_shm *p)
{
    for (uint64_t i = 0; i < p->ops.count; i++) {
        const struct op_attention *a = &plan_ops(p)[i].attention;

        if (plan_ops(p)[i].kind != OP_ATTENTION) continue;
        z->heads = most(z->heads, a->heads);
        z->attention_width = most(z->attention_width, (uint64_t)a->heads * (a->dv + 2ull));
    }
}

static void count_shape(struct cost_shape *z, const struct plan_shm *p)
{
    uint64_t rope = 0;

    count_buffers(z, p);
    count_experts(z, p);
    count_attention(z, p);
    for (uint64_t i = 0; i < p->caches.count; i++) z->kv_width += (uint64_t)plan_caches(p)[i].k_width + plan_caches(p)[i].v_width;
    for (uint64_t i = 0; i < p->states.count; i++) z->state_floats += plan_states(p)[i].floats;
    for (uint64_t i = 0; i < p->ropes.count; i++) {
        z->position_floats += plan_ropes(p)[i].dim;
        rope = most(rope, plan_ropes(p)[i].dim);
    }
    for (uint64_t i = 0; i < p->matrices.count; i++) z->widest = most(z->widest, most(plan_matrices(p)[i].cols, plan_matrices(p)[i].row_bytes / 4));
    z->fixed_bytes += PLAN_DEVICE_ALIGN * (p->buffers.count + p->ropes.count + 2 * p->caches.count + p->states.count);
    z->device_pieces = DEVICE_PIECES + (p->experts.count ? EXPERT_PIECES : 0);
    z->position_floats += rope + 12 + 2 * RUNS_PER_POSITION; /* the host's angles, tables of positions and runs */
}

void cost_shape_of(struct cost_shape *z, const struct plan_shm *p)
{
    *z = (struct cost_shape){.vocab = p->spec.vocab, .resident_floats = p->spec.resident_floats};
    count_shape(z, p);
    z->table_bytes = p->bytes - p->tiles.count * sizeof(struct plan_tile) - p->parts.count * sizeof(struct plan_part);
}

uint64_t cost_kv_position(const struct cost_shape *z, uint32_t kv_type)
{
    return z->kv_width * (kv_type == KV_F32 ? 4 : 2);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The same of the cuda backend (compute/cuda/backend.c): inputs in three bf16 terms and a block of widened weights, or
 * attention's partial results for each 512 places. */
static uint64_t cuda_scratch_bytes(const struct cost_shape *z, const struct plan_run *r)
{
    uint64_t one = ((uint64_t)r->kv_rows / 512 + 1) * z->attention_width * 4;
    uint64_t attention = most(one, least(one * r->max_positions, UINT64_C(64) << 20));
    uint64_t products = least(r->max_positions, 1024) * (z->widest + 64) * 6 + (UINT64_C(1) << 20);

    if (r->max_positions > 16) products += most(UINT64_C(64) << 20, z->widest * 4);
    return most(products, attention) + 32 * (uint64_t)r->max_positions;
}

/* An upper bound of ops_scratch_bytes(): blocks of widened rows, sums and attention for each thread, packed tokens. */
static uint64_t scratch_bytes(const struct cost_shape *z, const struct plan_run *r)
{
    uint64_t threads = r->threads, tokens = least(r->max_positions, 96);

    if (r->backend == BACKEND_CUDA) return cuda_scratch_bytes(z, r);
    return threads * ((UINT64_C(768) << 10) + z->attention_width * 256) + (tokens + 1) * (z->widest + 16) * 4;
}

static uint64_t model_bytes(const struct cost *c)
{
    return c->kv + c->state + c->activation + c->scratch + c->resident;
}

static void count_totals(struct cost *c, const struct plan_run *r)
{
    uint64_t model = model_bytes(c);

    c->shm = c->arena + c->logits + c->plan + c->run;
    c->host = c->shm + c->cache + c->tables + c->process;
    c->device = 0;
    if (r->backend == BACKEND_CPU) c->host += model;
    else c->device = model + c->device_slots + c->device_pins + c->device_context;
}

void cost_count(struct cost *c, const struct cost_shape *z, const struct plan_run *r, uint64_t plan_bytes,
                uint64_t text_bytes)
{
    bool cuda = r->backend == BACKEND_CUDA;

    *c = (struct cost){0};
    c->arena = ((uint64_t)r->reader_slots[0] + r->reader_slots[1]) * r->slot_bytes;
    c->cache = r->host_cache_bytes;
    c->kv = (r->kv_rows + UINT64_C(1)) * (cost_kv_position(z, r->kv_type) + sizeof(uint32_t) * 10); /* compute/positions.c */
    c->state = r->sequences * z->state_floats * 4;
    c->activation = (uint64_t)r->max_positions * z->position_floats * 4 + r->max_logits * z->logit_floats * 4 + z->fixed_bytes;
    c->scratch = scratch_bytes(z, r);
    c->resident = z->resident_floats * 4;
    c->logits = (uint64_t)r->max_logits * z->vocab * 4;
    c->plan = plan_bytes;
    c->run = sizeof(struct epoch_shm) + 2 * (ring_bytes(r->entries[0]) + ring_bytes(r->entries[1]));
    /* page tables of three stages over what is shared, of one over what is its own */
    c->tables = (c->arena + c->cache) / PLAN_PAGE * 8 * 3 + model_bytes(c) / PLAN_PAGE * 8;
    c->process = COORDINATOR_BYTES + (text_bytes ? text_bytes : TEXT_BYTES) + plan_bytes /* the image it copied from */ +
                 z->vocab * SAMPLER_BYTES + r->threads * THREAD_BYTES + STAGE_BYTES + 2 * (cuda ? CUDA_STAGE_BYTES : STAGE_BYTES);
    c->device_slots = ((uint64_t)r->transfer_slots[0] + r->transfer_slots[1]) * r->slot_bytes;
    c->device_pins = r->device_pin_bytes;
    c->device_context = cuda ? DEVICE_CONTEXT + z->device_pieces * DEVICE_PAGE : 0;
    count_totals(c, r);
}
