/* A memory cgroup of its own for one run of a program, v2 or v1, where this machine lets one be made. */
#pragma once
#include <stdint.h>
#include "tests/support_process.h"

struct cgroup_peak {
    uint64_t oom_kills;
    uint64_t held;  /* the most seen of what cannot be reclaimed: anonymous, shared and kernel memory */
    uint64_t total; /* the group's own peak, page cache included */
};

/* NULL where groups can be made; else why not. */
const char *cgroup_refused(void);
/* As process_run(), with at most limit bytes of memory and no swap for the program and its children together. */
struct process_result cgroup_run(const char *program, const char *const *arg, uint64_t limit, int seconds,
                                 struct cgroup_peak *peak);
