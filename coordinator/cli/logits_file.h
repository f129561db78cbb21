/* The file that `sluice logits` writes: one row of float32 [vocabulary] for each position that was asked for, in the order
 * in which they were asked for, as often as they were. The model gives them rising, each once. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "proto/base/error.h"

struct logits_place {
    uint32_t position;
    size_t row; /* of the file */
};

struct logits_file {
    uint32_t *position;         /* what to ask the model for: rising, each once */
    size_t positions;
    struct logits_place *place; /* by position; of one position by row */
    size_t places, next;
    FILE *file;                 /* NULL: not open */
    const char *path;
    uint32_t vocab;
};

/* wanted[n]: as asked for; n 0: all of them. -EINVAL where one is not below tokens. */
int logits_file_plan(struct logits_file *f, const uint32_t *wanted, size_t n, size_t tokens, struct error *e);
/* path must outlive f. -EINVAL where it is a pipe or a device and the rows would have to go back and forth in it. */
int logits_file_open(struct logits_file *f, const char *path, uint32_t vocab, struct error *e);
/* The next of position[]: float32 [vocab]. arg: the struct logits_file. */
int logits_file_row(void *arg, const float *logits, struct error *e);
/* -errno where not all of it could be written. Frees what plan() and open() made. */
int logits_file_close(struct logits_file *f, struct error *e);
