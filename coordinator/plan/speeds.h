/* How fast this machine's lanes are: measured before and kept in a small file, or assumed. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/error.h"

struct speeds {
    double disk, memory, link, device_memory; /* bytes per second */
    double flops;                             /* float32, all threads */
    bool disk_measured, memory_measured;      /* else assumed */
};

/* What is known for the file system of this path; costs one small read. */
void speeds_cached(struct speeds *s, const char *path);
/* Measures what is not known yet (a third of a second) and keeps it. */
void speeds_measure(struct speeds *s, const char *path);
/* The way of reading that was found to be fastest on this path's file system; false: not known yet. */
bool speeds_reading(const char *path, uint64_t *block_bytes, uint32_t *depth);
void speeds_remember_reading(const char *path, uint64_t block_bytes, uint32_t depth, double bytes_per_second);
/* Remembers a disk speed that a run or a profile has seen. */
void speeds_remember_disk(const char *path, double bytes_per_second);
void speeds_remember_memory(double bytes_per_second);
