/* A lane checks one file at a time: several threads read its blocks, the lane's own hashes them, another one counts.
 *
 *   free --reader thread--> being read --> full --hashed and counted--> free
 *
 * Blocks are read in any order and consumed in the file's order; a lane holds `slots` of them, whatever the file's
 * size. Several lanes work on several files, since the digest of one file keeps one processor busy. */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/verify.h"

#define LANE_READERS_MOST 256u

struct lane_options {
    uint64_t block_bytes; /* a multiple of BLOCKS_ALIGN */
    uint32_t readers;     /* reads under way, 1 to LANE_READERS_MOST */
};

/* Takes files that are WAITING, largest first, until none is left. Meant for one thread of each lane. -ENOMEM, -EAGAIN
 * where there are no threads; a file that cannot be read is noted in the job and is no error here. */
int lane_run(struct verify_shm *job, const struct lane_options *o, struct error *e);
