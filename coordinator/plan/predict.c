#include <math.h>

#include "coordinator/plan/cost.h"
#include "coordinator/plan/plan.h"
#include "coordinator/plan/calibrate.h"

#define TILE_OVERHEAD_SECONDS  8e-6 /* hand-overs of a tile between three processes */
#define OP_OVERHEAD_SECONDS    2e-6
#define SWEEP_OVERHEAD_SECONDS 150e-6

static void count_tiles(struct plan_summary *z, const struct plan_shm *p)
{
    const struct plan_tile *t = plan_tiles(p);
    uint64_t sweep = p->spec.sweep_tiles;

    for (uint64_t i = 0; i < sweep; i++) {
        uint64_t *bytes[] = {&z->disk_bytes, &z->host_bytes, &z->device_bytes},
                 *tiles[] = {&z->disk_tiles, &z->host_tiles, &z->device_tiles};

        *bytes[t[i].tier] += t[i].bytes;
        ++*tiles[t[i].tier];
        z->dense_bytes += t[i].bytes;
    }
    for (uint64_t i = 0; i < p->spec.resident_tiles; i++) z->resident_bytes += t[sweep + i].bytes;
    for (uint64_t i = 0; i < p->spec.demand_tiles; i++) z->expert_bytes += t[sweep + p->spec.resident_tiles + i].bytes;
    z->sweep_tiles = sweep;
    z->resident_tiles = p->spec.resident_tiles;
    z->expert_tiles = p->spec.demand_tiles;
}

/* Bytes of all experts of a table. */
static uint64_t table_bytes(const struct plan_shm *p, uint64_t table)
{
    const struct plan_expert_tiles *t = &plan_expert_tiles(p)[table];
    uint64_t bytes = 0;

    for (uint64_t k = 0; k < (uint64_t)plan_experts(p)[table].experts * t->each; k++)
        bytes += plan_tiles(p)[t->tile0 + k].bytes;
    return bytes;
}

/* Of all experts' bytes, those that a chunk of n positions chooses, choices being even and independent: their union. */
static double union_bytes(const struct plan_shm *p, uint32_t n)
{
    double sum = 0;

    for (uint64_t i = 0; i < p->experts.count; i++) {
        const struct plan_experts *x = &plan_experts(p)[i];

        sum += (double)table_bytes(p, i) * (1 - pow(1 - (double)x->max_used / ((double)x->experts + x->identity), n));
    }
    return sum;
}

static void count_experts(struct plan_summary *z, const struct plan_shm *p)
{
    uint64_t place = 0, places = 0;

    for (uint64_t i = 0; i < p->experts.count; i++) {
        const struct plan_experts *x = &plan_experts(p)[i];

        z->expert_used_bytes += table_bytes(p, i) / ((uint64_t)x->experts + x->identity) * x->max_used;
    }
    z->expert_chunk_bytes = (uint64_t)union_bytes(p, p->run.max_positions);
    z->expert_cache_bytes = p->run.expert_cache_bytes;
    /* the cache has places of one size: reader/cache.h */
    for (uint64_t i = 0; i < z->expert_tiles; i++) {
        uint64_t span = plan_tiles(p)[z->sweep_tiles + z->resident_tiles + i].span;

        if (span > place) place = span;
    }
    if (place) places = z->expert_cache_bytes / place;
    z->expert_hits = place ? (double)places / (double)z->expert_tiles : 0;
    if (z->expert_hits > 1) z->expert_hits = 1;
    z->disk_bytes += z->expert_bytes;
}

static void count_memory(struct plan_summary *z, const struct plan_shm *p)
{
    struct cost c;

    cost_count(&c, p, &p->run, p->bytes, 0);
    z->kv_bytes = c.compute.kv;
    z->kv_positions = p->run.kv_rows;
    z->kv_bytes_per_position = footprint_kv_position(p, p->run.kv_form);
    z->state_bytes = c.compute.states;
    z->arena_bytes = c.arena;
    z->cache_bytes = c.cache;
    z->scratch_bytes = c.compute.scratch;
    z->activation_bytes = cost_of_sweep(&c) - c.compute.scratch;
    z->logits_bytes = c.logits;
    z->plan_bytes = c.plan;
    z->process_bytes = c.process;
    z->host_total_bytes = c.host;
    z->device_total_bytes = c.device;
}

/* Bytes that a token need not read when memory grows by these: whole layers first, then experts as they are hit. */
static double bytes_saved(const struct plan_summary *z, double memory, double missed)
{
    double dense = (double)z->sweep_bytes - missed, layers = dense < memory ? dense : memory, experts = 0;

    if (z->expert_bytes) experts = (memory - layers) * (double)z->expert_used_bytes / (double)z->expert_bytes;
    return layers + (experts < missed ? experts : missed);
}

/* Bytes of the experts that a sweep of n positions chooses. */
static double chosen_bytes(const struct plan_summary *z, const struct plan_shm *p, uint32_t n)
{
    if (n == 1) return (double)z->expert_used_bytes;
    return n == p->run.max_positions ? (double)z->expert_chunk_bytes : union_bytes(p, n);
}

/* One sweep of n positions. cold: nothing is in memory yet, so that it reads all that the sweep passes, and all experts
 * that it chooses. */
