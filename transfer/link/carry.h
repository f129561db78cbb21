/* What sluice-link does: messages of the LINK segment and frames, between the machines of one MPI job.
 *
 *   compute's out ring  --> the rank that a message names --> in ring of its compute
 *   the socket beside   <-> the sockets beside other ranks (proto/frames.h)
 *
 * One thread, which never waits inside of MPI: receives are posted ahead, and it looks at them after naps of a 64th of the time
 * in which nothing has come, so that a wait grows by no more than that and a rank that waits leaves its processor to others.
 * What compute hands over wakes it at once. */
#pragma once
#include <stdbool.h>
#include "proto/base/error.h"
#include "proto/frames.h"

/* After MPI_Init. beside: the socket to the coordinator (rank 0) or to sluice-node. Returns when the coordinator has said STOP
 * and the node has ended: 0; else what ends the job. */
int carry(struct frames *beside, struct error *e);

/* All pairs of ranks hear each other: 0, or -ETIMEDOUT that names those that do not. */
int carry_meet(struct error *e);
