/* One machine's share of a program: its operations, between hops, and no record that they do not use.
 *
 * Whoever goes on after another machine is sent every column that was written before and is read later; nothing is added up
 * on the way, so that the bits are those of one machine. The embedding and what comes after OP_SELECT are the first
 * machine's. Files, buffers, rotary tables, constants and names stay as they are; matrices, vectors, experts, caches and states
 * are numbered anew. */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

/* owner: of each layer (deal.h), whose layers that stay together have one. *out: an image as program_image() makes it, the
 * caller's, which passes program_check(). -EINVAL: the machine has no layer. -ENOMEM. */
int share_make(struct plan_shm **out, const struct plan_shm *whole, const uint32_t *owner, uint32_t rank,
               struct error *e);
