/* Another machine's side of a run over several: what sluice-node does. It says what the machine has, is sent its share of the
 * plan, holds the files here against it, runs an engine of it, and passes on the orders of sweeps until it is told to stop. */
#pragma once
#include "proto/base/error.h"

/* beside: the socket to sluice-link, taken over. 0 once the coordinator says STOP or is gone; else what ended the epoch, which
 * the coordinator has been told. */
int node_run(int beside, struct error *e);
