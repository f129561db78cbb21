/* What a device has to give: one line that `sluice-compute-BACKEND --probe N` prints, and that the coordinator reads before
 * it plans. Asked of the process that will compute, so that device numbers, visibility and fitness of the kernels are
 * those of the run. The line: "sluice-device 2 <device> <devices> <capability> <unified> <total> <free> <name>". */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct device_facts {
    uint32_t device, devices; /* which one, of how many */
    uint32_t capability;      /* 86 for sm_86 */
    bool unified;             /* it computes in the machine's own memory (Jetson, GB10): what it takes, others lack */
    uint64_t total_bytes, free_bytes;
    char name[96];
};

#define DEVICE_FACTS_WORD "sluice-device"

void device_facts_print(const struct device_facts *f, FILE *out);
/* 0, or -EPROTO where the line is not such a one. */
int device_facts_parse(struct device_facts *f, const char *line);
