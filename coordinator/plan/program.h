/* A model as the coordinator builds it: growing tables of the plan's records, before tiles are cut.
 *
 *   model/families/NAME.c  writes ops, and names matrices and vectors as it needs them
 *   plan/tiling.c          walks the ops and cuts tiles
 *   plan/assemble.c        lays everything out as one struct plan_shm
 *
 * Records are those of proto/plan.h; indices are positions in the arrays. Experts' tile0 and tiles_each are filled by
 * the cutting. All memory belongs to the program. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

/* A growing array of records; data is contiguous. */
struct program_table {
    void *data;
    size_t count, capacity, size; /* size of a record */
};

struct program {
    struct plan_spec spec; /* tile counts and resident_floats are filled by the cutting */
    struct program_table files, matrices, vectors, buffers, ops, experts, ropes, caches, states, constants, strings;
    bool failed;         /* out of memory once: program_done() tells */
    struct plan_op lost; /* what program_op() hands out then */
};

void program_init(struct program *p);
void program_free(struct program *p);

/* Each returns the record's index. A failed allocation sets failed and returns 0, so that families need not test every
 * call; program_done() reports it. */
uint32_t program_file(struct program *p, const struct plan_file *f, const char *path);
uint32_t program_matrix(struct program *p, const struct plan_matrix *m, const char *name);
uint32_t program_vector(struct program *p, const struct plan_vector *v, const char *name);
uint32_t program_constants(struct program *p, const float *x, size_t n, const char *name);  /* a vector of constants */
uint16_t program_buffer(struct program *p, uint32_t width);                                 /* floats a position */
uint32_t program_rope(struct program *p, const float *inv_freq, uint32_t dim, float scale); /* the same one is shared */
uint32_t program_cache(struct program *p, uint32_t k_width, uint32_t v_width);
uint32_t program_state(struct program *p, uint64_t floats);
uint32_t program_experts(struct program *p, const struct plan_experts *x);
struct plan_op *program_op(struct program *p, enum plan_op_kind kind,
                           uint32_t layer); /* zeroed, valid until the next */
uint64_t program_string(struct program *p, const char *s);
int program_done(const struct program *p, struct error *e); /* 0, or -ENOMEM */

/* A buffer's width becomes at least width: layers of different sizes share their buffers. */
void program_buffer_widen(struct program *p, uint16_t buf, uint32_t width);

/* Every view lies inside its buffer, every matrix has the columns of what it multiplies, every index names a record:
 * 0, or -EPROTO naming the operation. A program that passes can be cut; what fails is a family's mistake or a folder
 * whose sizes contradict each other. */
int program_check(const struct program *p, struct error *e);

/* Typed access to a table's records, for who walks the whole program. */
#define PROGRAM_AT(p, table, type, i) (&((type *)(p)->table.data)[i])
