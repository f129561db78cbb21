/* Runs of `sluice` on the emulated device: the least memory that they do with, their logits. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "tests/support_process.h"

#define DEVICE_FLAGS 16

struct device_run {
    const char *model;              /* folder */
    const char *tokens;             /* "1 2 3" */
    const char *flag[DEVICE_FLAGS]; /* further ones, up to the first NULL */
    char device[32], host[32];      /* --device-memory, --host-memory */
    int seconds;
};

/* Sets both to the least that these flags allow: then no weight stays on the device or in the host cache. Fails the test. */
void device_least(struct device_run *r);
/* The same of the device's memory alone; host: as given. */
void device_least_of_device(struct device_run *r, const char *host);

struct process_result device_logits(const struct device_run *r, const char *out);
/* The logits of the last token; NULL where the run failed, whose words are printed. The caller's. */
float *device_logits_or_null(const struct device_run *r, size_t *bytes);
/* The run's streams are late and in pieces, by that seed; 0: they do all at once. */
void device_seed(int seed);
