/* The parts of plan_check(), one file each; nobody else includes this. Each believes those before it:
 * tables, then operations, then tiles. */
#pragma once
#include <stdbool.h>
#include "proto/base/error.h"
#include "proto/plan.h"

int check_tables(const struct plan_shm *p, uint64_t map_bytes, struct error *e); /* header, settings, records */
int check_ops(const struct plan_shm *p, struct error *e);                        /* views and references */
int check_tiles(const struct plan_shm *p, struct error *e);                      /* parts, tiers, order of use */

#define CHECK_FAIL(...) return error_set(e, EPROTO, "plan: " __VA_ARGS__)
#define ULL(x)          ((unsigned long long)(x))

/* a + b * c <= limit, without overflow. */
static inline bool check_fits(uint64_t a, uint64_t b, uint64_t c, uint64_t limit)
{
    uint64_t m, s;

    return !__builtin_mul_overflow(b, c, &m) && !__builtin_add_overflow(a, m, &s) && s <= limit;
}
