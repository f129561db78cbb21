/* What this machine has to give: memory, processors, shared memory, a GPU. Reads /proc, /sys and cgroups (v1 and v2). */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct machine {
    uint64_t memory_total, memory_available; /* of the whole machine */
    uint64_t cgroup_limit, cgroup_free;      /* tightest limit of the own cgroup and its parents; UINT64_MAX: none */
    char cgroup_file[512];                   /* the file that cgroup_free comes from, "" where there is no limit */
    uint64_t swap_total, swap_free;
    uint64_t free_bytes; /* what a run may take: the least of these */
    uint64_t shm_free, memlock;
    uint32_t cpus;     /* by affinity and quota */
    uint32_t cpus_big; /* of these the fast ones (proto/base/cores.h), or all: what threads are made for */
    uint32_t cpus_online;
    bool has_gpu; /* an NVIDIA device and its driver */
};

void machine_look(struct machine *m);
/* The same with another folder in the place of / for what is read from /proc and /sys: "" is the machine itself. */
void machine_look_at(struct machine *m, const char *root);

/* What this process itself holds, without files and shared memory: now, and at most since machine_own_reset(). 0 where
 * that cannot be told, or is not this program's (sanitizers keep more than it does). */
struct machine_own {
    uint64_t now, peak;
};
void machine_own_reset(void);
struct machine_own machine_own_look(void);
