/* A model as its family describes it: growing tables of the plan's records, until they become an image.
 *
 *   arch/families/NAME.c   writes operations, and names matrices and vectors as it needs them
 *   program_image()        lays the tables out as one struct plan_shm, checked, which nobody writes to any more
 *   plan/                  reads that image, and makes of it and of a run's settings the plan that stages are given
 *
 * Records are those of proto/program.h; indices are positions in the tables. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

/* A growing table of records; data is contiguous. */
struct program_table {
    void *data;
    size_t count, capacity, size; /* size of a record */
};

/* Room for n more records, zeroed; valid until the next. NULL when there is no memory. */
void *program_table_add(struct program_table *t, size_t n);

/* All memory belongs to the program. */
struct program {
    struct plan_spec spec; /* resident_floats is program_image()'s, counts of tiles are the plan's */
#define PROGRAM_TABLE(table, type) struct program_table table;
    PLAN_PROGRAM_TABLES(PROGRAM_TABLE)
#undef PROGRAM_TABLE
    bool failed;         /* out of memory once: program_image() tells */
    struct plan_op lost; /* what program_op() hands out then */
};

void program_init(struct program *p);
void program_free(struct program *p);

/* Each returns the record's index. A failed allocation sets failed and returns 0, so that families need not test every
 * call; program_image() reports it. */
uint32_t program_file(struct program *p, const struct plan_file *f, const char *path);
uint32_t program_matrix(struct program *p, const struct plan_matrix *m, const char *name);
uint32_t program_vector(struct program *p, const struct plan_vector *v, const char *name);
uint32_t program_constants(struct program *p, const float *x, size_t n, const char *name);  /* a vector of constants */
uint16_t program_buffer(struct program *p, uint32_t width);                                 /* floats a position */
uint32_t program_rope(struct program *p, const float *inv_freq, uint32_t dim, float scale); /* the same one is shared */
/* The same angles backwards; at positions rounded down to multiples of each. */
uint32_t program_rope_back(struct program *p, uint32_t rope);
uint32_t program_rope_starts(struct program *p, uint32_t rope, uint32_t each);
/* n constants without a vector: the index of the first. */
uint64_t program_numbers(struct program *p, const float *x, size_t n);
uint32_t program_cache(struct program *p, uint32_t k_width, uint32_t v_width);
uint32_t program_state(struct program *p, uint64_t floats);
uint32_t program_experts(struct program *p, const struct plan_experts *x);
struct plan_op *program_op(struct program *p, enum plan_op_kind kind,
                           uint32_t layer); /* zeroed, valid until the next */
uint64_t program_string(struct program *p, const char *s);

/* A buffer's width becomes at least width: layers of different sizes share their buffers. */
void program_buffer_widen(struct program *p, uint16_t buf, uint32_t width);

/* malloc'ed image of the program, which is as it was; vectors have their places in the resident area. Not yet
 * checked: program_check(). -ENOMEM. */
int program_image(struct plan_shm **out, const struct program *p, struct error *e);

/* Typed access to a table's records. */
#define PROGRAM_AT(p, table, type, i) (&((type *)(p)->table.data)[i])
