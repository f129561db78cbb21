/* Processors of different speed in one machine, as many ARM systems have them: the big ones are those with at least half of
 * the fastest one's capacity. A machine whose system tells no capacities has none but big ones. */
#pragma once
#include <sched.h>

/* Takes the small ones out of the set; never all of it. root: "" or, in tests, the folder that stands for /. */
void cores_keep_big(cpu_set_t *set, const char *root);
