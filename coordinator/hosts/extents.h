/* Which columns of which buffers an operation reads and writes: what a machine must be sent before it goes on. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/plan.h"

/* count blocks of width columns, stride apart. */
struct extent {
    struct plan_view view;
    uint64_t count, width, stride;
};

#define EXTENTS_MOST 8u
struct extents {
    struct extent read[EXTENTS_MOST], write[EXTENTS_MOST];
    uint32_t reads, writes;
};

/* What is read may be said too large, what is written never is. Operations of a program that passes program_check(). */
void extents_of(struct extents *x, const struct plan_shm *p, const struct plan_op *o);
