/* A look at the machine: what is good, what could be better and how, what is in the way of a run.
 *
 *   doctor.c     the list of findings            limits.c     io_uring, shared memory, cgroups, files, pages, swap
 *   processor.c  kernels that the cpu would use  storage.c    the disk and the file system of a model
 *   gpu.c        device, driver, link, MPS              arm.c        names of ARM processors
 *
 * Each doctor_...() adds its findings and cannot fail: what is missing is a finding too. Text files are read under
 * d->root ("" on a real machine), so that a test gives a machine of its own. What must be tried instead of read is tried
 * by the caller (doctor_try_...()) and handed in. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "coordinator/plan/machine.h"

enum doctor_verdict { DOCTOR_GOOD, DOCTOR_BETTER, DOCTOR_IN_THE_WAY };

struct doctor_finding {
    enum doctor_verdict verdict;
    char name[24];   /* "io_uring" */
    char state[256]; /* what was seen */
    char cost[256];  /* what it costs, "" where it is good */
    char mend[384];  /* how to mend it, "" where there is nothing to do */
};

struct doctor {
    const char *root;
    struct doctor_finding *at;
    size_t count, capacity;
    bool failed; /* no memory for a finding */
};

/* The new finding, never NULL; valid until the next one is added. */
struct doctor_finding *doctor_add(struct doctor *d, const char *name, enum doctor_verdict v);
void doctor_say(struct doctor_finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));  /* its state */
void doctor_cost(struct doctor_finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* its cost */
void doctor_mend(struct doctor_finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* its remedy */
enum doctor_verdict doctor_worst(const struct doctor *d);
const char *doctor_verdict_name(enum doctor_verdict v); /* "good", "could be better", "in the way" */
void doctor_free(struct doctor *d);

/* The first line of a file under the root, without its end; false and "" where it cannot be read. */
bool doctor_line(const struct doctor *d, const char *path, char *out, size_t room);

/* ---- limits.c ---- */

struct doctor_uring {
    int setup_errno;    /* of io_uring_setup(), 0: it worked */
    int register_errno; /* of registering 32 MiB of memory, once it worked */
};
struct doctor_uring doctor_try_uring(void);
void doctor_uring(struct doctor *d, const struct doctor_uring *t, uint64_t memlock);
void doctor_memory(struct doctor *d, const struct machine *m, uint64_t budget); /* memory, cgroup, swap */
void doctor_shm(struct doctor *d, uint64_t free_bytes);
void doctor_open_files(struct doctor *d, uint64_t soft, uint64_t hard, uint64_t wanted);
bool doctor_try_large_pages(void); /* are they given to shared memory that asks for them? */
void doctor_huge_pages(struct doctor *d, bool given);

/* ---- processor.c ---- */

/* The kernels that the cpu backend would choose for these flags (of ARM: features) of /proc/cpuinfo: "avx512 vbmi", "avx512", "avx2", "neon" or
 * "plain". */
const char *doctor_kernels(const char *flags);
void doctor_processor(struct doctor *d, const struct machine *m);
/* bytes_per_second: of BF16, that one thread unpacks (plan/unpack.h), 0: not measured; code: with what. disk: 0: not measured. */
void doctor_unpacking(struct doctor *d, double bytes_per_second, const char *code, uint32_t threads, double disk);

/* ---- arm.c ---- */

/* "Cortex-A76", "4 x Cortex-A55, 4 x Cortex-A76", in /proc/cpuinfo's order; "" on other processors. */
void doctor_arm_cores(const struct doctor *d, char *out, size_t room);

/* ---- storage.c ---- */

struct doctor_file {
    const char *path; /* the largest file of the folder */
    uint64_t bytes;
    uint64_t magic; /* statfs: type of the file system */
    unsigned major, minor;
    int direct_errno; /* of a direct read, 0: it worked */
};
/* false: there is no file of a page or more. path of *out is the caller's to free. */
bool doctor_try_file(struct doctor_file *out, const char *folder);
/* Speeds in bytes per second, 0: not measured. */
void doctor_storage(struct doctor *d, const struct doctor_file *t, double speed);
void doctor_disk_speed(struct doctor *d, double disk, double memory);

/* ---- gpu.c ---- */

void doctor_gpu(struct doctor *d, bool mps, bool cuda_stages);
/* What the compute stage said of the device; facts NULL: words are why it cannot be used. */
struct device_facts;
struct device_speeds;
void doctor_device(struct doctor *d, const struct device_facts *facts, const struct device_speeds *speeds,
                   const char *words);
