/* Processes and threads that a run will need: asked for before anything starts, since a library that cannot start a
 * thread of its own ends the process without a word that helps. */
#pragma once
#include <stdint.h>
#include "proto/base/error.h"

#define TASKS_REMEDY ": raise the limit on processes (ulimit -u; docker run --pids-limit; pids.max of the cgroup)"

/* Can n more be started? They are, for a moment. -EAGAIN with the remedy where not. */
int tasks_check(uint32_t n, struct error *e);
