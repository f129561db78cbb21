/* Plain reads of the plan's files, one block after the other, many in flight: what the disk gives when nothing else is
 * asked of it. The peak of a profile, and how block size and depth are found.
 *
 * Goes through the files front to back, on from where the last call ended, so that no cache below answers twice. Direct or
 * buffered as the stream would read each file. Has an engine, descriptors and memory of its own, all taken by probe_open():
 * a stage that works can open nothing any more. */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/plan.h"

struct io_engine;
struct files;

struct probe {
    const struct plan_shm *plan; /* checked; NULL: not open */
    struct io_engine *engine;
    struct files *files;
    uint8_t *memory; /* plan->run.probe_bytes */
    uint32_t file;   /* where the next read begins */
    uint64_t offset;
};

#define PROBE_DEPTH 64u

struct probe_setting {
    uint64_t block_bytes; /* a multiple of PLAN_PAGE; depth times as much is at most the plan's probe_bytes */
    uint32_t depth;
};

struct probe_result {
    uint64_t bytes, ns;         /* that had come until the time was over, counted from the first read */
    uint64_t all_bytes, all_ns; /* the same until the last of them had ended: fairer where the time is short */
};

int probe_open(struct probe *p, const struct plan_shm *plan, struct error *e);
void probe_close(struct probe *p); /* harmless where it is not open */

/* limit_ns long, always from the same thread. -EINVAL: a setting that cannot be; else an error of reading. bytes 0: there is
 * nothing to read. */
int probe_read(struct probe *p, const struct probe_setting *s, uint64_t limit_ns, struct probe_result *out,
               struct error *e);
