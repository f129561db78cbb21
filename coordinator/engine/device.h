/* The GPU as the compute stage sees it: sluice-compute-cuda is started with --probe, and says what there is. */
#pragma once
#include <stdint.h>
#include "proto/stage/device_facts.h"
#include "proto/stage/device_speeds.h"
#include "proto/base/error.h"

/* 0; -ENOENT where the stage is not installed; -ENODEV with the stage's own words (no driver, too old a driver, kernels that
 * do not fit the device, ...); -ETIMEDOUT. Takes some tenths of a second on a machine with a GPU. */
int device_look(struct device_facts *f, uint32_t device, struct error *e);
/* The same, and what the device is seen to do, for which it works for a tenth of a second; zeros: it could not be seen. */
int device_try(struct device_facts *f, struct device_speeds *s, uint32_t device, struct error *e);
