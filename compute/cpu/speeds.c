#include "compute/speeds.h"

#include <errno.h>

int ops_device_speeds(struct device_speeds *s, uint32_t device, struct error *e)
{
    (void)device;
    *s = (struct device_speeds){0};
    return error_set(e, ENODEV, "the cpu backend has no device of its own");
}
