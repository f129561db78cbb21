/* The file that `sluice logits` writes: one row of float32 [vocabulary] for each position that was asked for, in the order
 * in which they were asked for, as often as they were. The model gives them rising, each once. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include "proto/base/error.h"
#include "proto/base/output.h"

struct logits_place {
    uint32_t position;
    size_t row; /* of the file */
};

struct logits_file {
    uint32_t *position; /* what to ask the model for: rising, each once */
    size_t positions;
    struct logits_place *place; /* by position; of one position by row */
    size_t places, next;
    struct output *out; /* NULL: not open */
    bool in_order;      /* rows are written one behind the other, as they come */
    uint32_t vocab;     /* set before the first row */
};

/* wanted[n]: as asked for; n 0: all of them. -EINVAL where one is not below tokens. */
int logits_file_plan(struct logits_file *f, const uint32_t *wanted, size_t n, size_t tokens, struct error *e);
/* keep: what it must not replace. -EINVAL where path is a pipe or a device and the rows would have to go back and forth in it. */
int logits_file_open(struct logits_file *f, const char *path, const struct output_options *keep, struct error *e);
/* The next of position[]: float32 [vocab]. arg: the struct logits_file. */
int logits_file_row(void *arg, const float *logits, struct error *e);
/* good: all rows are there, and the file gets its name; -errno where it cannot. Frees what plan() and open() made. */
int logits_file_close(struct logits_file *f, bool good, struct error *e);
