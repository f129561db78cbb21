/* How fast this machine's lanes are: measured before and kept in a small file, or assumed.
 *
 * The file (~/.cache/sluice/speeds.json) keeps the last few measurements of a lane; what counts is their median, so that one
 * run on a bad minute changes little. What a short probe found counts only while no run has measured the lane. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/base/error.h"

struct plan_shm;

struct calibration {
    double disk, memory, link, device_memory; /* bytes per second */
    double flops;                             /* float32, all threads */
    double device_flops;                      /* of many tokens' kernels there */
    double fill; /* bytes of pins per second that a first sweep gets from the system; 0: unknown */
    bool disk_measured, memory_measured, flops_measured; /* else assumed */
    bool link_measured, device_memory_measured;
    double
        unpack; /* of a packed plan: bytes of BF16 per second that one thread unpacks; memory is then of stored bytes */
    bool page_cache; /* disk is what reading from the page cache gives: all of the plan's files are there */
};

enum calibration_lane {
    SPEEDS_DISK, /* of a file system */
    SPEEDS_PAGE_CACHE,
    SPEEDS_FILL,   /* memory that was free becomes the host cache: a virtual machine may have to ask its host for it */
    SPEEDS_MEMORY, /* weights through few tokens' kernels: by how they are stored and the number of threads */
    SPEEDS_FLOPS,  /* operations of many tokens' kernels: the same */
    SPEEDS_LINK,   /* of a device, by its number, with its stages as two processes, and as clients of an MPS daemon */
    SPEEDS_LINK_MPS,
    SPEEDS_DEVICE_MEMORY, /* as SPEEDS_MEMORY, by the device's number */
    SPEEDS_DEVICE_FLOPS
};

/* What is known for the file system of this path and for the plan (NULL: none); costs one small read, and looks at what the
 * page cache holds of the plan's files. */
void calibration_load(struct calibration *s, const char *path, const struct plan_shm *p);
/* Measures what is not known yet of disk and memory (a third of a second) and keeps it. budget: bytes that this process may
 * hold meanwhile; what cannot be measured within them stays as it was assumed. */
void calibration_measure(struct calibration *s, const char *path, const struct plan_shm *p, uint64_t budget);
/* The memory alone: some 0.05 s. */
void calibration_measure_memory(struct calibration *s, const struct plan_shm *p, uint64_t budget);
/* Remembers what a run or a profile has seen. The lanes of memory and flops want a plan, that of the disk a path. */
void calibration_keep(enum calibration_lane lane, const char *path, const struct plan_shm *p, double per_second);
/* Is anything known of the link and the memory of that device? What a probe of moments has found of them (0: nothing). */
bool calibration_knows_device(uint32_t device);
void calibration_keep_device(uint32_t device, double link, double memory);
/* Of that device's link: have runs shown that an MPS daemon makes it faster, by more than what runs differ in anyway? */
bool calibration_mps_pays(uint32_t device);
/* The way of reading that was found to be fastest on this path's file system; false: not known yet. */
bool calibration_reading(const char *path, uint64_t *block_bytes, uint32_t *depth);
/* bytes_per_second: what a probe of moments found with it. */
void calibration_keep_reading(const char *path, uint64_t block_bytes, uint32_t depth, double bytes_per_second);
