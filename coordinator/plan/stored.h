/* The forms that a plan's matrices are stored in, and how fast the kernels of one token take them in. */
#pragma once
#include <stdint.h>
#include "proto/plan.h"

struct plan_stored {
    uint32_t form;  /* enum form */
    uint64_t bytes; /* of all matrices in it, scales elsewhere left out */
};

/* Those that occur, the one with most bytes first. Returns how many. */
uint32_t plan_stored(const struct plan_shm *p, struct plan_stored out[FORMS]);

/* Stored bytes per second that so many threads take in where the memory gives so many: kernels that have much to unpack are
 * slower than that. memory itself where p is NULL. */
double plan_stored_speed(const struct plan_shm *p, uint32_t threads, double memory);
