/* What has to be handed on at a place between two operations: columns that were written before it and are read after it before
 * they are written again. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

struct handed {
    const struct plan_shm *plan;
    uint64_t *start; /* [buffers + 1] of each buffer's columns among all */
    uint8_t *written, *wanted;
    uint8_t **at;  /* [ops] what is wanted before an operation where there is a cut, else NULL */
    uint64_t next; /* operation that `written` has come to */
};

/* cut: [ops] is there a place to hand on before this operation? -ENOMEM. handed_close(l) in every case. */
int handed_open(struct handed *l, const struct plan_shm *p, const bool *cut, struct error *e);
void handed_close(struct handed *l);
/* Calls piece() for the columns at each cut, whose numbers do not decrease from call to call. */
int handed_each(struct handed *l, uint64_t op, int (*piece)(void *arg, struct plan_view x, uint32_t width), void *arg);
