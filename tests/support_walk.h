/* A walk through a checked plan as the stages take it: whatever they would touch lies inside of what they have mapped and
 * allocated. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "proto/plan.h"

/* Aborts with a line on stderr where something leads outside. The sum of what was read, of no meaning. */
uint64_t plan_walk(const struct plan_shm *p);

#define TEST_PLANS 4 /* dense and recurrent; latent, FP8 and cuda; experts of two shapes */
/* The plan of one of these shapes; free() it. */
struct plan_shm *test_plan(size_t shape, uint64_t *bytes);
