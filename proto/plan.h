/* The plan: everything that the stages know of a model and of a run, made once by the coordinator and mapped read-only by
 * the others.
 *
 *   struct plan_shm  (header: spec, run settings, tables)
 *     the decoder       proto/program.h
 *     tiles and parts   proto/tiles.h
 *     settings          proto/config.h
 *
 * All offsets are relative to the segment's start; plan_check() verifies every index and range before use. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/config.h"
#include "proto/program.h"
#include "proto/tiles.h"

#define PLAN_MAGIC   UINT64_C(0x6e616c705f637569) /* "uic_plan" */
#define PLAN_VERSION 2u

struct plan_table {
    uint64_t offset, count;
};

struct plan_shm {
    uint64_t magic;
    uint32_t version, pad;
    uint64_t bytes;
    struct plan_spec spec;
    struct plan_run run;
    struct plan_table files, matrices, vectors, buffers /* uint32_t widths */, ops, parts, tiles, experts, ropes, caches,
        states, constants /* float */, strings /* char */;
};

/* Typed access to the tables; p is a checked plan. */
#define PLAN_ACCESS(type, table)                                                                                       \
    static inline const type *plan_##table(const struct plan_shm *p)                                                   \
    {                                                                                                                  \
        return (const type *)(const void *)((const char *)p + p->table.offset);                                       \
    }
PLAN_ACCESS(struct plan_file, files)
PLAN_ACCESS(struct plan_matrix, matrices)
PLAN_ACCESS(struct plan_vector, vectors)
PLAN_ACCESS(uint32_t, buffers)
PLAN_ACCESS(struct plan_op, ops)
PLAN_ACCESS(struct plan_part, parts)
PLAN_ACCESS(struct plan_tile, tiles)
PLAN_ACCESS(struct plan_experts, experts)
PLAN_ACCESS(struct plan_rope, ropes)
PLAN_ACCESS(struct plan_cache, caches)
PLAN_ACCESS(struct plan_state, states)
PLAN_ACCESS(float, constants)
PLAN_ACCESS(char, strings)
#undef PLAN_ACCESS

static inline const char *plan_string(const struct plan_shm *p, uint64_t name)
{
    return plan_strings(p) + name;
}

#ifdef __cplusplus
extern "C" {
#endif

/* Every index, range and size of a plan of map_bytes bytes: 0, or -EPROTO and what is wrong. Stages call it on what
 * they were given before they use it; nothing in a checked plan leads outside of it. */
int plan_check(const struct plan_shm *p, uint64_t map_bytes, struct error *e);

#ifdef __cplusplus
}
#endif
