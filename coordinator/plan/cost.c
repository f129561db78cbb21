#include "coordinator/plan/cost.h"

#include "proto/base/page.h"
#include "proto/control.h"
#include "proto/epoch.h"
#include "proto/link.h"

/* Measured resident sizes (private pages), rounded up: libraries, heap, stacks, the trace and request queues. */
#define COORDINATOR_BYTES (UINT64_C(14) << 20)
#define STAGE_BYTES       (UINT64_C(7) << 20)   /* each of the three, cpu backend */
#define CUDA_STAGE_BYTES  (UINT64_C(320) << 20) /* transfer and compute: the driver's host side */
#define TEXT_BYTES        (UINT64_C(64) << 20)  /* a tokenizer of 128k entries while it is being read */
#define DEVICE_CONTEXT    (UINT64_C(608) << 20) /* two contexts and what the libraries load */
#define DEVICE_PAGE       (UINT64_C(2) << 20)   /* the driver hands out whole ones */
#define TOKEN_BYTES       20u /* for each token: coordinator/batch/sampling.c, coordinator/engine/embedding.c */
/* For each position of a sweep: its records in coordinator/batch/sweep.c and coordinator/engine/embedding.c, and the copies of
 * the message on its way to compute: packed (in a buffer that doubles), sent, received, taken apart. */
#define SWEEP_BYTES  (9u * sizeof(struct sweep_position) + 40u)
#define THREAD_BYTES (UINT64_C(48) << 10) /* a thread's touched stack, and the kernel's one */
#define PAGE_USUAL   UINT64_C(4096)       /* what all of these were measured with */
#define REGIONS      160u                 /* of private memory in a process, at most: each ends within a page */

/* What the four processes take more where pages are larger than that: by less than the difference each region is longer, each
 * of five page tables, and two parts of a thread's stacks. */
static uint64_t of_larger_pages(uint32_t threads)
{
    return (4 * (REGIONS + 5) + 2 * (uint64_t)threads) * (page_bytes() - PAGE_USUAL);
}

/* A driver that pins memory lists its pages twice. */
uint64_t cost_of_page(const struct plan_run *r)
{
    return 8 * 3 + (r->backend == BACKEND_CUDA ? 16 : 0);
}

uint64_t cost_of_sweep(const struct cost *c)
{
    const struct footprint *f = &c->compute;

    return f->activations + f->scratch + f->positions + f->experts + f->host_positions + f->host_experts + f->angles;
}

/* 140 B for each token that is remembered, of 4096 to 65536, and 288 B for each place of logits, of 1024 to 8192. */
uint64_t cost_of_guessing(uint32_t guesses, uint32_t roots, uint64_t tokens)
{
    uint64_t remembered = 4096, places = 1024;

    if (!guesses) return 0;
    while (remembered < 65536 && remembered / 2 < tokens) remembered *= 2;
    while (places < 8192 && places < tokens) places *= 2;
    return remembered * 144 + places * 320 + (guesses + UINT64_C(1) * roots) * 2048 + 65536;
}

void cost_count(struct cost *c, const struct plan_shm *p, const struct plan_run *r, uint64_t plan_bytes,
                uint64_t text_bytes)
{
    bool cuda = r->backend == BACKEND_CUDA;
    uint64_t stages = STAGE_BYTES + 2 * (cuda ? CUDA_STAGE_BYTES : STAGE_BYTES), own;

    *c = (struct cost){.cache = r->host_cache_bytes, .plan = plan_bytes};
    footprint_count(&c->compute, p, r);
    own = c->compute.host + (cuda ? 0 : c->compute.device + c->compute.device_blocks * page_bytes());
    c->arena = plan_arena_bytes(r);
    c->logits = (uint64_t)r->max_logits * p->spec.vocab * sizeof(float);
    c->run = epoch_bytes(r);
    c->link = p->spec.share ? link_segment_bytes(p, r) : 0;
    /* page tables of three stages over what is shared, of one over what is its own */
    c->tables = (c->arena + c->cache) / PLAN_PAGE * cost_of_page(r) + own / PLAN_PAGE * 8;
    c->process = COORDINATOR_BYTES + (text_bytes ? text_bytes : TEXT_BYTES) +
                 plan_bytes /* the image it copied from */ + p->spec.vocab * TOKEN_BYTES + r->threads * THREAD_BYTES +
                 cost_of_guessing(r->guesses, r->sequences, r->kv_rows) + r->max_positions * SWEEP_BYTES + stages +
                 of_larger_pages(r->threads);
    c->device_context = cuda ? DEVICE_CONTEXT + c->compute.device_blocks * DEVICE_PAGE : 0;
    c->shm = c->arena + c->logits + c->plan + c->run;
    c->host = c->shm + c->link + c->cache + c->tables + c->process + own + (cuda ? 0 : r->peak_bytes);
    /* what is tried first has gone before anything lies in the cache */
    c->probe = r->io_find == IO_FIND_ON_WISH ? r->probe_bytes
               : r->probe_bytes > c->cache   ? r->probe_bytes - c->cache
                                             : 0;
    c->host += c->probe;
    c->device = cuda ? c->compute.device + c->device_context + r->peak_bytes : 0;
}
