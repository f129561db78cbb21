/* The bytes of a model's files that a plan reads: what one machine must have of them. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

/* In a folder of which the files hold one machine's share only. */
#define HELD_MARK "sluice-share.json"

struct held_range {
    uint32_t file;
    uint64_t offset, bytes;
};

struct held {
    struct held_range *range; /* in order, none touches another */
    uint64_t ranges, bytes;
};

/* Headers too, and the embedding's rows where this machine looks them up. held_free(s) in every case. -ENOMEM. */
int held_of(struct held *s, const struct plan_shm *plan, struct error *e);
/* For files that are to be written: whole blocks of any file system, and the end of each file, so that a block holds what the
 * model has there or is a hole. -ENOMEM. */
int held_widen(struct held *s, const struct plan_shm *plan, struct error *e);
void held_free(struct held *s);

/* Does HELD_MARK lie in this folder, or beside this file? */
bool held_is_share(const char *model);

/* Do the files, opened by the plan's names, hold all of it? Where the file system knows no holes, they do. -ENODATA names the
 * first place that is missing. Looked at only where HELD_MARK lies in folder. */
int held_check(const struct plan_shm *plan, const char *folder, struct error *e);
