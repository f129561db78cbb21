/* The files that a plan reads weights from, looked at from outside: are they still what was planned? The reader looks now and
 * then while it reads; this is the last look, before a result is called good. It sees what was written in the last moment,
 * and what was written and given its old time of modification back: that changes the inode (ctime) all the same.
 *
 * A file of which only ctime differs may have been written to, or merely have got another mode, owner, name or link. Then the
 * reader compares its bytes with those that it read (engine_weights_unchanged()). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

struct weights {
    const struct plan_shm *plan;
    uint64_t *ctime_ns; /* [files] at which the bytes are known to be those that were planned */
    uint64_t *seen_ns;  /* [files] at the last look */
};

int weights_open(struct weights *w, const struct plan_shm *plan, struct error *e);
void weights_close(struct weights *w);

/* 0, or -ESTALE: a file has another size, time of modification or inode, or is gone, or cannot be looked at. */
int weights_look(struct weights *w, struct error *e);
/* After that look: was this file's inode changed, so that its bytes must be compared? accept: they were, and are the same. */
bool weights_touched(const struct weights *w, uint32_t file);
void weights_accept(struct weights *w, uint32_t file);
const char *weights_path(const struct weights *w, uint32_t file);