static double sweep_seconds(const struct plan_summary *z, const struct plan_shm *p, const struct calibration *v,
                            uint32_t n, bool cold)
{
    bool cuda = p->run.backend == BACKEND_CUDA;
    double chosen = chosen_bytes(z, p, n), passed = (double)z->dense_bytes + chosen;
    double disk = (double)(cold ? z->dense_bytes + z->resident_bytes : z->dense_disk_bytes) / v->disk;
    double experts = chosen * (cold ? 1 : 1 - z->expert_hits) / v->disk;
    double memory = passed / (cuda ? v->device_memory : v->memory),
           link = cuda ? (passed - (double)z->device_bytes) / v->link : 0;
    double compute = n * z->flops_per_position / (cuda ? v->device_flops : v->flops);
    double slowest = disk + experts > compute ? disk + experts : compute;

    if (cold && v->fill > 0 && (double)z->host_bytes / v->fill > slowest) slowest = (double)z->host_bytes / v->fill;
    /* a layer's experts are known only when everything before them is computed: with few positions nothing hides their reading */
    if (memory > compute && memory + experts > slowest) slowest = memory + experts;
    if (link > slowest) slowest = link;
    return slowest > z->overhead_seconds ? slowest : z->overhead_seconds;
}

static void predict(struct plan_summary *z, const struct plan_shm *p, const struct calibration *v)
{
    bool cuda = p->run.backend == BACKEND_CUDA;
    double compute_bytes = (double)z->dense_bytes + (double)z->expert_used_bytes;
    double link_bytes = cuda ? compute_bytes - (double)z->device_bytes : 0;
    double missed = (double)z->expert_used_bytes * (1.0 - z->expert_hits), slowest;

    z->disk_seconds = (double)z->sweep_bytes / v->disk;
    z->memory_seconds = cuda ? 0 : compute_bytes / v->memory;
    z->link_seconds = link_bytes / v->link;
    z->device_seconds = cuda ? compute_bytes / v->device_memory : 0;
    z->overhead_seconds = SWEEP_OVERHEAD_SECONDS + (double)z->sweep_tiles * TILE_OVERHEAD_SECONDS +
                          (double)p->ops.count * OP_OVERHEAD_SECONDS;
    slowest = z->disk_seconds;
    z->bottleneck = "disk";
    if (z->memory_seconds > slowest) slowest = z->memory_seconds, z->bottleneck = "memory";
    if (z->link_seconds > slowest) slowest = z->link_seconds, z->bottleneck = "link";
    if (z->device_seconds > slowest) slowest = z->device_seconds, z->bottleneck = "device memory";
    if (z->overhead_seconds > slowest) z->bottleneck = "hand-overs";
    z->expert_seconds = missed / v->disk;
    if (missed > 0 && z->expert_seconds > z->memory_seconds + z->device_seconds) z->bottleneck = "disk";
    z->predicted_seconds_per_token = sweep_seconds(z, p, v, 1, false);
    z->predicted_seconds_per_prompt_token = sweep_seconds(z, p, v, p->run.max_positions, false) / p->run.max_positions;
    z->host_gain = bytes_saved(z, 1e9, missed) / v->disk;
    z->device_gain = cuda && link_bytes > 0 ? 1e9 / v->link : 0;
}

void plan_costs(struct plan_costs *out, const struct plan_summary *z, const struct plan_shm *p,
                const struct calibration *v)
{
    bool cuda = p->run.backend == BACKEND_CUDA;
    double first = z->memory_seconds + z->device_seconds, flops = cuda ? v->device_flops : v->flops;

    if (z->link_seconds > first) first = z->link_seconds;
    if (z->overhead_seconds > first) first = z->overhead_seconds;
    *out = (struct plan_costs){.read = (double)z->dense_disk_bytes / v->disk,
                               .first = first,
                               .position = z->flops_per_position / flops,
                               .row = plan_flops(p, 0, 1) / flops};
}

double plan_expert_seconds(const struct plan_summary *z, const struct plan_shm *p, const struct calibration *v,
                           uint32_t n)
{
    return z->expert_bytes && n ? chosen_bytes(z, p, n) * (1 - z->expert_hits) / v->disk : 0;
}

double plan_prompt_seconds(const struct plan_summary *z, const struct plan_shm *p, const struct calibration *v,
                           uint32_t tokens)
{
    double sum = 0;

    for (uint32_t at = 0, n; at < tokens; at += n) {
        n = tokens - at < p->run.max_positions ? tokens - at : p->run.max_positions;
        sum += sweep_seconds(z, p, v, n, !at);
    }
    return sum;
}

void plan_summarize(struct plan_summary *out, const struct plan_shm *p, const struct calibration *v)
{
    const struct plan_matrix *embed = &plan_matrices(p)[p->spec.embed_matrix], *beside = NULL;

    if (plan_beside_matrix(p) != PLAN_NONE) beside = &plan_matrices(p)[plan_beside_matrix(p)];
    *out = (struct plan_summary){
        .context = p->spec.context, .max_positions = p->run.max_positions, .slot_bytes = p->run.slot_bytes};
    count_tiles(out, p);
    out->dense_disk_bytes = out->disk_bytes;
    count_experts(out, p);
    out->flops_per_position = plan_flops(p, 1, 0);
    count_memory(out, p);
    out->sweep_bytes = out->dense_disk_bytes + (uint64_t)((double)out->expert_used_bytes * (1.0 - out->expert_hits));
    out->active_bytes = out->dense_bytes + out->resident_bytes + out->expert_used_bytes + embed->row_bytes;
    if (beside) out->active_bytes += beside->row_bytes;
    out->weight_bytes = out->dense_bytes + out->resident_bytes + out->expert_bytes;
    if (beside) out->weight_bytes += beside->rows * beside->row_bytes;
    /* a tied table is streamed as the head already */
    for (uint64_t i = 0, tied = 0; i <= p->ops.count; i++) {
        if (i == p->ops.count && !tied)
            out->weight_bytes += embed->rows * embed->row_bytes;
        else if (i < p->ops.count && plan_ops(p)[i].kind == OP_MATMUL &&
                 plan_ops(p)[i].matmul.matrix == p->spec.embed_matrix)
            tied = 1;
    }
    predict(out, p, v);
}
