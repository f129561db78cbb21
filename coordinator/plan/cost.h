/* What a program and the settings of a run cost in memory, before anything is allocated: what compute takes to the byte
 * (proto/footprint.h), the segments that processes share, and what the processes themselves come to, as measured. */
#pragma once
#include <stdint.h>
#include "proto/footprint.h"
#include "proto/plan.h"

struct cost {
    struct footprint compute;
    uint64_t arena, cache, logits, plan, run; /* shared */
    uint64_t link;                            /* with hops to other machines: their messages, shared too */
    uint64_t tables, process;                 /* page tables of all processes; what they hold beside all this */
    uint64_t probe;                           /* of plan_run.probe_bytes, what is there beside the cache */
    uint64_t device_context;                  /* cuda: what the driver takes, and rounding of allocations may */
    uint64_t shm;                             /* what is named in /dev/shm */
    uint64_t host, device;                    /* totals */
};

/* p: a program alone, or a plan. plan_bytes: of the plan's image. text_bytes: of the coordinator's tokenizer and templates;
 * 0: a guess. */
void cost_count(struct cost *c, const struct plan_shm *p, const struct plan_run *r, uint64_t plan_bytes,
                uint64_t text_bytes);

/* What the coordinator keeps of texts to guess from, and of the guesses themselves (coordinator/draft): a bound. */
uint64_t cost_of_guessing(uint32_t guesses, uint32_t roots, uint64_t tokens);

/* What a page of the host's slots and cache takes in tables: of three processes, and of a driver that pins it. */
uint64_t cost_of_page(const struct plan_run *r);

/* What grows with the positions of a sweep: activations, tables, scratch. */
uint64_t cost_of_sweep(const struct cost *c);
