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
#define PLAN_VERSION 5u

/* Every table and its records. Those of the decoder are the same in every plan of a model; those of its tiles come behind. */
#define PLAN_PROGRAM_TABLES(X)                                                                                         \
    X(files, struct plan_file)                                                                                         \
    X(matrices, struct plan_matrix)                                                                                    \
    X(vectors, struct plan_vector)                                                                                     \
    X(buffers, uint32_t) /* widths */                                                                                  \
    X(ops, struct plan_op)                                                                                             \
    X(experts, struct plan_experts)                                                                                    \
    X(ropes, struct plan_rope)                                                                                         \
    X(caches, struct plan_cache)                                                                                       \
    X(states, struct plan_state)                                                                                       \
    X(units, uint64_t) /* offsets in files: those of a packed matrix, one after the other, and the end of the last */  \
    X(constants, float)                                                                                                \
    X(strings, char)
#define PLAN_TILE_TABLES(X)                                                                                            \
    X(parts, struct plan_part)                                                                                         \
    X(tiles, struct plan_tile)                                                                                         \
    X(expert_tiles, struct plan_expert_tiles) /* one for each record of experts */

struct plan_table {
    uint64_t offset, count;
};

/* A program alone is the same image with empty tables of tiles, and run all zero: what a family has written, and what
 * planning reads. */
struct plan_shm {
    uint64_t magic;
    uint32_t version, pad;
    uint64_t bytes;
    struct plan_spec spec;
    struct plan_run run;
    struct plan_gather gather; /* the embedding's rows */
    struct plan_gather beside; /* the second table's, by the same numbers; rows 0: there is none */
#define PLAN_TABLE(table, type) struct plan_table table;
    PLAN_PROGRAM_TABLES(PLAN_TABLE)
    PLAN_TILE_TABLES(PLAN_TABLE)
#undef PLAN_TABLE
};

/* Typed access to the tables; p is a checked plan. */
#define PLAN_ACCESS(table, type)                                                                                       \
    static inline const type *plan_##table(const struct plan_shm *p)                                                   \
    {                                                                                                                  \
        return (const type *)(const void *)((const char *)p + p->table.offset);                                        \
    }
PLAN_PROGRAM_TABLES(PLAN_ACCESS)
PLAN_TILE_TABLES(PLAN_ACCESS)
#undef PLAN_ACCESS

/* Does this machine look up the embedding's rows? One that has a share without it is sent what became of them. */
static inline int plan_embeds(const struct plan_shm *p)
{
    return !p->spec.share || (p->ops.count && plan_ops(p)->kind == OP_EMBED);
}
/* The second table beside the embedding; PLAN_NONE: there is none. */
static inline uint32_t plan_beside_matrix(const struct plan_shm *p)
{
    const struct plan_op *first = plan_ops(p);

    return p->ops.count && first->kind == OP_EMBED && (first->embed.flags & EMBED_BESIDE) ? first->embed.beside
                                                                                          : PLAN_NONE;
}
/* Of a row that is sent: where the second table's part begins, and the bytes from one to the next. */
static inline uint64_t plan_beside_offset(const struct plan_shm *p)
{
    return plan_row_aligned(p->gather.row_bytes);
}
static inline uint64_t plan_row_stride(const struct plan_shm *p)
{
    return plan_rows_stride(p->gather.row_bytes, p->beside.row_bytes);
}

static inline const char *plan_string(const struct plan_shm *p, uint64_t name)
{
    return plan_strings(p) + name;
}

#ifdef __cplusplus
extern "C" {
#endif

/* Every index, range and size of a program (its tiles and settings are not looked at) of map_bytes bytes: every view lies
 * inside its buffer, every matrix has the columns of what it multiplies, every record its place in a file: 0, or -EPROTO
 * naming the record or the operation. What fails is a family's mistake, or a folder whose sizes contradict each other. */
int program_check(const struct plan_shm *p, uint64_t map_bytes, struct error *e);

/* The same of a whole plan: its program, its tiles, its settings, and that these go together. Stages call it on what
 * they were given before they use it; nothing in a checked plan leads outside of it. */
int plan_check(const struct plan_shm *p, uint64_t map_bytes, struct error *e);

#ifdef __cplusplus
}
#endif
