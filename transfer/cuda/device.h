/* The device memory that compute exported, and the events of both sides.
 *
 *   compute                                transfer
 *   EXPORT memory, freed events    ->      device_open()  : opens them, makes the ready events
 *   (opens them)                   <-      EXPORT ready events
 *
 * Events come one for each entry of the device rings, lane 0's first. */
#pragma once
#include <cuda_runtime.h>
#include <stdint.h>
#include "proto/base/error.h"
#include "proto/stage/stage.h"

struct device_area {
    uint8_t *base; /* slots of lane 0, slots of lane 1, pinned tiles: see plan_device_offset() */
    cudaEvent_t *ready, *freed;
    uint32_t entries;
};

/* Chooses the plan's device and fills a. -ENODEV and the remedy where there is none. */
int device_open(struct device_area *a, struct stage *s, struct error *e);
void device_close(struct device_area *a);
/* The runtime keeps the chosen device for each thread by itself, and makes a context on device 0 where none was chosen: every
 * further thread that calls it begins with this. */
int device_enter(const struct stage *s, struct error *e);

int device_error(cudaError_t rc, const char *what,
                 struct error *e); /* -CONTROL_DEVICE_LOST and "cuda: what: text (name)" */
