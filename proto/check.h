/* The parts of plan_check(), one file each; nobody else includes this. Each believes those before it: the program's records,
 * its operations, the settings, the tiles. */
#pragma once
#include <stdbool.h>
#include "proto/base/error.h"
#include "proto/plan.h"

int check_ops(const struct plan_shm *p, struct error *e);    /* views and references */
int check_config(const struct plan_run *r, struct error *e); /* settings */
int check_tiles(const struct plan_shm *p, struct error *e);  /* parts, tiers, order of use */

/* Far above any use, low enough that sums and products of a few of them stay inside 64 bits. */
#define CHECK_BYTES     (UINT64_C(1) << 50)
#define CHECK_SLOT      (UINT64_C(1) << 30)
#define CHECK_SLOTS     65536u
#define CHECK_POSITIONS (1u << 26)
#define CHECK_WIDTH     (1u << 28)

/* Can rows of it be read one by one? Of a packed one where its units are small. */
static inline bool check_gathered(const struct plan_matrix *m)
{
    return !m->unit_rows || m->unit_rows <= PLAN_GATHER_UNIT / (m->row_bytes ? m->row_bytes : 1);
}

#define CHECK_FAIL(...) return error_set(e, EPROTO, "plan: " __VA_ARGS__)
#define ULL(x)          ((unsigned long long)(x))

/* a + b * c <= limit, without overflow. */
static inline bool check_fits(uint64_t a, uint64_t b, uint64_t c, uint64_t limit)
{
    uint64_t m, s;

    return !__builtin_mul_overflow(b, c, &m) && !__builtin_add_overflow(a, m, &s) && s <= limit;
}
