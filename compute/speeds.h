/* What a device can do, tried for a tenth of a second before anything is planned. */
#pragma once
#include "proto/base/error.h"
#include "proto/stage/device_speeds.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -ENODEV where the backend has no device of its own; what cannot be measured is 0. Needs no struct ops. */
int ops_device_speeds(struct device_speeds *s, uint32_t device, struct error *e);

#ifdef __cplusplus
}
#endif
