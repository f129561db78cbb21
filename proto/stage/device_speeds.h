/* What a device was just seen to do: one line more of `sluice-compute-BACKEND --probe N --speeds`, asked for where nothing is
 * known of it yet, and what it is set to. The line: "sluice-device-speeds 1 <link> <memory> <exclusive>". */
#pragma once
#include <stdint.h>
#include <stdio.h>

struct device_speeds {  /* bytes per second; 0: could not be measured */
    uint64_t link;      /* pinned host memory to the device */
    uint64_t memory;    /* the device's own, read */
    uint32_t exclusive; /* 1: it serves one process at a time (compute mode) */
};

#define DEVICE_SPEEDS_WORD "sluice-device-speeds"

void device_speeds_print(const struct device_speeds *s, FILE *out);
/* 0, or -EPROTO where the line is not such a one. */
int device_speeds_parse(struct device_speeds *s, const char *line);
