/* What stands in for packed tiles: units (proto/unit/unit.h) of which only the headers are written, and all else is zeros.
 * A place that is zeros but for the headers of one tile takes another tile when those are cleared. Such units are as short
 * as any can be, so they fit wherever the real ones do; unpacking them takes what unpacking those does, but for the few
 * weights whose exponents are rare. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "proto/plan.h"

bool stub_units_any(const struct plan_shm *p);
/* The headers of a tile's units, at their places from `place` on; clear: they become zeros again. */
void stub_units_put(const struct plan_shm *p, uint8_t *place, uint32_t tile, bool clear);
